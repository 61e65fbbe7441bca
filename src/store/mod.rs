//! What must survive: one SQLite file, and the one commit.
//!
//! ```text
//! alerts    the alert book: columns to filter by, and the alert's JSON
//! orders    dispatch orders · offers  each asking of one unit · replies  all answers, with what each came to
//! units     last position and status
//! outbox    messages not yet delivered, in order · refused  messages that no broker will take
//! in_force  by which rules and registry was judged, from which journal position on · rule_sets  their files
//! sealed_files  a copy of the journal's inventory, with SHA-256
//! meta      committed journal position, ledger
//! ```
//!
//! What always holds:
//!
//! * One writer. [`Store::commit`] puts alert book, orders, outbox, ledger and journal position into one transaction, synced
//!   to disk before it returns. After a commit that failed the store refuses all further work ([`StoreError::Stopped`]): the
//!   process ends and starts again from disk.
//! * The same commit twice changes nothing. Ids come from content; an alert never becomes less grave or less finished, an
//!   order never goes back to an earlier revision, an offer's message is queued only when the offer is new, and what lies
//!   before the committed journal position is recognised by [`Tx::advance_to`].
//! * Taking a message from the outbox and striking it out is not synced by itself: after a crash of the machine it may be sent
//!   again, byte for byte. A sync by the next commit covers it.
//! * [`Reader`]s have read-only connections of their own and never wait for the writer, nor it for them.
//! * A file from a newer version, or of another program, is left alone and said so.
//!
//! At its limits: a full outbox ([`crate::model::limits::OUTBOX_ROWS`]) takes no more messages and counts them
//! ([`Reader::outbox`]); what they tell stays in the tables.

mod alerts;
mod commit;
mod error;
mod force;
mod orders;
mod outbox;
mod page;
mod reader;
mod schema;
mod sealed;
#[cfg(test)]
mod tests;

pub use alerts::{AlertFilter, Change};
pub use commit::{Store, Tx};
pub use error::StoreError;
pub use force::{InForce, RuleFiles};
pub use orders::{Dispatched, Opening, OrderFilter, Standing};
pub use outbox::OutboxSize;
pub use page::Page;
pub use reader::Reader;
pub use sealed::SealedFiles;
