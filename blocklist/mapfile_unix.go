//go:build unix

package blocklist

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapFile maps the first octets of a file, for reading.
func mapFile(file *os.File, octets int64) ([]byte, error) {
	data, err := unix.Mmap(int(file.Fd()), 0, int(octets), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", file.Name(), err)
	}
	_ = unix.Madvise(data, unix.MADV_RANDOM) // hits are everywhere
	return data, nil
}

// largePages returns memory for n words and a few more, in pages as large as the system has them: in small ones each
// look-up would first have to find its page. free gives it back.
func largePages(n int) (words []uint64, free func()) {
	octets := 8*n + 4096
	data, err := unix.Mmap(-1, 0, octets, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return make([]uint64, n), nil
	}
	adviseLarge(data)
	return unsafe.Slice((*uint64)(unsafe.Pointer(&data[0])), octets/8)[:n], func() { _ = unix.Munmap(data) }
}

// forgetPages takes the mapped pages out of memory. They come back as they are used.
func forgetPages(data []byte) { _ = unix.Madvise(data, unix.MADV_DONTNEED) }

func unmapFile(data []byte) { _ = unix.Munmap(data) }

// inode returns what tells a file from another one of the same size and time at its place.
func inode(path string) string {
	var s unix.Stat_t
	if unix.Stat(path, &s) != nil {
		return ""
	}
	return fmt.Sprint(s.Dev, s.Ino, s.Ctim.Nano())
}
