package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/audit"
)

func searchCommand(g *global) *cobra.Command {
	var cond conditions
	var limit int
	var oldest, asJSON bool
	c := &cobra.Command{
		Use:   "search",
		Short: "Find records, newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := cond.query(time.Now())
			if err != nil {
				return err
			}
			if limit < 0 {
				return &exitError{exitUsage, errors.New("--limit is below zero")}
			}
			q.Oldest = oldest
			return g.listRecords(cmd, q, limit, asJSON, func(*audit.Record) bool { return true })
		},
	}
	cond.flags(c)
	cond.kindFlag(c)
	cond.seqFlag(c)
	cond.pageFlags(c)
	c.Flags().IntVar(&limit, "limit", 50, "at most so many `RECORDS`; 0 is all")
	c.Flags().BoolVar(&oldest, "reverse", false, "oldest first")
	jsonFlag(c, &asJSON)
	return c
}

// listRecords prints the records that q asks for and that wanted takes, at most
// limit, and says where the next page begins; 0 is all.
func (g *global) listRecords(cmd *cobra.Command, q audit.Query, limit int, asJSON bool, wanted func(*audit.Record) bool) error {
	r, err := g.records(cmd)
	if err != nil {
		return err
	}
	defer r.Close()
	ctx, stop := interruptible(cmd)
	defer stop()
	out := bufio.NewWriter(cmd.OutOrStdout())
	print := printer(out, g.palette(cmd.OutOrStdout()), asJSON)
	more := errors.New("there are more")
	found, last := 0, uint64(0)
	err = r.Each(ctx, q, func(rec *audit.Record) error {
		switch {
		case !wanted(rec):
			return nil
		case limit > 0 && found == limit:
			return more
		}
		found, last = found+1, rec.Seq
		return print(rec)
	})
	if ferr := out.Flush(); err == nil {
		err = ferr
	}
	talk := cmd.ErrOrStderr()
	switch {
	case errors.Is(err, more):
		next := "--before"
		if q.Oldest {
			next = "--after"
		}
		if cmd.Flags().Lookup("before") == nil {
			fmt.Fprintf(talk, "%s shown, there are more: --limit 0 shows all\n", plural(found, "record"))
		} else {
			fmt.Fprintf(talk, "%s shown, there are more: %s %d goes on, --limit 0 shows all\n", plural(found, "record"), next, last)
		}
		var damage *audit.DamageError // may stand beside it
		if errors.As(err, &damage) {
			return damage
		}
		return nil
	case err == nil && found == 0:
		fmt.Fprintln(talk, "no record")
	}
	return err
}

// printer returns a function that writes one record as a line.
func printer(out io.Writer, p palette, asJSON bool) func(*audit.Record) error {
	if asJSON {
		var line []byte
		return func(r *audit.Record) error {
			line = append(r.AppendJSON(line[:0]), '\n')
			_, err := out.Write(line)
			return err
		}
	}
	return func(r *audit.Record) error {
		_, err := fmt.Fprintf(out, "%d  %s  %s\n", r.Seq, local(r.Time), recordText(r, p))
		return err
	}
}

// gapText says what is missing, and why.
func gapText(r *audit.Record) string {
	switch r.Cause {
	case audit.CauseClock.String():
		return fmt.Sprintf("the clock was set by %s, from %s to %s", r.To.Sub(r.From).Round(time.Millisecond), local(r.From), local(r.To))
	case audit.CauseCrash.String():
		return fmt.Sprintf("a run did not end: what it had not written is missing between %s and %s", local(r.From), local(r.To))
	}
	text := fmt.Sprintf("%s lost between %s and %s", plural(int(r.Lost), "event"), local(r.From), local(r.To))
	if r.Cause != "" {
		text += ", cause " + r.Cause
	}
	return text
}

// recordText says what a record is about. Its parts are printable as they are:
// the log escapes every name, and the rest comes from the configuration.
func recordText(r *audit.Record, p palette) string {
	switch r.Kind {
	case audit.KindChange.String():
		if r.Actor != "" {
			return fmt.Sprintf("change  %s (%s)", shown(r.Text), shown(r.Actor))
		}
		return "change  " + shown(r.Text)
	case audit.KindGap.String():
		return "gap     " + gapText(r)
	}
	verdict := r.Verdict
	if verdict == "" {
		verdict = "-"
	}
	text := fmt.Sprintf("%-15s  %s  %-30s %-5s  %s %s", r.Client, p.verdict(fmt.Sprintf("%-5s", verdict)), r.Name, r.Type, r.Source, r.Rcode)
	if r.Dropped {
		text += " (no answer)"
	}
	if r.Stripped {
		text += " stripped"
	}
	if r.Policy != "" || r.Rule != "" {
		why := []string{r.Policy, "rule " + r.Rule}
		switch {
		case r.Policy == "": // a limit
			why = []string{r.Rule}
		case r.Rule == "default":
			why = []string{r.Policy, "default"}
		}
		for _, s := range []string{r.Category, r.List, r.Entry} {
			if s != "" {
				why = append(why, s)
			}
		}
		if r.MatchedOn == "alias" || r.MatchedOn == "address" {
			why = append(why, "on "+r.MatchedOn)
		}
		text += "  [" + shown(strings.Join(why, ", ")) + "]"
	}
	if r.Observed != nil {
		text += p.verdict("  would block") + ": " + shown(r.Observed.String())
	}
	if len(r.Answers) > 0 {
		text += "  " + strings.Join(r.Answers, " ")
	}
	return text
}
