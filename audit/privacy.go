package audit

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// A Privacy says how much of who asked reaches the disk.
type Privacy uint8

const (
	// FullClients keeps addresses.
	FullClients Privacy = iota
	// PrefixClients keeps the network that an address is in.
	PrefixClients
	// KeyedClients keeps pseudonyms, each under a key of its own for a client and a month.
	KeyedClients
)

// A ClientPrivacy tells how clients are kept. The zero ClientPrivacy keeps addresses.
type ClientPrivacy struct {
	How                Privacy
	PrefixV4, PrefixV6 int    // bits that are kept of a network; default 24 and 56, at most 31 and 64
	Keys               string // path of the file of keys; default audit.clients in the store's folder
}

const (
	defaultPrefixV4 = 24
	defaultPrefixV6 = 56

	// maxPseudonyms is how many a month may have, 64 octets on disk and some 120 in memory
	// each: whoever can send from any address must not fill the disk with keys.
	maxPseudonyms = 1 << 20
)

func (p ClientPrivacy) withDefaults() ClientPrivacy {
	if p.PrefixV4 <= 0 || p.PrefixV4 > 31 {
		p.PrefixV4 = defaultPrefixV4
	}
	if p.PrefixV6 <= 0 || p.PrefixV6 > 64 {
		p.PrefixV6 = defaultPrefixV6
	}
	return p
}

// A mask puts in the place of clients what is to be kept of them, before an event is
// in a slab, which lies in a file. nil keeps all.
//
// A client's port and the query's number go with the address: programs that keep to
// one port, or count numbers up, would be known by them from month to month.
type mask struct {
	how    Privacy
	v4, v6 int
	seed   [2]uint64
	now    atomic.Pointer[monthClients] // of the event before

	mu     sync.Mutex
	keys   *clientKeys
	months []*monthClients // the two that were used last
	limit  int             // of pseudonyms in a month
}

// A monthClients has the pseudonyms of one month: open addressing, at most half full.
// Once others see a table, slots are only filled, each once, so that readers need no lock.
type monthClients struct {
	month    uint16
	from, to int64 // nanoseconds since 1970; to is not in it
	slots    []knownClient
	count    int // guarded by mask.mu
}

type knownClient struct {
	used   atomic.Bool // the rest is there, and stays as it is
	tells  [8]byte
	client [16]byte
	_      [4]byte // so that none lies on two cache lines
}

func newMask(p ClientPrivacy, keys *clientKeys) *mask {
	if p.How == FullClients {
		return nil
	}
	p = p.withDefaults()
	m := &mask{how: p.How, v4: p.PrefixV4, v6: p.PrefixV6, keys: keys, limit: maxPseudonyms}
	var seed [16]byte
	_, _ = rand.Read(seed[:]) // does not fail, see crypto/rand
	m.seed = [2]uint64{binary.LittleEndian.Uint64(seed[:]), binary.LittleEndian.Uint64(seed[8:])}
	m.now.Store(&monthClients{})
	return m
}

// hide puts into e what is to be kept of its client.
func (m *mask) hide(e *Event) {
	e.Port, e.ID = 0, 0
	switch a := e.Client.Unmap().WithZone(""); {
	case !a.IsValid():
	case m.how == PrefixClients:
		e.Client = m.network(a)
	default:
		e.Client = m.pseudonym(a, e.Time)
	}
}

// network returns what stands for the network of a client.
func (m *mask) network(a netip.Addr) netip.Addr {
	if masked(a) {
		return a
	}
	return keptNetwork(m.cut(netip.PrefixFrom(a, a.BitLen())))
}

// cut returns p, or the network that it is in, of no more bits than are kept.
func (m *mask) cut(p netip.Prefix) netip.Prefix {
	most := m.v6
	if p.Addr().Is4() {
		most = m.v4
	}
	p, _ = p.Addr().WithZone("").Prefix(min(p.Bits(), most))
	return p
}

