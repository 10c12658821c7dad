package audit

import (
	"fmt"
	"math"
	"slices"
)

// What the encoders of JSON write, as structs for encoding/json. They are held to it.

// unplaced is a copy of a record that a schema's event carries along, without the fields
// that the schema has a place for.
type unplaced struct {
	Record
	Seq  *uint64 `json:"seq,omitempty"` // these stand for Record's own, which cannot be left out
	Kind *string `json:"kind,omitempty"`
	Time *string `json:"time,omitempty"`
}

// A cofLine is a cofRow as encoding/json writes and reads it.
type cofLine struct {
	Name  string `json:"rrname"`
	Type  string `json:"rrtype"`
	Data  string `json:"rdata"`
	First int64  `json:"time_first"`
	Last  int64  `json:"time_last"`
	Count uint64 `json:"count"`
}

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

func ecsOf(r *Record) any {
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
	return &v
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

// An ocsfEvent has the attributes of the class that a record can fill.
type ocsfEvent struct {
	CategoryUID int          `json:"category_uid"`
	ClassUID    int          `json:"class_uid"`
	ActivityID  int          `json:"activity_id"`
	TypeUID     int          `json:"type_uid"`
	SeverityID  int          `json:"severity_id"`
	Time        int64        `json:"time"` // this and all times are milliseconds since 1970
	Metadata    ocsfMetadata `json:"metadata"`

	Source     *ocsfEndpoint   `json:"src_endpoint,omitempty"`
	Server     ocsfEndpoint    `json:"dst_endpoint"`
	Connection *ocsfConnection `json:"connection_info,omitempty"`

	Query        *ocsfQuery   `json:"query,omitempty"`
	QueryTime    int64        `json:"query_time"`
	ResponseTime int64        `json:"response_time,omitempty"`
	RcodeID      *int         `json:"rcode_id,omitempty"`
	Rcode        string       `json:"rcode,omitempty"`
	Answers      []ocsfAnswer `json:"answers,omitempty"`

	ActionID      int         `json:"action_id,omitempty"`
	DispositionID int         `json:"disposition_id,omitempty"`
	Policy        *ocsfPolicy `json:"policy,omitempty"`
	Rule          *ocsfRule   `json:"firewall_rule,omitempty"`

	Unmapped unplaced `json:"unmapped"`
}

type ocsfMetadata struct {
	Version      string      `json:"version"`
	Product      ocsfProduct `json:"product"`
	Profiles     []string    `json:"profiles"`
	Sequence     uint64      `json:"sequence"`
	OriginalTime string      `json:"original_time"` // with its nanoseconds
}

type ocsfProduct struct {
	Name   string `json:"name"`
	Vendor string `json:"vendor_name"`
}

type ocsfEndpoint struct {
	IP      string `json:"ip,omitempty"`
	UID     string `json:"uid,omitempty"`
	Service string `json:"svc_name,omitempty"`
}

type ocsfConnection struct {
	Direction int    `json:"direction_id"`
	Protocol  string `json:"protocol_name"`
	Number    int    `json:"protocol_num"`
}

type ocsfQuery struct {
	Hostname string `json:"hostname"`
	Type     string `json:"type,omitempty"`
	Class    string `json:"class,omitempty"`
}

type ocsfAnswer struct {
	Rdata string `json:"rdata"`
}

type ocsfPolicy struct {
	Name string `json:"name"`
}

type ocsfRule struct {
	Name      string `json:"name"`
	Category  string `json:"category,omitempty"`
	Condition string `json:"condition,omitempty"`
}

func ocsfOf(r *Record) any {
	if r.Kind != KindQuery.String() {
		return nil
	}
	at := r.Time.UnixMilli()
	e := ocsfEvent{
		CategoryUID: ocsfNetworkActivity, ClassUID: ocsfDNSActivity, ActivityID: ocsfTraffic, SeverityID: ocsfInformational,
		Time: at, QueryTime: at, Unmapped: unplaced{Record: *r},
		Metadata: ocsfMetadata{
			Version: ocsfVersion, Product: ocsfProduct{"Weir", "Weir"}, Profiles: []string{"security_control"},
			Sequence: r.Seq, OriginalTime: clock(r.Time),
		},
		Server: ocsfEndpoint{Service: "weir"},
	}
	rest := &e.Unmapped
	if a, ok := r.Client.Addr(); ok {
		e.Source, rest.Client = &ocsfEndpoint{IP: a.String()}, Client{}
	} else if r.Client.IsPseudonym() {
		e.Source, rest.Client = &ocsfEndpoint{UID: r.Client.String()}, Client{}
	} // a network is no endpoint, and stays unmapped
	if n := int(ocsfProtocols[r.Transport]); n != 0 {
		e.Connection, rest.Transport = &ocsfConnection{ocsfInbound, r.Transport, n}, ""
	}
	if r.Name != "" {
		e.Query, rest.Name, rest.Type, rest.Class = &ocsfQuery{r.Name, r.Type, r.Class}, "", "", ""
	}
	if r.Dropped {
		e.ActivityID, rest.Dropped = ocsfQueryOnly, false
	} else {
		e.ResponseTime = r.answered().UnixMilli()
	}
	e.TypeUID = 100*e.ClassUID + e.ActivityID
	e.rcode(r)
	if sent := r.sent(); sent != nil {
		for _, a := range sent {
			e.Answers = append(e.Answers, ocsfAnswer{a})
		}
		rest.Answers = nil
	}
	switch r.Verdict {
	case "allow":
		e.ActionID, e.DispositionID, rest.Verdict = ocsfAllowed, ocsfAllowed, ""
	case "block":
		e.ActionID, e.DispositionID, rest.Verdict = ocsfDenied, ocsfBlocked, ""
	}
	if r.Dropped {
		e.DispositionID = ocsfDropped
	}
	if r.Policy != "" {
		e.Policy, rest.Policy = &ocsfPolicy{r.Policy}, ""
	}
	if r.Rule != "" { // a rule without a name is none to the schema
		e.Rule, rest.Rule, rest.Category, rest.Entry = &ocsfRule{r.Rule, r.Category, r.Entry}, "", "", ""
	}
	return &e
}

// rcode fills in the response code. A number that the schema has no name for
// stays in unmapped too.
func (e *ocsfEvent) rcode(r *Record) {
	n, ok := numberOf(rcodeNumbers, r.Rcode, "RCODE")
	if !ok {
		return
	}
	id := ocsfUnassigned
	switch {
	case int(n) < len(ocsfRcodes) && ocsfRcodes[n] != "":
		id, e.Rcode, e.Unmapped.Rcode = int(n), ocsfRcodes[n], ""
	case n >= 3841 && n <= 4095 || n == 65535:
		id, e.Rcode = ocsfReserved, "Reserved"
	default:
		e.Rcode = "Unassigned"
	}
	e.RcodeID = &id
}
