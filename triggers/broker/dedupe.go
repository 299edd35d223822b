package broker

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/journal"
)

// key identifies an event among the events of one origin: the first 16 bytes
// of the SHA-256 of its project, stage, source and id. Two different events
// with one key would lose the second; at 2^19 keys in the window the chance is
// under 10^-27 an event, and nobody can look for such a pair.
type key [16]byte

// keyOf is the key of e, which is at home there; stage is the trigger that
// replied it, "" for an event from outside. The processor's reply has the source
// and id of what it answers, and must not count as its duplicate.
func keyOf(e *event.Event, at home, stage string) key {
	var buf [512]byte
	b := append(buf[:0], at.project...)
	b = append(append(b, 0), stage...)
	b = event.AppendSource(append(b, 0), e)
	b = append(append(b, 0), e.ID()...)
	if at.broker != DefaultBroker {
		b = append(append(b, 0), at.broker...)
	}
	sum := sha256.Sum256(b)
	return key(sum[:len(key{})])
}

// generations is how many generations of keys are remembered, so the window
// is between (generations-1) and generations times Options.Window events.
const generations = 8

// dedupe remembers the events that were accepted lately, by origin. Full
// generations are files; the current one is rebuilt from the journal, which
// keeps its records by a cursor. So the window survives a crash without a
// write per event. Where the journal needs the room, checkpoint writes the
// current generation to its file before it is full.
//
// With the default Options.Window it is at least the last 458,752 events from
// outside and as many replies.
type dedupe struct {
	dir     string
	size    int
	journal *journal.Journal
	cursor  *journal.Cursor

	mu      sync.Mutex
	windows [origins]window
	// flights are the keys whose events are being appended now.
	flights map[key]*flight
}

// window is the remembered keys of one origin.
type window struct {
	// full are the older generations, the oldest first.
	full []generation
	// keys is the current generation, number that of its file. Of its keys,
	// unsaved are in no file; low is the smallest offset of their records.
	keys    map[key]struct{}
	number  uint64
	unsaved int
	low     journal.Offset
}

// generation is a full set of keys in the file of that number, with its sieve.
type generation struct {
	number uint64
	keys   map[key]struct{}
	sieve  sieve
	saved  bool
}

// flight is an append under way. Its records get offsets from floor on.
type flight struct {
	done  chan struct{}
	floor journal.Offset
}

// cursorName is the journal cursor that keeps the records of the current
// generations.
const cursorName = "seen"

// openDedupe loads the full generations from dir and the rest from j.
func openDedupe(ctx context.Context, dir string, j *journal.Journal, size int) (*dedupe, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("duplicate window: %w", err)
	}
	cursor, err := j.Cursor(cursorName, journal.Oldest)
	if err != nil {
		return nil, fmt.Errorf("duplicate window: %w", err)
	}
	d := &dedupe{dir: dir, size: size, journal: j, cursor: cursor, flights: map[key]*flight{}}
	for o := range d.windows {
		if err := d.load(origin(o)); err != nil {
			return nil, fmt.Errorf("duplicate window: %w", err)
		}
	}
	return d, d.replay(ctx)
}

// replay adds the keys of the journal's records from the cursor on that are in
// no generation yet.
func (d *dedupe) replay(ctx context.Context) error {
	var batch journal.Batch
	for from := d.cursor.Position(); from < d.journal.End(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.journal.Read(from, &batch, 1<<20); err != nil {
			return fmt.Errorf("duplicate window: %w", err)
		}
		if batch.Len() == 0 {
			break
		}
		for i := range batch.Len() {
			r := batch.At(i)
			from = r.Offset + 1
			o, k, err := parseKey(r.Data)
			if err != nil {
				return fmt.Errorf("duplicate window: offset %d: %w", r.Offset, err)
			}
			if w := &d.windows[o]; !w.has(k) {
				d.add(w, k, r.Offset)
			}
		}
	}
	return nil
}

// add puts k, the key of the record at offset at, into the current generation
// and begins the next one when that is full.
func (d *dedupe) add(w *window, k key, at journal.Offset) {
	if w.unsaved == 0 || at < w.low {
		w.low = at
	}
	w.keys[k] = struct{}{}
	w.unsaved++
	if len(w.keys) < d.size {
		return
	}
	w.full = append(w.full, generation{number: w.number, keys: w.keys, sieve: newSieve(w.keys)})
	w.keys, w.number, w.unsaved = make(map[key]struct{}, len(w.keys)), w.number+1, 0
}

// has reports whether k is in the window.
func (w *window) has(k key) bool {
	if _, found := w.keys[k]; found {
		return true
	}
	for i := range w.full {
		if g := &w.full[i]; g.sieve.may(k) {
			if _, found := g.keys[k]; found {
				return true
			}
		}
	}
	return false
}

// claim is what one call of append has to do about its keys.
type claim struct {
	origin origin
	keys   []key
	// fresh marks the keys that the caller must append and then settle; busy
	// those that somebody else is appending now, whose events may be called
	// duplicates only once that append is durable. The rest is known.
	fresh, busy []bool
	// flight is the caller's own, waits are those of the busy keys.
	flight *flight
	waits  []*flight
}

