//go:build realtools

package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inOwnMounts runs the test once more in a process that has a view of its own of what is
// mounted, and returns true in that process alone.
func inOwnMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(apart) != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("to mount a file as a disk takes root")
	}
	runAgain(t, "in a mount namespace", &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS})
	return false
}

// A disk is a file mounted as one.
type disk struct {
	dir    string
	folder *os.File // of the mount, to freeze it by
}

func newDisk(t *testing.T, kind, size string) *disk {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	must(t, t.TempDir(), "truncate", "-s", size, image)
	must(t, t.TempDir(), "mkfs."+kind, "-q", image)
	d := &disk{dir: t.TempDir()}
	must(t, t.TempDir(), "mount", "-o", "loop", image, d.dir)
	t.Cleanup(func() { _ = unix.Unmount(d.dir, unix.MNT_DETACH) })
	return d
}

// The ioctls of linux/fs.h that stop a file system wholly, and let it go on.
const (
	ioctlFreeze = 0xC0045877
	ioctlThaw   = 0xC0045878
)

func (d *disk) freeze(t *testing.T) {
	t.Helper()
	var err error
	if d.folder, err = os.Open(d.dir); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetInt(int(d.folder.Fd()), ioctlFreeze, 0); err != nil {
		t.Fatal("freeze: ", err)
	}
	t.Cleanup(func() { // however the test ends, nobody could write for ever
		if d.folder != nil {
			_ = unix.IoctlSetInt(int(d.folder.Fd()), ioctlThaw, 0)
		}
	})
}

func (d *disk) thaw(t *testing.T) {
	t.Helper()
	err := unix.IoctlSetInt(int(d.folder.Fd()), ioctlThaw, 0)
	if err = errors.Join(err, d.folder.Close()); err != nil {
		t.Fatal("thaw: ", err)
	}
	d.folder = nil
}

