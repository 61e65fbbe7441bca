//! Merging: sealed segments that are small become one, in the background.
//!
//! ```text
//! 1. segment-A-to-E.merging is made and synced      from here on the merged files do not count
//! 2. the merged files are written, as those of a seal
//! 3. segment-A-to-E.merging is removed and synced   the one moment: they count, what they were merged of does not
//! 4. what they were merged of is removed
//! ```
//!
//! A crash before 3 leaves the segments as they were, one after it the merged one; what is left over is removed at the next
//! start. What was merged is not merged again, so each row is written at most twice.

use std::{collections::BTreeSet, ops::Range, path::Path, sync::atomic::Ordering::Relaxed};

use super::{
    JournalError, columns,
    disk::Disk,
    inventory::What,
    layout::{self, Catalogue, SealedFile},
    seal::{Sealer, tables},
    sealed::{self, About},
};
use crate::model::limits;

/// Removes what counts as nothing; that a merge did not finish is forgotten only when nothing is left of it.
pub(super) fn clear(disk: &dyn Disk, dir: &Path, catalogue: &Catalogue) -> Result<(), JournalError> {
    if !catalogue.debris.is_empty() {
        // That a merge is over, and so what it was made of may go, must not be undone by a loss of power.
        disk.sync_dir(dir).map_err(|error| JournalError::io("sync", dir, error))?;
    }
    for path in &catalogue.debris {
        disk.remove(path).map_err(|error| JournalError::io("remove", path, error))?;
    }
    if catalogue.merging.is_empty() {
        return Ok(());
    }
    let days: BTreeSet<&Path> = catalogue.debris.iter().filter_map(|path| path.parent()).collect();
    for day in days {
        disk.sync_dir(day).map_err(|error| JournalError::io("sync", day, error))?;
    }
    catalogue.merging.iter().try_for_each(|range| forget(disk, dir, range))
}

/// The moment of the commit, or the end of clearing up.
fn forget(disk: &dyn Disk, dir: &Path, range: &Range<u64>) -> Result<(), JournalError> {
    let path = layout::merging_path(dir, range);
    let gone = disk.remove(&path).and_then(|()| disk.sync_dir(dir));
    gone.map_err(|error| JournalError::io("remove", path, error))
}

/// A sealed segment that may be merged with its neighbours.
struct Piece {
    first: u64,
    about: About,
    files: Vec<SealedFile>,
}

impl Piece {
    fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// Whether `next` may be merged with the pieces before it.
fn fits(group: &[Piece], next: &Piece, bytes: u64) -> bool {
    let Some(oldest) = group.first() else { return true };
    let together: u64 = group.iter().chain([next]).map(Piece::bytes).sum();
    layout::day_of(oldest.about.last_recv) == layout::day_of(next.about.last_recv)
        && together <= bytes
        && next.about.end - oldest.first <= limits::COMPACT_ROWS
}

impl Sealer {
    /// Merges neighbours while they are small enough together and of one day of arrival, once it is known that no more will
    /// join them. Says how many segments were merged.
    pub(super) fn compact(&self) -> Result<u64, JournalError> {
        let bytes = self.settings.compact_bytes;
        if bytes == 0 {
            return Ok(0);
        }
        let catalogue = Catalogue::on(&self.disk, &self.dir)?;
        clear(&*self.disk, &self.dir, &catalogue)?;
        let (mut merged, mut merges, mut group) = (0, 0, Vec::new());
        // What is still open between two of them would count as part of what they are merged into.
        let oldest_open = catalogue.open.first().map_or(u64::MAX, |segment| segment.first);
        let segments = catalogue.sealed_segments().split_off(&self.settled.load(Relaxed));
        for (first, files) in segments.into_iter().take_while(|(first, _)| *first < oldest_open) {
            let is_large = files.iter().any(|file| file.merged_end.is_some())
                || files.iter().map(|file| file.bytes).sum::<u64>() > bytes;
            let about = match is_large {
                true => None,
                false => match self.whole(&files) {
                    // What can't be read parts its neighbours, too.
                    Err(JournalError::Damaged { .. }) => None,
                    about => Some(about?),
                },
            };
            let next = about.map(|about| Piece { first, about, files });
            if next.as_ref().is_some_and(|next| fits(&group, next, bytes)) {
                group.extend(next);
                continue;
            }
            if group.len() > 1 {
                if merges == limits::COMPACT_MERGES {
                    return Ok(merged);
                }
                merges += 1;
                merged += self.merge_or_leave(&group)?;
            }
            self.settled.store(first, Relaxed);
            group = next.into_iter().collect();
        }
        Ok(merged)
    }

