package logging

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"

	"connectrpc.com/connect"
	"github.com/go-chi/chi/v5"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/rpc"
	"selvedge.dev/tsdb/ingest/wire"
)

// ExportProcedure is the path of OTLP's one method for logs.
const ExportProcedure = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"

// The streams of what is refused of OTLP, and the log that its records are in
// that name none by the attribute.
const (
	otlpDoor    = "logging-otlp"
	otlpLog     = "otlp"
	otlpLogName = "gcp.log_name"
)

// The media types of OTLP. What is asked in one is answered in it.
const (
	otlpType     = "application/x-protobuf"
	otlpJSONType = "application/json"
)

// maxUnpacked bounds a body once it is unpacked.
const maxUnpacked = 32 << 20

// otlp handles POST /v1/logs. It answers 200 with an ExportLogsServiceResponse,
// which tells of records that were refused, and errors as a google.rpc.Status.
func (d *Doors) otlp(w http.ResponseWriter, r *http.Request) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != otlpType && media != otlpJSONType {
		fault.Write(w, unsupported("Content-Type", "OTLP is taken as "+otlpType+" or "+otlpJSONType))
		return
	}
	var lost []function.Loss
	data := &logspb.LogsData{}
	body, err := unpacked(w, r)
	if err == nil {
		if media == otlpType {
			err = proto.Unmarshal(body, data)
		} else {
			err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(body, data)
		}
		if err != nil {
			err = jsonError(err)
		}
	}
	if err == nil {
		lost, err = d.export(r.Context(), r, data)
	}
	switch {
	case err != nil:
		d.log(r.Context(), r.URL.Path, err)
		writeStatus(w, media, err)
	case media == otlpType:
		w.Header().Set("Content-Type", media)
		_, _ = w.Write(exportResponse(lost)) // what cannot be written has no reader
	default:
		w.Header().Set("Content-Type", media)
		_, _ = w.Write(exportResponseJSON(lost))
	}
}

// unsupported is the fault of a header that is not understood.
func unsupported(header, text string) error {
	return &fault.Error{Op: "logging", Kind: fault.Unsupported, Reason: "UNSUPPORTED_MEDIA_TYPE", Field: header, Err: errors.New(text)}
}

// unpacked is the body of a request as it was before it was packed.
func unpacked(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	encoding, ok := wire.EncodingOf(r.Header.Get("Content-Encoding"))
	if !ok {
		return nil, unsupported("Content-Encoding", "want gzip, snappy or none")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, &fault.Error{Op: "logging.unpacked", Kind: fault.TooLarge, Reason: "BODY_TOO_LARGE", Field: "body", Err: fmt.Errorf("the body is over %d bytes", large.Limit)}
	case err != nil:
		return nil, &fault.Error{Op: "logging.unpacked", Kind: fault.Invalid, Reason: "BODY_CUT", Field: "body", Err: fmt.Errorf("the body did not arrive whole: %w", err)}
	}
	return wire.Unpack(nil, body, encoding, maxUnpacked)
}

// addExport adds OTLP's method over gRPC, gRPC-Web and Connect.
func (d *Doors) addExport(r chi.Router) {
	handler := connect.NewUnaryHandler(ExportProcedure, func(ctx context.Context, req *connect.Request[logspb.LogsData]) (*connect.Response[emptypb.Empty], error) {
		r, ok := ctx.Value(requestKey{}).(*http.Request)
		if !ok {
			return nil, errors.New("BUG: logging: a call without its request")
		}
		lost, err := d.export(ctx, r, req.Msg)
		if err != nil {
			d.log(ctx, ExportProcedure, err)
			return nil, exportError(err)
		}
		// The fields of the answer, whose type is not linked, are those that
		// this one does not know.
		answer := &emptypb.Empty{}
		answer.ProtoReflect().SetUnknown(exportResponse(lost))
		return connect.NewResponse(answer), nil
	}, connect.WithReadMaxBytes(maxUnpacked))
	r.Post(ExportProcedure, func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, r)))
	})
}

// requestKey finds the HTTP request of a call.
type requestKey struct{}

// exportError is err as OTLP's clients must read it: what is worth another try
// has a RetryInfo, and nothing else has one of the codes that mean it.
func exportError(err error) *connect.Error {
	kind := fault.KindOf(err)
	if kind == fault.TooLarge { // OUT_OF_RANGE, which OTLP has sent again
		err = &fault.Error{Op: "logging.export", Kind: fault.Invalid, Reason: fault.ReasonOf(err), Field: "body", Err: err}
	}
	out := rpc.Error(err)
	if kind == fault.Exhausted || kind == fault.Unavailable {
		info, err := connect.NewErrorDetail(&errdetails.RetryInfo{RetryDelay: &durationpb.Duration{Seconds: int64(fault.RetryAfterSeconds(err))}})
		if err != nil { // the type is linked
			panic("BUG: logging: " + err.Error())
		}
		out.AddDetail(info)
	}
	return out
}

// export writes the records of a request, and tells which were refused.
func (d *Doors) export(ctx context.Context, r *http.Request, data *logspb.LogsData) ([]function.Loss, error) {
	project, bucket, err := into(r)
	if err != nil {
		return nil, err
	}
	in := &delivery{door: otlpDoor, project: project, bucket: bucket, entries: records(project, data)}
	verdicts, err := d.write(ctx, in)
	return losses(verdicts), err
}

// exportResponse is an ExportLogsServiceResponse:
//
//	1 partial_success: 1 rejected_log_records: int64  2 error_message: string
func exportResponse(lost []function.Loss) []byte {
	if len(lost) == 0 {
		return nil
	}
	var partial []byte
	partial = protowire.AppendTag(partial, 1, protowire.VarintType)
	partial = protowire.AppendVarint(partial, uint64(count(lost)))
	partial = protowire.AppendTag(partial, 2, protowire.BytesType)
	partial = protowire.AppendString(partial, function.FormatLosses(lost))
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), partial)
}

// exportResponseJSON is exportResponse in JSON, in which an int64 is text.
func exportResponseJSON(lost []function.Loss) []byte {
	if len(lost) == 0 {
		return []byte("{}")
	}
	return mustJSON(json.Marshal(map[string]any{"partialSuccess": map[string]string{
		"rejectedLogRecords": strconv.Itoa(count(lost)), "errorMessage": function.FormatLosses(lost),
	}}))
}

// writeStatus answers with an error as OTLP has it: a google.rpc.Status in the
// form of the request.
func writeStatus(w http.ResponseWriter, media string, err error) {
	kind := fault.KindOf(err)
	if kind == fault.Exhausted || kind == fault.Unavailable {
		w.Header().Set("Retry-After", strconv.Itoa(fault.RetryAfterSeconds(err)))
	}
	if kind == fault.Unauthenticated {
		w.Header().Set("WWW-Authenticate", `Bearer realm="selvedge"`)
	}
	text := fault.ProblemOf(err).Error.Message
	var status []byte
	if media == otlpJSONType {
		status = mustJSON(json.Marshal(map[string]any{"code": kind.Code(), "message": text}))
	} else {
		status = protowire.AppendVarint(protowire.AppendTag(status, 1, protowire.VarintType), uint64(kind.Code()))
		status = protowire.AppendString(protowire.AppendTag(status, 2, protowire.BytesType), text)
	}
	w.Header().Set("Content-Type", media)
	w.WriteHeader(kind.HTTPStatus())
	_, _ = w.Write(status) // a caller who went away needs no answer
}
