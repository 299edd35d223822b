package devicesv1

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"selvedge.dev/sdk/fault"
)

// maxAliasPart bounds each part of an alias, in bytes.
const maxAliasPart = 256

// ParseAlias parses the form "NETWORK/KEY/VALUE". Only the value may have a
// slash in it.
func ParseAlias(s string) (External, error) {
	parts := strings.SplitN(s, "/", 3)
	if len(parts) != 3 {
		return External{}, invalid("alias", fmt.Errorf("alias %.256q must be NETWORK/KEY/VALUE", s))
	}
	a := External{Network: parts[0], Key: parts[1], Value: parts[2]}
	return a, a.Check()
}

// String is the form that [ParseAlias] reads.
func (a External) String() string { return a.Network + "/" + a.Key + "/" + a.Value }

// Check returns an Invalid fault with the field at fault, or nil.
func (a External) Check() error { return a.check("") }

// check is Check of the alias whose fields begin with path.
func (a External) check(path string) error {
	for _, part := range []struct{ field, text, without string }{
		{"network", a.Network, "/"},
		{"key", a.Key, "/"},
		{"value", a.Value, ""},
	} {
		if part.text == "" || len(part.text) > maxAliasPart || !printable(part.text) ||
			part.without != "" && strings.Contains(part.text, part.without) {
			rule := fmt.Sprintf("1 to %d bytes of UTF-8 without control characters", maxAliasPart)
			if part.without != "" {
				rule += fmt.Sprintf(" and without %q", part.without)
			}
			return invalid(path+part.field, fmt.Errorf("%s must be %s", path+part.field, rule))
		}
	}
	return nil
}

// printable reports whether s is UTF-8 without ASCII control characters.
func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}

// invalid is the fault of a field that is not as it must be.
func invalid(field string, err error) error {
	return &fault.Error{Op: "devices.Check", Kind: fault.Invalid, Reason: "INVALID_FIELD", Field: field, Err: err}
}
