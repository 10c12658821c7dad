package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/audit"
	"weir/cmd/internal/admin"
)

// gap is a time of which records are missing.
type gap struct {
	Cause string    `json:"cause"` // overload, disk, crash or clock
	Seq   uint64    `json:"seq"`   // of the record that tells it
	Lost  uint64    `json:"lost"`  // of cause crash 0, which says that it is not known
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
}

// gaps is what is missing, and the account of all that there is.
type gaps struct {
	audit.Totals
	Gaps    []gap    `json:"gaps"` // oldest first
	More    int      `json:"more,omitempty"`
	Failing *failing `json:"failing,omitempty"` // nil while the log can be written
}

// failing is what a server that cannot write its log has had to do with since its start.
type failing struct {
	Taken   uint64 `json:"taken"`
	Waiting uint64 `json:"waiting"` // of them, those that are in memory alone
	Lost    uint64 `json:"lost"`    // gaps count them as soon as they can be written
	Error   string `json:"error"`
}

func gapsCommand(g *global) *cobra.Command {
	var a asking
	c := &cobra.Command{
		Use:   "gaps",
		Short: "Show each gap in the record with its cause, and the sums",
		Long: "Show each gap in the record with its cause, oldest first, and the sums: queries\n" +
			"received are those recorded, those that the gaps count, and those that were left\n" +
			"out as configured, as far as the log has said so (hourly). What a crash took,\n" +
			"if anything, is not counted; of cause clock nothing is missing but times jump.",
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

// findGaps reads the gap records.
func findGaps(ctx context.Context, r records, q audit.Query, limit int) (gaps, error) {
	found := gaps{Gaps: []gap{}}
	totals, err := r.Totals(ctx, q)
	if found.Totals = totals; ctx.Err() != nil {
		return found, err
	}
	q.Oldest, q.Kind = true, audit.KindGap
	lost := r.Search(ctx, q, func(rec *audit.Record) error {
		if limit > 0 && len(found.Gaps) == limit {
			found.More++
			return nil
		}
		cause := cmp.Or(rec.Cause, audit.CauseOverload.String()) // the first version had no other
		found.Gaps = append(found.Gaps, gap{cause, rec.Seq, rec.Lost, rec.From, rec.To})
		return nil
	})
	if server, ok := r.(*admin.Client); ok {
		st, err := server.Status(ctx)
		if err != nil {
			return found, err
		}
		if a := st.Audit; a.LastError != "" {
			found.Failing = &failing{a.Recorded, a.Pending, a.Lost, a.LastError}
		}
	}
	return found, cmp.Or(err, lost) // damage that both came upon is told once
}

func gapsText(g *gaps) string {
	var rows [][]string
	for _, x := range g.Gaps {
		lost := fmt.Sprint(x.Lost)
		switch x.Cause {
		case audit.CauseCrash.String():
			lost = "not counted"
		case audit.CauseClock.String():
			lost = "none" // the times jump, the numbers do not
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
	excluded := ""
	if g.Excluded > 0 {
		excluded = fmt.Sprintf(" + excluded %d", g.Excluded)
	}
	text += fmt.Sprintf("received %d = recorded %d + lost %d%s, in %s\n", g.Received, g.Recorded, g.Lost, excluded, plural(int(g.Totals.Gaps), "counted gap"))
	if f := g.Failing; f != nil {
		text += fmt.Sprintf("the server cannot write: %s\n  since its start %d taken, %d of them waiting, and %d lost, which gaps count as soon as it can\n", shown(f.Error), f.Taken, f.Waiting, f.Lost)
	}
	return text
}

func changesCommand(g *global) *cobra.Command {
	var since, until, what string
	var limit int
	var oldest, reads, asJSON bool
	c := &cobra.Command{
		Use:   "changes",
		Short: "Show what was done to configuration, lists and exceptions, newest first",
		Long: "Show starts, stops, reloads, and what operators did to configuration, lists and\n" +
			"exceptions, newest first; with --reads also who has read the record.",
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
			return g.listRecords(cmd, q, limit, asJSON, func(rec *audit.Record) bool {
				return strings.Contains(rec.Text, what) && (reads || !strings.HasPrefix(rec.Action, audit.ActionAsk))
			})
		},
	}
	f := c.Flags()
	f.StringVar(&since, "since", "", "`TIME`: a span back from now like 90m or 7d, a date, or RFC 3339")
	f.StringVar(&until, "until", "", "`TIME`, written like --since; changes before it")
	f.BoolVar(&reads, "reads", false, "who has read the record, too")
	f.StringVar(&what, "text", "", "only those with this `TEXT` in them, like list or exception")
	f.IntVar(&limit, "limit", 50, "at most so many `CHANGES`; 0 is all")
	f.BoolVar(&oldest, "reverse", false, "oldest first")
	jsonFlag(c, &asJSON)
	return c
}
