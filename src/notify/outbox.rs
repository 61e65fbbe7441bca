//! Where messages wait.

use crate::{
    model::{Leased, Settled, Time},
    store::{Store, StoreError},
};

/// The table of messages not yet delivered. Blocks on disk.
pub trait Outbox: Send + Sync + 'static {
    type Error: std::error::Error + Send + Sync + 'static;

    /// Writes down how messages taken before ended, and takes up to `most` others, in order within each topic, that nobody
    /// else gets until `until`. In one step: all or nothing.
    ///
    /// # Errors
    /// When the table cannot be read or written.
    fn exchange(&self, settled: &[Settled], now: Time, until: Time, most: usize) -> Result<Vec<Leased>, Self::Error>;

    /// The next instant after `now` at which a message that is held back becomes due; `None` when none is held back.
    ///
    /// # Errors
    /// When the table cannot be read.
    fn next_due(&self, now: Time) -> Result<Option<Time>, Self::Error>;

    /// Whether the same may succeed later.
    fn will_pass(error: &Self::Error) -> bool;
}

impl Outbox for Store {
    type Error = StoreError;

    fn exchange(&self, settled: &[Settled], now: Time, until: Time, most: usize) -> Result<Vec<Leased>, StoreError> {
        Store::exchange(self, settled, now, until, most)
    }

    fn next_due(&self, now: Time) -> Result<Option<Time>, StoreError> {
        Store::next_due(self, now)
    }

    fn will_pass(error: &StoreError) -> bool {
        // Where a commit has failed, whoever committed says how it goes on.
        error.will_pass() || matches!(error, StoreError::Stopped)
    }
}
