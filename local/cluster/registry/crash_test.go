package registry_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/local/cluster/registry"
)

// TestOpen_AfterKills pushes, deletes and collects in a process that is killed
// at some time, and finds what was answered, whole, and no more than that needs.
func TestOpen_AfterKills(t *testing.T) {
	t.Parallel()
	const variable = "SELVEDGE_TEST_REGISTRY"
	if dir := os.Getenv(variable); dir != "" {
		g := newRig(t, dir, registry.Options{}, registry.Door{})
		fmt.Println("open")
		for i := 0; ; i++ {
			name := fmt.Sprintf("%d-%d", os.Getpid(), i)
			d := g.push("p/fn", "v"+name, strings.Repeat(name, 1000))
			fmt.Println("pushed", "v"+name, d)
			if i%3 == 2 {
				g.want(202, "DELETE", "/v2/p/fn/manifests/v"+name, "")
				fmt.Println("deleted", "v"+name, d)
				_, err := g.r.Collect(t.Context(), registry.Collection{})
				require.NoError(t, err)
			}
		}
	}
	dir := t.TempDir()
	want := map[string]string{}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for round := range 12 {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestOpen_AfterKills$", "-test.timeout=1m")
		cmd.Env = append(os.Environ(), variable+"="+dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for left := random.IntN(12); lines.Scan(); left-- {
			note(want, lines.Text())
			if left == 0 {
				require.NoError(t, cmd.Process.Kill())
			}
		}
		require.NoError(t, lines.Err())
		require.Error(t, cmd.Wait())

		whole(t, dir)
		g := newRig(t, dir, registry.Options{}, registry.Door{})
		for tag, d := range want {
			got := g.want(200, "GET", "/v2/p/fn/manifests/"+tag, "")
			require.Equal(t, d, got.header.Get("Docker-Content-Digest"), "seed %d, round %d", seed, round)
			doc, err := image.ParseDocument([]byte(got.body))
			require.NoError(t, err)
			for _, part := range doc.References() {
				g.want(200, "GET", "/v2/p/fn/blobs/"+string(part.Digest), "")
			}
		}
		_, err = g.r.Collect(t.Context(), registry.Collection{})
		require.NoError(t, err)
		whole(t, dir)
	}
}

// note notes what a line of the process says. What it was about to say, it may
// have done.
func note(want map[string]string, line string) {
	fields := strings.Fields(line)
	switch {
	case len(fields) == 3 && fields[0] == "pushed" && !strings.HasSuffix(fields[1], "-2") && !strings.HasSuffix(fields[1], "-5") && !strings.HasSuffix(fields[1], "-8"):
		want[fields[1]] = fields[2]
	case len(fields) == 3 && fields[0] == "deleted":
		delete(want, fields[1])
	}
}

// TestOpen_UploadsGoOn goes on with an upload in another process's registry.
func TestOpen_UploadsGoOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	g := newRig(t, dir, registry.Options{}, registry.Door{})
	l := g.want(202, "POST", "/v2/p/blobs/uploads/", "").header.Get("Location")
	g.want(202, "PATCH", l, "first ")
	require.Equal(t, int64(6), g.r.Used())
	g = newRig(t, dir, registry.Options{}, registry.Door{})
	require.Equal(t, int64(6), g.r.Used())
	require.Equal(t, "0-5", g.want(204, "GET", l, "").header.Get("Range"))
	l = g.want(202, "PATCH", l, "second", "Content-Range", "6-11").header.Get("Location")
	g.want(201, "PUT", l+"?digest="+string(image.DigestOf([]byte("first second"))), "")
	whole(t, dir)
}

// FuzzHandler makes requests of any kind: none is the registry's own failure,
// and nothing is made outside its folder.
func FuzzHandler(f *testing.F) {
	f.Add("PUT", "/v2/a/manifests/latest", "Content-Range", "0-1", `{"schemaVersion":2}`)
	f.Add("POST", "/v2/a/../b/blobs/uploads/?mount=sha256:00&from=..", "Range", "bytes=0-", "x")
	f.Add("PATCH", "/v2/a/blobs/uploads/Li4vLi4", "Authorization", "Basic x", "x")
	dir := f.TempDir()
	g := newRig(f, dir+"/registry", registry.Options{MaxBytes: 1 << 20}, registry.Door{})
	f.Fuzz(func(t *testing.T, method, path, header, value, body string) {
		req, err := newRequest(t.Context(), method, g.url, path, body)
		if err != nil {
			return
		}
		req.Header.Set(header, value)
		code, err := send(req)
		if err == nil {
			require.Less(t, code, 500, "%s %s", method, path)
		}
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 1)
	})
}
