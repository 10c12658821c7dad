package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/audit"
	"weir/cmd/internal/admin"
	"weir/resolver/upstream"
)

// dial connects to the running server.
func (g *global) dial(cmd *cobra.Command) (*admin.Client, error) {
	socket, readers := g.socket, ""
	if socket == "" {
		cfg, err := g.load(cmd.ErrOrStderr())
		if err != nil {
			return nil, err
		}
		socket, readers = cfg.Resolve(cfg.Admin.Socket), cfg.readers()
	}
	c, err := admin.Dial(cmd.Context(), socket)
	if errors.Is(err, fs.ErrPermission) && readers != "" {
		c, err = admin.Dial(cmd.Context(), readers)
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, &exitError{exitNoServer, fmt.Errorf("%w; the server's own user may use it, and the group that [admin] names, if the folder lets it pass", err)}
	case err != nil:
		return nil, &exitError{exitNoServer, fmt.Errorf("%w; start one with `weir serve`, or name its socket with --socket", err)}
	}
	return c, nil
}

// reach connects to the running server, or returns the configuration of one that does not
// run, unless --socket has named it.
func (g *global) reach(cmd *cobra.Command) (*admin.Client, *Config, error) {
	cl, err := g.dial(cmd)
	if err == nil || !errors.Is(err, admin.ErrNoServer) || g.socket != "" {
		return cl, nil, err
	}
	cfg, err := g.load(cmd.ErrOrStderr())
	return nil, cfg, err
}

// askCommand is a verb that asks the running server one thing and prints it.
func askCommand[T any](g *global, use, short string, ask func(*admin.Client, context.Context) (T, error), print func(io.Writer, T) error) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := g.dial(cmd)
			if err != nil {
				return err
			}
			defer cl.Close()
			answer, err := ask(cl, cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(answer)
			}
			return print(cmd.OutOrStdout(), answer)
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func statusCommand(g *global) *cobra.Command {
	return askCommand(g, "status", "Say how the running server is doing", (*admin.Client).Status, printStatus)
}

func metricsCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "metrics",
		Short: "Print the running server's metrics as Prometheus reads them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := g.dial(cmd)
			if err != nil {
				return err
			}
			defer cl.Close()
			return cl.Metrics(cmd.Context(), cmd.OutOrStdout())
		},
	}
}

func printStatus(out io.Writer, st admin.Status) error {
	rows := [][]string{
		{"server", fmt.Sprintf("weir %s, process %d, up %s", st.Version, st.PID, time.Since(st.Started).Round(time.Second))},
		{"listen", strings.Join(st.Listen, " ")},
		{"revision", fmt.Sprintf("%d, digest %.16s, since %s, from %s", st.Revision, st.Digest, local(st.Loaded), shown(st.Config))},
		{"policies", strings.Join(st.Policies, " ") + observing(st.Observing)},
		{"names", fmt.Sprintf("%d in %d KiB, %d KiB mapped", st.Names, st.NameMemory>>10, st.NameMapped>>10)},
	}
	for _, c := range st.Categories {
		rows = append(rows, []string{"", fmt.Sprintf("%-20s %s from %s", c.Name, plural(c.Names, "name"), plural(c.Lists, "list"))})
	}
	for i, text := range st.Attention {
		what := ""
		if i == 0 {
			what = "attention"
		}
		rows = append(rows, []string{what, shown(text)})
	}
	if st.Exceptions > 0 {
		rows = append(rows, []string{"exceptions", fmt.Sprintf("%d in force, see `weir exception list`", st.Exceptions)})
	}
	if st.Hosts > 0 {
		rows = append(rows, []string{"hosts", fmt.Sprintf("%d known", st.Hosts)})
	}
	if !st.NextSwitch.IsZero() {
		rows = append(rows, []string{"schedules", "next change " + local(st.NextSwitch)})
	}
	r, ca, a, p := st.Resolver, st.Resolver.Cache, st.Audit, st.Process
	panics := r.Panics
	rows = append(rows,
		[]string{"queries", fmt.Sprintf("%d packets received, %d queries answered, %d waiting for upstreams, %d turned away for want of room", r.Received, r.Answered, r.Inflight, r.Overload)},
		[]string{"answers", sourcesText(st.Sources)},
		[]string{"limits", fmt.Sprintf("%d queries beyond their client's rate, %d answers too alike, %d too large for forged addresses, %d too late", r.Limited, r.Alike, r.Amplified, r.Late)},
		[]string{"tcp", fmt.Sprintf("%d open, %d idle ones closed for others, %d of outsiders turned away", r.TCP, r.Evicted, r.Outsider)},
		[]string{"cache", fmt.Sprintf("%d answers in %d KiB, %d hits, %d misses, %d evicted", ca.Entries, ca.Bytes>>10, ca.Hits, ca.Misses, ca.Evicted)})
	for _, u := range st.Upstreams {
		rows = append(rows, []string{"upstream", upstreamState(&u)})
		for i := range u.Servers {
			panics += u.Servers[i].Panics
			rows = append(rows, []string{"upstream", u.Name + " " + serverState(&u.Servers[i], time.Now())})
		}
	}
	rows = append(rows, []string{"audit", fmt.Sprintf("last record %d, %d taken, %d lost, %d waiting, %s (%d of them packed), %d KiB", a.LastSeq, a.Recorded, a.Lost, a.Pending, plural(int(a.Segments), "segment"), a.Packed, a.Bytes>>10)})
	if x := a.Excluded; x.Sum() > 0 {
		rows = append(rows, []string{"", fmt.Sprintf("not recorded: %s by exclude_domains, %d blocked; %d by exclude_clients, %d blocked",
			count(int(x.Names), "query", "queries"), x.NamesBlocked, x.Clients, x.ClientsBlocked)})
	}
	rows = append(rows, []string{"", retainedText(&a)})
	rows = append(rows, []string{"", indexText(a.Index)})
	if a.LastError != "" {
		rows = append(rows, []string{"", "cannot write: " + shown(a.LastError)})
	}
	if a.Missing > 0 {
		rows = append(rows, []string{"", plural(int(a.Missing), "record") + " LOST from the disk: somebody removed or replaced the store's files while they were open"})
	}
	if a.Stalled > 0 {
		rows = append(rows, []string{"", fmt.Sprintf("the disk keeps it waiting for %s", a.Stalled.Round(100*time.Millisecond))})
	}
	if a.Withheld > 0 {
		rows = append(rows, []string{"", plural(int(a.Withheld), "answer") + " withheld for want of a record"})
	}
	if a.Exposed != "" {
		rows = append(rows, []string{"", shown(a.Exposed)})
	}
	rows = append(rows, []string{"process", fmt.Sprintf("%d goroutines, %d KiB of memory in use, %s", p.Goroutines, p.Heap>>10, plural(p.Descriptors, "open file"))})
	if panics > 0 {
		rows = append(rows, []string{"panics", fmt.Sprint(panics) + "; the log has the packets"})
	}
	_, err := io.WriteString(out, table(rows, ""))
	return err
}

