package audit

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The readers here know the formats from their specifications, and give back a
// Record from what they find.

func readJSONL(t testing.TB, out []byte) (records []*Record) {
	t.Helper()
	for line := range bytes.Lines(out) {
		r := new(Record)
		in := json.NewDecoder(bytes.NewReader(line))
		in.DisallowUnknownFields()
		if err := in.Decode(r); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		records = append(records, r)
	}
	return records
}

// readCells reads a table as RFC 4180 has it, every row as long as the first.
func readCells(t testing.TB, out []byte) [][]string {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(out)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// keptCSV is the whole record, but for an observed reason that says nothing.
func keptCSV(r *Record) *Record {
	if r.Observed != nil && *r.Observed == (Reason{}) {
		k := *r
		k.Observed = nil
		return &k
	}
	return r
}

// readCSV fills a Record's fields from the columns that have their JSON names, so
// that a field without a column is missed.
func readCSV(t testing.TB, out []byte) (records []*Record) {
	t.Helper()
	rows := readCells(t, out)
	for _, row := range rows[1:] {
		fields := map[string]any{}
		observed := map[string]any{}
		packet := map[string]any{}
		for i, cell := range row {
			name := rows[0][i]
			if cell = strings.TrimPrefix(cell, "'"); cell == "" || name == "observed" {
				continue
			}
			if part, ok := strings.CutPrefix(name, "observed_"); ok {
				observed[part] = cell
				fields["observed"] = observed
				continue
			}
			if packetCell(packet, name, cell) {
				fields["packet"] = packet
				continue
			}
			fields[name] = cellValue(t, name, cell)
		}
		text, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, readJSONL(t, text)...)
	}
	return records
}

// What Record gains has a column.
func TestEveryFieldHasAColumn(t *testing.T) {
	columns := map[string]bool{}
	for _, c := range csvColumns {
		columns[c.name] = true
	}
	for f := range reflect.TypeFor[Record]().Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); !columns[name] && name != "packet" {
			t.Errorf("%s has no column", name)
		}
	}
	var p Packet
	e := &EDNS{}
	for _, of := range []reflect.Value{reflect.ValueOf(&p).Elem(), reflect.ValueOf(e).Elem()} {
		for i, f := range slices.Collect(of.Type().Fields()) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.Type.Kind() == reflect.Bool { // it is one of the flags
				of.Field(i).SetBool(true)
				p.EDNS = e
				if !slices.Contains(strings.Fields(flagsText(&p)), name) {
					t.Errorf("%s is no flag", name)
				}
			} else if name != "edns" && !columns[name] && !columns["edns_"+name] {
				t.Errorf("%s has no column", name)
			}
		}
	}
	for f := range reflect.TypeFor[Reason]().Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); !columns["observed_"+name] {
			t.Errorf("observed_%s is no column", name)
		}
	}
}

// packetCell puts a cell where the JSON of a Packet has it, and says whether it is one of that.
func packetCell(packet map[string]any, name, cell string) bool {
	edns, _ := packet["edns"].(map[string]any)
	if edns == nil {
		edns = map[string]any{}
	}
	switch name {
	case "port", "id", "query_octets", "answer_octets":
		packet[name] = json.RawMessage(cell)
		return true
	case "flags":
		for _, flag := range strings.Fields(cell) {
			if flag == "do" || flag == "ecs" {
				edns[flag] = true
				packet["edns"] = edns
			} else {
				packet[flag] = true
			}
		}
		return true
	case "edns_version":
		edns["version"] = json.RawMessage(cell)
	case "udp_size":
		edns[name] = json.RawMessage(cell)
	case "cookie":
		edns[name] = cell
	default:
		return false
	}
	packet["edns"] = edns
	return true
}

