package audit

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A frame that refers to a pseudonym is not written before its key is on disk.
func TestKeysComeBeforeFrames(t *testing.T) {
	dir, clock := t.TempDir(), clockAt(epoch)
	l, stop := keyed(t, dir, clock)
	file := l.keys.file
	blind, err := os.Open(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	l.keys.mu.Lock()
	l.keys.file = blind // which cannot be written to
	l.keys.mu.Unlock()
	kept := ask(t, l, clock.now(), "192.0.2.7")
	flush := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		return l.Flush(ctx)
	}
	for deadline := time.Now().Add(10 * time.Second); l.Stats().LastError == "" && time.Now().Before(deadline); {
		_ = flush()
	}
	if said := l.Stats().LastError; !strings.Contains(said, "keys of clients") {
		t.Fatalf("the log says %q", said)
	}
	for name, b := range octetsOf(t, dir) {
		octets := kept.kept.As16()
		if has := bytes.Contains(b, octets[:]); has && name != slabsFile {
			t.Errorf("%s refers to a pseudonym without key", name)
		}
	}
	l.keys.mu.Lock()
	l.keys.file = file
	l.keys.mu.Unlock()
	blind.Close()
	for deadline := time.Now().Add(10 * time.Second); flush() != nil && time.Now().Before(deadline); {
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	k, err := readClientKeys(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	if found, err := k.pseudonyms(netip.MustParsePrefix("192.0.2.7/32")); err != nil || len(found) != 1 || found[0] != kept.kept {
		t.Errorf("%v, %v, want %s", found, err, kept)
	}
}

// There is room for so many clients in a month, and for no more.
func TestTooManyClients(t *testing.T) {
	dir, clock := t.TempDir(), clockAt(epoch)
	l, _ := keyed(t, dir, clock)
	l.mask.limit = 3
	var kept []Client
	for i := range 6 {
		kept = append(kept, ask(t, l, clock.now(), fmt.Sprintf("192.0.2.%d", i)))
	}
	if kept[2] == kept[3] || kept[3] != kept[5] || kept[3].String() != "client-2024-05-others" {
		t.Errorf("%s", kept)
	}
	if info, err := os.Stat(filepath.Join(dir, ClientKeysFile)); err != nil || info.Size() != 4*clientEntry {
		t.Errorf("%v, %v", info.Size(), err)
	}
}

// The tables are a map from month and client to pseudonym, whatever comes in which order.
func TestMaskIsAMap(t *testing.T) {
	keys, err := openClientKeys(filepath.Join(t.TempDir(), ClientKeysFile))
	if err != nil {
		t.Fatal(err)
	}
	defer keys.close()
	type who struct {
		month  uint16
		client netip.Addr
	}
	l := &Log{keys: keys, mask: newMask(ClientPrivacy{How: KeyedClients}, keys)}
	model, given := map[who]netip.Addr{}, map[netip.Addr]bool{}
	r := rand.New(rand.NewPCG(1, 2))
	month := uint16(640)
	for step := range 5000 {
		if step%50 == 0 {
			month = uint16(640 + r.IntN(4))
		}
		w := who{month, netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(256))})}
		if r.IntN(250) == 0 {
			var gone []clientKey
			_ = keys.each(func(k *clientKey) {
				if k.held() && k.client == w.client {
					gone = append(gone, *k)
				}
			})
			if _, err := l.forget(gone); err != nil {
				t.Fatal(err)
			}
			for other := range model {
				if other.client == w.client {
					delete(model, other)
				}
			}
			continue
		}
		from, to := monthSpan(w.month)
		at := [...]int64{from, to - 1, (from + to) / 2}[r.IntN(3)]
		got, want := l.mask.pseudonym(w.client, at), model[w]
		if want.IsValid() && got != want || !want.IsValid() && given[got] {
			t.Fatalf("%v: %v, want %v", w, got, want)
		}
		if p, ok := pseudonymOf(got); !ok || p.month != w.month {
			t.Fatalf("%v: %v", w, got)
		}
		model[w], given[got] = got, true
	}
}

