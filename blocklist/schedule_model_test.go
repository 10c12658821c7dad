package blocklist

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // for a machine that has not all zones

	"pgregory.net/rapid"
)

// modelRange is one text of a schedule, to be looked at a minute at a time.
type modelRange struct {
	days     [7]bool // by time.Weekday
	from, to int     // minutes of the day, as written
}

// active says whether it is, when a clock on the wall shows that.
func (r modelRange) active(day time.Weekday, minute int) bool {
	if r.from < r.to {
		return r.days[day] && r.from <= minute && minute < r.to
	}
	return r.days[day] && minute >= r.from || r.days[(day+6)%7] && minute < r.to
}

func modelActive(all []modelRange, day time.Weekday, minute int) bool {
	return slices.ContainsFunc(all, func(r modelRange) bool { return r.active(day, minute) })
}

var modelSyntax = func() *regexp.Regexp {
	const day = `(?:mon(?:day)?|tue(?:sday)?|wed(?:nesday)?|thu(?:rsday)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?)`
	const days = day + `(?:_-_` + day + `)?`
	const clock = `([01][0-9]|2[0-3]):([0-5][0-9])`
	const hours = clock + `_-_(?:` + clock + `|(24):(00))`
	text := `^_(?:(daily|` + days + `(?:_,_` + days + `)*)(?:[ \t]_` + hours + `)?|` + hours + `)_$`
	return regexp.MustCompile(strings.ReplaceAll(text, "_", `[ \t]*`))
}()

// parseModel reads a text of a schedule by a regular expression. It is false when there is something wrong with it.
func parseModel(text string) (r modelRange, ok bool) {
	ascii := []byte(text)
	for i := range ascii {
		ascii[i] = lower(ascii[i])
	}
	found := modelSyntax.FindStringSubmatch(string(ascii))
	if found == nil {
		return r, false
	}
	if found[1] == "" || found[1] == "daily" {
		r.days = [7]bool{true, true, true, true, true, true, true}
	} else {
		number := func(day string) int { return strings.Index("sunmontuewedthufrisat", strings.TrimSpace(day)[:3]) / 3 }
		for days := range strings.SplitSeq(found[1], ",") {
			first, last, isRange := strings.Cut(days, "-")
			day := number(first)
			r.days[day] = true
			if isRange && number(first) == number(last) {
				return r, false
			}
			for isRange && day != number(last) {
				day = (day + 1) % 7
				r.days[day] = true
			}
		}
	}
	r.to = dayMinutes
	if numbers := strings.Fields(strings.Join(found[2:], " ")); len(numbers) > 0 {
		var n [4]int
		for i, text := range numbers {
			n[i], _ = strconv.Atoi(text)
		}
		r.from, r.to = n[0]*60+n[1], n[2]*60+n[3]
	}
	return r, r.from != r.to
}

// reparse reads a schedule's own text.
func reparse(s *Schedule) (*Schedule, error) {
	text := s.String()
	comma := strings.LastIndex(text, ", ")
	return ParseSchedule(s.Name, text[comma+2:], strings.Split(text[:comma], "; "))
}

