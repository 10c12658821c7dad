package main

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"time"

	"weir/audit"
)

//go:embed report.html
var reportHTML string

//go:embed report.css
var reportCSS string

// reportPage is a findings as its page shows them: text and numbers only, which
// html/template escapes for where they stand. The page names no other resource,
// and its policy lets it load none but its own style.
type reportPage struct {
	Style     template.CSS
	StyleHash string

	From, To, Made, Version, Conditions string
	First, Last                         uint64
	Warnings                            []string
	Received, Recorded, Lost, Blocked   uint64
	Share                               string
	Clients, NewNames                   uint64
	Plot                                plot
	Tops                                []pageTop
	New                                 []pageName
	NewNote                             string
	Gaps                                []pageGap
	GapNote                             string
}

type pageTop struct {
	Title, Note string
	Rows        []pageRow
}

type pageRow struct {
	Text, Class string
	Bar         int // of 100
	Count       uint64
}

type pageName struct {
	Name, Client, First string
	Count, Blocked      uint64
}

type pageGap struct{ Cause, Lost, From, To string }

// writePage writes the page of what was found, with times of that zone.
func writePage(out io.Writer, f *findings, zone *time.Location) error {
	at := func(t time.Time) string { return t.In(zone).Format("2006-01-02 15:04:05 MST") }
	sum := sha256.Sum256([]byte(reportCSS))
	p := reportPage{
		Style: template.CSS(reportCSS), StyleHash: base64.StdEncoding.EncodeToString(sum[:]),
		From: at(f.Timeline.From), To: at(f.Timeline.To), Made: at(f.Made), Version: f.Version, Conditions: f.Conditions,
		First: f.Gaps.First, Last: f.Gaps.Last, Warnings: f.Warnings,
		Received: f.Gaps.Received, Recorded: f.Gaps.Recorded, Lost: f.Gaps.Lost,
		NewNames: f.New.Names, Plot: newPlot(&f.Timeline, zone),
	}
	for _, n := range f.Timeline.Blocked {
		p.Blocked += n
	}
	p.Share = share(p.Blocked, f.Top[0].Records)
	p.Clients = f.Top[0].Keys
	for i, title := range topTitles {
		p.Tops = append(p.Tops, newPageTop(title, &f.Top[i], i >= firstBlocked))
	}
	for _, n := range f.New.Rows {
		client := "-"
		if len(n.Clients) > 0 {
			client = addrText(n.Clients[0])
		}
		p.New = append(p.New, pageName{cmp.Or(n.Name, "-"), client, at(n.First), n.Count, n.Blocked})
	}
	if more := int(f.New.Names) - len(f.New.Rows); more > 0 {
		p.NewNote = fmt.Sprintf("and %d more", more)
	}
	if f.New.Uncounted > 0 {
		p.NewNote += fmt.Sprintf(" (there are too many names to tell apart: %d queries for others are not in this)", f.New.Uncounted)
	}
	for _, g := range f.Gaps.Gaps {
		lost := "not counted"
		if g.Cause != "crash" {
			lost = fmt.Sprint(g.Lost)
		}
		p.Gaps = append(p.Gaps, pageGap{g.Cause, lost, at(g.From), at(g.To)})
	}
	if f.Gaps.More > 0 {
		p.GapNote = fmt.Sprintf("and %d more", f.Gaps.More)
	}
	t, err := template.New("report").Parse(reportHTML)
	if err != nil {
		return err
	}
	return t.Execute(out, &p)
}

func newPageTop(title string, t *audit.Top, blocked bool) pageTop {
	top := pageTop{Title: title}
	for _, r := range t.Rows {
		row := pageRow{Count: r.Count, Class: "allow"}
		if blocked {
			row.Class = "block"
		}
		switch t.By {
		case audit.ByClient:
			row.Text = addrText(r.Client)
		case audit.ByCategory:
			row.Text = cmp.Or(r.Category, "(no category)")
		default:
			row.Text = cmp.Or(r.Name, "(no question)")
		}
		row.Bar = max(1, int(100*r.Count/t.Rows[0].Count))
		top.Rows = append(top.Rows, row)
	}
	if t.Others > 0 {
		top.Note = fmt.Sprintf("%s in others", count(int(t.Others), "query", "queries"))
	}
	if t.Dropped > 0 {
		top.Note += fmt.Sprintf("; there are too many to count each: none left out has more than %d", t.Missed)
	}
	return top
}
