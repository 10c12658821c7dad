package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// bootID is another one after each start of the machine; empty if it is not known.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if id := strings.TrimSpace(string(b)); err == nil && len(id) == bootSize {
		return id
	}
	return ""
}

// noCopyOnWrite is FS_NOCOW_FL of linux/fs.h.
const noCopyOnWrite = 0x00800000

// mapSlabs makes a file of slabs anew and maps it. All its room is taken at once, for
// a write to a page that the disk has no room for would end the process; spare has it
// leave as much again.
func mapSlabs(path string, run runID, shape slabsShape, spare bool) (*mapping, error) {
	boot := bootID()
	if boot == "" {
		return nil, errors.New("the system does not tell one start from the next")
	}
	fresh := path + newSuffix // until it is whole: there is one run's file at any time
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(fresh, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// btrfs would look for room at each write, else; others do not know it.
	if flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS); err == nil {
		_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags|noCopyOnWrite)
	}
	m := &mapping{slabsShape: shape}
	_, _, _, total := shape.extent()
	room := int64(total)
	if spare {
		room *= 2
	}
	if err = unix.Fallocate(int(f.Fd()), 0, 0, room); err == nil {
		err = f.Truncate(int64(total))
	}
	if err == nil {
		m.mem, err = unix.Mmap(int(f.Fd()), 0, total, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		_ = os.Remove(fresh)
		return nil, fmt.Errorf("map %s: %w", fresh, err)
	}
	m.label(run, boot)
	if err := os.Rename(fresh, path); err != nil {
		_ = os.Remove(fresh)
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

// mapAgain maps a file of slabs that another process has left.
func mapAgain(path string, shape slabsShape) (*mapping, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_, _, _, total := shape.extent()
	mem, err := unix.Mmap(int(f.Fd()), 0, total, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return &mapping{mem, shape}, nil
}

// close lets go of the memory, which nobody may use any more.
func (m *mapping) close() error {
	if m == nil {
		return nil
	}
	return unix.Munmap(m.mem)
}

// memoryFolder says that a folder is in memory, so that a write to a mapped file of it
// never waits for a disk.
func memoryFolder(dir string) bool {
	var s unix.Statfs_t
	return unix.Statfs(dir, &s) == nil && (uint32(s.Type) == unix.TMPFS_MAGIC || uint32(s.Type) == unix.RAMFS_MAGIC)
}

// readOwn reads a file, which may be behind a link, if it belongs to the one that its
// folder belongs to, or to us.
func readOwn(dir, path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	folder, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	of := func(i os.FileInfo) uint32 { return i.Sys().(*syscall.Stat_t).Uid }
	if !info.Mode().IsRegular() || of(info) != of(folder) && of(info) != uint32(os.Geteuid()) {
		return nil, fmt.Errorf("%s is somebody else's, or no file", path)
	}
	b := make([]byte, info.Size())
	n, err := io.ReadFull(f, b)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil // it became shorter
	}
	return b[:n], err
}
