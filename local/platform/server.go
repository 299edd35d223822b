package platform

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	functionsaudit "selvedge.dev/functions/audit"
	functionsgateway "selvedge.dev/functions/gateway"
	"selvedge.dev/functions/ingest"
	"selvedge.dev/functions/monitoring"
	"selvedge.dev/functions/prometheus"
	"selvedge.dev/sdk/gateway"
	"selvedge.dev/sdk/journal"
	"selvedge.dev/triggers/broker"
	"selvedge.dev/tsdb/promql"
	"selvedge.dev/tsdb/query"
)

// The times of the port. A body of 4 MiB over a link of 64 kB/s takes a
// minute; an idle connection of a device that reports every minute stays open.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 2 * time.Minute
	idleTimeout   = 3 * time.Minute
	maxHeader     = 128 << 10
)

// queryBytes bounds the memory of one query, and defaultQueryMemory that of all
// together unless the configuration says otherwise.
const (
	queryBytes         = 512 << 20
	defaultQueryMemory = 1 << 30
)

// queryMemory is the memory of all queries together.
func (p *Platform) queryMemory() int64 { return cmp.Or(p.config.QueryMemory, defaultQueryMemory) }

// newServer is the server behind the port.
func (p *Platform) newServer() (*http.Server, error) {
	calls, doors, err := p.newCalls()
	if err != nil {
		return nil, err
	}
	door := &ingest.Service{Broker: p.broker, Devices: p.registry, Limits: p.config.Limits, MayPublish: p.access.MayPublish}
	memory := query.NewBudget(p.queryMemory(), 0)
	kubernetes := p.kubernetes()
	handler := gateway.New(gateway.Options{
		Authenticator: p.who,
		Watcher:       p.recorder.Doors(p.resources.store, "platform.selvedge.dev"),
		Ready:         p.notReady,
		Calls:         onBehalf(calls),
		Logger:        p.log,
		Services: []gateway.Service{
			door,
			doors,
			p.iam,
			p.accounts,
			&monitoring.Service{
				Engine: query.New(p.series, query.Options{Rollups: p.rollups, MaxBytes: queryBytes, Budget: memory}), Descriptors: p.metrics, Resources: p.metrics,
				Series: p.rollups, Operations: p.operations, Rollups: p.rollups,
				Authorize: p.access.Authorize, Gather: gather, Logger: p.log,
			},
			&prometheus.Service{Engine: promql.New(p.rollups, p.metrics, promql.Options{Memory: memory, MaxBytes: queryBytes}), Authorize: p.access.Authorize, Logger: p.log},
			p.collector,
			cluster{p, kubernetes},
			p.logDoors,
			&functionsaudit.Doors{Chains: p.trail, Allow: p.access.Allow, Rotate: p.rotateAuditKey, Recorder: p.recorder, Store: p.resources.store},
			&ingest.Brokers{Broker: p.broker, Exists: p.eventing.Exists, Limits: p.config.Limits, Authorize: p.access.Authorize, MayPublish: p.access.MayPublish},
			&ingest.Aftermath{Broker: p.broker, Authorize: p.access.Authorize, Logger: p.log},
			&snapshots{p: p},
			functionsgateway.Losses{Ledger: p.losses, Authorize: p.access.Authorize},
			functionsgateway.Status{Read: func() any { return p.status(door) }, Authorize: p.access.Authorize},
		},
	})
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler: handler, Protocols: protocols, ConnContext: withConn, ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
	}
	server.RegisterOnShutdown(calls.End)
	server.RegisterOnShutdown(kubernetes.End)
	server.RegisterOnShutdown(p.logDoors.End)
	return server, nil
}

// status is the answer of GET /v1/status.
type status struct {
	// Events are the figures of the door for events.
	Events map[string]int64 `json:"events"`
	// Triggers are the figures of each trigger.
	Triggers []broker.Stats `json:"triggers"`
	// IdleTriggers were set before a restart and not again; they hold the
	// journal.
	IdleTriggers []broker.Idle `json:"idleTriggers,omitempty"`
	// Journal are the figures of the broker's journal.
	Journal journal.Stats `json:"journal"`
}

// status collects the platform's figures.
func (p *Platform) status(door *ingest.Service) status {
	return status{Events: door.Counts(), Triggers: p.broker.Stats(), IdleTriggers: p.broker.Idle(), Journal: p.broker.Journal()}
}

// listen binds the port, which without a certificate of ours speaks TLS with one
// of its own to who asks for it, and for this machine's own edge runtime a second one
// when the first speaks TLS: the certificate is for a name that this machine
// need not know itself by.
func (p *Platform) listen(ctx context.Context) error {
	bind := func(address string) (net.Listener, error) {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		p.onClose(func() error {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil
		})
		return l, nil
	}
	l, err := bind(p.config.Listen)
	if err != nil {
		return err
	}
	p.listener = l
	if p.config.TLSCert == "" && p.config.TLSKey == "" {
		c, err := p.own()
		if err != nil {
			return err
		}
		p.listener = newEither(l, c.config())
		p.onClose(p.listener.Close)
		return nil
	}
	c, err := newCertificate(p.config.TLSCert, p.config.TLSKey, p.log)
	if err != nil {
		return err
	}
	p.listener = tls.NewListener(l, c.config())
	if p.config.Edge {
		p.inside, err = bind("127.0.0.1:0")
	}
	return err
}

// listeners are what the server serves.
func (p *Platform) listeners() []net.Listener {
	if p.inside == nil {
		return []net.Listener{p.listener}
	}
	return []net.Listener{p.listener, p.inside}
}

// insideURL is where this machine's own edge runtime reaches the platform.
func (p *Platform) insideURL() string {
	if p.inside == nil {
		return p.URL()
	}
	return "http://" + p.inside.Addr().String()
}
