//go:build realtools

package integration

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// askSteadily asks addr n queries by turns, rate in a second, and returns how long each
// answer took from when its query was due. One query is under way at a time, from a thread
// that goes before all others where the system permits that: so what is measured is not the
// asking.
func askSteadily(t *testing.T, addr netip.AddrPort, rate, n int, queries []*query) []time.Duration {
	t.Helper()
	type outcome struct {
		took []time.Duration
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		runtime.LockOSThread() // and not unlocked: the thread ends with its right to a core
		_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
		took, err := ask(addr, rate, n, queries)
		done <- outcome{took, err}
	}()
	o := <-done
	if o.err != nil {
		t.Fatal(o.err)
	}
	return o.took
}

func ask(addr netip.AddrPort, rate, n int, queries []*query) ([]time.Duration, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	patience := unix.NsecToTimeval(int64(clientPatience))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
		return nil, err
	}
	took, begin, answer := make([]time.Duration, 0, n), time.Now(), make([]byte, 1<<12)
	for i := range n {
		due := begin.Add(time.Duration(i) * time.Second / time.Duration(rate))
		if wait := time.Until(due); wait > 0 {
			pause := unix.NsecToTimespec(int64(wait))
			_ = unix.Nanosleep(&pause, nil) // if it ends early, the query is early
		}
		packet := append([]byte{byte(i >> 8), byte(i)}, queries[i%len(queries)].packet[2:]...)
		if _, err := unix.Write(fd, packet); err != nil {
			return nil, err
		}
		for size := 0; size < 12 || answer[0] != packet[0] || answer[1] != packet[1]; { // one that is late is passed over
			if size, err = unix.Read(fd, answer); err != nil && err != unix.EINTR {
				return nil, err
			}
		}
		took = append(took, time.Since(due))
	}
	return took, nil
}
