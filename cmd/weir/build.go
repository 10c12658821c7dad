package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"weir/blocklist"
	"weir/resolver"
	"weir/resolver/upstream"
)

// built is a configuration turned into the objects that answer queries.
type built struct {
	cfg    *Config
	lists  *blocklist.Lists
	state  *resolver.State
	digest [sha256.Size]byte // of all that went in
}

// build makes the objects for cfg: the only place where the parts of the
// program meet. It starts nothing and touches nothing that is in use. self
// holds the addresses that we listen on. Mistakes that only show here, in lists,
// zones and servers, are a *configError with all of them.
func build(ctx context.Context, cfg *Config, revision uint64, self []netip.AddrPort, logger *slog.Logger) (*built, error) {
	b := &built{cfg: cfg, state: &resolver.State{Revision: revision, Access: resolver.NewAccess(cfg.Access.Allow)}}
	faults := newFaults(cfg)
	sum := sha256.New()

	lists, err := blocklist.Load(ctx, categories(cfg), cfg.Dir)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		faults.add(err)
	} else {
		b.lists = lists
		if b.state.Policy, err = blocklist.Compile(policies(cfg), lists); err != nil {
			faults.add(err)
		}
		for _, l := range lists.All() {
			fmt.Fprintf(sum, "list %q %q %x\n", l.Category, l.Name, l.Digest)
			for _, p := range l.Problems {
				logger.Warn("list line left out", "at", fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column), "reason", p.Reason, "text", p.Text)
			}
			if more := l.Unreadable - len(l.Problems); more > 0 {
				logger.Warn("list lines left out", "list", l.Name, "more", more)
			}
		}
	}

	b.state.Sinkhole = resolver.NewSinkhole(resolver.SinkholeConfig{
		Answer: answer(cfg.Sinkhole.Answer), TTL: seconds(cfg.Sinkhole.TTL), Addresses: cfg.Sinkhole.Addresses,
	})
	b.route(faults, sum, self, logger)
	b.local(faults, sum)

	if problems := faults.report.sorted(); len(problems) > 0 {
		for _, g := range b.state.Groups {
			err = errors.Join(err, g.Close())
		}
		return nil, &configError{problems}
	}
	text, err := os.ReadFile(cfg.File)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	sum.Write(text)
	b.digest = [sha256.Size]byte(sum.Sum(nil))
	return b, nil
}

// route opens the upstreams and says which zone goes to which.
func (b *built) route(faults *faults, sum io.Writer, self []netip.AddrPort, logger *slog.Logger) {
	groups := map[string]*upstream.Group{}
	for i := range b.cfg.Upstreams {
		u := &b.cfg.Upstreams[i]
		var servers []upstream.Exchanger
		open := func(field any, url string) {
			x, err := upstream.Open(url, upstream.Options{})
			if err != nil {
				faults.at(field, err.Error())
				return
			}
			if upstream.IsSelf(url, self) {
				faults.at(field, fmt.Sprintf("upstream %q is this resolver: a query would come back for ever", url))
				return
			}
			fmt.Fprintf(sum, "server %q %s\n", u.Name, url)
			servers = append(servers, x)
		}
		for j := range u.Servers {
			field := &u.Servers[j]
			if *field != "system" {
				open(field, *field)
				continue
			}
			urls, skipped, err := upstream.System(b.cfg.Resolve(b.cfg.Resolver.ResolvConf), self)
			for _, s := range skipped {
				logger.Warn("system server left out", "upstream", u.Name, "reason", s)
			}
			if err != nil {
				faults.at(field, err.Error(), `write the servers' addresses instead, as in servers = ["udp://192.0.2.53"]`)
			}
			for _, url := range urls {
				open(field, url)
			}
		}
		if len(servers) == 0 {
			continue // said above
		}
		g, err := upstream.NewGroup(upstream.GroupConfig{
			Name: u.Name, Servers: servers, Timeout: u.Timeout, Deadline: b.cfg.Resolver.Deadline,
		})
		if err != nil {
			faults.at(u, err.Error())
			continue
		}
		groups[u.Name] = g
		b.state.Groups = append(b.state.Groups, g)
	}
	var routes []upstream.Route
	for i := range b.cfg.Forwards {
		f := &b.cfg.Forwards[i]
		for j := range f.Zones {
			zone, err := blocklist.AppendWireName(nil, f.Zones[j])
			if err != nil {
				faults.at(&f.Zones[j], err.Error())
				continue
			}
			if g := groups[f.Upstream]; g != nil {
				routes = append(routes, upstream.Route{Zone: zone, Group: g})
			}
		}
	}
	if groups["default"] == nil {
		return // said above
	}
	router, err := upstream.NewRouter(groups["default"], routes)
	if err != nil {
		faults.at(&b.cfg.Forwards, err.Error())
	}
	b.state.Routes = router
}

