//! Reading back, in order of position.

use std::{
    collections::VecDeque,
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
    rows, sealed,
};
use crate::model::Record;

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
    batches: vec::IntoIter<RecordBatch>,
    /// A sealed segment, and its rows by position: place of the batch, place in it.
    sealed: Vec<RecordBatch>,
    order: vec::IntoIter<(u64, (usize, usize))>,
    rows: vec::IntoIter<(u64, Record)>,
    /// Where the next record must be, when that is known.
    expected: Option<u64>,
    path: PathBuf,
    ready: VecDeque<Result<(u64, Record), JournalError>>,
}

/// Rows of a sealed segment that are made into records at once.
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
            batches: Vec::new().into_iter(),
            sealed: Vec::new(),
            order: Vec::new().into_iter(),
            rows: Vec::new().into_iter(),
            expected: None,
            path: dir.into(),
            ready: VecDeque::new(),
        })
    }

    /// Opens a segment: its rows, or its batches, are next.
    fn enter(&mut self, source: Source) -> Result<(), JournalError> {
        self.sealed.clear();
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
            let added = sealed::read(&*self.disk, &file.path).and_then(|read| self.add(read, &mut batches, &mut order));
            match added {
                Err(error) if error.is_missing() => return Err(error),
                // What this file held is said by its own error, not by a gap for every row.
                Err(error) => (self.expected, result) = (None, Err(error)),
                Ok(()) => {}
            }
        }
        order.sort_unstable();
        (self.sealed, self.order) = (batches, order.into_iter());
        result
    }

    fn add(
        &self,
        read: Vec<RecordBatch>,
        batches: &mut Vec<RecordBatch>,
        order: &mut Vec<(u64, (usize, usize))>,
    ) -> Result<(), JournalError> {
        for batch in read {
            let positions = columns::positions(&batch).map_err(|problem| self.damaged(problem))?;
            let rows = positions.values().iter().enumerate();
            order.extend(rows.map(|(row, position)| (*position, (batches.len(), row))));
            batches.push(batch);
        }
        Ok(())
    }

    /// The next rows of a sealed segment as records.
    fn take_sealed(&mut self, places: &[(usize, usize)]) -> Result<(), JournalError> {
        let rows = rows::from_places(&self.sealed, places).map_err(|problem| self.damaged(problem))?;
        self.rows = rows.into_iter();
        Ok(())
    }

    fn damaged(&self, problem: String) -> JournalError {
        JournalError::Damaged { path: self.path.clone(), problem }
    }

    fn lost(&self, lost: Range<u64>) -> JournalError {
        JournalError::Lost { lost, path: self.path.clone(), problem: "they are not there".to_owned() }
    }

    /// Takes the next record, after word of what is missing before it.
    fn take(&mut self, position: u64, record: Record) {
        if position < self.from || self.expected.is_some_and(|expected| position < expected) {
            return;
        }
        if let Some(expected) = self.expected.filter(|expected| position > *expected) {
            self.ready.push_back(Err(self.lost(expected..position)));
        }
        self.expected = self.expected.map(|_| position + 1);
        self.from = position.saturating_add(1);
        self.ready.push_back(Ok((position, record)));
    }

    /// Moves on by one step; false at the end.
    fn step(&mut self) -> bool {
        if let Some((position, record)) = self.rows.next() {
            self.take(position, record);
        } else if self.order.len() > 0 {
            let places: Vec<(usize, usize)> = self.order.by_ref().take(ROWS).map(|(_, place)| place).collect();
            if let Err(error) = self.take_sealed(&places) {
                self.expected = None;
                self.ready.push_back(Err(error));
            }
        } else if let Some(batch) = self.batches.next() {
            match rows::from_batch(&batch) {
                Ok(rows) => self.rows = rows.into_iter(),
                Err(problem) => self.ready.push_back(Err(self.damaged(problem))),
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
