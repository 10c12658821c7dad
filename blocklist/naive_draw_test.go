package blocklist

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// modelNames are asked for: those of worldNames, some that engines are asked by, and some that applications look for.
var modelNames = func() []string {
	all := slices.Clone(worldNames)
	for _, text := range []string{"www.google.com", "www.youtube.com", "use-application-dns.net", "www.use-application-dns.net"} {
		all = append(all, string(hostName(text)))
	}
	return all
}()

var (
	modelTypes = []uint16{1, 28, 65, 16, 65280, 12, 15, 33, 35}
	modelAddrs = func() (all []netip.Addr) {
		for _, text := range []string{
			"192.0.2.1", "192.0.2.2", "198.51.100.7", "::ffff:192.0.2.1", "2001:db8::1", "2001:db8:0:1::1", "203.0.113.1",
			"10.1.2.3", "172.31.255.255", "172.32.0.0", "192.168.178.1", "::ffff:127.0.0.1", "169.254.1.1", "0.0.0.0", "::", "::1", "fe80::1", "fd00::1",
		} {
			all = append(all, netip.MustParseAddr(text))
		}
		return all
	}()
	modelNetworks = func() (all []netip.Prefix) {
		for _, text := range []string{
			"192.0.2.0/24", "192.0.2.0/30", "192.0.2.1/32", "::ffff:192.0.2.0/126", "198.51.0.0/16", "2001:db8::/32", "2001:db8::/64", "2001:db8::1/128",
			"10.0.0.0/8", "10.1.0.0/16", "::ffff:10.1.2.0/120", "192.168.0.0/16", "192.168.178.1/32", "172.16.0.0/12", "fd00::/8", "::/127", "0.0.0.0/0",
		} {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}()
	modelClients = func() (all []netip.Addr) {
		for _, text := range []string{
			"192.0.2.1", "192.0.2.129", "192.0.2.200", "::ffff:192.0.2.201", "2001:db8::1", "2001:db8:5::2", "fe80::7%eth0", "198.51.100.1",
		} {
			all = append(all, netip.MustParseAddr(text))
		}
		return append(all, netip.Addr{})
	}()
	modelMACs  = []MAC{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}, {2, 0, 0, 0, 0, 3}}
	modelHosts = []string{"tablet-anna", "tablet-ben", "tv", "nas"}
)

// modelSchedules are texts of schedules with what they mean.
var modelSchedules = []struct {
	zone string
	when []string
	in   func(t time.Time) bool
}{
	{"UTC", []string{"mon-fri 08:00-17:30"}, func(t time.Time) bool {
		m := t.Hour()*60 + t.Minute()
		return t.Weekday() >= time.Monday && t.Weekday() <= time.Friday && m >= 8*60 && m < 17*60+30
	}},
	{"UTC", []string{"22:00-06:00"}, func(t time.Time) bool { return t.Hour() >= 22 || t.Hour() < 6 }},
	{"Asia/Kolkata", []string{"sat", "sun 00:00-12:00"}, func(t time.Time) bool {
		t = t.UTC().Add(5*time.Hour + 30*time.Minute)
		return t.Weekday() == time.Saturday || t.Weekday() == time.Sunday && t.Hour() < 12
	}},
	{"UTC", []string{"daily"}, func(time.Time) bool { return true }},
}

