package main

import (
	"fmt"
	"math"
	"time"

	"weir/audit"
)

// A plot is bars over time, allowed below and blocked above, in the units of its
// view box.
type plot struct {
	Width, Height int
	Lines         []plotLine
	Bars          []plotBar
	Marks         []plotMark
}

type plotLine struct {
	X, X2, Y, TextX, TextY string
	Text                   string
}

type plotBar struct {
	Title, From      string
	Allowed, Blocked uint64
	X, Width         string
	AllowY, Allow    string
	BlockY, Block    string
}

type plotMark struct{ X, Y, Anchor, Text string }

const (
	plotWidth, plotHeight = 960, 240
	plotLeft, plotRight   = 60, 950
	plotTop, plotBottom   = 10, 205
	plotLines, plotTimes  = 4, 6
)

func newPlot(t *audit.Timeline, zone *time.Location) plot {
	p := plot{Width: plotWidth, Height: plotHeight}
	n := len(t.Allowed)
	var most uint64
	for i := range n {
		most = max(most, t.Allowed[i]+t.Blocked[i])
	}
	top := roundUp(most)
	scale := float64(plotBottom-plotTop) / float64(top)
	unit := func(v float64) string { return fmt.Sprintf("%.1f", v) }
	for i := range plotLines + 1 {
		y := plotBottom - float64(top)*float64(i)/plotLines*scale
		p.Lines = append(p.Lines, plotLine{
			unit(plotLeft), unit(plotRight), unit(y), unit(plotLeft - 6), unit(y + 4), fmt.Sprint(top * uint64(i) / plotLines),
		})
	}
	wide := float64(plotRight-plotLeft) / float64(max(n, 1))
	at := func(i int) time.Time {
		return t.From.Add(time.Duration(float64(t.To.Sub(t.From)) * float64(i) / float64(n))).In(zone)
	}
	for i := range n {
		allow, block := float64(t.Allowed[i])*scale, float64(t.Blocked[i])*scale
		from := at(i).Format("Mon 2006-01-02 15:04")
		p.Bars = append(p.Bars, plotBar{
			Title: fmt.Sprintf("%s: %d allowed, %d blocked", from, t.Allowed[i], t.Blocked[i]), From: from,
			Allowed: t.Allowed[i], Blocked: t.Blocked[i],
			X: unit(plotLeft + wide*float64(i)), Width: unit(max(wide-1, wide/2)),
			AllowY: unit(plotBottom - allow), Allow: unit(allow),
			BlockY: unit(plotBottom - allow - block), Block: unit(block),
		})
	}
	layout := "Mon 15:04"
	if t.To.Sub(t.From) >= 3*24*time.Hour {
		layout = "Mon 2 Jan"
	}
	for i := range plotTimes + 1 {
		k := i * n / plotTimes
		anchor := "middle"
		if i == plotTimes {
			anchor = "end"
		}
		p.Marks = append(p.Marks, plotMark{unit(plotLeft + wide*float64(k)), unit(plotBottom + 18), anchor, at(k).Format(layout)})
	}
	return p
}

// roundUp returns a number that is n or little more and whose quarters read well.
func roundUp(n uint64) uint64 {
	if n <= 4 {
		return 4
	}
	step := uint64(math.Pow10(int(math.Log10(float64(n)))))
	for _, f := range []float64{1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10} {
		if top := uint64(f*float64(step)+3) / 4 * 4; top >= n {
			return top
		}
	}
	return n
}
