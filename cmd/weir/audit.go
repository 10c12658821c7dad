package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/audit"
	"weir/cmd/internal/admin"
)

// records is where the audit verbs read: a running server, or a stopped store.
type records interface {
	Search(ctx context.Context, q audit.Query, emit func(*audit.Record) error) error
	Top(ctx context.Context, q audit.Query, by audit.Dimension, limit int) (audit.Top, error)
	Verify(ctx context.Context, how audit.Verification, progress func(audit.Report)) (audit.Report, error)
	Prove(ctx context.Context, q audit.Query, out io.Writer) (int, error)
	Close() error
}

// records opens the running server's audit log, or the store itself when no
// server runs.
func (g *global) records(cmd *cobra.Command) (records, error) {
	cl, err := g.dial(cmd)
	if err == nil {
		cl.Verb = cmd.Name()
		return cl, nil
	}
	if !errors.Is(err, admin.ErrNoServer) || g.socket != "" {
		return nil, err
	}
	cfg, err := g.load(cmd.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	r, err := audit.OpenReader(cfg.Resolve(cfg.Audit.Path))
	if err != nil {
		return nil, &exitError{exitBusy, openHint(err)}
	}
	return r, nil
}

func auditCommand(g *global) *cobra.Command {
	c := &cobra.Command{
		Use:   "audit",
		Short: "Search, watch, count, export and verify the record of all queries",
	}
	c.AddCommand(searchCommand(g), tailCommand(g), topCommand(g), exportCommand(g), verifyCommand(g), keyCommand(g))
	return c
}

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
			q.Limit, q.Oldest = limit, oldest
			r, err := g.records(cmd)
			if err != nil {
				return err
			}
			defer r.Close()
			ctx, stop := interruptible(cmd)
			defer stop()
			out := bufio.NewWriter(cmd.OutOrStdout())
			found := 0
			print := printer(out, g.palette(cmd.OutOrStdout()), asJSON)
			err = r.Search(ctx, q, func(rec *audit.Record) error {
				found++
				return print(rec)
			})
			if ferr := out.Flush(); err == nil {
				err = ferr
			}
			switch {
			case err != nil:
			case found == 0:
				fmt.Fprintln(cmd.ErrOrStderr(), "no record")
			case found == limit && !asJSON:
				fmt.Fprintf(cmd.ErrOrStderr(), "%d records shown, there may be more: --limit 0 shows all\n", found)
			}
			return err
		},
	}
	cond.flags(c)
	cond.kindFlag(c)
	cond.seqFlag(c)
	c.Flags().IntVar(&limit, "limit", 50, "at most so many `RECORDS`; 0 is all")
	c.Flags().BoolVar(&oldest, "reverse", false, "oldest first")
	jsonFlag(c, &asJSON)
	return c
}

func tailCommand(g *global) *cobra.Command {
	var cond conditions
	var asJSON bool
	var from uint64
	c := &cobra.Command{
		Use:   "tail",
		Short: "Show records as they are written, until interrupted",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := cond.query(time.Now())
			if err != nil {
				return err
			}
			cl, err := g.dial(cmd)
			if err != nil {
				return err
			}
			defer cl.Close()
			ctx, stop := interruptible(cmd)
			defer stop()
			err = cl.Tail(ctx, q, from, printer(cmd.OutOrStdout(), g.palette(cmd.OutOrStdout()), asJSON))
			if ctx.Err() != nil {
				return nil // it was interrupted, as meant
			}
			return err
		},
	}
	cond.flags(c)
	cond.kindFlag(c)
	c.Flags().Uint64Var(&from, "from", 0, "begin with this `SEQ` instead of now")
	jsonFlag(c, &asJSON)
	return c
}

// printer returns a function that writes one record as a line.
func printer(out io.Writer, p palette, asJSON bool) func(*audit.Record) error {
	if asJSON {
		enc := json.NewEncoder(out)
		return func(r *audit.Record) error { return enc.Encode(r) }
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
