package fieldpath

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// part is one element of a path's text.
type part struct {
	text   string
	quoted bool
}

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

// quoteKey is a map key as an element of a path.
func quoteKey(key string) string {
	if key != "" && key != "*" && strings.Trim(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == "" {
		return key
	}
	return "`" + strings.ReplaceAll(key, "`", "``") + "`"
}

// parseKey is the map key that s is.
func parseKey(f protoreflect.FieldDescriptor, s string) (protoreflect.MapKey, error) {
	bad := fmt.Errorf("%q is no key of type %s", s, f.Kind())
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(s).MapKey(), nil
	case protoreflect.BoolKind:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return protoreflect.MapKey{}, bad
		}
		return protoreflect.ValueOfBool(b).MapKey(), nil
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		n, err := strconv.ParseInt(s, 10, 32)
		if err != nil {
			return protoreflect.MapKey{}, bad
		}
		return protoreflect.ValueOfInt32(int32(n)).MapKey(), nil
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return protoreflect.MapKey{}, bad
		}
		return protoreflect.ValueOfUint32(uint32(n)).MapKey(), nil
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return protoreflect.MapKey{}, bad
		}
		return protoreflect.ValueOfInt64(n).MapKey(), nil
	default:
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return protoreflect.MapKey{}, bad
		}
		return protoreflect.ValueOfUint64(n).MapKey(), nil
	}
}
