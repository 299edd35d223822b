package embedded

import (
	"hash/maphash"
	"strconv"
	"strings"
	"sync"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
)

// The engine keeps rows together by stream, what the first columns of a row
// are: its form, the log, the type of the resource, the labels that are promoted
// (promoted.go), and the labels of the resource, which are so kept once for many
// rows, and lead to them. Something with a stream of its own for a few rows would
// cost more than it gives; so only the first label sets of a day are tags of
// streams.

// The bounds of streams.
const (
	// maxKeyed is how many streams of a sort a bucket may have in a day: those
	// whose tags are labels.
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

// sort is which labels are tags of a stream.
type sort int

// The sorts of streams. Each but the first has a bound of its own.
const (
	// bare is of those without labels.
	bare sort = iota
	// keyed is of those with the labels of the resource, chosen of those with the
	// promoted ones, and both with both.
	keyed
	chosen
	both
)

// quota is what the streams of a sort are counted by.
type quota struct {
	tenant uint32
	day    int64
	sort   sort
}

// streams remembers which streams there are.
type streams struct {
	mu sync.RWMutex
	// known are the streams that rows may be of; true are those that queries know
	// of, since their rows were added. taken is how many there are.
	known map[streamKey]bool
	taken map[quota]int
	// values are those of the promoted labels.
	values values
	// generation is of what is known. The engine may remember what a stream
	// filter has found for a second; one that is new it looks up.
	generation int
}

// streamSeed is of the hashes of streams.
var streamSeed = maphash.MakeSeed()

// choose makes a row one of a stream: it says how many of its first fields are
// the tags, and completes its form. A stream that queries do not know of is put
// into fresh.
func (s *streams) choose(r *row, key streamKey, fresh map[streamKey]bool) int {
	form := &r.fields[0].Value
	was := *form
	if was == formRecord {
		key.hash = r.hash(r.plain)
		s.admit(key, bare, nil, fresh)
		return r.plain
	}
	if r.promoted > r.plain {
		if tags(r.fields[r.plain:r.keyed]) {
			*form = keyedForm(was)
			key.hash = r.hash(r.keyed)
			if s.admit(key, both, r, fresh) {
				return r.keyed
			}
			*form = was
		}
		if tags(r.fields[r.plain:r.promoted]) {
			key.hash = r.hash(r.promoted)
			if s.admit(key, chosen, r, fresh) {
				return r.promoted
			}
		}
		r.demote()
	}
	if labels := r.fields[r.plain:r.keyed]; tags(labels) {
		*form = keyedForm(was)
		key.hash = r.hash(r.keyed)
		of := keyed
		if len(labels) == 0 {
			of = bare
		}
		if s.admit(key, of, nil, fresh) {
			return r.keyed
		}
		*form = was
	}
	key.hash = r.hash(r.plain)
	s.admit(key, bare, nil, fresh)
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

// admit reports whether a stream may be: it is known, or there is room for one of
// its sort, and for the values of the promoted labels of r if it is not nil.
func (s *streams) admit(key streamKey, of sort, r *row, fresh map[streamKey]bool) bool {
	count := quota{key.tenant, key.day, of}
	s.mu.RLock()
	seen, ok := s.known[key]
	full := of != bare && s.taken[count] >= maxKeyed
	s.mu.RUnlock()
	if !ok && full {
		return false
	}
	if !ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		if seen, ok = s.known[key]; !ok {
			if s.known == nil || len(s.known) >= maxStreams {
				s.reset()
			}
			if of != bare && s.taken[count] >= maxKeyed || r != nil && !s.values.take(key, r) {
				return false
			}
			s.known[key] = false
			s.taken[count]++
		}
	}
	if !seen {
		fresh[key] = true
	}
	return true
}

// reset makes it anew. mu is held.
func (s *streams) reset() {
	s.known, s.taken, s.values = make(map[streamKey]bool), make(map[quota]int), make(values)
}

// learn takes in streams whose rows were added.
func (s *streams) learn(fresh map[streamKey]bool) {
	if len(fresh) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range fresh {
		if _, ok := s.known[key]; ok {
			s.known[key] = true
		}
	}
	s.generation++
}

// forget lets go of everything: a day was removed.
func (s *streams) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reset()
	s.generation++
}

// filter is the filter of streams that have the tags of one of some terms.
func (s *streams) filter(terms ...string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return "{" + strings.Join(terms, " or ") + " or " + columnForm + `="` + strconv.Itoa(s.generation) + `"}`
}
