package audit

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/fault"
)

// Run signs, and saves what is not saved, every CheckpointEvery until the
// context ends. Without it checkpoints come by number only.
func (t *Trail) Run(ctx context.Context) error {
	tick := time.NewTicker(t.o.CheckpointEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := t.Sign(ctx); err != nil {
			t.log.Warn("checkpoints of the audit trail are late", slog.Any("error", err))
		}
	}
}

// Sign signs a checkpoint of every chain that has records since its last one,
// and makes all of it durable.
func (t *Trail) Sign(ctx context.Context) error {
	const op = "audit.Sign"
	// Chains that nobody used since Open may have records that nobody signed.
	for {
		done, err := t.signUnseen()
		if err != nil {
			return wrap(op, err)
		}
		if done {
			break
		}
		if err := ctx.Err(); err != nil {
			return wrap(op, err)
		}
	}
	t.work.Lock()
	defer t.work.Unlock()
	if err := t.usable(); err != nil {
		return wrap(op, err)
	}
	if err := t.sign(func(*project) bool { return true }); err != nil {
		return wrap(op, err)
	}
	return wrap(op, t.save())
}

// signUnseen looks at one chain that was not looked at yet, so that Appends
// need not wait for all of them.
func (t *Trail) signUnseen() (done bool, err error) {
	t.work.Lock()
	defer t.work.Unlock()
	if err := t.usable(); err != nil {
		return false, err
	}
	for name := range t.unseen {
		p, err := t.load(name)
		if err != nil {
			return false, err
		}
		delete(t.unseen, name)
		return false, t.sign(func(other *project) bool { return other == p })
	}
	return true, nil
}

// sign signs those of the chains in memory that have records since their last
// checkpoint. work is held.
func (t *Trail) sign(which func(*project) bool) error {
	if t.behind {
		return nil // The next replay is first.
	}
	var stages []*stage
	t.mu.Lock()
	var all []*project
	for _, e := range t.chains {
		if p := e.project; p != nil && p.tree.Size > p.signed && which(p) {
			all = append(all, p)
		}
	}
	t.mu.Unlock()
	for _, p := range all {
		s := t.stage(p)
		s.sign(false)
		stages = append(stages, s)
	}
	return t.store(stages)
}

// Checkpoint gives the last checkpoint of a project, after signing one if
// there are records since: the head to be kept elsewhere. A project without
// records is NotFound.
func (t *Trail) Checkpoint(_ context.Context, name string) (Checkpoint, error) {
	const op = "audit.Checkpoint"
	t.work.Lock()
	defer t.work.Unlock()
	if err := t.usable(); err != nil {
		return Checkpoint{}, wrap(op, err)
	}
	t.mu.Lock()
	known := t.chains[name] != nil
	t.mu.Unlock()
	var c *Checkpoint
	if known {
		p, err := t.load(name)
		if err == nil && p.signed < p.tree.Size {
			err = t.sign(func(other *project) bool { return other == p })
		}
		if err != nil {
			return Checkpoint{}, wrap(op, err)
		}
		c = p.checkpoint
	}
	if c == nil {
		return Checkpoint{}, &fault.Error{Op: op, Name: name, Kind: fault.NotFound, Reason: "AUDIT_NO_RECORDS"}
	}
	return *c, nil
}

// Keys are the public keys that checkpoints were signed with.
func (t *Trail) Keys() chain.Keys { return t.o.Signer.Keys() }

// Verify verifies a project's chain with the trail's own keys: what is stored,
// against itself and against checkpoints that were kept elsewhere.
func (t *Trail) Verify(ctx context.Context, project string, heads ...Checkpoint) (chain.Report, error) {
	for {
		r, err := chain.Verify(t.Read(ctx, project, 1), chain.VerifyOptions{Project: project, Keys: t.Keys(), Heads: heads})
		var found *chain.Finding
		if !errors.As(err, &found) || found.What != chain.Undeclared || t.size(project) <= r.Last {
			return r, err
		}
		// Data was erased meanwhile, and the record of it is behind the end.
	}
}

// size is how many records a chain in memory has, 0 if it is not in memory.
func (t *Trail) size(project string) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.chains[project]; e != nil && e.project != nil {
		return e.project.tree.Size
	}
	return 0
}

// hashes gives the hashes of a chain's records.
func (t *Trail) hashes(ctx context.Context, project string) iter.Seq2[chain.Hash, error] {
	return func(yield func(chain.Hash, error) bool) {
		for i, err := range t.Read(ctx, project, 1) {
			switch {
			case err != nil:
				yield(chain.Hash{}, err)
				return
			case i.Link != nil && !yield(i.Link.Hash, nil):
				return
			}
		}
	}
}

// ProveInclusion gives the proof that record seq is among the first size
// records of a chain, for chain.Included. It reads the chain.
func (t *Trail) ProveInclusion(ctx context.Context, project string, seq, size uint64) ([]chain.Hash, error) {
	return chain.ProveInclusion(seq, size, t.hashes(ctx, project))
}

// ProveConsistency gives the proof that the first old records of a chain are
// the begin of its first size ones, for chain.Grown. It reads the chain.
func (t *Trail) ProveConsistency(ctx context.Context, project string, old, size uint64) ([]chain.Hash, error) {
	return chain.ProveConsistency(old, size, t.hashes(ctx, project))
}
