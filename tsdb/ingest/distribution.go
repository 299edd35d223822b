package ingest

import (
	"strconv"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/jsonscan"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
)

// ExemplarNotKept is the reason under which exemplars are counted that a point was
// written without: an older one of a bucket, one too many, or an attachment of a
// type that is not known. The point is no loss.
const ExemplarNotKept = "EXEMPLAR_NOT_KEPT"

// distribution reads a google.api.Distribution, which is that of the point. Why
// it can be none is noted there.
func (p *parser) distribution(pt *point) error {
	d := &tsdb.Distribution{}
	var exemplars []tsdb.Exemplar
	err := p.message([]byte("distributionValue"), func(name []byte) error {
		switch string(name) {
		case "count":
			return p.integer(name, &d.Count)
		case "mean":
			return p.number(name, &d.Mean)
		case "sumOfSquaredDeviation", "sum_of_squared_deviation":
			return p.number(name, &d.SumOfSquaredDeviation)
		case "range":
			if p.Peek() == '{' {
				d.Range = &tsdb.Range{}
			}
			return p.message(name, func(name []byte) error {
				switch string(name) {
				case "min":
					return p.number(name, &d.Range.Min)
				case "max":
					return p.number(name, &d.Range.Max)
				}
				return p.Skip()
			})
		case "bucketOptions", "bucket_options":
			return p.message(name, func(name []byte) error { return p.buckets(name, &d.Buckets) })
		case "bucketCounts", "bucket_counts":
			return p.list(name, func() error {
				d.Counts = append(d.Counts, 0)
				return p.integer(name, &d.Counts[len(d.Counts)-1])
			})
		case "exemplars":
			return p.list(name, func() error {
				exemplars = append(exemplars, tsdb.Exemplar{})
				return p.exemplar(&exemplars[len(exemplars)-1])
			})
		}
		return p.Skip()
	})
	if err != nil {
		return err
	}
	pt.refused = ""
	if err := distribution.Validate(d); err != nil {
		pt.refused = fault.ReasonOf(err)
		return nil
	}
	pt.lost = distribution.KeepExemplars(d, exemplars)
	pt.distribution = d
	return nil
}

// exemplar reads an exemplar. What is attached to it that is of no known type is
// passed over.
func (p *parser) exemplar(e *tsdb.Exemplar) error {
	return p.message([]byte("exemplars"), func(name []byte) error {
		switch string(name) {
		case "value":
			return p.number(name, &e.Value)
		case "timestamp":
			var text string
			if err := p.string(name, &text); err != nil || text == "" {
				return err
			}
			var ok bool
			if e.Time, ok = rfc3339([]byte(text)); !ok {
				return wrongType(name)
			}
			return nil
		case "attachments":
			return p.list(name, func() error { return p.attachment(e) })
		}
		return p.Skip()
	})
}

// attachment reads a google.protobuf.Any of an exemplar.
func (p *parser) attachment(e *tsdb.Exemplar) error {
	var typ, span, text string
	labels := map[string]string{}
	err := p.message([]byte("attachments"), func(name []byte) error {
		switch string(name) {
		case "@type":
			return p.string(name, &typ)
		case "spanName", "span_name":
			return p.string(name, &span)
		case "value":
			if c := p.Peek(); c != '"' { // of a type that is not known
				return p.Skip()
			}
			return p.string(name, &text)
		case "label":
			return p.message(name, func(label []byte) error {
				var v string
				key := string(label)
				err := p.string(label, &v)
				labels[key] = v
				return err
			})
		}
		return p.Skip()
	})
	switch typ {
	case distribution.SpanType:
		e.Span = span
	case distribution.TextType:
		e.Text = text
	case distribution.DroppedType:
		e.Dropped = tsdb.LabelsOf(labels)
	}
	return err
}

// buckets reads one of the bucket options.
func (p *parser) buckets(option []byte, b *tsdb.Buckets) error {
	var kind tsdb.BucketKind
	switch string(option) {
	case "linearBuckets", "linear_buckets":
		kind = tsdb.LinearBuckets
	case "exponentialBuckets", "exponential_buckets":
		kind = tsdb.ExponentialBuckets
	case "explicitBuckets", "explicit_buckets":
		kind = tsdb.ExplicitBuckets
	default:
		return p.Skip()
	}
	if p.Peek() == '{' {
		*b = tsdb.Buckets{Kind: kind}
	}
	return p.message(option, func(name []byte) error {
		switch string(name) {
		case "numFiniteBuckets", "num_finite_buckets":
			n := int64(0)
			err := p.integer(name, &n)
			b.Finite = int(min(max(n, -1), distribution.MaxBuckets+1)) // refused there
			return err
		case "width":
			return p.number(name, &b.Width)
		case "offset":
			return p.number(name, &b.Offset)
		case "growthFactor", "growth_factor":
			return p.number(name, &b.Growth)
		case "scale":
			return p.number(name, &b.Scale)
		case "bounds":
			return p.list(name, func() error {
				b.Bounds = append(b.Bounds, 0)
				return p.number(name, &b.Bounds[len(b.Bounds)-1])
			})
		}
		return p.Skip()
	})
}

// integer reads an int64, or null.
func (p *parser) integer(field []byte, into *int64) error {
	v, err := p.plain(field)
	if err != nil || v.Kind == jsonscan.Null {
		return err
	}
	n, ok := v.int64()
	if !ok {
		return wrongType(field)
	}
	*into = int64(n.number)
	raw, _ := v.jsonNumber()
	if exact, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		*into = exact
	}
	return nil
}

// number reads a double, or null.
func (p *parser) number(field []byte, into *float64) error {
	v, err := p.plain(field)
	if err != nil || v.Kind == jsonscan.Null {
		return err
	}
	n, ok := v.double()
	if !ok {
		return wrongType(field)
	}
	*into = n.number
	return nil
}

// valueType is the type of a metric whose first value is that of p.
func (p *point) valueType() tsdb.ValueType {
	if p.distribution != nil {
		return tsdb.Distributed
	}
	return p.value.valueType()
}

// putDistribution adds an admitted point of k that is a distribution.
func (r *run) putDistribution(k *known, t tsdb.Millis, p *point) {
	switch {
	case k.refused != "":
		r.batch.lose(k.refused, 1)
	case k.series.ValueType != tsdb.Distributed:
		r.batch.lose(TypeConflict, 1)
	default:
		r.batch.lose(ExemplarNotKept, p.lost)
		r.batch.Samples = append(r.batch.Samples, tsdb.Sample{Series: &k.series, Time: t, Distribution: p.distribution})
	}
}
