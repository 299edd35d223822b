package resource

import "strings"

// The characters that rules are made of.
const (
	lower        = "abcdefghijklmnopqrstuvwxyz" // of DNS labels, which have no case
	digits       = "0123456789"                 // ASCII only
	alphanumeric = lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + digits
)

// rule is the grammar of an id: one character of first, then characters of
// rest, at most max in all. All are ASCII.
type rule struct {
	first, rest string
	max         int
	// text ends the sentence "the id must be …".
	text string
}

// fits reports whether id follows the rule.
func (r rule) fits(id string) bool {
	if id == "" || len(id) > r.max || strings.IndexByte(r.first, id[0]) < 0 {
		return false
	}
	for i := 1; i < len(id); i++ {
		if strings.IndexByte(r.rest, id[i]) < 0 {
			return false
		}
	}
	return true
}

// liberal is the grammar of ids that the outside world brings along, such as
// serial numbers and host names. It has none of the characters that mean
// something in a URL path, so a name needs no escaping there, and no ":",
// which begins a custom method (google.aip.dev/136).
var liberal = rule{
	first: alphanumeric,
	rest:  alphanumeric + "._~-",
	max:   128,
	text:  `1 to 128 letters, digits and "._~-", beginning with a letter or a digit`,
}

// rules are the grammars of the variables that are stricter than [liberal]. A
// project id fits a DNS label, since it becomes part of host names.
var rules = map[string]rule{
	// As of buckets of Google's logging, of which "_Default" is one.
	"bucket": {
		first: alphanumeric + "_",
		rest:  alphanumeric + "._~-",
		max:   128,
		text:  `1 to 128 letters, digits and "._~-", beginning with a letter, a digit or "_"`,
	},
	"project": {
		first: lower,
		rest:  lower + digits + "-",
		max:   63,
		text:  `1 to 63 lower-case letters, digits and "-", beginning with a letter`,
	},
}
