package main

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"weir/blocklist"
)

// categories says what is to be loaded. Keys in files are read here: one that cannot be used is a fault, and one that
// others can read is told to logger.
func categories(cfg *Config, faults *faults, logger *slog.Logger) []blocklist.CategoryConfig {
	keys := map[string]*blocklist.TSIG{}
	for i := range cfg.TSIGs {
		t := &cfg.TSIGs[i]
		secret := t.Secret
		if t.SecretFile != "" {
			var err error
			if secret, err = readSecret(cfg.Resolve(t.SecretFile), logger); err != nil {
				faults.at(&t.SecretFile, fmt.Sprintf("tsig %q: %v", t.Name, err), secretHint(err))
				continue
			}
		}
		keys[t.Name] = &blocklist.TSIG{Name: t.Name, Algorithm: t.Algorithm, Secret: secret}
	}
	var out []blocklist.CategoryConfig
	for i := range cfg.Categories {
		k := &cfg.Categories[i]
		shrink, growth := k.MaxShrink, k.MaxGrowth
		if cfg.At(&k.MaxShrink).Line == 0 {
			shrink = cfg.Lists.MaxShrink
		}
		if cfg.At(&k.MaxGrowth).Line == 0 {
			growth = cfg.Lists.MaxGrowth
		}
		onError, _ := blocklist.ParseOnError(cmp.Or(k.OnError, cfg.Lists.OnError)) // the words were checked when the file was read
		category := blocklist.CategoryConfig{
			Name: k.Name, OnError: onError, MaxShrink: shrink.limit(), MaxGrowth: growth.limit(), NeverExcept: k.NeverExcept, Pos: cfg.Where(&k.Sources),
		}
		for j := range k.Sources {
			s := &k.Sources[j]
			e := cfg.effective(s)
			if e.Name == e.From {
				e.Name = ""
			}
			category.Sources = append(category.Sources, blocklist.SourceConfig{
				From: e.From, Name: e.Name, Format: e.Format, Refresh: e.Refresh, Timeout: e.Timeout, MaxSize: int64(e.MaxSize),
				SHA256: e.SHA256, Minisign: e.Minisign, Ed25519: e.Ed25519, TSIG: keys[e.TSIG], Pos: cfg.Where(s),
			})
		}
		out = append(out, category)
	}
	return out
}

// maxSecretFile is more than any key, in octets.
const maxSecretFile = 4 << 10

var errSecret = errors.New("holds no base64")

// readSecret reads the base64 text of a key from a file.
func readSecret(path string, logger *slog.Logger) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		logger.Warn("TSIG secret can be read by others", "file", path, "mode", fmt.Sprintf("%04o", info.Mode().Perm()), "hint", "chmod 600")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecretFile))
	if err != nil {
		return "", err
	}
	text = bytes.TrimSpace(text)
	if b, err := base64.StdEncoding.DecodeString(string(text)); err != nil || len(b) == 0 {
		return "", fmt.Errorf("%s %w", path, errSecret)
	}
	return string(text), nil
}

func secretHint(err error) string {
	switch {
	case errors.Is(err, errSecret):
		return "it must hold the secret alone, as `tsig-keygen` prints it between quotes"
	case errors.Is(err, fs.ErrPermission):
		return "let the user that runs weir read it"
	case errors.Is(err, fs.ErrNotExist):
		return "a relative path starts at the configuration's folder"
	}
	return ""
}
