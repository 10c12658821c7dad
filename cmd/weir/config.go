package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"weir/audit"
)

// maxConfigBytes bounds a configuration file. Lists live in files of their own, so a larger one is a mistaken path.
const maxConfigBytes = 8 << 20

// Config is the whole configuration file, one field per key.
//
// The tags are its contract: toml names the key, default is what holds when the key is not written (list elements are
// separated by blanks), min and max limit a number, a size or a duration, oneof lists the only words a string may be.
// A slice with the option "named" is written as a table of tables, [upstream.NAME], and keeps the order of the file. In
// one with the option "short" a string stands for a table with its first key. What has the option "secret" is never quoted.
// A uint16 is a DNS type, written by name or as TYPE123 (RFC 3597 §5).
//
// Load fills it; nothing changes it afterwards.
type Config struct {
	// File is the path that was read, as it stands in messages.
	File string `toml:"-"`
	// Dir is the folder of File. Relative paths start there; see Resolve.
	Dir string `toml:"-"`

	// Version is the version of this file's format. Only 1 exists, and it must be written.
	Version int `toml:"version"`

	// Server is where clients reach the resolver.
	Server struct {
		// Listen holds the addresses served over both UDP and TCP. Port 0 picks a free one.
		Listen []netip.AddrPort `toml:"listen" default:"127.0.0.1:5300 [::1]:5300"`
		// Drain is how long queries in flight may still take after a stop was asked for.
		Drain time.Duration `toml:"drain" default:"2s" min:"0s" max:"5m"`
		// TCPConnections is how many client connections may be open at once, all addresses together.
		TCPConnections int `toml:"tcp_connections" default:"1000" min:"1" max:"1000000"`
		// TCPPerClient is how many of them one client may have.
		TCPPerClient int `toml:"tcp_per_client" default:"100" min:"1" max:"1000000"`
		// TCPFirst is how long a new connection may take for its first octet, TCPWrite a client to take an answer.
		TCPFirst time.Duration `toml:"tcp_first" default:"3s" min:"100ms" max:"1h"`
		TCPWrite time.Duration `toml:"tcp_write" default:"5s" min:"100ms" max:"1h"`
		// TCPIdle is how long a client connection may stay silent before it is closed (RFC 7766 §6.2.3).
		TCPIdle time.Duration `toml:"tcp_idle" default:"10s" min:"100ms" max:"1h"`
		// UDPSockets is the number of sockets for each listen address; 0 means one per core, two with [audit] commit = "before-answer".
		UDPSockets int `toml:"udp_sockets" default:"0" min:"0" max:"1024"`
		// ReusePort shares the addresses with another server that does so too; without it the second one does not start.
		ReusePort bool `toml:"reuse_port" default:"false"`
	} `toml:"server"`

	// Access is who may ask at all; all others are refused (RFC 5358).
	Access struct {
		// Allow holds the client networks that are answered.
		Allow []netip.Prefix `toml:"allow" default:"127.0.0.0/8 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 169.254.0.0/16 ::1/128 fc00::/7 fe80::/10"`
	} `toml:"access"`

	// Limits bounds what one client may have. What is sent over UDP alone may come from anybody in the client's name.
	Limits struct {
		// Rate is how many queries a second a client may send over UDP, and Burst how many at once after a silence; 0 is no
		// limit, and a burst of Rate.
		Rate  int `toml:"rate" default:"0" min:"0" max:"10000000"`
		Burst int `toml:"burst" default:"0" min:"0" max:"10000000"`
		// Over is what a query beyond that gets: "truncate" makes a client that is where it says come back over TCP.
		Over string `toml:"over" default:"truncate" oneof:"truncate drop refuse"`
		// Responses is how many answers about one name a client gets over UDP in a second; 0 is no limit.
		Responses int `toml:"responses" default:"0" min:"0" max:"10000000"`
		// Amplification is how much in a second the answers to a client may have beyond one and a half times its queries, four
		// times as much at once; 0B is no limit.
		Amplification Size `toml:"amplification" default:"256KiB" min:"0B" max:"64MiB"`
		// PrefixV4 and PrefixV6 are the length of the networks that count as one client.
		PrefixV4 int `toml:"prefix_v4" default:"32" min:"8" max:"32"`
		PrefixV6 int `toml:"prefix_v6" default:"64" min:"16" max:"128"`
		// Waiting is how many queries of a client may wait for upstreams; 0 is no limit.
		Waiting int `toml:"waiting" default:"1000" min:"0" max:"10000000"`
		// Late is the age from which an answer is not sent over UDP any more; 0 is never.
		Late time.Duration `toml:"late" default:"1.9s" min:"0s" max:"1m"`
		// Cookies gives cookies to clients that ask for them (RFC 7873); a client with one is where it says, and free of the above.
		Cookies bool `toml:"cookies" default:"true"`
		// CookieSecret makes them, 32 hexadecimal digits, and CookieSecretAlso is another that is good, for servers with one
		// address (RFC 9018 §5). Without one there is a new secret each day.
		CookieSecret     string `toml:"cookie_secret,secret"`
		CookieSecretAlso string `toml:"cookie_secret_also,secret"`
	} `toml:"limits"`

	// Resolver limits the work for names that memory does not answer.
	Resolver struct {
		// MaxInflight is how many questions may wait for upstreams at once.
		MaxInflight int `toml:"max_inflight" default:"4096" min:"1" max:"1000000"`
		// Deadline bounds one question, all tries at all of its upstream's servers together.
		Deadline time.Duration `toml:"deadline" default:"4.5s" min:"10ms" max:"1m"`
		// ResolvConf is the file that holds the servers meant by the upstream "system" (resolv.conf(5)).
		ResolvConf string `toml:"resolv_conf" default:"/etc/resolv.conf"`
	} `toml:"resolver"`

	// Upstreams holds each [upstream.NAME]. One of them is named "default".
	Upstreams []Upstream `toml:"upstream,named"`
	// Forwards holds each [[forward]]: zones that are asked of another upstream than the default.
	Forwards []Forward `toml:"forward"`
	// Zones holds each [[zone]]: names answered here, authoritatively.
	Zones []Zone `toml:"zone"`

	// Local is what is answered here without being configured as a zone.
	Local struct {
		// SpecialNames answers localhost, invalid, onion, test and their like here (RFC 6761, 7686, 8375).
		SpecialNames bool `toml:"special_names" default:"true"`
		// PrivateReverse answers the reverse zones of private addresses here (RFC 6303).
		PrivateReverse bool `toml:"private_reverse" default:"true"`
		// Except holds what of these is not answered here after all: zones, or networks whose reverse zones are meant.
		Except []string `toml:"except"`
	} `toml:"local"`

	// Hosts is what files in the format of hosts(5) say.
	Hosts struct {
		// Files are paths, as written; see Resolve. What is told first stands first.
		Files []string `toml:"files"`
		// Domain is what names without a dot are below too; empty for none.
		Domain string `toml:"domain"`
		// TTL of their answers, in whole seconds.
		TTL time.Duration `toml:"ttl" default:"60s" min:"0s" max:"168h"`
	} `toml:"hosts"`

	// Leases gives the hosts of Clients.Leases names.
	Leases struct {
		// Domain is what these names are below; empty for none.
		Domain string `toml:"domain"`
		// TTL of their answers, in whole seconds.
		TTL time.Duration `toml:"ttl" default:"60s" min:"0s" max:"168h"`
	} `toml:"leases"`

	// Lists says how lists are kept, and kept up to date.
	Lists Lists `toml:"lists"`
	// TSIGs holds each [tsig.NAME].
	TSIGs []TSIG `toml:"tsig,named"`
	// Categories holds each [category.NAME].
	Categories []Category `toml:"category,named"`
	// Clients says how clients are known by more than their addresses.
	Clients Clients `toml:"clients"`
	// Groups holds each [group.NAME].
	Groups []Group `toml:"group,named"`
	// Schedules holds each [schedule.NAME].
	Schedules []Schedule `toml:"schedule,named"`
	// Policies holds each [[policy]], in the order of the file.
	Policies []Policy `toml:"policy"`

	// Bypass is what is answered to those who look for a way around this resolver.
	Bypass struct {
		// Canaries says that names by which applications ask whether the network minds do not exist.
		Canaries bool `toml:"canaries" default:"true"`
	} `toml:"bypass"`

	// Exceptions limits what `weir exception` grants.
	Exceptions struct {
		// MaxDuration is the longest that one lasts from now on.
		MaxDuration time.Duration `toml:"max_duration" default:"24h" min:"1m" max:"8760h"`
	} `toml:"exceptions"`

	// Sinkhole is the answer that a blocked client gets.
	Sinkhole struct {
		// Answer is its kind. A rule may override it.
		Answer string `toml:"answer" default:"nxdomain" oneof:"nxdomain nodata null address refused drop"`
		// TTL of a sinkhole answer, in whole seconds.
		TTL time.Duration `toml:"ttl" default:"60s" min:"0s" max:"168h"`
		// Addresses are given by the answer "address", each to questions of its family.
		Addresses []netip.Addr `toml:"addresses"`
	} `toml:"sinkhole"`

	// Cache remembers what upstreams said.
	Cache struct {
		// Size is the most memory that its entries take.
		Size Size `toml:"size" default:"64MiB" min:"1MiB" max:"1TiB"`
		// MinTTL and MaxTTL limit how long an answer is kept, in whole seconds.
		MinTTL time.Duration `toml:"min_ttl" default:"0s" min:"0s" max:"24h"`
		MaxTTL time.Duration `toml:"max_ttl" default:"24h" min:"1s" max:"168h"`
		// MaxNegativeTTL limits how long "no such name" and "no such data" are kept (RFC 2308 §5), in whole seconds.
		MaxNegativeTTL time.Duration `toml:"max_negative_ttl" default:"1h" min:"1s" max:"24h"`
		// Stale is how long after its end an answer may still be given if no newer one can be had (RFC 8767); 0 means not at all.
		Stale time.Duration `toml:"stale" default:"24h" min:"0s" max:"168h"`
		// StaleTimer is how long a client waits for a newer answer when there is a stale one.
		StaleTimer time.Duration `toml:"stale_timer" default:"1.8s" min:"0s" max:"1m"`
		// Prefetch asks for an answer in demand anew shortly before it ends.
		Prefetch bool `toml:"prefetch" default:"true"`
		// DenyBelow takes it that a name which does not exist has nothing below it (RFC 8020).
		DenyBelow bool `toml:"deny_below" default:"true"`
		// Rotate begins the addresses of each answer with another one, those of local zones too.
		Rotate bool `toml:"rotate" default:"true"`
		// Save keeps the answers over a restart.
		Save bool `toml:"save" default:"false"`
		// Path is the file for that, which is there from a stop to the next start.
		Path string `toml:"path" default:"weir-data/cache"`
	} `toml:"cache"`

	// Audit is the store of every query's record.
	Audit struct {
		// Path is the store's folder.
		Path string `toml:"path" default:"weir-data/audit"`
		// Commit says when a record is durable: "interval" is within Interval after the answer, "before-answer" is before it.
		Commit string `toml:"commit" default:"interval" oneof:"interval before-answer"`
		// Interval is the longest time that a record waits in memory.
		Interval time.Duration `toml:"interval" default:"200ms" min:"10ms" max:"1m"`
		// Block is how long records gather on disk before they are sealed together; 0s seals at each interval.
		Block time.Duration `toml:"block" default:"10s" min:"0s" max:"10m"`
		// Memory is the folder where records wait that are not on disk yet: one in memory, which outlives the process. "auto" is
		// /dev/shm, and in a container, whose memory ends with it, Path.
		Memory string `toml:"memory" default:"auto"`
		// Period is the time that one file of the store is for.
		Period string `toml:"period" default:"day" oneof:"hour day month"`
		// Keep is how long records are kept; 0 is for ever. A file is removed when all in it are older.
		Keep Age `toml:"keep" default:"400d"`
		// KeepSize is how much room the store and its index take before its oldest file is removed; 0B is no limit.
		KeepSize Size `toml:"keep_size" default:"0B" min:"0B" max:"1024TiB"`
		// OnFull says what happens to queries that cannot be recorded: "serve" answers and records the gap, "refuse" refuses.
		OnFull string `toml:"on_full" default:"serve" oneof:"serve refuse"`
		// ClientPrivacy is what is kept of who asked: "full", "prefix" is the network, "keyed" a pseudonym of the month.
		ClientPrivacy string `toml:"client_privacy" default:"full" oneof:"full prefix keyed"`
		// PrefixV4 and PrefixV6 are the bits that are kept of networks.
		PrefixV4 int `toml:"prefix_v4" default:"24" min:"8" max:"31"`
		PrefixV6 int `toml:"prefix_v6" default:"56" min:"16" max:"64"`
		// ClientKeys is the file of the keys of pseudonyms; empty is audit.clients in the store's folder.
		ClientKeys string `toml:"client_keys"`
		// ExcludeDomains holds names that are not recorded, written as in rules, and ExcludeClients networks of clients.
		// Such queries are counted.
		ExcludeDomains []string       `toml:"exclude_domains"`
		ExcludeClients []netip.Prefix `toml:"exclude_clients"`
		// Witnesses get each signed checkpoint: file:PATH, syslog, syslog://HOST:PORT.
		Witnesses []string `toml:"witnesses"`
		// OnError says what happens when the store is damaged: "start-fresh" keeps it aside and begins a new one, "fail" does not start.
		OnError string `toml:"on_error" default:"start-fresh" oneof:"start-fresh fail"`
	} `toml:"audit"`

	// Admin is where the other verbs reach the running server.
	Admin struct {
		// Socket is the path of a Unix socket, for operators.
		Socket string `toml:"socket" default:"weir-data/weir.sock"`
		// Group is whose members may use it too; empty is who runs the server alone.
		Group string `toml:"group"`
		// Readers is the path of a second one, by which nothing can be changed; empty is none.
		Readers string `toml:"readers"`
		// ReadersGroup is whose members may use that.
		ReadersGroup string `toml:"readers_group"`
	} `toml:"admin"`

	// Log is what the server says on standard error.
	Log struct {
		// Level is the least severity that is written.
		Level string `toml:"level" default:"info" oneof:"debug info warn error"`
	} `toml:"log"`

	text   []byte // of the file, as it was read
	hidden []Pos  // what of it is not to be quoted
	places places
}

