package embedded

import (
	"hash/maphash"
	"strconv"
	"strings"
	"sync"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
)

// The engine keeps rows together by stream, what the first columns of a row
// are: its form, the log, the type of the resource, and the labels of the resource,
// which are so kept once for many rows, and lead to them. Something with a stream of
// its own for a few rows would cost more than it gives; so only the first label sets
// of a day are tags of streams.

// The bounds of streams.
const (
	// maxKeyed is how many streams a bucket may have in a day whose tags are
	// the labels of resources.
	maxKeyed = 1_000
	// maxKey is how many bytes the labels may have: the engine's index has
	// little room for a name.
	maxKey = 1 << 10
	// maxStreams bounds those that are remembered.
	maxStreams = 200_000
)

// streamKey is a stream of a tenant on a day.
type streamKey struct {
	tenant uint32
	day    int64
	hash   uint64
}

// streams remembers which streams there are.
type streams struct {
	mu sync.RWMutex
	// known are those that queries know of, keyed how many of a tenant's on a
	// day have labels.
	known map[streamKey]bool
	keyed map[streamKey]int
	// generation is of what is known. The engine may remember what a stream
	// filter has found for a second; one that is new it looks up.
	generation int
}

// streamSeed is of the hashes of streams.
var streamSeed = maphash.MakeSeed()

// choose makes a row one of a stream: it says how many of its first fields are
// the tags, and completes its form. A stream that is not known is put into fresh.
func (s *streams) choose(r *row, key streamKey, fresh map[streamKey]bool) int {
	form := &r.fields[0].Value
	if labels := r.fields[r.plain:r.keyed]; *form != formRecord && tags(labels) {
		was := *form
		*form = keyedForm(was)
		key.hash = r.hash(r.keyed)
		if s.admit(key, len(labels) > 0, fresh) {
			return r.keyed
		}
		*form = was
	}
	key.hash = r.hash(r.plain)
	s.admit(key, false, fresh)
	return r.plain
}

// tags reports whether the engine takes labels as tags.
func tags(labels []logstorage.Field) bool {
	size := 0
	for _, f := range labels {
		size += len(f.Name) + len(f.Value)
		if strings.ContainsAny(f.Name, "=}") {
			return false
		}
	}
	return size <= maxKey
}

// keyedForm is a form with formKeyed.
func keyedForm(form string) string {
	if form == formASCII {
		return formASCII + formKeyed
	}
	return formText + formKeyed
}

// hash is the hash of the first fields.
func (r *row) hash(fields int) uint64 {
	var h maphash.Hash
	h.SetSeed(streamSeed)
	for _, f := range r.fields[:fields] {
		_, _ = h.WriteString(f.Name) // a hash takes everything
		_ = h.WriteByte(0)
		_, _ = h.WriteString(f.Value)
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}

// admit reports whether a stream may be: it is known, or there is room for one
// with labels.
func (s *streams) admit(key streamKey, labels bool, fresh map[streamKey]bool) bool {
	if _, ok := fresh[key]; ok {
		return true
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.known[key] {
		return true
	}
	if labels && s.keyed[streamKey{tenant: key.tenant, day: key.day}]+len(fresh) >= maxKeyed {
		return false
	}
	fresh[key] = labels
	return true
}

// learn takes in streams whose rows were added.
func (s *streams) learn(fresh map[streamKey]bool) {
	if len(fresh) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || len(s.known) > maxStreams {
		s.known, s.keyed = make(map[streamKey]bool), make(map[streamKey]int)
	}
	for key, labels := range fresh {
		if labels && !s.known[key] {
			s.keyed[streamKey{tenant: key.tenant, day: key.day}]++
		}
		s.known[key] = true
	}
	s.generation++
}

// forget lets go of everything: a day was removed.
func (s *streams) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known, s.keyed = nil, nil
	s.generation++
}

// filter is the filter of streams that have the tags of one of some terms.
func (s *streams) filter(terms ...string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return "{" + strings.Join(terms, " or ") + " or " + columnForm + `="` + strconv.Itoa(s.generation) + `"}`
}
