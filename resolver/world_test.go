package resolver

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"weir/audit"
	"weir/blocklist"
	"weir/resolver/upstream"
	"weir/resolver/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// setup is what a world is made from. The zero value has one policy that
// allows everything, no lists and an upstream that knows no name.
type setup struct {
	lists     map[string]string // category to the text of its one list, NAME.txt
	compiled  string            // folder of the compiled lists; empty keeps them in memory
	policies  []blocklist.PolicyConfig
	sinkhole  SinkholeConfig
	zones     []Zone
	special   bool
	private   bool
	hosts     []*HostsFile
	leases    []Lease // in lan.example
	access    []string
	limits    Limits
	notify    func(zone []byte, from netip.Addr) bool
	upstream  *server            // of all names but those in forward
	forward   map[string]*server // by zone
	exchanger upstream.Exchanger // in place of upstream
	trustAD   bool               // of upstream
	dns64     []*DNS64
	deadline  time.Duration // of questions to which upstreams keep silent
	config    func(*Config)
	audit     func(*audit.Config)
}

// world is a resolver with all that belongs to it, and nothing imitated but
// the servers it asks.
type world struct {
	*Resolver
	t       testing.TB
	set     setup
	dir     string
	clock   *clock
	log     *audit.Log
	stopLog func()
	said    *lockedBuffer // what was logged
	peer    netip.AddrPort
}

// clock goes a microsecond further at each reading, so that events have an
// order, and otherwise stands still unless it is advanced.
type clock struct {
	base time.Time
	off  atomic.Int64

	mu     sync.Mutex
	timers map[*timer]bool // that have not ended
}

// timer is one that Config.After has started.
type timer struct {
	at int64
	f  func()
}

func (c *clock) now() time.Time { return c.base.Add(time.Duration(c.off.Add(1000))) }

// advance calls what timers have ended by then, in this goroutine.
func (c *clock) advance(d time.Duration) {
	now := c.off.Add(int64(d))
	var ended []*timer
	c.mu.Lock()
	for t := range c.timers {
		if t.at <= now {
			ended = append(ended, t)
			delete(c.timers, t)
		}
	}
	c.mu.Unlock()
	for _, t := range ended {
		t.f()
	}
}

func (c *clock) after(d time.Duration, f func()) (stop func() bool) {
	t := &timer{c.off.Load() + int64(d), f}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timers[t] = true
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		was := c.timers[t]
		delete(c.timers, t)
		return was
	}
}

func newWorld(t testing.TB, set setup) *world {
	t.Helper()
	w := &world{
		t: t, set: set, dir: t.TempDir(), said: new(lockedBuffer),
		clock: &clock{base: time.Now().Truncate(time.Second), timers: map[*timer]bool{}},
		peer:  netip.MustParseAddrPort("127.0.0.1:4053"),
	}
	if w.set.upstream == nil {
		w.set.upstream = newServer(t, nil)
	}
	acfg := audit.Config{Dir: filepath.Join(w.dir, "audit"), Interval: 20 * time.Millisecond}
	if set.audit != nil {
		set.audit(&acfg)
	}
	var err error
	if w.log, err = audit.Open(acfg); err != nil {
		t.Fatal(err)
	}
	w.runLog()
	cfg := Config{
		Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, UDPSockets: 1,
		CacheSize: 8 << 20, TTL: TTL{Max: 86400, MaxNegative: 3600},
		Log: w.log, Now: w.clock.now, After: w.clock.after, Logger: slog.New(slog.NewTextHandler(w.said, nil)),
	}
	if set.config != nil {
		set.config(&cfg)
	}
	w.Resolver = New(cfg, w.state(1))
	t.Cleanup(func() {
		w.cancel()
		w.inflight.Wait()
		if err := w.State().close(); err != nil {
			t.Error(err)
		}
		w.accountedFor()
	})
	return w
}

// accountedFor holds for every world at its end: each packet is an event that the
// log took, or one that it counts as lost.
func (w *world) accountedFor() {
	w.t.Helper()
	got, log := w.Stats(), w.log.Stats()
	if events := log.Recorded + log.Lost - log.Changes; got.Received != events {
		w.t.Errorf("%d packets received, %d events: %d recorded and %d lost, %d of them changes", got.Received, events, log.Recorded, log.Lost, log.Changes)
	}
}

// runLog starts the log's writer, which stopLog or the end of the test stops.
func (w *world) runLog() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.log.Run(ctx) }()
	w.stopLog = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("audit log: %v", err)
		}
	})
	w.t.Cleanup(w.stopLog)
}

