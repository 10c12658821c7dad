package audit

import (
	"testing"
	"time"
)

// An event's group takes the place of its reasons' group, in the record and for a search.
func TestGroupOfAnEvent(t *testing.T) {
	dir := t.TempDir()
	l, stop := start(t, Config{Dir: dir, Interval: time.Hour, Now: func() time.Time { return epoch }})
	ads := l.Intern(Reason{Group: "staff", Policy: "staff", Rule: "2", Category: "ads", List: "ads.txt"})
	fresh := l.Intern(Reason{Group: "staff", Policy: "staff", Rule: "3", Category: "new", List: "new.txt"})
	guests, lab := l.Label("guests"), l.Label("lab")
	of := func(policy, group string) Reason { return Reason{Group: group, Policy: policy} }
	cases := []struct {
		reason, observed, group uint32
		want                    Reason // group and policy
		wantObserved            *Reason
	}{
		{ads, 0, 0, of("staff", "staff"), nil},
		{ads, 0, guests, of("staff", "guests"), nil},
		{ads, 0, lab, of("staff", "lab"), nil},
		{ads, fresh, guests, of("staff", "guests"), &Reason{"guests", "staff", "3", "new", "new.txt"}},
		{ads, fresh, 0, of("staff", "staff"), &Reason{"staff", "staff", "3", "new", "new.txt"}},
		{ads, ads, lab, of("staff", "lab"), &Reason{"lab", "staff", "2", "ads", "ads.txt"}},
		{0, 0, guests, of("", "guests"), nil},
		{0, fresh, guests, of("", "guests"), &Reason{"guests", "staff", "3", "new", "new.txt"}},
		{0, 0, 0, Reason{}, nil},
		{99, 99, guests, of("", "guests"), nil}, // numbers that the log never gave
		{99, 99, 99, Reason{}, nil},
		{ads, 0, 99, of("staff", "staff"), nil},
	}
	groups := map[string]int{}
	for i, c := range cases {
		e := query(i, "192.0.2.7", "www.example")
		e.Reason, e.Observed, e.Group = c.reason, c.observed, c.group
		l.Record(e)
		groups[c.want.Group]++
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for i, r := range all(t, dir) {
		c := cases[i]
		if got := of(r.Policy, r.Group); got != c.want {
			t.Errorf("event %d: group and policy %+v, want %+v", i, got, c.want)
		}
		if (r.Observed == nil) != (c.wantObserved == nil) || r.Observed != nil && *r.Observed != *c.wantObserved {
			t.Errorf("event %d: observed %+v, want %+v", i, r.Observed, c.wantObserved)
		}
	}
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, group := range []string{"guests", "lab", "staff"} {
		if n := len(search(t, r, Query{Group: group})); n != groups[group] {
			t.Errorf("%d records of group %s, want %d", n, group, groups[group])
		}
	}
	hits, err := r.Hits(time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if got := hits[ListRef{"ads", "ads.txt"}]; got != (Hits{7, 1}) {
		t.Errorf("the list decided and observed %+v whatever the group, want 7 and 1", got)
	}
}

// testKey is a key that is the same each time.
func testKey(t interface{ Fatal(...any) }) *signingKey {
	key, err := parseKey("PRIVATE+KEY+weir-audit-00000001+091f421c+AQcDAQkHAwEJBwMBCQcDAQkHAwEJBwMBCQcDAQkHAwEJ")
	if err != nil {
		t.Fatal(err)
	}
	return key
}
