package schema_test

import (
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"selvedge.dev/sdk/schema"
)

// protoName is a text as a name.
func protoName(s string) protoreflect.FullName { return protoreflect.FullName(s) }

// prelude is what every file of a case begins with.
const prelude = `syntax = "proto3";
package test.v1;
import "google/api/field_behavior.proto";
import "google/api/resource.proto";
import "sdk/resource/v1/metadata.proto";
import "sdk/resource/v1/options.proto";
`

// service is the option of the service of a case.
const service = `option (selvedge.resource.v1.service) = {domain: "test.dev" imports: ["other.dev"]};
`

// linked finds what the test program links.
func linked(path string) (protocompile.SearchResult, error) {
	f, err := protoregistry.GlobalFiles.FindFileByPath(path)
	if err != nil {
		return protocompile.SearchResult{}, err
	}
	return protocompile.SearchResult{Proto: protodesc.ToFileDescriptorProto(f)}, nil
}

// add reads the text of a proto file into a registry and checks that.
func add(t *testing.T, text string) (*schema.Service, error) {
	t.Helper()
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(protocompile.CompositeResolver{
		&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(map[string]string{"test.proto": text})},
		protocompile.ResolverFunc(linked),
	})}
	files, err := c.Compile(t.Context(), "test.proto")
	require.NoError(t, err)
	r, ok := files[0].(linker.Result)
	require.True(t, ok)
	// Once more from bytes, which have the options as messages of this program.
	b, err := proto.Marshal(r.FileDescriptorProto())
	require.NoError(t, err)
	var d descriptorpb.FileDescriptorProto
	require.NoError(t, proto.Unmarshal(b, &d))
	f, err := protodesc.NewFile(&d, protoregistry.GlobalFiles)
	require.NoError(t, err)
	var own protoregistry.Files
	require.NoError(t, own.RegisterFile(f))
	var registry schema.Registry
	s, err := registry.Add(schema.Dynamic{Files: &own}, f)
	if err != nil {
		return nil, err
	}
	return s, registry.Check()
}

// thing is a resource Thing with more options and more fields.
func thing(options, fields string) string {
	return `message Thing {
  option (google.api.resource) = {type: "test.dev/Thing" pattern: "projects/{project}/things/{thing}" singular: "thing" plural: "things"};
` + options + `
  string name = 1;
  selvedge.resource.v1.Metadata metadata = 2;
` + fields + `
}
`
}

// described is a resource Thing with its google.api.resource as given.
func described(resource string) string {
	return "message Thing {\n  option (google.api.resource) = {" + resource + "};\n  string name = 1;\n}\n"
}

// reference is a field that refers to a type, with more options.
func reference(kind string, more ...string) string {
	return "string other = 3 [" + strings.Join(append([]string{`(google.api.resource_reference).type = "` + kind + `"`}, more...), ", ") + "];"
}

func TestAdd_Accepts(t *testing.T) {
	t.Parallel()
	s, err := add(t, prelude+service+thing(
		`option (selvedge.resource.v1.resource) = {index: ["size"] search: ["metadata.tags"] unique: {path: "size" within: "project"} without: [DELETE]};`,
		`int64 size = 4;`+reference("test.dev/Thing", "(google.api.field_behavior) = REQUIRED", "(selvedge.resource.v1.field).on_delete = CASCADE_DELETE")))
	require.NoError(t, err)
	require.Len(t, s.Resources, 1)
	require.True(t, s.Resources[0].References[0].Required)
	require.Equal(t, "things", s.Resources[0].Fields())
}

