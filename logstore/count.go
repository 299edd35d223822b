package logstore

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"selvedge.dev/sdk/fault"
)

// maxCounted is how many groups a Counter keeps, of which the largest are
// given: some 50 MB of them.
const maxCounted = 200_000

// Counter counts entries one by one, for stores that cannot do otherwise, and
// gives the groups as Reader.Count has to. It is for one goroutine.
type Counter struct {
	counting Counting
	fields   []field
	groups   []Group
	// places are where the groups are, by key.
	places map[string]int
	values []string
	key    []byte
}

// NewCounter makes a counter.
func NewCounter(c Counting) (*Counter, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	n := &Counter{counting: c, places: map[string]int{}, values: make([]string, len(c.By))}
	for _, path := range c.By {
		f, err := newField(path)
		if err != nil {
			return nil, err
		}
		n.fields = append(n.fields, f)
	}
	return n, nil
}

// Add counts an entry, which the selection has selected.
func (n *Counter) Add(e *Entry) error {
	for i := range n.fields {
		n.values[i], _ = n.fields[i].text(e)
	}
	return n.AddGroup(Group{Start: Bar(e.Time, n.counting.Interval), Values: n.values, Entries: 1})
}

// AddGroup adds what was counted elsewhere. The group's values are not kept.
func (n *Counter) AddGroup(g Group) error {
	n.key = appendTime(n.key[:0], g.Start)
	for _, v := range g.Values {
		n.key = appendText(n.key, v)
	}
	if i, ok := n.places[string(n.key)]; ok {
		n.groups[i].Entries += g.Entries
		return nil
	}
	if len(n.groups) == maxCounted {
		return &fault.Error{Op: "logstore.Count", Kind: fault.Exhausted, Reason: "TOO_MANY_GROUPS", Err: fmt.Errorf("there are more than %d groups; count by fewer fields, a longer interval or a shorter time", maxCounted)}
	}
	g.Values = slices.Clone(g.Values)
	n.places[string(n.key)] = len(n.groups)
	n.groups = append(n.groups, g)
	return nil
}

// Groups are the groups, of which there are no more than the limit, in the
// order of Reader.Count.
func (n *Counter) Groups() []Group {
	return SortGroups(slices.Clone(n.groups), n.counting.Limit)
}

// SortGroups gives the largest groups, limit of them or MaxGroups if that is 0,
// in the order of Reader.Count. Of those of one size the first in that order
// are taken.
func SortGroups(groups []Group, limit int) []Group {
	if limit == 0 {
		limit = MaxGroups
	}
	values := func(a, b Group) int { return slices.CompareFunc(a.Values, b.Values, strings.Compare) }
	if len(groups) > limit {
		slices.SortFunc(groups, func(a, b Group) int {
			if n := cmp.Or(cmp.Compare(b.Entries, a.Entries), a.Start.Compare(b.Start)); n != 0 {
				return n
			}
			return values(a, b)
		})
		groups = groups[:limit]
	}
	slices.SortFunc(groups, func(a, b Group) int {
		if n := cmp.Or(a.Start.Compare(b.Start), cmp.Compare(b.Entries, a.Entries)); n != 0 {
			return n
		}
		return values(a, b)
	})
	return groups
}

// Bar is the begin of the bar that a time is in: a multiple of the interval
// since 1970. Zero if there are no bars.
func Bar(t time.Time, interval time.Duration) time.Time {
	if interval == 0 {
		return time.Time{}
	}
	ns := t.UnixNano()
	return time.Unix(0, ns-ns%int64(interval)).UTC()
}