// Upstream is one [upstream.NAME]: servers that are asked in order.
type Upstream struct {
	Name string `toml:"-"`
	// Servers holds URLs: udp:// or tcp:// with an address and an optional port, tls:// and https:// as
	// upstream.ParseTLS and ParseHTTPS read them, or the word "system".
	Servers []string `toml:"servers"`
	// Bootstrap holds the URLs of servers that are asked where servers given by name are. They are given by address.
	Bootstrap []string `toml:"bootstrap"`
	// CaseMixing spells questions by UDP in letters of random case, which a forger has to guess.
	CaseMixing bool `toml:"case_mixing" default:"false"`
	// Strategy says which server is asked, and when another.
	Strategy string `toml:"strategy" default:"ordered" oneof:"ordered fastest hedge race"`
	// CA is the path of a file with the certificates that alone may vouch for the encrypted servers; empty are the system's.
	CA string `toml:"ca"`
	// TrustAD hands on AD of servers in clear text too; that of encrypted ones always is (RFC 4035 §4.9.3).
	TrustAD bool `toml:"trust_ad" default:"false"`
	// Timeout bounds one try at one server.
	Timeout time.Duration `toml:"timeout" default:"1s" min:"10ms" max:"1m"`
}

// Forward is one [[forward]]: zones, with all names below them, that Upstream is asked for. The longest zone wins.
type Forward struct {
	Zones    []string `toml:"zones"`
	Upstream string   `toml:"upstream"`
}

