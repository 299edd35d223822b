package emailer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
)

// server is a server of SMTP that is not ours: go-smtp, on this machine, with a
// certificate of its own.
type server struct {
	address, ca string

	mu sync.Mutex
	// answers are what the next recipients and the next data are answered with;
	// nil is to take them.
	rcpt, data []error
	// hangUp ends each connection right after an e-mail was taken.
	hangUp bool
	got    []*got
}

// got is an e-mail that the server took.
type got struct {
	from string
	to   []string
	*mail.Message
	body string
}

// newServer starts a server with STARTTLS, or within TLS.
func newServer(t *testing.T, within bool) *server {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail"}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	s := &server{ca: filepath.Join(t.TempDir(), "ca.pem")}
	require.NoError(t, os.WriteFile(s.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	c := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.address = l.Addr().String()
	if within {
		l = tls.NewListener(l, c)
	}
	smtp := gosmtp.NewServer(s)
	smtp.Domain, smtp.TLSConfig, smtp.ErrorLog = "mail", c, quiet{}
	done := make(chan error, 1)
	go func() { done <- smtp.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, smtp.Close())
		require.NoError(t, <-done)
	})
	return s
}

// quiet discards what the server says.
type quiet struct{}

// Printf implements the server's logger.
func (quiet) Printf(string, ...any) {}

// Println implements the server's logger.
func (quiet) Println(...any) {}

// NewSession implements the server's backend.
func (s *server) NewSession(c *gosmtp.Conn) (gosmtp.Session, error) {
	return &session{s: s, c: c}, nil
}

// mails are the e-mails that were taken.
func (s *server) mails() []*got {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// answer has the next recipient or the next data be answered with errors.
func (s *server) answer(rcpt, data error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rcpt, s.data = []error{rcpt}, []error{data}
}

// next takes the first of some answers.
func (s *server) next(list *[]error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(*list) == 0 {
		return nil
	}
	err := (*list)[0]
	*list = (*list)[1:]
	return err
}

// session is a conversation.
type session struct {
	s      *server
	c      *gosmtp.Conn
	signed bool
	now    got
}

// AuthMechanisms implements the server's session.
func (x *session) AuthMechanisms() []string { return []string{sasl.Plain} }

// Auth implements the server's session.
func (x *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "user" || password != "p@ss" {
			return errors.New("no such user")
		}
		x.signed = true
		return nil
	}), nil
}

// Mail implements the server's session.
func (x *session) Mail(from string, _ *gosmtp.MailOptions) error {
	if _, secure := x.c.TLSConnectionState(); !x.signed || !secure {
		return gosmtp.ErrAuthRequired
	}
	x.now = got{from: from}
	return nil
}

// Rcpt implements the server's session.
func (x *session) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	x.now.to = append(x.now.to, to)
	return x.s.next(&x.s.rcpt)
}

// Data implements the server's session.
func (x *session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := x.s.next(&x.s.data); err != nil {
		return err
	}
	m, err := mail.ReadMessage(strings.NewReader(string(b)))
	if err != nil {
		return err
	}
	_, body, _ := strings.Cut(string(b), "\r\n\r\n")
	taken := x.now
	taken.Message, taken.body = m, body
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	x.s.got = append(x.s.got, &taken)
	return nil
}

// Reset implements the server's session.
func (x *session) Reset() {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	if x.s.hangUp {
		_ = x.c.Conn().Close() // before it says goodbye
	}
}

// Logout implements the server's session.
func (x *session) Logout() error { return nil }
