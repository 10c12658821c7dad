package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"weir/blocklist"
	"weir/resolver"
	"weir/resolver/upstream"
)

// built is a configuration turned into the objects that answer queries.
type built struct {
	cfg      *Config
	sources  []blocklist.CategoryConfig // of lists
	groups   map[string]*blocklist.Group
	policies []blocklist.PolicyConfig
	moment   time.Time // that the policies were compiled for, by the wall clock alone; changed under server.deciding
	lists    *blocklist.Lists
	state    *resolver.State // its local names are those of the start, without the leases of today
	names    localNames
	digest   [sha256.Size]byte // of all that went in
}

// site is what a build finds beside the configuration.
type site struct {
	self    []netip.AddrPort // that we listen on
	logger  *slog.Logger
	clock   func() time.Time // nil is time.Now
	keeper  *keeper          // of the running server; nil looks and writes nothing
	old     *blocklist.Lists // in force
	names   *localNames      // in force, to stay if the files of today cannot be used; nil refuses these
	workers int              // lists read at a time
}

// build makes the objects for cfg: the only place where the parts of the
// program meet. It starts nothing and touches nothing that is in use. Mistakes
// that only show here, in lists, zones and servers, are a *configError with all
// of them.
func build(ctx context.Context, cfg *Config, at site) (*built, error) {
	b := &built{cfg: cfg, state: &resolver.State{Access: resolver.NewAccess(cfg.Access.Allow), DNS64: dns64(cfg)}}
	if len(cfg.Clients.MACFrom) > 0 {
		b.state.Tellers = resolver.NewAccess(cfg.Clients.MACFrom)
	}
	faults := newFaults(cfg)
	sum := sha256.New()
	if err := b.load(ctx, faults, sum, at); err != nil {
		return nil, err
	}
	b.sink()
	b.limit()
	b.route(faults, sum, at.self, at.logger)
	b.local(faults, sum, at.names)

	if problems := faults.report.sorted(); len(problems) > 0 {
		b.close()
		return nil, &configError{problems}
	}
	sum.Write(cfg.text)
	b.digest = [sha256.Size]byte(sum.Sum(nil))
	return b, nil
}

// sink prepares what blocked clients get.
func (b *built) sink() {
	s := &b.cfg.Sinkhole
	b.state.Sinkhole = resolver.NewSinkhole(resolver.SinkholeConfig{Answer: answer(s.Answer), TTL: seconds(s.TTL), Addresses: s.Addresses})
}

// limit says what one client may have.
func (b *built) limit() {
	l := &b.cfg.Limits
	over := map[string]resolver.Over{"truncate": resolver.OverTruncate, "drop": resolver.OverDrop, "refuse": resolver.OverRefuse}
	b.state.Limits = resolver.Limits{
		Rate: l.Rate, Burst: l.Burst, Over: over[l.Over], Responses: l.Responses, Amplification: int(l.Amplification),
		PrefixV4: l.PrefixV4, PrefixV6: l.PrefixV6, Cookies: l.Cookies, Waiting: l.Waiting, Late: l.Late,
	}
	for _, text := range [...]string{l.CookieSecret, l.CookieSecretAlso} {
		if text != "" {
			secret, _ := cookieSecret(text) // checked when the file was read
			b.state.Limits.CookieSecrets = append(b.state.Limits.CookieSecrets, secret)
		}
	}
}

// cookieSecret reads a secret of [limits].
func cookieSecret(text string) (secret [16]byte, err error) {
	if len(text) != 2*len(secret) {
		return secret, hex.ErrLength
	}
	_, err = hex.Decode(secret[:], []byte(text))
	return secret, err
}

// load reads the lists and compiles the policies over them. The error is that of
// a context that has ended.
func (b *built) load(ctx context.Context, faults *faults, sum io.Writer, at site) error {
	b.sources, b.groups = categories(b.cfg, faults, at.logger), groups(b.cfg)
	if at.clock == nil {
		at.clock = time.Now
	}
	b.policies, b.moment = policies(b.cfg, b.groups), at.clock().Round(0)
	load := blocklist.LoadConfig{
		Categories: b.sources, Dir: b.cfg.Dir, Policies: b.policies, Old: at.old, Workers: at.workers,
	}
	if at.keeper != nil {
		load.Store, load.State = at.keeper.store, at.keeper.state(b.cfg)
		b.state.Notify = at.keeper.notify
	} else {
		load.Store, load.State, load.ReadOnly = openForReading(b.cfg), b.cfg.Resolve(b.cfg.Lists.Path), true
	}
	lists, err := blocklist.Load(ctx, load)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		faults.add(err)
		return nil
	}
	b.lists = lists
	if b.state.Policy, err = blocklist.Compile(b.policies, lists, b.moment); err != nil {
		faults.add(err)
	}
	for _, c := range b.sources {
		for _, src := range c.Sources {
			if src.TSIG != nil { // its secret may come from a file
				fmt.Fprintf(sum, "tsig %q %q %q\n", src.TSIG.Name, src.TSIG.Algorithm, src.TSIG.Secret)
			}
		}
	}
	for _, l := range lists.All() {
		fmt.Fprintf(sum, "list %q %q %x %v\n", l.Category, l.Name, l.Digest, l.Missing)
	}
	return nil
}

