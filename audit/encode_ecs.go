package audit

import (
	"math"
	"slices"
	"strconv"
)

// ecsVersion is the version of the Elastic Common Schema whose fields are written.
const ecsVersion = "9.2.0"

// ecsVerdicts are the values of event.type that tell of a verdict.
var ecsVerdicts = map[string]string{"allow": "allowed", "block": "denied"}

// ecs appends the fields of the schema that a record can fill, and under "weir" the rest.
func (j *jsonText) ecs(r *Record) bool {
	rest := *r
	*j = append(*j, '{')
	j.time("@timestamp", r.Time)
	j.fields(`"ecs":{"version":"` + ecsVersion + `"}`)
	query := false
	j.object("event")
	switch r.Kind {
	case KindChange.String():
		j.fields(`"kind":"event","category":["configuration"],"type":["change"]`)
	case KindGap.String():
		j.fields(`"kind":"pipeline_error","category":["network"],"type":["error"]`)
	default:
		query = true
		j.fields(`"kind":"event","category":["network"],"type":["protocol"`)
		if t := ecsVerdicts[r.Verdict]; t != "" {
			j.item(t)
			rest.Verdict = ""
		}
		*j = append(*j, ']')
	}
	j.fields(`"module":"weir","dataset":"weir.audit"`)
	j.count("sequence", r.Seq)
	if query && r.Duration <= math.MaxInt64/1000 {
		j.someNumber("duration", 1000*r.Duration) // nanoseconds
		rest.Duration = 0
	}
	j.end()
	j.fields(`"observer":{"vendor":"Weir","product":"Weir"}`)
	switch r.Kind {
	case KindChange.String():
		j.someText("message", r.Text)
		rest.Text = ""
	case KindGap.String():
		j.fields(`"error":{"message":"`)
		*j = strconv.AppendUint(*j, r.Lost, 10)
		*j = append(*j, ` events could not be recorded"}`...)
	default:
		j.ecsClient(r, &rest)
		j.ecsDNS(r, &rest)
		if r.Policy != "" || r.Rule != "" || r.Category != "" {
			j.object("rule")
			j.someText("name", r.Rule)
			j.someText("ruleset", r.Policy)
			j.someText("category", r.Category)
			j.end()
			rest.Rule, rest.Policy, rest.Category = "", "", ""
		}
		j.ecsRelated(r)
	}
	j.object("weir")
	j.facts(&rest)
	j.end()
	j.end()
	return true
}

func (j *jsonText) ecsClient(r, rest *Record) {
	if r.Client.IsValid() { // what is no address may stand in source.address, which is a keyword, alone
		j.object("source")
		j.client("address", r.Client)
		if _, ok := r.Client.Addr(); ok {
			j.client("ip", r.Client)
		}
		j.end()
		rest.Client = Client{}
	}
	j.object("network")
	j.text("protocol", "dns")
	if r.Transport == "udp" || r.Transport == "tcp" {
		j.text("transport", r.Transport)
		rest.Transport = ""
	}
	switch r.Client.family() {
	case 4:
		j.text("type", "ipv4")
	case 6:
		j.text("type", "ipv6")
	}
	j.end()
}

func (j *jsonText) ecsDNS(r, rest *Record) {
	j.object("dns")
	if r.Dropped {
		j.text("type", "query") // no answer was sent
	} else {
		j.text("type", "answer")
	}
	rest.Dropped = false
	if r.Name != "" {
		j.object("question")
		j.text("name", r.Name)
		j.someText("type", r.Type)
		j.someText("class", r.Class)
		j.end()
		rest.Name, rest.Type, rest.Class = "", "", ""
	}
	j.someText("response_code", r.Rcode)
	rest.Rcode = ""
	if sent := r.sent(); sent != nil {
		from := j.list("answers")
		for _, a := range sent {
			j.fields(`{"data":`)
			*j = append(appendQuoted(*j, a), '}')
		}
		j.endList(from)
		from = j.list("resolved_ip")
		for _, a := range sent {
			if isAddress(a) {
				j.item(a)
			}
		}
		j.endList(from)
		rest.Answers = nil
	}
	j.end()
}

// ecsRelated appends all addresses and names of r, each once.
func (j *jsonText) ecsRelated(r *Record) {
	j.object("related")
	var room [64]byte
	client := room[:0]
	from := j.list("ip")
	if _, ok := r.Client.Addr(); ok {
		client = r.Client.appendTo(client)
		*j = appendQuoted(*j, client)
	}
	for i, a := range r.Answers {
		if isAddress(a) && a != string(client) && !slices.Contains(r.Answers[:i], a) {
			j.item(a)
		}
	}
	j.endList(from)
	from = j.list("hosts")
	if r.Name != "" {
		j.item(r.Name)
	}
	for i, a := range r.Answers {
		if !isAddress(a) && (a != r.Name || a == "") && !slices.Contains(r.Answers[:i], a) {
			j.item(a)
		}
	}
	j.endList(from)
	j.end()
}
