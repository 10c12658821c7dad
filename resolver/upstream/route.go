package upstream

import (
	"errors"
	"fmt"
)

// A Route sends a zone, and all below it, to a group.
type Route struct {
	Zone  []byte // wire name: lower case, uncompressed, root-terminated
	Group *Group
}

// A Router picks the group for a name: the longest zone wins.
// It is immutable and safe for concurrent use.
type Router struct {
	zones map[string]*Group // by wire name
	rest  *Group
}

// NewRouter returns the router for routes; rest takes every name outside of
// them. It is an error if a zone is no wire name or comes twice, or a group is
// missing.
func NewRouter(rest *Group, routes []Route) (*Router, error) {
	if rest == nil {
		return nil, errors.New("route: no default group")
	}
	r := &Router{zones: make(map[string]*Group, len(routes)), rest: rest}
	for _, route := range routes {
		zone := string(route.Zone)
		switch {
		case !isWireName(route.Zone):
			return nil, fmt.Errorf("route %q: not a lower-case wire name", zone)
		case route.Group == nil:
			return nil, fmt.Errorf("route %q: no group", zone)
		case r.zones[zone] != nil:
			return nil, fmt.Errorf("route %q: given twice", zone)
		}
		r.zones[zone] = route.Group
	}
	return r, nil
}

// Route returns the group for name, a wire name, and allocates nothing. The DS
// records of a zone are its parent's (RFC 4035 §3.1.4.1): to ask for DS, pass the
// name without its first label.
func (r *Router) Route(name []byte) *Group {
	if len(r.zones) == 0 {
		return r.rest
	}
	for len(name) > 0 {
		if g := r.zones[string(name)]; g != nil {
			return g
		}
		label := 1 + int(name[0])
		if label == 1 || label > len(name) {
			break
		}
		name = name[label:]
	}
	return r.rest
}

func isWireName(b []byte) bool {
	if len(b) > maxName {
		return false
	}
	for len(b) > 0 {
		label := int(b[0])
		if label == 0 {
			return len(b) == 1
		}
		if label > 63 || label >= len(b) {
			return false
		}
		for _, c := range b[1 : 1+label] {
			if c != lower(c) {
				return false
			}
		}
		b = b[1+label:]
	}
	return false
}
