package victoria

import (
	"bytes"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLogBridge(t *testing.T) {
	t.Parallel()
	f := func(line, want string) {
		t.Helper()
		var out bytes.Buffer
		drop := func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
		var log atomic.Pointer[slog.Logger]
		log.Store(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: drop})))
		n, err := logBridge{&log}.Write([]byte(line))
		require.NoError(t, err)
		require.Equal(t, len(line), n)
		require.Equal(t, want, out.String())
	}
	f("warn\tlib/x.go:12\tlow on\tspace\n", `level=WARN msg="storage engine" text="low on\tspace" location=lib/x.go:12`+"\n")
	f("error\tlib/x.go:12\tbad\n", `level=ERROR msg="storage engine" text=bad location=lib/x.go:12`+"\n")
	f("fatal\tlib/x.go:12\tbad\n", `level=ERROR msg="storage engine" text=bad location=lib/x.go:12`+"\n")
	f("panic\tlib/x.go:12\tbad\n", "")
	f("not of that form\n", `level=WARN msg="storage engine" text="not of that form" location=""`+"\n")
}
