package audit

import (
	"encoding/json"
	"math"
	"time"
)

// A JSONDecoder reads records that AppendJSON has written, several times as fast as
// encoding/json does. Whatever else a line is, it is to a JSONDecoder what it is to
// encoding/json.
type JSONDecoder struct {
	Reuse bool // a record is its caller's until the next call, and costs no memory

	room  *reusable
	texts [1 << 9][2]string // the last two of each hash, for most come again
}

// Decode reads one object.
func (d *JSONDecoder) Decode(line []byte) (*Record, error) {
	if d.room == nil || !d.Reuse {
		d.room = new(reusable)
	}
	in := jsonInput{rest: line, first: true, decoder: d}
	if in.record(d.room) {
		return &d.room.Record, nil
	}
	d.room.Record = Record{}
	return &d.room.Record, json.Unmarshal(line, &d.room.Record)
}

// known returns a text, which costs memory only if it did not come lately.
func (d *JSONDecoder) known(text []byte) string {
	h := uint32(2166136261) // FNV-1a; whoever makes texts collide makes them cost memory, as all do elsewhere
	for _, c := range text {
		h = (h ^ uint32(c)) * 16777619
	}
	places := &d.texts[h%uint32(len(d.texts))]
	switch string(text) {
	case places[0]:
	case places[1]:
		return places[1]
	default:
		*places = [2]string{string(text), places[0]}
	}
	return places[0]
}

// A jsonInput is what is left of a line. Its fields stand in the order of jsonText's, and
// each may be missing. strange says that something else was met.
type jsonInput struct {
	rest    []byte
	first   bool // what comes is the first of an object
	strange bool
	decoder *JSONDecoder
}

// record reads what jsonText.record writes. It is false for anything else, and then
// nothing is said of out.
func (in *jsonInput) record(out *reusable) bool {
	r := &out.Record
	*r = Record{}
	in.expect('{')
	r.Seq = in.count("seq", math.MaxUint64)
	r.Kind = in.text("kind")
	in.time("time", &r.Time)
	if text := in.text("client"); text != "" {
		var err error
		r.Client, err = ParseClient(text)
		in.strange = in.strange || err != nil
	}
	r.Group = in.text("group")
	r.Transport = in.text("transport")
	r.Name = in.text("name")
	r.Type = in.text("type")
	r.Class = in.text("class")
	r.Verdict = in.text("verdict")
	if in.object("observed") {
		out.observed = Reason{Group: in.text("group"), Policy: in.text("policy"), Rule: in.text("rule"), Category: in.text("category"), List: in.text("list")}
		r.Observed = &out.observed
		in.end()
	}
	r.Policy = in.text("policy")
	r.Rule = in.text("rule")
	r.Category = in.text("category")
	r.List = in.text("list")
	r.Entry = in.text("entry")
	r.MatchedOn = in.text("matched_on")
	r.Source = in.text("source")
	r.Rcode = in.text("rcode")
	if in.key("ede") {
		out.ede = int32(in.signed(math.MaxInt32))
		r.EDE = &out.ede
	}
	r.Dropped = in.flag("dropped")
	r.Stripped = in.flag("stripped")
	if in.key("answers") {
		out.answers = in.list(out.answers[:0])
		r.Answers = out.answers
	}
	r.Upstream = in.text("upstream")
	if in.key("duration_us") {
		r.Duration = in.signed(math.MaxInt64)
	}
	r.Revision = in.count("revision", math.MaxUint64)
	if in.object("packet") {
		in.packet(out)
		r.Packet = &out.packet
		in.end()
	}
	r.Action = in.text("action")
	r.Actor = in.text("actor")
	r.Text = in.text("text")
	r.Cause = in.text("cause")
	r.Lost = in.count("lost", math.MaxUint64)
	in.time("from", &r.From)
	in.time("to", &r.To)
	in.end()
	return !in.strange && len(in.rest) == 0
}

