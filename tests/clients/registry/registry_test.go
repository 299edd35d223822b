package registry_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/require"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/local/cluster/registry"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
)

// key is the one password that the registry of the tests takes.
const key = "key-of-the-project"

// keys is the authenticator that knows it.
type keys struct{}

// Authenticate takes the key as a bearer token, or as anybody's password.
func (keys) Authenticate(_ context.Context, authorization string) (iam.Principal, error) {
	r := http.Request{Header: http.Header{"Authorization": {authorization}}}
	_, password, _ := r.BasicAuth()
	switch {
	case authorization == "":
		return iam.Principal{}, nil
	case password == key, authorization == "Bearer "+key:
		return iam.ParsePrincipal("projects/p")
	}
	return iam.Principal{}, &fault.Error{Op: "keys", Kind: fault.Unauthenticated}
}

// authorize lets a project have the repositories below its name.
func authorize(ctx context.Context, repository string, _ registry.Action) error {
	p := iam.PrincipalOf(ctx)
	switch {
	case p.Kind == iam.Anonymous:
		return &fault.Error{Op: "authorize", Kind: fault.Unauthenticated}
	case repository == "" || strings.HasPrefix(repository, p.Project+"/"):
		return nil
	}
	return &fault.Error{Op: "authorize", Kind: fault.Denied}
}

// serve is a registry at an address.
func serve(t *testing.T, o registry.Options) (*registry.Registry, string) {
	t.Helper()
	r, err := registry.Open(t.TempDir(), o)
	require.NoError(t, err)
	s := httptest.NewServer(r.Handler(registry.Door{Authenticator: keys{}, Authorize: authorize}))
	t.Cleanup(s.Close)
	return r, strings.TrimPrefix(s.URL, "http://")
}

// basic and bearer are the two ways to show the key.
var (
	basic  = crane.WithAuth(&authn.Basic{Username: "anybody", Password: key})
	bearer = crane.WithAuth(&authn.Bearer{Token: key})
)

// pushed is an image that was pushed as ref.
func pushed(t *testing.T, ref string) v1.Image {
	t.Helper()
	img, err := random.Image(100_000, 3)
	require.NoError(t, err)
	require.NoError(t, crane.Push(img, ref, basic))
	return img
}

func TestCrane_PushesPullsListsCopiesDeletes(t *testing.T) {
	t.Parallel()
	_, host := serve(t, registry.Options{})
	img := pushed(t, host+"/p/fn:v1")
	want, err := img.Digest()
	require.NoError(t, err)
	for _, auth := range []crane.Option{basic, bearer} {
		back, err := crane.Pull(host+"/p/fn:v1", auth)
		require.NoError(t, err)
		require.NoError(t, validate.Image(back))
		got, err := crane.Digest(host+"/p/fn:v1", auth)
		require.NoError(t, err)
		require.Equal(t, want.String(), got)
	}
	require.NoError(t, crane.Push(img, host+"/p/fn:v1", basic), "again")
	require.NoError(t, crane.Tag(host+"/p/fn:v1", "v2", basic))
	tags, err := crane.ListTags(host+"/p/fn", basic)
	require.NoError(t, err)
	require.Equal(t, []string{"v1", "v2"}, tags)
	require.NoError(t, crane.Copy(host+"/p/fn:v1", host+"/p/copy:v1", basic)) // mounts
	repos, err := crane.Catalog(host, basic)
	require.NoError(t, err)
	require.Equal(t, []string{"p/copy", "p/fn"}, repos)
	require.NoError(t, crane.Delete(host+"/p/fn:v2", basic))
	require.NoError(t, crane.Delete(host+"/p/fn@"+want.String(), basic))
	tags, err = crane.ListTags(host+"/p/fn", basic)
	require.NoError(t, err)
	require.Empty(t, tags)
	_, err = crane.Digest(host+"/p/copy:v1", basic)
	require.NoError(t, err)
}