// Many at once get one pseudonym for each client, while others forget.
func TestMaskTakesManyAtOnce(t *testing.T) {
	keys, err := openClientKeys(filepath.Join(t.TempDir(), ClientKeysFile))
	if err != nil {
		t.Fatal(err)
	}
	defer keys.close()
	l := &Log{keys: keys, mask: newMask(ClientPrivacy{How: KeyedClients}, keys)}
	at := epoch.UnixNano()
	const clients = 500
	var got [4][clients]netip.Addr
	var wg sync.WaitGroup
	for g := range got {
		wg.Go(func() {
			for i := range clients {
				got[g][i] = l.mask.pseudonym(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), at)
			}
		})
	}
	wg.Go(func() {
		for range 20 { // of clients that nobody asks about
			l.mask.pseudonym(netip.MustParseAddr("2001:db8::1"), at)
			var gone []clientKey
			_ = keys.each(func(k *clientKey) {
				if k.held() && k.client.Is6() {
					gone = append(gone, *k)
				}
			})
			if _, err := l.forget(gone); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	for g := range got {
		if got[g] != got[0] {
			t.Errorf("goroutine %d has other pseudonyms", g)
		}
	}
}

// What a file of keys has is proven entry by entry, and a damaged one costs itself.
func TestDamagedKeys(t *testing.T) {
	dir, clock := t.TempDir(), clockAt(epoch)
	l, stop := keyed(t, dir, clock)
	a, b := ask(t, l, clock.now(), "192.0.2.7"), ask(t, l, clock.now(), "192.0.2.8")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, ClientKeysFile)
	whole, err := os.ReadFile(path)
	if err != nil || len(whole) != 3*clientEntry {
		t.Fatalf("%d octets, %v", len(whole), err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	states := func(content []byte) (out []string, stats []*Record) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		l, stop := keyed(t, dir, clock)
		found, err := l.Reveal(t.Context(), "", []Client{a, b})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range found {
			out = append(out, r.State)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		return out, all(t, dir)
	}
	for i := clientEntry; i < 2*clientEntry; i++ {
		changed := bytes.Clone(whole)
		changed[i] ^= 0x10
		if _, ok := readClientKey(changed[clientEntry:][:clientEntry]); ok {
			t.Errorf("octet %d of an entry is not proven", i-clientEntry)
		}
	}
	forged, _ := readClientKey(whole[clientEntry:][:clientEntry])
	forged.client = netip.MustParseAddr("192.0.2.9")
	if got, _ := states(slices.Concat(whole[:clientEntry], forged.append(nil), whole[2*clientEntry:])); got[0] != PseudonymUnknown {
		t.Errorf("an entry made to name another client: %q", got)
	}
	changed := bytes.Clone(whole)
	changed[clientEntry+30] ^= 1
	got, records := states(changed)
	if got[0] != PseudonymUnknown || got[1] != PseudonymRevealed {
		t.Errorf("with a damaged key: %q", got)
	}
	if !strings.Contains(fmt.Sprint(textsOf(records)), "keys of clients: 1 are damaged") {
		t.Errorf("no record says so: %q", textsOf(records))
	}
	if got, _ := states(whole[:3*clientEntry-1]); got[0] != PseudonymRevealed || got[1] != PseudonymUnknown {
		t.Errorf("cut short: %q", got)
	}
	changed[3] ^= 1
	got, records = states(changed)
	if got[0] != PseudonymUnknown || !strings.Contains(fmt.Sprint(textsOf(records)), "the file was moved to audit.clients.damaged-20240501T120000Z") {
		t.Errorf("with a damaged header: %q %q", got, textsOf(records))
	}
	if err := os.WriteFile(path, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	var damage *DamageError
	if _, err := Open(Config{Dir: dir, OnError: Fail, Privacy: ClientPrivacy{How: KeyedClients}}); !errors.As(err, &damage) {
		t.Errorf("Open: %v", err)
	}
	if _, err := Open(Config{Dir: t.TempDir(), Privacy: ClientPrivacy{How: KeyedClients, Keys: filepath.Join(dir, "gone", "keys")}}); err == nil || !strings.Contains(err.Error(), "is its volume mounted?") {
		t.Errorf("without its folder: %v", err)
	}
}

func textsOf(records []*Record) (texts []string) {
	for _, r := range records {
		if r.Kind == "change" {
			texts = append(texts, r.Text)
		}
	}
	return texts
}

func TestGoldenClientKeys(t *testing.T) {
	k := clientKey{state: entryHeld, client: netip.MustParseAddr("192.0.2.7"), pseudonym: pseudonym{month: 651}, key: [32]byte{1, 2, 3, 31: 4}}
	k.pseudonym = k.tell()
	b := k.append(nil)
	k.client = netip.MustParseAddr("2001:db8::7")
	k.pseudonym = k.tell()
	b = k.append(b)
	k.state = entryBroken
	b = k.append(b)
	golden(t, "clients-v1.hex", []byte(hex.Dump(b)))
	for i, want := range []string{"192.0.2.7", "2001:db8::7", "invalid IP"} {
		if k, ok := readClientKey(b[i*clientEntry:][:clientEntry]); !ok || k.client.String() != want {
			t.Errorf("entry %d: %v, %t", i, k.client, ok)
		}
	}
}

// Where the file cannot be had at first, keys wait in memory, and what it has of before
// counts when it is there.
func TestKeysThatComeLate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "volume")
	path := filepath.Join(dir, ClientKeysFile)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	before, err := openClientKeys(path)
	if err != nil {
		t.Fatal(err)
	}
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	at := epoch.UnixNano()
	known := newMask(ClientPrivacy{How: KeyedClients}, before).pseudonym(one, at)
	if err := errors.Join(before.close(), os.Rename(dir, dir+"-away")); err != nil {
		t.Fatal(err)
	}

	keys := &clientKeys{path: path}
	m := newMask(ClientPrivacy{How: KeyedClients}, keys)
	second := m.pseudonym(two, at)
	if err := m.sync(); err == nil {
		t.Fatal("keys are on a disk that is not there")
	}
	if err := os.Rename(dir+"-away", dir); err != nil {
		t.Fatal(err)
	}
	if err := m.sync(); err != nil {
		t.Fatal(err)
	}
	if got := m.pseudonym(one, at); got != known {
		t.Errorf("a client of before is %s, was %s", Client{got}, Client{known})
	}
	if got := m.pseudonym(two, at); got != second {
		t.Errorf("a client is %s, was %s", Client{got}, Client{second})
	}
	if found, err := keys.pseudonyms(netip.MustParsePrefix("192.0.2.0/24")); err != nil || len(found) != 2 {
		t.Errorf("%v, %v", found, err)
	}
	if err := keys.close(); err != nil {
		t.Fatal(err)
	}
}

// What a sync that failed did not bring to disk is written once more: a key before its
// pseudonym is in a record, and what a key was overwritten with.
func TestASyncOfKeysThatFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), ClientKeysFile)
	keys, err := openClientKeys(path)
	if err != nil {
		t.Fatal(err)
	}
	defer keys.close()
	m := newMask(ClientPrivacy{How: KeyedClients}, keys)
	if err := m.sync(); err != nil {
		t.Fatal(err)
	}
	file := keys.file
	void, err := os.OpenFile(os.DevNull, os.O_RDWR, 0) // takes what is written, and cannot be synced
	if err != nil {
		t.Fatal(err)
	}
	defer void.Close()
	held := func() (n int) {
		t.Helper()
		k, err := readClientKeys(path)
		if err != nil {
			t.Fatal(err)
		}
		defer k.close()
		found, err := k.pseudonyms(netip.MustParsePrefix("0.0.0.0/0"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	at, clients := epoch.UnixNano(), 0
	lookUp := func() { clients++; m.pseudonym(netip.AddrFrom4([4]byte{192, 0, 2, byte(clients)}), at) }

	keys.file = void
	for range 3 {
		lookUp()
		if err := m.sync(); err == nil {
			t.Fatal("keys are on a disk that is none")
		}
	}
	keys.file = file
	lookUp()
	if err := m.sync(); err != nil {
		t.Fatal(err)
	}
	if n := held(); n != clients {
		t.Fatalf("%d keys are on disk, want %d", n, clients)
	}
	var gone []clientKey
	if err := keys.each(func(e *clientKey) { gone = append(gone, *e) }); err != nil {
		t.Fatal(err)
	}
	keys.file = void
	if done, err := keys.destroy(gone[1:]); done != 0 || err == nil {
		t.Fatalf("%d are destroyed, %v", done, err)
	}
	keys.file = file
	if err := m.sync(); err != nil {
		t.Fatal(err)
	}
	if n := held(); n != 1 {
		t.Errorf("%d keys are left on disk, want 1", n)
	}
	if len(keys.unsure) != 0 || keys.again {
		t.Errorf("%d entries are remembered", len(keys.unsure))
	}
}
