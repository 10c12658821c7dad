package audit

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// csvHeader is the order of the columns. New ones are added at the end.
var csvHeader = []string{
	"seq", "kind", "time", "client", "group", "transport", "name", "type", "class", "verdict", "observed", "policy",
	"rule", "category", "list", "entry", "matched_on", "source", "rcode", "ede", "dropped", "answers", "upstream",
	"duration_us", "revision", "text", "lost", "from", "to", "stripped",
	"action", "actor", "cause", "port", "id", "query_octets", "answer_octets", "flags", "edns_version", "udp_size", "cookie",
}

type csvTable struct {
	w      *csv.Writer
	row    []string
	headed bool
}

func newCSV(w io.Writer) Encoder { return &csvTable{w: csv.NewWriter(w)} }

func (t *csvTable) Write(r *Record) error {
	client, ede, observed := "", "", ""
	if r.Client.IsValid() {
		client = r.Client.String()
	}
	if r.EDE != nil {
		ede = strconv.Itoa(int(*r.EDE))
	}
	if r.Observed != nil {
		observed = r.Observed.String()
	}
	t.head()
	t.row = append(
		t.row[:0], number(r.Seq), r.Kind, clock(r.Time), client, r.Group, r.Transport, r.Name, r.Type, r.Class, r.Verdict,
		observed, r.Policy, r.Rule, r.Category, r.List, r.Entry, r.MatchedOn, r.Source, r.Rcode, ede, yes(r.Dropped),
		strings.Join(r.Answers, " "), r.Upstream, number(uint64(r.Duration)), number(r.Revision), r.Text,
		number(r.Lost), clock(r.From), clock(r.To), yes(r.Stripped), r.Action, r.Actor, r.Cause,
	)
	t.row = r.Packet.cells(t.row)
	for i, cell := range t.row {
		t.row[i] = plain(cell)
	}
	if err := t.w.Write(t.row); err != nil {
		return err
	}
	t.w.Flush()
	return t.w.Error()
}

// cells appends the columns from port to cookie.
func (p *Packet) cells(row []string) []string {
	if p == nil {
		return append(row, "", "", "", "", "", "", "", "")
	}
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
	version, size, cookie := "", "", ""
	if e := p.EDNS; e != nil {
		flag("do", e.DO)
		flag("ecs", e.ECS)
		version, size, cookie = strconv.Itoa(int(e.Version)), strconv.Itoa(int(e.UDPSize)), e.Cookie
	}
	return append(row, strconv.Itoa(int(p.Port)), strconv.Itoa(int(p.ID)), strconv.Itoa(int(p.QuerySize)),
		number(uint64(p.AnswerSize)), strings.Join(flags, " "), version, size, cookie)
}

// Close writes the header line if there was no record.
func (t *csvTable) Close() error {
	t.head()
	t.w.Flush()
	return t.w.Error()
}

func (t *csvTable) head() {
	if !t.headed {
		t.headed = true
		t.w.Write(csvHeader) // its error comes back from the next Flush
	}
}

// plain keeps a spreadsheet from taking the cell for a formula: one that begins
// like a formula gets a quote in front, which the spreadsheet does not show.
func plain(cell string) string {
	if r, _ := utf8.DecodeRuneInString(cell); cell != "" && strings.ContainsRune("=+-@\t\r＝＋－＠", r) {
		return "'" + cell
	}
	return cell
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
