package exceptions

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// childOf says which test a process is to play the child of.
const childOf = "WEIR_TEST_CHILD"

// child returns this test's own binary, to be run as its child.
func child(t *testing.T, more ...string) *exec.Cmd {
	run := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	run.Env = append(append(os.Environ(), childOf+"="+t.Name()), more...)
	return run
}

// What Add has returned outlives kill -9; there is nothing beside it but what was being added.
func TestKill(t *testing.T) {
	if os.Getenv(childOf) == t.Name() {
		s, err := Open(os.Getenv("WEIR_TEST_PATH"), Config{})
		must(t, err)
		for i := len(s.All()); ; i++ {
			e, err := s.Add(request(fmt.Sprintf("host-%d.example", i), time.Hour))
			must(t, err)
			fmt.Printf("added %d %s\n", e.ID, e.Name)
		}
	}
	path := t.TempDir() + "/exceptions.db"
	var known []string
	for round := range 8 {
		run := child(t, "WEIR_TEST_PATH="+path)
		out, err := run.StdoutPipe()
		must(t, err)
		must(t, run.Start())
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); {
			if id, ok := strings.CutPrefix(lines.Text(), "added "); ok {
				known = append(known, id)
				if n++; n == 1+3*round { // while it goes on
					must(t, run.Process.Kill())
				}
			}
		}
		if err := run.Wait(); run.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("round %d: %v", round, err)
		}
		s, err := Open(path, Config{OnError: Fail})
		must(t, err)
		var have []string
		for _, e := range s.Active() {
			have = append(have, fmt.Sprintf("%d %s", e.ID, e.Name))
		}
		if len(have) == len(known)+1 {
			known = append(known, fmt.Sprintf("%d host-%d.example", len(have), len(have)-1))
		}
		same(t, fmt.Sprintf("round %d", round), have, known)
		must(t, s.Close())
	}
}

// limitFiles lets no file of the process be longer than n octets, as a full disk would, until lift is called.
func limitFiles(t *testing.T, n uint64) (lift func()) {
	t.Helper()
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &limit))
	full := limit
	full.Cur = n
	must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &full))
	return func() { must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &limit)) }
}

// On a full disk what is to be added or extended is not, and what is to end ends.
func TestFullDisk(t *testing.T) {
	if os.Getenv(childOf) == "" { // a limit is of a process, and this one writes a log of its own
		if out, err := child(t).CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestFullDisk") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	var log bytes.Buffer
	w := newWorld(t, t.TempDir())
	w.cfg.Logger = logTo(&log)
	w.restart()
	for _, name := range []string{"a", "b", "c"} {
		w.add(name, time.Hour)
	}
	w.add("d", 2*time.Hour)

	for _, room := range []uint64{0, 1, 4096, 8192, 12288} { // of some only the last write, of the meta page, fails
		before := w.s.All()
		lift := limitFiles(t, room)
		_, err := w.s.Add(request("new", time.Hour))
		full(t, err, "no exception was made", w.path, "file too large")
		_, err = w.s.Extend(1, time.Minute, "bob", "more")
		full(t, err, "exception 1 was not extended", w.path)
		same(t, "in memory", w.s.All(), before)
		same(t, "what the next write puts right", w.s.dirty, map[uint64]bool{1: true, 5: true})
		lift()
		on, err := os.ReadFile(w.path)
		must(t, err)
		must(t, os.WriteFile(w.path+".copy", on, 0o600)) // as after a crash
		s, err := Open(w.path+".copy", Config{Clock: w.clock, OnError: Fail})
		must(t, err)
		same(t, "on disk", s.All(), before)
		must(t, s.Close())
	}

	lift := limitFiles(t, 0)
	e, err := w.s.Remove(1, "bob", "done")
	full(t, err, "exception 1 has ended, but a restart may bring it back")
	same(t, "what Remove returns", e.End, EndRemoved)
	w.clock.pass(time.Hour)
	same(t, "Tick", names(w.s.Tick()), "b c")
	same(t, "Active", names(w.s.Active()), "d")
	same(t, "second Tick", names(w.s.Tick()), "")
	if n := strings.Count(log.String(), "exceptions are not on disk"); n != 1 {
		t.Errorf("the log says %d times\n%s", n, log.String())
	}
	lift()
	w.s.Tick()
	w.kill()
	w.clock.step(-time.Hour)
	w.open()
	same(t, "with room again", names(w.s.Active()), "d")
	if e := w.add("new", time.Hour); e.ID != 5 {
		t.Errorf("its ID is %d", e.ID)
	}
	w.close()

	// A start on a full disk ends what is over, too.
	w.clock.pass(2 * time.Hour)
	lift = limitFiles(t, 0)
	w.open()
	same(t, "after a start", names(w.s.Tick()), "d new")
	// So does one that cannot make the file, and makes it when there is room.
	late, err := Open(t.TempDir()+"/exceptions.db", w.cfg)
	must(t, err)
	add := func() error {
		_, err := late.Add(Request{Name: "late.example", Group: "staff", For: time.Hour, By: "uid 1", Reason: "test"})
		return err
	}
	if late.Tick(); !errors.Is(add(), ErrReadOnly) {
		t.Errorf("an exception that is nowhere: %v", late.Active())
	}
	lift()
	late.Tick()
	must(t, add())
	must(t, late.Close())
}

func full(t *testing.T, err error, says ...string) {
	t.Helper()
	var (
		refusal *RefusedError
		damage  *DamageError
	)
	if err == nil || errors.As(err, &refusal) || errors.As(err, &damage) {
		t.Fatalf("%v is not of the disk", err)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q does not say %q", err, s)
		}
	}
}

// A write that failed after it was on disk after all is taken back by the next.
func TestAWriteThatFailedIsTakenBack(t *testing.T) {
	w := newWorld(t, t.TempDir())
	a := w.add("a", time.Hour)
	before := w.s.All()
	now := read(w.clock)
	ghost := &record{Exception: Exception{ID: 2, Name: "ghost", Client: "10.0.4.17", Reason: "x", By: "x", Created: now.wall, Until: now.wall.Add(time.Hour)}, deadline: now.boot + time.Hour}
	longer := &record{Exception: a, deadline: now.boot + 2*time.Hour}
	longer.Until = now.wall.Add(2 * time.Hour)
	for _, r := range []*record{ghost, longer} {
		sums, next := w.s.sums, w.s.next
		w.s.sums = map[uint64]uint32{}
		for id, sum := range sums {
			w.s.sums[id] = sum
		}
		old := w.s.force[r.ID]
		must(t, w.s.commit(now, r)) // the disk has it, but says that it has not
		w.s.sums, w.s.next = sums, next
		if delete(w.s.force, r.ID); old != nil {
			w.s.force[r.ID] = old
		}
		w.s.dirty[r.ID] = true
	}
	w.s.Tick()
	same(t, "in memory", w.s.All(), before)
	w.kill()
	w.open()
	same(t, "on disk", w.s.All(), before)
}
