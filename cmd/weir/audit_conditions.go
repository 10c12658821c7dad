package main

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/audit"
)

// conditions are the flags that choose records.
type conditions struct {
	client, name, verdict, category, policy, group, qtype, kind string
	rule, list, rcode, answer, alias, source, upstream, carrier string
	since, until, seq                                           string
	after, before                                               uint64
	observed                                                    bool
}

// flags gives cmd the conditions that every verb has which reads records.
func (c *conditions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.client, "client", "", "`ADDRESS` or network of the client, or its pseudonym")
	f.StringVar(&c.group, "group", "", "`GROUP` of the client")
	c.nameFlag(cmd)
	f.StringVar(&c.verdict, "verdict", "", "allow or block")
	f.StringVar(&c.policy, "policy", "", "`POLICY` that decided")
	f.StringVar(&c.rule, "rule", "", "`RULE` that decided: its number in the policy, or default")
	f.StringVar(&c.category, "category", "", "`CATEGORY` that decided")
	f.StringVar(&c.list, "list", "", "`LIST` that decided")
	f.StringVar(&c.qtype, "type", "", "`TYPE` asked for")
	f.StringVar(&c.rcode, "rcode", "", "`RCODE` of the answer, like NXDOMAIN")
	f.StringVar(&c.answer, "answer", "", "`ADDRESS` or network that an address in the answer is in")
	f.StringVar(&c.alias, "alias", "", "`NAME` that an alias in the answer is, or is below")
	f.StringVar(&c.source, "source", "", "`SOURCE` of the answer: sinkhole, local, cache, stale, upstream, error or refused")
	f.StringVar(&c.upstream, "upstream", "", "`SERVER` that was asked, as a record has it")
	f.StringVar(&c.carrier, "transport", "", "`TRANSPORT` of the query: udp or tcp")
	f.StringVar(&c.since, "since", "", "`TIME`: a span back from now like 90m or 7d, a date, or RFC 3339")
	f.StringVar(&c.until, "until", "", "`TIME`, written like --since; records before it")
	f.BoolVar(&c.observed, "observed", false, "only what enforcing would have blocked")
}

func (c *conditions) nameFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.name, "name", "", "`NAME` asked for, and all below it; =NAME for itself only; a pattern\nif it has * or ?: a label * is one label or more")
}

// pageFlags gives cmd what leads from one page of records to the next. Numbers of
// records do not change, so neither do pages while records come in.
func (c *conditions) pageFlags(cmd *cobra.Command) {
	cmd.Flags().Uint64Var(&c.after, "after", 0, "only records above this `SEQ`")
	cmd.Flags().Uint64Var(&c.before, "before", 0, "only records below this `SEQ`")
}

func (c *conditions) kindFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.kind, "kind", "", "query, change or gap")
}

func (c *conditions) seqFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.seq, "seq", "", "record `N`, or records N-M, by sequence number")
}