// local reads the zones that are answered here.
func (b *built) local(faults *faults, sum io.Writer) {
	var zones []resolver.Zone
	for i := range b.cfg.Zones {
		z := &b.cfg.Zones[i]
		var zone resolver.Zone
		var err error
		if z.File != "" {
			zone, err = resolver.ParseZoneFile(z.Name, b.cfg.Resolve(z.File))
			if err != nil {
				faults.at(&z.File, err.Error())
			}
		} else {
			zone, err = resolver.ParseRecords(z.Name, z.Records)
			for _, err := range split(err) {
				var field any = &z.Records
				var re *resolver.RecordError
				if errors.As(err, &re) {
					field = &z.Records[re.Record]
				}
				faults.at(field, fmt.Sprintf("zone %s: %v", z.Name, err))
			}
		}
		if err == nil {
			zones = append(zones, zone)
			for _, rr := range zone.Records {
				fmt.Fprintf(sum, "record %q %s\n", z.Name, rr)
			}
		}
	}
	var forwarded [][]byte
	for _, f := range b.cfg.Forwards {
		for _, text := range f.Zones {
			if zone, err := blocklist.AppendWireName(nil, text); err == nil {
				forwarded = append(forwarded, zone)
			}
		}
	}
	l, err := resolver.NewLocal(zones, b.cfg.Local.SpecialNames, b.cfg.Local.PrivateReverse, forwarded)
	for _, err := range split(err) {
		var field any = &b.cfg.Zones
		for i := range b.cfg.Zones {
			if strings.HasPrefix(err.Error(), "zone "+strings.TrimSuffix(b.cfg.Zones[i].Name, ".")+".:") {
				field = &b.cfg.Zones[i]
			}
		}
		faults.at(field, err.Error())
	}
	b.state.Local = l
}

// split takes joined errors apart.
func split(err error) []error {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range many.Unwrap() {
			out = append(out, split(e)...)
		}
		return out
	}
	return []error{err}
}

func categories(cfg *Config) []blocklist.CategoryConfig {
	var out []blocklist.CategoryConfig
	for i := range cfg.Categories {
		c := &cfg.Categories[i]
		out = append(out, blocklist.CategoryConfig{Name: c.Name, Sources: c.Sources, Pos: cfg.Where(&c.Sources)})
	}
	return out
}

func policies(cfg *Config) []blocklist.PolicyConfig {
	var out []blocklist.PolicyConfig
	for i := range cfg.Policies {
		p := &cfg.Policies[i]
		pc := blocklist.PolicyConfig{
			Name: p.Name, Clients: p.Prefixes(), Any: p.Any(), TrustAllowed: p.CNAME == "trust-allowed",
			Pos: p.Pos, ClientsPos: cfg.Where(&p.Clients), DefaultPos: cfg.Where(&p.Default),
		}
		if p.Default == "block" {
			pc.Default = blocklist.Block
		}
		for j := range p.Rules {
			r := &p.Rules[j]
			action, _ := blocklist.ParseAction(r.Action) // the words were checked when the file was read
			pc.Rules = append(pc.Rules, blocklist.RuleConfig{
				Action: action, Categories: r.Categories, Domains: r.Domains, Types: r.Types,
				Answer: answer(r.Answer), Pos: r.Pos,
			})
		}
		out = append(out, pc)
	}
	return out
}

// answer turns the configuration's word, which was checked when the file was
// read, into the answer.
func answer(word string) blocklist.Answer {
	a, _ := blocklist.ParseAnswer(word)
	return a
}

func seconds(d time.Duration) uint32 { return uint32(d / time.Second) }

// faults gathers mistakes that show when a configuration is built.
type faults struct {
	cfg    *Config
	report *report
}

func newFaults(cfg *Config) *faults {
	text, _ := os.ReadFile(cfg.File) // without it problems come without the line
	return &faults{cfg: cfg, report: newReport(cfg.File, text)}
}

// at adds a mistake at a field of the configuration.
func (f *faults) at(field any, message string, notes ...string) {
	f.place(f.cfg.At(field), message, notes)
}

// add adds the mistakes joined in err; those that name a place keep it.
func (f *faults) add(err error) {
	for _, err := range split(err) {
		var ce *blocklist.ConfigError
		if !errors.As(err, &ce) {
			f.place(Pos{}, err.Error(), nil)
			continue
		}
		var at Pos
		if _, line, ok := strings.Cut(strings.TrimPrefix(ce.Pos, f.cfg.File), ":"); ok {
			if n, err := strconv.Atoi(line); err == nil && n > 0 && n <= len(f.report.lines) {
				text := f.report.line(n)
				indent := len(text) - len(strings.TrimLeft(text, " \t"))
				at = Pos{Line: n, Column: indent + 1, Width: max(1, len([]rune(text))-indent)}
			}
		}
		f.place(at, ce.What, []string{ce.Hint})
	}
}

func (f *faults) place(at Pos, message string, notes []string) {
	if at.Line > len(f.report.lines) {
		at = Pos{}
	}
	f.report.add(SeverityError, at, message, "", notes)
}

// configError is a configuration that cannot be used.
type configError struct{ problems []Problem }

// Error is all that keeps it from being used, one problem a line.
func (e *configError) Error() string { return strings.Join(e.lines(), "\n") }

func (e *configError) lines() []string {
	var lines []string
	for _, p := range e.problems {
		if p.Severity == SeverityError {
			lines = append(lines, p.Error())
		}
	}
	return lines
}

