package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/blocklist"
	"weir/cmd/internal/admin"
)

func listsCommand(g *global) *cobra.Command {
	c := askCommand(g, "lists", "Say which lists the running server has loaded", (*admin.Client).Lists, printLists)
	c.AddCommand(listsCheckCommand(), listsFindCommand(g),
		listsActionCommand(g, "refresh [NAME]", "Ask where a list comes from for a newer version now, or all of them", cobra.MaximumNArgs(1)),
		listsActionCommand(g, "approve NAME", "Put the version of a list in force that is held", cobra.ExactArgs(1)),
		listsActionCommand(g, "reject NAME", "Drop the version of a list that is held, and do not ask again", cobra.ExactArgs(1)),
		listsActionCommand(g, "rollback NAME", "Go back to the version of a list before the one in force, and refuse that one", cobra.ExactArgs(1)))
	return c
}

func printLists(out io.Writer, lists []admin.List) error {
	_, err := io.WriteString(out, listsText(lists, time.Now()))
	return err
}

// listsText is a table of lists, and below it what there is to say of each.
func listsText(lists []admin.List, now time.Time) string {
	rows := [][]string{{
		"CATEGORY", "LIST", "FORMAT", "NAMES", "ADDED", "REMOVED", "UNUSED", "UNREADABLE", "SHARED", "HITS/24h", "AGE", "DIGEST", "STATE",
	}}
	var notes []string
	for i := range lists {
		l := &lists[i]
		unused := 0
		for _, n := range l.Ignored {
			unused += n
		}
		rows = append(rows, []string{
			shown(l.Category), shown(l.Name), cmp.Or(shown(l.Format), "-"),
			fmt.Sprint(l.Entries), fmt.Sprint(l.Added), fmt.Sprint(l.Removed), fmt.Sprint(unused), fmt.Sprint(l.Unreadable),
			fmt.Sprint(l.Shared), fmt.Sprint(l.Hits24h), age(l.Dated(), now), shortDigest(l.Digest), cmp.Or(shown(l.State), "-"),
		})
		for _, note := range listNotes(l, now) {
			notes = append(notes, shown(note))
		}
	}
	text := table(rows, "")
	if len(notes) > 0 {
		text += "\n" + strings.Join(notes, "\n") + "\n"
	}
	return text
}

// mostlyShared is the part of a list on another one, in percent, that makes it worth asking what it is for.
const mostlyShared = 90

// listNotes is what the table has no column for, a line each: what to do first, then what of the list is not used.
func listNotes(l *admin.List, now time.Time) []string {
	var notes []string
	if h := l.Held; h != nil {
		since := ""
		if !h.Since.IsZero() {
			since = " for " + age(h.Since, now)
		}
		notes = append(notes,
			fmt.Sprintf("%s: version %s with %s waits%s: %s", l.Name, shortDigest(h.Digest), plural(h.Entries, "name"), since, h.Why),
			fmt.Sprintf("%s: `weir lists approve %[2]s` puts it in force, `weir lists reject %[2]s` drops it", l.Name, argument(l.Name)))
	}
	if l.Failure != "" {
		again := ""
		if l.Next.After(now) {
			again = "; asked again in " + age(now, l.Next)
		}
		notes = append(notes, fmt.Sprintf("%s: %s%s", l.Name, l.Failure, again))
	}
	if l.Networks > 0 {
		notes = append(notes, fmt.Sprintf("%s: %s of addresses", l.Name, plural(l.Networks, "network")))
	}
	if o := l.SharedWith; o != nil && l.Entries > 0 && o.Entries*100 >= l.Entries*mostlyShared {
		notes = append(notes, fmt.Sprintf("%s: %d of %s are on %s too", l.Name, o.Entries, plural(l.Entries, "name"), o.List))
	}
	var reasons []string
	for reason, n := range l.Ignored {
		reasons = append(reasons, fmt.Sprintf("%s: %d left out: %s", l.Name, n, reason))
	}
	for text, n := range l.Notes {
		reasons = append(reasons, fmt.Sprintf("%s: %d noted: %s", l.Name, n, text))
	}
	slices.Sort(reasons)
	return append(append(notes, reasons...), l.Problems...)
}

// age is how long ago a moment was, in its largest unit: "3d".
func age(then, now time.Time) string {
	d := now.Sub(then)
	switch {
	case then.IsZero():
		return "-"
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, d/time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// shortDigest is enough of a digest to tell versions of one list apart.
func shortDigest(hex string) string { return cmp.Or(shown(hex[:min(8, len(hex))]), "-") }

// argument is text as a shell takes it for one argument.
func argument(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+=,", r)
	}
	if text != "" && !strings.ContainsFunc(text, func(r rune) bool { return !plain(r) }) && text[0] != '-' {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// listsActionCommand is the verb that use begins with, which the server has under the same name.
func listsActionCommand(g *global, use, short string, args cobra.PositionalArgs) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  args,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				if name = args[0]; name == "" {
					return &exitError{exitUsage, errors.New("the name of a list is not empty")}
				}
			}
			done, err := listAction(cmd, g, cmd.Name(), name)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(admin.Done{Done: done})
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), shownLines(done))
			return err
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

// listAction asks the running server. Where there is none, lists can be fetched
// all the same, so that a server which needs them can be started.
func listAction(cmd *cobra.Command, g *global, action, name string) (string, error) {
	cl, err := g.dial(cmd)
	if err == nil {
		defer cl.Close()
		return cl.ListAction(cmd.Context(), action, name)
	}
	if action != "refresh" || !errors.Is(err, admin.ErrNoServer) || g.socket != "" {
		return "", err
	}
	cfg, err := g.load(cmd.ErrOrStderr())
	if err != nil {
		return "", err
	}
	return fetchLists(cmd.Context(), cfg, name)
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
				l, err := blocklist.CheckFile(file, format, func(p blocklist.Problem) { fmt.Fprintln(out, shown(p.String())) })
				if err != nil {
					fmt.Fprintln(out, shown(err.Error()))
					bad = true
					continue
				}
				bad = bad || l.Unreadable > 0 || l.Entries+l.Networks == 0 && len(l.Ignored) > 0 // of that nothing is a list
				networks := ""
				if l.Networks > 0 {
					networks = ", " + plural(l.Networks, "network")
				}
				fmt.Fprintf(out, "%s: %s, %s%s, %s, %s unreadable\n", shown(l.Name), l.Format,
					plural(l.Entries, "name"), networks, count(l.Duplicates, "duplicate", "duplicates"), count(l.Unreadable, "line", "lines"))
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
	cl, cfg, err := g.reach(cmd)
	if err != nil {
		return nil, err
	}
	if cl != nil {
		defer cl.Close()
		return cl.Find(cmd.Context(), name)
	}
	b, err := build(cmd.Context(), cfg, site{self: cfg.Server.Listen, logger: slog.New(slog.DiscardHandler)})
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
