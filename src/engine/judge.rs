//! One shard: the state of its vehicles, and the only place where facts, rules and alerts meet.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{EngineError, clock::is_looked_at};
use crate::{
    alerts::{Judgement, RuleTerms, VehicleAlerts},
    facts::{Fold, Input, Settings, VehicleState},
    model::{Body, Facts, Outcome, Record, Severity, Sighting, Text, Time, Transition, Verdict},
    registry::Registry,
    rules::{Rule, RuleSet, Verdicts},
};

/// What reports are judged against: replaced as a whole when rules or registry change.
#[derive(Clone)]
pub struct Reference {
    pub registry: Arc<Registry>,
    pub rules: Arc<RuleSet>,
    pub facts: Settings,
    /// Milliseconds between two looks at silence.
    pub tick_ms: i64,
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
    /// Place of the rule in the order of judging.
    pub turn: u32,
    pub what: Found,
}

/// What a rule found at a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// An alert of this vehicle changed.
    Change(Box<Transition>),
    /// A row that the rule counts over vehicles, and how grave it is.
    Hit(Box<Facts>, Option<Severity>),
}

impl Finding {
    /// The vehicle that it was found of.
    pub fn vehicle_id(&self) -> &str {
        match &self.what {
            Found::Change(transition) => &transition.alert().vehicle_id,
            Found::Hit(row, _) => row.vehicle_id.as_deref().unwrap_or_default(),
        }
    }
}

/// Where a vehicle was last seen.
#[derive(Clone, Debug, PartialEq)]
pub struct LastPosition {
    pub vehicle_id: Text,
    pub plate: Text,
    pub at: Time,
    pub lat: f64,
    pub lon: f64,
    pub speed_kmh: Option<f64>,
    pub heading_deg: Option<f64>,
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

/// Facts, rules and alerts over the vehicles of one shard. Deterministic: the same records give the same findings.
pub struct Judge {
    reference: Reference,
    fold: Fold,
    vehicles: Vec<Vehicle>,
    /// Places in `vehicles`.
    by_id: FxHashMap<Text, u32>,
    /// Silence before this is our own.
    listening_since: Option<Time>,
    rows: Vec<Facts>,
    origins: Vec<Origin>,
}

/// What is kept of one vehicle.
struct Vehicle {
    id: Text,
    state: VehicleState,
    alerts: VehicleAlerts,
    last_arrival: Time,
    last_event: Time,
    last_sighting: Time,
}

/// Where a row of facts came from.
struct Origin {
    record: u32,
    /// Place in [`Judge::vehicles`].
    vehicle: u32,
}

/// Before all that can be.
const NEVER: Time = Time::from_millis(i64::MIN);

/// Rows that are judged together: large enough that predicates are cheap, small enough to stay in the cache.
const ROWS: usize = 1_024;

impl Judge {
    /// A judge that knows no vehicle yet.
    pub fn new(reference: Reference) -> Self {
        let fold = reference.fold();
        Self {
            reference,
            fold,
            vehicles: Vec::new(),
            by_id: FxHashMap::default(),
            listening_since: None,
            rows: Vec::new(),
            origins: Vec::new(),
        }
    }

    /// Judges by other rules or another registry from now on. The state of vehicles and of alerts stays.
    pub fn replace(&mut self, reference: Reference) {
        self.fold = reference.fold();
        let rules = &reference.rules;
        self.vehicles.iter_mut().for_each(|vehicle| vehicle.alerts.retain(|id| rules.index_of(id).is_some()));
        self.reference = reference;
    }

    /// How many vehicles it knows.
    pub fn vehicles(&self) -> usize {
        self.vehicles.len()
    }

    /// Judges the records at `mine` of a batch, each with the vehicle that it is about (clock records: none), in order of arrival.
    ///
    /// # Errors
    /// When the rules cannot be evaluated; the state is then no longer to be trusted.
    pub fn judge(
        &mut self,
        batch: &[Record],
        mine: &[(u32, Text)],
        seen: &mut Vec<LastPosition>,
    ) -> Result<Vec<Finding>, EngineError> {
        self.judge_watched(batch, mine, seen, &mut |_| {})
    }