func drawWorld(t *rapid.T) *world {
	w := &world{schedules: map[*Schedule]func(time.Time) bool{}}
	for range rapid.IntRange(1, 3).Draw(t, "categories") {
		c := worldCategory{
			never: rapid.SampledFrom([]bool{false, true, false}).Draw(t, "never"), blockAll: rapid.IntRange(0, 15).Draw(t, "block all") == 0,
		}
		for range rapid.IntRange(1, 2).Draw(t, "lists") {
			c.lists = append(c.lists, len(w.holders))
			w.holders = append(w.holders, worldHolder{len(w.holders), everyType})
		}
		w.categories = append(w.categories, c)
	}
	lists := len(w.holders)
	for range rapid.IntRange(0, 3).Draw(t, "parts") {
		p := newPart(rapid.SliceOfN(rapid.SampledFrom(modelTypes), 1, 3).Draw(t, "part"), rapid.Bool().Draw(t, "not"))
		list := rapid.IntRange(0, lists-1).Draw(t, "part of")
		if !slices.ContainsFunc(w.holders, func(h worldHolder) bool { return h.list == list && h.part.equal(p) }) {
			w.holders = append(w.holders, worldHolder{list, p})
		}
	}
	w.entries = append(drawEntries(t, len(w.holders)), drawEntries(t, len(w.holders))...)
	w.networks = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) network {
		return network{
			list: rapid.IntRange(0, lists-1).Draw(t, "list"), prefix: rapid.SampledFrom(modelNetworks).Draw(t, "network"),
			exception: rapid.IntRange(0, 3).Draw(t, "exception") == 0,
		}
	}), 3, 12).Draw(t, "networks")
	w.at = time.Date(2026, 3, 2, 0, 0, rapid.IntRange(0, 59).Draw(t, "second"), 0, time.UTC).
		Add(time.Duration(rapid.IntRange(0, 7*24*60-1).Draw(t, "minute")) * time.Minute)
	var schedules []*Schedule
	for _, of := range modelSchedules {
		s, err := ParseSchedule("", of.zone, of.when)
		if err != nil {
			t.Fatal(err)
		}
		schedules = append(schedules, s)
		w.schedules[s] = func(at time.Time) bool { return of.in(at.UTC()) }
	}
	for i := range rapid.IntRange(2, 4).Draw(t, "policies") {
		w.policies = append(w.policies, drawPolicy(t, w, schedules, i))
	}
	drawClients(t, w)
	return w
}

func drawPolicy(t *rapid.T, w *world, schedules []*Schedule, number int) PolicyConfig {
	one := func(of int, label string) bool { return rapid.IntRange(1, of).Draw(t, label) == of }
	p := PolicyConfig{
		Name: fmt.Sprint("policy", number), Any: number == 0, Default: rapid.SampledFrom([]Verdict{Allow, Allow, Block}).Draw(t, "default"),
		Observe: one(5, "observe"), TrustAllowed: one(2, "trust"), Strip: one(2, "strip"), Rebinding: one(2, "rebinding"),
		StripECH: one(2, "ech"), StripHints: one(2, "hints"), Canaries: one(3, "canaries"),
		SafeSearch: SafeSearch(rapid.IntRange(0, 2).Draw(t, "safe search")),
		Rules:      rapid.SliceOfN(rapid.Custom(func(t *rapid.T) RuleConfig { return drawPolicyRule(t, w, schedules) }), 2, 6).Draw(t, "rules"),
	}
	for range rapid.IntRange(0, 2).Draw(t, "not public") {
		p.NotPublic = append(p.NotPublic, drawDomain(t))
	}
	if one(2, "harmless") {
		p.Harmless = append(p.Harmless, rapid.SampledFrom(modelNetworks[8:16]).Draw(t, "harmless"))
	}
	return p
}

func drawDomain(t *rapid.T) string {
	prefix := rapid.SampledFrom([]string{"", "=", "*."}).Draw(t, "scope")
	return prefix + NameString([]byte(rapid.SampledFrom(modelNames).Draw(t, "domain")))
}

