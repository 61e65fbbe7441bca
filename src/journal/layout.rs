//! Which files there are, what their names say, and which of them count.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use datafusion::arrow::array::RecordBatch;

use super::{
    JournalError, columns,
    disk::{Disk, FileSystem},
    frame::Scan,
    sealed,
};
use crate::model::Time;

pub(super) const DAY_MS: i64 = 86_400_000;
/// The partition of what is too far from its arrival to get a day of its own.
const OLDER: &str = "older";

/// Where the sealed segments lie.
pub(super) fn history_dir(dir: &Path) -> PathBuf {
    dir.join("history")
}

pub(super) fn arrow_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("segment-{first:020}.arrow"))
}

/// Days since 1970 in UTC.
pub(super) fn day_of(time: Time) -> i64 {
    time.as_millis().div_euclid(DAY_MS)
}

/// `day=2026-03-01`, or `day=older`.
pub(super) fn day_dir(day: Option<i64>) -> String {
    match day {
        Some(day) => format!("day={:.10}", Time::from_millis(day * DAY_MS).to_string()),
        None => format!("day={OLDER}"),
    }
}

/// `segment-{first}.parquet`; of a segment too large for one table, the later parts are `segment-{first}-{part}.parquet`.
pub(super) fn parquet_name(first: u64, part: usize) -> String {
    match part {
        0 => format!("segment-{first:020}.parquet"),
        part => format!("segment-{first:020}-{part}.parquet"),
    }
}

fn arrow_first(name: &str) -> Option<u64> {
    name.strip_prefix("segment-")?.strip_suffix(".arrow")?.parse().ok()
}

fn parquet_first(name: &str) -> Option<u64> {
    let numbers = name.strip_prefix("segment-")?.strip_suffix(".parquet")?;
    numbers.split('-').next()?.parse().ok()
}

fn day_named(dir: &str) -> Option<Option<i64>> {
    match dir.strip_prefix("day=")? {
        OLDER => Some(None),
        date => format!("{date}T00:00:00Z").parse().ok().map(|time| Some(day_of(time))),
    }
}

/// A segment that is not sealed yet.
#[derive(Clone)]
pub struct OpenSegment {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// The position of its first record.
    pub first: u64,
    /// The first position of the segment after it: what this one holds from there on does not count.
    pub end: Option<u64>,
}

impl std::fmt::Debug for OpenSegment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path().display())
    }
}

/// What could be read of a segment.
pub(super) struct Content {
    pub batches: Vec<RecordBatch>,
    /// Bytes in the middle that are in no whole frame.
    pub damaged: usize,
    /// What is wrong with a frame that is whole: another version wrote it, or something that is not us.
    pub unreadable: Option<String>,
}

impl OpenSegment {
    pub(super) fn path(&self) -> PathBuf {
        arrow_path(&self.dir, self.first)
    }

    /// Its batches, with the columns of [`super::schema`]. What is damaged is left out. When it was sealed since it was
    /// listed, the sealed rows (in another order).
    ///
    /// # Errors
    /// When the file can't be read at all.
    pub fn batches(&self) -> Result<Vec<RecordBatch>, JournalError> {
        match self.content() {
            Ok(content) => Ok(content.batches),
            Err(error) if error.is_missing() => self.sealed_batches(),
            Err(error) => Err(error),
        }
    }

    pub(super) fn content(&self) -> Result<Content, JournalError> {
        let data = self.disk.read(&self.path()).map_err(|error| JournalError::io("read", self.path(), error))?;
        Ok(self.content_of(&Scan::of(data)))
    }

    pub(super) fn content_of(&self, scan: &Scan) -> Content {
        let mut content = Content { batches: Vec::new(), damaged: scan.damaged, unreadable: None };
        for batch in scan.batches() {
            match batch.and_then(|batch| Ok((first_position(&batch)?, batch))) {
                Ok((position, _)) if self.end.is_some_and(|end| position >= end) => break,
                Ok((_, batch)) => content.batches.push(batch),
                Err(problem) => content.unreadable = Some(problem),
            }
        }
        content
    }

    fn sealed_batches(&self) -> Result<Vec<RecordBatch>, JournalError> {
        let catalogue = Catalogue::on(&self.disk, &self.dir)?;
        let mut batches = Vec::new();
        for file in catalogue.sealed.iter().filter(|file| file.first == self.first) {
            batches.extend(sealed::read(&*self.disk, &file.path)?);
        }
        Ok(batches)
    }
}

