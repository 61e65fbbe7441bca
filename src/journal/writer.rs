//! Opening, appending, closing.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value as Json};

use super::{
    JournalError, JournalSettings, Records, columns,
    disk::{Disk, FileSystem},
    frame::Encoder,
    inventory, layout,
    recover::{self, Recovered},
    seal::{Progress, Sealer, Seals},
    segment::Segment,
};
use crate::model::{Body, Record, limits};

/// The journal, open for writing. One process at a time.
pub struct Journal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    settings: JournalSettings,
    encoder: Encoder,
    /// `None` after a failure: the next append begins a new one.
    segment: Option<Segment>,
    next: u64,
    seals: Seals,
    _lock: Box<dyn Send>,
}

impl Journal {
    /// Opens the journal in `dir`, or begins one there; what the last process left is made whole first. Closed segments
    /// are sealed in the background.
    ///
    /// # Errors
    /// Bad settings, another process that has it open, or a disk that can't be read or written.
    pub fn open(dir: &Path, settings: JournalSettings) -> Result<(Self, Recovered), JournalError> {
        Self::open_on(Arc::new(FileSystem), dir, settings, true)
    }

    pub(super) fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        settings: JournalSettings,
        background: bool,
    ) -> Result<(Self, Recovered), JournalError> {
        settings.check()?;
        disk.create_dir(&layout::history_dir(dir)).map_err(|error| JournalError::io("create", dir, error))?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            disk.sync_dir(parent).map_err(|error| JournalError::io("sync", parent, error))?;
        }
        let lock = disk.lock(dir).map_err(|error| JournalError::io("lock", dir, error))?;
        let (recovered, inventory) = recover::recover(&disk, dir)?;
        let inventory = inventory::Writer::begin(&*disk, dir, &inventory)?;
        let mut encoder = Encoder::new()?;
        let next = recovered.next_position;
        // A segment is written by one process only: what an earlier one left is sealed, which writes and syncs it anew.
        // Its day is that of its first record, when that comes.
        let segment = Segment::create(&*disk, dir, next, 0, &mut encoder)?;
        let sealer = Sealer::new(Arc::clone(&disk), dir, &settings, inventory);
        let seals = Seals::start(sealer, background);
        seals.closed_below(next);
        let journal =
            Self { disk, dir: dir.into(), settings, encoder, segment: Some(segment), next, seals, _lock: lock };
        Ok((journal, recovered))
    }

    /// Keeps `records`, in order: when this returns their positions, they are durable.
    ///
    /// # Errors
    /// [`JournalError::Full`] or [`JournalError::Io`]; nothing of `records` counts as kept then, and the same append may be
    /// tried again. (After a crash some of them may be found kept all the same: whoever sent them was not told.)
    pub fn append(&mut self, records: &[Record]) -> Result<Range<u64>, JournalError> {
        let Some(first_record) = records.first() else { return Ok(self.next..self.next) };
        let arrival_day = layout::day_of(first_record.recv_time);
        self.roll_if_due(arrival_day)?;
        let first = self.next;
        let result = self.write(records, arrival_day);
        if let Err(error) = result {
            self.give_up_tail(&error);
            return Err(error);
        }
        self.next += records.len() as u64;
        Ok(first..self.next)
    }

    fn write(&mut self, records: &[Record], arrival_day: i64) -> Result<(), JournalError> {
        let segment = match &mut self.segment {
            Some(segment) => segment,
            None => {
                let new = Segment::create(&*self.disk, &self.dir, self.next, arrival_day, &mut self.encoder)?;
                self.seals.closed_below(self.next);
                self.segment.insert(new)
            }
        };
        let mut first = self.next;
        for chunk in chunks(records, limits::FRAME_BYTES) {
            let batch = columns::to_batch(chunk, first)?;
            segment.append(&batch, &mut self.encoder)?;
            first += chunk.len() as u64;
        }
        segment.sync()
    }

    /// After a failed write, what is in the file past the last sync is taken back, and the segment goes on. After a failed
    /// *sync* it is given up as well: the kernel may have dropped the pages and will say `ok` to the next sync of the same
    /// file, so nothing written to it from then on could be trusted. What was synced before stays good; the name of the
    /// next segment says where it ends.
    fn give_up_tail(&mut self, error: &JournalError) {
        let Some(mut segment) = self.segment.take() else { return };
        let is_cut = segment.cut_back().is_ok();
        if is_cut && !segment.is_doubtful {
            self.segment = Some(segment);
        }
        tracing::warn!(%error, "the journal could not keep a batch");
    }

    /// Closes the segment when it is large enough or another day has begun.
    fn roll_if_due(&mut self, arrival_day: i64) -> Result<(), JournalError> {
        let Some(segment) = &self.segment else { return Ok(()) };
        let is_due = segment.synced >= self.settings.segment_bytes || segment.arrival_day != arrival_day;
        if !is_due {
            return Ok(());
        }
        if segment.first == self.next {
            // Still empty: its name stays right, its day is the first record's.
            self.segment.iter_mut().for_each(|segment| segment.arrival_day = arrival_day);
            return Ok(());
        }
        self.roll(arrival_day)
    }

    /// Begins a new segment; the old one goes to be sealed. When that fails the old one stays.
    fn roll(&mut self, arrival_day: i64) -> Result<(), JournalError> {
        let new = Segment::create(&*self.disk, &self.dir, self.next, arrival_day, &mut self.encoder)?;
        self.segment = Some(new);
        self.seals.closed_below(self.next);
        Ok(())
    }

    /// The position that the next record gets.
    pub fn next_position(&self) -> u64 {
        self.next
    }

    /// What sealing has done since the journal was opened.
    pub fn progress(&self) -> Progress {
        self.seals.progress()
    }

    /// Seals everything, and waits for it.
    ///
    /// # Errors
    /// When the last segment can't be closed. Nothing is lost then: it is sealed after the next start.
    pub fn close(mut self) -> Result<(), JournalError> {
        if self.segment.as_ref().is_some_and(|segment| segment.first < self.next) {
            let arrival_day = self.segment.as_ref().map_or(0, |segment| segment.arrival_day);
            self.roll(arrival_day)?;
        }
        self.seals.finish();
        Ok(())
    }

    /// Every record from position `from` on, in order of arrival, over sealed and open segments.
    ///
    /// # Errors
    /// When the directory can't be listed. What can't be read later on comes as an item of the iterator, which goes on with
    /// what is good.
    pub fn read(dir: &Path, from: u64) -> Result<Records, JournalError> {
        Records::on(Arc::new(FileSystem), dir, from)
    }

    #[cfg(test)]
    pub(super) fn seal_now(&self) {
        self.seals.run_now();
    }
}