func (in *jsonInput) packet(out *reusable) {
	p := &out.packet
	*p = Packet{
		Port: uint16(in.count("port", math.MaxUint16)), ID: uint16(in.count("id", math.MaxUint16)),
		QuerySize: uint16(in.count("query_octets", math.MaxUint16)), AnswerSize: uint16(in.count("answer_octets", math.MaxUint16)),
		RD: in.flag("rd"), AD: in.flag("ad"), CD: in.flag("cd"), AA: in.flag("aa"), TC: in.flag("tc"),
	}
	if in.object("edns") {
		out.edns = EDNS{
			Version: uint8(in.count("version", math.MaxUint8)), UDPSize: uint16(in.count("udp_size", math.MaxUint16)),
			DO: in.flag("do"), Cookie: in.text("cookie"), ECS: in.flag("ecs"),
		}
		p.EDNS = &out.edns
		in.end()
	}
}

// next says whether c is what comes, and passes over it.
func (in *jsonInput) next(c byte) bool {
	if len(in.rest) == 0 || in.rest[0] != c {
		return false
	}
	in.rest = in.rest[1:]
	return true
}

func (in *jsonInput) expect(c byte) {
	if !in.next(c) {
		in.strange = true
	}
}

// key passes over the key of a field, if that is the one which comes.
func (in *jsonInput) key(name string) bool {
	b := in.rest
	if !in.first {
		if len(b) == 0 || b[0] != ',' {
			return false
		}
		b = b[1:]
	}
	if n := len(name); len(b) < n+3 || b[0] != '"' || string(b[1:n+1]) != name || b[n+1] != '"' || b[n+2] != ':' {
		return false
	}
	in.rest, in.first = b[len(name)+3:], false
	return true
}

// object begins a field's object, which end ends.
func (in *jsonInput) object(name string) bool {
	if !in.key(name) {
		return false
	}
	in.expect('{')
	in.first = true
	return true
}

func (in *jsonInput) end() {
	in.expect('}')
	in.first = false
}

// quoted returns a text with its quotes, in which all stands for itself.
func (in *jsonInput) quoted() []byte {
	if len(in.rest) > 0 && in.rest[0] == '"' {
		for i, c := range in.rest[1:] {
			if c == '"' {
				text := in.rest[:i+2]
				in.rest = in.rest[i+2:]
				return text
			}
			if c < ' ' || c == '\\' || c > '~' {
				break
			}
		}
	}
	in.strange = true
	return []byte(`""`)
}

func (in *jsonInput) item() string {
	text := in.quoted()
	return in.decoder.known(text[1 : len(text)-1])
}

func (in *jsonInput) text(name string) string {
	if !in.key(name) {
		return ""
	}
	return in.item()
}

func (in *jsonInput) time(name string, t *time.Time) {
	if in.key(name) {
		in.strange = t.UnmarshalJSON(in.quoted()) != nil || in.strange
	}
}

// list reads an array of texts, which has one at least.
func (in *jsonInput) list(all []string) []string {
	in.expect('[')
	for {
		all = append(all, in.item())
		if in.strange || !in.next(',') {
			in.expect(']')
			return all
		}
	}
}

// digits reads a number from 0 to most.
func (in *jsonInput) digits(most uint64) (n uint64) {
	i := 0
	for ; i < len(in.rest) && in.rest[i]-'0' <= 9; i++ {
		v := uint64(in.rest[i] - '0')
		if n > (most-v)/10 {
			in.strange = true
		}
		n = n*10 + v
	}
	if i == 0 || i > 1 && in.rest[0] == '0' {
		in.strange = true
	}
	in.rest = in.rest[i:]
	return n
}

func (in *jsonInput) count(name string, most uint64) uint64 {
	if !in.key(name) {
		return 0
	}
	return in.digits(most)
}

// signed reads a number from -most to most.
func (in *jsonInput) signed(most uint64) int64 {
	if in.next('-') {
		return -int64(in.digits(most))
	}
	return int64(in.digits(most))
}

// flag reads a field that is written only if it is true.
func (in *jsonInput) flag(name string) bool {
	if !in.key(name) {
		return false
	}
	const yes = "true"
	if len(in.rest) < len(yes) || string(in.rest[:len(yes)]) != yes {
		in.strange = true
		return false
	}
	in.rest = in.rest[len(yes):]
	return true
}
