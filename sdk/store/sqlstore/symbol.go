package sqlstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/store"
)

// Symbol is a type, or an index of a type, which the database knows by a
// number.
type Symbol struct {
	// Type is the type's name. It has no space in it.
	Type string
	// Index is the index's path, "" for the type itself.
	Index string
}

// Text is the symbol as it is stored.
func (s Symbol) Text() string {
	if s.Index == "" {
		return s.Type
	}
	return s.Type + " " + s.Index
}

// ParseSymbol is the inverse of Text.
func ParseSymbol(text string) Symbol {
	typ, index, _ := strings.Cut(text, " ")
	return Symbol{typ, index}
}

// Symbols are the numbers of symbols, as far as they are known here. None is
// ever changed or forgotten. The zero value is ready to use.
type Symbols struct {
	mu    sync.RWMutex
	ids   map[Symbol]int64
	types map[int64]string
}

// id is the number of a symbol.
func (s *Symbols) id(x Symbol) (int64, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	id, ok := s.ids[x]
	return id, ok
}

// Kind is the number of a type.
func (s *Symbols) Kind(typ string) (int64, bool) { return s.id(Symbol{Type: typ}) }

// Type is the type of a number.
func (s *Symbols) Type(kind int64) (string, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	typ, ok := s.types[kind]
	return typ, ok
}

// Add adds what was found in the database.
func (s *Symbols) Add(found map[Symbol]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil {
		s.ids, s.types = map[Symbol]int64{}, map[int64]string{}
	}
	for x, id := range found {
		if s.ids[x] = id; x.Index == "" {
			s.types[id] = x.Type
		}
	}
}

// Missing are those that have no number here, in the order of their texts, each
// once.
func (s *Symbols) Missing(all []Symbol) []Symbol {
	var out []Symbol
	for _, x := range all {
		if _, ok := s.id(x); !ok {
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b Symbol) int { return cmp.Compare(a.Text(), b.Text()) })
	return slices.Compact(out)
}

// Find makes sure that whatever symbols of these the database has are known
// here. Load gets all that the database has.
func (s *Symbols) Find(ctx context.Context, all []Symbol, load func(context.Context) (map[Symbol]int64, error)) error {
	if len(s.Missing(all)) == 0 {
		return nil
	}
	found, err := load(ctx)
	if err != nil {
		return fmt.Errorf("reading the symbols: %w", err)
	}
	s.Add(found)
	return nil
}

// written are the symbols that a batch writes with.
func written(b *store.Batch) []Symbol {
	var out []Symbol
	if len(b.Notes) > 0 {
		out = append(out, Symbol{Type: store.NoteType})
	}
	for i := range b.Writes {
		w := &b.Writes[i]
		out = append(out, Symbol{Type: w.Type})
		for _, e := range w.Add {
			out = append(out, Symbol{w.Type, e.Index})
		}
		for _, c := range w.Claim {
			out = append(out, Symbol{w.Type, c.Index})
		}
	}
	return out
}

// scanned are the symbols that a scan asks by.
func scanned(q *store.Scan) []Symbol {
	out := []Symbol{{Type: q.Type}}
	for _, c := range q.Where {
		out = append(out, Symbol{q.Type, c.Index})
	}
	for _, k := range q.Order {
		out = append(out, Symbol{q.Type, k.Index})
	}
	return out
}

// entry is the term of an entry, nil when no object has one in its index.
func (s *Symbols) entry(typ string, e filter.Entry) []byte {
	if id, ok := s.id(Symbol{typ, e.Index}); ok {
		return term(id, e.Key, e.Value)
	}
	return nil
}

// claim is the term of a claim, nil when no object has one in its index.
func (s *Symbols) claim(typ string, c store.Claim) []byte {
	if id, ok := s.id(Symbol{typ, c.Index}); ok {
		return term(id, c.Scope, c.Value)
	}
	return nil
}
