package e2e

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	devicesv1 "selvedge.dev/functions/devices/v1"
)

// reflectedDoor is a gRPC client that knows no proto file but those that the
// platform tells it, as grpcurl does. What goes over the wire is of its
// messages alone.
type reflectedDoor struct {
	grpcDoor
	files *protoregistry.Files
}

// reflected asks a platform for its files.
func reflected(t *testing.T, d grpcDoor) reflectedDoor {
	t.Helper()
	ask := asking(t, d)
	var set descriptorpb.FileDescriptorSet
	seen := map[string]bool{}
	var add func(answer *reflection.ServerReflectionResponse)
	add = func(answer *reflection.ServerReflectionResponse) {
		for _, text := range answer.GetFileDescriptorResponse().GetFileDescriptorProto() {
			var file descriptorpb.FileDescriptorProto
			require.NoError(t, proto.Unmarshal(text, &file))
			if seen[file.GetName()] {
				continue
			}
			seen[file.GetName()] = true
			set.File = append(set.File, &file)
			for _, imported := range file.GetDependency() {
				add(ask(&reflection.ServerReflectionRequest{MessageRequest: &reflection.ServerReflectionRequest_FileByFilename{FileByFilename: imported}}))
			}
		}
	}
	for _, name := range services(ask) {
		add(ask(&reflection.ServerReflectionRequest{MessageRequest: &reflection.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: name}}))
	}
	files, err := protodesc.NewFiles(&set)
	require.NoError(t, err)
	return reflectedDoor{grpcDoor: d, files: files}
}

// asking opens a reflection stream: each question has an answer, or fails t.
func asking(t *testing.T, d grpcDoor) func(*reflection.ServerReflectionRequest) *reflection.ServerReflectionResponse {
	t.Helper()
	stream, err := reflection.NewServerReflectionClient(d.conn).ServerReflectionInfo(d.authorized(bounded(t)))
	require.NoError(t, err)
	return func(q *reflection.ServerReflectionRequest) *reflection.ServerReflectionResponse {
		t.Helper()
		require.NoError(t, stream.Send(q))
		answer, err := stream.Recv()
		require.NoError(t, err)
		require.Nil(t, answer.GetErrorResponse(), "%v", q)
		return answer
	}
}

// services are the names of what there is.
func services(ask func(*reflection.ServerReflectionRequest) *reflection.ServerReflectionResponse) []string {
	var names []string
	for _, s := range ask(&reflection.ServerReflectionRequest{MessageRequest: &reflection.ServerReflectionRequest_ListServices{}}).GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	return names
}

// messages are empty messages of a method: the request and the answer.
func (d reflectedDoor) messages(method string) (in, out *dynamicpb.Message, err error) {
	desc, err := d.files.FindDescriptorByName(protoreflect.FullName(servicePackage + strings.ReplaceAll(method, "/", ".")))
	if err != nil {
		return nil, nil, err
	}
	m, ok := desc.(protoreflect.MethodDescriptor)
	if !ok {
		return nil, nil, errors.New(method + " is no method")
	}
	return dynamicpb.NewMessage(m.Input()), dynamicpb.NewMessage(m.Output()), nil
}

// convert makes to what from is, of another descriptor of the same name.
// Nothing of from may be unknown to it.
func convert(from, to proto.Message) error {
	wire, err := proto.Marshal(from)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(wire, to); err != nil {
		return err
	}
	if len(to.ProtoReflect().GetUnknown()) > 0 {
		return errors.New("the platform does not tell of a field")
	}
	return nil
}

// call implements door.
func (d reflectedDoor) call(ctx context.Context, method string, in, out proto.Message) error {
	req, resp, err := d.messages(method)
	if err != nil {
		return err
	}
	if err := convert(in, req); err != nil {
		return err
	}
	if err := d.grpcDoor.call(ctx, method, req, resp); err != nil {
		return err
	}
	return convert(resp, out)
}

// watch implements door.
func (d reflectedDoor) watch(ctx context.Context, in *devicesv1.WatchDevicesRequest) iter.Seq2[*devicesv1.WatchDevicesResponse, error] {
	return func(yield func(*devicesv1.WatchDevicesResponse, error) bool) {
		req, _, err := d.messages(watchDevices)
		if err == nil {
			err = convert(in, req)
		}
		if err != nil {
			yield(nil, err)
			return
		}
		d.grpcDoor.watch(ctx, in)(yield)
	}
}

// TestResources_ReflectionTellsWhatThereIs lists the services as grpcurl does,
// which nobody may without credentials.
func TestResources_ReflectionTellsWhatThereIs(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	stock := dialGRPC(t, p.URL, adminKey, nil)
	require.Subset(t, services(asking(t, stock)), []string{servicePackage + "DeviceService", servicePackage + "BlueprintService", servicePackage + "Aliases"})

	for _, key := range []string{"", "svk_aaaaaaaaaaaa_nonsense"} {
		stranger := dialGRPC(t, p.URL, key, nil)
		stream, err := reflection.NewServerReflectionClient(stranger.conn).ServerReflectionInfo(stranger.authorized(bounded(t)))
		require.NoError(t, err)
		_, err = stream.Recv()
		var r *refusal
		require.ErrorAs(t, refusalOfGRPC(err), &r)
		require.Equal(t, codes.Unauthenticated, r.code, "%v", r)
	}
}
