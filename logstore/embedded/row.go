package embedded

import (
	"bytes"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"

	"selvedge.dev/logstore"
)

// The columns of a row. The engine has one more, _time, and knows no empty
// values: a column that is not there is "". A row has them in the order of their
// names, which the engine need not sort then; those that are tags of streams are
// the first. Labels that are promoted are among those, out of their order.
const (
	columnForm     = "F"   // what the row says of the entry, see below
	columnLog      = "Log" // the log
	columnType     = "Of"  // the resource's type
	columnPromoted = "P"   // which labels are tags, see promoted.go
	columnDelay    = "ad"  // when it was received, in nanoseconds from its time on
	columnBucket   = "b"   // the bucket
	columnBytes    = "d"   // the data of a payload of bytes
	columnInsertID = "id"  // the insert id
	columnKind     = "k"   // the kind of the payload
	columnMessage  = "msg" // textPayload
	columnOrigin   = "o"   // the origin
	columnSeq      = "q"   // the number in it
	columnOpaque   = "raw" // the entry's record, if the other columns cannot say all of it
	columnSeverity = "sev" // the severity, if it is not 0
	columnSpan     = "sp"  // the span
	columnShape    = "t"   // the shape of the payload, see shape.go
	columnTrace    = "tr"  // the trace
	columnSampled  = "ts"  // "1" if the trace was sampled
	columnTypeURL  = "tu"  // the type of a proto payload
	columnWire     = "w"   // the encoding of a proto payload
	columnExtras   = "xt"  // the shape of Extra
	columnSize     = "z"   // about how many bytes the entry takes
	columnFold     = "zw"  // words with capital letters, in small ones; see fold.go

	resourcePrefix = "R." // labels of the resource
	jsonPrefix     = "j." // values in a JSON payload
	labelPrefix    = "l." // labels
	protoPrefix    = "p." // values in a proto payload
	extraPrefix    = "x." // values in Extra

	// arraySuffix marks a column that has a whole array, as JSON.
	arraySuffix = "[]"
)

// A form is what the columns of a row say of its entry. It is a tag of the row's
// stream, so the rows of a form are found without looking at others.
const (
	// formASCII is of a row whose texts are all of ASCII, of which the engine
	// and logstore.Match have the same idea of words.
	formASCII = "a"
	// formText is of one with other texts.
	formText = "t"
	// formRecord is of one that is kept as a record.
	formRecord = "r"
	// formKeyed follows the first two if the labels of the resource are tags
	// of the stream too.
	formKeyed = "k"
)

// The engine's bounds on a row, which it drops when it is beyond, with room
// for the columns that are not the entry's own.
const (
	maxColumns = 1_900
	maxName    = 120
	maxRow     = 1 << 20
	maxRecord  = 2<<20 - 64<<10
)

// row is a buffer in which an entry becomes a row.
type row struct {
	fields []logstorage.Field
	// shape and extras are the shapes under construction.
	shape, extras []byte
	// name is the name of a column under construction.
	name []byte
	// fold are the folded words so far, by line.
	fold []byte
	// keys are sorted keys of labels.
	keys []string
	// opaque says that the columns do not say all of the entry, wide that its
	// texts are not of ASCII alone.
	opaque, wide bool
	// plain is how many of the first fields are what rows are kept together by at
	// least: the form, the log and the type of the resource. promoted is how many
	// they are with the promoted labels and which these are, if there are any, and
	// keyed with the resource's labels too.
	plain, promoted, keyed int
	// size is about how many bytes the entry takes.
	size int
}

// unused are *row that nobody uses.
var unused = sync.Pool{New: func() any { return new(row) }}

// add adds a column.
func (r *row) add(name, value string) {
	if value == "" {
		return
	}
	r.size += len(value)
	r.fields = append(r.fields, logstorage.Field{Name: name, Value: value})
}

// number adds a column with a number.
func (r *row) number(name string, n int64) {
	start := len(r.name)
	r.name = strconv.AppendInt(r.name, n, 10)
	r.add(name, bytesString(r.name[start:]))
}

// text adds a column that texts are looked for in.
func (r *row) text(name, value string) {
	r.add(name, value)
	r.foldWords(value)
}

