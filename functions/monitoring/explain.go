package monitoring

import (
	"encoding/json"
	"time"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query"
)

// explanation is what the parameter explain adds to an answer.
type explanation struct {
	// Source is ROLLUP when a rollup was read for a part at least, else RAW,
	// and Reason why.
	Source string `json:"source"`
	Reason string `json:"reason,omitempty"`
	Series int    `json:"series"`
	// Samples is how many points were read, Windows how many windows of
	// rollups, and StoredPoints how many points of the storage hold those.
	Samples      int              `json:"samples"`
	Windows      int              `json:"windows"`
	StoredPoints int              `json:"storedPoints"`
	Spans        []explainedSpan  `json:"spans"`
	Stages       []explainedStage `json:"stages"`
}

// explainedSpan is a part of the time that was read: (startTime, endTime].
type explainedSpan struct {
	StartTime time.Time `json:"startTime"`
	EndTime   time.Time `json:"endTime"`
	Source    string    `json:"source"`
	// Rollup is the period of the rollup that was read, GroupBy its groups.
	Rollup  string   `json:"rollup,omitempty"`
	GroupBy []string `json:"groupBy,omitempty"`
	Series  int      `json:"series"`
	Samples int      `json:"samples"`
	Windows int      `json:"windows,omitempty"`
}

// explainedStage is a step of the work.
type explainedStage struct {
	Name string `json:"name"`
	// Took is a duration in seconds, "0.004s".
	Took string `json:"took"`
}

// The sources of spans.
const (
	fromRollup = "ROLLUP"
	fromPoints = "RAW"
)

// explain is the JSON of a trace.
func explain(t *query.Trace) []byte {
	instant := func(at tsdb.Millis) time.Time { return time.UnixMilli(int64(at)).UTC() }
	out := explanation{
		Source: fromPoints, Reason: t.Why, Series: t.Series, Samples: t.Samples, Windows: t.Windows, StoredPoints: t.Stored,
		Spans: []explainedSpan{}, Stages: []explainedStage{},
	}
	for _, s := range t.Spans {
		one := explainedSpan{
			StartTime: instant(s.Start), EndTime: instant(s.End), Source: fromPoints,
			Series: s.Series, Samples: s.Samples, Windows: s.Windows,
		}
		if s.Rollup != nil {
			out.Source = fromRollup
			one.Source, one.Rollup, one.GroupBy = fromRollup, secondsText(s.Rollup.Period), s.Rollup.GroupBy
		}
		out.Spans = append(out.Spans, one)
	}
	for _, s := range t.Stages {
		out.Stages = append(out.Stages, explainedStage{Name: s.Name, Took: secondsText(s.Took)})
	}
	return mustJSON(json.Marshal(out))
}
