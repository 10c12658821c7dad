package blocklist

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestLoadOnFullDisk compiles lists where runs, the merged names or the compiled form find no room: every name is in
// force all the same, from memory, and that is said; and what was compiled before is still there for the next start.
func TestLoadOnFullDisk(t *testing.T) {
	const child = "WEIR_TEST_LOAD_FULL_DISK"
	if os.Getenv(child) == "" { // a limit is of a process, and this one writes a log of its own
		run := exec.Command(os.Args[0], "-test.run=^TestLoadOnFullDisk$", "-test.v")
		run.Env = append(os.Environ(), child+"=1")
		if out, err := run.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestLoadOnFullDisk") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	const names = 300_000 // more than a run has room for in memory
	for what, room := range map[string]uint64{"nothing": 0, "a part of a run": 1 << 20, "a part of the names": 3 << 20} {
		s := newState(t, map[string]string{"a.txt": "first.example\n"}, CategoryConfig{Name: "x", Sources: Sources("a.txt")})
		s.now = s.now.Add(time.Hour)
		old := s.load(nil)
		s.write("a.txt", "first.example\n"+many(0, names))
		lift := limitFiles(t, room)
		lists := s.load(old)
		lift()
		if lists.Compiled != "in memory" || lists.Trouble == "" || lists.matcher.Names() != names+1 {
			t.Errorf("room for %s: %s, %q, %d names", what, lists.Compiled, lists.Trouble, lists.matcher.Names())
		}
		if got := says(lists, "n299999.example"); got != "x/a.txt:n299999.example:true" {
			t.Errorf("room for %s: %s", what, got)
		}
		left, err := os.ReadDir(s.state)
		if err != nil || len(left) != 1 || left[0].Name() != "names" {
			t.Errorf("room for %s: left behind %v, %v", what, left, err)
		}
		if again := s.load(nil); again.Compiled != "built" || again.Trouble != "" || again.matcher.Names() != names+1 {
			t.Errorf("room again: %s, %q", again.Compiled, again.Trouble)
		}
	}
}
