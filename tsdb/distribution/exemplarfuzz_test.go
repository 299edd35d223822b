package distribution

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tsdb"
)

// FuzzDecode feeds the reader of exemplars with anything: what it takes comes
// back when it is written and read again.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add(encode([]tsdb.Exemplar{{Value: 1, Time: -5, Span: SpanName("p", make([]byte, traceBytes), make([]byte, spanBytes))}}))
	f.Add(encode([]tsdb.Exemplar{{Span: "s", Text: "t", Dropped: tsdb.Labels{{Name: "a", Value: "b"}}}, {Value: 2}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, ok := decode(data)
		if !ok {
			return
		}
		again, ok := decode(encode(list))
		require.True(t, ok)
		require.Equal(t, encode(list), encode(again))
	})
}
