package hop

import "time"

// take is the kept connection that was used last, nil if there is none. One that
// the process has closed, or has said something on unasked, is none.
func (t *Transport) take() *conn {
	for {
		t.mu.Lock()
		n := len(t.idle)
		if n == 0 {
			t.mu.Unlock()
			return nil
		}
		c := t.idle[n-1]
		t.idle[n-1] = nil
		t.idle = t.idle[:n-1]
		t.mu.Unlock()
		if c.quiet() {
			c.reused = true
			return c
		}
		c.end()
	}
}

// put keeps a connection for the next request.
func (t *Transport) put(c *conn) {
	c.since = time.Now()
	t.mu.Lock()
	if t.closed || len(t.idle) >= maxIdle {
		t.mu.Unlock()
		c.end()
		return
	}
	t.idle = append(t.idle, c)
	if t.sweeper == nil {
		t.sweeper = time.AfterFunc(idleTime, t.sweep)
	}
	t.mu.Unlock()
}

// sweep ends the connections that nobody has used for too long, and comes again
// while there are others.
func (t *Transport) sweep() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	now, n := time.Now(), 0
	for n < len(t.idle) && now.Sub(t.idle[n].since) >= idleTime {
		t.idle[n].end()
		n++
	}
	t.idle = append([]*conn(nil), t.idle[n:]...)
	if len(t.idle) == 0 {
		t.sweeper = nil
		return
	}
	t.sweeper = time.AfterFunc(idleTime-now.Sub(t.idle[0].since), t.sweep)
}

// CloseIdleConnections ends the kept connections, and has none kept from now on.
func (t *Transport) CloseIdleConnections() {
	t.long.CloseIdleConnections()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, c := range t.idle {
		c.end()
	}
	t.idle = nil
	if t.sweeper != nil {
		t.sweeper.Stop()
	}
}
