package tsdbtest

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query"
)

// step is one step of a script: a load or a question.
type step struct {
	line     int // in the script's text, from 1
	load     *load
	question *question
}

// load is what a load step appends. The series have no project yet.
type load struct {
	start, every tsdb.Millis
	// as is the kind, value type and unit of the metrics.
	as      tsdb.Descriptor
	samples []tsdb.Sample
}

// question is a query and what it must answer.
type question struct {
	// first and second are the aggregations; the second may be the zero one.
	first, second query.Aggregation
	from, to      tsdb.Millis
	filter        string
	fails         string // "" when it must not fail
	is            string // "" when the script does not say
	want          map[string]columns
}

// columns are the points of a series of an answer.
type columns struct {
	times  []tsdb.Millis
	values []float64
	// distributions are the values when they are distributions.
	distributions []*tsdb.Distribution
}

// aggregateForm is the form of one aggregation: its reducer, what it groups by,
// its aligner and its period.
const aggregateForm = `(?:reduce (\w+)(?: by \(([^)]*)\))? of )?align (\w+)(?: period (\S+))?`

// The forms of lines and of what is in them.
var (
	commentForm = regexp.MustCompile(`(^|\s)#.*$`)
	loadForm    = regexp.MustCompile(`^load (\S+)(?: from (\S+))?(?: as (\w+) (\w+)(?: (\S+))?)?$`)
	queryForm   = regexp.MustCompile(`^` + aggregateForm + ` from (\S+) to (\S+)(?: then ` + aggregateForm + `)?(?: where (.*))?$`)
	seriesForm  = regexp.MustCompile(`^([^{\s]*)(?:\{([^}]*)\})?\s+(.*)$`)
	labelForm   = regexp.MustCompile(`^\s*([\w.]+)="([^"]*)"\s*$`)
	valueForm   = regexp.MustCompile(`^(_|[-+]?[\d.]+(?:e[-+]?\d+)?)([-+][\d.]+)?(?:x(\d+))?$`)
	wantForm    = regexp.MustCompile(`^([^@/]+)(?:/([^@]+))?@(\S+)$`)
)

