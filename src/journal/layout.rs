//! Which files there are, what their names say, and which of them count.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use datafusion::arrow::array::RecordBatch;

use super::{
    JournalError, columns,
    disk::{Disk, Entry, FileSystem},
    frame::Scan,
    inventory::Inventory,
    sealed::{self, About},
};
use crate::model::Time;

pub(super) const DAY_MS: i64 = 86_400_000;
/// The partition of what is too far from its arrival to get a day of its own.
const OLDER: &str = "older";

/// Where the sealed segments lie.
pub fn history_dir(dir: &Path) -> PathBuf {
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

/// `segment-{first}.parquet`; of one that was merged of several, `segment-{first}-to-{end}.parquet`. Of a segment too large for
/// one table, the later parts have `-{part}` before the dot.
pub(super) fn parquet_name(first: u64, merged_end: Option<u64>, part: usize) -> String {
    let end = merged_end.map_or(String::new(), |end| format!("-to-{end:020}"));
    let part = if part == 0 { String::new() } else { format!("-{part}") };
    format!("segment-{first:020}{end}{part}.parquet")
}

/// While it is there, the merged files of its range do not count.
pub(super) fn merging_path(dir: &Path, range: &Range<u64>) -> PathBuf {
    dir.join(format!("segment-{:020}-to-{:020}.merging", range.start, range.end))
}

fn arrow_first(name: &str) -> Option<u64> {
    name.strip_prefix("segment-")?.strip_suffix(".arrow")?.parse().ok()
}

/// The first position of a Parquet file's segment and, if it was merged, its end.
fn parquet_range(name: &str) -> Option<(u64, Option<u64>)> {
    range_named(name.strip_suffix(".parquet")?)
}

fn merging_range(name: &str) -> Option<Range<u64>> {
    let (first, end) = range_named(name.strip_suffix(".merging")?)?;
    Some(first..end?)
}

fn range_named(stem: &str) -> Option<(u64, Option<u64>)> {
    let numbers = stem.strip_prefix("segment-")?;
    let (first, rest) = numbers.split_once('-').unwrap_or((numbers, ""));
    let end = match rest.strip_prefix("to-") {
        Some(end) => Some(end.split('-').next()?.parse().ok()?),
        None => None,
    };
    Some((first.parse().ok()?, end))
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
    /// The positions of each.
    pub runs: Vec<Range<u64>>,
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
        let mut content = Content { batches: Vec::new(), runs: Vec::new(), damaged: scan.damaged, unreadable: None };
        let mut expected = self.first;
        for (follows, batch) in scan.batches() {
            match batch.and_then(|batch| Ok((columns::run(&batch)?, batch))) {
                Ok((run, _)) if self.end.is_some_and(|end| run.start >= end) => break,
                Ok((run, batch)) if run.start == expected || !follows && run.start > expected => {
                    expected = run.end;
                    content.batches.push(batch);
                    content.runs.push(run);
                }
                Ok((run, _)) => {
                    content.unreadable =
                        Some(format!("positions {}..{} where {expected} comes next", run.start, run.end));
                }
                Err(problem) => content.unreadable = Some(problem),
            }
        }
        content
    }

    fn sealed_batches(&self) -> Result<Vec<RecordBatch>, JournalError> {
        let catalogue = Catalogue::on(&self.disk, &self.dir)?;
        let mut batches = Vec::new();
        for file in catalogue.sealed.iter().filter(|file| file.may_hold(self.first)) {
            for batch in sealed::read(&*self.disk, file)? {
                // Of what was merged with others since, its own rows.
                batches.push(columns::within(&batch, self.first..self.end.unwrap_or(u64::MAX))?);
            }
        }
        Ok(batches)
    }
}

/// One Parquet file of a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedFile {
    /// The first position of the segment it is of.
    pub first: u64,
    /// One after the segment's last position, when the segment was merged of several.
    pub merged_end: Option<u64>,
    /// The UTC day of its rows' event times, in days since 1970; `None` for the partition `older`, which may hold any.
    pub day: Option<i64>,
    pub path: PathBuf,
    pub bytes: u64,
    /// As the inventory has it; `None`: it is not listed yet.
    pub sha256: Option<String>,
    /// What the inventory says of its segment.
    pub(super) about: Option<About>,
}

impl SealedFile {
    /// As the inventory names it.
    pub fn listed_path(&self, dir: &Path) -> String {
        self.path.strip_prefix(history_dir(dir)).unwrap_or(&self.path).to_string_lossy().into_owned()
    }

    /// Looks whether the file on this machine's disk is still what was sealed.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] when it is not; or the disk's answer.
    pub fn check(&self) -> Result<(), JournalError> {
        sealed::bytes(&FileSystem, self).map(|_| ())
    }

    /// Whether it may have rows of the segment that began at `first`.
    fn may_hold(&self, first: u64) -> bool {
        match self.merged_end {
            Some(end) => (self.first..end).contains(&first),
            None => self.first == first,
        }
    }
}

