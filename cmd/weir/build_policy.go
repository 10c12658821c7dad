package main

import (
	"cmp"
	"net/netip"

	"weir/blocklist"
	"weir/resolver"
)

// groups returns the client groups by their names. Names, and all words below,
// were checked when the file was read.
func groups(cfg *Config) map[string]*blocklist.Group {
	out := map[string]*blocklist.Group{}
	for i := range cfg.Groups {
		g := &cfg.Groups[i]
		out[g.Name] = &blocklist.Group{Name: g.Name, Members: members(g.Clients), Pos: cfg.Where(&g.Name)}
	}
	return out
}

// members returns those of clients that are no group.
func members(clients []Client) (m blocklist.Members) {
	for _, c := range clients {
		switch {
		case c.Prefix.IsValid():
			m.Prefixes = append(m.Prefixes, c.Prefix)
		case c.MAC != blocklist.MAC{}:
			m.MACs = append(m.MACs, c.MAC)
		case c.Host != "":
			m.Hosts = append(m.Hosts, c.Host)
		}
	}
	return m
}

// translated returns the network in which an address is not private but one of IPv4,
// which is judged by itself.
func translated(p *Policy) []netip.Prefix {
	if !p.DNS64.IsValid() {
		return nil
	}
	return []netip.Prefix{p.DNS64}
}

// dns64 returns how the policies translate, in their order.
func dns64(cfg *Config) []*resolver.DNS64 {
	out := make([]*resolver.DNS64, len(cfg.Policies))
	for i := range cfg.Policies {
		if p := &cfg.Policies[i]; p.DNS64.IsValid() {
			out[i] = resolver.NewDNS64(p.DNS64, p.DNS64Exclude)
		}
	}
	return out
}

// policies turns what the file says of policies into what is compiled.
func policies(cfg *Config, groups map[string]*blocklist.Group) []blocklist.PolicyConfig {
	schedules := map[string]*blocklist.Schedule{}
	for i := range cfg.Schedules {
		s := &cfg.Schedules[i]
		schedules[s.Name], _ = blocklist.ParseSchedule(s.Name, s.Timezone, s.When)
	}
	var forwarded []string // their names are not public
	for _, f := range cfg.Forwards {
		forwarded = append(forwarded, f.Zones...)
	}
	var out []blocklist.PolicyConfig
	for i := range cfg.Policies {
		p := &cfg.Policies[i]
		pc := blocklist.PolicyConfig{
			Name: p.Name, Clients: members(p.Clients), Any: p.Any(), Observe: p.Mode == "observe", TrustAllowed: p.CNAME == "trust-allowed",
			Strip: p.OnAddress == "strip", Rebinding: p.Rebinding == "check", NotPublic: forwarded, Canaries: cfg.Bypass.Canaries,
			Pos: p.Pos, ClientsPos: cfg.Where(&p.Clients), DefaultPos: cfg.Where(&p.Default), ModePos: cfg.Where(&p.Mode),
			Harmless: translated(p), RebindingPos: cfg.Where(&p.Rebinding), CanariesPos: cmp.Or(cfg.Where(&cfg.Bypass.Canaries), "the default of [bypass] canaries"),
		}
		pc.SafeSearch, _ = blocklist.ParseSafeSearch(p.SafeSearch)
		for _, c := range p.Clients {
			if g := groups[c.Group]; g != nil {
				pc.Groups = append(pc.Groups, g)
			}
		}
		if p.Default == "block" {
			pc.Default = blocklist.Block
		}
		for _, text := range p.RebindingAllow {
			if prefix, err := parsePrefix(text); err == nil {
				pc.Harmless = append(pc.Harmless, prefix)
			} else {
				pc.NotPublic = append(pc.NotPublic[:len(pc.NotPublic):len(pc.NotPublic)], text)
			}
		}
		for _, what := range p.Strip {
			pc.StripECH = pc.StripECH || what == "ech"
			pc.StripHints = pc.StripHints || what == "hints"
		}
		for j := range p.Rules {
			r := &p.Rules[j]
			action, _ := blocklist.ParseAction(r.Action)
			pc.Rules = append(pc.Rules, blocklist.RuleConfig{
				Action: action, All: r.All, Categories: r.Categories, Domains: r.Domains, Networks: r.AnswerNetworks, Types: r.Types,
				Targets: r.Targets, Schedule: schedules[r.Schedule], Answer: answer(r.Answer), Pos: r.Pos,
			})
		}
		out = append(out, pc)
	}
	return out
}
