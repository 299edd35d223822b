package logging

import (
	"context"
	"errors"
	"fmt"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	"connectrpc.com/connect"
	"github.com/go-chi/chi/v5"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"selvedge.dev/logstore"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/rpc"
)

// Procedures is what the paths of the methods of Google's service begin with.
const Procedures = "/google.logging.v2.LoggingServiceV2/"

// The bounds of a request that writes, as Google has them: its size, and how
// many entries.
const (
	maxMessage = 10 << 20
	maxEntries = 10_000
)

// addProcedures adds the methods for gRPC, gRPC-Web and Connect.
func (d *Doors) addProcedures(r chi.Router) {
	addCall(d, r, "WriteLogEntries", func(ctx context.Context, req *loggingpb.WriteLogEntriesRequest) (*loggingpb.WriteLogEntriesResponse, error) {
		return d.writeEntries(ctx, req, nil, "")
	})
	addCall(d, r, "ListLogEntries", d.listEntries)
	addCall(d, r, "ListLogs", d.listLogs)
	addCall(d, r, "DeleteLog", func(ctx context.Context, req *loggingpb.DeleteLogRequest) (*emptypb.Empty, error) {
		return &emptypb.Empty{}, d.deleteLog(ctx, req.GetLogName())
	})
	addCall(d, r, "ListMonitoredResourceDescriptors", d.listResources)
	tail := connect.NewBidiStreamHandler(Procedures+"TailLogEntries", func(ctx context.Context, stream *connect.BidiStream[loggingpb.TailLogEntriesRequest, loggingpb.TailLogEntriesResponse]) error {
		err := d.tailEntries(ctx, stream.Receive, stream.Send)
		if err != nil {
			d.log(ctx, Procedures+"TailLogEntries", err)
			return callError(err)
		}
		return ctx.Err() // a caller whose time is up is told so
	}, connect.WithReadMaxBytes(maxMessage))
	r.Post(Procedures+"TailLogEntries", tail.ServeHTTP)
}

// addCall adds a method to the router.
func addCall[Req, Resp any](d *Doors, r chi.Router, name string, call func(context.Context, *Req) (*Resp, error)) {
	handler := connect.NewUnaryHandler(Procedures+name, func(ctx context.Context, req *connect.Request[Req]) (*connect.Response[Resp], error) {
		resp, err := call(withBucket(ctx, req.Header().Get(bucketHeader)), req.Msg)
		if err != nil {
			d.log(ctx, Procedures+name, err)
			return nil, callError(err)
		}
		return connect.NewResponse(resp), nil
	}, connect.WithReadMaxBytes(maxMessage))
	r.Post(Procedures+name, handler.ServeHTTP)
}

// bucketKey finds the bucket that the caller of a method names.
type bucketKey struct{}

// withBucket is a context of a call that names a bucket, "" for none.
func withBucket(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, bucketKey{}, id)
}

// detailed is an error with more to tell than a fault can.
type detailed struct {
	fault   *fault.Error
	details []proto.Message
}

// Error is the text of the fault.
func (d *detailed) Error() string { return d.fault.Error() }

// Unwrap is the fault.
func (d *detailed) Unwrap() error { return d.fault }

// writeEntries answers WriteLogEntries. Raw are the JSON payloads as they were
// written, for those entries that have them, and nil if the request was none in
// JSON.
func (d *Doors) writeEntries(ctx context.Context, req *loggingpb.WriteLogEntriesRequest, raw [][]byte, bucket string) (*loggingpb.WriteLogEntriesResponse, error) {
	if bucket == "" {
		bucket, _ = ctx.Value(bucketKey{}).(string)
	}
	if n := len(req.GetEntries()); n > maxEntries {
		return nil, &fault.Error{Op: "logging.writeEntries", Kind: fault.TooLarge, Reason: "TOO_MANY_ENTRIES", Field: "entries", Err: fmt.Errorf("there are %d entries, and at most %d can be", n, maxEntries)}
	}
	in, bad, err := d.deliveries(ctx, req, raw)
	if err != nil {
		return nil, err
	}
	whole := !req.GetPartialSuccess()
	for _, del := range in {
		// All are asked for before any is written.
		s, err := d.o.Registry.scope(ctx, del.project)
		if err != nil {
			return nil, err
		}
		del.bucket, del.whole, del.dry = bucket, whole, true
		b, err := d.writable(ctx, s, bucket)
		if err != nil {
			return nil, err
		}
		verdicts, err := d.put(ctx, s, b, &del.delivery)
		if err != nil {
			return nil, err
		}
		del.note(verdicts, bad)
	}
	if req.GetDryRun() || whole && len(bad) > 0 {
		if len(bad) > 0 {
			return nil, partly(bad, len(req.GetEntries()), whole || req.GetDryRun())
		}
		return &loggingpb.WriteLogEntriesResponse{}, nil
	}
	for _, del := range in {
		del.dry, del.whole = false, false
		verdicts, err := d.write(ctx, &del.delivery)
		if err != nil {
			return nil, err
		}
		del.note(verdicts, bad)
	}
	if len(bad) > 0 {
		return nil, partly(bad, len(req.GetEntries()), false)
	}
	return &loggingpb.WriteLogEntriesResponse{}, nil
}

