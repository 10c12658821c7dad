package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/audit"
)

// gap is a time of which records are missing.
type gap struct {
	Cause string    `json:"cause"` // overload or crash
	Seq   uint64    `json:"seq"`   // of the record that tells it
	Lost  uint64    `json:"lost"`  // 0 with Cause crash: how many is not known
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
}

// gaps is what is missing, and the account of all that there is.
type gaps struct {
	audit.Totals
	Gaps []gap `json:"gaps"` // oldest first
	More int   `json:"more,omitempty"`
}

func gapsCommand(g *global) *cobra.Command {
	var a asking
	c := &cobra.Command{
		Use:   "gaps",
		Short: "Show each gap in the record with its cause, and the sums",
		Long: "Show each gap in the record with its cause, oldest first, and the sums: queries\n" +
			"received are those recorded and those that the gaps count. A start without a\n" +
			"stop before it is a crash: what was not on disk then is lost uncounted.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(g, cmd, &a, func(ctx context.Context, r records, q audit.Query) (gaps, error) {
				return findGaps(ctx, r, q, a.limit)
			}, func(found gaps) string { return gapsText(&found) })
		},
	}
	f := c.Flags()
	f.StringVar(&a.cond.since, "since", "", "`TIME`: a span back from now like 90m or 7d, a date, or RFC 3339")
	f.StringVar(&a.cond.until, "until", "", "`TIME`, written like --since; records before it")
	f.IntVar(&a.limit, "limit", 1000, "at most so many `GAPS`; 0 is all")
	jsonFlag(c, &a.asJSON)
	return c
}

// findGaps reads the gap records, and the starts and stops among the changes.
func findGaps(ctx context.Context, r records, q audit.Query, limit int) (gaps, error) {
	found := gaps{Gaps: []gap{}}
	var err error
	if found.Totals, err = r.Totals(ctx, q); ctx.Err() != nil {
		return found, err
	}
	add := func(g gap) {
		if limit > 0 && len(found.Gaps) == 2*limit {
			found.More++
			return
		}
		found.Gaps = append(found.Gaps, g)
	}
	q.Oldest, q.Kind = true, audit.KindGap
	lost := r.Search(ctx, q, func(rec *audit.Record) error {
		add(gap{"overload", rec.Seq, rec.Lost, rec.From, rec.To})
		return nil
	})
	running, before := wasRunning(ctx, r, q)
	q.Kind = audit.KindChange
	changed := r.Search(ctx, q, func(rec *audit.Record) error {
		switch {
		case strings.HasPrefix(rec.Text, "start: "):
			if running {
				add(gap{Cause: "crash", Seq: rec.Seq, To: rec.Time})
			}
			running = true
		case strings.HasPrefix(rec.Text, "stop: "):
			running = false
		}
		return nil
	})
	slices.SortFunc(found.Gaps, func(a, b gap) int { return cmp.Compare(a.Seq, b.Seq) })
	if n := len(found.Gaps) - limit; limit > 0 && n > 0 {
		found.Gaps, found.More = found.Gaps[:limit], found.More+n
	}
	for i := range found.Gaps {
		if g := &found.Gaps[i]; g.Cause == "crash" {
			g.From = g.To
			err = cmp.Or(err, r.Search(ctx, audit.Query{SeqFrom: g.Seq - 1, SeqTo: g.Seq - 1}, func(rec *audit.Record) error {
				g.From = rec.Time
				return nil
			}))
		}
	}
	return found, cmp.Or(err, before, lost, changed) // damage that all came upon is told once
}

// wasRunning says whether the last start or stop before the time that q begins
// with was a start.
func wasRunning(ctx context.Context, r records, q audit.Query) (running bool, err error) {
	if q.Since.IsZero() {
		return false, nil
	}
	known := errors.New("known")
	err = r.Search(ctx, audit.Query{Kind: audit.KindChange, Until: q.Since}, func(rec *audit.Record) error {
		running = strings.HasPrefix(rec.Text, "start: ")
		if running || strings.HasPrefix(rec.Text, "stop: ") {
			return known
		}
		return nil
	})
	if errors.Is(err, known) {
		err = nil
	}
	return running, err
}

func gapsText(g *gaps) string {
	var rows [][]string
	for _, x := range g.Gaps {
		lost := "not counted"
		if x.Cause != "crash" {
			lost = fmt.Sprint(x.Lost)
		}
		rows = append(rows, []string{fmt.Sprint(x.Seq), x.Cause, lost, local(x.From), local(x.To)})
	}
	text := ""
	if len(rows) > 0 {
		text = table(append([][]string{{"SEQ", "CAUSE", "LOST", "FROM", "TO"}}, rows...), "")
	}
	if g.More > 0 {
		text += fmt.Sprintf("%d more; --limit 0 shows all\n", g.More)
	}
	return text + fmt.Sprintf("received %d = recorded %d + lost %d, in %s\n", g.Received, g.Recorded, g.Lost, plural(int(g.Totals.Gaps), "counted gap"))
}

func changesCommand(g *global) *cobra.Command {
	var since, until, what string
	var limit int
	var oldest, asJSON bool
	c := &cobra.Command{
		Use:   "changes",
		Short: "Show what was done to configuration, lists and exceptions, newest first",
		Long: "Show starts, stops, reloads, and what operators did to configuration, lists and\n" +
			"exceptions, newest first.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cond := conditions{kind: "change", since: since, until: until}
			q, err := cond.query(time.Now())
			if err != nil {
				return err
			}
			if limit < 0 {
				return &exitError{exitUsage, errors.New("--limit is below zero")}
			}
			q.Oldest = oldest
			return g.listRecords(cmd, q, limit, asJSON, func(rec *audit.Record) bool { return strings.Contains(rec.Text, what) })
		},
	}
	f := c.Flags()
	f.StringVar(&since, "since", "", "`TIME`: a span back from now like 90m or 7d, a date, or RFC 3339")
	f.StringVar(&until, "until", "", "`TIME`, written like --since; changes before it")
	f.StringVar(&what, "text", "", "only those with this `TEXT` in them, like list or exception")
	f.IntVar(&limit, "limit", 50, "at most so many `CHANGES`; 0 is all")
	f.BoolVar(&oldest, "reverse", false, "oldest first")
	jsonFlag(c, &asJSON)
	return c
}
