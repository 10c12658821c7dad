//go:build realtools && machine

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// forEachChoice runs f for all that can be configured for a disk that fails.
func forEachChoice(t *testing.T, f func(t *testing.T, commit, onFull string)) {
	for _, commit := range []string{"interval", "before-answer"} {
		for _, onFull := range []string{"serve", "refuse"} {
			t.Run(commit+" "+onFull, func(t *testing.T) { f(t, commit, onFull) })
		}
	}
}

// A mapped is a disk behind a device that can be told to fail.
type mapped struct {
	disk
	name, below string // of the device; what it maps
	sectors     string
	options     string // of mount
}

// newMapped mounts a disk of 48 MiB, with quotas and with whatever options mkfs is given.
func newMapped(t *testing.T, options ...string) *mapped {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	must(t, "/", "truncate", "-s", "48M", image)
	m := &mapped{name: fmt.Sprintf("disk%d", time.Now().UnixNano()), below: strings.TrimSpace(must(t, "/", "losetup", "-f", "--show", image))}
	m.sectors = strings.TrimSpace(must(t, "/", "blockdev", "--getsz", m.below))
	must(t, "/", "dmsetup", "create", m.name, "--table", m.table("linear", "0"))
	must(t, "/", "mkfs.ext4", append(append([]string{"-q", "-O", "quota", "-E", "quotatype=usrquota"}, options...), m.device())...)
	m.dir, m.options = t.TempDir(), "usrquota"
	if !slices.Contains(options, "^has_journal") { // which alone has times to be written at
		m.options += ",commit=1"
	}
	m.mount(t)
	t.Cleanup(func() { _ = unix.Unmount(m.dir, unix.MNT_DETACH) })
	return m
}

func (m *mapped) device() string { return "/dev/mapper/" + m.name }

func (m *mapped) mount(t *testing.T) {
	t.Helper()
	must(t, "/", "mount", "-o", m.options, m.device(), m.dir)
}

// table is a line of dmsetup(8) that maps all of the disk.
func (m *mapped) table(target string, options ...string) string {
	return strings.Join(append([]string{"0", m.sectors, target, m.below}, options...), " ")
}

// becomes gives the device another table, with the file system mounted and in use.
func (m *mapped) becomes(t *testing.T, table string) {
	t.Helper()
	must(t, "/", "dmsetup", "suspend", "--noflush", "--nolockfs", m.name)
	must(t, "/", "dmsetup", "load", m.name, "--table", table)
	must(t, "/", "dmsetup", "resume", m.name)
}

// emergency has the kernel make all disks read-only, whoever writes to them.
func (m *mapped) emergency(t *testing.T) {
	t.Helper()
	if err := os.WriteFile("/proc/sysrq-trigger", []byte("u"), 0); err != nil {
		t.Fatal(err)
	}
	for limit := time.Now().Add(patience); ; { // it is done by the way
		var st unix.Statfs_t
		if err := unix.Statfs(m.dir, &st); err != nil {
			t.Fatal(err)
		}
		if st.Flags&unix.ST_RDONLY != 0 {
			return
		}
		if time.Now().After(limit) {
			t.Fatal("the disk does not become read-only")
		}
	}
}

// quota limits what root may have on the disk, to less than it has or, with 0, not at all.
func (m *mapped) quota(t *testing.T, kib uint64) {
	t.Helper()
	const setQuota, limits = 0x800008 << 8, 1 // Q_SETQUOTA for users, QIF_BLIMITS (linux/quota.h)
	device, err := unix.BytePtrFromString(m.device())
	if err != nil {
		t.Fatal(err)
	}
	q := struct {
		hard, soft, room, inodesHard, inodesSoft, inodes, roomTime, inodesTime uint64
		valid                                                                  uint32
	}{hard: kib, valid: limits}
	if _, _, e := unix.Syscall6(unix.SYS_QUOTACTL, setQuota, uintptr(unsafe.Pointer(device)), 0, uintptr(unsafe.Pointer(&q)), 0, 0); e != 0 {
		t.Fatal("quotactl: ", e)
	}
}

