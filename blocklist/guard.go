package blocklist

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// The change guard looks at each new version of a list that is in force. It holds one that has too few or too many of
// the names in force, that names a public suffix or all names, or that would block a name which a policy allows by
// name. The version in force then stays, until an operator approves the new one or the source gives another.

// fewNames may always be added to a list: those that are kept by hand begin small.
const fewNames = 20

// guard holds the new versions that may not come into force, and says whether there was one.
func (l *loader) guard() bool {
	held := false
	for _, in := range l.intakes {
		if in.use != fromFile || in.old == nil || in.free {
			continue
		}
		if why := in.objection(); why != "" {
			l.hold(in, why)
			held = true
		}
	}
	return held
}

// objection says why the new version of the list is to be held, "" for no reason.
func (in *intake) objection() string {
	c := &in.changes
	share := func() string { return fmt.Sprintf("%d names instead of %d", c.fresh, c.old) }
	switch {
	case in.category.MaxShrink > 0 && float64(c.fresh) < in.category.MaxShrink*float64(c.old):
		return share() + ", less than max_shrink lets it have"
	case in.category.MaxGrowth > 0 && float64(c.fresh) > in.category.MaxGrowth*float64(c.old) && c.fresh-c.old > fewNames:
		return share() + ", more than max_growth lets it have"
	case len(c.suffixes) > 0:
		return "names the public suffix " + strings.Join(c.suffixes, ", ")
	case in.list.broad() > in.old.broad():
		return "names a top-level domain or the root"
	}
	return ""
}

// hold lets a list stay as it is.
func (l *loader) hold(in *intake, why string) {
	held := &Held{Digest: in.list.Digest, Entries: in.changes.fresh, Why: why, Since: l.Now()}
	print := in.list.print
	l.takeOld(in, "held: "+why)
	in.list.Held, in.list.print = held, print
}

// broad counts what a list says of top-level names and of all names at once. None of it is in force.
func (l *List) broad() int {
	n := 0
	for _, i := range l.Ignored {
		if i.Reason == ignoredTopLevel || i.Reason == ignoredAllNames {
			n += i.Count
		}
	}
	for _, p := range l.Problems {
		if p.Reason == reasonRoot {
			n++
		}
	}
	return n
}

// guarded are the names that policies allow by name.
type guarded struct {
	names map[string]bool // as wire names
	above map[string]bool // what is above them
}

func guardedBy(policies []PolicyConfig) guarded {
	g := guarded{names: map[string]bool{}, above: map[string]bool{}}
	for _, p := range policies {
		for _, r := range p.Rules {
			if r.Action != ActionAllow {
				continue
			}
			for _, text := range r.Domains {
				name, _, _, reason := appendEntry(nil, []byte(text))
				if reason != "" {
					continue
				}
				g.names[string(name)] = true
				for up := name[1+int(name[0]):]; up[0] != 0; up = up[1+int(up[0]):] {
					g.above[string(up)] = true
				}
			}
		}
	}
	return g
}

// concerns says whether an entry for name could block a name that is guarded.
func (g *guarded) concerns(name []byte) bool {
	if g.above[string(name)] {
		return true
	}
	for ; name[0] != 0; name = name[1+int(name[0]):] {
		if g.names[string(name)] {
			return true
		}
	}
	return false
}

// Caps on what is kept of the names that were added.
const (
	maxSuffixes = 5
	maxAllowed  = 10_000
)

// judge looks at a name that a new version of a list adds.
func (l *loader) judge(in *intake, name []byte) {
	if in.free {
		return
	}
	c := &in.changes
	if len(c.suffixes) < maxSuffixes && publicSuffix(name) {
		c.suffixes = append(c.suffixes, NameString(name))
	}
	if len(c.allowed) < maxAllowed && len(l.guarded.names) > 0 && l.guarded.concerns(name) {
		c.allowed = append(c.allowed, slices.Clone(name))
	}
}

// publicSuffix says whether the name is one below which registries give names to anybody ("co.uk"). Suffixes that
// companies have for their customers are not meant: lists of dynamic DNS are made of them.
func publicSuffix(name []byte) bool {
	var offs [128]uint8
	if n := labels(name, &offs); n > 4 {
		return false
	}
	text := NameString(name)
	suffix, registry := publicsuffix.PublicSuffix(text)
	return registry && suffix == text
}

// guardPolicies holds the new versions by which a policy would block a name that it did not block until now, and that
// it or another policy allows by name. It says whether there was one.
func (l *loader) guardPolicies(x *Lists) bool {
	concerned := map[string]*intake{} // by category and list
	for _, in := range l.intakes {
		if in.use == fromFile && in.old != nil && !in.free && len(in.changes.allowed) > 0 {
			concerned[in.list.Category+" "+in.list.Name] = in
		}
	}
	if len(concerned) == 0 {
		return false
	}
	now, err := Compile(l.Policies, x, l.Now())
	if err != nil {
		return false // who compiles it in earnest will say why
	}
	before, err := Compile(l.Policies, l.Old, l.Now())
	if err != nil {
		before = nil // its categories were others
	}
	var names [][]byte
	for name := range l.guarded.names {
		names = append(names, []byte(name))
		if len(name)+2 <= maxName { // for those that allow what is below
			names = append(names, append([]byte("\x01x"), name...))
		}
	}
	for _, in := range concerned {
		names = append(names, in.changes.allowed...)
	}
	held := false
	for _, name := range names {
		by := now.allowingByName(name)
		for p := range now.configs {
			if by == "" {
				break
			}
			f := now.decided(p, name)
			if f.verdict != Block {
				continue
			}
			o := now.outcomes[f.outcome]
			in := concerned[o.Category+" "+o.List]
			if in == nil || in.use != fromFile {
				continue
			}
			if before != nil {
				if before.decided(p, name).verdict == Block {
					continue
				}
			}
			l.hold(in, fmt.Sprintf("would block %s, which policy %q allows by name", NameString(name), by))
			held = true
		}
	}
	return held
}

const typeA = 1

// decided returns what decides on the addresses of a name in policy i, whatever is excepted.
func (p *Policy) decided(i int, name []byte) found {
	var s suffixes
	p.begin(&s, name)
	r := newReading(&p.policies[i], typeA)
	p.read(&r, &s)
	return r.decided
}

// allowingByName returns the first policy of which an allow rule covers name by one of its domains, "" for none.
func (p *Policy) allowingByName(name []byte) string {
	for i := range p.policies {
		if slices.ContainsFunc(p.policies[i].rules, func(r rule) bool {
			return r.cfg.Action == ActionAllow && len(r.domains) > 0 && r.covers(domain{name, Self})
		}) {
			return p.policies[i].cfg.Name
		}
	}
	return ""
}
