//! Making whole what the last process left.

use std::{mem, ops::Range, path::Path, sync::Arc};

use super::{
    JournalError, compact,
    disk::{self, Disk},
    frame::Scan,
    inventory::{self, Inventory},
    layout::{self, Catalogue, OpenSegment},
    sealed,
};

/// What was found when the journal was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Cut from the end of the last segment: written, but never synced nor said to be kept.
    pub torn_bytes: u64,
    /// Segments that were not sealed yet.
    pub segments: usize,
    /// The position that the next record gets.
    pub next_position: u64,
    /// Positions that were kept once and can't be read any more: damage.
    pub lost: Vec<Range<u64>>,
    /// Sealed files that are listed and not there, and what is wrong with the inventory itself.
    pub missing: Vec<String>,
}

/// Cuts the torn tail of the last segment, removes what an unfinished seal left, and finds the next position.
pub(super) fn recover(disk: &Arc<dyn Disk>, dir: &Path) -> Result<(Recovered, Inventory), JournalError> {
    let mut catalogue = Catalogue::on(disk, dir)?;
    compact::clear(&**disk, dir, &catalogue)?;
    let mut found = Recovered { segments: catalogue.open.len(), ..Recovered::default() };
    let inventory = found.inventory(&**disk, dir, &mut catalogue)?;
    found.next_position = sealed_end(&**disk, &catalogue, &inventory)?;
    let last = catalogue.open.last().map(|segment| segment.first);
    for segment in &catalogue.open {
        found.take(&**disk, segment, last == Some(segment.first))?;
    }
    if let Some(first) = last {
        found.reach(first);
    }
    say(&found, dir);
    Ok((found, inventory))
}

/// Where the newest sealed segment ends; the inventory knows it, should the file be damaged or gone.
fn sealed_end(disk: &dyn Disk, catalogue: &Catalogue, inventory: &Inventory) -> Result<u64, JournalError> {
    let listed = inventory.end();
    match catalogue.sealed.last() {
        Some(file) if inventory.about(file).is_none() => Ok(sealed::about(disk, file)?.end.max(listed)),
        None if listed == 0 => Ok(catalogue.open.first().map_or(0, |segment| segment.first)),
        _ => Ok(listed),
    }
}

impl Recovered {
    /// The inventory, without what no longer counts; what is missing is named.
    fn inventory(&mut self, disk: &dyn Disk, dir: &Path, catalogue: &mut Catalogue) -> Result<Inventory, JournalError> {
        let mut inventory = mem::take(&mut catalogue.inventory);
        if let Some(problem) = &inventory.problem {
            let path = inventory::path(dir);
            let aside = disk::put_aside(disk, &path).map_err(|error| JournalError::io("rename", &path, error))?;
            tracing::error!(path = %aside.display(), problem, "the inventory of sealed files is damaged: what follows is listed anew, the file is kept");
            self.missing.push(format!("{}: {problem}", path.display()));
        }
        let mut missing = Vec::new();
        for (positions, file) in inventory.missing(dir, &catalogue.sealed) {
            missing.push(file.path.clone());
            let path = layout::history_dir(dir).join(&file.path);
            tracing::error!(path = %path.display(), from = positions.start, to = positions.end, "a sealed file is missing: its part of these positions is lost");
            self.missing.push(format!("{}: it is not there", path.display()));
        }
        if inventory.problem.is_some() {
            inventory.forget(&missing);
        }
        Ok(inventory)
    }

    fn take(&mut self, disk: &dyn Disk, segment: &OpenSegment, is_last: bool) -> Result<(), JournalError> {
        let path = segment.path();
        let data = disk.read(&path).map_err(|error| JournalError::io("read", &path, error))?;
        let scan = Scan::of(data);
        let content = segment.content_of(&scan);
        match content.unreadable {
            // Which positions it holds is not known, so none can be given out.
            Some(problem) if is_last => return Err(JournalError::Damaged { path, problem }),
            Some(problem) => {
                tracing::error!(path = %path.display(), problem, "a journal segment cannot be read whole; it stays as it is");
            }
            None => {}
        }
        for run in &content.runs {
            self.reach(run.start);
            self.next_position = self.next_position.max(run.end);
        }
        if is_last && scan.damaged > 0 && content.batches.is_empty() {
            // The next segment may get its name.
            let aside = disk::put_aside(disk, &path).map_err(|error| JournalError::io("rename", &path, error))?;
            tracing::error!(path = %aside.display(), "nothing of a journal segment can be read: it is damaged; the file is kept");
            return Ok(());
        }
        if is_last {
            self.torn_bytes = scan.torn() as u64;
            disk.cut(&path, scan.end as u64).map_err(|error| JournalError::io("cut", path, error))?;
        }
        Ok(())
    }

    /// The next records are at `position`: what lies between is lost.
    fn reach(&mut self, position: u64) {
        if position > self.next_position {
            self.lost.push(self.next_position..position);
            self.next_position = position;
        }
    }
}

fn say(found: &Recovered, dir: &Path) {
    let dir = dir.display();
    if found.torn_bytes > 0 {
        tracing::warn!(%dir, bytes = found.torn_bytes, "cut the journal's torn tail");
    }
    for lost in &found.lost {
        tracing::error!(%dir, from = lost.start, to = lost.end, "the journal is damaged: positions are lost");
    }
}