// startOn starts weir with its store on the disk, as root that has to keep to quotas.
func (m *mapped) startOn(t *testing.T, commit, onFull string) *troubled {
	t.Helper()
	memory := t.TempDir()
	if err := unix.Mount("none", memory, "tmpfs", 0, "size=128k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(memory, unix.MNT_DETACH) })
	dir := t.TempDir()
	writeFile(t, dir, "config.toml", fmt.Sprintf(diskConfig, m.dir, memory, commit, onFull))
	return startIn(t, dir, commit, onFull)
}

// startIn starts weir in a folder that has its configuration.
func startIn(t *testing.T, dir, commit, onFull string) *troubled {
	t.Helper()
	cmd := exec.Command("setpriv", "--bounding-set=-sys_resource", binary, "serve", "--config", "config.toml")
	cmd.Dir = dir
	w := newTroubled(greeted(t, cmd), commit, onFull)
	w.rate, w.limit = 200, 3*time.Second // the processor is emulated
	return w
}

// counted returns how many queries the log has, and how many it says were lost.
func (w *troubled) counted(t *testing.T) (recorded, lost int) {
	t.Helper()
	for _, r := range w.export(t, 0) {
		switch r.Kind {
		case "query":
			recorded++
		case "gap":
			lost += int(r.Lost)
		}
	}
	return recorded, lost
}

// passes has a trouble of the disk begin and end, as often as that, while weir writes to it, whose word for it is said.
func passes(t *testing.T, said string, times int, begin, end func(*testing.T, *mapped), options ...string) {
	if !inMachine(t) {
		return
	}
	forEachChoice(t, func(t *testing.T, commit, onFull string) {
		m := newMapped(t, options...)
		w := m.startOn(t, commit, onFull)
		w.works(t)
		for range times {
			w.through(t, said, func() { begin(t, m) }, func() { end(t, m) })
		}
		w.adds(t, 14*times)
	})
}

// TestMachineRemount: the kernel makes the disk read-only while weir writes to it, as it does
// with one that it no longer trusts, and an operator makes it writable again.
func TestMachineRemount(t *testing.T) {
	passes(t, "read-only file system", 1,
		func(t *testing.T, m *mapped) { m.emergency(t) },
		func(t *testing.T, m *mapped) { m.remount(t, "rw") })
}

// TestMachineQuota: whoever weir runs as may have no more on the disk than it has.
func TestMachineQuota(t *testing.T) {
	passes(t, "disk quota exceeded", 1,
		func(t *testing.T, m *mapped) { m.quota(t, 1) },
		func(t *testing.T, m *mapped) { m.quota(t, 0) })
}

// TestMachineErrors: every write to the disk fails for a while, and is reported as late as the
// system likes. Without a journal ext4 goes on with such a disk.
func TestMachineErrors(t *testing.T) {
	passes(t, "input/output error", 2,
		func(t *testing.T, m *mapped) { m.becomes(t, m.table("flakey", "0", "0", "3600", "1", "error_writes")) },
		func(t *testing.T, m *mapped) { m.becomes(t, m.table("linear", "0")) },
		"-O", "^has_journal")
}

// TestMachineJournal: ext4 gives the disk up, for good, when its journal cannot be written. Weir says so and
// does as it is configured, to the end; when the disk has been repaired, the next one goes on
// with what waited in memory.
func TestMachineJournal(t *testing.T) {
	if !inMachine(t) {
		return
	}
	forEachChoice(t, func(t *testing.T, commit, onFull string) {
		m := newMapped(t, "-e", "remount-ro")
		w := m.startOn(t, commit, onFull)
		w.works(t)
		m.becomes(t, m.table("flakey", "0", "0", "3600", "1", "error_writes"))
		failed, slowest := w.load(t, func(c *pacedClient) {
			w.until(t, "given up", func(st weirStatus) bool { return strings.Contains(st.Audit.LastError, "read-only") })
			c.more(t, 100)
		})
		if lost := w.status(t).Audit.Lost; slowest > w.limit || (failed > 0) != (onFull == "refuse" && (commit == "before-answer" || lost > 0)) {
			t.Errorf("%d answers are SERVFAIL, the slowest took %v", failed, slowest)
		}
		w.says(t, `(?m)^ +cannot write: .*read-only file system$`, `(?m)^weir_audit_failing 1$`)
		m.becomes(t, m.table("linear", "0"))
		_, _ = output(t, "/", "mount", "-o", "remount,rw", m.dir) // does not help
		w.load(t, func(c *pacedClient) { c.more(t, 20) })
		if st := w.status(t); st.Audit.LastError == "" {
			t.Errorf("ext4 goes on: %+v", st.Audit)
		}
		if code := w.terminate(t); code == 0 {
			t.Errorf("exit code %d with records that are not on disk", code)
		}
		if err := unix.Unmount(m.dir, 0); err != nil {
			t.Fatal(err)
		}
		if out, err := output(t, "/", "e2fsck", "-fy", m.device()); err != nil && !strings.Contains(err.Error(), "exit status 1") {
			t.Fatalf("%v\n%s", err, out)
		}
		m.mount(t)
		again := startIn(t, w.dir, commit, onFull)
		again.works(t)
		again.settled(t)
		if code := again.terminate(t); code != 0 {
			t.Errorf("exit code %d after the repair", code)
		}
		if rep := again.report(t); len(rep.Problems) > 0 || rep.Records != rep.Last-rep.First+1 {
			t.Errorf("the log is not whole: %+v", rep)
		}
		recorded, lost := again.counted(t)
		if recorded != w.asked+again.asked || lost > 1 { // the change that says how many answers were withheld
			t.Errorf("%d and %d asked, %d recorded and %d lost; it said:\n%s\n%s", w.asked, again.asked, recorded, lost, &w.said, &again.said)
		}
		t.Logf("%s, %s: %d asked before the repair and %d after it = %d recorded + %d lost; %d SERVFAIL", commit, onFull, w.asked, again.asked, recorded, lost, failed)
	})
}

// TestMachineSlow: each flush of the disk's own memory takes 100 ms, and then 2 s.
func TestMachineSlow(t *testing.T) {
	if !inMachine(t) {
		return
	}
	forEachChoice(t, func(t *testing.T, commit, onFull string) {
		m := newMapped(t)
		w := m.startOn(t, commit, onFull)
		w.works(t)
		answers, refuse := commit == "before-answer", onFull == "refuse"
		slow := func(ms string) string {
			return m.table("delay", "0", "0", m.below, "0", "0", m.below, "0", ms)
		}
		if answers { // the socket waits with each batch of queries for the disk
			w.rate = 40
		}
		m.becomes(t, slow("100"))
		failed, slowest := w.load(t, func(c *pacedClient) { c.more(t, 300) })
		if failed > 0 || slowest > w.limit || answers && slowest < 100*time.Millisecond || !answers && slowest > w.limit/6 {
			t.Errorf("flushes of 100 ms: %d answers are SERVFAIL, the slowest took %v", failed, slowest)
		}
		t.Logf("%s, %s: flushes of 100 ms, %d answers are SERVFAIL, the slowest took %v", commit, onFull, failed, slowest.Round(time.Millisecond))
		w.works(t)
		w.rate = 200
		lost := w.status(t).Audit.Lost
		m.becomes(t, slow("2000"))
		failed, slowest = w.load(t, func(c *pacedClient) {
			w.until(t, "stalled", func(st weirStatus) bool { return st.Audit.Stalled > time.Second })
			w.says(t, `(?m)^ +the disk keeps it waiting for \d`, `(?m)^weir_audit_stalled_seconds [1-9]`)
			c.more(t, 300)
		})
		if slowest > w.limit || !answers && slowest > w.limit/6 || (failed > 0) != (refuse && (answers || w.status(t).Audit.Lost > lost)) {
			t.Errorf("flushes of 2 s: %d answers are SERVFAIL, the slowest took %v", failed, slowest)
		}
		t.Logf("%s, %s: flushes of 2 s, %d answers are SERVFAIL, the slowest took %v", commit, onFull, failed, slowest.Round(time.Millisecond))
		m.becomes(t, m.table("linear", "0"))
		w.works(t)
		w.adds(t, 14)
	})
}
