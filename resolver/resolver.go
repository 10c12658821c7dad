package resolver

import (
	"context"
	"hash/maphash"
	"log/slog"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"weir/audit"
	"weir/blocklist"
	"weir/resolver/cache"
	"weir/resolver/wire"
)

// Config is what a Resolver needs beside its State; none of it changes while
// it runs.
type Config struct {
	Listen      []netip.AddrPort // UDP and TCP; port 0 takes a free one, the same for both
	UDPSockets  int              // for each address; 0 means one for each core, or eight where answers wait for the disk
	ReusePort   bool             // share the addresses with another process that does so too
	TCPConns    int              // open at a time; 0 means 1000
	TCPEach     int              // of them for one client; 0 is no limit
	TCPFirst    time.Duration    // for the first octet of the first message; 0 means 3 s
	TCPIdle     time.Duration    // for a whole message; 0 means 10 s
	TCPWrite    time.Duration    // for a client to take a reply; 0 means 5 s
	Drain       time.Duration    // for misses in flight at the end; 0 means 2 s
	MaxInflight int              // questions asked upstream at a time; 0 means 4096
	Files       uint64           // descriptors that may be open; 0 asks the system
	CacheSize   int64            // octets
	TTL         TTL
	Stale       time.Duration // how long after its end an answer may still be given; 0 means not at all
	StaleTimer  time.Duration // that those wait for a newer one who could have a stale one
	Prefetch    bool          // ask for popular answers anew before they end
	DenyBelow   bool          // a name that does not exist has nothing below it
	Rotate      bool          // begin the addresses of each answer with another one

	Log    *audit.Log
	Logger *slog.Logger     // nil discards
	Now    func() time.Time // nil means time.Now; must carry a monotonic reading

	// After calls f in a goroutine of its own when so much time has passed, unless
	// stop is called before; nil means time.AfterFunc.
	After func(d time.Duration, f func()) (stop func() bool)
}

// Resolver answers queries. Listen, then Run.
type Resolver struct {
	cfg     Config
	log     *audit.Log
	logger  *slog.Logger
	now     func() time.Time
	base    time.Time // zero of the monotonic clock
	state   atomic.Pointer[State]
	cache   *cache.Cache
	limits  limiter
	secrets atomic.Pointer[secrets]

	auditFull []byte // Extended DNS Errors, encoded
	tooMany   []byte
	stale     []byte
	staleName []byte
	keepalive []byte // the option for clients that ask how long they may stay

	udp      []*udpListener
	tcp      []*tcpListener
	places   *places
	draining atomic.Bool

	ctx       context.Context // of all flights; ends when draining is over
	cancel    context.CancelFunc
	mu        sync.Mutex // guards what follows, and the step from one state to the next
	flights   map[string]*flight
	flightsTo map[string]int     // by name of the upstream
	waiting   int                // on all flights
	waitingBy map[netip.Addr]int // by client
	dns64     map[string]*DNS64  // all that there were, by what they say
	closing   bool
	scratches sync.Pool      // *scratch, for flights and TCP
	inflight  sync.WaitGroup // flights, and replies of theirs that are being written

	received, answered, ignored, overload, panics, unsent  atomic.Uint64
	limited, alike, amplified, outsiders, evicted, tooLate atomic.Uint64
	outdated, refreshed, flushes                           atomic.Uint64
}

