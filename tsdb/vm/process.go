package vm

import (
	"sync"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"

	"selvedge.dev/sdk/victoria"
)

// process is what the engine lets exist only once per process beside what
// package victoria settles: made by the first Open.
var process sync.Once

// filterCacheBytes bounds what the engine remembers of which series a filter
// finds, of each month: what it would take by itself with the default of
// CacheBytes.
const filterCacheBytes = 4 << 20

// configure makes the process ready for the engine.
func configure(o Options) error {
	err := victoria.Configure(o.CacheBytes, o.Logger)
	process.Do(func() {
		storage.SetFreeDiskSpaceLimit(o.MinFreeBytes)
		storage.SetTagFiltersCacheSize(filterCacheBytes)
	})
	return err
}
