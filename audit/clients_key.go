package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
)

// A clientKeys is the file that says whose pseudonyms are whose. It is all there is:
// no key is made from another, so that a key which was overwritten is gone. Only its
// owner may read it. It has a header and entries, all of 64 octets; numbers are
// big-endian:
//
//	offset size
//	     0    8  "WEIRKEYS"
//	     8    2  version of the format, 1
//	    10   50  0
//	    60    4  CRC-32C of all octets before
//
//	     0    1  1: a key; 2: one that was destroyed
//	     1    1  octets of the client's address, 4 or 16; 0 of one that was destroyed
//	     2    2  month, from 1970-01 on
//	     4    8  the pseudonym, as the store has it
//	    12   16  the client's address, then 0; 0 of one that was destroyed
//	    28   32  the key; 0 if it was destroyed
//	    60    4  CRC-32C of all octets before
//
// The pseudonym is the first 8 octets of HMAC-SHA-256 under the key, of "weir client"
// and an octet of 0, the month (2) and the address (4 or 16): so an entry cannot be
// made to say that an old pseudonym was somebody else's without finding another key
// for it.
//
// Entries are added at the end, and never moved. One that is not whole at the end is
// what the last write did not bring to disk, and is written over; one with others
// behind it is damage, and is left alone. A key is destroyed by overwriting its entry
// in place.
type clientKeys struct {
	path  string
	fresh bool // it was made just now

	syncing sync.Mutex // held while the disk is waited for: of two that do, one alone would hear of an error

	mu      sync.Mutex
	file    *os.File
	folder  fs.FileInfo                 // that it is in
	size    int64                       // octets of whole entries, and the header
	pending []byte                      // entries that could not be written so far
	unsure  map[int64][clientEntry]byte // what was written, by its place, and may not be on disk
	again   bool                        // it was not, and the system has forgotten it
	added   atomic.Uint64               // entries since it was opened, and those destroyed
	dirty   bool                        // some may not be on disk
	late    bool                        // it was opened just now, after pseudonyms had been given out
	bad     int                         // entries that were damaged when it was opened
	months  map[uint16]bool             // of its entries
}

// ClientKeysFile is the file of keys in a store's folder, unless it has a path of its own.
const ClientKeysFile = "audit.clients"

const (
	clientKeysMagic   = "WEIRKEYS"
	clientKeysVersion = 1
	clientEntry       = 64

	entryHeld   = 1
	entryBroken = 2
)

// A clientKey is one entry.
type clientKey struct {
	pseudonym
	state  byte
	client netip.Addr
	key    [32]byte
	at     int64 // where it stands in the file; -1 if it does not yet
}

func (k *clientKey) held() bool { return k.state == entryHeld }

// sound says that the key makes the pseudonym of the client.
func (k *clientKey) sound() bool { return k.held() && k.tell() == k.pseudonym }

// tell returns the pseudonym that a key makes of a client.
func (k *clientKey) tell() pseudonym {
	h := hmac.New(sha256.New, k.key[:])
	h.Write([]byte("weir client\x00"))
	h.Write(binary.BigEndian.AppendUint16(nil, k.month))
	h.Write(k.client.AsSlice())
	return pseudonym{k.month, [8]byte(h.Sum(nil))}
}

func (k *clientKey) append(b []byte) []byte {
	start := len(b)
	b = append(b, k.state, 0)
	b = binary.BigEndian.AppendUint16(b, k.month)
	b = append(b, k.tells[:]...)
	b = append(b, make([]byte, clientEntry-12)...)
	if k.held() {
		b[start+1] = byte(k.client.BitLen() / 8)
		copy(b[start+12:], k.client.AsSlice())
		copy(b[start+28:], k.key[:])
	}
	binary.BigEndian.PutUint32(b[start+60:], crc32.Checksum(b[start:start+60], castagnoli))
	return b
}

// readClientKey reads an entry of 64 octets; ok is false if it is not whole.
func readClientKey(b []byte) (k clientKey, ok bool) {
	if crc32.Checksum(b[:60], castagnoli) != binary.BigEndian.Uint32(b[60:]) {
		return k, false
	}
	k.state, k.month, k.tells = b[0], binary.BigEndian.Uint16(b[2:]), [8]byte(b[4:])
	switch {
	case k.state == entryBroken:
		return k, true
	case k.state != entryHeld || b[1] != 4 && b[1] != 16:
		return k, false
	}
	k.client, _ = netip.AddrFromSlice(b[12:][:b[1]])
	k.key = [32]byte(b[28:])
	return k, true
}

