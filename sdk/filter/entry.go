package filter

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fieldpath"
	"selvedge.dev/sdk/schema"
)

// maxKey bounds the value of an entry in bytes. A name of four segments is
// below it, and so is the row of an index of PostgreSQL, 2,704 bytes, with a
// path, a label's name and an object's name beside it.
const maxKey = 1024

// sum is how many bytes of a hash stand for what is cut from a longer value:
// 128 bits, which nobody finds two texts for.
const sum = 16

// lowest is below the key of every value that is set, and above that of what is
// not set.
const lowest = 1

// Key is the Value of the entry of a value, the one of sdk/fieldpath. Keys over
// a bound are cut, and end with a hash of all of it: they are as different as
// the values are, but their order among those that begin the same is lost.
func Key(v fieldpath.Value) []byte { return cut(fieldpath.AppendKey(nil, v)) }

// cut bounds a key.
func cut(key []byte) []byte {
	if len(key) <= maxKey {
		return key
	}
	hash := sha256.Sum256(key)
	return append(key[:maxKey-sum:maxKey-sum], hash[:sum]...)
}

// Entries are the values by which an object is found, sorted, each once. An
// index of a single value has exactly one, which for what is not set is the key
// of nothing; another has as many as there are items. The words that a search
// finds it by are those with the index [Words].
func Entries(r *schema.Resource, m protoreflect.Message) []Entry {
	var all []Entry
	for _, x := range r.Indexes {
		index, found := x.Path.String(), false
		x.Path.Values(m, func(v fieldpath.Value) bool {
			e := Entry{Index: index, Value: Key(v)}
			if x.Keyed {
				e.Key = v.Key.String()
			}
			all, found = append(all, e), true
			return true
		})
		if !found && !x.Many {
			all = append(all, Entry{Index: index, Value: Key(fieldpath.Value{})})
		}
	}
	for _, w := range words(r, m) {
		all = append(all, Entry{Index: Words, Value: []byte(w)})
	}
	slices.SortFunc(all, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.Key, b.Key), bytes.Compare(a.Value, b.Value))
	})
	return slices.CompactFunc(all, func(a, b Entry) bool {
		return a.Index == b.Index && a.Key == b.Key && bytes.Equal(a.Value, b.Value)
	})
}
