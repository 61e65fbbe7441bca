//! One shard: the state of its vehicles, and the only place where facts, rules and alerts meet.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{EngineError, clock::is_looked_at};
use crate::{
    alerts::{Judgement, RuleTerms, VehicleAlerts},
    facts::{Fold, Input, Settings, VehicleState},
    model::{Body, Facts, Outcome, Record, Severity, Sighting, Text, Time, Transition, Verdict, limits::RECENT_ALERTS},
    registry::Registry,
    rules::{Risk, RiskSheet, Rule, RuleSet, Verdicts},
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
}

/// Facts, rules and alerts over the vehicles of one shard. Deterministic: the same records give the same findings.
pub struct Judge {
    reference: Reference,
    fold: Fold,
    vehicles: Vec<Vehicle>,
    /// Places in `vehicles`.
    by_id: FxHashMap<Text, u32>,
    /// Silence before this is our own.
    listening_since: Option<Time>,
    /// Whether rules ask how many alerts a vehicle had lately.
    asks_recent: bool,
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
    /// When its risk was last assessed.
    assessed_at: Time,
    /// When its last grave alerts opened, oldest first.
    opened: Vec<Time>,
}

/// Where a row of facts came from.
struct Origin {
    record: u32,
    /// Place in [`Judge::vehicles`].
    vehicle: u32,
}

/// Before all that can be.
const NEVER: Time = Time::from_millis(i64::MIN);

/// How far back alerts are recent.
const RECENT_MS: i64 = 30 * 86_400_000;
/// How long an assessment is good enough to show.
const ASSESS_EVERY_MS: i64 = 600_000;
/// Rows that are judged together: large enough that predicates are cheap, small enough to stay in the cache.
const ROWS: usize = 1_024;

