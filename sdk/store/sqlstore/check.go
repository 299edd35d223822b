package sqlstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// commitOp is the operation of the faults of a batch that was refused.
const commitOp = "store.Commit"

// keys are what has to be known to check these batches, in the order of the
// tables.
func keys(requests []*request, syms *Symbols) *Keys {
	objects, claims, counters := map[Key]bool{}, map[string]bool{}, map[string]bool{}
	object := func(typ string, name resource.Name) {
		if kind, ok := syms.Kind(typ); ok {
			objects[Key{kind, name}] = true
		}
	}
	for _, r := range requests {
		for _, e := range r.batch.Expect {
			object(e.Type, e.Name)
		}
		for i := range r.batch.Writes {
			w := &r.batch.Writes[i]
			object(w.Type, w.Name)
			for _, all := range [][]store.Claim{w.Claim, w.Release} {
				for _, c := range all {
					if t := syms.claim(w.Type, c); t != nil {
						claims[string(t)] = true
					}
				}
			}
		}
		for _, c := range r.batch.Counts {
			counters[c.Key] = true
		}
	}
	k := &Keys{Objects: sortedKeys(objects, compareKeys)}
	for _, t := range sortedKeys(claims, cmp.Compare[string]) {
		k.Claims = append(k.Claims, []byte(t))
	}
	k.Counters = sortedKeys(counters, cmp.Compare[string])
	return k
}

// refusal is the error of a batch of which a condition does not hold, and not of
// the database.
type refusal struct{ error }

// check refuses a batch of which a condition does not hold.
func (s *state) check(ctx context.Context, tx Tx, b *store.Batch) error {
	for i := range b.Writes {
		w := &b.Writes[i]
		var want store.Seq
		if w.Before != nil {
			want = w.Before.Version
		}
		if s.version(w.Type, w.Name) != want {
			return lost(string(w.Name), "VERSION_CHANGED")
		}
	}
	for _, e := range b.Expect {
		switch o := s.object(e.Type, e.Name); {
		case e.Alive != "" && (o == nil || o.UID != e.Alive || o.Deleting),
			e.Alive == "" && s.version(e.Type, e.Name) != e.Version:
			return lost(string(e.Name), "VERSION_CHANGED")
		}
	}
	for i := range b.Ranges {
		if err := s.checkRange(ctx, tx, &b.Ranges[i]); err != nil {
			return err
		}
	}
	if err := s.checkClaims(b); err != nil {
		return err
	}
	return s.checkCounts(b)
}

// object is an object as it is now, nil if there is none.
func (s *state) object(typ string, name resource.Name) *Object {
	kind, ok := s.syms.Kind(typ)
	if !ok {
		return nil
	}
	return s.Objects[Key{kind, name}]
}

// version is the version of an object, 0 if there is none.
func (s *state) version(typ string, name resource.Name) store.Seq {
	if o := s.object(typ, name); o != nil {
		return o.Version
	}
	return 0
}

// lost is the fault of a batch that lost against another.
func lost(name, reason string) error {
	return refusal{&fault.Error{Op: commitOp, Name: name, Kind: fault.Conflict, Reason: reason}}
}

// checkRange checks that a scan selects what it did. The database is asked, so
// what the batches so far did is written before.
func (s *state) checkRange(ctx context.Context, tx Tx, r *store.Range) error {
	if s.pending() {
		if err := tx.Write(ctx, s.take()); err != nil {
			return fmt.Errorf("writing: %w", err)
		}
	}
	var digest uint64
	if err := Scan(ctx, tx, s.syms, &r.Scan, ColumnsVersion, func(rec *store.Record) bool {
		digest = store.Digest(digest, rec)
		return true
	}); err != nil {
		return fmt.Errorf("checking a range: %w", err)
	}
	if digest != r.Digest {
		return lost(r.Scan.Type, "RANGE_CHANGED")
	}
	return nil
}

// pending is whether there is something to write.
func (s *state) pending() bool {
	return len(s.objects)+len(s.claims)+len(s.counters)+len(s.changes) > 0
}

// checkClaims refuses claims that another object holds, be it one of the same
// batch.
func (s *state) checkClaims(b *store.Batch) error {
	var released, taken map[string]resource.Name
	for i := range b.Writes {
		w := &b.Writes[i]
		for _, c := range w.Release {
			if t := s.syms.claim(w.Type, c); t != nil && s.Claims[string(t)] == w.Name {
				released = put(released, string(t), w.Name)
			}
		}
	}
	for i := range b.Writes {
		w := &b.Writes[i]
		for _, c := range w.Claim {
			t := string(s.syms.claim(w.Type, c))
			holder, held := taken[t]
			if !held && released[t] == "" {
				holder, held = s.Claims[t]
			}
			if held && holder != w.Name {
				return refusal{&fault.Error{Op: commitOp, Name: string(holder), Kind: fault.Exists, Reason: "ALREADY_TAKEN", Err: fmt.Errorf("%s has it, and only one can", holder)}}
			}
			taken = put(taken, t, w.Name)
		}
	}
	return nil
}

// put puts into a map that is made when there is something to put.
func put(m map[string]resource.Name, key string, name resource.Name) map[string]resource.Name {
	if m == nil {
		m = map[string]resource.Name{}
	}
	m[key] = name
	return m
}

// checkCounts refuses counts beyond their bounds.
func (s *state) checkCounts(b *store.Batch) error {
	sums := deltas(b)
	for _, c := range b.Counts {
		if d := sums[c.Key]; d > 0 && c.Max >= 0 && s.Counters[c.Key]+d > c.Max {
			return refusal{&fault.Error{
				Op: commitOp, Name: c.Key, Kind: fault.Exhausted, Reason: "LIMIT_REACHED",
				Err: fmt.Errorf("%d and %d more are over %d", s.Counters[c.Key], d, c.Max),
			}}
		}
	}
	return nil
}

// sortedKeys are the keys of a set in their order.
func sortedKeys[K comparable](set map[K]bool, compare func(a, b K) int) []K {
	out := make([]K, 0, len(set))
	for k := range set {
		out = append(out, k)
	}
	slices.SortFunc(out, compare)
	return out
}
