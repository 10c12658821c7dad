package audit

import "golang.org/x/sys/unix"

// roomIn returns how many octets a file in dir may still take.
func roomIn(dir string) (octets uint64, known bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return s.Bavail * uint64(s.Bsize), true
}