// cellValue is a cell as the JSON of a Record has it, by the type of its field.
func cellValue(t testing.TB, name, cell string) any {
	t.Helper()
	for f := range reflect.TypeFor[Record]().Fields() {
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag != name {
			continue
		}
		switch f.Type {
		case reflect.TypeFor[string](), reflect.TypeFor[time.Time](), reflect.TypeFor[Client]():
			return cell
		case reflect.TypeFor[[]string]():
			return strings.Split(cell, " ")
		}
		return json.RawMessage(cell) // numbers, true
	}
	t.Fatalf("column %s is no field", name)
	return nil
}

// dig returns what stands at a path of an object, or "".
func dig(v map[string]any, path string) any {
	for {
		key, rest, deeper := strings.Cut(path, ".")
		if !deeper {
			return v[key]
		}
		v, _ = v[key].(map[string]any)
		path = rest
	}
}

func digText(v map[string]any, path string) string {
	switch s := dig(v, path).(type) {
	case string:
		return s
	case json.Number:
		return s.String()
	}
	return ""
}

// rest is the Record that an object has of the fields for which the schema has no place.
func rest(t testing.TB, v any) *Record {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return readJSONL(t, text)[0]
}

// set puts what stands at a path into a field that nobody else has set.
func set(t testing.TB, field *string, v map[string]any, path string) {
	t.Helper()
	s := digText(v, path)
	if s != "" && *field != "" {
		t.Errorf("%s is there twice: %s and %s", path, s, *field)
	}
	if s != "" {
		*field = s
	}
}

