// Package messenger is the function that sends text messages to telephones, by
// Amazon SNS or by a provider that takes HTTP requests, such as Twilio: one to
// each number, for each event of the type messengerv1.TypeSMS.
//
// What a provider does not take now is an error that the broker delivers again,
// and then those numbers get the message that have not got it; what it refuses
// is dropped and counted. What was sent is remembered (sdk/outbox). A crash after
// the provider took a message and before that is on our disk sends it again,
// unless the provider knows it by the header Idempotency-Key.
package messenger

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	messengerv1 "selvedge.dev/functions/messenger/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/outbox"
	"selvedge.dev/sdk/render"
)

// Function sends text messages. Handle may be called concurrently.
type Function struct {
	// Provider sends them. Nil is the one that MESSENGER_URL says.
	Provider Provider
	// Outbox is what it remembers. Nil is one in Dir.
	Outbox *outbox.Outbox
	// Dir is the folder of the outbox; "" is what MESSENGER_DATA says, or a folder
	// that lasts as long as the machine.
	Dir string
	// Logger is told what goes on; nil discards.
	Logger *slog.Logger
}

var _ interface {
	function.Handler
	function.Starter
	function.Stopper
} = (*Function)(nil)

// Message is a text message on its way to one number.
type Message struct {
	// ID is the same whenever it is sent.
	ID string
	// To is a telephone number, From who it is from, as the provider has it.
	To, From, Text string
}

// Provider takes messages on their way. Send may be called concurrently. An
// error of a kind that is not retried is one that it will always give.
type Provider interface {
	Send(ctx context.Context, m Message) error
}

// New returns the function, to be started with its environment.
func New() *Function {
	return &Function{Logger: slog.New(slog.NewJSONHandler(os.Stderr, nil))}
}

// defaultRate is how many messages a project sends in a minute.
const defaultRate = 30

// Start takes the provider from the environment (see Open), and from
// MESSENGER_RATE how many messages a project sends in a minute, 30 by default, 0
// for any number.
func (f *Function) Start(ctx context.Context, env map[string]string) (err error) {
	if env["MESSENGER_URL"] != "" {
		if f.Provider, err = Open(ctx, env); err != nil {
			return err
		}
	}
	if f.Provider == nil {
		return nil // there is nothing to send by, which Handle says
	}
	rate := defaultRate
	if text := env["MESSENGER_RATE"]; text != "" {
		if rate, err = strconv.Atoi(text); err != nil || rate < 0 {
			return fmt.Errorf("MESSENGER_RATE: %q is no number of messages", text)
		}
	}
	dir := cmp.Or(f.Dir, env["MESSENGER_DATA"], filepath.Join(os.TempDir(), "selvedge-messenger"))
	f.Outbox, err = outbox.Open(ctx, outbox.Options{Dir: dir, Rate: rate, Logger: f.Logger})
	return err
}

// Stop ends what Start began.
func (f *Function) Stop(context.Context) error {
	if f.Outbox == nil {
		return nil
	}
	return f.Outbox.Close()
}

// The bounds of a message: so many numbers at once, and what ten text messages
// hold, which is also what SNS takes.
const (
	maxNumbers = 50
	maxText    = 1600
)

// number is the form of a telephone number.
var number = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)

// Handle sends the messages that e asks for.
func (f *Function) Handle(ctx context.Context, e event.Event) (*event.Event, error) {
	project := event.Extension(&e, event.Project)
	switch {
	case event.Extension(&e, event.Route) != "":
		return nil, refuse(fault.Denied, "FROM_OUTSIDE", event.Route, errors.New("functions and timers send messages, not devices"))
	case project == "":
		return nil, refuse(fault.Invalid, "NO_PROJECT", event.Project, errors.New("the event is of no project"))
	case f.Provider == nil:
		return nil, refuse(fault.Invalid, "NO_PROVIDER", "", errors.New("MESSENGER_URL does not say by what messages are sent"))
	}
	to, text, err := parse(e.Data())
	if err != nil {
		return nil, err
	}
	// Who cannot get it now does not keep it from the others, and who never will
	// does not either: what may succeed is tried again.
	var later, never []error
	for _, n := range to {
		id := outbox.ID(project, e.Source(), e.ID(), n)
		err := f.Outbox.Once(ctx, project, id, func(ctx context.Context) error {
			return f.Provider.Send(ctx, Message{ID: id, To: n, Text: text})
		})
		switch {
		case err == nil:
		case fault.Retried(fault.KindOf(err).EventStatus()):
			later = append(later, err)
		default:
			never = append(never, err)
		}
	}
	if len(later) > 0 {
		return nil, later[0]
	}
	if len(never) == len(to) {
		return nil, never[0]
	}
	if len(never) > 0 {
		function.Drop(ctx, fault.ReasonOf(never[0]), len(never))
	}
	return nil, nil
}

// parse reads the data of an event: who gets which text.
func parse(data []byte) (to []string, text string, err error) {
	var sms messengerv1.SMS
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&sms); err != nil {
		return nil, "", refuse(fault.Invalid, "MALFORMED_SMS", "data", err)
	}
	if len(sms.To) == 0 || len(sms.To) > maxNumbers {
		return nil, "", refuse(fault.Invalid, "INVALID_NUMBER", "to", fmt.Errorf("a message goes to 1 to %d numbers, not %d", maxNumbers, len(sms.To)))
	}
	for _, n := range sms.To {
		if !number.MatchString(n) {
			return nil, "", refuse(fault.Invalid, "INVALID_NUMBER", "to", fmt.Errorf("%.40q is not a telephone number such as +41791234567", n))
		}
	}
	values, err := render.New(sms.Data)
	if err != nil {
		return nil, "", err
	}
	if text, err = render.Text(sms.Text, values); err != nil {
		return nil, "", err
	}
	if text = strings.TrimSpace(text); text == "" || utf8.RuneCountInString(text) > maxText {
		return nil, "", refuse(fault.Invalid, "INVALID_TEXT", "text", fmt.Errorf("a message has 1 to %d characters", maxText))
	}
	return sms.To, text, nil
}

// refuse is the fault of an event that sends no message.
func refuse(kind fault.Kind, reason, field string, err error) error {
	return &fault.Error{Op: "messenger.Handle", Kind: kind, Reason: reason, Field: field, Err: err}
}