// FuzzParseSchedule holds that texts are read as a regular expression reads them, that a schedule's own text makes the
// same schedule, and that a mistake has a place and a hint.
func FuzzParseSchedule(f *testing.F) {
	for _, text := range []string{
		"mon-fri 08:00-17:30", "sat,sun 22:00-06:00", "fri-mon 00:00-24:00", "daily 12:00-13:00", "mon-fri", "08:00-18:00",
		"Monday , TUE - wednesday\t00:00 - 00:01", "sun-sat", "mon;tue;wed,thu,sun;23:00-00:00", "08:00-08:00", "24:00-01:00",
		"mon-mon", "mon-", "8:00-9:00", "fry", "daily,mon", "mon fri", "08:00-12:00,13:00-14:00", "", ";", "\u017fat", "FR\u0130", "mon–fri",
	} {
		f.Add("Europe/Berlin", text)
	}
	for _, zone := range []string{"", "UTC", "Local", "Etc/GMT+5", "berlin", "../UTC", "right/UTC", "America/Port-au-Prince", "Mars/Olympus", "/", "US"} {
		f.Add(zone, "mon")
	}
	f.Fuzz(func(t *testing.T, zone, text string) {
		when := strings.Split(text, ";")
		var model []modelRange
		var wrong []int
		for i, text := range when {
			r, ok := parseModel(text)
			if !ok {
				wrong = append(wrong, i)
			}
			model = append(model, r)
		}
		s, err := ParseSchedule("test", zone, when)
		if err != nil {
			var told []int
			for _, e := range scheduleErrors(t, err) {
				if e.What == "" || e.Hint == "" || strings.Trim(e.What, printableOctets) != "" {
					t.Fatalf("%q %q: %v", zone, text, e)
				}
				if e.Index == -1 && e.At == 0 {
					if _, near, ok := strings.Cut(e.Hint, `did you mean "`); ok {
						scheduled(t, strings.TrimSuffix(near, `"?`), "mon")
					}
					continue
				}
				told = append(told, e.Index)
				if e.At < 0 || e.At > len(when[e.Index]) {
					t.Fatalf("%q: %v at %d", text, e, e.At)
				}
			}
			if !slices.Equal(told, wrong) {
				t.Fatalf("%q: mistakes in %v, want %v", text, told, wrong)
			}
			return
		}
		if len(wrong) > 0 {
			t.Fatalf("%q: no mistake in %v", text, wrong)
		}
		monday := time.Date(2026, 5, 11, 0, 0, 0, 0, time.UTC)
		for m := range weekMinutes {
			wall := monday.Add(time.Duration(m) * time.Minute)
			if want := modelActive(model, wall.Weekday(), m%dayMinutes); s.holds(int64(m)*60) != want || s.holds(int64(m)*60+59) != want {
				t.Fatalf("%q at %s: %v", text, wall.Format("Mon 15:04"), !want)
			}
		}
		again, err := reparse(s)
		if err != nil || again.String() != s.String() || again.late != s.late || again.zone.String() != s.zone.String() ||
			!slices.Equal(again.hours, s.hours) || !slices.Equal(again.edges, s.edges) {
			t.Fatalf("%q: %v is read as %v, %v", text, s, again, err)
		}
	})
}

var printableOctets = func() string {
	var b strings.Builder
	for c := byte(' '); c <= '~'; c++ {
		b.WriteByte(c)
	}
	return b.String()
}()

// TestScheduleOverYears walks through months and years a minute at a time.
func TestScheduleOverYears(t *testing.T) {
	for _, c := range []struct{ zone, from, to string }{
		{"Europe/Berlin", "2026-01-01", "2027-01-01"},
		{"America/New_York", "2040-10-01", "2041-04-01"}, // beyond the zone's table, and a leap year's end
		{"Australia/Lord_Howe", "2026-03-01", "2026-11-01"},
		{"Australia/Lord_Howe", "2044-09-15", "2045-04-15"},
		{"Africa/Casablanca", "2026-01-01", "2026-06-01"},
		{"Asia/Kolkata", "2026-01-01", "2026-04-01"},
		{"Pacific/Apia", "2011-09-01", "2012-05-01"},
	} {
		t.Run(c.zone+"-"+c.from, func(t *testing.T) {
			t.Parallel()
			zone, err := time.LoadLocation(c.zone)
			must(t, err)
			from, err := time.ParseInLocation(time.DateOnly, c.from, zone)
			must(t, err)
			to, err := time.ParseInLocation(time.DateOnly, c.to, zone)
			must(t, err)
			var walks []*walk
			for _, when := range [][]string{
				{"mon-fri 08:00-12:00", "mon-fri 13:00-17:30", "sat,sun 22:00-06:00"},
				{"sun 01:15-01:45", "sun 02:00-02:30", "sun 02:45-03:15", "fri"},
				{"fri-mon 23:30-00:30", "daily 02:59-03:00"},
			} {
				w := &walk{s: scheduled(t, c.zone, when...), since: from}
				for _, text := range when {
					r, _ := parseModel(text)
					w.model = append(w.model, r)
				}
				w.active = modelActive(w.model, from.Weekday(), from.Hour()*60+from.Minute())
				walks = append(walks, w)
			}
			for at := from; at.Before(to); at = at.Add(time.Minute) {
				hour, minute, _ := at.Clock()
				for _, w := range walks {
					w.step(t, at, modelActive(w.model, at.Weekday(), hour*60+minute))
				}
			}
			for _, w := range walks {
				if w.changes < 90 {
					t.Errorf("%v: %d changes", w.s, w.changes)
				}
			}
		})
	}
}

