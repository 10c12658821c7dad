package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/audit"
)

// asking is a verb that asks the audit log one thing, and the flags that such
// verbs have.
type asking struct {
	cond   conditions
	limit  int
	asJSON bool
}

// flags gives c the flags, with limit rows if nothing is said.
func (a *asking) flags(c *cobra.Command, limit int, rows string) {
	a.cond.flags(c)
	a.cond.seqFlag(c)
	c.Flags().IntVar(&a.limit, "limit", limit, "at most so many `"+rows+"`; 0 is all")
	jsonFlag(c, &a.asJSON)
}

// ask asks where the log is and prints what it says. text gives "" for nothing
// found. What was found is printed beside an error that says why it may not be
// all; what was interrupted is not, half a count says nothing.
func ask[T any](g *global, cmd *cobra.Command, a *asking, from func(ctx context.Context, r records, q audit.Query) (T, error), text func(T) string) error {
	q, err := a.cond.query(time.Now())
	if err != nil {
		return err
	}
	if a.limit < 0 {
		return &exitError{exitUsage, errors.New("--limit is below zero")}
	}
	r, err := g.records(cmd)
	if err != nil {
		return err
	}
	defer r.Close()
	ctx, stop := interruptible(cmd)
	defer stop()
	found, err := from(ctx, r, q)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	out := cmd.OutOrStdout()
	if a.asJSON {
		return errors.Join(err, json.NewEncoder(out).Encode(found))
	}
	shown := text(found)
	if shown == "" && err == nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "no record")
		return nil
	}
	_, werr := io.WriteString(out, shown)
	return errors.Join(err, werr)
}

func firstCommand(g *global) *cobra.Command {
	var a asking
	c := &cobra.Command{
		Use:   "first NAME",
		Short: "Say who asked for a name first and last, how often, with which verdicts",
		Long: "Say who asked for a name first and last, how often, and with which verdicts.\n" +
			"NAME covers all below it; =NAME is itself only; * and ? make it a pattern.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a.cond.name = args[0]
			p := g.palette(cmd.OutOrStdout())
			return ask(g, cmd, &a, func(ctx context.Context, r records, q audit.Query) (audit.Trace, error) {
				return r.Trace(ctx, q, a.limit)
			}, func(t audit.Trace) string { return traceText(&t, p) })
		},
	}
	a.flags(c, 10, "CLIENTS")
	c.Flags().Lookup("name").Hidden = true // it is the argument
	return c
}

func traceText(t *audit.Trace, p palette) string {
	if t.Count == 0 {
		return ""
	}
	least := ""
	if t.Uncounted > 0 {
		least = "at least "
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d blocked, by %s%s, for %s%s\n", count(int(t.Count), "query", "queries"), t.Blocked,
		least, plural(int(t.Clients), "client"), least, plural(int(t.Names), "name"))
	for _, e := range []struct {
		word string
		rec  *audit.Record
	}{{"first", t.First}, {"last", t.Last}} {
		if e.rec != nil {
			fmt.Fprintf(&b, "%-5s  %d  %s  %s\n", e.word, e.rec.Seq, local(e.rec.Time), recordText(e.rec, p))
		}
	}
	rows := [][]string{{"COUNT", "BLOCKED", "CLIENT", "FIRST", "LAST"}}
	var in uint64
	for _, c := range t.By {
		in += c.Count
		rows = append(rows, []string{fmt.Sprint(c.Count), fmt.Sprint(c.Blocked), addrText(c.Client), local(c.First), local(c.Last)})
	}
	if in < t.Count {
		rows = append(rows, []string{fmt.Sprint(t.Count - in), "", "others"})
	}
	return b.String() + table(rows, "")
}

func aroundCommand(g *global) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "around CLIENT TIME [SPAN]",
		Short: "Show all that a client asked around a moment, oldest first",
		Long: "Show all that a client, or a network, asked from SPAN before a moment until SPAN\n" +
			"after it, oldest first; SPAN is 10m if nothing is said. TIME is a span back from\n" +
			"now (90m, 7d), a date, or a time.",
		Args: cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			cond := conditions{client: args[0]}
			q, err := cond.query(time.Now())
			if err != nil {
				return &exitError{exitUsage, fmt.Errorf("%q is no address, network or pseudonym", args[0])}
			}
			at, err := parseTime(args[1], time.Now())
			if err != nil {
				return &exitError{exitUsage, err}
			}
			around := timespan(10 * time.Minute)
			if len(args) > 2 {
				if around, err = parseSpan(args[2]); err != nil || around == 0 {
					return &exitError{exitUsage, fmt.Errorf("%q is no span: write one like 10m", args[2])}
				}
			}
			q.Since, q.Until, q.Oldest = at.Add(-time.Duration(around)), at.Add(time.Duration(around)), true
			return g.listRecords(cmd, q, 0, asJSON, func(*audit.Record) bool { return true })
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func ipCommand(g *global) *cobra.Command {
	var a asking
	c := &cobra.Command{
		Use:   "ip ADDRESS",
		Short: "Say which names led to an address or a network, for whom and when",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.cond.answer = args[0]; args[0] == "" {
				return &exitError{exitUsage, errors.New("which address?")}
			}
			if _, err := parseNetwork(args[0]); err != nil {
				return &exitError{exitUsage, fmt.Errorf("%q is neither an address nor a network", args[0])}
			}
			return ask(g, cmd, &a, func(ctx context.Context, r records, q audit.Query) (audit.Top, error) {
				return r.Top(ctx, q, audit.ByPair, a.limit, 0)
			}, func(t audit.Top) string {
				if t.Records == 0 {
					return ""
				}
				return topText(&t)
			})
		},
	}
	a.flags(c, 50, "ROWS")
	c.Flags().Lookup("answer").Hidden = true // it is the argument
	return c
}

