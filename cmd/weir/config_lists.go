package main

import (
	"cmp"
	"fmt"
	"math"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Lists is [lists]: where copies of lists are kept, and how lists are kept up to date.
type Lists struct {
	// Path is the folder of copies and of the compiled names.
	Path string `toml:"path" default:"weir-data/lists"`
	// Watch reads local lists again when their files change.
	Watch bool `toml:"watch" default:"true"`
	// Refresh is how often URLs are asked; zones go by their SOA records.
	Refresh time.Duration `toml:"refresh" default:"24h" min:"5m" max:"720h"`
	// Timeout bounds one download or transfer.
	Timeout time.Duration `toml:"timeout" default:"30s" min:"1s" max:"1h"`
	// MaxSize bounds one download or transfer as it comes over the network.
	MaxSize Size `toml:"max_size" default:"256MiB" min:"1KiB" max:"16GiB"`
	// MaxShrink and MaxGrowth hold an update with less, or more, than this share of the names in force.
	MaxShrink Percent `toml:"max_shrink" default:"50%"`
	MaxGrowth Percent `toml:"max_growth" default:"300%"`
	// OnError says what becomes of a category with a list of which there is no usable copy; see blocklist.OnError.
	OnError string `toml:"on_error" default:"keep-last" oneof:"keep-last fail block-all"`
}

// TSIG is one [tsig.NAME]: a key that signs zone transfers (RFC 8945). Exactly one of Secret and SecretFile is set.
type TSIG struct {
	Name string `toml:"-"`
	// Algorithm is that of the key's digests.
	Algorithm string `toml:"algorithm" default:"hmac-sha256" oneof:"hmac-sha256 hmac-sha384 hmac-sha512"`
	// Secret is base64.
	Secret string `toml:"secret,secret"`
	// SecretFile is the path of a file that holds the same, as written; see Config.Resolve.
	SecretFile string `toml:"secret_file"`
}

// Category is one [category.NAME]: the union of its sources' names.
type Category struct {
	Name string `toml:"-"`
	// Sources are where its lists come from.
	Sources []Source `toml:"sources,short"`
	// OnError, MaxShrink and MaxGrowth override those of [lists] where they are written.
	OnError   string  `toml:"on_error" oneof:"keep-last fail block-all"`
	MaxShrink Percent `toml:"max_shrink"`
	MaxGrowth Percent `toml:"max_growth"`
	// NeverExcept refuses exceptions for names that one of its lists holds.
	NeverExcept bool `toml:"never_except" default:"false"`
}

// Source is one element of a category's sources: a table, or a string that is its From.
type Source struct {
	// From is the path of a file, a folder or a glob, as written, or a URL with one of sourceSchemes; see Config.Resolve.
	From string `toml:"from"`
	// Name is what the list is called; see ListName.
	Name string `toml:"name"`
	// Format is one of blocklist.Formats; empty if the list tells.
	Format string `toml:"format"`
	// Refresh, Timeout and MaxSize override those of [lists].
	Refresh time.Duration `toml:"refresh" min:"5m" max:"720h"`
	Timeout time.Duration `toml:"timeout" min:"1s" max:"1h"`
	MaxSize Size          `toml:"max_size" min:"1KiB" max:"16GiB"`
	// SHA256 is the hexadecimal digest that a download must have.
	SHA256 string `toml:"sha256"`
	// Minisign and Ed25519 are public keys whose signature a download must have.
	Minisign string `toml:"minisign"`
	Ed25519  string `toml:"ed25519"`
	// TSIG names the key that signs a zone transfer.
	TSIG string `toml:"tsig"`
}

// sourceSchemes are the ways to fetch a list.
var sourceSchemes = []string{"http", "https", "axfr"}

// scheme is that of a URL; empty for a path.
func (s *Source) scheme() string {
	scheme, _, remote := strings.Cut(s.From, "://")
	if !remote {
		return ""
	}
	return scheme
}

// ListName is what the source's list is called in messages, records and verbs: Name, or From without the user and
// password that a URL may hold.
func (s *Source) ListName() string {
	return cmp.Or(s.Name, withoutUser(s.From))
}

// withoutUser is a URL, which need not be a valid one, without its user and password. A path stays as it is.
func withoutUser(text string) string {
	scheme, rest, remote := strings.Cut(text, "://")
	if !remote {
		return text
	}
	host, path := rest, ""
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		host, path = rest[:end], rest[end:]
	}
	return scheme + "://" + host[strings.LastIndexByte(host, '@')+1:] + path
}

// localSources returns the paths and globs that lists are read from, ready to open, each once.
func localSources(c *Config) []string {
	var paths []string
	seen := make(map[string]bool)
	for i := range c.Categories {
		for j := range c.Categories[i].Sources {
			s := &c.Categories[i].Sources[j]
			if path := filepath.Clean(c.Resolve(s.From)); s.scheme() == "" && !seen[path] {
				seen[path] = true
				paths = append(paths, path)
			}
		}
	}
	return paths
}

