//go:build realtools

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
	"weir/resolver"
)

// This file and realtools_*_test.go run the built binary with other people's
// programs: dig and kdig ask it, dnsperf loads it, and what it does not know
// itself it asks of unbound and nsd; dnstap-read reads its exports. All on loopback, on free ports, in folders
// that the test removes. A tool that is not there is a failure:
//
//	go test -tags realtools -count=1 ./integration -run TestReal

// tools maps each program to the Debian package that brings it.
var tools = map[string]string{
	"dig": "bind9-dnsutils", "kdig": "knot-dnsutils", "dnsperf": "dnsperf", "unbound": "unbound", "nsd": "nsd",
	"dnsdist": "dnsdist", "dnstap-read": "bind9-dnsutils", "named": "bind9", "knotd": "knot", "ip": "iproute2",
}

// tool returns the path of a program. The two servers live where an ordinary
// user's PATH does not look.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if path, err := exec.LookPath(filepath.Join("/usr/sbin", name)); err == nil {
		return path
	}
	t.Fatalf("this suite needs %s and does not find it: apt-get install %s", name, tools[name])
	return ""
}

// needTools fails at once if any tool of the suite is missing, and names them all.
func needTools(t *testing.T) {
	t.Helper()
	ok := true
	for name := range tools {
		ok = t.Run("has "+name, func(t *testing.T) { tool(t, name) }) && ok
	}
	if !ok {
		t.FailNow()
	}
}

// toolPatience bounds one run of a tool, and its load.
const toolPatience = 2 * time.Minute

// output runs a program to its end and returns what it printed. A wrong exit
// code is in err; what it said is then in the text too.
func output(t *testing.T, dir, path string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), toolPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	// No .digrc and no language of whoever runs the test.
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "LC_ALL=C.UTF-8")
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("it took more than %v", toolPatience)
	}
	if err != nil {
		return out.String() + errs.String(), fmt.Errorf("%s %s: %w", filepath.Base(path), strings.Join(args, " "), err)
	}
	return out.String(), nil
}

// must is output of a run that has to succeed.
func must(t *testing.T, dir, path string, args ...string) string {
	t.Helper()
	out, err := output(t, dir, path, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// writeFile puts text into a file of dir and returns its path.
func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A child is a process that the test started, with what it says on standard error.
type child struct {
	cmd   *exec.Cmd
	lines chan string // closed at its end
	said  bytes.Buffer
	ended bool
}

// start starts cmd. It is ended with the test, if it has not ended before.
func start(t *testing.T, cmd *exec.Cmd) *child {
	t.Helper()
	c := &child{cmd: cmd, lines: make(chan string, 10_000)}
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.lines)
		in := bufio.NewScanner(pipe)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			c.lines <- in.Text()
		}
		_, _ = io.Copy(io.Discard, pipe)
	}()
	t.Cleanup(func() { c.terminate(t) })
	return c
}

// find reads what the process says until a line matches.
func (c *child) find(t *testing.T, re *regexp.Regexp) []string {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		select {
		case line, ok := <-c.lines:
			if !ok {
				t.Fatalf("%s ended; it said:\n%s", c.cmd.Path, &c.said)
			}
			fmt.Fprintln(&c.said, line)
			if m := re.FindStringSubmatch(line); m != nil {
				return m
			}
		case <-limit.C:
			t.Fatalf("%s says no line that matches %q, but:\n%s", c.cmd.Path, re, &c.said)
		}
	}
}

// gone reports whether the process has closed its standard error.
func (c *child) gone() bool {
	for {
		select {
		case line, ok := <-c.lines:
			if !ok {
				return true
			}
			fmt.Fprintln(&c.said, line)
		default:
			return false
		}
	}
}

// terminate asks the process to end, waits for that and returns the exit code.
func (c *child) terminate(t *testing.T) int {
	t.Helper()
	if !c.ended {
		c.ended = true
		_ = c.cmd.Process.Signal(syscall.SIGTERM) // one that has ended by itself is waited for as well
		limit := time.AfterFunc(patience, func() {
			t.Errorf("%s does not end", c.cmd.Path)
			_ = c.cmd.Process.Kill()
		})
		for line := range c.lines {
			fmt.Fprintln(&c.said, line)
		}
		_ = c.cmd.Wait() // the code is read below
		limit.Stop()
	}
	return c.cmd.ProcessState.ExitCode()
}

