package reason

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	reasonv1 "selvedge.dev/functions/reason/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// The bounds of what one script keeps. It is small state: what is large is in a
// store of its own.
const (
	maxEntries = 100_000
	maxBytes   = 64 << 20
	// entryBytes is what an entry counts for beside its value.
	entryBytes = 256
)

const (
	// sweepEach is how often what expired is forgotten, and orphansEach what is
	// left of scripts that were deleted. Neither is to be had any more before.
	sweepEach   = time.Minute
	orphansEach = time.Hour
	// sweepMost is how much is forgotten with one write.
	sweepMost = 500
)

// slot is where a value is: of a script, of this life of its name.
type slot struct {
	script      resource.Name
	uid         string
	device, key string
}

// name is the name of the entry.
func (s slot) name() resource.Name {
	sum := sha256.Sum256([]byte(s.uid + "\x00" + s.device + "\x00" + s.key))
	return s.script + resource.Name("/stateEntries/s"+hex.EncodeToString(sum[:16]))
}

// slot finds the place of a value, which must be of a script that there is, and
// about a device of its project or about none.
func (s *Service) slot(ctx context.Context, script, device, key string) (slot, error) {
	name, err := s.script.Parse(script)
	if err != nil {
		return slot{}, err
	}
	if device != "" {
		d, err := resource.ParseDevice(device)
		if err != nil || d.Project() != name.Project() {
			return slot{}, &fault.Error{Op: "reason.State", Name: script, Kind: fault.Invalid, Reason: "INVALID_DEVICE", Field: "device", Err: fmt.Errorf("%.100q is no device of the script's project", device)}
		}
	}
	m, err := s.store.Get(ctx, s.script, name)
	if err != nil {
		return slot{}, err
	}
	return slot{name, s.script.MetadataOf(m).GetUid(), device, key}, nil
}

// entry is what is at a place: as it is stored, nil for nothing, and whether it
// still counts.
func (s *Service) entry(ctx context.Context, at slot) (*reasonv1.StateEntry, bool, error) {
	m, err := s.store.Get(ctx, s.state, at.name())
	if fault.KindOf(err) == fault.NotFound {
		return nil, false, nil
	}
	e, ok := m.(*reasonv1.StateEntry)
	if err != nil || !ok {
		return nil, false, err
	}
	return e, e.GetExpireTime() == nil || e.GetExpireTime().AsTime().After(s.now()), nil
}

// getState answers GetState.
func (s *Service) getState(ctx context.Context, req *reasonv1.GetStateRequest) (out *reasonv1.State, err error) {
	err = s.store.Run(ctx, store.Consistent, func(ctx context.Context) error {
		at, err := s.slot(ctx, req.GetName(), req.GetDevice(), req.GetKey())
		if err != nil {
			return err
		}
		e, alive, err := s.entry(ctx, at)
		if err != nil {
			return err
		}
		if !alive {
			return &fault.Error{Op: "reason.GetState", Name: req.GetName(), Kind: fault.NotFound, Reason: "NO_STATE", Field: "key", Err: fmt.Errorf("there is no value of %q", req.GetKey())}
		}
		out = stateOf(e)
		return nil
	})
	return out, err
}

// stateOf is an entry as callers see it.
func stateOf(e *reasonv1.StateEntry) *reasonv1.State {
	return &reasonv1.State{Value: e.GetValue(), Version: e.GetVersion(), ExpireTime: e.GetExpireTime()}
}

// expected compares the version of what there is with the one that was asked for.
func expected(want *int64, e *reasonv1.StateEntry, alive bool) error {
	is := int64(0)
	if alive {
		is = e.GetVersion()
	}
	if want == nil || *want == is {
		return nil
	}
	return &fault.Error{
		Op: "reason.State", Kind: fault.Conflict, Reason: "OTHER_VERSION", Field: "if_version",
		Err: fmt.Errorf("the version is %d, not %d", is, *want),
	}
}

// putState answers PutState.
func (s *Service) putState(ctx context.Context, req *reasonv1.PutStateRequest) (out *reasonv1.State, err error) {
	if ttl := req.GetTtl(); ttl != nil && (ttl.CheckValid() != nil || ttl.AsDuration() <= 0) {
		return nil, &fault.Error{Op: "reason.PutState", Name: req.GetName(), Kind: fault.Invalid, Reason: "INVALID_TTL", Field: "ttl", Err: errors.New("a value is kept for some time")}
	}
	err = s.store.Run(ctx, store.Transaction, func(ctx context.Context) error {
		at, err := s.slot(ctx, req.GetName(), req.GetDevice(), req.GetKey())
		if err != nil {
			return err
		}
		old, alive, err := s.entry(ctx, at)
		if err != nil {
			return err
		}
		if err := expected(req.IfVersion, old, alive); err != nil {
			return err
		}
		e := &reasonv1.StateEntry{
			Name: string(at.name()), ScriptUid: at.uid, Device: at.device, Key: at.key, Value: req.GetValue(),
			// One that was deleted and made again has another version too.
			Version: max(old.GetVersion()+1, s.now().UnixMicro()),
		}
		if req.GetTtl() != nil {
			e.ExpireTime = timestamppb.New(s.now().Add(req.GetTtl().AsDuration()))
		}
		s.count(ctx, at.uid, old, e)
		out = stateOf(e)
		return s.store.Save(ctx, e, store.SaveOptions{})
	})
	if fault.ReasonOf(err) == "LIMIT_REACHED" {
		return nil, &fault.Error{
			Op: "reason.PutState", Name: req.GetName(), Kind: fault.Exhausted, Reason: "STATE_FULL",
			Err: fmt.Errorf("a script keeps at most %d values, of %d bytes in all", maxEntries, maxBytes),
		}
	}
	return out, err
}

