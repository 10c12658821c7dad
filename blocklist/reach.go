package blocklist

import "slices"

// checkReachable reports rule r when earlier rules decide everything that it could match. It looks at what is written
// and not at what lists hold today, so a rule never becomes unreachable by a reload.
func (c *compiler) checkReachable(earlier []rule, r *rule, index int, policy string) {
	types := []int{anyType}
	if len(r.cfg.Types) > 0 {
		types = types[:0]
		for _, t := range r.cfg.Types {
			types = append(types, int(t))
		}
	}
	by := -1
	covered := func(covers func(e *rule) bool) bool {
		for _, t := range types {
			i := slices.IndexFunc(earlier, func(e rule) bool { return e.decides(t) && (e.always() || covers(&e)) })
			if i < 0 {
				return false
			}
			by = max(by, i)
		}
		return true
	}
	if r.always() && !covered(func(*rule) bool { return false }) {
		return
	}
	for _, category := range r.cfg.Categories {
		if !covered(func(e *rule) bool { return slices.Contains(e.cfg.Categories, category) }) {
			return
		}
	}
	for _, d := range r.domains {
		if !covered(func(e *rule) bool { return e.covers(d) }) {
			return
		}
	}
	if len(r.cfg.Networks) > 0 || len(r.cfg.Targets) > 0 {
		return // they are not of names that are asked for
	}
	if by >= 0 {
		c.fail(r.cfg.Pos, "remove it, or move it up",
			"rule %d of policy %q can never be read: rule %d and those before it decide all that it matches", index+1, policy, by+1)
	}
}

const anyType = -1

// decides says whether the rule, when the name matches, decides every lookup of type t.
func (r *rule) decides(t int) bool {
	if r.cfg.Action == ActionObserve || r.cfg.Schedule != nil {
		return false
	}
	return len(r.cfg.Types) == 0 || t != anyType && r.types.has(uint16(t))
}

// covers says whether the rule's domains cover all of d.
func (r *rule) covers(d domain) bool {
	left := d.scope
	for _, e := range r.domains {
		switch {
		case string(e.name) == string(d.name):
			left &^= e.scope
		case e.scope&Below != 0 && isBelow(d.name, e.name):
			return true
		}
	}
	return left == 0
}

// isBelow says whether name stands below parent, both wire names; a malformed name is below nothing.
func isBelow(name, parent []byte) bool {
	for len(name) > len(parent) && 1+int(name[0]) < len(name) {
		name = name[1+int(name[0]):]
		if string(name) == string(parent) {
			return true
		}
	}
	return false
}
