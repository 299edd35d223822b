package vm

import (
	"sync"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"

	"selvedge.dev/tsdb"
)

// waiting are rows of small batches, such as the readings of one event, that the
// engine gets together: a call of it costs some ten microseconds whatever it is
// given. All are of one month, as all that it gets at once must be. Nobody sees
// them before the engine has them, which is before anything else that looks.
type waiting struct {
	mu    sync.Mutex
	month tsdb.Millis
	batch batch
}

// smallRows is below how many rows a batch waits for others.
const smallRows = 256

// gather keeps rows of a month, whose names are the caller's. adding is held
// shared.
func (s *Store) gather(rows []storage.MetricRow, month tsdb.Millis) {
	g := &s.waiting
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.month != month {
		s.giveWaiting()
		g.month = month
	}
	for _, row := range rows {
		// When names grows, the earlier names stay where they were.
		start := len(g.batch.names)
		g.batch.names = append(g.batch.names, row.MetricNameRaw...)
		row.MetricNameRaw = g.batch.names[start:]
		g.batch.rows = append(g.batch.rows, row)
	}
	if len(g.batch.rows) >= batchRows {
		s.giveWaiting()
	}
}

// giveWaiting gives the engine what was gathered. waiting.mu is held.
func (s *Store) giveWaiting() {
	b := &s.waiting.batch
	if len(b.rows) > 0 {
		s.engine.AddRows(b.rows, exactBits)
		b.rows, b.names = b.rows[:0], b.names[:0]
	}
}

// settle gives the engine what was gathered. adding is held exclusively, or
// nothing is added any more.
func (s *Store) settle() {
	s.waiting.mu.Lock()
	defer s.waiting.mu.Unlock()
	s.giveWaiting()
}

// flush has the engine turn all that was added into parts, of which searches
// know. adding is held exclusively.
func (s *Store) flush() {
	s.settle()
	s.engine.DebugFlush()
}
