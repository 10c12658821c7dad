package blocklist

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Schedule says when a rule is in force: at some hours, on some days of the week. It is immutable and safe for
// concurrent use.
//
// What the clock on the wall shows in its time zone decides, and nothing else:
//
//   - A range of hours holds from its beginning until just before its end. One that ends no later than it begins runs
//     over midnight, and is of the day on which it begins.
//   - What the clock skips does not happen on that day, and what it repeats happens twice. A change of the clock within
//     a range moves the instants of what comes after, no more.
//   - The day before is that of the calendar, even where the zone left it out, as Pacific/Apia did on 30 December 2011.
type Schedule struct {
	Name string

	zone  *time.Location
	hours []hours // as written; what follows is made of them
	late  bool    // in force as the week ends
	edges []int64 // when in the week that changes, in seconds from its beginning, in order; the week begins on Monday
}

// hours are one range on some days.
type hours struct {
	days     uint8 // bit 0 is Monday
	from, to int   // minutes from the day's beginning, from < to; over midnight, to is of the next day, past 24:00
}

// In minutes and in seconds.
const (
	dayMinutes  = 24 * 60
	weekMinutes = 7 * dayMinutes
	daySeconds  = 60 * dayMinutes
	weekSeconds = 7 * daySeconds

	everyDay = 1<<7 - 1
	foresees = 15 * daySeconds // how far Next looks; a range once a week that the clock skips comes after 14 days
)

// Active says whether the schedule is in force at t.
func (s *Schedule) Active(t time.Time) bool {
	_, offset := t.In(s.zone).Zone()
	return s.holds(inWeek(t.Unix(), offset))
}

// Next returns the first instant after t at which Active changes, in the schedule's zone. It is the zero time when
// there is none within 15 days: then it may be asked again.
func (s *Schedule) Next(t time.Time) time.Time {
	if len(s.edges) == 0 {
		return time.Time{}
	}
	// From one change of the clock to the next.
	active, at := s.Active(t), t.Unix()
	for last := at + foresees; at <= last; {
		now := time.Unix(at, 0).In(s.zone)
		_, offset := now.Zone()
		second := inWeek(at, offset)
		if s.holds(second) != active { // the clock has jumped over an edge
			return now
		}
		end := steadyUntil(now)
		if edge := at + s.untilEdge(second); edge < end {
			if edge > last {
				break
			}
			return time.Unix(edge, 0).In(s.zone)
		}
		at = end
	}
	return time.Time{}
}

// steadyUntil returns a Unix time after t up to which t's zone keeps the offset that it has at t.
func steadyUntil(t time.Time) int64 {
	_, end := t.ZoneBounds()
	if end.IsZero() {
		return math.MaxInt64
	}
	if end.After(t) {
		return end.Unix()
	}
	// Beyond the zone's table, ZoneBounds takes every year to have 365 days, so that the last day of a leap year is
	// after its end. No rule changes the clock on it.
	return t.Unix() - floorMod(t.Unix(), daySeconds) + daySeconds
}

// inWeek returns how many seconds of the week have passed on a clock that is offset seconds ahead of UTC.
func inWeek(unix int64, offset int) int64 {
	const thursday = 3 * daySeconds // 1 January 1970
	return floorMod(unix+int64(offset)+thursday, weekSeconds)
}

func floorMod(a, b int64) int64 {
	if a %= b; a < 0 {
		a += b
	}
	return a
}

// holds says whether the schedule is in force at a second of the week.
func (s *Schedule) holds(second int64) bool {
	return s.late != (s.passed(second)%2 == 1)
}

// passed counts the edges from the week's beginning to that second, inclusive.
func (s *Schedule) passed(second int64) int {
	n, on := slices.BinarySearch(s.edges, second)
	if on {
		n++
	}
	return n
}

// untilEdge counts the seconds from that of the week to the next edge, at least one.
func (s *Schedule) untilEdge(second int64) int64 {
	if n := s.passed(second); n < len(s.edges) {
		return s.edges[n] - second
	}
	return s.edges[0] + weekSeconds - second
}

// lay makes the edges of the hours.
func (s *Schedule) lay() {
	var active [weekMinutes]bool
	for _, h := range s.hours {
		for day := range 7 {
			for m := h.from; m < h.to && h.days>>day&1 == 1; m++ {
				active[(day*dayMinutes+m)%weekMinutes] = true
			}
		}
	}
	s.late = active[weekMinutes-1]
	was := s.late
	for m, is := range active {
		if is != was {
			s.edges = append(s.edges, int64(m)*60)
		}
		was = is
	}
}

// String returns the schedule as ParseSchedule reads it, each text in its shortest form: "mon-fri 08:00-17:30; sat,
// Europe/Berlin".
func (s *Schedule) String() string {
	var b strings.Builder
	for i, h := range s.hours {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(h.String())
	}
	if s.zone == time.Local { // by whatever name the machine has it
		return b.String() + ", Local"
	}
	return b.String() + ", " + s.zone.String()
}

func (h hours) String() string {
	if h.from == 0 && h.to == dayMinutes {
		return daysText(h.days)
	}
	to := h.to
	if to > dayMinutes {
		to -= dayMinutes
	}
	return fmt.Sprintf("%s %02d:%02d-%02d:%02d", daysText(h.days), h.from/60, h.from%60, to/60, to%60)
}

// daysText writes three days or more that follow each other as a range.
func daysText(days uint8) string {
	if days == everyDay {
		return "daily"
	}
	var words []string
	has := func(day int) bool { return days>>(day%7)&1 == 1 }
	for first := range 7 {
		if !has(first) || has(first+6) {
			continue
		}
		last := first
		for has(last + 1) {
			last++
		}
		if last-first >= 2 {
			words = append(words, shortDay(first)+"-"+shortDay(last))
			continue
		}
		for day := first; day <= last; day++ {
			words = append(words, shortDay(day))
		}
	}
	return strings.Join(words, ",")
}
