package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// gcPercent is by how much a large heap may grow between two collections. Most
	// of what lives under full load are the storage engine's buffers of new samples, a
	// hundred megabytes: at 50 memory at the peak was a sixth more, and nothing was
	// measurably faster (docs/benchmarks.md). A stock VictoriaMetrics has 30, too.
	gcPercent = 30
	// minGrowth is by how many bytes any heap may grow. That of a platform that serves
	// small requests is 20 MB: a third of that would have it collect garbage a hundred
	// times a second, for a fifth of its processors.
	minGrowth = 16 << 20
	// maxPercent bounds how much that may be of a heap that is nearly empty.
	maxPercent = 400
)

// pace sets how often garbage is collected, now and after every collection, by what
// lives then.
func pace() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	current := 0
	var set func(*mark)
	set = func(m *mark) {
		metrics.Read(live)
		// Setting it stops everything for a moment: not for a little.
		if p := percentFor(live[0].Value.Uint64()); max(p, current)-min(p, current) > current/10 {
			debug.SetGCPercent(p)
			current = p
		}
		runtime.SetFinalizer(m, set)
	}
	set(&mark{})
}

// mark is found to be garbage by every collection.
type mark struct{ _ [16]byte }

// percentFor is by how many percent a heap of which so many bytes live may grow.
func percentFor(live uint64) int {
	return int(min(max(gcPercent, 100*minGrowth/max(live, 1)), maxPercent))
}
