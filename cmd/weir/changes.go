package main

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"weir/blocklist"
	"weir/resolver/upstream"
)

// changes says, a line each, how next differs from b for those who operate it.
func (b *built) changes(next *built) []string {
	var out []string
	diff(&out, "category", summary(b.lists), summary(next.lists))
	diff(&out, "list", digests(b.lists), digests(next.lists))
	was, now := named(b.cfg.Categories, b.cfg.categoryText), named(next.cfg.Categories, next.cfg.categoryText)
	maps.DeleteFunc(was, func(name, _ string) bool { _, stays := now[name]; return !stays }) // what comes or goes was said
	maps.DeleteFunc(now, func(name, _ string) bool { _, known := was[name]; return !known })
	diff(&out, "sources of", was, now)
	diff(&out, "tsig", named(b.cfg.TSIGs, tsigText), named(next.cfg.TSIGs, tsigText))
	for _, t := range next.cfg.TSIGs {
		if i := slices.IndexFunc(b.cfg.TSIGs, func(old TSIG) bool { return old.Name == t.Name }); i >= 0 && b.cfg.TSIGs[i].Secret != t.Secret {
			out = append(out, fmt.Sprintf("tsig %s changed: another secret", t.Name))
		}
	}
	diff(&out, "group", named(b.cfg.Groups, groupText), named(next.cfg.Groups, groupText))
	diff(&out, "schedule", named(b.cfg.Schedules, scheduleText), named(next.cfg.Schedules, scheduleText))
	diff(&out, "policy", named(b.cfg.Policies, policyText), named(next.cfg.Policies, policyText))
	diff(&out, "upstream", named(b.cfg.Upstreams, upstreamText), named(next.cfg.Upstreams, upstreamText))
	diff(&out, "forward", named(b.cfg.Forwards, forwardText), named(next.cfg.Forwards, forwardText))
	diff(&out, "zone", named(b.cfg.Zones, zoneText), named(next.cfg.Zones, zoneText))
	out = append(out, b.names.changes(&next.names)...)
	if was, now := &b.cfg.Limits, &next.cfg.Limits; was.CookieSecret != now.CookieSecret || was.CookieSecretAlso != now.CookieSecretAlso {
		out = append(out, "setting limits changed: another cookie secret")
	}
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

// categoryText is all that the file says of a category.
func (c *Config) categoryText(k *Category) (string, string) {
	var parts []string
	for i := range k.Sources {
		parts = append(parts, sourceText(&k.Sources[i]))
	}
	for _, o := range []struct {
		key   string
		field any
		value any
	}{{"on_error", &k.OnError, k.OnError}, {"max_shrink", &k.MaxShrink, k.MaxShrink}, {"max_growth", &k.MaxGrowth, k.MaxGrowth}, {"never_except", &k.NeverExcept, k.NeverExcept}} {
		if c.At(o.field).Line > 0 {
			parts = append(parts, fmt.Sprintf("%s %v", o.key, o.value))
		}
	}
	return k.Name, strings.Join(parts, ", ")
}

func sourceText(s *Source) string {
	text := withoutUser(s.From)
	for _, o := range []struct {
		key   string
		value any
	}{
		{"name", s.Name},
		{"format", s.Format},
		{"refresh", s.Refresh},
		{"timeout", s.Timeout},
		{"max_size", s.MaxSize},
		{"sha256", s.SHA256},
		{"minisign", s.Minisign},
		{"ed25519", s.Ed25519},
		{"tsig", s.TSIG},
	} {
		if !reflect.ValueOf(o.value).IsZero() {
			text += fmt.Sprintf(" %s %v", o.key, o.value)
		}
	}
	return text
}

// tsigText leaves the secret out: changes are recorded.
func tsigText(t *TSIG) (string, string) {
	text := t.Algorithm
	if t.SecretFile != "" {
		text += ", secret in " + t.SecretFile
	}
	return t.Name, text
}

func policyText(p *Policy) (string, string) {
	text := fmt.Sprintf("clients %s, default %s, cname %s", strings.Join(texts(p.Clients), " "), p.Default, p.CNAME)
	for _, o := range []struct {
		key, usual string
		words      []string
	}{
		{"mode", "enforce", []string{p.Mode}},
		{"on_address", "block", []string{p.OnAddress}},
		{"rebinding", "check", []string{p.Rebinding}},
		{"rebinding_allow", "", p.RebindingAllow},
		{"strip", "", p.Strip},
		{"safe_search", "off", []string{p.SafeSearch}},
		{"dns64", "", prefixText(p.DNS64)},
		{"dns64_exclude", "", texts(p.DNS64Exclude)},
	} {
		if words := strings.Join(o.words, " "); words != o.usual {
			text += ", " + o.key + " " + words
		}
	}
	for i := range p.Rules {
		text += fmt.Sprintf(", rule %d %s", i+1, ruleText(&p.Rules[i]))
	}
	return p.Name, text
}

// prefixText is a network as a word, no word if there is none.
func prefixText(p netip.Prefix) []string {
	if !p.IsValid() {
		return nil
	}
	return []string{p.String()}
}

func ruleText(r *Rule) string {
	text := r.Action
	add := func(what string, words ...string) {
		if len(words) > 0 && words[0] != "" {
			text += " " + what + " " + strings.Join(words, " ")
		}
	}
	if r.All {
		add("all", "names")
	}
	add("categories", r.Categories...)
	add("domains", r.Domains...)
	add("answer_networks", texts(r.AnswerNetworks)...)
	add("types", typeTexts(r.Types)...)
	add("targets", typeTexts(r.Targets)...)
	add("schedule", r.Schedule)
	add("answer", r.Answer)
	return text
}

func texts[T fmt.Stringer](items []T) []string {
	var out []string
	for _, item := range items {
		out = append(out, item.String())
	}
	return out
}

func typeTexts(types []uint16) []string {
	var out []string
	for _, t := range types {
		out = append(out, dns.Type(t).String())
	}
	return out
}

func groupText(g *Group) (string, string) { return g.Name, strings.Join(texts(g.Clients), " ") }

func clientsText(c *Clients) string {
	var parts []string
	for _, l := range c.Leases {
		text := "leases " + l.File
		if l.Format != "" {
			text += " format " + l.Format
		}
		parts = append(parts, text)
	}
	if c.Neighbours {
		parts = append(parts, "neighbours")
	}
	if len(c.MACFrom) > 0 {
		parts = append(parts, "mac_from "+strings.Join(texts(c.MACFrom), " "))
	}
	if len(parts) == 0 {
		return "known by address alone"
	}
	return strings.Join(parts, ", ")
}

func scheduleText(s *Schedule) (string, string) {
	return s.Name, strings.Join(s.When, ", ") + " " + s.Timezone
}

func upstreamText(u *Upstream) (string, string) {
	text := fmt.Sprintf("%s, timeout %v", strings.Join(u.Servers, " "), u.Timeout)
	if u.Strategy != string(upstream.Ordered) {
		text += ", " + u.Strategy
	}
	if u.CA != "" {
		text += ", ca " + u.CA
	}
	if len(u.Bootstrap) > 0 {
		text += ", bootstrap " + strings.Join(u.Bootstrap, " ")
	}
	if u.CaseMixing {
		text += ", case_mixing"
	}
	if u.TrustAD {
		text += ", trust_ad"
	}
	return u.Name, text
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
		"limits":                limitsText(c),
		"sinkhole":              fmt.Sprint(c.Sinkhole),
		"local.special_names":   fmt.Sprint(c.Local.SpecialNames),
		"local.private_reverse": fmt.Sprint(c.Local.PrivateReverse),
		"local.except":          cmp.Or(strings.Join(c.Local.Except, " "), "nothing"),
		"hosts":                 hostsText(c),
		"leases":                leasesText(c),
		"resolver.resolv_conf":  c.Resolver.ResolvConf,
		"bypass.canaries":       fmt.Sprint(c.Bypass.Canaries),
		"clients":               clientsText(&c.Clients),
		"lists.refresh":         c.Lists.Refresh.String(),
		"lists.timeout":         c.Lists.Timeout.String(),
		"lists.max_size":        c.Lists.MaxSize.String(),
		"lists.max_shrink":      c.Lists.MaxShrink.String(),
		"lists.max_growth":      c.Lists.MaxGrowth.String(),
		"lists.on_error":        c.Lists.OnError,
	}
}

func hostsText(c *Config) string {
	if len(c.Hosts.Files) == 0 {
		return "no files"
	}
	return fmt.Sprintf("%s, domain %q, ttl %v", strings.Join(c.Hosts.Files, " "), c.Hosts.Domain, c.Hosts.TTL)
}

func leasesText(c *Config) string {
	if c.Leases.Domain == "" {
		return "without names"
	}
	return fmt.Sprintf("domain %q, ttl %v", c.Leases.Domain, c.Leases.TTL)
}

// limitsText is [limits] in one line, without secrets.
func limitsText(c *Config) string {
	l := &c.Limits
	return fmt.Sprintf("rate %d, burst %d, over %s, responses %d, amplification %v, prefixes /%d and /%d, cookies %t, waiting %d, late %v",
		l.Rate, l.Burst, l.Over, l.Responses, l.Amplification, l.PrefixV4, l.PrefixV6, l.Cookies, l.Waiting, l.Late)
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
		{"[exceptions]", old.Exceptions, now.Exceptions},
		{"[lists] path and watch", [2]any{old.Lists.Path, old.Lists.Watch}, [2]any{now.Lists.Path, now.Lists.Watch}},
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
