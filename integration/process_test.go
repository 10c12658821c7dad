package integration

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// process is a running weir with what it says on one of its outputs.
type process struct {
	cmd   *exec.Cmd
	lines chan string // what it says; closed at its end
	said  bytes.Buffer
	ended bool
}

// startProcess runs weir in the script's folder. Its standard output is read if
// stdout is true, else its standard error.
func startProcess(ts *testscript.TestScript, stdout bool, args ...string) *process {
	p := &process{cmd: exec.Command(binary, args...), lines: make(chan string, 10_000)}
	if n := ts.Getenv("DESCRIPTORS"); n != "" {
		p.cmd = exec.Command("sh", append([]string{"-c", `ulimit -n "$0" && exec "$@"`, n, binary}, args...)...)
	}
	p.cmd.Dir = ts.MkAbs(".")
	p.cmd.Env = append(os.Environ(), "HOME="+ts.Getenv("HOME"), "WEIR_CONFIG="+ts.Getenv("WEIR_CONFIG"))
	if cores := ts.Getenv("GOMAXPROCS"); cores != "" {
		p.cmd.Env = append(p.cmd.Env, "GOMAXPROCS="+cores)
	}
	open := p.cmd.StderrPipe
	if stdout {
		open = p.cmd.StdoutPipe
	}
	pipe, err := open()
	ts.Check(err)
	ts.Check(p.cmd.Start())
	go func() {
		defer close(p.lines)
		in := bufio.NewScanner(pipe)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			p.lines <- in.Text()
		}
		_, _ = io.Copy(io.Discard, pipe)
	}()
	return p
}

// find reads what the process says until a line matches.
func (p *process) find(re *regexp.Regexp) ([]string, error) {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				return nil, fmt.Errorf("it ended without a line that matches %q; it said:\n%s", re, &p.said)
			}
			fmt.Fprintln(&p.said, line)
			if m := re.FindStringSubmatch(line); m != nil {
				return m, nil
			}
		case <-limit.C:
			return nil, fmt.Errorf("no line matches %q; it said:\n%s", re, &p.said)
		}
	}
}

// end waits for the process and returns its exit code.
func (p *process) end() (int, error) {
	limit := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer limit.Stop()
	for line := range p.lines {
		fmt.Fprintln(&p.said, line)
	}
	p.ended = true
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

func (p *process) kill() {
	if !p.ended {
		_ = p.cmd.Process.Kill()
		_, _ = p.end()
	}
}

// running returns p, or ends the script if it does not run.
func running(ts *testscript.TestScript, p *process) *process {
	if p == nil || p.ended {
		ts.Fatalf("it does not run")
	}
	return p
}

func (p *process) wait(ts *testscript.TestScript, want int) {
	code, err := p.end()
	ts.Check(err)
	ts.Logf("%s", &p.said)
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 0, anyNumber, "serve [ARGS]; or `exits N weir serve` for one that must not start")
	w := worldOf(ts)
	if w.weir != nil && !w.weir.ended {
		ts.Fatalf("it already runs")
	}
	var m []string
	for range 5 { // port 0 is one that is free for TCP; another test may just have it for UDP
		w.weir = startProcess(ts, false, append([]string{"serve"}, args...)...)
		var err error
		m, err = w.weir.find(regexp.MustCompile(`serves DNS on ([^ ,]+)(?: and ([^ ,]+))?|error: udp .* is taken by`))
		ts.Check(err)
		if m[1] != "" {
			break
		}
		_, err = w.weir.end()
		ts.Check(err)
	}
	addr, err := netip.ParseAddrPort(m[1])
	ts.Check(err)
	ts.Setenv("ADDR", addr.String())
	ts.Setenv("PORT", strconv.Itoa(int(addr.Port())))
	ts.Setenv("ADDR2", m[2])
	ts.Setenv("PID", strconv.Itoa(w.weir.cmd.Process.Pid))
}

func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	nowait := len(args) > 0 && args[0] == "-nowait"
	if nowait {
		args = args[1:]
	}
	usage(ts, neg, args, 1, 1, "signal [-nowait] TERM|HUP|INT|KILL")
	p := running(ts, worldOf(ts).weir)
	sig, ok := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL}[args[0]]
	if !ok {
		ts.Fatalf("signal %q is not known", args[0])
	}
	ts.Check(p.cmd.Process.Signal(sig))
	switch {
	case sig == syscall.SIGKILL:
		p.wait(ts, -1)
	case sig != syscall.SIGHUP && !nowait:
		p.wait(ts, 0)
	}
}

func cmdEnded(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 0, 0, "ended")
	running(ts, worldOf(ts).weir).wait(ts, 0)
}

func cmdWaitLog(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, 1, "wait-log REGEXP")
	waitLine(ts, worldOf(ts).weir, args[0])
}

func cmdSaid(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, false, args, 1, 1, "[!] said REGEXP")
	hasSaid(ts, neg, worldOf(ts).weir, args[0])
}

func hasSaid(ts *testscript.TestScript, neg bool, p *process, text string) {
	re, err := regexp.Compile("(?m)" + text)
	ts.Check(err)
	if re.Match(p.said.Bytes()) == neg {
		ts.Fatalf("it said:\n%s", &p.said)
	}
}

func waitLine(ts *testscript.TestScript, p *process, text string) {
	re, err := regexp.Compile(text)
	ts.Check(err)
	_, err = running(ts, p).find(re)
	ts.Check(err)
}

func cmdWatch(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, anyNumber, "watch VERB [ARGS]")
	w := worldOf(ts)
	if w.watcher != nil && !w.watcher.ended {
		ts.Fatalf("one already runs")
	}
	w.watcher = startProcess(ts, true, args...)
}

func cmdSeen(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, false, args, 1, 1, "[!] seen REGEXP")
	if neg {
		hasSaid(ts, true, worldOf(ts).watcher, args[0])
		return
	}
	waitLine(ts, worldOf(ts).watcher, args[0])
}

func cmdWatched(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, 1, "watched CODE")
	code, err := strconv.Atoi(args[0])
	ts.Check(err)
	running(ts, worldOf(ts).watcher).wait(ts, code)
}

func cmdUnwatch(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 0, 0, "unwatch")
	p := running(ts, worldOf(ts).watcher)
	ts.Check(p.cmd.Process.Signal(syscall.SIGINT))
	p.wait(ts, 0)
}
