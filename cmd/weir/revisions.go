package main

import (
	"bytes"
	"fmt"
	"path/filepath"

	"weir/cmd/internal/history"
)

func revisionsDir(cfg *Config) string { return filepath.Join(cfg.Resolve(cfg.Audit.Path), "revisions") }

// openHistory opens the revisions beside the audit store. If that cannot be, numbers rise in memory alone, and nothing
// of what was in force is kept.
func (s *server) openHistory(cfg *Config) {
	h, err := history.Open(revisionsDir(cfg))
	if err != nil {
		s.logger.Error("revisions are not kept: records of theirs cannot be explained later", "error", err)
		return
	}
	s.history = h
}

// number gives b the number of its revision, above the one before.
func (s *server) number(b *built, before uint64) {
	b.state.Revision = before + 1
	if s.history != nil {
		b.state.Revision = max(b.state.Revision, s.history.Number(b.hexDigest()))
	}
}

func (b *built) hexDigest() string { return fmt.Sprintf("%x", b.digest) }

// keepRevision keeps what is in force from now on.
func (s *server) keepRevision(b *built) {
	if s.history == nil {
		return
	}
	r := &history.Revision{
		Number: b.state.Revision, Digest: b.hexDigest(), Since: b.moment.UTC(), File: b.cfg.File, Text: string(b.cfg.publicText()),
	}
	for _, l := range b.lists.All() {
		r.Lists = append(r.Lists, history.List{Category: l.Category, Name: l.Name, Digest: fmt.Sprintf("%x", l.Digest), Entries: l.Entries})
	}
	if err := s.history.Put(r); err != nil {
		s.logger.Error("a revision is not kept: records of it cannot be explained later", "error", err)
	}
}

// publicText is the file without secrets: with "A" for each octet of a key, and without users and passwords in URLs.
func (c *Config) publicText() []byte {
	text := c.text
	secrets := []string{c.Limits.CookieSecret, c.Limits.CookieSecretAlso}
	for i := range c.TSIGs {
		secrets = append(secrets, c.TSIGs[i].Secret)
	}
	for _, secret := range secrets {
		if secret != "" {
			text = bytes.ReplaceAll(text, []byte(secret), bytes.Repeat([]byte("A"), len(secret)))
		}
	}
	for i := range c.Categories {
		for _, s := range c.Categories[i].Sources {
			if plain := withoutUser(s.From); plain != s.From {
				text = bytes.ReplaceAll(text, []byte(s.From), []byte(plain))
			}
		}
	}
	return text
}
