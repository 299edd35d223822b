package query

import (
	"strings"
	"sync"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query/filter"
)

// asked are the filters that were asked for: dashboards ask with the same ones
// again and again. The zero value is ready.
type asked struct {
	mu     sync.Mutex
	byText map[string]*parsed
}

// The bounds of what is remembered: all is forgotten when there are more.
const (
	maxAsked      = 256
	maxAskedBytes = 1 << 10
)

// parsed is a filter with what is made of it, none of which changes.
type parsed struct {
	filter.Filter
	metric     string
	conditions []tsdb.Condition
	empty      bool
}

// parse reads a filter.
func (a *asked) parse(text string) (*parsed, error) {
	a.mu.Lock()
	known := a.byText[text]
	a.mu.Unlock()
	if known != nil {
		return known, nil
	}
	f, err := filter.Parse(text)
	if err != nil {
		return nil, err
	}
	p := &parsed{Filter: f, metric: f.Metric(), conditions: f.Conditions(), empty: f.String() == ""}
	if len(text) > maxAskedBytes {
		return p, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byText == nil || len(a.byText) >= maxAsked {
		a.byText = map[string]*parsed{}
	}
	// The text may be a part of a longer one.
	a.byText[strings.Clone(text)] = p
	return p, nil
}