// tell tells the log what is new about the lists since old, nil at the start.
func (b *built) tell(old *blocklist.Lists, logger *slog.Logger) {
	known := map[string]bool{}
	if old != nil {
		for _, l := range old.All() {
			known[l.Category+" "+l.Name+string(l.Digest[:])] = true
		}
	}
	switch how := b.lists.Compiled; {
	case b.lists.Trouble != "":
		logger.Warn("compiled names "+how, "reason", b.lists.Trouble)
	case old == nil && how == "mapped":
		logger.Info("compiled names mapped, no list has changed", "names", b.lists.Matcher().Names())
	}
	for _, line := range news(old, b.lists) {
		if strings.HasSuffix(line, upToDate) {
			logger.Info(line)
			continue
		}
		logger.Warn(line)
	}
	for _, l := range b.lists.All() {
		if known[l.Category+" "+l.Name+string(l.Digest[:])] {
			continue
		}
		for _, p := range l.Problems {
			logger.Warn("list line left out", "at", fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column), "reason", p.Reason, "text", p.Text)
		}
		if more := l.Unreadable - len(l.Problems); more > 0 {
			logger.Warn("list lines left out", "list", l.Name, "more", more)
		}
	}
}

// close gives up a build that was never put in force.
func (b *built) close() {
	for _, g := range b.state.Groups {
		_ = g.Close() // nothing was sent through it
	}
	if b.lists != nil {
		b.lists.Discard()
	}
}

// route opens the upstreams and says which zone goes to which.
func (b *built) route(faults *faults, sum io.Writer, self []netip.AddrPort, logger *slog.Logger) {
	groups := map[string]*upstream.Group{}
	for i := range b.cfg.Upstreams {
		u := &b.cfg.Upstreams[i]
		var servers []upstream.Exchanger
		opt := upstream.Options{Bootstrap: u.Bootstrap, CaseMixing: u.CaseMixing, TrustAD: u.TrustAD, Logger: logger}
		if u.CA != "" {
			var err error
			if opt.Roots, err = issuers(b.cfg.Resolve(u.CA), sum); err != nil {
				faults.at(&u.CA, err.Error(), "a file of certificates in PEM, as openssl writes them, is wanted")
			}
		}
		open := func(field any, url string) {
			x, err := upstream.Open(url, opt)
			if err != nil {
				faults.at(field, err.Error())
				return
			}
			if upstream.IsSelf(url, self) {
				faults.at(field, fmt.Sprintf("upstream %q is this resolver: a query would come back for ever", url))
				return
			}
			fmt.Fprintf(sum, "server %q %s %q %v %s %v\n", u.Name, url, u.Bootstrap, u.CaseMixing, u.Strategy, u.TrustAD)
			servers = append(servers, x)
		}
		for j := range u.Bootstrap {
			if field := &u.Bootstrap[j]; upstream.IsSelf(*field, self) {
				faults.at(field, fmt.Sprintf("bootstrap server %q is this resolver: it would ask itself where its upstream is", *field))
			}
		}
		for j := range u.Servers {
			field := &u.Servers[j]
			if *field != "system" {
				open(field, *field)
				continue
			}
			urls, skipped, err := upstream.System(b.cfg.Resolve(b.cfg.Resolver.ResolvConf), self)
			for _, s := range skipped {
				logger.Warn("system server left out", "upstream", u.Name, "reason", s)
			}
			if err != nil {
				faults.at(field, err.Error(), `write the servers' addresses instead, as in servers = ["udp://192.0.2.53"]`)
			}
			for _, url := range urls {
				open(field, url)
			}
		}
		if len(servers) == 0 {
			continue // said above
		}
		g, err := upstream.NewGroup(upstream.GroupConfig{
			Name: u.Name, Servers: servers, Strategy: upstream.Strategy(u.Strategy), Timeout: u.Timeout, Deadline: b.cfg.Resolver.Deadline,
			Probe: b.cfg.zoneOf(u.Name), TrustAD: u.TrustAD,
		})
		if err != nil {
			faults.at(u, err.Error())
			continue
		}
		groups[u.Name] = g
		b.state.Groups = append(b.state.Groups, g)
	}
	var routes []upstream.Route
	for i := range b.cfg.Forwards {
		f := &b.cfg.Forwards[i]
		for j := range f.Zones {
			zone, err := blocklist.AppendWireName(nil, f.Zones[j])
			if err != nil {
				faults.at(&f.Zones[j], err.Error())
				continue
			}
			if g := groups[f.Upstream]; g != nil {
				routes = append(routes, upstream.Route{Zone: zone, Group: g})
			}
		}
	}
	if groups["default"] == nil {
		return // said above
	}
	router, err := upstream.NewRouter(groups["default"], routes)
	if err != nil {
		faults.at(&b.cfg.Forwards, err.Error())
	}
	b.state.Routes = router
}

// zoneOf is a zone whose servers an upstream's are: the first that is forwarded to
// it, or the root for what answers anything.
func (c *Config) zoneOf(upstream string) string {
	for _, f := range c.Forwards {
		if f.Upstream == upstream && upstream != "default" && len(f.Zones) > 0 {
			zone, _ := blocklist.AppendWireName(nil, f.Zones[0]) // a mistake in it is said elsewhere
			return blocklist.NameString(zone)
		}
	}
	return "."
}

// issuers reads certificates in PEM, and writes them into sum.
func issuers(path string, sum io.Writer) (*x509.CertPool, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfigBytes))
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(sum, "issuers %x\n", sha256.Sum256(text))
	pool, n := x509.NewCertPool(), 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s holds a %q, which is not a certificate", path, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s, certificate %d: %w", path, n+1, err)
		}
		pool.AddCert(cert)
		n++
	}
	if n == 0 {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	return pool, nil
}

// answer turns the configuration's word, which was checked when the file was
// read, into the answer.
func answer(word string) blocklist.Answer {
	a, _ := blocklist.ParseAnswer(word)
	return a
}

func seconds(d time.Duration) uint32 { return uint32(d / time.Second) }
