package integration

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite what the scripts compare with")

// binary is the program under test, built once.
var binary string

// touchSources looks at every source of the binary, so that a result kept from
// an older binary does not stand for the new one. It must run within a test.
func touchSources() {
	for _, dir := range []string{"audit", "blocklist", "cmd", "resolver"} {
		_ = filepath.WalkDir(filepath.Join("..", dir), func(path string, _ fs.DirEntry, _ error) error {
			_, _ = os.Stat(path)
			return nil
		})
	}
}

// apart says in the environment that a test runs in a network of its own, or with mounts
// of its own, and where the binary is.
const apart = "WEIR_TEST_APART"

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		if binary = os.Getenv(apart); binary != "" {
			return m.Run() // of one test
		}
		dir, err := os.MkdirTemp("", "weir-integration-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "weir")
		build := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "weir/cmd/weir", "weir/docs/verify")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
		defer forgetMemory(os.TempDir())
		return m.Run()
	}())
}

// forgetMemory removes what processes that were killed have left in memory for audit logs
// in dir, or below it, as far as nobody can take it over: the folder is gone, or is to go.
func forgetMemory(dir string) {
	left, _ := filepath.Glob("/dev/shm/weir-*") // the pattern is well formed
	for _, path := range left {
		of, err := url.PathUnescape(strings.TrimPrefix(filepath.Base(path), "weir-"))
		if err != nil || !strings.HasPrefix(of, dir+string(filepath.Separator)) {
			continue
		}
		if _, err := os.Stat(of); dir != os.TempDir() || errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(path)
		}
	}
}

