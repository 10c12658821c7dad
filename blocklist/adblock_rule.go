package blocklist

import (
	"bytes"
	"net/netip"
)

// adblockRule is what one line of an adblock list says of names.
type adblockRule struct {
	name      []byte
	scope     Scope
	exception bool
	important bool
	typed     bool
	types     part     // that it is for, when typed
	denied    []byte   // value of $denyallow, or nil
	holes     []string // what of that leaves something out of the rule
	cancels   bool     // it says badfilter, and nothing of names
	rewrites  bool     // it says how to block
	reason    string   // why it lists nothing; empty when it does
	wrong     []byte   // the part of the line that cannot be read, for that reason; nil for none
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
		if reason, wrong := a.option(option); reason != "" && a.reason == "" {
			a.reason, a.wrong = reason, wrong
		}
	}
	if a.reason == "" {
		a.name, a.scope, a.reason = adblockName(pattern)
		if a.reason != "" && a.denied != nil {
			a.reason = ignoredDeny
		}
	}
	return a
}

// forTypes returns the types that the rule is for.
func (a *adblockRule) forTypes() part {
	if a.typed {
		return a.types
	}
	return everyType
}

// option takes one option of the rule. It returns why the rule cannot be enforced, or "", and what of the option
// cannot be read, or nil.
func (a *adblockRule) option(option []byte) (reason string, wrong []byte) {
	name, value, _ := bytes.Cut(option, []byte("="))
	switch string(name) {
	case "":
	case "important":
		a.important = true
	case "badfilter":
		a.cancels = true
	case "all", "document", "doc", "network":
		if a.exception { // then it is for all that such a page loads
			return ignoredBrowser, nil
		}
	case "dnsrewrite":
		if a.exception || !rewriteBlocks(value) {
			return ignoredRewrite, nil
		}
		a.rewrites = true
	case "dnstype":
		var ok bool
		if a.types, wrong, ok = dnsTypes(value); !ok {
			if len(wrong) == 0 {
				wrong = option
			}
			return reasonNoType, wrong
		}
		a.typed = true
	case "client", "ctag":
		return ignoredClients, nil
	case "denyallow":
		if a.denied = value; value == nil {
			a.denied = option[len(option):]
		}
	default:
		return ignoredBrowser, nil
	}
	return "", nil
}

// dnsTypes reads the value of $dnstype. When ok is false, wrong is the first of its words that is no type.
func dnsTypes(value []byte) (types part, wrong []byte, ok bool) {
	var only, but []uint16
	for rest, more := value, true; more; {
		var word []byte
		word, rest, more = bytes.Cut(rest, []byte("|"))
		word = bytes.TrimSpace(word)
		name, excluded := bytes.CutPrefix(word, []byte("~"))
		number, ok := typeOf(name)
		switch {
		case !ok:
			return part{}, name, false
		case excluded:
			but = append(but, number)
		default:
			only = append(only, number)
		}
	}
	if len(only) > 0 {
		return newPart(only, false), nil, true
	}
	return newPart(but, true), nil, true
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
