// Package audit keeps one record of every query, with the reason for its
// verdict, and can prove that the records are all there.
//
// The life of an event: the query path fills an [Event] and calls [Log.Record],
// which copies it into a slab of memory and returns; it never waits for the disk.
// [Log.Run], the only writer, takes the slabs at most an interval after the first
// event, puts the events in order of their time, numbers them and seals them into
// segments, which one transaction commits to a bbolt file. When the disk fails,
// the segments in hand are tried again and the slabs fill; when they are full,
// events are counted as lost, and a gap record says so as soon as the disk works
// again. So every call of Record ends up in the store or in a recorded gap, and
// sequence numbers have no holes.
//
// A [Reader] searches, counts and verifies a store, beside the writer or after it;
// [Log.Follow] hands out records as they are committed; [NewEncoder] writes them
// in a format for others, of which docs/exports.md says what goes where. [Log.Hits] tells how many queries each list decided,
// from a roll-up by the hour that the writer keeps beside the segments.
//
// # Files
//
// The folder holds audit.db, the store; audit.head, what was committed last;
// and audit.db.damaged-TIME, a store that was found damaged and moved aside.
// They are readable by their owner only.
//
// audit.db is a bbolt file with two buckets. In "segments" a key is the sequence
// number of the segment's first record, 8 octets; a value is one segment.
// Segments are never changed after their commit. "hits" is the roll-up.
//
// # Segment
//
// Numbers are big-endian; times are nanoseconds since 1970-01-01 UTC.
//
//	offset size
//	     0    4  "WEIR"
//	     4    2  version of the format, 1
//	     6    2  flags, 0; a reader refuses what it does not know
//	     8    8  number of the segment in its chain, from 1
//	    16    8  sequence number of the first record, from 1
//	    24    4  records, 1 to 65536
//	    28    4  octets of the payload when decompressed, at most 32 MiB
//	    32    8  events lost: the sum of the gap records
//	    40    8  time of the earliest record
//	    48    8  time of the latest record
//	    56    8  time of the latest record here or in any segment before
//	    64   32  SHA-256 of the segment before (its last 32 octets)
//	    96    n  payload, one zstd frame (RFC 8878)
//	  96+n   32  SHA-256 of all octets before
//
// The chain goes on when a store is replaced: numbers, sequence numbers and the
// link of the new store's first segment continue from the last commit known.
//
// # Payload
//
// All numbers are unsigned LEB128 varints (as of encoding/binary). A payload is
// four dictionaries and then the columns:
//
//	names      count, then per entry its length and octets: wire names (RFC 1035 §3.1)
//	addresses  count, then per entry its length (0, 4 or 16) and octets
//	texts      count, then per entry its length and octets
//	reasons    count, then per entry the texts of group, policy, rule, category, list
//	columns    per column its length in octets, then its values
//
// A text is given as its place in the dictionary counted from one, 0 being the
// empty text; so is a reason, 0 being none. A reference to a name or an address is
// 0 for the entry that no record has used so far, else the entry's place counted
// from one; entries are used in the order client, name, aliases, addresses.
//
// The columns, with the records that have a value in them:
//
//	 0 kind        all: 1 query, 2 change, 3 gap
//	 1 time        all: since the record before; the first: since the header's earliest
//	 2 client      query: address reference
//	 3 transport   query: 0 unknown, 1 UDP, 2 TCP
//	 4 name        query: name reference
//	 5 type        query
//	 6 class       query
//	 7 flags       query: 1 blocked, 2 dropped, 4 stripped (addresses or hints were taken out of the answer)
//	 8 reason      query
//	 9 observed    query: reason
//	10 on          query: the entry was found on 0 nothing, 1 name, 2 alias, 3 address
//	11 offset      query: where in that name the entry begins; on an address: how long its prefix is, in bits
//	12 scope       query: 1 the name itself or an address, 2 all below it, 3 both, 0 no entry
//	13 which       query: which alias or address it was found on, from 0
//	14 source      query: 0 none, 1 sinkhole, 2 local, 3 cache, 4 stale, 5 upstream, 6 error, 7 refused
//	15 rcode       query
//	16 EDE         query: info code plus one, 0 is none
//	17 aliases     query: how many
//	18 addresses   query: how many
//	19 alias       each alias: name reference
//	20 address     each address: address reference
//	21 upstream    query: text
//	22 duration    query: microseconds
//	23 revision    query: zigzag difference to the query before, at first to 0
//	24 text        change: text
//	25 lost        gap: events lost
//	26 from        gap: zigzag nanoseconds from the first lost event to the last, which is the record's time
//
// # Hits
//
// The bucket "hits" counts, for each UTC hour, how many queries each list decided
// (the list and the category of their reason) and for how many it was observed.
// The writer counts while it seals, and one transaction commits a segment and its
// counts. A key is the number of the hour since 1970, 8 octets. A value is
//
//	offset size
//	     0    4  "HITS"
//	     4    2  version of the format, 1
//	     6    8  number of the hour, as in the key
//	    14    n  how many lists, then per list: the length and octets of its category,
//	             the length and octets of its name, decided, observed; all numbers are varints
//	  14+n    4  CRC-32C of all octets before
//
// Lists are in order of category, then name, and named as in a [Record]. A value
// has at most 64 KiB, room for a thousand lists and more: those that come when it
// is full are counted together, as a list without category and name. The value
// of the key "counted" says which records are in the counts:
//
//	 0    6  as above
//	 6    8  records before this sequence number are still to be counted; 0: none are
//	14    8  sequence number of the last record that was counted
//	22    4  CRC-32C of all octets before
//
// When a new hour begins, hours more than 8 days from it are removed. The counts
// prove nothing, the segments do: [Reader.Verify] does not look at them. A bucket
// that is missing, damaged, or does not end where the segments do (a version that
// does not count has written) is counted again from the segments of 8 days, the
// newest first, by the goroutine of [Log.Run], a little at a time between commits;
// meanwhile [Log.Hits] says so. A damaged bucket is left as it is, and one called
// "hits.2", "hits.3" and so on takes its place.
//
// # Head file
//
// audit.head is "WEIRHEAD", the last sequence number (8), the last segment's
// number (8) and digest (32), and the SHA-256 (32) of all that. It is written
// after each commit and not synced. A store that ends before its head has lost
// commits: [Open] records that, and [Reader.Verify] reports it.
package audit
