package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"weir/audit"
	"weir/cmd/internal/humbly"
)

// records is where the audit verbs read: a running server, or a stopped store.
type records interface {
	Search(ctx context.Context, q audit.Query, emit func(*audit.Record) error) error
	Each(ctx context.Context, q audit.Query, emit func(*audit.Record) error) error
	Top(ctx context.Context, q audit.Query, by audit.Dimension, limit, slots int) (audit.Top, error)
	Trace(ctx context.Context, q audit.Query, limit int) (audit.Trace, error)
	Clients(ctx context.Context, q audit.Query, limit int) (audit.Clients, error)
	New(ctx context.Context, q audit.Query, limit int) (audit.Names, error)
	Rare(ctx context.Context, q audit.Query, clients, limit int) (audit.Names, error)
	Hunt(ctx context.Context, q audit.Query, indicators []audit.Indicator, limit int) (audit.Hunt, error)
	Totals(ctx context.Context, q audit.Query) (audit.Totals, error)
	Timeline(ctx context.Context, q audit.Query, slots int) (audit.Timeline, error)
	Verify(ctx context.Context, how audit.Verification, progress func(audit.Report)) (audit.Report, error)
	Prove(ctx context.Context, q audit.Query, out io.Writer) (int, error)
	Holds(ctx context.Context) ([]audit.Hold, error)
	Backup(ctx context.Context, out io.Writer, withKey bool, progress func(done, total int64)) error
	Close() error
}

// records opens the running server's audit log, or the store itself when no
// server runs, or the one that --store names.
func (g *global) records(cmd *cobra.Command) (records, error) {
	if g.store != "" {
		r, err := audit.OpenReader(g.store)
		if err != nil {
			return nil, &exitError{exitBusy, openHint(err)}
		}
		return r, nil
	}
	cl, cfg, err := g.reach(cmd)
	if err != nil {
		return nil, err
	}
	if cl != nil {
		cl.Verb = cmd.Name()
		if cmd.Name() == "export" {
			humbly.Become() // the server may need the cores for as long as that takes
		}
		return cl, nil
	}
	r, err := audit.OpenReader(cfg.Resolve(cfg.Audit.Path))
	if err != nil {
		return nil, &exitError{exitBusy, openHint(err)}
	}
	if err := r.UseClientKeys(cfg.clientKeys()); err != nil && (cfg.Audit.ClientPrivacy == "keyed" || !errors.Is(err, fs.ErrNotExist)) {
		fmt.Fprintf(cmd.ErrOrStderr(), "note: %s; what is kept under a pseudonym is not found by an address\n", shown(err.Error()))
	}
	return r, nil
}

func auditCommand(g *global) *cobra.Command {
	c := &cobra.Command{
		Use:   "audit",
		Short: "Search, watch, count, export and verify the record of all queries",
	}
	c.AddCommand(searchCommand(g), tailCommand(g), topCommand(g), exportCommand(g), verifyCommand(g), keyCommand(g))
	c.AddCommand(firstCommand(g), aroundCommand(g), ipCommand(g), newCommand(g), rareCommand(g), clientsCommand(g))
	c.AddCommand(holdCommand(g), backupCommand(g))
	c.PersistentFlags().StringVar(&g.store, "store", "", "read the store in `FOLDER`, as a backup has been unpacked to, instead of the server's")
	c.AddCommand(gapsCommand(g), changesCommand(g), huntCommand(g), reportCommand(g), indexCommand(g))
	c.AddCommand(revealCommand(g), forgetCommand(g))
	return c
}
