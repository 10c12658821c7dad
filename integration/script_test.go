package integration

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite what the scripts compare with")

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "weir-integration-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "weir")
		build := exec.Command("go", "build", "-o", binary, "weir/cmd/weir")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// TestScripts runs testdata/*.txt. Beside testscript's own commands they have:
//
//	upstream FILE            start a server that behaves as FILE says; $UPSTREAM is its address
//	asked NAME TYPE N        fail unless the upstream was asked exactly N times
//	expand FILE              put environment variables into FILE
//	serve [ARGS]             start weir and wait until it serves; $ADDR and $PORT are its first address
//	signal NAME              send TERM, HUP, INT or KILL to it; all but HUP wait for its end and check the exit code
//	wait-log REGEXP          wait until its standard error has a new line that matches
//	ask NAME TYPE [OPTIONS]  ask it; see ask below
//	send HEX                 send octets as they are over UDP and print the answer
//	fuzzfile FILE OFFSET N   overwrite N bytes of FILE from OFFSET (negative: from its end)
func TestScripts(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: *update,
		Setup: func(e *testscript.Env) error {
			w := &world{}
			e.Values["world"] = w
			e.Defer(w.close)
			e.Setenv("PATH", filepath.Dir(binary)+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("ROOT", root)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"upstream": cmdUpstream,
			"asked":    cmdAsked,
			"expand":   cmdExpand,
			"serve":    cmdServe,
			"signal":   cmdSignal,
			"wait-log": cmdWaitLog,
			"ask":      cmdAsk,
			"send":     cmdSend,
			"fuzzfile": cmdFuzzFile,
		},
	})
}

// patience bounds every wait for something that should come at once.
const patience = 20 * time.Second

// world is what one script has running.
type world struct {
	upstream *fakeServer
	weir     *process
}

func (w *world) close() {
	if w.weir != nil {
		w.weir.kill()
	}
	if w.upstream != nil {
		w.upstream.close()
	}
}

func worldOf(ts *testscript.TestScript) *world { return ts.Value("world").(*world) }

// process is a running weir with its standard error.
type process struct {
	cmd   *exec.Cmd
	lines chan string // what it says; closed at its end
	said  bytes.Buffer
	ended bool
}

func startProcess(ts *testscript.TestScript, args ...string) *process {
	p := &process{cmd: exec.Command(binary, args...), lines: make(chan string, 10_000)}
	p.cmd.Dir = ts.MkAbs(".")
	p.cmd.Env = append(os.Environ(), "HOME="+ts.Getenv("HOME"), "WEIR_CONFIG="+ts.Getenv("WEIR_CONFIG"))
	pipe, err := p.cmd.StderrPipe()
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
				return nil, fmt.Errorf("it ended; it said:\n%s", &p.said)
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

func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if w.weir != nil && !w.weir.ended {
		ts.Fatalf("it already runs")
	}
	w.weir = startProcess(ts, append([]string{"serve"}, args...)...)
	if neg {
		ts.Fatalf("use `! exec weir serve` for one that must not start")
	}
	m, err := w.weir.find(regexp.MustCompile(`serves DNS on ([^ ,]+)`))
	ts.Check(err)
	addr, err := netip.ParseAddrPort(m[1])
	ts.Check(err)
	ts.Setenv("ADDR", addr.String())
	ts.Setenv("PORT", strconv.Itoa(int(addr.Port())))
	ts.Setenv("PID", strconv.Itoa(w.weir.cmd.Process.Pid))
}

func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: signal TERM|HUP|INT|KILL")
	}
	w := worldOf(ts)
	sig := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL}[args[0]]
	ts.Check(w.weir.cmd.Process.Signal(sig))
	if sig == syscall.SIGHUP {
		return
	}
	code, err := w.weir.end()
	ts.Check(err)
	ts.Logf("%s", &w.weir.said)
	if want := map[bool]int{true: -1, false: 0}[sig == syscall.SIGKILL]; code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

func cmdWaitLog(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: wait-log REGEXP")
	}
	re, err := regexp.Compile(args[0])
	ts.Check(err)
	_, err = worldOf(ts).weir.find(re)
	ts.Check(err)
}

func cmdExpand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: expand FILE…")
	}
	for _, file := range args {
		text := os.Expand(ts.ReadFile(file), func(key string) string { return ts.Getenv(key) })
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(text), 0o600))
	}
}

func cmdFuzzFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: fuzzfile FILE OFFSET N")
	}
	off, err := strconv.ParseInt(args[1], 0, 64)
	ts.Check(err)
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	if off < 0 {
		info, err := f.Stat()
		ts.Check(err)
		off += info.Size()
	}
	_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, n), off)
	ts.Check(err)
}

