package integration

import (
	"bufio"
	"bytes"
	"context"
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
)

// What tests in Go, as opposed to scripts, run the binary with.

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

// onLoopback begins a configuration, with a port that is free; more of [server] may follow.
const onLoopback = `version = 1
[server]
listen = ["127.0.0.1:0"]
`

// besideConfig ends one: its folder has the rest too.
const besideConfig = `[audit]
path = "audit"
[admin]
socket = "s"
`

// openToAll is besideConfig, and everybody may ask for everything.
const openToAll = `[[policy]]
name = "all"
clients = ["any"]
default = "allow"
` + besideConfig

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
