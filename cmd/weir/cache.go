package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"weir/audit"
	"weir/blocklist"
	"weir/cmd/internal/admin"
	"weir/resolver"
)

func cacheCommand(g *global) *cobra.Command {
	c := &cobra.Command{
		Use:   "cache",
		Short: "Say how the running server's cache does, or make it forget",
	}
	c.AddCommand(cacheStatsCommand(g), cacheFlushCommand(g))
	return c
}

func cacheStatsCommand(g *global) *cobra.Command {
	return askCommand(g, "stats", "Say what the cache holds and how often it helped", func(cl *admin.Client, ctx context.Context) (resolver.Stats, error) {
		st, err := cl.Status(ctx)
		return st.Resolver, err
	}, printCache)
}

func printCache(out io.Writer, st resolver.Stats) error {
	c := st.Cache
	share := ""
	if all := c.Hits + c.Misses; all > 0 {
		share = fmt.Sprintf(", %.1f %% hits", 100*float64(c.Hits)/float64(all))
	}
	_, err := io.WriteString(out, table([][]string{
		{"answers", fmt.Sprintf("%d in %d KiB, %d evicted", c.Entries, c.Bytes>>10, c.Evicted)},
		{"lookups", fmt.Sprintf("%d hits, %d misses%s; %d answered by a name above", c.Hits, c.Misses, share, c.Implied)},
		{"stale", fmt.Sprintf("%d given", st.Stale)},
		{"prefetch", fmt.Sprintf("%d asked for anew before their end", st.Prefetch)},
	}, ""))
	return err
}

func cacheFlushCommand(g *global) *cobra.Command {
	var all, asJSON bool
	c := &cobra.Command{
		Use:   "flush NAME|--all",
		Short: "Forget what upstreams said about NAME and all below it, or about everything",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) == 1) {
				return &exitError{exitUsage, errors.New("write a name to forget, or --all")}
			}
			name := ""
			if len(args) == 1 {
				if _, err := blocklistName(args[0]); err != nil {
					return &exitError{exitUsage, err}
				}
				name = args[0]
			}
			cl, err := g.dial(cmd)
			if err != nil {
				return err
			}
			defer cl.Close()
			done, err := cl.FlushCache(cmd.Context(), name)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(admin.Done{Done: done})
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), shown(done))
			return err
		},
	}
	c.Flags().BoolVar(&all, "all", false, "everything")
	jsonFlag(c, &asJSON)
	return c
}

// loadCache takes in the answers from before the last stop. A file that cannot be
// used is told, and missed by nobody.
func (s *server) loadCache(cfg *Config) {
	if !cfg.Cache.Save {
		return
	}
	s.savedCache = cfg.Resolve(cfg.Cache.Path)
	n, err := s.resolver.LoadCache(s.savedCache)
	if err != nil {
		s.logger.Warn("saved cache not used", "reason", err)
		return
	}
	if n > 0 {
		s.logger.Info("saved cache loaded", "answers", n)
	}
}

// saveCache writes the answers down for the next start. The resolver has ended.
func (s *server) saveCache() {
	if s.savedCache == "" {
		return
	}
	n, err := s.resolver.SaveCache(s.savedCache)
	if err != nil {
		s.logger.Error("cache not saved", "error", err)
		return
	}
	s.logger.Info("cache saved", "answers", n)
}

// FlushCache implements admin.Backend. It is recorded: what was answered before
// may have been another answer.
func (s *server) FlushCache(actor, name string) (string, error) {
	wire, what := []byte{0}, "everything"
	if name != "" {
		var err error
		if wire, err = blocklistName(name); err != nil {
			return "", err
		}
		what = blocklist.NameString(wire) + " and all below"
	}
	done := fmt.Sprintf("cache flush of %s: %s forgotten", what, plural(s.resolver.Flush(wire), "answer"))
	s.log.RecordChange(audit.Change{Action: audit.ActionCacheFlush, Actor: actor, Text: done})
	s.logger.Info(done)
	return done, nil
}
