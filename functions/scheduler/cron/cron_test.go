package cron_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/functions/scheduler/cron"
	"selvedge.dev/sdk/fault"
)

// in is a schedule in a zone.
func in(t testing.TB, expression, zone string) *cron.Schedule {
	t.Helper()
	s, err := cron.Parse(expression)
	require.NoError(t, err)
	s.Zone, err = cron.Zone(zone)
	require.NoError(t, err)
	return s
}

// The rules at the changes of the clock, worked out by hand. SPEC D4c
func TestNext_ByHand(t *testing.T) {
	t.Parallel()
	f := func(expression, zone, after string, want ...string) {
		t.Helper()
		s := in(t, expression, zone)
		at, err := time.Parse(time.RFC3339, after)
		require.NoError(t, err)
		for _, w := range want {
			at = s.Next(at)
			require.Equal(t, w, at.Format(time.RFC3339), "%s in %s", expression, zone)
		}
	}
	f("*/15 * * * *", "UTC", "2026-03-01T00:00:00Z", "2026-03-01T00:15:00Z", "2026-03-01T00:30:00Z")
	f("30 6 * * MON-FRI", "UTC", "2026-11-20T06:30:00Z", "2026-11-23T06:30:00Z") // a Friday
	f("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z")
	f("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z")
	f("0 12 13 * 5", "UTC", "2026-11-01T00:00:00Z", "2026-11-06T12:00:00Z", "2026-11-13T12:00:00Z") // both days: either
	f("0 12 */2 * 5", "UTC", "2026-11-01T00:00:00Z", "2026-11-13T12:00:00Z")                        // an open day: both
	f("5,10 30 6 * * *", "UTC", "2026-01-01T06:30:05Z", "2026-01-01T06:30:10Z", "2026-01-02T06:30:05Z")
	f("0 9 * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", "2026-01-01T09:00:00+05:30")

	// Forward: 02:00 to 03:00 in Zurich on 2026-03-29.
	f("30 2 * * *", "Europe/Zurich", "2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00")
	f("*/20 2 * * *", "Europe/Zurich", "2026-03-28T12:00:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00")
	f("*/30 * * * *", "Europe/Zurich", "2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00")
	// Back: 03:00 to 02:00 on 2026-10-25.
	f("30 2 * * *", "Europe/Zurich", "2026-10-24T12:00:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00")
	f("30 * * * *", "Europe/Zurich", "2026-10-25T01:30:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:30:00+01:00")
	f("30 1-3 * * *", "Europe/Zurich", "2026-10-25T01:30:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-25T03:30:00+01:00")
	// Half an hour, in Lord Howe: 02:00 to 02:30, and 02:00 to 01:30.
	f("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00+10:30", "2026-10-04T02:30:00+11:00")
	f("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00+11:00", "2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30")
	// Midnight is left out in Beirut; a whole day was in Samoa.
	f("0 0 * * *", "Asia/Beirut", "2026-03-28T12:00:00+02:00", "2026-03-29T01:00:00+03:00", "2026-03-30T00:00:00+03:00")
	f("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00")
	// The clock is set back over midnight.
	f("30 23 * * *", "America/Havana", "2026-10-31T12:00:00-04:00", "2026-10-31T23:30:00-04:00", "2026-11-01T23:30:00-05:00")

	s := in(t, "30 2 * * *", "Europe/Zurich")
	s.SkipGaps = true
	at, err := time.Parse(time.RFC3339, "2026-03-28T02:30:00+01:00")
	require.NoError(t, err)
	require.Equal(t, "2026-03-30T02:30:00+02:00", s.Next(at).Format(time.RFC3339))
}

func TestParse_Refuses(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"", "* * * *", "* * * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *", "* * * * 8", "5-1 * * * *",
		"*/0 * * * *", "*/-1 * * * *", "a * * * *", ", * * * *", "1, * * * *", "-1 * * * *", "+1 * * * *", "1-2-3 * * * *", "0 0 30 2 *", "0 0 31 4,6 *",
		"@never", "@every 1h", "TZ=Nowhere 0 0 * * *", "TZ=Local 0 0 * * *", "CRON_TZ=UTC", "0 0 * * MONDAY", "001 * * * *",
	} {
		_, err := cron.Parse(bad)
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%q: %v", bad, err)
	}
	for _, pair := range [][2]string{
		{"@hourly", "0 * * * *"},
		{"@daily", "0 0 * * *"},
		{"@weekly", "0 0 * * 7"},
		{"@monthly", "0 0 1 * ?"},
		{"@yearly", "0 0 0 1 JAN *"},
		{"CRON_TZ=UTC @Midnight", "0 0 * * SUN-SAT"},
		{"3/20 * * * *", "3,23,43 * * * *"},
	} {
		a, err := cron.Parse(pair[0])
		require.NoError(t, err)
		b, err := cron.Parse(pair[1])
		require.NoError(t, err)
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for range 20 {
			require.Equal(t, a.Next(at), b.Next(at), pair)
			at = a.Next(at)
		}
	}
}

// zones are zones whose clocks jump in many ways.
var zones = []string{
	"UTC", "Europe/Zurich", "America/New_York", "America/Sao_Paulo", "America/Havana", "America/Asuncion", "Australia/Lord_Howe", "Asia/Beirut",
	"Pacific/Apia", "Africa/Casablanca", "Asia/Gaza", "America/St_Johns", "Antarctica/Troll", "Asia/Kathmandu", "Pacific/Kwajalein", "Europe/Dublin",
}

