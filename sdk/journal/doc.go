// Package journal is the durable segment log under everything that
// acknowledges: a producer that got an offset back from [Journal.Append] has
// its records on disk, and every named [Cursor] gets each of them at least
// once, in order.
//
// The one invariant: what was acknowledged, or was ever shown to a reader,
// stays at its [Offset] until every cursor has passed it or it is counted as
// lost with a reason.
//
// # Promises
//
//   - Append returns after fdatasync. Concurrent Appends share one write and one
//     fdatasync: the first caller that finds nobody committing commits for all
//     who queued meanwhile, so there is no background goroutine.
//   - A failed Append stored nothing as far as anybody can tell, with one
//     exception: its records may appear after the process or the machine
//     restarts, whole or the first few of them, as if the caller had been cut
//     off before it read the answer. Producers deduplicate by their own identity.
//   - After a failed write or fdatasync the segment is never written or synced
//     again, since the kernel may have dropped the very pages that failed. Its
//     durable records stay readable and the next Append starts a new segment.
//   - Nothing in a full disk needs a restart: cursors are committed into blocks
//     that exist already, segments are given back, and the next Append that
//     finds room succeeds.
//   - Open succeeds on any damage to the files' contents. A damaged frame costs
//     itself; if what follows cannot be found again, the rest of its segment. The
//     loss shows as a gap in the offsets and in [Stats.Lost] as CORRUPT.
//   - A cursor whose file is damaged beyond reading starts again at the oldest
//     record: it sees records twice rather than never.
//
// # Retention
//
// A segment is deleted when every cursor has passed it. With no cursor at all
// nothing is passed, so a journal under [Reject] fills up and stays full, and one
// under [DropOldest] keeps the newest MaxBytes. Under DropOldest a full journal
// deletes its oldest segment and moves the cursors that stood in it; what they
// had not passed is counted per cursor, durably, as EVICTED.
//
// # Concurrency
//
// Every method of Journal and Cursor may be called from any goroutine. A
// [Batch] belongs to one goroutine at a time. A directory belongs to one
// Journal: the second Open fails while the first is open, also in another
// process.
//
// # Files
//
//	SEQUENCE-FIRST-EPOCH.seg   a segment: 16, 16 and 8 hexadecimal digits
//	NAME.cur                   a cursor, its name with %XX for anything unusual
//	head                       how far segments have been deleted
//	*.tmp                      a cursor being made; removed by Open
//
// All integers are little-endian, all checksums are CRC-32C.
//
// A segment begins with a block that holds its header and, once it is
// complete, its seal. The file name repeats the header, so that a damaged
// header costs nothing.
//
//	0                                512                      4096
//	+--------------------------------+------------------------+-------+--
//	| header, 32 bytes               | seal, 32 bytes         | frame | …
//	+--------------------------------+------------------------+-------+--
//
//	header: | magic "SLVJ" | version u32 | sequence u64 | first u64 | epoch u32 | crc u32 |
//	seal:   | magic "SEAL" | epoch u32 | flags u32 | count u64 | end u64 | crc u32 |
//
// first is the offset of the first record, epoch a random number that is not 0,
// count the number of offsets and end the file size when it was sealed. A seal
// is written only after the records it counts are durable, and only spares the
// next Open a scan: a segment without one is read through, and so is one with
// flag bit 0, in which records were found to be lost.
//
// A frame holds one record:
//
//	0        4        8        12       16              16+length
//	+--------+--------+--------+--------+---------------+
//	| crc    | L len  | epoch  | index  | payload       |
//	+--------+--------+--------+--------+---------------+
//
// The offset is first + index. The checksum is seeded with first and covers
// everything after itself, so a frame is valid only in the file and at the
// offset that it was written for: stale bytes of an earlier file in the same
// blocks never pass. Bit 31 of the length, L, marks the first frame of a commit
// group. A group is written only when the one before it is durable; therefore
// a damaged frame with a marked frame somewhere after it was durable and is a
// loss, and one with none after it is the torn tail of a group that nobody was
// told about. The epoch stands in every frame so that the next frame after a
// damaged one can be found.
//
// A cursor and the head are two slots of 4096 bytes, written in turn:
//
//	| magic "SLVC" | version u32 | sequence u64 | position u64 | lost u64 | crc u32 |
//
// The valid slot with the higher sequence counts, so a torn write leaves the
// other one. Both blocks exist from the start, so a commit needs no space.
//
// # Order of writes
//
//   - Roll: seal the old segment and sync it; create the new file, reserve its
//     blocks, write its header, sync it, sync the directory; only then write
//     frames.
//   - Delete: move evicted cursors and sync them, move the head and sync it, then
//     remove the file. A removal that a power cut undoes is repeated by Open,
//     which removes what lies below the head.
//   - Open: a process appends only to segments that it created itself, and what
//     a killed predecessor wrote but did not sync is written once more in place
//     and synced before anybody sees it: the last group of the last segment, and
//     the current slot of every cursor.
//
// The package crashfs is a model of a file system that loses power; the tests
// run random programs over it and check every promise above.
package journal
