package blocklist

import (
	"errors"
	"fmt"
	"strings"
)

// ScheduleError is one mistake in a schedule: where it stands, what it is, and what to do about it.
type ScheduleError struct {
	Index int // of the text in when; 0 too when there is none; -1 is the zone
	At    int // octets of that text before the mistake; all of them when something is missing at its end
	What  string
	Hint  string
}

// Error returns "text 1, octet 5: what (hint)", counting from 1.
func (e *ScheduleError) Error() string {
	text := e.What
	if e.Index >= 0 {
		text = fmt.Sprintf("text %d, octet %d: %s", e.Index+1, e.At+1, text)
	}
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// ParseSchedule makes a schedule of its texts, which add up. Each is days, hours or both:
//
//	mon-fri 08:00-17:30    from Monday to Friday; Saturday's hours may be another text
//	sat,sun 22:00-06:00    over midnight, into Sunday and into Monday
//	fri-mon 18:00-24:00    the days go on after Sunday; 24:00 is an end only
//	daily 12:00-13:00      the same as 12:00-13:00 alone
//	mon-fri                the whole day
//
// Days are mon, tue, wed, thu, fri, sat and sun, or their full English names, in upper or lower case. The zone is a name
// of the IANA time zone database, "UTC", or "Local", the machine's own; empty means Local.
//
// It reports the first mistake of the zone and of each text at once, joined, each a *ScheduleError.
func ParseSchedule(name, zone string, when []string) (*Schedule, error) {
	s := &Schedule{Name: name}
	var errs []error
	var err error
	if s.zone, err = parseZone(zone); err != nil {
		errs = append(errs, err)
	}
	if len(when) == 0 {
		errs = append(errs, &ScheduleError{What: "no days and no hours", Hint: whenHint})
	}
	for i, text := range when {
		p := whenParser{index: i, text: text}
		h, err := p.hours()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.hours = append(s.hours, h)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	s.lay()
	return s, nil
}

const whenHint = `write as "mon-fri 08:00-17:30", "sat,sun" or "22:00-06:00"`

// whenParser reads one text of a schedule, a word at a time.
type whenParser struct {
	index int
	text  string
	at    int    // where word begins
	word  string // "-", ",", or what stands between these and spaces; empty at the end
}

func (p *whenParser) hours() (h hours, err error) {
	h = hours{days: everyDay, to: dayMinutes}
	p.next()
	if p.word == "" {
		return h, p.fail(whenHint, "no days and no hours")
	}
	if !digit(p.word[0]) {
		if h.days, err = p.days(); err != nil || p.word == "" {
			return h, err
		}
	}
	begins := p.at
	if h.from, err = p.clock(); err != nil {
		return h, err
	}
	if h.from == dayMinutes {
		p.at = begins
		return h, p.fail(`write "00:00", and the day after`, "a range cannot begin at 24:00")
	}
	if p.word != "-" {
		return h, p.fail(`write a range as "08:00-17:30"`, "the hours have no end")
	}
	p.next()
	if h.to, err = p.clock(); err != nil {
		return h, err
	}
	if h.to == h.from {
		p.at = begins
		return h, p.fail(fmt.Sprintf("for the whole day write %q alone", daysText(h.days)), "the range ends when it begins")
	}
	if h.to < h.from {
		h.to += dayMinutes
	}
	if p.word != "" {
		return h, p.fail("days stand before their hours; more of either are a text of their own", "%s after the hours", p.quoted())
	}
	return h, nil
}

// days reads the days up to the hours or the end.
func (p *whenParser) days() (days uint8, err error) {
	if len(p.word) == len("daily") && strings.EqualFold(p.word, "daily") {
		if p.next(); p.word == "," || p.word == "-" {
			return 0, p.fail("it is every day already", `%s after "daily"`, p.quoted())
		}
		return everyDay, nil
	}
	for {
		first, err := p.day()
		if err != nil {
			return 0, err
		}
		last := first
		if p.word == "-" {
			p.next()
			at := p.at
			if last, err = p.day(); err != nil {
				return 0, err
			}
			if last == first {
				p.at = at
				return 0, p.fail(fmt.Sprintf(`write %q, or "daily" for all days`, shortDay(first)), "the range of days ends on the day on which it begins")
			}
		}
		for day := first; ; day = (day + 1) % 7 {
			days |= 1 << day
			if day == last {
				break
			}
		}
		switch {
		case p.word == ",":
			p.next()
		case p.word == "" || digit(p.word[0]):
			return days, nil
		case p.word == "-":
			return 0, p.fail(`write a comma, as in "mon-wed,fri"`, "%s after a range of days", p.quoted())
		case dayNumber(p.word) >= 0:
			return 0, p.fail(`write a comma between days, as in "sat,sun"`, "%s after a day", p.quoted())
		default:
			return 0, p.fail(`hours are written as "08:00-17:30"`, "%s is neither hours nor a comma", p.quoted())
		}
	}
}

// day reads a day and goes on to the next word.
func (p *whenParser) day() (int, error) {
	day := dayNumber(p.word)
	switch {
	case p.word == "":
		return 0, p.fail(daysHint, "a day is missing at the end")
	case p.word == "," || p.word == "-" || digit(p.word[0]):
		return 0, p.fail(daysHint, "%s where a day should be", p.quoted())
	case day < 0:
		return 0, p.fail(dayHint(p.word), "%s is no day", p.quoted())
	}
	p.next()
	return day, nil
}

// clock reads a time of day, in minutes from its beginning, and goes on to the next word.
func (p *whenParser) clock() (minutes int, err error) {
	const hint = `write hours and minutes, as in "08:00"`
	w := p.word
	switch {
	case w == "":
		return 0, p.fail(hint, "a time is missing at the end")
	case len(w) == 4 && isClock("0"+w):
		return 0, p.fail(fmt.Sprintf("write %q", "0"+w), "%s is no time of day", p.quoted())
	case strings.ContainsAny(w, dashes):
		return 0, p.fail(dashHint, "%s is no time of day", p.quoted())
	case !isClock(w):
		return 0, p.fail(hint, "%s is no time of day", p.quoted())
	}
	hour, minute := int(w[0]-'0')*10+int(w[1]-'0'), int(w[3]-'0')*10+int(w[4]-'0')
	if hour > 24 || hour == 24 && minute > 0 || minute > 59 {
		return 0, p.fail("a day has 00:00 to 23:59, and 24:00 as an end", "%s is no time of day", p.quoted())
	}
	p.next()
	return hour*60 + minute, nil
}

// isClock says whether w is two digits, a colon, and two more.
func isClock(w string) bool {
	return len(w) == 5 && digits([]byte(w[:2])) && w[2] == ':' && digits([]byte(w[3:]))
}

// next goes on to the next word.
func (p *whenParser) next() {
	p.at += len(p.word)
	rest := strings.TrimLeft(p.text[p.at:], " \t")
	p.at = len(p.text) - len(rest)
	switch n := strings.IndexAny(rest, " \t,-"); n {
	case -1:
		p.word = rest
	case 0:
		p.word = rest[:1]
	default:
		p.word = rest[:n]
	}
}

func (p *whenParser) quoted() string { return `"` + printable([]byte(p.word)) + `"` }

// fail is a mistake at the word now read.
func (p *whenParser) fail(hint, format string, args ...any) error {
	return &ScheduleError{Index: p.index, At: p.at, What: fmt.Sprintf(format, args...), Hint: hint}
}

var dayNames = [7]string{"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}

func shortDay(day int) string { return dayNames[day%7][:3] }

// dayNumber returns 0 for Monday, or -1 for what is no day.
func dayNumber(word string) int {
	for i, name := range dayNames {
		// Letters that fold to ASCII from elsewhere are longer.
		if (len(word) == 3 || len(word) == len(name)) && strings.EqualFold(word, name[:len(word)]) {
			return i
		}
	}
	return -1
}

const (
	daysHint = "days are mon, tue, wed, thu, fri, sat, sun, or daily"
	dashHint = `write a range with the hyphen "-"`
	dashes   = "\u2010\u2011\u2012\u2013\u2014\u2212" // what word processors make of it
)

// dayHint says what to write instead of a word that is no day.
func dayHint(word string) string {
	word = strings.ToLower(word)
	switch {
	case strings.ContainsAny(word, dashes):
		return dashHint
	case strings.ContainsAny(word, "0123456789"):
		return "write a space between days and hours"
	case len(word) > 16:
		return daysHint
	case strings.HasPrefix(word, "weekday"), strings.HasPrefix(word, "workday"):
		return `write "mon-fri"`
	case strings.HasPrefix(word, "weekend"):
		return `write "sat,sun"`
	}
	for i, name := range dayNames {
		if strings.HasPrefix(word, name[:3]) || editDistance(word, name[:3]) < 2 || editDistance(word, name) < 3 {
			return fmt.Sprintf("did you mean %q?", shortDay(i))
		}
	}
	return daysHint
}