    /// As [`Judge::judge`]; every row is shown to `watch`, in order.
    ///
    /// # Errors
    /// As [`Judge::judge`].
    pub fn judge_watched(
        &mut self,
        batch: &[Record],
        mine: &[(u32, Text)],
        seen: &mut Vec<LastPosition>,
        watch: Watch<'_>,
    ) -> Result<Vec<Finding>, EngineError> {
        let mut findings = Vec::new();
        for (index, vehicle_id) in mine {
            let record = &batch[*index as usize];
            match &record.body {
                Body::Device(_) if record.outcome == Outcome::Evaluated => {
                    self.report(*index, record, vehicle_id, seen)
                }
                Body::Sighting(sighting) => self.sighting(*index, sighting, record.event_time, vehicle_id),
                Body::Tick => self.tick(*index, record.recv_time, &mut findings, watch)?,
                Body::Start => self.listening_since = Some(record.recv_time),
                _ => {}
            }
            if self.rows.len() >= ROWS {
                self.flush(&mut findings, watch)?;
            }
        }
        self.flush(&mut findings, watch)?;
        Ok(findings)
    }

    /// Folds one report into its vehicle's state and keeps the row.
    fn report(&mut self, index: u32, record: &Record, vehicle_id: &Text, seen: &mut Vec<LastPosition>) {
        let Body::Device(report) = &record.body else { return };
        let place = match self.by_id.get(vehicle_id) {
            Some(place) => *place,
            None => self.meet(vehicle_id),
        };
        let vehicle = &mut self.vehicles[place as usize];
        vehicle.last_arrival = vehicle.last_arrival.max(record.recv_time);
        // Two devices on one vehicle may interleave: the older report has nothing new to say of the present.
        if record.event_time < vehicle.last_event {
            return;
        }
        vehicle.last_event = record.event_time;
        let input = Input::Report { report, event_time: record.event_time, use_position: record.use_position };
        let row = self.rows.push_mut(Facts::default());
        self.fold.fill(row, &mut vehicle.state, input);
        if record.use_position
            && let (Some(lat), Some(lon)) = (report.lat, report.lon)
        {
            seen.push(LastPosition {
                vehicle_id: vehicle_id.clone(),
                plate: row.plate.clone().unwrap_or_else(|| vehicle_id.clone()),
                at: record.event_time,
                lat,
                lon,
                speed_kmh: row.speed_kmh,
                heading_deg: report.heading_deg,
            });
        }
        self.origins.push(Origin { record: index, vehicle: place });
    }

    /// Folds a sighting. It may be older than the last report; one older than the last sighting says nothing new.
    fn sighting(&mut self, index: u32, sighting: &Sighting, at: Time, vehicle_id: &Text) {
        if !self.reference.rules.asks_sighting() {
            return;
        }
        let place = match self.by_id.get(vehicle_id) {
            Some(place) => *place,
            None => self.meet(vehicle_id),
        };
        let vehicle = &mut self.vehicles[place as usize];
        if at < vehicle.last_sighting {
            return;
        }
        vehicle.last_sighting = at;
        let row = self.rows.push_mut(Facts::default());
        self.fold.fill(row, &mut vehicle.state, Input::Sighting { sighting, event_time: at });
        self.origins.push(Origin { record: index, vehicle: place });
    }

    /// A place for a vehicle that is new.
    fn meet(&mut self, id: &Text) -> u32 {
        let place = self.vehicles.len() as u32;
        self.vehicles.push(Vehicle::new(id.clone()));
        self.by_id.insert(id.clone(), place);
        place
    }