// walk is Next by looking at every minute for days on end, by what the clock
// shows and has shown.
func walk(s *cron.Schedule, hit func(time.Time) bool, openHour bool, after time.Time) time.Time {
	shown := map[int64]bool{}
	civil := func(t time.Time) time.Time {
		return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, time.UTC)
	}
	at := after.Add(-50 * time.Hour).Truncate(time.Minute)
	last := at.In(s.Zone)
	for ; at.Before(after.Add(20 * 24 * time.Hour)); at = at.Add(time.Minute) {
		now := at.In(s.Zone)
		face := civil(now).Unix()
		due := hit(now) && (openHour || !shown[face])
		shown[face] = true
		// What the clock left out since the last minute.
		for out := civil(last).Add(time.Minute); out.Before(civil(now)) && !s.SkipGaps; out = out.Add(time.Minute) {
			due = due || hit(out)
		}
		last = now
		if due && at.After(after) {
			return at
		}
	}
	return time.Time{}
}

// matcher reads an expression in a way of its own: numbers, "*", "*/n", lists.
func matcher(expression string) func(time.Time) bool {
	f := strings.Fields(expression)
	one := func(text string, n, low int) bool {
		for part := range strings.SplitSeq(text, ",") {
			var a, b int
			switch {
			case part == "*":
				return true
			case strings.HasPrefix(part, "*/"):
				for _, c := range part[2:] {
					a = a*10 + int(c-'0')
				}
				if (n-low)%a == 0 {
					return true
				}
			default:
				x, y, ranged := strings.Cut(part, "-")
				for _, c := range x {
					a = a*10 + int(c-'0')
				}
				b = a
				if ranged {
					b = 0
					for _, c := range y {
						b = b*10 + int(c-'0')
					}
				}
				if a <= n && n <= b {
					return true
				}
			}
		}
		return false
	}
	// Every number that a field can be asked for, once.
	var fits [5][64]bool
	for i, low := range []int{0, 0, 1, 1, 0} {
		for n := range fits[i] {
			fits[i][n] = one(f[i], n, low)
		}
	}
	return func(t time.Time) bool {
		dom, dow := fits[2][t.Day()], fits[4][t.Weekday()]
		day := dom || dow
		if strings.HasPrefix(f[2], "*") || strings.HasPrefix(f[4], "*") {
			day = dom && dow
		}
		return fits[0][t.Minute()] && fits[1][t.Hour()] && day && fits[3][t.Month()]
	}
}

// The next time is that of a walk over all minutes, in every zone, around every
// jump of its clock. SPEC D4c
func TestNext_BruteForce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pick := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
		expression := strings.Join([]string{
			pick("minute", "*", "0", "30", "*/15", "5,45", "59", "*/7", "10-20"), pick("hour", "*", "0", "1", "2", "3", "23", "*/2", "1-3", "0,12,23"),
			pick("day", "*", "1", "15", "*/2", "29-31"), pick("month", "*", "3", "10,11", "*/2"), pick("weekday", "*", "0", "1-5", "6"),
		}, " ")
		s, err := cron.Parse(expression)
		require.NoError(t, err)
		s.Zone, err = cron.Zone(rapid.SampledFrom(zones).Draw(t, "zone"))
		require.NoError(t, err)
		s.SkipGaps = rapid.Bool().Draw(t, "skip")
		base := time.Date(rapid.IntRange(1995, 2030).Draw(t, "year"), 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 365*24*60).Draw(t, "minute of year")) * time.Minute)
		if _, jump := base.In(s.Zone).ZoneBounds(); !jump.IsZero() && rapid.Bool().Draw(t, "near a jump") {
			base = jump.Add(time.Duration(rapid.IntRange(-30*60, 5*60).Draw(t, "minutes")) * time.Minute)
		}
		base = base.Add(time.Duration(rapid.IntRange(0, 59).Draw(t, "second")) * time.Second)
		want := walk(s, matcher(expression), strings.Fields(expression)[1][0] == '*', base)
		got := s.Next(base)
		if want.IsZero() { // beyond the walk
			require.True(t, got.IsZero() || got.After(base.Add(19*24*time.Hour)), "%s after %s: %s", expression, base, got)
			return
		}
		require.True(t, want.Equal(got), "%s in %s after %s: want %s, got %s", expression, s.Zone, base, want.In(s.Zone), got)
	})
}

// FuzzParse: no text panics, and what is a schedule is due after any time.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"*/15 * * * *", "0 0 29 2 *", "1,2-5/2 3 * JAN mon", "@daily", "CRON_TZ=Europe/Zurich 30 2 * * *", "* * * * * *", "? ? ? ? ?"} {
		f.Add(seed, int64(1774746000))
	}
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		s, err := cron.Parse(text)
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		at := time.Unix(unix%4_000_000_000, 0)
		next := s.Next(at)
		require.True(t, next.After(at), "%q after %s: %s", text, at, next)
	})
}

// BenchmarkNext is the cost of one step, away from a jump and at one.
func BenchmarkNext(b *testing.B) {
	for name, c := range map[string]struct {
		expression string
		at         time.Time
	}{
		"minute": {"* * * * *", time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)},
		"week":   {"30 6 * * 1", time.Date(2026, 6, 2, 0, 0, 0, 0, time.UTC)},
		"jump":   {"*/5 * * * *", time.Date(2026, 3, 29, 0, 0, 0, 0, time.UTC)},
	} {
		s := in(b, c.expression, "Europe/Zurich")
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				s.Next(c.at)
			}
		})
	}
}
