package audit

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData brings what was written to f to disk, and of what is known about the
// file what it takes to read it.
func syncData(f *os.File) error {
	for {
		switch err := unix.Fdatasync(int(f.Fd())); err {
		case nil:
			return writable(func(s *unix.Statfs_t) error { return unix.Fstatfs(int(f.Fd()), s) })
		case unix.EINTR:
		default:
			return err
		}
	}
}

// writableDir says whether what is synced in dir can come to disk.
func writableDir(dir string) error {
	return writable(func(s *unix.Statfs_t) error { return unix.Statfs(dir, s) })
}

// writable returns an error if the file system is known to be read-only. The kernel makes it so
// though files are open for writing when it is told to by SysRq. Ext4 then goes on to take
// writes into memory and says of each sync, which does nothing, that it has succeeded.
func writable(stat func(*unix.Statfs_t) error) error {
	var s unix.Statfs_t
	if err := stat(&s); err == nil && s.Flags&unix.ST_RDONLY != 0 {
		return unix.EROFS
	}
	return nil
}

// setAside has the file system give f so much room, if it can.
func setAside(f *os.File, size int64) { _ = unix.Fallocate(int(f.Fd()), 0, 0, size) }
