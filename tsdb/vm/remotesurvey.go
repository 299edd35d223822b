package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"

	"selvedge.dev/tsdb"
)

var _ tsdb.Surveyor = (*Remote)(nil)

// partialField is the field of an answer that says that it lacks what one
// vmstorage has.
const partialField = "isPartial"

// errPartial is an answer that must not be taken for one.
var errPartial = errors.New("the answer lacks what is on one of the servers")

// Survey implements tsdb.Surveyor. A server answers for 30,000 series at once
// unless its flag -search.maxSeries says more; when there are more, all of
// their points are fetched to know them.
func (r *Remote) Survey(ctx context.Context, sel tsdb.Selection, visit func(*tsdb.Series) error) error {
	const op = "tsdb/vm.Remote.Survey"
	if err := r.use(op); err != nil {
		return err
	}
	defer r.users.Done()
	if err := needsProject(op, sel); err != nil {
		return err
	}
	if err := r.show(ctx); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	fill(&sel.MaxSeries, r.options.MaxSeries)
	within, some := r.options.within(sel)
	if !some {
		return nil
	}
	var visitErr error
	n := 0
	err := r.survey(ctx, sel, within, func(s *tsdb.Series) error {
		n++
		if err := bound("series", n, sel.MaxSeries); err != nil {
			return err
		}
		visitErr = visit(s)
		return visitErr
	})
	if err != nil && visitErr == nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return err
}

// survey calls f once for every series that matches.
func (r *Remote) survey(ctx context.Context, sel tsdb.Selection, within storage.TimeRange, f func(*tsdb.Series) error) error {
	e := &export{remote: r, sel: sel, within: within}
	seconds := func(ms int64) string { return strconv.FormatFloat(float64(ms)/1000, 'f', 3, 64) }
	times := url.Values{"match[]": {e.matcher()}, "start": {seconds(within.MinTimestamp)}, "end": {seconds(within.MaxTimestamp)}}
	body, err := r.do(ctx, r.get("/api/v1/series", times))
	path := "/api/v1/series"
	read := r.readSeries
	if err != nil && ctx.Err() == nil { // too many, or away: then the other call tells it
		path, read = "/api/v1/export/native", r.readNames
		body, err = r.do(ctx, r.get(path, times))
	}
	if err != nil {
		return err
	}
	var own error // of f, or that the engine found what it was not asked for
	seen := newSeen()
	var mn storage.MetricName
	err = read(body, func(name []byte) error {
		if own = ctx.Err(); own != nil {
			return own
		}
		var s *tsdb.Series
		if s, own = r.options.identify(&sel, &mn, name); own != nil || s == nil || !seen.add(s) {
			return own
		}
		own = f(s)
		return own
	})
	err = errors.Join(err, body.Close())
	if own != nil || err == nil {
		return own
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return unavailable(path, err)
}

// readSeries calls f with the engine's name of every series of an answer of
// /api/v1/series.
func (r *Remote) readSeries(body io.Reader, f func(name []byte) error) error {
	in := json.NewDecoder(bufio.NewReaderSize(body, 64<<10))
	for last := json.Token(nil); ; { // up to {"status":"success","isPartial":false,"data":[
		token, err := in.Token()
		if err != nil {
			return unexpected(err)
		}
		if token == json.Delim('[') {
			break
		}
		if token == "error" {
			return errors.New("the answer is an error")
		}
		if last == partialField && token == true {
			return errPartial
		}
		last = token
	}
	var name []byte
	for in.More() {
		labels := map[string]string{}
		if err := in.Decode(&labels); err != nil {
			return unexpected(err)
		}
		mn := storage.MetricName{MetricGroup: []byte(labels["__name__"])}
		delete(labels, "__name__")
		for _, key := range slices.Sorted(maps.Keys(labels)) {
			mn.AddTag(key, labels[key])
		}
		name = mn.Marshal(name[:0])
		if err := f(name); err != nil {
			return err
		}
	}
	_, err := in.Token()
	return unexpected(err)
}

// readNames calls f with the engine's name of every block of a native export.
func (r *Remote) readNames(body io.Reader, f func(name []byte) error) error {
	in := bufio.NewReaderSize(body, 256<<10)
	if _, err := io.CopyN(io.Discard, in, 16); err != nil {
		return unexpected(err)
	}
	var name, last, data []byte
	for {
		var err error
		if name, err = frame(in, name); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if data, err = frame(in, data); err != nil {
			return unexpected(err)
		}
		if last != nil && string(last) == string(name) {
			continue
		}
		last = append(last[:0], name...)
		if err := f(name); err != nil {
			return err
		}
	}
}
