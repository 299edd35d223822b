package handle_test

import (
	"errors"
	"testing"

	"function/handle"
	"github.com/cloudevents/sdk-go/v2/event"
)

// reading is an event with data.
func reading(data string) event.Event {
	e := event.New()
	e.SetID("1")
	e.SetSource("//selvedge.dev/projects/default/devices/d")
	e.SetType("com.example.climate")
	e.SetDataContentType("application/json")
	e.DataEncoded = []byte(data)
	return e
}

func TestHandle(t *testing.T) {
	for data, want := range map[string]string{
		`{"temperature":21.5}`: "",
		`{"temperature":30}`:   "",
		`{"temperature":30.5}`: `{"limit":30,"temperature":30.5}`,
		`{"humidity":40}`:      "",
	} {
		reply, err := handle.Handle(t.Context(), reading(data))
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		got := ""
		if reply != nil {
			got = string(reply.Data())
		}
		if got != want {
			t.Errorf("%s: the reply is %q, not %q", data, got, want)
		}
	}
}

func TestHandle_RefusesWhatIsNoReading(t *testing.T) {
	_, err := handle.Handle(t.Context(), reading(`{`))
	var refusal *handle.Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("the error is %v, no refusal", err)
	}
}
