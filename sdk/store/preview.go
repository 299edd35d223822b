package store

import (
	"context"
	"fmt"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
)

// Preview is Run of a Transaction that is not committed: it returns what would
// be written, as the plugins prepared it. What the commit would refuse Preview
// refuses too, as far as its snapshot tells. It joins no handle.
func (s *Store) Preview(ctx context.Context, f func(ctx context.Context) error) ([]*Pending, error) {
	ctx, t, err := s.Begin(ctx, Transaction)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	if err := f(ctx); err != nil {
		return nil, err
	}
	if err := t.prepare(ctx); err != nil {
		return nil, err
	}
	b, err := t.batch()
	if err != nil {
		return nil, err
	}
	if err := t.checkClaims(ctx, b); err != nil {
		return nil, err
	}
	if err := t.checkCounts(ctx, b); err != nil {
		return nil, s.explain(err)
	}
	return t.Pending(), nil
}

// claimOf identifies a claim.
func claimOf(typ string, c Claim) string {
	return fmt.Sprintf("%s %s %s %x", typ, c.Index, c.Scope, c.Value)
}

// checkClaims looks for others that have what the batch claims.
func (t *Tx) checkClaims(ctx context.Context, b *Batch) error {
	holder, released := map[string]resource.Name{}, map[string]bool{}
	for _, w := range b.Writes {
		for _, c := range w.Release {
			released[claimOf(w.Type, c)] = true
		}
	}
	for _, w := range b.Writes {
		for _, c := range w.Claim {
			id := claimOf(w.Type, c)
			if !released[id] {
				s := Scan{Type: w.Type, Where: []filter.Condition{{Index: c.Index, Op: filter.In, Values: [][]byte{c.Value}}}, Limit: 1}
				if c.Scope != "" {
					s.From = resource.Name(c.Scope + "/")
					s.To = after(s.From)
				}
				err := t.snap.Scan(ctx, s, func(rec *Record) bool {
					holder[id] = rec.Name
					return false
				})
				if err != nil {
					return err
				}
			}
			if name, taken := holder[id]; taken {
				return &fault.Error{
					Op: "store.Preview", Name: string(name), Kind: fault.Exists, Reason: "ALREADY_TAKEN", Field: c.Index,
					Err: fmt.Errorf("a value of %s of %s is taken", c.Index, w.Name),
				}
			}
			holder[id] = w.Name
		}
	}
	return nil
}

// checkCounts looks for counters that would grow beyond their bound.
func (t *Tx) checkCounts(ctx context.Context, b *Batch) error {
	for _, c := range b.Counts {
		if c.Max < 0 || c.Delta <= 0 {
			continue
		}
		is, err := t.snap.Counters(ctx, c.Key)
		if err != nil {
			return err
		}
		if is[c.Key]+c.Delta > c.Max {
			return &fault.Error{
				Op: "store.Preview", Name: c.Key, Kind: fault.Exhausted, Reason: "LIMIT_REACHED",
				Err: fmt.Errorf("the counter %s is at its bound of %d", c.Key, c.Max),
			}
		}
	}
	return nil
}