// pseudonym returns what stands for the pseudonym of a client at a time.
func (m *mask) pseudonym(a netip.Addr, at int64) netip.Addr {
	at = max(at, 0)
	if t := m.now.Load(); at >= t.from && at < t.to {
		if k, ok := m.find(t, a.As16()); ok {
			return pseudonym{t.month, k.tells}.kept()
		}
	}
	return m.enrol(a, at)
}

// find returns the slot of a client, or the empty one where it belongs.
func (m *mask) find(t *monthClients, client [16]byte) (k *knownClient, ok bool) {
	// Nobody can find collisions who does not know the seed: clients choose their addresses.
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(client[:])^m.seed[0], binary.LittleEndian.Uint64(client[8:])^m.seed[1])
	for i := hi ^ lo; ; i++ {
		k := &t.slots[i&uint64(len(t.slots)-1)]
		if !k.used.Load() {
			return k, false
		}
		if k.client == client {
			return k, true
		}
	}
}

// enrol makes a pseudonym for a client that has none in that month. Its key is in the
// file when this returns, and on disk before a frame refers to it; if the file cannot
// be written it is kept in memory until then, and the writer writes no frame.
func (m *mask) enrol(a netip.Addr, at int64) netip.Addr {
	if masked(a) {
		return a
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.table(monthOf(at))
	if k, ok := m.find(t, a.As16()); ok {
		return pseudonym{t.month, k.tells}.kept()
	}
	if t.count >= m.limit {
		return pseudonym{month: t.month}.kept()
	}
	p := m.keys.add(a, t.month)
	if 2*(t.count+1) > len(t.slots) {
		t = m.rebuild(t, 2*len(t.slots), func([8]byte) bool { return true })
	}
	m.put(t, a.As16(), p.tells)
	return p.kept()
}

// table makes the table of a month the one that is looked at first. m.mu is held.
func (m *mask) table(month uint16) *monthClients {
	if t := m.now.Load(); t.to > 0 && t.month == month {
		return t
	}
	for _, t := range m.months {
		if t.month == month {
			m.now.Store(t)
			return t
		}
	}
	t := &monthClients{month: month, slots: make([]knownClient, 64)}
	t.from, t.to = monthSpan(month)
	if m.keys.has(month) { // from before the start; at the turn of a month queries wait for no reading
		// An error is told by who reads for an answer.
		_ = m.keys.each(func(k *clientKey) {
			if k.month != month || !k.held() {
				return
			}
			if 2*(t.count+1) > len(t.slots) {
				t = m.copied(t, 2*len(t.slots), func([8]byte) bool { return true })
			}
			m.put(t, k.client.As16(), k.tells)
		})
	}
	m.months = append(m.months, t)
	m.months = m.months[max(len(m.months)-2, 0):]
	m.now.Store(t)
	return t
}

// put adds a client to a table with room for it; of one that is there, what comes later
// counts, which may only happen before others see the table. m.mu is held.
func (m *mask) put(t *monthClients, client [16]byte, tells [8]byte) {
	k, there := m.find(t, client)
	if k.client, k.tells = client, tells; !there {
		t.count++
		k.used.Store(true)
	}
}

// copied returns a copy of a table with so many slots, with those of its clients that stay.
func (m *mask) copied(t *monthClients, size int, stays func(tells [8]byte) bool) *monthClients {
	next := &monthClients{month: t.month, from: t.from, to: t.to, slots: make([]knownClient, size)}
	for i := range t.slots {
		if k := &t.slots[i]; k.used.Load() && stays(k.tells) {
			m.put(next, k.client, k.tells)
		}
	}
	return next
}

// rebuild puts such a copy in the place of t.
func (m *mask) rebuild(t *monthClients, size int, stays func(tells [8]byte) bool) *monthClients {
	next := m.copied(t, size, stays)
	for i := range m.months {
		if m.months[i] == t {
			m.months[i] = next
		}
	}
	m.now.CompareAndSwap(t, next)
	return next
}

// sync brings the keys of all pseudonyms that were given out to disk.
func (m *mask) sync() error {
	if m == nil || m.keys == nil {
		return nil
	}
	late, err := m.keys.flush()
	if err != nil {
		return fmt.Errorf("write keys of clients: %w", err)
	}
	if late { // the tables do not know what is in the file
		m.mu.Lock()
		m.months = nil
		m.now.Store(&monthClients{})
		m.mu.Unlock()
	}
	return m.keys.sync()
}

// ClientText says which client, or network of clients, as far as the log may tell
// that itself: to a record, or to the operator's log.
func (l *Log) ClientText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	if masked(p.Addr()) {
		return Client{p.Addr()}.String()
	}
	if l.mask == nil {
		if p.IsSingleIP() {
			return p.Addr().String()
		}
		return p.String()
	}
	near := l.mask.cut(p)
	if l.mask.how == PrefixClients {
		return near.String()
	}
	if !p.IsSingleIP() {
		return near.String()
	}
	all, err := l.mask.keys.pseudonyms(p)
	switch {
	case err != nil:
		return "a client, whose pseudonyms cannot be read"
	case len(all) == 0:
		return "a client without pseudonym"
	}
	text := Client{all[len(all)-1]}.String()
	if len(all) > 1 {
		text += fmt.Sprintf(" and %d before it", len(all)-1)
	}
	return text
}

