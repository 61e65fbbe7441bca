//! Why the store could not do what was asked.

/// Fits after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("use the database: {0}")]
    Sqlite(rusqlite::Error),
    /// Another program has held the file locked for longer than we wait.
    #[error("write to the database: another program holds it locked")]
    Busy,
    #[error(
        "open {path}: it was written by a newer version of muckwatch (schema {found}; this one knows up to {known}). Use that version, or another data folder"
    )]
    Newer { path: String, found: i64, known: i64 },
    #[error("open {path}: it is a database of another program")]
    Foreign { path: String },
    /// A row that does not read as what we wrote, or cannot be written.
    #[error("convert a row from or to JSON: {0}")]
    Json(serde_json::Error),
    #[error("read the cursor {0:?}: it is none that a page before gave")]
    Cursor(String),
    /// A commit failed before; memory may be ahead of the disk.
    #[error("write: an earlier commit failed, and nothing is written until the process starts again")]
    Stopped,
}

crate::model::wraps!(StoreError { Sqlite(rusqlite::Error), Json(serde_json::Error) });

impl StoreError {
    /// Whether the same may succeed later: the disk was full, or another program held the file.
    pub fn will_pass(&self) -> bool {
        let is_full = |error: &rusqlite::Error| error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull);
        matches!(self, Self::Busy) || self.is_busy() || matches!(self, Self::Sqlite(error) if is_full(error))
    }

    /// Whether the database was only locked at that moment.
    pub(super) fn is_busy(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
        matches!(self, Self::Sqlite(error) if matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked)))
    }
}
