package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"weir/audit"
)

// hunted is what a hunt found, by the indicators as they were written.
type hunted struct {
	Indicators int       `json:"indicators"`
	Bad        int       `json:"bad_lines"`
	Found      int       `json:"found"`
	Queries    uint64    `json:"queries"`
	Rows       []huntRow `json:"rows"`
	More       uint64    `json:"more,omitempty"`
	Dropped    uint64    `json:"dropped,omitempty"`
}

type huntRow struct {
	Text string `json:"text"` // as in the file
	Line int    `json:"line"`
	audit.HuntRow
}

func huntCommand(g *global) *cobra.Command {
	var a asking
	c := &cobra.Command{
		Use:   "hunt FILE",
		Short: "Look for a list of indicators in the names and answers of the past",
		Long: "Look for a list of indicators, up to 100,000, in the names that were asked for and\n" +
			"in the aliases and addresses of answers. FILE has one on each line, \"-\" is\n" +
			"standard input:\n\n" +
			"  example.com      the name and all below it\n" +
			"  =example.com     the name itself\n" +
			"  *.example.com    all below it\n" +
			"  192.0.2.1        an address\n" +
			"  192.0.2.0/24     a network\n\n" +
			"and comments behind \"#\" or \";\". The exit code is 10 if any was found and 0 if none was.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := openIndicators(cmd, args[0])
			if err != nil {
				return err
			}
			for _, p := range list.problems {
				fmt.Fprintln(cmd.ErrOrStderr(), shown(p))
			}
			if more := list.bad - len(list.problems); more > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s more could not be read\n", plural(more, "line"))
			}
			if len(list.list) == 0 {
				return fmt.Errorf("%s holds no indicator", args[0])
			}
			found := 0
			err = ask(g, cmd, &a, func(ctx context.Context, r records, q audit.Query) (hunted, error) {
				h, err := r.Hunt(ctx, q, list.list, a.limit)
				found = h.Found
				out := hunted{h.Indicators, list.bad, h.Found, h.Queries, []huntRow{}, h.More, h.Dropped}
				for _, row := range h.Rows {
					if row.Indicator >= 0 && row.Indicator < len(list.text) {
						out.Rows = append(out.Rows, huntRow{list.text[row.Indicator], list.line[row.Indicator], row})
					}
				}
				return out, err
			}, func(h hunted) string { return huntText(&h) })
			if err == nil && found > 0 {
				return &exitError{exitFound, nil}
			}
			return err
		},
	}
	a.flags(c, 1000, "ROWS")
	return c
}

func openIndicators(cmd *cobra.Command, file string) (*indicators, error) {
	var in io.Reader = cmd.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("indicators: %w", err)
		}
		defer f.Close()
		in = f
	}
	return readIndicators(in, file)
}

func huntText(h *hunted) string {
	text := fmt.Sprintf("%d of %s found, in %s\n", h.Found, plural(h.Indicators, "indicator"), count(int(h.Queries), "query", "queries"))
	if len(h.Rows) > 0 {
		rows := [][]string{{"INDICATOR", "LINE", "CLIENT", "ON", "WHAT", "COUNT", "BLOCKED", "FIRST", "LAST"}}
		for _, r := range h.Rows {
			rows = append(rows, []string{
				shown(r.Text), fmt.Sprint(r.Line), addrText(r.Client), r.On, shown(r.What),
				fmt.Sprint(r.Count), fmt.Sprint(r.Blocked), local(r.First), local(r.Last),
			})
		}
		text += table(rows, "")
	}
	if h.More > 0 {
		text += fmt.Sprintf("%d more; --limit 0 shows all\n", h.More)
	}
	if h.Dropped > 0 {
		text += fmt.Sprintf("there are too many to count each: rare ones were dropped, with %d queries\n", h.Dropped)
	}
	return text
}
