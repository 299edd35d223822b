package ingest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/gateway"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/remote"
	"selvedge.dev/triggers/broker"
	"selvedge.dev/triggers/delivery"
)

// Function is the door as a process of its own, in front of a broker that is
// somebody else's, such as Knative's: an event is answered with 2xx once that
// broker has it. The platform is asked who posts, and whose device an external name
// is. Such a broker tells of no duplicates: every event that it took is accepted.
type Function struct{ gateway.Hosted }

var _ function.Starter = (*Function)(nil)

// New returns the function. Start reads its environment: the platform is at
// SELVEDGE_URL, the function's own key there is SELVEDGE_KEY, the broker at K_SINK.
func New() *Function { return &Function{} }

// Start opens the door.
func (f *Function) Start(ctx context.Context, env map[string]string) error {
	for _, name := range []string{"SELVEDGE_URL", "SELVEDGE_KEY", "K_SINK"} {
		if env[name] == "" {
			return &fault.Error{Op: "ingest.Start", Kind: fault.Invalid, Reason: "NOT_CONFIGURED", Field: name, Err: errors.New(name + " is not set")}
		}
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	who := remote.New(remote.Options{URL: env["SELVEDGE_URL"], Function: env[iam.FunctionVariable], Key: env["SELVEDGE_KEY"]})
	devices := devicesv1.NewClient(env["SELVEDGE_URL"], env["SELVEDGE_KEY"])
	door := &Service{Broker: other{delivery.HTTP{URL: env["K_SINK"]}}, Devices: devices, MayPublish: func(ctx context.Context, source, device string) error {
		return iam.MayPublishBy(iam.PrincipalOf(ctx), source, device, func(project string) error {
			return who.AllowIn(ctx, project, iam.Publish)
		})
	}}
	f.Open(ctx, gateway.Hosting{
		Handler: remote.Incoming(gateway.New(gateway.Options{
			Authenticator: who, Services: []gateway.Service{door}, Logger: log, Ready: func() error { return nil },
		})),
		Run: func(ctx context.Context) error {
			devices.Run(ctx, log)
			<-ctx.Done()
			return nil
		},
		Logger: log,
	})
	return nil
}

// other is a broker of somebody else.
type other struct{ sink delivery.HTTP }

// Publish implements [Publisher]. The events are posted one after the other: where
// one is not taken, those before it are, and come again with it.
func (o other) Publish(ctx context.Context, events []event.Event) ([]broker.Verdict, error) {
	verdicts := make([]broker.Verdict, len(events))
	for i, e := range events {
		switch result := o.sink.Deliver(ctx, e); {
		case result.OK():
			verdicts[i] = broker.Accepted
		case permanent(result.Status):
			return nil, &fault.Error{Op: "ingest.Publish", Name: e.ID(), Kind: fault.Invalid, Reason: "REFUSED_BY_BROKER", Err: result.Err}
		default:
			return nil, &fault.Error{Op: "ingest.Publish", Kind: fault.Unavailable, Reason: "BROKER_AWAY", Err: result.Err}
		}
	}
	return verdicts, nil
}

// permanent reports whether a broker would answer so again.
func permanent(status int) bool {
	return status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge || status == http.StatusUnsupportedMediaType
}
