package ingest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"selvedge.dev/sdk/jsonscan"
	"selvedge.dev/tsdb"
)

// Reasons that only SenML packs are refused for.
const (
	// MalformedSenML is JSON that is no SenML pack.
	MalformedSenML = "MALFORMED_SENML"
	// SenMLVersion is a pack of a version that is newer than senMLVersion.
	SenMLVersion = "SENML_VERSION"
	// SenMLMustUnderstand is a field with a name that ends with "_", which
	// asks to be understood (RFC 8428, 4.4).
	SenMLMustUnderstand = "SENML_MUST_UNDERSTAND"
)

// senMLVersion is the version of RFC 8428.
const senMLVersion = 10

// senMLAbsolute is where times begin that count from 1970; smaller ones count
// from now (RFC 8428, 4.5.3).
const senMLAbsolute = 1 << 28

// labelURN is the metric label with the URN of the device that a SenML name
// begins with.
const labelURN = "urn"

// field is a field of a SenML record.
type field uint8

// The fields of SenML records. Those up to fieldVersion are base fields: they
// hold for later records too.
const (
	fieldBaseName field = iota
	fieldBaseTime
	fieldBaseUnit
	fieldBaseValue
	fieldBaseSum
	fieldVersion
	fieldName
	fieldUnit
	fieldValue
	fieldText
	fieldBool
	fieldBinary
	fieldSum
	fieldTime
	fieldUpdate
	numFields
)

// senMLFields are the fields by their names, with the kind of their values.
var senMLFields = map[string]struct {
	field field
	kind  jsonscan.Kind
}{
	"bn": {fieldBaseName, jsonscan.String}, "bt": {fieldBaseTime, jsonscan.Number}, "bu": {fieldBaseUnit, jsonscan.String},
	"bv": {fieldBaseValue, jsonscan.Number}, "bs": {fieldBaseSum, jsonscan.Number}, "bver": {fieldVersion, jsonscan.Number},
	"n": {fieldName, jsonscan.String}, "u": {fieldUnit, jsonscan.String}, "v": {fieldValue, jsonscan.Number},
	"vs": {fieldText, jsonscan.String}, "vb": {fieldBool, jsonscan.Bool}, "vd": {fieldBinary, jsonscan.String},
	"s": {fieldSum, jsonscan.Number}, "t": {fieldTime, jsonscan.Number}, "ut": {fieldUpdate, jsonscan.Number},
}

// record is a SenML record; null is absent.
type record [numFields]scalar

// has reports whether the record has the field f.
func (r *record) has(f field) bool { return r[f].Kind != jsonscan.Null }

// float is the number in the field f, 0 when it is absent.
func (r *record) float(f field) float64 {
	if !r.has(f) {
		return 0
	}
	return parseFloat(r[f].Raw)
}

// count is how many of the fields from first to last the record has.
func (r *record) count(first, last field) int {
	count := 0
	for f := first; f <= last; f++ {
		if r.has(f) {
			count++
		}
	}
	return count
}

// measurement is a point of a resolved record.
type measurement struct {
	// base and name make the name; unit may be empty.
	base, name, unit []byte
	time             tsdb.Millis
	value            value
	// sum says that value is the record's integral over time.
	sum bool
}

// senML reads a SenML pack. Records are resolved (RFC 8428, 4.6), relative
// times against the event's time. A number or boolean is a point; a text (vs)
// or binary (vd) value is none. The integral of a record (s) is a point of
// the CUMULATIVE metric NAME/sum in UNIT.s, so that its growth can be aligned.
//
// The metric type is the event type, a slash and the name. When the name
// begins with the URN of a device, that part becomes the metric label "urn"
// instead, since the metric of a thousand devices must be one metric. A name
// that is nothing but a device is told by the unit, as in the RFC's example
// of humidity and position. With the event type T:
//
//	name                                    unit  metric            urn
//	urn:dev:ow:10e2073a01080063:voltage     V     T/voltage         urn:dev:ow:10e2073a01080063
//	urn:dev:ow:10e2073a01080063/rack/0/t    Cel   T/rack/0/t        urn:dev:ow:10e2073a01080063
//	urn:dev:ow:10e2073a01080063             %RH   T/%RH             urn:dev:ow:10e2073a01080063
//	urn:dev:ow:10e2073a01080063                   T/value           urn:dev:ow:10e2073a01080063
//	kitchen/temperature                     Cel   T/kitchen/temperature
func (r *run) senML(ctx context.Context) error {
	if err := r.parsePack(); err != nil {
		return err
	}
	for i := range r.batch.pack {
		m := &r.batch.pack[i]
		if !r.admits(m.time, m.value) {
			continue
		}
		k := r.shape.known[string(m.key(r.batch))]
		if k == nil {
			var err error
			if k, err = r.learn(ctx, string(r.batch.key), m.declaration(r)); err != nil {
				return err
			}
		}
		r.put(k, m.time, m.value)
	}
	return nil
}

