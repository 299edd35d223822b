package collector

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tsdb/ingest/wire"
)

// FuzzParseEntry reads records of the log: any bytes are an error or an entry
// that is written as it was read, but for the byte that is not in use.
func FuzzParseEntry(f *testing.F) {
	e := entry{project: "p", format: wire.Influx, encoding: wire.Gzip, unit: 1, now: 1_780_315_200_000}
	f.Add(append(e.appendHeader(nil), "body"...))
	f.Add([]byte{entryVersion})
	f.Fuzz(func(t *testing.T, record []byte) {
		e, err := parseEntry(record)
		if err != nil {
			return
		}
		require.LessOrEqual(t, e.headerLen(), len(record))
		again, err := parseEntry(e.appendHeader(nil))
		require.NoError(t, err)
		require.Equal(t, e, again)
	})
}