// weir is the program under test, running.
type weir struct {
	*child
	dir   string
	addrs []netip.AddrPort
}

// startWeir serves config from dir, which may hold lists already.
func startWeir(t *testing.T, dir, config string) *weir {
	t.Helper()
	writeFile(t, dir, "config.toml", config)
	cmd := exec.Command(binary, "serve", "--config", "config.toml")
	cmd.Dir = dir
	return greeted(t, cmd)
}

// greeted starts weir by cmd and waits until it serves.
func greeted(t *testing.T, cmd *exec.Cmd) *weir {
	t.Helper()
	w := &weir{child: start(t, cmd), dir: cmd.Dir}
	on := w.find(t, regexp.MustCompile(`serves DNS on (.*), UDP and TCP`))[1]
	for text := range strings.SplitSeq(on, " and ") {
		a, err := netip.ParseAddrPort(text)
		if err != nil {
			t.Fatal(err)
		}
		w.addrs = append(w.addrs, a)
	}
	return w
}

// run runs another weir, which finds this one by the configuration.
func (w *weir) run(t *testing.T, args ...string) string {
	t.Helper()
	return must(t, w.dir, binary, append(args, "--config", "config.toml")...)
}

// weirStatus is what the tests read of `weir status --json`.
type weirStatus struct {
	Revision   int            `json:"revision"`
	Names      int            `json:"names"`
	NameMemory int            `json:"name_memory"`
	Resolver   resolver.Stats `json:"resolver"`
	Audit      audit.Stats    `json:"audit"`
	Process    holding        `json:"process"`
}

// holding is what the process holds of the machine.
type holding struct {
	Goroutines  int    `json:"goroutines"`
	Heap        uint64 `json:"heap"`
	Descriptors int    `json:"descriptors"`
}

// status asks the running weir how it is doing.
func (w *weir) status(t *testing.T) (st weirStatus) {
	t.Helper()
	if err := json.Unmarshal([]byte(w.run(t, "status", "--json")), &st); err != nil {
		t.Fatal("status: ", err)
	}
	return st
}

// settled waits until every event is in the store, and returns the status then.
func (w *weir) settled(t *testing.T) weirStatus {
	t.Helper()
	for limit := time.Now().Add(patience); ; {
		st := w.status(t)
		if st.Audit.Pending == 0 {
			return st
		}
		if time.Now().After(limit) {
			t.Fatalf("%d events wait for the store: %+v", st.Audit.Pending, st.Audit)
		}
	}
}

// export returns the records after sequence number after, oldest first.
func (w *weir) export(t *testing.T, after uint64) []audit.Record {
	t.Helper()
	path := filepath.Join(t.TempDir(), "records.jsonl")
	w.run(t, "audit", "export", "--format", "jsonl", "-o", path)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []audit.Record
	for in := json.NewDecoder(bufio.NewReaderSize(f, 1<<20)); ; {
		var r audit.Record
		if err := in.Decode(&r); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatalf("export, after %d records: %v", len(out), err)
		}
		if r.Seq > after {
			out = append(out, r)
		}
	}
}

// report is what the log's own proof says.
func (w *weir) report(t *testing.T) (rep audit.Report) {
	t.Helper()
	if err := json.Unmarshal([]byte(w.run(t, "audit", "verify", "--json")), &rep); err != nil {
		t.Fatal("verify: ", err)
	}
	return rep
}

// intact checks that the log is whole.
func (w *weir) intact(t *testing.T) {
	t.Helper()
	rep := w.report(t)
	if len(rep.Problems) > 0 || rep.Lost > 0 || rep.Records != rep.Last-rep.First+1 {
		t.Errorf("the log is not whole: %+v", rep)
	}
}

// stop ends weir as an operator does, and checks that it had nothing to regret.
func (w *weir) stop(t *testing.T) {
	t.Helper()
	if code := w.terminate(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	said := w.said.String()
	if strings.Contains(said, "panic") || strings.Contains(said, "level=ERROR") || !strings.Contains(said, " lost=0 ") {
		t.Errorf("weir said:\n%s", said)
	}
	w.intact(t)
}
