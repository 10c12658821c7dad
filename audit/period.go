package audit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Period is the time that one file of the store is for.
type Period uint8

const (
	Day Period = iota // of UTC, as all of them
	Hour
	Month
)

// number counts the periods, from 1 on.
func (p Period) number(nanoseconds int64) int64 {
	t := time.Unix(0, nanoseconds).UTC()
	switch p {
	case Hour:
		return t.Unix()/3600 + 1
	case Month:
		return int64(t.Year())*12 + int64(t.Month())
	default:
		return t.Unix()/86400 + 1
	}
}

// name is the period's part of a file's name.
func (p Period) name(nanoseconds int64) string {
	return time.Unix(0, nanoseconds).UTC().Format([...]string{Day: "20060102", Hour: "20060102T15", Month: "200601"}[p])
}

// A file of the store is called audit-0000000000000001-20261129.db. The number says
// where it stands among the others, which dates do not when clocks are set back: its
// records have that number at least, those in files before it a lower one. The date is
// that of the newest record in the first commit to it, and for people only.
const (
	filePrefix = "audit-"
	fileSuffix = ".db"
	formerFile = "audit.db" // of the versions that kept all in one file
)

func fileName(first uint64, p Period, nanoseconds int64) string {
	return fmt.Sprintf("%s%016d-%s%s", filePrefix, first, p.name(nanoseconds), fileSuffix)
}

// fileNumber returns the number in a name that fileName has made.
func fileNumber(name string) (first uint64, ok bool) {
	rest, ok := strings.CutPrefix(name, filePrefix)
	if !ok {
		return 0, false
	}
	if rest, ok = strings.CutSuffix(rest, fileSuffix); !ok {
		return 0, false
	}
	number, date, ok := strings.Cut(rest, "-")
	if !ok || len(number) < 16 || !slices.Contains([]int{6, 8, 11}, len(date)) || strings.Trim(date, "0123456789T") != "" {
		return 0, false
	}
	first, err := strconv.ParseUint(number, 10, 64)
	return first, err == nil
}