// New makes a resolver in state st. It opens and starts nothing.
func New(cfg Config, st *State) *Resolver {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&cfg.TCPFirst, 3*time.Second)
	def(&cfg.TCPIdle, 10*time.Second)
	def(&cfg.TCPWrite, 5*time.Second)
	def(&cfg.Drain, 2*time.Second)
	if cfg.TCPConns == 0 {
		cfg.TCPConns = 1000
	}
	if cfg.MaxInflight == 0 {
		cfg.MaxInflight = 4096
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.After == nil {
		cfg.After = func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.reserve()
	if cfg.TCPEach == 0 {
		cfg.TCPEach = math.MaxInt
	}
	r := &Resolver{
		cfg: cfg, log: cfg.Log, logger: cfg.Logger, now: cfg.Now, base: cfg.Now(),
		cache:     cache.New(cfg.CacheSize),
		flights:   map[string]*flight{},
		flightsTo: map[string]int{},
		waitingBy: map[netip.Addr]int{},
		dns64:     map[string]*DNS64{},
		places:    newPlaces(cfg.TCPConns, cfg.TCPEach),
		auditFull: wire.AppendEDE(nil, edeOther, "audit store full"),
		tooMany:   wire.AppendEDE(nil, edeNetwork, "too many questions in flight"),
		stale:     wire.AppendEDE(nil, edeStale, ""),
		staleName: wire.AppendEDE(nil, edeStaleName, ""),
		keepalive: wire.AppendKeepalive(nil, cfg.TCPIdle),
	}
	r.limits.seed = maphash.MakeSeed()
	r.secrets.Store(newSecrets(0, newSecrets(0, wire.CookieSecret{}).now))
	r.ctx, r.cancel = context.WithCancel(context.Background())
	st.Prepare(cfg.Log)
	r.translate(st)
	r.state.Store(st)
	return r
}

// reserve keeps questions upstream, each of which may have a socket, to half of the
// descriptors that may be open, and clients' connections to what these leave of three
// quarters: idle clients take no descriptor that a question needs. The last quarter is
// for the listeners, the store, the lists, and servers that are asked side by side.
func (cfg *Config) reserve() {
	if cfg.Files == 0 {
		cfg.Files = openFiles()
	}
	keep := func(what string, most *int, share uint64) {
		if uint64(*most) > share {
			cfg.Logger.Warn("fewer "+what+" than configured, for want of file descriptors", "configured", *most, "now", share, "descriptors", cfg.Files)
			*most = max(int(share), 1)
		}
	}
	keep("questions in flight", &cfg.MaxInflight, cfg.Files/2)
	keep("TCP connections", &cfg.TCPConns, cfg.Files-cfg.Files/4-uint64(cfg.MaxInflight))
}

// State returns the state in force.
func (r *Resolver) State() *State { return r.state.Load() }

// Swap puts next in force, from the next packet on, and returns the state that
// was, which is to be retired.
func (r *Resolver) Swap(next *State) (old *State) {
	next.Prepare(r.log)
	r.mu.Lock() // flights begin under this lock, so none can join the old state
	defer r.mu.Unlock()
	r.translate(next)
	return r.state.Swap(next)
}

// SetPolicy puts p and l in force in place of the policy and the local data of
// the state in force, all else staying as it is.
func (r *Resolver) SetPolicy(p *blocklist.Policy, l *Local) {
	next := r.State().With(p)
	next.Local = l
	r.Swap(next)
}

// Retire ends the upstreams of a state that is not in force any more. What the
// cache holds stays, but for names that are asked of another upstream from now
// on, what is called authentic by one that is not believed any more, and addresses
// that have turned out to lead to IPv4. It returns when no question is on its way to the old upstreams any more,
// so after their deadline at the latest.
func (r *Resolver) Retire(old *State) {
	old.flights.Wait()
	next := r.State()
	doubted := map[string]bool{}
	for _, g := range old.Groups {
		doubted[g.Name()] = g.TrustAD()
	}
	r.cache.Prune(func(e *cache.Entry) bool {
		g := next.Routes.Route(routed(e.Asked(), e.Type()))
		return g.Name() == e.Group && !(e.Reply.AD && doubted[e.Group] && !g.TrustAD()) && next.knows(&e.Facts)
	})
	if err := old.close(); err != nil {
		r.logger.Warn("an upstream did not close", "error", err)
	}
}

// Flush makes the cache forget what it holds of name, a wire name, and all below
// it, and returns how many answers that were. What is on its way from upstream
// at that time is still given to those who wait, but not kept.
func (r *Resolver) Flush(name []byte) int {
	r.flushes.Add(1)
	return r.cache.Flush(name)
}

// Run answers queries on the sockets that Listen opened until ctx ends. Then it
// takes no more, gives those in flight Config.Drain to be answered, and returns.
func (r *Resolver) Run(ctx context.Context) error {
	var loops sync.WaitGroup
	for _, l := range r.udp {
		loops.Go(func() { l.run() })
	}
	for _, l := range r.tcp {
		loops.Go(func() { l.run() })
	}
	<-ctx.Done()

	r.draining.Store(true)
	for _, l := range r.udp {
		l.stopReading()
	}
	for _, l := range r.tcp {
		l.stopReading()
	}
	r.mu.Lock()
	r.closing = true
	r.mu.Unlock()
	ended := make(chan struct{})
	go func() { // ends with the last flight and connection, at the latest by what follows
		r.inflight.Wait()
		loops.Wait()
		close(ended)
	}()
	limit := time.NewTimer(r.cfg.Drain)
	defer limit.Stop()
	select {
	case <-ended:
	case <-limit.C:
	}
	r.cancel()
	r.inflight.Wait()
	for _, l := range r.tcp {
		l.closeConns()
	}
	<-ended
	for _, l := range r.udp {
		_ = l.conn.Close()
	}
	return r.State().close()
}

// Stats counts since the resolver was made. Each packet received ends as one
// event that is handed to the log, so when none is under way any more Received is
// what the log has recorded and what it has lost together, without changes.
type Stats struct {
	Received  uint64     `json:"received"` // packets, whole messages over TCP
	Answered  uint64     `json:"answered"` // queries recorded, those left without an answer on purpose too
	Ignored   uint64     `json:"ignored"`  // packets that were no queries; they are recorded too
	Overload  uint64     `json:"overload"` // SERVFAIL for want of room
	Panics    uint64     `json:"panics"`
	Unsent    uint64     `json:"unsent"`    // replies that the network did not take
	Limited   uint64     `json:"limited"`   // queries beyond their client's rate
	Alike     uint64     `json:"alike"`     // answers beyond the limit of those alike; half of them went out cut
	Amplified uint64     `json:"amplified"` // answers cut because they were too much for addresses that may be forged
	Late      uint64     `json:"late"`      // answers that came too late to be sent
	Stale     uint64     `json:"stale"`     // answers that had expired, those blocked in the end too
	Prefetch  uint64     `json:"prefetch"`  // questions asked anew before an answer ended
	Inflight  int        `json:"inflight"`
	TCP       int        `json:"tcp"`       // connections that are open
	Evicted   uint64     `json:"evicted"`   // idle connections that had to make room for others
	Outsider  uint64     `json:"outsiders"` // connections of those who may not ask
	Cache     CacheStats `json:"cache"`
}

// CacheStats counts what the cache did.
type CacheStats = cache.Stats

// Stats reads the counters.
func (r *Resolver) Stats() Stats {
	r.mu.Lock()
	inflight := len(r.flights)
	r.mu.Unlock()
	return Stats{
		Received: r.received.Load(),
		Answered: r.answered.Load(), Ignored: r.ignored.Load(), Overload: r.overload.Load(),
		Panics: r.panics.Load(), Unsent: r.unsent.Load(),
		Limited: r.limited.Load(), Alike: r.alike.Load(), Amplified: r.amplified.Load(), Late: r.tooLate.Load(), Stale: r.outdated.Load(), Prefetch: r.refreshed.Load(),
		Evicted: r.evicted.Load(), Outsider: r.outsiders.Load(), TCP: r.places.open(), Inflight: inflight, Cache: r.cache.Stats(),
	}
}

// scratch returns one from among those that are not in use, where it is to be put back.
func (r *Resolver) scratch() *scratch {
	if s, ok := r.scratches.Get().(*scratch); ok {
		return s
	}
	return newScratch()
}

// newScratch makes room for any reply.
func newScratch() *scratch { return &scratch{out: make([]byte, 0, 4096)} }
