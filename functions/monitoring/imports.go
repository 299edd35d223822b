package monitoring

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/backfill"
	"selvedge.dev/tsdb/ingest"
	"selvedge.dev/tsdb/ingest/wire"
)

// The bounds of imports.
const (
	// maxImports is how many may run at once: each keeps a processor busy.
	maxImports = 4
	// importBatch is how many points are appended at once, importBytes how much
	// of lines is read for it.
	importBatch = 8192
	importBytes = 512 << 10
	// tellEvery is how often an import tells how far it is; what it tells of is
	// durable.
	tellEvery = 2 * time.Second
	// importIdle bounds how long a client may send, or take, nothing.
	importIdle = 2 * time.Minute
	// maxExamples bounds the refused rows that are told one by one.
	maxExamples = 20
)

// importProgress is a line of the answer to an import. The last line is Done or
// has an Error.
type importProgress struct {
	// Rows were read; of Influx line protocol they are points. Accepted are
	// those that are durable, whether or not they were there before.
	Rows     int `json:"rows"`
	Accepted int `json:"accepted"`
	// Refused counts the others by reason.
	Refused map[string]int `json:"refused,omitempty"`
	// Bytes were read of the body.
	Bytes int64 `json:"bytes"`
	Done  bool  `json:"done,omitempty"`
	// Examples are the first rows that were refused.
	Examples []refusedRow `json:"examples,omitempty"`
	// Error is why the import ended early.
	Error json.RawMessage `json:"error,omitempty"`
}

// refusedRow is a row that was refused.
type refusedRow struct {
	Line    int    `json:"line,omitempty"`
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
}

// imports counts those that run.
type imports struct{ running atomic.Int64 }

// restImport answers POST timeSeries:import: it reads points from the body, of
// any size, and tells in lines of JSON, as it goes, what became of them. The
// parameter format says what the body is: csv or ndjson, as timeSeries:export
// writes them, or influx, lines of which precision says the unit of times.
// Points may be of any age that is kept. The same point twice counts once, so
// that an import that was cut off can begin anew. fromProject names the project
// whose rows these are if it is another one.
func (s *Service) restImport(w http.ResponseWriter, r *http.Request, project string) error {
	p, err := parseParams(r, "format", "precision", "fromProject")
	if err != nil {
		return err
	}
	if _, err := resource.Project.Format(project); err != nil {
		return err
	}
	if s.imports.running.Add(1) > maxImports {
		s.imports.running.Add(-1)
		return &fault.Error{Op: "monitoring.import", Kind: fault.Exhausted, Reason: "IMPORTS_BUSY", Err: fmt.Errorf("%d imports are running", maxImports)}
	}
	defer s.imports.running.Add(-1)
	if r.ProtoMajor == 1 {
		// What is left of a body that was not read whole must not be taken for
		// the next request.
		w.Header().Set("Connection", "close")
	}
	im := &importer{intake: s.intake(project), from: p.text("fromProject"), out: http.NewResponseController(w), w: w, told: time.Now()}
	im.progress.Refused = map[string]int{}
	body, err := im.body(r)
	if err != nil {
		return err
	}
	var next func(context.Context) error
	if format := p.text("format"); format == "influx" {
		unit, ok := wire.UnitOf(p.text("precision"))
		if !ok {
			return invalid("precision", "it is not ns, us, ms, s, m or h")
		}
		next = im.lines(body, unit)
	} else {
		rows, err := backfill.NewReader(format, body)
		if err != nil {
			return err
		}
		next = im.rows(rows)
	}
	im.run(r.Context(), next)
	return nil
}

// importer is an import under way.
type importer struct {
	*intake

	// from is the project whose rows count as those of this one.
	from string
	// known are the series of rows, by what names them there; key is scratch
	// space. deletions is how many descriptors had been deleted.
	known     map[string]*identified
	key       []byte
	deletions uint64

	w        io.Writer
	out      *http.ResponseController
	begun    bool
	told     time.Time
	appended int
	progress importProgress
}

// body is the unpacked body of a request, of which what is read is counted.
func (im *importer) body(r *http.Request) (io.Reader, error) {
	// The answer begins before the body has ended; HTTP/2 can that anyway.
	_ = im.out.EnableFullDuplex()
	counted := &countedBody{im: im, in: r.Body}
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
		return counted, nil
	case "gzip":
		z, err := gzip.NewReader(counted)
		if err != nil {
			return nil, &fault.Error{Op: "monitoring.import", Kind: fault.Invalid, Reason: "MALFORMED_BODY", Field: "body", Err: err}
		}
		return z, nil
	default:
		return nil, &fault.Error{Op: "monitoring.import", Kind: fault.Unsupported, Field: "Content-Encoding", Err: fmt.Errorf("%.40q is neither identity nor gzip", encoding)}
	}
}

// countedBody counts what is read, and gives a client time as long as it sends.
type countedBody struct {
	im *importer
	in io.Reader
}