// watchedFiles returns the paths and globs of everything that is read again when it changes.
func watchedFiles(c *Config) []string {
	paths := localSources(c)
	for i := range c.Zones {
		if file := c.Zones[i].File; file != "" {
			paths = append(paths, c.Resolve(file))
		}
	}
	for _, file := range c.Hosts.Files {
		paths = append(paths, c.Resolve(file))
	}
	return paths
}

// noLimit is the Percent that is written "off".
const noLimit Percent = -1

// Percent is a share of a whole, 0.5 for "50%", or noLimit.
type Percent float64

func (p Percent) String() string {
	if p == noLimit {
		return "off"
	}
	return strconv.FormatFloat(math.Round(float64(p)*1e6)/1e4, 'f', -1, 64) + "%" // 0.07*100 is not 7
}

// limit is p as blocklist has it: 0 is no limit.
func (p Percent) limit() float64 { return max(0, float64(p)) }

func parsePercent(text string) (Percent, error) {
	const example = `for example "50%", or "off" for no limit`
	if text == "off" {
		return noLimit, nil
	}
	digits, signed := strings.CutSuffix(text, "%")
	digits = strings.TrimSpace(digits)
	n, err := strconv.ParseFloat(digits, 64)
	plain := strings.Trim(digits, "0123456789.") == ""
	switch {
	case nearest(text, []string{"off"}) != "":
		return 0, fault{"not a percentage", `did you mean "off"?`}
	case err != nil && plain && len(digits) > 20:
		return 0, fault{label: "too large"}
	case err != nil || !plain:
		return 0, fault{"not a number with a percent sign", example}
	case n > maxPercent:
		return 0, fault{label: "too large"}
	case !signed && n > 0 && n < 1:
		return 0, fault{"no percent sign", fmt.Sprintf("write %q", Percent(n).String())}
	case !signed:
		return 0, fault{"no percent sign", fmt.Sprintf("write %q", digits+"%")}
	case digits+"%" != text:
		return 0, fault{"a blank in it", fmt.Sprintf("write %q", digits+"%")}
	}
	return Percent(n / 100), nil
}

// maxPercent is the largest percentage that is a limit at all: a list of one name that grows to a million.
const maxPercent = 1e8

// parseSource checks the shape of a source's URL.
func parseSource(text string) (*url.URL, error) {
	scheme, rest, _ := strings.Cut(text, "://")
	if f := schemeFault(scheme, rest); f != nil {
		return nil, *f
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, fault{"not a URL", urlHint(scheme)}
	}
	port, err := strconv.ParseUint(cmp.Or(u.Port(), "53"), 10, 16)
	switch {
	case u.Hostname() == "":
		return nil, fault{"no host", urlHint(scheme)}
	case err != nil || port == 0:
		return nil, fault{"not a port", urlHint(scheme)}
	case u.Fragment != "":
		return nil, fault{"what follows # is never sent", fmt.Sprintf("write %q", withoutUser(strings.TrimSuffix(text, "#"+u.EscapedFragment())))}
	case scheme == "axfr":
		return u, axfrFault(u)
	}
	return u, nil
}

// schemeFault says what is wrong with the scheme of a URL; nil if nothing is.
func schemeFault(scheme, rest string) *fault {
	for _, known := range sourceSchemes {
		if scheme == known {
			return nil
		}
	}
	f := &fault{label: "possible: http://, https://, axfr://, or a path"}
	switch near := nearest(scheme, sourceSchemes); {
	case strings.EqualFold(scheme, "file"):
		f.note = fmt.Sprintf("write %q", rest)
	case near != "":
		f.note = fmt.Sprintf("write %q", withoutUser(near+"://"+rest))
	}
	return f
}

// axfrFault says what is wrong with axfr://SERVER/ZONE.
func axfrFault(u *url.URL) error {
	hint := urlHint("axfr")
	zone := strings.TrimPrefix(u.Path, "/")
	_, err := parseHost(u.Host)
	switch {
	case u.User != nil:
		return fault{"a zone transfer has no user", "a key is named with tsig"}
	case err != nil:
		return fault{"not the address of a server; a name would first have to be asked for", hint}
	case zone == "":
		return fault{"no zone", hint}
	case u.RawQuery != "" || strings.Contains(zone, "/"):
		return fault{"nothing may follow the zone", hint}
	}
	if _, err := checkName(zone); err != nil {
		return fault{"not the name of a zone: " + err.Error(), hint}
	}
	return nil
}

func urlHint(scheme string) string {
	if scheme == "axfr" {
		return `axfr://SERVER/ZONE, for example "axfr://192.0.2.53/rpz.example"`
	}
	return fmt.Sprintf("for example %q", scheme+"://feeds.example/list.txt")
}
