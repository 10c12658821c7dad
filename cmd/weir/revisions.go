package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"unicode/utf8"

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

// publicText is the file without its secrets: keys, and users and passwords in URLs. "A" stands for each of their
// characters, so that all else keeps its place. It is empty if it cannot be made of the file.
func (c *Config) publicText() []byte {
	lines := bytes.SplitAfter(c.text, []byte("\n"))
	for _, at := range c.hidden {
		lines[at.Line-1] = blank(lines[at.Line-1], at)
	}
	text := bytes.Join(lines, nil)
	secrets := []string{c.Limits.CookieSecret, c.Limits.CookieSecretAlso}
	for i := range c.TSIGs {
		secrets = append(secrets, c.TSIGs[i].Secret)
	}
	for _, secret := range secrets {
		if secret != "" { // in a comment, say
			text = bytes.ReplaceAll(text, []byte(secret), bytes.Repeat([]byte("A"), len(secret)))
		}
	}
	again, _ := parseConfig(c.File, text)
	if len(again.TSIGs) != len(c.TSIGs) || len(again.Categories) != len(c.Categories) {
		return nil // a key over several lines, say
	}
	return text
}

// blank is a line with "A" for each character at a place, but for the quotes around them.
func blank(line []byte, at Pos) []byte {
	var out []byte
	for column := 1; len(line) > 0; column++ {
		r, size := utf8.DecodeRune(line)
		quote := (column == at.Column || column == at.Column+at.Width-1) && (r == '"' || r == '\'')
		if column >= at.Column && column < at.Column+at.Width && !quote {
			out = append(out, 'A')
		} else {
			out = append(out, line[:size]...)
		}
		line = line[size:]
	}
	return out
}
