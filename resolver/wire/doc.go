// Package wire reads a question out of a DNS query and writes a reply back, on
// octets, without allocating and with the standard library alone.
//
// [Admit] looks at the twelve header octets and says what may happen to a
// packet before anything is unpacked. [Query.Parse] then accepts one narrow
// grammar: one uncompressed question and at most one OPT record, nothing after
// it. Whatever else a query may legally be is [ErrOdd], which sends the packet
// to a full decoder; the fast parser never guesses.
//
// A [Reply] is everything of a response that does not depend on who asked: the
// records after the question, packed, and where their TTLs stand. Sinkhole,
// local and cached answers are all of this type. [Reply.Append] joins it with
// the asker's identifier, spelling, flags, EDNS and size limit.
//
// Names are wire names throughout: label octets in lower case, uncompressed,
// ending in the root label, at most 255 octets (RFC 1035 §3.1).
package wire
