//! Sealing: closed segments become Parquet, in the background; and retention: the oldest of them go.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    thread::{self, JoinHandle},
};

use datafusion::arrow::{
    array::{Array as _, ArrayRef, AsArray, Int32Array, RecordBatch},
    compute::{SortColumn, concat_batches, lexsort_to_indices, take, take_record_batch},
    datatypes::{Int32Type, TimestampMillisecondType},
    error::ArrowError,
};

use super::{
    JournalError, JournalSettings,
    columns::{self, Columns},
    disk::{self, Disk},
    inventory::{self, What},
    layout::{self, Catalogue, DAY_MS, OpenSegment, SealedFile},
    sealed::{self, About},
};
use crate::model::{FileDigest, Time, limits};

/// Stands for the partition `older` among days since 1970: before any that a time can have.
const OLDER: i32 = i32::MIN;

/// 9999-12-29: later days are not written as dates by everyone.
const LAST_DAY: i64 = 2_932_894;

/// What sealing has done since the journal was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Segments sealed.
    pub sealed: u64,
    /// Segments that retention removed.
    pub retired: u64,
    /// Segments that were merged with others.
    pub merged: u64,
    /// Attempts that failed; each is tried again when the next segment closes.
    pub failed: u64,
}

/// Seals and retires the segments of one journal.
pub(super) struct Sealer {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) settings: JournalSettings,
    /// Segments that begin before this are merged, or will not be.
    pub(super) settled: AtomicU64,
    /// `None` after a failure: the next line begins a new file.
    inventory: Mutex<Option<inventory::Writer>>,
}

impl Sealer {
    pub fn new(disk: Arc<dyn Disk>, dir: &Path, settings: &JournalSettings, inventory: inventory::Writer) -> Self {
        let inventory = Mutex::new(Some(inventory));
        Self { disk, dir: dir.into(), settings: settings.clone(), settled: AtomicU64::new(0), inventory }
    }

    /// Seals every segment that begins before `below`, oldest first, then lets go what is too old or too much, and merges
    /// what is too small. What fails is said and left as it was.
    fn run(&self, below: u64, may_merge: bool) -> Progress {
        let mut progress = Progress::default();
        match self.seal_below(below) {
            (sealed, Ok(())) => progress.sealed = sealed,
            (sealed, Err(error)) => {
                progress.sealed = sealed;
                progress.failed = 1;
                tracing::warn!(%error, "a journal segment could not be sealed; it stays as it is");
            }
        }
        if let Err(error) = self.list_old() {
            progress.failed += 1;
            tracing::warn!(%error, "sealed files could not be put into the inventory");
        }
        match self.retire() {
            Ok(retired) => progress.retired = retired,
            Err(error) => {
                progress.failed += 1;
                tracing::warn!(%error, "an old journal segment could not be removed");
            }
        }
        if may_merge {
            match self.compact() {
                Ok(merged) => progress.merged = merged,
                Err(error) => {
                    progress.failed += 1;
                    tracing::warn!(%error, "journal segments could not be merged; they stay as they are");
                }
            }
        }
        progress
    }

    fn seal_below(&self, below: u64) -> (u64, Result<(), JournalError>) {
        let mut sealed = 0;
        let open = match Catalogue::on(&self.disk, &self.dir) {
            Ok(catalogue) => catalogue.open,
            Err(error) => return (sealed, Err(error)),
        };
        let mut result = Ok(());
        for segment in open.iter().filter(|segment| segment.first < below) {
            match self.seal(segment) {
                Ok(()) => sealed += 1,
                // One that cannot be read does not keep the others open.
                Err(error @ JournalError::Damaged { .. }) => result = Err(error),
                Err(error) => return (sealed, Err(error)),
            }
        }
        (sealed, result)
    }

    /// All Parquet files are durable before the Arrow file goes; until it has gone they do not count.
    fn seal(&self, segment: &OpenSegment) -> Result<(), JournalError> {
        let content = segment.content()?;
        let path = segment.path();
        if let Some(problem) = content.unreadable {
            return Err(JournalError::Damaged { path, problem });
        }
        let files = match content.runs.last() {
            Some(run) => {
                let received = columns::received(&content.batches).ok();
                let about = About { end: run.end, last_recv: last_recv(&content.batches), received };
                tables(&content.batches, segment.first, None, about)?
            }
            None => Vec::new(),
        };
        self.write_all(&files, What::Sealed, segment.first)?;
        self.let_go(&path, content.damaged > 0)
    }

