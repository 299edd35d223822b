package host

import (
	"strconv"
	"strings"
)

// maxFamily bounds the members of one family (mounts, interfaces, sensors,
// processors) in one reading: 64 of each are some 20 KiB of JSON, and a machine
// with more is usually one that makes and forgets them, whose names would each
// become a series.
const maxFamily = 64

// names gives every member of a family a path element of its own.
type names map[string]int

// newNames is for a family beside whose members a figure "omitted" may stand.
func newNames() names { return names{"omitted": 1} }

// element is raw in snake_case: letters and digits in lower case, everything
// else an underscore. A second member with the same element gets a number, so
// members must come in a stable order.
func (n names) element(raw string) string {
	e := strings.Trim(strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return '_'
	}, strings.ToLower(raw)), "_")
	if e == "" {
		e = "unnamed"
	}
	n[e]++
	if n[e] == 1 {
		return e
	}
	// "a" twice and "a_2" once must be three elements.
	return n.element(e + "_" + strconv.Itoa(n[e]))
}