// openClientKeys opens the file of keys to write to, and makes one if there is none
// in its folder, which must be there: it may be a volume that is not.
func openClientKeys(path string) (*clientKeys, error) {
	k := &clientKeys{path: path}
	return k, k.attach()
}

// attach opens the file. k.mu is held, or nobody else knows k.
func (k *clientKeys) attach() error {
	f, err := os.OpenFile(k.path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open keys of clients: the folder %s is not there: is its volume mounted?", filepath.Dir(k.path))
	}
	if err != nil {
		return fmt.Errorf("open keys of clients: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("open keys of clients: another process has %s open", k.path), f.Close())
	}
	k.file, k.dirty = f, true // of what a process that was killed has written too
	k.folder, _ = os.Stat(filepath.Dir(k.path))
	if err := k.begin(); err != nil {
		k.file = nil
		return errors.Join(err, f.Close())
	}
	return nil
}

// readClientKeys opens the file of keys to read from.
func readClientKeys(path string) (*clientKeys, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read keys of clients: %w", err)
	}
	k := &clientKeys{path: path, file: f}
	if err := k.measure(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return k, nil
}

func (k *clientKeys) begin() error {
	info, err := k.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < clientEntry { // it has no entry, so neither had its header to be there
		head := make([]byte, clientEntry)
		copy(head, clientKeysMagic)
		binary.BigEndian.PutUint16(head[8:], clientKeysVersion)
		binary.BigEndian.PutUint32(head[60:], crc32.Checksum(head[:60], castagnoli))
		_, err := k.file.WriteAt(head, 0)
		if err = errors.Join(err, k.file.Sync(), syncDir(filepath.Dir(k.path))); err != nil {
			return fmt.Errorf("make keys of clients: %w", err)
		}
		k.fresh = true
	}
	return k.measure()
}

// measure finds out where the whole entries end.
func (k *clientKeys) measure() error {
	head := make([]byte, clientEntry)
	if _, err := k.file.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read keys of clients: %w", err)
	}
	switch {
	case string(head[:8]) != clientKeysMagic || crc32.Checksum(head[:60], castagnoli) != binary.BigEndian.Uint32(head[60:]):
		return damaged(k.path, "its header", "it does not begin like a file of keys of clients")
	case binary.BigEndian.Uint16(head[8:]) != clientKeysVersion:
		return fmt.Errorf("read keys of clients: %s has format version %d, this program reads %d", k.path, binary.BigEndian.Uint16(head[8:]), clientKeysVersion)
	}
	k.size = clientEntry
	bad := 0
	err := scanKeys(k.file, newest, func(at int64, entry []byte) error {
		e, ok := readClientKey(entry)
		if !ok {
			bad++
			return nil
		}
		k.note(e.month)
		k.size, k.bad = at+clientEntry, bad
		return nil
	})
	return err
}

// scanKeys calls f with the entries of a file before end, whole or not, in order.
func scanKeys(file *os.File, end uint64, f func(at int64, entry []byte) error) error {
	if end <= clientEntry {
		return nil
	}
	in := io.NewSectionReader(file, clientEntry, int64(min(end, 1<<62))-clientEntry)
	buf := make([]byte, 1024*clientEntry)
	for at := int64(clientEntry); ; {
		n, err := io.ReadFull(in, buf)
		for i := 0; i+clientEntry <= n; i += clientEntry {
			if err := f(at, buf[i:i+clientEntry]); err != nil {
				return err
			}
			at += clientEntry
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read keys of clients: %w", err)
		}
	}
}

// each calls f with every entry that is whole, in order. f must not keep it.
func (k *clientKeys) each(f func(*clientKey)) error {
	k.mu.Lock()
	file, end, pending := k.file, k.size, bytes.Clone(k.pending)
	k.mu.Unlock()
	err := scanKeys(file, uint64(end), func(at int64, entry []byte) error {
		if e, ok := readClientKey(entry); ok {
			e.at = at
			f(&e)
		}
		return nil
	})
	for ; len(pending) > 0; pending = pending[clientEntry:] {
		if e, ok := readClientKey(pending[:clientEntry]); ok {
			e.at = -1
			f(&e)
		}
	}
	return err
}

// note remembers that there are entries of a month. k.mu is held, or nobody else knows k.
func (k *clientKeys) note(month uint16) {
	if k.months == nil {
		k.months = make(map[uint16]bool)
	}
	k.months[month] = true
}