// state builds what w.set describes, with upstream groups of its own.
func (w *world) state(revision uint64) *State {
	w.t.Helper()
	set := w.set
	var cats []blocklist.CategoryConfig
	for _, name := range slices.Sorted(maps.Keys(set.lists)) {
		file := name + ".txt"
		if err := os.WriteFile(filepath.Join(w.dir, file), []byte(set.lists[name]), 0o600); err != nil {
			w.t.Fatal(err)
		}
		cats = append(cats, blocklist.CategoryConfig{Name: name, Sources: blocklist.Sources(file)})
	}
	lists, err := blocklist.Load(context.Background(), blocklist.LoadConfig{Categories: cats, Dir: w.dir, State: set.compiled})
	if err != nil {
		w.t.Fatal(err)
	}
	policies := set.policies
	if policies == nil {
		policies = []blocklist.PolicyConfig{{Name: "everyone", Any: true}}
	}
	policy, err := blocklist.Compile(policies, lists, w.clock.now())
	if err != nil {
		w.t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(w.said, nil))
	st := &State{Revision: revision, Policy: policy, Sinkhole: NewSinkhole(set.sinkhole), Limits: set.limits}
	group := func(name string, x upstream.Exchanger, of *server) *upstream.Group {
		if set.deadline > 0 {
			x = unhurried{x, of}
		}
		g, err := upstream.NewGroup(upstream.GroupConfig{Name: name, Servers: []upstream.Exchanger{x}, Timeout: patience, Deadline: cmp.Or(set.deadline, patience), TrustAD: set.trustAD})
		if err != nil {
			w.t.Fatal(err)
		}
		st.Groups = append(st.Groups, g)
		return g
	}
	var routes []upstream.Route
	var holes [][]byte
	for zone, s := range set.forward {
		name := mustWire(zone)
		routes = append(routes, upstream.Route{Zone: name, Group: group(zone, s.exchanger(w.t, logger), s)})
		holes = append(holes, name)
	}
	rest := set.exchanger
	if rest == nil {
		rest = set.upstream.open(w.t, upstream.Options{TrustAD: set.trustAD, Logger: logger})
	}
	if st.Routes, err = upstream.NewRouter(group("default", rest, set.upstream), routes); err != nil {
		w.t.Fatal(err)
	}
	c := LocalConfig{Zones: set.zones, Special: set.special, Private: set.private, Forwarded: holes, Hosts: set.hosts, HostsTTL: 60, LeaseTTL: 60}
	if len(set.leases) > 0 {
		c.LeaseDomain = "lan.example"
	}
	base, err := NewLocal(c)
	if err != nil {
		w.t.Fatal(err)
	}
	st.Local, _ = base.With(set.leases)
	access := []netip.Prefix{}
	for _, p := range append([]string{"127.0.0.0/8", "::1/128", "10.0.0.0/8"}, set.access...) {
		access = append(access, netip.MustParsePrefix(p))
	}
	st.Access, st.Notify, st.DNS64 = NewAccess(access), set.notify, set.dns64
	return st
}

// reload changes the setup and swaps in what it then describes.
func (w *world) reload(change func(*setup)) {
	w.t.Helper()
	change(&w.set)
	w.Retire(w.Swap(w.state(w.State().Revision + 1)))
}

// mailbox is the transport of tests inside the process.
type mailbox chan []byte

func (m mailbox) send(_ *origin, reply []byte) { m <- bytes.Clone(reply) }

// exchange hands msg to the query path as a client's UDP packet and returns
// the reply, nil if there was none.
func (w *world) exchange(client string, msg []byte) []byte {
	return w.exchangeOver(audit.UDP, client, msg)
}

func (w *world) exchangeOver(over audit.Transport, client string, msg []byte) []byte {
	w.t.Helper()
	s, box := newScratch(), make(mailbox, 1)
	if out, waiting := w.start(s, over, client, msg, box); !waiting {
		return bytes.Clone(out)
	}
	select {
	case out := <-box:
		return out
	case <-time.After(patience):
		w.t.Fatal("a flight did not land")
		return nil
	}
}

// start hands msg to the query path; the reply of a flight goes to box.
func (w *world) start(s *scratch, over audit.Transport, client string, msg []byte, box mailbox) (out []byte, waiting bool) {
	from := &origin{peer: w.peer, over: over, back: box}
	if client != "" {
		from.peer = netip.AddrPortFrom(netip.MustParseAddr(client), 4053)
	}
	w.arrived(from)
	out = w.answer(s, msg, from, nil)
	return out, s.waiting
}

