// Package victoria settles what the libraries of VictoriaMetrics, of which a
// program may embed several, keep once per process: their flags, their memory
// bound and their log. Their adapters call Configure before they open anything.
package victoria

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
)

// process is what there is once: whether it was configured, and the log.
var process struct {
	once sync.Once
	err  error
	log  atomic.Pointer[slog.Logger]
}

// Configure makes the process ready. The libraries read the flags of the
// standard flag package, which only the main of a program of their makers
// would parse; here they are parsed without arguments unless that was done (as
// in a test), and set one by one.
//
// The first call decides about memoryBytes, which bounds the caches of all
// libraries together and must be less than the memory of the machine. Log lines do
// not say where they come from, so they go to the logger of the last call.
func Configure(memoryBytes int64, log *slog.Logger) error {
	process.log.Store(log)
	process.once.Do(func() {
		if !flag.Parsed() {
			process.err = flag.CommandLine.Parse(nil)
		}
		for name, value := range map[string]string{
			"memory.allowedBytes":     strconv.FormatInt(memoryBytes, 10),
			"loggerLevel":             "WARN",
			"loggerDisableTimestamps": "true",
		} {
			if err := flag.Set(name, value); err != nil && process.err == nil {
				process.err = fmt.Errorf("set engine flag %s: %w", name, err)
			}
		}
		logger.SetOutputForTests(logBridge{&process.log})
	})
	return process.err
}

// logBridge takes log lines, "level TAB location TAB text", to the logger that
// is current.
type logBridge struct{ log *atomic.Pointer[slog.Logger] }

// Write implements io.Writer for one line. The text of a panic is left out: it
// is in the panic itself, which becomes an error of whoever opens a storage
// and otherwise ends the process.
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
