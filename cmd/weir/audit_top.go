package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weir/audit"
)

func topCommand(g *global) *cobra.Command {
	var a asking
	var known []string
	for _, by := range audit.Dimensions() {
		known = append(known, string(by))
	}
	c := &cobra.Command{
		Use:   "top [" + strings.Join(known, "|") + "]",
		Short: "Count queries by what they have in common, most first",
		Long: "Count queries by what they have in common, most first: by names if nothing is\n" +
			"said. With --observed, rules are those that would have blocked, and if nothing\n" +
			"is said it shows what enforcing them would have blocked, for which clients.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) == 1 && slices.Contains(known, args[0]) {
				return nil
			}
			return fmt.Errorf("what is counted is one of %s, not %q", strings.Join(known, ", "), strings.Join(args, " "))
		},
		ValidArgs: known,
		RunE: func(cmd *cobra.Command, args []string) error {
			by := audit.ByName
			switch {
			case len(args) > 0:
				by = audit.Dimension(args[0])
			case a.cond.observed:
				by = audit.ByPair
			}
			return ask(g, cmd, &a, func(ctx context.Context, r records, q audit.Query) (audit.Top, error) {
				return r.Top(ctx, q, by, a.limit, sparks)
			}, func(t audit.Top) string {
				if t.Records == 0 {
					return ""
				}
				return topText(&t)
			})
		},
	}
	a.flags(c, 10, "ROWS")
	return c
}

// topText is a table of the rows, with what is in none of them at its end, and
// below it in how far the counts are not exact.
func topText(t *audit.Top) string {
	client := t.By == audit.ByClient || t.By == audit.ByPair
	name := t.By == audit.ByName || t.By == audit.ByPair
	rule := t.By == audit.ByRule || t.By == audit.ByPair && t.Observed
	columns := []struct {
		head string
		on   bool
		cell func(r *audit.TopRow) string
	}{
		{"COUNT", true, func(r *audit.TopRow) string {
			if r.Missed > 0 {
				return fmt.Sprintf("%d..%d", r.Count, r.Count+r.Missed)
			}
			return fmt.Sprint(r.Count)
		}},
		{"CLIENT", client, func(r *audit.TopRow) string {
			if !r.Client.IsValid() {
				return ""
			}
			return r.Client.String()
		}},
		{"NAME", name, func(r *audit.TopRow) string { return r.Name }},
		{"POLICY", rule, func(r *audit.TopRow) string { return r.Policy }},
		{"RULE", rule, func(r *audit.TopRow) string { return r.Rule }},
		{"CATEGORY", rule || t.By == audit.ByCategory, func(r *audit.TopRow) string { return r.Category }},
		{"LIST", rule, func(r *audit.TopRow) string { return r.List }},
		{"FIRST", true, func(r *audit.TopRow) string { return local(r.First) }},
		{"LAST", true, func(r *audit.TopRow) string { return local(r.Last) }},
	}
	rows := make([][]string, 1+len(t.Rows))
	for _, c := range columns {
		if !c.on {
			continue
		}
		rows[0] = append(rows[0], c.head)
		for i := range t.Rows {
			rows[i+1] = append(rows[i+1], cmp.Or(shown(c.cell(&t.Rows[i])), "-"))
		}
	}
	if len(t.Over) > 0 {
		rows[0] = append(rows[0], "FROM "+local(t.From)+" TO "+local(t.To))
		for i, over := range t.Over {
			rows[i+1] = append(rows[i+1], sparkline(over))
		}
	}
	if t.Others > 0 {
		var in []string
		if n := int(t.Keys) - len(t.Rows); n > 0 {
			in = append(in, count(n, "other", "others"))
		}
		if t.Dropped > 0 {
			in = append(in, "dropped ones")
		}
		rows = append(rows, []string{fmt.Sprint(t.Others), "in " + strings.Join(in, " and ")})
	}
	text := table(rows, "")
	if t.Dropped > 0 {
		text += fmt.Sprintf("\nthere are too many %s to count each: rare ones were dropped, with %d records, none with more than %d;\n"+
			"a count like 5..7 is at least 5 and at most 7\n", t.By, t.Dropped, t.Missed)
	}
	return text
}

// sparks is how many spans of time a spark line has.
const sparks = 20

// sparkline is a bar for each count, the highest one full; none is a dot.
func sparkline(counts []uint64) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	most := slices.Max(counts)
	var b strings.Builder
	for _, n := range counts {
		if n == 0 {
			b.WriteByte('.')
			continue
		}
		b.WriteRune(bars[(n*uint64(len(bars))-1)/most])
	}
	return b.String()
}
