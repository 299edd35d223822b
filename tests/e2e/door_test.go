package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/tests/process"
)

// door is one of the ways to call the platform's services.
type door interface {
	// call does a method, "DeviceService/GetDevice". An answer that is an error
	// is a *refusal.
	call(ctx context.Context, method string, in, out proto.Message) error
	// watch does DeviceService/WatchDevices until the caller breaks.
	watch(ctx context.Context, in *devicesv1.WatchDevicesRequest) iter.Seq2[*devicesv1.WatchDevicesResponse, error]
}

// refusal is an error as the caller gets it, whatever the protocol.
type refusal struct {
	code                                 codes.Code
	message, reason, domain, field, name string
}

// Error implements error.
func (r *refusal) Error() string {
	return fmt.Sprintf("%s (%s, field %q, name %q): %s", r.code, r.reason, r.field, r.name, r.message)
}

// informed adds what a google.rpc.ErrorInfo says.
func (r *refusal) informed(d *errdetails.ErrorInfo) {
	r.reason, r.domain, r.field, r.name = d.GetReason(), d.GetDomain(), d.GetMetadata()["field"], d.GetMetadata()["name"]
}

// refused checks that err is a refusal of that kind with that reason.
func refused(t *testing.T, err error, code codes.Code, reason string) *refusal {
	t.Helper()
	var r *refusal
	require.ErrorAs(t, err, &r)
	require.Equal(t, []any{code, reason, fault.Domain}, []any{r.code, r.reason, r.domain}, "%v", r)
	return r
}

// callTimeout bounds a call or a journey of them: what is stuck is told.
const callTimeout = 90 * time.Second

// bounded is a context that ends with the test, or after callTimeout.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	t.Cleanup(cancel)
	return ctx
}

// servicePackage is the proto package of the services that are called.
const servicePackage = "selvedge.devices.v1."

// watchDevices is the method of door.watch.
const watchDevices = "DeviceService/WatchDevices"

// connectDoor is Connect's own client, for three protocols.
type connectDoor struct {
	url, key string
	http     connect.HTTPClient
	options  []connect.ClientOption
}

// call implements door. The client is one of bytes as far as Go's types go: its
// codec is what the messages are.
func (d connectDoor) call(ctx context.Context, method string, in, out proto.Message) error {
	c := connect.NewClient[passed, passed](d.http, d.url+"/"+servicePackage+method,
		append([]connect.ClientOption{connect.WithResponseInitializer(func(_ connect.Spec, v any) error { v.(*passed).Message = out; return nil })}, d.options...)...)
	req := connect.NewRequest(&passed{in})
	d.authorize(req.Header())
	_, err := c.CallUnary(ctx, req)
	return refusalOfConnect(err)
}

// passed is a message whose type is not known to the Go compiler.
type passed struct{ proto.Message }

// watch implements door.
func (d connectDoor) watch(ctx context.Context, in *devicesv1.WatchDevicesRequest) iter.Seq2[*devicesv1.WatchDevicesResponse, error] {
	return func(yield func(*devicesv1.WatchDevicesResponse, error) bool) {
		c := connect.NewClient[devicesv1.WatchDevicesRequest, devicesv1.WatchDevicesResponse](d.http, d.url+"/"+servicePackage+watchDevices, d.options...)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		req := connect.NewRequest(in)
		d.authorize(req.Header())
		stream, err := c.CallServerStream(ctx, req)
		if err != nil {
			yield(nil, refusalOfConnect(err))
			return
		}
		defer func() { cancel(); _ = stream.Close() }() // it was cut off
		for stream.Receive() {
			if !yield(stream.Msg(), nil) {
				return
			}
		}
		yield(nil, errors.Join(refusalOfConnect(stream.Err()), errEnded))
	}
}

// errEnded is the end of a watch that the server ended.
var errEnded = errors.New("the watch ended")

// authorize adds the key.
func (d connectDoor) authorize(h http.Header) {
	if d.key != "" {
		h.Set("Authorization", "Bearer "+d.key)
	}
}

// refusalOfConnect is err with what it says, nil for nil.
func refusalOfConnect(err error) error {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return err
	}
	out := &refusal{code: codes.Code(ce.Code()), message: ce.Message()}
	for _, d := range ce.Details() {
		if v, err := d.Value(); err == nil {
			if info, ok := v.(*errdetails.ErrorInfo); ok {
				out.informed(info)
			}
		}
	}
	return out
}

// grpcDoor is the stock gRPC client.
type grpcDoor struct {
	conn *grpc.ClientConn
	key  string
}

// dialGRPC connects to a platform; trust is nil for plain text.
func dialGRPC(t *testing.T, url, key string, trust *tls.Config) grpcDoor {
	t.Helper()
	creds := insecure.NewCredentials()
	if trust != nil {
		creds = credentials.NewTLS(trust)
	}
	_, address, _ := strings.Cut(url, "://")
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(creds))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // the test is over
	return grpcDoor{conn: conn, key: key}
}

// authorized is ctx with the key.
func (d grpcDoor) authorized(ctx context.Context) context.Context {
	if d.key == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+d.key)
}

// call implements door.
func (d grpcDoor) call(ctx context.Context, method string, in, out proto.Message) error {
	return refusalOfGRPC(d.conn.Invoke(d.authorized(ctx), "/"+servicePackage+method, in, out))
}

// watch implements door.
func (d grpcDoor) watch(ctx context.Context, in *devicesv1.WatchDevicesRequest) iter.Seq2[*devicesv1.WatchDevicesResponse, error] {
	return func(yield func(*devicesv1.WatchDevicesResponse, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := d.stream(ctx, in)
		for err == nil {
			m := new(devicesv1.WatchDevicesResponse)
			if err = stream.RecvMsg(m); err == nil && !yield(m, nil) {
				return
			}
		}
		if errors.Is(err, io.EOF) {
			err = errEnded
		}
		yield(nil, refusalOfGRPC(err))
	}
}

// stream begins a watch.
func (d grpcDoor) stream(ctx context.Context, in *devicesv1.WatchDevicesRequest) (grpc.ClientStream, error) {
	stream, err := d.conn.NewStream(d.authorized(ctx), &grpc.StreamDesc{ServerStreams: true}, "/"+servicePackage+watchDevices)
	if err != nil {
		return nil, err
	}
	return stream, errors.Join(stream.SendMsg(in), stream.CloseSend())
}

// refusalOfGRPC is err with what it says, nil for nil.
func refusalOfGRPC(err error) error {
	s, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	out := &refusal{code: s.Code(), message: s.Message()}
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			out.informed(info)
		}
	}
	return out
}

// doors are all that need no more than a platform.
func doors(t *testing.T, p *process.Platform, key string) map[string]door {
	t.Helper()
	h2c := &http.Transport{Protocols: new(http.Protocols)}
	h2c.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(h2c.CloseIdleConnections)
	stock := dialGRPC(t, p.URL, key, nil)
	c := func(h http.RoundTripper, options ...connect.ClientOption) door {
		return connectDoor{url: p.URL, key: key, http: &http.Client{Transport: h}, options: options}
	}
	return map[string]door{
		"REST":            restDoor{url: p.URL, key: key, http: http.DefaultClient},
		"gRPC":            stock,
		"reflection":      reflected(t, stock),
		"gRPC-Web":        c(http.DefaultTransport, connect.WithGRPCWeb()),
		"Connect":         c(http.DefaultTransport),
		"Connect JSON":    c(http.DefaultTransport, connect.WithProtoJSON()),
		"gRPC of Connect": c(h2c, connect.WithGRPC()),
	}
}