// query turns the flags into a query; an error is one of usage.
func (c *conditions) query(now time.Time) (q audit.Query, err error) {
	usage := func(format string, args ...any) error { return &exitError{exitUsage, fmt.Errorf(format, args...)} }
	if c.client != "" {
		if q.Client, err = parseClients(c.client); err != nil {
			return q, usage("--client %q is no address, network or pseudonym", c.client)
		}
		q.Reveal = true // of a stopped store; a server decides for itself
	}
	if c.answer != "" {
		if q.Answer, err = parseNetwork(c.answer); err != nil {
			return q, usage("--answer %q is neither an address nor a network", c.answer)
		}
	}
	if isPattern(c.name) {
		q.Glob = c.name
	} else if c.name != "" {
		name, exact := strings.CutPrefix(c.name, "=")
		if q.Name, err = blocklistName(name); err != nil {
			return q, usage("--name: %w", err)
		}
		q.ExactName = exact
	}
	if c.alias != "" {
		if q.Alias, err = blocklistName(c.alias); err != nil {
			return q, usage("--alias: %w", err)
		}
	}
	q.Verdict, q.Rule, q.List, q.Rcode = c.verdict, c.rule, c.list, c.rcode
	q.Source, q.Upstream, q.Transport = c.source, c.upstream, c.carrier
	if err := q.Check(); err != nil {
		return q, usage("--%w", err)
	}
	q.Category, q.Policy, q.Group, q.Observed = c.category, c.policy, c.group, c.observed
	if c.qtype != "" {
		if q.Type, err = parseType(c.qtype); err != nil {
			return q, usage("--type: %w", err)
		}
	}
	switch c.kind {
	case "":
	case "query":
		q.Kind = audit.KindQuery
	case "change":
		q.Kind = audit.KindChange
	case "gap":
		q.Kind = audit.KindGap
	default:
		return q, usage("--kind %q: write query, change or gap", c.kind)
	}
	if c.seq != "" {
		if q.SeqFrom, q.SeqTo, err = parseSeq(c.seq); err != nil {
			return q, usage("--seq: %w", err)
		}
	}
	if c.after > 0 {
		if c.after == math.MaxUint64 {
			return q, usage("--after: no record is above %d", c.after)
		}
		q.SeqFrom = max(q.SeqFrom, c.after+1)
	}
	if c.before > 0 {
		if q.SeqTo == 0 || c.before-1 < q.SeqTo {
			q.SeqTo = c.before - 1
		}
		if q.SeqTo == 0 { // which would be no limit
			return q, usage("--before: records begin at 1")
		}
	}
	for _, t := range []struct {
		flag, text string
		into       *time.Time
	}{{"since", c.since, &q.Since}, {"until", c.until, &q.Until}} {
		if t.text == "" {
			continue
		}
		if *t.into, err = parseTime(t.text, now); err != nil {
			return q, usage("--%s: %w", t.flag, err)
		}
	}
	if !q.Since.IsZero() && !q.Until.IsZero() && !q.Since.Before(q.Until) {
		return q, usage("--since is not before --until")
	}
	return q, nil
}

// text says which conditions are set, but for the time: "only client 10.0.0.1, verdict block".
func (c *conditions) text() string {
	var parts []string
	for _, f := range [...]struct{ name, value string }{
		{"client", c.client},
		{"group", c.group},
		{"name", c.name},
		{"verdict", c.verdict},
		{"policy", c.policy},
		{"rule", c.rule},
		{"category", c.category},
		{"list", c.list},
		{"type", c.qtype},
		{"rcode", c.rcode},
		{"answer", c.answer},
		{"alias", c.alias},
		{"source", c.source},
		{"upstream", c.upstream},
		{"transport", c.carrier},
	} {
		if f.value != "" {
			parts = append(parts, f.name+" "+f.value)
		}
	}
	if c.observed {
		parts = append(parts, "observed")
	}
	if len(parts) == 0 {
		return ""
	}
	return "only " + shown(strings.Join(parts, ", "))
}

// isPattern says that a name has "*" or "?" in it, with no backslash before.
func isPattern(name string) bool {
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '\\':
			i++
		case '*', '?':
			return true
		}
	}
	return false
}

func parseNetwork(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// parseTime reads a span back from now ("90m", "7d"), a date or a time.
func parseTime(text string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 20); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: write a span back from now (90m, 7d), a date (2006-01-02), or RFC 3339", text)
}

// parseSeq reads a sequence number ("17") or a range of them ("17-20"); they begin at 1.
func parseSeq(text string) (from, to uint64, err error) {
	first, last, ranged := strings.Cut(text, "-")
	if from, err = strconv.ParseUint(first, 10, 64); err == nil {
		if to = from; ranged {
			to, err = strconv.ParseUint(last, 10, 64)
		}
	}
	switch {
	case err != nil || from == 0:
		return 0, 0, fmt.Errorf("%q is no sequence number: write one like 17, or the first and the last like 17-20", text)
	case to < from:
		return 0, 0, fmt.Errorf("%q ends before it begins", text)
	}
	return from, to, nil
}
