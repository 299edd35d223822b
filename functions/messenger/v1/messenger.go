// Package messengerv1 is the contract of the messenger: the event by which a
// function, or a timer, sends a text message to telephones ([SMS]).
package messengerv1

// TypeSMS is the type of events that ask for a text message: [SMS] as JSON. A
// function replies one, or a timer posts one. An event that came in from outside
// sends none.
const TypeSMS = "dev.selvedge.sms.v1"

// SMS is the data of an event that asks for a text message.
type SMS struct {
	// To are telephone numbers as E.164 has them: "+41791234567".
	To []string `json:"to"`
	// Text is a template (sdk/render), filled in with Data.
	Text string `json:"text"`
	Data any    `json:"data,omitempty"`
}
