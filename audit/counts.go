package audit

import "sync/atomic"

// A SourceCount says how many queries had one verdict, and an answer from one
// source.
type SourceCount struct {
	Source  string `json:"source"`
	Blocked bool   `json:"blocked"`
	Queries uint64 `json:"queries"`
}

// counts are of queries, by verdict and source. The sealer alone adds to them, so
// they cost the query path nothing.
type counts [2][len(sources)]atomic.Uint64

// A count is what is to be added to counts.
type count [2][len(sources)]uint64

// add counts the first event in b, a query.
func (c *count) add(b []byte) {
	if source := b[22]; int(source) < len(sources) {
		c[b[93]&flagBlocked][source]++
	}
}

func (c *counts) add(n *count) {
	for verdict := range n {
		for source, n := range n[verdict] {
			if n > 0 {
				c[verdict][source].Add(n)
			}
		}
	}
}

// Sources says where answers came from since Open, of the queries that were
// recorded up to the last interval. Combinations that did not occur are left out.
func (l *Log) Sources() []SourceCount {
	var out []SourceCount
	for verdict := range l.sealer.counts {
		for source := range l.sealer.counts[verdict] {
			if n := l.sealer.counts[verdict][source].Load(); n > 0 {
				out = append(out, SourceCount{Source(source).String(), verdict == 1, n})
			}
		}
	}
	return out
}
