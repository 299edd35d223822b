package fieldpath

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// part is one element of a path's text.
type part struct {
	text   string
	quoted bool
}

// errEmpty is a path, or a part of one, without a name.
var errEmpty = errors.New("a part of the path is empty")

// errNotUTF8 is text that can be in no field.
var errNotUTF8 = errors.New("the text is not UTF-8")

// split cuts the text of a path at its dots.
func split(s string) ([]part, error) {
	var parts []part
	for rest := s; ; {
		var p part
		if strings.HasPrefix(rest, "`") {
			p.quoted = true
			rest = rest[1:]
			for {
				i := strings.IndexByte(rest, '`')
				if i < 0 {
					return nil, errors.New("a backtick is not closed")
				}
				p.text += rest[:i]
				rest = rest[i+1:]
				if !strings.HasPrefix(rest, "`") {
					break
				}
				p.text += "`"
				rest = rest[1:]
			}
			if rest != "" && rest[0] != '.' {
				return nil, errors.New("after a backtick comes a dot or the end")
			}
		} else {
			i := strings.IndexByte(rest, '.')
			if i < 0 {
				i = len(rest)
			}
			p.text, rest = rest[:i], rest[i:]
			if p.text == "" {
				return nil, errEmpty
			}
		}
		parts = append(parts, p)
		if rest == "" {
			return parts, nil
		}
		rest = rest[1:] // the dot
	}
}

// excerpt is the beginning of a text that is too long to be repeated.
func excerpt(s string) string {
	const most = 64 // enough to recognise it by
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// protoName is the name of a field in the proto file.
func protoName(f protoreflect.FieldDescriptor) string { return string(f.Name()) }

// join is the text of steps, with names by what is given.
func join(steps []Step, name func(protoreflect.FieldDescriptor) string) string {
	var b strings.Builder
	for i, s := range steps {
		if i > 0 {
			b.WriteByte('.')
		}
		switch {
		case s.Field != nil:
			b.WriteString(name(s.Field))
		case s.All:
			b.WriteByte('*')
		default:
			b.WriteString(quoteKey(s.Key.String()))
		}
	}
	return b.String()
}

// quoteKey is a map key as an element of a path.
func quoteKey(key string) string {
	if key != "" && key != "*" && strings.Trim(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == "" {
		return key
	}
	return "`" + strings.ReplaceAll(key, "`", "``") + "`"
}

// parseKey is the map key that s is.
func parseKey(f protoreflect.FieldDescriptor, s string) (protoreflect.MapKey, error) {
	v, err := parseScalar(f, s)
	if err != nil {
		return protoreflect.MapKey{}, fmt.Errorf("%q is no key of type %s", excerpt(s), f.Kind())
	}
	return v.MapKey(), nil
}
