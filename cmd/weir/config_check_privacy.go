package main

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"weir/audit"
)

// clientPrivacy checks what is kept of clients, and what is not recorded.
func (c *checker) clientPrivacy() {
	a := &c.Audit
	if a.ClientPrivacy != "prefix" && !c.broken(&a.ClientPrivacy) {
		for _, bits := range []struct {
			key   string
			field *int
		}{{"prefix_v4", &a.PrefixV4}, {"prefix_v6", &a.PrefixV6}} {
			if !c.absent(bits.field) && a.ClientPrivacy == "full" && *bits.field != map[string]int{"prefix_v4": 24, "prefix_v6": 56}[bits.key] {
				c.warnAt(c.At(bits.field), fmt.Sprintf("%q has no effect", bits.key), `with client_privacy = "full"`)
			}
		}
	}
	first := make(map[string]*string)
	for i := range a.ExcludeDomains {
		text := &a.ExcludeDomains[i]
		var f fault
		p, err := parsePattern(*text)
		if errors.As(err, &f) {
			note := f.note
			if *text == "*" {
				note = "a log without records is none: there is no way to leave out all"
			}
			c.errorAt(c.At(text), fmt.Sprintf("%q is not a domain", *text), f.label, note)
			continue
		}
		key := fmt.Sprint(p)
		if have, twice := first[key]; twice {
			c.clash(fmt.Sprintf("%q is excluded twice", *text), text, "again here", have, "first here")
			continue
		}
		first[key] = text
	}
	for i := range a.ExcludeClients {
		p := &a.ExcludeClients[i]
		if p.Bits() == 0 {
			c.warnAt(c.At(p), fmt.Sprintf("%v leaves out every client of its family", p), "nothing that they ask is recorded")
		}
	}
}

// auditConfig is how the audit log of cfg is opened. The error is one of the configuration.
func auditConfig(cfg *Config, logger *slog.Logger) (audit.Config, error) {
	a := audit.Config{
		Dir: cfg.Resolve(cfg.Audit.Path), Interval: cfg.Audit.Interval, Block: cfg.Audit.Block, Period: period(cfg), BeforeAnswer: cfg.Audit.Commit == "before-answer",
		OnFull: audit.Serve, OnError: audit.StartFresh, Memory: cfg.memory(), Logger: logger,
		Keep: time.Duration(cfg.Audit.Keep), KeepSize: int64(cfg.Audit.KeepSize),
		Privacy: audit.ClientPrivacy{
			How:      map[string]audit.Privacy{"prefix": audit.PrefixClients, "keyed": audit.KeyedClients}[cfg.Audit.ClientPrivacy],
			PrefixV4: cfg.Audit.PrefixV4, PrefixV6: cfg.Audit.PrefixV6, Keys: cfg.clientKeys(),
		},
	}
	if cfg.Audit.OnFull == "refuse" {
		a.OnFull = audit.Refuse
	}
	if cfg.Audit.OnError == "fail" {
		a.OnError = audit.Fail
	}
	if a.Block == 0 {
		a.Block = -1
	}
	for _, text := range cfg.Audit.Witnesses {
		w, err := audit.NewWitness(cfg.witness(text))
		if err != nil {
			return a, err
		}
		a.Witnesses = append(a.Witnesses, w)
	}
	for _, text := range cfg.Audit.ExcludeDomains {
		p, err := parsePattern(text)
		if err != nil {
			return a, err
		}
		name, err := blocklistName(p.name)
		if err != nil {
			return a, err
		}
		n := audit.NameScope{Name: name}
		if p.self {
			n.Scope |= audit.ScopeSelf
		}
		if p.below {
			n.Scope |= audit.ScopeBelow
		}
		a.Exclude.Names = append(a.Exclude.Names, n)
	}
	a.Exclude.Clients = cfg.Audit.ExcludeClients
	return a, nil
}

// clientKeys is the path of the file of client keys.
func (c *Config) clientKeys() string {
	if c.Audit.ClientKeys == "" {
		return filepath.Join(c.Resolve(c.Audit.Path), audit.ClientKeysFile)
	}
	return c.Resolve(c.Audit.ClientKeys)
}

// privacyText says what a start has to say of what is kept, and what is left out: without names and clients, which may be
// what is not to be kept.
func (c *Config) privacyText() string {
	text := ""
	switch a := &c.Audit; a.ClientPrivacy {
	case "prefix":
		text = fmt.Sprintf("; of clients the networks are kept, /%d and /%d", a.PrefixV4, a.PrefixV6)
	case "keyed":
		text = "; clients are kept under pseudonyms"
	}
	if n, m := len(c.Audit.ExcludeDomains), len(c.Audit.ExcludeClients); n+m > 0 {
		text += fmt.Sprintf("; not recorded but counted: %s and %s of clients", plural(n, "domain"), plural(m, "network"))
	}
	return text
}
