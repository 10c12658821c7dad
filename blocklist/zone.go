package blocklist

import "bytes"

// zone reads a zone file (RFC 1035 §5.1), a line at a time, as far as the owners and kinds of its records go: fields
// with blanks between, quotes, escapes, comments, parentheses over several lines, $ORIGIN and $TTL, "@", relative
// names, and blanks for the owner of the record before. The zero zone is before the first line, where relative names
// stand below the zone's own name, whatever that is.
type zone struct {
	number int // of the last line
	depth  int // of parentheses
	record zoneRecord

	origin zoneName // relative names stand below it
	lost   bool     // the last $ORIGIN could not be read
	apex   zoneName // the name of the zone
	begun  bool     // apex is known from a SOA record
	owner  zoneOwner
}

// zoneOwner is the owner of the last record.
type zoneOwner struct {
	text  []byte
	name  zoneName
	scope Scope // Below for a wildcard
	known bool  // false before the first owner, and after one that could not be read
}

// zoneName is a wire name. While it is not absolute it is relative to the zone's name, and its root stands for that.
type zoneName struct {
	absolute bool
	length   int // 0 is 1
	octets   [maxName]byte
}

func (n *zoneName) wire() []byte { return n.octets[:max(n.length, 1)] }

// zoneField is one field of a record and where it stands. A quoted field has its quotes.
type zoneField struct {
	text   []byte
	line   int
	column int
}

// zoneRecord is what is kept of a record, or of a line with a directive, while it is read.
type zoneRecord struct {
	begin   int       // its first line
	same    bool      // it has the owner of the record before
	wrong   bool      // something of it has been reported
	fields  int       // all of them
	first   zoneField // the owner, if it is not the same
	foreign bool      // its class is not IN
	count   int       // fields after owner, TTL and class
	kept    [3]zoneField
	open    zoneField // its first parenthesis
}

// maxRecordLines bounds a record, so that a parenthesis that is never closed does not swallow the list.
const maxRecordLines = 1000

const (
	reasonQuote = "quote that is not closed in its line"
	reasonOpen  = "parenthesis that was not opened"
	reasonClose = "parenthesis that is never closed"
)

// line reads the reader's line, and gives the record that ends on it to take. take and the zone between them
// hand each record to exactly one of the reader's methods.
func (z *zone) line(r *reader, take func(r *reader)) {
	line := bytes.TrimRight(r.line, "\r\n")
	rec := &z.record
	if r.number != z.number+1 { // a line was too long
		z.owner.known = false
	}
	z.number = r.number
	if z.depth > 0 && r.number-rec.begin >= maxRecordLines {
		z.wrong(r, rec.open, "parenthesis that is not closed within 1000 lines, which are left out")
		z.depth, z.owner.known = 0, false
	}
	if z.depth > 0 {
		r.comment()
	} else {
		*rec = zoneRecord{begin: r.number, same: len(line) > 0 && (line[0] == ' ' || line[0] == '\t')}
	}
	z.split(r, line)
	switch {
	case z.depth > 0:
		rec.hold(r.number)
	case rec.wrong:
		z.lost = z.lost || rec.directive() && bytes.EqualFold(rec.first.text, []byte("$ORIGIN"))
		z.owner.known = z.owner.known && rec.same
	case rec.fields == 0:
		r.comment()
	case rec.directive():
		z.directive(r)
	default:
		take(r)
	}
}

// end reports what is not complete after the last line.
func (z *zone) end(r *reader) {
	if z.depth > 0 {
		z.wrong(r, z.record.open, reasonClose)
	}
}

// split cuts the line into fields.
func (z *zone) split(r *reader, line []byte) {
	for i := 0; i < len(line) && line[i] != ';'; {
		field := zoneField{line[i : i+1 : i+1], r.number, i + 1}
		switch line[i] {
		case ' ', '\t', '\r', '\v', '\f':
			i++
		case '(':
			if z.depth++; z.depth == 1 {
				z.record.open = field
			}
			i++
		case ')':
			if z.depth--; z.depth < 0 {
				z.depth = 0
				z.wrong(r, field, reasonOpen)
			}
			i++
		default:
			end, closed := fieldEnd(line, i)
			field.text = line[i:end:end]
			if !closed {
				z.wrong(r, field, reasonQuote)
			}
			z.record.add(field)
			i = end
		}
	}
}

