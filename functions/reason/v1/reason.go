// Package reasonv1 is the contract of reason: scripts, which put functions of
// users into the path of messages, the state that these keep, both generated
// from reason.proto, and what a function replies to more than change the message
// ([Reply]). The service's implementation is functions/reason; sdk/state is how a
// Go function keeps state.
package reasonv1

// The types of resources.
const (
	ScriptType = "reason.selvedge.dev/Script"
	StateType  = "reason.selvedge.dev/StateEntry"
)

// Route is the topic of messages that go through the script "default", and what
// topics of others begin with: "reason.SCRIPT".
const Route = "reason"

// TypeRun is the type of events that run a script apart from any message: the
// subject is the script's id. A timer posts one, or a function replies one.
const TypeRun = "dev.selvedge.reason.run.v1"

// TypeReply is the type of replies that are a [Reply].
const TypeReply = "dev.selvedge.reason.reply.v1"

// The attributes that a function is told by, beside those of the message.
const (
	// AttributeScript is the name of the script that it is called for.
	AttributeScript = "reasonscript"
	// AttributeParams are the script's, as JSON.
	AttributeParams = "reasonparams"
)

// Reply is the data of a reply to more than change the message. A function that
// only changes it replies an event of the message's own type, with the new data;
// one that replies an event of another type posts that, and the message goes on
// as it is.
type Reply struct {
	// Data is the message's new data, JSON; absent leaves it as it is.
	Data any `json:"data,omitempty"`
	// Drop has the message end here.
	Drop bool `json:"drop,omitempty"`
	// Events are posted.
	Events []Event `json:"events,omitempty"`
}

// Event is an event to be posted.
type Event struct {
	Type    string `json:"type"`
	Subject string `json:"subject,omitempty"`
	// Extensions are attributes; those of the platform's own cannot be set.
	Extensions map[string]string `json:"extensions,omitempty"`
	// Data is JSON.
	Data any `json:"data,omitempty"`
}
