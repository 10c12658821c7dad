package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"weir/audit"
)

func tailCommand(g *global) *cobra.Command {
	var cond conditions
	var asJSON bool
	var from uint64
	var all bool
	c := &cobra.Command{
		Use:   "tail",
		Short: "Show records as they are written, until interrupted",
		Long: "Show records as they are written, until interrupted. Where they come faster than\n" +
			"they can be shown, and it is far behind, records are passed over, and a line says\n" +
			"how many and how fast they come. With --all, --json or --from none is: what is\n" +
			"behind is read from the store.",
		Args: cobra.NoArgs,
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
			out := cmd.OutOrStdout()
			lag := audit.Lag{Most: tailLag, Skipped: skipping(out, time.Now)}
			if all || asJSON || from > 0 {
				lag.Most = 0
			}
			err = cl.Tail(ctx, q, from, printer(out, g.palette(out), asJSON), lag)
			if ctx.Err() != nil {
				return nil // it was interrupted, as meant
			}
			return err
		},
	}
	cond.flags(c)
	cond.kindFlag(c)
	c.Flags().Uint64Var(&from, "from", 0, "begin with this `SEQ` instead of now")
	c.Flags().BoolVar(&all, "all", false, "pass over nothing, however far behind")
	jsonFlag(c, &asJSON)
	return c
}

// tailLag is how many records a tail may be behind before it passes some over: a
// second of a busy network, and more than a person reads.
const tailLag = 10_000

// skipping returns a function that says how many records were passed over, and
// how many that makes a second since it said so before.
func skipping(out io.Writer, now func() time.Time) func(uint64) error {
	last := now()
	return func(n uint64) error {
		at := now()
		rate := float64(n) / max(at.Sub(last).Seconds(), 0.001)
		last = at
		_, err := fmt.Fprintf(out, "... %s passed over, %.0f a second: conditions like --name narrow it, --all shows all\n", plural(int(n), "record"), rate)
		return err
	}
}