// fieldEnd returns the end of the field that begins at i, and whether its quote, if it has one, is closed.
func fieldEnd(line []byte, i int) (end int, closed bool) {
	quoted := line[i] == '"'
	if quoted {
		i++
	}
	for ; i < len(line); i++ {
		switch c := line[i]; {
		case !endsField[c]:
		case c == '\\':
			i++
		case c == '"' && quoted:
			return i + 1, true
		case !quoted:
			return i, true
		}
	}
	return len(line), !quoted
}

// endsField holds what may end a field, and the backslash, which keeps it from that.
var endsField = [256]bool{
	'\\': true, '"': true, ' ': true, '\t': true, '\r': true, '\v': true, '\f': true, ';': true, '(': true, ')': true,
}

// add takes the next field of the record.
func (rec *zoneRecord) add(f zoneField) {
	rec.fields++
	if rec.fields == 1 {
		rec.first = f
		if !rec.same {
			return
		}
	}
	if rec.count == 0 && !rec.directive() {
		if isTTL(f.text) {
			return
		}
		if class, in := isClass(f.text); class {
			rec.foreign = !in
			return
		}
	}
	if rec.count < len(rec.kept) {
		rec.kept[rec.count] = f
	}
	rec.count++
}

// directive says whether the record is none, but a directive such as $ORIGIN.
func (rec *zoneRecord) directive() bool {
	return !rec.same && rec.fields > 0 && rec.first.text[0] == '$'
}

// hold copies what the record has of the line, which will be overwritten.
func (rec *zoneRecord) hold(line int) {
	for _, f := range [...]*zoneField{&rec.first, &rec.open, &rec.kept[0], &rec.kept[1], &rec.kept[2]} {
		if f.line == line {
			f.text = bytes.Clone(f.text)
		}
	}
}

// wrong reports the record, unless that has been done.
func (z *zone) wrong(r *reader, f zoneField, reason string) {
	if !z.record.wrong {
		z.record.wrong = true
		r.unreadableField(f, 0, reason)
	}
}

// unreadableField is unreadable for a field of a record.
func (r *reader) unreadableField(f zoneField, at int, reason string) {
	number := r.number
	r.number, r.fixed = f.line, f.column
	r.unreadable(f.text, at, reason)
	r.number, r.fixed = number, 0
}

// directive obeys one.
func (z *zone) directive(r *reader) {
	rec := &z.record
	is := func(word string) bool { return bytes.EqualFold(rec.first.text, []byte(word)) }
	switch {
	case is("$ORIGIN"):
		if rec.count != 1 {
			z.lost = true
			r.unreadableField(rec.first, 0, "not one name after $ORIGIN")
			return
		}
		var origin zoneName
		at, reason := z.resolve(&origin, rec.kept[0].text)
		if z.lost = reason != ""; z.lost {
			r.unreadableField(rec.kept[0], at, reason)
			return
		}
		z.origin = origin
		if !z.begun && !z.apex.absolute && origin.absolute && origin.length > 1 {
			z.apex = origin
		}
		r.comment()
	case is("$TTL"):
		r.comment()
	case is("$INCLUDE"):
		r.ignore("$INCLUDE: name the file as a source of its own")
	case is("$GENERATE"):
		r.ignore("$GENERATE: write the names out")
	default:
		r.unreadableField(rec.first, 0, "unknown directive")
	}
}

// setOwner makes the record's owner the zone's. It is false when the owner is wrong, which is then reported.
func (z *zone) setOwner(r *reader) bool {
	rec := &z.record
	if rec.same {
		if !z.owner.known {
			z.wrong(r, rec.first, "record without an owner before it that could be read")
		}
		return z.owner.known
	}
	z.owner.known = false
	text, skip, scope := rec.first.text, 0, Self
	switch {
	case string(text) == "*":
		text, scope = []byte("@"), Below
	case string(text) == "*.":
		text, scope = []byte("."), Below
	case len(text) > 1 && text[0] == '*' && text[1] == '.':
		text, skip, scope = text[2:], 2, Below
	}
	if at, reason := z.resolve(&z.owner.name, text); reason != "" {
		z.record.wrong = true
		r.unreadableField(rec.first, at+skip, reason)
		return false
	}
	z.owner.text = append(z.owner.text[:0], text...)
	z.owner.scope, z.owner.known = scope, true
	return true
}