func drawPolicyRule(t *rapid.T, w *world, schedules []*Schedule) RuleConfig {
	r := RuleConfig{Action: Action(rapid.IntRange(0, 2).Draw(t, "action"))}
	for i := range w.categories {
		if rapid.Bool().Draw(t, "category") {
			r.Categories = append(r.Categories, fmt.Sprint("category", i))
		}
	}
	if rapid.Bool().Draw(t, "reverse") {
		slices.Reverse(r.Categories)
	}
	for range rapid.IntRange(0, 2).Draw(t, "domains") {
		r.Domains = append(r.Domains, drawDomain(t))
	}
	if rapid.IntRange(0, 2).Draw(t, "addressed") == 0 {
		r.Networks = rapid.SliceOfN(rapid.SampledFrom(modelNetworks), 1, 3).Draw(t, "networks")
	}
	if rapid.IntRange(0, 3).Draw(t, "scheduled") == 0 {
		r.Schedule = rapid.SampledFrom(schedules).Draw(t, "schedule")
	}
	if rapid.Bool().Draw(t, "targeted") {
		r.Targets = rapid.SliceOfN(rapid.SampledFrom(TargetTypes), 2, 4).Draw(t, "targets")
	}
	if rapid.IntRange(0, 9).Draw(t, "all") == 0 {
		r.All = true
	}
	every := r.All || len(r.Categories)+len(r.Domains)+len(r.Networks) == 0
	if rapid.IntRange(0, 2).Draw(t, "typed") == 0 || every && r.Schedule == nil && r.Action != ActionObserve {
		r.Types = rapid.SliceOfN(rapid.SampledFrom(modelTypes), 1, 3).Draw(t, "types")
	}
	return r
}

// drawClients gives clients to policies, to groups of policies, and to groups that exceptions alone name, and says what
// is known of hosts and excepted. No two policies have the same client.
func drawClients(t *rapid.T, w *world) {
	deal := func(m *Members, prefixes []netip.Prefix, macs []MAC, hosts []string) {
		m.Prefixes, m.MACs, m.Hosts = append(m.Prefixes, prefixes...), append(m.MACs, macs...), append(m.Hosts, hosts...)
	}
	groups := []*Group{{Name: "g1"}, {Name: "g2"}, {Name: "g3"}, {Name: "g4"}}
	members := []*Members{{}, {}} // some clients are nobody's
	for i := range w.policies {
		p := &w.policies[i]
		if !p.Any {
			members = append(members, &p.Clients)
		}
		if i < 2 && !p.Any || rapid.Bool().Draw(t, "grouped") {
			p.Groups, groups = groups[:1], groups[1:]
			members = append(members, &p.Groups[0].Members)
		}
		if len(groups) == 1 {
			break
		}
	}
	var prefixes []netip.Prefix
	for _, text := range []string{
		"192.0.2.0/24", "192.0.2.128/25", "::ffff:192.0.2.192/122", "192.0.2.200/32", "192.0.2.1/32", "2001:db8::/32", "2001:db8::1/128",
		"fe80::/10", "0.0.0.0/0",
	} {
		prefixes = append(prefixes, netip.MustParsePrefix(text))
	}
	patterns := []string{"tablet*", "tablet-anna", "tablet-*", "t*", "*", "nas", "tv"}
	pick := rapid.IntRange(0, len(members)-1)
	for _, prefix := range prefixes {
		deal(members[pick.Draw(t, "has")], []netip.Prefix{prefix}, nil, nil)
	}
	for _, mac := range modelMACs {
		deal(members[pick.Draw(t, "has")], nil, []MAC{mac}, nil)
	}
	for _, pattern := range patterns {
		deal(members[pick.Draw(t, "has")], nil, nil, []string{pattern})
	}
	for _, g := range groups { // which may share clients with anybody
		deal(&g.Members, rapid.SliceOfN(rapid.SampledFrom(prefixes), 0, 2).Draw(t, "prefixes"),
			rapid.SliceOfN(rapid.SampledFrom(modelMACs), 0, 1).Draw(t, "macs"), rapid.SliceOfN(rapid.SampledFrom(patterns), 0, 1).Draw(t, "hosts"))
	}
	for i := range w.policies {
		p := &w.policies[i]
		w.known.Groups = append(w.known.Groups, p.Groups...)
		if !p.Any && len(p.Groups) == 0 && p.Clients.empty() {
			p.Clients.MACs = []MAC{{2, 0, 0, 0, 1, byte(i)}}
		}
	}
	w.known.Groups = append(w.known.Groups, groups...)
	for _, addr := range modelClients {
		if !rapid.Bool().Draw(t, "host") {
			continue
		}
		h := Host{Addr: addr}
		if rapid.Bool().Draw(t, "mac known") {
			h.MAC = rapid.SampledFrom(modelMACs).Draw(t, "mac")
		}
		if rapid.IntRange(0, 2).Draw(t, "name known") > 0 {
			h.Name = rapid.SampledFrom(modelHosts).Draw(t, "name")
		}
		w.known.Hosts = append(w.known.Hosts, h)
	}
	w.known.Exceptions = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Exception {
		e := Exception{Name: drawDomain(t), Until: w.at.UnixNano() + int64(rapid.SampledFrom([]int{3, 1, 0}).Draw(t, "hours"))*int64(time.Hour)}
		if rapid.Bool().Draw(t, "for a prefix") {
			e.Client = prefixes[len(prefixes)-1-rapid.IntRange(0, len(prefixes)-1).Draw(t, "client")] // rather the wide ones
		} else {
			e.Group = rapid.SampledFrom([]string{"g1", "g2", "g3", "g4", "nobody"}).Draw(t, "group")
		}
		return e
	}), 2, 8).Draw(t, "exceptions")
	for i := range w.known.Exceptions {
		w.known.Exceptions[i].ID = uint64(i + 1)
	}
}

