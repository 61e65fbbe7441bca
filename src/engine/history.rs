//! The way to history: what comes later than memory reaches is judged, too.
//!
//! ```text
//! late report, older than all that memory has of its vehicle ──▶ it waits, and the vehicle asks
//! snapshot before it ──▶ journal since, of this vehicle alone, without what waits ──▶ the vehicle's past
//! that past is put before what memory has, and what waited is judged like anything that is late
//! ```
//!
//! Other vehicles are judged meanwhile, and so is what else comes of this one. What was told in the part that comes from history
//! is what the book of alerts says, once all is committed that had been told when the vehicle asked; so a crash in between
//! changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Archive, Chronicle, EngineError, Judge, LateSettings, Reference, Seen, Snapshots, changed_by,
    judge::{Released, SavedVehicle},
    shards::{Subject, subject},
    snapshot::{Name, SnapshotError},
};
use crate::{
    journal::{Catalogue, Journal, JournalError},
    model::{Alert, Body, Record, Text, Time, limits},
    store::{AlertFilter, InForce, StoreError},
};

/// A vehicle that asks for its history.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    pub vehicle_id: Text,
    /// Event time of the last input before all that memory has of it.
    pub since: Option<Time>,
    /// Event time of the oldest report that waits; `None`: memory reaches it, and what was told is all that is asked.
    pub oldest: Option<Time>,
    /// The journal positions of those that wait.
    pub waiting: Vec<u64>,
}

/// What history knows of a vehicle that asked.
#[derive(Debug)]
pub struct Older {
    pub vehicle_id: Text,
    pub(super) past: Option<Released>,
    /// Nothing that is kept reaches back far enough.
    pub(super) is_beyond: bool,
    /// Its alerts as they were told.
    pub(super) told: Vec<Alert>,
}

/// Why history could not be read. Each reads well after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Where history lies.
pub struct History {
    snapshots: Snapshots,
    archive: Archive,
}

/// One vehicle's way: from where its journal is read, and up to where.
struct Way {
    ask: Ask,
    until: u64,
    /// Event time of the oldest that comes after its beginning, as far as is known.
    oldest: Option<Time>,
    has_begun: bool,
    is_early: bool,
    /// Snapshots from this position on are of no use to it.
    before: u64,
    from: u64,
    saved: Option<SavedVehicle<'static>>,
    /// The latest that is known there.
    since: Option<Time>,
    listening_since: Option<Time>,
}

/// Records that are judged together.
const BATCH: usize = 8_192;

impl History {
    pub fn of(snapshots: Snapshots, archive: Archive) -> Self {
        Self { snapshots, archive }
    }

    /// Up to which journal position the book of alerts knows all.
    ///
    /// # Errors
    /// When the book can't be read.
    pub fn committed(&self) -> Result<u64, HistoryError> {
        Ok(self.archive.store.position()?.unwrap_or(0))
    }

    /// The history of those that ask, each up to a journal position.
    ///
    /// # Errors
    /// When snapshots, journal or book can't be read.
    pub fn find(&self, reference: &Reference, asks: Vec<(Ask, u64)>) -> Result<Vec<Older>, HistoryError> {
        let mut found: Vec<Older> = Vec::new();
        let mut open: Vec<Way> = asks.into_iter().map(|(ask, until)| Way::of(ask, until)).collect();
        while !open.is_empty() {
            let (ways, beyond) = self.begin(open)?;
            for way in beyond {
                found.push(self.older(way, None)?);
            }
            open = self.go(reference, ways, &mut found)?;
        }
        Ok(found)
    }

    /// Finds for each the newest snapshot before what waits, or the beginning of the journal if that is still there. Those for
    /// which there is neither come second, with those that ask for nothing older.
    fn begin(&self, ways: Vec<Way>) -> Result<(Vec<Way>, Vec<Way>), HistoryError> {
        let (mut open, mut none): (Vec<Way>, Vec<Way>) = ways.into_iter().partition(|way| way.ask.oldest.is_some());
        let mut begun = Vec::new();
        for name in self.snapshots.names()?.into_iter().rev() {
            let (mut able, rest): (Vec<Way>, Vec<Way>) = open.into_iter().partition(|way| name.position < way.before);
            open = rest;
            if able.is_empty() {
                continue;
            }
            if let Err(error) = self.try_from(name, &mut able) {
                tracing::warn!("a snapshot is passed over: failed to {error}");
            }
            let (begins, on): (Vec<Way>, Vec<Way>) = able.into_iter().partition(|way| way.has_begun);
            begun.extend(begins);
            open.extend(on);
            if open.is_empty() {
                break;
            }
        }
        let is_whole = Catalogue::of(&self.archive.journal)?.first_position() == Some(0);
        for mut way in open {
            if way.before == 0 || !is_whole {
                none.push(way);
            } else {
                way.before = 0;
                way.begin_at(0, None, None);
                begun.push(way);
            }
        }
        Ok((begun, none))
    }