// begin takes the last owner for the name of the zone, if it is the first that a SOA record has.
func (z *zone) begin() {
	if !z.begun {
		z.begun, z.apex = true, z.owner.name
	}
}

// resolve reads a name, in view of the origin.
func (z *zone) resolve(name *zoneName, text []byte) (at int, reason string) {
	const reasonLost = "relative name after an $ORIGIN that could not be read"
	switch {
	case string(text) == "@" && z.lost:
		return 0, reasonLost
	case string(text) == "@":
		*name = z.origin
		return 0, ""
	case string(text) == ".":
		name.absolute, name.length, name.octets[0] = true, 1, 0
		return 0, ""
	}
	if name.length = plainName(&name.octets, text); name.length == 0 {
		wire, at, reason := appendName(name.octets[:0], text, &strict)
		if reason != "" {
			return at, reason
		}
		name.length = len(wire)
	}
	if name.absolute = absolute(text); name.absolute {
		return 0, ""
	}
	if z.lost {
		return 0, reasonLost
	}
	origin := z.origin.wire()
	if name.length-1+len(origin) > maxName {
		return len(text), reasonLongName
	}
	name.length += copy(name.octets[name.length-1:], origin) - 1
	name.absolute = z.origin.absolute
	return 0, ""
}

// absolute says whether the name ends with a dot that is no part of a label.
func absolute(text []byte) bool {
	if len(text) == 0 || text[len(text)-1] != '.' {
		return false
	}
	rest := text[:len(text)-1]
	return (len(rest)-len(bytes.TrimRight(rest, `\`)))%2 == 0
}

// trigger appends the owner without the name of the zone to dst, as a wire name. The root means the zone itself.
func (z *zone) trigger(dst []byte) (name []byte, reason string) {
	owner, apex := z.owner.name.wire(), z.apex.wire()
	switch {
	case z.owner.name.absolute && !z.apex.absolute:
		return nil, "absolute name, and no SOA record or $ORIGIN before it tells the zone's"
	case !z.owner.name.absolute && z.apex.absolute:
		return append(dst, owner...), ""
	case string(owner) != string(apex) && !isBelow(owner, apex):
		return nil, "name outside the zone"
	}
	return append(append(dst, owner[:len(owner)-len(apex)]...), 0), ""
}

// isTTL says whether the field is a number of seconds, or of units such as 1h30m.
func isTTL(text []byte) bool {
	if !digit(text[0]) {
		return false
	}
	for _, c := range text {
		if !digit(c) && bytes.IndexByte([]byte("smhdwSMHDW"), c) < 0 {
			return false
		}
	}
	return true
}

// isClass says whether the field is a class, and whether that is IN.
func isClass(text []byte) (class, in bool) {
	if len(text) == 2 && lower(text[0]) == 'i' && lower(text[1]) == 'n' {
		return true, true
	}
	for _, known := range [...]string{"CH", "HS", "CS", "ANY", "NONE"} {
		if len(text) == len(known) && bytes.EqualFold(text, []byte(known)) {
			return true, false
		}
	}
	number, class := cutFold(text, "CLASS")
	return class && digits(number), string(number) == "1"
}

// cutFold cuts a word off the beginning of text, in upper or lower case.
func cutFold(text []byte, word string) (rest []byte, ok bool) {
	if len(text) < len(word) || !bytes.EqualFold(text[:len(word)], []byte(word)) {
		return text, false
	}
	return text[len(word):], true
}

func digits(text []byte) bool {
	for _, c := range text {
		if !digit(c) {
			return false
		}
	}
	return len(text) > 0
}

// recordType returns the number of a type of record that has data. It is false for one that is given by its number where
// takeRPZ knows it by its name.
func recordType(text []byte) (number uint16, ok bool) {
	number, ok = typeOf(text)
	switch number {
	case 41, 128, 249, 250, 251, 252, 253, 254, 255: // OPT, NXNAME, and what only questions and signatures have
		return 0, false
	case rrA, rrNS, rrCNAME, rrSOA, rrAAAA, rrRRSIG, rrNSEC, rrDNSKEY, rrNSEC3, rrNSEC3PARAM, rrCDS,
		rrCDNSKEY, rrZONEMD:
		_, numbered := cutFold(text, "TYPE")
		return number, !numbered
	}
	return number, ok
}
