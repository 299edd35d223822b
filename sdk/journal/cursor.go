package journal

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"

	"selvedge.dev/sdk/fault"
)

// Where a new cursor may start, apart from an offset of its own.
const (
	Oldest Offset = 0
	Newest Offset = math.MaxUint64
)

// maxCursorFile bounds the escaped name of a cursor, as file systems do.
const maxCursorFile = 240

// Cursor is the durable position of one consumer. The records from it on are
// kept, except under [DropOldest].
type Cursor struct {
	journal *Journal
	name    string

	mu      sync.Mutex // held while the file changes
	slots   *slots
	evicted Offset // where an eviction moved it to, until a commit passes that
	removed bool

	state mark // guarded by Journal.mu
}

// byName orders cursors.
func byName(a, b *Cursor) int { return strings.Compare(a.name, b.name) }

// Cursor returns the cursor name, which survives restarts. If there is none it
// is made, durably, at start: [Oldest], [Newest] or an offset up to End. Names
// are any text of up to some two hundred bytes. After an error the cursor may
// be there after a restart.
func (j *Journal) Cursor(name string, start Offset) (*Cursor, error) {
	const op = "journal.Cursor"
	file := cursorFile(name)
	if name == "" || len(file) > maxCursorFile {
		return nil, wrap(op, invalid("name", fmt.Errorf("%q is empty or too long", name)))
	}
	j.shape.Lock()
	defer j.shape.Unlock()
	j.mu.Lock()
	c, first, end, closed := j.cursors[name], j.first(), j.End(), j.closed
	j.mu.Unlock()
	switch {
	case closed:
		return nil, wrap(op, ErrClosed)
	case c != nil:
		return c, nil
	case start == Newest:
		start = end
	case start > end:
		return nil, wrap(op, invalid("start", fmt.Errorf("%d is beyond the end, %d", start, end)))
	}
	if err := j.confirm(); err != nil {
		return nil, wrap(op, err)
	}
	c = &Cursor{journal: j, name: name, state: mark{position: max(start, first)}}
	var err error
	if c.slots, err = createSlots(j.dir, file, c.state); err != nil {
		return nil, wrap(op, err)
	}
	j.mu.Lock()
	j.cursors[name] = c
	j.mu.Unlock()
	return c, nil
}

// Name is the name it was made with.
func (c *Cursor) Name() string { return c.name }

// Position is the next record that this consumer needs.
func (c *Cursor) Position() Offset { return c.load().position }

// load is the state.
func (c *Cursor) load() mark {
	c.journal.mu.Lock()
	defer c.journal.mu.Unlock()
	return c.state
}

// Commit says that the consumer is done with everything before next, durably.
// After an error the cursor may stand at either position after a restart.
// Moving backwards or beyond End is Invalid; committing what an eviction has
// taken meanwhile is not, and changes nothing. A removed cursor is NotFound.
func (c *Cursor) Commit(next Offset) error {
	if err := c.commit(next); err != nil {
		return wrap("journal.Commit", err)
	}
	c.journal.retire()
	return nil
}

// commit is Commit without its consequences.
func (c *Cursor) commit(next Offset) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.usable(); err != nil {
		return err
	}
	now := c.load()
	switch end := c.journal.End(); {
	case next == now.position, next < now.position && next <= c.evicted:
		return nil
	case next < now.position:
		return invalid("next", fmt.Errorf("%d is behind the position, %d", next, now.position))
	case next > end:
		return invalid("next", fmt.Errorf("%d is beyond the end, %d", next, end))
	}
	c.evicted = 0
	return c.store(mark{position: next, lost: now.lost})
}

// usable is an error if the cursor is removed or the journal closed. c.mu is
// held.
func (c *Cursor) usable() error {
	if c.removed {
		return &fault.Error{Kind: fault.NotFound, Err: fmt.Errorf("cursor %q was removed", c.name)}
	}
	c.journal.mu.Lock()
	defer c.journal.mu.Unlock()
	if c.journal.closed {
		return ErrClosed
	}
	return nil
}

// evict moves the cursor to the offset to, if it is behind it, and counts what
// it had not passed.
func (c *Cursor) evict(to Offset) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.load()
	if now.position >= to || c.removed {
		return nil
	}
	if err := c.store(mark{position: to, lost: now.lost + uint64(to-now.position)}); err != nil {
		return err
	}
	c.evicted = to
	return nil
}

// store makes m durable and then the state. c.mu is held.
func (c *Cursor) store(m mark) error {
	if err := c.slots.store(m); err != nil {
		return err
	}
	c.journal.mu.Lock()
	defer c.journal.mu.Unlock()
	c.state = m
	return nil
}

// Remove deletes the cursor, so that it keeps nothing any more. After an error
// it may be there again after a restart; Remove may be called again.
func (c *Cursor) Remove() error {
	if err := c.remove(); err != nil {
		return wrap("journal.Remove", err)
	}
	c.journal.retire()
	return nil
}

// remove is Remove without its consequences.
func (c *Cursor) remove() error {
	j := c.journal
	j.shape.Lock()
	defer j.shape.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.removed {
		if err := c.usable(); err != nil {
			return err
		}
		if err := j.dir.Remove(cursorFile(c.name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		c.removed = true
		j.mu.Lock()
		delete(j.cursors, c.name)
		j.mu.Unlock()
		if err := c.slots.file.Close(); err != nil {
			return err
		}
	}
	return j.dir.Sync()
}

// cursorFile is the name of the file of a cursor: every byte but letters,
// digits, '_' and '-' as %XX.
func cursorFile(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; plain(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String() + cursorSuffix
}

// cursorName is the inverse of cursorFile.
func cursorName(file string) (string, bool) {
	escaped, ok := strings.CutSuffix(file, cursorSuffix)
	if !ok {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < len(escaped); i++ {
		c := escaped[i]
		if c == '%' && i+2 < len(escaped) {
			n, err := strconv.ParseUint(escaped[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			c = byte(n)
			i += 2
		}
		b.WriteByte(c)
	}
	name := b.String()
	return name, name != "" && cursorFile(name) == file
}

// plain reports whether c stands for itself in a file name.
func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}