    /// Makes timer rows for the vehicles that are silent, in order of their ids.
    fn tick(&mut self, index: u32, at: Time, findings: &mut Vec<Finding>, watch: Watch<'_>) -> Result<(), EngineError> {
        if !self.reference.rules.asks_timer() {
            return Ok(());
        }
        let tick_ms = self.reference.tick_ms;
        let since = |vehicle: &Vehicle| self.listening_since.max(Some(vehicle.last_arrival)).unwrap_or_default();
        // Who was only seen beside the road has no terminal that could be silent.
        let reporting = (0u32..).zip(&self.vehicles).filter(|(_, vehicle)| vehicle.last_arrival > NEVER);
        let silence = reporting.map(|(place, vehicle)| (place, at.ms_since(since(vehicle))));
        let mut silent: Vec<(u32, i64)> = silence.filter(|(_, silent_ms)| is_looked_at(*silent_ms, tick_ms)).collect();
        silent.sort_unstable_by(|a, b| self.vehicles[a.0 as usize].id.cmp(&self.vehicles[b.0 as usize].id));
        for (place, silent_ms) in silent {
            let input = Input::Timer { at, silent_s: silent_ms as f64 / 1000.0 };
            self.rows.push(self.fold.step(&mut self.vehicles[place as usize].state, input));
            self.origins.push(Origin { record: index, vehicle: place });
            if self.rows.len() >= ROWS {
                self.flush(findings, watch)?;
            }
        }
        Ok(())
    }

    /// Judges the rows kept so far.
    fn flush(&mut self, findings: &mut Vec<Finding>, watch: Watch<'_>) -> Result<(), EngineError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rules = Arc::clone(&self.reference.rules);
        let verdicts = rules.evaluate(&self.rows)?;
        let raised = verdicts.raised();
        for (index, (row, origin)) in self.rows.iter().zip(&self.origins).enumerate() {
            let vehicle = &mut self.vehicles[origin.vehicle as usize];
            let before = findings.len();
            if raised[index] || !vehicle.alerts.is_quiet() {
                advance(&rules, &verdicts, index, row, origin, &mut vehicle.alerts, findings);
            }
            let (vehicle_id, alerts, findings) = (&vehicle.id, &vehicle.alerts, &findings[before..]);
            watch(&Look { vehicle_id, row, verdicts: &verdicts, index, alerts, findings });
        }
        self.rows.clear();
        self.origins.clear();
        Ok(())
    }
}

impl Vehicle {
    fn new(id: Text) -> Self {
        Self {
            id,
            state: VehicleState::default(),
            alerts: VehicleAlerts::default(),
            last_arrival: NEVER,
            last_event: NEVER,
            last_sighting: NEVER,
        }
    }
}

/// Lets every rule say of one row what it says.
fn advance(
    rules: &RuleSet,
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
        let mut found = |what| findings.push(Finding { record: origin.record, turn, what });
        if rule.tally.is_some() {
            if when == Verdict::True {
                found(Found::Hit(Box::new(row.clone()), verdicts.severity(number, index)));
            }
            continue;
        }
        let (clear, severity) = (verdicts.clear(number, index), verdicts.severity(number, index));
        let transitions = alerts.judge(&terms(rule), row, Judgement { when, clear, severity }, || rule.message(row));
        transitions.into_iter().for_each(|transition| found(Found::Change(Box::new(transition))));
    }
}

/// What alerts need to know of a rule.
pub(super) fn terms(rule: &Rule) -> RuleTerms<'_> {
    RuleTerms {
        id: &rule.id,
        version: &rule.version,
        timing: &rule.timing,
        key: &rule.key,
        departments: &rule.departments,
        columns: &rule.columns,
        severity_default: rule.severity_default,
        asks_timer: rule.asks_timer,
        asks_sighting: rule.asks_sighting,
        has_clear: rule.clear.is_some(),
        incident: rule.incident.as_ref(),
        inhibited_by: &rule.inhibited_by,
        tally: rule.tally.as_ref(),
    }
}
