// Package emailerv1 is the contract of the emailer: the event by which a
// function, or a timer, sends an e-mail ([Email]).
package emailerv1

// TypeEmail is the type of events that ask for an e-mail: [Email] as JSON. A
// function replies one, or a timer posts one. An event that came in from outside
// sends none.
const TypeEmail = "dev.selvedge.email.v1"

// Email is the data of an event that asks for an e-mail. Subject, Text and HTML
// are templates (sdk/render), filled in with Data; one of Text and HTML is
// needed.
type Email struct {
	// To, Cc and Bcc are addresses: "ops@example.com", "Ops <ops@example.com>".
	To  []string `json:"to"`
	Cc  []string `json:"cc,omitempty"`
	Bcc []string `json:"bcc,omitempty"`
	// ReplyTo is where answers go. Who the e-mail is from is not for the event to
	// say.
	ReplyTo string `json:"replyTo,omitempty"`
	Subject string `json:"subject"`
	Text    string `json:"text,omitempty"`
	HTML    string `json:"html,omitempty"`
	Data    any    `json:"data,omitempty"`
	// Digest, if given, has several events become one e-mail.
	Digest *Digest `json:"digest,omitempty"`
}

// Digest says which events become one e-mail: those of one project with the same
// key, from the first of them on, for so long. The e-mail is that of the last of
// them, its templates filled in with the data of all: {{range .Items}}.
type Digest struct {
	Key string `json:"key"`
	// Window is a duration such as "15m", a day at most.
	Window string `json:"window"`
}
