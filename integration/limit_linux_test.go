package integration

import (
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// cmdFileLimit stands in for a full disk: beyond its limit a file of the process
// cannot be written (setrlimit(2), RLIMIT_FSIZE).
func cmdFileLimit(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, 1, "filelimit OCTETS|none")
	pid := running(ts, worldOf(ts).weir).cmd.Process.Pid
	var limit unix.Rlimit
	ts.Check(unix.Prlimit(pid, unix.RLIMIT_FSIZE, nil, &limit))
	limit.Cur = limit.Max
	if args[0] != "none" {
		n, err := strconv.ParseUint(args[0], 10, 64)
		ts.Check(err)
		limit.Cur = n
	}
	ts.Check(unix.Prlimit(pid, unix.RLIMIT_FSIZE, &limit, nil))
}

// cmdDescriptors changes the limit of open files of the process (RLIMIT_NOFILE).
func cmdDescriptors(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, 1, "descriptors N|all")
	pid := running(ts, worldOf(ts).weir).cmd.Process.Pid
	var limit unix.Rlimit
	ts.Check(unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limit))
	limit.Cur = limit.Max
	if args[0] != "all" {
		n, err := strconv.ParseUint(args[0], 10, 64)
		ts.Check(err)
		limit.Cur = n
	}
	ts.Check(unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil))
}
