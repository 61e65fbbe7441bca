//! The one writer and the one commit.

use std::{
    cell::Cell,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{Reader, StoreError, outbox, schema};
use crate::model::{Ledger, Time};

/// How often a locked file is tried, each time for the connection's own patience (five seconds).
const BUSY_ATTEMPTS: u32 = 4;

/// The writer. Share it behind an `Arc`; writes take turns.
pub struct Store {
    path: PathBuf,
    writer: Mutex<Writer>,
}

struct Writer {
    connection: Connection,
    /// Rows in the outbox as of the last commit.
    waiting: u64,
    stopped: bool,
}

/// A commit in the making: everything written through it is there together, or not at all.
pub struct Tx<'a> {
    pub(super) inner: Transaction<'a>,
    pub(super) waiting: Cell<u64>,
}

impl Store {
    /// Opens the file, or makes it, and brings its schema up to date. Messages that a former process had taken to send are
    /// free again.
    ///
    /// # Errors
    /// When it is not ours, is of a newer version, or cannot be used.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = schema::open(path)?;
        outbox::free_all(&connection)?;
        let waiting = outbox::count(&connection)?;
        let writer = Mutex::new(Writer { connection, waiting, stopped: false });
        Ok(Self { path: path.to_owned(), writer })
    }

    /// Read access beside the writer; cheap to clone.
    pub fn reader(&self) -> Reader {
        Reader::of(self.path.clone())
    }

    /// Runs `write` once in a transaction, commits and syncs. Waits, within bounds, for another program's lock.
    ///
    /// # Errors
    /// When `write` fails or the commit does: nothing of it is on disk then, and this store refuses all further work until it
    /// [resumes](Self::resume).
    pub fn commit<T>(&self, write: impl FnOnce(&Tx<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut writer = self.writer()?;
        let result = writer.transact(write);
        writer.stopped = result.is_err();
        result
    }

    /// Like [`Self::commit`], for what nobody's memory depends on: when it fails it may be tried again, and everybody else goes on.
    ///
    /// # Errors
    /// When `write` fails or the commit does: nothing of it is on disk then.
    pub fn commit_beside<T>(&self, write: impl FnOnce(&Tx<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.writer()?.transact(write)
    }

    /// Like [`Self::commit`], for what may be lost in a crash of the machine and be done again: not synced.
    pub(super) fn commit_unsynced<T>(
        &self,
        write: impl FnOnce(&Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut writer = self.writer()?;
        writer.connection.pragma_update(None, "synchronous", "NORMAL")?;
        let result = writer.transact(write);
        // Without its sync the next commit would promise what it does not keep.
        let restored = writer.connection.pragma_update(None, "synchronous", "FULL");
        writer.stopped = restored.is_err();
        restored?;
        result
    }

    /// Takes up work again after a failed commit. For whoever has forgotten what was to be written and read again what the disk
    /// knows.
    ///
    /// # Errors
    /// When the database fails.
    pub fn resume(&self) -> Result<(), StoreError> {
        // After a panic nothing is resumed.
        let mut writer = self.writer.lock().map_err(|_| StoreError::Stopped)?;
        writer.waiting = outbox::count(&writer.connection)?;
        writer.stopped = false;
        Ok(())
    }

    /// Asks on the writer's own connection.
    pub(super) fn read<T>(&self, question: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        question(&self.writer()?.connection)
    }

    fn writer(&self) -> Result<MutexGuard<'_, Writer>, StoreError> {
        // A panic in a commit rolled it back; memory may be ahead all the same.
        let writer = self.writer.lock().unwrap_or_else(|poisoned: PoisonError<_>| {
            let mut writer = poisoned.into_inner();
            writer.stopped = true;
            writer
        });
        if writer.stopped { Err(StoreError::Stopped) } else { Ok(writer) }
    }
}

impl Writer {
    fn transact<T>(&mut self, write: impl FnOnce(&Tx<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let waiting = Cell::new(self.waiting);
        let tx = Tx { inner: begin(&self.connection)?, waiting };
        let value = write(&tx)?;
        let waiting = tx.waiting.get();
        finish(tx.inner)?;
        self.waiting = waiting;
        Ok(value)
    }
}

/// Takes the write lock at once, so that nothing inside the transaction can find it taken.
fn begin(connection: &Connection) -> Result<Transaction<'_>, StoreError> {
    let mut attempt = 1;
    loop {
        match Transaction::new_unchecked(connection, TransactionBehavior::Immediate).map_err(StoreError::from) {
            Err(error) if error.is_busy() && attempt < BUSY_ATTEMPTS => attempt += 1,
            Err(error) if error.is_busy() => return Err(StoreError::Busy),
            result => return result,
        }
    }
}

/// A COMMIT that finds the file locked leaves the transaction open and may be tried again.
fn finish(tx: Transaction<'_>) -> Result<(), StoreError> {
    let mut attempt = 1;
    loop {
        match tx.execute_batch("COMMIT").map_err(StoreError::from) {
            Err(error) if error.is_busy() && attempt < BUSY_ATTEMPTS => attempt += 1,
            Err(error) if error.is_busy() => return Err(StoreError::Busy),
            result => return result,
        }
    }
}

impl Tx<'_> {
    /// Says that all up to journal position `position` (not included) is in this commit. `false`: it was committed before,
    /// and this commit must add nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub fn advance_to(&self, position: u64) -> Result<bool, StoreError> {
        if self.position()?.is_some_and(|committed| committed >= position) {
            return Ok(false);
        }
        self.put_meta("position", &position.to_string())?;
        Ok(true)
    }

    /// Says that the record at a journal position waits for its vehicle's history; it is counted as judged.
    ///
    /// # Errors
    /// When the database fails.
    pub fn wait(&self, position: u64) -> Result<(), StoreError> {
        let sql = "INSERT INTO waiting (position) VALUES (?1) ON CONFLICT DO NOTHING";
        self.inner.prepare_cached(sql)?.execute([i64::try_from(position).unwrap_or(i64::MAX)])?;
        Ok(())
    }

    /// Says that it waits no more. `false`: it did not wait, or has come to its end before.
    ///
    /// # Errors
    /// When the database fails.
    pub fn waits_no_more(&self, position: u64) -> Result<bool, StoreError> {
        let mut statement = self.inner.prepare_cached("DELETE FROM waiting WHERE position = ?1")?;
        Ok(statement.execute([i64::try_from(position).unwrap_or(i64::MAX)])? > 0)
    }

    /// Up to which journal position (not included) all is committed; `None` before the first commit.
    ///
    /// # Errors
    /// When the database fails.
    pub fn position(&self) -> Result<Option<u64>, StoreError> {
        position(&self.inner)
    }

    /// Keeps the ledger as of this commit.
    ///
    /// # Errors
    /// When the database fails.
    pub fn put_ledger(&self, ledger: &Ledger) -> Result<(), StoreError> {
        self.put_meta("ledger", &serde_json::to_string(ledger)?)
    }

    /// Keeps a small fact of the deployment under a name of its own, such as when it was first started.
    ///
    /// # Errors
    /// When the database fails.
    pub fn put_fact(&self, name: &str, value: &str) -> Result<(), StoreError> {
        self.put_meta(&format!("fact:{name}"), value)
    }

    pub(super) fn put_meta(&self, key: &str, value: &str) -> Result<(), StoreError> {
        let sql =
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.inner.prepare_cached(sql)?.execute(params![key, value])?;
        Ok(())
    }
}

pub(super) fn meta(connection: &Connection, key: &str) -> Result<Option<String>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    Ok(statement.query_row([key], |row| row.get(0)).optional()?)
}

pub(super) fn position(connection: &Connection) -> Result<Option<u64>, StoreError> {
    Ok(meta(connection, "position")?.and_then(|text| text.parse().ok()))
}

/// An instant as it is stored.
pub(super) fn ms(at: Time) -> i64 {
    at.as_millis()
}
