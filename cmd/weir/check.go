package main

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
)

func checkCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Read the configuration, lists and zones and say what is wrong with them",
		Long: "Read the configuration, lists and zones and say what is wrong with them; then run\n" +
			"the tests beside the configuration, see `weir policy test --help`.",
		Args: cobra.NoArgs,
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
			if problems := onDisk(cfg); len(problems) > 0 {
				return told(&configError{problems}, talk, "it would not start")
			}
			tellLists(talk, b)
			for _, line := range b.names.warnings() {
				fmt.Fprintf(talk, "warning[hosts]: %s\n", shown(line))
			}
			unreadable := 0
			for _, l := range b.lists.All() {
				unreadable += l.Unreadable
				for _, p := range l.Problems {
					fmt.Fprintf(talk, "warning[list]: %v\n", p)
				}
			}
			tested, err := checkTests(b, talk, g.palette(talk))
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "%s: good: %s, %s, %s, %s from %s%s\n", cfg.File,
				count(len(cfg.Policies), "policy", "policies"), count(len(cfg.Categories), "category", "categories"),
				plural(len(cfg.Zones), "zone"), plural(b.lists.Matcher().Names(), "name"), plural(len(b.lists.All()), "list"), tested)
			if unreadable > 0 {
				fmt.Fprintf(out, "%s could not be read and are left out\n", count(unreadable, "list line", "list lines"))
			}
			return nil
		},
	}
}

// tellLists tells which lists are missing or not as they should be.
func tellLists(talk io.Writer, b *built) {
	for _, line := range news(nil, b.lists) {
		fmt.Fprintf(talk, "warning[list]: %s\n", shown(line))
	}
}

// checkTests runs the tests beside the configuration and tells what failed. It returns ", 12 policy tests passed", or
// nothing if there are none.
func checkTests(b *built, talk io.Writer, p palette) (string, error) {
	files, err := testFiles(b.cfg.File)
	if err != nil {
		return "", err
	}
	tests, err := loadTests(files, b.cfg)
	if err != nil {
		return "", toldTests(err, talk, "nothing was tested")
	}
	results, err := b.runTests(tests, time.Now(), false)
	if err != nil || len(results) == 0 {
		return "", err
	}
	if countFailed(results) > 0 {
		if err := printTests(talk, results, p, false); err != nil {
			return "", err
		}
		return "", &exitError{exitFailure, nil}
	}
	return fmt.Sprintf(", %s passed", plural(len(results), "policy test")), nil
}
