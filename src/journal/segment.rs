//! The segment that is being written.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    JournalError,
    disk::{Disk, DiskFile},
    frame::{Encoder, Frame},
    layout,
};

/// An open file, of which the first `synced` bytes are durable.
pub(super) struct Segment {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    pub first: u64,
    /// UTC day on which its first record arrived.
    pub arrival_day: i64,
    pub synced: u64,
    written: u64,
    /// A sync failed: no later one can be believed.
    pub is_doubtful: bool,
}

impl Segment {
    /// A new file whose header and name are durable.
    pub fn create(
        disk: &dyn Disk,
        dir: &Path,
        first: u64,
        arrival_day: i64,
        encoder: &mut Encoder,
    ) -> Result<Self, JournalError> {
        let path = layout::arrow_path(dir, first);
        let begun = Self::begin(disk, dir, &path, encoder.schema());
        match begun {
            Ok((file, bytes)) => {
                Ok(Self { file, path, first, arrival_day, synced: bytes, written: bytes, is_doubtful: false })
            }
            Err(error) => {
                // It holds no record, so what is left of it counts as nothing even when it can't be removed.
                let _ = disk.remove(&path);
                Err(JournalError::io("create", path, error))
            }
        }
    }

    fn begin(disk: &dyn Disk, dir: &Path, path: &Path, header: Frame<'_>) -> io::Result<(Box<dyn DiskFile>, u64)> {
        let mut file = disk.create(path)?;
        let bytes = write(&mut *file, &header)?;
        file.sync()?;
        disk.sync_dir(dir)?;
        Ok((file, bytes))
    }

    pub fn append(&mut self, frame: &Frame<'_>) -> Result<(), JournalError> {
        let written = write(&mut *self.file, frame).map_err(|error| JournalError::io("write", &self.path, error))?;
        self.written += written;
        Ok(())
    }

    /// Makes all that was appended durable.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        if let Err(error) = self.file.sync() {
            self.is_doubtful = true;
            return Err(JournalError::io("sync", &self.path, error));
        }
        self.synced = self.written;
        Ok(())
    }

    /// Takes back what was appended since the last sync.
    pub fn cut_back(&mut self) -> io::Result<()> {
        self.written = self.synced;
        self.file.cut(self.synced)
    }
}

fn write(file: &mut dyn DiskFile, frame: &Frame<'_>) -> io::Result<u64> {
    file.append(frame.head)?;
    if !frame.body.is_empty() {
        file.append(&frame.body)?;
    }
    Ok((frame.head.len() + frame.body.len()) as u64)
}
