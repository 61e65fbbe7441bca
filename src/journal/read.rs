//! Reading back, in order of position.

use std::{
    collections::{HashSet, VecDeque},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    vec,
};

use datafusion::arrow::array::RecordBatch;

use super::{
    JournalError, columns,
    disk::Disk,
    layout::{Catalogue, OpenSegment, SealedFile},
    rows::{self, Place},
    sealed,
};
use crate::model::{Record, Text};

/// Every record from a position on, in order of arrival, as it stood when its segment was come to. One segment at a time is
/// in memory, as columns.
///
/// Positions that were kept once and can't be read come as [`JournalError::Lost`], files as [`JournalError::Damaged`]; after
/// either the reading goes on. Of the oldest segment retention may have left a part: what it lacks is no loss.
pub struct Records {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// The least position that is still wanted.
    from: u64,
    sources: VecDeque<Source>,
    /// Whose reports are wanted; else all.
    devices: Option<Devices>,
    /// Those of an open segment.
    batches: vec::IntoIter<RecordBatch>,
    /// A sealed segment, or a batch of an open one, and its rows by position.
    held: Vec<RecordBatch>,
    order: vec::IntoIter<Place>,
    rows: vec::IntoIter<(u64, Option<Record>)>,
    /// Where the next record must be, when that is known.
    expected: Option<u64>,
    path: PathBuf,
    ready: VecDeque<Result<(u64, Record), JournalError>>,
}

/// Devices by id.
pub type Devices = Arc<HashSet<Text>>;

/// Rows that are made into records at once.
const ROWS: usize = 4_096;

/// A segment to be read.
enum Source {
    Open(OpenSegment),
    Sealed { first: u64, files: Vec<SealedFile>, is_oldest: bool },
}

impl Source {
    fn first(&self) -> u64 {
        match self {
            Self::Open(segment) => segment.first,
            Self::Sealed { first, .. } => *first,
        }
    }

    /// Whether it has this file.
    fn names(&self, path: &Path) -> bool {
        match self {
            Self::Open(segment) => segment.path() == path,
            Self::Sealed { files, .. } => files.iter().any(|file| file.path == path),
        }
    }
}

/// The segments that hold positions from `from` on.
fn sources(disk: &Arc<dyn Disk>, dir: &Path, from: u64) -> Result<VecDeque<Source>, JournalError> {
    let catalogue = Catalogue::on(disk, dir)?;
    let sealed = catalogue.sealed_segments().into_iter().enumerate();
    let sealed = sealed.map(|(nth, (first, files))| Source::Sealed { first, files, is_oldest: nth == 0 });
    let mut sources: Vec<Source> = sealed.chain(catalogue.open.into_iter().map(Source::Open)).collect();
    sources.sort_by_key(Source::first);
    let begin = sources.partition_point(|source| source.first() <= from).saturating_sub(1);
    Ok(sources.into_iter().skip(begin).collect())
}

impl Records {
    pub(super) fn on(disk: Arc<dyn Disk>, dir: &Path, from: u64) -> Result<Self, JournalError> {
        let sources = sources(&disk, dir, from)?;
        Ok(Self {
            disk,
            dir: dir.into(),
            from,
            sources,
            devices: None,
            batches: Vec::new().into_iter(),
            held: Vec::new(),
            order: Vec::new().into_iter(),
            rows: Vec::new().into_iter(),
            expected: None,
            path: dir.into(),
            ready: VecDeque::new(),
        })
    }

    /// The same without the reports of other devices than these: many times as quick, since they are not unpacked. What did not
    /// come from a device is there as before.
    #[must_use]
    pub fn of_devices(self, devices: Devices) -> Self {
        Self { devices: Some(devices), ..self }
    }

    /// Opens a segment: its rows, or its batches, are next.
    fn enter(&mut self, source: Source) -> Result<(), JournalError> {
        self.held.clear();
        let begins = source.first().max(self.from);
        match source {
            Source::Open(segment) => {
                self.path = segment.path();
                match segment.content() {
                    Ok(content) => {
                        self.expected.get_or_insert(begins);
                        self.batches = content.batches.into_iter();
                        content.unreadable.map_or(Ok(()), |problem| Err(self.damaged(problem)))
                    }
                    Err(error) if error.is_missing() => self.look_again(error),
                    Err(error) => Err(error),
                }
            }
            Source::Sealed { files, is_oldest, .. } => {
                let expected = self.expected;
                if is_oldest {
                    self.expected = None;
                } else {
                    self.expected.get_or_insert(begins);
                }
                match self.enter_sealed(&files) {
                    Err(error) if error.is_missing() => {
                        self.expected = expected;
                        self.look_again(error)
                    }
                    result => result,
                }
            }
        }
    }