// claim sorts keys into fresh, busy and known ones. Of two equal keys of one
// call the second is known. It does not wait, so two callers that hold each
// other's keys cannot block each other.
func (d *dedupe) claim(o origin, keys []key) *claim {
	c := &claim{
		origin: o, keys: keys, fresh: make([]bool, len(keys)), busy: make([]bool, len(keys)),
		flight: &flight{done: make(chan struct{}), floor: d.journal.End()},
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, k := range keys {
		switch other := d.flights[k]; {
		case other == c.flight || d.windows[o].has(k):
		case other == nil:
			c.fresh[i] = true
			d.flights[k] = c.flight
		default:
			c.busy[i] = true
			c.waits = append(c.waits, other)
		}
	}
	return c
}

// settle ends the flight of a claim: its fresh keys were appended at offset
// first and following, or, when !ok, not at all.
func (d *dedupe) settle(c *claim, first journal.Offset, ok bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := &d.windows[c.origin]
	for i, k := range c.keys {
		if !c.fresh[i] {
			continue
		}
		delete(d.flights, k)
		if ok {
			d.add(w, k, first)
			first++
		}
	}
	close(c.flight.done)
	if n := len(w.full); n > 0 && !w.full[n-1].saved {
		return d.save()
	}
	return nil
}

// checkpoint writes the current generations too, so that the journal may
// forget all records that are finished otherwise.
func (d *dedupe) checkpoint() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for o := range d.windows {
		w := &d.windows[o]
		if w.unsaved == 0 {
			continue
		}
		if err := d.write(origin(o), w.number, w.keys); err != nil {
			return fmt.Errorf("duplicate window: %w", err)
		}
		w.unsaved = 0
	}
	return d.save()
}

// save writes the full generations that are not on disk yet, drops those that
// are older than the window, and lets the journal forget the records whose
// keys are in files. The caller holds mu.
func (d *dedupe) save() error {
	low := d.journal.End()
	for _, f := range d.flights {
		low = min(low, f.floor)
	}
	for o := range d.windows {
		w := &d.windows[o]
		for i := range w.full {
			if g := &w.full[i]; !g.saved {
				if err := d.write(origin(o), g.number, g.keys); err != nil {
					return fmt.Errorf("duplicate window: %w", err)
				}
				g.saved = true
			}
		}
		for len(w.full) >= generations {
			if err := os.Remove(d.file(origin(o), w.full[0].number)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("duplicate window: %w", err)
			}
			w.full = w.full[1:]
		}
		if w.unsaved > 0 {
			low = min(low, w.low)
		}
	}
	if low <= d.cursor.Position() {
		return nil
	}
	if err := d.cursor.Commit(low); err != nil {
		return fmt.Errorf("duplicate window: %w", err)
	}
	return nil
}

// file is the path of a generation.
func (d *dedupe) file(o origin, number uint64) string {
	return filepath.Join(d.dir, fmt.Sprintf("%d-%012d", o, number))
}

// write writes the file of a generation: its keys, then their checksum. After
// a crash the file is this one or what was there before.
func (d *dedupe) write(o origin, number uint64, keys map[key]struct{}) error {
	out, err := os.CreateTemp(d.dir, "new-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(out.Name()) }() // gone after the rename
	body := make([]byte, 0, len(keys)*len(key{})+sha256.Size)
	for k := range keys {
		body = append(body, k[:]...)
	}
	sum := sha256.Sum256(body)
	if _, err = out.Write(append(body, sum[:]...)); err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	if err := os.Rename(out.Name(), d.file(o, number)); err != nil {
		return err
	}
	return syncDir(d.dir)
}

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// load reads the generations of one origin. A file that is damaged is removed
// and left out: its events may be accepted again, which is what a smaller
// window means, and nothing else depends on it.
func (d *dedupe) load(o origin) error {
	w := &d.windows[o]
	w.keys = map[key]struct{}{}
	paths, err := filepath.Glob(filepath.Join(d.dir, fmt.Sprintf("%d-*", o)))
	if err != nil {
		return err
	}
	for _, path := range paths {
		var number uint64
		if _, err := fmt.Sscanf(filepath.Base(path), fmt.Sprintf("%d-%%d", o), &number); err != nil {
			return fmt.Errorf("file %s: %w", path, err)
		}
		keys, err := readGeneration(path)
		if errors.Is(err, errDamaged) {
			if err := os.Remove(path); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		w.full = append(w.full, generation{number: number, keys: keys, sieve: newSieve(keys), saved: true})
		w.number = number + 1
	}
	if n := len(w.full); n > 0 && len(w.full[n-1].keys) < d.size { // a checkpoint
		w.keys, w.number = w.full[n-1].keys, w.full[n-1].number
		w.full = w.full[:n-1]
	}
	return nil
}

// errDamaged is the error of a generation's file that fails its checksum.
var errDamaged = errors.New("damaged")

// readGeneration is the inverse of write.
func readGeneration(path string) (map[key]struct{}, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	body := len(b) - sha256.Size
	if body < 0 || body%len(key{}) != 0 || sha256.Sum256(b[:body]) != [sha256.Size]byte(b[body:]) {
		return nil, errDamaged
	}
	keys := make(map[key]struct{}, body/len(key{}))
	for i := 0; i < body; i += len(key{}) {
		keys[key(b[i:])] = struct{}{}
	}
	return keys, nil
}
