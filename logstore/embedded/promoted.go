package embedded

import (
	"hash/maphash"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"

	"selvedge.dev/logstore"
)

// The labels that are promoted (Options.Promoted) are tags of streams, and each row
// says in a tag of its own of which keys that is so. What is promoted may change
// at any time, and differ from log to log: a question for labels looks into the
// streams that have what is asked for, and into all that do not have the key as a
// tag. A key that has too many values is none in that log for the rest of the day.

// maxValues is how many values a promoted label may have in a log of a bucket on a
// day: so many that another label beside it may have a few, within maxKeyed.
const maxValues = 250

// separator is before, between and after the keys in columnPromoted; no key that
// can be part of a column's name has it.
const separator = "\x1f"

// index is which labels of some entries are tags.
type index struct {
	// keys are ascending, list is what columnPromoted says of them.
	keys []string
	list string
}

// kin are entries of one day that have the same labels promoted.
type kin struct {
	tenant   uint32
	day      int64
	log, typ string
}

// indexOf is the index of an entry, as it was when the chunk first had one of its
// kin.
func (s *Store) indexOf(c *chunk, e *logstore.Entry) *index {
	if s.options.Promoted == nil {
		return nil
	}
	of := kin{c.tenant.AccountID, dayOf(e), e.Log, e.ResourceType}
	i, ok := c.indexes[of]
	if !ok {
		i = s.streams.index(of, s.options.Promoted(e))
		c.indexes[of] = i
	}
	return i
}

// index is the index by those of some keys that are not of too many values, nil if
// there are none.
func (s *streams) index(of kin, promoted []string) *index {
	i := new(index)
	s.mu.RLock()
	for _, k := range promoted[:min(len(promoted), logstore.MaxPromoted)] {
		if plainName(k) && !strings.ContainsAny(k, "=}") && !s.values.over(valuesOf{of.tenant, of.day, of.log, k}) {
			i.keys = append(i.keys, k)
		}
	}
	s.mu.RUnlock()
	if len(i.keys) == 0 {
		return nil
	}
	slices.Sort(i.keys)
	i.keys = slices.Compact(i.keys)
	i.list = separator + strings.Join(i.keys, separator) + separator
	return i
}

// has reports whether a label is a tag.
func (i *index) has(key string) bool {
	if i == nil {
		return false
	}
	_, ok := slices.BinarySearch(i.keys, key)
	return ok
}

// promote adds the columns of the promoted labels, and the one that says which they
// are.
func (r *row) promote(i *index, labels map[string]string) {
	if i == nil {
		return
	}
	r.fields = append(r.fields, logstorage.Field{Name: columnPromoted, Value: i.list})
	for _, k := range i.keys {
		if v, ok := labels[k]; ok {
			r.label(labelPrefix, k, v)
		}
	}
}

// demote makes the promoted labels columns like others: it moves them behind the
// labels of the resource.
func (r *row) demote() {
	r.fields[r.plain].Value = "" // which is no column
	var moved [logstore.MaxPromoted + 1]logstorage.Field
	n := copy(moved[:], r.fields[r.plain:r.promoted])
	copy(r.fields[r.plain:], r.fields[r.promoted:r.keyed])
	r.keyed -= n
	copy(r.fields[r.keyed:], moved[:n])
	r.promoted = r.plain
}

// valuesOf is a promoted label in a log of a tenant on a day.
type valuesOf struct {
	tenant   uint32
	day      int64
	log, key string
}

// values are the hashes of the values of promoted labels; nil of one that has had
// too many.
type values map[valuesOf]map[uint64]struct{}

// over reports whether a label has had too many values.
func (v values) over(of valuesOf) bool {
	all, ok := v[of]
	return ok && all == nil
}

// take takes the values of a row in, unless one is one too many.
func (v values) take(key streamKey, r *row) bool {
	log := strings.Clone(r.fields[1].Value) // the second column
	for _, f := range r.fields[r.plain+1 : r.promoted] {
		of := valuesOf{key.tenant, key.day, log, strings.Clone(f.Name[len(labelPrefix):])}
		all, ok := v[of]
		switch {
		case !ok:
			all = make(map[uint64]struct{})
			v[of] = all
		case all == nil:
			return false
		}
		all[maphash.String(streamSeed, f.Value)] = struct{}{}
		if len(all) > maxValues {
			v[of] = nil
			return false
		}
	}
	return true
}

// labelTags finds the streams that may have rows with one of some labels: those
// that have it as a tag, and those in which it is none.
func (s *streams) labelTags(labels []tag) string {
	var terms []string
	for _, t := range labels {
		key := separator + strings.TrimPrefix(t.column, labelPrefix) + separator
		terms = append(terms,
			strconv.Quote(t.column)+"=~"+strconv.Quote(t.pattern),
			columnPromoted+"!~"+strconv.Quote("(?s).*"+regexp.QuoteMeta(key)+".*"))
	}
	return s.filter(terms...)
}
