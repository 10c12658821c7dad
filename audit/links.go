package audit

import (
	"net/netip"
	"strings"
)

// A link is one record of an answer: what owner has of that type.
type link struct{ owner, typ, data string }

// links returns the records that the answer had, as far as they can be told from
// what a Record keeps of them: aliases in their order, and addresses, without
// owners. They can for questions of class IN for addresses or aliases: there each
// alias is that of the one before, and the last has the addresses, of which only
// those of the type asked for are taken: others are those that these carry in
// them. A DNAME comes before the alias that was made from it, and is passed over.
// There are none for an answer that was forged, which DNS did not give, and for
// one with so many aliases that some may not have been kept.
func (r *Record) links() (out []link) {
	const forged = 4 // RFC 8914 §4.5: safe search
	if r.Class != "IN" || r.Type != "A" && r.Type != "AAAA" && r.Type != "CNAME" || r.EDE != nil && *r.EDE == forged {
		return nil
	}
	n := 0
	for n < len(r.Answers) && !isAddress(r.Answers[n]) {
		n++
	}
	if n >= MaxAnswers {
		return nil
	}
	owner := r.Name
	for i, alias := range r.Answers[:n] {
		if i+1 < n && madeFrom(owner, alias, r.Answers[i+1]) {
			continue
		}
		out = append(out, link{owner, "CNAME", alias})
		owner = alias
	}
	for _, a := range r.Answers[n:] {
		addr, err := netip.ParseAddr(a)
		if err == nil && (r.Type == "A" && addr.Is4() || r.Type == "AAAA" && addr.Is6()) {
			out = append(out, link{owner, r.Type, a})
		}
	}
	return out
}

// madeFrom says that alias is what a DNAME to target makes of owner (RFC 6672 §2.2).
func madeFrom(owner, target, alias string) bool {
	prefix, ok := strings.CutSuffix(alias, "."+target)
	return ok && strings.HasPrefix(owner, prefix+".")
}

// sent is what the client got of the answers that r keeps. Those of a blocked
// answer it did not get; of one that was stripped nobody kept which.
func (r *Record) sent() []string {
	if r.Verdict == "block" || r.Stripped || r.Dropped {
		return nil
	}
	return r.Answers
}
