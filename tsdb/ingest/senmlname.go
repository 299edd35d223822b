package ingest

import "strings"

// validSenMLName reports whether name has the form that RFC 8428, 4.5.1 asks
// for.
func validSenMLName(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case i > 0 && strings.IndexByte("-:./_", c) >= 0:
		default:
			return false
		}
	}
	return name != ""
}

// splitName splits a name that begins with the URN of a device (RFC 9039,
// "urn:dev:KIND:ID") after that; of any other name all is rest. The ID ends
// at a separator, or where the base name ends, for senders that forget the
// separator. A name of which nothing but the URN is there has no rest.
func splitName(base, name string) (urn, rest string) {
	const scheme, separators = "urn:dev:", ":/_"
	if !strings.HasPrefix(name, scheme) {
		return "", name
	}
	_, id, ok := strings.Cut(name[len(scheme):], ":")
	if !ok {
		return name, ""
	}
	begin, end := len(name)-len(id), len(name)
	if i := strings.IndexAny(id, separators); i >= 0 {
		end = begin + i
	}
	if begin < len(base) {
		end = min(end, len(base))
	}
	return name[:end], strings.TrimLeft(name[end:], separators)
}
