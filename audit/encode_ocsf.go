package audit

// ocsfVersion is the version of the Open Cybersecurity Schema Framework
// (schema.ocsf.io) whose class DNS Activity [4003] is written, with the profile
// "security_control".
const ocsfVersion = "1.9.0"

// Numbers of the schema.
const (
	ocsfNetworkActivity = 4
	ocsfDNSActivity     = 4003
	ocsfQueryOnly       = 1 // activity_id
	ocsfTraffic         = 6 // activity_id: a query and its response
	ocsfInformational   = 1 // severity_id
	ocsfInbound         = 1 // direction_id
	ocsfAllowed         = 1 // action_id and disposition_id
	ocsfDenied          = 2 // action_id
	ocsfBlocked         = 2 // disposition_id
	ocsfDropped         = 6 // disposition_id
	ocsfUnassigned      = 24
	ocsfReserved        = 25
)

// ocsfProtocols are the transports that the schema has a number for: that of IP.
var ocsfProtocols = map[string]int64{"tcp": 6, "udp": 17}

// ocsfRcodes are the captions of rcode_id, from 0 on; "" is unassigned.
var ocsfRcodes = [...]string{
	"NoError", "FormError", "ServError", "NXDomain", "NotImp", "Refused", "YXDomain", "YXRRSet", "NXRRSet", "NotAuth",
	"NotZone", "DSOTYPENI", "", "", "", "", "BADVERS", "BADKEY", "BADTIME", "BADMODE", "BADNAME", "BADALG", "BADTRUNC", "BADCOOKIE",
}

// ocsf appends a query. What the class has no attribute for is in unmapped, under its
// name in Record. All times are milliseconds since 1970.
func (j *jsonText) ocsf(r *Record) bool {
	if r.Kind != KindQuery.String() {
		return false
	}
	rest := *r
	rest.Dropped = false
	*j = append(*j, '{')
	j.number("category_uid", ocsfNetworkActivity)
	j.number("class_uid", ocsfDNSActivity)
	activity := int64(ocsfTraffic)
	if r.Dropped {
		activity = ocsfQueryOnly
	}
	j.number("activity_id", activity)
	j.number("type_uid", 100*ocsfDNSActivity+activity)
	j.number("severity_id", ocsfInformational)
	at := r.Time.UnixMilli()
	j.number("time", at)
	j.object("metadata")
	j.fields(`"version":"` + ocsfVersion + `","product":{"name":"Weir","vendor_name":"Weir"},"profiles":["security_control"]`)
	j.count("sequence", r.Seq)
	j.time("original_time", r.Time) // with its nanoseconds
	j.end()
	j.ocsfEndpoints(r, &rest)
	if r.Name != "" {
		j.object("query")
		j.text("hostname", r.Name)
		j.someText("type", r.Type)
		j.someText("class", r.Class)
		j.end()
		rest.Name, rest.Type, rest.Class = "", "", ""
	}
	j.number("query_time", at)
	if !r.Dropped {
		j.someNumber("response_time", r.answered().UnixMilli())
	}
	j.ocsfRcode(r, &rest)
	if sent := r.sent(); sent != nil {
		from := j.list("answers")
		for _, a := range sent {
			j.fields(`{"rdata":`)
			*j = append(appendQuoted(*j, a), '}')
		}
		j.endList(from)
		rest.Answers = nil
	}
	j.ocsfDecision(r, &rest)
	j.object("unmapped")
	j.facts(&rest)
	j.end()
	j.end()
	return true
}

func (j *jsonText) ocsfEndpoints(r, rest *Record) {
	key := ""
	if _, ok := r.Client.Addr(); ok {
		key = "ip"
	} else if r.Client.IsPseudonym() {
		key = "uid"
	} // a network is no endpoint, and stays unmapped
	if key != "" {
		j.object("src_endpoint")
		j.client(key, r.Client)
		j.end()
		rest.Client = Client{}
	}
	j.fields(`"dst_endpoint":{"svc_name":"weir"}`)
	if n := ocsfProtocols[r.Transport]; n != 0 {
		j.object("connection_info")
		j.number("direction_id", ocsfInbound)
		j.text("protocol_name", r.Transport)
		j.number("protocol_num", n)
		j.end()
		rest.Transport = ""
	}
}

// ocsfRcode appends the response code. A number that the schema has no name for stays in
// unmapped too.
func (j *jsonText) ocsfRcode(r, rest *Record) {
	n, ok := numberOf(rcodeNumbers, r.Rcode, "RCODE")
	if !ok {
		return
	}
	id, caption := int64(ocsfUnassigned), "Unassigned"
	switch {
	case int(n) < len(ocsfRcodes) && ocsfRcodes[n] != "":
		id, caption, rest.Rcode = int64(n), ocsfRcodes[n], ""
	case n >= 3841 && n <= 4095 || n == 65535:
		id, caption = ocsfReserved, "Reserved"
	}
	j.number("rcode_id", id)
	j.text("rcode", caption)
}

func (j *jsonText) ocsfDecision(r, rest *Record) {
	var action, disposition int64
	switch r.Verdict {
	case "allow":
		action, disposition, rest.Verdict = ocsfAllowed, ocsfAllowed, ""
	case "block":
		action, disposition, rest.Verdict = ocsfDenied, ocsfBlocked, ""
	}
	if r.Dropped {
		disposition = ocsfDropped
	}
	j.someNumber("action_id", action)
	j.someNumber("disposition_id", disposition)
	if r.Policy != "" {
		j.object("policy")
		j.text("name", r.Policy)
		j.end()
		rest.Policy = ""
	}
	if r.Rule != "" { // a rule without a name is none to the schema
		j.object("firewall_rule")
		j.text("name", r.Rule)
		j.someText("category", r.Category)
		j.someText("condition", r.Entry)
		j.end()
		rest.Rule, rest.Category, rest.Entry = "", "", ""
	}
}
