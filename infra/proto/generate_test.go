package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/descriptorpb"

	"selvedge.dev/sdk/fieldpath"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
)

// repository is the repository's root.
const repository = "../.."

// gripper is a type of resource as its author writes it.
const gripper = `
// Gripper is a hand of a robot.
message Gripper {
  option (google.api.resource) = {
    type: "sample.selvedge.dev/Gripper"
    pattern: "projects/{project}/robots/{robot}/grippers/{gripper}"
    singular: "gripper"
    plural: "grippers"
  };
  option (selvedge.resource.v1.resource) = {
    index: ["force"]
    without: [SEARCH]
  };
  string name = 1 [(google.api.field_behavior) = IDENTIFIER];
  selvedge.resource.v1.Metadata metadata = 2;
  double force = 3;
}
`

// tree is a copy of the sample service, with the vocabulary that it is written
// in, whose sample.proto is changed by edit.
func tree(t *testing.T, edit func(string) string) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"sdk/resource/v1", "sdk/sample/v1", "sdk/sample/secrets/v1"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
		paths, err := filepath.Glob(filepath.Join(repository, dir, "*.proto"))
		require.NoError(t, err)
		for _, p := range paths {
			b, err := os.ReadFile(p)
			require.NoError(t, err)
			text := string(b)
			if dir == "sdk/sample/v1" && filepath.Base(p) == "sample.proto" {
				text = edit(text)
			}
			require.NoError(t, os.WriteFile(filepath.Join(root, dir, filepath.Base(p)), []byte(text), 0o644))
		}
	}
	return root
}

// registry reads the services of an image.
func registry(t *testing.T, image *descriptorpb.FileDescriptorSet) *schema.Registry {
	t.Helper()
	files, err := link(image)
	require.NoError(t, err)
	var paths []string
	for _, f := range image.File {
		if strings.HasPrefix(f.GetName(), "sdk/sample/v1/") {
			paths = append(paths, f.GetName())
		}
	}
	packages, err := read(image, paths)
	require.NoError(t, err)
	require.Len(t, packages, 1)
	var r schema.Registry
	r.MustAdd(schema.Dynamic{Files: files}, packages[0].files...)
	return &r
}

// text is a file of a tree.
func text(t *testing.T, root, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	require.NoError(t, err)
	return string(b)
}

// TestGenerate_ATypeIsOneFile adds a type by writing its message, and finds its
// methods, its URLs and its Go code.
func TestGenerate_ATypeIsOneFile(t *testing.T) {
	t.Parallel()
	root := tree(t, func(s string) string { return s + gripper })
	image, err := Generate(t.Context(), root, "")
	require.NoError(t, err)
	r := registry(t, image)

	x, ok := r.Type("sample.selvedge.dev/Gripper")
	require.True(t, ok)
	index, ok := x.Index("force")
	require.True(t, ok)
	require.False(t, index.Many)
	verbs := map[resourcev1.Method]int{}
	for _, m := range r.Services()[0].Methods {
		if m.Resource == x {
			require.NotZero(t, m.Verb, m.Name)
			verbs[m.Verb]++
		}
	}
	require.Equal(t, map[resourcev1.Method]int{
		resourcev1.Method_GET: 1, resourcev1.Method_BATCH_GET: 1, resourcev1.Method_LIST: 1, resourcev1.Method_CREATE: 1,
		resourcev1.Method_UPDATE: 1, resourcev1.Method_DELETE: 1, resourcev1.Method_WATCH: 2,
	}, verbs)
	m, ok := r.Method("selvedge.sample.v1.GripperService.ListGrippers")
	require.True(t, ok)
	require.Equal(t, "sample.grippers.list", m.Permission)

	services := text(t, root, "sdk/sample/v1/sample_service.proto")
	require.Contains(t, services, `get: "/v1/{name=projects/*/robots/*/grippers/*}"`)
	require.Contains(t, services, `patch: "/v1/{gripper.name=projects/*/robots/*/grippers/*}"`)
	require.Contains(t, services, `get: "/v1/{parent=projects/*/robots/*}/grippers:watch"`)
	require.NotContains(t, services, "SearchGrippers")
	code := text(t, root, "sdk/sample/v1/schema_gen.go")
	require.Contains(t, code, "type GripperName struct{ Project, Robot, Gripper string }")
	require.Contains(t, code, `GripperPathForce    = fieldpath.Of[*Gripper, float64]("force")`)
}

// TestGenerate_PathsExist parses every path of the sample's Go code, which is
// otherwise looked at when it is first used.
func TestGenerate_PathsExist(t *testing.T) {
	t.Parallel()
	root := tree(t, func(s string) string { return s })
	image, err := Generate(t.Context(), root, "")
	require.NoError(t, err)
	r := registry(t, image)
	found := regexp.MustCompile(`\[\*(\w+), .*\]\("(.*)"\)`).FindAllStringSubmatch(text(t, root, "sdk/sample/v1/schema_gen.go"), -1)
	require.Greater(t, len(found), 40)
	for _, m := range found {
		x, ok := r.Type("sample.selvedge.dev/" + m[1])
		require.True(t, ok, m[0])
		_, err := fieldpath.Parse(x.Message.Descriptor(), m[2])
		require.NoError(t, err, m[0])
	}
}

