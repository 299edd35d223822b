package serving

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/sdk/fault"
)

// eventKind is the core's kind of what happened to objects.
func eventKind() object.Key { return object.Key{Name: "Event"} }

// maxEvents is how many are kept of one object.
const maxEvents = 20

// note is something that happened to an object.
type note struct{ typ, reason, message string }

// tell records that an object became ready, or failed.
func (s *Serving) tell(ctx context.Context, o object.Object, before object.Condition) {
	switch c := o.Condition("Ready"); {
	case c.Status == before.Status && c.Reason == before.Reason:
	case c.Status == yes:
		s.record(ctx, o, note{"Normal", o.KindName() + "Ready", o.KindName() + " becomes ready"})
	case c.Status == no:
		s.record(ctx, o, note{"Warning", c.Reason, c.Message})
	}
}

// record records an event of an object, which goes with the object. The same
// event again is counted. What cannot be recorded is logged: events are for people.
func (s *Serving) record(ctx context.Context, about object.Object, e note) {
	kind := s.store.Kind(eventKind())
	if kind == nil {
		return
	}
	now := object.Time(s.o.Now())
	sum := sha256.Sum256([]byte(about.UID() + "\x00" + e.reason + "\x00" + e.message))
	name := strings.TrimRight(about.Name()[:min(len(about.Name()), 200)], "-.") + "." + hex.EncodeToString(sum[:8])
	o, err := s.store.Get(kind.Key(), about.Namespace(), name)
	if fault.KindOf(err) == fault.NotFound {
		o = kind.New(about.Namespace(), name)
		o["involvedObject"] = map[string]any{
			"apiVersion": about.APIVersion(), "kind": about.KindName(), "name": about.Name(), "namespace": about.Namespace(), "uid": about.UID(),
		}
		o["type"], o["reason"], o["message"], o["firstTimestamp"] = e.typ, e.reason, e.message, now
		o["source"] = map[string]any{"component": "serving"}
		o["reportingComponent"] = "serving"
		o.OwnedBy(about)
	}
	o["count"], o["lastTimestamp"] = number(o.Int("count")+1), now
	if o.UID() == "" {
		if _, err = s.create(ctx, o); fault.KindOf(err) == fault.NotFound {
			return // the object went, and what is known of it
		}
		s.trim(ctx, about)
	} else {
		_, err = s.store.Update(ctx, o)
	}
	if err != nil {
		s.log.Warn("event not recorded", slog.String("reason", e.reason), slog.String("name", fmt.Sprintf("%s/%s", about.Namespace(), about.Name())), slog.Any("error", err))
	}
}

// trim removes the oldest events of an object.
func (s *Serving) trim(ctx context.Context, about object.Object) {
	all, _ := s.store.List(object.Query{Kind: eventKind(), Namespace: about.Namespace()})
	all = slices.DeleteFunc(all, func(o object.Object) bool { return o.Text("involvedObject", "uid") != about.UID() })
	slices.SortFunc(all, func(a, b object.Object) int { return strings.Compare(a.Text("lastTimestamp"), b.Text("lastTimestamp")) })
	for ; len(all) > maxEvents; all = all[1:] {
		if _, err := s.store.Delete(ctx, eventKind(), all[0].Namespace(), all[0].Name(), object.Preconditions{}); err != nil && fault.KindOf(err) != fault.NotFound {
			s.log.Warn("event not removed", slog.String("name", all[0].Name()), slog.Any("error", err))
		}
	}
}
