//! One shard: the state of its vehicles, and the only place where facts, rules and alerts meet.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use super::{
    EngineError,
    clock::is_looked_at,
    history::{Ask, Older},
    late::{LateSettings, Lateness, Retold, Span, WAITED, waited_at},
    past::{Kept, Mark, PREPENDED_CUT, Past, Told, lag_ms},
    shards::{is_life_only, shard_of},
    snapshot::{Part, SnapshotError, VehiclesPart},
};
use crate::{
    alerts::{Judgement, RuleTerms, VehicleAlerts},
    facts::{DevicePart, Fold, Input, Settings},
    model::{
        Alert, Body, DeviceReport, Facts, Fixed, Outcome, Reason, Record, Severity, Text, Time, Transition, Verdict,
        limits::{self, RECENT_ALERTS},
    },
    registry::Registry,
    rules::{Risk, RiskSheet, Rule, RuleSet, Verdicts, ZoneVerdict},
};

/// What reports are judged against: replaced as a whole when rules or registry change.
#[derive(Clone)]
pub struct Reference {
    pub registry: Arc<Registry>,
    pub rules: Arc<RuleSet>,
    pub facts: Settings,
    /// Milliseconds between two looks at silence.
    pub tick_ms: i64,
    pub late: LateSettings,
}

impl Reference {
    /// The fold over this reference data, computing what the rules read.
    pub fn fold(&self) -> Fold {
        Fold::new(Arc::clone(&self.registry), self.rules.columns(), self.facts.clone())
    }
}

/// What was found, and where in its batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Index of the record in the batch.
    pub record: u32,
    /// Which of the vehicle's rows that are told at that record: what came late has some follow one another there.
    pub step: u32,
    /// Place of the rule in the order of judging.
    pub turn: u32,
    pub what: Found,
}

/// What a rule found at a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// An alert of this vehicle changed.
    Change(Box<Transition>),
    /// A row that the rule counts over vehicles, how grave it is, and whether only late data showed it.
    Hit { row: Box<Facts>, severity: Option<Severity>, is_late: bool },
    /// Late data showed that there was no such row.
    Unhit(Box<Facts>),
}

impl Finding {
    /// The vehicle that it was found of.
    pub fn vehicle_id(&self) -> &str {
        match &self.what {
            Found::Change(transition) => &transition.alert().vehicle_id,
            Found::Hit { row, .. } | Found::Unhit(row) => row.vehicle_id.as_deref().unwrap_or_default(),
        }
    }
}

/// Where a vehicle was last seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastPosition {
    pub vehicle_id: Text,
    pub plate: Text,
    pub at: Time,
    pub lat: f64,
    pub lon: f64,
    pub speed_kmh: Option<f64>,
    pub heading_deg: Option<f64>,
}

/// A vehicle between two batches, but for what it sent lately.
#[derive(Serialize, Deserialize)]
pub struct SavedVehicle<'v> {
    pub id: Text,
    now: Cow<'v, Mark>,
    last_arrival: Time,
    #[serde(default)]
    retold: Cow<'v, Retold>,
    #[serde(default)]
    waiting: Cow<'v, [(u64, Kept)]>,
    #[serde(default)]
    untold: Option<Time>,
}

impl SavedVehicle<'_> {
    /// The same, with nothing that waits for history.
    pub fn with_nothing_waiting(self) -> Self {
        Self { waiting: Cow::Owned(Vec::new()), ..self }
    }

    /// Whether what is asked for follows from it and from what came after it: it knows nothing as new as `oldest`, and what
    /// waited then waits still.
    pub fn leads_to(&self, ask: &Ask, oldest: Option<Time>) -> bool {
        self.newest() < oldest && self.waiting.iter().all(|(position, _)| ask.waiting.contains(position))
    }

    /// Event time of its latest report or sighting.
    pub fn newest(&self) -> Option<Time> {
        self.now.newest
    }
}

/// One row, judged: for those who watch.
pub struct Look<'a> {
    pub vehicle_id: &'a Text,
    pub row: &'a Facts,
    pub verdicts: &'a Verdicts,
    /// The row's place in the verdicts.
    pub index: usize,
    /// The vehicle's alerts after the row.
    pub alerts: &'a VehicleAlerts,
    /// What the row changed.
    pub findings: &'a [Finding],
}

/// Is shown each row.
pub type Watch<'w> = &'w mut dyn FnMut(&Look<'_>);

/// How risky a vehicle was at its last assessment.
#[derive(Clone, Debug)]
pub struct Assessed {
    pub vehicle_id: Text,
    /// Event time.
    pub at: Time,
    pub risk: Risk,
    /// Whose reasons `risk` counts.
    pub sheet: Arc<RiskSheet>,
}

/// What was seen on the way, for those who watch: nothing is decided by it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub positions: Vec<LastPosition>,
    pub risks: Vec<Assessed>,
    /// Records whose content was known already, which admission could not tell.
    pub repeated: Vec<u32>,
    /// Records older than all that is kept of their vehicle: not judged.
    pub beyond: Vec<u32>,
    /// Vehicles whose late data is older than all that memory has of them: it waits for their history.
    pub asks: Vec<Ask>,
    /// Journal positions of what waits.
    pub waiting: Vec<u64>,
    /// What became, in the end, of records that waited, or may have waited before a start: by journal position.
    pub amended: Vec<(u64, Outcome, Reason)>,
    /// Answers that are unknown because their arithmetic failed.
    pub faults: u64,
}

/// Facts, rules and alerts over the vehicles of one shard. Deterministic: the same records give the same findings.
pub struct Judge {
    reference: Reference,
    /// Which of `epochs` is in force.
    epoch: u32,
    /// The rules by which legs of the past were judged, and those in force.
    epochs: BTreeMap<u32, Arc<Ruled>>,
    /// By which is being judged: those in force, but for the past.
    ruled: Arc<Ruled>,
    vehicles: Vec<Vehicle>,
    /// Places in `vehicles`.
    by_id: FxHashMap<Text, u32>,
    /// Silence before this is our own.
    listening_since: Option<Time>,
    rows: Vec<Facts>,
    origins: Vec<Origin>,
    /// What came late in this batch, by vehicle, with what came after it.
    late: BTreeMap<u32, Lateness>,
    /// The journal position of the batch's first record.
    position: u64,
    /// Whether what is found is told; else it was found before, and is only found again.
    is_told: bool,
    /// Vehicles whose history is to be asked for.
    asking: Vec<u32>,
    amended: Vec<(u64, Outcome, Reason)>,
    owns: Owns,
}

/// Of which vehicles a judge listens for the silence, though nothing ever came of them.
#[derive(Clone, Debug, Default)]
pub enum Owns {
    #[default]
    None,
    All,
    One(Text),
    /// Those of one shard of so many.
    Shard(usize, usize),
}

impl Owns {
    fn has(&self, vehicle_id: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::One(id) => **id == *vehicle_id,
            Self::Shard(number, of) => shard_of(vehicle_id, *of) == *number,
        }
    }
}

/// A vehicle's past without the judge that judged it.
#[derive(Debug, Default)]
pub(super) struct Released {
    pub past: Past,
    /// By epoch, by which its legs were judged.
    pub rules: BTreeMap<u32, Arc<RuleSet>>,
}

/// Rules, and the fold that fills their columns.
struct Ruled {
    rules: Arc<RuleSet>,
    fold: Fold,
    /// Whether they ask how many alerts a vehicle had lately.
    asks_recent: bool,
}

