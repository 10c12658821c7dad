// Package upstream asks other resolvers.
//
// A query that memory could not answer comes in as a decoded message and goes
// out as a new one of our own making:
//
//	Router  picks the group by the name asked: the longest zone wins.
//	Group   asks its servers by its strategy until one gives a usable reply.
//	Open    made each server from its URL; one file per transport.
//	query   packs the question with a fresh random ID, EDNS and the asker's DO.
//	accept  reads a reply as hostile bytes: what does not match is ignored.
//
// Nothing of the asker but the question and the flags DO, CD and AD leaves this
// machine: no ID, no EDNS option, no client subnet. A packet that does not match
// the query in ID, question, QR and opcode (RFC 5452 §9) never ends a lookup;
// it is counted and reading goes on until the deadline. Every datagram leaves
// from its own connected socket, so that port and ID must both be guessed, and after
// eight packets that are no replies the query is asked by TCP instead.
// A truncated reply is asked for again by TCP and never handed on.
//
// Connections are kept: streams are the one to four of a server, each a stream
// that many queries share. They are opened by queries and closed when idle for as
// long as the server allows (RFC 7828); Close waits for what they run. A query whose
// stream is silent for too long is put on another one as well (asking.go). HTTP/2 is that of net/http, its connections ours.
//
//	udp, tcp  in clear text
//	tls       RFC 7858, strict: a name or a pin proves the server, or it gets nothing
//	https     RFC 8484, by POST, strict as well
//
// A group knows how each of its servers does (health.go, rtt.go) and so whom to
// ask, and when another (strategy.go). A server that failed gets no query while
// another works; probes of our own see when it is back.
//
// A server may be given by name if bootstrap servers, given by address, are there
// to be asked for it.
//
// A new transport is one file with a type that has the methods of Exchanger,
// and one line in the switch of Open.
package upstream
