package main

import "net/netip"

// Policy is one [[policy]]: what some clients may ask. The policy with the longest matching prefix applies.
type Policy struct {
	// Pos is the place of its [[policy]], "config.toml:41".
	Pos  string `toml:"-"`
	Name string `toml:"name"`
	// Clients holds networks, hardware addresses, host names and groups, or "any" alone in exactly one policy.
	Clients []Client `toml:"clients"`
	// Default is the verdict where no rule decides.
	Default string `toml:"default" oneof:"allow block"`
	// Mode says whether what is to be blocked is blocked, or only recorded.
	Mode string `toml:"mode" default:"enforce" oneof:"enforce observe"`
	// CNAME says whether an alias that a block rule names blocks always ("check"), or not if a rule allows the asked name ("trust-allowed").
	CNAME string `toml:"cname" default:"check" oneof:"check trust-allowed"`
	// OnAddress says what becomes of an answer with an address that must not be reached.
	OnAddress string `toml:"on_address" default:"block" oneof:"block strip"`
	// Rebinding says whether addresses of private networks in answers to public names are such addresses.
	Rebinding string `toml:"rebinding" default:"check" oneof:"check off"`
	// RebindingAllow holds domains whose names may have such addresses, and networks of harmless ones.
	RebindingAllow []string `toml:"rebinding_allow"`
	// Strip says what is taken out of HTTPS and SVCB records.
	Strip []string `toml:"strip" oneof:"ech hints"`
	// SafeSearch answers the names of search engines with their hosts that leave adult results out.
	SafeSearch string `toml:"safe_search" default:"off" oneof:"off moderate strict"`
	// DNS64 is the prefix of a translator (NAT64), before which IPv4 addresses stand for names without IPv6 ones; none if empty.
	DNS64 netip.Prefix `toml:"dns64"`
	// DNS64Exclude holds networks of AAAA records that count as none, beside ::ffff:0:0/96.
	DNS64Exclude []netip.Prefix `toml:"dns64_exclude"`
	// Rules are read top to bottom; the first allow or block that matches decides.
	Rules []Rule `toml:"rule"`
}

// Any reports whether the policy is the one for clients that nothing names.
func (p *Policy) Any() bool {
	for _, c := range p.Clients {
		if c.Any {
			return true
		}
	}
	return false
}

// Rule is one [[policy.rule]]. A name matches if it is in any of Categories or covered by any of Domains, an address in
// an answer if it is in a network of these categories or of AnswerNetworks; every name does if all are empty, or with
// All. Then its type must be one of Types (or Types is empty), and the schedule in force.
type Rule struct {
	// Pos is the place of its [[policy.rule]], "config.toml:47".
	Pos string `toml:"-"`
	// Action decides ("allow", "block") or only records that it would block ("observe").
	Action string `toml:"action" oneof:"allow block observe"`
	// All says that the rule is for every name.
	All        bool     `toml:"all"`
	Categories []string `toml:"categories"`
	// Domains holds names: example.com with all below it, =example.com alone, *.example.com only what is below.
	Domains []string `toml:"domains"`
	// AnswerNetworks holds networks of addresses in answers.
	AnswerNetworks []netip.Prefix `toml:"answer_networks"`
	Types          []uint16       `toml:"types"`
	// Targets holds the types of records the names in which are judged too: PTR, MX, SRV, NAPTR.
	Targets []uint16 `toml:"targets"`
	// Schedule names when the rule is in force; empty is always.
	Schedule string `toml:"schedule"`
	// Answer overrides Sinkhole.Answer; empty if it does not.
	Answer string `toml:"answer" oneof:"nxdomain nodata null address refused drop"`
}

// Clients is [clients]: where it is known from which host an address or a hardware address belongs to.
type Clients struct {
	// Leases holds the lease files of DHCP servers.
	Leases []LeaseFile `toml:"leases,short"`
	// Neighbours takes hardware addresses from the system's neighbour table (ARP, RFC 826; NDP, RFC 4861).
	Neighbours bool `toml:"neighbours" default:"false"`
	// MACFrom holds the forwarders whose EDNS option on their clients' hardware addresses is believed.
	MACFrom []netip.Prefix `toml:"mac_from"`
}

// LeaseFile is one element of the leases of [clients]: a table, or a string that is its path.
type LeaseFile struct {
	// File is the path, as written; see Config.Resolve.
	File string `toml:"file"`
	// Format is that of a DHCP server; empty if the file tells.
	Format string `toml:"format" oneof:"dnsmasq kea isc"`
}

// Group is one [group.NAME]: clients that policies and exceptions name together.
type Group struct {
	Name    string   `toml:"-"`
	Clients []Client `toml:"clients"`
}

// Schedule is one [schedule.NAME]: when rules are in force.
type Schedule struct {
	Name string `toml:"-"`
	// Timezone is an IANA name, "UTC" or "Local".
	Timezone string `toml:"timezone" default:"Local"`
	// When holds ranges of hours on days of the week: "mon-fri 08:00-17:30".
	When []string `toml:"when"`
}