// deleteState answers DeleteState.
func (s *Service) deleteState(ctx context.Context, req *reasonv1.DeleteStateRequest) (*emptypb.Empty, error) {
	err := s.store.Run(ctx, store.Transaction, func(ctx context.Context) error {
		at, err := s.slot(ctx, req.GetName(), req.GetDevice(), req.GetKey())
		if err != nil {
			return err
		}
		e, alive, err := s.entry(ctx, at)
		if err != nil {
			return err
		}
		if err := expected(req.IfVersion, e, alive); err != nil || e == nil {
			return err
		}
		return s.remove(ctx, e)
	})
	return &emptypb.Empty{}, err
}

// remove deletes an entry.
func (s *Service) remove(ctx context.Context, e *reasonv1.StateEntry) error {
	s.count(ctx, e.GetScriptUid(), e, nil)
	return s.store.Delete(ctx, s.state, resource.Name(e.GetName()), store.DeleteOptions{})
}

// count counts what a script keeps, in the transaction of the change.
func (s *Service) count(ctx context.Context, uid string, before, after *reasonv1.StateEntry) {
	tx, ok := s.store.TxOf(ctx)
	if !ok {
		panic("BUG: reason: state is changed outside of a transaction")
	}
	weigh := func(e *reasonv1.StateEntry) (n, bytes int64) {
		if e == nil {
			return 0, 0
		}
		return 1, int64(len(e.GetValue()) + len(e.GetKey()) + len(e.GetDevice()) + entryBytes)
	}
	was, wasBytes := weigh(before)
	is, isBytes := weigh(after)
	tx.Count("reason/"+uid+"/entries", is-was, maxEntries)
	tx.Count("reason/"+uid+"/bytes", isBytes-wasBytes, maxBytes)
}

// Run forgets what expired, and what is left of scripts that are no more, until
// ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEach)
	defer tick.Stop()
	var orphans time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := s.Sweep(ctx)
		if now := time.Now(); err == nil && now.Sub(orphans) >= orphansEach {
			orphans = now
			err = s.SweepOrphans(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "old state stays for now", slog.Any("error", err))
		}
	}
}

// Sweep forgets what expired.
func (s *Service) Sweep(ctx context.Context) error {
	for {
		old, err := filter.Parse(s.state, fmt.Sprintf("expire_time < %q", s.now().UTC().Format(time.RFC3339)))
		if err != nil {
			return fmt.Errorf("BUG: reason: %w", err)
		}
		n := 0
		err = s.store.Run(ctx, store.Transaction, func(ctx context.Context) error {
			page, err := s.store.List(ctx, s.state, store.Query{Filter: old, Limit: sweepMost})
			if err != nil {
				return err
			}
			n = len(page.Objects)
			for _, m := range page.Objects {
				if err := s.remove(ctx, m.(*reasonv1.StateEntry)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || n < sweepMost {
			return err
		}
	}
}

// SweepOrphans forgets the state of scripts that were deleted.
func (s *Service) SweepOrphans(ctx context.Context) error {
	snapshot, _, err := s.store.Driver().Snapshot(ctx)
	if err != nil {
		return err
	}
	// Entries come in the order of their names, so those of a script together.
	var of []resource.Name
	uids := map[resource.Name]map[string]bool{}
	var broken error
	err = snapshot.Scan(ctx, store.Scan{Type: reasonv1.StateType}, func(rec *store.Record) bool {
		var e reasonv1.StateEntry
		if broken = proto.Unmarshal(rec.Body, &e); broken != nil {
			return false
		}
		script := rec.Name.Parent()
		if uids[script] == nil {
			of, uids[script] = append(of, script), map[string]bool{}
		}
		uids[script][e.GetScriptUid()] = true
		return true
	})
	if err = errors.Join(err, broken, snapshot.Close()); err != nil {
		return err
	}
	for _, script := range of {
		live, err := s.Script(ctx, script)
		if err != nil && fault.KindOf(err) != fault.NotFound {
			return err
		}
		for uid := range uids[script] {
			if uid == live.GetMetadata().GetUid() {
				continue
			}
			if err := s.forget(ctx, script, uid); err != nil {
				return err
			}
		}
	}
	return nil
}

// forget deletes the state of one life of a script's name.
func (s *Service) forget(ctx context.Context, script resource.Name, uid string) error {
	for {
		n := 0
		err := s.store.Run(ctx, store.Transaction, func(ctx context.Context) error {
			tx, _ := s.store.TxOf(ctx)
			var found []*reasonv1.StateEntry
			err := tx.Look(ctx, store.Scan{Type: reasonv1.StateType, From: script + "/", To: script + "0"}, func(_ *schema.Resource, m proto.Message) bool {
				if e, ok := m.(*reasonv1.StateEntry); ok && e.GetScriptUid() == uid {
					found = append(found, e)
				}
				return len(found) < sweepMost
			})
			if err != nil {
				return err
			}
			n = len(found)
			for _, e := range found {
				if err := s.remove(ctx, e); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || n < sweepMost {
			return err
		}
	}
}