    /// The commit. A damaged file is put aside for a person to look at.
    fn let_go(&self, path: &Path, is_damaged: bool) -> Result<(), JournalError> {
        let gone = match is_damaged {
            true => disk::put_aside(&*self.disk, path).map(|aside| {
                tracing::error!(path = %aside.display(), "a journal segment is damaged: its good records are sealed, the file is kept");
            }),
            false => self.disk.remove(path).and_then(|()| self.disk.sync_dir(&self.dir)),
        };
        gone.map_err(|error| JournalError::io("remove", path, error))
    }

    /// The files of a segment and their line in the inventory, all durable.
    pub(super) fn write_all(&self, files: &[Table], what: What, first: u64) -> Result<(), JournalError> {
        let Some(about) = files.first().map(|file| file.about) else { return Ok(()) };
        let listed = files.iter().map(|file| self.write(file)).collect::<Result<_, _>>()?;
        let history = layout::history_dir(&self.dir);
        self.disk.sync_dir(&history).map_err(|error| JournalError::io("sync", history, error))?;
        self.list(what, first, about, listed)
    }

    /// Writes a line of the inventory.
    fn list(&self, what: What, first: u64, about: About, files: Vec<FileDigest>) -> Result<(), JournalError> {
        let mut held = self.inventory.lock().unwrap_or_else(PoisonError::into_inner);
        let mut writer = match held.take() {
            Some(writer) => writer,
            // A line could not be written: the file is not written on.
            None => {
                let catalogue = Catalogue::on(&self.disk, &self.dir)?;
                inventory::Writer::begin(&*self.disk, &self.dir, &catalogue.inventory)?
            }
        };
        writer.append(what, first, about, files)?;
        *held = Some(writer);
        Ok(())
    }

    /// Lists files that an earlier version sealed, some at a time.
    fn list_old(&self) -> Result<(), JournalError> {
        let mut bytes = 0;
        for (first, files) in Catalogue::on(&self.disk, &self.dir)?.sealed_segments() {
            if files.iter().any(|file| file.sha256.is_some()) {
                continue;
            }
            let what = if files.iter().any(|file| file.merged_end.is_some()) { What::Merged } else { What::Sealed };
            match self.look_at_old(&files) {
                Ok((about, listed)) => self.list(what, first, about, listed)?,
                Err(error @ JournalError::Damaged { .. }) => {
                    tracing::error!(%error, "a sealed file that is not in the inventory cannot be read");
                }
                Err(error) => return Err(error),
            }
            bytes += files.iter().map(|file| file.bytes).sum::<u64>();
            if bytes >= limits::LIST_BYTES {
                break;
            }
        }
        Ok(())
    }

    fn look_at_old(&self, files: &[SealedFile]) -> Result<(About, Vec<FileDigest>), JournalError> {
        let (mut listed, mut received) = (Vec::new(), 0);
        for file in files {
            let content = sealed::bytes(&*self.disk, file)?;
            let (path, sha256) = (file.listed_path(&self.dir), inventory::sha256(&content));
            listed.push(FileDigest { path, bytes: content.len() as u64, sha256 });
            let rows = sealed::read(&*self.disk, file)?;
            received += columns::received(&rows)
                .map_err(|problem| JournalError::Damaged { path: file.path.clone(), problem })?;
        }
        Ok((About { received: Some(received), ..self.about(files)? }, listed))
    }

    fn write(&self, file: &Table) -> Result<FileDigest, JournalError> {
        let day = layout::history_dir(&self.dir).join(layout::day_dir(file.day));
        let path = day.join(&file.name);
        let aside = day.join(format!("{}.tmp", file.name));
        let bytes = sealed::encode(&file.rows, file.about)?;
        let write = || {
            self.disk.create_dir(&day)?;
            let mut new = self.disk.create(&aside)?;
            new.append(&bytes)?;
            new.sync()?;
            self.disk.rename(&aside, &path)?;
            self.disk.sync_dir(&day)
        };
        let day_name = layout::day_dir(file.day);
        let listed = FileDigest {
            path: format!("{day_name}/{}", file.name),
            bytes: bytes.len() as u64,
            sha256: inventory::sha256(&bytes),
        };
        write().map(|()| listed).map_err(|error| {
            // It counts as nothing; the next start removes it when this can't.
            let _ = self.disk.remove(&aside);
            JournalError::io("write", path, error)
        })
    }

