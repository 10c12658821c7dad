package audit

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
)

// ecsVersion is the version of the Elastic Common Schema whose fields are written.
const ecsVersion = "9.2.0"

// An ecsEvent has the fields of the schema that a record can fill, and under
// "weir" the rest.
type ecsEvent struct {
	Timestamp string      `json:"@timestamp"`
	ECS       ecsSchema   `json:"ecs"`
	Event     ecsMeta     `json:"event"`
	Observer  ecsObserver `json:"observer"`
	Message   string      `json:"message,omitempty"`
	Error     *ecsError   `json:"error,omitempty"`

	Source  *ecsAddress `json:"source,omitempty"`
	Network *ecsNetwork `json:"network,omitempty"`
	DNS     *ecsDNS     `json:"dns,omitempty"`
	Rule    *ecsRule    `json:"rule,omitempty"`
	Related *ecsRelated `json:"related,omitempty"`

	Weir unplaced `json:"weir"`
}

type ecsSchema struct {
	Version string `json:"version"`
}

type ecsMeta struct {
	Kind     string   `json:"kind"`
	Category []string `json:"category"`
	Type     []string `json:"type"`
	Module   string   `json:"module"`
	Dataset  string   `json:"dataset"`
	Sequence uint64   `json:"sequence"`
	Duration int64    `json:"duration,omitempty"` // nanoseconds
}

type ecsObserver struct {
	Vendor  string `json:"vendor"`
	Product string `json:"product"`
}

type ecsError struct {
	Message string `json:"message"`
}

type ecsAddress struct {
	Address string `json:"address"`
	IP      string `json:"ip,omitempty"`
}

type ecsNetwork struct {
	Protocol  string `json:"protocol"`
	Transport string `json:"transport,omitempty"`
	Type      string `json:"type,omitempty"`
}

type ecsDNS struct {
	Type         string       `json:"type"` // query: no answer was sent
	Question     *ecsQuestion `json:"question,omitempty"`
	ResponseCode string       `json:"response_code,omitempty"`
	Answers      []ecsAnswer  `json:"answers,omitempty"`
	ResolvedIP   []string     `json:"resolved_ip,omitempty"`
}

type ecsQuestion struct {
	Name  string `json:"name"`
	Type  string `json:"type,omitempty"`
	Class string `json:"class,omitempty"`
}

type ecsAnswer struct {
	Data string `json:"data"`
}

type ecsRule struct {
	Name     string `json:"name,omitempty"`
	Ruleset  string `json:"ruleset,omitempty"`
	Category string `json:"category,omitempty"`
}

type ecsRelated struct {
	IP    []string `json:"ip,omitempty"`
	Hosts []string `json:"hosts,omitempty"`
}

// ecsVerdicts are the values of event.type that tell of a verdict.
var ecsVerdicts = map[string]string{"allow": "allowed", "block": "denied"}

type ecs struct{ e *json.Encoder }

func newECS(w io.Writer) Encoder { return ecs{json.NewEncoder(w)} }

func (e ecs) Close() error { return nil }

func (e ecs) Write(r *Record) error {
	v := ecsEvent{
		Timestamp: clock(r.Time), ECS: ecsSchema{ecsVersion}, Observer: ecsObserver{"Weir", "Weir"},
		Event: ecsMeta{Kind: "event", Module: "weir", Dataset: "weir.audit", Sequence: r.Seq},
		Weir:  unplaced{Record: *r},
	}
	switch r.Kind {
	case KindChange.String():
		v.Event.Category, v.Event.Type = []string{"configuration"}, []string{"change"}
		v.Message, v.Weir.Text = r.Text, ""
	case KindGap.String():
		v.Event.Kind, v.Event.Category, v.Event.Type = "pipeline_error", []string{"network"}, []string{"error"}
		v.Error = &ecsError{fmt.Sprintf("%d events could not be recorded", r.Lost)}
	default:
		v.query(r)
	}
	return e.e.Encode(&v)
}

func (v *ecsEvent) query(r *Record) {
	rest := &v.Weir
	v.Event.Category, v.Event.Type = []string{"network"}, []string{"protocol"}
	if t := ecsVerdicts[r.Verdict]; t != "" {
		v.Event.Type, rest.Verdict = append(v.Event.Type, t), ""
	}
	if r.Duration <= math.MaxInt64/1000 {
		v.Event.Duration, rest.Duration = 1000*r.Duration, 0
	}

	v.Network, v.Related = &ecsNetwork{Protocol: "dns"}, &ecsRelated{}
	if r.Transport == "udp" || r.Transport == "tcp" {
		v.Network.Transport, rest.Transport = r.Transport, ""
	}
	if r.Client.IsValid() { // what is no address may stand in source.address, which is a keyword, alone
		v.Source, rest.Client = &ecsAddress{Address: r.Client.String()}, Client{}
		if f := r.Client.family(); f != 0 {
			v.Network.Type = fmt.Sprintf("ipv%d", f)
		}
	}
	if a, ok := r.Client.Addr(); ok {
		v.Source.IP = a.String()
		v.Related.IP = append(v.Related.IP, v.Source.IP)
	}

	v.DNS = &ecsDNS{Type: "answer", ResponseCode: r.Rcode}
	rest.Rcode = ""
	if r.Dropped {
		v.DNS.Type, rest.Dropped = "query", false
	}
	if r.Name != "" {
		v.DNS.Question, rest.Name, rest.Type, rest.Class = &ecsQuestion{r.Name, r.Type, r.Class}, "", "", ""
		v.Related.Hosts = append(v.Related.Hosts, r.Name)
	}
	for _, a := range r.Answers {
		if isAddress(a) {
			v.Related.IP = appendNew(v.Related.IP, a)
		} else {
			v.Related.Hosts = appendNew(v.Related.Hosts, a)
		}
	}
	if sent := r.sent(); sent != nil {
		for _, a := range sent {
			v.DNS.Answers = append(v.DNS.Answers, ecsAnswer{a})
			if isAddress(a) {
				v.DNS.ResolvedIP = append(v.DNS.ResolvedIP, a)
			}
		}
		rest.Answers = nil
	}

	if r.Policy != "" || r.Rule != "" || r.Category != "" {
		v.Rule = &ecsRule{r.Rule, r.Policy, r.Category}
		rest.Rule, rest.Policy, rest.Category = "", "", ""
	}
}

// appendNew appends s unless it is in all.
func appendNew(all []string, s string) []string {
	if slices.Contains(all, s) {
		return all
	}
	return append(all, s)
}
