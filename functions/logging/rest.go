package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	"github.com/go-chi/chi/v5"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"selvedge.dev/sdk/fault"
)

// header begins an answer in JSON.
func header(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}

// reply answers with JSON.
func reply(w http.ResponseWriter, text []byte) error {
	header(w)
	_, _ = w.Write(text) // a caller who went away needs no answer
	return nil
}

// replyProto answers with a message, or with the error of the call that was to
// make it.
func replyProto(w http.ResponseWriter, m proto.Message, err error) error {
	if err != nil {
		return err
	}
	text, err := compactJSON(m)
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return reply(w, append(text, '\n'))
}

// readBody reads the body of a request in JSON.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	bad := func(kind fault.Kind, reason string, err error) error {
		return &fault.Error{Op: "logging.readBody", Kind: kind, Reason: reason, Field: "body", Err: err}
	}
	if text := r.Header.Get("Content-Type"); text != "" {
		if media, _, err := mime.ParseMediaType(text); err != nil || media != "application/json" {
			return nil, bad(fault.Unsupported, "UNSUPPORTED_CONTENT_TYPE", fmt.Errorf("a body of type %.100q is not understood: it must be application/json", text))
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, bad(fault.TooLarge, "BODY_TOO_LARGE", fmt.Errorf("the body is longer than %d bytes", maxMessage))
	case err != nil:
		return nil, bad(fault.Invalid, "BODY_CUT", fmt.Errorf("read the body: %w", err))
	case len(bytes.TrimSpace(body)) == 0:
		return nil, bad(fault.Invalid, "NO_BODY", errors.New("the body is empty: a JSON object is required"))
	}
	return body, nil
}

// readJSON reads the body of a request, a message in proto's JSON.
func readJSON(w http.ResponseWriter, r *http.Request, into proto.Message) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	if err := protojson.Unmarshal(body, into); err != nil {
		return jsonError(err)
	}
	return nil
}

// readStream is readJSON of the one message of a stream, which may be in an
// array.
func readStream(w http.ResponseWriter, r *http.Request, into proto.Message) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	if body = bytes.TrimSpace(body); body[0] == '[' {
		var all []json.RawMessage
		if err := json.Unmarshal(body, &all); err != nil || len(all) != 1 {
			return invalid("body", "a stream over REST has one request")
		}
		body = all[0]
	}
	if err := protojson.Unmarshal(body, into); err != nil {
		return jsonError(err)
	}
	return nil
}

// restWrite answers POST /v2/entries:write.
func (d *Doors) restWrite(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	bucket, err := named(r, bucketParameter, bucketHeader)
	if err != nil {
		return err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return invalid("body", "it is no JSON object: %s", err)
	}
	var texts []json.RawMessage
	if text := members["entries"]; text != nil {
		if err := json.Unmarshal(text, &texts); err != nil {
			return invalid("entries", "it is no array: %s", err)
		}
	}
	delete(members, "entries")
	req := &loggingpb.WriteLogEntriesRequest{}
	if err := protojson.Unmarshal(mustJSON(json.Marshal(members)), req); err != nil {
		return jsonError(err)
	}
	raw := make([][]byte, len(texts))
	for i, text := range texts {
		p, payload, err := entryFromJSON(text)
		if err != nil {
			return fmt.Errorf("entries[%d]: %w", i, err)
		}
		req.Entries, raw[i] = append(req.Entries, p), payload
	}
	answer, err := d.writeEntries(r.Context(), req, raw, bucket)
	return replyProto(w, answer, err)
}

// restList answers POST /v2/entries:list.
func (d *Doors) restList(w http.ResponseWriter, r *http.Request) error {
	req := &loggingpb.ListLogEntriesRequest{}
	if err := readJSON(w, r, req); err != nil {
		return err
	}
	found, next, err := d.page(r.Context(), req)
	if err != nil {
		return err
	}
	text, err := listJSON(found, next)
	if err != nil {
		return err
	}
	return reply(w, text)
}

// restLogs answers GET /v2/projects/P/logs, and that of a bucket's view.
func (d *Doors) restLogs(w http.ResponseWriter, r *http.Request) error {
	name := "projects/" + chi.URLParam(r, "project")
	if b := chi.URLParam(r, "bucket"); b != "" {
		name += "/locations/" + chi.URLParam(r, "location") + "/buckets/" + b + "/views/" + chi.URLParam(r, "view")
	}
	q := r.URL.Query()
	req := &loggingpb.ListLogsRequest{Parent: name, PageToken: q.Get("pageToken"), ResourceNames: q["resourceNames"]}
	if text := q.Get("pageSize"); text != "" {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return invalid("pageSize", "%.20q is no number", text)
		}
		req.PageSize = int32(n)
	}
	answer, err := d.listLogs(r.Context(), req)
	return replyProto(w, answer, err)
}

// restDeleteLog answers DELETE /v2/projects/P/logs/L.
func (d *Doors) restDeleteLog(w http.ResponseWriter, r *http.Request) error {
	// The router matches the path as it was sent, escaped, if that differs.
	log := chi.URLParam(r, "log")
	return replyProto(w, &emptypb.Empty{}, d.deleteLog(r.Context(), "projects/"+chi.URLParam(r, "project")+"/logs/"+log))
}

// restResources answers GET /v2/monitoredResourceDescriptors.
func (d *Doors) restResources(w http.ResponseWriter, r *http.Request) error {
	answer, err := d.listResources(r.Context(), &loggingpb.ListMonitoredResourceDescriptorsRequest{})
	return replyProto(w, answer, err)
}

// problem is the body of an error over REST (google.aip.dev/193).
type problem struct {
	Error struct {
		Code    int               `json:"code"`
		Message string            `json:"message"`
		Status  string            `json:"status"`
		Details []json.RawMessage `json:"details"`
	} `json:"error"`
}

// errorJSON is the body of an error over REST.
func errorJSON(err error) ([]byte, error) {
	status := fault.ProblemOf(err).Error
	var p problem
	p.Error.Code, p.Error.Message, p.Error.Status = status.Code, status.Message, status.Status
	for _, x := range status.Details {
		p.Error.Details = append(p.Error.Details, mustJSON(json.Marshal(x)))
	}
	var more *detailed
	if errors.As(err, &more) {
		for _, m := range more.details {
			packed, err := anypb.New(m)
			if err != nil {
				return nil, err
			}
			p.Error.Details = append(p.Error.Details, mustJSON(compactJSON(packed)))
		}
	}
	return json.Marshal(p)
}

// writeError answers with err over REST.
func writeError(w http.ResponseWriter, err error) {
	var more *detailed
	if !errors.As(err, &more) {
		fault.Write(w, err)
		return
	}
	header(w)
	w.WriteHeader(fault.KindOf(err).HTTPStatus())
	_, _ = w.Write(append(mustJSON(errorJSON(err)), '\n')) // a caller who went away needs no answer
}
