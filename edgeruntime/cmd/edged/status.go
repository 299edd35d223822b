package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"selvedge.dev/edgeruntime"
	"selvedge.dev/sdk/fault"
)

// status prints how the agent on a folder does, or what one left there.
func (p program) status(ctx context.Context, args []string) error {
	set := newFlagSet("edged status")
	dir := set.String("data", "", "`folder` of the queue")
	maxBytes := set.Int64("max-bytes", edgeruntime.DefaultMaxBytes, "bound of the queue, while no agent runs")
	asJSON := set.Bool("json", false, "print JSON")
	if err := parse(set, args); err != nil {
		return err
	}
	if *dir == "" {
		return usageError{"--data: a folder is required"}
	}
	s, err := knock(ctx, *dir)
	if errors.Is(err, errNobody) {
		nobody := err
		s, err = edgeruntime.Inspect(*dir, *maxBytes)
		if fault.KindOf(err) == fault.Conflict {
			err = errors.Join(err, nobody)
		}
	}
	switch {
	case err != nil:
		return err
	case *asJSON:
		e := json.NewEncoder(p.out)
		e.SetIndent("", "  ")
		return e.Encode(s)
	}
	return printStatus(p.out, s, time.Now())
}

// printStatus prints s for people.
func printStatus(w io.Writer, s edgeruntime.Status, now time.Time) error {
	var b strings.Builder
	q := s.Queue
	fmt.Fprintf(&b, "%d pending", q.Pending)
	if q.Pending > 0 {
		fmt.Fprintf(&b, ", oldest %s", span(q.OldestAge))
	}
	if q.FitsFor != nil {
		fmt.Fprintf(&b, ", fits for %.0f hours at the current rate", *q.FitsFor/time.Hour.Seconds())
	}
	fmt.Fprintf(&b, "\nstate  %s", s.State)
	if !s.Since.IsZero() {
		fmt.Fprintf(&b, " for %s", span(now.Sub(s.Since).Seconds()))
	}
	if s.Problem != "" {
		fmt.Fprintf(&b, ": %s", s.Problem)
	}
	const mebi = 1 << 20
	fmt.Fprintf(&b, "\ndisk   %.1f of %.1f MiB\nlost   %d", float64(q.Bytes)/mebi, float64(q.MaxBytes)/mebi, s.LostTotal())
	for _, reason := range slices.Sorted(maps.Keys(s.Lost)) {
		fmt.Fprintf(&b, ", %s %d", reason, s.Lost[reason])
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

// span is a time in seconds as people say it: "12s", "1h40m0s", "9d4h".
func span(seconds float64) string {
	d := time.Duration(max(seconds, 0) * float64(time.Second)).Round(time.Second)
	const day = 24 * time.Hour
	if d < day {
		return d.String()
	}
	return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}
