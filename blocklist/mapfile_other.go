//go:build !unix

package blocklist

import (
	"io"
	"os"
)

// mapFile reads the first octets of a file: this system maps none.
func mapFile(file *os.File, octets int64) ([]byte, error) {
	data := make([]byte, octets)
	_, err := io.ReadFull(io.NewSectionReader(file, 0, octets), data)
	return data, err
}

func largePages(n int) ([]uint64, func()) { return make([]uint64, n), nil }

func forgetPages([]byte) {}

func unmapFile([]byte) {}

func inode(string) string { return "" }