impl Judge {
    /// A judge that knows no vehicle yet.
    pub fn new(reference: Reference) -> Self {
        let (fold, asks_recent) = (reference.fold(), asks_recent(&reference));
        Self {
            reference,
            fold,
            asks_recent,
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
        self.asks_recent = asks_recent(&reference);
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
        seen: &mut Seen,
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
        seen: &mut Seen,
        watch: Watch<'_>,
    ) -> Result<Vec<Finding>, EngineError> {
        let mut findings = Vec::new();
        for (index, vehicle_id) in mine {
            let record = &batch[*index as usize];
            match &record.body {
                Body::Device(_) if record.outcome == Outcome::Evaluated => {
                    self.report(*index, record, vehicle_id, seen);
                    self.look_back(&mut findings, seen, watch)?;
                }
                Body::Sighting(sighting) => self.sighting(*index, sighting, record.event_time, vehicle_id),
                Body::Tick => self.tick(*index, record.recv_time, &mut findings, seen, watch)?,
                Body::Start => self.listening_since = Some(record.recv_time),
                _ => {}
            }
            if self.rows.len() >= ROWS {
                self.flush(&mut findings, seen, watch)?;
            }
        }
        self.flush(&mut findings, seen, watch)?;
        Ok(findings)
    }

    /// Folds one report into its vehicle's state and keeps the row.
    fn report(&mut self, index: u32, record: &Record, vehicle_id: &Text, seen: &mut Seen) {
        let Body::Device(report) = &record.body else { return };
        let place = self.place_of(vehicle_id);
        let vehicle = &mut self.vehicles[place as usize];
        vehicle.last_arrival = vehicle.last_arrival.max(record.recv_time);
        // Two devices on one vehicle may interleave: the older report has nothing new to say of the present.
        if record.event_time < vehicle.last_event {
            return;
        }
        vehicle.last_event = record.event_time;
        let Record { event_time, recv_time, use_position, .. } = *record;
        let input = Input::Report { report, event_time, recv_time, use_position };
        let row = self.rows.push_mut(Facts::default());
        self.fold.fill(row, &mut vehicle.state, input);
        if record.use_position
            && let (Some(lat), Some(lon)) = (report.lat, report.lon)
        {
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
        self.origins.push(Origin { record: index, vehicle: place });
    }

    /// Folds a sighting. It may be older than the last report; one older than the last sighting says nothing new.
    fn sighting(&mut self, index: u32, sighting: &Sighting, at: Time, vehicle_id: &Text) {
        if !self.reference.rules.asks_sighting() {
            return;
        }
        let place = self.place_of(vehicle_id);
        let vehicle = &mut self.vehicles[place as usize];
        if at < vehicle.last_sighting {
            return;
        }
        vehicle.last_sighting = at;
        let row = self.rows.push_mut(Facts::default());
        self.fold.fill(row, &mut vehicle.state, Input::Sighting { sighting, event_time: at });
        self.origins.push(Origin { record: index, vehicle: place });
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

    /// Makes timer rows for the vehicles that are silent, in order of their ids.
    fn tick(
        &mut self,
        index: u32,
        at: Time,
        findings: &mut Vec<Finding>,
        seen: &mut Seen,
        watch: Watch<'_>,
    ) -> Result<(), EngineError> {
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
                self.flush(findings, seen, watch)?;
            }
        }
        Ok(())
    }

    /// Tells a row at a source's gate of the vehicle's recent alerts: those of all its rows before, so these are judged first.
    fn look_back(&mut self, findings: &mut Vec<Finding>, seen: &mut Seen, watch: Watch<'_>) -> Result<(), EngineError> {
        if !self.asks_recent || self.rows.last().is_none_or(|row| row.source_gate.is_none()) {
            return Ok(());
        }
        let (Some(mut row), Some(origin)) = (self.rows.pop(), self.origins.pop()) else { return Ok(()) };
        self.flush(findings, seen, watch)?;
        row.recent_alerts = Some(self.vehicles[origin.vehicle as usize].recent_alerts(row.event_time));
        self.rows.push(row);
        self.origins.push(origin);
        Ok(())
    }

    /// Assesses the rows at gates, and of the others those of vehicles whose last assessment is old.
    fn assess(&mut self, rules: &RuleSet, seen: &mut Seen) -> Result<(), EngineError> {
        let Some(sheet) = rules.risk() else { return Ok(()) };
        let (mut rows, mut ids) = (Vec::new(), Vec::new());
        for (row, origin) in self.rows.iter().zip(&self.origins) {
            let vehicle = &mut self.vehicles[origin.vehicle as usize];
            let at = row.event_time.unwrap_or_default();
            let is_due = vehicle.assessed_at == NEVER || at.ms_since(vehicle.assessed_at) >= ASSESS_EVERY_MS;
            if row.row_kind == Some("report") && (row.source_gate.is_some() || is_due) {
                vehicle.assessed_at = at;
                rows.push(Facts { recent_alerts: Some(vehicle.recent_alerts(row.event_time)), ..row.clone() });
                ids.push(vehicle.id.clone());
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let risks = sheet.assess(&rows)?;
        seen.risks.extend(ids.into_iter().zip(&rows).zip(risks).map(|((vehicle_id, row), risk)| Assessed {
            vehicle_id,
            at: row.event_time.unwrap_or_default(),
            risk,
            sheet: Arc::clone(sheet),
        }));
        Ok(())
    }

    /// Judges the rows kept so far.
    fn flush(&mut self, findings: &mut Vec<Finding>, seen: &mut Seen, watch: Watch<'_>) -> Result<(), EngineError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rules = Arc::clone(&self.reference.rules);
        self.assess(&rules, seen)?;
        let verdicts = rules.evaluate(&self.rows)?;
        let raised = verdicts.raised();
        for (index, (row, origin)) in self.rows.iter().zip(&self.origins).enumerate() {
            let vehicle = &mut self.vehicles[origin.vehicle as usize];
            let before = findings.len();
            if raised[index] || !vehicle.alerts.is_quiet() {
                advance(&rules, &verdicts, index, row, origin, &mut vehicle.alerts, findings);
                if self.asks_recent {
                    vehicle.remember(&findings[before..], rules.risk());
                }
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
            assessed_at: NEVER,
            opened: Vec::new(),
        }
    }

    /// How many grave alerts opened in the days before.
    fn recent_alerts(&self, at: Option<Time>) -> i64 {
        let at = at.unwrap_or_default();
        self.opened.iter().filter(|opened| at.ms_since(**opened) <= RECENT_MS).count() as i64
    }

    /// Keeps when grave alerts opened; not those of shadow rules, nor those about risk, or a risk would be one for having been one.
    fn remember(&mut self, findings: &[Finding], risk: Option<&Arc<RiskSheet>>) {
        for finding in findings {
            let Found::Change(transition) = &finding.what else { continue };
            let Transition::Opened(alert) = &**transition else { continue };
            let is_risk = risk.is_some_and(|sheet| *sheet.rule_id == *alert.rule_id);
            if alert.severity >= Severity::Major && !is_risk && !alert.shadow {
                if self.opened.len() >= RECENT_ALERTS {
                    self.opened.remove(0);
                }
                self.opened.push(alert.fired_at);
            }
        }
    }
}

/// Whether rules ask for `recent_alerts`.
fn asks_recent(reference: &Reference) -> bool {
    reference.rules.columns().contains_any(&["recent_alerts"])
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
        shadow: rule.shadow,
    }
}
