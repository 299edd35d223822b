package tsdb

import (
	"context"
	"time"
)

// Surveyor is a Store that tells which series there are without reading their
// points.
type Surveyor interface {
	// Survey calls visit once for every series that matches and has a point in
	// the interval, in no particular order, from one goroutine. A series may be
	// told too that has none in the interval, but on its first or last day, or
	// before and after it. MaxSeries bounds it as it bounds Select; an error of visit ends the
	// survey and is returned.
	Survey(ctx context.Context, sel Selection, visit func(*Series) error) error
}

// Deleter is a Store that can remove series.
type Deleter interface {
	// Delete removes the series that match, with all of their points, whatever
	// the interval is, and returns how many they were. What was appended before
	// the call is not seen by any later Select, also after a crash, unless the
	// caller appends it again; a series that is appended to later begins anew.
	// When more than MaxSeries match it is Exhausted, and none is removed.
	Delete(ctx context.Context, sel Selection) (series int, err error)
}

// Snapshotter is a Store that can make a copy of itself while it is in use.
type Snapshotter interface {
	// Snapshot puts a copy of all that was appended before the call into the
	// folder dir, which must not be there yet. A store that is opened on the
	// copy answers as this one did.
	Snapshot(ctx context.Context, dir string) error
}

// Gate says what a Store may take and how long it keeps it. A Store asks it
// for every series of a batch, so it must be quick. All methods may be called
// concurrently.
type Gate interface {
	// Admit says why the series can have no points now, a reason in
	// UPPER_SNAKE, or "" when it can; and for how long its points are kept, as
	// Retention does.
	Admit(s *Series) (kept time.Duration, refused string)
	// Retention is how long the points of a metric are kept, or of all metrics
	// of the project at most when the metric is ""; 0 is as long as the store
	// keeps anything. Older points are not told, whether or not they are on
	// disk.
	Retention(project, metric string) time.Duration
}

// Expirer is a Store that can remove the series that are no more.
type Expirer interface {
	// Expire is Delete of those series only that have no point at the time
	// since or later.
	Expire(ctx context.Context, sel Selection, since Millis) (series int, err error)
}

// Bounds are how much of the series of a project, or of one of its metrics, is
// kept.
type Bounds struct {
	// Retention is how long points are kept, 0 for as long as the store keeps
	// anything. That of a metric goes before that of its project.
	Retention time.Duration `json:"retention,omitempty"`
	// MaxSeries bounds the series that are active at once, 0 for the bound of
	// the platform. Those of a metric count for its project too.
	MaxSeries int `json:"maxSeries,omitempty"`
}

// Bounded is what Descriptors can do that keep bounds. All methods may be
// called concurrently.
type Bounded interface {
	// SetBounds sets the bounds of a metric, or of the project when the metric
	// is "". A metric without descriptor is NotFound, bounds that cannot be are
	// Invalid, with the field. It is durable on return.
	SetBounds(ctx context.Context, project, metric string, b Bounds) error
	// Bounds are those that were set; the zero value when none were.
	Bounds(project, metric string) Bounds
}
