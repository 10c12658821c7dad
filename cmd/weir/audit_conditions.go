package main

import (
	"fmt"
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
	since, until, seq                                           string
	observed                                                    bool
}

// flags gives cmd the conditions that every verb has which reads records.
func (c *conditions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.client, "client", "", "`ADDRESS` or network of the client")
	f.StringVar(&c.group, "group", "", "`GROUP` of the client")
	f.StringVar(&c.name, "name", "", "`NAME` asked for, and all below it; =NAME for itself only")
	f.StringVar(&c.verdict, "verdict", "", "allow or block")
	f.StringVar(&c.category, "category", "", "`CATEGORY` that decided")
	f.StringVar(&c.policy, "policy", "", "`POLICY` that decided")
	f.StringVar(&c.qtype, "type", "", "`TYPE` asked for")
	f.StringVar(&c.since, "since", "", "`TIME`: a span back from now like 90m or 7d, a date, or RFC 3339")
	f.StringVar(&c.until, "until", "", "`TIME`, written like --since; records before it")
	f.BoolVar(&c.observed, "observed", false, "only what enforcing would have blocked")
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
		if q.Client, err = parseNetwork(c.client); err != nil {
			return q, usage("--client %q is neither an address nor a network", c.client)
		}
	}
	if c.name != "" {
		name, exact := strings.CutPrefix(c.name, "=")
		if q.Name, err = blocklistName(name); err != nil {
			return q, usage("--name: %w", err)
		}
		q.ExactName = exact
	}
	switch c.verdict {
	case "", "allow", "block":
		q.Verdict = c.verdict
	default:
		return q, usage("--verdict %q: write allow or block", c.verdict)
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
	return q, nil
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
