package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"weir/audit"
	"weir/cmd/internal/admin"
)

func holdCommand(g *global) *cobra.Command {
	c := &cobra.Command{
		Use:   "hold",
		Short: "Keep records that retention would remove, for as long as somebody needs them",
	}
	c.AddCommand(holdAddCommand(g), holdListCommand(g), holdRemoveCommand(g))
	return c
}

func holdAddCommand(g *global) *cobra.Command {
	var who signed
	var from, to, seq string
	var asJSON bool
	c := &cobra.Command{
		Use:   "add --from TIME [--to TIME] | --seq N-M --reason WHY",
		Short: "Keep the records of a time, or with these numbers",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			usage := func(format string, args ...any) error { return &exitError{exitUsage, fmt.Errorf(format, args...)} }
			if (from == "") == (seq == "") || seq != "" && to != "" {
				return usage("write --from with a time, and --to if it has an end, or --seq with numbers")
			}
			if err := who.check(); err != nil {
				return err
			}
			h := audit.Hold{By: who.by, Reason: who.reason}
			var err error
			if seq != "" {
				if h.SeqFrom, h.SeqTo, err = parseSeq(seq); err != nil {
					return usage("--seq: %w", err)
				}
			}
			for _, t := range []struct {
				flag, text string
				into       *time.Time
			}{{"from", from, &h.From}, {"to", to, &h.To}} {
				if t.text == "" {
					continue
				}
				if *t.into, err = parseTime(t.text, time.Now()); err != nil {
					return usage("--%s: %w", t.flag, err)
				}
			}
			return g.holdAction(cmd, asJSON, func(to keeping) (audit.Hold, error) { return to.AddHold(cmd.Context(), h) })
		},
	}
	c.Flags().StringVar(&from, "from", "", "`TIME` of the first record: a span back from now like 90m or 7d, a date, or RFC 3339")
	c.Flags().StringVar(&to, "to", "", "`TIME` before which the last record is (default: all that come)")
	c.Flags().StringVar(&seq, "seq", "", "record `N`, or records N-M, by sequence number")
	who.flags(c)
	jsonFlag(c, &asJSON)
	return c
}

func holdRemoveCommand(g *global) *cobra.Command {
	var who signed
	var asJSON bool
	c := &cobra.Command{
		Use:   "remove ID --reason WHY",
		Short: "End a hold: what is due may be removed at once",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return &exitError{exitUsage, fmt.Errorf("hold %q: write its number, as `weir audit hold list` shows it", args[0])}
			}
			if err := who.check(); err != nil {
				return err
			}
			end := admin.HoldEnd{ID: id, By: who.by, Reason: who.reason}
			return g.holdAction(cmd, asJSON, func(to keeping) (audit.Hold, error) { return to.RemoveHold(cmd.Context(), end) })
		},
	}
	who.flags(c)
	jsonFlag(c, &asJSON)
	return c
}

func (g *global) holdAction(cmd *cobra.Command, asJSON bool, act func(keeping) (audit.Hold, error)) error {
	to, err := g.keeping(cmd, hasStore)
	if err != nil {
		return err
	}
	h, err := act(to)
	if err = errors.Join(err, to.Close()); err != nil {
		return err
	}
	return printHolds(cmd.OutOrStdout(), []audit.Hold{h}, asJSON)
}

func holdListCommand(g *global) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "Show the holds in force",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := g.records(cmd)
			if err != nil {
				return err
			}
			defer r.Close()
			holds, err := r.Holds(cmd.Context())
			if err != nil {
				return err
			}
			if len(holds) == 0 && !asJSON {
				fmt.Fprintln(cmd.ErrOrStderr(), "no hold")
			}
			return printHolds(cmd.OutOrStdout(), holds, asJSON)
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func printHolds(out io.Writer, holds []audit.Hold, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(out)
		for i := range holds {
			if err := enc.Encode(&holds[i]); err != nil {
				return err
			}
		}
		return nil
	}
	var rows [][]string
	for i := range holds {
		h := &holds[i]
		rows = append(rows, []string{
			fmt.Sprint(h.ID), h.String(), "since " + h.Created.Local().Format("2006-01-02 15:04:05"), shown(fmt.Sprintf("by %s: %s", h.By, h.Reason)),
		})
	}
	_, err := io.WriteString(out, table(rows, ""))
	return err
}
