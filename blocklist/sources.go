package blocklist

import (
	"fmt"
	"strings"
	"time"
)

// SourceConfig is one source of a category as the operator wrote it. A file, a directory and a glob are local; a URL
// and a zone transfer are remote, and lead to one list each.
type SourceConfig struct {
	From     string        // path, directory, glob, http(s):// URL or axfr://SERVER/ZONE; relative paths are taken from Load's dir
	Name     string        // of the list; empty means From
	Format   string        // one of Formats; empty means that the file tells
	Refresh  time.Duration // how often a remote source is asked
	Timeout  time.Duration // of one download or transfer
	MaxSize  int64         // octets of one download or transfer, as it comes over the network
	SHA256   string        // hexadecimal digest that the download must have; empty is any
	Minisign string        // public key of the minisign signature at From + ".minisig"; empty is unsigned
	Ed25519  string        // public key, base64, of the raw signature at From + ".sig" (RFC 8032); empty is unsigned
	TSIG     *TSIG         // key of a zone transfer; nil is unsigned
	Pos      string        // "config.toml:12", for messages
}

// TSIG is a key that signs zone transfers (RFC 8945).
type TSIG struct {
	Name      string // of the key, a domain name
	Algorithm string // "hmac-sha256", "hmac-sha384" or "hmac-sha512"
	Secret    string // base64
}

// Sources returns local sources without options.
func Sources(paths ...string) []SourceConfig {
	var all []SourceConfig
	for _, path := range paths {
		all = append(all, SourceConfig{From: path})
	}
	return all
}

// ListName returns the name of the list that a remote source or a plain file leads to.
func (s *SourceConfig) ListName() string {
	if s.Name != "" {
		return s.Name
	}
	return s.From
}

// Remote says whether the source is fetched over the network.
func (s *SourceConfig) Remote() bool {
	for _, scheme := range remoteSchemes {
		if strings.HasPrefix(s.From, scheme) {
			return true
		}
	}
	return false
}

var remoteSchemes = []string{"https://", "http://", "axfr://"}

// OnError says what becomes of a category when one of its lists has no usable copy: no version that can be read, none
// kept, and none in force before.
type OnError uint8

// KeepLast goes on without a remote list until it comes, and refuses a local one that was never read. FailLoad refuses
// both. BlockAll lets block and observe rules that name the category match every name until the list comes.
const (
	KeepLast OnError = iota
	FailLoad
	BlockAll
)

var onErrorNames = [...]string{"keep-last", "fail", "block-all"}

// String returns the word that ParseOnError reads.
func (e OnError) String() string {
	if int(e) < len(onErrorNames) {
		return onErrorNames[e]
	}
	return fmt.Sprintf("on-error(%d)", uint8(e))
}

// ParseOnError reads the configuration's word for an OnError.
func ParseOnError(text string) (OnError, error) {
	for i, name := range onErrorNames {
		if text == name {
			return OnError(i), nil
		}
	}
	return 0, fmt.Errorf("on_error %q is none of %s", text, strings.Join(onErrorNames[:], ", "))
}
