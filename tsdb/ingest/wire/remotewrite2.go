package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
)

// Prometheus remote write 2.0, after io/prometheus/write/v2/types.proto:
//
//	Request    4 symbols: string*  5 timeseries: TimeSeries*
//	TimeSeries 1 labels_refs: uint32* packed  2 samples: Sample*  3 histograms*
//	           4 exemplars  5 metadata: Metadata  6 created_timestamp
//	Metadata   1 type: enum  3 help_ref  4 unit_ref
//	Sample     1 value: double  2 timestamp: int64, milliseconds
//
// A label is two references to symbols, name and value. All else is as in
// version 1, but that the metadata comes with the series.

// errReference is a reference to a symbol that the request does not have.
var errReference = errors.New("a reference to a symbol that is not there")

// remoteWrite2 decodes a Request. The symbols stand before the series, as the
// fields are numbered, but need not.
func (r *run) remoteWrite2(ctx context.Context) error {
	symbols := r.batch.symbols[:0]
	err := eachField(r.request.Data, func(f pbField) error {
		if f.number != 4 {
			return nil
		}
		text, err := f.message()
		symbols = append(symbols, text)
		return err
	})
	r.batch.symbols = symbols
	if err != nil {
		return malformed(err)
	}
	for message := r.request.Data; len(message) > 0; {
		var f pbField
		if f, message, err = nextField(message); err != nil {
			return malformed(err)
		}
		if f.number != 5 {
			continue
		}
		data, err := f.message()
		if err != nil {
			return malformed(err)
		}
		if err := r.timeSeries2(ctx, data); err != nil {
			return err
		}
		if err := r.room(); err != nil {
			return err
		}
	}
	return nil
}

// header2 is the metadata of a TimeSeries: a type, and a reference to a unit.
type header2 struct {
	kind, unit int64
}

// timeSeries2 decodes a TimeSeries. Its key is its labels' text, since the
// references mean something else in every request.
func (r *run) timeSeries2(ctx context.Context, data []byte) error {
	head, err := r.head2(data)
	if err != nil {
		return malformed(err)
	}
	key := r.batch.key
	var s *tsdb.Series
	if known := r.project.series[RemoteWrite2][string(key)]; known != nil {
		s = known.series
	}
	reason := ""
	for message := data; len(message) > 0; {
		var f pbField
		if f, message, err = nextField(message); err != nil {
			return malformed(err)
		}
		if f.number == 3 {
			r.batch.Lose(ingest.DistributionNotSupported, 1)
		}
		if f.number != 2 {
			continue
		}
		text, err := f.message()
		if err != nil {
			return malformed(err)
		}
		v, t, err := sample(text)
		if err != nil {
			return malformed(err)
		}
		if !r.admits(v, t) {
			continue
		}
		if s == nil && reason == "" {
			if s, reason, err = r.learn2(ctx, key, head); err != nil {
				return err
			}
		}
		r.add(s, reason, v, t)
	}
	return nil
}

// head2 reads all of a TimeSeries but its points, and makes the key of its
// labels in the batch.
func (r *run) head2(data []byte) (head header2, err error) {
	key := r.batch.key[:0]
	for len(data) > 0 {
		var f pbField
		if f, data, err = nextField(data); err != nil {
			return head, err
		}
		switch f.number {
		case 1:
			if f.kind == protowire.VarintType { // one that is not packed
				key, err = r.appendSymbol(key, f.value)
				break
			}
			for refs := f.data; len(refs) > 0 && err == nil; {
				ref, n := protowire.ConsumeVarint(refs)
				if n < 0 {
					return head, protowire.ParseError(n)
				}
				refs = refs[n:]
				key, err = r.appendSymbol(key, ref)
			}
		case 5:
			err = eachField(f.data, func(f pbField) (err error) {
				switch f.number {
				case 1:
					head.kind, err = f.varint()
				case 4:
					head.unit, err = f.varint()
				}
				return err
			})
		}
		if err != nil {
			return head, err
		}
	}
	r.batch.key = key
	if uint64(head.unit) >= uint64(len(r.batch.symbols)) && head.unit != 0 {
		return head, errReference
	}
	return head, nil
}

// appendSymbol appends a symbol behind its length. A key grows to little more
// than what a series may have, whatever the references repeat.
func (r *run) appendSymbol(key []byte, ref uint64) ([]byte, error) {
	if ref >= uint64(len(r.batch.symbols)) {
		return key, fmt.Errorf("%w: %d of %d", errReference, ref, len(r.batch.symbols))
	}
	if len(key) > maxKey {
		return key, nil
	}
	key = binary.AppendUvarint(key, uint64(len(r.batch.symbols[ref])))
	return append(key, r.batch.symbols[ref]...), nil
}

// learn2 makes the series of a key.
func (r *run) learn2(ctx context.Context, key []byte, head header2) (*tsdb.Series, string, error) {
	if len(key) > maxKey {
		return nil, ingest.InvalidLabel, nil
	}
	labels, metric := r.batch.labels[:0], ""
	for rest := key; len(rest) > 0; {
		var pair [2]string
		for i := range pair {
			n, size := binary.Uvarint(rest)
			if size <= 0 {
				return nil, "", malformed(errors.New("a label without a value"))
			}
			pair[i] = string(rest[size : size+int(n)])
			rest = rest[size+int(n):]
		}
		if pair[0] == labelName {
			metric = pair[1]
		} else if len(labels) <= 2*ingest.MaxLabels {
			labels = append(labels, tsdb.Label{Name: pair[0], Value: pair[1]})
		}
	}
	r.batch.labels = labels
	unit := ""
	if head.unit != 0 {
		unit = string(r.batch.symbols[head.unit])
	}
	kind, unit := kind2(metric, familyOf(head.kind, unit))
	if kind == "" {
		kind, _ = r.project.kindOf(metric, labels)
	}
	return r.learn(ctx, key, declaration{metric: metric, labels: labels, kind: kind, unit: unit, valueType: tsdb.Double})
}

// kind2 is the kind and unit of a metric with this name in the family.
func kind2(metric string, f family) (tsdb.MetricKind, string) {
	for _, suffix := range []string{"_count", "_sum", "_bucket"} {
		if f.parts && len(metric) > len(suffix) && metric[len(metric)-len(suffix):] == suffix {
			return f.of(suffix)
		}
	}
	return f.of("")
}
