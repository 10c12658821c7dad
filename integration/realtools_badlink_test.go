//go:build realtools

package integration

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A badLink carries packets between two tunnels and treats them as a bad line does:
// each is lost with a probability, sent twice with another, and delayed by so much
// and some more or less, which puts them out of order. It is what netem(8) does,
// in kernels without it too.
type badLink struct {
	loss, twice   float64
	delay, jitter time.Duration

	mu                  sync.Mutex
	random              *rand.Rand
	sent, lost, doubled int
}

// between carries packets until the tunnels are closed.
func (l *badLink) between(t *testing.T, a, b *os.File) {
	var wg sync.WaitGroup
	carry := func(from, to *os.File) {
		var line delayLine
		wake := make(chan struct{}, 1)
		ended := make(chan struct{})
		wg.Go(func() { // reads
			defer close(ended)
			buf := make([]byte, 65536)
			for {
				n, err := from.Read(buf)
				if err != nil {
					return
				}
				for range l.copies() {
					line.add(time.Now().Add(l.late()), append([]byte(nil), buf[:n]...))
				}
				select {
				case wake <- struct{}{}:
				default:
				}
			}
		})
		wg.Go(func() { // writes
			timer := time.NewTimer(0)
			defer timer.Stop()
			for {
				for packet := line.due(time.Now()); packet != nil; packet = line.due(time.Now()) {
					_, _ = to.Write(packet) // a full queue is a loss too
				}
				timer.Reset(line.next())
				select {
				case <-timer.C:
				case <-wake:
				case <-ended:
					return
				}
			}
		})
	}
	carry(a, b)
	carry(b, a)
	t.Cleanup(func() {
		_, _ = a.Close(), b.Close() // ends the reads
		wg.Wait()
	})
}

// copies is how many copies of the next packet arrive.
func (l *badLink) copies() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	switch p := l.random.Float64(); {
	case p < l.loss:
		l.lost++
		return 0
	case p < l.loss+l.twice:
		l.doubled++
		return 2
	}
	return 1
}

func (l *badLink) late() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.delay + time.Duration((2*l.random.Float64()-1)*float64(l.jitter))
}

// delayLine holds packets until their time.
type delayLine struct {
	mu      sync.Mutex
	packets packetHeap
}

type delayed struct {
	at     time.Time
	packet []byte
}

type packetHeap []delayed

func (h packetHeap) Len() int           { return len(h) }
func (h packetHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h packetHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *packetHeap) Push(x any)        { *h = append(*h, x.(delayed)) }

func (h *packetHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

func (d *delayLine) add(at time.Time, packet []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	heap.Push(&d.packets, delayed{at, packet})
}

// due takes out a packet whose time has come; nil is none.
func (d *delayLine) due(now time.Time) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.packets) == 0 || d.packets[0].at.After(now) {
		return nil
	}
	return heap.Pop(&d.packets).(delayed).packet
}

// next is how long it is until the next one is due.
func (d *delayLine) next() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.packets) == 0 {
		return time.Hour
	}
	return max(time.Until(d.packets[0].at), 0)
}

const badLinkConfig = onLoopback + `[resolver]
deadline = "5s"
[upstream.default]
servers = ["%s"]
[limits]
late = "0s"
` + openToAll

// onBadLink is how many questions are asked at once.
const onBadLink = 300

// TestRealBadLink puts nsd on another machine behind a line that loses every fifth
// packet, doubles every tenth and puts them out of order, and asks weir for names
// that only nsd knows. Each question has exactly one answer within the deadline; it is
// right, or SERVFAIL where the line took all that may be sent, and few are.
func TestRealBadLink(t *testing.T) {
	needTools(t)
	if !inOwnNetwork(t) {
		return
	}
	far := newMachine(t)
	link := &badLink{loss: 0.2, twice: 0.1, delay: 50 * time.Millisecond, jitter: 20 * time.Millisecond, random: rand.New(rand.NewPCG(1, 2))}
	link.between(t, openTun(t, "near", "10.8.0.1/24"), far.openTun(t, "far", "10.8.0.2/24"))
	nsdBeyond(t, far)
	for _, url := range []string{"udp://10.8.0.2:5353", "tcp://10.8.0.2:5353"} {
		acrossBadLink(t, url)
		link.mu.Lock()
		t.Logf("%s: the line carried %d packets, lost %d, doubled %d", url, link.sent, link.lost, link.doubled)
		link.mu.Unlock()
	}
}

