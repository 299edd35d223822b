package registry_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/local/cluster/registry"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
)

// all lets everybody do everything.
func all(context.Context, string, registry.Action) error { return nil }

// rig is a registry and its door.
type rig struct {
	t   testing.TB
	r   *registry.Registry
	url string
}

// newRig opens a registry in a folder and serves it.
func newRig(t testing.TB, dir string, o registry.Options, d registry.Door) *rig {
	t.Helper()
	r, err := registry.Open(dir, o)
	require.NoError(t, err)
	if d.Authorize == nil {
		d.Authorize = all
	}
	s := httptest.NewServer(r.Handler(d))
	t.Cleanup(s.Close)
	return &rig{t, r, s.URL}
}

// reply is an answer that was read.
type reply struct {
	code   int
	header http.Header
	body   string
}

// call makes a request; headers are pairs.
func (g *rig) call(method, path, body string, headers ...string) reply {
	g.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = g.url + path
	}
	req, err := http.NewRequestWithContext(g.t.Context(), method, path, strings.NewReader(body))
	require.NoError(g.t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(g.t, err)
	text, err := io.ReadAll(res.Body)
	require.NoError(g.t, err)
	require.NoError(g.t, res.Body.Close())
	return reply{res.StatusCode, res.Header, string(text)}
}

// want makes a request that is answered with code.
func (g *rig) want(code int, method, path, body string, headers ...string) reply {
	g.t.Helper()
	got := g.call(method, path, body, headers...)
	require.Equal(g.t, code, got.code, "%s %s: %s", method, path, got.body)
	return got
}

// blob pushes contents in one request and describes them.
func (g *rig) blob(repo, contents string) image.Descriptor {
	g.t.Helper()
	d := image.DigestOf([]byte(contents))
	g.want(201, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+string(d), contents)
	return image.Descriptor{MediaType: "application/octet-stream", Digest: d, Size: int64(len(contents))}
}

const manifestType = "application/vnd.oci.image.manifest.v1+json"

// manifest is the text of a manifest of blobs, the first of which is the
// configuration.
func manifest(t testing.TB, subject *image.Descriptor, blobs ...image.Descriptor) string {
	t.Helper()
	doc := map[string]any{"schemaVersion": 2, "mediaType": manifestType, "config": blobs[0], "layers": blobs[1:]}
	if subject != nil {
		doc["subject"] = subject
	}
	text, err := json.Marshal(doc)
	require.NoError(t, err)
	return string(text)
}

// push pushes an image of two blobs under a tag and returns its digest.
func (g *rig) push(repo, tag, contents string) image.Digest {
	g.t.Helper()
	text := manifest(g.t, nil, g.blob(repo, contents+"-config"), g.blob(repo, contents+"-layer"))
	g.want(201, "PUT", "/v2/"+repo+"/manifests/"+tag, text, "Content-Type", manifestType)
	return image.DigestOf([]byte(text))
}

func TestRegistry_TakesBlobsInEveryWay(t *testing.T) {
	t.Parallel()
	g := newRig(t, t.TempDir(), registry.Options{}, registry.Door{})
	g.want(200, "GET", "/v2/", "")
	f := func(contents string, upload func(location, digest string)) {
		t.Helper()
		started := g.want(202, "POST", "/v2/p/fn/blobs/uploads/", "")
		d := string(image.DigestOf([]byte(contents)))
		upload(started.header.Get("Location"), "?digest="+d)
		got := g.want(200, "GET", "/v2/p/fn/blobs/"+d, "")
		require.Equal(t, contents, got.body)
		require.Equal(t, d, got.header.Get("Docker-Content-Digest"))
		head := g.want(200, "HEAD", "/v2/p/fn/blobs/"+d, "")
		require.Equal(t, fmt.Sprint(len(contents)), head.header.Get("Content-Length"))
	}
	f("one request", func(l, d string) { g.want(201, "PUT", l+d, "one request") })
	f("streamed", func(l, d string) {
		next := g.want(202, "PATCH", l, "streamed").header.Get("Location")
		g.want(201, "PUT", next+d, "")
	})
	f("in parts", func(l, d string) {
		l = g.want(202, "PATCH", l, "in ", "Content-Range", "0-2").header.Get("Location")
		g.want(416, "PATCH", l, "in ", "Content-Range", "0-2")
		g.want(416, "PATCH", l, "rts", "Content-Range", "5-7")
		require.Equal(t, "0-2", g.want(204, "GET", l, "").header.Get("Range"))
		l = g.want(202, "PATCH", l, "pa", "Content-Range", "3-4").header.Get("Location")
		g.want(201, "PUT", l+d, "rts", "Content-Range", "5-7")
	})
	g.blob("p/fn", "posted")

	// What is not its digest is not stored, and its upload is over.
	wrong := string(image.DigestOf([]byte("right")))
	l := g.want(202, "POST", "/v2/p/fn/blobs/uploads/", "").header.Get("Location")
	require.Contains(t, g.want(400, "PUT", l+"?digest="+wrong, "wrong").body, "DIGEST_INVALID")
	g.want(404, "PUT", l+"?digest="+wrong, "right")
	g.want(400, "POST", "/v2/p/fn/blobs/uploads/?digest="+wrong, "wrong")
	g.want(404, "GET", "/v2/p/fn/blobs/"+wrong, "")

	// An upload is of its repository.
	l = g.want(202, "POST", "/v2/p/fn/blobs/uploads/", "").header.Get("Location")
	g.want(404, "PATCH", strings.Replace(l, "p/fn", "p/other", 1), "x")

	d := g.blob("p/fn", "0123456789")
	part := g.want(206, "GET", "/v2/p/fn/blobs/"+string(d.Digest), "", "Range", "bytes=2-4")
	require.Equal(t, "234", part.body)
	g.want(416, "GET", "/v2/p/fn/blobs/"+string(d.Digest), "", "Range", "bytes=90-99")
	g.want(202, "DELETE", "/v2/p/fn/blobs/"+string(d.Digest), "")
	g.want(404, "GET", "/v2/p/fn/blobs/"+string(d.Digest), "")
}