// TestScripts runs testdata/*.txt. Beside testscript's own commands they have:
//
//	upstream FILE [VAR]      start a server that behaves as FILE says; $UPSTREAM, or $VAR, is its address
//	asked NAME TYPE N [VAR]  fail unless that upstream was asked exactly N times
//	[!] asked-plain NAME TYPE [VAR]
//	                         fail unless it was asked, and each time with a question and the flags RD, CD and DO alone;
//	                         with !, unless there was more
//	[!] unasked NAME [VAR]   fail if it was asked for the name or one below it, whatever the type; with !, if not
//	wait-asked NAME TYPE [N] [VAR]
//	                         wait until it has been asked, N times
//	release NAME [VAR]       let it send the answers for NAME that it held back
//	web FILE [VAR]           start an HTTP server that behaves as FILE says (see webServer); $WEB, or $VAR, is its URL
//	fetched PATH N [304] [VAR]
//	                         fail unless it was asked for PATH exactly N times, or so answered it 304 N times
//	wait-fetched PATH N [304] [VAR]
//	                         wait until it has, or more often
//	primary FILE [VAR]       start a primary server of zones that behaves as FILE says (see primary); $PRIMARY, or
//	                         $VAR, is its address
//	transferred AXFR|IXFR|denied N [VAR]
//	                         fail unless it has sent exactly N zones whole, or N differences, or refused N requests
//	                         that were not signed with its key
//	wait-transferred AXFR|IXFR|denied N [VAR]
//	                         wait until it has, or more often
//	[!] notify ZONE [VAR]    let it tell weir that a zone has changed; fail unless the answer, which is printed as by
//	                         ask, is NOERROR; with !, if it is
//	gone VAR                 end the server at that address; the command that started it starts it there again
//	keep VAR REGEXP          put what the parentheses of REGEXP match in the last standard output into $VAR
//	expand FILE…             put environment variables into files
//	serve [ARGS]             start weir and wait until it serves; $ADDR and $PORT are its first address, $ADDR2
//	                         its second, $PID its process. $DESCRIPTORS is how many files it may have open
//	signal [-nowait] NAME    send TERM, HUP, INT or KILL to it; all but HUP wait for its end and check the exit code
//	ended                    wait for the end after signal -nowait, and check the exit code
//	wait-log REGEXP          wait until its standard error has a new line that matches
//	[!] said REGEXP          fail unless it has said a line that matches, at its start or while wait-log waited
//	watch ARGS               start a verb of weir that goes on until interrupted
//	[!] seen REGEXP          wait until its standard output has a new line that matches; with !, fail if one so far does
//	watched CODE             wait until it ends by itself, with the exit code CODE
//	unwatch                  interrupt it, and fail unless it exits with 0
//	exits N CMD [ARGS]       like exec, but CMD must exit with the code N
//	ask NAME TYPE [OPTIONS]  ask weir; see cmdAsk
//	ask-until REGEXP NAME TYPE [OPTIONS]
//	                         ask again until the answer, which is printed as by ask, matches
//	asking KEY [N] NAME TYPE [OPTIONS]
//	                         ask N times at once and return when weir has taken all of it
//	answered KEY             wait for the answers and print the different ones, each with how often it came
//	send [-tcp] HEX…         send octets as they are over UDP, or behind their length over TCP, and print the answer;
//	                         HEX*N stands for N times the same
//	stream [-octets] FILE    send what a file holds over one TCP connection and print the answers; see cmdStream
//	flood N NAME TYPE        ask N times over UDP without minding the answers
//	seal N NAME TYPE         ask N times, and have each record on disk in a segment of its own
//	hold N [from=ADDRESS]    open N TCP connections that say nothing, and keep them to the end
//	descriptors N|all        let weir have so many files open from now on
//	filelimit OCTETS|none    let weir write no file beyond so many octets
//	fuzzfile FILE AT N       overwrite N octets of FILE from the offset AT (negative: from its end), or behind
//	                         each place where TEXT stands, if AT is @TEXT
//	damage FILE SEQ          flip a bit in the segment of the audit store FILE that holds the record SEQ
//
// $ROOT is the repository, $GROUP the group that this runs as. $NEARDAYS are the days from yesterday to tomorrow by UTC, as a schedule names them,
// and $FARDAYS three of the others, so that it does not matter at which hour a script runs.
func TestScripts(t *testing.T) {
	touchSources()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		UpdateScripts:       *update,
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			w := &world{
				upstreams: map[string]*fakeServer{}, webs: map[string]*webServer{}, primaries: map[string]*primary{},
				pending: map[string]*pending{},
			}
			e.Values["world"] = w
			e.Defer(func() { // one after the other: killed processes leave memory
				w.close()
				forgetMemory(e.WorkDir)
			})
			e.Setenv("PATH", filepath.Dir(binary)+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("ROOT", root)
			e.Setenv("GROUP", groupName())
			now := time.Now().UTC()
			e.Setenv("NEARDAYS", dayWord(now, -1)+"-"+dayWord(now, 1))
			e.Setenv("FARDAYS", dayWord(now, 2)+"-"+dayWord(now, 4))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"upstream":         cmdUpstream,
			"asked":            cmdAsked,
			"asked-plain":      cmdAskedPlain,
			"unasked":          cmdUnasked,
			"wait-asked":       cmdWaitAsked,
			"release":          cmdRelease,
			"web":              cmdWeb,
			"fetched":          cmdFetched,
			"wait-fetched":     cmdWaitFetched,
			"primary":          cmdPrimary,
			"transferred":      cmdTransferred,
			"wait-transferred": cmdWaitTransferred,
			"notify":           cmdNotify,
			"gone":             cmdGone,
			"keep":             cmdKeep,
			"expand":           cmdExpand,
			"serve":            cmdServe,
			"signal":           cmdSignal,
			"ended":            cmdEnded,
			"wait-log":         cmdWaitLog,
			"said":             cmdSaid,
			"watch":            cmdWatch,
			"seen":             cmdSeen,
			"watched":          cmdWatched,
			"unwatch":          cmdUnwatch,
			"exits":            cmdExits,
			"ask":              cmdAsk,
			"ask-until":        cmdAskUntil,
			"asking":           cmdAsking,
			"answered":         cmdAnswered,
			"send":             cmdSend,
			"stream":           cmdStream,
			"flood":            cmdFlood,
			"seal":             cmdSeal,
			"filelimit":        cmdFileLimit,
			"hold":             cmdHold,
			"descriptors":      cmdDescriptors,
			"fuzzfile":         cmdFuzzFile,
			"damage":           cmdDamage,
		},
	})
}

