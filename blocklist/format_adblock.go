package blocklist

import "bytes"

// The adblock format, as far as it speaks of whole domains:
//
//	||example.com^     the name and everything below; ||*.example.com^ what is below
//	@@||example.com^   an exception: takes the names out of this list, where no entry more specific lists them
//
// "$all" may follow, since it restricts nothing. "!" and "#" begin comments, "[" the header. Everything else is for
// browsers, and is counted by its kind.

func claimsAdblock(line []byte) bool {
	return bytes.HasPrefix(line, []byte("||")) || bytes.HasPrefix(line, []byte("@@")) ||
		bytes.HasPrefix(line, []byte("[Adblock")) || cosmetic(line)
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

func readAdblock(r *reader, line []byte) {
	switch {
	case len(line) == 0, line[0] == '!', line[0] == '[':
		r.comment()
		return
	case cosmetic(line):
		r.ignore("rule on parts of pages")
		return
	case line[0] == '#':
		r.comment()
		return
	}
	rule, exception := bytes.CutPrefix(line, []byte("@@"))
	if len(rule) > 1 && rule[0] == '/' && (rule[len(rule)-1] == '/' || bytes.Contains(rule, []byte("/$"))) {
		r.ignore(ignoredRegexp)
		return
	}
	body, options, _ := bytes.Cut(rule, []byte("$"))
	if len(options) > 0 && string(options) != "all" {
		r.ignore("rule with options for browsers")
		return
	}
	name, anchored := bytes.CutPrefix(body, []byte("||"))
	name, closed := bytes.CutSuffix(name, []byte("^"))
	switch {
	case !anchored || !closed:
		r.ignore("pattern that is not ||name^")
		return
	case bytes.IndexByte(name, '/') >= 0 || bytes.IndexByte(name, ':') >= 0:
		r.ignore(ignoredURL)
		return
	}
	scope := Self | Below
	if below, ok := bytes.CutPrefix(name, []byte("*.")); ok {
		name, scope = below, Below
	}
	if bytes.IndexByte(name, '*') >= 0 {
		r.ignore("wildcard inside a name")
		return
	}
	r.name(name, scope, exception)
}
