package logging

import (
	"context"
	"log/slog"
	"time"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/once"
)

// How what others take in is followed: how often the store is asked, how far back
// the times of their entries are, how many are looked at each time, and how long,
// and how much of, what was looked at is looked at again, since what one append
// brought may come to be seen in parts.
const (
	newsEvery = time.Second
	newsBack  = time.Hour
	newsLimit = 1000
	againFor  = 15
	againMost = 1000
	againSize = 4 << 20
)

// news follows what other platforms, which are in front of the same store, take in.
type news struct {
	store logstore.Sharing
	own   func() string
	sel   logstore.Selection
	now   func() time.Time
	log   *slog.Logger
	// settled is what is not looked at again, nil if nobody knows yet; rounds are
	// what was looked at after it, with so many entries of so many bytes.
	settled logstore.Marks
	rounds  []round
	looked  int
	size    int
}

// round is what was looked at, at once.
type round struct {
	seen         logstore.Marks
	looked, size int
}

// newNews begins to follow what others take in of a selection from now on, nil if
// nobody else can be in front of the store.
func (d *Doors) newNews(ctx context.Context, sel logstore.Selection) *news {
	store, ok := d.o.Reader.(logstore.Sharing)
	if !ok {
		return nil
	}
	n := &news{store: store, own: d.o.Intake.Origin, sel: sel, now: d.o.Now, log: d.o.Logger}
	n.begin(ctx)
	return n
}

// begin takes note of what there is. What comes until the store has answered is not
// told of.
func (n *news) begin(ctx context.Context) {
	marks, err := n.store.Marks(ctx, n.sel.Project, n.now().Add(-newsBack))
	if err != nil {
		n.failed(ctx, err)
		return
	}
	n.settled = marks
}

// failed tells of an error of the store: it is asked again.
func (n *news) failed(ctx context.Context, err error) {
	if ctx.Err() == nil {
		n.log.DebugContext(ctx, "what others take in is not known now", slog.Any("error", err))
	}
}

// run gives what others take in until ctx ends or give fails. Some of it comes more
// than once.
func (n *news) run(ctx context.Context, give func([]logstore.Entry) error) error {
	ticker := time.NewTicker(newsEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if n.settled == nil {
			n.begin(ctx)
			continue
		}
		for more := true; more && ctx.Err() == nil; {
			found, err := n.look(ctx)
			if err != nil {
				n.failed(ctx, err)
				break
			}
			more = found.More
			if err := give(found.Entries); err != nil {
				return err
			}
		}
	}
}

// look looks once.
func (n *news) look(ctx context.Context) (logstore.News, error) {
	sel := n.sel
	if from := n.now().Add(-newsBack); sel.From.Before(from) {
		sel.From = from
	}
	found, err := n.store.News(ctx, logstore.Asked{Selection: sel, Own: n.own(), Beyond: n.settled, Limit: n.looked + newsLimit})
	if err != nil {
		return found, err
	}
	// What was looked at again is of this round now.
	fresh := round{found.Seen, max(0, found.Looked-n.looked), max(0, found.Size-n.size)}
	n.rounds, n.looked, n.size = append(n.rounds, fresh), n.looked+fresh.looked, n.size+fresh.size
	for len(n.rounds) > 0 && (len(n.rounds) > againFor || n.looked > againMost || n.size > againSize || found.More) {
		n.settle()
	}
	return found, nil
}

// settle has the first round not be looked at again.
func (n *news) settle() {
	r := n.rounds[0]
	n.rounds, n.looked, n.size = n.rounds[1:], n.looked-r.looked, n.size-r.size
	for origin, seq := range r.seen {
		n.settled[origin] = max(n.settled[origin], seq)
	}
}

// maxShown is how many entries of a tail are known to have been shown.
const maxShown = 1 << 14

// shown tells which entries come for the first time, of the newest ones.
type shown struct {
	known map[once.Key]bool
	ring  []once.Key
	next  int
}

// newShown makes a shown that knows none.
func newShown() *shown { return &shown{known: map[once.Key]bool{}} }

// first are the entries that were not shown before.
func (s *shown) first(entries []logstore.Entry) []logstore.Entry {
	var out []logstore.Entry
	for i := range entries {
		key := once.KeyOf(&entries[i])
		if s.known[key] {
			continue
		}
		if s.known[key] = true; len(s.ring) < maxShown {
			s.ring = append(s.ring, key)
		} else {
			delete(s.known, s.ring[s.next])
			s.ring[s.next] = key
			s.next = (s.next + 1) % maxShown
		}
		out = append(out, entries[i])
	}
	return out
}
