package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weir/blocklist"
	"weir/cmd/internal/admin"
)

func listsCommand(g *global) *cobra.Command {
	c := askCommand(g, "lists", "Say which lists the running server has loaded", (*admin.Client).Lists, printLists)
	c.AddCommand(listsCheckCommand(), listsFindCommand(g))
	return c
}

func printLists(out io.Writer, lists []admin.List) error {
	rows := [][]string{{"CATEGORY", "LIST", "FORMAT", "NAMES", "UNUSED", "UNREADABLE", "MODIFIED"}}
	var notes []string
	for _, l := range lists {
		unused := 0
		var reasons []string
		for reason, n := range l.Ignored {
			unused += n
			reasons = append(reasons, fmt.Sprintf("%s: %d left out: %s", shown(l.Name), n, shown(reason)))
		}
		for text, n := range l.Notes {
			reasons = append(reasons, fmt.Sprintf("%s: %d noted: %s", shown(l.Name), n, shown(text)))
		}
		slices.Sort(reasons)
		notes = append(append(notes, reasons...), l.Problems...)
		modified := "-" // of a category folder that holds no list of names
		if !l.Modified.IsZero() {
			modified = l.Modified.Local().Format("2006-01-02 15:04")
		}
		rows = append(rows, []string{
			shown(l.Category), shown(l.Name), l.Format, fmt.Sprint(l.Entries), fmt.Sprint(unused), fmt.Sprint(l.Unreadable), modified,
		})
	}
	text := table(rows, "")
	if len(notes) > 0 {
		text += "\n" + strings.Join(notes, "\n") + "\n"
	}
	_, err := io.WriteString(out, text)
	return err
}

func listsCheckCommand() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "check FILE…",
		Short: "Read list files and print everything that could not be used, with its place",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "" && !slices.Contains(blocklist.Formats(), format) {
				return &exitError{exitUsage, fmt.Errorf("--format %q is none of %s", format, strings.Join(blocklist.Formats(), ", "))}
			}
			out := cmd.OutOrStdout()
			bad := false
			for _, file := range args {
				l, err := blocklist.CheckFile(file, format, func(p blocklist.Problem) { fmt.Fprintln(out, p) })
				if err != nil {
					fmt.Fprintln(out, shown(err.Error()))
					bad = true
					continue
				}
				bad = bad || l.Unreadable > 0
				fmt.Fprintf(out, "%s: %s, %s, %s, %s unreadable\n", shown(l.Name), l.Format,
					plural(l.Entries, "name"), count(l.Duplicates, "duplicate", "duplicates"), count(l.Unreadable, "line", "lines"))
				for _, i := range l.Ignored {
					fmt.Fprintf(out, "  %d left out: %s\n", i.Count, shown(i.Reason))
				}
				for _, n := range l.Notes {
					fmt.Fprintf(out, "  %d noted: %s\n", n.Count, shown(n.Text))
				}
			}
			if bad {
				return &exitError{exitFailure, nil}
			}
			return nil
		},
	}
	c.Flags().StringVar(&format, "format", "", "`FORMAT` of the files (default: recognised): "+strings.Join(blocklist.Formats(), ", "))
	return c
}

func listsFindCommand(g *global) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "find NAME",
		Short: "Say every list that holds a name, and by which line",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := blocklistName(args[0]); err != nil {
				return &exitError{exitUsage, err}
			}
			found, err := findAnywhere(cmd, g, args[0])
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return json.NewEncoder(out).Encode(found)
			}
			if len(found) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "on no list")
			}
			var rows [][]string
			for _, h := range found {
				rows = append(rows, []string{shown(h.Category), shown(h.Entry), shown(h.Where), shown(h.Note)})
			}
			_, err = io.WriteString(out, table(rows, ""))
			return err
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

// findAnywhere asks the running server, or reads the lists itself when there is
// none.
func findAnywhere(cmd *cobra.Command, g *global, name string) ([]admin.Holding, error) {
	cl, err := g.dial(cmd)
	if err == nil {
		defer cl.Close()
		return cl.Find(cmd.Context(), name)
	}
	if !errors.Is(err, admin.ErrNoServer) || g.socket != "" {
		return nil, err
	}
	cfg, err := g.load(cmd.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	b, err := build(cmd.Context(), cfg, 0, cfg.Server.Listen, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, told(err, cmd.ErrOrStderr(), "nothing can be found")
	}
	defer b.close()
	return b.find(name)
}

// find lists every entry that covers a name, with its place.
func (b *built) find(name string) ([]admin.Holding, error) {
	wire, err := blocklistName(name)
	if err != nil {
		return nil, err
	}
	out := []admin.Holding{}
	for _, h := range b.lists.Find(wire) {
		e := admin.Holding{Category: h.List.Category, List: h.List.Name, Entry: h.Entry, Where: b.shortPath(h.List.File)}
		line, err := b.lists.Locate(h.List, h.Entry)
		if err != nil {
			e.Note = err.Error()
		} else {
			e.Where = fmt.Sprintf("%s:%d", e.Where, line)
		}
		if !h.Effective {
			e.Note = "a deeper entry of the same list decides"
		}
		out = append(out, e)
	}
	return out, nil
}
