package platform

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// recheck is how often a handshake looks whether the certificate's files
// changed: renewals are days apart and announced.
const recheck = time.Minute

// certificate is a certificate in files, which are read again when they change,
// so that a renewal needs no restart.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	changed time.Time // of certFile, when it was read
	checked time.Time
}

// newCertificate reads the files.
func newCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.read(); err != nil {
		return nil, err
	}
	return c, nil
}

// config serves the certificate, with HTTP/2 for who wants it.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get(time.Now()), nil },
	}
}

// get is the certificate. Files that cannot be read leave the one before in
// place.
func (c *certificate) get(now time.Time) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.checked) >= recheck {
		c.checked = now
		if info, err := os.Stat(c.certFile); err == nil && !info.ModTime().Equal(c.changed) {
			if err := c.read(); err != nil {
				c.log.Error("certificate could not be read again", slog.Any("error", err))
			} else {
				c.log.Info("certificate was read again", slog.String("file", c.certFile))
			}
		}
	}
	return c.current
}

// read reads the files. The caller holds mu, or nobody else has c.
func (c *certificate) read() error {
	info, err := os.Stat(c.certFile)
	if err != nil {
		return fmt.Errorf("TLS certificate: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("TLS certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	c.current, c.changed = &pair, info.ModTime()
	return nil
}
