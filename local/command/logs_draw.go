package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// printer prints entries, one a line.
type printer struct {
	out io.Writer
	// colour says to paint severities, json to print the entries as they are.
	colour, json bool
}

// newPrinter makes a printer, which paints if a person reads what it prints.
func newPrinter(out io.Writer) *printer {
	p := &printer{out: out}
	if f, ok := out.(*os.File); ok && os.Getenv("NO_COLOR") == "" { // no-color.org
		info, err := f.Stat()
		p.colour = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// colours are those of severities, as terminals have them.
var colours = map[severity]string{
	"DEBUG": "\x1b[2m", "INFO": "\x1b[32m", "NOTICE": "\x1b[36m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m",
	"CRITICAL": "\x1b[1;31m", "ALERT": "\x1b[1;35m", "EMERGENCY": "\x1b[1;37;41m",
}

// plain ends a colour.
const plain = "\x1b[0m"

// all prints entries.
func (p *printer) all(entries []logEntry) error {
	for i := range entries {
		line := entries[i].line(p.colour)
		if p.json {
			line = string(entries[i].raw)
		}
		if _, err := fmt.Fprintln(p.out, line); err != nil {
			return err
		}
	}
	return nil
}

// line is the entry for a person: when, how bad, what about, and what it says.
func (e *logEntry) line(colour bool) string {
	level := string(e.Severity)
	if level == "" {
		level = "-"
	}
	level = fmt.Sprintf("%-9s", level)
	if c := colours[e.Severity]; colour && c != "" {
		level = c + level + plain
	}
	parts := []string{e.Timestamp.UTC().Format("2006-01-02T15:04:05.000Z"), level, logID(e.LogName)}
	if name := e.Resource.short(); name != "" {
		parts = append(parts, name)
	}
	return strings.Join(append(parts, e.text()), " ")
}

// short is what an entry is about in a word.
func (l labelled) short() string {
	for _, key := range []string{"device_id", "job", "node_id", "instance_id"} {
		if v := l.Labels[key]; v != "" {
			return v
		}
	}
	return ""
}

// text is what an entry says, on one line. Control characters are shown and not
// obeyed: an entry may come from anybody.
func (e *logEntry) text() string {
	out := e.TextPayload
	for _, object := range []json.RawMessage{e.JSONPayload, e.ProtoPayload} {
		var compact bytes.Buffer
		if len(object) > 0 && json.Compact(&compact, object) == nil {
			out = compact.String()
			var m struct{ Message, Msg string }
			if json.Unmarshal(object, &m) == nil && m.Message+m.Msg != "" {
				out = strings.TrimSpace(m.Message+m.Msg) + " " + out
			}
		}
	}
	var labels []string
	for _, k := range slices.Sorted(maps.Keys(e.Labels)) {
		labels = append(labels, k+"="+e.Labels[k])
	}
	if len(labels) > 0 {
		out += "  [" + strings.Join(labels, " ") + "]"
	}
	quoted := strconv.QuoteToGraphic(out)
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(quoted[1 : len(quoted)-1])
}

// counted is the answer of a count.
type counted struct {
	Groups []struct {
		StartTime time.Time `json:"startTime,omitzero"`
		Values    []string  `json:"values,omitempty"`
		Entries   int64     `json:"entries,string"`
	} `json:"groups"`
	Entries int64 `json:"entries,string"`
}

// logsCount is `selvedge logs count`.
func (a *app) logsCount() *cobra.Command {
	var w about
	var interval time.Duration
	var by []string
	cmd := &cobra.Command{
		Use:   "count [FILTER]",
		Short: "Draw how many entries match a filter, over time and by fields",
		Example: `  selvedge logs count 'severity >= WARNING' --since 24h
  selvedge logs count --by severity --by resource.labels.device_id --since 168h --interval 24h`,
		Args: atMostOne,
		RunE: func(c *cobra.Command, args []string) error {
			if w.since <= 0 {
				w.since = 24 * time.Hour
			}
			if interval == 0 {
				interval = widthOf(w.since)
			}
			end := time.Now().UTC()
			begin := end.Add(-w.since).Truncate(interval)
			filter := ""
			if len(args) > 0 {
				filter = args[0]
			}
			var answer counted
			err := a.client().Call(c.Context(), http.MethodPost, "/v2/entries:count", nil, map[string]any{
				"resourceNames": w.names(a.project), "filter": filter, "startTime": begin, "endTime": end, "groupBy": by,
				"interval": strconv.FormatFloat(interval.Seconds(), 'f', -1, 64) + "s",
			}, &answer)
			if err != nil {
				return err
			}
			return a.print(answer, func(out io.Writer) { answer.draw(out, span{begin, end, interval}, by) })
		},
	}
	w.flags(cmd, time.Hour)
	cmd.Flags().DurationVar(&interval, "interval", 0, "the width of a bar; by default what gives some sixty of them")
	cmd.Flags().StringSliceVar(&by, "by", nil, "fields to count by, such as severity or labels.site")
	return cmd
}

// widths are those that bars have by default.
var widths = []time.Duration{
	time.Second, 5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour,
}

// widthOf is the width that gives at most as many bars as a drawing has room
// for.
func widthOf(since time.Duration) time.Duration {
	for _, w := range widths {
		if since/w <= drawn {
			return w
		}
	}
	return (since / drawn).Truncate(24*time.Hour) + 24*time.Hour
}

// maxBar is how long the longest bar is.
const maxBar = 50

// span is what a histogram is of: bars of a width, from begin to end.
type span struct {
	begin, end time.Time
	width      time.Duration
}

// bars is how many there are.
func (s span) bars() int { return int((s.end.Sub(s.begin) + s.width - 1) / s.width) }

// draw draws a histogram: a bar on a line of its own, or with fields a line for
// each of their values, the most first.
func (c *counted) draw(out io.Writer, of span, by []string) {
	if len(c.Groups) == 0 {
		row(out, "no entry matches")
		return
	}
	bars := of.bars()
	sums := map[string][]float64{}
	totals := map[string]int64{}
	for _, g := range c.Groups {
		key := strings.Join(g.Values, "\t")
		if sums[key] == nil {
			sums[key] = make([]float64, bars)
		}
		if i := int(g.StartTime.Sub(of.begin) / of.width); i >= 0 && i < bars {
			sums[key][i] += float64(g.Entries)
		}
		totals[key] += g.Entries
	}
	if len(by) > 0 {
		head := []any{}
		for _, name := range by {
			head = append(head, strings.ToUpper(name))
		}
		row(out, append(head, "ENTRIES", "DRAWING")...)
		keys := slices.SortedFunc(maps.Keys(totals), func(a, b string) int {
			if totals[a] != totals[b] {
				return int(max(-1, min(1, totals[b]-totals[a])))
			}
			return strings.Compare(a, b)
		})
		for _, key := range keys {
			cells := []any{}
			for _, v := range strings.Split(key, "\t") {
				cells = append(cells, v)
			}
			row(out, append(cells, totals[key], sparkline(append([]float64{0}, sums[key]...))[len("▁"):])...)
		}
		return
	}
	all := sums[""]
	most := slices.Max(all)
	row(out, "FROM", "ENTRIES", "DRAWING")
	for i, n := range all {
		bar := strings.Repeat("█", int(n/most*maxBar))
		if bar == "" && n > 0 {
			bar = "▏"
		}
		row(out, of.begin.Add(time.Duration(i)*of.width).Format(time.RFC3339), int64(n), bar)
	}
}