/// What is kept of one vehicle.
struct Vehicle {
    id: Text,
    /// Its fold as it stands: the mark before its next input.
    now: Mark,
    last_arrival: Time,
    /// When its risk was last assessed.
    assessed_at: Time,
    past: Past,
    /// The first leg whose mark lacks its alerts: rows before it are not judged yet.
    unmarked: usize,
    /// Rows that are not judged yet.
    pending: u32,
    /// Alerts that only late data showed.
    retold: Retold,
    /// Late data that is older than what is kept, by journal position: it waits for the vehicle's history.
    waiting: Vec<(u64, Kept)>,
    /// How often its history is asked for, and has not come.
    asked: u32,
    /// What late data changed after the last snapshot was found again, and may not have been told: the book says what was. The
    /// event time after which that is so.
    untold: Option<Time>,
    /// Its alerts as they were told, where the past comes from history.
    stored: Option<Vec<Alert>>,
}

/// Where a row of facts came from.
#[derive(Clone, Copy)]
struct Origin {
    record: u32,
    /// As [`Finding::step`].
    step: u32,
    /// Place in [`Judge::vehicles`].
    vehicle: u32,
    /// Leg of the vehicle's past.
    leg: u32,
    /// Of a device beside the one that is followed: what it does not show is shown by that one's reports.
    is_aside: bool,
}

/// What came late of a vehicle, put where it belongs.
struct Merging {
    place: u32,
    span: Span,
    /// The first record that came late.
    record: u32,
    /// The first leg that changed.
    from: Option<usize>,
    /// What came after what was late, with the records that it came by.
    newer: Vec<(u32, Kept)>,
}

/// What was told of a vehicle before it was judged again.
struct AsTold {
    from: usize,
    /// Its alerts before that leg.
    known: VehicleAlerts,
    told: Vec<Told>,
}

/// Before all that can be.
const NEVER: Time = Time::from_millis(i64::MIN);

/// What becomes of what waited.
const DUPLICATE: (Outcome, Reason) = (Outcome::Duplicate, Reason::Duplicate);
const OUT_OF_ORDER: (Outcome, Reason) = (Outcome::Evaluated, Reason::OutOfOrder);

/// How far back alerts are recent.
const RECENT_MS: i64 = 30 * 86_400_000;
/// How long an assessment is good enough to show.
const ASSESS_EVERY_MS: i64 = 600_000;
/// Rows that are judged together: large enough that predicates are cheap, small enough to stay in the cache.
const ROWS: usize = 1_024;
/// Vehicles of a part of a snapshot: one of them is read in a moment, and they pack well.
const VEHICLES_PER_PART: usize = 64;

impl Judge {
    /// A judge that knows no vehicle yet.
    pub fn new(reference: Reference) -> Self {
        let ruled = Arc::new(Ruled::by(Arc::clone(&reference.rules), &reference));
        Self {
            reference,
            epoch: 0,
            epochs: BTreeMap::from([(0, Arc::clone(&ruled))]),
            ruled,
            vehicles: Vec::new(),
            by_id: FxHashMap::default(),
            listening_since: None,
            rows: Vec::new(),
            origins: Vec::new(),
            late: BTreeMap::new(),
            position: 0,
            is_told: true,
            asking: Vec::new(),
            amended: Vec::new(),
            owns: Owns::None,
        }
    }

    /// Listens for these vehicles from the start.
    pub fn owning(self, owns: Owns) -> Self {
        Self { owns, ..self }
    }

    /// Judges by other rules or another registry from now on. The state of vehicles and of alerts stays.
    pub fn replace(&mut self, reference: Reference) {
        let rules = &reference.rules;
        if !Arc::ptr_eq(rules, &self.reference.rules) {
            self.vehicles.iter_mut().for_each(|vehicle| vehicle.keep_ruled(rules));
            self.epoch = self.next_epoch();
        }
        // What is registered is valid from and to: the newest registry knows what held in the past. Rules do not.
        let used: BTreeSet<u32> =
            self.vehicles.iter().flat_map(|vehicle| &vehicle.past.legs).map(|leg| leg.epoch).collect();
        self.epochs.retain(|epoch, _| used.contains(epoch));
        self.reference = reference;
        let reference = &self.reference;
        for ruled in self.epochs.values_mut() {
            *ruled = Arc::new(Ruled::by(Arc::clone(&ruled.rules), reference));
        }
        self.ruled = Arc::new(Ruled::by(Arc::clone(&reference.rules), reference));
        self.epochs.insert(self.epoch, Arc::clone(&self.ruled));
    }

    /// By which it judges.
    pub fn rules(&self) -> &RuleSet {
        &self.reference.rules
    }

    /// How many vehicles it knows.
    pub fn vehicles(&self) -> usize {
        self.vehicles.len()
    }

    /// All its vehicles, encoded; between two batches.
    ///
    /// # Errors
    /// When a state has no encoded form: a fault of ours.
    pub fn save(&self) -> Result<Vec<VehiclesPart>, SnapshotError> {
        let mut vehicles: Vec<SavedVehicle<'_>> = self.vehicles.iter().map(Vehicle::saved).collect();
        vehicles.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let part = |vehicles: &[SavedVehicle<'_>]| {
            Ok((vehicles[0].id.clone(), vehicles[vehicles.len() - 1].id.clone(), Part::of(vehicles)?))
        };
        vehicles.chunks(VEHICLES_PER_PART).map(part).collect()
    }

    /// Takes vehicles up where they were saved. What they sent before is not kept in memory.
    pub fn restore(&mut self, vehicles: Vec<SavedVehicle<'static>>, listening_since: Option<Time>) {
        self.listening_since = listening_since;
        for saved in vehicles {
            let place = self.place_of(&saved.id);
            let vehicle = &mut self.vehicles[place as usize];
            vehicle.restore(saved);
            vehicle.keep_ruled(&self.ruled.rules);
            if !vehicle.waiting.is_empty() || vehicle.untold.is_some() {
                self.asking.push(place);
            }
        }
    }

    /// The journal position of the first record of the next batch, and whether what is found of it is told: while state is
    /// rebuilt after a start it was found, and maybe told, before.
    pub fn begin_at(&mut self, position: u64, is_told: bool) {
        self.position = position;
        if is_told && !self.is_told {
            for place in &self.asking {
                let vehicle = &mut self.vehicles[*place as usize];
                vehicle.doubt();
                vehicle.past.close_as_history();
            }
        }
        self.is_told = is_told;
    }

    /// What is kept of a vehicle's past, taken out: nothing more comes of it.
    pub(super) fn release(&mut self, vehicle_id: &str) -> Released {
        let Some(place) = self.by_id.remove(vehicle_id) else { return Released::default() };
        let vehicle = &mut self.vehicles[place as usize];
        vehicle.last_arrival = NEVER;
        let past = std::mem::take(&mut vehicle.past);
        let used: BTreeSet<u32> = past.legs.iter().map(|leg| leg.epoch).collect();
        let rules = |epoch: u32| Some((epoch, Arc::clone(&self.epochs.get(&epoch)?.rules)));
        Released { rules: used.into_iter().filter_map(rules).collect(), past }
    }

    /// A past that another judge released, with the epochs that its rules have here.
    fn adopt(&mut self, released: Released) -> Past {
        let Released { mut past, rules } = released;
        let epochs: BTreeMap<u32, u32> =
            rules.into_iter().map(|(epoch, rules)| (epoch, self.epoch_of(rules))).collect();
        for leg in &mut past.legs {
            leg.epoch = epochs.get(&leg.epoch).copied().unwrap_or(self.epoch);
        }
        past
    }

