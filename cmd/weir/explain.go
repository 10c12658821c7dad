package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/miekg/dns"
	"github.com/spf13/cobra"

	"weir/blocklist"
	"weir/cmd/internal/admin"
	"weir/resolver"
)

func explainCommand(g *global) *cobra.Command {
	var client, qtype string
	var asJSON, exitCode bool
	c := &cobra.Command{
		Use:   "explain NAME",
		Short: "Say what would happen to a question, and by which line of what",
		Long: "Say what would happen to a question, and by which line of which file. The\n" +
			"running server is asked; if there is none, the files are read.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, _, _, err := parseQuestion(args[0], qtype, client); err != nil {
				return &exitError{exitUsage, err}
			}
			e, err := explainAnywhere(cmd, g, args[0], qtype, client)
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
	c.Flags().StringVar(&client, "client", "127.0.0.1", "`ADDRESS` of the client that asks")
	c.Flags().StringVar(&qtype, "type", "A", "`TYPE` asked for")
	c.Flags().BoolVar(&exitCode, "exit-code", false, "exit 10 if it is not allowed")
	jsonFlag(c, &asJSON)
	return c
}

// explainAnywhere asks the server that serves the configuration, or builds the
// configuration itself when there is none.
func explainAnywhere(cmd *cobra.Command, g *global, name, qtype, client string) (admin.Explanation, error) {
	ctx := cmd.Context()
	cl, err := g.dial(cmd)
	if err == nil {
		defer cl.Close()
		return cl.Explain(ctx, name, qtype, client)
	}
	if !errors.Is(err, admin.ErrNoServer) || g.socket != "" {
		return admin.Explanation{}, err
	}
	cfg, err := g.load(cmd.ErrOrStderr())
	if err != nil {
		return admin.Explanation{}, err
	}
	b, err := build(ctx, cfg, site{self: cfg.Server.Listen, logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return admin.Explanation{}, told(err, cmd.ErrOrStderr(), "nothing can be explained")
	}
	defer b.close()
	return b.explain(name, qtype, client, nil)
}

// parseQuestion reads what a question to explain is about.
func parseQuestion(name, qtype, client string) (wire []byte, typ uint16, addr netip.Addr, err error) {
	if wire, err = blocklistName(name); err != nil {
		return nil, 0, addr, err
	}
	if typ, err = parseType(qtype); err != nil {
		return nil, 0, addr, err
	}
	if addr, err = netip.ParseAddr(client); err != nil {
		return nil, 0, addr, fmt.Errorf("client %q is not an address", client)
	}
	return wire, typ, addr.WithZone(""), nil
}

// explain accounts for one question step by step. running, which may be nil, is the resolver whose memory may hold the
// answer.
func (b *built) explain(name, qtype, client string, running *resolver.Resolver) (admin.Explanation, error) {
	wire, typ, addr, err := parseQuestion(name, qtype, client)
	if err != nil {
		return admin.Explanation{}, err
	}
	a := b.state.Explain(wire, typ, addr)
	if running != nil {
		a = running.Explain(b.state, wire, typ, addr)
	}
	e := admin.Explanation{
		Verdict: "allowed", Name: blocklist.NameString(wire), Type: dns.Type(typ).String(),
		Client: a.Client.String(), Revision: b.state.Revision,
	}
	step := func(kind, subject, where, format string, args ...any) {
		e.Steps = append(e.Steps, admin.Step{Kind: kind, Subject: subject, Detail: fmt.Sprintf(format, args...), Where: where})
	}
	if a.Refused {
		e.Verdict = "refused"
		step("access", "refused", b.cfg.Where(&b.cfg.Access.Allow), "client %s is in none of the networks that are answered", a.Client)
		return e, nil
	}
	who := fmt.Sprintf("any client; %s is in no other policy", a.Client)
	if a.Prefix.IsValid() {
		who = fmt.Sprintf("client %s in %s", a.Client, a.Prefix)
	}
	step("policy", a.Policy, a.ClientPos, "%s", who)
	for _, r := range a.Rules {
		if !r.Matched || a.Zone != "" && r.Action == blocklist.ActionObserve {
			continue
		}
		subject, detail, where := r.Action.String(), r.Why, r.Pos
		if r.Category != "" {
			subject += " " + r.Category
		}
		if r.Entry != "" {
			detail = "entry " + entryText(r.Entry)
		}
		if r.Line > 0 {
			where = fmt.Sprintf("%s:%d", b.shortPath(r.File), r.Line)
		}
		if r.Problem != "" {
			detail += " (" + r.Problem + ")"
		}
		if r.Action == blocklist.ActionObserve {
			detail += ": would block"
		}
		step("rule", subject, where, "%s", detail)
	}
	if a.Fact != "" {
		step("rule", strings.TrimSpace(a.Outcome.Action.String()+" "+a.Outcome.Category), a.Outcome.Pos,
			"entry %s, for %s in the answer that memory holds", entryText(a.Entry), a.Fact)
	}
	if a.Outcome.Rule == 0 && a.Zone == "" {
		step("default", a.Outcome.Verdict.String(), a.Outcome.Pos, "no rule decides")
	}
	switch {
	case a.Blocked:
		e.Verdict = "blocked"
		where := b.cfg.Where(&b.cfg.Sinkhole.Answer)
		if where == "" {
			where = "the default of [sinkhole] answer"
		}
		if a.Outcome.Answer != blocklist.AnswerDefault {
			where = a.Outcome.Pos
		}
		step("answer", a.Answer, where, "EDE 15 %q", a.EDE)
	case a.Zone != "":
		detail := "answered here"
		if a.Outcome.Verdict == blocklist.Block {
			detail += "; a default of \"block\" is about names that leave"
		}
		step("zone", a.Zone, b.zonePos(a.Zone), "%s", detail)
	case a.Upstream == "":
		step("answer", a.Answer, "built in", "no upstream is asked for this type")
	default:
		step("upstream", a.Upstream, b.upstreamPos(a.Upstream), "asks %s when memory has no answer", strings.Join(a.Servers, ", then "))
	}
	return e, nil
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
		if strings.EqualFold(strings.TrimSuffix(b.cfg.Zones[i].Name, "."), zone) {
			return b.cfg.Where(&b.cfg.Zones[i])
		}
	}
	return "built in"
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
	_, err = io.WriteString(out, table(rows, "  "))
	return err
}
