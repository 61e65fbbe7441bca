//! A copy of the journal's inventory: sealed files with their SHA-256, so that neither can be changed without the other.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::{StoreError, Tx, commit::meta};
use crate::model::FileDigest;

/// The number of the inventory's last line.
const LINE: &str = "inventory";

/// What the store knows of the journal's sealed files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SealedFiles {
    /// The number of the inventory's last line when it was copied; `None`: never.
    pub line: Option<u64>,
    pub files: Vec<FileDigest>,
}

impl Tx<'_> {
    /// Keeps the inventory as of a line.
    ///
    /// # Errors
    /// When the database fails.
    pub fn put_sealed(&self, line: u64, files: &[FileDigest]) -> Result<(), StoreError> {
        let held = all(&self.inner)?;
        let now: HashMap<&str, &FileDigest> = files.iter().map(|file| (&*file.path, file)).collect();
        let mut delete = self.inner.prepare_cached("DELETE FROM sealed_files WHERE path = ?1")?;
        let gone = held.iter().filter(|file| now.get(&*file.path) != Some(file));
        gone.map(|file| delete.execute([&file.path])).collect::<Result<Vec<_>, _>>()?;
        let mut insert = self
            .inner
            .prepare_cached("INSERT OR IGNORE INTO sealed_files (path, bytes, sha256) VALUES (?1, ?2, ?3)")?;
        for file in files {
            let bytes = i64::try_from(file.bytes).unwrap_or(i64::MAX);
            insert.execute(params![file.path, bytes, file.sha256])?;
        }
        self.put_meta(LINE, &line.to_string())
    }
}

pub(super) fn read(connection: &Connection) -> Result<SealedFiles, StoreError> {
    let line = meta(connection, LINE)?.and_then(|text| text.parse().ok());
    Ok(SealedFiles { line, files: all(connection)? })
}

fn all(connection: &Connection) -> Result<Vec<FileDigest>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT path, bytes, sha256 FROM sealed_files ORDER BY path")?;
    let rows = statement.query_map([], |row| {
        let bytes: i64 = row.get(1)?;
        Ok(FileDigest { path: row.get(0)?, bytes: bytes.unsigned_abs(), sha256: row.get(2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
