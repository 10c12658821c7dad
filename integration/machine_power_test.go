//go:build realtools && machine

package integration

import (
	"bytes"
	encoding "encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A volatileDisk is a disk with memory of its own, as disks have: what is written is on it for
// good when the disk was flushed. When its power is cut, of each page written since then
// either is there, whatever the order was. A virtual machine has it by NBD, whose
// protocol is in github.com/NetworkBlockDevice/nbd, doc/proto.md.
type volatileDisk struct {
	mu      sync.Mutex
	stable  []byte
	current []byte // as the machine sees it
	written []int64
	flushes int
}

const diskPage = 4096

func newVolatileDisk(image []byte) *volatileDisk {
	return &volatileDisk{stable: image, current: bytes.Clone(image)}
}

// cut leaves what a power cut leaves, and returns how many pages were written and not flushed,
// and how many of these are lost.
func (d *volatileDisk) cut(random *rand.Rand) (unflushed, lost int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dirty := map[int64]bool{}
	for _, at := range d.written {
		dirty[at] = true
	}
	for at := range dirty {
		if random.IntN(2) == 0 {
			copy(d.stable[at:at+diskPage], d.current[at:])
		} else {
			lost++
		}
	}
	d.current, d.written = bytes.Clone(d.stable), nil
	return len(dirty), lost
}

// write takes a write of the machine. d.mu is held.
func (d *volatileDisk) write(at int64, b []byte) {
	copy(d.current[at:], b)
	for page := at &^ (diskPage - 1); page < at+int64(len(b)); page += diskPage {
		d.written = append(d.written, page)
	}
}

func (d *volatileDisk) flush() {
	for _, at := range d.written {
		copy(d.stable[at:at+diskPage], d.current[at:])
	}
	d.written = d.written[:0]
	d.flushes++
}

// serve is one connection of a machine, until that ends it.
func (d *volatileDisk) serve(c net.Conn) error {
	const (
		iHaveOpt, replyMagic     = 0x49484156454F5054, 0x3e889045565a9
		optGo, acknowledge, info = 7, 1, 3
		unsupported              = 1<<31 + 1
		hasFlags, sendFlush      = 1, 4
	)
	be := encoding.BigEndian
	if _, err := c.Write(be.AppendUint16(be.AppendUint64([]byte("NBDMAGIC"), iHaveOpt), 1)); err != nil {
		return err
	}
	var head [28]byte
	if _, err := io.ReadFull(c, head[:4]); err != nil {
		return err
	}
	for ready := false; !ready; { // options
		if _, err := io.ReadFull(c, head[:16]); err != nil {
			return err
		}
		option := be.Uint32(head[8:])
		if _, err := io.CopyN(io.Discard, c, int64(be.Uint32(head[12:]))); err != nil {
			return err
		}
		reply := func(kind uint32, data []byte) error {
			b := be.AppendUint32(be.AppendUint32(be.AppendUint64(nil, replyMagic), option), kind)
			_, err := c.Write(append(be.AppendUint32(b, uint32(len(data))), data...))
			return err
		}
		if option != optGo {
			if err := reply(unsupported, nil); err != nil {
				return err
			}
			continue
		}
		export := be.AppendUint16(be.AppendUint64(be.AppendUint16(nil, 0), uint64(len(d.current))), hasFlags|sendFlush)
		if err := errors.Join(reply(info, export), reply(acknowledge, nil)); err != nil {
			return err
		}
		ready = true
	}
	for {
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return err
		}
		at, size := int64(be.Uint64(head[16:])), int64(be.Uint32(head[24:]))
		answer := append(be.AppendUint32(be.AppendUint32(nil, 0x67446698), 0), head[8:16]...)
		switch kind := be.Uint16(head[6:]); kind {
		case 0: // read
			d.mu.Lock()
			answer = append(answer, d.current[at:at+size]...)
			d.mu.Unlock()
		case 1:
			b := make([]byte, size)
			if _, err := io.ReadFull(c, b); err != nil {
				return err
			}
			d.mu.Lock()
			d.write(at, b)
			d.mu.Unlock()
		case 2:
			return nil
		case 3:
			d.mu.Lock()
			d.flush()
			d.mu.Unlock()
		default:
			return fmt.Errorf("command %d was not offered", kind)
		}
		if _, err := c.Write(answer); err != nil {
			return err
		}
	}
}

// listen serves the disk at a socket, and returns its path.
func (d *volatileDisk) listen(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_ = d.serve(c) // a machine that is cut off ends it anyhow
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return path
}

const powerConfig = `version = 1
[server]
listen = ["10.0.2.15:53"]
[upstream.default]
servers = ["udp://192.0.2.53"]
[[policy]]
name = "all"
clients = ["any"]
default = "allow"
[[policy.rule]]
action = "block"
domains = ["block.example"]
[audit]
path = "/mnt/audit"
commit = "%s"
on_full = "refuse"
[admin]
socket = "s"
`

// powerCuts is how often the power of each machine is cut.
const powerCuts = 3

// TestMachinePower cuts the power of a machine under load, again and again: the store opens and is whole,
// with before-answer it has every query that was answered; with interval those that it lacks are
// of the last moments, and a gap says so.
func TestMachinePower(t *testing.T) {
	if os.Getenv(inside) != "" {
		powered(t)
		return
	}
	for _, commit := range []string{"interval", "before-answer"} {
		t.Run(commit, func(t *testing.T) { testPower(t, commit) })
	}
}

