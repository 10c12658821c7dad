package blocklist

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

func scheduled(t testing.TB, zone string, when ...string) *Schedule {
	t.Helper()
	s, err := ParseSchedule("test", zone, when)
	must(t, err)
	return s
}

func instant(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	must(t, err)
	return at
}

// scheduleErrors takes an error of ParseSchedule apart.
func scheduleErrors(t testing.TB, err error) (out []*ScheduleError) {
	t.Helper()
	many, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%v is not joined", err)
	}
	for _, e := range many.Unwrap() {
		out = append(out, e.(*ScheduleError))
	}
	return out
}

// TestSchedulesGolden reads testdata/schedules.txt, a zone and the texts of a schedule on each line, and compares what
// becomes of them with schedules.golden.
func TestSchedulesGolden(t *testing.T) {
	const golden = "testdata/schedules.golden"
	text, err := os.ReadFile("testdata/schedules.txt")
	must(t, err)
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		b.WriteString(line)
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		var words []string
		for line != "" {
			quoted, err := strconv.QuotedPrefix(line)
			must(t, err)
			word, err := strconv.Unquote(quoted)
			must(t, err)
			words = append(words, word)
			line = strings.TrimSpace(line[len(quoted):])
		}
		s, err := ParseSchedule("test", words[0], words[1:])
		if err == nil {
			minutes := 0
			for m := range int64(weekMinutes) {
				if s.holds(m * 60) {
					minutes++
				}
			}
			fmt.Fprintf(&b, "   %v: %d:%02d hours a week, %d edges\n", s, minutes/60, minutes%60, len(s.edges))
			continue
		}
		for _, e := range scheduleErrors(t, err) {
			if e.Index >= 0 && len(words) > 1 && !strings.ContainsAny(words[1+e.Index], "\n\x1b") {
				fmt.Fprintf(&b, "   %s\n   %s^\n", words[1+e.Index], strings.Repeat(" ", e.At))
			}
			fmt.Fprintf(&b, "   %v\n", e)
		}
	}
	if *update {
		must(t, os.WriteFile(golden, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if diff := gocmp.Diff(string(want), b.String()); diff != "" {
		t.Error(diff)
	}
}

// TestScheduleByTheClockOnTheWall lists the instants at which schedules change, one after the other.
func TestScheduleByTheClockOnTheWall(t *testing.T) {
	for _, c := range []struct {
		why, zone, when, from string
		active                bool // at from
		want                  string
	}{
		{
			"a week", "Asia/Kolkata", "fri-mon 18:00-24:00", "2026-05-14T12:00:00+05:30", false,
			"2026-05-15T18:00:00+05:30 2026-05-16T00:00:00+05:30 2026-05-16T18:00:00+05:30 2026-05-17T00:00:00+05:30 " +
				"2026-05-17T18:00:00+05:30 2026-05-18T00:00:00+05:30 2026-05-18T18:00:00+05:30 2026-05-19T00:00:00+05:30 2026-05-22T18:00:00+05:30",
		},
		{
			"over midnight, of the day on which it begins", "UTC", "sun 22:00-06:00", "2026-05-17T05:00:00Z", false,
			"2026-05-17T22:00:00Z 2026-05-18T06:00:00Z 2026-05-24T22:00:00Z",
		},
		{
			"in the hour that is skipped: not on that day", "Europe/Berlin", "sun 02:15-02:45", "2026-03-22T12:00:00+01:00", false,
			"2026-04-05T02:15:00+02:00 2026-04-05T02:45:00+02:00",
		},
		{
			"in the hour that is repeated: in both", "Europe/Berlin", "sun 02:15-02:45", "2026-10-25T00:00:00+02:00", false,
			"2026-10-25T02:15:00+02:00 2026-10-25T02:45:00+02:00 2026-10-25T02:15:00+01:00 2026-10-25T02:45:00+01:00 2026-11-01T02:15:00+01:00",
		},
		{
			"around the hour that is skipped", "Europe/Berlin", "sun 01:00-04:00", "2026-03-29T00:00:00+01:00", false,
			"2026-03-29T01:00:00+01:00 2026-03-29T04:00:00+02:00",
		},
		{
			"around the hour that is repeated", "Europe/Berlin", "sun 01:00-04:00", "2026-10-25T00:00:00+02:00", false,
			"2026-10-25T01:00:00+02:00 2026-10-25T04:00:00+01:00",
		},
		{
			"the end is skipped", "Europe/Berlin", "sat 22:00-02:30", "2026-03-28T22:00:00+01:00", true,
			"2026-03-29T03:00:00+02:00 2026-04-04T22:00:00+02:00",
		},
		{
			"the beginning is skipped", "Europe/Berlin", "sun 02:30-05:00", "2026-03-29T00:00:00+01:00", false,
			"2026-03-29T03:00:00+02:00 2026-03-29T05:00:00+02:00",
		},
		{
			"the end is repeated", "America/New_York", "sat 22:00-01:30", "2026-10-31T23:00:00-04:00", true,
			"2026-11-01T01:30:00-04:00 2026-11-01T01:00:00-05:00 2026-11-01T01:30:00-05:00",
		},
		{
			"half an hour skipped", "Australia/Lord_Howe", "sun 02:00-02:30", "2026-10-03T12:00:00+10:30", false,
			"2026-10-11T02:00:00+11:00",
		},
		{
			"half an hour repeated: twice as long", "Australia/Lord_Howe", "sun 01:30-02:00", "2026-04-04T12:00:00+11:00", false,
			"2026-04-05T01:30:00+11:00 2026-04-05T02:00:00+10:30",
		},
		{
			"midnight is skipped", "America/Sao_Paulo", "sun 00:00-02:00", "2017-10-14T12:00:00-03:00", false,
			"2017-10-15T01:00:00-02:00 2017-10-15T02:00:00-02:00",
		},
		{
			"the day after is skipped", "Pacific/Apia", "thu 22:00-06:00", "2011-12-29T12:00:00-10:00", false,
			"2011-12-29T22:00:00-10:00 2011-12-31T00:00:00+14:00",
		},
		{
			"the day of the range is skipped, that after is not", "Pacific/Apia", "fri 22:00-06:00", "2011-12-29T12:00:00-10:00", false,
			"2011-12-31T00:00:00+14:00 2011-12-31T06:00:00+14:00 2012-01-06T22:00:00+14:00",
		},
		{
			"a skipped day alone", "Pacific/Apia", "fri", "2011-12-24T12:00:00-10:00", false,
			"2012-01-06T00:00:00+14:00 2012-01-07T00:00:00+14:00",
		},
		{
			"the last day of a leap year beyond the zone's table", "Europe/Berlin", "mon", "2040-12-31T12:00:00+01:00", true,
			"2041-01-01T00:00:00+01:00 2041-01-07T00:00:00+01:00",
		},
		{
			"an offset that is no whole minute", "Europe/Berlin", "08:00-09:00", "1890-01-01T00:00:00Z", false,
			"1890-01-01T07:06:32Z 1890-01-01T08:06:32Z",
		},
		{"always", "Europe/Berlin", "daily", "2026-03-28T00:00:00+01:00", true, "never"},
		{"all days, one by one", "Europe/Berlin", "wed-tue 00:00-24:00", "2026-03-28T00:00:00+01:00", true, "never"},
	} {
		t.Run(c.why, func(t *testing.T) {
			s := scheduled(t, c.zone, c.when)
			at, active := instant(t, c.from), c.active
			if s.Active(at) != active {
				t.Fatalf("%v at %v: %v", s, at, !active)
			}
			for want := range strings.FieldsSeq(c.want) {
				next := s.Next(at)
				if want == "never" {
					if !next.IsZero() {
						t.Errorf("after %v: %v, want none", at, next)
					}
					return
				}
				if !next.Equal(instant(t, want)) {
					t.Fatalf("after %v: %v, want %s", at, next, want)
				}
				if next.Location().String() != c.zone {
					t.Errorf("%v is in another zone", next)
				}
				at, active = next, !active
				if s.Active(at) != active || s.Active(at.Add(-1)) == active {
					t.Errorf("at %v and just before: %v, %v", at, s.Active(at), s.Active(at.Add(-1)))
				}
			}
		})
	}
}

func TestScheduleZones(t *testing.T) {
	noon := time.Date(2026, 5, 14, 12, 0, 0, 0, time.Local)
	for _, zone := range []string{"", "Local"} {
		s := scheduled(t, zone, "12:00-12:01")
		if !s.Active(noon) || s.Active(noon.Add(time.Minute)) || s.String() != "daily 12:00-12:01, Local" {
			t.Errorf("%q: %v", zone, s)
		}
	}
	n := 0
	for line := range strings.Lines(zoneNames) {
		n++
		zone := strings.TrimSpace(line)
		if s := scheduled(t, zone, "mon"); s.String() != "mon, "+zone {
			t.Errorf("%s: %v", zone, s)
		}
		if n%10 != 0 {
			continue
		}
		if near := nearestZone(strings.ToUpper(strings.ReplaceAll(zone, "_", " "))); near != zone {
			t.Errorf("%s: did you mean %q?", zone, near)
		}
	}
	if n < 500 {
		t.Errorf("%d zones", n)
	}
}

// TestScheduleLooksFifteenDaysAhead asks in a zone whose clocks skip the same hour for five Sundays.
func TestScheduleLooksFifteenDaysAhead(t *testing.T) {
	var times, kinds []byte
	first := instant(t, "2026-05-03T02:00:00Z")
	for week := range 5 {
		skip := first.AddDate(0, 0, 7*week).Unix()
		times = binary.BigEndian.AppendUint32(times, uint32(skip))
		times = binary.BigEndian.AppendUint32(times, uint32(skip+daySeconds))
		kinds = append(kinds, 1, 0)
	}
	data := append([]byte("TZif"), make([]byte, 16)...) // RFC 9636 §3, version 1
	for _, count := range []int{0, 0, 0, len(kinds), 2, 4} {
		data = binary.BigEndian.AppendUint32(data, uint32(count))
	}
	data = slices.Concat(data, times, kinds, []byte{0, 0, 0, 0, 0, 0}, []byte{0, 0, 3600 >> 8, 3600 & 255, 1, 0}, []byte("LMT\x00"))
	zone, err := time.LoadLocationFromTZData("Test/Sundays", data)
	must(t, err)
	s := scheduled(t, "UTC", "sun 02:00-02:30")
	s.zone = zone

	begins := instant(t, "2026-06-07T02:00:00Z") // the sixth Sunday
	for at := instant(t, "2026-04-26T12:00:00Z"); at.Before(begins); at = at.Add(time.Hour) {
		var want time.Time
		if !begins.After(at.AddDate(0, 0, 15)) {
			want = begins
		}
		if next := s.Next(at); !next.Equal(want) {
			t.Fatalf("after %v: %v, want %v", at, next, want)
		}
	}
}

// TestScheduleOfAnyTime holds that no time is too far away.
func TestScheduleOfAnyTime(t *testing.T) {
	for _, zone := range []string{"Europe/Berlin", "Australia/Lord_Howe", "UTC"} {
		s := scheduled(t, zone, "sun 02:00-02:30")
		for _, unix := range []int64{-1 << 63, -1<<63 + 1e6, -1 << 40, -1, 0, 1 << 40, 1<<62 - 1, 1<<63 - 1e6, 1<<63 - 1} {
			at := time.Unix(unix, 999999999)
			if next := s.Next(at); !next.IsZero() && s.Active(next) == s.Active(at) {
				t.Errorf("%s: %v does not change at %v", zone, at, next)
			}
		}
	}
}

func TestScheduleAllocatesNothing(t *testing.T) {
	s := scheduled(t, "America/New_York", "mon-fri 08:00-17:30", "sun 02:00-02:30")
	at := instant(t, "2026-03-07T12:00:00Z")
	if n := testing.AllocsPerRun(1000, func() {
		s.Active(at)
		s.Next(at)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkActive(b *testing.B) {
	s := scheduled(b, "Europe/Berlin", "mon-fri 08:00-12:00", "mon-fri 13:00-17:30", "sat 22:00-06:00")
	at := instant(b, "2026-05-14T12:00:00Z")
	b.ReportAllocs()
	for b.Loop() {
		s.Active(at)
	}
}

func BenchmarkNext(b *testing.B) {
	work := []string{"mon-fri 08:00-12:00", "mon-fri 13:00-17:30", "sat 22:00-06:00"}
	for _, c := range []struct {
		name, at string
		when     []string
	}{
		{"today", "2026-05-14T12:30:00Z", work},
		{"today-in-2045", "2045-05-14T12:30:00Z", work},                                                // beyond the zone's table
		{"skipped-in-2040", "2040-03-18T12:00:00Z", []string{"sun 02:00-02:30"}},                       // 14 days and a change of the clock
		{"many", "2026-05-14T12:30:00Z", strings.Split(strings.Repeat("22:00-06:00;", 99)+"mon", ";")}, // texts
	} {
		b.Run(c.name, func(b *testing.B) {
			s, at := scheduled(b, "Europe/Berlin", c.when...), instant(b, c.at)
			b.ReportAllocs()
			for b.Loop() {
				s.Next(at)
			}
		})
	}
}
