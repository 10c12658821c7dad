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
		number(r.Lost), clock(r.From), clock(r.To), yes(r.Stripped),
	)
	for i, cell := range t.row {
		t.row[i] = plain(cell)
	}
	if err := t.w.Write(t.row); err != nil {
		return err
	}
	t.w.Flush()
	return t.w.Error()
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
