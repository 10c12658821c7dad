package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"weir/audit"
)

// withKeys does one thing with the keys, prints what came of it, and lets them go.
func withKeys[T any](g *global, cmd *cobra.Command, asJSON bool, do func(context.Context, keeping) (T, error), print func(io.Writer, T) error) error {
	k, err := g.keeping(cmd, hasKeys)
	if err != nil {
		return keysHint(err)
	}
	ctx, stop := interruptible(cmd)
	defer stop()
	done, err := do(ctx, k)
	if err = errors.Join(err, k.Close()); err != nil {
		return keysHint(err)
	}
	out := cmd.OutOrStdout()
	if asJSON {
		return json.NewEncoder(out).Encode(done)
	}
	return print(out, done)
}

// keysHint says what it means that there are no keys.
func keysHint(err error) error {
	if err != nil && strings.Contains(err.Error(), audit.ErrNotKeyed.Error()) {
		return fmt.Errorf("%s; there is nothing to reveal and nothing to destroy: with \"full\" records have the address, with \"prefix\" no file has it", audit.ErrNotKeyed)
	}
	return err
}

func revealCommand(g *global) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "reveal PSEUDONYM...",
		Short: "Say whose pseudonyms these are, and record that it was asked",
		Long: "Say whose pseudonyms these are. It takes the operators' socket, or with a stopped\n" +
			"server the file of keys; that it was asked, by whom and of which pseudonyms, is\n" +
			"recorded and on disk before the answer.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var wanted []audit.Client
			for _, text := range args {
				c, err := audit.ParseClient(text)
				if err != nil || !c.IsPseudonym() {
					return &exitError{exitUsage, fmt.Errorf("%q is no pseudonym: they are written like client-2026-03-0123456789abcdef", text)}
				}
				wanted = append(wanted, c)
			}
			return withKeys(g, cmd, asJSON, func(ctx context.Context, k keeping) ([]audit.Revealed, error) {
				return k.Reveal(ctx, wanted)
			}, func(out io.Writer, found []audit.Revealed) error {
				rows := [][]string{{"PSEUDONYM", "MONTH", "CLIENT"}}
				for _, r := range found {
					who := r.State
					if r.State == audit.PseudonymRevealed {
						who = r.Client.String()
					}
					rows = append(rows, []string{r.Pseudonym.String(), r.Month, who})
				}
				_, err := io.WriteString(out, table(rows, ""))
				return err
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func forgetCommand(g *global) *cobra.Command {
	var month, before string
	var asJSON bool
	c := &cobra.Command{
		Use:   "forget [CLIENT]",
		Short: "Destroy the keys by which a client's pseudonyms could be revealed",
		Long: "Destroy the keys by which the pseudonyms of CLIENT could be revealed: an address,\n" +
			"a network or a pseudonym. Records stay as they are and proofs of them stay good.\n" +
			"With --before, and no CLIENT, it is the keys of everybody before that month.\n\n" +
			"The keys are overwritten where they lie. Copies of the file, in backups and\n" +
			"snapshots, and what a copying file system or a flash disk keeps, stay.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var of netip.Prefix
			switch {
			case len(args) > 0:
				var err error
				if of, err = parseClients(args[0]); err != nil {
					return &exitError{exitUsage, fmt.Errorf("%q is no address, network or pseudonym", args[0])}
				}
			case month == "" && before == "":
				return &exitError{exitUsage, errors.New("forget whom? name a client, or with --before or --month everybody of some months")}
			}
			return withKeys(g, cmd, asJSON, func(ctx context.Context, k keeping) (audit.Forgotten, error) {
				return k.Forget(ctx, of, month, before)
			}, func(out io.Writer, done audit.Forgotten) error {
				if len(done.Pseudonyms) == 0 {
					_, err := fmt.Fprintln(out, "no key was there: nothing was destroyed")
					return err
				}
				for _, p := range done.Pseudonyms {
					fmt.Fprintln(out, p)
				}
				_, err := fmt.Fprintf(out, "%s destroyed in %s; copies of that file are not\n", plural(len(done.Pseudonyms), "key"), done.File)
				return err
			})
		},
	}
	c.Flags().StringVar(&month, "month", "", "only keys of this `MONTH`, like 2026-03, in UTC")
	c.Flags().StringVar(&before, "before", "", "only keys of months before this `MONTH`")
	jsonFlag(c, &asJSON)
	return c
}

// parseClients reads what --client may be: an address, a network or a pseudonym.
func parseClients(text string) (netip.Prefix, error) {
	if c, err := audit.ParseClient(text); err == nil && c.IsPseudonym() {
		return c.Filter(), nil
	}
	return parseNetwork(text)
}
