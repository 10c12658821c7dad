package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/audit"
	"weir/blocklist"
	"weir/cmd/internal/admin"
	"weir/cmd/internal/exceptions"
	"weir/resolver"
	"weir/resolver/upstream"
)

func explainCommand(g *global) *cobra.Command {
	var q admin.Question
	var at string
	var asJSON, exitCode bool
	c := &cobra.Command{
		Use:   "explain NAME | --seq N",
		Short: "Say what would happen to a question, or what happened to one, and by which line of what",
		Long: "Say what would happen to a question, and by which line of which file. The\n" +
			"running server is asked; if there is none, the files are read.\n\n" +
			"With --seq, say what happened to the question with that sequence number in the\n" +
			"audit store, by the configuration that was in force then.",
		Args: func(cmd *cobra.Command, args []string) error {
			if q.Seq != 0 {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.ExactArgs(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if q.Seq == 0 {
				q.Name = args[0]
				if at != "" {
					var err error
					if q.At, err = parseTime(at, time.Now()); err != nil {
						return &exitError{exitUsage, fmt.Errorf("--at: %w", err)}
					}
				}
				if _, err := parseQuestion(q); err != nil {
					return &exitError{exitUsage, err}
				}
			}
			e, err := explainAnywhere(cmd, g, q)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				err = json.NewEncoder(out).Encode(e)
			} else {
				err = printExplanation(out, e, g.palette(out))
			}
			if err == nil && exitCode && e.Verdict != "allowed" {
				return &exitError{exitIsBlocked, nil}
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&q.Client, "client", "127.0.0.1", "`ADDRESS` of the client that asks")
	f.StringVar(&q.MAC, "mac", "", "hardware `ADDRESS` of the client, as a forwarder would tell it")
	f.StringVar(&q.Type, "type", "A", "`TYPE` asked for")
	f.StringVar(&at, "at", "", "`TIME` of the question: a date and time, or RFC 3339 (default now)")
	f.Uint64Var(&q.Seq, "seq", 0, "sequence `NUMBER` of a question in the audit store")
	f.BoolVar(&exitCode, "exit-code", false, "exit 10 if it is not allowed")
	jsonFlag(c, &asJSON)
	return c
}

// explainAnywhere asks the server that serves the configuration, or builds the
// configuration itself when there is none.
func explainAnywhere(cmd *cobra.Command, g *global, q admin.Question) (admin.Explanation, error) {
	ctx := cmd.Context()
	cl, cfg, err := g.reach(cmd)
	if err != nil {
		return admin.Explanation{}, err
	}
	if cl != nil {
		defer cl.Close()
		return cl.Explain(ctx, q)
	}
	quiet := slog.New(slog.DiscardHandler)
	b, err := build(ctx, cfg, site{self: cfg.Server.Listen, logger: quiet})
	if err != nil {
		return admin.Explanation{}, told(err, cmd.ErrOrStderr(), "nothing can be explained")
	}
	defer b.close()
	granted, err := exceptions.OpenReadOnly(exceptionsFile(cfg), exceptions.Config{})
	if err == nil {
		defer granted.Close()
	} else {
		granted = nil // there are none, or the server that holds them does not answer
	}
	a := new(attendant)
	if a.hosts, err = a.watchHosts(cfg, nil, &server{logger: quiet, clock: exceptions.SystemClock()}); err != nil {
		return admin.Explanation{}, err
	}
	b.state.Local = a.local(b, quiet)
	if q.Seq == 0 {
		return b.explain(q, nil, granted, knownHosts(a.hosts))
	}
	r, err := audit.OpenReader(cfg.Resolve(cfg.Audit.Path))
	if err != nil {
		return admin.Explanation{}, &exitError{exitBusy, openHint(err)}
	}
	defer r.Close()
	return b.explainRecord(q.Seq, r, granted, knownHosts(a.hosts))
}

// parseQuestion reads what a question to explain is about.
func parseQuestion(q admin.Question) (*blocklist.Lookup, error) {
	l := &blocklist.Lookup{At: q.At.UnixNano()}
	if q.At.IsZero() {
		l.At = time.Now().UnixNano()
	}
	var err error
	if strings.Contains(q.Name, "://") {
		u, err := url.Parse(q.Name)
		if err != nil || u.Hostname() == "" {
			return nil, fmt.Errorf("%q is a URL, not a name", q.Name)
		}
		return nil, fmt.Errorf("%q is a URL, not a name: ask for %s", q.Name, u.Hostname())
	}
	if l.Name, err = blocklistName(q.Name); err != nil {
		return nil, err
	}
	if l.Type, err = parseType(q.Type); err != nil {
		return nil, err
	}
	addr, err := netip.ParseAddr(q.Client)
	if err != nil {
		return nil, fmt.Errorf("client %q is not an address", q.Client)
	}
	l.Client.Addr = addr.WithZone("")
	if q.MAC != "" {
		c, err := parseClient(q.MAC)
		if err != nil || c.MAC == (blocklist.MAC{}) {
			return nil, fmt.Errorf("mac %q is not a hardware address", q.MAC)
		}
		l.Client.MAC = c.MAC
	}
	return l, nil
}

// explain accounts for one question step by step. running, which may be nil, is the resolver whose memory may hold the
// answer.
func (b *built) explain(q admin.Question, running *resolver.Resolver, granted *exceptions.Store, known []blocklist.Host) (admin.Explanation, error) {
	l, err := parseQuestion(q)
	if err != nil {
		return admin.Explanation{}, err
	}
	st := b.state
	if running != nil {
		st = running.State()
	}
	moment := time.Unix(0, l.At)
	if running == nil || !q.At.IsZero() {
		p, err := b.at(moment, blocklist.Known{Hosts: known, Groups: b.groupList(), Exceptions: grantedAt(granted, moment)})
		if err != nil {
			return admin.Explanation{}, err
		}
		st = st.With(p)
	}
	a := st.Explain(l)
	if running != nil {
		a = running.Explain(st, l)
	}
	e := b.explained(l, &a, granted)
	e.Revision = st.Revision
	return e, nil
}

// explained puts an account into words.
func (b *built) explained(l *blocklist.Lookup, a *resolver.Account, granted *exceptions.Store) admin.Explanation {
	e := admin.Explanation{Verdict: "allowed", Name: blocklist.NameString(l.Name), Type: typeText(l.Type), Client: a.Client.String()}
	b.steps(&e, l, a, granted)
	return e
}

// decidedBy names what decides as records do: the number of the rule, or "default", "rebinding" and so on.
func decidedBy(o *blocklist.Outcome) string {
	switch o.By {
	case blocklist.ByRule:
		return fmt.Sprint(o.Rule)
	case blocklist.ByException:
		return fmt.Sprintf("%v %d", o.By, o.Exception)
	}
	return o.By.String()
}

// grantedAt are the exceptions in force at a moment.
func grantedAt(granted *exceptions.Store, moment time.Time) []blocklist.Exception {
	if granted == nil {
		return nil
	}
	return knownExceptions(granted.At(moment))
}

// entryText says in words what an entry covers.
func entryText(entry string) string {
	address, _, _ := strings.Cut(entry, "/")
	_, err := netip.ParseAddr(address)
	switch {
	case err == nil: // or a network
		return entry
	case strings.HasPrefix(entry, "="):
		return entry[1:] + " (itself only)"
	case strings.HasPrefix(entry, "*."):
		return entry[2:] + " (below it only)"
	}
	return entry + " (and below)"
}

// shortPath is a list's file as an operator writes it: relative to the
// configuration where that is shorter.
func (b *built) shortPath(file string) string {
	if rel, err := filepath.Rel(b.cfg.Dir, file); err == nil && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return file
}

func (b *built) zonePos(zone string) string {
	for i := range b.cfg.Zones {
		if asciiName(b.cfg.Zones[i].Name) == zone {
			return b.cfg.Where(&b.cfg.Zones[i])
		}
	}
	for _, domain := range []*string{&b.cfg.Leases.Domain, &b.cfg.Hosts.Domain} {
		if asciiName(*domain) == zone {
			return b.cfg.Where(domain)
		}
	}
	return "built in"
}

// asked says how the servers of an upstream are asked.
func (b *built) asked(name string, servers []string) string {
	i := slices.IndexFunc(b.cfg.Upstreams, func(u Upstream) bool { return u.Name == name })
	if len(servers) > 1 && i >= 0 {
		switch all := strings.Join(servers, ", "); upstream.Strategy(b.cfg.Upstreams[i].Strategy) {
		case upstream.Fastest:
			return "the fastest of " + all
		case upstream.Race:
			return all + ", up to three at once,"
		case upstream.Hedge:
			return strings.Join(servers, ", then ") + ", a second early if the first takes long,"
		}
	}
	return strings.Join(servers, ", then ")
}

func (b *built) upstreamPos(name string) string {
	for i := range b.cfg.Upstreams {
		if b.cfg.Upstreams[i].Name == name {
			return b.cfg.Where(&b.cfg.Upstreams[i].Servers)
		}
	}
	return ""
}

func printExplanation(out io.Writer, e admin.Explanation, p palette) error {
	_, err := fmt.Fprintf(out, "%s   %s  %s  for %s\n", p.verdict(e.Verdict), e.Name, e.Type, e.Client)
	if err != nil {
		return err
	}
	var rows [][]string
	for i, s := range e.Steps {
		rows = append(rows, []string{fmt.Sprint(i + 1), s.Kind, shown(s.Subject), shown(s.Detail), shown(s.Where)})
	}
	text := table(rows, "  ")
	if len(e.Remedies) > 0 {
		rows = nil
		for _, s := range e.Remedies {
			rows = append(rows, []string{shown(s.Subject), shown(s.Detail), shown(s.Where)})
		}
		text += "to allow it\n" + table(rows, "  ")
	}
	_, err = io.WriteString(out, text)
	return err
}
