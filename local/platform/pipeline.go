package platform

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"selvedge.dev/functions/emailer"
	"selvedge.dev/functions/logging"
	"selvedge.dev/functions/messenger"
	"selvedge.dev/functions/processor"
	"selvedge.dev/functions/reason"
	"selvedge.dev/functions/scheduler"
	"selvedge.dev/functions/threshold"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/triggers/broker"
	"selvedge.dev/triggers/deadletters"
	"selvedge.dev/triggers/delivery"
	"selvedge.dev/triggers/manifests"
)

// functions are the functions of this process by the name that manifests refer
// to them with.
func (p *Platform) functions() map[string]function.Handler {
	return map[string]function.Handler{
		"processor": &processor.Function{Devices: p.registry},
		"writer":    p.writer,
		"threshold": threshold.New(),
		"logging":   &logging.Function{Entries: p.logDoors},
		"scheduler": &scheduler.Function{Timers: p.scheduler},
		"reason":    &reason.Function{Scripts: p.reason, Publish: p.publishChanges, Deployed: p.deployed},
		"emailer":   &emailer.Function{Dir: filepath.Join(p.config.Data, "emailer"), Logger: p.log},
		"messenger": &messenger.Function{Dir: filepath.Join(p.config.Data, "messenger"), Logger: p.log},
	}
}

// startFunctions makes the functions and starts those that ask for it, with the
// environment of this process. They are stopped when the platform is closed.
func (p *Platform) startFunctions(ctx context.Context) (map[string]function.Handler, error) {
	env := map[string]string{}
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	functions := p.functions()
	for name, f := range functions {
		if s, ok := f.(function.Starter); ok {
			if err := s.Start(ctx, env); err != nil {
				return nil, fmt.Errorf("start function %s: %w", name, err)
			}
		}
		if s, ok := f.(function.Stopper); ok {
			p.onClose(func() error { return s.Stop(context.WithoutCancel(ctx)) })
		}
	}
	return functions, nil
}

// openPipeline opens the broker with the triggers of the manifests.
func (p *Platform) openPipeline(ctx context.Context) error {
	set, err := manifests.Load(manifests.Files())
	if err != nil {
		return err
	}
	functions, err := p.startFunctions(ctx)
	if err != nil {
		return err
	}
	defaults := map[string]*manifests.Delivery{}
	for _, b := range set.Brokers {
		defaults[b.Name] = b.Delivery
	}
	triggers := make([]broker.Trigger, len(set.Triggers))
	for i, m := range set.Triggers {
		d := m.Delivery
		if d == nil {
			d = defaults[m.Broker]
		}
		t := broker.Trigger{Name: m.Name, Filter: m.Filter, Policy: d.Policy(), Patient: m.Annotations[patient] == "wait"}
		if t.Sink, t.Dest, err = sinkOf(m.Subscriber, functions); err != nil {
			return fmt.Errorf("trigger %s: subscriber: %w", m.Name, err)
		}
		if d != nil && d.DeadLetterSink != nil {
			if t.DeadLetter, _, err = sinkOf(*d.DeadLetterSink, functions); err != nil {
				return fmt.Errorf("trigger %s: dead letter sink: %w", m.Name, err)
			}
		}
		if _, remote := t.Sink.(delivery.HTTP); remote {
			t.Lanes = remoteLanes
		}
		triggers[i] = t
	}
	letters, err := sqlite.Open(ctx, filepath.Join(p.config.Data, "deadletters.db"), deadletters.Schema)
	if err != nil {
		return err
	}
	p.onClose(letters.Close)
	p.broker, err = broker.Open(ctx, broker.Options{
		Dir: filepath.Join(p.config.Data, "broker"), Ledger: p.losses, DeadLetters: deadletters.New(letters, deadletters.Options{}),
		MaxBytes: p.config.JournalBytes, Logger: p.log,
	}, triggers)
	if err != nil {
		return err
	}
	p.onClose(p.broker.Close)
	if err := p.forgetTriggers(ctx); err != nil {
		return err
	}
	return p.openEventing(ctx)
}

// forgetTriggers lets go of the triggers that an earlier version of the platform
// had and this one has not: their cursors would hold the journal for ever.
// Those of projects are set again by whoever has them.
func (p *Platform) forgetTriggers(ctx context.Context) error {
	for _, idle := range p.broker.Idle() {
		if idle.Project != "" {
			continue
		}
		p.log.Info("trigger is no more", slog.String("trigger", idle.Name))
		if err := p.broker.RemoveTrigger(ctx, "", idle.Name); err != nil {
			return err
		}
	}
	return nil
}

// patient is the annotation of triggers whose events wait, as long as it takes,
// when their function answers that it cannot take events now.
const patient = "selvedge.dev/when-unavailable"

// remoteLanes is how many events may be on their way to one remote function: a
// round trip of a millisecond then allows 32,000 events a second.
const remoteLanes = 32

// sinkOf resolves a manifest's destination: a Knative service by the name of a
// function in this process, or a URI.
func sinkOf(d manifests.Destination, functions map[string]function.Handler) (delivery.Sink, string, error) {
	if d.Ref == nil {
		return delivery.HTTP{URL: d.URI}, d.URI, nil
	}
	h, ok := functions[d.Ref.Name]
	if !ok || d.Ref.Kind != "Service" {
		return nil, "", &fault.Error{
			Op: "platform.sink", Name: d.Ref.Name, Kind: fault.NotFound,
			Err: fmt.Errorf("no function answers to %s %s", d.Ref.Kind, d.Ref.Name),
		}
	}
	return delivery.InProcess(h), d.Ref.Name, nil
}