    /// It was sealed, merged or removed since it was listed: goes on with what is there now, for the positions that are still
    /// wanted. When the file is still listed, the error is what it is.
    fn look_again(&mut self, error: JournalError) -> Result<(), JournalError> {
        let sources = sources(&self.disk, &self.dir, self.from)?;
        if sources.iter().any(|source| source.names(&self.path)) {
            return Err(error);
        }
        self.sources = sources;
        Ok(())
    }

    /// Keeps a segment's columns, and in which order its rows came.
    fn enter_sealed(&mut self, files: &[SealedFile]) -> Result<(), JournalError> {
        let (mut batches, mut order) = (Vec::new(), Vec::new());
        let mut result = Ok(());
        for file in files {
            self.path.clone_from(&file.path);
            let read = match &self.devices {
                None => sealed::read(&*self.disk, file).map(|read| (read, Vec::new())),
                Some(devices) => sealed::read_of(&*self.disk, file, devices),
            };
            let added = read.and_then(|(read, others)| {
                order.extend(others.into_iter().map(|position| (position, None)));
                self.add(read, &mut batches, &mut order)
            });
            match added {
                Err(error) if error.is_missing() => return Err(error),
                // What this file held is said by its own error, not by a gap for every row.
                Err(error) => (self.expected, result) = (None, Err(error)),
                Ok(()) => {}
            }
        }
        order.sort_unstable();
        (self.held, self.order) = (batches, order.into_iter());
        result
    }

    /// Keeps a batch of an open segment.
    fn enter_batch(&mut self, batch: RecordBatch) -> Result<(), JournalError> {
        let (mut batches, mut order) = (Vec::new(), Vec::new());
        self.add(vec![batch], &mut batches, &mut order)?;
        (self.held, self.order) = (batches, order.into_iter());
        Ok(())
    }

    fn add(
        &self,
        read: Vec<RecordBatch>,
        batches: &mut Vec<RecordBatch>,
        order: &mut Vec<Place>,
    ) -> Result<(), JournalError> {
        for batch in read {
            let damaged = |problem| self.damaged(problem);
            let positions = columns::positions(&batch).map_err(damaged)?.values().iter().enumerate();
            let wanted = self.devices.as_ref().map(|devices| columns::of_devices(&batch, devices));
            let wanted = wanted.transpose().map_err(damaged)?;
            let is_wanted = |row| wanted.as_ref().is_none_or(|wanted| wanted.value(row));
            let place = |row| is_wanted(row).then_some((batches.len(), row));
            order.extend(positions.map(|(row, position)| (*position, place(row))));
            batches.push(batch);
        }
        Ok(())
    }

    /// The next rows as records.
    fn take_rows(&mut self, places: &[Place]) -> Result<(), JournalError> {
        let rows = rows::from_places(&self.held, places).map_err(|problem| self.damaged(problem))?;
        self.rows = rows.into_iter();
        Ok(())
    }

    fn damaged(&self, problem: String) -> JournalError {
        JournalError::Damaged { path: self.path.clone(), problem }
    }

    fn lost(&self, lost: Range<u64>) -> JournalError {
        JournalError::Lost { lost, path: self.path.clone(), problem: "they are not there".to_owned() }
    }

    /// Takes the next record, if it is wanted, after word of what is missing before it.
    fn take(&mut self, position: u64, record: Option<Record>) {
        if position < self.from || self.expected.is_some_and(|expected| position < expected) {
            return;
        }
        if let Some(expected) = self.expected.filter(|expected| position > *expected) {
            self.ready.push_back(Err(self.lost(expected..position)));
        }
        self.expected = self.expected.map(|_| position + 1);
        self.from = position.saturating_add(1);
        self.ready.extend(record.map(|record| Ok((position, record))));
    }

    /// Moves on by one step; false at the end.
    fn step(&mut self) -> bool {
        if let Some((position, record)) = self.rows.next() {
            self.take(position, record);
        } else if self.order.len() > 0 {
            let places: Vec<Place> = self.order.by_ref().take(ROWS).collect();
            if let Err(error) = self.take_rows(&places) {
                self.expected = None;
                self.ready.push_back(Err(error));
            }
        } else if let Some(batch) = self.batches.next() {
            if let Err(error) = self.enter_batch(batch) {
                self.ready.push_back(Err(error));
            }
        } else if let Some(source) = self.sources.pop_front() {
            if let Err(error) = self.enter(source) {
                self.ready.push_back(Err(error));
            }
        } else {
            return false;
        }
        true
    }
}

impl Iterator for Records {
    type Item = Result<(u64, Record), JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && self.step() {}
        self.ready.pop_front()
    }
}
