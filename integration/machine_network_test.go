//go:build realtools && machine

package integration

import (
	"os/exec"
	"testing"
)

// TestMachineBadLink is TestRealBadLink with a line that netem(8) makes bad: both ways it loses
// every fifth packet, doubles every tenth, and delays each by 30 to 70 ms, so that they come out
// of order.
func TestMachineBadLink(t *testing.T) {
	if !inMachine(t) {
		return
	}
	far := newMachine(t)
	cable(t, far, "near", []string{"10.8.0.1/24"}, "far", []string{"10.8.0.2/24"})
	bad := func(device string) *exec.Cmd {
		return exec.Command("tc", "qdisc", "add", "dev", device, "root", "netem", "limit", "10000", "loss", "20%", "delay", "50ms", "20ms", "duplicate", "10%")
	}
	nsdBeyond(t, far)
	here, theirs := bad("near"), bad("far")
	var err error
	far.do(func() { err = theirs.Run() })
	if err != nil {
		t.Fatal("netem there: ", err)
	}
	if out, err := here.CombinedOutput(); err != nil {
		t.Fatalf("netem: %v\n%s", err, out)
	}
	for _, url := range []string{"udp://10.8.0.2:5353", "tcp://10.8.0.2:5353"} {
		acrossBadLink(t, url)
	}
}

// TestMachineIdleClients is TestRealIdleClients, where there are descriptors enough for
// all 10,000.
func TestMachineIdleClients(t *testing.T) {
	if !inMachine(t, "-m", "2048") {
		return
	}
	testIdleClients(t, 11, 100)
}
