//! Read access beside the writer.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::Connection;

use super::{
    AlertFilter, Dispatched, InForce, OrderFilter, OutboxSize, Page, RuleFiles, SealedFiles, Standing, StoreError,
    alerts, commit, force, orders, outbox, schema, sealed,
};
use crate::model::{Alert, Ledger, Order, OrderState, UnitState, limits};

/// Answers questions from read-only connections of its own, each seeing the last commit. Clones share the connections; any
/// number of threads may ask at once. Blocks on disk: from async code, ask through `spawn_blocking`.
#[derive(Clone)]
pub struct Reader {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Reader {
    pub(super) fn of(path: PathBuf) -> Self {
        Self { path, idle: Arc::default() }
    }

    /// Reads a file that another process may be writing.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let reader = Self::of(path.to_owned());
        reader.ask(commit::position).map(|_| reader)
    }

    /// Alerts, newest first by `fired_at`. `limit` is held within 1 and [`limits::PAGE_ROWS`].
    ///
    /// # Errors
    /// [`StoreError::Cursor`] for a cursor that is none; else when the database fails.
    pub fn alerts(&self, filter: &AlertFilter, limit: usize, cursor: Option<&str>) -> Result<Page<Alert>, StoreError> {
        self.ask(|connection| alerts::page(connection, filter, limit, cursor))
    }

    /// One alert by its id.
    ///
    /// # Errors
    /// When the database fails.
    pub fn alert(&self, alert_id: &str) -> Result<Option<Alert>, StoreError> {
        self.ask(|connection| alerts::one(connection, alert_id))
    }

    /// Every alert whose id begins so, to `each` with its JSON, and up to which journal position (not included) that is: both of one moment.
    ///
    /// # Errors
    /// When the database fails.
    pub fn alerts_as_committed(
        &self,
        prefix: &str,
        each: &mut dyn FnMut(Alert, String),
    ) -> Result<Option<u64>, StoreError> {
        self.ask(|connection| {
            let tx = connection.unchecked_transaction()?;
            alerts::beginning_with(&tx, prefix, each)?;
            commit::position(&tx)
        })
    }

    /// Dispatch orders, newest first by `created_at`. `limit` as with [`Self::alerts`].
    ///
    /// # Errors
    /// [`StoreError::Cursor`] for a cursor that is none; else when the database fails.
    pub fn orders(&self, filter: &OrderFilter, limit: usize, cursor: Option<&str>) -> Result<Page<Order>, StoreError> {
        self.ask(|connection| orders::page(connection, filter, limit, cursor))
    }

    /// One order with its offers and replies.
    ///
    /// # Errors
    /// When the database fails.
    pub fn order(&self, dispatch_id: &str) -> Result<Option<Dispatched>, StoreError> {
        self.ask(|connection| orders::one(connection, dispatch_id))
    }

    /// The order that an alert became.
    ///
    /// # Errors
    /// When the database fails.
    pub fn order_of_alert(&self, alert_id: &str) -> Result<Option<Order>, StoreError> {
        self.ask(|connection| orders::of_alert(connection, alert_id))
    }

    /// How many orders are in each state.
    ///
    /// # Errors
    /// When the database fails.
    pub fn order_counts(&self) -> Result<Vec<(OrderState, u64)>, StoreError> {
        self.ask(orders::counts)
    }

    /// Every unit that ever reported, by id.
    ///
    /// # Errors
    /// When the database fails.
    pub fn units(&self) -> Result<Vec<UnitState>, StoreError> {
        self.ask(orders::units)
    }

    /// What the dispatch queue needs to go on after a restart.
    ///
    /// # Errors
    /// When the database fails.
    pub fn standing(&self) -> Result<Standing, StoreError> {
        // One transaction, so that orders and offers are of one moment.
        self.ask(|connection| {
            let tx = connection.unchecked_transaction()?;
            orders::standing(&tx)
        })
    }

    /// How full the outbox is.
    ///
    /// # Errors
    /// When the database fails.
    pub fn outbox(&self) -> Result<OutboxSize, StoreError> {
        self.ask(outbox::size)
    }

    /// The ledger as of the last commit; empty before the first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn ledger(&self) -> Result<Ledger, StoreError> {
        self.ask(|connection| match commit::meta(connection, "ledger")? {
            Some(json) => Ok(serde_json::from_str(&json)?),
            None => Ok(Ledger::default()),
        })
    }

    /// The ledger, and up to which journal position (not included) it counts.
    ///
    /// # Errors
    /// When the database fails.
    pub fn ledger_at(&self) -> Result<(Ledger, u64), StoreError> {
        self.ask(|connection| {
            let moment = connection.unchecked_transaction()?;
            let ledger = commit::meta(&moment, "ledger")?.map(|json| serde_json::from_str(&json)).transpose()?;
            Ok((ledger.unwrap_or_default(), commit::position(&moment)?.unwrap_or(0)))
        })
    }

    /// Up to which journal position (not included) all is committed; `None` before the first commit.
    ///
    /// # Errors
    /// When the database fails.
    pub fn position(&self) -> Result<Option<u64>, StoreError> {
        self.ask(commit::position)
    }

    /// By what was judged, and from which journal position on, by position; empty in files of before this was kept.
    ///
    /// # Errors
    /// When the database fails.
    pub fn in_force(&self) -> Result<Vec<InForce>, StoreError> {
        self.ask(force::all)
    }

    /// The files of a set of rules that was in force, by its digest.
    ///
    /// # Errors
    /// When the database fails.
    pub fn rule_files(&self, digest: &str) -> Result<Option<RuleFiles>, StoreError> {
        self.ask(|connection| force::files(connection, digest))
    }

    /// A small fact kept by [`super::Tx::put_fact`].
    ///
    /// # Errors
    /// When the database fails.
    pub fn fact(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.ask(|connection| commit::meta(connection, &format!("fact:{name}")))
    }

    /// What is known of the journal's sealed files.
    ///
    /// # Errors
    /// When the database fails.
    pub fn sealed(&self) -> Result<SealedFiles, StoreError> {
        self.ask(sealed::read)
    }

    /// What SQLite finds wrong with the file, a line each; nothing when all is well.
    ///
    /// # Errors
    /// When the database fails otherwise.
    pub fn integrity(&self) -> Result<Vec<String>, StoreError> {
        self.ask(|connection| {
            let mut statement = connection.prepare("PRAGMA integrity_check")?;
            let rows = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
            Ok(rows.into_iter().filter(|row| row != "ok").collect())
        })
    }

    fn ask<T>(&self, question: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => schema::open_to_read(&self.path)?,
        };
        let answer = question(&connection);
        let mut idle = self.lock();
        if idle.len() < limits::STORE_READERS {
            idle.push(connection);
        }
        answer
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
