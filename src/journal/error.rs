//! What can go wrong with what is on disk.

use std::{io, ops::Range, path::PathBuf};

use datafusion::{arrow::error::ArrowError, parquet::errors::ParquetError};

/// Why the journal failed to do something. Each reads well after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// No room. Nothing of the batch is kept; the same append works once there is room.
    #[error("write {path}: the disk is full")]
    Full { path: PathBuf },
    /// Any other answer of the disk. Nothing of the batch counts as kept.
    #[error("{action} {path}: {cause}")]
    Io { action: &'static str, path: PathBuf, cause: io::Error },
    /// Another process writes this journal.
    #[error("use {path}: another process has it open")]
    InUse { path: PathBuf },
    /// These positions were written once and can't be read any more.
    #[error("read positions {}..{} ({path}): {problem}", .lost.start, .lost.end)]
    Lost { lost: Range<u64>, path: PathBuf, problem: String },
    /// A file is not what its name says.
    #[error("read {path}: {problem}")]
    Damaged { path: PathBuf, problem: String },
    #[error("encode a batch: {0}")]
    Encode(ArrowError),
    #[error("write Parquet: {0}")]
    Parquet(ParquetError),
    #[error("use the journal's settings: {0}")]
    Settings(String),
}

crate::model::wraps!(JournalError { Encode(ArrowError), Parquet(ParquetError) });

impl JournalError {
    /// From the disk's answer to `action` on `path`.
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>, cause: io::Error) -> Self {
        let path = path.into();
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            io::ErrorKind::WouldBlock => Self::InUse { path },
            _ => Self::Io { action, path, cause },
        }
    }

    /// Whether the file was simply not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { cause, .. } if cause.kind() == io::ErrorKind::NotFound)
    }
}
