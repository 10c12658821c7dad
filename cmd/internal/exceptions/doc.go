// Package exceptions keeps the time-boxed exceptions to policy: who may ask for
// which name, until when, why, and who said so.
//
// An exception is in force from [Store.Add] until one of these, and never again:
//
//   - the wall clock reaches Until, be it because it was set forward;
//   - the boot clock, which counts while the machine sleeps and never jumps, says
//     that its time is over, be the wall clock set back;
//   - [Store.Remove];
//   - a start in which the wall clock is behind what the store has seen, by more
//     than 2 s, and there was a reboot since: nobody can say then what time it is.
//
// What was left of an exception by the boot clock goes on over a reboot, as of the
// last time that was written down, at most a minute before the end.
//
// A call that changes something returns after the change is on disk. A change that
// cannot be written is not made, but for ends: they happen in memory at once, for
// the safe side, and every [Store.Tick] tries again to write them down. Tick also
// returns each end to the caller, and takes it for recorded at the Tick or Close after
// that: a crash in between makes it come twice rather than not at all.
//
// # File
//
// exceptions.db is a bbolt file with one bucket, "exceptions". It is made under
// another name (exceptions.db.new) and renamed when it is whole. A key is the
// exception's ID, 8 octets; under the key "state" is what holds for all of them.
// Numbers are big-endian. A time is nanoseconds since 1970-01-01 UTC, from 0 to
// the end of the year 2199; a boot time is nanoseconds, of 64 bits with sign. A
// text is its length as an unsigned LEB128 varint, as short as can be, and its
// octets, which are UTF-8. An exception is
//
//	offset size
//	     0    4  "WEXC"
//	     4    2  version of the format, 1
//	     6    8  ID, as in the key
//	    14    8  time it was made
//	    22    8  time it ends
//	    30    8  boot time it ends, by the boot clock of the state; 0 when it has ended
//	    38    1  flags: 1 it is for a group, 2 it has ended, 4 its end is still to be told
//	    39    n  texts: name; client or group; reason; by
//	             varint: how many extensions, at most 64; then each:
//	                 8 time of it, 8 new time of end, texts: by; reason
//	             when it has ended: 8 time of that, texts: how; by; reason
//	  39+n    4  CRC-32C of all octets before
//
// and the state is
//
//	offset size
//	     0    4  "WEXS"
//	     4    2  version of the format, 1
//	     6    8  next ID
//	    14    8  how many exceptions there are
//	    22    8  sum of the CRC-32C of all of them
//	    30    8  wall clock, when this was written
//	    38    8  boot clock, likewise
//	    46    n  text: the boot's ID, at most 64 octets; empty where there is none
//	  46+n    4  CRC-32C of all octets before
//
// bbolt trusts its pages, and damage there can make it crash beyond recovery. So
// before it sees the file each page it could read is proved: both meta pages are
// whole and of consecutive transactions (with one of them damaged bbolt would
// silently take back the last change), no page is out of the file or met twice,
// nothing points out of its page, keys are in order, the list of free pages has
// none that is in use. The count and the sum in the state prove that no exception
// is missing or older than the others.
//
// A damaged file becomes exceptions.db.damaged-TIME, and a new one starts with no
// exception in force; its IDs begin 1000 after the highest that can be found in
// the damaged one.
package exceptions
