package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

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

// mapSlabs makes the file of slabs anew and maps it. All its room is taken at once,
// for a write to a page that the disk has no room for would end the process.
func mapSlabs(dir string, run runID, slabs, size int) (*mapping, error) {
	boot := bootID()
	if boot == "" {
		return nil, errors.New("the system does not tell one start from the next")
	}
	name := filepath.Join(dir, slabsFile)
	path := name + newSuffix // until it is whole: there is one run's file at any time
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m := &mapping{size: size}
	_, _, total := slabsExtent(slabs, size)
	if err = unix.Fallocate(int(f.Fd()), 0, 0, int64(total)); err == nil {
		m.mem, err = unix.Mmap(int(f.Fd()), 0, total, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		_ = os.Remove(path)
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	m.label(run, boot, slabs)
	if err := os.Rename(path, name); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

// close lets go of the memory, which nobody may use any more.
func (m *mapping) close() error {
	if m == nil {
		return nil
	}
	return unix.Munmap(m.mem)
}