/// The files that count. No row is in two of them.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// In order of position.
    pub open: Vec<OpenSegment>,
    /// In order of first position, then day.
    pub sealed: Vec<SealedFile>,
    /// Left behind by a seal or a merge that did not finish: they count as nothing.
    pub(super) debris: Vec<PathBuf>,
    /// Which merges are under way, or did not finish.
    pub(super) merging: Vec<Range<u64>>,
    /// What is listed of the sealed files, without what no longer counts.
    pub inventory: Inventory,
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

    /// Listed until two listings agree, so that it is of one moment: no file's name comes twice.
    pub(super) fn on(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Self, JournalError> {
        let mut listing = Listing::of(&**disk, dir)?;
        for _ in 0..LISTINGS {
            let again = Listing::of(&**disk, dir)?;
            if again.names().eq(listing.names()) {
                let mut catalogue = again.catalogue(disk, dir);
                // Read after the listing: what counts is listed by then.
                let mut inventory = Inventory::read(&**disk, dir)?;
                inventory.settle(&catalogue);
                for file in &mut catalogue.sealed {
                    file.sha256 = inventory.digest(dir, file);
                    file.about = inventory.about(file);
                }
                catalogue.inventory = inventory;
                return Ok(catalogue);
            }
            listing = again;
        }
        Err(JournalError::io("list", dir, io::Error::other("it changes faster than it can be listed")))
    }

    /// The least position that is kept; `None` when nothing is.
    pub fn first_position(&self) -> Option<u64> {
        let sealed = self.sealed.iter().map(|file| file.first);
        sealed.chain(self.open.iter().map(|segment| segment.first)).min()
    }

    /// The first position of the earliest segment that may hold what was measured at `since` or later: what lies before it is of
    /// days that were over.
    pub fn first_since(&self, since: Time) -> u64 {
        let day = day_of(since);
        let sealed = self.sealed.iter().filter(|file| file.day.is_some_and(|of| of >= day)).map(|file| file.first);
        sealed.chain(self.open.first().map(|open| open.first)).min().unwrap_or(u64::MAX)
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

/// How often it is listed at most; files change seconds apart.
const LISTINGS: usize = 100;

/// What the directories hold.
struct Listing {
    top: Vec<String>,
    days: Vec<(String, Vec<Entry>)>,
}

impl Listing {
    fn of(disk: &dyn Disk, dir: &Path) -> Result<Self, JournalError> {
        let list = |dir: &Path| disk.list(dir).map_err(|error| JournalError::io("list", dir, error));
        let names = |entries: Vec<Entry>| entries.into_iter().map(|entry| entry.name).collect::<Vec<_>>();
        let (top, history) = (names(list(dir)?), history_dir(dir));
        let days = names(list(&history)?).into_iter().filter(|day| day_named(day).is_some());
        let days: Result<Vec<_>, JournalError> =
            days.map(|day| list(&history.join(&day)).map(|files| (day, files))).collect();
        Ok(Self { top, days: days? })
    }

    /// The names that say what counts. Each comes once and goes once.
    fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        let top = self.top.iter().map(|name| ("", name.as_str()));
        let top = top.filter(|(_, name)| arrow_first(name).is_some() || merging_range(name).is_some());
        let days =
            self.days.iter().flat_map(|(day, files)| files.iter().map(|file| (day.as_str(), file.name.as_str())));
        top.chain(days.filter(|(_, name)| parquet_range(name).is_some()))
    }

    fn catalogue(&self, disk: &Arc<dyn Disk>, dir: &Path) -> Catalogue {
        let open = open_segments(disk, dir, &self.top);
        let merging: Vec<Range<u64>> = self.top.iter().filter_map(|name| merging_range(name)).collect();
        let is_open = |first: u64| open.binary_search_by_key(&first, |segment| segment.first).is_ok();
        let counts = |(first, merged_end): (u64, Option<u64>)| match merged_end {
            Some(end) => !merging.contains(&(first..end)),
            None => !is_open(first),
        };
        // What was merged takes the place of what it was merged of. (What is merged is not merged again.)
        let files = self.days.iter().flat_map(|(_, files)| files);
        let ranges = files.filter_map(|file| parquet_range(&file.name)).filter(|range| counts(*range));
        let merged: BTreeMap<u64, u64> = ranges.filter_map(|(first, end)| Some((first, end?))).collect();
        let is_replaced = |first: u64| merged.range(..=first).next_back().is_some_and(|(_, end)| first < *end);
        let (mut sealed, mut debris) = (Vec::new(), Vec::new());
        for (day, files) in &self.days {
            let (folder, day) = (history_dir(dir).join(day), day_named(day).flatten());
            for file in files {
                let path = folder.join(&file.name);
                match parquet_range(&file.name) {
                    Some((first, merged_end))
                        if counts((first, merged_end)) && (merged_end.is_some() || !is_replaced(first)) =>
                    {
                        sealed.push(SealedFile {
                            first,
                            merged_end,
                            day,
                            path,
                            bytes: file.bytes,
                            sha256: None,
                            about: None,
                        });
                    }
                    Some(_) => debris.push(path),
                    None if file.name.ends_with(".tmp") => debris.push(path),
                    None => {}
                }
            }
        }
        sealed.sort_by(|a, b| (a.first, a.day, &a.path).cmp(&(b.first, b.day, &b.path)));
        Catalogue { open, sealed, debris, merging, inventory: Inventory::default() }
    }
}

fn open_segments(disk: &Arc<dyn Disk>, dir: &Path, names: &[String]) -> Vec<OpenSegment> {
    let mut firsts: Vec<u64> = names.iter().filter_map(|name| arrow_first(name)).collect();
    firsts.sort_unstable();
    let ends = firsts.iter().skip(1).copied().map(Some).chain([None]);
    let segment = |(first, end): (&u64, _)| OpenSegment { disk: Arc::clone(disk), dir: dir.into(), first: *first, end };
    firsts.iter().zip(ends).map(segment).collect()
}
