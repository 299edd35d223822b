package tsdb

import "context"

// Pusher is a Store that can align series where their points are, which spares
// sending them. A caller that wants series aligned asks whether its Store is
// one.
type Pusher interface {
	// Push is Select of points that are aligned: in ascending order, one for
	// every window of a that has points of the selection, stamped with its end,
	// and the value that the aligner of package align computes. It reports
	// whether that could be done; if not, visit was not called, and the caller
	// has to select and align. The interval of the selection has no meaning.
	Push(ctx context.Context, sel Selection, a Alignment, visit func(*Series, Points) error) (bool, error)
}

// Alignment is what a Pusher is asked for.
type Alignment struct {
	// Aligner is its name: "ALIGN_MAX".
	Aligner string
	// End is where the last window ends, Period how long each is, and Windows
	// how many there are.
	End, Period Millis
	Windows     int
}
