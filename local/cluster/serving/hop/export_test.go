package hop

import "time"

// Wire is what would be sent of a request, nil for one of the long way.
func (q *Request) Wire() []byte {
	if q.wire == nil {
		return nil
	}
	return *q.wire
}

// Idle is how many connections are kept.
func (t *Transport) Idle() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.idle)
}

// Age has the kept connections be older, and those end that are too old.
func (t *Transport) Age(by time.Duration) {
	t.mu.Lock()
	for _, c := range t.idle {
		c.since = c.since.Add(-by)
	}
	t.mu.Unlock()
	t.sweep()
}
