package command

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
)

// sample are the types of the sample service, as a platform tells them.
func sample(t testing.TB) *schema.Registry {
	t.Helper()
	var set descriptorpb.FileDescriptorSet
	seen := map[string]bool{}
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
	}
	add(samplev1.File_sdk_sample_v1_sample_service_proto)
	body, err := proto.Marshal(&set)
	require.NoError(t, err)
	types, err := readSchema(body)
	require.NoError(t, err)
	return types
}

func TestTarget_WhatPeopleSay(t *testing.T) {
	t.Parallel()
	r := &remote{types: sample(t)}
	f := func(project, region, arg, plural, name, parent string) {
		t.Helper()
		a := &app{project: project, region: region}
		got, err := a.target(r, arg)
		require.NoError(t, err)
		require.Equal(t, []string{plural, name, parent}, []string{got.resource.Plural, string(got.name), got.parent})
	}
	f("p", "", "robots", "robots", "", "projects/p")
	f("p", "", "robot", "robots", "", "projects/p")
	f("p", "", "Robot", "robots", "", "projects/p")
	f("p", "", "sample.selvedge.dev/Robot", "robots", "", "projects/p")
	f("p", "eu", "robots", "robots", "", "projects/p/regions/eu")
	f("p", "", "robots/r", "robots", "projects/p/robots/r", "projects/p")
	f("p", "eu", "robots/r", "robots", "projects/p/regions/eu/robots/r", "projects/p/regions/eu")
	f("p", "", "projects/q/robots/r", "robots", "projects/q/robots/r", "projects/q")
	f("p", "", "projects", "projects", "", "")
	f("p", "", "projects/q", "projects", "projects/q", "")

	a := &app{project: "p"}
	_, err := a.target(r, "planets")
	require.ErrorContains(t, err, "there are models, orders, projects, robots")
	_, err = a.target(r, "robots/a b")
	require.Error(t, err)
}

func TestAssign_TextAndYAML(t *testing.T) {
	t.Parallel()
	x, ok := sample(t).Type("sample.selvedge.dev/Robot")
	require.True(t, ok)
	object := x.New()
	mask, err := assign(x, object, []string{
		"displayName=5551212", "metadata.labels.a=true", "spec.power=1.5", "spec.armed=true", "state.phase=BUSY", "spec.uptime_goal=90s",
		`spec.aliases=[{network: net, key: k, value: "5"}]`, "spec.friends=[a, b]", "spec.spares.`a.b`.note=N", "state.seen_time=2026-01-02T03:04:05Z",
	})
	require.NoError(t, err)
	require.Equal(t, "metadata.labels.a", mask[1])
	wire, err := proto.Marshal(object)
	require.NoError(t, err)
	var got samplev1.Robot
	require.NoError(t, proto.Unmarshal(wire, &got))
	require.Equal(t, "5551212", got.GetDisplayName())
	require.Equal(t, map[string]string{"a": "true"}, got.GetMetadata().GetLabels())
	require.InDelta(t, 1.5, got.GetSpec().GetPower(), 0)
	require.True(t, got.GetSpec().GetArmed())
	require.Equal(t, samplev1.RobotState_BUSY, got.GetState().GetPhase())
	require.EqualValues(t, 90, got.GetSpec().GetUptimeGoal().GetSeconds())
	require.Equal(t, "5", got.GetSpec().GetAliases()[0].GetValue())
	require.Equal(t, []string{"a", "b"}, got.GetSpec().GetFriends())
	require.Equal(t, "N", got.GetSpec().GetSpares()["a.b"].GetNote())
	require.NotZero(t, got.GetState().GetSeenTime().GetSeconds())

	for _, bad := range []string{"displayName", "nothing=1", "spec.power=much", "spec.parts.serial=1"} {
		_, err := assign(x, x.New(), []string{bad})
		require.Error(t, err, bad)
		require.ErrorAs(t, err, new(usageError), bad)
	}
}

func TestReadDocs_TypesNamesAndMasks(t *testing.T) {
	t.Parallel()
	r := &remote{types: sample(t)}
	docs, err := readDocs(r, "f", []byte("name: projects/p/robots/r\nspec: {power: 2}\nmetadata:\n  labels: {a: b}\n---\n'@type': sample.selvedge.dev/Model\nname: projects/p/models/m\nprice: '7'\n---\n"))
	require.NoError(t, err)
	require.Len(t, docs, 2)
	require.Equal(t, []string{"metadata.labels", "spec"}, docs[0].mask)
	require.Equal(t, "projects/p/models/m", docs[1].name())
	for text, want := range map[string]string{
		"name: projects/p/planets/r":                 "document 1",
		"name: projects/p/robots/r\nspeck: {}":       "speck",
		"'@type': x/Y\nname: projects/p/robots/r":    `there is no type "x/Y"`,
		"'@type': robots\nname: projects/p/models/m": "robots",
		"name: [1]": "name",
		"a: b: c":   "document 1",
		"name: projects/p/robots/r\n---\nspec: {power: 1}": "document 2",
	} {
		_, err := readDocs(r, "f", []byte(text))
		require.ErrorContains(t, err, want, text)
	}
}

