package store

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
)

// layoutType is the type of the records that say how a type was indexed.
const layoutType = "records.selvedge.dev/IndexLayout"

// The pace of Reindex: how many objects one commit does, and after how many it
// tells how far it is.
const (
	reindexedAtOnce = 500
	reindexReported = 100_000
)

// Reindex indexes the objects again of every type whose indexes are others than
// when its objects were written: without it, lists by a new index would miss
// those from before. It is to be called before the store is used, and not while
// a process of an earlier release writes to the same database. What it did
// before a crash it does again. Objects keep their versions, and nobody who
// watches is told. It fails with Exists when two objects have a value that is
// unique from now on.
func (s *Store) Reindex(ctx context.Context) error {
	for _, service := range s.types.Services() {
		for _, r := range service.Resources {
			if err := s.reindexType(ctx, r); err != nil {
				return fmt.Errorf("indexing the objects of %s again: %w", r.Type, err)
			}
		}
	}
	return nil
}

// Indexed is nil if the objects of every type are indexed as this process would,
// which [Store.Reindex] sees to, in whichever process calls it. Otherwise a process
// of another release has the database: Precondition, OTHER_RELEASE.
func (s *Store) Indexed(ctx context.Context) error {
	for _, service := range s.types.Services() {
		for _, r := range service.Resources {
			was, err := s.indexedBy(ctx, r)
			if err == nil && was != layout(r) {
				err = &fault.Error{
					Op: "store.Indexed", Name: r.Type, Kind: fault.Precondition, Reason: "OTHER_RELEASE",
					Err: fmt.Errorf("the objects of %s are indexed by another release, or by none yet", r.Type),
				}
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// layout is by what the objects of a type are indexed.
func layout(r *schema.Resource) string {
	var b strings.Builder
	for _, x := range r.Indexes {
		fmt.Fprintf(&b, "%s many=%t keyed=%t unique=%t within=%s\n", x.Path, x.Many, x.Keyed, x.Unique, x.Within)
	}
	if filter.Searchable(r) {
		b.WriteString("words of the id\n")
		for _, p := range r.Search {
			fmt.Fprintf(&b, "words of %s\n", p)
		}
	}
	return b.String()
}

// reindexType is Reindex for one type.
func (s *Store) reindexType(ctx context.Context, r *schema.Resource) error {
	want := layout(r)
	was, err := s.indexedBy(ctx, r)
	if err != nil || was == want {
		return err
	}
	if err := s.reindexObjects(ctx, r); err != nil {
		return err
	}
	return s.Run(ctx, Transaction, func(ctx context.Context) error {
		return s.Save(ctx, &resourcev1.IndexLayout{Name: string(layoutName(r)), Layout: want}, SaveOptions{})
	})
}

// layoutName is the name of the record of how a type was indexed.
func layoutName(r *schema.Resource) resource.Name {
	return resource.Name("indexLayouts/" + strings.ReplaceAll(r.Type, "/", "."))
}

// indexedBy is by what the objects of a type are indexed, "" for nothing yet.
func (s *Store) indexedBy(ctx context.Context, r *schema.Resource) (was string, err error) {
	layouts, _ := s.types.Type(layoutType)
	err = s.Run(ctx, Consistent, func(ctx context.Context) error {
		m, err := s.Get(ctx, layouts, layoutName(r))
		if x, ok := m.(*resourcev1.IndexLayout); ok && err == nil {
			was = x.GetLayout()
		}
		if fault.KindOf(err) == fault.NotFound {
			return nil
		}
		return err
	})
	return was, err
}

// reindexObjects indexes the objects of a type again.
func (s *Store) reindexObjects(ctx context.Context, r *schema.Resource) error {
	n := 0
	for from := resource.Name(""); ; {
		records, err := s.scanned(ctx, Scan{Type: r.Type, From: from, Limit: reindexedAtOnce})
		if err != nil {
			return err
		}
		if len(records) == 0 {
			break
		}
		b := &Batch{ID: s.NewUID(), Time: s.Now()}
		for _, rec := range records {
			w, err := reindexed(r, rec)
			if err != nil {
				return err
			}
			b.Writes = append(b.Writes, w)
		}
		_, err = s.driver.Commit(ctx, b)
		if fault.ReasonOf(err) == "VERSION_CHANGED" {
			continue // somebody was faster: read them again
		}
		if err != nil {
			return err
		}
		from = records[len(records)-1].Name + "\x00"
		if n += len(records); n/reindexReported != (n-len(records))/reindexReported {
			s.o.Logger.LogAttrs(ctx, slog.LevelInfo, "objects are indexed again", slog.String("type", r.Type), slog.Int("done", n))
		}
	}
	if n > 0 {
		s.o.Logger.LogAttrs(ctx, slog.LevelInfo, "all objects are indexed again", slog.String("type", r.Type), slog.Int("objects", n))
	}
	return nil
}

// scanned are the records of a scan, in a snapshot of their own.
func (s *Store) scanned(ctx context.Context, q Scan) ([]*Record, error) {
	snap, _, err := s.driver.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	var out []*Record
	err = snap.Scan(ctx, q, func(rec *Record) bool {
		out = append(out, rec)
		return true
	})
	if e := snap.Close(); err == nil {
		err = e
	}
	return out, err
}

// reindexed is the write that indexes an object again.
func reindexed(r *schema.Resource, rec *Record) (Write, error) {
	m, err := Decode(r, rec)
	if err != nil {
		return Write{}, err
	}
	after := *rec
	w := Write{Type: r.Type, Name: rec.Name, Before: rec, After: &after, Reindex: true, Add: filter.Entries(r, m.ProtoReflect())}
	w.Claim = (&Pending{Resource: r, Name: rec.Name}).claims(w.Add)
	return w, nil
}
