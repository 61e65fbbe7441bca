//! Who feeds the fold: live reports, the journal after a restart, files.
//!
//! ```text
//! records, in order of arrival ──▶ Engine ──▶ one Judge per shard ──▶ transitions, in order of arrival
//!                                              facts → rules → alerts
//! ```
//!
//! A [`Judge`] owns the state of its vehicles and is the only place where facts, rules and alerts meet; everything else
//! decides only which records it sees. [`Engine`] spreads vehicles by hash over judges on threads of their own and puts
//! what they find back in order, so that the number of shards changes nothing but the speed.
//!
//! What comes late goes into the vehicle's past where it belongs; the same fold runs again from the last mark before it,
//! and what it finds otherwise is told as `retrospective`, revised or withdrawn. Final alerts are those of reports in order.
//! What is older than memory reaches waits for [`History`]: a [`Snapshot`] from before it, and the journal since. The same
//! snapshots let a start fold no more than what came since the last.
//!
//! History is judged again by what was in force when it was judged first: for one alert with somebody taking notes
//! ([`evidence()`]), or for all ([`find_all`]); an [`Archive`] is a data folder that is asked so.
//!
//! At its limits: the queue of a shard is bounded ([`crate::model::limits::SHARD_QUEUE`]); whoever feeds waits, and with
//! it the acknowledgement of what it feeds.

mod archive;
mod clock;
mod evidence;
mod history;
mod judge;
mod late;
mod past;
mod replay;
mod retrial;
mod settle;
mod shards;
mod snapshot;
#[cfg(test)]
mod tests;
mod trips;
mod watch;

pub use archive::{Archive, Chronicle};
pub use clock::Ticker;
pub use evidence::{
    Asked, BESIDE, Clause, Evidence, Heading, Registered, Report, Standing, Step, Told as ToldChange, evidence,
    only_vehicle,
};
pub use history::{Ask, History, HistoryError, Older};
pub use judge::{Assessed, Finding, Found, Judge, LastPosition, Look, Reference, Seen};
pub use late::LateSettings;
pub use replay::{AHEAD as REPLAY_AHEAD, BATCH as REPLAY_BATCH, Replayed, replay};
pub use retrial::{
    Course, Difference, Found as FoundAgain, Heard, Recall, Together, ToldAlert, changed_by, find_all, is_missed,
};
pub use shards::{Engine, Judged, Saved};
pub use snapshot::{Draft, Name, Part, Snapshot, SnapshotError, Snapshots};
pub use trips::{Trip, Trips};
pub use watch::{Watcher, watch};

/// Why something could not be judged. Each reads well after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A rule could not be evaluated at all: a fault of ours, since rules are checked when they are loaded.
    #[error(transparent)]
    Rules(#[from] crate::rules::RuleErrors),
    /// A shard's thread ended before its work was done.
    #[error("go on: a shard has stopped")]
    ShardStopped,
    /// What was kept of the reports cannot be read.
    #[error(transparent)]
    Journal(#[from] crate::journal::JournalError),
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    #[error(transparent)]
    Registry(#[from] crate::registry::RegistryError),
    /// The files of a set of rules that was in force are not kept.
    #[error("judge by the rules {0}: their files are not kept")]
    RulesGone(crate::model::Text),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}
