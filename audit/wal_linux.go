package audit

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData brings what was written to f to disk, and of what is known about the
// file what it takes to read it.
func syncData(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}

// setAside has the file system give f so much room, if it can.
func setAside(f *os.File, size int64) { _ = unix.Fallocate(int(f.Fd()), 0, 0, size) }
