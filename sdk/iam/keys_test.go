package iam

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
)

// memory is a Keys in a map. It counts the reads of single records, and fails
// with err when that is set.
type memory struct {
	mu      sync.Mutex
	records map[string]Record
	reads   int
	err     error
}

var _ Keys = (*memory)(nil)

func newMemory() *memory { return &memory{records: map[string]Record{}} }

func (m *memory) Create(_ context.Context, r Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.records[r.ID]; ok {
		return &fault.Error{Kind: fault.Exists}
	}
	m.records[r.ID] = r
	return m.err
}

func (m *memory) Key(_ context.Context, id string) (Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	r, ok := m.records[id]
	if !ok && m.err == nil {
		return Record{}, &fault.Error{Kind: fault.NotFound}
	}
	return r, m.err
}

func (m *memory) List(_ context.Context, q Query) ([]Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Record
	for _, r := range slices.SortedFunc(maps.Values(m.records), func(a, b Record) int { return cmp.Compare(a.ID, b.ID) }) {
		if q.Principal == "" || q.Principal == r.Principal {
			out = append(out, r)
		}
	}
	return out, m.err
}

func (m *memory) Delete(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.records[id]; !ok {
		return &fault.Error{Kind: fault.NotFound}
	}
	delete(m.records, id)
	return m.err
}

// principal is the principal of that name.
func principal(t testing.TB, name string) Principal {
	t.Helper()
	p, err := ParsePrincipal(name)
	require.NoError(t, err)
	return p
}

// reason is the reason of an Unauthenticated fault.
func reason(t testing.TB, err error) string {
	t.Helper()
	require.Equal(t, fault.Unauthenticated, fault.KindOf(err), "%v", err)
	return fault.ReasonOf(err)
}

// errStore is a store that does not answer.
var errStore = errors.New("store is down")
