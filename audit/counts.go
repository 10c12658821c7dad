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

func (c *counts) add(e *Event) {
	verdict := 0
	if e.Blocked {
		verdict = 1
	}
	if int(e.Source) < len(sources) {
		c[verdict][e.Source].Add(1)
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
