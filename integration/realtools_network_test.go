//go:build realtools

package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inOwnNetwork runs the test once more in a network namespace of its own, as a
// process that is root there, and returns true in that process alone.
func inOwnNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv(apart) != "" {
		command(t, "ip", "link", "set", "lo", "up")
		return true
	}
	how := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if os.Getuid() != 0 {
		how.Cloneflags |= unix.CLONE_NEWUSER
		how.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		how.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	runAgain(t, "in a network namespace, which takes root or the right to make user namespaces", how)
	return false
}

// runAgain runs the test once more in a process of its own, which is to pass, and logs what
// that has logged.
func runAgain(t *testing.T, where string, how *syscall.SysProcAttr) {
	t.Helper()
	run := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=2m")
	run.Env = append(os.Environ(), apart+"="+binary)
	run.SysProcAttr = how
	out, err := run.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%s: %v\n%s", where, err, out)
	}
	for line := range strings.Lines(string(out)) {
		if _, said, ok := strings.Cut(line, "_test.go:"); ok { // a figure
			_, said, _ = strings.Cut(said, ": ")
			t.Log(strings.TrimSpace(said))
		}
	}
}

// command runs a program that has to succeed.
func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(tool(t, name), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// A machine is another network namespace: what do runs opens its sockets there, and
// the processes that it starts live there.
type machine struct {
	tid  int
	work chan func()
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // and not unlocked: the thread ends with the goroutine
		m.tid = unix.Gettid()
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range m.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatal("a second network namespace: ", err)
	}
	t.Cleanup(func() { close(m.work) })
	m.ip(t, "link", "set", "lo", "up")
	return m
}

// do runs f there and waits. f must not end the test, and what it opens must not
// take another goroutine: addresses are given as such.
func (m *machine) do(f func()) {
	done := make(chan struct{})
	m.work <- func() {
		defer close(done)
		f()
	}
	<-done
}

func (m *machine) ip(t *testing.T, args ...string) {
	t.Helper()
	path := tool(t, "ip")
	var out []byte
	var err error
	m.do(func() { out, err = exec.Command(path, args...).CombinedOutput() })
	if err != nil {
		t.Fatalf("there: ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// cable makes two interfaces that are one cable, ours with the name here and
// theirs with the name there, and gives each its addresses.
func cable(t *testing.T, m *machine, here string, ours []string, there string, theirs []string) {
	t.Helper()
	ip := func(args ...string) { t.Helper(); command(t, "ip", args...) }
	ip("link", "add", here, "type", "veth", "peer", "name", there)
	ip("link", "set", there, "netns", fmt.Sprint(m.tid))
	for _, a := range ours {
		ip("address", "add", a, "dev", here, "nodad")
	}
	for _, a := range theirs {
		m.ip(t, "address", "add", a, "dev", there, "nodad")
	}
	ip("link", "set", here, "up")
	m.ip(t, "link", "set", there, "up")
}

// tun opens an interface whose other end is the file: each read is a packet that it
// sends, each write one that it receives. It is up, with an address.
func openTun(t *testing.T, name, address string) *os.File {
	t.Helper()
	f, err := makeTun(name)
	if err != nil {
		t.Fatal("a tunnel: ", err)
	}
	t.Cleanup(func() { f.Close() })
	command(t, "ip", "address", "add", address, "dev", name)
	command(t, "ip", "link", "set", name, "up")
	return f
}

func (m *machine) openTun(t *testing.T, name, address string) (f *os.File) {
	t.Helper()
	var err error
	m.do(func() { f, err = makeTun(name) })
	if err != nil {
		t.Fatal("a tunnel there: ", err)
	}
	t.Cleanup(func() { f.Close() })
	m.ip(t, "address", "add", address, "dev", name)
	m.ip(t, "link", "set", name, "up")
	return f
}

// makeTun makes the interface in the namespace of the thread that calls.
func makeTun(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil // takes part in the runtime's poller, as it does not block
}
