package logging

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	loggingv1 "selvedge.dev/functions/logging/v1"
	"selvedge.dev/logstore"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// promotedAge is how old what is known of the promoted labels may be, of what another
// process wrote.
const promotedAge = 15 * time.Second

// promoted are the promoted labels of logs: by the project's id, "" for services,
// and then by the log's.
type promoted map[string]map[string][]string

// Promoted are the labels that the entry's log is looked for by: those of the
// project's descriptor of it, or else of a service's. It implements
// [logstore.Promoted], by what [Registry.Run] knows.
func (r *Registry) Promoted(e *logstore.Entry) []string {
	known := r.promoted.Load()
	if known == nil {
		return nil
	}
	if keys, own := (*known)[e.Project][e.Log]; own {
		return keys
	}
	return (*known)[""][e.Log]
}

// Run keeps what Promoted says up to date until ctx ends.
func (r *Registry) Run(ctx context.Context) {
	tick := time.NewTicker(promotedAge)
	defer tick.Stop()
	for {
		known, err := r.loadPromoted(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if r.options.Logger != nil {
				r.options.Logger.LogAttrs(ctx, slog.LevelWarn, "the descriptors of logs cannot be read", slog.Any("error", err))
			}
		default:
			r.promoted.Store(&known)
		}
		select {
		case <-ctx.Done():
			return
		case <-r.catalog.described:
		case <-tick.C:
		}
	}
}

// loadPromoted reads the descriptors. One of an organization is of no project's logs.
func (r *Registry) loadPromoted(ctx context.Context) (promoted, error) {
	snapshot, _, err := r.store.Driver().Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	out := promoted{}
	var broken error
	err = snapshot.Scan(ctx, store.Scan{Type: loggingv1.LogDescriptorType}, func(rec *store.Record) bool {
		var m proto.Message
		if m, broken = r.read(loggingv1.LogDescriptorType, rec); broken != nil {
			return false
		}
		d := m.(*loggingv1.LogDescriptor)
		project := resource.Name(d.GetName()).Project()
		if project == "" && !strings.HasPrefix(d.GetName(), "services/") {
			return true
		}
		if out[project] == nil {
			out[project] = map[string][]string{}
		}
		out[project][d.GetLogId()] = d.Promoted()
		return true
	})
	return out, errors.Join(err, broken, snapshot.Close())
}
