package service_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
)

// describe is a service with the methods Read, which only reads, and Follow,
// which streams. They are about no type of its own.
func describe(t *testing.T, types *schema.Registry) *schema.Service {
	t.Helper()
	method := func(name string, stream bool, kind resourcev1.Transaction) *descriptorpb.MethodDescriptorProto {
		o := &descriptorpb.MethodOptions{}
		proto.SetExtension(o, resourcev1.E_Method, &resourcev1.MethodOptions{Permission: "read", Transaction: kind})
		return &descriptorpb.MethodDescriptorProto{
			Name: &name, InputType: proto.String(".selvedge.sample.v1.MoveOrdersRequest"), OutputType: proto.String(".selvedge.sample.v1.BatchGetRobotsResponse"),
			ServerStreaming: &stream, Options: o,
		}
	}
	options := &descriptorpb.FileOptions{}
	proto.SetExtension(options, resourcev1.E_Service, &resourcev1.ServiceOptions{Domain: "extra.selvedge.dev"})
	f, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("extra.proto"), Package: proto.String("extra.v1"), Syntax: proto.String("proto3"), Options: options,
		Dependency: []string{"sdk/sample/v1/sample.proto", "sdk/sample/v1/sample_service.proto", "sdk/resource/v1/options.proto"},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Extra"), Method: []*descriptorpb.MethodDescriptorProto{
			method("Read", false, resourcev1.Transaction_READ_ONLY), method("Follow", true, resourcev1.Transaction_MANUAL),
		}}},
	}, protoregistry.GlobalFiles)
	require.NoError(t, err)
	s, err := types.Add(protoregistry.GlobalTypes, f)
	require.NoError(t, err)
	return s
}

func TestCustom_ReadsAndStreams(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.robot("r", secretive())
	extra := describe(t, w.store.Types())
	read, follow := extra.Methods[0], extra.Methods[1]
	robots := func(ctx context.Context) (*samplev1.BatchGetRobotsResponse, error) {
		m, err := w.store.GetShared(ctx, w.robots(), "projects/p/robots/r")
		if err != nil {
			return nil, err
		}
		return &samplev1.BatchGetRobotsResponse{Robots: []*samplev1.Robot{m.(*samplev1.Robot)}}, nil
	}
	var asked []resource.Name
	s, err := service.New(extra, w.store, service.Options{
		Authorize: func(ctx context.Context, permission string, name resource.Name) error {
			require.Equal(t, "extra.read", permission)
			asked = append(asked, name)
			return service.Allow(ctx, permission, name)
		},
		Methods: []service.Custom{
			service.Handle("Extra.Read", func(ctx context.Context, _ *samplev1.MoveOrdersRequest) (*samplev1.BatchGetRobotsResponse, error) {
				if err := w.store.Save(ctx, &samplev1.Robot{Name: "projects/p/robots/r"}, store.SaveOptions{}); fault.ReasonOf(err) != "READ_ONLY" {
					return nil, err
				}
				return robots(ctx)
			}),
			service.HandleStream("Extra.Follow", func(ctx context.Context, _ *samplev1.MoveOrdersRequest, send func(*samplev1.BatchGetRobotsResponse) error) error {
				return w.store.Run(ctx, store.ReadOnly, func(ctx context.Context) error {
					out, err := robots(ctx)
					if err != nil {
						return err
					}
					return send(out)
				})
			}),
		},
	})
	require.NoError(t, err)
	check := func(m proto.Message) {
		t.Helper()
		r := m.(*samplev1.BatchGetRobotsResponse).GetRobots()[0]
		require.Equal(t, []string{"red", "", ""}, []string{r.GetSpec().GetColor(), r.GetSpec().GetPin(), r.GetState().GetToken()}, "no secrets")
	}
	out, err := s.Call(w.ctx, read, &samplev1.MoveOrdersRequest{Parent: "projects/p"})
	require.NoError(t, err)
	check(out)
	require.NoError(t, s.Stream(w.ctx, follow, &samplev1.MoveOrdersRequest{Parent: "everywhere"}, func(m proto.Message) error { check(m); return nil }))
	require.Equal(t, "1234", w.get("r").GetSpec().GetPin(), "the cache keeps its own")
	require.Equal(t, []resource.Name{"projects/p", ""}, asked)

	_, err = s.Call(as("projects/q"), read, &samplev1.MoveOrdersRequest{Parent: "projects/p"})
	require.Equal(t, fault.Denied, fault.KindOf(err))
	require.Equal(t, fault.Denied, fault.KindOf(s.Stream(as("projects/q"), follow, &samplev1.MoveOrdersRequest{Parent: "projects/p"}, nil)))
	_, err = s.Call(w.ctx, read, &samplev1.MoveOrdersRequest{})
	require.ErrorContains(t, err, "parent: value is required")

	// Calls that are none of the caller's making.
	for _, wrong := range []func() error{
		func() error { _, err := s.Call(w.ctx, follow, &samplev1.MoveOrdersRequest{}); return err },
		func() error { return s.Stream(w.ctx, read, &samplev1.MoveOrdersRequest{}, nil) },
		func() error { _, err := s.Call(w.ctx, read, &samplev1.Robot{}); return err },
		func() error { _, err := s.Call(w.ctx, w.method(getRobot), &samplev1.GetRobotRequest{}); return err },
	} {
		require.ErrorContains(t, wrong(), "BUG: service")
	}
}
