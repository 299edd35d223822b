// Package once tells entries apart: by what makes two entries one (project,
// bucket, log, time and insert id), and by asking a store which of some it has.
package once

import (
	"context"
	"encoding/binary"
	"hash/maphash"
	"slices"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/filter"
)

// Key is of one entry: a hash, of 128 bits and with seeds that nobody knows. It
// means nothing to another process.
type Key struct{ high, low uint64 }

// seeds are of this process.
var seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

// KeyOf is the key of an entry.
func KeyOf(e *logstore.Entry) Key {
	var b [512]byte
	text := b[:0]
	for _, s := range [...]string{e.Project, e.Bucket, e.Log, e.InsertID} {
		text = append(binary.LittleEndian.AppendUint64(text, uint64(len(s))), s...)
	}
	text = binary.LittleEndian.AppendUint64(text, uint64(e.Time.Unix()))
	text = binary.LittleEndian.AppendUint64(text, uint64(e.Time.Nanosecond()))
	return Key{maphash.Bytes(seeds[0], text), maphash.Bytes(seeds[1], text)}
}

// Finder is a store that finds the positions of entries more cheaply than the
// entries.
type Finder interface {
	// Positions gives those of the entries of a selection without a filter
	// that have one of some insert ids.
	Positions(ctx context.Context, sel logstore.Selection, insertIDs []string) ([]logstore.Position, error)
}

// asked is how many entries a store is asked for at once.
const asked = 200

// Known gives the keys of the entries that a store has.
func Known(ctx context.Context, store logstore.Reader, entries []logstore.Entry) (map[Key]bool, error) {
	type bucket struct{ project, bucket string }
	buckets := make(map[bucket][]*logstore.Entry)
	for i := range entries {
		b := bucket{entries[i].Project, entries[i].Bucket}
		buckets[b] = append(buckets[b], &entries[i])
	}
	known := make(map[Key]bool)
	for b, some := range buckets {
		slices.SortFunc(some, func(a, b *logstore.Entry) int { return a.Time.Compare(b.Time) })
		for chunk := range slices.Chunk(some, asked) {
			found, err := positions(ctx, store, logstore.Selection{
				Project: b.project, Buckets: []string{b.bucket},
				From: chunk[0].Time, To: chunk[len(chunk)-1].Time.Add(1),
			}, insertIDs(chunk))
			if err != nil {
				return nil, err
			}
			for _, p := range found {
				known[KeyOf(&logstore.Entry{Project: b.project, Bucket: p.Bucket, Log: p.Log, Time: p.Time, InsertID: p.InsertID})] = true
			}
		}
	}
	return known, nil
}

// insertIDs are those of entries, each once.
func insertIDs(entries []*logstore.Entry) []string {
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.InsertID
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// positions is Finder.Positions for any store.
func positions(ctx context.Context, store logstore.Reader, sel logstore.Selection, insertIDs []string) ([]logstore.Position, error) {
	if f, ok := store.(Finder); ok {
		return f.Positions(ctx, sel, insertIDs)
	}
	var terms []filter.Expr
	for _, id := range insertIDs {
		terms = append(terms, &filter.Comparison{Path: []string{"insertId"}, Op: filter.Equal, Value: filter.Value{Text: id, Quoted: true}})
	}
	sel.Filter = terms[0]
	if len(terms) > 1 {
		sel.Filter = &filter.Or{Terms: terms}
	}
	var found []logstore.Position
	q := logstore.Query{Selection: sel, Limit: logstore.MaxLimit}
	for {
		page, err := store.List(ctx, q)
		if err != nil || len(page) == 0 {
			return found, err
		}
		for i := range page {
			found = append(found, page[i].Position())
		}
		q.After = found[len(found)-1]
	}
}