// Zone is one [[zone]]. Exactly one of Records and File is set.
type Zone struct {
	Name string `toml:"name"`
	// Records holds master file lines (RFC 1035 §5), relative to Name.
	Records []string `toml:"records"`
	// File is the path of a master file, as written; see Config.Resolve.
	File string `toml:"file"`
}

// Load reads the configuration at path and returns it with everything that is wrong with it, sorted by position.
//
// The Config is nil if one of the problems is an error; with warnings alone it is complete and may be used. The error
// is for a file that cannot be read and says what to do about it.
func Load(path string) (*Config, []Problem, error) {
	data, err := readConfig(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, fmt.Errorf("read configuration: %w; name a file with --config FILE or WEIR_CONFIG", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, nil, fmt.Errorf("read configuration: %w; let the user that runs weir read it", err)
	case err != nil:
		return nil, nil, fmt.Errorf("read configuration: %w", err)
	}
	cfg, problems := parseConfig(filepath.Clean(path), data)
	if countErrors(problems) > 0 {
		return nil, problems, nil
	}
	return cfg, problems, nil
}

// readConfig reads a file whole. What was piped in, as /dev/stdin or /dev/fd/3, has somebody who writes it; a pipe with a
// name would be waited for until there is one.
func readConfig(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && info.Mode()&fs.ModeNamedPipe != 0 && !strings.HasPrefix(path, "/dev/") && !strings.HasPrefix(path, "/proc/") {
		return nil, fmt.Errorf("%s is a pipe, not a file; /dev/stdin reads what is piped in", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err == nil && len(data) > maxConfigBytes {
		err = fmt.Errorf("%s is larger than %v, which no configuration needs", path, Size(maxConfigBytes))
	}
	return data, err
}

// parseConfig is Load for a file that was read; it returns what could be decoded even beside errors.
func parseConfig(file string, data []byte) (*Config, []Problem) {
	cfg := defaultConfig()
	cfg.File, cfg.Dir, cfg.text = file, filepath.Dir(file), data
	r := newReport(file, data)
	if root, ok := parseTree(r); ok {
		cfg.places = decode(r, root, cfg)
		checkConfig(r, cfg)
	}
	cfg.hidden = r.hidden
	return cfg, r.sorted()
}

// Resolve returns the path to open for one written in the file: a relative one starts at Dir.
func (c *Config) Resolve(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(c.Dir, path)
}

// memory is the folder in memory for audit records that are not on disk yet, "" for none.
func (c *Config) memory() string {
	switch m := c.Resolve(c.Audit.Memory); {
	case c.Audit.Memory == "auto":
		return audit.MemoryFolder()
	case m == c.Resolve(c.Audit.Path):
		return ""
	default:
		return m
	}
}

// At returns where field, a pointer to a field or a list element of c, was written. For a table that is its header,
// for all else the value. It is the zero Pos if the file does not write it.
func (c *Config) At(field any) Pos { return c.places[field].value }

// Where returns At as "config.toml:41", or "" for what the file does not write.
func (c *Config) Where(field any) string {
	if at := c.At(field); at.Line > 0 {
		return fmt.Sprintf("%s:%d", c.File, at.Line)
	}
	return ""
}