// powered is what runs in the machine: it tells what is in the store, serves and has no end.
func powered(t *testing.T) {
	must(t, "/", "ip", "address", "add", "10.0.2.15/24", "dev", "eth0")
	must(t, "/", "ip", "link", "set", "eth0", "up")
	must(t, "/", "mount", "/dev/vda", "/mnt")
	w := startWeir(t, t.TempDir(), fmt.Sprintf(powerConfig, os.Getenv("commit")))
	w.settled(t)
	if rep := w.report(t); len(rep.Problems) > 0 || rep.Records != rep.Last-rep.First+1 {
		t.Fatalf("the log is not whole: %+v\n%s", rep, &w.said)
	}
	for _, r := range w.export(t, 0) {
		switch r.Kind {
		case "query":
			fmt.Println("has", r.Name)
		case "gap":
			fmt.Println("gap", r.Cause, r.From.UnixMilli(), r.To.UnixMilli())
		}
	}
	fmt.Println("serves")
	for line := range w.lines {
		fmt.Println(line)
	}
}

func testPower(t *testing.T, commit string) {
	path := filepath.Join(t.TempDir(), "image")
	must(t, "/", "truncate", "-s", "64M", path)
	must(t, "/", machineTool(t, "mkfs.ext4"), "-q", path)
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d, random := newVolatileDisk(image), rand.New(rand.NewPCG(1, 2))
	socket := d.listen(t)
	answered := map[string]time.Time{} // by the host's clock
	var cut time.Time
	for round := range powerCuts + 1 {
		port := freePort(t)
		m := boot(t, "-append", kernelLine+" run=^TestMachinePower$ commit="+commit,
			"-drive", "driver=raw,file.driver=nbd,file.server.type=unix,file.server.path="+socket+",if=virtio",
			"-netdev", fmt.Sprintf("user,id=n,hostfwd=udp:127.0.0.1:%d-10.0.2.15:53", port), "-device", "virtio-net,netdev=n")
		has, crashes := map[string]bool{}, 0
		m.until(t, func(line string) bool {
			if name, ok := strings.CutPrefix(line, "has "); ok {
				has[strings.TrimSuffix(name, ".")] = true
			} else if strings.HasPrefix(line, "gap crash ") {
				crashes++
			}
			return line == "serves"
		})
		missing, before := 0, time.Duration(0)
		for name, at := range answered {
			if !has[name] {
				missing++
				before = max(before, cut.Sub(at))
			}
		}
		if round > 0 {
			t.Logf("%s: %d answered so far, %d of them have no record, the first was answered %v before the cut; %d gaps", commit, len(answered), missing, before.Round(time.Millisecond), crashes)
		}
		switch {
		case commit == "before-answer" && missing > 0:
			t.Errorf("%d answered queries have no record", missing)
		case before > time.Second: // 200 ms are the interval, and the machine is slow
			t.Errorf("a query answered %v before the cut has no record", before)
		case crashes != round:
			t.Errorf("%d gaps after %d cuts", crashes, round)
		}
		for name := range answered {
			if !has[name] { // is looked for once
				delete(answered, name)
			}
		}
		if round == powerCuts {
			return
		}
		if n := askUntil(t, port, fmt.Sprintf("cut%d", round), 300+random.IntN(200), answered); n < 200 {
			t.Fatalf("%d queries were answered", n)
		}
		<-time.After(time.Duration(random.IntN(5000)) * time.Microsecond) // those that were asked last are under way
		cut = time.Now()
		_ = m.cmd.Process.Kill()
		m.terminate(t)
		unflushed, lost := d.cut(random)
		t.Logf("%s: the power was cut with %d pages in the disk's memory, of which %d are lost; it had been flushed %d times", commit, unflushed, lost, d.flushes)
	}
}

// askUntil asks for names until so many have been answered, and notes these.
func askUntil(t *testing.T, port uint16, prefix string, n int, answered map[string]time.Time) int {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	limit := time.Now().Add(2 * time.Minute)
	got, answer := 0, make([]byte, 512)
	name := func(i int) string { return fmt.Sprintf("%s-n%d.block.example", prefix, i) }
	open := map[int]bool{}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for sent := 0; got < n; <-tick.C { // a load of some seconds
		if time.Now().After(limit) {
			t.Fatalf("%d of %d queries were answered", got, sent)
		}
		for ; len(open) < 5; sent++ { // at a time
			packet := newQuery(name(sent), true, true).packet
			packet[0], packet[1] = byte(sent>>8), byte(sent)
			if _, err := c.Write(packet); err != nil {
				t.Fatal(err)
			}
			open[sent] = true
		}
		_ = c.SetReadDeadline(time.Now().Add(3 * time.Second))
		size, err := c.Read(answer)
		if os.IsTimeout(err) { // lost on the way
			clear(open)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		i := int(answer[0])<<8 | int(answer[1])
		if size > 12 && open[i] && answer[3]&15 == 3 {
			delete(open, i)
			answered[name(i)] = time.Now()
			got++
		}
	}
	return got
}
