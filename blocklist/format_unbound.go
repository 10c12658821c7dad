package blocklist

import "bytes"

// The unbound format, as far as it says that names shall not resolve (unbound.conf(5)):
//
//	local-zone: "example.com." always_null      the name and everything below
//
// The types always_transparent, transparent and typetransparent make an exception; other types that refuse, drop or
// redirect list the name. local-data lines say what the answer is, which is for the sinkhole to say here. "#" begins
// a comment, at the beginning of a line or after a blank.

func claimsUnbound(line []byte) bool {
	return bytes.HasPrefix(line, []byte("local-zone:")) || bytes.HasPrefix(line, []byte("local-data:")) ||
		bytes.Equal(line, []byte("server:"))
}

func readUnbound(r *reader, line []byte) {
	if len(line) == 0 || line[0] == '#' {
		r.comment()
		return
	}
	option, rest := cutField(cutComment(line, "#"))
	switch string(option) {
	case "local-zone:":
	case "local-data:", "local-data-ptr:":
		r.ignore("local-data: the sinkhole has its own answer")
		return
	default:
		if option[len(option)-1] == ':' || bytes.IndexByte(option, ':') > 0 {
			r.ignore(ignoredOption)
		} else {
			r.unreadable(option, 0, "no unbound setting")
		}
		return
	}
	name, rest := cutField(rest)
	kind, _ := cutField(rest)
	name = unquote(name)
	switch string(unquote(kind)) {
	case "always_null", "always_nxdomain", "always_refuse", "always_nodata", "always_deny", "static", "refuse", "deny",
		"inform_deny", "redirect", "inform_redirect":
		r.name(name, Self|Below, false)
	case "always_transparent", "transparent", "typetransparent":
		r.name(name, Self|Below, true)
	case "":
		r.unreadable(line, len(line), "no type after the zone")
	default:
		r.ignore("local-zone type that blocks nothing")
	}
}

// unquote takes the quotes off a word that has them on both sides.
func unquote(word []byte) []byte {
	if n := len(word); n >= 2 && (word[0] == '"' || word[0] == '\'') && word[n-1] == word[0] {
		return word[1 : n-1]
	}
	return word
}
