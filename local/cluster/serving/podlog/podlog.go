// Package podlog keeps what the instances of functions print: a bounded ring of
// lines per instance, which can be read as `kubectl logs` reads it, also for a
// while after the instance has gone, and a callback that gets every line for
// whoever keeps them longer. Lines that a ring had no room for any more are
// counted. Everything here may be used concurrently.
package podlog

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"selvedge.dev/sdk/fault"
)

// Options configures a store.
type Options struct {
	// Bytes bounds the text of one instance; 256 KiB when 0.
	Bytes int
	// Gone is how many instances that ended are kept of a namespace, and For how long;
	// 50 and an hour when 0.
	Gone int
	For  time.Duration
	// Line gets every line, in order for one instance. It must not block.
	Line func(Line)
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// maxLine bounds one line; a longer one is cut into several.
const maxLine = 16 << 10

// Pod is the instance that prints.
type Pod struct{ Namespace, Name, Service, Revision string }

// Line is one line that an instance printed.
type Line struct {
	Pod
	// Stream is "stdout" or "stderr".
	Stream string
	Time   time.Time
	Text   string
}

// Store keeps the logs of many instances.
type Store struct {
	o Options

	mu   sync.Mutex
	logs map[key]*Log
	// gone are those that ended, the oldest first.
	gone []*Log
}

// key is the name of an instance.
type key struct{ namespace, name string }

// New is an empty store.
func New(o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Bytes, o.Gone, o.For = cmp.Or(o.Bytes, 256<<10), cmp.Or(o.Gone, 50), cmp.Or(o.For, time.Hour)
	return &Store{o: o, logs: map[key]*Log{}}
}

// Open is the log of an instance that begins.
func (s *Store) Open(p Pod) *Log {
	l := &Log{pod: p, o: s.o, changed: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs[key{p.Namespace, p.Name}] = l
	return l
}

// End says that an instance has ended: its log is kept for a while.
func (s *Store) End(l *Log) {
	l.Exit()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.o.Now()
	l.ended = now
	s.gone = append(s.gone, l)
	of := 0
	for _, g := range s.gone {
		if g.pod.Namespace == l.pod.Namespace {
			of++
		}
	}
	s.gone = slices.DeleteFunc(s.gone, func(g *Log) bool {
		drop := now.Sub(g.ended) > s.o.For
		if !drop && of > s.o.Gone && g.pod.Namespace == l.pod.Namespace {
			drop = true
			of--
		}
		if k := (key{g.pod.Namespace, g.pod.Name}); drop && s.logs[k] == g {
			delete(s.logs, k)
		}
		return drop
	})
}

// Get is the log of an instance, or NotFound.
func (s *Store) Get(namespace, name string) (*Log, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.logs[key{namespace, name}]
	if l == nil {
		return nil, &fault.Error{Op: "podlog.Get", Name: name, Kind: fault.NotFound, Err: fmt.Errorf("pods %q not found", name)}
	}
	return l, nil
}

// Log is what one instance printed. An instance may be restarted: each run has
// lines of its own.
type Log struct {
	pod   Pod
	o     Options
	ended time.Time // guarded by the store

	mu    sync.Mutex
	lines []entry
	// first is the number of lines[0], counted from the beginning.
	first int64
	bytes int
	run   int
	// running is whether the last run goes on.
	running bool
	writers []*writer
	lost    int64
	// changed is closed when there is more; awaited says that somebody has it.
	changed chan struct{}
	awaited bool
}

// entry is one line of the ring.
type entry struct {
	run  int
	time time.Time
	text string
}

// Start begins a run and returns what its process prints to. Both are to be
// used until Exit.
func (l *Log) Start() (stdout, stderr io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.run++
	l.running = true
	l.wake()
	out, errs := &writer{log: l, stream: "stdout"}, &writer{log: l, stream: "stderr"}
	l.writers = []*writer{out, errs}
	return out, errs
}

// Exit ends the run; whoever follows it comes to the end.
func (l *Log) Exit() {
	l.mu.Lock()
	writers := l.writers
	l.writers = nil
	l.mu.Unlock()
	for _, w := range writers {
		w.end()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = false
	l.wake()
}

// wake tells those who follow. The caller holds the lock.
func (l *Log) wake() {
	if !l.awaited {
		return
	}
	l.awaited = false
	close(l.changed)
	l.changed = make(chan struct{})
}

// Lost is how many lines there was no room for any more.
func (l *Log) Lost() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Tail are the last lines of the last run that printed, at most n.
func (l *Log) Tail(n int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for i := len(l.lines) - 1; i >= 0 && len(out) < n && l.lines[i].run == l.run; i-- {
		out = append(out, l.lines[i].text)
	}
	slices.Reverse(out)
	return out
}

// add keeps one line.
func (l *Log) add(stream, text string) {
	l.mu.Lock()
	now := l.o.Now()
	l.lines = append(l.lines, entry{l.run, now, text})
	l.bytes += len(text)
	drop := 0
	for l.bytes > l.o.Bytes && drop < len(l.lines)-1 {
		l.bytes -= len(l.lines[drop].text)
		drop++
	}
	if drop > 0 {
		// What is left moves when there is no room behind it, and not with every line.
		clear(l.lines[:drop])
		l.lines = l.lines[drop:]
		l.first += int64(drop)
		l.lost += int64(drop)
	}
	l.wake()
	l.mu.Unlock()
	if l.o.Line != nil {
		l.o.Line(Line{l.pod, stream, now, text})
	}
}

// writer cuts what a process prints into lines. One goroutine writes to it.
type writer struct {
	log    *Log
	stream string
	mu     sync.Mutex
	part   []byte
}

// Write keeps the lines of p; it never fails.
func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			break
		}
		w.flush(append(w.part, p[:i]...))
		w.part, p = w.part[:0], p[i+1:]
	}
	w.part = append(w.part, p...)
	if len(w.part) > maxLine {
		w.flush(w.part)
		w.part = w.part[:0]
	}
	return n, nil
}

// end keeps a last line that has no end.
func (w *writer) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.part) > 0 {
		w.flush(w.part)
		w.part = nil
	}
}

// flush keeps a line, in pieces if it is long.
func (w *writer) flush(line []byte) {
	line = bytes.TrimSuffix(line, []byte("\r"))
	for len(line) > maxLine {
		w.log.add(w.stream, string(line[:maxLine]))
		line = line[maxLine:]
	}
	w.log.add(w.stream, string(line))
}
