package collector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"connectrpc.com/connect"
	"github.com/go-chi/chi/v5"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/rpc"
	"selvedge.dev/tsdb/ingest/wire"
)

// ExportProcedure is the path of OTLP's one method for metrics.
const ExportProcedure = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"

// raw is a message as it came, and the answer as it goes: the decoder of wire
// reads the bytes, and there is no type of OTLP's here.
type raw struct {
	format wire.Format
	data   []byte
}

// rawCodec takes messages for bytes. It is one of the names that connect knows
// protobuf and JSON by.
type rawCodec string

// The codecs of the door: gRPC means proto, JSON is what Connect's clients may
// speak.
const (
	rawProto    rawCodec = "proto"
	rawJSON     rawCodec = "json"
	rawJSONUTF8 rawCodec = "json; charset=utf-8"
)

// Name implements connect.Codec.
func (c rawCodec) Name() string { return string(c) }

// Marshal implements connect.Codec. What is not ours is the google.rpc.Status
// that gRPC has in its trailers, always in protobuf.
func (rawCodec) Marshal(v any) ([]byte, error) {
	switch m := v.(type) {
	case *raw:
		return m.data, nil
	case proto.Message:
		return proto.Marshal(m)
	}
	return nil, fmt.Errorf("BUG: collector: %T is no message", v)
}

// Unmarshal implements connect.Codec. The bytes are only lent, so it copies
// them.
func (c rawCodec) Unmarshal(data []byte, v any) error {
	m, ok := v.(*raw)
	if !ok {
		return fmt.Errorf("BUG: collector: %T is no message", v)
	}
	m.format = wire.OTLPInJSON
	if c == rawProto {
		m.format = wire.OTLP
	}
	m.data = bytes.Clone(data)
	return nil
}

// requestKey finds the HTTP request of a call.
type requestKey struct{}

// addExport adds OTLP's method over gRPC, gRPC-Web and Connect. A message over
// maxBody, unpacked, is RESOURCE_EXHAUSTED without the RetryInfo that would
// have the client send it again.
func (s *Service) addExport(r chi.Router) {
	handler := connect.NewUnaryHandler(ExportProcedure, s.export, connect.WithReadMaxBytes(maxBody),
		connect.WithCodec(rawProto), connect.WithCodec(rawJSON), connect.WithCodec(rawJSONUTF8))
	r.Post(ExportProcedure, func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, r)))
	})
}

// export answers a call with an ExportMetricsServiceResponse, which tells of
// points that were refused.
func (s *Service) export(ctx context.Context, req *connect.Request[raw]) (*connect.Response[raw], error) {
	r, ok := ctx.Value(requestKey{}).(*http.Request)
	if !ok {
		return nil, errors.New("BUG: collector: a call without its request")
	}
	r = r.WithContext(ctx) // which has the caller's deadline
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(req.Msg.data)), int64(len(req.Msg.data))
	out, err := s.take(nil, r, entry{format: req.Msg.format})
	if err != nil {
		return nil, exportError(err)
	}
	answer := exportResponse
	if req.Msg.format == wire.OTLPInJSON {
		answer = exportResponseJSON
	}
	return connect.NewResponse(&raw{data: answer(&out)}), nil
}

// exportError is err as OTLP's clients must read it: what is worth another try
// has a RetryInfo, and nothing else has one of the codes that mean it.
func exportError(err error) *connect.Error {
	kind := fault.KindOf(err)
	if kind == fault.TooLarge { // OUT_OF_RANGE, which OTLP has sent again
		err = &fault.Error{Op: "collector.export", Kind: fault.Invalid, Reason: fault.ReasonOf(err), Field: "body", Err: err}
	}
	out := rpc.Error(err)
	if kind == fault.Exhausted || kind == fault.Unavailable {
		info, err := connect.NewErrorDetail(&errdetails.RetryInfo{
			RetryDelay: &durationpb.Duration{Seconds: int64(fault.RetryAfterSeconds(err))},
		})
		if err != nil { // the type is linked
			panic("BUG: collector: " + err.Error())
		}
		out.AddDetail(info)
	}
	return out
}