    /// Removes whole sealed segments, oldest first, while there is more than is to be kept. Never the newest.
    fn retire(&self) -> Result<u64, JournalError> {
        let segments = Catalogue::on(&self.disk, &self.dir)?.sealed_segments();
        let mut bytes: u64 = segments.values().flatten().map(|file| file.bytes).sum();
        let Some((newest, newest_files)) = segments.last_key_value() else { return Ok(0) };
        let newest_day = layout::day_of(self.about(newest_files)?.last_recv);
        let mut retired = 0;
        for (first, files) in segments.range(..newest) {
            let about = self.about(files)?;
            let age_days = newest_day - layout::day_of(about.last_recv);
            let is_old = age_days > i64::from(self.settings.keep_days);
            if !is_old && bytes <= self.settings.keep_bytes {
                break;
            }
            self.list(What::Removed, *first, about, Vec::new())?;
            self.remove(files)?;
            bytes -= files.iter().map(|file| file.bytes).sum::<u64>();
            retired += 1;
            let (end, last_recv) = (about.end, about.last_recv);
            if is_old {
                tracing::info!(from = first, to = end, %last_recv, "history removed: older than keep_days");
            } else {
                tracing::warn!(from = first, to = end, %last_recv, "history removed: more than keep_bytes");
            }
        }
        Ok(retired)
    }

    pub(super) fn about(&self, files: &[SealedFile]) -> Result<About, JournalError> {
        match files.first() {
            Some(file) => file.about.map_or_else(|| sealed::about(&*self.disk, file), Ok),
            None => Ok(About { end: 0, last_recv: Time::default(), received: None }),
        }
    }

    pub(super) fn remove(&self, files: &[SealedFile]) -> Result<(), JournalError> {
        for file in files {
            self.disk.remove(&file.path).map_err(|error| JournalError::io("remove", &file.path, error))?;
            if let Some(day) = file.path.parent() {
                // Fails while other segments have rows of that day.
                let _ = self.disk.remove_dir(day);
            }
        }
        Ok(())
    }
}

/// One Parquet file to be.
pub(super) struct Table {
    day: Option<i64>,
    name: String,
    rows: RecordBatch,
    about: About,
}

/// The files of a segment: a table for each day of event time, sorted by source and event time.
pub(super) fn tables(
    batches: &[RecordBatch],
    first: u64,
    merged_end: Option<u64>,
    about: About,
) -> Result<Vec<Table>, JournalError> {
    let mut tables = Vec::new();
    for (part, group) in groups(batches, limits::SEAL_BYTES).enumerate() {
        let (days, rows) = sorted(group)?;
        for (day, rows) in split(&days, &rows) {
            tables.push(Table { day, name: layout::parquet_name(first, merged_end, part), rows, about });
        }
    }
    Ok(tables)
}

/// Batches in runs of at most `bytes`, each of at least one.
fn groups(batches: &[RecordBatch], bytes: usize) -> impl Iterator<Item = &[RecordBatch]> {
    let mut rest = batches;
    std::iter::from_fn(move || {
        let mut sum = 0;
        let fits = rest.iter().take_while(|batch| {
            sum += size(batch);
            sum <= bytes
        });
        let (group, after) = rest.split_at(fits.count().max(1).min(rest.len()));
        rest = after;
        (!group.is_empty()).then_some(group)
    })
}

/// The bytes of its own rows: its buffers may be those of the whole file.
fn size(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or_default()).sum()
}

fn last_recv(batches: &[RecordBatch]) -> Time {
    let times = batches.iter().filter_map(|batch| batch.column_by_name("recv_time"));
    let latest = times.filter_map(|times| times.as_primitive::<TimestampMillisecondType>().values().iter().max());
    Time::from_millis(latest.copied().max().unwrap_or_default())
}

