package resolver

import (
	"errors"
	"net/netip"
	"strconv"
	"sync"

	"github.com/gaissmai/bart"

	"weir/audit"
	"weir/blocklist"
	"weir/resolver/upstream"
	"weir/resolver/wire"
)

// State is everything that decides how a query is answered and that a reload
// may change. It is immutable; [Resolver.Swap] replaces it as a whole.
type State struct {
	Revision uint64
	Access   *bart.Lite // clients that are answered, IPv4 in IPv4 form
	Policy   *blocklist.Policy
	Sinkhole *Sinkhole
	Local    *Local
	Routes   *upstream.Router
	Groups   []*upstream.Group // all that Routes leads to

	// Notify takes word that a zone, a wire name that is good until it returns,
	// has changed. It is true if from, IPv4 in IPv4 form, is a primary of that
	// zone. It is called on the query path, so it must not wait, and from any
	// goroutine; nil is none.
	Notify func(zone []byte, from netip.Addr) bool

	// Tellers are the forwarders whose word on their clients' hardware addresses
	// counts; nil is none.
	Tellers *bart.Lite

	// DNS64 holds for each policy, in the order of the configuration, how it
	// translates, nil if it does not; so does what is missing at the end.
	DNS64 []*DNS64

	Limits Limits

	limits   *limits
	dns64    []*DNS64        // parallel to DNS64; nil is none
	prefixes []*DNS64        // the different ones
	outcomes []outcome       // parallel to Policy.Outcomes
	groups   []uint32        // labels of Policy.Groups in the audit log, from 1 as decisions number them
	forged   []byte          // Extended DNS Error of an answer with another name in it
	flights  *sync.WaitGroup // on their way to Groups
}

// With returns a state that differs from s by its policy alone. Both have the
// same upstreams.
func (s *State) With(p *blocklist.Policy) *State {
	next := *s
	next.Policy = p
	return &next
}

// outcome is what the query path needs of a blocklist.Outcome.
type outcome struct {
	reason    uint32 // in the audit log
	ede       []byte // Extended DNS Error for a blocked client
	answer    blocklist.Answer
	byDefault bool
}

// ede codes that this package gives (RFC 8914 §4).
const (
	edeOther       = 0
	edeStale       = 3
	edeForged      = 4
	edeBlocked     = 15
	edeStaleName   = 19
	edeUnreachable = 22
	edeNetwork     = 23
)

// Prepare fills in what the query path reads per verdict: the names of its
// parts in the audit log, and the error text for the client. It is called once,
// before the state is put to use.
func (s *State) Prepare(log *audit.Log) {
	if s.flights == nil {
		s.flights = new(sync.WaitGroup)
	}
	s.limits = newLimits(s.Limits, log)
	all := s.Policy.Outcomes()
	s.outcomes = make([]outcome, len(all))
	for i, o := range all {
		if i == 0 {
			continue // "no policy"
		}
		rule := o.By.String()
		switch o.By {
		case blocklist.ByRule:
			rule = strconv.Itoa(o.Rule)
		case blocklist.ByException:
			rule += " " + strconv.FormatUint(o.Exception, 10)
		}
		s.outcomes[i] = outcome{
			reason:    log.Intern(audit.Reason{Group: o.Policy, Policy: o.Policy, Rule: rule, Category: o.Category, List: o.List}),
			ede:       wire.AppendEDE(nil, edeBlocked, blockedText(o)),
			answer:    o.Answer,
			byDefault: o.By == blocklist.ByDefault,
		}
	}
	s.groups = []uint32{0}
	for _, g := range s.Policy.Groups() {
		s.groups = append(s.groups, log.Label(g.Name))
	}
	s.forged = wire.AppendEDE(nil, edeForged, "safe search")
}

// blockedText is what a blocked client is told: the policy and the category,
// or the rule that named the domain itself, or what else it was.
func blockedText(o blocklist.Outcome) string {
	switch {
	case o.Category != "":
		return o.Policy + ": " + o.Category
	case o.Rule > 0:
		return o.Policy + ": rule " + strconv.Itoa(o.Rule)
	}
	return o.Policy + ": " + o.By.String()
}

// close ends the state's upstreams, when no flight needs them any more.
func (s *State) close() error {
	var errs []error
	for _, g := range s.Groups {
		errs = append(errs, g.Close())
	}
	return errors.Join(errs...)
}

// NewAccess makes the table of clients that are answered.
func NewAccess(allow []netip.Prefix) *bart.Lite {
	t := new(bart.Lite)
	for _, p := range allow {
		t.Insert(p)
	}
	return t
}
