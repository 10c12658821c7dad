package blocklist

import (
	_ "embed"
	"fmt"
	"strings"
	"time"
)

// parseZone finds a time zone: an IANA name, "UTC", or "Local" or nothing for the machine's own.
func parseZone(name string) (*time.Location, error) {
	if name == "" {
		return time.Local, nil
	}
	if ianaName(name) {
		if zone, err := time.LoadLocation(name); err == nil {
			return zone, nil
		}
	}
	hint := "write an IANA name such as Europe/Berlin"
	if near := nearestZone(name); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return nil, &ScheduleError{Index: -1, What: fmt.Sprintf(`no time zone "%s" is known`, printable([]byte(name))), Hint: hint}
}

// ianaName says whether a name is written as those of the time zone database are: parts that begin with a capital
// letter. A machine may have other files beside its zones, such as "right/UTC", which counts leap seconds.
func ianaName(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part[0] < 'A' || part[0] > 'Z' {
			return false
		}
		for _, c := range []byte(part) {
			if c = lower(c); (c < 'a' || c > 'z') && !digit(c) && c != '_' && c != '-' && c != '+' {
				return false
			}
		}
	}
	return true
}

// zoneNames are the names of the time zone database, one a line, for hints only: which zones there are is known to
// package time alone. They are those in lib/time/zoneinfo.zip of Go 1.26.
//
//go:embed schedule_zones.txt
var zoneNames string

// nearestZone returns the zone that was most likely meant, or "" when none is near: the same but for case and spaces,
// the same city elsewhere or nowhere, or a slip of a letter or two.
func nearestZone(name string) string {
	const longest = 40
	name = strings.ReplaceAll(strings.ToLower(name), " ", "_")
	if len(name) > longest {
		return ""
	}
	city := func(zone string) string { return zone[strings.LastIndexByte(zone, '/')+1:] }
	slips, citySlips := min(len(name)/4, 2), min(len(city(name))/4, 2)
	if strings.ContainsAny(name, "0123456789") { // "GMT+2" is neither GMT+0 nor Etc/GMT+2, which is behind UTC
		slips, citySlips = 0, -1
	}
	best, least := "", slips+citySlips+2
	for line := range strings.Lines("Local\n" + zoneNames) {
		zone := strings.TrimSpace(line)
		low := strings.ToLower(zone)
		if d := editDistance(name, low); d <= slips && d < least {
			best, least = zone, d
		}
		if d := editDistance(city(name), city(low)); d <= citySlips && d+1 < least {
			best, least = zone, d+1
		}
	}
	return best
}