// nsdBeyond starts nsd on the other machine, whose address is 10.8.0.2.
func nsdBeyond(t *testing.T, far *machine) {
	t.Helper()
	dir, port := t.TempDir(), uint16(5353)
	writeFile(t, dir, "zone", zoneText)
	conf := nsdServer(dir, port) + fmt.Sprintf("server:\n\tip-address: 10.8.0.2@%d\nzone:\n\tname: load.example\n\tzonefile: zone\n", port)
	path := tool(t, "nsd")
	cmd := exec.Command(path, "-d", "-c", writeFile(t, dir, "nsd.conf", conf))
	var nsd *daemon
	far.do(func() { // the process lives there
		nsd = &daemon{child: start(t, cmd), addr: netip.MustParseAddrPort("10.8.0.2:5353")}
	})
	if err := nsd.ready("load.example"); err != nil {
		t.Fatalf("%v; it said:\n%s", err, &nsd.said)
	}
}

// acrossBadLink asks weir for names of an upstream that is behind a bad line.
func acrossBadLink(t *testing.T, url string) {
	t.Helper()
	w := startWeir(t, t.TempDir(), fmt.Sprintf(badLinkConfig, url))
	right, failed, slowest := askAll(t, w.addrs[0], onBadLink)
	t.Logf("%s: %d of %d answers right, %d SERVFAIL, slowest %v", url, right, onBadLink, failed, slowest.Round(time.Millisecond))
	if right+failed != onBadLink || failed > onBadLink/8 {
		t.Errorf("%s: %d right and %d failed of %d", url, right, failed, onBadLink)
	}
	if slowest > 6*time.Second {
		t.Errorf("%s: an answer took %v, and the deadline is 5s", url, slowest)
	}
	st := w.settled(t)
	if st.Resolver.Answered != onBadLink+1 || st.Resolver.Panics != 0 || st.Resolver.Unsent != 0 {
		t.Errorf("%s: %+v", url, st.Resolver)
	}
	w.stop(t)
}

// askAll asks for n names at once from one socket and reads until each has its
// answer and, by a last question, no second one.
func askAll(t *testing.T, addr netip.AddrPort, n int) (right, failed int, slowest time.Duration) {
	t.Helper()
	c, err := dns.Dial("udp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began := time.Now()
	_ = c.SetDeadline(began.Add(patience))
	name := func(i int) string { return fmt.Sprintf("n%d.wild.load.example.", i) }
	for i := range n {
		q := new(dns.Msg).SetQuestion(name(i), dns.TypeA)
		q.Id = uint16(i)
		if err := c.WriteMsg(q); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[uint16]bool{}
	read := func() *dns.Msg {
		m, err := c.ReadMsg()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			t.Fatalf("%d of %d questions have an answer", len(seen), n)
		case err != nil:
			t.Fatal(err)
		case seen[m.Id]:
			t.Fatalf("question %d has two answers", m.Id)
		}
		seen[m.Id] = true
		return m
	}
	for range n {
		m := read()
		slowest = time.Since(began)
		if int(m.Id) >= n || len(m.Question) != 1 || m.Question[0].Name != name(int(m.Id)) {
			t.Fatalf("an answer to nothing: %v", m)
		}
		switch {
		case m.Rcode == dns.RcodeServerFailure && len(m.Answer) == 0:
			failed++
		case m.Rcode == dns.RcodeSuccess && len(m.Answer) == 1 && m.Answer[0].(*dns.A).A.String() == "192.0.2.77" && m.Answer[0].Header().Name == name(int(m.Id)):
			right++
		default:
			t.Errorf("wrong: %v", m)
		}
	}
	last := new(dns.Msg).SetQuestion("localhost.", dns.TypeA) // is answered at once, behind what would be left
	last.Id = uint16(n)
	if err := c.WriteMsg(last); err != nil {
		t.Fatal(err)
	}
	if m := read(); m.Id != last.Id {
		t.Fatalf("one answer too many: %v", m)
	}
	return right, failed, slowest
}