// set makes it the row of an entry, some of whose labels are promoted. The row
// refers to the entry's memory.
func (r *row) set(e *logstore.Entry, i *index) error {
	*r = row{fields: r.fields[:0], shape: r.shape[:0], extras: r.extras[:0], name: r.name[:0], fold: r.fold[:0], keys: r.keys[:0]}
	p := &e.Payload
	r.fields = append(r.fields, logstorage.Field{Name: columnForm})
	r.text(columnLog, e.Log)
	r.text(columnType, e.ResourceType)
	r.plain = len(r.fields)
	r.promote(i, e.Labels)
	r.promoted = len(r.fields)
	r.labels(resourcePrefix, e.ResourceLabels, nil)
	r.keyed = len(r.fields)
	r.number(columnDelay, e.Received.UnixNano()-e.Time.UnixNano())
	r.add(columnBucket, e.Bucket)
	if p.Kind == logstore.Bytes {
		r.add(columnBytes, bytesString(p.Data))
		r.opaque = r.opaque || len(p.Wire) > 0
	}
	r.text(columnInsertID, e.InsertID)
	if p.Kind == logstore.JSON {
		r.shape = r.flatten(r.shape, jsonPrefix, p.Data)
	}
	if p.Kind != 0 {
		r.number(columnKind, int64(p.Kind))
	}
	r.labels(labelPrefix, e.Labels, i)
	if p.Kind == logstore.Text {
		r.text(columnMessage, bytesString(p.Data))
	}
	r.add(columnOrigin, e.Origin)
	if p.Kind == logstore.Proto && len(p.Data) > 0 {
		r.shape = r.flatten(r.shape, protoPrefix, p.Data)
	}
	r.add(columnSeq, strconv.FormatUint(e.Seq, 10))
	if e.Severity != 0 {
		r.number(columnSeverity, int64(e.Severity))
	}
	r.text(columnSpan, e.SpanID)
	r.add(columnShape, bytesString(r.shape))
	r.text(columnTrace, e.Trace)
	if e.TraceSampled {
		r.add(columnSampled, "1")
	}
	r.text(columnTypeURL, p.TypeURL)
	if p.Kind == logstore.Proto {
		r.add(columnWire, bytesString(p.Wire))
	}
	if len(e.Extra) > 0 {
		r.extras = r.flatten(r.extras, extraPrefix, e.Extra)
		r.add(columnExtras, bytesString(r.extras))
	}
	return r.finish(e)
}

// finish adds what is known once all else is.
func (r *row) finish(e *logstore.Entry) error {
	if r.opaque || len(r.fields) > maxColumns || r.size > maxRow {
		return r.hide(e)
	}
	r.number(columnSize, int64(roughly(r.size)))
	r.add(columnFold, bytesString(bytes.TrimSpace(r.fold)))
	form := formASCII
	if r.wide {
		form = formText
	}
	r.fields[0].Value = form
	return nil
}

// roughly is a size to the nearest quarter of a power of two: a block has few of
// these, which the engine keeps in next to nothing.
func roughly(size int) int {
	step := max(1, 1<<bits.Len(uint(size))>>3)
	return (size + step/2) / step * step
}

// hide makes it a row that has little but the entry's record, and is looked
// into whatever the question is.
func (r *row) hide(e *logstore.Entry) error {
	record := logstore.AppendRecord(nil, e)
	if len(record) > maxRecord {
		return fmt.Errorf("an entry of %d bytes is above %d", len(record), maxRecord)
	}
	kept := r.fields[:0]
	for _, f := range r.fields {
		switch f.Name {
		case columnForm, columnBucket, columnLog, columnType, columnInsertID, columnDelay, columnSeverity, columnOrigin, columnSeq:
			kept = append(kept, f)
		}
	}
	r.fields, r.promoted, r.keyed = kept, r.plain, r.plain
	r.fields[0].Value = formRecord
	r.number(columnSize, int64(roughly(len(record))))
	r.add(columnOpaque, bytesString(record))
	return nil
}

// labels adds a column for each label, by key, but for those of an index.
func (r *row) labels(prefix string, labels map[string]string, but *index) {
	r.keys = r.keys[:0]
	for k := range labels {
		r.keys = append(r.keys, k)
	}
	slices.Sort(r.keys)
	for _, k := range r.keys {
		if !but.has(k) {
			r.label(prefix, k, labels[k])
		}
	}
}

// label adds the column of a label.
func (r *row) label(prefix, key, value string) {
	if value == "" || !plainName(key) {
		r.opaque = true
		return
	}
	start := len(r.name)
	r.name = append(append(r.name, prefix...), key...)
	r.text(bytesString(r.name[start:]), value)
}

// plainName reports whether a label's key or a key of JSON can be part of the
// name of a column.
func plainName(k string) bool {
	if len(k) > maxName-len(jsonPrefix)-len(arraySuffix) {
		return false
	}
	for i := range len(k) {
		switch b := k[i]; {
		case b == 0, b == '\x1f', b == '*', b == '[', b == '\\':
			return false
		case b >= utf8.RuneSelf:
			return !strings.ContainsAny(k, "\x00\x1f*[\\") && utf8.ValidString(k)
		}
	}
	return true
}

