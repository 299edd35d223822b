package s3

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore/audit"
	"selvedge.dev/logstore/audit/archive"
	"selvedge.dev/logstore/audit/archive/s3"
	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/tests/process"
)

// gateway is the program of VersityGW, built once by TestMain.
var gateway string

// TestMain builds it.
func TestMain(m *testing.M) {
	os.Exit(process.Main(m, func(ctx context.Context, dir string) (err error) {
		gateway, err = process.BuildTool(ctx, dir, "tests/clients/s3/server", "versitygw")
		return err
	}))
}

// few is a client that lists three objects at a time.
type few struct{ *sdk.Client }

// ListObjectsV2 implements s3.API.
func (f few) ListObjectsV2(ctx context.Context, in *sdk.ListObjectsV2Input, with ...func(*sdk.Options)) (*sdk.ListObjectsV2Output, error) {
	in.MaxKeys = aws.Int32(3)
	return f.Client.ListObjectsV2(ctx, in, with...)
}

// serve runs the server on a socket of its own and gives a client of it, and
// one with a wrong secret.
func serve(t *testing.T) (right, wrong few) {
	t.Helper()
	dir := t.TempDir()
	objects, meta, socket := filepath.Join(dir, "objects"), filepath.Join(dir, "meta"), filepath.Join(dir, "s3")
	require.NoError(t, os.MkdirAll(filepath.Join(objects, "bucket"), 0o755))
	require.NoError(t, os.Mkdir(meta, 0o755))
	cmd := exec.Command(gateway, "--access", "key", "--secret", "secret", "--port", socket, "--health", "/health", "posix", "--sidecar", meta, objects)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it is started anew for each test
		_ = cmd.Wait()
	})
	web := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for up := false; !up; up = healthy(t, web) {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("the server does not answer")
		}
	}
	client := func(secret string) few {
		return few{sdk.New(sdk.Options{
			BaseEndpoint: aws.String("http://s3"), UsePathStyle: true, Region: "us-east-1", HTTPClient: web,
			Credentials: credentials.NewStaticCredentialsProvider("key", secret, ""), RetryMaxAttempts: 1,
		})}
	}
	return client("secret"), client("guess")
}

// healthy reports whether the server answers.
func healthy(t *testing.T, web *http.Client) bool {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://s3/health", nil)
	require.NoError(t, err)
	resp, err := web.Do(req)
	if err != nil {
		return false
	}
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode == http.StatusOK
}

// names are the objects of a bucket.
func names(t *testing.T, b *s3.Bucket, prefix string) []string {
	t.Helper()
	var all []string
	for name, err := range b.List(t.Context(), prefix) {
		require.NoError(t, err)
		all = append(all, name)
	}
	return all
}

func TestBucket_IsATarget(t *testing.T) {
	t.Parallel()
	right, wrong := serve(t)
	b := s3.New(right, "bucket", "/a/b/")
	require.Empty(t, names(t, b, ""))
	_, err := b.Get(t.Context(), "x")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	var want []string
	for n := range 8 {
		name := fmt.Sprintf("p/%d", n)
		require.NoError(t, b.Create(t.Context(), name, []byte(name)))
		want = append(want, name)
	}
	require.Equal(t, want, names(t, b, "p/"))
	require.Empty(t, names(t, s3.New(right, "bucket", "a/c"), ""))
	require.Equal(t, fault.Exists, fault.KindOf(b.Create(t.Context(), "p/1", []byte("other"))))
	got, err := b.Get(t.Context(), "p/1")
	require.NoError(t, err)
	require.Equal(t, "p/1", string(got))
	require.NoError(t, b.Replace(t.Context(), "p/1", []byte("other")))
	got, err = b.Get(t.Context(), "p/1")
	require.NoError(t, err)
	require.Equal(t, "other", string(got))

	require.Equal(t, fault.Denied, fault.KindOf(s3.New(wrong, "bucket", "").Create(t.Context(), "x", nil)))
	require.Equal(t, fault.NotFound, fault.KindOf(s3.New(right, "nothing", "").Create(t.Context(), "x", nil)))

	var won atomic.Int32
	var wg sync.WaitGroup
	for n := range 6 {
		wg.Go(func() {
			if b.Create(context.Background(), "race", []byte{byte(n)}) == nil {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	require.Equal(t, int32(1), won.Load(), "one of them makes it")
}

// signer signs with one key.
type signer struct{ ed25519.PrivateKey }

// Name implements audit.Signer.
func (signer) Name() string { return "audit.test/plant" }

// Sign implements audit.Signer.
func (s signer) Sign(c *audit.Checkpoint) error { return c.Sign(s.PrivateKey) }

// Keys implements audit.Signer.
func (s signer) Keys() chain.Keys {
	return chain.Keys{chain.NewKey(s.Name(), s.Public().(ed25519.PublicKey), time.Now().Add(-time.Hour))}
}

// trail is a trail with n records.
func trail(t *testing.T, n int) *audit.Trail {
	t.Helper()
	open, err := audit.Open(t.TempDir(), audit.Options{Signer: signer{ed25519.NewKeyFromSeed([]byte(strings.Repeat("s", 32)))}, CheckpointRecords: 10})
	require.NoError(t, err)
	t.Cleanup(func() { _ = open.Close() })
	add(t, open, 0, n)
	return open
}

// add appends records.
func add(t *testing.T, open *audit.Trail, from, to int) {
	t.Helper()
	var all []audit.Record
	for n := from; n < to; n++ {
		all = append(all, audit.Record{Project: "p", ID: fmt.Sprint(n), Time: time.Now(), Category: "READ", Type: "t", Data: fmt.Appendf(nil, `{"n":%d}`, n)})
	}
	_, err := open.Append(t.Context(), all)
	require.NoError(t, err)
	require.NoError(t, open.Sign(t.Context()))
}

func TestExport_ToS3(t *testing.T) {
	t.Parallel()
	right, _ := serve(t)
	open, b := trail(t, 300), s3.New(right, "bucket", "plant-7")
	o := archive.Options{Keys: open.Keys(), FileBytes: 20_000}
	p, err := archive.Export(t.Context(), open, b, "p", o)
	require.NoError(t, err)
	require.Equal(t, uint64(300), p.Records)
	require.Greater(t, p.Files, 4)
	add(t, open, 300, 340)
	p, err = archive.Export(t.Context(), open, b, "p", o)
	require.NoError(t, err)
	require.Equal(t, archive.Progress{Project: "p", Records: 340, Files: 1, Bytes: p.Bytes}, p)
	head, err := open.Checkpoint(t.Context(), "p")
	require.NoError(t, err)
	keys, err := archive.Keys(t.Context(), b)
	require.NoError(t, err)
	r, err := chain.Verify(archive.Read(t.Context(), b, "p"), chain.VerifyOptions{Project: "p", Keys: keys, Heads: []chain.Checkpoint{head}})
	require.NoError(t, err)
	require.Equal(t, uint64(340), r.Records)

	files := names(t, b, "p/")
	data, err := b.Get(t.Context(), files[2])
	require.NoError(t, err)
	data[len(data)/2] ^= 1
	require.NoError(t, b.Replace(t.Context(), files[2], data))
	_, err = chain.Verify(archive.Read(t.Context(), b, "p"), chain.VerifyOptions{Project: "p", Keys: keys})
	var found *chain.Finding
	require.ErrorAs(t, err, &found)
}
