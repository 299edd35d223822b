// Package ingestv1 is the contract of the door for events: what it answers to
// whoever posts. The platform's door (functions/ingest) and a device's own
// (edgeruntime) answer alike, and the device reads what the platform answered.
package ingestv1

import "selvedge.dev/sdk/fault"

// The statuses of a verdict. The first two mean that the event is durable.
const (
	StatusAccepted  = "accepted"
	StatusDuplicate = "duplicate"
	StatusRejected  = "rejected"
)

// VerdictHeader tells the status of a single event that was taken.
const VerdictHeader = "Selvedge-Verdict"

// Verdict is what became of one event of a batch. The answer to a batch is a
// JSON list of them, in the order of the events.
type Verdict struct {
	// ID and Source are the event's, as far as they could be read.
	ID     string `json:"id,omitempty"`
	Source string `json:"source,omitempty"`
	Status string `json:"status"`
	// Error is why the event was rejected (AIP-193).
	Error *fault.Status `json:"error,omitempty"`
}
