package edgeruntime

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"selvedge.dev/sdk/event"
)

// sampler makes readings into events and puts them into the queue.
type sampler struct {
	config Config
	queue  *queue
	// epoch and n make the ids: a random word for every start, so that a disk
	// that was copied, restored or wiped makes no id twice, and a counter that
	// goes on whether or not the queue took the event, since a failed append
	// may still turn out to have been one.
	epoch string
	n     uint64
	// partial counts the readings that lack something the machine has.
	partial uint64
	// size is the size of the last event, in bytes.
	size atomic.Int64
	// sensor and disk are what stands in the way of readings.
	sensor, disk trouble
}

// epochLength is the length of an epoch: 65 random bits, which a batch repeats
// in every id and compression takes out again.
const epochLength = 13

// newSampler is a sampler for the queue.
func newSampler(c Config, q *queue) *sampler {
	return &sampler{
		config: c,
		queue:  q,
		epoch:  strings.ToLower(rand.Text()[:epochLength]),
		sensor: trouble{log: c.Logger, with: "sensor"},
		disk:   trouble{log: c.Logger, with: "queue"},
	}
}

// run takes a reading now and at every interval until ctx is done.
func (s *sampler) run(ctx context.Context) {
	tick := time.NewTicker(s.config.Interval)
	defer tick.Stop()
	for {
		s.sample(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sample takes one reading and puts it into the queue.
func (s *sampler) sample(ctx context.Context) {
	at := s.config.Now()
	r := Reading{}
	err := s.config.Sensor.Read(ctx, r)
	if ctx.Err() != nil {
		return
	}
	if s.sensor.is(err); err != nil {
		s.partial++
	}
	r.Set("agent/partial_readings", float64(s.partial))
	var st Status
	st.Queue, st.Lost = s.queue.state(at)
	st.figures(r)
	text, err := s.event(at, r)
	if err == nil {
		// A stop that comes now must not leave open whether the queue has it.
		_, err = s.queue.journal.Append(context.WithoutCancel(ctx), text)
	}
	if err == nil {
		s.size.Store(int64(len(text)))
		err = s.queue.ledger.save()
	} else {
		s.queue.ledger.unwritten()
	}
	s.disk.is(err)
}

// rate is how many bytes a second the queue gets, 0 before the first reading.
func (s *sampler) rate() float64 {
	return float64(s.size.Load()) / s.config.Interval.Seconds()
}

// event is the event of a reading, in the form that it is queued and sent in.
func (s *sampler) event(at time.Time, r Reading) ([]byte, error) {
	e := event.New()
	e.SetID(s.epoch + "-" + strconv.FormatUint(s.n, 10))
	s.n++
	e.SetSource(event.Source(s.config.Device))
	e.SetType(event.TypeHost)
	e.SetTime(at)
	if err := e.SetData("application/json", r.tree()); err != nil {
		return nil, fmt.Errorf("encode reading: %w", err)
	}
	text, err := e.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	return text, nil
}

// trouble is something that can stand in the way of readings for a long time,
// and is logged when it begins, changes and ends.
type trouble struct {
	log  *slog.Logger
	with string
	text string
}

// is says what the trouble is now; nil is none.
func (t *trouble) is(err error) {
	var text string
	if err != nil {
		text = err.Error()
	}
	if text == t.text {
		return
	}
	t.text = text
	if err != nil {
		t.log.Error("readings are in trouble", slog.String("with", t.with), slog.Any("error", err))
	} else {
		t.log.Info("readings are fine again", slog.String("with", t.with))
	}
}