// placed is a delivery of entries of a request, with their places there.
type placed struct {
	delivery
	place []int
}

// note notes what was refused by its place in the request.
func (p *placed) note(verdicts []error, bad map[int]error) {
	for i, err := range verdicts {
		if err != nil {
			bad[p.place[i]] = err
		}
	}
}

// deliveries are the entries of a request by project, and those that are none.
func (d *Doors) deliveries(ctx context.Context, req *loggingpb.WriteLogEntriesRequest, raw [][]byte) ([]*placed, map[int]error, error) {
	var out []*placed
	bad := map[int]error{}
	for i, p := range req.GetEntries() {
		name := p.GetLogName()
		if name == "" {
			name = req.GetLogName()
		}
		project, log, err := parseLogName("logName", name)
		if err != nil {
			if iam.PrincipalOf(ctx).Kind == iam.Anonymous {
				return nil, nil, d.allow(ctx, CreateEntries, "")
			}
			bad[i] = err
			continue
		}
		var to *placed
		for _, x := range out {
			if x.project == project {
				to = x
			}
		}
		if to == nil {
			to = &placed{delivery: delivery{door: googleDoor, project: project}}
			out = append(out, to)
		}
		var payload []byte
		if raw != nil {
			payload = raw[i]
		}
		e, err := fromGoogle(p, payload)
		if err != nil {
			bad[i] = err
			d.lost.add(project, googleDoor, losses([]error{err}))
			continue
		}
		e.Log = log
		defaults(&e, project, req.GetResource(), req.GetLabels())
		to.entries, to.place = append(to.entries, e), append(to.place, i)
	}
	return out, bad, nil
}

// googleDoor is the stream of what is refused of Google's clients.
const googleDoor = "logging-google"

// partly is the error of a request of which entries were refused: of some, the
// others being written, or of all because of them.
func partly(bad map[int]error, of int, none bool) error {
	more := &loggingpb.WriteLogEntriesPartialErrors{LogEntryErrors: make(map[int32]*statuspb.Status, len(bad))}
	first := -1
	for i, err := range bad {
		if first < 0 || i < first {
			first = i
		}
		more.LogEntryErrors[int32(i)] = &statuspb.Status{Code: int32(fault.KindOf(err).Code()), Message: fault.ProblemOf(err).Error.Message}
	}
	text := "and the others were written"
	if none {
		text = "and none was written"
	}
	return &detailed{&fault.Error{
		Op: "logging.writeEntries", Kind: fault.KindOf(bad[first]), Reason: fault.ReasonOf(bad[first]), Field: fmt.Sprintf("entries[%d]", first),
		Err: fmt.Errorf("%d of %d entries were refused, %s: entry %d: %s", len(bad), of, text, first, fault.ProblemOf(bad[first]).Error.Message),
	}, []proto.Message{more}}
}

// callError is err for a caller over gRPC: a google.rpc.Status with an ErrorInfo
// and what more there is to tell.
func callError(err error) *connect.Error {
	out := rpc.Error(err)
	var more *detailed
	if errors.As(err, &more) {
		for _, m := range more.details {
			detail, err := connect.NewErrorDetail(m)
			if err != nil { // the types are linked
				panic("BUG: logging: " + err.Error())
			}
			out.AddDetail(detail)
		}
	}
	return out
}

// asEntries are entries as Google's clients read them.
func asEntries(all []logstore.Entry) ([]*loggingpb.LogEntry, error) {
	out := make([]*loggingpb.LogEntry, len(all))
	for i := range all {
		p, err := asGoogle(&all[i])
		if err != nil {
			return nil, err
		}
		out[i] = p
	}
	return out, nil
}