// ask draws a question for a name, and an answer to it, outside of what rapid draws: there are many.
func (w *world) ask(r *rand.Rand, name string) (q question, a answered) {
	q = question{name: name, qtype: modelTypes[r.IntN(len(modelTypes))], client: Client{Addr: modelClients[r.IntN(len(modelClients))]}}
	if r.IntN(3) == 0 {
		q.client.MAC = modelMACs[r.IntN(len(modelMACs))]
	}
	if of := w.known.Exceptions; len(of) > 0 && r.IntN(2) == 0 {
		if e := &of[r.IntN(len(of))]; e.Client.IsValid() { // one whom it is for
			q.client = Client{Addr: e.Client.Addr()}
		}
	}
	q.at = w.at.Add(time.Duration(r.IntN(4)*r.IntN(4)) * time.Hour / 2)
	most := 3
	if w.excepted(q, name) != nil {
		most = 8
	}
	from := [][]string{modelNames, w.named(), w.exceptedNames(q.client)}
	some := func() (names []string) {
		for range r.IntN(most + 1) {
			of := from[r.IntN(len(from))]
			if len(of) == 0 {
				of = modelNames
			}
			names = append(names, of[r.IntN(len(of))])
		}
		return names
	}
	a.aliases = some()
	if slices.Contains(TargetTypes, q.qtype) {
		a.targets = some()
	}
	for range r.IntN(3*most+1) / 2 {
		a.addrs = append(a.addrs, modelAddrs[r.IntN(len(modelAddrs))])
	}
	a.ech = r.IntN(4) == 0
	a.hints = len(a.addrs) > 0 && r.IntN(3) == 0
	return q, a
}

// named returns the names that lists, rules and exceptions name.
func (w *world) named() (names []string) {
	for _, e := range w.entries {
		names = append(names, e.name)
	}
	var texts []string
	for i := range w.policies {
		for _, r := range w.policies[i].Rules {
			texts = append(texts, r.Domains...)
		}
	}
	for _, e := range w.known.Exceptions {
		texts = append(texts, e.Name)
	}
	return append(names, entryNames(texts)...)
}

// exceptedNames returns the names of exceptions for a client.
func (w *world) exceptedNames(c Client) []string {
	var texts []string
	for i := range w.known.Exceptions {
		if e := &w.known.Exceptions[i]; w.isFor(e, c) {
			texts = append(texts, e.Name)
		}
	}
	return entryNames(texts)
}

func entryNames(texts []string) (names []string) {
	for _, text := range texts {
		name, _, _, _ := appendEntry(nil, []byte(text))
		names = append(names, string(name))
	}
	return names
}

// TestModelSchedules holds that the schedules of the model are what their functions say, minute by minute over a week.
func TestModelSchedules(t *testing.T) {
	for _, of := range modelSchedules {
		s := scheduled(t, of.zone, of.when...)
		for m := range 7 * 24 * 60 {
			at := time.Date(2026, 3, 2, 0, m, 0, 0, time.UTC)
			if s.Active(at) != of.in(at) {
				t.Fatalf("%v at %v: %v", of.when, at, s.Active(at))
			}
		}
	}
}
