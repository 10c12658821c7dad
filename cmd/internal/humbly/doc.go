// Package humbly runs work that can wait beside the answering of queries, which cannot.
//
// Go's scheduler knows no priorities, and as long as each of its processors has work, it
// looks for packets that have come every 10 ms only. So whoever works for long has one
// processor more brought along, and who answers queries finds one free. For what Go's
// collector of garbage takes meanwhile see leeway.go.
package humbly
