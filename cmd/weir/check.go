package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"
)

func checkCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Read the configuration, lists and zones and say what is wrong with them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			talk := cmd.ErrOrStderr()
			cfg, err := loadConfig(g.configPath(), talk, "it would not start")
			if err != nil {
				return err
			}
			quiet := slog.New(slog.DiscardHandler) // the lists are told below
			b, err := build(cmd.Context(), cfg, site{self: cfg.Server.Listen, logger: quiet})
			if err != nil {
				return told(err, talk, "it would not start")
			}
			defer b.close()
			for _, line := range news(nil, b.lists) {
				fmt.Fprintf(talk, "warning[list]: %s\n", shown(line))
			}
			unreadable := 0
			for _, l := range b.lists.All() {
				unreadable += l.Unreadable
				for _, p := range l.Problems {
					fmt.Fprintf(talk, "warning[list]: %v\n", p)
				}
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "%s: good: %s, %s, %s, %s from %s\n", cfg.File,
				count(len(cfg.Policies), "policy", "policies"), count(len(cfg.Categories), "category", "categories"),
				plural(len(cfg.Zones), "zone"), plural(b.lists.Matcher().Names(), "name"), plural(len(b.lists.All()), "list"))
			if unreadable > 0 {
				fmt.Fprintf(out, "%s could not be read and are left out\n", count(unreadable, "list line", "list lines"))
			}
			return nil
		},
	}
}
