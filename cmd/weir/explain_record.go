package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"weir/audit"
	"weir/blocklist"
	"weir/cmd/internal/admin"
	"weir/cmd/internal/exceptions"
	"weir/cmd/internal/history"
	"weir/resolver"
)

// past is what is known of a question that was asked.
type past struct {
	*audit.Record
	b        *built            // by the configuration of its time
	revision *history.Revision // nil: not kept
	changed  bool              // the list that decided is another now
}

// explainRecord accounts for the question with that sequence number, by the configuration that was in force and the
// exceptions and schedules of its hour. What the lists say is looked up in those of today, and where they say something
// else, the record tells.
func (b *built) explainRecord(seq uint64, r recordReader, granted *exceptions.Store, known []blocklist.Host) (admin.Explanation, error) {
	var p past
	err := r.Search(context.Background(), audit.Query{SeqFrom: seq, SeqTo: seq}, func(rec *audit.Record) error {
		p.Record = rec
		return nil
	})
	switch {
	case err != nil:
		return admin.Explanation{}, err
	case p.Record == nil:
		return admin.Explanation{}, fmt.Errorf("no record has the sequence number %d", seq)
	case p.Kind != audit.KindQuery.String():
		return admin.Explanation{}, fmt.Errorf("record %d is no question but a %s: %s", seq, p.Kind, p.Text)
	case p.Name == "":
		return admin.Explanation{}, fmt.Errorf("record %d is of a packet that held no question", seq)
	}
	done, err := b.back(&p)
	if err != nil {
		return admin.Explanation{}, err
	}
	defer done()
	asker, whole := p.Client.Addr() // else it cannot be decided anew
	var l *blocklist.Lookup
	if whole {
		if l, err = parseQuestion(admin.Question{Name: p.Name, Type: p.Type, Client: asker.String(), At: p.Time}); err != nil {
			return admin.Explanation{}, err
		}
	}
	verdict := map[string]string{"allow": "allowed", "block": "blocked"}[p.Verdict]
	if p.Source == audit.SourceRefused.String() {
		verdict = "refused"
	}
	e := admin.Explanation{
		Verdict: verdict, Name: p.Name, Type: p.Type, Client: p.Client.String(), Revision: p.Revision, At: p.Time, Seq: seq,
	}
	p.step(&e, "record", fmt.Sprint(seq), "", "%s", p.told())
	var a resolver.Account
	same := false
	if p.b != nil && whole {
		pol, err := p.b.at(p.Time, blocklist.Known{Hosts: known, Groups: p.b.groupList(), Exceptions: grantedAt(granted, p.Time)})
		if err == nil {
			st := p.b.state.With(pol)
			st.Revision = p.Revision
			a = st.ExplainAnswer(l, p.facts(l.Type))
			same = p.agrees(&a, l)
		}
	}
	if same {
		p.b.steps(&e, l, &a, granted)
		e.Verdict = verdict
		return e, nil
	}
	p.asRecorded(&e, granted)
	return e, nil
}

// recordReader is a store of records: a running server's, or a stopped one's.
type recordReader interface {
	Search(ctx context.Context, q audit.Query, emit func(*audit.Record) error) error
}

// back builds the configuration of the record's revision, with the lists of today; p.b stays nil if that cannot be. What
// it returns is to be called when p.b is done with.
func (b *built) back(p *past) (done func(), err error) {
	done = func() {}
	h, err := history.Open(revisionsDir(b.cfg))
	if err != nil {
		return done, err
	}
	if p.revision, err = h.Get(p.Revision); err != nil && !errors.Is(err, history.ErrUnknown) {
		return done, err
	}
	if p.revision == nil || p.revision.Text == "" {
		return done, nil
	}
	for _, l := range b.lists.All() {
		if l.Category == p.Category && l.Name == p.List {
			p.changed = !slices.ContainsFunc(p.revision.Lists, func(then history.List) bool {
				return then.Category == l.Category && then.Name == l.Name && then.Digest == fmt.Sprintf("%x", l.Digest)
			})
		}
	}
	if p.revision.Digest == b.hexDigest() {
		p.b = b
		return done, nil
	}
	cfg, _ := parseConfig(p.revision.File, []byte(p.revision.Text)) // secrets are missing, and nothing that decides
	cfg.Dir = b.cfg.Dir
	then := &built{cfg: cfg, lists: b.lists, groups: groups(cfg), state: &resolver.State{Access: resolver.NewAccess(cfg.Access.Allow)}}
	then.policies = policies(cfg, then.groups)
	if _, err := blocklist.Compile(then.policies, b.lists, p.Time); err != nil {
		return done, nil // a category is gone, say
	}
	faults, quiet := newFaults(cfg), slog.New(slog.DiscardHandler)
	then.route(faults, new(strings.Builder), nil, quiet)
	then.local(faults, new(strings.Builder), nil)
	then.sink()
	if then.state.Routes == nil || then.state.Local == nil {
		return done, nil
	}
	p.b = then
	return func() {
		for _, g := range then.state.Groups {
			_ = g.Close() // nothing was sent through it
		}
	}, nil
}