// retainedText says what the audit store has, and what is held of it.
func retainedText(a *audit.Stats) string {
	text := plural(a.Files, "file")
	if !a.Oldest.IsZero() {
		text += ", records since " + local(a.Oldest)
	}
	if n := a.Retention.HeldFiles; n > 0 {
		text += fmt.Sprintf(", %s with %d KiB held over the limit, see `weir audit hold list`", plural(n, "file"), a.Retention.HeldBytes>>10)
	}
	if a.Retention.Error != "" {
		text += ", nothing old is removed: " + shown(a.Retention.Error)
	}
	return text
}

// sourcesText says where answers came from.
func sourcesText(counts []audit.SourceCount) string {
	var parts []string
	for _, c := range counts {
		text := fmt.Sprintf("%d from %s", c.Queries, c.Source)
		if c.Source == "sinkhole" {
			text = fmt.Sprintf("%d blocked", c.Queries)
		} else if c.Blocked {
			text += ", blocked"
		}
		parts = append(parts, text)
	}
	if parts == nil {
		return "none yet"
	}
	return strings.Join(parts, ", ")
}

func upstreamState(u *admin.Upstream) string {
	text := fmt.Sprintf("%s: %s, %s", u.Name, u.Strategy, plural(int(u.Asked), "question"))
	if u.Strategy == upstream.Hedge {
		text += fmt.Sprintf(", %d asked of a second server early, %d not because that would be too many", u.Hedges, u.Refused)
	}
	if u.Down {
		text += ", no server answers"
	}
	return text
}

func serverState(s *upstream.ServerStats, now time.Time) string {
	text := fmt.Sprintf("%s: %d sent, %d answered, %d silent, %d failed, %d foreign packets", s.Server, s.Sent, s.Answered, s.Timeouts, s.Failures, s.Ignored)
	if s.RTT > 0 {
		text += fmt.Sprintf(", mean %v", s.RTT.Round(10*time.Microsecond))
	}
	if s.P95 > 0 {
		text += fmt.Sprintf(", 95 of 100 in %v", s.P95.Round(10*time.Microsecond))
	}
	if s.Connections > 0 {
		text += ", " + plural(s.Connections, "open connection")
	}
	if s.Failing {
		text += fmt.Sprintf(", failing for %v, %s, the next in %v", now.Sub(s.FailingSince).Round(time.Second), plural(s.Probes, "probe"),
			max(s.NextProbe.Sub(now), 0).Round(time.Millisecond))
		if s.LastError != "" {
			text += ": " + shown(s.LastError)
		}
	}
	return text
}

// observing says which policies block nothing.
func observing(policies []string) string {
	if len(policies) == 0 {
		return ""
	}
	return "; only observing: " + strings.Join(policies, " ")
}

func reloadCommand(g *global) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "reload",
		Short: "Make the running server read configuration and lists again, all or nothing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if g.socket == "" { // reading it here shows each problem with its line
				if _, err := loadConfig(g.configPath(), cmd.ErrOrStderr(), "the revision in force stays"); err != nil {
					return err
				}
			}
			cl, err := g.dial(cmd)
			if err != nil {
				return err
			}
			defer cl.Close()
			r, err := cl.Reload(cmd.Context())
			if err != nil {
				return &exitError{exitConfig, fmt.Errorf("reload refused, the revision in force stays:\n%w", err)}
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return json.NewEncoder(out).Encode(r)
			}
			if len(r.Changes) == 0 {
				_, err = fmt.Fprintf(out, "revision %d: nothing differs\n", r.Revision)
				return err
			}
			_, err = fmt.Fprintf(out, "revision %d\n", r.Revision)
			for _, line := range r.Changes {
				fmt.Fprintf(out, "  %s\n", shown(line))
			}
			return err
		},
	}
	jsonFlag(c, &asJSON)
	return c
}
