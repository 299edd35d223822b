package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"selvedge.dev/tests/process"
)

// The names of the targets.
const (
	nameOurs     = "Selvedge"
	nameVictoria = "VictoriaMetrics"
)

// server is a program that runs.
type server interface {
	Memory() (int64, error)
	Anonymous() (int64, error)
	Peak() (int64, error)
	Processor() (time.Duration, error)
}

// target is a server with series, as a client over HTTP sees it.
type target struct {
	name    string
	process server
	url     string
	http    *http.Client
	// ways are the paths that data is posted to; "" is for none.
	ways [ways]string
	// settle returns when all that was written is stored.
	settle func(ctx context.Context) error
	// ask asks a question, and calls page with each part of the answer, which is
	// valid until it returns.
	ask func(ctx context.Context, t *target, q question, page func([]byte)) error
	// answer is the buffer of answers, used again so that the client has little to
	// do with them.
	answer bytes.Buffer
	// sum is how many points the answers hold and what they sum up to.
	sum func(answers []byte) (int, float64, error)
	// stop ends the server; data is the folder with the samples.
	stop func() error
	data string
}

// startOurs runs Selvedge.
func startOurs(ctx context.Context, program, dir string) (*target, error) {
	p, err := process.Start(ctx, program, dir)
	if err != nil {
		return nil, err
	}
	return &target{
		name: nameOurs, process: p, url: p.URL, http: newClient(),
		ways:   [ways]string{"/influx/write?precision=ms&project=default", "/cloudevents/write?project=default", "/v1/events"},
		settle: func(ctx context.Context) error { return drained(ctx, p) },
		ask:    askOurs, sum: sumOurs, data: filepath.Join(dir, "series"),
		stop: func() error { return p.Stop(context.WithoutCancel(ctx)) },
	}, nil
}

// register makes the hosts devices of the platform.
func register(ctx context.Context, t *target, hosts int) error {
	for i := range hosts {
		body := []byte(`{"route":"writer"}`)
		if err := t.post(ctx, "/v1/projects/default/devices?deviceId="+host(i), "application/json", body); err != nil {
			return err
		}
	}
	return nil
}

// rollUp declares rollups of an hour and of a day, and waits until they are
// computed.
func rollUp(ctx context.Context, t *target, d dataset) error {
	path := "/v3/projects/default/metricRollups/" + d.name + "_m0"
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, t.url+path,
		strings.NewReader(`{"rollups":[{"period":"3600s","aligners":["ALIGN_MEAN"]},{"period":"86400s","aligners":["ALIGN_MEAN"]}]}`))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if err := t.do(req, new(bytes.Buffer)); err != nil {
		return err
	}
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		var answer bytes.Buffer
		if err := t.get(ctx, path, &answer); err != nil {
			return err
		}
		var told struct {
			Rollups []struct {
				Status *struct {
					EndTime time.Time `json:"endTime"`
					Marked  int64     `json:"marked"`
				} `json:"status"`
			} `json:"rollups"`
		}
		if err := json.Unmarshal(answer.Bytes(), &told); err != nil {
			return err
		}
		left := len(told.Rollups)
		for _, r := range told.Rollups {
			if r.Status != nil && r.Status.Marked == 0 && !r.Status.EndTime.Before(d.end().Truncate(24*time.Hour)) {
				left--
			}
		}
		if left == 0 {
			fmt.Printf("rollups of %d samples computed in %.1f s\n", d.total(), time.Since(begin).Seconds())
			return nil
		}
		if time.Since(begin) > time.Minute {
			return fmt.Errorf("rollups are not computed: %s", answer.Bytes())
		}
	}
}

// drained waits until no trigger has anything left to do.
func drained(ctx context.Context, p *process.Platform) error {
	for {
		var st struct {
			Triggers []struct {
				Pending int64 `json:"pending"`
			} `json:"triggers"`
		}
		if err := p.Client(process.AdminKey).Call(ctx, http.MethodGet, "/v1/status", nil, nil, &st); err != nil {
			return err
		}
		left := int64(0)
		for _, t := range st.Triggers {
			left += t.Pending
		}
		if left == 0 {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// startVictoria runs VictoriaMetrics as it comes.
func startVictoria(ctx context.Context, program, dir string) (*target, error) {
	v, err := process.StartVictoria(ctx, program, dir)
	if err != nil {
		return nil, err
	}
	t := &target{
		name: nameVictoria, process: v, url: v.URL, http: newClient(),
		ways: [ways]string{"/write?precision=ms"},
		ask:  askVictoria, sum: sumVictoria, data: dir, stop: v.Stop,
	}
	t.settle = func(ctx context.Context) error { return t.get(ctx, "/internal/force_flush", new(bytes.Buffer)) }
	return t, nil
}

// newClient is a client with room for every connection of the load.
func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute, DisableCompression: true}}
}

// post posts a body.
func (t *target) post(ctx context.Context, path, media string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", media)
	return t.do(req, new(bytes.Buffer))
}

// get appends an answer to the buffer.
func (t *target) get(ctx context.Context, path string, answer *bytes.Buffer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url+path, nil)
	if err != nil {
		return err
	}
	return t.do(req, answer)
}

