package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"weir/audit"
)

// TestTopText asserts what each dimension shows, that what is not exact is said, and that nothing can act on a terminal.
func TestTopText(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	row := audit.TopRow{
		Count: 12, Client: audit.ClientOf(netip.MustParseAddr("192.0.2.1")), Name: `\027[2J.example`, Policy: "staff", Rule: "2", Category: "new", List: "new.txt",
		First: at, Last: at.Add(time.Second),
	}
	none := audit.TopRow{Count: 3, First: at, Last: at}
	about := audit.TopRow{Count: 5, Missed: 2, Name: "a.example", First: at, Last: at}
	for _, c := range []struct {
		top  audit.Top
		want string
	}{
		{audit.Top{By: audit.ByName, Rows: []audit.TopRow{row, none}, Keys: 2}, `
COUNT  NAME             FIRST                    LAST
12     \027[2J.example  2026-01-02 03:04:05.000  2026-01-02 03:04:06.000
3      -                2026-01-02 03:04:05.000  2026-01-02 03:04:05.000
`},
		{audit.Top{By: audit.ByClient, Rows: []audit.TopRow{row}, Keys: 2, Others: 4}, `
COUNT  CLIENT      FIRST                    LAST
12     192.0.2.1   2026-01-02 03:04:05.000  2026-01-02 03:04:06.000
4      in 1 other
`},
		{audit.Top{By: audit.ByPair, Rows: []audit.TopRow{row}, Keys: 1}, `
COUNT  CLIENT     NAME             FIRST                    LAST
12     192.0.2.1  \027[2J.example  2026-01-02 03:04:05.000  2026-01-02 03:04:06.000
`},
		{audit.Top{By: audit.ByPair, Observed: true, Rows: []audit.TopRow{row, none}, Keys: 2}, `
COUNT  CLIENT     NAME             POLICY  RULE  CATEGORY  LIST     FIRST                    LAST
12     192.0.2.1  \027[2J.example  staff   2     new       new.txt  2026-01-02 03:04:05.000  2026-01-02 03:04:06.000
3      -          -                -       -     -         -        2026-01-02 03:04:05.000  2026-01-02 03:04:05.000
`},
		{audit.Top{By: audit.ByRule, Rows: []audit.TopRow{row}, Keys: 7, Others: 8}, `
COUNT  POLICY       RULE  CATEGORY  LIST     FIRST                    LAST
12     staff        2     new       new.txt  2026-01-02 03:04:05.000  2026-01-02 03:04:06.000
8      in 6 others
`},
		{audit.Top{By: audit.ByCategory, Rows: []audit.TopRow{row}, Keys: 1}, `
COUNT  CATEGORY  FIRST                    LAST
12     new       2026-01-02 03:04:05.000  2026-01-02 03:04:06.000
`},
		{audit.Top{By: audit.ByName, Rows: []audit.TopRow{about}, Keys: 500001, Others: 900, Dropped: 400, Missed: 2}, `
COUNT  NAME                               FIRST                    LAST
5..7   a.example                          2026-01-02 03:04:05.000  2026-01-02 03:04:05.000
900    in 500000 others and dropped ones

there are too many names to count each: rare ones were dropped, with 400 records, none with more than 2;
a count like 5..7 is at least 5 and at most 7
`},
	} {
		if diff := cmp.Diff(strings.TrimPrefix(c.want, "\n"), topText(&c.top)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		top := audit.Top{By: rapid.SampledFrom(audit.Dimensions()).Draw(t, "by"), Observed: true, Rows: []audit.TopRow{{
			Name: text.Draw(t, "name"), Policy: text.Draw(t, "policy"), Rule: text.Draw(t, "rule"),
			Category: text.Draw(t, "category"), List: text.Draw(t, "list"),
		}}}
		if got := topText(&top); shownLines(got)+"\n" != got {
			t.Fatalf("not printable: %q", got)
		}
	})
}