/// `records` in runs of at most `bytes` of text and payloads, each of at least one record.
fn chunks(records: &[Record], bytes: usize) -> impl Iterator<Item = &[Record]> {
    let mut rest = records;
    std::iter::from_fn(move || {
        let mut sum = 0;
        let fits = rest.iter().take_while(|record| {
            sum += weight(&record.body);
            sum <= bytes
        });
        let (chunk, after) = rest.split_at(fits.count().max(1).min(rest.len()));
        rest = after;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// About how many bytes of text and payload a record needs. Only what a sender can make large is looked at.
fn weight(body: &Body) -> usize {
    match body {
        Body::DeadLetter(letter) => letter.payload.len() + letter.problem.len(),
        Body::Device(report) => {
            let events = report.events.iter().filter_map(|event| event.media.as_ref());
            members(&report.ext) + events.map(size).sum::<usize>()
        }
        Body::Sighting(sighting) => members(&sighting.ext),
        Body::Reply(reply) => reply.media.as_ref().map_or(0, size) + reply.note.as_ref().map_or(0, String::len),
        Body::Unit(_) | Body::Tick | Body::Start | Body::JudgeAgain(_) => 0,
    }
}

fn members(map: &Map<String, Json>) -> usize {
    map.iter().map(|(name, value)| name.len() + size(value)).sum()
}

/// About how long a value's JSON text is.
fn size(value: &Json) -> usize {
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => 8,
        Json::String(text) => text.len() + 8,
        Json::Array(values) => 8 + values.iter().map(size).sum::<usize>(),
        Json::Object(map) => 8 + members(map),
    }
}
