// Package audit keeps one record of every query, with the reason for its
// verdict, and can prove that the records are all there.
//
// The life of an event: the query path fills an [Event] and calls [Log.Record],
// which copies it into a slab of memory and returns; it never waits for the disk.
// On Linux slabs lie in a mapped file, so that an event is safe from the end of
// the process, though not of the machine, when Record returns; shelter.go says where,
// and what there is where they have no room.
// [Log.Run], the only writer, takes the slabs at most an interval after the first
// event, puts the events in order of their time, numbers them and writes them as
// one frame to a write-ahead file. From then on they are on disk and every reader
// finds them. They also go into an open block, which is sealed into a segment and
// committed to a bbolt file when it is large enough or has been open long enough:
// small segments would take several times the room. When the disk fails, what was
// taken is tried again and the slabs fill; when they are full, events are counted
// as lost, and a gap record says so as soon as the disk works again. So every call of
// Record ends up in the store or in a recorded gap, and sequence numbers have no holes.
// begin.go says how a log begins on a disk that does not work.
//
// Where an answer must not leave before its record is on disk, the caller of Record
// waits in [Log.Settle]; those who wait meanwhile share the next frame.
//
// Each event is so written twice, some 130 octets ahead and some 15 in a segment.
// That is the price of one order of things at any load: a frame before anything
// else, a segment only of what is in frames.
//
// The store is one file for each day. When a day is over its file is made again with the
// segments in packs (pack_run.go); what is old is removed a file at a time (retain.go);
// [Log.Backup] copies the rest. An index beside the store says where to look
// (index_keeper.go).
//
// A [Reader] searches, counts and verifies a store, beside the writer or after it;
// [Log.Follow] hands out records as they are written; [NewEncoder] writes them
// in a format for others, of which docs/exports.md says what goes where. [Log.Hits]
// tells how many queries each list decided, from a roll-up by the hour that the writer
// keeps beside the segments.
//
// # Where what is
//
// In the order in which a record meets it:
//
//	an event     event.go, client.go, names.go; privacy.go and clients_key.go hide who asked, exclude.go counts what is left out
//	recording    config.go, log.go, stats.go, slab.go; mapping.go and shelter.go say where slabs lie; settle.go
//	writing      writer.go, astray.go (files that somebody removes meanwhile; so remembered.go, clients_key_again.go): take.go, order.go, frame.go, wal.go, texts.go; then sealer.go, payload.go (columns; payload_query.go, shapes.go, namedict.go, addrdict.go, dict.go, varint.go), commit.go
//	what is there at a start   open.go, begin.go, leftover.go, head.go, damage.go
//	the store    segment.go, period.go, store.go, store_open.go, store_read.go, store_file.go, lock.go; rollup.go and rollup_*.go, tally.go, hits_format.go and hits.go, recount.go
//	its room     pack.go and pack_*.go; retain.go, removal.go, hold.go, backup.go
//	its index    index.go, index_*.go; ladder.go
//	proof        canonical.go, rowtree.go, hashes.go, merkle.go, key.go, checkpoint.go, checkpoint_file.go, notary.go, witness.go; verify.go, verify_line.go, verify_tree.go, verify_gone.go (what is missing), prove.go
//	reading      query.go, numbers.go, reader.go, sweep.go, yield.go, page.go, page_pick.go, filter.go, glob.go, block.go, block_record.go; record.go
//	questions    bounded.go, group.go, counts.go; top.go, trace.go, clients.go, fresh.go, rare.go, hunt.go, hunter.go, trend.go; reveal.go
//	formats      encode.go, encode_*.go, links.go; decode_json.go reads one back
//
// # Files
//
// All are readable by their owner only.
//
//	audit-NUMBER-DATE.db  the store, a file for each day, hour or month (period.go, store.go)
//	audit.lock            empty; locked while somebody has the store open (lock.go)
//	audit.head            what was committed last, see below
//	audit.wal             frames that are not in the store yet; while a log is running
//	audit.texts           what numbers in them stand for; while a log is running
//	audit.slabs           events that are not in frames yet; while a log is running
//	audit.key, audit.pub  what signs, and what proves that (key.go)
//	audit.tree            the hashes of the tree over all segments (merkle.go)
//	audit.checkpoints     what was signed of it (checkpoint_file.go)
//	audit.clients         the keys of pseudonyms (clients_key.go)
//	audit.removed         what retention has taken away (removal.go)
//	audit.holds           what it must not take (hold.go)
//	index                 a folder of the index's runs (index_run.go)
//	NAME.damaged-TIME     a file that was found damaged and moved aside
//
// A file of the store is a bbolt file with two buckets. In "segments" a key is the
// sequence number of the segment's first record, 8 octets; a value is one segment, or a
// pack of several (pack.go has its layout). Segments are never changed after their
// commit, and only the newest file is written to. One that another has followed is made
// again, once, with its segments in packs. "hits" is the roll-up; when a file begins it
// takes over that of the one before. A store of a former version, audit.db, is such a
// file too: a log renames it, a reader takes it as it is. Where clients are not kept by
// address, [Client] says what stands in their place in all of them.
//
// # Write-ahead file
//
// audit.wal holds frames, one behind the other, each beginning at a multiple of
// 8. When all their records are in the store the file is written from its
// beginning again, and what stands behind the new frames is of before: a frame
// counts if its run is that of audit.texts, it follows the same segment as the
// first one and its numbers go on from the frame before it. Records that the store
// has are passed over. A frame that is not whole ends the file, for it is what the
// last write did not bring to disk, unless another that counts stands behind it:
// then there is damage, and records are missing between. Numbers are big-endian,
// but in events.
//
//	offset size
//	     0    4  "WEIF"
//	     4    2  version of the format, 1
//	     6    2  flags, 0
//	     8   16  the run, drawn at random by each process that writes
//	    24    8  number of the newest segment in its chain
//	    32    8  sequence number of the first record
//	    40    4  records
//	    44    4  octets of the frame, a multiple of 8
//	    48    8  changes and lost events of the run, in this frame and those before
//	    56    8  0
//	    64    n  gaps: how many (a varint), then of each its cause (1), events lost (8), first and last time (8 each);
//	             changes: how many, then of each its time (8) and its action, actor and text, each a varint of
//	             length and octets; slabs: how many, then of each its number (4), its generation (8), octets
//	             of events (8) and the events; at most 7 octets of 0
//	  64+n    4  CRC-32C of all octets before
//
// Records are numbered in the order of their times; those of one time in the
// order gaps, changes, events. An event begins at a multiple of 4 in its slab.
// Numbers in it are little-endian:
//
//	 0  4  octets of the event, a multiple of 4          56 16  client; of an IPv4 address its mapped form
//	 4  4  on, offset, scope, which, one octet each      72  4  group
//	 8  8  time                                          76  3  octets of the name, aliases, addresses
//	16  2  type                                          79  2  port
//	18  2  class                                         81  2  ID
//	20  2  rcode                                         83  2  query size
//	22  1  source                                        85  2  answer size
//	23  1  octets of the client's address                87  2  UDP size
//	24  4  EDE, all ones for none                        89  2  bits
//	28  4  reason                                        91  1  version
//	32  4  observed                                      92  1  transport
//	36  4  upstream                                      93  1  flags
//	40  8  duration in nanoseconds                       94  2  0; of a change 1, 0
//	48  8  revision                                      96  n  name, aliases, addresses, but for the name behind one octet of length each
//
// A change, unless it is longer than the longest query, stands among events too. All
// else is 0 in it but the octets and the time, and from 96 on come the lengths of
// action, actor and text, 2 octets each, and then these.
//
// audit.texts says what reason, observed, group and upstream stand for: they are
// places, from 1, among the reasons and among the labels in it. It begins with
// "WEIRTEXT", the version of the format, 1 (2 octets), the run (16), the machine's
// boot_id (36) and 1 if slabs are in a file (1). Then come
// entries: octets of the entry (4), 1 for a reason or 2 for a label (1), the texts
// of group, policy, rule, category and list, or the label, each a varint of length
// and octets, and the CRC-32C of all that (4). An entry is in the file before an
// event refers to it, and on disk before a frame does.
//
// # Slabs
//
// audit.slabs is mapped into memory and shared. It is on disk only by chance, so it
// means something only as long as the machine runs. It may be a symbolic link to such a
// file in memory:
//
//	offset size
//	     0    8  "WEIRSLAB"
//	     8    2  version of the format, 1; numbers to offset 80 are big-endian, those from 128 on the machine's own
//	    16   16  the run
//	    32   36  the machine's boot_id
//	    72    4  slabs s
//	    76    4  octets of a slab
//	    80    4  counters c
//	   128    8  changes that are in no slab, and lost events of the run
//	   136    8  time of the first of them that is in no frame
//	   144    8  time of the last
//	   152    8  how many are in frames
//	   160   32  excluded queries that no change has said yet: by name, of these blocked, by client, of these blocked, 8 each
//	   192    8  time of the first of them
//	   200    8  number of the record behind the last frame; 0: there was none
//	   256   8s  generation of each slab: how often slabs had been given out when it was
//
// From the next multiple of 64 on come the counters, 8 octets at each multiple of 64: events
// so far that were in slabs of plain memory, whose number is 4294967295 in frames. They are
// among the lost events of the run until they are in frames, and among those that are then.
// From the next multiple of 4096 on come the slabs, each at a multiple of 64 from
// the first. A slab holds events as a frame does, up to a length of 0. A length is
// stored last, when the event is whole and the length behind it is 0. When a frame
// that holds a slab's events is on disk, the first length is set to 0.
//
// The three files are removed at the end of a run. If they are there at the
// beginning of another, a run has not ended. [Open] then takes over what is in
// frames, and what is in slabs that no frame names by number and generation. If the
// file of slabs is of the same run and the machine is still the same, no event is
// missing and a change says so; changes that are in no frame are counted in a gap of
// cause crash. Else there is a gap of that cause for events nobody counted: the
// power was cut, or the slabs were plain memory. What comes from slabs is written as
// a frame before it is committed, so that a start that is killed takes nothing over
// twice.
//
// # Segment
//
// Numbers are big-endian; times are nanoseconds since 1970-01-01 UTC.
//
//	offset size
//	     0    4  "WEIR"
//	     4    2  version of the format, 2; segments of version 1 are read too
//	     6    2  flags: 1 it is proven, 2 its rows are grouped, 4 clients in it are no addresses, 8 its payload is an S2 block;
//	              a reader refuses what it does not know
//	     8    8  number of the segment in its chain, from 1
//	    16    8  sequence number of the first record, from 1
//	    24    4  records, 1 to 65536
//	    28    4  octets of the payload when decompressed, at most 32 MiB
//	    32    8  events lost: the sum of the gap records
//	    40    8  time of the earliest record
//	    48    8  time of the latest record
//	    56    8  time of the latest record here or in any segment before
//	    64   32  SHA-256 of the segment before (its digest)
//	    96    n  payload, one zstd frame (RFC 8878), or with flag 4 one S2 block (klauspost/compress/s2)
//	  96+n   32  root of the tree of its rows, if it is proven
//	     …   32  SHA-256 of all octets before
//	     …   64  Ed25519 signature of "weir audit segment", a line feed and the hash of its leaf (header, root, digest), if it is proven
//
// A row is hashed as a leaf of RFC 6962, its octets as canonical.go says. If rows are
// grouped, the hashes of each eight of them, and of those left over, are hashed behind
// an octet of 2, and the root is that of the Merkle tree (RFC 6962) of these groups;
// else that of the rows.
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
//	 1 time        all: zigzag, since the record before; the first: since the header's earliest
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
//	14 source      query: 0 none, 1 sinkhole, 2 local, 3 cache, 4 stale, 5 upstream, 6 error, 7 refused, 8 ignored
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
//	27 ID          query: two octets
//	28 port        query: two octets
//	29 query size  query: zigzag octets more than 16 and those of its name, and 11 with EDNS; none at all: the rest is not known
//	30 answer size query: octets, 0 when none was sent
//	31 bits        query: 1 RD, 2 EDNS, 4 DO, 8 AD, 16 cookie, 32 CD, 64 AA of the answer, 128 TC of the answer,
//	               256 valid server cookie, 512 client subnet
//	32 UDP size    query with EDNS
//	33 version     query with EDNS: of that
//	34 action      change: text
//	35 actor       change: text
//	36 cause       gap: 0 not known, 1 overload, 2 disk, 3 crash, 4 clock
//
// Version 1 ends with column 26, and its times do not fall: a time is the plain
// difference to the one before.
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
