package filter

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/sdk/fieldpath"
)

// literal is a literal as it was written. What it is depends on what it is
// compared with.
type literal struct {
	// raw is the text, without its quotes but with its escapes.
	raw    string
	quoted bool
	at     int
	// function is "duration" or "timestamp" if it was the argument of that.
	function string
}

// text is what the literal says as text.
func (l literal) text() string {
	if !l.quoted || !strings.Contains(l.raw, `\`) {
		return l.raw
	}
	var b strings.Builder
	for s := l.raw; s != ""; {
		r, _, n, _ := unescape(s)
		b.WriteRune(r)
		s = s[n:]
	}
	return b.String()
}

// check finds the first escape that is none.
func (l literal) check() (at int, err error) {
	for at < len(l.raw) {
		_, _, n, err := unescape(l.raw[at:])
		if err != nil {
			return at, err
		}
		at += n
	}
	return 0, nil
}

// unescape is the first character of the inside of quotes, whether it was
// escaped, and how long it was.
func unescape(s string) (r rune, escaped bool, n int, err error) {
	if s[0] != '\\' {
		r, n = utf8.DecodeRuneInString(s)
		return r, false, n, nil
	}
	if len(s) > 1 && strings.IndexByte("\\\"'`*%_?", s[1]) >= 0 {
		return rune(s[1]), true, 2, nil
	}
	if len(s) > 1 && strings.IndexByte("abfnrtv", s[1]) >= 0 {
		return rune("\a\b\f\n\r\t\v"[strings.IndexByte("abfnrtv", s[1])]), true, 2, nil
	}
	if len(s) > 1 {
		if digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[1]]; digits > 0 && len(s) >= 2+digits {
			c, err := strconv.ParseUint(s[2:2+digits], 16, 32)
			if err == nil && c <= utf8.MaxRune && utf8.ValidRune(rune(c)) {
				return rune(c), true, 2 + digits, nil
			}
		}
	}
	return 0, false, 0, fmt.Errorf("%q begins no escape", shorten(s[:min(len(s), 2)]))
}

// value is a literal as a value of a path.
type value struct {
	scalar
	// from is the same for sdk/fieldpath, which knows its text and its key.
	from fieldpath.Value
}

// scalar is a value of any class, ready to be compared.
type scalar struct {
	text  string // of text and bytes
	float float64
	uint  uint64
	int   int64 // of integers, bools, enums, and the seconds of times
	nanos int64
}

// value is what the literal says to a path. It never is a pattern.
func (x *path) value(l literal) (value, error) {
	text := l.text()
	got := shorten(text)
	if l.quoted {
		got = "the text " + strconv.Quote(got)
	}
	switch {
	case x.holder():
		return value{}, x.notComparable()
	case !l.quoted && strings.EqualFold(text, "null"):
		return value{}, fmt.Errorf("nothing compares with null: use %s IS NULL", x)
	case x.class == classFloat && strings.EqualFold(text, "nan"):
		return value{}, fmt.Errorf("nothing compares with NaN: use %s IS NaN", x)
	case l.function == "duration" && x.class != classDuration, l.function == "timestamp" && x.class != classTimestamp:
		got = "a " + l.function
	case x.class == classDuration && strings.HasSuffix(text, "0"): // Go takes 0 without a unit
	case l.quoted && (x.class == classBool || x.class == classInt || x.class == classUint || x.class == classFloat):
	default:
		if v, err := x.ParseValue(text); err == nil {
			return value{x.read(v.Value), v}, nil
		}
	}
	return value{}, fmt.Errorf("%s wants %s, not %s", x, x.wants(), got)
}

// wants is what the path is compared with, for errors.
func (x *path) wants() string {
	switch x.class {
	case classEnum:
		var names []string
		for i := range min(x.desc.Enum().Values().Len(), 20) {
			names = append(names, string(x.desc.Enum().Values().Get(i).Name()))
		}
		return "one of " + strings.Join(names, ", ")
	case classInt, classUint:
		return fmt.Sprintf("an integer (%s)", x.desc.Kind())
	default:
		return wants[x.class]
	}
}

// compare orders the values of a class.
func (v *scalar) compare(c class, w *scalar) int {
	switch c {
	case classText, classBytes:
		return strings.Compare(v.text, w.text)
	case classFloat:
		return order(v.float, w.float)
	case classUint:
		return order(v.uint, w.uint)
	}
	if n := order(v.int, w.int); n != 0 {
		return n
	}
	return order(v.nanos, w.nanos)
}

// order is cmp.Compare, except that nothing is said about NaN.
func order[T int64 | uint64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// read makes a scalar of what the path led to. Of a message, which is only asked
// whether it is there, it is nothing.
func (x *path) read(v protoreflect.Value) (s scalar) {
	switch x.class {
	case classText:
		s.text = v.String()
	case classBytes:
		s.text = string(v.Bytes())
	case classBool:
		if v.Bool() {
			s.int = 1
		}
	case classEnum:
		s.int = int64(v.Enum())
	case classInt:
		s.int = v.Int()
	case classUint:
		s.uint = v.Uint()
	case classFloat:
		s.float = v.Float()
	case classDuration, classTimestamp:
		switch m := v.Message().Interface().(type) {
		case *timestamppb.Timestamp:
			s.int, s.nanos = m.GetSeconds(), int64(m.GetNanos())
		case *durationpb.Duration:
			s.int, s.nanos = m.GetSeconds(), int64(m.GetNanos())
		default: // a dynamic message
			fields := x.desc.Message().Fields()
			s.int, s.nanos = v.Message().Get(fields.ByNumber(1)).Int(), v.Message().Get(fields.ByNumber(2)).Int()
		}
	}
	return s
}

// appendValue appends the canonical literal of a value. Escaped are characters
// of it that get a backslash.
func (x *path) appendValue(b []byte, v *value, escaped string) []byte {
	switch x.class {
	case classText, classBytes, classTimestamp:
		return append(quote(append(b, '"'), v.from.Text(), escaped), '"')
	default:
		return append(b, v.from.Text()...)
	}
}

// quote appends the inside of quotes.
func quote(b []byte, s, escaped string) []byte {
	for _, r := range s {
		switch {
		case r == '"' || r == '\\' || strings.ContainsRune(escaped, r):
			b = append(b, '\\', byte(r))
		case r < ' ' || r == 0x7f:
			b = fmt.Appendf(b, `\x%02x`, r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return b
}
