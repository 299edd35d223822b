package vm

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/logger"
	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"
)

// process is what the engine lets exist only once per process: its settings,
// made by the first Open, and its log.
var process struct {
	once sync.Once
	err  error
	log  atomic.Pointer[slog.Logger]
}

// filterCacheBytes bounds what the engine remembers of which series a filter
// finds, of each month: what it would take by itself with the default of
// CacheBytes.
const filterCacheBytes = 4 << 20

// configure makes the process ready for the engine. The engine reads the flags
// of the standard flag package, which only the main of a program of its own
// would parse; here they are parsed without arguments unless that was done
// (as in a test), and set one by one.
func configure(o Options) error {
	process.log.Store(o.Logger)
	process.once.Do(func() {
		if !flag.Parsed() {
			process.err = flag.CommandLine.Parse(nil)
		}
		for name, value := range map[string]string{
			"memory.allowedBytes":     strconv.FormatInt(o.CacheBytes, 10),
			"loggerLevel":             "WARN",
			"loggerDisableTimestamps": "true",
		} {
			if err := flag.Set(name, value); err != nil && process.err == nil {
				process.err = fmt.Errorf("set engine flag %s: %w", name, err)
			}
		}
		logger.SetOutputForTests(logBridge{&process.log})
		storage.SetFreeDiskSpaceLimit(o.MinFreeBytes)
		storage.SetTagFiltersCacheSize(filterCacheBytes)
	})
	return process.err
}

// logBridge takes the engine's log lines, "level TAB location TAB text", to the
// logger that is current.
type logBridge struct{ log *atomic.Pointer[slog.Logger] }

// Write implements io.Writer for one line. The text of a panic is left out: it
// is in the panic itself, which Open returns as its error and which otherwise
// ends the process.
func (b logBridge) Write(line []byte) (int, error) {
	parts := bytes.SplitN(bytes.TrimSpace(line), []byte{'\t'}, 3)
	for len(parts) < 3 {
		parts = append([][]byte{nil}, parts...)
	}
	level := slog.LevelWarn
	switch string(parts[0]) {
	case "panic":
		return len(line), nil
	case "error", "fatal":
		level = slog.LevelError
	}
	b.log.Load().LogAttrs(context.Background(), level, "storage engine",
		slog.String("text", string(parts[2])), slog.String("location", string(parts[1])))
	return len(line), nil
}
