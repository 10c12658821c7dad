package main

import (
	"time"

	"github.com/spf13/cobra"
)

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