// cells are the columns of a block of rows, by what they are of an entry.
type cells struct {
	columns []logstorage.BlockColumn
	times   []int64
	byName  map[string][]string
	labels  []labelColumn
	parts   map[string][]string
	names   map[string]string
}

// labelColumn is the column of a label.
type labelColumn struct {
	key      string
	resource bool
	values   []string
}

// open makes c the columns of a block. Their values are valid as long as the
// engine says.
func (c *cells) open(block *logstorage.DataBlock) bool {
	c.columns = block.GetColumns(false)
	var ok bool
	if c.times, ok = block.GetTimestamps(c.times[:0]); !ok {
		return false
	}
	if c.byName == nil {
		c.byName, c.parts, c.names = make(map[string][]string), make(map[string][]string), make(map[string]string)
	}
	clear(c.byName)
	clear(c.parts)
	c.labels = c.labels[:0]
	for _, column := range c.columns {
		name := c.intern(column.Name)
		key, isLabel := strings.CutPrefix(name, labelPrefix)
		resource, isResource := strings.CutPrefix(name, resourcePrefix)
		switch {
		case isLabel:
			c.labels = append(c.labels, labelColumn{key, false, column.Values})
		case isResource:
			c.labels = append(c.labels, labelColumn{resource, true, column.Values})
		case len(name) >= len(jsonPrefix) && name[1] == '.':
			c.parts[name] = column.Values
		default:
			c.byName[name] = column.Values
		}
	}
	return true
}

// maxNames bounds the names that are kept, of all that one query meets.
const maxNames = 10_000

// intern keeps the name of a column beyond the block.
func (c *cells) intern(name string) string {
	kept, ok := c.names[name]
	if !ok {
		if len(c.names) >= maxNames {
			clear(c.names)
		}
		kept = strings.Clone(name)
		c.names[kept] = kept
	}
	return kept
}

// at returns the value of a column in row i.
func (c *cells) at(name string, i int) string {
	if values := c.byName[name]; values != nil {
		return values[i]
	}
	return ""
}

// entry makes an entry of row i, with memory of its own.
func (c *cells) entry(project string, i int) (logstore.Entry, error) {
	if raw := c.at(columnOpaque, i); raw != "" {
		e, err := logstore.ParseRecord([]byte(raw))
		if err != nil {
			return e, err
		}
		return e, nil
	}
	e := logstore.Entry{
		Project: project, Bucket: strings.Clone(c.at(columnBucket, i)), Log: strings.Clone(c.at(columnLog, i)),
		Time: utc(c.times[i]), Received: utc(c.times[i] + number(c.at(columnDelay, i))),
		InsertID: strings.Clone(c.at(columnInsertID, i)), Severity: logstore.Severity(number(c.at(columnSeverity, i))),
		ResourceType: strings.Clone(c.at(columnType, i)), Trace: strings.Clone(c.at(columnTrace, i)),
		SpanID: strings.Clone(c.at(columnSpan, i)), TraceSampled: c.at(columnSampled, i) != "",
		Origin: strings.Clone(c.at(columnOrigin, i)), Seq: sequence(c.at(columnSeq, i)),
	}
	for _, l := range c.labels {
		if l.values[i] == "" {
			continue
		}
		to := &e.Labels
		if l.resource {
			to = &e.ResourceLabels
		}
		if *to == nil {
			*to = make(map[string]string)
		}
		(*to)[l.key] = strings.Clone(l.values[i])
	}
	var err error
	if shape := c.at(columnExtras, i); shape != "" {
		if e.Extra, err = c.fill(shape, extraPrefix, i); err != nil {
			return e, err
		}
	}
	e.Payload, err = c.payload(i)
	return e, err
}

// payload makes the payload of row i.
func (c *cells) payload(i int) (p logstore.Payload, err error) {
	p.Kind = logstore.Kind(number(c.at(columnKind, i)))
	p.TypeURL = strings.Clone(c.at(columnTypeURL, i))
	shape := c.at(columnShape, i)
	switch {
	case p.Kind == logstore.Text:
		p.Data = []byte(c.at(columnMessage, i))
	case p.Kind == logstore.JSON:
		p.Data, err = c.fill(shape, jsonPrefix, i)
	case p.Kind == logstore.Proto:
		if shape != "" {
			p.Data, err = c.fill(shape, protoPrefix, i)
		}
		if wire := c.at(columnWire, i); wire != "" {
			p.Wire = []byte(wire)
		}
	case p.Kind != 0:
		p.Data = []byte(c.at(columnBytes, i))
	}
	return p, err
}

// sequence reads the number of an entry in its origin.
func sequence(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// number reads a decimal number of a column of ours; "" is 0.
func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
