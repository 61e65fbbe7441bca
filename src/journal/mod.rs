//! The journal: every message that came, as admitted, in order of arrival, durable before it is acknowledged.
//!
//! # What is on disk
//!
//! ```text
//! journal/                                         locked by the one process that writes
//! ├── segment-00000000000000041230.arrow           closed, waits to be sealed
//! ├── segment-00000000000000052311.arrow           the one being written (its name: its first position)
//! └── history/
//!     ├── day=2026-03-01/                          UTC day of event time
//!     │   ├── segment-00000000000000000000.parquet
//!     │   └── segment-00000000000000020712.parquet
//!     └── day=older/                               event times over seven days before their arrival
//!         └── segment-00000000000000020712.parquet
//! ```
//!
//! A record's **position** is a number from 0, one more for each record, for ever: it is never used again.
//!
//! **A segment** is an Arrow IPC *stream*, as any Arrow reader takes it: the schema, then one record batch for each append (a
//! very large append: several). Every message is a frame that knows whether it is whole:
//!
//! ```text
//!  0        4              8                                                            8 + length     8 + length + bodyLength
//!  ┌────────┬──────────────┬────────────┬────┬────────┬──────────────┬──────┬────────┬──────────────────────┐
//!  │ff ff ff│ length (u32) │ flatbuffer │ 0… │ "mwJ2" │ number (u32) │ mark │ CRC-32 │ body: the columns    │
//!  │ff      │ little endian│ Message    │ pad│        │ from 0       │      │        │ (Message.bodyLength) │
//!  └────────┴──────────────┴────────────┴────┴────────┴──────────────┴──────┴────────┴──────────────────────┘
//!            ╰─ Arrow counts from here: all from the magic to the checksum is padding to it ─╯
//! ```
//!
//! The checksum (CRC-32, IEEE, little endian) is over all of the frame but itself. The mark is 16 random bytes, the same in all
//! frames of a segment: no sender knows it, so nothing in a payload can pass for a frame. A frame begins and ends at multiples
//! of 8. A frame is written only after the one before it was synced; so a broken frame with a whole one of the segment's mark
//! and of a later number after it is **damage**, and one without is a **torn tail**, which no sender was ever told is kept.
//! Where header and first frame are both broken the mark is not known: all of the segment is damage. (Frames of earlier
//! versions, "mwJ1", have neither number nor mark; such segments are read and sealed, none is written.)
//! The positions of a frame are those that come next; after damage, later ones.
//!
//! **Names decide what counts:**
//! * What a segment holds at or past the first position of the segment after it does not count. (So a tail that could be
//!   neither synced nor cut back is void once the next segment is there.)
//! * While `segment-N.arrow` is there, no Parquet file of N counts. All of them are written aside, synced and renamed, their
//!   directories are synced, and only then the Arrow file is removed: that one removal is the moment at which the segment is
//!   sealed, however many days its rows fall on. A crash before it leaves the segment, one after it the complete set.
//! * Small segments that arrived one after another on one day may be merged (`compact_bytes`): of N up to E becomes
//!   `segment-N-to-E.parquet`. While `segment-N-to-E.merging` is there those files do not count; once it has gone they do, and
//!   those of the segments from N up to E do not, and are removed. Again one removal is the moment. No name comes twice.
//! * Readers list all directories until two listings agree: what they saw was there at one moment.
//!
//! **Sealed rows** lie by the UTC day of their event time, sorted by source and event time, with their positions, in Zstandard.
//!
//! # What happens at its limits
//!
//! * A full disk or a failed write: the append fails, what it wrote is cut back, and the same append works when there is room.
//! * A failed sync: the same, and the segment is given up for a new one, since a kernel that could not write pages may drop
//!   them and answer the next sync with success. Nothing but what was synced before is left in it. (To stop the process
//!   instead, and start again from disk, is the caller's to decide.)
//! * A crash: the torn tail is cut at the next start. A process never writes on in a segment of another: what is left over is
//!   sealed, and so written and synced anew.
//! * Damage: said with the positions that are lost; reading goes on with the next whole frame. The damaged file is put aside as
//!   `.arrow.damaged` once its good records are sealed.
//! * Too old or too much: the oldest sealed segments go, whole; open ones never. Said in the log.
//! * Sealing or merging that fails leaves the segments as they are, is said, and is tried again when the next one closes.
//!   What can't be read is not merged.
//!
//! Floats inside JSON columns (`events`, `ext`, `media`) come back as `serde_json` reads them; all others are exact.

mod backlog;
mod columns;
mod compact;
mod disk;
mod error;
mod frame;
mod inventory;
mod layout;
mod mark;
mod read;
mod recover;
mod repair;
mod rows;
mod seal;
mod sealed;
mod segment;
mod settings;
mod verify;
mod writer;
#[cfg(test)]
pub(crate) mod tests;

pub use backlog::{Aside, Backlog};
pub use columns::schema;
pub(crate) use disk::{Disk, FileSystem};
pub use error::JournalError;
pub use inventory::{INVENTORY, Inventory};
pub use layout::{Catalogue, OpenSegment, SealedFile, history_dir};
pub use read::{Devices, Records};
pub use recover::Recovered;
pub use repair::Repair;
pub use seal::Progress;
pub use settings::JournalSettings;
pub use verify::{Counted, Verified, count, gaps, next_position, verify};
pub use writer::Journal;
