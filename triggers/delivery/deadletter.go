package delivery

import (
	"cmp"
	"net/http"

	"selvedge.dev/sdk/event"
)

// The extension attributes that a dead letter sink finds on an event, as on
// Knative.
const (
	errorDest = "knativeerrordest" // where it could not be delivered
	errorCode = "knativeerrorcode" // the status of the last answer, 500 for none
	errorData = "knativeerrordata" // the body of the last answer, in base64
)

// DeadLetter returns e as the dead letter sink gets it after the last attempt
// at dest ended with r.
func DeadLetter(e event.Event, dest string, r Result) event.Event {
	e = event.Clone(&e)
	e.SetExtension(errorDest, dest)
	e.SetExtension(errorCode, int32(cmp.Or(r.Status, http.StatusInternalServerError)))
	if len(r.Body) > 0 {
		e.SetExtension(errorData, r.Body)
	}
	return e
}
