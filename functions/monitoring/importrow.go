package monitoring

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strconv"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/genproto/googleapis/api/distribution"
	metricpb "google.golang.org/genproto/googleapis/api/metric"
	monitoredrespb "google.golang.org/genproto/googleapis/api/monitoredres"
	"google.golang.org/protobuf/encoding/protojson"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/backfill"
	dist "selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/ingest"
)

// maxIdentified bounds the series that an import remembers: some 50 MB.
const maxIdentified = 100_000

// identified is a series of rows, or why there can be none.
type identified struct {
	series  *tsdb.Series
	refused *why
}

// rows reads rows of points.
func (im *importer) rows(in backfill.Reader) func(context.Context) error {
	var row backfill.Row
	return func(ctx context.Context) error {
		im.forget()
		for len(im.samples) < importBatch {
			err := in.Next(&row)
			switch {
			case errors.Is(err, io.EOF):
				return io.EOF
			case fault.ReasonOf(err) == backfill.InvalidLine:
				im.progress.Rows++
				im.refuse(row.Line, backfill.InvalidLine, fault.ProblemOf(err).Error.Message)
				continue
			case err != nil:
				return cut(err)
			}
			im.progress.Rows++
			w, err := im.row(ctx, &row)
			if err != nil {
				return err
			}
			if w != nil {
				im.refuse(row.Line, w.reason, w.text)
			}
		}
		return nil
	}
}

// forget has the series be looked up anew when they are many, or when a
// descriptor was deleted.
func (im *importer) forget() {
	deletions := im.deletions
	if d, ok := im.Descriptors.(ingest.Deleter); ok {
		deletions = d.Deletions(im.project)
	}
	if im.known == nil || len(im.known) > maxIdentified || deletions != im.deletions {
		im.known, im.deletions = map[string]*identified{}, deletions
	}
}

// row takes a row, or says why not. An error ends the import.
func (im *importer) row(ctx context.Context, row *backfill.Row) (*why, error) {
	v, w := rowValue(row)
	switch {
	case w != nil:
		return w, nil
	case row.End > im.latest:
		return refuse(ingest.TooFarInFuture, "the end time is too far in the future"), nil
	case row.End < im.earliest:
		return refuse(ingest.TooOld, "the end time is before all that is kept"), nil
	case row.Start > row.End:
		return refuse(ingest.InvalidInterval, "the interval ends before it starts"), nil
	}
	id, err := im.identify(ctx, row, v)
	if err != nil || id.refused != nil {
		return id.refused, err
	}
	if w := v.fits(id.series.ValueType); w != nil {
		return w, nil
	}
	sample := tsdb.Sample{Series: id.series, Time: row.End, Value: v.number, Distribution: v.distribution}
	if reason := im.check(sample); reason != "" {
		return refuse(reason, "the storage does not keep it"), nil
	}
	if v.lost > 0 {
		function.Drop(ctx, ExemplarNotKept, v.lost)
	}
	im.samples = append(im.samples, sample)
	return nil, nil
}

// identify finds the series of a row, whose value is v.
func (im *importer) identify(ctx context.Context, row *backfill.Row, v value) (*identified, error) {
	key := im.key[:0]
	for _, part := range [...]string{row.Metric, row.Resource, row.Kind, row.ValueType, row.Unit} {
		key = append(append(key, part...), 0)
	}
	key = append(append(append(key, row.MetricLabels...), 0), row.ResourceLabels...)
	im.key = key
	if id := im.known[string(key)]; id != nil {
		return id, nil
	}
	id := &identified{}
	ts, w := im.timeSeries(row)
	var err error
	if w == nil {
		if id.series, w, err = im.describe(ctx, ts, v); err != nil {
			return id, err
		}
	}
	id.refused = w
	im.known[string(key)] = id
	return id, nil
}