func TestRemote_PushesIndexesAndUnpacksThem(t *testing.T) {
	t.Parallel()
	r, host := serve(t, registry.Options{})
	index := v1.ImageIndex(empty.Index)
	for _, p := range []v1.Platform{{OS: "linux", Architecture: "arm64"}, {OS: "linux", Architecture: "amd64"}} {
		img, err := random.Image(100_000, 2)
		require.NoError(t, err)
		config, err := img.ConfigFile()
		require.NoError(t, err)
		config.OS, config.Architecture = p.OS, p.Architecture
		img, err = mutate.ConfigFile(img, config)
		require.NoError(t, err)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &p}})
	}
	ref, err := name.ParseReference(host + "/p/fn:latest")
	require.NoError(t, err)
	require.NoError(t, remote.WriteIndex(ref, index, remote.WithAuth(&authn.Basic{Username: "u", Password: key})))
	cache, err := image.Open(t.TempDir(), image.Options{Platform: image.Platform{OS: "linux", Architecture: "amd64"}})
	require.NoError(t, err)
	defer func() { require.NoError(t, cache.Close()) }()
	img, err := cache.Acquire(t.Context(), r.Source("p/fn"), "latest")
	require.NoError(t, err)
	defer img.Release()
	require.Equal(t, int64(200_000), img.Size)
	require.Equal(t, "amd64", img.Config.Architecture)
}

func TestCrane_IsToldWhatIsWrong(t *testing.T) {
	t.Parallel()
	_, host := serve(t, registry.Options{MaxBytes: 200_000})
	img, err := random.Image(100_000, 3)
	require.NoError(t, err)
	require.ErrorContains(t, crane.Push(img, host+"/p/fn:v1"), "401 Unauthorized")
	require.ErrorContains(t, crane.Push(img, host+"/p/fn:v1", crane.WithAuth(&authn.Basic{Username: "u", Password: "wrong"})), "401 Unauthorized")
	require.ErrorContains(t, crane.Push(img, host+"/other/fn:v1", basic), "403 Forbidden")
	require.ErrorContains(t, crane.Push(img, host+"/p/fn:v1", basic), "bound of 200000 bytes")
	_, err = crane.Pull(host+"/p/none", basic)
	require.ErrorContains(t, err, "MANIFEST_UNKNOWN")
}

// TestSkopeo copies in and out with the tool of another family of clients.
func TestSkopeo(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("skopeo")
	if err != nil {
		require.Empty(t, os.Getenv("SELVEDGE_REQUIRE_SKOPEO"), "skopeo is not installed")
		t.Skip("NOT TESTED: skopeo as a client of the registry: install Debian's skopeo")
	}
	_, host := serve(t, registry.Options{})
	img := pushed(t, host+"/p/fn:v1")
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), tool, append([]string{"--insecure-policy"}, args...)...).CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	const creds = "u:" + key
	layout := "oci:" + filepath.Join(t.TempDir(), "layout") + ":v1"
	run("copy", "--src-tls-verify=false", "--src-creds", creds, "docker://"+host+"/p/fn:v1", layout)
	run("copy", "--dest-tls-verify=false", "--dest-creds", creds, layout, "docker://"+host+"/p/back:v1")
	run("copy", "--dest-tls-verify=false", "--dest-creds", creds, "--format", "v2s2", layout, "docker://"+host+"/p/docker:v1")
	run("copy", "--src-tls-verify=false", "--src-creds", creds, "--dest-tls-verify=false", "--dest-creds", creds, "docker://"+host+"/p/fn:v1", "docker://"+host+"/p/mounted:v1")
	require.Contains(t, run("inspect", "--tls-verify=false", "--creds", creds, "docker://"+host+"/p/back:v1"), `"RepoTags"`)
	require.Contains(t, run("list-tags", "--tls-verify=false", "--creds", creds, "docker://"+host+"/p/docker"), `"v1"`)
	layers, err := img.Layers()
	require.NoError(t, err)
	back, err := crane.Pull(host+"/p/docker:v1", basic)
	require.NoError(t, err)
	again, err := back.Layers()
	require.NoError(t, err)
	require.Len(t, again, len(layers))
	run("delete", "--tls-verify=false", "--creds", creds, "docker://"+host+"/p/back:v1")
	var buf bytes.Buffer
	cmd := exec.CommandContext(t.Context(), tool, "inspect", "--tls-verify=false", "--creds", creds, "docker://"+host+"/p/back:v1")
	cmd.Stderr = &buf
	require.Error(t, cmd.Run())
	require.Contains(t, buf.String(), "manifest unknown")
}
