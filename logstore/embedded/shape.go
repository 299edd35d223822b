package embedded

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
)

// A JSON object becomes a column for each of its values and a shape, from which
// it comes back byte for byte: the object with its values taken out. A program
// writes few shapes, so they cost next to nothing.
//
//	{"user":{"name":"Ann","n":4},"tags":["a"],"none":null}
//	{"user":{"name":"","n":0},"tags":[],"none":null}        j.user.name=Ann j.user.n=4 j.tags[]=["a"]
//
// In a shape, "" is a string, "e" one with escapes as JavaScript writes them,
// "h" one with escapes as Go does, 0 a number or a boolean,
// 1 a number with an exponent, [] an array, which
// is one column. A dot in a key is \x1f in a name.
const (
	markString  = `""`
	markEscaped = `"e"`
	markHTML    = `"h"`
	markLiteral = `0`
	// markExponent is a number with an exponent.
	markExponent = `1`
	markArray    = `[]`
)

// maxDepth bounds the nesting of what is taken apart, and manyKeys is how many
// keys of an object are compared with each other to find doubles.
const maxDepth, manyKeys = 64, 64

// errShape is a shape that does not fit its columns: a damaged file.
var errShape = errors.New("the shape of an entry does not fit its values")

// flattener takes an object apart.
type flattener struct {
	row    *row
	shape  []byte
	data   []byte
	at     int
	path   []byte
	failed bool
}

// flatten adds the columns of a JSON object, and its shape to shape. What it
// cannot take apart makes the row opaque.
func (r *row) flatten(shape []byte, prefix string, data []byte) []byte {
	f := flattener{row: r, shape: shape, data: data, path: append(make([]byte, 0, 128), prefix...)}
	had := len(r.fields)
	f.object(0)
	if f.failed || f.at != len(data) {
		r.opaque = true
	}
	slices.SortFunc(r.fields[had:], func(a, b logstorage.Field) int { return strings.Compare(a.Name, b.Name) })
	return f.shape
}

// peek is the next byte, 0 at the end.
func (f *flattener) peek() byte {
	if f.at < len(f.data) {
		return f.data[f.at]
	}
	return 0
}

// take moves over a byte of the syntax and copies it to the shape.
func (f *flattener) take(b byte) {
	if f.peek() != b {
		f.failed = true
		return
	}
	f.at++
	f.shape = append(f.shape, b)
}

// object takes an object apart.
func (f *flattener) object(depth int) {
	f.take('{')
	if depth > maxDepth {
		f.failed = true
	}
	var few [manyKeys]string
	keys := few[:0]
	base := len(f.path)
	for !f.failed && f.peek() != '}' {
		if len(keys) > 0 {
			f.take(',')
		}
		raw, escaped := f.quoted()
		key := bytesString(raw)
		if f.failed || escaped || !plainName(key) || len(keys) == manyKeys {
			f.failed = true
			return
		}
		for _, other := range keys {
			f.failed = f.failed || other == key
		}
		keys = append(keys, key)
		f.shape = append(append(append(f.shape, '"'), key...), '"')
		f.take(':')
		if depth > 0 {
			f.path = append(f.path, '.')
		}
		f.path = appendKey(f.path, key)
		f.value(depth)
		f.path = f.path[:base]
	}
	f.take('}')
}

// appendKey appends a key to the name of a column.
func appendKey(name []byte, key string) []byte {
	for i := range len(key) {
		if key[i] == '.' {
			name = append(name, '\x1f')
		} else {
			name = append(name, key[i])
		}
	}
	return name
}

// value takes the value apart that the path names.
func (f *flattener) value(depth int) {
	if len(f.path) > maxName {
		f.failed = true
		return
	}
	switch b := f.peek(); {
	case b == '{':
		f.object(depth + 1)
	case b == '[':
		f.array()
	case b == '"':
		raw, escaped := f.quoted()
		if !escaped {
			f.shape = append(f.shape, markString...)
			f.column("", bytesString(raw))
		} else if !f.failed {
			f.unescape(raw)
		}
	case b == 'n':
		f.literal()
		f.shape = append(f.shape, "null"...)
	default:
		literal, mark := f.literal(), markLiteral
		if strings.ContainsAny(literal, "eE") && b != 't' && b != 'f' {
			mark = markExponent
		}
		f.column("", literal)
		f.shape = append(f.shape, mark...)
	}
}

// column adds the column of the path.
func (f *flattener) column(suffix, value string) {
	start := len(f.row.name)
	f.row.name = append(append(f.row.name, f.path...), suffix...)
	f.row.text(bytesString(f.row.name[start:]), value)
}

// quoted moves over a string and gives what is between its quotes.
func (f *flattener) quoted() (raw []byte, escaped bool) {
	if f.peek() != '"' {
		f.failed = true
		return nil, false
	}
	for i := f.at + 1; i < len(f.data); i++ {
		switch f.data[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			raw, f.at = f.data[f.at+1:i], i+1
			return raw, escaped
		}
	}
	f.failed = true
	return nil, false
}

