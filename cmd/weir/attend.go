package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/audit"
	"weir/blocklist"
	"weir/cmd/internal/exceptions"
	"weir/cmd/internal/hosts"
	"weir/resolver"
)

// attendant knows what policies go by that is not configured, and changes from one minute to the next: which hosts have
// which addresses, and the exceptions in force.
type attendant struct {
	exceptions *exceptions.Store // nil: the file cannot be used
	hosts      *hosts.Watcher    // nil: no policy or group asks for hosts
	due        chan struct{}     // capacity 1: something has changed
	watch      chan struct{}     // capacity 1: hosts is another
	excepting  atomic.Int64      // how many exceptions policies go by: the store itself may be waiting for the disk

	// What follows is guarded as what decides is: the local names with those of leases, and what they were made of.
	named   *resolver.Local
	base    *resolver.Local
	leases  []resolver.Lease
	refused map[string]bool // that was told
}

// openAttendant opens the exceptions beside the audit store.
func openAttendant(cfg *Config, s *server) (*attendant, error) {
	a := &attendant{due: make(chan struct{}, 1), watch: make(chan struct{}, 1)}
	onError := exceptions.StartFresh
	if cfg.Audit.OnError == "fail" {
		onError = exceptions.Fail
	}
	var err error
	a.exceptions, err = exceptions.Open(exceptionsFile(cfg), exceptions.Config{
		MaxDuration: cfg.Exceptions.MaxDuration, OnError: onError, Clock: s.clock, Logger: s.logger,
	})
	return a, err
}

func exceptionsFile(cfg *Config) string {
	return filepath.Join(cfg.Resolve(cfg.Audit.Path), "exceptions.db")
}

// again has the policy looked at again.
func (a *attendant) again() { signalTo(a.due) }

// signalTo leaves a token in c, which has room for one, unless it is there.
func signalTo(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// watchHosts returns a watcher of hosts as cfg wants it, nil if nothing names any; old if that is it.
func (a *attendant) watchHosts(cfg, before *Config, s *server) (*hosts.Watcher, error) {
	wanted := cfg.namesHosts() || cfg.Leases.Domain != ""
	if before != nil && fmt.Sprint(before.Clients, before.namesHosts() || before.Leases.Domain != "") == fmt.Sprint(cfg.Clients, wanted) {
		return a.hosts, nil
	}
	if !wanted {
		return nil, nil
	}
	c := hosts.Config{Neighbours: cfg.Clients.Neighbours, Changed: a.again, Logger: s.logger, Now: s.clock.Now}
	for _, l := range cfg.Clients.Leases {
		c.Files = append(c.Files, hosts.File{Path: cfg.Resolve(l.File), Format: l.Format})
	}
	w, err := hosts.New(c)
	if err != nil {
		return nil, err
	}
	w.Load()
	return w, nil
}

// namesHosts says whether a policy or a group names clients by more than their networks.
func (c *Config) namesHosts() bool {
	names := func(clients []Client) bool {
		m := members(clients)
		return len(m.Hosts)+len(m.MACs) > 0
	}
	for i := range c.Groups {
		if names(c.Groups[i].Clients) {
			return true
		}
	}
	for i := range c.Policies {
		if names(c.Policies[i].Clients) {
			return true
		}
	}
	return false
}

// local is the local names of b with those of the leases known now. It tells which leases have no name, each once.
func (a *attendant) local(b *built, logger *slog.Logger) *resolver.Local {
	leases := namedLeases(a.hosts)
	if a.named != nil && a.base == b.names.base && slices.Equal(a.leases, leases) {
		return a.named
	}
	named, refused := b.names.base.With(leases)
	told := map[string]bool{}
	for _, why := range refused {
		if told[why] = true; !a.refused[why] && len(told) <= maxRefused {
			logger.Warn("lease has no name in the domain", "domain", b.cfg.Leases.Domain, "lease", shown(why))
		}
	}
	if b.cfg.Leases.Domain != "" {
		logger.Debug("names of leases are answered", "leases", len(leases), "refused", len(refused))
	}
	a.named, a.base, a.leases, a.refused = named, b.names.base, leases, told
	return named
}

// maxRefused is how many leases without a name are told at a time.
const maxRefused = 50

// namedLeases are the leases that bear a name, with an address that others on the network can use.
func namedLeases(w *hosts.Watcher) (leases []resolver.Lease) {
	if w == nil {
		return nil
	}
	for _, h := range w.Hosts() {
		if h.Given && !h.Addr.IsLinkLocalUnicast() {
			leases = append(leases, resolver.Lease{Name: h.Name, Addr: h.Addr})
		}
	}
	return leases
}

// known is what is known now, for policies of b.
func (a *attendant) known(b *built) blocklist.Known {
	var list []exceptions.Exception
	if a.exceptions != nil {
		list = a.exceptions.Active()
	}
	a.excepting.Store(int64(len(list)))
	return blocklist.Known{Hosts: knownHosts(a.hosts), Groups: b.groupList(), Exceptions: knownExceptions(list)}
}

func knownHosts(w *hosts.Watcher) []blocklist.Host {
	if w == nil {
		return nil
	}
	var out []blocklist.Host
	for _, h := range w.Hosts() {
		out = append(out, blocklist.Host{Addr: h.Addr, MAC: blocklist.MAC(h.MAC), Name: h.Name})
	}
	return out
}

func knownExceptions(list []exceptions.Exception) []blocklist.Exception {
	var out []blocklist.Exception
	for i := range list {
		e := &list[i]
		x := blocklist.Exception{ID: e.ID, Name: e.Name, Group: e.Group, Until: e.Until.UnixNano()}
		if e.Client != "" {
			var err error
			if x.Client, err = parseNetwork(e.Client); err != nil {
				continue // of nobody; it was checked when it was added
			}
		}
		out = append(out, x)
	}
	return out
}

// groupList is the groups in the order of the configuration.
func (b *built) groupList() []*blocklist.Group {
	var out []*blocklist.Group
	for i := range b.cfg.Groups {
		out = append(out, b.groups[b.cfg.Groups[i].Name])
	}
	return out
}

// at compiles b's policies as they hold at a moment, with what is known then.
func (b *built) at(moment time.Time, known blocklist.Known) (*blocklist.Policy, error) {
	p, err := blocklist.Compile(b.policies, b.lists, moment)
	if err != nil {
		return nil, err
	}
	return p.With(known), nil
}

// attend is a part of the server: until ctx ends it puts the policy in force anew whenever a schedule changes, an
// exception comes or ends, or hosts move.
//
// It looks at the wall clock once a second and when something is to be over, since a timer would not know that the machine slept or that the clock was set.
func (s *server) attend(ctx context.Context) error {
	a := s.attendant
	var watching sync.WaitGroup
	defer watching.Wait()
	stop := context.CancelFunc(func() {})
	defer func() { stop() }()
	follow := func() {
		stop()
		watching.Wait()
		var wctx context.Context
		wctx, stop = context.WithCancel(ctx)
		if w := s.watcher(); w != nil {
			watching.Go(func() {
				if err := w.Run(wctx); err != nil {
					s.logger.Error("hosts are not followed any more", "error", err)
				}
			})
		}
	}
	follow()
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		changed := false
		next.Reset(s.untilReview())
		select {
		case <-ctx.Done():
			return nil
		case <-a.watch:
			follow()
		case <-a.due:
			changed = true
		case <-next.C:
		}
		s.review(changed)
	}
}

