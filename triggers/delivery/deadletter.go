package delivery

import (
	"selvedge.dev/sdk/event"
)

// The extension attributes that a dead letter sink finds on an event, as on
// Knative.
const (
	errorDest = "knativeerrordest" // where it could not be delivered
	errorCode = "knativeerrorcode" // the status of the last answer, or -1
	errorData = "knativeerrordata" // the body of the last answer, in base64
)

// DeadLetter returns e as the dead letter sink gets it after the last attempt
// at dest ended with r.
func DeadLetter(e event.Event, dest string, r Result) event.Event {
	e = e.Clone()
	code := int32(r.Status)
	if code == 0 {
		code = -1
	}
	e.SetExtension(errorDest, dest)
	e.SetExtension(errorCode, code)
	if r.Err != nil {
		e.SetExtension(errorData, body(r.Err))
	}
	return e
}
