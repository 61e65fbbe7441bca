//! The segment that is being written.

use std::{
    io,
    path::{Path, PathBuf},
};

use datafusion::arrow::array::RecordBatch;

use super::{
    JournalError,
    disk::{Disk, DiskFile},
    frame::{Encoder, Frame, Stamp},
    layout,
    mark::Mark,
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
    mark: Mark,
    /// Its frames that are durable, and those that are written; the header is the first.
    synced_frames: u32,
    frames: u32,
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
        let mark = Mark::random().map_err(|error| JournalError::io("create", &path, error))?;
        let begun = Self::begin(disk, dir, &path, encoder.schema(mark));
        match begun {
            Ok((file, bytes)) => Ok(Self {
                file,
                path,
                first,
                arrival_day,
                synced: bytes,
                written: bytes,
                mark,
                synced_frames: 1,
                frames: 1,
                is_doubtful: false,
            }),
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

    pub fn append(&mut self, batch: &RecordBatch, encoder: &mut Encoder) -> Result<(), JournalError> {
        let frame = encoder.batch(batch, Stamp { mark: self.mark, number: self.frames })?;
        let written = write(&mut *self.file, &frame).map_err(|error| JournalError::io("write", &self.path, error))?;
        self.written += written;
        self.frames += 1;
        Ok(())
    }

    /// Makes all that was appended durable.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        if let Err(error) = self.file.sync() {
            self.is_doubtful = true;
            return Err(JournalError::io("sync", &self.path, error));
        }
        (self.synced, self.synced_frames) = (self.written, self.frames);
        Ok(())
    }

    /// Takes back what was appended since the last sync.
    pub fn cut_back(&mut self) -> io::Result<()> {
        (self.written, self.frames) = (self.synced, self.synced_frames);
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