// ask asks "NAME TYPE", with any edits, as the client 127.0.0.1 and shows the reply.
func (w *world) ask(question string, edit ...func(*dns.Msg)) string {
	w.t.Helper()
	return show(w.t, w.exchange("", query(w.t, question, edit...)))
}

// askFrom is ask by another client, which sends EDNS.
func (w *world) askFrom(client, question string) string {
	w.t.Helper()
	return show(w.t, w.exchange(client, query(w.t, question, edns)))
}

// events ends the log and returns all it holds.
func (w *world) events() []*audit.Record {
	w.t.Helper()
	w.stopLog()
	r, err := audit.OpenReader(filepath.Join(w.dir, "audit"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	var out []*audit.Record
	if err := r.Search(context.Background(), audit.Query{Oldest: true}, func(e *audit.Record) error {
		out = append(out, e)
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// listen opens the sockets and runs the resolver until stop, or to the end of
// the test.
func (w *world) listen() (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	for range 20 { // until a port is free for both UDP and TCP
		if err = w.Listen(ctx); err == nil {
			break
		}
	}
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// dial connects to the resolver, which listens.
func (w *world) dial(network string) net.Conn {
	w.t.Helper()
	c, err := net.Dial(network, w.Addrs()[0].String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// overUDP and overTCP ask on a socket of their own.
func (w *world) overUDP(msg []byte) []byte {
	w.t.Helper()
	c := w.dial("udp")
	if _, err := c.Write(msg); err != nil {
		w.t.Fatal(err)
	}
	buf := make([]byte, 65536)
	n, err := c.Read(buf)
	if err != nil {
		w.t.Fatal(err)
	}
	return buf[:n]
}

func (w *world) overTCP(msg []byte) []byte {
	w.t.Helper()
	c := w.dial("tcp")
	if _, err := c.Write(framed(msg)); err != nil {
		w.t.Fatal(err)
	}
	b, err := unframe(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func framed(msg []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
}

func unframe(r io.Reader) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(head[:]))
	_, err := io.ReadFull(r, b)
	return b, err
}

// query packs "NAME TYPE" as a client does.
func query(t testing.TB, question string, edit ...func(*dns.Msg)) []byte {
	t.Helper()
	name, typ, _ := strings.Cut(question, " ")
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), typeOf(t, typ))
	m.Id = 0x1234
	for _, f := range edit {
		f(m)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func typeOf(t testing.TB, s string) uint16 {
	if v, ok := dns.StringToType[s]; ok {
		return v
	}
	var n uint16
	if _, err := fmt.Sscanf(s, "TYPE%d", &n); err != nil {
		t.Fatalf("type %q: %v", s, err)
	}
	return n
}

func edns(m *dns.Msg)   { m.SetEdns0(wire.MaxUDP, false) }
func dnssec(m *dns.Msg) { m.SetEdns0(wire.MaxUDP, true) }

func unpack(t testing.TB, b []byte) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		t.Fatalf("reply does not unpack: %v\n%x", err, b)
	}
	return m
}

// show puts a reply into a line: the rcode, what flags are unusual, the
// records, those of the authority section after "/", of the additional section
// after a second one, and the Extended DNS Error.
func show(t testing.TB, b []byte) string {
	t.Helper()
	if b == nil {
		return "silence"
	}
	m := unpack(t, b)
	out := rcodeName(m.Rcode)
	for _, f := range []struct {
		set  bool
		name string
	}{{m.Authoritative, "aa"}, {m.Truncated, "tc"}, {m.AuthenticatedData, "ad"}} {
		if f.set {
			out += " " + f.name
		}
	}
	var tail string
	for i, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		if i > 0 {
			tail += " /"
		}
		for _, rr := range section {
			if opt, ok := rr.(*dns.OPT); ok {
				for _, o := range opt.Option {
					if e, ok := o.(*dns.EDNS0_EDE); ok {
						out += fmt.Sprintf(" ede %d %q", e.InfoCode, e.ExtraText)
					}
				}
				continue
			}
			if soa, ok := rr.(*dns.SOA); ok {
				tail += fmt.Sprintf(" %s %d SOA %d;", soa.Hdr.Name, soa.Hdr.Ttl, soa.Minttl)
				continue
			}
			tail += " " + strings.ReplaceAll(strings.ReplaceAll(rr.String(), "\tIN\t", " "), "\t", " ") + ";"
		}
	}
	return out + strings.TrimRight(tail, " /")
}

// lockedBuffer is a bytes.Buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
