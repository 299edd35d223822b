package audit_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	auditv1 "selvedge.dev/functions/audit/v1"
	devicesv1 "selvedge.dev/functions/devices/v1"
	iamv1 "selvedge.dev/functions/iam/v1"
	metav1 "selvedge.dev/functions/meta/v1"
	reasonv1 "selvedge.dev/functions/reason/v1"
	schedulerv1 "selvedge.dev/functions/scheduler/v1"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
)

// words are what fields of secrets are called.
var words = []string{"password", "secret", "token", "private_key", "credential", "hash", "pin", "passphrase", "api_key"}

// open are fields with such names that are no secrets.
var open = []string{"page_token", "resume_token"}

// TestSecrets_AreMarked: a field of a message of a method that is called as
// secrets are is one to the audit, or is known to be none.
func TestSecrets_AreMarked(t *testing.T) {
	t.Parallel()
	types := &schema.Registry{}
	for _, add := range []func(*schema.Registry) *schema.Service{auditv1.AddTo, devicesv1.AddTo, iamv1.AddTo, metav1.AddTo, reasonv1.AddTo, schedulerv1.AddTo} {
		add(types)
	}
	seen := map[protoreflect.FullName]bool{}
	var walk func(md protoreflect.MessageDescriptor)
	walk = func(md protoreflect.MessageDescriptor) {
		if seen[md.FullName()] {
			return
		}
		seen[md.FullName()] = true
		for i := range md.Fields().Len() {
			f := md.Fields().Get(i)
			if f.Message() != nil {
				walk(f.Message())
				continue
			}
			if suspicious(f) {
				require.True(t, marked(f), "%s is called as a secret is: mark it with (selvedge.resource.v1.field).secret, or say here that it is none", f.FullName())
			}
		}
	}
	for _, s := range types.Services() {
		for _, m := range s.Methods {
			walk(m.Input.Descriptor())
			walk(m.Output.Descriptor())
		}
	}
	require.Greater(t, len(seen), 100)
	require.True(t, seen["selvedge.iam.v1.SetPasswordRequest"])
	d, err := protoregistry.GlobalFiles.FindDescriptorByName("selvedge.iam.v1.SetPasswordRequest.password")
	require.NoError(t, err)
	require.True(t, marked(d.(protoreflect.FieldDescriptor)))
}

// suspicious reports whether a field is called as a secret is. The name of a
// resource is none.
func suspicious(f protoreflect.FieldDescriptor) bool {
	if f.Kind() != protoreflect.StringKind && f.Kind() != protoreflect.BytesKind {
		return false
	}
	if proto.HasExtension(f.Options(), annotations.E_ResourceReference) {
		return false
	}
	name := string(f.Name())
	for _, o := range open {
		if strings.HasSuffix(name, o) {
			return false
		}
	}
	for _, w := range words {
		if strings.HasSuffix(name, w) {
			return true
		}
	}
	return false
}

// marked reports whether a field has the option secret.
func marked(f protoreflect.FieldDescriptor) bool {
	o, _ := f.Options().(*descriptorpb.FieldOptions)
	x, _ := proto.GetExtension(o, resourcev1.E_Field).(*resourcev1.FieldOptions)
	return x.GetSecret()
}
