package blocklist

import "bytes"

// The dnsmasq format, as far as it says that names shall not resolve (dnsmasq(8)); each covers what is below too:
//
//	address=/example.com/          also with "#", an unspecified or a loopback address after the last slash
//	local=/example.com/            and server=/example.com/
//	server=/www.example.com/#      an exception: the name goes to the ordinary servers
//
// Several names may stand between the slashes. "#" begins a comment, at the beginning of a line or after a blank.

func claimsDnsmasq(line []byte) bool {
	_, _, ok := cutDnsmasq(line)
	return ok
}

// cutDnsmasq cuts a line into its option and what stands after the first slash.
func cutDnsmasq(line []byte) (option string, rest []byte, ok bool) {
	for _, option := range [...]string{"address", "server", "local"} {
		after, ok := bytes.CutPrefix(line, []byte(option))
		if !ok {
			continue
		}
		if after = trimBlanks(after); len(after) > 0 && after[0] == '=' {
			if after = trimBlanks(after[1:]); len(after) > 0 && after[0] == '/' {
				return option, after[1:], true
			}
		}
	}
	return "", nil, false
}

func readDnsmasq(r *reader, line []byte) {
	if len(line) == 0 || line[0] == '#' {
		r.comment()
		return
	}
	line = cutComment(line, "#")
	option, rest, ok := cutDnsmasq(line)
	if !ok {
		if bytes.IndexByte(line, '=') < 0 && bytes.IndexByte(line, '.') >= 0 {
			r.unreadable(line, 0, "no dnsmasq option")
		} else {
			r.ignore(ignoredOption)
		}
		return
	}
	slash := bytes.LastIndexByte(rest, '/')
	if slash < 0 {
		r.unreadable(rest, len(rest), "no slash after the name")
		return
	}
	target := rest[slash+1:]
	exception := false
	switch {
	case len(target) == 0:
	case option == "address":
		if addr, ok := r.hostAddr(target); string(target) != "#" && (!ok || !addr.IsUnspecified() && !addr.IsLoopback()) {
			r.ignore(ignoredReal)
			return
		}
	case string(target) == "#":
		exception = true
	default:
		r.ignore(ignoredForward)
		return
	}
	for names := rest[:slash]; ; {
		end := bytes.IndexByte(names, '/')
		name := names
		if end >= 0 {
			name = names[:end]
		}
		scope := Self | Below
		if below, ok := bytes.CutPrefix(name, []byte("*.")); ok {
			name, scope = below, Below
		} else if len(name) > 1 && name[0] == '.' {
			name = name[1:]
		}
		r.name(name, scope, exception)
		if end < 0 {
			return
		}
		names = names[end+1:]
	}
}
