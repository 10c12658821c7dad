package main

import (
	"weir/audit"
	"weir/blocklist"
	"weir/cmd/internal/admin"
	"weir/cmd/internal/exceptions"
)

// explainRecord accounts for a question that was asked.
func (b *built) explainRecord(seq uint64, r *audit.Reader, granted *exceptions.Store, known []blocklist.Host) (admin.Explanation, error) {
	return admin.Explanation{}, nil
}
