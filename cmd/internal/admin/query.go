package admin

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/audit"
)

// encodeQuery writes q as URL values and decodeQuery reads them; zero fields
// are left out.
func encodeQuery(q audit.Query) url.Values {
	v := url.Values{}
	set := func(key, s string, on bool) {
		if on {
			v.Set(key, s)
		}
	}
	set("client", q.Client.String(), q.Client.IsValid())
	set("name", string(q.Name), len(q.Name) > 0)
	set("exact", "true", q.ExactName)
	set("glob", q.Glob, q.Glob != "")
	set("verdict", q.Verdict, q.Verdict != "")
	set("group", q.Group, q.Group != "")
	set("category", q.Category, q.Category != "")
	set("policy", q.Policy, q.Policy != "")
	set("rule", q.Rule, q.Rule != "")
	set("list", q.List, q.List != "")
	set("answer", q.Answer.String(), q.Answer.IsValid())
	set("alias", string(q.Alias), len(q.Alias) > 0)
	set("rcode", q.Rcode, q.Rcode != "")
	set("source", q.Source, q.Source != "")
	set("transport", q.Transport, q.Transport != "")
	set("upstream", q.Upstream, q.Upstream != "")
	set("type", strconv.Itoa(int(q.Type)), q.Type != 0)
	set("observed", "true", q.Observed)
	set("kind", strconv.Itoa(int(q.Kind)), q.Kind != 0)
	set("since", q.Since.Format(time.RFC3339Nano), !q.Since.IsZero())
	set("until", q.Until.Format(time.RFC3339Nano), !q.Until.IsZero())
	set("seq_from", strconv.FormatUint(q.SeqFrom, 10), q.SeqFrom != 0)
	set("seq_to", strconv.FormatUint(q.SeqTo, 10), q.SeqTo != 0)
	set("limit", strconv.Itoa(q.Limit), q.Limit != 0)
	set("oldest", "true", q.Oldest)
	return v
}

// queryText says for people what q asks for, and client who is meant.
func queryText(q audit.Query, client string) string {
	v := encodeQuery(q)
	if q.Client.IsValid() {
		v.Set("client", client)
	}
	if len(q.Name) > 0 {
		v.Set("name", audit.NameString(q.Name))
	}
	if q.Kind != 0 {
		v.Set("kind", q.Kind.String())
	}
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(v)) {
		parts = append(parts, key+"="+strconv.Quote(v.Get(key)))
	}
	if parts == nil {
		return "everything"
	}
	return strings.Join(parts, " ")
}

// encodeQuestion writes q as URL values and decodeQuestion reads them.
func encodeQuestion(q Question) url.Values {
	v := url.Values{"name": {q.Name}, "type": {q.Type}, "client": {q.Client}, "mac": {q.MAC}}
	if !q.At.IsZero() {
		v.Set("at", q.At.Format(time.RFC3339Nano))
	}
	if q.Seq != 0 {
		v.Set("seq", strconv.FormatUint(q.Seq, 10))
	}
	return v
}

func decodeQuestion(v url.Values) (q Question, err error) {
	q = Question{Name: v.Get("name"), Type: v.Get("type"), Client: v.Get("client"), MAC: v.Get("mac")}
	if s := v.Get("at"); s != "" {
		if q.At, err = time.Parse(time.RFC3339Nano, s); err != nil {
			return q, fmt.Errorf("at=%q: %w", s, err)
		}
	}
	if s := v.Get("seq"); s != "" {
		if q.Seq, err = strconv.ParseUint(s, 10, 64); err != nil {
			return q, fmt.Errorf("seq=%q: %w", s, err)
		}
	}
	return q, nil
}

func decodeQuery(v url.Values) (q audit.Query, err error) {
	for key := range v {
		s := v.Get(key)
		var n uint64
		switch key {
		case "client":
			q.Client, err = netip.ParsePrefix(s)
		case "name":
			q.Name = []byte(s)
		case "exact":
			q.ExactName, err = strconv.ParseBool(s)
		case "glob":
			q.Glob = s
		case "verdict":
			q.Verdict = s
		case "rule":
			q.Rule = s
		case "list":
			q.List = s
		case "answer":
			q.Answer, err = netip.ParsePrefix(s)
		case "alias":
			q.Alias = []byte(s)
		case "rcode":
			q.Rcode = s
		case "source":
			q.Source = s
		case "transport":
			q.Transport = s
		case "upstream":
			q.Upstream = s
		case "group":
			q.Group = s
		case "category":
			q.Category = s
		case "policy":
			q.Policy = s
		case "type":
			n, err = strconv.ParseUint(s, 10, 16)
			q.Type = uint16(n)
		case "observed":
			q.Observed, err = strconv.ParseBool(s)
		case "kind":
			n, err = strconv.ParseUint(s, 10, 8)
			q.Kind = audit.Kind(n)
		case "since":
			q.Since, err = time.Parse(time.RFC3339Nano, s)
		case "until":
			q.Until, err = time.Parse(time.RFC3339Nano, s)
		case "seq_from":
			q.SeqFrom, err = strconv.ParseUint(s, 10, 64)
		case "seq_to":
			q.SeqTo, err = strconv.ParseUint(s, 10, 64)
		case "limit":
			q.Limit, err = strconv.Atoi(s)
		case "oldest":
			q.Oldest, err = strconv.ParseBool(s)
		case "from", "lag", "by", "slots", "clients": // of one question, read by its handler
		case "verb": // what it is done for
			if len(s) > 16 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") != "" {
				err = fmt.Errorf("not a verb")
			}
		default:
			err = fmt.Errorf("not a condition")
		}
		if err != nil {
			return q, fmt.Errorf("%s=%q: %w", key, s, err)
		}
	}
	return q, nil
}
