package main

import (
	"math"
	"testing"
)

func TestParseSeq(t *testing.T) {
	for text, want := range map[string][2]uint64{
		"1": {1, 1}, "17": {17, 17}, "17-20": {17, 20}, "5-5": {5, 5}, "1-18446744073709551615": {1, math.MaxUint64},
	} {
		if from, to, err := parseSeq(text); err != nil || from != want[0] || to != want[1] {
			t.Errorf("%q: %d to %d, %v, want %d", text, from, to, err, want)
		}
	}
	number := ` is no sequence number: write one like 17, or the first and the last like 17-20`
	for text, want := range map[string]string{
		"": number, "0": number, "0-4": number, "x": number, "-5": number, "5-": number, "+5": number, "5-6-7": number, "5 - 6": number,
		"18446744073709551616": number, "20-17": " ends before it begins", "5-0": " ends before it begins",
	} {
		if _, _, err := parseSeq(text); err == nil || err.Error() != `"`+text+`"`+want {
			t.Errorf("%q: %v", text, err)
		}
	}
}
