//go:build unix

package resolver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// gone returns memory that is mapped from a file which was cut short since: to
// read it faults.
func gone(t *testing.T, size int) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "names")
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	memory, err := unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(memory); err != nil {
			t.Error(err)
		}
	})
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	return memory
}

// TestCutNamesCostTheQueriesThatReadThem: somebody cuts the file of the
// compiled lists short under the server, which stays, and answers what it can.
func TestCutNamesCostTheQueriesThatReadThem(t *testing.T) {
	set := town(t)
	set.compiled, set.special = t.TempDir(), true
	var many strings.Builder // names of a few are kept in memory too
	many.WriteString(set.lists["ads"])
	for i := range 60_000 {
		fmt.Fprintf(&many, "n%d.many.example\n", i)
	}
	set.lists["ads"] = many.String()
	w := newWorld(t, set)
	w.listen()
	const blocked = `NXDOMAIN ede 15 "everyone: ads" / x.track.example. 60 SOA 60;`
	if got := show(t, w.overUDP(query(t, "x.track.example. A", edns))); got != blocked {
		t.Fatal(got)
	}
	files, err := filepath.Glob(filepath.Join(set.compiled, "names*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("compiled into %q: %v", files, err)
	}
	if err := os.Truncate(files[0], 0); err != nil {
		t.Fatal(err)
	}
	for _, ask := range []func([]byte) []byte{w.overUDP, w.overTCP} {
		for question, want := range map[string]string{
			"x.track.example. A": "SERVFAIL",
			"cloak.example. A":   "SERVFAIL",                                 // at first when its flight lands
			"localhost. A":       "NOERROR aa localhost. 10800 A 127.0.0.1;", // no listed name is that short
		} {
			if got := show(t, ask(query(t, question, edns))); got != want {
				t.Errorf("%s: %s, want %s", question, got, want)
			}
		}
	}
	if st := w.Stats(); st.Panics != 4 {
		t.Errorf("%d panics, want 4", st.Panics)
	}
	w.reload(func(s *setup) { s.compiled = t.TempDir() })
	if got := show(t, w.overUDP(query(t, "x.track.example. A", edns))); got != blocked {
		t.Errorf("after a reload: %s", got)
	}
}

// TestFaultCostsOneQuery: memory that the query path reads goes away, and the
// process stays, in every goroutine that runs the path.
func TestFaultCostsOneQuery(t *testing.T) {
	w := newWorld(t, town(t))
	st := w.State()
	for i := range st.outcomes {
		if st.outcomes[i].ede != nil {
			st.outcomes[i].ede = gone(t, 64) // what a blocked client is told
		}
	}
	w.listen()
	for _, c := range []struct {
		name string
		ask  func([]byte) []byte
	}{{"UDP", w.overUDP}, {"TCP", w.overTCP}} {
		for _, question := range []string{
			"track.example. A",   // at once
			"cloak.example. A",   // of a flight, by the alias in what it brings
			"cloak.example. A",   // by the alias in what memory holds
			"svc.example. HTTPS", // likewise
		} {
			if got := show(t, c.ask(query(t, question, edns))); got != "SERVFAIL" {
				t.Errorf("%s over %s: %s, want SERVFAIL", question, c.name, got)
			}
		}
		if got := show(t, c.ask(query(t, "www.example. A", edns))); got != "NOERROR www.example. 60 A 192.0.2.1;" {
			t.Errorf("over %s afterwards: %s", c.name, got)
		}
	}
	if st := w.Stats(); st.Panics != 8 || !strings.Contains(w.said.String(), "was the file of the compiled names cut short?") {
		t.Errorf("%d panics, want 8; said\n%s", st.Panics, w.said)
	}
	if e := w.events(); len(e) != 10 {
		t.Errorf("%d events, want 10", len(e))
	}
}
