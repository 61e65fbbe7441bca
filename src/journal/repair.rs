//! The way out of a damaged journal: what cannot be read is put aside, so that the rest goes on.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    JournalError,
    disk::{self, Disk, FileSystem},
    frame::Encoder,
    inventory,
    layout::{self, Catalogue},
    sealed,
    segment::Segment,
};

/// What would be done to a journal, and what would be lost by it. It holds the journal's lock.
pub struct Repair {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Files that cannot be read, or not whole.
    damaged: Vec<PathBuf>,
    /// What the inventory is to forget, below `history/`.
    forgotten: Vec<String>,
    /// Positions before this are given out to nobody any more.
    go_on_from: Option<u64>,
    /// A line each.
    pub losses: Vec<String>,
    _lock: Box<dyn Send>,
}

impl Repair {
    /// Looks what is to be done. `committed` is how far the store has judged; `others` are sealed files, below `history/`, of which is known
    /// from elsewhere that they are not what was sealed.
    ///
    /// # Errors
    /// When another process has the journal open, or the folder cannot be read.
    pub fn plan(dir: &Path, committed: u64, others: &[String]) -> Result<Self, JournalError> {
        Self::plan_on(Arc::new(FileSystem), dir, committed, others)
    }

    pub(super) fn plan_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        committed: u64,
        others: &[String],
    ) -> Result<Self, JournalError> {
        let lock = disk.lock(dir).map_err(|error| JournalError::io("lock", dir, error))?;
        let catalogue = Catalogue::on(&disk, dir)?;
        let inventory = &catalogue.inventory;
        let (damaged, forgotten, losses) = (Vec::new(), Vec::new(), Vec::new());
        let mut repair = Self { disk, dir: dir.into(), damaged, forgotten, go_on_from: None, losses, _lock: lock };
        for (positions, file) in inventory.missing(dir, &catalogue.sealed) {
            repair.forgotten.push(file.path.clone());
            let path = layout::history_dir(dir).join(&file.path);
            repair.lose(&path, "it is not there", &positions);
        }
        for file in &catalogue.sealed {
            let name = file.listed_path(dir);
            let about = file.about.map_or_else(|| sealed::about(&*repair.disk, file), Ok);
            let positions = file.first..about.map_or(file.first, |about| about.end);
            match sealed::read(&*repair.disk, file) {
                Err(error @ JournalError::Damaged { .. }) => {
                    repair.put_aside(&file.path, &error.to_string(), &positions)
                }
                Err(error) => return Err(error),
                Ok(_) if others.contains(&name) => {
                    repair.put_aside(&file.path, "the store has another SHA-256 of it", &positions);
                }
                Ok(_) => continue,
            }
            repair.forgotten.push(name);
        }
        let mut next = inventory.end();
        for segment in &catalogue.open {
            let content = segment.content()?;
            match content.unreadable {
                Some(problem) => {
                    let positions = segment.first..segment.end.unwrap_or_else(|| committed.max(segment.first));
                    repair.put_aside(&segment.path(), &problem, &positions);
                    next = next.max(positions.end);
                }
                None if content.damaged > 0 => {
                    let path = segment.path();
                    repair.losses.push(format!(
                        "{}: {} bytes are damaged; lost: the positions in them; the next start keeps what is good and puts the file aside",
                        path.display(),
                        content.damaged
                    ));
                }
                None => {}
            }
            next = content.runs.last().map_or(segment.first, |run| run.end).max(next);
        }
        let is_last_kept = catalogue.open.last().is_none_or(|last| !repair.damaged.contains(&last.path()));
        if next < committed || !is_last_kept {
            repair.go_on_from = Some(committed.max(next));
            if next < committed {
                repair.lose(dir, "it ends before what was committed", &(next..committed));
            }
        }
        Ok(repair)
    }

    fn lose(&mut self, path: &Path, why: &str, positions: &Range<u64>) {
        let Range { start, end } = positions;
        self.losses.push(format!("{}: {why}; lost: what it held of positions {start}..{end}", path.display()));
    }

    fn put_aside(&mut self, path: &Path, why: &str, positions: &Range<u64>) {
        self.damaged.push(path.into());
        self.lose(path, &format!("{why}; it is put aside as .damaged"), positions);
    }

    /// Does it. What was put aside is kept; nothing is deleted.
    ///
    /// # Errors
    /// When the disk fails; the same may be done again then.
    pub fn run(self) -> Result<(), JournalError> {
        let Self { disk, dir, damaged, forgotten, go_on_from, .. } = self;
        let Catalogue { mut inventory, .. } = Catalogue::on(&disk, &dir)?;
        if inventory.problem.is_some() {
            let path = inventory::path(&dir);
            disk::put_aside(&*disk, &path).map_err(|error| JournalError::io("rename", path, error))?;
        }
        for path in &damaged {
            disk::put_aside(&*disk, path).map_err(|error| JournalError::io("rename", path, error))?;
        }
        inventory.forget(&forgotten);
        inventory::Writer::begin(&*disk, &dir, &inventory)?;
        if let Some(position) = go_on_from {
            Segment::create(&*disk, &dir, position, 0, &mut Encoder::new()?)?;
        }
        Ok(())
    }
}
