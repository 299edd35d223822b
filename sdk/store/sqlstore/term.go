package sqlstore

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
)

// appendPrefix appends what all terms of an index and key begin with.
func appendPrefix(dst []byte, index int64, key string) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(index))
	for i := range len(key) {
		if dst = append(dst, key[i]); key[i] == 0 {
			dst = append(dst, 0xFF)
		}
	}
	return append(dst, 0, 1)
}

// prefix is what all terms of an index and key begin with.
func prefix(index int64, key string) []byte {
	return appendPrefix(make([]byte, 0, len(key)+8), index, key)
}

// after is the first string of bytes after all terms with a prefix.
func after(prefix []byte) []byte {
	end := slices.Clone(prefix)
	end[len(end)-1]++
	return end
}

// term is the term of an index, key and value.
func term(index int64, key string, value []byte) []byte {
	return append(appendPrefix(make([]byte, 0, termLen(key, value)), index, key), value...)
}

// termLen is how long a term is.
func termLen(key string, value []byte) int {
	return 6 + len(key) + strings.Count(key, "\x00") + len(value)
}

// PackTerms is the terms of an object as one string of bytes:
//
//	| length, varint | term | …
func PackTerms(terms [][]byte) []byte {
	n := 0
	for _, t := range terms {
		n += len(t) + 2
	}
	packed := make([]byte, 0, n)
	for _, t := range terms {
		packed = append(binary.AppendUvarint(packed, uint64(len(t))), t...)
	}
	return packed
}

// UnpackTerms is the inverse of PackTerms. The terms share the memory.
func UnpackTerms(packed []byte) [][]byte {
	var terms [][]byte
	for {
		n, k := binary.Uvarint(packed)
		if k <= 0 || n > uint64(len(packed)-k) {
			return terms
		}
		terms, packed = append(terms, packed[k:k+int(n):k+int(n)]), packed[k+int(n):]
	}
}

// FirstTerm is the lowest of the packed terms with from <= term < to, nil if
// there is none.
func FirstTerm(packed, from, to []byte) []byte {
	var first []byte
	for {
		n, k := binary.Uvarint(packed)
		if k <= 0 || n > uint64(len(packed)-k) {
			return first
		}
		t := packed[k : k+int(n)]
		if packed = packed[k+int(n):]; bytes.Compare(t, from) >= 0 && bytes.Compare(t, to) < 0 && (first == nil || bytes.Compare(t, first) < 0) {
			first = t
		}
	}
}
