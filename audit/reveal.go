package audit

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// What became of a pseudonym.
const (
	PseudonymRevealed  = "revealed"
	PseudonymForgotten = "forgotten" // its key was destroyed
	PseudonymUnknown   = "unknown"   // there never was such a key here
)

// Revealed is whose a pseudonym is.
type Revealed struct {
	Pseudonym Client     `json:"pseudonym"`
	Client    netip.Addr `json:"client,omitzero"` // of one that is revealed
	Month     string     `json:"month"`           // in UTC, "2026-03"
	State     string     `json:"state"`           // revealed, forgotten or unknown
}

// Reveal says whose pseudonyms these are, after a change with the actor says on disk
// that it did. It needs Run.
func (l *Log) Reveal(ctx context.Context, actor string, pseudonyms []Client) ([]Revealed, error) {
	if l.keys == nil {
		return nil, ErrNotKeyed
	}
	out := make([]Revealed, len(pseudonyms))
	wanted := make(map[pseudonym][]int, len(pseudonyms))
	for i, c := range pseudonyms {
		p, ok := pseudonymOf(c.kept)
		if !ok {
			return nil, fmt.Errorf("%s is no pseudonym", c)
		}
		out[i] = Revealed{Pseudonym: c, Month: monthText(p.month), State: PseudonymUnknown}
		wanted[p] = append(wanted[p], i)
	}
	if err := l.witnessed(ctx, Change{Action: ActionReveal, Actor: actor, Text: "reveal: " + clientsText(pseudonyms)}); err != nil {
		return nil, fmt.Errorf("nothing is revealed that cannot be recorded: %w", err)
	}
	err := l.keys.each(func(k *clientKey) {
		for _, i := range wanted[k.pseudonym] {
			switch {
			case k.sound():
				out[i].State, out[i].Client = PseudonymRevealed, k.client
			case !k.held():
				out[i].State = PseudonymForgotten
			}
		}
	})
	return out, err
}

// Forgotten is what Forget has destroyed.
type Forgotten struct {
	Pseudonyms []Client `json:"pseudonyms"` // whose keys are gone, the oldest first
	File       string   `json:"file"`       // that they were in
}

// Forget destroys keys: of the clients in a network, or of one pseudonym, in a month
// ("2026-03") and before another; what is zero or empty is all, but not all three. The
// records stay as they are, and so does what proves them; whose they were can no longer
// be told. A change with the actor says so on disk before it is done, without the
// client, and without its pseudonyms if there are several. A client that asks again
// gets a new key. It needs Run.
//
// A key is overwritten in its file. What a copying file system, a disk's own remapping
// or a backup have of it is not reached.
func (l *Log) Forget(ctx context.Context, actor string, of netip.Prefix, month, before string) (Forgotten, error) {
	done := Forgotten{Pseudonyms: []Client{}}
	if l.keys == nil {
		return done, ErrNotKeyed
	}
	if !of.IsValid() && month == "" && before == "" {
		return done, errors.New("forget whom?")
	}
	var only, limit uint16
	var err error
	if month != "" {
		if only, err = parseMonth(month); err != nil {
			return done, err
		}
	}
	if before != "" {
		if limit, err = parseMonth(before); err != nil {
			return done, err
		}
	}
	done.File = l.keys.path
	if err := l.mask.sync(); err != nil { // so that all of them are in the file
		return done, err
	}
	if _, err := l.keys.flush(); err != nil {
		return done, err
	}
	one, named := pseudonymOf(of.Addr())
	var gone []clientKey
	err = l.keys.each(func(k *clientKey) {
		if k.held() && k.at >= 0 && (month == "" || k.month == only) && (before == "" || k.month < limit) &&
			(!of.IsValid() || named && k.pseudonym == one || !named && of.Contains(k.client)) {
			gone = append(gone, *k)
		}
	})
	if err != nil {
		return done, err
	}
	for i := range gone {
		done.Pseudonyms = append(done.Pseudonyms, Client{gone[i].kept()})
	}
	text := "forget: no key was there"
	switch n := len(gone); {
	case n == 1:
		text = "forget: destroying the key of " + done.Pseudonyms[0].String()
	case n > 1: // to name them would join for good what the months have parted
		text = fmt.Sprintf("forget: destroying %d keys", n)
	}
	if err := l.witnessed(ctx, Change{Action: ActionForget, Actor: actor, Text: text}); err != nil {
		return Forgotten{Pseudonyms: []Client{}}, fmt.Errorf("nothing is forgotten that cannot be recorded: %w", err)
	}
	if len(gone) == 0 {
		return done, nil
	}
	n, err := l.forget(gone)
	if err != nil {
		l.RecordChange(Change{Action: ActionForget, Actor: actor, Text: fmt.Sprintf("forget: %d of %d keys were destroyed: %v", n, len(gone), err)})
		done.Pseudonyms = done.Pseudonyms[:n]
	}
	return done, err
}

