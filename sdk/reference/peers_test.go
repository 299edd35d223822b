package reference_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/reference"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/storetest/memory"
)

// backReferences are the records of a store.
func (s *site) backReferences() int {
	n := 0
	require.NoError(s.world.t, s.st.Run(ctx, store.Consistent, func(ctx context.Context) error {
		tx, _ := s.st.TxOf(ctx)
		return tx.Scan(ctx, store.Scan{Type: "records.selvedge.dev/BackReference"}, func(*schema.Resource, proto.Message) bool {
			n++
			return true
		})
	}))
	return n
}

// A transaction that failed after it had announced its reference leaves no more
// than a trace, for a while.
func TestPeers_StaleReference(t *testing.T) {
	w := newTest(t)
	w.save(secret("s"), secret("t"))
	w.sample.drv.set(2) // the commit
	require.Error(t, w.try(robot("r", &samplev1.RobotSpec{Secret: secretName("s")})))
	w.sample.drv.set(2)
	require.Error(t, w.try(order("o", "", secretName("t"))))
	w.sample.drv.set(0)
	require.Equal(t, 2, w.secrets.backReferences())

	require.ErrorContains(t, w.remove(secretType, secretName("s")), "whose transaction may be running")
	require.NoError(t, w.remove(secretType, secretName("t"))) // waits
	w.settle()
	require.True(t, w.has(secretType, secretName("t")))
	w.pass(2 * time.Minute)
	require.False(t, w.has(secretType, secretName("t")))
	require.Zero(t, w.secrets.backReferences())
	require.NoError(t, w.remove(secretType, secretName("s")))
	require.False(t, w.has(secretType, secretName("s")))
}

// While the source cannot be asked, nothing is decided.
func TestPeers_Unreachable(t *testing.T) {
	w := newTest(t)
	w.save(secret("s"), secret("t"), secret("free"))
	w.save(order("o", "", secretName("s")), robot("r", &samplev1.RobotSpec{Secret: secretName("t")}))
	w.peers.Cut(sampleAt, true)
	require.Equal(t, fault.Unavailable, fault.KindOf(w.remove(secretType, secretName("s"))))
	require.Equal(t, fault.Unavailable, fault.KindOf(w.remove(secretType, secretName("t"))))
	require.NoError(t, w.remove(secretType, secretName("free")))
	w.peers.Cut(sampleAt, false)
	w.peers.Cut(secretsAt, true)
	require.Equal(t, fault.Unavailable, fault.KindOf(w.try(order("late", "", secretName("s")))))
	w.peers.Cut(secretsAt, false)

	require.NoError(t, w.remove(secretType, secretName("s")))
	w.peers.Cut(sampleAt, true)
	w.pass(time.Hour)
	require.True(t, w.has(secretType, secretName("s")))
	require.Contains(t, w.secrets.ctl.Stats().Waiting[resource.Name(secretName("s"))], "cannot be reached")
	w.peers.Cut(sampleAt, false)
	w.pass(2 * time.Minute)
	require.False(t, w.has(secretType, secretName("s")))
	o, _ := get(w, orderType, orderName("o"))
	require.Empty(t, o.GetSecret())
}

// Regions of one service are stores of their own.
func TestPeers_Regions(t *testing.T) {
	w := newTest(t)
	add := func(r *schema.Registry) { samplev1.AddTo(r) }
	eu := w.site(reference.Address{Service: "sample.selvedge.dev", Region: "eu"}, &flaky{Driver: memory.New()}, add)
	us := w.site(reference.Address{Service: "sample.selvedge.dev", Region: "us"}, &flaky{Driver: memory.New()}, add)
	in := func(s *site, m *samplev1.Robot) error {
		w.sample = s
		return w.try(m)
	}
	regional := func(region, s string) string { return "projects/p/regions/" + region + "/robots/" + s }
	require.NoError(t, in(us, &samplev1.Robot{Name: regional("us", "x")}))
	require.ErrorContains(t, in(eu, &samplev1.Robot{Name: regional("eu", "no"), Spec: &samplev1.RobotSpec{Leader: regional("us", "y")}}), "does not exist")
	require.NoError(t, in(eu, &samplev1.Robot{Name: regional("eu", "led"), Spec: &samplev1.RobotSpec{Leader: regional("us", "x")}}))
	require.NoError(t, in(eu, &samplev1.Robot{Name: regional("eu", "part"), Spec: &samplev1.RobotSpec{Host: regional("us", "x")}}))
	owned := &samplev1.Robot{Name: robotName("owned"), Metadata: &resourcev1.Metadata{OwnerReferences: []*resourcev1.OwnerReference{owner(regional("us", "x"))}}}
	require.NoError(t, in(eu, owned))
	settle := func() {
		for range 3 {
			w.sample = eu
			w.settle()
			w.sample = us
			w.settle()
			w.clock.move(2 * time.Second)
		}
	}
	settle()
	w.clock.move(time.Minute) // no transaction of then can still be running
	w.sample = us
	_, lines := w.plan(robotType, regional("us", "x"))
	require.ElementsMatch(t, []string{
		"DELETED AT_ONCE projects/p/regions/us/robots/x  ",
		"UNSET SOON projects/p/regions/eu/robots/led projects/p/regions/us/robots/x spec.leader",
		"DELETED SOON projects/p/regions/eu/robots/part projects/p/regions/us/robots/x spec.host",
		"DELETED COLLECTED projects/p/robots/owned projects/p/regions/us/robots/x metadata.owner_references",
	}, lines)
	require.NoError(t, w.remove(robotType, regional("us", "x")))
	require.True(t, w.has(robotType, regional("us", "x")))
	settle()
	require.False(t, w.has(robotType, regional("us", "x")))
	w.sample = eu
	require.False(t, w.has(robotType, regional("eu", "part")))
	require.False(t, w.has(robotType, robotName("owned")))
	led, ok := get(w, robotType, regional("eu", "led"))
	require.True(t, ok)
	require.Empty(t, led.GetSpec().GetLeader())
}

