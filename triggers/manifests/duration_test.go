package manifests_test

import (
	"math/big"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/triggers/manifests"
)

func TestParseDuration_Accepts(t *testing.T) {
	t.Parallel()
	f := func(text string, want time.Duration) {
		t.Helper()
		got, err := manifests.ParseDuration(text)
		require.NoError(t, err)
		require.Equal(t, want, got, text)
	}
	f("PT0S", 0)
	f("P0D", 0)
	f("PT0.2S", 200*time.Millisecond)
	f("PT0.000000001S", 1)
	f("PT5S", 5*time.Second)
	f("PT90M", 90*time.Minute)
	f("PT1H30M", 90*time.Minute)
	f("P1D", 24*time.Hour)
	f("P1DT2H3M4.5S", 26*time.Hour+3*time.Minute+4500*time.Millisecond)
	f("PT0007S", 7*time.Second)
	f("PT9223372036.854775807S", 1<<63-1)
}

func TestParseDuration_Refuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "P", "PT", "P1DT", "5s", "5", "PT5", "PTS", "1D", "pt5s", "PT5s", "P5S", "PT5D", "P1M", "P1Y", "P1W", "P1Y2D",
		"-PT5S", "PT-5S", "+PT5S", "PT+5S", "PT5S1M", "PT1M1M", "PT1S1S", "PT1HT1S", "PT1.5M", "P0.5D", "PT.5S", "PT1.S", "PT1,5S",
		"PT1.0000000001S", "PT1.-5S", "PT1e3S", "PT 5S", "PT5S ", "PT٥S", "PT9223372036.854775808S", "P106752D", "PT99999999999999999999S",
		"P106751DT23H47M16.854775808S",
	} {
		_, err := manifests.ParseDuration(text)
		require.Error(t, err, text)
	}
}

// written is the grammar of ParseDuration, but for the rule that something must
// be there.
var written = regexp.MustCompile(`^P(?:([0-9]+)D)?(?:T(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9]+(?:\.[0-9]{1,9})?)S)?)?$`)

// FuzzParseDuration compares with a regular expression and exact arithmetic.
func FuzzParseDuration(f *testing.F) {
	for _, seed := range []string{"PT0.2S", "P1DT2H3M4.5S", "PT", "P106751DT23H47M16.854775807S", "PT5s", "PT1M0M"} {
		f.Add(seed)
	}
	nanos := []int64{24 * 3600e9, 3600e9, 60e9, 1e9}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := manifests.ParseDuration(text)
		parts := written.FindStringSubmatch(text)
		if parts == nil || text[len(text)-1] == 'P' || text[len(text)-1] == 'T' {
			require.Error(t, err)
			return
		}
		want := new(big.Rat)
		for i, part := range parts[1:] {
			if part != "" {
				n, ok := new(big.Rat).SetString(part)
				require.True(t, ok)
				want.Add(want, n.Mul(n, new(big.Rat).SetInt64(nanos[i])))
			}
		}
		if !want.Num().IsInt64() {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.Equal(t, want.Num().Int64(), int64(got))
	})
}
