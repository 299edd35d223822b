// Package cron reads the schedules of crontab(5) and says when they are due.
//
// A schedule is about the clock on the wall of a time zone. Where that clock
// jumps forward, the times that it leaves out are due at the moment of the
// jump, once for all of them, or not at all ([Schedule.SkipGaps]). Where it is
// set back, a time that is shown twice is due the first time; but hours that the
// schedule leaves open ("*", "*/2") go by the time that passes, so that every
// quarter of an hour stays every quarter of an hour. Those are the rules of
// Vixie's cron.
//
// The zones are part of the program, so that a machine needs no database of
// them. A Schedule is not changed by its use, and is safe for concurrent use.
package cron

import (
	"math/bits"
	"time"
)

// set is which of the numbers up to 63 are in it.
type set uint64

// has reports whether n is in the set.
func (s set) has(n int) bool { return s&(1<<n) != 0 }

// from is the least number of the set that is n or more; 64 is none.
func (s set) from(n int) int {
	if n > 63 {
		return 64
	}
	return bits.TrailingZeros64(uint64(s >> n << n))
}

// Schedule is when the clock on the wall is due. Make one with [Parse].
type Schedule struct {
	second, minute, hour, day, month, weekday set
	// openHour, openDay and openWeekday are whether the field begins with "*".
	openHour, openDay, openWeekday bool
	// Zone is that of the clock; nil is UTC.
	Zone *time.Location
	// SkipGaps leaves out what the clock leaves out.
	SkipGaps bool
}

// horizon is how many days Next looks ahead: the 29th of February is at most
// eight years away, and its being on one weekday can be forty.
const horizon = 366 * 41

// Next is the first time after t that is due, to the second; the zero time if
// there is none within forty years.
func (s *Schedule) Next(t time.Time) time.Time {
	zone := s.Zone
	if zone == nil {
		zone = time.UTC
	}
	local := t.In(zone)
	// The day before too: where the clock is set back over midnight, it is not
	// over yet.
	day := time.Date(local.Year(), local.Month(), local.Day()-1, 0, 0, 0, 0, time.UTC)
	for range horizon {
		if s.onDay(day) {
			if found := s.within(day, t, zone); !found.IsZero() {
				// The next day may begin before this one is over, as said.
				if next := day.AddDate(0, 0, 1); s.onDay(next) {
					if other := s.within(next, t, zone); !other.IsZero() && other.Before(found) {
						found = other
					}
				}
				return found.In(zone)
			}
		}
		day = day.AddDate(0, 0, 1)
	}
	return time.Time{}
}

// onDay reports whether the schedule has the date. When both of its days are
// restricted, one of them is enough.
func (s *Schedule) onDay(day time.Time) bool {
	if !s.month.has(int(day.Month())) {
		return false
	}
	inMonth, inWeek := s.day.has(day.Day()), s.weekday.has(int(day.Weekday()))
	if s.openDay || s.openWeekday {
		return inMonth && inWeek
	}
	return inMonth || inWeek
}

// within is the first moment after t at which the clock shows a time of the
// date, the zero time for none. Day is the date's midnight, if it were of UTC.
func (s *Schedule) within(day, t time.Time, zone *time.Location) time.Time {
	spans := spansAround(day, zone)
	if len(spans) == 1 {
		// The usual day, on which the clock goes as time does.
		shown := t.Add(spans[0].offset).UTC()
		from := 0
		if shown.After(day) {
			from = int(shown.Sub(day)/time.Second) + 1
		} else if shown.Equal(day) {
			from = 1
		}
		of, ok := s.inDay(from)
		if !ok {
			return time.Time{}
		}
		return day.Add(time.Duration(of)*time.Second - spans[0].offset)
	}
	var best time.Time
	for of, ok := s.inDay(0); ok; of, ok = s.inDay(of + 1) {
		for _, at := range s.moments(day.Add(time.Duration(of)*time.Second), spans) {
			if at.After(t) && (best.IsZero() || at.Before(best)) {
				best = at
			}
		}
	}
	return best
}

// inDay is the first time of day, in seconds, that is of or later.
func (s *Schedule) inDay(of int) (int, bool) {
	hour, minute, second := of/3600, of/60%60, of%60
	if second = s.second.from(second); second > 59 {
		second, minute = s.second.from(0), minute+1
	}
	if next := s.minute.from(minute); next != minute {
		minute, second = next, s.second.from(0)
	}
	if minute > 59 {
		minute, second, hour = s.minute.from(0), s.second.from(0), hour+1
	}
	if next := s.hour.from(hour); next != hour {
		hour, minute, second = next, s.minute.from(0), s.second.from(0)
	}
	return hour*3600 + minute*60 + second, hour < 24
}

// moments are when the clock shows a time that is due: as if it were of UTC.
func (s *Schedule) moments(shown time.Time, spans []span) []time.Time {
	var at []time.Time
	var over time.Time // the jump over the time
	for i, sp := range spans {
		m := shown.Add(-sp.offset)
		if i > 0 && m.Before(sp.start) && over.IsZero() {
			over = sp.start
		}
		if !m.Before(sp.start) && m.Before(sp.end) {
			at = append(at, m)
		}
	}
	switch {
	case len(at) == 0 && s.SkipGaps:
		return nil
	case len(at) == 0:
		return []time.Time{over}
	case s.openHour:
		return at
	}
	return at[:1]
}

// span is a time in which a zone keeps its distance from UTC.
type span struct {
	start, end time.Time
	offset     time.Duration
}

// around is how far from the date of UTC a zone can have the date: zones are at
// most 16 hours away, and a jump at most 24.
const around = 42 * time.Hour

// spansAround are the spans of a zone that a date can be in, the first of which
// begins before it and the last of which ends after it.
func spansAround(day time.Time, zone *time.Location) []span {
	from, to := day.Add(-around), day.Add(24*time.Hour+around)
	var spans []span
	for at := from; at.Before(to); {
		local := at.In(zone)
		_, end := local.ZoneBounds()
		if end.IsZero() || end.After(to) {
			end = to
		}
		_, offset := local.Zone()
		if n := len(spans); n > 0 && spans[n-1].offset == time.Duration(offset)*time.Second {
			spans[n-1].end = end // only the name changed
		} else {
			spans = append(spans, span{at, end, time.Duration(offset) * time.Second})
		}
		at = end
	}
	return spans
}
