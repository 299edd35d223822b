// Package emailer is the function that sends e-mails, by SMTP or Amazon SES: one
// for each event of the type emailerv1.TypeEmail, or one for several of them.
//
// What a provider does not take now is an error that the broker delivers again,
// with growing pauses; what it refuses is dropped and counted. The Message-ID
// follows from the event, and what was sent is remembered (sdk/outbox), so that
// an event that comes again is not sent again. One window is left: after the
// provider said that it has the e-mail, and before that is on our disk. A crash
// there sends it twice, under one Message-ID; SMTP has no word to ask what became
// of an e-mail, and SES gives each a Message-ID of its own.
package emailer

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
	"strconv"
	"sync"
	"time"

	emailerv1 "selvedge.dev/functions/emailer/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/outbox"
)

// Function sends e-mails. Handle may be called concurrently.
type Function struct {
	// Provider sends them. Nil is the one that EMAIL_URL says.
	Provider Provider
	// From is who they are from: "Selvedge <noreply@example.com>".
	From string
	// Outbox is what it remembers. Nil is one in Dir.
	Outbox *outbox.Outbox
	// Dir is the folder of the outbox; "" is what EMAIL_DATA says, or a folder
	// that lasts as long as the machine.
	Dir string
	// Logger is told of digests that are given up; nil discards.
	Logger *slog.Logger

	// stop ends what Start began.
	stop func() error
}

var _ interface {
	function.Handler
	function.Starter
	function.Stopper
} = (*Function)(nil)

// Provider takes e-mails on their way. Send may be called concurrently. An error
// of a kind that is not retried is one that it will always give.
type Provider interface {
	Send(ctx context.Context, m Mail) error
}

// New returns the function, to be started with its environment.
func New() *Function {
	return &Function{Logger: slog.New(slog.NewJSONHandler(os.Stderr, nil))}
}

// defaultRate is how many e-mails a project sends in a minute.
const defaultRate = 60

// Start takes the provider from EMAIL_URL (see Open), the sender from EMAIL_FROM,
// and from EMAIL_RATE how many e-mails a project sends in a minute, 60 by
// default, 0 for any number.
func (f *Function) Start(ctx context.Context, env map[string]string) error {
	if env["EMAIL_URL"] != "" {
		if _, err := address("EMAIL_FROM", env["EMAIL_FROM"]); err != nil {
			return fmt.Errorf("EMAIL_FROM: %w", err)
		}
		p, err := Open(ctx, env["EMAIL_URL"])
		if err != nil {
			return err
		}
		f.Provider, f.From = p, env["EMAIL_FROM"]
	}
	if f.Provider == nil {
		return nil // there is nothing to send by, which Handle says
	}
	rate := defaultRate
	if text := env["EMAIL_RATE"]; text != "" {
		var err error
		if rate, err = strconv.Atoi(text); err != nil || rate < 0 {
			return fmt.Errorf("EMAIL_RATE: %q is no number of e-mails", text)
		}
	}
	var err error
	dir := cmp.Or(f.Dir, env["EMAIL_DATA"], filepath.Join(os.TempDir(), "selvedge-emailer"))
	if f.Outbox, err = outbox.Open(ctx, outbox.Options{Dir: dir, Rate: rate, Logger: f.Logger}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { f.Outbox.Run(ctx, f.digest) })
	f.stop = func() error {
		cancel()
		running.Wait()
		return f.Outbox.Close()
	}
	return nil
}

// Stop ends what Start began.
func (f *Function) Stop(context.Context) error {
	if f.stop == nil {
		return nil
	}
	return f.stop()
}

// maxWindow is the longest window of a digest.
const maxWindow = 24 * time.Hour

// Handle sends the e-mail that e asks for, or holds it back for its digest.
func (f *Function) Handle(ctx context.Context, e event.Event) (*event.Event, error) {
	switch project := event.Extension(&e, event.Project); {
	case event.Extension(&e, event.Route) != "":
		return nil, refuse(fault.Denied, "FROM_OUTSIDE", event.Route, errors.New("functions and timers send e-mails, not devices"))
	case project == "":
		return nil, refuse(fault.Invalid, "NO_PROJECT", event.Project, errors.New("the event is of no project"))
	case f.Provider == nil:
		return nil, refuse(fault.Invalid, "NO_PROVIDER", "", errors.New("EMAIL_URL does not say by what e-mails are sent"))
	default:
		id := outbox.ID(project, e.Source(), e.ID())
		email, err := parse(e.Data())
		if err != nil {
			return nil, err
		}
		m, err := compose(f.From, id, email)
		if err != nil {
			return nil, err
		}
		if email.Digest == nil {
			return nil, f.Outbox.Once(ctx, project, id, func(ctx context.Context) error { return f.Provider.Send(ctx, m) })
		}
		window, err := time.ParseDuration(email.Digest.Window)
		if err != nil || window < 0 || window > maxWindow || email.Digest.Key == "" || len(email.Digest.Key) > 200 {
			return nil, refuse(fault.Invalid, "MALFORMED_EMAIL", "digest", fmt.Errorf("a digest has a key, and a window of at most %s", maxWindow))
		}
		return nil, f.Outbox.Hold(ctx, outbox.Item{Project: project, Key: email.Digest.Key, ID: id, Body: e.Data()}, window)
	}
}

// digest sends what was held back: the last e-mail, with the data of all.
func (f *Function) digest(ctx context.Context, id string, items []outbox.Item) error {
	emails := make([]*emailerv1.Email, len(items))
	for i, item := range items {
		var err error
		if emails[i], err = parse(item.Body); err != nil {
			return err
		}
	}
	m, err := compose(f.From, id, emails...)
	if err != nil {
		return err
	}
	return f.Provider.Send(ctx, m)
}

// parse reads the data of an event.
func parse(data []byte) (*emailerv1.Email, error) {
	email := &emailerv1.Email{}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(email); err != nil {
		return nil, refuse(fault.Invalid, "MALFORMED_EMAIL", "data", err)
	}
	return email, nil
}

// refuse is the fault of an event that sends no e-mail.
func refuse(kind fault.Kind, reason, field string, err error) error {
	return &fault.Error{Op: "emailer.Handle", Kind: kind, Reason: reason, Field: field, Err: err}
}