// do makes a request.
func (t *target) do(req *http.Request, answer *bytes.Buffer) error {
	req.Header.Set("Authorization", "Bearer "+process.AdminKey)
	resp, err := t.http.Do(req)
	if err != nil {
		return err
	}
	from := answer.Len()
	_, err = answer.ReadFrom(resp.Body)
	err = errors.Join(err, resp.Body.Close())
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s %s: %d %.300s", t.name, req.Method, req.URL, resp.StatusCode, answer.Bytes()[from:])
	}
	return err
}

// nextPage finds the page token, which comes last in a page and has no escapes;
// "" if there is none. It is part of what is timed, so it is no regular
// expression, which took a tenth of a short question.
func nextPage(page []byte) string {
	const name = `"nextPageToken"`
	tail := page[max(0, len(page)-1024):]
	i := bytes.LastIndex(tail, []byte(name))
	if i < 0 {
		return ""
	}
	parts := bytes.SplitN(tail[i+len(name):], []byte{'"'}, 3)
	if len(parts) < 3 {
		return ""
	}
	return string(parts[1])
}

// askOurs asks Selvedge for all pages.
func askOurs(ctx context.Context, t *target, q question, page func([]byte)) error {
	var types, devices []string
	for i := range q.metrics {
		types = append(types, fmt.Sprintf("%q", fmt.Sprintf("%s_m%d", q.set.name, i)))
	}
	filter := "metric.type = " + types[0]
	if len(types) > 1 {
		filter = "metric.type = one_of(" + strings.Join(types, ",") + ")"
	}
	for i := range q.hosts {
		devices = append(devices, strconv.Quote(host(i)))
	}
	if len(devices) > 0 {
		filter += " AND metric.labels.host = one_of(" + strings.Join(devices, ",") + ")"
	}
	params := url.Values{
		"filter": {filter}, "aggregation.perSeriesAligner": {q.aligner}, "aggregation.alignmentPeriod": {fmt.Sprintf("%ds", q.period/time.Second)},
		"interval.startTime": {q.end.Add(-q.span).UTC().Format(time.RFC3339Nano)}, "interval.endTime": {q.end.UTC().Format(time.RFC3339Nano)},
	}
	if q.reduce {
		params.Set("aggregation.crossSeriesReducer", "REDUCE_MAX")
	}
	for {
		t.answer.Reset()
		if err := t.get(ctx, "/v3/projects/default/timeSeries?"+params.Encode(), &t.answer); err != nil {
			return err
		}
		text := t.answer.Bytes()
		page(text)
		token := nextPage(text)
		if token == "" {
			return nil
		}
		params.Set("pageToken", token)
	}
}

// askVictoria asks VictoriaMetrics for the same. Its window is open at the
// start too, and it answers for both ends of the range.
func askVictoria(ctx context.Context, t *target, q question, page func([]byte)) error {
	names := make([]string, q.metrics)
	for i := range names {
		names[i] = fmt.Sprintf("%s_m%d", q.set.name, i)
	}
	match := `__name__=~"` + strings.Join(names, "|") + `"`
	if q.hosts > 0 {
		all := make([]string, q.hosts)
		for i := range all {
			all[i] = host(i)
		}
		match += `,host=~"` + strings.Join(all, "|") + `"`
	}
	query := fmt.Sprintf(q.function, fmt.Sprintf("{%s}[%ds]", match, q.period/time.Second))
	if q.reduce {
		query = "max(" + query + ")"
	}
	seconds := func(at time.Time) string { return strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64) }
	params := url.Values{
		"query": {query}, "step": {fmt.Sprintf("%ds", q.period/time.Second)},
		"start": {seconds(q.end.Add(-q.span + q.period))}, "end": {seconds(q.end)},
	}
	if !q.cached {
		params.Set("nocache", "1")
	}
	t.answer.Reset()
	err := t.get(ctx, "/api/v1/query_range?"+params.Encode(), &t.answer)
	page(t.answer.Bytes())
	return err
}

// sumOurs adds up all points.
func sumOurs(answers []byte) (points int, sum float64, err error) {
	decoder := json.NewDecoder(bytes.NewReader(answers))
	for {
		var page struct {
			TimeSeries []struct {
				Points []struct {
					Value struct {
						DoubleValue float64 `json:"doubleValue"`
						Int64Value  string  `json:"int64Value"`
					} `json:"value"`
				} `json:"points"`
			} `json:"timeSeries"`
		}
		if err := decoder.Decode(&page); errors.Is(err, io.EOF) {
			return points, sum, nil
		} else if err != nil {
			return 0, 0, err
		}
		for _, s := range page.TimeSeries {
			for _, p := range s.Points {
				v := p.Value.DoubleValue
				if p.Value.Int64Value != "" {
					if v, err = strconv.ParseFloat(p.Value.Int64Value, 64); err != nil {
						return 0, 0, err
					}
				}
				points, sum = points+1, sum+v
			}
		}
	}
}

// sumVictoria adds up all points.
func sumVictoria(answers []byte) (points int, sum float64, err error) {
	var answer struct {
		Data struct {
			Result []struct {
				Values [][2]any `json:"values"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answers, &answer); err != nil {
		return 0, 0, err
	}
	for _, s := range answer.Data.Result {
		for _, p := range s.Values {
			v, err := strconv.ParseFloat(fmt.Sprint(p[1]), 64)
			if err != nil {
				return 0, 0, err
			}
			points, sum = points+1, sum+v
		}
	}
	return points, sum, nil
}

// size is how many bytes the files below a folder have. A file that is removed
// meanwhile has none.
func size(dir string) (int64, error) {
	total := int64(0)
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}