// Read implements io.Reader.
func (c *countedBody) Read(p []byte) (int, error) {
	_ = c.im.out.SetReadDeadline(time.Now().Add(importIdle)) // a connection without deadlines needs none
	n, err := c.in.Read(p)
	c.im.progress.Bytes += int64(n)
	return n, err
}

// run takes batches until next says io.EOF.
func (im *importer) run(ctx context.Context, next func(context.Context) error) {
	for {
		err := next(ctx)
		if err == nil || errors.Is(err, io.EOF) {
			if failed := im.store(ctx); failed != nil {
				err = failed
			}
		}
		if ctx.Err() != nil {
			return // nobody hears of it
		}
		switch {
		case errors.Is(err, io.EOF):
			if err = im.tell(ctx, true); err == nil {
				return
			}
		case err == nil && time.Since(im.told) >= tellEvery:
			err = im.tell(ctx, false)
		}
		if err != nil {
			im.fail(ctx, err)
			return
		}
	}
}

// store appends what was read.
func (im *importer) store(ctx context.Context) error {
	kept, err := ingest.Append(ctx, im.Series, im.samples, func(_ tsdb.Sample, reason string) {
		im.refuse(0, reason, "the storage does not keep it")
	})
	if err != nil {
		return err
	}
	im.appended += len(kept)
	im.samples = im.samples[:0]
	return nil
}

// tell makes durable what was appended, and tells how far the import is.
func (im *importer) tell(ctx context.Context, done bool) error {
	if im.appended > im.progress.Accepted {
		if err := im.syncs.sync(ctx, im.Series); err != nil {
			return ingest.Retried(err)
		}
	}
	im.progress.Accepted, im.progress.Done = im.appended, done
	im.told = time.Now()
	return im.write()
}

// write writes the progress.
func (im *importer) write() error {
	text, err := json.Marshal(im.progress)
	if err != nil {
		return fmt.Errorf("write progress: %w", err)
	}
	if w, ok := im.w.(http.ResponseWriter); ok && !im.begun {
		im.begun = true
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.Header().Set("X-Content-Type-Options", "nosniff")
	}
	_ = im.out.SetWriteDeadline(time.Now().Add(importIdle)) // a connection without deadlines needs none
	if _, err := im.w.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("%w: %w", errReader, err)
	}
	_ = im.out.Flush() // an answer that cannot be flushed comes at its end
	return nil
}

// fail ends the import early.
func (im *importer) fail(ctx context.Context, err error) {
	if errors.Is(err, errReader) {
		return
	}
	im.log(ctx, "timeSeries:import", err)
	if err := im.syncs.sync(ctx, im.Series); err == nil {
		im.progress.Accepted = im.appended
	}
	problem, _ := json.Marshal(fault.ProblemOf(err).Error) // it can be written
	im.progress.Error = problem
	_ = im.write() // who does not hear it sees that there was no end
}

// refuse counts a row that is refused.
func (im *importer) refuse(line int, reason, text string) {
	im.progress.Refused[reason]++
	if len(im.progress.Examples) < maxExamples {
		im.progress.Examples = append(im.progress.Examples, refusedRow{line, reason, text})
	}
}

// lines reads Influx line protocol.
func (im *importer) lines(body io.Reader, unit wire.Unit) func(context.Context) error {
	in := bufio.NewReaderSize(body, importBytes)
	decoder := wire.New(im.Descriptors, wire.Options{})
	var batch wire.Batch
	var text []byte
	return func(ctx context.Context) error {
		var err error
		for text = text[:0]; len(text) < importBytes && err == nil; {
			var line []byte
			line, err = in.ReadSlice('\n')
			if errors.Is(err, bufio.ErrBufferFull) {
				for errors.Is(err, bufio.ErrBufferFull) {
					_, err = in.ReadSlice('\n')
				}
				im.progress.Rows++
				im.refuse(0, backfill.InvalidLine, fmt.Sprintf("a line is longer than %d bytes", importBytes))
				continue
			}
			text = append(text, line...)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return cut(err)
		}
		if len(bytes.TrimSpace(text)) > 0 {
			request := &wire.Request{Project: im.project, Format: wire.Influx, Now: tsdb.Millis(time.Now().UnixMilli()), Unit: unit, Data: text}
			if err := decoder.Decode(ctx, request, &batch); err != nil {
				return err
			}
			im.progress.Rows += len(batch.Samples)
			for _, l := range batch.Losses {
				im.progress.Rows += l.Count
				for range l.Count {
					im.refuse(0, l.Reason, "")
				}
			}
			im.samples = append(im.samples[:0], batch.Samples...)
		}
		return err
	}
}

// cut is the error of a body that does not arrive whole.
func cut(err error) error {
	if k := fault.KindOf(err); k != fault.Internal {
		return err
	}
	return &fault.Error{Op: "monitoring.import", Kind: fault.Invalid, Reason: "BODY_CUT", Field: "body", Err: fmt.Errorf("read the body: %w", err)}
}
