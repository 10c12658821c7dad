package main

import (
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"weir/audit"
)

func indexCommand(g *global) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "index",
		Short: "Show how far the index of the record is, which questions use",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return g.index(cmd, false, asJSON) },
	}
	jsonFlag(c, &asJSON)
	var rebuildJSON bool
	rebuild := &cobra.Command{
		Use:   "rebuild",
		Short: "Remove the index and make it again from the record",
		Long: "Remove the index and make it again from the record, which is not touched. A\n" +
			"running server does so beside its work, a quarter of a core at most; the index of\n" +
			"a stopped one is made before the command ends.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return g.index(cmd, true, rebuildJSON) },
	}
	jsonFlag(rebuild, &rebuildJSON)
	c.AddCommand(rebuild)
	return c
}

// index tells of the index, of a running server or of a stopped store, after it was
// made again if that is wanted.
func (g *global) index(cmd *cobra.Command, again, asJSON bool) error {
	stats, err := g.indexStats(cmd, again)
	if err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(stats)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), indexText(stats))
	return err
}

func (g *global) indexStats(cmd *cobra.Command, again bool) (stats audit.IndexStats, err error) {
	ctx, stop := interruptible(cmd)
	defer stop()
	dir := g.store
	if dir == "" {
		cl, cfg, err := g.reach(cmd)
		if err != nil {
			return stats, err
		}
		if cl != nil {
			defer cl.Close()
			if again {
				return cl.Reindex(ctx)
			}
			return cl.Index(ctx)
		}
		dir = cfg.Resolve(cfg.Audit.Path)
	}
	if again {
		stats, err = audit.BuildIndex(ctx, dir, true, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
	} else {
		var r *audit.Reader
		if r, err = audit.OpenReader(dir); err == nil {
			defer r.Close()
			return r.Index()
		}
	}
	if err != nil {
		return stats, &exitError{exitBusy, openHint(err)}
	}
	return stats, nil
}

func indexText(s audit.IndexStats) string {
	text := fmt.Sprintf("index of %d records in %s, %d KiB, %d records behind", s.Records, plural(s.Runs, "run"), s.Bytes>>10, s.Behind)
	if s.Damaged > 0 {
		text += fmt.Sprintf(", %s to be made again", plural(s.Damaged, "damaged run"))
	}
	return text
}