/// Rows by day, source, event time and position; and the day of each.
fn sorted(batches: &[RecordBatch]) -> Result<(Int32Array, RecordBatch), ArrowError> {
    let rows = concat_batches(&columns::schema(), batches)?;
    let columns = Columns::of(&rows).map_err(ArrowError::SchemaError)?;
    let times = columns.event_time.values().iter().zip(columns.recv_time.values());
    let days: ArrayRef = Arc::new(times.map(|(event, recv)| partition(*event, *recv)).collect::<Int32Array>());
    let by = |values: ArrayRef| SortColumn { values, options: None };
    let named = |name| rows.column_by_name(name).map(Arc::clone).map(by);
    let order: Vec<SortColumn> =
        [Some(by(Arc::clone(&days))), named("source_id"), named("event_time"), named("position")]
            .into_iter()
            .flatten()
            .collect();
    let indices = lexsort_to_indices(&order, None)?;
    let days = take(&days, &indices, None)?;
    Ok((days.as_primitive::<Int32Type>().clone(), take_record_batch(&rows, &indices)?))
}

/// The day of the event, when it lies not too far from its arrival.
fn partition(event_ms: i64, recv_ms: i64) -> i32 {
    let (event, recv) = (event_ms.div_euclid(DAY_MS), recv_ms.div_euclid(DAY_MS));
    let near = recv - limits::HISTORY_DAYS_BACK..=(recv + 1).min(LAST_DAY);
    i32::try_from(event).ok().filter(|_| near.contains(&event)).unwrap_or(OLDER)
}

fn split(days: &Int32Array, rows: &RecordBatch) -> Vec<(Option<i64>, RecordBatch)> {
    let runs = days.values().chunk_by(|a, b| a == b);
    let mut start = 0;
    runs.map(|run| {
        let slice = rows.slice(start, run.len());
        start += run.len();
        (run.first().filter(|day| **day != OLDER).map(|day| i64::from(*day)), slice)
    })
    .collect()
}

/// The thread that seals, and what it is told.
pub(super) struct Seals {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    sealer: Sealer,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// Segments that begin before this are closed.
    closed_below: u64,
    /// Something was closed since the thread last looked.
    is_due: bool,
    is_over: bool,
    progress: Progress,
}

impl Seals {
    /// With a thread, or (in tests) only when told to by `run_now`.
    pub fn start(sealer: Sealer, background: bool) -> Self {
        let shared = Arc::new(Shared { sealer, state: Mutex::default(), changed: Condvar::new() });
        let thread = background.then(|| {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("seal".into()).spawn(move || shared.work())
        });
        let thread = thread.and_then(|thread| match thread {
            Ok(thread) => Some(thread),
            Err(error) => {
                tracing::warn!(%error, "no thread to seal journal segments: they are sealed at close");
                None
            }
        });
        Self { shared, thread }
    }

    /// Says which segments are closed.
    pub fn closed_below(&self, position: u64) {
        let mut state = self.shared.lock();
        state.closed_below = position;
        state.is_due = true;
        self.shared.changed.notify_all();
    }

    pub fn progress(&self) -> Progress {
        self.shared.lock().progress
    }

    /// Seals what is closed, and ends. What is to be merged waits for the next start.
    pub fn finish(mut self) {
        self.end();
        self.run_if_due(false);
    }

    /// Seals what is closed, on this thread.
    #[cfg(test)]
    pub fn run_now(&self) {
        self.run_if_due(true);
    }

    fn run_if_due(&self, may_merge: bool) {
        let state = self.shared.take();
        if state.is_due {
            self.shared.run(state.closed_below, may_merge);
        }
    }

    fn end(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by its own hook; what it did not seal is sealed after the next start.
            let _ = thread.join();
        }
    }
}

impl Drop for Seals {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is a few numbers: whole at any time.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state; what was due is taken.
    fn take(&self) -> State {
        let mut state = self.lock();
        let taken = *state;
        state.is_due = false;
        taken
    }

    fn run(&self, below: u64, may_merge: bool) {
        let done = self.sealer.run(below, may_merge);
        let progress = &mut self.lock().progress;
        progress.sealed += done.sealed;
        progress.retired += done.retired;
        progress.merged += done.merged;
        progress.failed += done.failed;
    }

    fn work(&self) {
        loop {
            let mut state = self.lock();
            while !state.is_due && !state.is_over {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.is_over {
                return;
            }
            state.is_due = false;
            let below = state.closed_below;
            drop(state);
            self.run(below, true);
        }
    }
}