// walk is a schedule in TestScheduleOverYears.
type walk struct {
	s       *Schedule
	model   []modelRange
	active  bool
	since   time.Time
	changes int
}

// step checks the schedule at an instant at which it should be active or not.
func (w *walk) step(t *testing.T, at time.Time, active bool) {
	if w.s.Active(at) != active {
		t.Fatalf("%v at %v: %v", w.s, at, !active)
	}
	if active == w.active {
		return
	}
	for _, before := range []time.Time{w.since, w.since.Add(at.Sub(w.since) / 3), at.Add(-time.Minute), at.Add(-1)} {
		if next := w.s.Next(before.UTC()); !next.Equal(at) {
			t.Fatalf("%v after %v: %v, want %v", w.s, before, next, at)
		}
	}
	w.active, w.since = active, at
	w.changes++
}

// TestScheduleModel compares any schedule with the model, a minute at a time from any instant on: above all around
// changes of the clock and ends of years.
func TestScheduleModel(t *testing.T) {
	zones := []string{
		"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kolkata", "Pacific/Apia",
		"America/Sao_Paulo", "Africa/Cairo", "Asia/Gaza", "Europe/Dublin", "Asia/Tehran", "Antarctica/Troll", "America/Nuuk", "America/St_Johns",
	}
	clock := rapid.Custom(func(t *rapid.T) int {
		if rapid.Bool().Draw(t, "by night") {
			return rapid.IntRange(0, 4*60).Draw(t, "minute")
		}
		return rapid.IntRange(0, dayMinutes-1).Draw(t, "minute")
	})
	text := rapid.Custom(func(t *rapid.T) string {
		var words []string
		for _, day := range rapid.SliceOfN(rapid.IntRange(0, 6), 1, 3).Draw(t, "days") {
			words = append(words, shortDay(day))
		}
		from, to := clock.Draw(t, "from"), clock.Draw(t, "to")
		if from == to {
			return strings.Join(words, ",")
		}
		return fmt.Sprintf("%s %02d:%02d-%02d:%02d", strings.Join(words, ","), from/60, from%60, to/60, to%60)
	})
	rapid.Check(t, func(t *rapid.T) {
		zone, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		when := rapid.SliceOfN(text, 1, 3).Draw(t, "when")
		s, err := ParseSchedule("test", zone.String(), when)
		if err != nil {
			t.Fatal(err)
		}
		var model []modelRange
		for _, text := range when {
			r, _ := parseModel(text)
			model = append(model, r)
		}
		year := rapid.IntRange(1975, 2060).Draw(t, "year")
		at := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 365*24*60).Draw(t, "minutes")) * time.Minute)
		switch rapid.IntRange(0, 3).Draw(t, "where") {
		case 0:
		case 1:
			at = time.Date(year, 12, 31, 0, 0, 0, 0, time.UTC)
		default:
			if _, end := at.In(zone).ZoneBounds(); !end.IsZero() {
				at = end.Truncate(time.Minute) // tables end at 2^31-1
			}
		}
		at = at.Add(-time.Duration(rapid.IntRange(0, 9*24*60).Draw(t, "minutes before")) * time.Minute)
		off := rapid.SampledFrom([]time.Duration{0, 1, 30*time.Second + 1, time.Minute - 1}).Draw(t, "past the minute")

		active := func(wall time.Time) bool { return modelActive(model, wall.Weekday(), wall.Hour()*60+wall.Minute()) }
		was := active(at.In(zone))
		var want time.Time
		for m := range foresees/60 + 1 {
			then := at.Add(time.Duration(m) * time.Minute).In(zone)
			is := active(then)
			if got := s.Active(then.Add(off)); got != is {
				t.Fatalf("%v at %v: %v", s, then.Add(off), got)
			}
			if is != was {
				want = then
				break
			}
		}
		if next := s.Next(at.Add(off)); !next.Equal(want) {
			t.Fatalf("%v after %v: %v, want %v", s, at.Add(off), next, want)
		}
	})
}
