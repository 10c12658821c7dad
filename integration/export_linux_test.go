package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"weir/audit"
)

// ownMemory is what a running process has of its own, in octets: without the pages of
// the store's file, which are mapped and the kernel's to take back.
func ownMemory(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`RssAnon:\s+([0-9]+) kB`).FindSubmatch(status)
	if m == nil {
		return 0 // it has just ended
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// Four times the records take the memory of one, in every format.
func TestExportsOfAnyLengthTakeBoundedMemory(t *testing.T) {
	archives := []archive{makeArchive(t, 75_000), makeArchive(t, 300_000)}
	const bound = 96 << 20 // all records at hand would take more
	for _, format := range audit.Formats() {
		var took, size [2]int
		for i, a := range archives {
			cmd := a.export(t, "--format", format)
			pipe, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for buf := make([]byte, 1<<20); err == nil; {
				// It runs: it has not got rid of what comes next, or waits to be waited for.
				took[i] = max(took[i], ownMemory(t, cmd.Process.Pid))
				var n int
				n, err = io.ReadFull(pipe, buf)
				size[i] += n
			}
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%-6s %3d MiB for %d records (%d MiB), %3d MiB for %d (%d MiB)", format,
			took[0]>>20, archives[0].records, size[0]>>20, took[1]>>20, archives[1].records, size[1]>>20)
		if took[1] == 0 || took[1] > bound || size[1] < 3*size[0] {
			t.Errorf("%s takes %d MiB of memory, at most %d are allowed", format, took[1]>>20, bound>>20)
		}
	}
}

// terminal is a pseudo-terminal: what is written to slave can be read from master.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// On a terminal an export says how far it is, and takes that away at its end.
func TestExportsTellTheirProgress(t *testing.T) {
	a := makeArchive(t, 300_000)
	master, slave := terminal(t)
	cmd := a.export(t, "--format", "ocsf", "-o", filepath.Join(a.dir, "out"))
	cmd.Stderr = slave
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	said, err := io.ReadAll(master)
	if err != nil && !errors.Is(err, unix.EIO) { // the other side is closed
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`\r([0-9]+) records, [0-9]+ a second, ([0-9]+) % of the time`).FindAllSubmatch(said, -1)
	last := 0
	for _, m := range lines {
		share, err := strconv.Atoi(string(m[2]))
		if err != nil || share < last || share > 100 {
			t.Errorf("%s after %d %%", m[0], last)
		}
		last = share
	}
	if len(lines) == 0 || !bytes.HasSuffix(said, []byte(" \r300000 records in "+filepath.Join(a.dir, "out")+"\r\n")) {
		t.Errorf("%d lines, it said %q", len(lines), said)
	}

	// dnstap is not for a terminal.
	master, slave = terminal(t)
	cmd = a.export(t, "--format", "dnstap")
	cmd.Stdout, cmd.Stderr = slave, slave
	err = cmd.Run()
	slave.Close()
	said, _ = io.ReadAll(master)
	if exitCode(err) != 2 || string(said) != "error: dnstap is not for a terminal: write it to a file with -o, or into a pipe\r\n" {
		t.Errorf("%v, it said %q", err, said)
	}
}