// AddressText is ClientText of a single address.
func (l *Log) AddressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return l.ClientText(netip.PrefixFrom(a, a.BitLen()))
}

// Masks says that addresses of clients are kept from the disk.
func (l *Log) Masks() bool { return l.mask != nil }

// Keyed says that there are keys of clients: pseudonyms are kept, or were.
func (l *Log) Keyed() bool { return l.keys != nil }

// openClients opens the keys of clients, if they are wanted or there. A disk that is
// full, read-only or broken is no reason not to start: keys wait in memory until they
// can be written, and so do records. opened says whether the store could be opened.
func (l *Log) openClients(opened bool) error {
	p := l.cfg.Privacy
	path := p.Keys
	if path == "" {
		path = filepath.Join(l.cfg.Dir, ClientKeysFile)
	}
	_, err := os.Stat(path)
	if p.How != KeyedClients && errors.Is(err, fs.ErrNotExist) {
		l.mask = newMask(p, nil)
		return nil
	}
	l.keys, err = openClientKeys(path)
	var damage *DamageError
	if errors.As(err, &damage) && l.cfg.OnError == StartFresh {
		moved, merr := moveAside(path, l.cfg.Now())
		if merr != nil {
			return errors.Join(err, merr)
		}
		l.cfg.Logger.Error("keys of clients were damaged and have been moved aside", "error", damage, "moved", moved)
		l.note(fmt.Sprintf("keys of clients: %s; the file was moved to %s", damage.Reason, filepath.Base(moved)))
		l.keys, err = openClientKeys(path)
	}
	if passes(err) && err != nil || err != nil && !opened && p.Keys == "" {
		l.cfg.Logger.Error("keys of clients cannot be opened yet, will try again", "error", err)
		err = nil
	}
	if err != nil {
		l.keys = nil
		return err
	}
	if l.keys.fresh {
		l.cfg.Logger.Warn("a new file of keys of clients begins: what pseudonyms stand for is known from now on", "file", path)
		l.note("keys of clients: a new file begins, which knows no pseudonym of before")
	}
	if n := l.keys.bad; n > 0 {
		l.cfg.Logger.Error("keys of clients are damaged", "file", path, "keys", n)
		l.note(fmt.Sprintf("keys of clients: %d are damaged, and with them what their pseudonyms stood for", n))
	}
	l.mask = newMask(p, l.keys)
	if l.mask != nil && p.How == KeyedClients { // not by the first query
		l.mask.mu.Lock()
		l.mask.table(monthOf(l.cfg.Now().UnixNano()))
		l.mask.mu.Unlock()
	}
	return nil
}

// ErrNotKeyed is returned where a log has no keys of clients.
var ErrNotKeyed = errors.New("no keys of clients are kept here: client_privacy is not \"keyed\"")
