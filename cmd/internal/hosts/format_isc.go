package hosts

import (
	"bytes"
	"time"
)

// dhcpd.leases(5) and dhcpd6.leases of ISC dhcpd: statements that end with ";" and blocks in "{" and "}", in the
// language of its configuration. Of interest are
//
//	lease ADDRESS { … }
//	ia-na ID { … iaaddr ADDRESS { … } }       and ia-ta
//
// Each change of a lease appends a block, so the last one of an address counts, and only "binding state active" is a
// lease. dhcpd writes these words at the beginning of a line and all else in a block indented, and no line's end in a
// string: so a block that was cut short costs no more than itself.

func claimsISC(line []byte) bool {
	word, _, _ := bytes.Cut(line, []byte(" "))
	switch string(word) {
	case "lease", "ia-na", "ia-ta", "ia-pd", "authoring-byte-order", "server-duid", "failover", "host", "group", "class", "subclass":
		return bytes.HasSuffix(line, []byte("{")) || bytes.HasSuffix(line, []byte(";"))
	}
	return false
}

func readISC(r *reader) error {
	s := iscReader{r: r}
	for line, ok := r.next(); ok; line, ok = r.next() {
		s.line(line)
	}
	return nil
}

// Caps on one statement and on blocks in blocks.
const (
	iscWords = 8
	iscWord  = 1 << 10 // octets
	iscDepth = 16
)

// An iscReader reads the lines of one file.
type iscReader struct {
	r      *reader
	text   []byte // the words of the statement so far, without anything between them
	ends   []int  // of each word in text
	begun  int    // line of the first
	blocks []iscBlock
}

// An iscBlock is one that is open.
type iscBlock struct {
	kind   iscKind
	line   int
	active bool
	timed  bool // ends is known: without, dhcpd takes the lease for ended
	host   Host
	second string // a name, if the client gave none
	broken bool   // something in it cannot be read, so it changes nothing
}

type iscKind uint8

const (
	iscOther iscKind = iota
	iscIA            // holds addresses
	iscLease         // of an address
)

func (s *iscReader) line(line []byte) {
	if (len(s.blocks) > 0 || len(s.ends) > 0) && iscBegins(line) {
		s.giveUp("is not ended before the next lease")
	}
	for len(line) > 0 {
		c := line[0]
		switch c {
		case '#':
			return
		case '"':
			line = s.quoted(line[1:])
			continue
		case ';':
			s.statement()
		case '{':
			s.open()
		case '}':
			s.close()
		case ' ', '\t', '\r', '\v', '\f':
		default:
			n := 1
			if c != '=' {
				if n = bytes.IndexAny(line, " \t\r\v\f;{}\"=#"); n < 0 {
					n = len(line)
				}
			}
			s.word(line[:n])
			line = line[n:]
			continue
		}
		line = line[1:]
	}
}

// iscBegins says whether a block of interest begins with line, whatever was before.
func iscBegins(line []byte) bool {
	for _, word := range [...]string{"lease ", "ia-na ", "ia-ta ", "ia-pd "} {
		if len(line) > len(word) && string(line[:len(word)]) == word {
			return true
		}
	}
	return false
}

func (s *iscReader) giveUp(why string) {
	at := s.begun
	if len(s.blocks) > 0 {
		at = s.blocks[0].line
	}
	s.r.problemAt(at, "what begins here %s", why)
	s.blocks = s.blocks[:0]
	s.clear()
}

func (s *iscReader) clear() { s.text, s.ends = s.text[:0], s.ends[:0] }

func (s *iscReader) word(word []byte) {
	if len(s.ends) == 0 {
		s.begun = s.r.number
	}
	if len(s.ends) < iscWords {
		s.text = append(s.text, word[:min(len(word), iscWord)]...)
		s.ends = append(s.ends, len(s.text))
	}
}

// at returns a word of the statement; empty if it has fewer.
func (s *iscReader) at(i int) []byte {
	switch {
	case i >= len(s.ends):
		return nil
	case i == 0:
		return s.text[:s.ends[0]]
	}
	return s.text[s.ends[i-1]:s.ends[i]]
}