// TestGenerate_Without leaves out every method but one, and every one: what is
// written imports what it needs and nothing else.
func TestGenerate_Without(t *testing.T) {
	t.Parallel()
	all := []string{"GET", "BATCH_GET", "LIST", "SEARCH", "CREATE", "UPDATE", "DELETE", "WATCH"}
	f := func(but string, imports ...string) {
		t.Helper()
		root := tree(t, func(s string) string { return s })
		name := filepath.Join(root, "sdk", "sample", "secrets", "v1", "secrets.proto")
		without := strings.Join(slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == but }), ", ")
		secrets := strings.Replace(text(t, root, "sdk/sample/secrets/v1/secrets.proto"), "  string name = 1",
			"  option (selvedge.resource.v1.resource) = {without: ["+without+"]};\n  string name = 1", 1)
		require.NoError(t, os.WriteFile(name, []byte(secrets), 0o644))
		_, err := Generate(t.Context(), root, "")
		require.NoError(t, err)
		if len(imports) == 0 {
			require.NoFileExists(t, filepath.Join(filepath.Dir(name), "secrets_service.proto"))
			return
		}
		var got []string
		for _, m := range regexp.MustCompile(`import ".*/(\w+)\.proto"`).FindAllStringSubmatch(text(t, root, "sdk/sample/secrets/v1/secrets_service.proto"), -1) {
			got = append(got, m[1])
		}
		require.Equal(t, imports, got, but)
	}
	f("GET", "annotations", "field_behavior", "resource", "field_mask", "service", "secrets")
	f("DELETE", "annotations", "field_behavior", "resource", "service")
	f("CREATE", "annotations", "field_behavior", "resource", "secrets")
	f("UPDATE", "annotations", "field_behavior", "field_mask", "secrets")
	f("WATCH", "annotations", "field_behavior", "resource", "field_mask", "timestamp", "service", "secrets")
	f("")
}

// TestGenerate_IsWhatIsCommitted generates the sample again: nothing changes,
// so nothing is written.
func TestGenerate_IsWhatIsCommitted(t *testing.T) {
	t.Parallel()
	root := tree(t, func(s string) string { return s })
	path := filepath.Join(root, "sdk", "sample", "v1", "sample_service.proto")
	before, err := os.Stat(path)
	require.NoError(t, err)
	want := text(t, root, "sdk/sample/v1/sample_service.proto")
	_, err = Generate(t.Context(), root, "")
	require.NoError(t, err)
	after, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, want, text(t, root, "sdk/sample/v1/sample_service.proto"))
	require.Equal(t, before.ModTime(), after.ModTime())
}

// TestGenerate_RemovesWhatIsGone makes the types of a file hidden.
func TestGenerate_RemovesWhatIsGone(t *testing.T) {
	t.Parallel()
	root := tree(t, func(s string) string { return s })
	name := filepath.Join(root, "sdk", "sample", "secrets", "v1")
	require.NoError(t, os.WriteFile(filepath.Join(name, "secrets_service.pb.go"), nil, 0o644))
	proto := text(t, root, "sdk/sample/secrets/v1/secrets.proto")
	hidden := strings.Replace(proto, "  string name = 1", "  option (selvedge.resource.v1.resource).hidden = true;\n  string name = 1", 1)
	require.NoError(t, os.WriteFile(filepath.Join(name, "secrets.proto"), []byte(hidden), 0o644))
	_, err := Generate(t.Context(), root, "")
	require.NoError(t, err)
	entries, err := os.ReadDir(name)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, "secrets.proto", entries[0].Name())
}

// TestGenerate_Refuses shows that what is wrong is found before anything is
// written.
func TestGenerate_Refuses(t *testing.T) {
	t.Parallel()
	f := func(old, replacement, message string) {
		t.Helper()
		root := tree(t, func(s string) string {
			require.Contains(t, s, old)
			return strings.Replace(s, old, replacement, 1)
		})
		require.NoError(t, os.Remove(filepath.Join(root, "sdk", "sample", "v1", "sample_service.proto")))
		_, err := Generate(t.Context(), root, "")
		require.ErrorContains(t, err, message)
		require.NoFileExists(t, filepath.Join(root, "sdk", "sample", "v1", "sample_service.proto"))
	}
	f(`imports: ["secrets.sample.selvedge.dev"]`, ``, "the service does not import secrets.sample.selvedge.dev")
	f(`"secrets.sample.selvedge.dev/Secret"`, `"secrets.sample.selvedge.dev/Sekret"`, "spec.secret refers to secrets.sample.selvedge.dev/Sekret, which does not exist")
	f(`"projects/{project}/models/{model}"`, `"makers/{maker}/models/{model}"`, "the variable maker of the pattern makers/{maker}/models/{model} is no type")
	// SPEC 1.E 9
	f("      collection: true", "      plural: true", "a method that is plural and not of a collection cannot be routed")
	f("message Model {", "message Modle {", "the type sample.selvedge.dev/Model with the singular model must be the message Model")
}
