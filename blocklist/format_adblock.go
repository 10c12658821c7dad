package blocklist

import (
	"bytes"
	"net/netip"
)

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
//	all, document, doc, network   restrict nothing that a resolver could tell apart, unless in an exception
//	dnsrewrite=        with NXDOMAIN, NOERROR, REFUSED, SERVFAIL or an unspecified address: the name is listed, and noted
//
// What important and badfilter do depends on all of a list, so lines that have them are looked at before any is read.
// Everything else is for browsers or for less than every lookup of a name, and is counted by its kind.

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
	ignoredTypes    = "$dnstype: for some types (write types in a rule)"
	ignoredDeny     = "$denyallow: leaves names out of one rule alone"
	ignoredRewrite  = "$dnsrewrite: an answer of its own (write a zone)"
	ignoredBad      = "rule that cancels another ($badfilter)"
	ignoredCanceled = "rule that is cancelled ($badfilter)"
	ignoredMinor    = "rule that is overruled ($important)"
	notedRewrite    = "$dnsrewrite that blocks: listed, the answer is the policy's"
)

func readAdblock(r *reader, line []byte) {
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
	case rule.reason != "":
		r.ignore(rule.reason)
	default:
		if rule.rewrites {
			r.note(notedRewrite)
		}
		r.important = rule.important
		r.name(rule.name, rule.scope, rule.exception)
		r.important = false
	}
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

// adblockRule is what one line of an adblock list says of names.
type adblockRule struct {
	name      []byte
	scope     Scope
	exception bool
	important bool
	cancels   bool   // it says badfilter, and nothing of names
	rewrites  bool   // it says how to block
	reason    string // why it lists nothing; empty when it does
}

func parseAdblock(line []byte) (a adblockRule) {
	pattern, exception := bytes.CutPrefix(line, []byte("@@"))
	if len(pattern) > 1 && pattern[0] == '/' && (pattern[len(pattern)-1] == '/' || bytes.Contains(pattern, []byte("/$"))) {
		return adblockRule{reason: ignoredRegexp}
	}
	a.exception = exception
	pattern, options, _ := bytes.Cut(pattern, []byte("$"))
	for len(options) > 0 {
		var option []byte
		option, options = cutOption(options)
		if reason := a.option(option); reason != "" && a.reason == "" {
			a.reason = reason
		}
	}
	if a.reason == "" {
		a.name, a.scope, a.reason = adblockName(pattern)
	}
	return a
}

// option takes one option of the rule. It returns why the rule cannot be enforced, or "".
func (a *adblockRule) option(option []byte) string {
	name, value, _ := bytes.Cut(option, []byte("="))
	switch string(name) {
	case "":
	case "important":
		a.important = true
	case "badfilter":
		a.cancels = true
	case "all", "document", "doc", "network":
		if a.exception { // then it is for all that such a page loads
			return ignoredBrowser
		}
	case "dnsrewrite":
		if a.exception || !rewriteBlocks(value) {
			return ignoredRewrite
		}
		a.rewrites = true
	case "dnstype":
		return ignoredTypes
	case "client", "ctag":
		return ignoredClients
	case "denyallow":
		return ignoredDeny
	default:
		return ignoredBrowser
	}
	return ""
}

// rewriteBlocks says whether what $dnsrewrite gives as an answer, "rcode;type;value" or one of the three, is one that
// blocks.
func rewriteBlocks(value []byte) bool {
	rcode, rest, long := bytes.Cut(value, []byte(";"))
	if long {
		if rest = bytes.Trim(rest, ";"); len(rest) > 0 { // type and value
			_, value, _ := bytes.Cut(rest, []byte(";"))
			addr, err := netip.ParseAddr(string(value))
			return err == nil && addr.IsUnspecified()
		}
	}
	switch string(bytes.ToUpper(rcode)) {
	case "NXDOMAIN", "REFUSED", "SERVFAIL":
		return true
	case "NOERROR", "":
		return long
	}
	addr, err := netip.ParseAddr(string(rcode))
	return err == nil && !long && addr.IsUnspecified()
}

// cutOption cuts the first option off a list of them. A comma after a backslash is part of an option's value.
func cutOption(options []byte) (option, rest []byte) {
	for i, c := range options {
		if c == ',' && (i == 0 || options[i-1] != '\\') {
			return bytes.TrimSpace(options[:i]), options[i+1:]
		}
	}
	return bytes.TrimSpace(options), nil
}

// adblockName returns the name that a pattern stands for, or why it stands for none.
func adblockName(pattern []byte) (name []byte, scope Scope, reason string) {
	name, bar := bytes.CutSuffix(pattern, []byte("|"))
	name, closed := bytes.CutSuffix(name, []byte("^"))
	scope = Self | Below
	for _, begin := range []struct {
		text  string
		scope Scope
	}{
		{"||*.", Below},
		{"||", Self | Below},
		{"|*.", Below},
		{"|", Self},
		{"://", Self},
		{"*.", Below},
		{".", Below},
		{"", 0},
	} {
		if after, ok := bytes.CutPrefix(name, []byte(begin.text)); ok {
			name, scope = after, begin.scope
			break
		}
	}
	switch {
	case bytes.IndexByte(name, '/') >= 0, bytes.IndexByte(name, ':') >= 0:
		return nil, 0, ignoredURL
	case scope == 0 || !closed && !bar:
		return nil, 0, ignoredPattern
	case bytes.IndexByte(name, '*') >= 0:
		return nil, 0, ignoredWildcard
	}
	return name, scope, ""
}
