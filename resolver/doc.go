// Package resolver is the path of a query, from a socket to the audit log.
//
// The life of a query, in the order of the files:
//
//	listen_udp.go, listen_tcp.go   take a message off a socket, strip its framing
//	places.go    whose connection stays when all places are taken
//	answer.go    admit, parse, check who asks; decide by policy; answer a blocked
//	             name from the sinkhole, a local one from its zone, a known one
//	             from the cache; judge the aliases and addresses in the answer;
//	             record; reply
//	odd.go       read in full what the plain parser does not
//	limit.go     what one client may ask and be told; bucket.go, cookie.go
//	strip.go     take out of an answer what must not reach the client
//	forward.go   what memory cannot answer: one flight per question, bounded
//	detour.go    what is asked in place of a question: safe search, dns64.go
//	denied.go    what follows from a parent that does not exist
//	stale.go     an answer that has expired, if no newer one can be had
//	refresh.go   a popular answer is asked for anew before it ends
//	inspect.go   an upstream's reply as hostile data: keep the chain from the
//	             name asked, clamp TTLs, note the facts, pack it for the cache
//	             and then the path begins again at answer.go, answer in hand
//	saved.go     the cache in a file, from one start to the next
//	fault.go     a query that meets a fault of the program is told, recorded, SERVFAIL
//	notify.go    no query: a primary's word that a zone has changed
//
// So there is one query path: the answer to a miss is judged, recorded and
// finished by the same statements as a hit. Everything that a reload can change
// stands in one immutable [State] behind one atomic pointer, read once per
// query. The cache holds facts and no verdicts.
//
// answer.go allocates nothing and holds no lock over I/O. odd.go, forward.go,
// inspect.go and strip.go decode in full and favour clarity.
package resolver
