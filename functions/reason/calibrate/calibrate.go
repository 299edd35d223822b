// Package calibrate is an example of a function in the path of messages. It
// corrects temperatures by what its script says, counts the readings of each
// device, and, when one is hot, sends an e-mail and looks again in a while.
package calibrate

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	emailerv1 "selvedge.dev/functions/emailer/v1"
	reasonv1 "selvedge.dev/functions/reason/v1"
	schedulerv1 "selvedge.dev/functions/scheduler/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/rpc"
	"selvedge.dev/sdk/state"
)

// Function corrects temperatures. Handle may be called concurrently.
type Function struct {
	// Platform is where its state is.
	Platform state.Caller
}

// New returns the function for a process of its own.
func New() *Function {
	return &Function{Platform: &rpc.Client{URL: os.Getenv("SELVEDGE_URL"), Key: os.Getenv("SELVEDGE_KEY")}}
}

// reading is the data of a message.
type reading struct {
	Temperature float64 `json:"temperature"`
	Readings    int     `json:"readings,omitempty"`
}

// Handle corrects the reading in e. A message that is none goes on as it is.
func (f *Function) Handle(ctx context.Context, e event.Event) (*event.Event, error) {
	var r reading
	if e.Type() != "com.example.climate" || json.Unmarshal(e.Data(), &r) != nil {
		return nil, nil
	}
	var params map[string]string
	_ = json.Unmarshal([]byte(event.Extension(&e, reasonv1.AttributeParams)), &params) // none are none
	offset, _ := strconv.ParseFloat(params["offset"], 64)
	r.Temperature += offset

	device := event.Extension(&e, event.Device)
	kept := state.New(f.Platform, event.Extension(&e, reasonv1.AttributeScript)).Of(device)
	err := state.Update(ctx, kept, "readings", func(n *int) error {
		*n++
		r.Readings = *n
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("counting: %w", err)
	}
	reply := reasonv1.Reply{Data: r}
	if r.Temperature > 30 {
		reply.Events = []reasonv1.Event{
			{Type: emailerv1.TypeEmail, Data: emailerv1.Email{
				To: []string{params["mail"]}, Subject: "{{.Data.device}} is hot", Text: "{{fixed 1 .Data.temperature}} degrees",
				Data: map[string]any{"device": device, "temperature": r.Temperature},
			}},
			{Type: schedulerv1.TypeSetTimer, Data: schedulerv1.SetTimer{
				ID: "look-again", After: "10m", Event: schedulerv1.SetEvent{Type: "com.example.look", Subject: device},
			}},
		}
	}
	out := event.New()
	out.SetID(e.ID())
	out.SetSource(event.Source("functions/calibrate"))
	out.SetType(reasonv1.TypeReply)
	return &out, out.SetData("application/json", reply)
}