// quoted takes a string, after its first quote, as a word and returns what follows it.
func (s *iscReader) quoted(line []byte) []byte {
	var word []byte
	for i := 0; i < len(line); {
		c := line[i]
		i++
		switch {
		case c == '"':
			s.word(word)
			return line[i:]
		case c == '\\' && i < len(line):
			var n int
			c, n = iscEscape(line[i:])
			i += n
		}
		word = append(word, c)
	}
	s.r.problem("%s has no second quote", quote(line))
	s.spoil()
	s.word(word)
	return nil
}

// iscEscape reads what follows a backslash and returns its length too.
func iscEscape(text []byte) (byte, int) {
	c, n := 0, 0
	for n < 3 && n < len(text) && '0' <= text[n] && text[n] <= '7' {
		c = c<<3 | int(text[n]-'0')
		n++
	}
	if n > 0 {
		return byte(c), n
	}
	switch text[0] {
	case 't':
		return '\t', 1
	case 'r':
		return '\r', 1
	case 'n':
		return '\n', 1
	case 'b':
		return '\b', 1
	}
	return text[0], 1
}

// block returns the innermost one; nil outside of all.
func (s *iscReader) block() *iscBlock {
	if len(s.blocks) == 0 {
		return nil
	}
	return &s.blocks[len(s.blocks)-1]
}

// spoil has the block at hand change nothing.
func (s *iscReader) spoil() {
	if b := s.block(); b != nil {
		b.broken = true
	}
}

func (s *iscReader) open() {
	if len(s.blocks) == iscDepth {
		s.giveUp("holds too many blocks in each other")
		return
	}
	b := iscBlock{line: s.r.number}
	outer := s.block()
	switch word := string(s.at(0)); {
	case outer == nil && (word == "ia-na" || word == "ia-ta"):
		b.kind = iscIA
	case outer == nil && word == "lease", outer != nil && outer.kind == iscIA && word == "iaaddr":
		b.kind = iscLease
		addr, ok := s.r.addr(s.at(1))
		b.host.Addr, b.broken = addr, !ok
	}
	s.clear()
	s.blocks = append(s.blocks, b)
}

func (s *iscReader) close() {
	b := s.block()
	switch {
	case b == nil:
		s.r.problem("\"}\" without a block")
	case len(s.ends) > 0:
		s.r.problem("statement at the end of a block has no \";\"")
		s.spoil()
	}
	s.clear()
	if b == nil {
		return
	}
	s.blocks = s.blocks[:len(s.blocks)-1]
	if b.kind != iscLease || b.broken {
		return
	}
	if !b.active || !b.timed {
		s.r.drop(b.host.Addr)
		return
	}
	if b.host.Name == "" {
		b.host.Name = b.second
	}
	s.r.take(b.host)
}

func (s *iscReader) statement() {
	defer s.clear()
	b := s.block()
	if b == nil || b.kind != iscLease {
		return
	}
	switch string(s.at(0)) {
	case "binding":
		b.active = string(s.at(1)) == "state" && string(s.at(2)) == "active"
	case "ends":
		if b.host.Until, b.timed = s.date(); !b.timed {
			s.r.problem("ends %s %s %s: no time", quote(s.at(1)), quote(s.at(2)), quote(s.at(3)))
			b.broken = true
		}
	case "hardware":
		if b.host.MAC = (MAC{}); string(s.at(1)) == "ethernet" {
			b.host.MAC = s.r.mac(s.at(2))
		}
	case "client-hostname":
		b.host.Name = s.r.name(s.at(1))
	case "set": // the name that dhcpd gave the client in the DNS: leases of IPv6 have no other
		if string(s.at(1)) == "ddns-fwd-name" && string(s.at(2)) == "=" {
			b.second = s.r.name(s.at(3))
		}
	}
}

// date reads the time in a statement: "never", "epoch" and seconds, or a weekday, day and time in UTC. Zero is never.
func (s *iscReader) date() (at time.Time, ok bool) {
	switch string(s.at(1)) {
	case "never":
		return time.Time{}, len(s.ends) == 2
	case "epoch":
		at, err := seconds(s.at(2))
		return at, err == nil && len(s.ends) == 3
	}
	at, err := time.Parse("2006/1/2 15:4:5", string(s.at(2))+" "+string(s.at(3)))
	return at, err == nil && !at.IsZero() && len(s.ends) == 4
}
