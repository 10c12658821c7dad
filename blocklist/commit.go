package blocklist

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// pending is what is left to do with lists that Load has made, once it is known whether they come into force.
type pending struct {
	made  string // the compiled form, under its temporary name; empty for none
	path  string // its place
	store *Store // nil when nothing is to be written
	state string
}

func (l *loader) pending(made string) *pending {
	p := &pending{made: made, path: l.compiled()}
	if !l.ReadOnly {
		p.store, p.state = l.Store, l.State
	}
	return p
}

// Commit says that the lists have come into force: the compiled form takes its place, and the store notes each version.
// An error says what will not be there at the next start; the lists are good all the same.
func (x *Lists) Commit() error {
	p := x.pending
	if p == nil {
		return nil
	}
	x.pending = nil
	var errs []error
	if p.made != "" {
		errs = append(errs, os.Rename(p.made, p.path))
		left, _ := filepath.Glob(p.path + ".new-*") // of processes that were killed
		for _, file := range left {
			_ = os.Remove(file)
		}
	}
	if p.store == nil {
		return errors.Join(errs...)
	}
	errs = append(errs, x.settle(p.store, func(l *List) string {
		if p.inStore(l.File) {
			return l.File
		}
		return ""
	}))
	return errors.Join(errs...)
}

// settle tells the store which version of each list is in force, and which is held.
func (x *Lists) settle(store *Store, file func(l *List) string) error {
	var errs []error
	settled := map[string]bool{}
	for _, l := range x.lists {
		if l.Missing || settled[l.Name] {
			continue
		}
		settled[l.Name] = true
		inForce := l.copy()
		inForce.File = file(l)
		var held *Copy
		why := ""
		if l.Held != nil {
			held, why = &Copy{Digest: l.Held.Digest, Taken: l.Held.Since, Entries: l.Held.Entries}, l.Held.Why
		}
		errs = append(errs, store.Settle(l.Name, inForce, held, why))
	}
	return errors.Join(errs...)
}

// copy describes the version of the list.
func (l *List) copy() *Copy {
	return &Copy{Digest: l.Digest, Bytes: l.Bytes, Modified: l.Modified, Taken: l.Since, Entries: l.Entries}
}

// inStore says whether a file is one of the store's copies.
func (p *pending) inStore(file string) bool {
	rel, err := filepath.Rel(filepath.Join(p.state, "copies"), file)
	return err == nil && file != "" && !strings.HasPrefix(rel, "..")
}

// Discard says that the lists will not come into force.
func (x *Lists) Discard() {
	if p := x.pending; p != nil && p.made != "" {
		_ = os.Remove(p.made)
	}
	x.pending = nil
}

// KeepCopies has the store keep the text of each local list in force, so that the list can stay, or come back, when its
// file is gone or another. It takes a while; what the store has already is passed over.
func (x *Lists) KeepCopies(ctx context.Context, store *Store) error {
	var errs []error
	kept := map[string]string{}
	for _, l := range x.lists {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if l.Origin != OriginFile || l.Missing || l.Kept != "" || l.File == "" {
			continue
		}
		if k := store.Kept(l.Name).InForce; k == nil || k.Digest != l.Digest || k.File != "" {
			continue
		}
		file, err := os.Open(l.File)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c := l.copy()
		if err = store.Keep(l.Name, c, file); err == nil {
			kept[l.Name] = c.File
		}
		errs = append(errs, err, file.Close())
	}
	if len(kept) > 0 {
		errs = append(errs, x.settle(store, func(l *List) string { return kept[l.Name] }))
	}
	return errors.Join(errs...)
}