// forget takes the clients out of the tables, so that their next query gets a new key,
// and destroys the old ones.
func (l *Log) forget(gone []clientKey) (done int, err error) {
	if m := l.mask; m != nil && m.how == KeyedClients {
		m.mu.Lock()
		defer m.mu.Unlock() // nobody gets a pseudonym whose key is about to go
		lost := make(map[pseudonym]bool, len(gone))
		for i := range gone {
			lost[gone[i].pseudonym] = true
		}
		for _, t := range slices.Clone(m.months) {
			m.rebuild(t, len(t.slots), func(tells [8]byte) bool { return !lost[pseudonym{t.month, tells}] })
		}
	}
	return l.keys.destroy(gone)
}

// changePatience is how long who reveals or forgets waits for the disk.
const changePatience = 10 * time.Second

// witnessed records a change and waits until it is on disk, but not for ever.
func (l *Log) witnessed(ctx context.Context, c Change) error {
	ctx, cancel := context.WithTimeout(ctx, changePatience)
	defer cancel()
	if !l.RecordChange(c) {
		return errors.New("the audit log is full")
	}
	return l.Flush(ctx)
}

// clientsText names clients, but not too many.
func clientsText(all []Client) string {
	const most = 1000
	var parts []string
	for _, c := range all[:min(len(all), most)] {
		parts = append(parts, c.String())
	}
	text := strings.Join(parts, " ")
	if len(all) > most {
		text += fmt.Sprintf(" and %d more", len(all)-most)
	}
	return text
}

// UseClientKeys lets Query.Reveal find, in the store of a stopped log, what the clients
// in the file of keys are known by. Without it their records are found by pseudonym only.
func (r *Reader) UseClientKeys(path string) (err error) {
	r.keys, err = readClientKeys(path)
	return err
}

// clientKeys returns the keys that the reader may look into, nil if there are none.
func (r *Reader) clientKeys() *clientKeys {
	if r.log != nil {
		return r.log.keys
	}
	return r.keys
}

// know makes f want the pseudonyms too that the clients it asks for have, as far as k
// tells: again if keys were added since it last did.
func (f *filter) know(k *clientKeys) error {
	if k == nil || !f.query.Reveal || !f.query.Client.IsValid() || masked(f.query.Client.Addr()) {
		return nil
	}
	added := k.added.Load() + 1
	if f.known == added {
		return nil
	}
	all, err := k.pseudonyms(f.query.Client)
	if err != nil {
		return err
	}
	f.known, f.pseudonyms = added, make(map[netip.Addr]bool, len(all))
	for _, a := range all {
		f.pseudonyms[a] = true
	}
	return nil
}

// asks says whether f asks for a client: who is in its network, or may be, by the
// network that was kept, or whose pseudonym is known.
func (f *filter) asks(client netip.Addr) bool {
	if f.query.Client.Contains(client) || f.pseudonyms[client] {
		return true
	}
	n, ok := networkOf(client)
	return ok && f.query.Client.Overlaps(n)
}
