package monitoring

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/rpc"
)

// callError is err for a caller over gRPC: a google.rpc.Status with an ErrorInfo
// and what more there is to tell.
func callError(err error) *connect.Error {
	out := rpc.Error(err)
	var more *detailed
	if errors.As(err, &more) {
		for _, m := range more.details {
			d, err := connect.NewErrorDetail(m)
			if err != nil { // the types are linked
				panic("BUG: monitoring: " + err.Error())
			}
			out.AddDetail(d)
		}
	}
	return out
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

// writeError answers with err over REST.
func writeError(w http.ResponseWriter, err error) {
	var more *detailed
	if !errors.As(err, &more) {
		fault.Write(w, err)
		return
	}
	status := fault.ProblemOf(err).Error
	var p problem
	p.Error.Code, p.Error.Message, p.Error.Status = status.Code, status.Message, status.Status
	for _, d := range status.Details {
		p.Error.Details = append(p.Error.Details, mustJSON(json.Marshal(d)))
	}
	for _, m := range more.details {
		packed, err := anypb.New(m)
		if err != nil { // the types are linked
			panic("BUG: monitoring: " + err.Error())
		}
		var text bytes.Buffer
		// protojson puts spaces where it likes, so that nobody relies on them.
		if err := json.Compact(&text, mustJSON(protojson.Marshal(packed))); err != nil {
			panic("BUG: monitoring: " + err.Error())
		}
		p.Error.Details = append(p.Error.Details, text.Bytes())
	}
	begin(w)
	w.WriteHeader(status.Code)
	_, _ = w.Write(append(mustJSON(json.Marshal(p)), '\n')) // a caller who went away needs no answer
}

// mustJSON is JSON of what can always be written.
func mustJSON(text []byte, err error) []byte {
	if err != nil {
		panic("BUG: monitoring: " + err.Error())
	}
	return text
}