// has says whether there are entries of a month, without reading the file.
func (k *clientKeys) has(month uint16) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.months[month]
}

// add makes a key for a client and a month, and returns the pseudonym.
func (k *clientKeys) add(a netip.Addr, month uint16) pseudonym {
	e := clientKey{state: entryHeld, client: a, pseudonym: pseudonym{month: month}}
	for e.tells == [8]byte{} {
		_, _ = rand.Read(e.key[:]) // does not fail, see crypto/rand
		e.pseudonym = e.tell()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pending = e.append(k.pending)
	k.note(month)
	k.added.Add(1)
	_ = k.write() // else the writer tries again, and says so
	return e.pseudonym
}

// write writes what is pending. k.mu is held.
func (k *clientKeys) write() error {
	if k.file == nil { // it could not be opened so far
		if err := k.attach(); err != nil {
			return err
		}
		k.late = true
	}
	if k.again {
		for at, e := range k.unsure {
			if _, err := k.file.WriteAt(e[:], at); err != nil {
				return err
			}
		}
		k.again, k.dirty = false, true
	}
	if len(k.pending) == 0 {
		return nil
	}
	if _, err := k.file.WriteAt(k.pending, k.size); err != nil {
		return err
	}
	for e := range slices.Chunk(k.pending, clientEntry) {
		k.wrote(e, k.size)
		k.size += clientEntry
	}
	clear(k.pending)
	k.pending = k.pending[:0]
	return nil
}

// wrote remembers an entry until it is on disk. k.mu is held.
func (k *clientKeys) wrote(entry []byte, at int64) {
	if k.unsure == nil {
		k.unsure = make(map[int64][clientEntry]byte)
	}
	k.unsure[at], k.dirty = [clientEntry]byte(entry), true
}

// flush writes what is pending, and says whether the file could only be opened now.
func (k *clientKeys) flush() (late bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	err = k.write()
	late, k.late = k.late, false
	return late, err
}

// sync waits for the disk. Meanwhile keys can be added.
func (k *clientKeys) sync() error {
	k.syncing.Lock()
	defer k.syncing.Unlock()
	k.mu.Lock()
	dirty, unsure := k.dirty, k.unsure
	k.dirty, k.unsure = false, nil
	k.mu.Unlock()
	if !dirty {
		return nil
	}
	err := syncData(k.file)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		k.failed(unsure)
		return fmt.Errorf("write keys of clients: %w", err)
	}
	clear(unsure)
	return nil
}

// failed has what a sync did not bring to disk written once more: the system forgets it, and
// another sync would not fail. k.mu is held.
func (k *clientKeys) failed(unsure map[int64][clientEntry]byte) {
	for at, e := range unsure {
		if _, newer := k.unsure[at]; !newer {
			k.wrote(e[:], at)
		}
	}
	clear(unsure)
	k.again, k.dirty = true, true
}

// pseudonyms returns what stands for the pseudonyms, whose keys are there, of the
// clients in a network; the oldest first.
func (k *clientKeys) pseudonyms(p netip.Prefix) (all []netip.Addr, err error) {
	err = k.each(func(e *clientKey) {
		if e.held() && p.Contains(e.client) && e.sound() {
			all = append(all, e.kept())
		}
	})
	return all, err
}

// destroy overwrites entries in place and waits for the disk. done is how many were.
func (k *clientKeys) destroy(entries []clientKey) (done int, err error) {
	k.syncing.Lock()
	defer k.syncing.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.write(); err != nil { // so that all of them are in the file
		return 0, fmt.Errorf("destroy keys of clients: %w", err)
	}
	for i := range entries {
		e := &entries[i]
		gone := clientKey{state: entryBroken, pseudonym: e.pseudonym}
		b := gone.append(nil)
		if _, err = k.file.WriteAt(b, e.at); err != nil {
			break
		}
		k.wrote(b, e.at)
		k.added.Add(1)
		done++
	}
	if serr := syncData(k.file); serr != nil {
		k.failed(nil)
		done, err = 0, errors.Join(err, serr)
	} else {
		clear(k.unsure)
	}
	if err != nil {
		err = fmt.Errorf("destroy keys of clients: %w", err)
	}
	return done, err
}

func (k *clientKeys) close() error {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	err := k.write()
	if k.file != nil {
		err = errors.Join(err, k.file.Close())
	}
	return err
}
