package edgeruntime

import (
	"encoding/json"
	"fmt"
	"net/http"

	ingestv1 "selvedge.dev/functions/ingest/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
)

// maxPosting is how many posts of other programs are read at a time, each of up
// to maxBatchBytes: what the agent may need of a small machine's memory.
const maxPosting = 4

// ingress puts the events of other programs on the device into the queue.
type ingress struct {
	config Config
	queue  *queue
	// posting has an element for every post that is being read.
	posting chan struct{}
}

// Ingress is a door for other programs on this device: POST /v1/events takes
// CloudEvents as the platform itself does, in all three content modes and with
// the same answers, and is answered with 2xx when the events are durable in the
// queue. They must be of the device's own source. One without a time gets the
// present one, since it may travel for days. There are no duplicates here: the
// platform finds them.
//
// Whoever reaches the door may post, so it belongs on the loopback interface;
// pages of other origins in a browser on the device are turned away. After Run
// has returned every post is answered with 503.
func (a *Agent) Ingress() http.Handler {
	in := &ingress{config: a.config, queue: a.queue, posting: make(chan struct{}, maxPosting)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/events", in.post)
	return http.NewCrossOriginProtection().Handler(mux)
}

// post handles POST /v1/events.
func (in *ingress) post(w http.ResponseWriter, r *http.Request) {
	select {
	case in.posting <- struct{}{}:
		defer func() { <-in.posting }()
	case <-r.Context().Done():
		return // and so is its reader
	}
	items, mode, err := event.FromRequest(r, event.Limits{Body: maxBatchBytes, Event: maxBatchBytes})
	if err != nil {
		fault.Write(w, err)
		return
	}
	verdicts, err := in.take(r, items)
	switch {
	case err != nil:
		fault.Write(w, err)
	case mode != event.Batch && items[0].Err != nil:
		fault.Write(w, items[0].Err)
	case mode != event.Batch:
		w.Header().Set(ingestv1.VerdictHeader, verdicts[0].Status)
		w.WriteHeader(http.StatusAccepted)
	default:
		answerBatch(w, verdicts)
	}
}

// take makes the events durable that may go in, all together, and returns a
// verdict on each item. The error is about all of them.
func (in *ingress) take(r *http.Request, items []event.Item) ([]verdict, error) {
	var texts [][]byte
	verdicts := make([]verdict, len(items))
	for i := range items {
		it := &items[i]
		var text []byte
		if it.Err == nil {
			text, it.Err = in.admit(&it.Event)
		}
		verdicts[i] = verdict{Status: ingestv1.StatusAccepted}
		if it.Err != nil {
			verdicts[i] = rejection(it.Err)
		} else {
			texts = append(texts, text)
		}
		verdicts[i].ID, verdicts[i].Source = it.Event.ID(), it.Event.Source()
	}
	_, err := in.queue.journal.Append(r.Context(), texts...)
	return verdicts, err
}

// admit is the event in the form that it is queued in, or why it may not be.
// What the platform would refuse for its source is refused here: the agent
// takes such a refusal for one of its key.
func (in *ingress) admit(e *event.Event) ([]byte, error) {
	const op = "edgeruntime.Ingress"
	own := event.Source(in.config.Device)
	if e.Source() != own {
		return nil, &fault.Error{
			Op: op, Kind: fault.Denied, Reason: "SOURCE_NOT_OWN", Field: "source",
			Err: fmt.Errorf("the source of events of this device is %s", own),
		}
	}
	if name := event.FirstReserved(e); name != "" {
		return nil, &fault.Error{
			Op: op, Kind: fault.Invalid, Reason: "RESERVED_ATTRIBUTE", Field: name,
			Err: fmt.Errorf("attributes that begin with %q are set by the platform only", event.Reserved),
		}
	}
	if e.Time().IsZero() {
		e.SetTime(in.config.Now())
	}
	text, err := e.MarshalJSON()
	if err != nil {
		return nil, &fault.Error{Op: op, Kind: fault.Invalid, Err: err}
	}
	if len(text) > maxBatchBytes {
		return nil, &fault.Error{Op: op, Kind: fault.TooLarge, Field: "event", Err: fmt.Errorf("%d bytes of JSON are over %d", len(text), maxBatchBytes)}
	}
	return text, nil
}

// answerBatch answers a batch with a verdict on each event: 202 if all are in,
// 207 if not.
func answerBatch(w http.ResponseWriter, verdicts []verdict) {
	status := http.StatusAccepted
	for _, v := range verdicts {
		if v.Status == ingestv1.StatusRejected {
			status = http.StatusMultiStatus
		}
	}
	body, err := json.Marshal(verdicts)
	if err != nil {
		fault.Write(w, fmt.Errorf("encode verdicts: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the events are safe whether or not anybody reads this
}