func newCommand(g *global) *cobra.Command {
	var a asking
	c := &cobra.Command{
		Use:   "new --since TIME",
		Short: "Show names that were never asked for before, the latest first",
		Long: "Show names that were asked for since a time and never before, the latest first.\n" +
			"Other conditions hold for both: with --client, a name is new for that client.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.cond.since == "" {
				return &exitError{exitUsage, errors.New("new since when? write --since 7d")}
			}
			return ask(g, cmd, &a, func(ctx context.Context, r records, q audit.Query) (audit.Names, error) {
				return r.New(ctx, q, a.limit)
			}, func(n audit.Names) string { return namesText(&n, "FIRST BY") })
		},
	}
	a.flags(c, 50, "NAMES")
	return c
}

func rareCommand(g *global) *cobra.Command {
	var a asking
	var clients int
	c := &cobra.Command{
		Use:   "rare",
		Short: "Show names that few clients ask for, those of the fewest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if clients < 1 || clients > audit.MostRare {
				return &exitError{exitUsage, fmt.Errorf("--max-clients: write a number from 1 to %d", audit.MostRare)}
			}
			return ask(g, cmd, &a, func(ctx context.Context, r records, q audit.Query) (audit.Names, error) {
				return r.Rare(ctx, q, clients, a.limit)
			}, func(n audit.Names) string { return namesText(&n, "CLIENTS") })
		},
	}
	a.flags(c, 50, "NAMES")
	c.Flags().IntVar(&clients, "max-clients", 1, "names of at most so many `CLIENTS`")
	return c
}

func namesText(n *audit.Names, who string) string {
	if n.Names == 0 && n.Uncounted == 0 {
		return ""
	}
	rows := [][]string{{"COUNT", "BLOCKED", "FIRST", "LAST", "NAME", who}}
	for _, r := range n.Rows {
		clients := make([]string, len(r.Clients))
		for i, c := range r.Clients {
			clients[i] = addrText(c)
		}
		rows = append(rows, []string{
			fmt.Sprint(r.Count), fmt.Sprint(r.Blocked), local(r.First), local(r.Last),
			cmp.Or(shown(r.Name), "-"), strings.Join(clients, " "),
		})
	}
	text := table(rows, "")
	if more := int(n.Names) - len(n.Rows); more > 0 {
		text += fmt.Sprintf("%d more; --limit 0 shows all\n", more)
	}
	if n.Uncounted > 0 {
		text += fmt.Sprintf("there are too many names to tell apart: %d queries for others are not in this\n", n.Uncounted)
	}
	return text
}

func clientsCommand(g *global) *cobra.Command {
	var a asking
	c := &cobra.Command{
		Use:   "clients",
		Short: "Tell of each client: first, last, how many queries, blocked, names",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(g, cmd, &a, func(ctx context.Context, r records, q audit.Query) (audit.Clients, error) {
				return r.Clients(ctx, q, a.limit)
			}, func(c audit.Clients) string { return clientRowsText(&c) })
		},
	}
	a.flags(c, 50, "CLIENTS")
	return c
}

func clientRowsText(c *audit.Clients) string {
	if c.Queries == 0 {
		return ""
	}
	rows := [][]string{{"CLIENT", "GROUP", "QUERIES", "BLOCKED", "NAMES", "FIRST", "LAST"}}
	for _, r := range c.Rows {
		names := fmt.Sprint(r.Names)
		if r.AtMost > 0 {
			names = fmt.Sprintf("%d..%d", r.Names, r.AtMost)
		}
		rows = append(rows, []string{
			addrText(r.Client), cmp.Or(shown(r.Group), "-"), fmt.Sprint(r.Count), share(r.Blocked, r.Count), names, local(r.First), local(r.Last),
		})
	}
	text := table(rows, "")
	if c.Others > 0 {
		others := "others"
		if n := int(c.Clients) - len(c.Rows); n > 0 {
			others = count(n, "other", "others")
		}
		text += fmt.Sprintf("%s of %s\n", count(int(c.Others), "query", "queries"), others)
	}
	return text
}

// share is part of whole in percent.
func share(part, whole uint64) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(part)/float64(whole))
}

func addrText(c audit.Client) string {
	if !c.IsValid() {
		return "-"
	}
	return c.String()
}
