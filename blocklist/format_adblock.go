package blocklist

import "bytes"

// The adblock format, as far as it speaks of whole names (the rules that DNS filters know):
//
//	||example.com^     the name and everything below
//	|example.com^      the name; ://example.com^ is the same
//	*.example.com^     what is below; .example.com^ and ||*.example.com^ are the same
//	example.com        the name, as in a hosts file; so do lines of a hosts file: 0.0.0.0 example.com
//	@@||example.com^   an exception: takes the names out of this list, where no entry more specific lists them
//
// "|" at the end may stand for "^" or follow it. "!" and "#" begin comments, "[" the header. After "$" come options:
//
//	important          the rule overrules those of the other kind in this list that lack it, however specific they
//	                   are: a listed name its exceptions, an exception the listed names. Between two of them the
//	                   more specific one wins, and the exception where they are equally specific
//	badfilter          the rule cancels the rule of this list, before it or after, that is the same without badfilter
//	dnstype=A|AAAA     the rule is for questions of these types; dnstype=~A|~AAAA for all but these, which are passed
//	                   over where there are some without "~"
//	denyallow=a.example.com|b.example.com   the rule does not cover these names and what is below
//	all, document, doc, network   restrict nothing that a resolver could tell apart, unless in an exception
//	dnsrewrite=        with NXDOMAIN, NOERROR, REFUSED, SERVFAIL or an unspecified address: the name is listed, and noted
//
// What important, badfilter and denyallow do depends on all of a list, so lines that have them are looked at before
// any is read. Everything else is for browsers or for less than every lookup of a name, and is counted by its kind.

func claimsAdblock(line []byte) bool {
	return line[0] == '|' || bytes.HasPrefix(line, []byte("@@")) || line[len(line)-1] == '^' || isAdblock(line) || cosmetic(line)
}

// isAdblock says whether the line is a header that only adblock lists have.
func isAdblock(line []byte) bool {
	return bytes.HasPrefix(line, []byte("[Adblock")) || bytes.HasPrefix(line, []byte("[AdGuard")) || bytes.HasPrefix(line, []byte("[uBlock"))
}

// cosmetic says whether the line is a rule on parts of a page: "##", "#@#", "#?#", "#$#" or "#%#" follows its domains.
func cosmetic(line []byte) bool {
	for i := bytes.IndexByte(line, '#'); i >= 0 && i+1 < len(line); {
		switch line[i+1] {
		case '#':
			return i+2 < len(line) && line[i+2] != '#' && line[i+2] != ' '
		case '@', '?', '$', '%':
			if bytes.IndexByte(line[i+1:], '#') > 0 {
				return true
			}
		}
		next := bytes.IndexByte(line[i+1:], '#')
		if next < 0 {
			break
		}
		i += 1 + next
	}
	return false
}

const (
	ignoredParts    = "rule on parts of pages"
	ignoredBrowser  = "rule with options for browsers"
	ignoredPattern  = "pattern that is not ||name^"
	ignoredWildcard = "wildcard inside a name"
	ignoredClients  = "$client or $ctag: for some clients (write a policy)"
	ignoredTypes    = "$dnstype: more than 1000 sets of types in one list"
	ignoredDeny     = "$denyallow without a name: for all names but some (write a policy)"
	ignoredDenyAll  = "$denyallow that leaves nothing of its rule"
	ignoredRewrite  = "$dnsrewrite: an answer of its own (write a zone)"
	ignoredBad      = "rule that cancels another ($badfilter)"
	ignoredCanceled = "rule that is cancelled ($badfilter)"
	ignoredMinor    = "rule that is overruled ($important)"
	notedRewrite    = "$dnsrewrite that blocks: listed, the answer is the policy's"
)

func readAdblock(r *reader, line []byte) {
	if n := len(line); n > 3 && line[0] == '|' && line[1] == '|' && line[n-1] == '^' && !r.ahead.mayCancel() { // as most are
		if n := r.plain(line[2 : n-1]); n > 0 {
			r.entry(r.buf[:n], Self|Below, false)
			return
		}
	}
	switch {
	case len(line) == 0, line[0] == '!', line[0] == '[' && !bytes.HasPrefix(line, []byte("[$")):
		r.comment()
		return
	case claimsHosts(line):
		readHosts(r, line)
		return
	case line[0] == '[', cosmetic(line), bytes.Contains(line, []byte("$$")), bytes.Contains(line, []byte("$@$")):
		r.ignore(ignoredParts)
		return
	case line[0] == '#':
		r.comment()
		return
	}
	if bare := cutComment(line, "#"); r.bareName(bare) {
		r.name(bare, Self, false)
		return
	}
	rule := parseAdblock(line)
	switch {
	case rule.cancels:
		r.ignore(ignoredBad)
	case r.ahead.cancels(line):
		r.ignore(ignoredCanceled)
	case rule.wrong != nil:
		r.unreadable(rule.wrong, 0, rule.reason)
	case rule.reason != "":
		r.ignore(rule.reason)
	default:
		r.adblockRule(rule)
	}
}

// adblockRule takes a rule that is enforced, if it speaks of a name.
func (r *reader) adblockRule(rule adblockRule) {
	if rule.denied != nil {
		if name, _, reason := appendName(r.buf[:0], rule.name, &strict); reason == "" { // else there is a reason below
			wrong, at, reason := rule.dig(name)
			switch {
			case wrong != nil:
				r.unreadable(wrong, at, reason)
				return
			case reason != "":
				r.ignore(reason)
				return
			}
		}
	}
	if _, ok := r.partNumber(rule.forTypes()); !ok {
		r.ignore(ignoredTypes)
		return
	}
	if rule.rewrites {
		r.note(notedRewrite)
	}
	if rule.important || rule.typed || rule.holes != nil {
		r.room = rule
		r.rule = &r.room
	}
	r.name(rule.name, rule.scope, rule.exception)
	r.rule = nil
}

// bareName says whether text is a name of two labels or more, or an address, and nothing that could be the pattern of
// a browser's rule.
func (r *reader) bareName(text []byte) bool {
	if address(text) {
		return true
	}
	if bytes.IndexByte(text, '\\') >= 0 {
		return false
	}
	name, _, reason := appendName(r.buf[:0], text, &strict)
	if reason != "" || int(name[0])+2 == len(name) {
		return false
	}
	digits := 0
	for label := name; label[0] != 0; label = label[1+int(label[0]):] {
		n := int(label[0])
		if label[1] == '-' || label[n] == '-' {
			return false
		}
		digits = n - len(bytes.TrimLeft(label[1:1+n], "0123456789"))
		if label[1+n] == 0 && digits == n {
			return false
		}
	}
	return true
}
