package function_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/function"
)

func TestLosses_RoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		losses := rapid.SliceOf(rapid.Custom(func(t *rapid.T) function.Loss {
			return function.Loss{Reason: rapid.String().Draw(t, "reason"), Count: rapid.IntRange(1, 1<<40).Draw(t, "count")}
		})).Draw(t, "losses")
		got, err := function.ParseLosses(function.FormatLosses(losses))
		require.NoError(t, err)
		require.Len(t, got, len(losses))
		for i := range losses {
			require.Equal(t, losses[i], got[i])
		}
	})
}

func TestFormatLosses_IsReadable(t *testing.T) {
	t.Parallel()
	require.Empty(t, function.FormatLosses(nil))
	require.Equal(t, "NOT_FINITE=1, TOO_OLD=12", function.FormatLosses([]function.Loss{{Reason: "NOT_FINITE", Count: 1}, {Reason: "TOO_OLD", Count: 12}}))
}

func TestParseLosses_RefusesWhatIsNoLoss(t *testing.T) {
	t.Parallel()
	for _, value := range []string{",", "A", "A=", "A=0", "A=-1", "A=1,", "A=1,B", "A=x", "%zz=1", "A=1=2", "A=99999999999999999999"} {
		_, err := function.ParseLosses(value)
		require.Error(t, err, value)
	}
}

func FuzzParseLosses(f *testing.F) {
	f.Add("NOT_FINITE=1, TOO_OLD=12")
	f.Add("a%2Cb=1")
	f.Fuzz(func(t *testing.T, value string) {
		losses, err := function.ParseLosses(value)
		if err != nil {
			return
		}
		again, err := function.ParseLosses(function.FormatLosses(losses))
		require.NoError(t, err)
		require.Equal(t, losses, again)
	})
}