    /// What is said of a segment whose files are all as they were sealed.
    fn whole(&self, files: &[SealedFile]) -> Result<About, JournalError> {
        files.iter().try_for_each(|file| sealed::bytes(&*self.disk, file).map(|_| ()))?;
        self.about(files)
    }

    /// Merges them; when one of them can't be read, they stay as they are for good.
    fn merge_or_leave(&self, group: &[Piece]) -> Result<u64, JournalError> {
        match self.merge(group) {
            Ok(()) => Ok(group.len() as u64),
            Err(error @ JournalError::Damaged { .. }) => {
                tracing::error!(%error, "history that is damaged is not merged");
                Ok(0)
            }
            Err(error) => {
                // It counts as nothing; the next run removes it when this can't.
                let cleared = Catalogue::on(&self.disk, &self.dir);
                let _ = cleared.and_then(|catalogue| clear(&*self.disk, &self.dir, &catalogue));
                Err(error)
            }
        }
    }

    fn merge(&self, group: &[Piece]) -> Result<(), JournalError> {
        let (Some(oldest), Some(newest)) = (group.first(), group.last()) else { return Ok(()) };
        let range = oldest.first..newest.about.end;
        let last_recv = group.iter().map(|piece| piece.about.last_recv).max().unwrap_or_default();
        let mut batches = Vec::new();
        for file in group.iter().flat_map(|piece| &piece.files) {
            batches.extend(sealed::read(&*self.disk, file)?);
        }
        check(&batches, &range, &oldest.files)?;
        let about = About { end: range.end, last_recv, received: columns::received(&batches).ok() };
        let files = tables(&batches, range.start, Some(range.end), about)?;
        drop(batches);
        let mark = layout::merging_path(&self.dir, &range);
        let marked =
            self.disk.create(&mark).and_then(|mut file| file.sync()).and_then(|()| self.disk.sync_dir(&self.dir));
        marked.map_err(|error| JournalError::io("write", &mark, error))?;
        self.write_all(&files, What::Merged, range.start)?;
        forget(&*self.disk, &self.dir, &range)?;
        tracing::debug!(from = range.start, to = range.end, segments = group.len(), "history merged");
        group.iter().try_for_each(|piece| self.remove(&piece.files))
    }
}

/// Each position is there once, and within the range: else something is wrong that merging must not hide.
fn check(
    batches: &[datafusion::arrow::array::RecordBatch],
    range: &Range<u64>,
    files: &[SealedFile],
) -> Result<(), JournalError> {
    let damaged = |problem: String| {
        let path = files.first().map(|file| file.path.clone()).unwrap_or_default();
        JournalError::Damaged { path, problem }
    };
    let mut positions = Vec::new();
    for batch in batches {
        positions.extend_from_slice(columns::positions(batch).map_err(damaged)?.values());
    }
    positions.sort_unstable();
    let is_within = |position: Option<&u64>| position.is_none_or(|position| range.contains(position));
    if positions.is_sorted_by(|a, b| a < b) && is_within(positions.first()) && is_within(positions.last()) {
        return Ok(());
    }
    Err(damaged("it shares positions with its neighbours".to_owned()))
}