// cmdAsk asks one question and prints the answer: a line with rcode and flags,
// one with the Extended DNS Error if there is one, then the records. Options:
//
//	+tcp +edns +do +cd +dnssec=… transport and flags; +nord clears RD
//	+class=CH           another class
//	+bufsize=N          EDNS with this payload size
//	from=ADDRESS        the client's address, of 127.0.0.0/8
//	at=ADDRESS:PORT     another server address than $ADDR
//	+timeout=D          how long to wait (default 5s); "no answer" is then printed
func cmdAsk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: ask NAME TYPE [OPTIONS]")
	}
	q := new(dns.Msg)
	typ, ok := dns.StringToType[args[1]]
	if digits, is := strings.CutPrefix(args[1], "TYPE"); !ok && is {
		n, err := strconv.Atoi(digits)
		ts.Check(err)
		typ = uint16(n)
	} else if !ok {
		ts.Fatalf("type %q is not known", args[1])
	}
	q.SetQuestion(dns.Fqdn(args[0]), typ)
	network, server, wait := "udp", ts.Getenv("ADDR"), 5*time.Second
	var from netip.Addr
	for _, o := range args[2:] {
		key, value, _ := strings.Cut(o, "=")
		var err error
		switch key {
		case "+tcp":
			network = "tcp"
		case "+edns":
			q.SetEdns0(1232, false)
		case "+do":
			q.SetEdns0(1232, true)
		case "+cd":
			q.CheckingDisabled = true
		case "+nord":
			q.RecursionDesired = false
		case "+class":
			q.Question[0].Qclass = dns.StringToClass[value]
		case "+bufsize":
			n, aerr := strconv.Atoi(value)
			err = aerr
			q.SetEdns0(uint16(n), false)
		case "+timeout":
			wait, err = time.ParseDuration(value)
		case "from":
			from, err = netip.ParseAddr(value)
		case "at":
			server = value
		default:
			ts.Fatalf("option %q is not known", o)
		}
		ts.Check(err)
	}
	reply, err := exchange(q, network, server, from, wait)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		fmt.Fprintln(ts.Stdout(), "no answer")
		return
	}
	ts.Check(err)
	show(ts.Stdout(), q, reply)
}

// exchange sends q and returns the packet that comes back.
func exchange(q *dns.Msg, network, server string, from netip.Addr, wait time.Duration) (*dns.Msg, error) {
	var d net.Dialer
	if from.IsValid() {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
		if network == "tcp" {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	conn, err := d.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	c := &dns.Conn{Conn: conn, UDPSize: dns.MaxMsgSize}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(wait))
	if err := c.WriteMsg(q); err != nil {
		return nil, err
	}
	return c.ReadMsg()
}

func show(out io.Writer, q, m *dns.Msg) {
	var flags []string
	for _, f := range []struct {
		on   bool
		name string
	}{{m.Authoritative, "aa"}, {m.Truncated, "tc"}, {m.RecursionDesired, "rd"}, {m.RecursionAvailable, "ra"}, {m.AuthenticatedData, "ad"}, {m.CheckingDisabled, "cd"}} {
		if f.on {
			flags = append(flags, f.name)
		}
	}
	fmt.Fprintf(out, "%s %s\n", dns.RcodeToString[m.Rcode], strings.Join(flags, " "))
	if m.Id != q.Id || !m.Response {
		fmt.Fprintln(out, "WRONG HEADER", m.MsgHdr)
	}
	if len(m.Question) != 1 || m.Question[0] != q.Question[0] {
		fmt.Fprintln(out, "WRONG QUESTION", m.Question)
	}
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if ede, ok := o.(*dns.EDNS0_EDE); ok {
				fmt.Fprintf(out, "EDE %d %q\n", ede.InfoCode, ede.ExtraText)
			} else {
				fmt.Fprintf(out, "OPTION %v\n", o)
			}
		}
	}
	section := func(name string, rrs []dns.RR) {
		for _, rr := range rrs {
			if rr.Header().Rrtype != dns.TypeOPT {
				fmt.Fprintf(out, "%s %s\n", name, strings.Join(strings.Fields(rr.String()), " "))
			}
		}
	}
	section("answer", m.Answer)
	section("authority", m.Ns)
	section("additional", m.Extra)
}

func cmdSend(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: send HEX…")
	}
	var msg []byte
	for _, a := range args {
		var b []byte
		_, err := fmt.Sscanf(a, "%x", &b)
		ts.Check(err)
		msg = append(msg, b...)
	}
	c, err := net.Dial("udp", ts.Getenv("ADDR"))
	ts.Check(err)
	defer c.Close()
	_, err = c.Write(msg)
	ts.Check(err)
	// A question that is answered for certain goes after it: if its answer
	// comes first, there was none to the octets.
	sentinel := new(dns.Msg)
	sentinel.SetQuestion("localhost.", dns.TypeA)
	sentinel.Id = 0xbeef
	packed, err := sentinel.Pack()
	ts.Check(err)
	_, err = c.Write(packed)
	ts.Check(err)
	_ = c.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 65535)
	n, err := c.Read(buf)
	ts.Check(err)
	if n >= 2 && buf[0] == 0xbe && buf[1] == 0xef {
		fmt.Fprintln(ts.Stdout(), "no answer")
		return
	}
	m := new(dns.Msg)
	if err := m.Unpack(buf[:n]); err != nil {
		ts.Fatalf("the answer does not parse: %v", err)
	}
	fmt.Fprintf(ts.Stdout(), "id %04x opcode %d %s\n", m.Id, m.Opcode, dns.RcodeToString[m.Rcode])
}