// parseScript reads a script. An error names the line at fault.
func parseScript(text string) ([]step, error) {
	var steps []step
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(commentForm.ReplaceAllString(line, ""), " \t")
		if line == "" {
			continue
		}
		var err error
		switch indented := line[0] == ' ' || line[0] == '\t'; {
		case indented && len(steps) == 0:
			err = errors.New("a body without a step")
		case indented:
			err = steps[len(steps)-1].body(strings.TrimSpace(line))
		default:
			var st step
			st, err = parseHead(line)
			st.line = i + 1
			steps = append(steps, st)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return steps, nil
}

// parseHead reads the line that begins a step.
func parseHead(line string) (step, error) {
	if m := loadForm.FindStringSubmatch(line); m != nil {
		every, err := millis(m[1])
		if err != nil {
			return step{}, err
		}
		start, err := millis(cmp.Or(m[2], "0s"))
		return step{load: &load{start: base + start, every: every, as: tsdb.Descriptor{
			Kind:      tsdb.MetricKind(strings.ToUpper(m[3])),
			ValueType: tsdb.ValueType(strings.ToUpper(m[4])),
			Unit:      m[5],
		}}}, err
	}
	m := queryForm.FindStringSubmatch(line)
	if m == nil {
		return step{}, fmt.Errorf("no step begins like %q", line)
	}
	q := &question{filter: m[11], want: map[string]columns{}}
	var err error
	if q.first, err = parseAggregation(m[1:5]); err != nil {
		return step{}, err
	}
	if m[9] != "" {
		if q.second, err = parseAggregation(m[7:11]); err != nil {
			return step{}, err
		}
	}
	from, err := millis(m[5])
	if err != nil {
		return step{}, err
	}
	to, err := millis(m[6])
	q.from, q.to = base+from, base+to
	return step{question: q}, err
}

// parseAggregation reads what aggregateForm has found.
func parseAggregation(m []string) (query.Aggregation, error) {
	agg := query.Aggregation{PerSeriesAligner: "ALIGN_" + strings.ToUpper(m[2])}
	if m[0] != "" {
		agg.CrossSeriesReducer = "REDUCE_" + strings.ToUpper(m[0])
	}
	for label := range strings.SplitSeq(m[1], ",") {
		switch name, isResource := strings.CutPrefix(strings.TrimSpace(label), "resource."); {
		case isResource:
			agg.GroupByFields = append(agg.GroupByFields, "resource.labels."+name)
		case name != "":
			agg.GroupByFields = append(agg.GroupByFields, "metric.labels."+name)
		}
	}
	period, err := millis(cmp.Or(m[3], "0s"))
	agg.AlignmentPeriod = time.Duration(period) * time.Millisecond
	return agg, err
}

// millis reads a duration.
func millis(text string) (tsdb.Millis, error) {
	d, err := time.ParseDuration(text)
	return tsdb.Millis(d / time.Millisecond), err
}

// body reads an indented line of the step.
func (st *step) body(line string) error {
	if q := st.question; q != nil {
		if text, ok := strings.CutPrefix(line, "fails "); ok {
			q.fails = text
			return nil
		}
		if is, ok := strings.CutPrefix(line, "is "); ok {
			q.is = is
			return nil
		}
	}
	m := seriesForm.FindStringSubmatch(line)
	if m == nil {
		return fmt.Errorf("no series and values: %q", line)
	}
	series, err := parseSeries(m[1], m[2])
	if err != nil {
		return err
	}
	if st.load != nil {
		return st.load.add(series, strings.Fields(m[3]))
	}
	c, err := parseWanted(strings.Fields(m[3]))
	st.question.want[nameOf(series)] = c
	return err
}

// parseSeries makes the series with the metric type and the labels.
func parseSeries(metric, labels string) (*tsdb.Series, error) {
	metricLabels, resourceLabels := map[string]string{}, map[string]string{}
	for label := range strings.SplitSeq(labels, ",") {
		if label == "" {
			continue
		}
		m := labelForm.FindStringSubmatch(label)
		if m == nil {
			return nil, fmt.Errorf("no label: %q", label)
		}
		if name, ok := strings.CutPrefix(m[1], "resource."); ok {
			resourceLabels[name] = m[2]
		} else {
			metricLabels[m[1]] = m[2]
		}
	}
	return &tsdb.Series{
		Metric: metric, Resource: "device",
		MetricLabels: tsdb.LabelsOf(metricLabels), ResourceLabels: tsdb.LabelsOf(resourceLabels),
	}, nil
}

// nameOf writes a series as scripts do, with sorted labels.
func nameOf(s *tsdb.Series) string {
	var labels []string
	for _, l := range s.MetricLabels {
		labels = append(labels, fmt.Sprintf("%s=%q", l.Name, l.Value))
	}
	for _, l := range s.ResourceLabels {
		labels = append(labels, fmt.Sprintf("resource.%s=%q", l.Name, l.Value))
	}
	return s.Metric + "{" + strings.Join(labels, ",") + "}"
}

// add reads the values of a series and places them in time.
func (l *load) add(s *tsdb.Series, values []string) error {
	at := l.start
	for _, text := range values {
		if strings.Contains(text, "[") {
			d, times, err := parseRepeated(text)
			if err != nil {
				return err
			}
			for range times {
				l.samples = append(l.samples, tsdb.Sample{Series: s, Time: at, Distribution: d})
				at += l.every
			}
			continue
		}
		m := valueForm.FindStringSubmatch(text)
		if m == nil {
			return fmt.Errorf("no value: %q", text)
		}
		v, by, times := 0.0, 0.0, 1
		err := parseNumbers(m[1:3], &v, &by)
		if n, atoiErr := strconv.Atoi(m[3]); atoiErr == nil {
			times += n
		}
		if err != nil {
			return err
		}
		if m[1] == "_" && times > 1 {
			times-- // _x3 is three gaps, and not one and three more
		}
		for range times {
			if m[1] != "_" {
				l.samples = append(l.samples, tsdb.Sample{Series: s, Time: at, Value: v})
			}
			v += by
			at += l.every
		}
	}
	return nil
}

// parseNumbers reads numbers into the targets; "" and "_" leave one alone.
func parseNumbers(texts []string, targets ...*float64) error {
	for i, text := range texts {
		if text == "" || text == "_" {
			continue
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return err
		}
		*targets[i] = v
	}
	return nil
}

// parseWanted reads the points of a series of an answer.
func parseWanted(points []string) (columns, error) {
	var c columns
	for _, text := range points {
		m := wantForm.FindStringSubmatch(text)
		if m == nil {
			return c, fmt.Errorf("no VALUE@TIME: %q", text)
		}
		at, err := millis(m[3])
		if err != nil {
			return c, err
		}
		c.times = append(c.times, base+at)
		if strings.Contains(m[1], "[") {
			d, err := parseDistribution(m[1])
			if err != nil {
				return c, err
			}
			c.distributions = append(c.distributions, d)
			continue
		}
		v, by := 0.0, 1.0
		if err := parseNumbers(m[1:3], &v, &by); err != nil {
			return c, err
		}
		c.values = append(c.values, v/by)
	}
	return c, nil
}
