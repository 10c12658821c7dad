package blocklist

import (
	"bytes"
	"net/netip"
	"slices"
)

// The RPZ format: a response policy zone as a zone file (RFC 1035 §5; draft-vixie-dnsop-dns-rpz). The owner of a
// record, without the name of the zone, says what it is for:
//
//	example.com        the name
//	*.example.com      what is below
//	24.0.2.0.192.rpz-ip   an answer with an address in 192.0.2.0/24
//
// and the record says what becomes of it:
//
//	CNAME .                NXDOMAIN: the name is listed
//	CNAME *.               NODATA: likewise
//	CNAME rpz-drop.        no answer: likewise
//	CNAME rpz-passthru.    an exception: takes the names out of this list; so does a CNAME to the owner's own name
//	CNAME rpz-tcp-only.    blocks nothing, and is counted
//	any other data         an answer in place of the true one: the name is listed
//
// What clients are answered for a listed name is for the policy to say, so what the zone says is counted as a note.
// Owners under rpz-client-ip, rpz-nsdname and rpz-nsip are for something else than the name asked for and its answer,
// and are counted by kind; so are records of the zone itself. The name of the zone is the owner of its SOA record, or the
// first $ORIGIN where there is none.

func claimsRPZ(line []byte) bool {
	return isZoneFile(line) || hasType(line, "CNAME", "A", "AAAA", "NS")
}

// isZoneFile says whether the line is one that only zone files have.
func isZoneFile(line []byte) bool {
	first, rest := cutField(line)
	switch string(first) {
	case "$TTL", "$ORIGIN":
		return len(rest) > 0
	}
	return hasType(line, "SOA")
}

// hasType says whether the line is a record with an owner, one of types and data.
// A line that other formats take for a comment is none, however it reads on: "# a list".
func hasType(line []byte, types ...string) bool {
	owner, rest := cutField(line)
	if len(owner) == 0 || bytes.IndexByte([]byte("#!/[<"), owner[0]) >= 0 {
		return false
	}
	for {
		var field []byte
		field, rest = cutField(rest)
		if len(rest) == 0 {
			return false
		}
		if class, _ := isClass(field); !class && !isTTL(field) {
			return slices.ContainsFunc(types, func(word string) bool { return bytes.EqualFold(field, []byte(word)) })
		}
	}
}

const (
	ignoredZone     = "record of the zone itself"
	ignoredClass    = "record of a class other than IN"
	ignoredAllNames = "every name (a rule without domains matches every name)"
	ignoredTCPOnly  = "rpz-tcp-only: blocks nothing"
	notedNXDOMAIN   = "CNAME . (NXDOMAIN): listed, the answer is the policy's"
	notedNodata     = "CNAME *. (NODATA): listed, the answer is the policy's"
	notedDrop       = "rpz-drop: listed, the answer is the policy's"
	notedLocalData  = "local data: listed, the answer is the policy's"
	reasonNoType    = "no type of record"
	reasonNoData    = "no data after the type"
	reasonNoDot     = "rpz action without its final dot"
)

// ignoredTriggerIP is for a reader that has no use for networks.
const ignoredTriggerIP = "rpz-ip: for addresses in answers"

// ignoredTrigger returns what kind of trigger other than a name to be asked for this is, by its last label.
func ignoredTrigger(name []byte) string {
	label := name
	for label[1+int(label[0])] != 0 {
		label = label[1+int(label[0]):]
	}
	switch string(label[1 : 1+int(label[0])]) {
	case "rpz-ip":
		return ignoredTriggerIP
	case "rpz-client-ip":
		return "rpz-client-ip: for some clients (write a policy)"
	case "rpz-nsdname":
		return "rpz-nsdname: for names of name servers"
	case "rpz-nsip":
		return "rpz-nsip: for addresses of name servers"
	}
	return ""
}

func readRPZ(r *reader, _ []byte) { r.zone.line(r, takeRPZ) }

func finishRPZ(r *reader) { r.zone.end(r) }

