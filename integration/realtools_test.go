//go:build realtools

package integration

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
	"delv": "bind9-dnsutils", "dnsdist": "dnsdist", "dnstap-read": "bind9-dnsutils",
	"named": "bind9", "knotd": "knot", "ip": "iproute2", "python3": "python3", "systemd-analyze": "systemd",
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
