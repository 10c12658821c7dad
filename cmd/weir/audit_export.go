package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/audit"
)

func exportCommand(g *global) *cobra.Command {
	var cond conditions
	var format, file string
	var force, proof bool
	formats := strings.Join(audit.Formats(), ", ")
	c := &cobra.Command{
		Use:   "export",
		Short: "Write records to a file or to standard output, oldest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := cond.query(time.Now())
			if err != nil {
				return err
			}
			q.Oldest = true
			if _, err := audit.NewEncoder(format, io.Discard); err != nil {
				return &exitError{exitUsage, fmt.Errorf("--format: %w", err)}
			}
			if proof && cmd.Flags().Changed("format") {
				return &exitError{exitUsage, errors.New("--proof has a form of its own: leave --format out")}
			}
			if file == "" && audit.Binary(format) && isTerminal(cmd.OutOrStdout()) {
				return &exitError{exitUsage, fmt.Errorf("%s is not for a terminal: write it to a file with -o, or into a pipe", format)}
			}
			r, err := g.records(cmd)
			if err != nil {
				return err
			}
			defer r.Close()
			ctx, stop := interruptible(cmd)
			defer stop()
			context.AfterFunc(ctx, stop) // a second ^C ends the program at once
			x := export{records: r, query: q, format: format, proof: proof, talk: cmd.ErrOrStderr()}
			if isTerminal(x.talk) && (file != "" || !isTerminal(cmd.OutOrStdout())) {
				x.progress = newProgress(ctx, r, q, x.talk, time.Now)
			}
			if file != "" {
				return x.toFile(ctx, file, force)
			}
			err = x.run(ctx, cmd.OutOrStdout())
			switch {
			case err != nil:
				fmt.Fprintln(x.talk, x.stopped(err, "what was written"))
			case x.left > 0:
				fmt.Fprintf(x.talk, "%s%s\n", plural(x.written, "record"), x.told())
			}
			return err
		},
	}
	cond.flags(c)
	cond.kindFlag(c)
	cond.seqFlag(c)
	c.Flags().StringVar(&format, "format", "jsonl", "`FORMAT`: "+formats)
	c.Flags().StringVarP(&file, "output", "o", "", "`FILE` to write, readable by its owner only (default standard output)")
	c.Flags().BoolVar(&proof, "proof", false, "write what proves the records to somebody who has the log's key, see docs/evidence.md")
	c.Flags().BoolVar(&force, "force", false, "replace FILE, and what an export left behind that did not end")
	return c
}

// An export is one run of the verb.
type export struct {
	records  records
	query    audit.Query
	format   string
	proof    bool // write a bundle of proofs instead
	talk     io.Writer
	progress *progress // nil when nobody watches

	written, left int // records; those that the format has no place for
}

// run writes all records to w. When ctx ends before, what was written is whole to
// the last record, and the error is ctx's.
func (x *export) run(ctx context.Context, w io.Writer) error {
	out := bufio.NewWriterSize(w, 64<<10)
	if x.proof {
		n, err := x.records.Prove(ctx, x.query, out)
		x.written = n
		x.progress.end()
		return errors.Join(err, out.Flush())
	}
	enc, err := audit.NewEncoder(x.format, out)
	if err != nil {
		return err
	}
	err = x.records.Each(ctx, x.query, func(r *audit.Record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		x.progress.record(r.Time)
		err := enc.Write(r)
		switch {
		case err == nil:
			x.written++
		case errors.Is(err, audit.ErrLeftOut):
			x.left++
			err = nil
		}
		return err
	})
	err = errors.Join(err, enc.Close(), out.Flush())
	x.progress.end()
	return err
}

// told says what was left out, at the end of a line.
func (x *export) told() string {
	if x.left == 0 {
		return ""
	}
	return fmt.Sprintf("; %s left out, for which %s has no place", plural(x.left, "record"), x.format)
}

// stopped says how far an export came that did not come to its end.
func (x *export) stopped(err error, where string) string {
	if errors.Is(err, context.Canceled) {
		return fmt.Sprintf("interrupted: %s in %s%s", plural(x.written, "record"), where, x.told())
	}
	return fmt.Sprintf("not all: %s ends early", where)
}

// toFile writes all records to a file. It has that name once it is whole; until
// then, and when it did not become so, it is called NAME.partial.
func (x *export) toFile(ctx context.Context, name string, force bool) error {
	if err := replaceable(name, force); err != nil {
		return err
	}
	partial := name + ".partial"
	if force {
		if err := os.Remove(partial); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("export: %w", err)
		}
	}
	f, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("export: %s exists: another export runs, or one did not end; --force replaces it", partial)
	}
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	err = x.run(ctx, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = replaceable(name, force) // somebody may have made it meanwhile
	}
	if err == nil {
		err = os.Rename(partial, name)
	}
	switch {
	case err == nil:
		fmt.Fprintf(x.talk, "%s in %s%s\n", plural(x.written, "record"), shown(name), x.told())
	case x.written == 0:
		err = errors.Join(err, os.Remove(partial))
	default:
		fmt.Fprintln(x.talk, x.stopped(err, shown(partial)))
	}
	return err
}

// replaceable says why a file of that name may not be written.
func replaceable(name string, force bool) error {
	switch info, err := os.Lstat(name); {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("export: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("export: %s is no regular file and is not replaced; leave out -o to write to a pipe or a device", name)
	case !force:
		return fmt.Errorf("export: %s exists; --force replaces it", name)
	}
	return nil
}
