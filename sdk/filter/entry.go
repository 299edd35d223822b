package filter

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"

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
	all := make([]Entry, 0, 2*len(r.Indexes))
	room := make([]byte, 0, 512) // most objects' values after one another
	for _, x := range r.Indexes {
		index, found := x.Path.String(), false
		add := func(v fieldpath.Value) bool {
			at := len(room)
			room = fieldpath.AppendKey(room, v)
			e := Entry{Index: index, Value: cut(room[at:len(room):len(room)])}
			if x.Keyed && found {
				e.Key = v.Key.String()
			}
			all = append(all, e)
			return true
		}
		x.Path.Values(m, func(v fieldpath.Value) bool {
			found = true
			return add(v)
		})
		if !found && !x.Many {
			add(fieldpath.Value{})
		}
	}
	for _, w := range words(r, m) {
		at := len(room)
		room = append(room, w...)
		all = append(all, Entry{Index: Words, Value: room[at:len(room):len(room)]})
	}
	slices.SortFunc(all, Entry.Compare)
	return slices.CompactFunc(all, func(a, b Entry) bool { return a.Compare(b) == 0 })
}

// Compare is the order of entries.
func (e Entry) Compare(o Entry) int {
	if c := strings.Compare(e.Index, o.Index); c != 0 {
		return c
	}
	if c := strings.Compare(e.Key, o.Key); c != 0 {
		return c
	}
	return bytes.Compare(e.Value, o.Value)
}
