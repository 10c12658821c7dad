// Package cache keeps what upstreams said: packed replies and the facts in
// them, never a verdict. Who may have an answer is decided anew each time one
// is handed out, so a change of policy needs no flush.
//
// The cache is split into shards, each under its own mutex with its share of the
// byte budget. Keys are found by a seeded 64-bit hash and then compared in full,
// so two names that collide only evict each other. A shard has two lists in the
// order of use: a small window for what is new, and main, into which gets what was
// asked for a second time while the window had it, or soon after. So names that
// are asked for once, by the million, push out each other and nobody else.
//
// Time is monotonic nanoseconds that the caller reads once per packet; a step of
// the wall clock changes no TTL.
//
// # File format
//
// A cache is kept over a restart in one file. Numbers are in network order.
//
//	octets   what
//	8        "weircach"
//	4        version of the format: 1
//	8        when it was written, nanoseconds since 1970 UTC
//	4        how many records follow
//	…        records
//	4        CRC-32C of all that is before
//
// A record:
//
//	4        octets of the record behind this number
//	8        when the answer came, nanoseconds since 1970 UTC; not after the file
//	8        when it expires, likewise; not before it came
//	1        flags of the question: 1 is DO, 2 is CD
//	1, …     length and name of the upstream group
//	1, …     length and URL of the server
//	…        a DNS response (RFC 1035 §4.1): the identifier is 0, there is one
//	         question, in lower case and uncompressed, and no OPT record
//
// In each shard's share what was used least recently comes first. A file is good
// as a whole or not at all.
package cache