    /// The epoch of these rules: one of those that legs of the past were judged by, or a new one.
    fn epoch_of(&mut self, rules: Arc<RuleSet>) -> u32 {
        let known = self.epochs.iter().find(|(_, ruled)| ruled.rules.digest() == rules.digest());
        if let Some((epoch, _)) = known {
            return *epoch;
        }
        let epoch = self.next_epoch();
        self.epochs.insert(epoch, Arc::new(Ruled::by(rules, &self.reference)));
        epoch
    }

    fn next_epoch(&self) -> u32 {
        self.epochs.last_key_value().map_or(0, |(epoch, _)| epoch + 1)
    }

    /// Puts the history that a vehicle asked for before what is kept of it: what waits is judged with the next batch.
    ///
    /// # Errors
    /// As [`Judge::judge`].
    pub fn deepen(&mut self, older: Older) -> Result<(), EngineError> {
        let Some(place) = self.by_id.get(&older.vehicle_id).copied() else { return Ok(()) };
        let vehicle = &mut self.vehicles[place as usize];
        let is_awaited = vehicle.asked == 1;
        vehicle.asked = vehicle.asked.saturating_sub(1);
        if !is_awaited || !vehicle.keeps_all() {
            // It waits no longer, or for what it asked later, which is as much and more.
            return Ok(());
        }
        let waiting = std::mem::take(&mut vehicle.waiting);
        let Some(newest) = vehicle.now.newest else { return Ok(()) };
        let until = vehicle.past.begins_after().unwrap_or(newest);
        let past = older.past.map(|released| self.adopt(released));
        let vehicle = &mut self.vehicles[place as usize];
        let count = past.map_or(0, |past| vehicle.past.prepend(past, until));
        let (waiting, late): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|(_, kept)| !older.is_beyond || kept.at().is_some_and(|at| vehicle.past.reaches(at)));
        self.amended.extend(late.into_iter().map(|(position, _)| (position, Outcome::Late, Reason::TooOld)));
        vehicle.unmarked += count;
        vehicle.stored = Some(older.told);
        // What was told at the last legs may have been cut.
        for leg in count.saturating_sub(PREPENDED_CUT)..count {
            self.tell_leg_again(place, leg)?;
        }
        self.late.insert(place, Lateness::waiting(newest, waiting));
        Ok(())
    }

    /// Has all that a vehicle sent since a time judged again, by what is registered now: from memory with this batch where that
    /// reaches back so far, else by way of history. So all vehicles together go by way of history, a few at a time.
    fn judge_again(&mut self, index: u32, place: u32, since: Time, is_alone: bool) {
        let has_history = self.reference.late.has_history;
        let vehicle = &mut self.vehicles[place as usize];
        if vehicle.now.newest < Some(since) {
            return;
        }
        if has_history && !(is_alone && !vehicle.keeps_all() && vehicle.past.reaches(since)) {
            let before = since.plus_ms(-1);
            vehicle.untold = Some(vehicle.untold.map_or(before, |untold| untold.min(before)));
            vehicle.past.close_as_history();
            self.asking.push(place);
            return;
        }
        let newest = vehicle.now.newest;
        self.late.entry(place).or_insert_with(|| Lateness::since(newest)).judge_again(index, since);
    }

    /// Finds what was told at a leg, from its own mark.
    fn tell_leg_again(&mut self, place: u32, leg: usize) -> Result<(), EngineError> {
        let vehicle = &mut self.vehicles[place as usize];
        let Some(kept) = vehicle.past.legs.get_mut(leg) else { return Ok(()) };
        kept.told.clear();
        let (inputs, epoch) = (kept.inputs(), kept.epoch);
        let now = std::mem::replace(&mut vehicle.now, kept.before.clone());
        self.go_by(epoch);
        let (mut hidden, mut seen) = (Vec::new(), Seen::default());
        for input in inputs {
            let origin = Origin { record: 0, step: 0, vehicle: place, leg: leg as u32, is_aside: false };
            self.step_again(origin, &input, &mut hidden, &mut seen, &mut |_| {})?;
        }
        self.flush(&mut hidden, &mut seen, &mut |_| {})?;
        self.go_by(self.epoch);
        self.vehicles[place as usize].now = now;
        Ok(())
    }

    /// Silence before this is our own.
    pub fn listening_since(&self) -> Option<Time> {
        self.listening_since
    }

    /// Judges the records at `mine` of a batch, each with the vehicle that it is about (clock records: none), in order of arrival.
    ///
    /// # Errors
    /// When the rules cannot be evaluated; the state is then no longer to be trusted.
    pub fn judge(
        &mut self,
        batch: &[Record],
        mine: &[(u32, Text)],
        seen: &mut Seen,
    ) -> Result<Vec<Finding>, EngineError> {
        self.judge_watched(batch, mine, seen, &mut |_| {})
    }

    /// Puts the records of each vehicle one behind another, where many of each are to be judged: vehicles know nothing of each other,
    /// and so what is known of one is at hand for all that it sent. None passes a record of our own.
    pub fn gather(&self, batch: &[Record], mine: &mut [(u32, Text)]) {
        let runs = mine.split_mut(|(index, _)| !batch[*index as usize].is_counted());
        for run in runs.filter(|run| run.len() > 2 * self.vehicles.len()) {
            run.sort_by_cached_key(|(_, id)| self.by_id.get(id).copied().unwrap_or(u32::MAX));
        }
    }

    /// As [`Judge::judge`]; every row is shown to `watch`, in order.
    ///
    /// # Errors
    /// As [`Judge::judge`].
    pub fn judge_watched(
        &mut self,
        batch: &[Record],
        mine: &[(u32, Text)],
        seen: &mut Seen,
        watch: Watch<'_>,
    ) -> Result<Vec<Finding>, EngineError> {
        let mut findings = Vec::new();
        for (index, vehicle_id) in mine {
            let record = &batch[*index as usize];
            match &record.body {
                _ if is_life_only(record) => self.hear(vehicle_id, record.recv_time),
                Body::Device(_) | Body::Sighting(_) => {
                    self.take(*index, record, vehicle_id, &mut findings, seen, watch)?;
                }
                Body::Tick => self.tick(*index, record.recv_time, &mut findings, seen, watch)?,
                Body::Start => self.listening_since = Some(record.recv_time),
                Body::JudgeAgain(one) => {
                    self.flush(&mut findings, seen, watch)?;
                    let places = match one {
                        Some(_) => self.by_id.get(vehicle_id).map_or(0..0, |place| *place..*place + 1),
                        None => 0..self.vehicles.len() as u32,
                    };
                    places.for_each(|place| self.judge_again(*index, place, record.event_time, one.is_some()));
                }
                _ => {}
            }
            if self.rows.len() >= ROWS {
                self.flush(&mut findings, seen, watch)?;
            }
        }
        self.flush(&mut findings, seen, watch)?;
        self.catch_up(&mut findings, seen, watch)?;
        if self.is_told {
            for place in std::mem::take(&mut self.asking) {
                seen.asks.push(self.vehicles[place as usize].ask());
            }
        }
        seen.amended.append(&mut self.amended);
        Ok(findings)
    }

    /// A device lives, whatever it said.
    fn hear(&mut self, vehicle_id: &Text, at: Time) {
        if let Some(place) = self.by_id.get(vehicle_id) {
            let vehicle = &mut self.vehicles[*place as usize];
            vehicle.last_arrival = vehicle.last_arrival.max(at);
        }
    }

    /// A report or a sighting: folded at once when it is newer than its vehicle's last, else laid aside for the late lane, with
    /// all that comes after it.
    fn take(
        &mut self,
        index: u32,
        record: &Record,
        vehicle_id: &Text,
        findings: &mut Vec<Finding>,
        seen: &mut Seen,
        watch: Watch<'_>,
    ) -> Result<(), EngineError> {
        if matches!(record.body, Body::Sighting(_)) && !self.reference.rules.asks_sighting() {
            return Ok(());
        }
        let Some(kept) = Kept::of(record) else { return Ok(()) };
        let place = self.place_of(vehicle_id);
        let vehicle = &mut self.vehicles[place as usize];
        if matches!(record.body, Body::Device(_)) {
            vehicle.last_arrival = vehicle.last_arrival.max(record.recv_time);
        }
        if let Some(lateness) = self.late.get_mut(&place) {
            lateness.add(index, record.event_time, kept);
            return Ok(());
        }
        if vehicle.now.newest.is_some_and(|newest| record.event_time <= newest) {
            if vehicle.pending > 0 {
                self.flush(findings, seen, watch)?;
            }
            let newest = self.vehicles[place as usize].now.newest;
            self.late.entry(place).or_insert_with(|| Lateness::since(newest)).add(index, record.event_time, kept);
            return Ok(());
        }
        self.begin_leg(place, record.event_time);
        let vehicle = &mut self.vehicles[place as usize];
        let leg = vehicle.past.push(&kept);
        let origin = Origin { record: index, step: 0, vehicle: place, leg: leg as u32, is_aside: false };
        vehicle.now.newest = Some(record.event_time);
        match &record.body {
            Body::Device(report) => {
                let times = (record.event_time, record.recv_time);
                let Some(part) = self.part(place, report, record.use_position, times) else { return Ok(()) };
                let given = report.lat.zip(report.lon).filter(|_| part == DevicePart::Followed);
                let position = given.filter(|_| record.use_position);
                let origin = Origin { is_aside: part == DevicePart::Aside, ..origin };
                let input = Input::Report {
                    report,
                    event_time: record.event_time,
                    recv_time: record.recv_time,
                    use_position: record.use_position,
                };
                let fixed = given.filter(|_| record.use_position || is_jump(record));
                let fixed = fixed.filter(|_| record.reason != Reason::ClockSkew);
                let fixed = fixed.map(|(lat, lon)| Fixed { at: record.event_time, lat, lon });
                if !self.step(origin, input, fixed) {
                    return Ok(());
                }
                if let (Some((lat, lon)), Some(row)) = (position, self.rows.last()) {
                    seen.positions.push(LastPosition {
                        vehicle_id: vehicle_id.clone(),
                        plate: row.plate.clone().unwrap_or_else(|| vehicle_id.clone()),
                        at: record.event_time,
                        lat,
                        lon,
                        speed_kmh: row.speed_kmh,
                        heading_deg: report.heading_deg,
                    });
                }
                self.look_back();
                Ok(())
            }
            Body::Sighting(sighting) => {
                let lag_s = lag_ms(record, sighting) as f64 / 1000.0;
                self.step(origin, Input::Sighting { sighting, event_time: record.event_time, lag_s }, None);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Begins a leg of the vehicle's past where one is due.
    fn begin_leg(&mut self, place: u32, at: Time) {
        let (epoch, keeps, until) = (self.epoch, self.bytes_each(), self.reference.late.too_old(at));
        let vehicle = &mut self.vehicles[place as usize];
        let silent_ms = vehicle.now.newest.map(|newest| at.ms_since(newest));
        if !vehicle.past.wants_leg(epoch, silent_ms) {
            return;
        }
        vehicle.past.begin(epoch, Mark::default());
        vehicle.mark_leg(vehicle.past.legs.len() - 1);
        if vehicle.keeps_all() && vehicle.past.bytes() > limits::PAST_BYTES.max(4 * keeps) {
            self.give_up(place);
        }
        let vehicle = &mut self.vehicles[place as usize];
        if vehicle.pending == 0 && !vehicle.keeps_all() {
            let gone = vehicle.past.trim(keeps, until);
            vehicle.unmarked -= gone.min(vehicle.unmarked);
        }
    }

    /// Waits no longer for a history that does not come: what waited is late.
    fn give_up(&mut self, place: u32) {
        let vehicle = &mut self.vehicles[place as usize];
        let waiting = std::mem::take(&mut vehicle.waiting);
        (vehicle.untold, vehicle.stored) = (None, None);
        tracing::error!(vehicle = %vehicle.id, reports = waiting.len(), "late reports are not judged: no history came");
        self.amended.extend(waiting.into_iter().map(|(position, _)| (position, Outcome::Late, Reason::TooOld)));
    }

    /// Memory that the past of each vehicle may take.
    fn bytes_each(&self) -> usize {
        self.reference.late.bytes() / self.vehicles.len().max(1)
    }

    /// What a report means beside the vehicle's other devices; `None`: no more than is remembered now.
    fn part(
        &mut self,
        place: u32,
        report: &DeviceReport,
        use_position: bool,
        (at, recv_time): (Time, Time),
    ) -> Option<DevicePart> {
        let state = &mut self.vehicles[place as usize].now.state;
        let part = self.ruled.fold.part(state, report, use_position, at);
        if part == DevicePart::Silent {
            self.ruled.fold.note(state, report, at, recv_time);
            return None;
        }
        Some(part)
    }

    /// Folds one input and keeps the row; whether there is one. A report of where the truck cannot have driven to is none, but
    /// for its alarms and events: with such, it is one without a position.
    fn step(&mut self, origin: Origin, mut input: Input<'_>, fixed: Option<Fixed>) -> bool {
        let vehicle = &mut self.vehicles[origin.vehicle as usize];
        if let Some(fixed) = fixed {
            if vehicle.now.jumps.believes(&fixed, self.reference.late.jumps) {
                vehicle.now.jumps.believe(fixed);
            } else {
                vehicle.now.jumps.doubt(fixed, self.reference.late.jumps);
                match &mut input {
                    Input::Report { report, use_position, .. } if report.bears_alarm() => *use_position = false,
                    _ => return false,
                }
            }
        }
        let row = self.rows.push_mut(Facts::default());
        self.ruled.fold.fill(row, &mut vehicle.now.state, input);
        vehicle.pending += 1;
        self.origins.push(origin);
        true
    }

    /// The late lane: puts what came late where it belongs, folds again from the mark before it, finds what is told otherwise
    /// than it was, and goes on with what came after it. All vehicles of the batch together, so that rows are judged in bulk.
    fn catch_up(&mut self, findings: &mut Vec<Finding>, seen: &mut Seen, watch: Watch<'_>) -> Result<(), EngineError> {
        let late = std::mem::take(&mut self.late);
        let merged: Vec<Merging> =
            late.into_iter().map(|(place, lateness)| self.merge(place, lateness, seen)).collect();
        let (mut hidden, mut epoch) = (Vec::new(), self.epoch);
        let mut again = Vec::new();
        for one in &merged {
            let Some(from) = one.from else { continue };
            again.push((one, self.as_told(one.place, from)));
            self.fold_again(one, from, &mut epoch, &mut hidden, seen, watch)?;
        }
        self.flush(&mut hidden, seen, watch)?;
        self.go_by(self.epoch);
        for (one, told) in again {
            self.tell_difference(one, told, findings);
        }
        for one in merged {
            // Nothing changed by what waited: the book has no part in what is told from here on.
            self.vehicles[one.place as usize].stored = None;
            self.go_on(one, findings, seen, watch)?;
        }
        self.flush(findings, seen, watch)
    }

    /// Puts what came late of a vehicle where it belongs.
    fn merge(&mut self, place: u32, lateness: Lateness, seen: &mut Seen) -> Merging {
        let Lateness { newest, span, inputs, waited, again, .. } = lateness;
        let (mut late, newer): (Vec<_>, Vec<_>) =
            inputs.into_iter().partition(|(_, kept)| kept.at().is_some_and(|at| Some(at) <= newest));
        let vehicle = &mut self.vehicles[place as usize];
        let is_settled = vehicle.untold.is_some() && vehicle.stored.is_some();
        if vehicle.untold.is_some() && self.is_told && !is_settled {
            // What differs from what was told shows when it is known what was.
            for (record, kept) in std::mem::take(&mut late) {
                self.wait(place, record, waited_at(&waited, record), kept, seen);
            }
        }
        let first = late.iter().map(|(record, _)| *record).filter(|record| *record < WAITED);
        let record = first.chain(again.map(|(record, _)| record)).min().unwrap_or_default();
        let came: Vec<u32> = late.iter().map(|(record, _)| *record).collect();
        let merged = self.vehicles[place as usize].past.merge(late);
        let beyond: FxHashSet<u32> = merged.beyond.iter().map(|(record, _)| *record).collect();
        let repeated: FxHashSet<u32> = merged.repeated.iter().copied().collect();
        for record in came.into_iter().filter(|record| !beyond.contains(record)) {
            let is_repeated = repeated.contains(&record);
            // What is found again after a start may have waited before.
            let found_again = (!self.is_told).then(|| self.position + u64::from(record));
            if let Some(position) = waited_at(&waited, record).or(found_again) {
                let (outcome, reason) = if is_repeated { DUPLICATE } else { OUT_OF_ORDER };
                self.amended.push((position, outcome, reason));
            } else if is_repeated {
                seen.repeated.push(record);
            }
        }
        for (record, kept) in merged.beyond {
            self.wait(place, record, waited_at(&waited, record), kept, seen);
        }
        let vehicle = &mut self.vehicles[place as usize];
        vehicle.untold = vehicle.untold.filter(|_| !is_settled);
        let all = Some(0).filter(|_| is_settled && !vehicle.past.legs.is_empty());
        let again = again.and_then(|(_, since)| vehicle.past.leg_at(since));
        let from = all.or_else(|| [merged.from, again].into_iter().flatten().min());
        if from.is_some() && !self.is_told {
            if vehicle.untold.is_none() && vehicle.waiting.is_empty() {
                self.asking.push(place);
            }
            vehicle.doubt();
        }
        Merging { place, span, record, from, newer }
    }

    /// Judges what came after what was late.
    fn go_on(
        &mut self,
        merging: Merging,
        findings: &mut Vec<Finding>,
        seen: &mut Seen,
        watch: Watch<'_>,
    ) -> Result<(), EngineError> {
        let Merging { place, mut record, mut newer, .. } = merging;
        newer.sort_by(|(_, a), (_, b)| a.order(b));
        let (mut step, mut before) = (0, None::<Kept>);
        for (came_by, kept) in newer {
            let is_repeated = before.as_ref().is_some_and(|before| before.order(&kept).is_eq());
            if !self.is_told && kept.at().is_some() {
                let (outcome, reason) = if is_repeated { DUPLICATE } else { OUT_OF_ORDER };
                self.amended.push((self.position + u64::from(came_by), outcome, reason));
            } else if is_repeated {
                seen.repeated.push(came_by);
            }
            if is_repeated {
                continue;
            }
            // What is found is told in this order, whatever the order of arrival.
            (record, step) = if came_by > record { (came_by, 0) } else { (record, step + 1) };
            self.begin_leg(place, kept.at().unwrap_or(NEVER));
            let leg = self.vehicles[place as usize].past.push(&kept) as u32;
            let origin = Origin { record, step, vehicle: place, leg, is_aside: false };
            self.step_again(origin, &kept, findings, seen, watch)?;
            before = Some(kept);
        }
        Ok(())
    }

    /// Lets what is older than all that is kept wait for the vehicle's history, where there is any.
    fn wait(&mut self, place: u32, record: u32, waited: Option<u64>, kept: Kept, seen: &mut Seen) {
        let vehicle = &mut self.vehicles[place as usize];
        if self.reference.late.has_history && vehicle.waiting.len() < limits::LATE_WAITING {
            if vehicle.waiting.is_empty() && vehicle.asked == 0 && vehicle.untold.is_none() {
                self.asking.push(place);
            }
            let position = waited.unwrap_or(self.position + u64::from(record));
            vehicle.waiting.push((position, kept));
            if waited.is_none() {
                seen.waiting.push(position);
            }
            return;
        }
        match waited {
            Some(position) => self.amended.push((position, Outcome::Late, Reason::TooOld)),
            None => seen.beyond.push(record),
        }
    }

    /// What was told of a vehicle from a leg on, and what was open before it.
    fn as_told(&mut self, place: u32, from: usize) -> AsTold {
        let vehicle = &mut self.vehicles[place as usize];
        let Mark { state, alerts: known, newest: since, .. } = vehicle.past.legs[from].before.clone();
        let told = match vehicle.stored.take() {
            None => vehicle.past.told_from(from),
            Some(stored) => {
                let rules = &self.reference.rules;
                let is_told_by_arrival = |id: &str| {
                    rules.index_of(id).is_none_or(|number| {
                        let rule = &rules.rules()[number];
                        rule.asks_timer || rule.tally.is_some()
                    })
                };
                // A rule of settled facts has judged only what came before the last report.
                let since = |id: &str| {
                    let rule = rules.index_of(id).map(|number| &rules.rules()[number]);
                    let is_settled = rule.is_some_and(|rule| rule.asks_settled);
                    state.settled_until().filter(|_| is_settled).or(since)
                };
                vehicle.past.told_from_as_stored(from, stored, &known, since, is_told_by_arrival)
            }
        };
        AsTold { from, known, told }
    }

    /// Folds a vehicle's past again from a leg on, each leg by its own rules. The last rows may wait to be judged; `epoch` is by which.
    fn fold_again(
        &mut self,
        merging: &Merging,
        from: usize,
        epoch: &mut u32,
        hidden: &mut Vec<Finding>,
        seen: &mut Seen,
        watch: Watch<'_>,
    ) -> Result<(), EngineError> {
        let Merging { place, record, .. } = *merging;
        let vehicle = &mut self.vehicles[place as usize];
        vehicle.past.legs.range_mut(from..).for_each(|leg| leg.told.clear());
        vehicle.unmarked = from + 1;
        vehicle.now = vehicle.past.legs[from].before.clone();
        let mut leg = from;
        while let Some(next) = self.vehicles[place as usize].past.legs.get(leg) {
            let (inputs, its_epoch) = (next.inputs(), next.epoch);
            if its_epoch != *epoch {
                *epoch = its_epoch;
                self.flush(hidden, seen, watch)?;
                self.go_by(its_epoch);
                if leg > from {
                    self.vehicles[place as usize].keep_ruled(&self.ruled.rules);
                }
            }
            if leg > from {
                self.vehicles[place as usize].mark_leg(leg);
            }
            for kept in inputs {
                let origin = Origin { record, step: 0, vehicle: place, leg: leg as u32, is_aside: false };
                self.step_again(origin, &kept, hidden, seen, watch)?;
            }
            leg += 1;
        }
        Ok(())
    }

    /// Judges by the rules of an epoch.
    fn go_by(&mut self, epoch: u32) {
        if let Some(ruled) = self.epochs.get(&epoch) {
            self.ruled = Arc::clone(ruled);
        }
    }

    /// Folds an input that is kept.
    fn step_again(
        &mut self,
        origin: Origin,
        kept: &Kept,
        findings: &mut Vec<Finding>,
        seen: &mut Seen,
        watch: Watch<'_>,
    ) -> Result<(), EngineError> {
        if let Some(at) = kept.at() {
            self.vehicles[origin.vehicle as usize].now.newest = Some(at);
        }
        match kept {
            Kept::Report(kept) => {
                let (report, event_time, use_position) = (kept.report(), kept.event_time(), kept.use_position);
                let times = (event_time, kept.recv_time());
                let Some(part) = self.part(origin.vehicle, &report, use_position, times) else { return Ok(()) };
                let origin = Origin { is_aside: part == DevicePart::Aside, ..origin };
                let given = report.lat.zip(report.lon).filter(|_| part == DevicePart::Followed);
                let fixed = given.filter(|_| use_position && kept.tells_jumps);
                let fixed = fixed.map(|(lat, lon)| Fixed { at: event_time, lat, lon });
                let input = Input::Report { report: &report, event_time, recv_time: kept.recv_time(), use_position };
                if self.step(origin, input, fixed) {
                    self.look_back();
                }
            }
            Kept::Sighting { at_ms, lag_ms, sighting } => {
                let event_time = Time::from_millis(*at_ms);
                self.step(origin, Input::Sighting { sighting, event_time, lag_s: *lag_ms as f64 / 1000.0 }, None);
            }
            Kept::Timer { at_ms, silent_ms, .. } => {
                let vehicle_id = self.vehicles[origin.vehicle as usize].id.clone();
                let (at, silent_s) = (Time::from_millis(*at_ms), silent_ms.map(|ms| ms as f64 / 1000.0));
                let input = Input::Timer { vehicle_id: &vehicle_id, at, silent_s };
                self.step(origin, input, None);
            }
        }
        if self.rows.len() >= ROWS {
            self.flush(findings, seen, watch)?;
        }
        Ok(())
    }

    /// What of a vehicle's past is told otherwise than it was.
    fn tell_difference(&mut self, merging: &Merging, was: AsTold, findings: &mut Vec<Finding>) {
        let keeps = self.bytes_each();
        let vehicle = &mut self.vehicles[merging.place as usize];
        let until = self.reference.late.too_old(vehicle.now.newest.unwrap_or(NEVER));
        if vehicle.past.legs.back().is_some_and(|leg| leg.epoch != self.epoch) {
            vehicle.keep_ruled(&self.ruled.rules);
        }
        let after = vehicle.past.told_from(was.from);
        let rules = &self.reference.rules;
        let turn = |id: &str| {
            let number = rules.index_of(id)?;
            rules.order().iter().position(|one| *one as usize == number).map(|turn| turn as u32)
        };
        for (rule_id, what) in vehicle.retold.differ(&was.known, &was.told, after, &merging.span) {
            // A rule that is no more has no turn.
            let turn = turn(&rule_id).unwrap_or(u32::MAX);
            findings.push(Finding { record: merging.record, step: 0, turn, what });
        }
        vehicle.mark(vehicle.past.legs.len());
        if !vehicle.keeps_all() {
            vehicle.unmarked -= vehicle.past.trim(keeps, until).min(vehicle.unmarked);
        }
    }

    /// The place of a vehicle, a new one for one that is new.
    fn place_of(&mut self, id: &Text) -> u32 {
        if let Some(place) = self.by_id.get(id) {
            return *place;
        }
        let place = self.vehicles.len() as u32;
        self.vehicles.push(Vehicle::new(id.clone()));
        self.by_id.insert(id.clone(), place);
        place
    }

    /// Takes up a vehicle, whether or not anything came of it yet.
    pub fn listen_to(&mut self, vehicle_id: &Text) {
        self.place_of(vehicle_id);
    }

    /// Takes up the vehicles that are registered with a device and have never spoken.
    fn listen_for(&mut self, registry: &Registry, at: Time) {
        if self.listening_since.is_none() || !self.reference.rules.asks_timer() {
            return;
        }
        let registered = registry.vehicles().filter(|row| row.valid.contains(at) && !row.device_ids.is_empty());
        for row in registered.filter(|row| self.owns.has(&row.vehicle_id)).collect::<Vec<_>>() {
            self.place_of(&row.vehicle_id);
        }
    }

    /// Lets go what was never registered and was not heard of for as long as late data is taken: whatever comes of it now is judged
    /// as of one that is new, and nothing that came before can change any more. What is open of it ends first.
    fn forget(&mut self, registry: &Registry, at: Time) {
        let settled = self.reference.late.too_old(at);
        let mut place = 0;
        while let Some(vehicle) = self.vehicles.get_mut(place as usize) {
            let heard = vehicle.last_arrival.max(vehicle.now.newest.unwrap_or(NEVER));
            let is_over = heard < settled
                && vehicle.pending == 0
                && !vehicle.keeps_all()
                && !self.late.contains_key(&place)
                && !self.asking.contains(&place)
                && registry.vehicle(&vehicle.id, at).is_none()
                && !registry.vehicle_was_registered(&vehicle.id);
            if !is_over {
                place += 1;
            } else if vehicle.now.alerts.open().next().is_some() {
                vehicle.now.alerts.forget();
                place += 1;
            } else {
                self.remove(place);
            }
        }
    }

    /// Takes a vehicle out, for which nothing waits; the last takes its place.
    fn remove(&mut self, place: u32) {
        let gone = self.vehicles.swap_remove(place as usize);
        self.by_id.remove(&gone.id);
        let last = self.vehicles.len() as u32;
        let Some(moved) = self.vehicles.get(place as usize) else { return };
        self.by_id.insert(moved.id.clone(), place);
        if let Some(lateness) = self.late.remove(&last) {
            self.late.insert(place, lateness);
        }
        self.asking.iter_mut().filter(|one| **one == last).for_each(|one| *one = place);
    }

    /// Makes timer rows for the vehicles that are silent, in order of their ids.
    fn tick(
        &mut self,
        index: u32,
        at: Time,
        findings: &mut Vec<Finding>,
        seen: &mut Seen,
        watch: Watch<'_>,
    ) -> Result<(), EngineError> {
        let (tick_ms, asks_timer) = (self.reference.tick_ms, self.reference.rules.asks_timer());
        // Whose alerts are open is known when all rows before are judged, however they came together.
        let looks_for_ends = at.as_millis().div_euclid(ENDS_MS) != (at.as_millis() - tick_ms).div_euclid(ENDS_MS);
        if looks_for_ends {
            self.flush(findings, seen, watch)?;
            let registry = Arc::clone(&self.reference.registry);
            for vehicle in self.vehicles.iter_mut().filter(|vehicle| !vehicle.now.alerts.is_quiet()) {
                if registry.vehicle(&vehicle.id, at).is_none() && registry.vehicle_was_registered(&vehicle.id) {
                    vehicle.now.alerts.deregister();
                }
            }
            self.listen_for(&registry, at);
            self.forget(&registry, at);
        }
        let settled = self.reference.late.too_old(at);
        let registry = &*self.reference.registry;
        // Who never spoke is silent since it was registered.
        let since = |vehicle: &Vehicle| {
            let spoke = Some(vehicle.last_arrival).filter(|at| *at > NEVER);
            let begins = spoke.or_else(|| registry.registered_since(&vehicle.id, at));
            self.listening_since.max(begins).unwrap_or_default()
        };
        // Who was only seen beside the road has no terminal that could be silent, nor has who is registered no more. A file of reports
        // is not listened to.
        let has_terminal = |vehicle: &Vehicle| match registry.vehicle(&vehicle.id, at) {
            _ if vehicle.last_arrival == NEVER && self.listening_since.is_none() => false,
            Some(row) => vehicle.last_arrival > NEVER || !row.device_ids.is_empty(),
            None => vehicle.last_arrival > NEVER && !registry.vehicle_was_registered(&vehicle.id),
        };
        let is_silent =
            |vehicle: &Vehicle, silent_ms: i64| asks_timer && is_looked_at(silent_ms, tick_ms) && has_terminal(vehicle);
        let silence =
            (0u32..).zip(&self.vehicles).map(|(place, vehicle)| (place, vehicle, at.ms_since(since(vehicle))));
        // An alert that nothing can clear any more ends when its time is over, whoever asks for silence.
        let mut silent: Vec<(u32, Option<i64>)> = silence
            .filter(|(_, vehicle, silent_ms)| {
                is_silent(vehicle, *silent_ms) || looks_for_ends && vehicle.now.alerts.lapses_by(settled)
            })
            .map(|(place, vehicle, silent_ms)| (place, Some(silent_ms).filter(|_| has_terminal(vehicle))))
            .collect();
        silent.sort_unstable_by(|a, b| self.vehicles[a.0 as usize].id.cmp(&self.vehicles[b.0 as usize].id));
        for (place, silent_ms) in silent {
            if let Some(lateness) = self.late.get_mut(&place) {
                lateness.look(index, at, silent_ms);
                continue;
            }
            let timer = Kept::timer(at, silent_ms, self.vehicles[place as usize].now.newest);
            self.begin_leg(place, at);
            let leg = self.vehicles[place as usize].past.push(&timer) as u32;
            let vehicle_id = self.vehicles[place as usize].id.clone();
            let input = Input::Timer { vehicle_id: &vehicle_id, at, silent_s: silent_ms.map(|ms| ms as f64 / 1000.0) };
            self.step(Origin { record: index, step: 0, vehicle: place, leg, is_aside: false }, input, None);
            if self.rows.len() >= ROWS {
                self.flush(findings, seen, watch)?;
            }
        }
        Ok(())
    }

    /// Tells a row at a source's gate of the vehicle's recent alerts, as far as its rows before are judged: flushing looks again.
    fn look_back(&mut self) {
        let (Some(row), Some(origin)) = (self.rows.last_mut(), self.origins.last()) else { return };
        if self.ruled.asks_recent && row.source_gate.is_some() {
            row.recent_alerts = Some(self.vehicles[origin.vehicle as usize].recent_alerts(row.event_time));
        }
    }

    /// Judges the rows kept so far.
    fn flush(&mut self, findings: &mut Vec<Finding>, seen: &mut Seen, watch: Watch<'_>) -> Result<(), EngineError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let ruled = Arc::clone(&self.ruled);
        let rules = &ruled.rules;
        let together = rules.evaluate(&self.rows)?;
        seen.faults += together.faults();
        let raised = together.raised();
        let mut assessed = Vec::new();
        for (place, (row, origin)) in self.rows.iter_mut().zip(&self.origins).enumerate() {
            let vehicle = &mut self.vehicles[origin.vehicle as usize];
            let before = findings.len();
            vehicle.mark(origin.leg as usize + 1);
            vehicle.pending -= 1;
            let recent = row.recent_alerts.map(|_| vehicle.recent_alerts(row.event_time));
            let alone;
            let (verdicts, index, is_raised) = if recent == row.recent_alerts {
                (&together, place, raised[place])
            } else {
                // Rows before it, judged with it, changed that.
                row.recent_alerts = recent;
                alone = rules.evaluate(std::slice::from_ref(row))?;
                (&alone, 0, alone.raised() == [true])
            };
            if rules.risk().is_some() && vehicle.is_assessed_at(row) {
                let recent_alerts = Some(vehicle.recent_alerts(row.event_time));
                assessed.push((vehicle.id.clone(), Facts { recent_alerts, ..row.clone() }));
            }
            if is_raised || !vehicle.now.alerts.is_quiet() {
                let now = row.event_time.unwrap_or_default();
                let by = if row.row_kind == Some("timer") { self.reference.late.too_old(now) } else { now };
                lapse(rules, (by, now), origin, &mut vehicle.now.alerts, findings);
                let names = &*self.reference.registry;
                advance((rules, names), verdicts, index, row, origin, &mut vehicle.now.alerts, findings);
                let findings = &mut findings[before..];
                vehicle.past.tell(origin.leg as usize, findings, rules);
                vehicle.retold.sign(findings);
                if ruled.asks_recent {
                    vehicle.remember(findings, rules.risk());
                }
            }
            let (vehicle_id, alerts, findings) = (&vehicle.id, &vehicle.now.alerts, &findings[before..]);
            watch(&Look { vehicle_id, row, verdicts, index, alerts, findings });
        }
        self.rows.clear();
        self.origins.clear();
        if let Some(sheet) = rules.risk() {
            assess(sheet, assessed, seen)?;
        }
        Ok(())
    }
}

/// How risky vehicles were at these rows.
fn assess(sheet: &Arc<RiskSheet>, rows: Vec<(Text, Facts)>, seen: &mut Seen) -> Result<(), EngineError> {
    if rows.is_empty() {
        return Ok(());
    }
    let (ids, rows): (Vec<Text>, Vec<Facts>) = rows.into_iter().unzip();
    let risks = sheet.assess(&rows)?;
    seen.risks.extend(ids.into_iter().zip(&rows).zip(risks).map(|((vehicle_id, row), risk)| Assessed {
        vehicle_id,
        at: row.event_time.unwrap_or_default(),
        risk,
        sheet: Arc::clone(sheet),
    }));
    Ok(())
}

/// Whether admission doubted where it was: the fold asks again, in order of event time.
fn is_jump(record: &Record) -> bool {
    record.reason == Reason::ImplausibleJump
}

impl Vehicle {
    fn new(id: Text) -> Self {
        Self {
            id,
            now: Mark::default(),
            last_arrival: NEVER,
            assessed_at: NEVER,
            past: Past::default(),
            unmarked: 0,
            pending: 0,
            retold: Retold::default(),
            waiting: Vec::new(),
            asked: 0,
            untold: None,
            stored: None,
        }
    }

    fn saved(&self) -> SavedVehicle<'_> {
        SavedVehicle {
            id: self.id.clone(),
            now: Cow::Borrowed(&self.now),
            last_arrival: self.last_arrival,
            retold: Cow::Borrowed(&self.retold),
            waiting: Cow::Borrowed(&self.waiting),
            untold: self.untold,
        }
    }

    fn restore(&mut self, saved: SavedVehicle<'static>) {
        (self.now, self.last_arrival) = (saved.now.into_owned(), saved.last_arrival);
        (self.retold, self.past) = (saved.retold.into_owned(), Past::begun_before());
        (self.waiting, self.untold) = (saved.waiting.into_owned(), saved.untold);
    }

    /// Drops what belongs to rules that are no more.
    fn keep_ruled(&mut self, rules: &RuleSet) {
        self.now.alerts.retain(|id| rules.index_of(id).is_some());
    }

    /// Writes the mark of a leg that is next to be folded; of the alerts when all rows before are judged.
    fn mark_leg(&mut self, leg: usize) {
        let Mark { state, jumps, newest, .. } = &self.now;
        let before = Mark { state: state.remembered(), jumps: *jumps, newest: *newest, ..Mark::default() };
        if let Some(leg) = self.past.legs.get_mut(leg) {
            leg.before = before;
        }
        if self.pending == 0 {
            self.mark(leg + 1);
        }
    }

    /// Writes what is known of the alerts into the marks before leg `until` that lack it.
    fn mark(&mut self, until: usize) {
        while self.unmarked < until {
            if let Some(leg) = self.past.legs.get_mut(self.unmarked) {
                (leg.before.alerts, leg.before.opened) = (self.now.alerts.clone(), self.now.opened.clone());
            }
            self.unmarked += 1;
        }
    }

    /// Asks for its history, and for what the book says.
    fn ask(&mut self) -> Ask {
        self.asked += 1;
        let waiting = self.waiting.iter().filter_map(|(_, kept)| kept.at());
        let oldest = waiting.chain(self.untold.map(|untold| untold.plus_ms(1))).min();
        Ask {
            vehicle_id: self.id.clone(),
            since: self.past.begins_after(),
            oldest: oldest.filter(|at| !self.past.reaches(*at)),
            waiting: self.waiting.iter().map(|(position, _)| *position).collect(),
        }
    }

    /// What is kept of its past may not have been told.
    fn doubt(&mut self) {
        let since = self.past.begins_after().unwrap_or(NEVER);
        self.untold = Some(self.untold.map_or(since, |untold| untold.min(since)));
    }

    /// Nothing of its past may be let go.
    fn keeps_all(&self) -> bool {
        self.untold.is_some() || !self.waiting.is_empty()
    }

    /// Whether its risk is assessed at a row: at a gate, and elsewhere when the last assessment is old.
    fn is_assessed_at(&mut self, row: &Facts) -> bool {
        let at = row.event_time.unwrap_or_default();
        let is_due = self.assessed_at == NEVER || at.ms_since(self.assessed_at) >= ASSESS_EVERY_MS;
        let is_assessed = row.row_kind == Some("report") && (row.source_gate.is_some() || is_due);
        if is_assessed {
            self.assessed_at = at;
        }
        is_assessed
    }

    /// How many grave alerts opened in the days before.
    fn recent_alerts(&self, at: Option<Time>) -> i64 {
        let at = at.unwrap_or_default();
        self.now.opened.iter().filter(|opened| at.ms_since(**opened) <= RECENT_MS).count() as i64
    }

    /// Keeps when grave alerts opened; not those of shadow rules, nor those about risk, or a risk would be one for having been one.
    fn remember(&mut self, findings: &[Finding], risk: Option<&Arc<RiskSheet>>) {
        for finding in findings {
            let Found::Change(transition) = &finding.what else { continue };
            let Transition::Opened(alert) = &**transition else { continue };
            let is_risk = risk.is_some_and(|sheet| *sheet.rule_id == *alert.rule_id);
            if alert.severity >= Severity::Major && !is_risk && !alert.shadow {
                if self.now.opened.len() >= RECENT_ALERTS {
                    self.now.opened.remove(0);
                }
                self.now.opened.push(alert.fired_at);
            }
        }
    }
}

impl Ruled {
    /// These rules, over what is registered and by the settings of another.
    fn by(rules: Arc<RuleSet>, reference: &Reference) -> Self {
        let asks_recent = rules.columns().contains_any(&["recent_alerts"]);
        let fold = Reference { rules: Arc::clone(&rules), ..reference.clone() }.fold();
        Self { rules, fold, asks_recent }
    }
}

/// How often it is looked whether alerts are over that nothing cleared, milliseconds.
const ENDS_MS: i64 = 600_000;

/// Ends the alerts that are over though nothing cleared them, by a time of events before which nothing can change any more. The clock
/// ends one only when no report that is judged could still come from before its end: whatever the order of arrival, it ends at
/// the same time.
fn lapse(
    rules: &RuleSet,
    (by, now): (Time, Time),
    origin: &Origin,
    alerts: &mut VehicleAlerts,
    findings: &mut Vec<Finding>,
) {
    if !alerts.lapses_by(by) {
        return;
    }
    for (rule_id, transition) in alerts.lapse(by, now) {
        let number = rules.index_of(&rule_id);
        let turn = number.and_then(|number| rules.order().iter().position(|other| *other as usize == number));
        // Of a rule that is no more: after all others.
        let turn = turn.map_or(u32::MAX, |turn| turn as u32);
        findings.push(Finding {
            record: origin.record,
            step: origin.step,
            turn,
            what: Found::Change(Box::new(transition)),
        });
    }
}

/// Lets every rule say of one row what it says.
fn advance(
    (rules, names): (&RuleSet, &Registry),
    verdicts: &Verdicts,
    index: usize,
    row: &Facts,
    origin: &Origin,
    alerts: &mut VehicleAlerts,
    findings: &mut Vec<Finding>,
) {
    for (turn, number) in (0_u32..).zip(rules.order()) {
        let (number, rule) = (*number as usize, &rules.rules()[*number as usize]);
        let when = verdicts.when(number, index);
        if when != Verdict::True && (origin.is_aside || !alerts.follow(&rule.id)) {
            continue;
        }
        let mut found = |what| findings.push(Finding { record: origin.record, step: origin.step, turn, what });
        if let Some((each, elsewhere, clear)) = verdicts.of_zones(number, index) {
            if rule.tally.is_some() {
                let hits = each.iter().filter(|zone| zone.when == Verdict::True);
                hits.for_each(|ZoneVerdict { row, severity, .. }| {
                    found(Found::Hit { row: Box::new(Facts::clone(row)), severity: *severity, is_late: false });
                });
                continue;
            }
            let each: Vec<(&Facts, Judgement)> = each
                .into_iter()
                .map(|ZoneVerdict { row, when, clear, severity }| (row, Judgement { when, clear, severity }))
                .collect();
            let elsewhere = Judgement { when: elsewhere, clear, severity: None };
            let transitions = alerts.judge_each(&terms(rule), row, &each, elsewhere, |row| rule.messages(row, names));
            transitions.into_iter().for_each(|transition| found(Found::Change(Box::new(transition))));
            continue;
        }
        if rule.tally.is_some() {
            let severity = verdicts.severity(number, index);
            found(Found::Hit { row: Box::new(row.clone()), severity, is_late: false });
            continue;
        }
        let (clear, severity) = (verdicts.clear(number, index), verdicts.severity(number, index));
        let transitions =
            alerts.judge(&terms(rule), row, Judgement { when, clear, severity }, || rule.messages(row, names));
        transitions.into_iter().for_each(|transition| found(Found::Change(Box::new(transition))));
    }
}

/// What alerts need to know of a rule.
pub(super) fn terms(rule: &Rule) -> RuleTerms<'_> {
    RuleTerms {
        id: &rule.id,
        version: &rule.version,
        name: &rule.titles,
        code: rule.labels.get("code"),
        timing: &rule.timing,
        key: &rule.key,
        departments: &rule.departments,
        columns: &rule.columns,
        severity_default: rule.severity_default,
        asks_timer: rule.asks_timer,
        asks_sighting: rule.asks_sighting,
        asks_settled: rule.asks_settled,
        has_clear: rule.clear.is_some(),
        incident: rule.incident.as_ref(),
        inhibited_by: &rule.inhibited_by,
        tally: rule.tally.as_ref(),
        shadow: rule.shadow,
    }
}
