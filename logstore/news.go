package logstore

import (
	"context"
	"time"
)

// Marks are how far somebody is who follows what others append to a store: for each
// origin the highest number up to which he has seen everything.
type Marks map[string]uint64

// Sharing is a store that several may append to, each with an origin of its own,
// and that can tell what the others appended.
type Sharing interface {
	// Marks are those of all that the store has of a project, of entries whose
	// times are from then on.
	Marks(ctx context.Context, project string, from time.Time) (Marks, error)
	// News gives what was appended of a selection by others than an origin, and is
	// beyond the marks, in the order in which it was taken in. What one
	// append brought may come to be seen in parts, a later one first.
	News(ctx context.Context, asked Asked) (News, error)
}

// Asked says what news are asked for.
type Asked struct {
	Selection
	// Own is the origin of who asks.
	Own string
	// Beyond are the marks. An origin without one is new.
	Beyond Marks
	// Limit is how many entries of each origin to look at, at most: those with the
	// lowest numbers.
	Limit int
}

// News are what News gives.
type News struct {
	// Entries are those that the selection selects.
	Entries []Entry
	// Seen are the highest numbers of what was looked at: so many entries, of Size
	// bytes by Entry.Size.
	Seen         Marks
	Looked, Size int
	// More says that there may be more now, beyond Limit or what a page holds.
	More bool
}