func readTime(t testing.TB, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func readNumber(t testing.TB, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func readAddr(t testing.TB, text string) netip.Addr {
	t.Helper()
	if text == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func readOCSF(t testing.TB, out []byte) (records []*Record) {
	t.Helper()
	facts := readFacts(t)
	for line := range bytes.Lines(out) {
		v := decodeJSON(t, line)
		if wrong := facts.check(v); wrong != nil {
			t.Fatalf("%q\n%s", wrong, line)
		}
		r := rest(t, v["unmapped"])
		r.Kind, r.Seq, r.Time = "query", readNumber(t, digText(v, "metadata.sequence")), readTime(t, digText(v, "metadata.original_time"))
		if strconv.FormatInt(r.Time.UnixMilli(), 10) != digText(v, "time") {
			t.Errorf("the times differ: %s", line)
		}
		if ip := digText(v, "src_endpoint.ip"); ip != "" {
			if r.Client.IsValid() {
				t.Errorf("the client is there twice: %s", line)
			}
			r.Client = ClientOf(readAddr(t, ip))
		}
		if uid := digText(v, "src_endpoint.uid"); uid != "" {
			r.Client = readPseudonym(t, uid)
		}
		set(t, &r.Transport, v, "connection_info.protocol_name")
		set(t, &r.Name, v, "query.hostname")
		set(t, &r.Type, v, "query.type")
		set(t, &r.Class, v, "query.class")
		set(t, &r.Policy, v, "policy.name")
		set(t, &r.Rule, v, "firewall_rule.name")
		set(t, &r.Category, v, "firewall_rule.category")
		set(t, &r.Entry, v, "firewall_rule.condition")
		r.Dropped = digText(v, "activity_id") == "1"
		if r.Rcode == "" {
			r.Rcode = rcodeString(uint16(readNumber(t, digText(v, "rcode_id"))))
		}
		r.Verdict = map[string]string{"1": "allow", "2": "block"}[digText(v, "action_id")]
		answers, _ := v["answers"].([]any)
		if (r.Verdict == "block" || r.Stripped || r.Dropped) && answers != nil {
			t.Errorf("the client did not get these: %s", line)
		}
		for _, a := range answers {
			r.Answers = append(r.Answers, a.(map[string]any)["rdata"].(string))
		}
		records = append(records, r)
	}
	return records
}

func readECS(t testing.TB, out []byte) (records []*Record) {
	t.Helper()
	for line := range bytes.Lines(out) {
		v := decodeJSON(t, line)
		r := rest(t, v["weir"])
		r.Time, r.Seq = readTime(t, digText(v, "@timestamp")), readNumber(t, digText(v, "event.sequence"))
		types, _ := dig(v, "event.type").([]any)
		switch {
		case types[0] == "protocol":
			r.Kind = "query"
		case types[0] == "change":
			r.Kind = "change"
		case digText(v, "event.kind") == "pipeline_error":
			r.Kind = "gap"
		}
		if len(types) > 1 {
			r.Verdict = map[any]string{"allowed": "allow", "denied": "block"}[types[1]]
		}
		set(t, &r.Text, v, "message")
		if ip := digText(v, "source.ip"); ip != "" {
			if r.Client.IsValid() {
				t.Errorf("the client is there twice: %s", line)
			}
			r.Client = ClientOf(readAddr(t, ip))
		} else if text := digText(v, "source.address"); text != "" {
			if err := r.Client.UnmarshalText([]byte(text)); err != nil {
				t.Error(err)
			}
		}
		set(t, &r.Transport, v, "network.transport")
		set(t, &r.Name, v, "dns.question.name")
		set(t, &r.Type, v, "dns.question.type")
		set(t, &r.Class, v, "dns.question.class")
		set(t, &r.Rcode, v, "dns.response_code")
		set(t, &r.Policy, v, "rule.ruleset")
		set(t, &r.Rule, v, "rule.name")
		set(t, &r.Category, v, "rule.category")
		r.Dropped = digText(v, "dns.type") == "query"
		if d := digText(v, "event.duration"); d != "" {
			r.Duration = int64(readNumber(t, d) / 1000)
		}
		answers, _ := dig(v, "dns.answers").([]any)
		hosts, _ := dig(v, "related.hosts").([]any)
		addrs, _ := dig(v, "related.ip").([]any)
		related := map[any]bool{}
		for _, v := range append(hosts, addrs...) {
			related[v] = true
		}
		if (r.Verdict == "block" || r.Stripped || r.Dropped) && answers != nil {
			t.Errorf("the client did not get these: %s", line)
		}
		for _, a := range answers {
			r.Answers = append(r.Answers, a.(map[string]any)["data"].(string))
		}
		for _, a := range r.Answers {
			if !related[a] {
				t.Errorf("%s is not related: %s", a, line)
			}
		}
		records = append(records, r)
	}
	return records
}

// readPseudonym reads a client that must be a pseudonym.
func readPseudonym(t testing.TB, text string) Client {
	t.Helper()
	c, err := ParseClient(text)
	if err != nil || !c.IsPseudonym() {
		t.Errorf("%q is no pseudonym: %v", text, err)
	}
	return c
}

// withAddress is a client that has one, or none.
func withAddress(c Client) Client {
	a, _ := c.Addr()
	return ClientOf(a)
}

// keptZeek is what dns.log has of a query.
func keptZeek(r *Record) *Record {
	k := &Record{
		Seq: r.Seq, Kind: "query", Time: microseconds(r.Time), Client: withAddress(r.Client), Name: r.Name, Type: r.Type, Class: r.Class, Rcode: r.Rcode,
		Dropped: r.Dropped, Duration: r.Duration, Answers: r.sent(),
	}
	if r.Transport == "udp" || r.Transport == "tcp" {
		k.Transport = r.Transport
	}
	if r.Dropped {
		k.Rcode = ""
	}
	return k
}

// readZeek reads a log by what its own header says.
func readZeek(t testing.TB, out []byte) (records []*Record) {
	t.Helper()
	var fields, types []string
	header := map[string]string{}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#separator ") {
			if line != `#separator \x09` {
				t.Fatal(line)
			}
			continue
		}
		cells := strings.Split(line, "\t")
		if strings.HasPrefix(line, "#") {
			switch key := cells[0][1:]; key {
			case "fields":
				fields = cells[1:]
			case "types":
				types = cells[1:]
			default:
				header[key] = strings.Join(cells[1:], "\t")
			}
			continue
		}
		if len(cells) != len(fields) || len(types) != len(fields) {
			t.Fatalf("%d fields, want %d: %q", len(cells), len(fields), line)
		}
		r := &Record{Kind: "query"}
		for i, cell := range cells {
			if cell == header["unset_field"] {
				r.Dropped = r.Dropped || fields[i] == "rcode"
				continue
			}
			switch fields[i] {
			case "ts":
				r.Time = time.UnixMicro(zeekMicro(t, cell)).UTC()
			case "uid":
				r.Seq = readNumber(t, strings.TrimPrefix(zeekValue(t, cell), "C"))
			case "id.orig_h":
				r.Client = ClientOf(readAddr(t, cell))
			case "proto":
				if cell != "unknown_transport" {
					r.Transport = cell
				}
			case "rtt":
				r.Duration = zeekMicro(t, cell)
			case "query":
				r.Name = zeekValue(t, cell)
			case "qclass":
				r.Class = classString(uint16(readNumber(t, cell)))
			case "qtype":
				r.Type = typeString(uint16(readNumber(t, cell)))
			case "rcode":
				r.Rcode = rcodeString(uint16(readNumber(t, cell)))
			case "answers":
				for _, v := range strings.Split(cell, header["set_separator"]) {
					r.Answers = append(r.Answers, zeekValue(t, v))
				}
			case "rejected", "qclass_name", "qtype_name", "rcode_name": // said otherwise too
			default:
				t.Fatalf("%s has a value: %q", fields[i], cell)
			}
		}
		records = append(records, r)
	}
	return records
}

// zeekMicro reads seconds with six digits behind the point.
func zeekMicro(t testing.TB, cell string) int64 {
	t.Helper()
	sec, frac, ok := strings.Cut(cell, ".")
	if !ok || len(frac) != 6 {
		t.Fatal(cell)
	}
	return int64(readNumber(t, sec+frac))
}

func zeekValue(t testing.TB, cell string) string {
	t.Helper()
	var b []byte
	for cell != "" {
		if hex, ok := strings.CutPrefix(cell, `\x`); ok && len(hex) >= 2 {
			v, err := strconv.ParseUint(hex[:2], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			b, cell = append(b, byte(v)), hex[2:]
			continue
		}
		b, cell = append(b, cell[0]), cell[1:]
	}
	return string(b)
}

// Names of types, classes and response codes are Zeek's own.
func TestZeekNames(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{zeekName(zeekTypes, "AAAA", "TYPE", "query-"), "AAAA"},
		{zeekName(zeekTypes, "ANY", "TYPE", "query-"), "*"},
		{zeekName(zeekTypes, "TYPE65280", "TYPE", "query-"), "query-65280"},
		{zeekName(zeekClasses, "IN", "CLASS", "qclass-"), "C_INTERNET"},
		{zeekName(zeekClasses, "CLASS4711", "CLASS", "qclass-"), "qclass-4711"},
		{zeekName(zeekRcodes, "NXRRSET", "RCODE", "rcode-"), "NXRRSet"},
		{zeekName(zeekRcodes, "RCODE24", "RCODE", "rcode-"), "rcode-24"},
	} {
		if c.got != c.want {
			t.Errorf("%s, want %s", c.got, c.want)
		}
	}
	for text, want := range map[string]string{"-": `\x2d`, "(empty)": `\x28empty)`, "a\\b": `a\x5cb`, "a\tb": `a\x09b`, "a,b": "a,b", "--": "--"} {
		if got := zeekText(text); got != want {
			t.Errorf("%q became %q", text, got)
		}
	}
	if got := zeekVector([]string{"a,b", "-", "c"}); got != `a\x2cb,\x2d,c` {
		t.Error(got)
	}
}
