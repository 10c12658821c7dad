package audit

import (
	"path/filepath"
	"strings"
)

// missing reports records that no whole segment holds before the one with that header,
// and no word of the log's.
func (v *verifier) missing(place string, missing [][2]uint64, h *header) {
	for _, m := range missing {
		switch _, known := v.proof.leaf(h.number - 1); {
		case v.report.First != 0:
			v.problem("%s: records %d to %d are missing before it", place, m[0], m[1])
		case known || len(v.proof.removed) > 0: // else they were never here: the log's tree begins with h
			v.problem("%s: records %d to %d are missing before it, and nothing that the log has signed says that it removed them", place, m[0], m[1])
		}
	}
}

// gone returns what the log itself has removed of the records from first up to before
// next, by its own word, which goes into the report, and which of them are missing.
func (v *verifier) gone(first, next uint64) (removed []Removal, missing [][2]uint64) {
	removed, missing = split(v.proof.removed, first, next)
	if len(missing) > 0 {
		now, err := readRemovals(v.dir, v.proof.keys, func(string, ...any) {}) // of a log that is running
		if err == nil && len(now) != len(v.proof.removed) {
			v.proof.removed = now
			removed, missing = split(now, first, next)
		}
	}
	for _, r := range removed {
		if r.Why == Astray {
			v.problem("records %d to %d are lost: somebody removed or replaced %s while the log had it open", r.Records[0], r.Records[1], r.File)
		}
		n := len(v.report.Removed) - 1
		if n < 0 || v.report.Removed[n].Why != r.Why || v.report.Removed[n].Last+1 != r.Records[0] {
			v.report.Removed = append(v.report.Removed, Removed{Why: r.Why, First: r.Records[0], From: r.From})
			n++
		}
		sum := &v.report.Removed[n]
		if r.Why == SetAside {
			v.report.Aside += r.Records[1] - r.Records[0] + 1
			if v.asideGone(&r) {
				sum.Gone = true
				v.problem("records %d to %d are missing: %s was set aside as damaged, and what was set aside is not there any more", r.Records[0], r.Records[1], r.File)
			}
		}
		sum.Last, sum.To = r.Records[1], r.To
		sum.Files++
		sum.Bytes += r.Octets
	}
	return removed, missing
}

// asideGone says that a file which was set aside as damaged is not there, though it is
// younger than all that retention has removed.
func (v *verifier) asideGone(r *Removal) bool {
	for _, later := range v.proof.removed {
		if later.Records[0] > r.Records[1] && (later.Why == RemovedByAge || later.Why == RemovedBySize) {
			return false
		}
	}
	found, err := filepath.Glob(filepath.Join(escapeGlob(v.dir), r.File+damagedInfix+"*"))
	return err == nil && len(found) == 0
}

// escapeGlob returns a pattern that only path fits.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// split says which removals, in order, are of records from first up to before next, and
// which of these are of none.
func split(all []Removal, first, next uint64) (removed []Removal, missing [][2]uint64) {
	for _, r := range all {
		if r.Records[1] < first || r.Records[1] >= next {
			continue
		}
		if r.Records[0] > first {
			missing = append(missing, [2]uint64{first, r.Records[0] - 1})
		}
		removed, first = append(removed, r), r.Records[1]+1
	}
	if first < next {
		missing = append(missing, [2]uint64{first, next - 1})
	}
	return removed, missing
}