// parsePack makes the records of the event's data into measurements.
func (r *run) parsePack() error {
	in := jsonscan.New(r.event.Data)
	var base record
	err := in.Array(func() error {
		var rec record
		if err := in.Object(func(name []byte) error { return rec.parse(&in, name) }); err != nil {
			return err
		}
		for f := fieldBaseName; f <= fieldVersion; f++ {
			if rec.has(f) {
				base[f] = rec[f]
			}
		}
		return r.resolve(&base, &rec)
	})
	if err == nil {
		err = in.End()
	}
	if err != nil {
		return malformed(MalformedSenML, err)
	}
	return nil
}

// parse reads the field with the given name.
func (r *record) parse(in *jsonscan.Scanner, name []byte) error {
	want, known := senMLFields[string(name)]
	if !known {
		if bytes.HasSuffix(name, []byte("_")) {
			return invalid(SenMLMustUnderstand, fmt.Errorf("the field %q is not understood", name))
		}
		return in.Skip()
	}
	if c := in.Peek(); c == '{' || c == '[' {
		return invalid(MalformedSenML, fmt.Errorf("the field %q is no plain value", name))
	}
	v, err := in.Scalar()
	if err != nil {
		return err
	}
	if v.Kind != jsonscan.Null && v.Kind != want.kind {
		return invalid(MalformedSenML, fmt.Errorf("the field %q has a value of the wrong type", name))
	}
	r[want.field] = scalar(v)
	return nil
}

// resolve adds the measurements of a record, with the base fields that hold
// for it. A record of base fields alone is there for those that follow.
func (r *run) resolve(base, rec *record) error {
	values := rec.count(fieldValue, fieldBinary)
	switch {
	case base.float(fieldVersion) > senMLVersion:
		return invalid(SenMLVersion, fmt.Errorf("version %s is newer than %d", base[fieldVersion].Raw, senMLVersion))
	case rec.count(fieldName, fieldUpdate) == 0:
		return nil
	case values > 1:
		return invalid(MalformedSenML, errors.New("a record has more than one value"))
	}
	m := measurement{base: base[fieldBaseName].text(), name: rec[fieldName].text(), unit: base[fieldBaseUnit].text()}
	if rec.has(fieldUnit) {
		m.unit = rec[fieldUnit].text()
	}
	seconds := base.float(fieldBaseTime) + rec.float(fieldTime)
	if m.time = millisOf(seconds); seconds < senMLAbsolute {
		m.time += r.event.Time
	}
	add := func(v value, sum bool) {
		m.value, m.sum = v, sum
		r.batch.pack = append(r.batch.pack, m)
	}
	// What a record leaves out of a value and its base is zero, but a record
	// with neither has no value, and a base is no sum of texts.
	numeric := rec.has(fieldValue) || values == 0 && !rec.has(fieldSum) && base.has(fieldBaseValue)
	summed := rec.has(fieldSum) || numeric && base.has(fieldBaseSum)
	if numeric {
		add(value{number: base.float(fieldBaseValue) + rec.float(fieldValue)}, false)
	}
	if rec.has(fieldBool) {
		add(rec[fieldBool].value(), false)
	}
	if summed {
		add(value{number: base.float(fieldBaseSum) + rec.float(fieldSum)}, true)
	}
	if values == 0 && !numeric && !summed {
		r.batch.lose(NoValue, 1)
	}
	return nil
}

// key is what names the series of m within the events of its device; it is
// valid until b's next key.
func (m *measurement) key(b *Batch) []byte {
	key := append(b.key[:0], 0)
	if m.sum {
		key[0] = 1
	}
	for _, part := range [][]byte{m.base, m.name, m.unit} {
		key = append(binary.AppendUvarint(key, uint64(len(part))), part...)
	}
	b.key = key
	return key
}

// declaration is what m says of its series.
func (m *measurement) declaration(r *run) declaration {
	unit := string(m.unit)
	d := declaration{resource: resourceDevice, resourceLabels: r.shape.resource, unit: unit, valueType: m.value.valueType()}
	name := string(m.base) + string(m.name)
	if !validSenMLName(name) {
		return d // which has no metric, and is refused for that
	}
	urn, rest := splitName(string(m.base), name)
	if urn != "" {
		d.metricLabels = tsdb.Labels{{Name: labelURN, Value: urn}}
	}
	switch {
	case rest != "":
	case unit != "":
		rest = unit
	default:
		rest = "value"
	}
	d.metric = r.event.Type + "/" + rest
	if m.sum {
		d.metric += "/sum"
		d.kind = tsdb.Cumulative
		if unit != "" {
			d.unit = unit + ".s"
		}
	}
	return d
}
