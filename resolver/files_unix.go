//go:build unix

package resolver

import "golang.org/x/sys/unix"

// openFiles is how many file descriptors this process may have open. The runtime
// has raised the soft limit to the hard one by now (package os).
func openFiles() uint64 {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 1024
	}
	return uint64(l.Cur)
}
