package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

func backupCommand(g *global) *cobra.Command {
	var withKey bool
	c := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write the audit store and what proves it to a tar file, or to standard output if FILE is -",
		Long: "Write the audit store and what proves it to a tar file. The server goes on meanwhile: it signs what it has and\n" +
			"begins a new file. Unpacked into an empty folder, --store FOLDER reads it, and verify proves it.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := g.records(cmd)
			if err != nil {
				return err
			}
			defer r.Close()
			ctx, stop := interruptible(cmd)
			defer stop()
			context.AfterFunc(ctx, stop) // a second ^C ends the program at once
			talk := cmd.ErrOrStderr()
			var p *progress
			if isTerminal(talk) {
				p = &progress{out: talk, now: time.Now, began: time.Now(), told: time.Now()}
			}
			if args[0] == "-" {
				if isTerminal(cmd.OutOrStdout()) {
					return &exitError{exitUsage, errors.New("a backup is not for a terminal: write it to a file, or into a pipe")}
				}
				err = r.Backup(ctx, cmd.OutOrStdout(), withKey, p.octets)
				p.end()
				return err
			}
			return backupTo(ctx, args[0], talk, func(out io.Writer) error {
				defer p.end()
				return r.Backup(ctx, out, withKey, p.octets)
			})
		},
	}
	c.Flags().BoolVar(&withKey, "with-key", false, "with the private key, so that a restored log goes on as the same one; keep that file as you keep the key")
	return c
}

// backupTo writes a file that has its name once it is whole and on disk.
func backupTo(ctx context.Context, name string, talk io.Writer, write func(io.Writer) error) error {
	missing := func() error {
		if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("backup: %s exists", name)
		}
		return nil
	}
	if err := missing(); err != nil {
		return err
	}
	partial := name + ".partial"
	f, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("backup: %s exists: another backup runs, or one did not end; remove it", partial)
	}
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	err = write(f)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = f.Sync()
	}
	size, _ := f.Seek(0, io.SeekCurrent)
	if err = errors.Join(err, f.Close()); err == nil {
		err = missing() // somebody may have made it meanwhile
	}
	if err == nil {
		err = os.Rename(partial, name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(partial))
	}
	if dir, err := os.Open(filepath.Dir(name)); err == nil {
		err = dir.Sync()
		dir.Close()
		if err != nil {
			return fmt.Errorf("backup: %w", err)
		}
	}
	_, err = fmt.Fprintf(talk, "%d KiB in %s\n", (size+1023)>>10, shown(name))
	return err
}

// octets tells how much is written, of how much if that is known.
func (p *progress) octets(done, total int64) {
	if p == nil {
		return
	}
	now := p.now()
	if now.Sub(p.told) < progressPause {
		return
	}
	p.told = now
	line := fmt.Sprintf("%d MiB, %.0f a second", done>>20, float64(done>>20)/now.Sub(p.began).Seconds())
	if total > 0 {
		line += fmt.Sprintf(", %d %%", 100*min(done, total)/total)
	}
	p.show(line)
}
