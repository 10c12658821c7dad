package resolver

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/miekg/dns"

	"weir/resolver/cache"
	"weir/resolver/wire"
)

// SaveCache writes what the cache holds to a file, for the next start, and returns
// how many answers that are. The file is there whole or not at all. It is for
// after Run.
func (r *Resolver) SaveCache(path string) (n int, err error) {
	now := r.now()
	wall := now.UnixNano()
	servers := map[uint32]string{}
	for _, g := range r.State().Groups {
		for _, s := range g.Stats().Servers {
			servers[r.log.Label(s.Server)] = s.Server
		}
	}
	all := r.cache.Saved(now.Sub(r.base).Nanoseconds(), wall, func(label uint32) string { return servers[label] })
	all = slices.DeleteFunc(all, func(s cache.Saved) bool { return s.Expires+int64(r.cfg.Stale) <= wall })
	return len(all), replaceFile(path, cache.Encode(wall, all))
}

// replaceFile writes a file that only its owner may read, for it tells what was
// asked.
func replaceFile(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	temporary := path + ".new"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		_ = os.Remove(temporary)
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// LoadCache takes in what SaveCache has written, less what has expired or is of
// another upstream now, and removes the file: what is flushed from now on is gone.
// It returns how many answers were taken; all, or none and why. A file that does
// not exist is none. It is for before Run.
func (r *Resolver) LoadCache(path string) (n int, err error) {
	data, err := readSaved(path, r.cfg.CacheSize)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	entries, err := r.revive(data)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return 0, err
	}
	for _, e := range entries {
		r.cache.Put(e)
	}
	return len(entries), nil
}

func readSaved(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s is larger than the cache", path)
	}
	return data, err
}

// revive turns a file into entries. Their age goes on from what it was when the
// file was written by the time since, by the wall clock; if that was set back it
// has stood still.
func (r *Resolver) revive(data []byte) (entries []*cache.Entry, err error) {
	saved, all, err := cache.Decode(data)
	if err != nil {
		return nil, err
	}
	now := r.now()
	mono := now.Sub(r.base).Nanoseconds()
	away := max(now.UnixNano()-saved, 0)
	routes := r.State().Routes
	for i := range all {
		s := &all[i]
		e, err := entryOf(s, r.State().prefixes)
		if err != nil {
			return nil, fmt.Errorf("answer %d of %d: %w", i+1, len(all), err)
		}
		e.Stored = mono - away - (saved - s.Stored)
		e.Expires = e.Stored + min(s.Expires-s.Stored, int64(r.cfg.TTL.Max)*1e9)
		if !r.lasts(e, mono) || routes.Route(routed(e.Asked(), e.Type())).Name() != e.Group {
			continue
		}
		e.Upstream = r.log.Label(s.Server)
		r.schedule(e)
		entries = append(entries, e)
	}
	return entries, nil
}

// entryOf reads a saved message like one that has just come, but for what was
// done to it then.
func entryOf(s *cache.Saved, own []*DNS64) (e *cache.Entry, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("decoder: %v", v)
		}
	}()
	e = &cache.Entry{Key: s.Key(), Group: s.Group}
	for _, c := range e.Name() {
		if 'A' <= c && c <= 'Z' {
			return nil, errors.New("a name that is not in lower case")
		}
	}
	if e.Reply, err = wire.Freeze(s.Message); err != nil {
		return nil, err
	}
	e.Reply.AD = false // who said so may not be trusted any more
	if e.Reply.Partial || e.Reply.Rcode != dns.RcodeSuccess && e.Reply.Rcode != dns.RcodeNameError && e.Reply.Rcode != dns.RcodeYXDomain {
		return nil, errors.New("an answer that is never kept")
	}
	var m dns.Msg
	if err := m.Unpack(s.Message); err != nil {
		return nil, err
	}
	if !m.Response || len(m.Question) != 1 || m.Question[0].Qclass != dns.ClassINET || m.IsEdns0() != nil {
		return nil, errors.New("no answer")
	}
	for _, rr := range m.Answer {
		if err := note(e, rr, own); err != nil {
			return nil, err
		}
	}
	noted(e)
	return e, nil
}