// told tells the problems of a configuration that could not be built, if err is
// about one, and returns err.
func told(err error, talk io.Writer, outcome string) error {
	var c *configError
	if errors.As(err, &c) {
		fmt.Fprint(talk, renderProblems(c.problems, outcome))
	}
	return err
}

// changes says, a line each, how next differs from b for those who operate it.
func (b *built) changes(next *built) []string {
	var out []string
	diff(&out, "category", summary(b.lists), summary(next.lists))
	diff(&out, "list", digests(b.lists), digests(next.lists))
	diff(&out, "policy", named(b.cfg.Policies, policyText), named(next.cfg.Policies, policyText))
	diff(&out, "upstream", named(b.cfg.Upstreams, upstreamText), named(next.cfg.Upstreams, upstreamText))
	diff(&out, "forward", named(b.cfg.Forwards, forwardText), named(next.cfg.Forwards, forwardText))
	diff(&out, "zone", named(b.cfg.Zones, zoneText), named(next.cfg.Zones, zoneText))
	diff(&out, "setting", settings(b.cfg), settings(next.cfg))
	return out
}

// diff appends what was added, removed and changed between two descriptions.
func diff(out *[]string, what string, old, now map[string]string) {
	keys := maps.Clone(old)
	maps.Copy(keys, now)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		a, had := old[k]
		b, has := now[k]
		switch {
		case !had:
			*out = append(*out, fmt.Sprintf("%s %s added: %s", what, k, b))
		case !has:
			*out = append(*out, fmt.Sprintf("%s %s removed", what, k))
		case a != b:
			*out = append(*out, fmt.Sprintf("%s %s changed: %s, was %s", what, k, b, a))
		}
	}
}

func summary(l *blocklist.Lists) map[string]string {
	out := map[string]string{}
	for _, c := range l.Categories() {
		out[c.Name] = plural(c.Names, "name")
	}
	return out
}

func digests(l *blocklist.Lists) map[string]string {
	out := map[string]string{}
	for _, x := range l.All() {
		out[x.Category+" "+x.Name] = fmt.Sprintf("%s, sha256 %.4x", count(x.Entries, "entry", "entries"), x.Digest)
	}
	return out
}

func named[T any](items []T, text func(*T) (name, text string)) map[string]string {
	out := map[string]string{}
	for i := range items {
		name, s := text(&items[i])
		out[name] = s
	}
	return out
}

func policyText(p *Policy) (string, string) {
	var clients []string
	for _, c := range p.Clients {
		clients = append(clients, fmt.Sprint(c))
	}
	text := fmt.Sprintf("clients %s, default %s, cname %s", strings.Join(clients, " "), p.Default, p.CNAME)
	for i := range p.Rules {
		text += fmt.Sprintf(", rule %d %s", i+1, ruleText(&p.Rules[i]))
	}
	return p.Name, text
}

func ruleText(r *Rule) string {
	text := r.Action
	add := func(what string, words ...string) {
		if len(words) > 0 && words[0] != "" {
			text += " " + what + " " + strings.Join(words, " ")
		}
	}
	var types []string
	for _, t := range r.Types {
		types = append(types, dns.Type(t).String())
	}
	add("categories", r.Categories...)
	add("domains", r.Domains...)
	add("types", types...)
	add("answer", r.Answer)
	return text
}

func upstreamText(u *Upstream) (string, string) {
	return u.Name, fmt.Sprintf("%s, timeout %v", strings.Join(u.Servers, " "), u.Timeout)
}

func forwardText(f *Forward) (string, string) { return strings.Join(f.Zones, " "), "to " + f.Upstream }

func zoneText(z *Zone) (string, string) {
	if z.File != "" {
		return z.Name, "from " + z.File
	}
	return z.Name, fmt.Sprintf("%q", z.Records)
}

// settings are the single values that a reload puts in force.
func settings(c *Config) map[string]string {
	return map[string]string{
		"access.allow":          fmt.Sprint(c.Access.Allow),
		"sinkhole":              fmt.Sprint(c.Sinkhole),
		"local.special_names":   fmt.Sprint(c.Local.SpecialNames),
		"local.private_reverse": fmt.Sprint(c.Local.PrivateReverse),
		"resolver.resolv_conf":  c.Resolver.ResolvConf,
	}
}

// fixed names the tables whose change takes a restart and differs between two
// configurations.
func fixed(old, now *Config) []string {
	var out []string
	for _, t := range []struct {
		name string
		a, b any
	}{
		{"[server]", old.Server, now.Server},
		{"[resolver] max_inflight and deadline", [2]any{old.Resolver.MaxInflight, old.Resolver.Deadline}, [2]any{now.Resolver.MaxInflight, now.Resolver.Deadline}},
		{"[cache]", old.Cache, now.Cache},
		{"[audit]", old.Audit, now.Audit},
		{"[admin]", old.Admin, now.Admin},
		{"[log]", old.Log, now.Log},
	} {
		if fmt.Sprint(t.a) != fmt.Sprint(t.b) {
			out = append(out, t.name)
		}
	}
	return out
}