// unescape adds the column of a string with escapes, if they can be written
// the same way again.
func (f *flattener) unescape(raw []byte) {
	var s string
	quoted := f.data[f.at-len(raw)-2 : f.at]
	if err := json.Unmarshal(quoted, &s); err != nil || !utf8.ValidString(s) {
		f.failed = true
		return
	}
	switch {
	case bytes.Equal(appendQuoted(nil, s, false), quoted):
		f.shape = append(f.shape, markEscaped...)
	case bytes.Equal(appendQuoted(nil, s, true), quoted):
		f.shape = append(f.shape, markHTML...)
	default:
		f.failed = true
	}
	f.column("", s)
}

// appendQuoted appends s as a string of JSON, with or without escaping what is
// special to HTML.
func appendQuoted(to []byte, s string, html bool) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(html)
	if err := encoder.Encode(s); err != nil {
		panic("BUG: a string has no form in JSON: " + err.Error())
	}
	return append(to, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}

// array moves over an array and adds its column.
func (f *flattener) array() {
	start, depth := f.at, 0
	for !f.failed {
		switch b := f.peek(); b {
		case '"':
			if _, escaped := f.quoted(); escaped {
				f.failed = true // words in it could not be found
			}
			continue
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case 0:
			f.failed = true
		}
		f.at++
		if depth == 0 {
			break
		}
	}
	if f.failed {
		return
	}
	f.shape = append(f.shape, markArray...)
	f.column(arraySuffix, bytesString(f.data[start:f.at]))
}

// literal moves over a number, a boolean or null.
func (f *flattener) literal() string {
	start := f.at
	for f.at < len(f.data) && !strings.ContainsRune(",}]", rune(f.data[f.at])) {
		f.at++
	}
	f.failed = f.failed || start == f.at
	return bytesString(f.data[start:f.at])
}

// filler puts the values back into a shape.
type filler struct {
	cells *cells
	row   int
	shape string
	at    int
	path  []byte
	out   []byte
	bad   bool
}

// fill makes an object of a shape and the columns of row i.
func (c *cells) fill(shape, prefix string, i int) ([]byte, error) {
	f := filler{cells: c, row: i, shape: shape, path: append(make([]byte, 0, 128), prefix...), out: make([]byte, 0, 2*len(shape)+64)}
	f.object(0)
	if f.bad || f.at != len(shape) {
		return nil, errShape
	}
	return f.out, nil
}

// next is the next byte of the shape, 0 at the end.
func (f *filler) next() byte {
	if f.at < len(f.shape) {
		return f.shape[f.at]
	}
	return 0
}

// copy copies n bytes of the shape.
func (f *filler) copy(n int) {
	if f.at+n > len(f.shape) {
		f.bad = true
		return
	}
	f.out = append(f.out, f.shape[f.at:f.at+n]...)
	f.at += n
}

// object fills an object.
func (f *filler) object(depth int) {
	f.copy(1)
	base := len(f.path)
	for !f.bad && f.next() != '}' {
		if f.next() == ',' {
			f.copy(1)
		}
		end := strings.IndexByte(f.shape[min(f.at+1, len(f.shape)):], '"')
		if f.next() != '"' || end < 0 {
			f.bad = true
			return
		}
		if depth > 0 {
			f.path = append(f.path, '.')
		}
		f.path = appendKey(f.path, f.shape[f.at+1:f.at+1+end])
		f.copy(end + 3)
		f.value(depth)
		f.path = f.path[:base]
	}
	f.copy(1)
}

// column is the value of the path.
func (f *filler) column(suffix string) string {
	if values := f.cells.parts[string(append(f.path, suffix...))]; values != nil {
		return values[f.row]
	}
	return ""
}

// value fills the value of the path.
func (f *filler) value(depth int) {
	rest := f.shape[min(f.at, len(f.shape)):]
	switch {
	case strings.HasPrefix(rest, "{"):
		f.object(depth + 1)
	case strings.HasPrefix(rest, "null"):
		f.copy(len("null"))
	case strings.HasPrefix(rest, markArray):
		f.at += len(markArray)
		f.out = append(f.out, f.column(arraySuffix)...)
	case strings.HasPrefix(rest, markLiteral), strings.HasPrefix(rest, markExponent):
		f.at += len(markLiteral)
		f.out = append(f.out, f.column("")...)
	case strings.HasPrefix(rest, markString):
		f.at += len(markString)
		f.out = append(append(append(f.out, '"'), f.column("")...), '"')
	case strings.HasPrefix(rest, markEscaped):
		f.at += len(markEscaped)
		f.out = appendQuoted(f.out, f.column(""), false)
	case strings.HasPrefix(rest, markHTML):
		f.at += len(markHTML)
		f.out = appendQuoted(f.out, f.column(""), true)
	default:
		f.bad = true
	}
}

// bytesString is b as a string, for as long as b does not change.
func bytesString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
