package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ownMounts runs the test again in a process that has a view of its own of what is
// mounted, and is true there.
func ownMounts(t *testing.T) bool {
	t.Helper()
	const child = "WEIR_AUDIT_MOUNTS"
	if os.Getenv(child) != "" {
		return true
	}
	run := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	run.Env = append(os.Environ(), child+"=1")
	run.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWNS | unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := run.CombinedOutput()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	return false
}

// smallDisk mounts a file system of that size in memory.
func smallDisk(t *testing.T, size string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// TestADiskThatIsFull fills the file system below a running log, a real and small
// one, and makes room again.
func TestADiskThatIsFull(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	t.Run("at the start", startOnAFullDisk)
	for _, c := range []struct {
		name         string
		beforeAnswer bool
		onFull       OnFull
	}{{"interval refuse", false, Refuse}, {"interval serve", false, Serve}, {"before-answer refuse", true, Refuse}, {"before-answer serve", true, Serve}} {
		t.Run(c.name, func(t *testing.T) {
			dir := smallDisk(t, "3m")
			l, stop := start(t, Config{
				Dir: filepath.Join(dir, "audit"), Interval: 5 * time.Millisecond, Block: time.Hour, Slabs: 8, SlabBytes: 16 << 10,
				BeforeAnswer: c.beforeAnswer, OnFull: c.onFull,
			})
			answered, refused := 0, 0
			ask := func(i int) (ok bool) {
				// Names that do not compress, so that it is full soon.
				taken := l.Record(query(i, "192.0.2.7", fmt.Sprintf("%x.%x.example", i*7919, uint64(i)*0x9e3779b97f4a7c15)))
				ok = l.Settle() && (taken || !l.Refusing())
				if ok {
					answered++
				} else {
					refused++
				}
				return ok
			}
			asked := 0
			again := func() bool { asked++; return ask(asked) }
			if !again() {
				t.Fatal("refused with room left")
			}
			clear := fillDisk(t, dir)
			limit := time.Now().Add(time.Minute)
			until := func(done func(s Stats) bool) {
				t.Helper()
				for !done(l.Stats()) {
					again()
					if time.Now().After(limit) {
						t.Fatalf("the disk is never full: %+v", l.Stats())
					}
				}
			}
			until(func(s Stats) bool { return s.LastError != "" })
			before := l.Stats().Lost // for want of time: nothing else is as fast as this
			until(func(s Stats) bool { return s.Lost > before })
			if s := l.Stats(); !strings.Contains(s.LastError, "no space left on device") {
				t.Fatalf("it says %q", s.LastError)
			}
			if c.onFull == Refuse {
				until(func(Stats) bool { return refused > 0 })
			} else if !again() || refused > 0 {
				t.Fatalf("%d refused", refused)
			}
			clear()
			for l.Stats().LastError != "" {
				if time.Now().After(limit) {
					t.Fatalf("it does not recover: %+v", l.Stats())
				}
			}
			if err := l.Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
			if !again() {
				t.Fatal("refused after it recovered")
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			s := l.Stats()
			records := all(t, l.cfg.Dir)
			proveComplete(t, records, s.Recorded, s.Lost)
			if s.Recorded+s.Lost != uint64(asked) || s.Pending != 0 {
				t.Fatalf("%d asked, %+v", asked, s)
			}
			causes := map[string]uint64{}
			for _, r := range records {
				causes[r.Cause] += r.Lost
			}
			if causes["disk"] == 0 {
				t.Errorf("gaps by cause: %v", causes)
			}
			t.Logf("%d asked, %d answered, %d refused, %d lost of which for want of disk %d", asked, answered, refused, s.Lost, causes["disk"])
		})
	}
}

// fillDisk takes all the room there is, to the last octet, until clear is called.
func fillDisk(t *testing.T, dir string) (clear func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for size := 64 << 10; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	return func() {
		if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

// A log starts on a full disk, says so, and writes what it took when there is room.
func startOnAFullDisk(t *testing.T) {
	dir := smallDisk(t, "3m")
	cfg := Config{Dir: filepath.Join(dir, "audit"), Interval: 5 * time.Millisecond, Slabs: 8, SlabBytes: 16 << 10}
	l, stop := start(t, cfg)
	l.Record(query(0, "192.0.2.7", "before.example"))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	clear := fillDisk(t, dir)
	l, stop = start(t, cfg)
	for i := range 3 {
		l.Record(query(i+1, "192.0.2.7", "full.example"))
	}
	for limit := time.Now().Add(time.Minute); l.Stats().LastError == ""; {
		if time.Now().After(limit) {
			t.Fatal("it does not say that the disk is full")
		}
	}
	clear()
	for limit := time.Now().Add(time.Minute); l.Stats().Pending > 0; {
		if time.Now().After(limit) {
			t.Fatalf("it does not recover: %+v", l.Stats())
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	proveComplete(t, all(t, cfg.Dir), 4, 0)
}

// TestASyncOfAReadOnlyDisk: it fails, where the system's own may say that all is well.
func TestASyncOfAReadOnlyDisk(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	dir := smallDisk(t, "1m")
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := func() *os.File {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	s := &store{dir: dir, files: []*file{{bolt: &boltFile{file: open()}}}}
	if err := errors.Join(syncData(open()), s.settle(), s.unsettle()); err != nil {
		t.Fatal(err)
	}
	remount := func(flags uintptr) {
		if err := unix.Mount("none", dir, "tmpfs", unix.MS_REMOUNT|flags, "size=1m"); err != nil {
			t.Fatal(err)
		}
	}
	remount(unix.MS_RDONLY)
	for i, err := range []error{syncData(open()), s.settle(), s.unsettle()} {
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if remount(0); !s.unsettled {
		t.Error("the commit passes for one that is on disk")
	}
	if err := s.settle(); err != nil || s.unsettled {
		t.Errorf("%v, unsettled %v", err, s.unsettled)
	}
}
