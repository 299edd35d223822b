package ingest

import (
	"strings"
	"sync"

	"selvedge.dev/tsdb"
)

// maxShape bounds what one shape remembers, so that a device that makes up
// new field names all the time cannot fill the memory alone.
const maxShape = 10_000

// shapeKey tells events apart whose fields mean different series.
type shapeKey struct {
	project, device, eventType string
	form                       form
	plan                       *Plan
}

// clone is a copy that shares no memory with k, whose text may be a piece of a
// large event.
func (k shapeKey) clone() shapeKey {
	k.project, k.device, k.eventType = strings.Clone(k.project), strings.Clone(k.device), strings.Clone(k.eventType)
	return k
}

// shape is what is known of the fields of one device's events of one type.
// Its lock is held for a whole run; there is little to wait for, since the
// events of one device come one after the other.
type shape struct {
	mu sync.Mutex
	// run counts the runs that used the shape.
	run uint64
	// resource are the resource labels of the event's device.
	resource tsdb.Labels
	// known is by what names a series in the form: for an object the path.
	known map[string]*known
	// deletions is how many descriptors had been deleted when it was made.
	deletions uint64
	// weight is what the shape counts for in shapes.size; shapes.mu guards it.
	weight int
}

// newShape makes a shape that knows nothing.
func newShape(key shapeKey) *shape {
	return &shape{
		resource: tsdb.Labels{{Name: labelDevice, Value: key.device}, {Name: labelProject, Value: key.project}},
		known:    map[string]*known{},
		weight:   1,
	}
}

// begin locks the shape for a run.
func (sh *shape) begin() {
	sh.mu.Lock()
	sh.run++
	if len(sh.known) > maxShape {
		clear(sh.known)
	}
}

// known is what one field means.
type known struct {
	// series is what its points belong to. Samples point to it.
	series tsdb.Series
	// refused is the reason why it can have no points, "" if it can.
	refused string
	// run and sample say where in the batch of that run its last point is.
	run    uint64
	sample int
}

// shapes keeps shapes in two generations. A lookup moves a shape into the
// young one; when that has grown to the bound it becomes the old one, and the
// old one is forgotten. So what is in use stays, as long as it is within the
// bound, and twice the bound is never held.
type shapes struct {
	bound int
	// deletions counts the descriptors of a project that were deleted; nil when
	// none ever are.
	deletions func(project string) uint64

	mu         sync.Mutex
	young, old map[shapeKey]*shape
	// size is how many shapes and known series the young generation holds.
	size int
}

// shape returns the shape for key, new or remembered.
func (m *shapes) shape(key shapeKey) *shape {
	deletions := uint64(0)
	if m.deletions != nil {
		deletions = m.deletions(key.project)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if sh, ok := m.young[key]; ok && sh.deletions == deletions {
		return sh
	}
	key = key.clone()
	sh, ok := m.old[key]
	if !ok || sh.deletions != deletions {
		sh = newShape(key)
		sh.deletions = deletions
	}
	m.turn(sh.weight)
	if m.young == nil {
		m.young = map[shapeKey]*shape{}
	}
	m.young[key] = sh
	return sh
}

// grew tells that sh knows one more series.
func (m *shapes) grew(sh *shape) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sh.weight++
	m.turn(1)
}

// turn makes room for n more in the young generation.
func (m *shapes) turn(n int) {
	if m.size += n; m.size > m.bound {
		m.young, m.old, m.size = nil, m.young, n
	}
}