// fill takes all the room there is, and returns what gives it back.
func (d *disk) fill(t *testing.T) (clear func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(d.dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

func (d *disk) remount(t *testing.T, how string) {
	t.Helper()
	must(t, t.TempDir(), "mount", "-o", "remount,"+how, d.dir)
}

const diskConfig = onLoopback + `[upstream.default]
servers = ["udp://192.0.2.53"]
[[policy]]
name = "all"
clients = ["any"]
default = "allow"
[[policy.rule]]
action = "block"
domains = ["block.example"]
[audit]
path = "%s/audit"
memory = "%s"
commit = "%s"
on_full = "%s"
interval = "50ms"
block = "500ms"
[admin]
socket = "s"
`

// A troubled is a weir with a disk that fails, and what it has been asked so far.
type troubled struct {
	*weir
	commit, onFull string
	rate           int           // of queries a second; with before-answer less
	limit          time.Duration // of an answer while the disk fails
	asked, failed  int
	queries        []*query
}

// newTroubled is a weir that is asked for names which the store has to keep as they are.
func newTroubled(w *weir, commit, onFull string) *troubled {
	out := &troubled{weir: w, commit: commit, onFull: onFull, rate: 1000, limit: time.Second}
	for i := range 500 {
		out.queries = append(out.queries, newQuery(fmt.Sprintf("%x.n%d.block.example", i*7919, i), true, true))
	}
	return out
}

// load asks while f runs, and returns how many got SERVFAIL and the slowest
// answer. Every query has an answer.
func (w *troubled) load(t *testing.T, f func(c *pacedClient)) (failed int, slowest time.Duration) {
	t.Helper()
	rate := w.rate
	if w.commit == "before-answer" { // while a socket waits for the disk its buffer has room for this
		rate = min(rate, 150)
	}
	c := startPacedThat(t, w.addrs[0], rate, w.queries, true)
	f(c)
	for _, a := range c.finish(t) {
		w.asked++
		if a.received.IsZero() {
			t.Errorf("no answer for %s", a.name)
			continue
		}
		if slowest = max(slowest, a.received.Sub(a.sent)); a.failed {
			failed++
		}
	}
	w.failed += failed
	return failed, slowest
}

// until asks for the status until it is as wanted.
func (w *troubled) until(t *testing.T, what string, come func(st weirStatus) bool) weirStatus {
	t.Helper()
	for limit := time.Now().Add(patience); ; {
		st := w.status(t)
		if come(st) {
			return st
		}
		if time.Now().After(limit) {
			t.Fatalf("not %s: %+v", what, st.Audit)
		}
	}
}

func (w *troubled) works(t *testing.T) {
	t.Helper()
	w.until(t, "in order again", func(st weirStatus) bool {
		return st.Audit.LastError == "" && !st.Audit.Refusing && st.Audit.Pending == 0 && st.Audit.Stalled == 0
	})
	if failed, _ := w.load(t, func(c *pacedClient) { c.more(t, 20) }); failed > 0 {
		t.Errorf("%d answers are SERVFAIL after it has recovered", failed)
	}
}

// TestRealDisks gives weir disks that are read-only at the start, frozen for two seconds and full,
// one after the other: each does what is configured, is told, and over when it is over. In
// the end what came is what was recorded and what was lost.
func TestRealDisks(t *testing.T) {
	if !inOwnMounts(t) {
		return
	}
	for _, commit := range []string{"interval", "before-answer"} {
		for _, onFull := range []string{"serve", "refuse"} {
			t.Run(commit+" "+onFull, func(t *testing.T) {
				t.Parallel()
				testDisks(t, commit, onFull)
			})
		}
	}
}

func testDisks(t *testing.T, commit, onFull string) {
	d := newDisk(t, "ext4", "48M")
	memory := t.TempDir()
	if err := unix.Mount("none", memory, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(memory, unix.MNT_DETACH) })
	refuse, answers := onFull == "refuse", commit == "before-answer"

	d.remount(t, "ro")
	w := newTroubled(startWeir(t, t.TempDir(), fmt.Sprintf(diskConfig, d.dir, memory, commit, onFull)), commit, onFull)
	failed, _ := w.load(t, func(c *pacedClient) { c.more(t, 50) })
	if (failed > 0) != refuse || refuse && failed < 50 {
		t.Errorf("read-only: %d answers are SERVFAIL", failed)
	}
	if st := w.status(t); !strings.Contains(st.Audit.LastError, "read-only file system") || st.Audit.Refusing != refuse || st.Audit.Exposed == "" {
		t.Errorf("read-only: %+v", st.Audit)
	}
	w.says(t, `(?m)^ +cannot write: .*read-only file system$`, `(?m)^weir_audit_failing 1$`, `(?m)^weir_audit_exposed 1$`)
	d.remount(t, "rw")
	w.works(t)

	failed, slowest := w.load(t, func(c *pacedClient) {
		d.freeze(t)
		began := time.Now()
		w.until(t, "stalled", func(st weirStatus) bool { return st.Audit.Stalled > time.Second })
		w.says(t, `(?m)^ +the disk keeps it waiting for \d`, `(?m)^weir_audit_stalled_seconds [1-9]`)
		for time.Since(began) < 2*time.Second {
			c.more(t, 10)
		}
		d.thaw(t)
	})
	switch limit := 500 * time.Millisecond; {
	case answers && slowest > time.Second+limit, !answers && slowest > limit:
		t.Errorf("frozen: an answer took %v", slowest)
	case (failed > 0) != (answers && refuse):
		t.Errorf("frozen: %d answers are SERVFAIL", failed)
	}
	t.Logf("%s, %s: frozen for 2 s, %d answers are SERVFAIL, the slowest took %v", commit, onFull, failed, slowest.Round(time.Millisecond))
	w.works(t)

	var clear func()
	w.through(t, "no space left on device", func() { clear = d.fill(t) }, func() { clear() })
	w.adds(t, 14)
}

// through has nothing come to the disk from begin to end: the load is answered as is configured,
// the status says why, and all is in order afterwards.
func (w *troubled) through(t *testing.T, says string, begin, end func()) {
	t.Helper()
	refuse, answers := w.onFull == "refuse", w.commit == "before-answer"
	lost := w.status(t).Audit.Lost
	begin()
	failed, slowest := w.load(t, func(c *pacedClient) {
		w.until(t, says, func(st weirStatus) bool {
			return st.Audit.LastError != "" && (answers || st.Audit.Lost > lost+50)
		})
		c.more(t, 50)
	})
	if (failed > 0) != refuse || slowest > w.limit {
		t.Errorf("%s: %d answers are SERVFAIL, the slowest took %v", says, failed, slowest)
	}
	w.says(t, `(?m)^ +cannot write: .*`+says+`$`, `(?m)^weir_audit_failing 1$`)
	end()
	w.works(t)
}

// adds ends weir, and holds that what was asked is what was recorded and what was lost, that
// the log is whole, and that it has told of its trouble in so many lines at most.
func (w *troubled) adds(t *testing.T, lines int) {
	t.Helper()
	st := w.settled(t)
	a := st.Audit
	if n := a.Recorded + a.Lost - a.Changes; n != uint64(w.asked) || st.Resolver.Received != uint64(w.asked) {
		t.Errorf("%d asked, %d received; %+v", w.asked, st.Resolver.Received, a)
	}
	refuse := w.onFull == "refuse"
	if refuse && uint64(w.failed) != a.Withheld+a.Lost || !refuse && w.failed+int(a.Withheld) > 0 {
		t.Errorf("%d answers are SERVFAIL; %+v", w.failed, a)
	}
	if code := w.terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	said := w.said.String()
	if n := strings.Count(said, "level=ERROR") + strings.Count(said, "level=WARN"); n > lines {
		t.Errorf("%d lines of trouble:\n%s", n, said)
	}
	rep := w.report(t)
	if len(rep.Problems) > 0 || rep.Lost != a.Lost || rep.Records != rep.Last-rep.First+1 {
		t.Errorf("the log is not whole: %+v, %+v", rep, a)
	}
	t.Logf("%s, %s: %d asked = %d recorded + %d lost, and %d changes; %d SERVFAIL, of them %d with a record", w.commit, w.onFull,
		w.asked, a.Recorded-a.Changes, a.Lost, a.Changes, w.failed, a.Withheld)
}

// says holds what the status and then the metrics have a line of.
func (w *troubled) says(t *testing.T, status string, metrics ...string) {
	t.Helper()
	if out := w.run(t, "status"); !regexp.MustCompile(status).MatchString(out) {
		t.Errorf("the status has no %q:\n%s", status, out)
	}
	out := w.run(t, "metrics")
	for _, m := range metrics {
		if !regexp.MustCompile(m).MatchString(out) {
			t.Errorf("the metrics have no %q:\n%s", m, out)
		}
	}
}
