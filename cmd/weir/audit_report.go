package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"weir/audit"
)

// findings are what a report tells.
type findings struct {
	Made       time.Time      `json:"made"`
	Version    string         `json:"version"`
	Conditions string         `json:"conditions,omitempty"`
	Warnings   []string       `json:"warnings,omitempty"` // why it may not be all
	Timeline   audit.Timeline `json:"timeline"`
	Top        [4]audit.Top   `json:"top"` // as topTitles
	New        audit.Names    `json:"new"`
	Gaps       gaps           `json:"gaps"`
}

var topTitles = [4]string{"Clients", "Names", "Blocked names", "Categories that blocked"}

// From this one on, tops are of what was blocked.
const firstBlocked = 2

const (
	reportSlots = 84 // of a week, two hours each
	reportRows  = 15
	reportNames = 50
)

func reportCommand(g *global) *cobra.Command {
	var cond conditions
	var file string
	var asJSON bool
	c := &cobra.Command{
		Use:   "report --html FILE",
		Short: "Make a page to read or print: queries over time, tops, new names, gaps",
		Long: "Make one page that needs nothing else, to read or to print: queries over time by\n" +
			"verdict, the share of blocked ones, top clients, names and categories, new names,\n" +
			"and gaps. It is of the last week if --since does not say otherwise.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			now := time.Now()
			if (file == "") != asJSON {
				return &exitError{exitUsage, errors.New("write either --html FILE or --json")}
			}
			cond.since = cmp.Or(cond.since, "7d")
			q, err := cond.query(now)
			if err != nil {
				return err
			}
			if q.Until.IsZero() {
				q.Until = now
			}
			if !q.Since.Before(q.Until) {
				return &exitError{exitUsage, errors.New("--since is not before --until")}
			}
			r, err := g.records(cmd)
			if err != nil {
				return err
			}
			defer r.Close()
			ctx, stop := interruptible(cmd)
			defer stop()
			f, err := findReport(ctx, r, q)
			if err != nil {
				return err
			}
			f.Made, f.Version = now, version()
			f.Conditions = cond.text()
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(f)
			}
			if err := writeAside(file, func(w io.Writer) error { return writePage(w, f, time.Local) }); err != nil {
				return fmt.Errorf("report: %w", err)
			}
			for _, w := range f.Warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning:", shown(w))
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s in %s\n", count(int(f.Top[0].Records), "query", "queries"), shown(file))
			return nil
		},
	}
	cond.flags(c)
	c.Flags().StringVar(&file, "html", "", "`FILE` to write, readable by its owner only; it is replaced when the new one is whole")
	jsonFlag(c, &asJSON)
	return c
}

// findReport asks what a report tells. Damage becomes a warning: what is beside
// it is still told.
func findReport(ctx context.Context, r records, q audit.Query) (*findings, error) {
	f := &findings{}
	warn := func(err error) {
		if err == nil {
			return
		}
		text := shownLines(err.Error())
		for _, w := range f.Warnings {
			if w == text {
				return
			}
		}
		f.Warnings = append(f.Warnings, text)
	}
	var err error
	f.Timeline, err = r.Timeline(ctx, q, reportSlots)
	warn(err)
	for i, by := range [4]audit.Dimension{audit.ByClient, audit.ByName, audit.ByName, audit.ByCategory} {
		f.Top[i].By = by
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		of := q
		if i >= firstBlocked {
			if q.Verdict == "allow" {
				continue
			}
			of.Verdict = "block"
		}
		f.Top[i], err = r.Top(ctx, of, by, reportRows, 0)
		warn(err)
	}
	f.New, err = r.New(ctx, q, reportNames)
	warn(err)
	f.Gaps, err = findGaps(ctx, r, audit.Query{Since: q.Since, Until: q.Until}, reportNames)
	warn(err)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if len(f.Timeline.Allowed) == 0 { // nothing could be asked at all
		return nil, errors.New(f.Warnings[0])
	}
	return f, nil
}

// writeAside writes a file under another name and gives it its own when it is whole
// on disk, so that a reader has the old one or the new one. What is no regular file, as
// /dev/stdout is none, stays what it is.
func writeAside(file string, write func(io.Writer) error) (err error) {
	if info, err := os.Lstat(file); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file and is not replaced", file)
	}
	t, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = t.Close()
			_ = os.Remove(t.Name())
		}
	}()
	out := bufio.NewWriter(t)
	if err := write(out); err != nil {
		return err
	}
	if err := errors.Join(out.Flush(), t.Sync(), t.Close()); err != nil {
		return err
	}
	return os.Rename(t.Name(), file)
}
