package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
)

// certificate makes a certificate of this machine that signs itself, and
// returns its files.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "selvedge"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	return certFile, keyFile
}

// TestResources_OverTLS does what is done over plain text: REST over HTTP/2,
// and gRPC, whose client would not speak to a stranger.
func TestResources_OverTLS(t *testing.T) {
	t.Parallel()
	certFile, keyFile := certificate(t)
	p := start(t, t.TempDir(), "--tls-cert", certFile, "--tls-key", keyFile)
	require.Regexp(t, "^https://", p.URL)
	pool := x509.NewCertPool()
	cert, err := os.ReadFile(certFile)
	require.NoError(t, err)
	require.True(t, pool.AppendCertsFromPEM(cert))
	trust := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	h2 := &http.Transport{TLSClientConfig: trust, Protocols: new(http.Protocols)}
	h2.Protocols.SetHTTP2(true) // and nothing else
	t.Cleanup(h2.CloseIdleConnections)
	web := &http.Client{Transport: h2}
	for name, d := range map[string]door{
		"rest":    restDoor{url: p.URL, key: adminKey, http: web},
		"grpc":    dialGRPC(t, p.URL, adminKey, trust),
		"connect": connectDoor{url: p.URL, key: adminKey, http: web, options: []connect.ClientOption{connect.WithGRPCWeb()}},
	} {
		t.Run(name, func(t *testing.T) {
			f := fleet{t: t, ctx: bounded(t), door: d, parent: "projects/" + name}
			f.journey()
		})
	}
	stranger := dialGRPC(t, p.URL, adminKey, &tls.Config{MinVersion: tls.VersionTLS12})
	require.ErrorContains(t, fleet{ctx: bounded(t), door: stranger, parent: "projects/p"}.tryCreate("d1"), "certificate")
	stop(t, p)
}
