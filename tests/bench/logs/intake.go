package main

import (
	"context"
	"os"
	"slices"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/intake"
)

// written is how many entries are written to an intake at a time.
const written = 5_000

// behind is a store behind an intake, as the platform has it. Append returns when
// the store has the entries.
type behind struct {
	logstore.Store
	in *intake.Intake
}

// openIntake puts an intake before ours of a pair.
func openIntake(p *pair) error {
	dir, err := os.MkdirTemp("", "selvedge-logs-")
	if err != nil {
		return err
	}
	in, err := intake.Open(dir, p.ours, intake.Options{})
	if err != nil {
		return err
	}
	p.ours = &behind{p.ours, in}
	end := p.close
	p.close = func() {
		_ = in.Close()
		end()
		_ = os.RemoveAll(dir)
	}
	return nil
}

// Append implements logstore.Writer.
func (b *behind) Append(ctx context.Context, entries []logstore.Entry) error {
	for some := range slices.Chunk(entries, written) {
		if _, err := b.in.Write(ctx, some); err != nil {
			return err
		}
	}
	return b.in.Flush(ctx)
}