// dayWord names the day that is so many days after t.
func dayWord(t time.Time, days int) string {
	return strings.ToLower(t.AddDate(0, 0, days).Format("Mon"))
}

// patience bounds every wait for something that should come at once.
const patience = 20 * time.Second

// world is what one script has running.
type world struct {
	upstreams map[string]*fakeServer // by the variable that holds the address; so are the next two
	webs      map[string]*webServer
	primaries map[string]*primary
	weir      *process
	watcher   *process
	pending   map[string]*pending
	held      []net.Conn
}

func (w *world) close() {
	for _, c := range w.held {
		_ = c.Close()
	}
	for _, p := range []*process{w.watcher, w.weir} {
		if p != nil {
			p.kill()
		}
	}
	for _, u := range w.upstreams {
		u.close()
	}
	for _, s := range w.webs {
		s.close()
	}
	for _, p := range w.primaries {
		p.close()
	}
}

func cmdGone(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, 1, "gone VAR")
	w, key := worldOf(ts), args[0]
	u, s, p := w.upstreams[key], w.webs[key], w.primaries[key]
	switch {
	case u != nil:
		u.close()
	case s != nil:
		s.close()
	case p != nil:
		p.close()
	default:
		ts.Fatalf("no server %s runs", key)
	}
	delete(w.upstreams, key)
	delete(w.webs, key)
	delete(w.primaries, key)
}

func worldOf(ts *testscript.TestScript) *world { return ts.Value("world").(*world) }

// usage ends the script unless the arguments of a command are as many as it
// takes and it was not negated.
func usage(ts *testscript.TestScript, neg bool, args []string, least, most int, text string) {
	if neg || len(args) < least || len(args) > most {
		ts.Fatalf("usage: %s", text)
	}
}

const anyNumber = 1 << 20

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, anyNumber, "exits CODE CMD [ARGS]")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

func cmdExpand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, anyNumber, "expand FILE…")
	for _, file := range args {
		text := os.Expand(ts.ReadFile(file), func(key string) string { return ts.Getenv(key) })
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(text), 0o600))
	}
}

func cmdKeep(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, 2, "keep VAR REGEXP")
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	m := re.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) < 2 {
		ts.Fatalf("no match for %q", args[1])
	}
	ts.Setenv(args[0], m[1])
}

func cmdFuzzFile(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 3, 3, "fuzzfile FILE OFFSET|@TEXT N")
	file := ts.MkAbs(args[0])
	data, err := os.ReadFile(file)
	ts.Check(err)
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	noise := bytes.Repeat([]byte{0xa5}, n)
	if args[1][0] != '@' {
		off, err := strconv.Atoi(args[1])
		ts.Check(err)
		if off < 0 {
			off += len(data)
		}
		copy(data[off:], noise)
	} else {
		mark := []byte(args[1][1:])
		at := bytes.Index(data, mark)
		if at < 0 {
			ts.Fatalf("%s holds no %q", args[0], mark)
		}
		for from := 0; at >= 0; at = bytes.Index(data[from:], mark) {
			from += at + len(mark)
			copy(data[from:], noise)
		}
	}
	ts.Check(os.WriteFile(file, data, 0o600))
}

// groupName is the group that this process runs as.
func groupName() string {
	if g, err := user.LookupGroupId(strconv.Itoa(os.Getgid())); err == nil {
		return g.Name
	}
	return strconv.Itoa(os.Getgid())
}
