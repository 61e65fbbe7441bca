//! Looking through a journal: whether all of it is as it was written.

use std::{path::Path, sync::Arc};

use super::{
    JournalError, columns,
    disk::{Disk, FileSystem},
    inventory::INVENTORY,
    layout::{self, Catalogue, OpenSegment},
    sealed,
};

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Sealed files that are as they were sealed, and their bytes.
    pub sealed: usize,
    pub bytes: u64,
    /// Sealed files that are not in the inventory yet: only that they can be read is known.
    pub unlisted: usize,
    /// Segments that are not sealed yet.
    pub open: usize,
    /// One after the last position that is kept.
    pub next: u64,
    /// What is damaged or missing, a line each.
    pub problems: Vec<String>,
}

/// Reads every file of the journal in `dir`. A process may be writing it meanwhile.
///
/// # Errors
/// When the folder cannot be listed, or its inventory not read at all.
pub fn verify(dir: &Path) -> Result<Verified, JournalError> {
    look(dir, true)
}

/// What is missing of the journal in `dir`, a line each; sealed files are not read.
///
/// # Errors
/// As [`verify`].
pub fn gaps(dir: &Path) -> Result<Vec<String>, JournalError> {
    Ok(look(dir, false)?.problems)
}

fn look(dir: &Path, reads_sealed: bool) -> Result<Verified, JournalError> {
    let catalogue = Catalogue::of(dir)?;
    let inventory = &catalogue.inventory;
    let mut found = Verified { next: inventory.end(), ..Verified::default() };
    found.problems.extend(inventory.problem.iter().map(|problem| format!("{INVENTORY}: {problem}")));
    for (positions, file) in inventory.missing(dir, &catalogue.sealed) {
        let path = layout::history_dir(dir).join(&file.path);
        let (from, to) = (positions.start, positions.end);
        found.problems.push(format!("{}: it is not there; it held positions of {from}..{to}", path.display()));
    }
    for file in &catalogue.sealed {
        if !reads_sealed && file.sha256.is_some() {
            continue;
        }
        let checked = match file.sha256 {
            Some(_) => file.check(),
            None => sealed::read(&FileSystem, file).and_then(|_| {
                found.next = found.next.max(sealed::about(&FileSystem, file)?.end);
                Ok(())
            }),
        };
        match checked {
            Ok(()) => {
                found.sealed += 1;
                found.bytes += file.bytes;
                found.unlisted += usize::from(file.sha256.is_none());
            }
            // It was merged or retired meanwhile; or it went since it was listed, and the next look says so.
            Err(error) if error.is_missing() => {}
            Err(error) => found.problems.push(format!("failed to {error}")),
        }
    }
    for segment in &catalogue.open {
        found.open(segment)?;
    }
    Ok(found)
}

/// How many records that came from outside a journal has, and had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub kept: u64,
    /// Removed by retention.
    pub removed: u64,
    /// Segments of an earlier version that nobody has counted yet.
    pub uncounted: usize,
}

/// Counts the records before position `below`; `None` when a segment was sealed meanwhile, to be asked again.
///
/// # Errors
/// When the folder, or an open segment, cannot be read.
pub fn count(dir: &Path, below: u64) -> Result<Option<Counted>, JournalError> {
    let disk: Arc<dyn Disk> = Arc::new(FileSystem);
    count_on(&disk, dir, below)
}

pub(super) fn count_on(disk: &Arc<dyn Disk>, dir: &Path, below: u64) -> Result<Option<Counted>, JournalError> {
    let catalogue = Catalogue::on(disk, dir)?;
    let mut counted = Counted { removed: catalogue.inventory.removed(), ..Counted::default() };
    for (_, about) in catalogue.inventory.segments().filter(|(first, _)| *first < below) {
        match about.received {
            Some(_) if about.end > below => return Ok(None),
            Some(received) => counted.kept += received,
            None => counted.uncounted += 1,
        }
    }
    counted.uncounted += catalogue.sealed.iter().filter(|file| file.sha256.is_none()).count();
    for segment in &catalogue.open {
        let content = match segment.content() {
            Err(error) if error.is_missing() => return Ok(None),
            content => content?,
        };
        for (batch, run) in content.batches.iter().zip(&content.runs).filter(|(_, run)| run.start < below) {
            let rows = batch.slice(0, usize::try_from(below.min(run.end) - run.start).unwrap_or(usize::MAX));
            counted.kept += columns::received(&[rows])
                .map_err(|problem| JournalError::Damaged { path: segment.path(), problem })?;
        }
    }
    Ok(Some(counted))
}

/// One after the last position that the journal in `dir` holds, without making anything whole.
///
/// # Errors
/// When the folder, or an open segment, cannot be read.
pub fn next_position(dir: &Path) -> Result<u64, JournalError> {
    let catalogue = Catalogue::of(dir)?;
    let mut next = catalogue.inventory.end();
    for file in catalogue.sealed.iter().filter(|file| file.sha256.is_none()) {
        next = next.max(sealed::about(&FileSystem, file).map_or(file.first, |about| about.end));
    }
    for segment in &catalogue.open {
        next = next.max(segment.first);
        match segment.content() {
            Ok(content) => next = next.max(content.runs.last().map_or(0, |run| run.end)),
            // It was sealed meanwhile.
            Err(error) if error.is_missing() => return next_position(dir),
            Err(error) => return Err(error),
        }
    }
    Ok(next)
}

impl Verified {
    fn open(&mut self, segment: &OpenSegment) -> Result<(), JournalError> {
        let path = segment.path();
        let content = match segment.content() {
            // It was sealed meanwhile.
            Err(error) if error.is_missing() => return Ok(()),
            content => content?,
        };
        self.open += 1;
        self.reach(&path, segment.first);
        for run in &content.runs {
            self.reach(&path, run.start);
            self.next = run.end;
        }
        if content.damaged > 0 {
            self.problems.push(format!("{}: {} bytes are damaged", path.display(), content.damaged));
        }
        self.problems.extend(content.unreadable.map(|problem| format!("{}: {problem}", path.display())));
        Ok(())
    }

    fn reach(&mut self, path: &Path, position: u64) {
        if position > self.next && self.next > 0 {
            self.problems.push(format!(
                "{}: positions {}..{position} before it are not there",
                path.display(),
                self.next
            ));
        }
        self.next = self.next.max(position);
    }
}
