// Package rpc is the gateway's side of calls to services that are described in
// proto: REST by google.api.http, gRPC, gRPC-Web and Connect on one port, and
// watches as server-sent events. Whatever the protocol, it becomes the same
// call of a [Server], whose methods decide by themselves who may do what.
//
// Connect's handlers speak three of the protocols and Vanguard translates REST
// to them. Errors over REST have the body of google.aip.dev/193, over the
// others a google.rpc.ErrorInfo.
package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"connectrpc.com/vanguard"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/gateway"
	"selvedge.dev/sdk/iam"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/rpc"
	"selvedge.dev/sdk/schema"
)

// Server answers the calls of one service. The context has the iam.Principal
// who calls. It is used concurrently.
type Server interface {
	// Schema describes the service.
	Schema() *schema.Service
	// Call does a unary method. The request is the server's to keep.
	Call(ctx context.Context, m *schema.Method, req proto.Message) (proto.Message, error)
	// Stream does a server-streaming method: send is called with each message,
	// by one goroutine, and its error ends the stream.
	Stream(ctx context.Context, m *schema.Method, req proto.Message, send func(proto.Message) error) error
}

// Options configure the handler.
type Options struct {
	// Servers are the services, Internal those that only other platforms call:
	// no reflection tells of them, and they have no REST.
	Servers, Internal []Server
	// MaxMessage bounds a request, in bytes; 4 MiB by default.
	MaxMessage int
	// Next answers what is no path of the services.
	Next http.Handler
	// Logger gets internal errors; nil discards.
	Logger *slog.Logger
}

// defaultMaxMessage is gRPC's own.
const defaultMaxMessage = 4 << 20

// Handler answers calls.
type Handler struct {
	http.Handler
	options Options
	log     *slog.Logger
	// streams are the methods that watch, with their servers, for server-sent
	// events.
	streams []stream
	// watches has a place for each stream that is open.
	watches chan struct{}
	// running ends with End.
	running context.Context
	end     context.CancelFunc
}

// maxWatches bounds the streams that are open at once: a client that watches
// costs tens of kilobytes for as long as it does.
const maxWatches = 8192

// New makes the handler. What a proto file says wrongly about paths is its
// error.
func New(o Options) (*Handler, error) {
	h := &Handler{options: o, log: o.Logger, watches: make(chan struct{}, maxWatches)}
	h.running, h.end = context.WithCancel(context.Background())
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if o.MaxMessage <= 0 {
		h.options.MaxMessage = defaultMaxMessage
	}
	if o.Next == nil {
		h.options.Next = http.NotFoundHandler()
	}
	procedures := map[string]http.Handler{}
	var services []*vanguard.Service
	var names []string
	for _, s := range o.Servers {
		seen := map[protoreflect.ServiceDescriptor]bool{}
		for _, m := range s.Schema().Methods {
			procedures[m.Procedure()] = h.method(s, m)
			if m.Desc.IsStreamingServer() && m.Verb != resourcev1.Method_METHOD_UNSPECIFIED {
				h.streams = append(h.streams, stream{server: s, method: m})
			}
			if d, ok := m.Desc.Parent().(protoreflect.ServiceDescriptor); ok && !seen[d] {
				seen[d] = true
				names = append(names, string(d.FullName()))
				services = append(services, vanguard.NewServiceWithSchema(d, byPath(procedures, http.NotFoundHandler()),
					vanguard.WithTargetCodecs(vanguard.CodecProto),
					vanguard.WithMaxMessageBufferBytes(uint32(h.options.MaxMessage))))
			}
		}
	}
	for _, s := range o.Internal {
		for _, m := range s.Schema().Methods {
			procedures[m.Procedure()] = h.method(s, m)
		}
	}
	rest, err := vanguard.NewTranscoder(services, vanguard.WithUnknownHandler(h.options.Next), vanguard.WithCodec(newJSON), vanguard.WithCompression(gzipName, newWriter, newReader))
	if err != nil {
		return nil, fmt.Errorf("rpc: %w", err)
	}
	h.addReflection(procedures, names)
	h.Handler = byPath(procedures, h.events(masks(problems(rest))))
	return h, nil
}

// End ends every stream, also those that begin later: a server that stops waits
// for requests, and these would last. Others go on.
func (h *Handler) End() { h.end() }

// byPath serves exact paths. Connect's handlers speak for themselves: only what
// is none of their paths is REST and needs translation.
func byPath(handlers map[string]http.Handler, otherwise http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next, ok := handlers[r.URL.Path]
		if !ok {
			next = otherwise
		}
		next.ServeHTTP(w, r)
	})
}

