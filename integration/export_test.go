package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/audit"
)

// An archive is the folder of a stopped server with a store of many records, no
// two of which have a name in common.
type archive struct {
	dir     string
	records int
}

func makeArchive(t *testing.T, records int) archive {
	t.Helper()
	e := audit.Event{
		Transport: audit.UDP, Type: 1, Class: 1, Source: audit.SourceUpstream, EDE: -1, Duration: 12_000_000, Revision: 1,
		Client: netip.MustParseAddr("192.0.2.7"), Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")},
	}
	begin := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	return archiveOf(t, records, func(i int) *audit.Event {
		e.Name = fmt.Appendf(e.Name[:0], "\x10host-%011d\x0csome-service\x07example\x00", i)
		e.Aliases = [][]byte{fmt.Appendf(nil, "\x10edge-%011d\x03cdn\x07example\x00", i)}
		e.Time = begin + int64(i)*int64(time.Millisecond)
		return &e
	})
}

// archiveOf has so many records of what event gives.
func archiveOf(t *testing.T, records int, event func(int) *audit.Event) archive {
	t.Helper()
	dir := t.TempDir()
	const config = `version = 1
[upstream.default]
servers = ["udp://192.0.2.53"]
` + openToAll
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := audit.Open(audit.Config{Dir: filepath.Join(dir, "audit"), Slabs: 512})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	for i := range records {
		if !l.Record(event(i)) {
			t.Fatal("an event was lost")
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if s := l.Stats(); s.LastSeq != uint64(records) {
		t.Fatalf("%+v", s)
	}
	return archive{dir, records}
}

// export is the verb, ready to start.
func (a archive) export(t *testing.T, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, binary, append([]string{"audit", "export"}, args...)...)
	cmd.Dir = a.dir
	cmd.Env = append(os.Environ(), "WEIR_CONFIG=", "NO_COLOR=")
	return cmd
}

// whole checks that an export ends where a record ends, and counts its records.
func whole(t *testing.T, format string, out []byte) (n int) {
	t.Helper()
	if format == "dnstap" {
		for ended := false; len(out) > 0; {
			size := int(binary32(out))
			if ended || len(out) < 4+size {
				t.Fatal("a frame is cut, or behind the end")
			}
			out = out[4+size:]
			if size == 0 {
				ended = binary32(out[4:]) == 3
				out = out[4+binary32(out):]
			} else {
				n++
			}
			if len(out) == 0 && !ended {
				t.Fatal("the frame that ends the file is missing")
			}
		}
		return n / 2 // a query and its response
	}
	if !bytes.HasSuffix(out, []byte("\n")) {
		t.Fatalf("it ends in a line: %q", out[max(0, len(out)-200):])
	}
	for line := range bytes.Lines(out) {
		switch {
		case format == "zeek" && line[0] == '#', format == "csv" && bytes.HasPrefix(line, []byte("seq,")):
			continue
		case format == "zeek" && bytes.Count(line, []byte("\t")) != 23, format == "csv" && bytes.Count(line, []byte(",")) < 30,
			format != "zeek" && format != "csv" && !json.Valid(line):
			t.Fatalf("a line is cut: %q", line)
		}
		n++
	}
	return n
}

func binary32(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// ^C ends an export with a whole last record, in a pipe and in a file, and the
// file does not get its name.
func TestExportsAreInterrupted(t *testing.T) {
	a := makeArchive(t, 200_000)
	for _, format := range audit.Formats() {
		t.Run("pipe "+format, func(t *testing.T) {
			cmd := a.export(t, "--format", format)
			var said bytes.Buffer
			cmd.Stderr = &said
			pipe, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			first := make([]byte, 1000) // what is behind it fills the pipe, and the export waits
			if _, err := io.ReadFull(pipe, first); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(pipe)
			if err != nil {
				t.Fatal(err)
			}
			code := exitCode(cmd.Wait())
			n := whole(t, format, append(first, rest...))
			if code != 1 || n == 0 || n >= a.records || !strings.HasPrefix(said.String(), "interrupted: ") {
				t.Errorf("exit code %d, %d records, it said %q", code, n, &said)
			}
		})
		t.Run("file "+format, func(t *testing.T) {
			file := filepath.Join(a.dir, "cut."+format)
			cmd := a.export(t, "--format", format, "-o", file)
			var said bytes.Buffer
			cmd.Stderr = &said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for limit := time.Now().Add(patience); ; {
				if info, err := os.Stat(file + ".partial"); err == nil && info.Size() > 0 {
					break
				}
				if time.Now().After(limit) {
					t.Fatal("it writes nothing")
				}
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			code := exitCode(cmd.Wait())
			out, err := os.ReadFile(file + ".partial")
			if err != nil {
				t.Fatal(err)
			}
			if n := whole(t, format, out); code != 1 || n == 0 || n >= 3*a.records {
				t.Errorf("exit code %d, %d records, it said %q", code, n, &said)
			}
			if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is there: %v", file, err)
			}
			if !regexp.MustCompile(`^interrupted: [0-9]+ records? in .*\.partial\n$`).MatchString(said.String()) {
				t.Errorf("it said %q", &said)
			}
		})
	}
}

// Whoever reads an export may stop at any time: nobody complains.
func TestReadersOfExportsMayStop(t *testing.T) {
	a := makeArchive(t, 100_000)
	cmd := a.export(t)
	var said bytes.Buffer
	cmd.Stderr = &said
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(pipe).ReadBytes('\n'); err != nil || !json.Valid(line) {
		t.Fatalf("%v in %q", err, line)
	}
	if err := pipe.Close(); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || status.Signal() != syscall.SIGPIPE || said.Len() > 0 {
		t.Errorf("%v, it said %q", err, &said)
	}
}

// When nobody reads what ^C lets an export write to its end, another ends it at once.
func TestASecondInterruptEndsAnExport(t *testing.T) {
	cmd := makeArchive(t, 100_000).export(t)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(pipe, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	press := time.NewTicker(time.Millisecond) // signals without a pause between them pile up on the runtime's signal stack
	defer press.Stop()
	for limit := time.After(patience); ; {
		select {
		case <-ended:
		case <-limit:
			t.Fatal("it does not end")
		case <-press.C:
			_ = cmd.Process.Signal(os.Interrupt) // one that has ended gets none
			continue
		}
		break
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGINT {
		t.Errorf("%v", cmd.ProcessState)
	}
}