func FuzzReadDocs(f *testing.F) {
	f.Add("name: projects/p/robots/r\nspec: {power: 2}\n---\n{}")
	r := &remote{types: sample(f)}
	f.Fuzz(func(t *testing.T, text string) {
		docs, err := readDocs(r, "f", []byte(text))
		if err != nil {
			return
		}
		for _, d := range docs {
			_, err := d.resource.Parse(d.name())
			require.NoError(t, err)
		}
	})
}

// What export writes of a resource, apply reads as the same one, without what
// is the platform's.
func TestDocument_ReadsBack(t *testing.T) {
	t.Parallel()
	r := &remote{types: sample(t)}
	x, ok := r.types.Type("sample.selvedge.dev/Robot")
	require.True(t, ok)
	object := x.New()
	_, err := assign(x, object, []string{"name=projects/p/robots/r", "spec.color=red", "metadata.uid=u", "metadata.resource_version=7", "metadata.generation=3"})
	require.NoError(t, err)
	text, err := document(x, object.ProtoReflect())
	require.NoError(t, err)
	require.Equal(t, "'@type': sample.selvedge.dev/Robot\nname: projects/p/robots/r\nspec:\n  color: red\n", string(text))
	docs, err := readDocs(r, "f", text)
	require.NoError(t, err)
	require.Equal(t, []string{"spec"}, docs[0].mask)
}

func TestLineDiff_Shortest(t *testing.T) {
	t.Parallel()
	require.Equal(t, "  a\n- b\n+ c\n  d\n", lineDiff("a\nb\nd\n", "a\nc\nd\n"))
	require.Equal(t, "+ a\n", lineDiff("", "a\n"))
	require.Equal(t, "- a\n", lineDiff("a\n", ""))
}

// Flags go before a context that was named, that before the environment, and
// that before the current context.
func TestContext_WhoSaysWhat(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "below", "config.yaml")
	t.Setenv(envConfig, file)
	t.Setenv(envKey, "the-key")
	t.Setenv(envURL, "")
	ok := func(args ...string) string {
		t.Helper()
		code, out, errOut := run(t, args...)
		require.Zero(t, code, errOut)
		return out
	}
	ok("context", "set", "one", "--url", "http://one", "--project", "p1")
	ok("context", "set", "two", "--url", "http://two", "--region", "eu")
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "there are keys in it")
	out := ok("context", "list")
	require.Contains(t, out, "*        one")
	require.NotContains(t, out, "the-key")

	settled := func(args ...string) app {
		t.Helper()
		a := &app{}
		c := a.root()
		require.NoError(t, c.ParseFlags(args))
		require.NoError(t, a.settle(c))
		return *a
	}
	t.Setenv(envKey, "")
	require.Equal(t, []string{"http://one", "p1", "the-key"}, []string{settled().url, settled().project, settled().key})
	ok("context", "use", "two")
	require.Equal(t, []string{"http://two", "p1", "eu"}, []string{settled().url, settled().project, settled().region})
	t.Setenv(envURL, "http://env")
	require.Equal(t, "http://env", settled().url)
	require.Equal(t, "http://one", settled("--context", "one").url)
	require.Equal(t, "http://flag", settled("--context", "one", "--url", "http://flag").url)
	ok("context", "delete", "two")
	require.Empty(t, settled().region)
}

func TestPrintPlan_IsATree(t *testing.T) {
	t.Parallel()
	var out, errOut bytes.Buffer
	a := &app{out: &out, errOut: &errOut, output: "table"}
	plan := &resourcev1.DeletionPlan{Blocked: true, Consequences: []*resourcev1.Consequence{
		{Name: "a", Effect: resourcev1.Consequence_DELETED, Timing: resourcev1.Consequence_AT_ONCE},
		{Name: "b", Cause: "a", Path: "spec.host", Effect: resourcev1.Consequence_DELETED, Timing: resourcev1.Consequence_SOON},
		{Name: "c", Cause: "b", Path: "spec.model", Effect: resourcev1.Consequence_BLOCKS},
		{Name: "d", Cause: "a", Path: "spec.leader", Effect: resourcev1.Consequence_UNSET, Timing: resourcev1.Consequence_AT_ONCE},
	}}
	require.NoError(t, a.printPlan(plan.ProtoReflect()))
	require.Regexp(t, `(?s)a +deleted +at once +-\n  b +deleted +soon after +spec.host\n    c +blocks +- +spec.model\n  d +unset +at once +spec.leader\n.*Blocked`, out.String())
}
