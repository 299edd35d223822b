package logging

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/filter"
	"selvedge.dev/sdk/fault"
)

// countRequest is the body of POST /v2/entries:count.
type countRequest struct {
	// ResourceNames and Filter are as in a list.
	ResourceNames []string `json:"resourceNames"`
	Filter        string   `json:"filter"`
	// StartTime and EndTime bound the entries' times: the first is in, the last
	// is not.
	StartTime time.Time `json:"startTime"`
	EndTime   time.Time `json:"endTime"`
	// Interval is the width of the bars, a duration in seconds: "60s"; "" is one
	// bar of everything.
	Interval string `json:"interval"`
	// GroupBy are up to four fields: "severity", "labels.site".
	GroupBy []string `json:"groupBy"`
	// Limit is the most groups to give.
	Limit int `json:"limit"`
}

// countAnswer is the answer.
type countAnswer struct {
	Groups []countGroup `json:"groups"`
	// Entries is how many there are in all groups that are given.
	Entries int64 `json:"entries,string"`
}

// countGroup is one number of a count.
type countGroup struct {
	// StartTime is when the bar begins, absent if there is one of everything.
	StartTime *time.Time `json:"startTime,omitempty"`
	// Values are those of the fields, "" where an entry has no such field.
	Values  []string `json:"values,omitempty"`
	Entries int64    `json:"entries,string"`
}

// restCount answers POST /v2/entries:count.
func (d *Doors) restCount(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	var req countRequest
	in := json.NewDecoder(bytes.NewReader(body))
	in.DisallowUnknownFields()
	if err := in.Decode(&req); err != nil {
		return &fault.Error{Op: "logging.count", Kind: fault.Invalid, Reason: "MALFORMED_JSON", Field: "body", Err: err}
	}
	answer, err := d.count(r.Context(), &req)
	if err != nil {
		return err
	}
	return reply(w, append(mustJSON(json.Marshal(answer)), '\n'))
}

// count counts entries.
func (d *Doors) count(ctx context.Context, req *countRequest) (*countAnswer, error) {
	parts, err := d.selectParts(ctx, ListEntries, req.ResourceNames)
	if err != nil {
		return nil, err
	}
	f, err := parseFilter(req.Filter)
	if err != nil {
		return nil, err
	}
	what := logstore.Counting{Limit: req.Limit}
	if req.Limit < 0 || req.Limit > logstore.MaxGroups {
		return nil, invalid("limit", "it is not between 0 and %d", logstore.MaxGroups)
	}
	if what.Interval, err = interval(req.Interval); err != nil {
		return nil, err
	}
	if what.By, err = fields(req.GroupBy); err != nil {
		return nil, err
	}
	if err := d.flush(ctx); err != nil {
		return nil, err
	}
	var all []logstore.Group
	for _, p := range parts {
		c := what
		if c.Selection, err = d.of(ctx, &selection{filter: f, from: req.StartTime.UTC(), to: req.EndTime.UTC()}, p); err != nil {
			return nil, err
		}
		found, err := d.o.Reader.Count(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("count entries: %w", err)
		}
		all = append(all, found...)
	}
	if len(parts) > 1 {
		all = added(all, req.Limit)
	}
	out := &countAnswer{Groups: []countGroup{}}
	for _, g := range all {
		one := countGroup{Values: g.Values, Entries: g.Entries}
		if !g.Start.IsZero() {
			one.StartTime = &g.Start
		}
		out.Groups, out.Entries = append(out.Groups, one), out.Entries+g.Entries
	}
	return out, nil
}

// interval reads the width of bars.
func interval(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	seconds, err := strconv.ParseFloat(strings.TrimSuffix(text, "s"), 64)
	d := time.Duration(seconds * float64(time.Second))
	if err != nil || !strings.HasSuffix(text, "s") || seconds > float64(100*365*24*time.Hour)/float64(time.Second) || d < time.Millisecond {
		return 0, invalid("interval", `%.20q is no duration in seconds, such as "60s"`, text)
	}
	return d, nil
}

// fields reads the names of fields.
func fields(names []string) ([][]string, error) {
	if len(names) > logstore.MaxBy {
		return nil, invalid("groupBy", "there are %d fields, and at most %d can be", len(names), logstore.MaxBy)
	}
	var out [][]string
	for i, name := range names {
		at := fmt.Sprintf("groupBy[%d]", i)
		f, err := filter.Parse(name + ":*")
		c, ok := f.(*filter.Comparison)
		if err == nil && (!ok || len(c.Steps) > 0) {
			err = errors.New("it is no name of a field")
		}
		if err != nil {
			return nil, invalid(at, "%.100q: %s", name, err)
		}
		out = append(out, c.Path)
	}
	return out, nil
}

// added adds up the groups of several projects that are the same.
func added(all []logstore.Group, limit int) []logstore.Group {
	sums := map[string]*logstore.Group{}
	for _, g := range all {
		key := string(mustJSON(json.Marshal([]any{g.Start.UnixNano(), g.Values})))
		if had := sums[key]; had != nil {
			had.Entries += g.Entries
			continue
		}
		sums[key] = &g
	}
	out := make([]logstore.Group, 0, len(sums))
	for _, g := range sums {
		out = append(out, *g)
	}
	return logstore.SortGroups(out, limit)
}
