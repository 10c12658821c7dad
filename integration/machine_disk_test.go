//go:build realtools && machine

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
	m.dir = t.TempDir()
	m.mount(t)
	t.Cleanup(func() { _ = unix.Unmount(m.dir, unix.MNT_DETACH) })
	return m
}

func (m *mapped) device() string { return "/dev/mapper/" + m.name }

func (m *mapped) mount(t *testing.T) {
	t.Helper()
	must(t, "/", "mount", "-o", "usrquota", m.device(), m.dir)
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
	if err := unix.Mount("none", memory, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(memory, unix.MNT_DETACH) })
	dir := t.TempDir()
	writeFile(t, dir, "config.toml", fmt.Sprintf(diskConfig, m.dir, memory, commit, onFull))
	cmd := exec.Command("setpriv", "--bounding-set=-sys_resource", binary, "serve", "--config", "config.toml")
	cmd.Dir = dir
	w := newTroubled(greeted(t, cmd), commit, onFull)
	w.rate, w.limit = 200, 3*time.Second // the processor is emulated
	return w
}

// TestMachineRemount: the kernel makes the disk read-only while weir writes to it, as it does
// with one that it no longer trusts, and an operator makes it writable again.
func TestMachineRemount(t *testing.T) {
	if !inMachine(t) {
		return
	}
	forEachChoice(t, func(t *testing.T, commit, onFull string) {
		m := newMapped(t)
		w := m.startOn(t, commit, onFull)
		w.works(t)
		w.through(t, "read-only file system", func() { m.emergency(t) }, func() { m.remount(t, "rw") })
		w.adds(t, 14)
	})
}

// TestMachineQuota: whoever weir runs as may have no more on the disk than it has.
func TestMachineQuota(t *testing.T) {
	if !inMachine(t) {
		return
	}
	forEachChoice(t, func(t *testing.T, commit, onFull string) {
		m := newMapped(t)
		w := m.startOn(t, commit, onFull)
		w.works(t)
		w.through(t, "disk quota exceeded", func() { m.quota(t, 1) }, func() { m.quota(t, 0) })
		w.adds(t, 14)
	})
}
