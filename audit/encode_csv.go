package audit

import (
	"bytes"
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// csvColumns are the columns in their order, named as in Record's JSON. New ones
// are added at the end.
var csvColumns = []struct {
	name string
	cell func(*Record) string
}{
	{"seq", func(r *Record) string { return number(r.Seq) }},
	{"kind", func(r *Record) string { return r.Kind }},
	{"time", func(r *Record) string { return clock(r.Time) }},
	{"client", clientText},
	{"group", func(r *Record) string { return r.Group }},
	{"transport", func(r *Record) string { return r.Transport }},
	{"name", func(r *Record) string { return r.Name }},
	{"type", func(r *Record) string { return r.Type }},
	{"class", func(r *Record) string { return r.Class }},
	{"verdict", func(r *Record) string { return r.Verdict }},
	{"observed", func(r *Record) string { return r.observed().String() }},
	{"policy", func(r *Record) string { return r.Policy }},
	{"rule", func(r *Record) string { return r.Rule }},
	{"category", func(r *Record) string { return r.Category }},
	{"list", func(r *Record) string { return r.List }},
	{"entry", func(r *Record) string { return r.Entry }},
	{"matched_on", func(r *Record) string { return r.MatchedOn }},
	{"source", func(r *Record) string { return r.Source }},
	{"rcode", func(r *Record) string { return r.Rcode }},
	{"ede", edeText},
	{"dropped", func(r *Record) string { return yes(r.Dropped) }},
	{"answers", func(r *Record) string { return strings.Join(r.Answers, " ") }}, // none has a space in it
	{"upstream", func(r *Record) string { return r.Upstream }},
	{"duration_us", func(r *Record) string { return number(uint64(r.Duration)) }},
	{"revision", func(r *Record) string { return number(r.Revision) }},
	{"text", func(r *Record) string { return r.Text }},
	{"lost", func(r *Record) string { return number(r.Lost) }},
	{"from", func(r *Record) string { return clock(r.From) }},
	{"to", func(r *Record) string { return clock(r.To) }},
	{"stripped", func(r *Record) string { return yes(r.Stripped) }},
	{"observed_group", func(r *Record) string { return r.observed().Group }},
	{"observed_policy", func(r *Record) string { return r.observed().Policy }},
	{"observed_rule", func(r *Record) string { return r.observed().Rule }},
	{"observed_category", func(r *Record) string { return r.observed().Category }},
	{"observed_list", func(r *Record) string { return r.observed().List }},
	{"action", func(r *Record) string { return r.Action }},
	{"actor", func(r *Record) string { return r.Actor }},
	{"cause", func(r *Record) string { return r.Cause }},
	{"port", ofPacket(func(p *Packet) string { return strconv.Itoa(int(p.Port)) })},
	{"id", ofPacket(func(p *Packet) string { return strconv.Itoa(int(p.ID)) })},
	{"query_octets", ofPacket(func(p *Packet) string { return strconv.Itoa(int(p.QuerySize)) })},
	{"answer_octets", ofPacket(func(p *Packet) string { return number(uint64(p.AnswerSize)) })},
	{"flags", ofPacket(flagsText)},
	{"edns_version", ofEDNS(func(e *EDNS) string { return strconv.Itoa(int(e.Version)) })},
	{"udp_size", ofEDNS(func(e *EDNS) string { return strconv.Itoa(int(e.UDPSize)) })},
	{"cookie", ofEDNS(func(e *EDNS) string { return e.Cookie })},
}

type csvTable struct {
	w      io.Writer
	rows   *csv.Writer // to buf
	buf    bytes.Buffer
	row    []string
	headed bool
}

func newCSV(w io.Writer) Encoder {
	t := &csvTable{w: w}
	t.rows = csv.NewWriter(&t.buf)
	return t
}

func (t *csvTable) Write(r *Record) error {
	t.head()
	t.row = t.row[:0]
	for _, c := range csvColumns {
		t.row = append(t.row, plain(c.cell(r)))
	}
	t.rows.Write(t.row) // a buffer takes all
	return t.flush()
}

// ofPacket is the cell of what only a query's packet has.
func ofPacket(cell func(*Packet) string) func(*Record) string {
	return func(r *Record) string {
		if r.Packet == nil {
			return ""
		}
		return cell(r.Packet)
	}
}

// ofEDNS is the cell of what only a query with EDNS has.
func ofEDNS(cell func(*EDNS) string) func(*Record) string {
	return ofPacket(func(p *Packet) string {
		if p.EDNS == nil {
			return ""
		}
		return cell(p.EDNS)
	})
}

// flagsText names the flags of query and answer that are set, with a space between.
func flagsText(p *Packet) string {
	var flags []string
	flag := func(name string, on bool) {
		if on {
			flags = append(flags, name)
		}
	}
	flag("rd", p.RD)
	flag("ad", p.AD)
	flag("cd", p.CD)
	flag("aa", p.AA)
	flag("tc", p.TC)
	if e := p.EDNS; e != nil {
		flag("do", e.DO)
		flag("ecs", e.ECS)
	}
	return strings.Join(flags, " ")
}

// Close writes the header line if there was no record.
func (t *csvTable) Close() error {
	t.head()
	return t.flush()
}

func (t *csvTable) head() {
	if t.headed {
		return
	}
	t.headed = true
	for _, c := range csvColumns {
		t.row = append(t.row, c.name)
	}
	t.rows.Write(t.row)
}

func (t *csvTable) flush() error {
	t.rows.Flush()
	_, err := t.buf.WriteTo(t.w)
	return err
}

// plain keeps a spreadsheet from taking the cell for a formula: one that begins
// like a formula gets a quote in front, which the spreadsheet does not show. So
// does one that begins with a quote, so that a reader may take one off each cell
// that has it and has the text again.
func plain(cell string) string {
	if r, _ := utf8.DecodeRuneInString(cell); cell != "" && strings.ContainsRune("'=+-@\t\r＝＋－＠", r) {
		return "'" + cell
	}
	return cell
}

// observed is what an observe rule would have blocked for, or nothing.
func (r *Record) observed() Reason {
	if r.Observed == nil {
		return Reason{}
	}
	return *r.Observed
}

// addressText is the cell of the client's address, where there is no place for anything else.
func addressText(r *Record) string {
	if a, ok := r.Client.Addr(); ok {
		return a.String()
	}
	return ""
}

func clientText(r *Record) string {
	if !r.Client.IsValid() {
		return ""
	}
	return r.Client.String()
}

func edeText(r *Record) string {
	if r.EDE == nil {
		return ""
	}
	return strconv.Itoa(int(*r.EDE))
}

func yes(v bool) string {
	if !v {
		return ""
	}
	return "true"
}

func number(v uint64) string {
	if v == 0 {
		return ""
	}
	return strconv.FormatUint(v, 10)
}

func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}