// timeSeries is the series of a row as the API writes it.
func (im *importer) timeSeries(row *backfill.Row) (*monitoringpb.TimeSeries, *why) {
	ts := &monitoringpb.TimeSeries{
		Metric: &metricpb.Metric{Type: row.Metric}, Resource: &monitoredrespb.MonitoredResource{Type: row.Resource}, Unit: row.Unit,
	}
	for _, of := range []struct {
		text []byte
		into *map[string]string
	}{{row.MetricLabels, &ts.Metric.Labels}, {row.ResourceLabels, &ts.Resource.Labels}} {
		if len(of.text) == 0 {
			continue
		}
		if err := json.Unmarshal(of.text, of.into); err != nil {
			return nil, refuse(ingest.InvalidLabel, "the labels are no JSON object of strings")
		}
	}
	if im.from != "" && ts.Resource.Labels[projectLabel] == im.from {
		ts.Resource.Labels[projectLabel] = im.project
	}
	if row.Kind != "" {
		kind, ok := metricpb.MetricDescriptor_MetricKind_value[row.Kind]
		if !ok {
			return nil, refuse(ingest.KindConflict, "there is no metric kind %.40q", row.Kind)
		}
		ts.MetricKind = metricpb.MetricDescriptor_MetricKind(kind)
	}
	return ts, nil
}

// rowDistribution reads a distribution, Google's JSON of one or ours with
// dynamic buckets, which Google's has not.
func rowDistribution(text []byte) (value, *why) {
	var d distribution.Distribution
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(text, &d); err != nil {
		return value{}, refuse(ingest.NoValue, "the value is no distribution: %v", err)
	}
	var more struct {
		BucketOptions struct {
			DynamicBuckets *struct {
				Compression float64   `json:"compression"`
				Means       []float64 `json:"means"`
			} `json:"dynamicBuckets"`
		} `json:"bucketOptions"`
	}
	if err := json.Unmarshal(text, &more); err != nil || more.BucketOptions.DynamicBuckets == nil {
		return distributionOf(&d)
	}
	out := &tsdb.Distribution{
		Count: d.GetCount(), Mean: d.GetMean(), SumOfSquaredDeviation: d.GetSumOfSquaredDeviation(), Counts: d.GetBucketCounts(),
		Buckets: tsdb.Buckets{
			Kind: tsdb.DynamicBuckets, Compression: more.BucketOptions.DynamicBuckets.Compression, Bounds: more.BucketOptions.DynamicBuckets.Means,
		},
	}
	if r := d.GetRange(); r != nil {
		out.Range = &tsdb.Range{Min: r.GetMin(), Max: r.GetMax()}
	}
	if err := dist.Validate(out); err != nil {
		return value{}, refuse(fault.ReasonOf(err), "%s", fault.ProblemOf(err).Error.Message)
	}
	return value{typ: tsdb.Distributed, distribution: out}, nil
}

// rowValue reads the value of a row.
func rowValue(row *backfill.Row) (value, *why) {
	switch text := bytes.TrimSpace(row.Value); {
	case len(text) == 0 || string(text) == "null":
		return value{}, refuse(ingest.NoValue, "there is no value")
	case string(text) == "true":
		return value{number: 1, typ: tsdb.Bool}, nil
	case string(text) == "false":
		return value{typ: tsdb.Bool}, nil
	case text[0] == '{':
		return rowDistribution(text)
	default:
		number, err := strconv.ParseFloat(string(bytes.Trim(text, `"`)), 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return value{}, refuse(ingest.NoValue, "%.40q is no value", text)
		}
		if number-number != 0 { // NaN for both infinities and NaN
			return value{}, refuse(ingest.NotFinite, "the value %.40q is not finite", text)
		}
		v := value{number: number, typ: tsdb.Double}
		switch t := tsdb.ValueType(row.ValueType); t {
		case "", tsdb.Double:
		case tsdb.Int64:
			if w := v.fits(tsdb.Int64); w != nil {
				return value{}, refuse(ingest.TypeConflict, "the value %.40q is no INT64", text)
			}
			v.typ = tsdb.Int64
		default:
			return value{}, refuse(ingest.TypeConflict, "the value %.40q is no %.40q", text, row.ValueType)
		}
		return v, nil
	}
}