// Types without metadata are never DELETING and never collected: what would
// come later is done at once. SPEC 1.E 7
func TestDelete_WithoutMetadata(t *testing.T) {
	w := newTest(t)
	types := &schema.Registry{}
	plain := plainType(t)
	types.MustAdd(schema.Dynamic{Files: plain}, mustFile(t, plain))
	s := &site{drv: &flaky{Driver: memory.New()}, world: w, at: reference.Address{Service: "plain.selvedge.dev"}}
	s.refs = reference.New(reference.Options{Now: w.clock.now})
	s.st = store.New(s.drv, types, store.Options{Plugins: []store.Plugin{s.refs}, Now: w.clock.now})
	s.restart()
	x, _ := types.Type("plain.selvedge.dev/Thing")
	thing := func(name, friend, master string) proto.Message {
		m := x.New()
		for field, v := range map[protoreflect.Name]string{"name": name, "friend": friend, "master": master} {
			m.ProtoReflect().Set(m.ProtoReflect().Descriptor().Fields().ByName(field), protoreflect.ValueOfString(v))
		}
		return m
	}
	do := func(f func(ctx context.Context) error) error { return s.st.Run(ctx, store.Transaction, f) }
	require.NoError(t, do(func(ctx context.Context) error {
		for _, m := range []proto.Message{thing("things/a", "", ""), thing("things/b", "things/a", ""), thing("things/c", "things/b", "things/a")} {
			if err := s.st.Save(ctx, m, store.SaveOptions{}); err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(t, do(func(ctx context.Context) error { return s.st.Delete(ctx, x, "things/a", store.DeleteOptions{}) }))
	require.NoError(t, s.ctl.Settle(ctx))
	found := map[string]proto.Message{}
	require.NoError(t, s.st.Run(ctx, store.Consistent, func(ctx context.Context) error {
		tx, _ := s.st.TxOf(ctx)
		return tx.Scan(ctx, store.Scan{Type: x.Type}, collect(found))
	}))
	require.Len(t, found, 1)
	require.True(t, proto.Equal(thing("things/b", "", ""), found["things/b"]))
}

// plainType describes a service with a type without metadata.
func plainType(t *testing.T) *protoregistry.Files {
	t.Helper()
	refer := func(name string, number int32, p resourcev1.OnDelete) *descriptorpb.FieldDescriptorProto {
		o := &descriptorpb.FieldOptions{}
		proto.SetExtension(o, annotations.E_ResourceReference, &annotations.ResourceReference{Type: "plain.selvedge.dev/Thing"})
		proto.SetExtension(o, resourcev1.E_Field, &resourcev1.FieldOptions{OnDelete: p})
		return &descriptorpb.FieldDescriptorProto{
			Name: proto.String(name), Number: proto.Int32(number), Options: o,
			Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
	}
	file, message := &descriptorpb.FileOptions{}, &descriptorpb.MessageOptions{}
	proto.SetExtension(file, resourcev1.E_Service, &resourcev1.ServiceOptions{Domain: "plain.selvedge.dev"})
	proto.SetExtension(message, annotations.E_Resource, &annotations.ResourceDescriptor{Type: "plain.selvedge.dev/Thing", Pattern: []string{"things/{thing}"}, Singular: "thing", Plural: "things"})
	name := &descriptorpb.FieldDescriptorProto{
		Name: proto.String("name"), Number: proto.Int32(1),
		Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
	}
	files, err := protodesc.NewFiles(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{{
		Name: proto.String("plain.proto"), Package: proto.String("plain.v1"), Syntax: proto.String("proto3"), Options: file,
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Thing"), Options: message, Field: []*descriptorpb.FieldDescriptorProto{
			name, refer("friend", 2, resourcev1.OnDelete_ASYNC_UNSET), refer("master", 3, resourcev1.OnDelete_ASYNC_CASCADE_DELETE),
		}}},
	}}})
	require.NoError(t, err)
	return files
}

// mustFile is the one file.
func mustFile(t *testing.T, files *protoregistry.Files) protoreflect.FileDescriptor {
	t.Helper()
	f, err := files.FindFileByPath("plain.proto")
	require.NoError(t, err)
	return f
}
