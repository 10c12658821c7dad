package blocklist

// The domains format: one entry a line, as rules write them.
//
//	example.com      the name and everything below; .example.com is the same
//	*.example.com    everything below
//	=example.com     the name
//
// "#", "!" and ";" begin a comment, at the beginning of a line or after a blank. UT1's domains files are of this kind.

const domainsComments = "#!;"

func claimsDomains(line []byte) bool { return line[0] != '#' && line[0] != '!' && line[0] != ';' }

func readDomains(r *reader, line []byte) {
	if len(line) == 0 || !claimsDomains(line) {
		r.comment()
		return
	}
	scope, skip := entryScope(line)
	if n := r.plain(line[skip:]); n > 0 {
		r.entry(r.buf[:n], scope, false)
		return
	}
	name, scope, at, reason := appendEntry(r.buf[:0], line)
	if reason != "" { // then a comment may follow
		line = cutComment(line, domainsComments)
		name, scope, at, reason = appendEntry(r.buf[:0], line)
	}
	r.named(name, line, at, reason, scope, false)
}