// addReflection adds gRPC reflection of the services of those names.
func (h *Handler) addReflection(handlers map[string]http.Handler, names []string) {
	reflector := grpcreflect.NewStaticReflector(names...)
	for _, door := range []func(*grpcreflect.Reflector, ...connect.HandlerOption) (string, http.Handler){grpcreflect.NewHandlerV1, grpcreflect.NewHandlerV1Alpha} {
		prefix, reflection := door(reflector)
		handlers[prefix+"ServerReflectionInfo"] = h.known(h.lasting(reflection))
	}
}

// newJSON is the JSON of REST: fields that are not set are left out, and an
// unknown one in a request is an error.
func newJSON(types vanguard.TypeResolver) vanguard.Codec {
	c := vanguard.NewJSONCodec(types)
	c.MarshalOptions.EmitUnpopulated = false
	c.UnmarshalOptions.DiscardUnknown = false
	return c
}

// known lets in who has credentials: what there is to call is not for
// everybody.
func (h *Handler) known(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if iam.PrincipalOf(r.Context()).Kind == iam.Anonymous {
			_ = connect.NewErrorWriter().Write(w, r, rpc.Error(&fault.Error{ // a caller who went away needs no answer
				Op: "rpc.Reflect", Kind: fault.Unauthenticated, Reason: "UNAUTHENTICATED",
				Err: errors.New("to list what there is needs credentials: Authorization: Bearer KEY"),
			}))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// method is the handler of one method.
func (h *Handler) method(s Server, m *schema.Method) http.Handler {
	options := []connect.HandlerOption{
		connect.WithCodec(rpc.Proto{}), connect.WithCodec(rpc.JSON{}),
		connect.WithReadMaxBytes(h.options.MaxMessage), connect.WithCompression(gzipName, newReader, newWriter), connect.WithCompressMinBytes(minCompressed),
		connect.WithSchema(m.Desc),
		connect.WithRequestInitializer(func(_ connect.Spec, v any) error {
			v.(*rpc.Message).Message = m.Input.New().Interface()
			return nil
		}),
	}
	if m.Desc.IsStreamingServer() {
		return h.lasting(connect.NewServerStreamHandler(m.Procedure(), func(ctx context.Context, r *connect.Request[rpc.Message], out *connect.ServerStream[rpc.Message]) error {
			leave, err := h.watching(ctx)
			if err != nil {
				return rpc.Error(err)
			}
			defer leave()
			err = s.Stream(ctx, m, r.Msg.Message, func(x proto.Message) error { return out.Send(&rpc.Message{Message: x}) })
			return h.fail(ctx, m, err)
		}, options...))
	}
	return connect.NewUnaryHandler(m.Procedure(), func(ctx context.Context, r *connect.Request[rpc.Message]) (*connect.Response[rpc.Message], error) {
		if refused(ctx) {
			return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("the request could not be read"))
		}
		x, err := s.Call(ctx, m, r.Msg.Message)
		if err != nil {
			return nil, h.fail(ctx, m, err)
		}
		return connect.NewResponse(&rpc.Message{Message: x}), nil
	}, options...)
}

// fail is what a caller gets for err, nil for nil. Internal errors are logged:
// the caller is not told what they are.
func (h *Handler) fail(ctx context.Context, m *schema.Method, err error) error {
	if err == nil {
		return nil
	}
	err = ended(ctx, err)
	if ctx.Err() == nil && fault.KindOf(err) == fault.Internal {
		h.log.Error("call failed", slog.String("method", string(m.Name)), slog.Any("error", err))
	}
	return rpc.Error(err)
}

// watching takes a place among the streams in exchange for the one among the
// requests in hand, which are expected to end. It is to be left.
func (h *Handler) watching(ctx context.Context) (leave func(), err error) {
	select {
	case h.watches <- struct{}{}:
		gateway.Leave(ctx)
		return func() { <-h.watches }, nil
	default:
		return nil, &fault.Error{Op: "rpc.Watch", Kind: fault.Exhausted, Reason: "TOO_MANY_WATCHES", Err: fmt.Errorf("%d watches are open", maxWatches)}
	}
}

// errStopping is why streams end when the platform does.
var errStopping = &fault.Error{Op: "rpc.Watch", Kind: fault.Unavailable, Reason: "STOPPING", Err: errors.New("the platform stops: connect again")}

// ended is why the stream of the context ended with err.
func ended(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errStopping) {
		return cause
	}
	return err
}

// lasting serves streams: without the server's time limits, which are for
// requests that end, until either side wants or the platform stops.
func (h *Handler) lasting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		_ = c.SetReadDeadline(time.Time{})  // a connection without deadlines needs no lifting
		_ = c.SetWriteDeadline(time.Time{}) // likewise
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		woken := make(chan struct{})
		stop := context.AfterFunc(h.running, func() {
			defer close(woken)
			cancel(errStopping)
			_ = c.SetReadDeadline(time.Now()) // a stream of questions waits for the next one
		})
		defer func() {
			if !stop() {
				<-woken // w is not used after this
			}
		}()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