// untilReview is how long it is until something is over, as far as that is known: a second at most.
func (s *server) untilReview() time.Duration {
	wait := time.Second
	for _, at := range []time.Time{s.resolver.State().Policy.Until(), s.attendant.exceptions.Next()} {
		if !at.IsZero() {
			wait = min(wait, at.Sub(s.clock.Now().Round(0)))
		}
	}
	return max(wait, time.Millisecond)
}

// review ends what is over, and puts the policy in force as it is now, if anything changed.
func (s *server) review(changed bool) {
	changed = s.endExceptions() || changed
	s.settle(changed)
}

// watcher is the one in force.
func (s *server) watcher() *hosts.Watcher {
	s.deciding.Lock()
	defer s.deciding.Unlock()
	return s.attendant.hosts
}

// endExceptions records those that have ended. It says whether there are any.
func (s *server) endExceptions() bool {
	if s.attendant.exceptions == nil {
		return false
	}
	ended := s.attendant.exceptions.Tick()
	for i := range ended {
		s.log.RecordChange(audit.Change{
			Action: audit.ActionExceptionEnd,
			Text:   fmt.Sprintf("exception %d ended: %s, %s", ended[i].ID, ended[i].End, s.exceptionText(&ended[i])),
		})
	}
	return len(ended) > 0
}

// settle puts the policy in force as it is now, if something changed or the time of what is in force is over.
func (s *server) settle(changed bool) {
	s.deciding.Lock()
	defer s.deciding.Unlock()
	b := s.current()
	p := s.resolver.State().Policy
	now := s.clock.Now().Round(0)
	// A clock that was set back is before the moment that the policy was compiled for.
	if until := p.Until(); !until.IsZero() && !now.Before(until) || now.Before(b.moment) {
		next, err := b.at(now, blocklist.Known{})
		if err != nil { // what compiled once compiles again
			s.logger.Error("policies could not be compiled for another hour", "error", err)
			return
		}
		p, changed = next, true
		b.moment = now
		s.logger.Info("schedules: policies as from now", "next", p.Until())
	}
	if changed {
		known := s.attendant.known(b)
		s.resolver.SetPolicy(p.With(known), s.attendant.local(b, s.logger))
		s.logger.Debug("policies with what is known now", "hosts", len(known.Hosts), "exceptions", len(known.Exceptions))
	}
}
