package writer

import (
	"context"
	"fmt"
	"slices"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
)

// The bounds of a bulk: of the samples that are stored at once, since above some
// thousands more do not make one cheaper; and of the texts that are kept, in
// number and in bytes.
const (
	bulkSamples = 1 << 13
	bulkTexts   = 1 << 10
	bulkText    = 1 << 8
)

// bulk is what HandleAll needs, and uses again.
type bulk struct {
	batch ingest.Batch
	// samples are those of the pending events, and ends is where those of each
	// end.
	samples []tsdb.Sample
	pending []int
	ends    []int
	// texts are the strings of events, which are mostly the same few.
	texts map[string]string
}

// HandleAll stores the points of events, all in one or a few writes.
func (f *Function) HandleAll(ctx context.Context, events []function.Arrived, outcomes []function.Outcome) {
	f.start()
	b, ok := f.bulks.Get().(*bulk)
	if !ok {
		b = &bulk{texts: map[string]string{}}
	}
	defer f.bulks.Put(b)
	b.reset()
	if len(b.texts) > bulkTexts {
		clear(b.texts)
	}
	for i := range events {
		in, err := f.arrived(ctx, &events[i], b)
		if err == nil {
			if err = f.decoder.Decode(ctx, &in, &b.batch); err != nil {
				err = fmt.Errorf("decode: %w", err)
			}
		}
		if err != nil {
			outcomes[i].Err = err
			continue
		}
		outcomes[i].Losses = slices.Clone(b.batch.Losses)
		b.samples = append(b.samples, b.batch.Samples...)
		b.pending, b.ends = append(b.pending, i), append(b.ends, len(b.samples))
		if len(b.samples) >= bulkSamples {
			f.appendAll(ctx, b, outcomes)
		}
	}
	f.appendAll(ctx, b, outcomes)
}

// reset forgets the samples.
func (b *bulk) reset() { b.samples, b.pending, b.ends = b.samples[:0], b.pending[:0], b.ends[:0] }

// arrived is input of an event that is not decoded.
func (f *Function) arrived(ctx context.Context, e *function.Arrived, b *bulk) (ingest.Event, error) {
	extension := func(name string) string {
		text, _, _ := e.Head.Extension(name)
		return b.text(text)
	}
	in, err := f.prepare(ctx, attributes{
		project: extension(event.Project), device: extension(event.Device), blueprint: extension(event.Blueprint),
		eventType: b.text(e.Head.Type()), mediaType: b.text(e.Head.DataContentType()),
	})
	at := e.Head.Time()
	if at.IsZero() {
		at = e.Time
	}
	in.Time, in.Data = tsdb.Millis(at.UnixMilli()), e.Head.Data()
	return in, err
}

// text is s as a string, made once for many that are equal.
func (b *bulk) text(s []byte) string {
	if text, ok := b.texts[string(s)]; ok {
		return text
	}
	text := string(s)
	if len(text) <= bulkText {
		b.texts[text] = text
	}
	return text
}

// appendAll stores the samples of the bulk, and forgets them. When the store
// refuses them, it is asked event by event: what is wrong with one is not the
// fault of the others.
func (f *Function) appendAll(ctx context.Context, b *bulk, outcomes []function.Outcome) {
	defer b.reset()
	if len(b.samples) == 0 {
		return
	}
	err := f.Series.Append(ctx, b.samples)
	if err == nil {
		return
	}
	start, refused := 0, false
	switch fault.KindOf(err) {
	case fault.Invalid, fault.TooLarge, fault.Exhausted:
		refused = true
	}
	for n, i := range b.pending {
		own := b.samples[start:b.ends[n]:b.ends[n]]
		start = b.ends[n]
		losses, err := []function.Loss(nil), ingest.Retried(err)
		if refused {
			losses, err = f.append(ctx, own)
		}
		if err != nil {
			outcomes[i] = function.Outcome{Err: fmt.Errorf("append: %w", err)}
			continue
		}
		outcomes[i].Losses = append(outcomes[i].Losses, losses...)
	}
}
