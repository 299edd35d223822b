package platform

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// writeCertificate writes a self-signed certificate of that serial number, last
// changed at that time.
func writeCertificate(t *testing.T, dir string, serial int64, changed time.Time) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	require.NoError(t, os.Chtimes(certFile, changed, changed))
	return certFile, keyFile
}

// A renewed certificate is served without a restart; a broken renewal leaves
// the former in place.
func TestCertificate_FollowsItsFiles(t *testing.T) {
	t.Parallel()
	dir, begin := t.TempDir(), time.Now().Truncate(time.Second)
	certFile, keyFile := writeCertificate(t, dir, 1, begin)
	c, err := newCertificate(certFile, keyFile, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	serial := func(now time.Time) int64 {
		t.Helper()
		cert, err := x509.ParseCertificate(c.get(now).Certificate[0])
		require.NoError(t, err)
		return cert.SerialNumber.Int64()
	}
	now := begin
	require.EqualValues(t, 1, serial(now))
	writeCertificate(t, dir, 2, begin.Add(time.Second))
	require.EqualValues(t, 1, serial(now.Add(recheck/2)), "not looked yet")
	now = now.Add(2 * recheck)
	require.EqualValues(t, 2, serial(now))
	require.NoError(t, os.WriteFile(certFile, []byte("half a file"), 0o600))
	now = now.Add(2 * recheck)
	require.EqualValues(t, 2, serial(now))
}

func TestCertificate_MissingFilesAreNamed(t *testing.T) {
	t.Parallel()
	_, err := newCertificate("/nonexistent/tls.crt", "/nonexistent/tls.key", slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "/nonexistent/tls.crt")
}
