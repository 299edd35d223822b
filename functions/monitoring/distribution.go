package monitoring

import (
	distributionpb "google.golang.org/genproto/googleapis/api/distribution"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/query"
)

// distributionOf reads a distribution.
func distributionOf(d *distributionpb.Distribution) (value, *why) {
	out := &tsdb.Distribution{
		Count: d.GetCount(), Mean: d.GetMean(), SumOfSquaredDeviation: d.GetSumOfSquaredDeviation(), Counts: d.GetBucketCounts(),
	}
	if r := d.GetRange(); r != nil {
		out.Range = &tsdb.Range{Min: r.GetMin(), Max: r.GetMax()}
	}
	switch b := d.GetBucketOptions().GetOptions().(type) {
	case *distributionpb.Distribution_BucketOptions_LinearBuckets:
		l := b.LinearBuckets
		out.Buckets = tsdb.Buckets{Kind: tsdb.LinearBuckets, Finite: int(l.GetNumFiniteBuckets()), Width: l.GetWidth(), Offset: l.GetOffset()}
	case *distributionpb.Distribution_BucketOptions_ExponentialBuckets:
		e := b.ExponentialBuckets
		out.Buckets = tsdb.Buckets{Kind: tsdb.ExponentialBuckets, Finite: int(e.GetNumFiniteBuckets()), Growth: e.GetGrowthFactor(), Scale: e.GetScale()}
	case *distributionpb.Distribution_BucketOptions_ExplicitBuckets:
		out.Buckets = tsdb.Buckets{Kind: tsdb.ExplicitBuckets, Bounds: b.ExplicitBuckets.GetBounds()}
	}
	if err := distribution.Validate(out); err != nil {
		return value{}, refuse(fault.ReasonOf(err), "%s", fault.ProblemOf(err).Error.Message)
	}
	lost := exemplarsOf(out, d.GetExemplars())
	return value{typ: tsdb.Distributed, distribution: out, lost: lost}, nil
}

// distributionAs is a distribution as Google has it. Google's has no dynamic
// buckets; those are left out, and what remains is true.
func distributionAs(d *tsdb.Distribution) *distributionpb.Distribution {
	out := &distributionpb.Distribution{
		Count: d.Count, Mean: d.Mean, SumOfSquaredDeviation: d.SumOfSquaredDeviation, BucketCounts: d.Counts,
		Exemplars: exemplarsAs(d.Exemplars),
	}
	if r := d.Range; r != nil {
		out.Range = &distributionpb.Distribution_Range{Min: r.Min, Max: r.Max}
	}
	options := &distributionpb.Distribution_BucketOptions{}
	switch b := &d.Buckets; b.Kind {
	case tsdb.LinearBuckets:
		options.Options = &distributionpb.Distribution_BucketOptions_LinearBuckets{LinearBuckets: &distributionpb.Distribution_BucketOptions_Linear{
			NumFiniteBuckets: int32(b.Finite), Width: b.Width, Offset: b.Offset,
		}}
	case tsdb.ExponentialBuckets:
		options.Options = &distributionpb.Distribution_BucketOptions_ExponentialBuckets{ExponentialBuckets: &distributionpb.Distribution_BucketOptions_Exponential{
			NumFiniteBuckets: int32(b.Finite), GrowthFactor: b.Growth, Scale: b.Scale,
		}}
	case tsdb.ExplicitBuckets:
		options.Options = &distributionpb.Distribution_BucketOptions_ExplicitBuckets{ExplicitBuckets: &distributionpb.Distribution_BucketOptions_Explicit{
			Bounds: b.Bounds,
		}}
	default:
		out.BucketCounts = nil
		return out
	}
	out.BucketOptions = options
	return out
}

// distributions appends the points of a series of distributions.
func (e *encoder) distributions(r query.Result) {
	open := `,"points":[`
	for i := r.Points.Len() - 1; i >= 0; i-- {
		e.raw(open)
		open = ","
		e.buf = e.interval(e.buf, r, r.Points.Times[i])
		e.raw(`"distributionValue":`)
		e.buf = append(distribution.AppendJSON(e.buf, r.Points.Distributions[i]), "}}"...)
		if e.w != nil && len(e.buf) > chunk && e.flush() != nil {
			break
		}
	}
	if open == "," {
		e.raw("]")
	}
}
