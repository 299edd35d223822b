package fault

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// Domain is the ErrorInfo domain of every reason that this platform gives.
const Domain = "selvedge.dev"

// Problem is the body of every error answer over HTTP, in the shape of
// google.aip.dev/193.
type Problem struct {
	Error Status `json:"error"`
}

// Status is google.rpc.Status in JSON, as AIP-193 prints it.
type Status struct {
	Code    int      `json:"code"`
	Message string   `json:"message"`
	Status  string   `json:"status"`
	Details []Detail `json:"details,omitempty"`
}

// Detail is a google.rpc.ErrorInfo.
type Detail struct {
	Type     string            `json:"@type"`
	Reason   string            `json:"reason"`
	Domain   string            `json:"domain"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// ProblemOf renders err for a caller. The cause of an Internal error is kept
// from the text, since it may hold what the caller must not see.
func ProblemOf(err error) Problem {
	kind := KindOf(err)
	st := Status{Code: kind.HTTPStatus(), Status: kind.String(), Message: kinds[kind].text}
	info := Detail{Type: "type.googleapis.com/google.rpc.ErrorInfo", Reason: ReasonOf(err), Domain: Domain}
	var e *Error
	if errors.As(err, &e) {
		if kind != Internal {
			st.Message = e.Message()
		}
		for k, v := range map[string]string{"name": e.Name, "field": e.Field} {
			if v == "" {
				continue
			}
			if info.Metadata == nil {
				info.Metadata = map[string]string{}
			}
			info.Metadata[k] = v
		}
	}
	st.Details = []Detail{info}
	return Problem{Error: st}
}

// Write answers w with the problem body of err. Exhausted and Unavailable
// answers carry Retry-After: the delay of a [RetryAfter] in err's chain, else
// one second.
func Write(w http.ResponseWriter, err error) {
	answer(w, err, KindOf(err).HTTPStatus())
}

// WriteEvent is Write for the answer of an event function to its broker, whose
// status decides about redelivery.
func WriteEvent(w http.ResponseWriter, err error) {
	answer(w, err, KindOf(err).EventStatus())
}

// answer answers w with the problem body of err under the status.
func answer(w http.ResponseWriter, err error, status int) {
	if kind := KindOf(err); kind == Exhausted || kind == Unavailable {
		w.Header().Set("Retry-After", strconv.Itoa(RetryAfterSeconds(err)))
	}
	p := ProblemOf(err)
	p.Error.Code = status
	WriteProblem(w, p)
}

// WriteProblem answers w with p, under the status that p holds.
func WriteProblem(w http.ResponseWriter, p Problem) {
	if p.Error.Code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="selvedge"`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(p.Error.Code)
	// The status line is out: a body that cannot be written has no reader.
	_ = json.NewEncoder(w).Encode(p)
}

// RetryAfter is an error that knows when trying again makes sense.
type RetryAfter interface {
	error
	RetryAfter() time.Duration
}

// RetryAfterSeconds is the Retry-After of err in whole seconds, at least 1.
func RetryAfterSeconds(err error) int {
	var ra RetryAfter
	if !errors.As(err, &ra) {
		return 1
	}
	return max(1, int((ra.RetryAfter()+time.Second-1)/time.Second))
}

// Parse is the inverse of Write: the error that an answer with this status and
// body stands for, as an *Error with the given op. A body that is no problem
// body is quoted, shortened to 256 bytes.
func Parse(op string, status int, body []byte) *Error {
	var p Problem
	if err := json.Unmarshal(body, &p); err != nil || p.Error.Message == "" {
		text := string(body[:min(len(body), 256)])
		return &Error{Op: op, Kind: OfStatus(status), Err: errors.New(strconv.Itoa(status) + " " + text)}
	}
	e := &Error{Op: op, Kind: ofWord(p.Error.Status, status), Err: errors.New(p.Error.Message)}
	for _, d := range p.Error.Details {
		if d.Reason != "" { // a google.rpc.ErrorInfo; others may follow
			e.Reason, e.Name, e.Field = d.Reason, d.Metadata["name"], d.Metadata["field"]
			break
		}
	}
	return e
}

// ofWord is the Kind of that word, which tells apart kinds that share a status.
func ofWord(word string, status int) Kind {
	for k, row := range kinds {
		if row.word == word {
			return Kind(k)
		}
	}
	return OfStatus(status)
}