impl Content {
    /// The positions of each batch in order.
    pub fn runs(&self) -> impl Iterator<Item = Range<u64>> {
        self.batches.iter().filter_map(|batch| {
            let first = first_position(batch).ok()?;
            Some(first..first + batch.num_rows() as u64)
        })
    }
}

fn first_position(batch: &RecordBatch) -> Result<u64, String> {
    columns::positions(batch)?.values().first().copied().ok_or_else(|| "an empty batch".to_owned())
}

/// One Parquet file of a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedFile {
    /// The first position of the segment it is of.
    pub first: u64,
    /// The UTC day of its rows' event times, in days since 1970; `None` for the partition `older`, which may hold any.
    pub day: Option<i64>,
    pub path: PathBuf,
    pub bytes: u64,
}

/// The files that count. No row is in two of them.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// In order of position.
    pub open: Vec<OpenSegment>,
    /// In order of first position, then day.
    pub sealed: Vec<SealedFile>,
    /// Left behind by a seal that did not finish: they count as nothing.
    pub(super) debris: Vec<PathBuf>,
}

impl Catalogue {
    /// Of the journal in `dir`.
    ///
    /// # Errors
    /// When a directory can't be listed.
    pub fn of(dir: &Path) -> Result<Self, JournalError> {
        let disk: Arc<dyn Disk> = Arc::new(FileSystem);
        Self::on(&disk, dir)
    }

    /// Open segments are listed before sealed ones: a segment that is sealed in between is seen as open, never as both
    /// and never as neither.
    pub(super) fn on(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Self, JournalError> {
        let mut catalogue = Self { open: open_segments(disk, dir)?, ..Self::default() };
        let history = history_dir(dir);
        for day in list(&**disk, &history)? {
            let Some(day_number) = day_named(&day) else { continue };
            catalogue.add_day(&**disk, &history.join(day), day_number)?;
        }
        catalogue.sealed.sort_by(|a, b| (a.first, a.day, &a.path).cmp(&(b.first, b.day, &b.path)));
        Ok(catalogue)
    }

    /// The first position of the earliest segment that may hold what was measured at `since` or later: what lies before it is of
    /// days that were over.
    pub fn first_since(&self, since: Time) -> u64 {
        let day = day_of(since);
        let sealed = self.sealed.iter().filter(|file| file.day.is_some_and(|of| of >= day)).map(|file| file.first);
        sealed.chain(self.open.first().map(|open| open.first)).min().unwrap_or(u64::MAX)
    }

    fn add_day(&mut self, disk: &dyn Disk, dir: &Path, day: Option<i64>) -> Result<(), JournalError> {
        for entry in disk.list(dir).map_err(|error| JournalError::io("list", dir, error))? {
            let path = dir.join(&entry.name);
            match parquet_first(&entry.name) {
                Some(first) if self.open.iter().all(|open| open.first != first) => {
                    self.sealed.push(SealedFile { first, day, path, bytes: entry.bytes });
                }
                Some(_) => self.debris.push(path),
                None if entry.name.ends_with(".tmp") => self.debris.push(path),
                None => {}
            }
        }
        Ok(())
    }

    /// The sealed segments, each with its files, in order of position.
    pub(super) fn sealed_segments(&self) -> BTreeMap<u64, Vec<SealedFile>> {
        let mut segments: BTreeMap<u64, Vec<SealedFile>> = BTreeMap::new();
        for file in &self.sealed {
            segments.entry(file.first).or_default().push(file.clone());
        }
        segments
    }
}

fn open_segments(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Vec<OpenSegment>, JournalError> {
    let mut firsts: Vec<u64> = list(&**disk, dir)?.iter().filter_map(|name| arrow_first(name)).collect();
    firsts.sort_unstable();
    let ends = firsts.iter().skip(1).copied().map(Some).chain([None]);
    let segment = |(first, end): (&u64, _)| OpenSegment { disk: Arc::clone(disk), dir: dir.into(), first: *first, end };
    Ok(firsts.iter().zip(ends).map(segment).collect())
}

fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>, JournalError> {
    let entries = disk.list(dir).map_err(|error| JournalError::io("list", dir, error))?;
    Ok(entries.into_iter().map(|entry| entry.name).collect())
}