// takeRPZ takes the record that the zone has read.
func takeRPZ(r *reader) {
	z := &r.zone
	if !z.setOwner(r) {
		return
	}
	rec := &z.record
	if rec.count == 0 {
		r.unreadableField(rec.first, 0, reasonNoType)
		return
	}
	kind := &rec.kept[0]
	number, ok := recordType(kind.text)
	switch {
	case !ok:
		r.unreadableField(*kind, 0, reasonNoType)
		return
	case rec.count == 1:
		r.unreadableField(*kind, 0, reasonNoData)
		return
	case rec.foreign:
		r.ignore(ignoredClass)
		return
	}
	data := &rec.kept[1]
	switch number {
	case rrSOA:
		z.begin()
		r.ignore(ignoredZone)
		return
	case rrNS, rrDNSKEY, rrRRSIG, rrNSEC, rrNSEC3, rrNSEC3PARAM, rrZONEMD, rrCDS, rrCDNSKEY:
		r.ignore(ignoredZone)
		return
	}

	name, reason := z.trigger(r.buf[:0])
	switch {
	case reason != "":
		r.unreadableField(rec.first, 0, reason)
		return
	case len(name) == 1 && z.owner.scope == Below:
		r.ignore(ignoredAllNames)
		return
	case len(name) == 1:
		r.ignore(ignoredZone)
		return
	}
	ignored := ignoredTrigger(name)
	if ignored != "" && ignored != ignoredTriggerIP {
		r.ignore(ignored)
		return
	}
	exception, note := false, notedLocalData
	switch number {
	case rrCNAME:
		var action string
		if action, reason = z.action(data.text, name); rec.count > 2 && reason == "" {
			data, reason = &rec.kept[2], "more than one name after CNAME"
		}
		if action == ignoredTCPOnly && reason == "" {
			r.ignore(action)
			return
		}
		exception, note = action == "", action
	case rrA, rrAAAA:
		if addr, ok := parseAddr(data.text); !ok || addr.Is4() != (number == rrA) {
			reason = "no address of the record's type"
		}
	}
	if reason != "" {
		r.unreadableField(*data, 0, reason)
		return
	}
	var network netip.Prefix
	if ignored != "" {
		var at int
		if network, at, reason = triggerNetwork(name); z.owner.scope == Below {
			at, reason = 0, reasonTriggerBelow
		}
		if reason != "" {
			r.unreadableField(rec.first, min(at, len(rec.first.text)), reason)
			return
		}
	}
	if note != "" {
		r.note(note)
	}
	last := r.number
	r.number = rec.begin
	if ignored != "" {
		r.netEntry(network, exception, ignored)
	} else {
		r.named(name, z.owner.text, 0, "", z.owner.scope, exception)
	}
	r.number = last
}

// action returns what a CNAME to target says of its owner: one of the notes, ignoredTCPOnly, or "" for an exception.
// When reason is not empty target says nothing.
func (z *zone) action(target, owner []byte) (action, reason string) {
	switch string(target) {
	case ".":
		return notedNXDOMAIN, ""
	case "@":
		return notedLocalData, ""
	}
	var room [maxName]byte
	name, _, reason := appendName(room[:0], target, &loose)
	if reason != "" {
		return "", reason
	}
	if int(name[0])+2 == len(name) {
		label := name[1 : len(name)-1]
		switch {
		case string(label) != "*" && !bytes.HasPrefix(label, []byte("rpz-")):
			return notedLocalData, ""
		case !absolute(target):
			return "", reasonNoDot
		}
		switch string(label) {
		case "*":
			return notedNodata, ""
		case "rpz-drop":
			return notedDrop, ""
		case "rpz-passthru":
			return "", ""
		case "rpz-tcp-only":
			return ignoredTCPOnly, ""
		}
		return "", "unknown rpz action"
	}
	if z.owner.scope == Self && absolute(target) && string(name) == string(owner) {
		return "", ""
	}
	return notedLocalData, ""
}