func TestRegistry_MountsWhatIsThere(t *testing.T) {
	t.Parallel()
	g := newRig(t, t.TempDir(), registry.Options{}, registry.Door{})
	d := string(g.blob("p/a", "x").Digest)
	g.want(404, "GET", "/v2/p/b/blobs/"+d, "")
	g.want(201, "POST", "/v2/p/b/blobs/uploads/?from=p/a&mount="+d, "")
	g.want(200, "GET", "/v2/p/b/blobs/"+d, "")
	g.want(202, "POST", "/v2/p/b/blobs/uploads/?from=p/none&mount="+d, "")
	g.want(202, "POST", "/v2/p/b/blobs/uploads/?mount="+d, "")
}

func TestRegistry_KeepsManifestsAndTags(t *testing.T) {
	t.Parallel()
	g := newRig(t, t.TempDir(), registry.Options{}, registry.Door{})
	first, second := g.push("p/fn", "v1", "first"), g.push("p/fn", "v2", "second")
	g.push("p/fn", "latest", "first")
	require.JSONEq(t, `{"name":"p/fn","tags":["latest","v1","v2"]}`, g.want(200, "GET", "/v2/p/fn/tags/list", "").body)
	require.JSONEq(t, `{"name":"p/fn","tags":["v1"]}`, g.want(200, "GET", "/v2/p/fn/tags/list?n=1&last=latest", "").body)
	g.push("q", "v", "q")
	require.JSONEq(t, `{"repositories":["p/fn","q"]}`, g.want(200, "GET", "/v2/_catalog", "").body)

	got := g.want(200, "GET", "/v2/p/fn/manifests/v2", "")
	require.Equal(t, []string{manifestType, string(second)}, []string{got.header.Get("Content-Type"), got.header.Get("Docker-Content-Digest")})
	require.Equal(t, got.body, g.want(200, "GET", "/v2/p/fn/manifests/"+string(second), "").body)
	g.want(404, "GET", "/v2/q/manifests/"+string(second), "")
	g.want(404, "GET", "/v2/p/fn/manifests/none", "")
	g.want(404, "GET", "/v2/none/tags/list", "")

	// An index needs what it names; so does a manifest.
	index := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"digest":%q,"size":1}]}`, second)
	const indexType = "application/vnd.oci.image.index.v1+json"
	g.want(201, "PUT", "/v2/p/fn/manifests/index", index, "Content-Type", indexType)
	require.Contains(t, g.want(404, "PUT", "/v2/q/manifests/index", index, "Content-Type", indexType).body, "MANIFEST_BLOB_UNKNOWN")
	g.want(400, "PUT", "/v2/q/manifests/x", `{"schemaVersion":1}`, "Content-Type", manifestType)
	g.want(400, "PUT", "/v2/q/manifests/x", manifest(t, nil, g.blob("q", "c")), "Content-Type", indexType)
	g.want(413, "PUT", "/v2/q/manifests/x", strings.Repeat(" ", image.MaxManifest+1), "Content-Type", manifestType)

	// A signature is found by what it is about.
	subject := image.Descriptor{Digest: first, Size: 1}
	signature := manifest(t, &subject, g.blob("p/fn", "s"))
	g.want(201, "PUT", "/v2/p/fn/manifests/"+string(image.DigestOf([]byte(signature))), signature, "Content-Type", manifestType)
	require.Contains(t, g.want(200, "GET", "/v2/p/fn/referrers/"+string(first), "").body, string(image.DigestOf([]byte(signature))))
	require.NotContains(t, g.want(200, "GET", "/v2/p/fn/referrers/"+string(second), "").body, "sha256")

	g.want(202, "DELETE", "/v2/p/fn/manifests/v2", "")
	g.want(404, "GET", "/v2/p/fn/manifests/v2", "")
	g.want(200, "GET", "/v2/p/fn/manifests/"+string(second), "")
	g.want(202, "DELETE", "/v2/p/fn/manifests/"+string(first), "")
	require.JSONEq(t, `{"name":"p/fn","tags":["index"]}`, g.want(200, "GET", "/v2/p/fn/tags/list", "").body)
}

func TestRegistry_IsBounded(t *testing.T) {
	t.Parallel()
	g := newRig(t, t.TempDir(), registry.Options{MaxBytes: 1000, MaxBlob: 600, MaxUploads: 2}, registry.Door{})
	big := strings.Repeat("x", 601)
	g.want(413, "POST", "/v2/a/blobs/uploads/?digest="+string(image.DigestOf([]byte(big))), big)
	l := g.want(202, "POST", "/v2/a/blobs/uploads/", "").header.Get("Location")
	g.want(413, "PATCH", l, big)
	require.Zero(t, g.r.Used())

	d := g.blob("a", big[:600])
	other := "y" + big[:500]
	got := g.want(403, "POST", "/v2/a/blobs/uploads/?digest="+string(image.DigestOf([]byte(other))), other)
	require.Contains(t, got.body, "bound of 1000 bytes")
	require.Equal(t, int64(600), g.r.Used())
	g.blob("b", big[:300]) // there is room for that
	g.want(202, "DELETE", "/v2/a/blobs/"+string(d.Digest), "")
	done, err := g.r.Collect(t.Context(), registry.Collection{})
	require.NoError(t, err)
	require.Equal(t, registry.Collected{Blobs: 2, Bytes: 900}, done)
	require.Zero(t, g.r.Used())

	g.want(202, "POST", "/v2/a/blobs/uploads/", "")
	g.want(202, "POST", "/v2/a/blobs/uploads/", "")
	g.want(429, "POST", "/v2/a/blobs/uploads/", "")
	done, err = g.r.Collect(t.Context(), registry.Collection{})
	require.NoError(t, err)
	require.Equal(t, 2, done.Uploads)
	g.want(202, "POST", "/v2/a/blobs/uploads/", "")
}

func TestCollect_KeepsWhatIsNeeded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	g := newRig(t, dir, registry.Options{}, registry.Door{})
	tagged, running, gone := g.push("p/fn", "v1", "tagged"), g.push("p/fn", "v2", "running"), g.push("p/fn", "v3", "gone")
	old := g.push("p/old", "v", "tagged-too")
	subject := image.Descriptor{Digest: tagged, Size: 1}
	signature := manifest(t, &subject, g.blob("p/fn", "s"))
	signed := string(image.DigestOf([]byte(signature)))
	g.want(201, "PUT", "/v2/p/fn/manifests/"+signed, signature, "Content-Type", manifestType)
	for _, ref := range []string{"p/fn/manifests/v2", "p/fn/manifests/v3", "p/old/manifests/v"} {
		g.want(202, "DELETE", "/v2/"+ref, "")
	}
	// Young ones are kept, and all that they need.
	done, err := g.r.Collect(t.Context(), registry.Collection{MinAge: 1 << 40})
	require.NoError(t, err)
	require.Zero(t, done)

	done, err = g.r.Collect(t.Context(), registry.Collection{Needed: []image.Digest{running}})
	require.NoError(t, err)
	require.Equal(t, []int{2, 6}, []int{done.Manifests, done.Blobs}, "gone and old, each with a configuration and a layer")
	has := func(code int, repo string, d image.Digest) {
		t.Helper()
		g.want(code, "GET", "/v2/"+repo+"/manifests/"+string(d), "")
	}
	has(200, "p/fn", tagged)
	has(200, "p/fn", running)
	has(200, "p/fn", image.Digest(signed))
	has(404, "p/fn", gone)
	has(404, "p/old", old)
	g.want(200, "GET", "/v2/p/fn/blobs/"+string(image.DigestOf([]byte("running-layer"))), "")
	g.want(404, "GET", "/v2/p/fn/blobs/"+string(image.DigestOf([]byte("gone-layer"))), "")
	require.JSONEq(t, `{"repositories":["p/fn"]}`, g.want(200, "GET", "/v2/_catalog", "").body)
	whole(t, dir)
	require.Equal(t, g.r.Used(), newRig(t, dir, registry.Options{}, registry.Door{}).r.Used())
}

// whole sees that everything in a registry's folder is what it is named for, and
// that nothing is named that is not there.
func whole(t testing.TB, dir string) {
	t.Helper()
	blobs, err := os.ReadDir(filepath.Join(dir, "blobs"))
	require.NoError(t, err)
	have := map[string]bool{}
	for _, b := range blobs {
		text, err := os.ReadFile(filepath.Join(dir, "blobs", b.Name()))
		require.NoError(t, err)
		require.Equal(t, b.Name(), strings.Replace(string(image.DigestOf(text)), ":", "-", 1))
		have[b.Name()] = true
	}
	require.NoError(t, filepath.WalkDir(filepath.Join(dir, "repositories"), func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".new-") {
			return err
		}
		name := d.Name()
		if filepath.Base(filepath.Dir(p)) == "_tags" {
			text, err := os.ReadFile(p)
			require.NoError(t, err)
			name = strings.Replace(string(text), ":", "-", 1)
			require.FileExists(t, filepath.Join(filepath.Dir(p), "..", "_manifests", name))
		}
		require.True(t, have[name], p)
		return nil
	}))
}

// keys is an authenticator of two keys.
type keys struct{}

// Authenticate knows the keys "reader" and "writer".
func (keys) Authenticate(_ context.Context, authorization string) (iam.Principal, error) {
	switch authorization {
	case "":
		return iam.Principal{}, nil
	case "Basic dTpyZWFkZXI=", "Bearer reader": // u:reader
		return iam.Principal{Kind: iam.Project, Name: "projects/reader", Project: "reader"}, nil
	case "Basic dTp3cml0ZXI=":
		return iam.Principal{Kind: iam.Project, Name: "projects/writer", Project: "writer"}, nil
	}
	return iam.Principal{}, &fault.Error{Op: "keys", Kind: fault.Unauthenticated}
}

func TestRegistry_AsksWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	authorize := func(ctx context.Context, repo string, a registry.Action) error {
		p := iam.PrincipalOf(ctx)
		switch {
		case p.Kind == iam.Anonymous:
			return &fault.Error{Op: "test", Kind: fault.Unauthenticated}
		case p.Project == "writer" || a == registry.Pull && !strings.HasPrefix(repo, "secret"):
			return nil
		}
		return &fault.Error{Op: "test", Kind: fault.Denied}
	}
	g := newRig(t, t.TempDir(), registry.Options{}, registry.Door{Authenticator: keys{}, Authorize: authorize})
	d := string(image.DigestOf([]byte("x")))
	const reader, writer = "Basic dTpyZWFkZXI=", "Basic dTp3cml0ZXI="
	for _, repo := range []string{"open", "secret"} {
		g.want(201, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+d, "x", "Authorization", writer)
		text := manifest(t, nil, image.Descriptor{Digest: image.Digest(d), Size: 1})
		g.want(201, "PUT", "/v2/"+repo+"/manifests/v1", text, "Content-Type", manifestType, "Authorization", writer)
	}
	f := func(method, path string, anonymous, read, write int) {
		t.Helper()
		got := g.want(anonymous, method, path, "")
		require.Equal(t, `Basic realm="selvedge", charset="UTF-8"`, got.header.Get("WWW-Authenticate"))
		got = g.want(401, method, path, "", "Authorization", "Basic bm86bm8=")
		require.NotEmpty(t, got.header.Get("WWW-Authenticate"))
		g.want(read, method, path, "", "Authorization", reader)
		g.want(read, method, path, "", "Authorization", "Bearer reader")
		g.want(write, method, path, "", "Authorization", writer)
	}
	f("GET", "/v2/", 401, 200, 200)
	f("GET", "/v2/open/blobs/"+d, 401, 200, 200)
	f("GET", "/v2/secret/blobs/"+d, 401, 403, 200)
	f("HEAD", "/v2/secret/blobs/"+d, 401, 403, 200)
	f("GET", "/v2/secret/manifests/v1", 401, 403, 200)
	f("HEAD", "/v2/secret/manifests/v1", 401, 403, 200)
	f("GET", "/v2/secret/tags/list", 401, 403, 200)
	f("GET", "/v2/secret/referrers/"+d, 401, 403, 200)
	f("POST", "/v2/open/blobs/uploads/", 401, 403, 202)
	f("POST", "/v2/open/blobs/uploads/?digest="+d, 401, 403, 400)
	f("POST", "/v2/open/blobs/uploads/?from=secret&mount="+d, 401, 403, 201)
	f("PATCH", "/v2/open/blobs/uploads/eA", 401, 403, 404)
	f("PUT", "/v2/open/blobs/uploads/eA?digest="+d, 401, 403, 404)
	f("PUT", "/v2/open/manifests/x", 401, 403, 400)
	f("DELETE", "/v2/open/manifests/none", 401, 403, 404)
	f("DELETE", "/v2/open/blobs/"+string(image.DigestOf([]byte("none"))), 401, 403, 404)
	require.JSONEq(t, `{"repositories":["open"]}`, g.want(200, "GET", "/v2/_catalog", "", "Authorization", reader).body)

	// Who may push to one repository, and not pull from another, gets nothing of
	// that by its digest.
	mine := newRig(t, t.TempDir(), registry.Options{}, registry.Door{Authorize: func(_ context.Context, repo string, _ registry.Action) error {
		if repo == "secret" {
			return &fault.Error{Op: "test", Kind: fault.Denied}
		}
		return nil
	}})
	mine.want(202, "POST", "/v2/mine/blobs/uploads/?from=secret&mount="+d, "")

	// Nothing said is nothing allowed.
	r, err := registry.Open(t.TempDir(), registry.Options{})
	require.NoError(t, err)
	w := httptest.NewRecorder()
	r.Handler(registry.Door{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/", nil))
	require.Equal(t, http.StatusForbidden, w.Code)
}

func TestOwns(t *testing.T) {
	t.Parallel()
	d := "sha256:" + strings.Repeat("0", 64)
	for _, p := range []string{"/v2", "/v2/", "/v2/_catalog", "/v2/a/tags/list", "/v2/a/b/c/manifests/latest", "/v2/a/blobs/" + d, "/v2/a/blobs/uploads/", "/v2/a/blobs/uploads", "/v2/a/blobs/uploads/x", "/v2/a/referrers/" + d, "/v2/projects/p/fn/manifests/" + d} {
		require.True(t, registry.Owns(p), p)
	}
	// Paths of Cloud Logging, and others.
	for _, p := range []string{"/", "/v1/events", "/v2x", "/v2/entries:list", "/v2/entries:write", "/v2/projects/p/logs", "/v2/projects/p/logs/l", "/v2/projects/p/locations/global/buckets/b/views/v", "/v2/projects/p/sinks/s", "/v2/projects/p/metrics/m", "/v2/monitoredResourceDescriptors", "/v2/organizations/1/exclusions"} {
		require.False(t, registry.Owns(p), p)
	}
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	g := newRig(t, t.TempDir(), registry.Options{}, registry.Door{Next: next, Authenticator: keys{}})
	g.want(418, "POST", "/v2/entries:list", "", "Authorization", "Bearer of another kind")
}

func TestSource_IsUnpacked(t *testing.T) {
	t.Parallel()
	g := newRig(t, t.TempDir(), registry.Options{}, registry.Door{})
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "func/f", Typeflag: tar.TypeReg, Mode: 0o755, Size: 1, Uid: os.Getuid(), Gid: os.Getgid()}))
	_, err := w.Write([]byte("x"))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	host := image.Host()
	config := fmt.Sprintf(`{"os":%q,"architecture":%q,"variant":%q,"rootfs":{"diff_ids":[%q]},"config":{"Cmd":["/func/f"]}}`, host.OS, host.Architecture, host.Variant, image.DigestOf(layer.Bytes()))
	text := manifest(t, nil, g.blob("p/fn", config), g.blob("p/fn", layer.String()))
	g.want(201, "PUT", "/v2/p/fn/manifests/latest", text, "Content-Type", manifestType)
	d, err := g.r.Resolve(t.Context(), "p/fn", "latest")
	require.NoError(t, err)
	cache, err := image.Open(t.TempDir(), image.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, cache.Close()) }()
	img, err := cache.Acquire(t.Context(), g.r.Source("p/fn"), string(d))
	require.NoError(t, err)
	defer img.Release()
	require.FileExists(t, filepath.Join(img.Root, "func", "f"))
	_, err = cache.Acquire(t.Context(), g.r.Source("p/other"), "latest")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}
