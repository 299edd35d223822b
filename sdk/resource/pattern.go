package resource

import (
	"fmt"
	"strings"

	"selvedge.dev/sdk/fault"
)

// Pattern is the form of the names of one type: collections alternate with ids,
// and an id is a variable in braces. A variable's grammar follows from its
// name; see [rules].
type Pattern string

// The patterns of the resources that exist.
const (
	Project   Pattern = "projects/{project}"
	Device    Pattern = "projects/{project}/devices/{device}"
	Blueprint Pattern = "projects/{project}/blueprints/{blueprint}"
	// RegionalDevice is the form of a device that says its region.
	RegionalDevice Pattern = "projects/{project}/regions/{region}/devices/{device}"
)

// ParseDevice is Parse for a name of either form that devices have. The error
// of a name that is of neither is about the one that it is nearest to.
func ParseDevice(s string) (Name, error) {
	if strings.Count(s, "/") == strings.Count(string(RegionalDevice), "/") {
		return RegionalDevice.Parse(s)
	}
	return Device.Parse(s)
}

// Parse checks that s is a name of the pattern and returns it as a Name that
// shares its memory. Any other text is an Invalid fault whose Field is the
// variable or the collection at fault and whose message says which segment it
// is and what it must be. It does not allocate when s is a name.
func (p Pattern) Parse(s string) (Name, error) {
	pattern, rest := string(p), s
	for at := 1; ; at++ {
		want, morePattern, wantMore := strings.Cut(pattern, "/")
		got, more, hasMore := strings.Cut(rest, "/")
		if field, err := checkSegment(want, got); err != nil {
			return "", p.invalid(s, field, fmt.Errorf("segment %d: %w", at, err))
		}
		switch {
		case wantMore && !hasMore:
			next, _, _ := strings.Cut(morePattern, "/")
			return "", p.invalid(s, variable(next), fmt.Errorf("segment %d is missing: want %s", at+1, p))
		case hasMore && !wantMore:
			return "", p.invalid(s, "", fmt.Errorf("segment %d is one too many: want %s", at+1, p))
		case !wantMore:
			return Name(s), nil
		}
		pattern, rest = morePattern, more
	}
}

// Format is the name with these ids in place of the pattern's variables, in
// their order. An id that does not fit is an Invalid fault like that of Parse.
// It panics when there are not as many ids as variables.
func (p Pattern) Format(ids ...string) (Name, error) {
	segments := strings.Split(string(p), "/")
	if len(segments) != 2*len(ids) {
		panic(fmt.Sprintf("BUG: resource: %d ids for %s", len(ids), p))
	}
	for i, id := range ids {
		if field, err := checkSegment(segments[2*i+1], id); err != nil {
			return "", p.invalid("", field, err)
		}
		segments[2*i+1] = id
	}
	return Name(strings.Join(segments, "/")), nil
}

// Collection is the collection of the pattern's names: "devices".
func (p Pattern) Collection() string { return Name(p).Collection() }

// maxShown bounds how much of a wrong name an error repeats.
const maxShown = 256

// invalid is the fault of a name that does not fit p.
func (p Pattern) invalid(name, field string, err error) error {
	if len(name) > maxShown {
		name = name[:maxShown] + "…"
	}
	return &fault.Error{Op: "resource.Parse", Name: name, Kind: fault.Invalid, Reason: "INVALID_NAME", Field: field, Err: err}
}

// variable is the name of a variable segment, and any other segment itself.
func variable(segment string) string {
	return strings.TrimSuffix(strings.TrimPrefix(segment, "{"), "}")
}

// checkSegment checks one segment against that of the pattern, and names what
// is at fault.
func checkSegment(want, got string) (field string, err error) {
	if want[0] != '{' {
		if got != want {
			return want, fmt.Errorf("%q must be %q", shorten(got), want)
		}
		return "", nil
	}
	v := variable(want)
	r, ok := rules[v]
	if !ok {
		r = liberal
	}
	if !r.fits(got) {
		return v, fmt.Errorf("%s id %q must be %s", v, shorten(got), r.text)
	}
	return "", nil
}

// shorten bounds how much of a wrong segment an error repeats.
func shorten(s string) string {
	if len(s) > maxShown {
		return s[:maxShown] + "…"
	}
	return s
}