    /// Lets those begin from a snapshot for which it is early enough.
    fn try_from(&self, name: Name, ways: &mut [Way]) -> Result<(), SnapshotError> {
        ways.iter_mut().for_each(|way| way.before = name.position);
        let snapshot = self.snapshots.open(name)?;
        let listening_since = snapshot.part(super::shards::LISTENING_SINCE)?.flatten();
        let ids: BTreeSet<&str> = ways.iter().map(|way| &*way.ask.vehicle_id).collect();
        let near: Vec<SavedVehicle<'static>> = snapshot.vehicles_near(&ids)?;
        let mut known: BTreeMap<Text, SavedVehicle<'static>> =
            near.into_iter().map(|vehicle| (vehicle.id.clone(), vehicle)).collect();
        for way in ways {
            match known.remove(&way.ask.vehicle_id) {
                // It is older than the vehicle: there is nothing to go on from.
                None => way.begin_at(name.position, None, listening_since),
                Some(saved) if saved.leads_to(&way.ask, way.oldest) => {
                    way.begin_at(name.position, Some(saved), listening_since);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Judges the journal again for these vehicles, each from its beginning to its end, by what is registered now and by the rules of
    /// then. Those that must begin earlier come back.
    fn go(&self, reference: &Reference, ways: Vec<Way>, found: &mut Vec<Older>) -> Result<Vec<Way>, HistoryError> {
        let Some(from) = ways.iter().map(|way| way.from).min() else { return Ok(ways) };
        let end = ways.iter().map(|way| way.until).max().unwrap_or(from);
        let mut steps: BTreeSet<u64> = ways.iter().flat_map(|way| [way.from, way.until]).collect();
        let chronicle = self.archive.chronicle(Some(reference))?;
        let mut changes = chronicle.after(from).iter().peekable();
        let vehicle_ids = ways.iter().map(|way| &*way.ask.vehicle_id).collect();
        let records = Journal::read(&self.archive.journal, from)?.of_devices(self.archive.devices_of(&vehicle_ids)?);
        let mut rerun = Rerun::of(by_rules_of(&chronicle, chronicle.at(from), reference), ways);
        for entry in records {
            let (position, record) = match entry {
                Ok(entry) => entry,
                Err(error @ (JournalError::Lost { .. } | JournalError::Damaged { .. })) => {
                    tracing::warn!("late data is judged without what is lost: failed to {error}");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let change = changed_by(&mut changes, position);
            if change.is_some_and(|change| *change.rules != *rerun.judge.rules().digest()) {
                rerun.judge()?;
                rerun.judge.replace(by_rules_of(&chronicle, change, reference));
            }
            if steps.first().is_some_and(|step| *step <= position) {
                steps = steps.split_off(&(position + 1));
                rerun.pass(position)?;
            }
            if position >= end {
                break;
            }
            rerun.take(position, record)?;
        }
        rerun.pass(u64::MAX)?;
        let (early, done) = rerun.finish();
        for (way, past) in done {
            found.push(self.older(way, Some(past))?);
        }
        Ok(early)
    }

    fn older(&self, way: Way, past: Option<Released>) -> Result<Older, HistoryError> {
        let told = self.told(&way, past.is_some())?;
        let is_beyond = past.is_none() && way.ask.oldest.is_some();
        Ok(Older { vehicle_id: way.ask.vehicle_id, past, is_beyond, told })
    }

    /// The vehicle's alerts since the way begins, or since memory does, as the book has them.
    fn told(&self, way: &Way, is_found: bool) -> Result<Vec<Alert>, HistoryError> {
        let vehicles = vec![way.ask.vehicle_id.to_string()];
        // What stood open then fired before; nothing stands open for longer than late data reaches.
        let since = if is_found { way.since } else { way.ask.since };
        let since = since.map(|since| since.plus_ms(-OPEN_MS));
        let filter = AlertFilter { vehicles, since, ..AlertFilter::default() };
        let (mut told, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.archive.store.alerts(&filter, limits::PAGE_ROWS, cursor.as_deref())?;
            told.extend(page.rows);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(told);
            }
        }
    }
}

/// What judges now, but by the rules of then, as far as they can be read.
fn by_rules_of(chronicle: &Chronicle<'_>, then: Option<&InForce>, now: &Reference) -> Reference {
    let rules = match then.map(|then| chronicle.rules(then)) {
        Some(Ok(rules)) => rules,
        None => Arc::clone(&now.rules),
        Some(Err(error)) => {
            tracing::warn!("late data is judged by the rules of today: failed to {error}");
            Arc::clone(&now.rules)
        }
    };
    let late = LateSettings { memory_mib: u64::MAX, has_history: false, ..now.late };
    Reference { rules, late, ..now.clone() }
}

/// How long an alert is thought to stand.
const OPEN_MS: i64 = 30 * 86_400_000;

impl Way {
    fn of(ask: Ask, until: u64) -> Self {
        Self {
            oldest: ask.oldest,
            has_begun: false,
            is_early: false,
            ask,
            until,
            before: until,
            from: 0,
            saved: None,
            since: None,
            listening_since: None,
        }
    }

    fn begin_at(&mut self, from: u64, saved: Option<SavedVehicle<'static>>, listening_since: Option<Time>) {
        self.since = saved.as_ref().and_then(SavedVehicle::newest);
        (self.from, self.saved, self.listening_since) = (from, saved, listening_since);
        (self.has_begun, self.is_early) = (true, false);
    }
}

/// A judge of its own, for a few vehicles.
struct Rerun {
    judge: Judge,
    fold: crate::facts::Fold,
    /// By vehicle.
    ways: BTreeMap<Text, Way>,
    under_way: BTreeSet<Text>,
    done: Vec<(Way, Released)>,
    early: Vec<Way>,
    batch: Vec<Record>,
    mine: Vec<(u32, Text)>,
}

impl Rerun {
    fn of(reference: Reference, ways: Vec<Way>) -> Self {
        Self {
            fold: reference.fold(),
            judge: Judge::new(reference),
            ways: ways.into_iter().map(|way| (way.ask.vehicle_id.clone(), way)).collect(),
            under_way: BTreeSet::new(),
            done: Vec::new(),
            early: Vec::new(),
            batch: Vec::new(),
            mine: Vec::new(),
        }
    }

    /// Comes to a position where a way begins or ends.
    fn pass(&mut self, position: u64) -> Result<(), HistoryError> {
        self.judge()?;
        let ended: Vec<Text> =
            self.ways.values().filter(|way| way.until <= position).map(|way| way.ask.vehicle_id.clone()).collect();
        for id in ended {
            let past = self.judge.release(&id);
            self.under_way.remove(&id);
            match self.ways.remove(&id) {
                Some(way) if way.is_early => self.early.push(way),
                way => self.done.extend(way.map(|way| (way, past))),
            }
        }
        for way in self.ways.values_mut().filter(|way| way.from <= position) {
            if self.under_way.insert(way.ask.vehicle_id.clone()) {
                let since = self.judge.listening_since().max(way.listening_since);
                // What waited then has its own records.
                let saved = way.saved.take().map(SavedVehicle::with_nothing_waiting);
                self.judge.restore(saved.into_iter().collect(), since);
                self.judge.listen_to(&way.ask.vehicle_id);
            }
        }
        Ok(())
    }

    fn take(&mut self, position: u64, record: Record) -> Result<(), HistoryError> {
        if matches!(record.body, Body::JudgeAgain(_)) {
            // All is judged by what is registered now.
            return Ok(());
        }
        let whose = match subject(&self.fold, &record) {
            Subject::Vehicle(id) => {
                let waits = self.ways.get(&id).is_none_or(|way| way.ask.waiting.contains(&position));
                if waits || !self.under_way.contains(&id) {
                    return Ok(());
                }
                id
            }
            Subject::All => Text::from(""),
            Subject::None => return Ok(()),
        };
        self.mine.push((self.batch.len() as u32, whose));
        self.batch.push(record);
        if self.batch.len() >= BATCH { self.judge() } else { Ok(()) }
    }

    fn judge(&mut self) -> Result<(), HistoryError> {
        let mut seen = Seen::default();
        self.judge.judge(&self.batch, &self.mine, &mut seen)?;
        for record in seen.beyond {
            // What it began from knew later data already: it must begin earlier.
            let Some((_, id)) = self.mine.get(record as usize) else { continue };
            if let Some(way) = self.ways.get_mut(id) {
                (way.is_early, way.has_begun) = (true, false);
                way.oldest = way.oldest.min(Some(self.batch[record as usize].event_time));
            }
        }
        self.batch.clear();
        self.mine.clear();
        Ok(())
    }

    fn finish(self) -> (Vec<Way>, Vec<(Way, Released)>) {
        (self.early, self.done)
    }
}