// facts are those of the answer, as far as the record keeps them.
func (p *past) facts(qtype uint16) *blocklist.Facts {
	var names [][]byte
	var addrs []netip.Addr
	for _, text := range p.Answers {
		if addr, err := netip.ParseAddr(text); err == nil {
			addrs = append(addrs, addr)
		} else if name, err := blocklistName(text); err == nil {
			names = append(names, name)
		}
	}
	return resolver.FactsOf(qtype, names, addrs)
}

// agrees says whether the account comes to what the record says.
func (p *past) agrees(a *resolver.Account, l *blocklist.Lookup) bool {
	if a.Refused {
		return p.Source == audit.SourceRefused.String()
	}
	o := &a.Outcome
	now, then := audit.Reason{}, audit.Reason{}
	if o := a.Observed; o != nil {
		now = audit.Reason{Policy: o.Policy, Category: o.Category, List: o.List}
	}
	if p.Observed != nil {
		then = audit.Reason{Policy: p.Observed.Policy, Category: p.Observed.Category, List: p.Observed.List}
	}
	entry := ""
	if on := a.Decision.On; on == blocklist.OnName {
		entry = blocklist.Entry(l.Name, a.Decision.Off, a.Decision.Scope)
	} else if on != blocklist.OnNothing && a.Observed == nil {
		entry = a.Entry
	} else if on != blocklist.OnNothing {
		entry = p.Entry // it was said of what is observed
	}
	return a.Blocked == (p.Verdict == "block") && o.Policy == p.Policy && decidedBy(o) == p.Rule && o.Category == p.Category && o.List == p.List &&
		entry == p.Entry && now == then
}

// masked says that the record has no address of the client.
func (p *past) masked() bool {
	_, whole := p.Client.Addr()
	return !whole
}

func (p *past) step(e *admin.Explanation, kind, subject, where, format string, args ...any) {
	e.Steps = append(e.Steps, admin.Step{Kind: kind, Subject: subject, Detail: fmt.Sprintf(format, args...), Where: where})
}

// told says when the question came, and what of its time is known.
func (p *past) told() string {
	text := fmt.Sprintf("%s over %s, revision %d", local(p.Time), p.Transport, p.Revision)
	switch {
	case p.revision == nil:
		text += ", which is not kept"
	default:
		text += ", in force since " + local(p.revision.Since)
	}
	if p.changed {
		text += fmt.Sprintf("; list %s has changed since", p.List)
	}
	return text
}

// asRecorded tells what the record says, where the lists and hosts of today, or the configuration without those of its
// time, would not come to it.
func (p *past) asRecorded(e *admin.Explanation, granted *exceptions.Store) {
	var policy *Policy
	if p.b != nil {
		for i := range p.b.cfg.Policies {
			if p.b.cfg.Policies[i].Name == p.Policy {
				policy = &p.b.cfg.Policies[i]
			}
		}
	}
	at := func(field func(*Policy) any) string {
		if policy == nil {
			return ""
		}
		return p.b.cfg.Where(field(policy))
	}
	if p.Policy != "" {
		p.step(e, "policy", p.Policy, at(func(p *Policy) any { return &p.Clients }), "client %s, group %s", p.Client, p.Group)
	}
	reason := func(kind string, r audit.Reason, entry, on string) {
		where := ""
		var n int
		if _, err := fmt.Sscanf(r.Rule, "%d", &n); err == nil {
			kind = "rule"
			if policy != nil && n > 0 && n <= len(policy.Rules) {
				where = policy.Rules[n-1].Pos
			}
		}
		var parts []string
		if entry != "" {
			parts = append(parts, "entry "+entryText(entry)+", on the "+on)
		}
		if r.List != "" {
			parts = append(parts, "list "+r.List)
		}
		if len(parts) == 0 {
			parts = append(parts, "as recorded")
		}
		p.step(e, kind, strings.TrimSpace(r.Rule+" "+r.Category), where, "%s", strings.Join(parts, ", "))
	}
	if o := p.Observed; o != nil {
		reason("observed", *o, "", "")
	}
	if p.Rule != "" {
		reason("decided", audit.Reason{Rule: p.Rule, Category: p.Category, List: p.List}, p.Entry, p.MatchedOn)
	}
	p.step(e, p.Source, p.Rcode, "", "%s", strings.Join(p.Answers, " "))
	why := "the lists and hosts of today lead elsewhere"
	switch {
	case p.Policy == "" && p.Rule == "amplification limit":
		why = "its answer was cut, whatever it was, to be asked for over TCP"
	case p.Policy == "" && strings.HasSuffix(p.Rule, " limit"):
		why = "it was turned away before anything was decided"
	case p.revision == nil:
		why = "the configuration of its time is not kept"
	case p.masked():
		why = "who asked is not kept, so that it cannot be decided anew"
	case p.b == nil:
		why = "what its configuration names is not there any more"
	}
	p.step(e, "note", "as recorded", "", "%s: this is what the record says", why)
}