// TestAdd_Refuses shows what a proto file may not say, and that the message
// names it. SPEC 1.E 9 is the case of a plural method.
func TestAdd_Refuses(t *testing.T) {
	t.Parallel()
	f := func(name, text, message string) {
		t.Helper()
		_, err := add(t, prelude+text)
		require.Error(t, err, name)
		require.Contains(t, err.Error(), message, name)
	}
	const option, onDelete = "(selvedge.resource.v1.resource)", "(selvedge.resource.v1.field).on_delete = "

	f("no service", thing("", ""), "no file of test.v1 has the option (selvedge.resource.v1.service)")
	f("a type of another service", service+described(`type: "other.dev/Thing" pattern: "things/{thing}" singular: "thing" plural: "things"`),
		"test.v1.Thing: the type other.dev/Thing is not of the service test.dev")
	f("no plural", service+described(`type: "test.dev/Thing" pattern: "things/{thing}" singular: "thing"`),
		"google.api.resource needs type, pattern, singular and plural")
	f("a type of another name", service+described(`type: "test.dev/Thong" pattern: "thongs/{thong}" singular: "thong" plural: "thongs"`),
		"must be the message Thong")
	f("no name", service+"message Thing {\n  option (google.api.resource) = {type: \"test.dev/Thing\" pattern: \"things/{thing}\" singular: \"thing\" plural: \"things\"};\n}\n",
		`a resource has a string field "name"`)
	f("a spec inside of a state", service+thing("", "State state = 3 [(selvedge.resource.v1.field).part = STATE];")+
		"message State { string x = 1 [(selvedge.resource.v1.field).part = SPEC]; }", "state.x is SPEC inside of what is not")

	f("a pattern that ends with a collection", service+described(`type: "test.dev/Thing" pattern: "projects/{project}/things" singular: "thing" plural: "things"`),
		"the pattern projects/{project}/things does not alternate collections with variables")
	f("a pattern that begins with a variable", service+described(`type: "test.dev/Thing" pattern: "{project}/things" singular: "thing" plural: "things"`),
		"does not alternate")
	f("a pattern with half a variable", service+described(`type: "test.dev/Thing" pattern: "things/{thing" singular: "thing" plural: "things"`),
		"does not alternate")
	f("a pattern with a variable twice", service+described(`type: "test.dev/Thing" pattern: "things/{thing}/things/{thing}" singular: "thing" plural: "things"`),
		"has the variable {thing} twice")
	f("a pattern of something else", service+described(`type: "test.dev/Thing" pattern: "projects/{project}/things/{id}" singular: "thing" plural: "things"`),
		"the pattern projects/{project}/things/{id} does not end with things/{thing}")
	f("a pattern with an unknown variable", strings.ReplaceAll(service, `"other.dev"`, "")+described(`type: "test.dev/Thing" pattern: "boxes/{box}/things/{thing}" singular: "thing" plural: "things"`),
		"the variable box of the pattern boxes/{box}/things/{thing} is no type of the service or of one that it imports")

	f("a reference to a service that is not imported", service+thing("", reference("else.dev/Thing")),
		"other refers to else.dev/Thing, but the service does not import else.dev")
	f("a reference to no type", service+thing("", reference("test.dev/Thong")), "other refers to test.dev/Thong, which does not exist")
	f("a reference that is a number", service+thing("", `int64 other = 3 [(google.api.resource_reference).type = "test.dev/Thing"];`),
		"other refers to a resource but is no string")
	f("a policy without a reference", service+thing("", "string other = 3 ["+onDelete+"BLOCK];"),
		"other has on_delete but no google.api.resource_reference")
	f("a required reference that is unset", service+thing("", reference("test.dev/Thing", "(google.api.field_behavior) = REQUIRED", onDelete+"UNSET")),
		"other is required, so it cannot be unset")
	f("a required reference that is unset later", service+thing("", reference("test.dev/Thing", "(google.api.field_behavior) = REQUIRED", onDelete+"ASYNC_UNSET")),
		"other is required, so it cannot be unset")
	f("a reference of what is unconstrained", service+thing("option "+option+".unconstrained = true;", reference("other.dev/Thing")),
		"other is a reference, but the type is unconstrained")
	f("a reference to what is unconstrained", service+thing("", reference("test.dev/Box"))+
		strings.NewReplacer("Thing", "Box", "things", "boxes", "thing", "box").Replace(thing("option "+option+".unconstrained = true;", "")),
		"other refers to test.dev/Box, which is unconstrained")

	f("an index of nothing", service+thing("option "+option+".index = \"metadata.nothing\";", ""), `Metadata has no field "nothing"`)
	f("a unique path of nothing", service+thing("option "+option+`.unique = {path: "nothing"};`, ""), `Thing has no field "nothing"`)
	f("unique within nothing", service+thing("option "+option+`.unique = {path: "metadata.uid" within: "box"};`, ""),
		"metadata.uid is unique within box, which the pattern projects/{project}/things/{thing} has not")
	f("a search of nothing", service+thing("option "+option+".search = \"nothing\";", ""), `Thing has no field "nothing"`)
	f("an index of a secret", service+thing("option "+option+".index = \"pin\";", "string pin = 3 [(selvedge.resource.v1.field).secret = true];"),
		"pin is secret and cannot be indexed")
	f("a search of a secret", service+thing("option "+option+".search = \"pins.a\";", "map<string, string> pins = 3 [(selvedge.resource.v1.field).secret = true];"),
		"pins.a is secret and cannot be searched")

	const method = "service Works { rpc MoveThings(MoveThingsRequest) returns (Thing) { option (selvedge.resource.v1.method) = {%}; } }\n" +
		"message MoveThingsRequest { repeated string names = 1; }\n"
	f("plural and no collection", service+thing("", "")+strings.ReplaceAll(method, "%", "plural: true"),
		"test.v1.Works.MoveThings: a method that is plural and not of a collection cannot be routed")
	f("a collection without parent", service+thing("", "")+strings.ReplaceAll(method, "%", "collection: true"),
		"the request MoveThingsRequest of a method of a collection has parent and filter")
}
