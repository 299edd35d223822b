package vm

import (
	"encoding/binary"
	"sync"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"

	"selvedge.dev/tsdb"
)

// filters are the engine's filters for what was asked for, which is asked for
// again mostly. The engine only reads them. The zero value is ready.
type filters struct {
	mu sync.Mutex
	// indexed is what the index held when they were made; see newFilters.
	indexed uint64
	byKey   map[string]*storage.TagFilters
}

// The bounds of what is remembered: all is forgotten when there are more.
// Filters are some 3 KB.
const (
	maxFilters  = 256
	maxKeyBytes = 1 << 10
)

// filtersOf are the engine's filters for a selection, without its Keep.
func (s *Store) filtersOf(sel tsdb.Selection) (*storage.TagFilters, error) {
	f := &s.filters
	var room [256]byte
	key := appendSelection(room[:0], sel)
	indexed := s.indexed.Load()
	f.mu.Lock()
	if f.indexed != indexed {
		f.indexed, f.byKey = indexed, nil
	}
	known := f.byKey[string(key)]
	f.mu.Unlock()
	if known != nil {
		return known, nil
	}
	made, err := s.makeFilters(sel)
	if err != nil || len(key) > maxKeyBytes {
		return made, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.indexed != indexed {
		return made, nil
	}
	if f.byKey == nil || len(f.byKey) >= maxFilters {
		f.byKey = map[string]*storage.TagFilters{}
	}
	f.byKey[string(key)] = made
	return made, nil
}

// appendSelection appends what of a selection its filters are made of, no two
// alike.
func appendSelection(key []byte, sel tsdb.Selection) []byte {
	text := func(s string) { key = append(binary.AppendUvarint(key, uint64(len(s))), s...) }
	text(sel.Project)
	text(sel.Metric)
	for _, c := range sel.Where {
		key = append(key, byte(c.Field))
		text(c.Label)
		key = binary.AppendUvarint(key, uint64(len(c.Values)))
		for _, v := range c.Values {
			text(v)
		}
	}
	return key
}
