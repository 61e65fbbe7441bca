//! The evidence of one alert: history judged again with somebody taking notes.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use super::{
    Difference, EngineError, Found, Heard, Look, Reference, ToldAlert, Watcher,
    retrial::{Course, Listener, retry},
};
use crate::{
    alerts::{Hold, Phase},
    facts::Fold,
    model::{
        Alert, Body, Column, Facts, Outcome, Reason, Record, Text, Time, Timing, Transition, Value, Verdict, limits,
    },
    registry::{Book, Entity, HeldRow},
    rules::{Parts, Rule, RuleSet},
    store::InForce,
};

/// What is to be explained.
#[derive(Clone, Debug)]
pub struct Asked {
    /// As it was told, or as it was found before.
    pub alert: Alert,
    /// As it was told: only then there is something to reproduce.
    pub told: Option<ToldAlert>,
    /// How much before it began, and after it fired or cleared, is shown.
    pub before_ms: i64,
    pub after_ms: i64,
}

/// All that decided an alert.
#[derive(Clone, Debug, Serialize)]
pub struct Evidence {
    pub alert: Alert,
    /// Whether judging history again gives it byte for byte; null when nothing was told that could be compared.
    pub reproduced: Option<bool>,
    /// Fields in which it does not.
    pub differences: Vec<Difference>,
    /// As it was found again, when that differs; null when it was not found at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<Option<Alert>>,
    /// Of an alert that is not found any more: the clauses that do not hold when it fired.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed_clauses: Vec<Clause>,
    pub history: Heard,
    /// What of history cannot be read, or is not kept any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// The rule as it judged.
    pub rule: Option<Heading>,
    /// Rules and registry that judged up to the end of what is shown.
    pub in_force: Vec<Json>,
    /// What was registered when it fired.
    pub registered: Vec<Registered>,
    /// Each change that was told of it, in order of arrival.
    pub told: Vec<Told>,
    pub steps: Vec<Step>,
    pub reports: Vec<Report>,
    pub media: Vec<Json>,
    /// GeoJSON (RFC 7946).
    pub track: Json,
    pub cut: Cut,
}

/// What did not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cut {
    pub steps: usize,
    pub reports: usize,
    /// Rows of the time between firing and clearing that is not shown.
    pub between: usize,
}

/// A rule as it judged.
#[derive(Clone, Debug, Serialize)]
pub struct Heading {
    pub id: Text,
    pub version: Text,
    /// Digest of the set of rules that it was loaded with.
    pub set: Text,
    pub file: Text,
    pub line: u32,
    /// As written in the file.
    pub text: String,
    pub when: Text,
    pub clear: Option<Text>,
    #[serde(skip)]
    pub timing: Timing,
    #[serde(skip)]
    pub title: Text,
}

/// A version of what was registered.
#[derive(Clone, Debug, Serialize)]
pub struct Registered {
    pub entity: &'static str,
    pub id: String,
    pub cells: BTreeMap<&'static str, String>,
    pub valid_from: Option<Time>,
    pub valid_to: Option<Time>,
    /// Whether it held when the alert fired.
    pub held: bool,
    /// The batch of the registry's book that it came with.
    pub batch: i64,
    /// The first 16 hexadecimal digits of SHA-256 over its shape as GeoJSON in WGS-84.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geometry_digest: Option<String>,
}

/// A change to the alert.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    pub change: &'static str,
    /// When the last report arrived before it was known.
    pub known_at: Option<Time>,
    pub severity: crate::model::Severity,
    pub state: crate::model::AlertState,
    pub retrospective: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// One row, as the rule saw it.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    pub event_time: Time,
    /// When the report arrived; rows made by the clock have none.
    pub recv_time: Option<Time>,
    pub row_kind: &'static str,
    pub vehicle_id: Text,
    pub verdict: &'static str,
    pub clauses: Vec<Clause>,
    /// Those of the clearing predicate, while an alert is open.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clear: Vec<Clause>,
    /// The rule's columns, and what else is known of distances and limits.
    pub facts: Map<String, Json>,
    /// How the rule stood after it, under each key.
    pub stands: Vec<Standing>,
    /// What it changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub happened: Vec<String>,
}

impl Step {
    /// Whether the rule says the same of both and stands the same, but for how long.
    pub fn is_like(&self, other: &Self) -> bool {
        let state = |step: &Self| step.stands.iter().map(|standing| standing.state).collect::<Vec<_>>();
        let said = |step: &Self| step.clauses.iter().map(|clause| clause.verdict).collect::<Vec<_>>();
        (self.verdict, said(self), state(self)) == (other.verdict, said(other), state(other))
    }
}

/// A part of a predicate that must hold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Clause {
    pub text: String,
    pub verdict: &'static str,
    pub values: Map<String, Json>,
}

/// How a rule stands under a key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// Values of the key but for the vehicle.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub key: Map<String, Json>,
    /// `idle`, `holding`, `counting`, `open`, `clearing` or `cooling`.
    pub state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Event time held so far, and what is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_ms: Option<[i64; 2]>,
    /// Reports, or hits, so far, and what is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<[u32; 2]>,
    /// Unknown has stopped the clock.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
}

/// Why a report was not judged that only says what another device of the vehicle says, too.
pub const BESIDE: &str = "another_device_is_followed";

/// A report or sighting of the vehicle, and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// In the journal, or which record of the files.
    pub position: u64,
    pub event_time: Time,
    pub recv_time: Time,
    /// Whether it was judged.
    pub used: bool,
    /// Whether its position was.
    pub position_used: bool,
    pub outcome: &'static str,
    pub reason: &'static str,
    /// `report` or `sighting`.
    pub kind: &'static str,
    /// As it came, in our units.
    pub content: Json,
}

/// What tells of which device's report a row was made, where several devices of a vehicle report at one time.
#[derive(PartialEq)]
struct Row {
    /// Latitude and longitude.
    place: Option<(f64, f64)>,
    alarms: Option<Arc<[Text]>>,
}

impl Row {
    fn may_be_of(&self, report: &Json) -> bool {
        let place = || report["lat"].as_f64().zip(report["lon"].as_f64());
        let alarms = || report["alarms"].as_array().map_or(&[][..], |alarms| alarms);
        match self.place {
            Some(known) => place() == Some(known),
            None => {
                let known = self.alarms.as_deref().unwrap_or_default();
                alarms().iter().map(Json::as_str).eq(known.iter().map(|one| Some(&**one)))
            }
        }
    }
}

/// The report that settles another comes so soon at the latest, milliseconds: well over the default of `facts.max_gap_s`.
const SETTLED_WITHIN_MS: i64 = 3_600_000;

/// Judges history again, of one vehicle where [`only_vehicle`] says so, and writes down all that decided the alert.
///
/// # Errors
/// The first error of `records` (as it came), of judging, or of what was in force.
pub fn evidence<E: From<EngineError>>(
    course: &Course<'_>,
    asked: Asked,
    only: Option<Text>,
    book: Option<&Book>,
    records: impl Iterator<Item = Result<(u64, Record), E>>,
) -> Result<Evidence, E> {
    let mut notes = Notes::new(asked);
    let heard = retry(course, records, only, &mut notes)?;
    notes.finish(heard, book).map_err(E::from)
}

/// The vehicle of an alert that depends on no other.
///
/// # Errors
/// When what was in force cannot be read.
pub fn only_vehicle(course: &Course<'_>, alert: &Alert) -> Result<Option<Text>, EngineError> {
    let own = |needs_all: bool| Some(alert.vehicle_id.clone()).filter(|_| !needs_all);
    for from in course.in_force.iter().rev() {
        let rules = (course.reference)(from)?.rules;
        if let Some(rule) = rules.index_of(&alert.rule_id).map(|index| &rules.rules()[index]) {
            let counts = |id: &Text| rules.index_of(id).is_some_and(|index| rules.rules()[index].tally.is_some());
            return Ok(own(rule.tally.is_some() || rule.inhibited_by.iter().any(counts)));
        }
    }
    Ok(own(alert.vehicle_id.is_empty()))
}

/// What is shown of a row besides the rule's own columns, when it is known.
const CONTEXT: &[&str] = &[
    "lat",
    "lon",
    "speed_kmh",
    "speed_limit_kmh",
    "road_id",
    "road_name",
    "road_distance_m",
    "road_confidence",
    "road_ambiguous",
    "route_id",
    "route_deviation_m",
    "off_route",
    "place_id",
    "permit_id",
    "permit_status",
    "in_permit_window",
    "zone_ids",
];

/// What a rule asks, taken apart.
struct Asking {
    number: usize,
    turn: u32,
    rule: Rule,
    when: Parts,
    clear: Option<Parts>,
    columns: Vec<Column>,
}

struct Notes {
    asked: Asked,
    fold: Option<Fold>,
    asking: Option<Asking>,
    heading: Option<Heading>,
    in_force: Vec<InForce>,
    /// By event time, kind, vehicle and the row's number in `rows`.
    steps: BTreeMap<(Time, &'static str, Text, usize), Step>,
    /// Of the vehicle, whatever the rule asks, by event time.
    rows: BTreeMap<Time, Vec<Row>>,
    reports: Vec<Report>,
    told: Vec<Told>,
    found: Option<Alert>,
    arrival: Option<Time>,
    cut: Cut,
}

impl Notes {
    fn new(asked: Asked) -> Self {
        Self {
            asked,
            fold: None,
            asking: None,
            heading: None,
            in_force: Vec::new(),
            steps: BTreeMap::new(),
            rows: BTreeMap::new(),
            reports: Vec::new(),
            told: Vec::new(),
            found: None,
            arrival: None,
            cut: Cut::default(),
        }
    }

    /// Whether an instant is near enough to the alert's beginning, firing or end.
    fn is_near(&self, at: Time) -> bool {
        let Asked { alert, before_ms, after_ms, .. } = &self.asked;
        let within = |from: Time, to: Time| at >= from.plus_ms(-before_ms) && at <= to.plus_ms(*after_ms);
        within(alert.started_at, alert.fired_at) || alert.cleared_at.is_some_and(|cleared| within(cleared, cleared))
    }

    fn is_over(&self, at: Time) -> bool {
        let alert = &self.asked.alert;
        let asks_settled = self.asking.as_ref().is_some_and(|asking| asking.rule.asks_settled);
        let wait_ms = if asks_settled { SETTLED_WITHIN_MS } else { 0 };
        at > alert.cleared_at.unwrap_or(alert.fired_at).plus_ms(self.asked.after_ms + wait_ms)
    }

    fn step(&self, asking: &Asking, look: &Look<'_>) -> Step {
        let Asking { number, rule, when, clear, columns, .. } = asking;
        let zone_id = self.asked.alert.facts.get("zone_id").and_then(|zone_id| zone_id.as_str());
        let (row, verdict) = look.verdicts.seen(*number, look.index, look.row, zone_id);
        let stands: Vec<Standing> =
            look.alerts.phases(&rule.id, &rule.timing).map(|(key, phase)| standing(rule, key, &phase, row)).collect();
        let is_open = stands.iter().any(|standing| matches!(standing.state, "open" | "clearing"));
        let context = CONTEXT.iter().filter_map(|name| Column::named(name)).filter(|column| !columns.contains(column));
        let own = columns.iter().map(|column| (column.name().to_owned(), row.value(*column).to_json()));
        let more = context.map(|column| (column, row.value(column))).filter(|(_, value)| *value != Value::Null);
        Step {
            event_time: row.judged_at(rule.asks_settled).unwrap_or_default(),
            recv_time: None,
            row_kind: row.row_kind.unwrap_or("report"),
            vehicle_id: look.vehicle_id.clone(),
            verdict: word(verdict),
            clauses: clauses(when, row),
            clear: clear.as_ref().filter(|_| is_open).map(|clear| clauses(clear, row)).unwrap_or_default(),
            facts: own.chain(more.map(|(column, value)| (column.name().to_owned(), value.to_json()))).collect(),
            stands,
            happened: self.happened(asking, look),
        }
    }

    /// What the row did to alerts, and what kept it from it.
    fn happened(&self, asking: &Asking, look: &Look<'_>) -> Vec<String> {
        let of_rule = look.findings.iter().filter(|finding| finding.turn == asking.turn);
        let mut happened: Vec<String> = of_rule
            .map(|finding| match &finding.what {
                Found::Change(transition) => changed(&asking.rule, transition),
                Found::Hit { .. } => "counted".to_owned(),
                Found::Unhit(..) => "counted no longer".to_owned(),
            })
            .collect();
        let inhibitors = look.alerts.inhibitors(&asking.rule.inhibited_by);
        happened.extend(inhibitors.map(|rule_id| format!("held back by an open alert of {rule_id}")));
        happened
    }

    fn finish(mut self, history: Heard, book: Option<&Book>) -> Result<Evidence, EngineError> {
        let arrivals: BTreeMap<Time, Time> =
            self.reports.iter().rev().map(|report| (report.event_time, report.recv_time)).collect();
        let mut steps: Vec<Step> = std::mem::take(&mut self.steps).into_values().collect();
        for step in steps.iter_mut().filter(|step| step.row_kind != "timer") {
            step.recv_time = arrivals.get(&step.event_time).copied();
        }
        let vehicle_id = &self.asked.alert.vehicle_id;
        let has_others = self.fold.as_ref().is_some_and(|fold| fold.has_others(vehicle_id, self.asked.alert.fired_at));
        for report in &mut self.reports {
            let rows = self.rows.get(&report.event_time).map_or(&[][..], |rows| rows);
            let row = rows.iter().find(|row| !has_others || report.kind != "report" || row.may_be_of(&report.content));
            report.used &= row.is_some();
            // Of a vehicle's devices one is followed: where another one was says nothing.
            report.position_used &= row.is_some_and(|row| report.kind != "report" || row.place.is_some());
            if !report.used && report.outcome == Outcome::Evaluated.as_str() && report.kind == "report" {
                // Admission believed it; in order of event time it cannot have been driven to, or another device of the vehicle is
                // followed.
                (report.outcome, report.reason) = match has_others {
                    true => (report.outcome, BESIDE),
                    false => (Outcome::Filtered.as_str(), Reason::ImplausibleJump.as_str()),
                };
            }
        }
        let Asked { mut alert, told, .. } = self.asked;
        let differences =
            self.found.as_ref().zip(told.as_ref()).map(|(found, told)| told.differences(found)).unwrap_or_default();
        let is_gone = self.found.as_ref().is_none_or(|found| {
            found.state == crate::model::AlertState::Withdrawn && alert.state != crate::model::AlertState::Withdrawn
        });
        let failed = |step: &Step| {
            step.clauses.iter().filter(|clause| clause.verdict != "true").cloned().collect::<Vec<Clause>>()
        };
        let at_firing = steps.iter().rev().find(|step| step.event_time <= alert.fired_at);
        let failed_clauses = if is_gone { at_firing.map(failed).unwrap_or_default() } else { Vec::new() };
        let reproduced = told.is_some().then_some(self.found.is_some() && differences.is_empty());
        if let (Some(told), Some(true), Some(found)) = (&told, reproduced, &self.found) {
            // To the last bit.
            alert = told.likewise(found);
        }
        let batch = self.in_force.last().map_or(0, |from| from.registry);
        let registered = match book {
            Some(book) => registered(book, &alert, at_firing, batch)?,
            None => Vec::new(),
        };
        let in_force = self.in_force.iter().map(
            |from| json!({"position": from.position, "at": from.at, "rules": from.rules, "registry": from.registry}),
        );
        Ok(Evidence {
            reproduced,
            found: (reproduced == Some(false)).then_some(self.found),
            differences,
            failed_clauses,
            history,
            missing: Vec::new(),
            rule: self.heading,
            in_force: in_force.collect(),
            registered,
            told: self.told,
            media: media(&self.reports),
            track: track(&self.reports),
            reports: self.reports,
            steps,
            alert,
            cut: self.cut,
        })
    }
}

impl Listener for Notes {
    fn replaced(&mut self, from: &InForce, reference: &Reference) -> Result<(), EngineError> {
        self.fold = Some(reference.fold());
        if self.arrival.is_none_or(|arrival| !self.is_over(arrival)) {
            self.in_force.push(from.clone());
            self.in_force.drain(..self.in_force.len().saturating_sub(limits::EVIDENCE_CHANGES));
        }
        self.asking = Asking::of(&reference.rules, &self.asked.alert.rule_id)?;
        if let Some(asking) = &self.asking
            && self.heading.as_ref().is_none_or(|heading| heading.version != self.asked.alert.rule_version)
        {
            self.heading = Some(heading(&reference.rules, &asking.rule));
        }
        Ok(())
    }

    fn heard(&mut self, position: u64, record: &Record) {
        self.arrival = self.arrival.max(Some(record.recv_time));
        if !self.is_near(record.event_time) {
            return;
        }
        let Some(fold) = &self.fold else { return };
        let (vehicle, kind, content) = match &record.body {
            Body::Device(report) => {
                let id = fold.vehicle_id(&report.device_id, record.event_time);
                (Some(id), "report", serde_json::to_value(report))
            }
            Body::Sighting(sighting) => {
                (fold.vehicle_seen(sighting, record.event_time), "sighting", serde_json::to_value(sighting))
            }
            _ => return,
        };
        if vehicle.is_none_or(|vehicle| vehicle != self.asked.alert.vehicle_id) {
            return;
        }
        if self.reports.len() >= limits::EVIDENCE_REPORTS {
            self.cut.reports += 1;
            return;
        }
        self.reports.push(Report {
            position,
            event_time: record.event_time,
            recv_time: record.recv_time,
            used: record.outcome == Outcome::Evaluated || record.reason == Reason::ImplausibleJump,
            // Of a jump that bears an alarm the position is not used; of another one it may be, in order of event time.
            position_used: record.use_position
                || (record.outcome, record.reason) == (Outcome::Filtered, Reason::ImplausibleJump),
            outcome: record.outcome.as_str(),
            reason: record.reason.as_str(),
            kind,
            content: content.unwrap_or_default(),
        });
    }
}

impl Watcher for Notes {
    fn row(&mut self, look: &Look<'_>) {
        let at = look.row.event_time.unwrap_or_default();
        let is_own = *look.vehicle_id == self.asked.alert.vehicle_id;
        if is_own && self.rows.last_key_value().is_some_and(|(last, _)| *last > at) {
            // The past is judged again from here on.
            self.rows.split_off(&at);
            self.steps.retain(|(step, _, vehicle, _), _| *step < at || vehicle != look.vehicle_id);
        }
        // A rule of settled facts judges the report before.
        let asks_settled = self.asking.as_ref().is_some_and(|asking| asking.rule.asks_settled);
        let judged_at = look.row.judged_at(asks_settled).filter(|at| self.is_near(*at));
        if judged_at.is_none() && !self.is_near(at) {
            let alert = &self.asked.alert;
            let is_between = at > alert.fired_at && alert.cleared_at.is_some_and(|cleared| at < cleared);
            self.cut.between += usize::from(is_own && is_between);
            return;
        }
        // Of those of one time; judged again, it is the same one.
        let mut number = 0;
        if is_own && look.row.row_kind != Some("timer") {
            let row = Row { place: look.row.lat.zip(look.row.lon), alarms: look.row.alarms.clone() };
            let rows = self.rows.entry(at).or_default();
            let known = rows.iter().position(|known| *known == row);
            number = known.unwrap_or_else(|| {
                rows.push(row);
                rows.len() - 1
            });
        }
        let Some(asking) = &self.asking else { return };
        let is_counted = look.findings.iter().any(|finding| finding.turn == asking.turn);
        let is_wanted = if asking.rule.tally.is_some() { is_counted } else { is_own };
        if !is_wanted || judged_at.is_none() || !look.row.is_asked(asking.rule.asks_timer, asking.rule.asks_sighting) {
            return;
        }
        if self.steps.len() >= limits::EVIDENCE_STEPS {
            self.cut.steps += 1;
            return;
        }
        let step = self.step(asking, look);
        self.steps.insert((at, step.row_kind, look.vehicle_id.clone(), number), step);
    }

    fn told(&mut self, transition: &Transition) {
        let alert = transition.alert();
        if alert.alert_id != self.asked.alert.alert_id {
            return;
        }
        self.found = Some(alert.clone());
        if self.told.len() >= limits::EVIDENCE_STEPS {
            return;
        }
        let change = match transition {
            Transition::Opened(_) => "opened",
            Transition::Raised(_) => "raised",
            Transition::Cleared(_) => "cleared",
            Transition::Revised(_) => "revised",
            Transition::Withdrawn(_) => "withdrawn",
        };
        let because = alert.withdrawn_because.clone();
        let (severity, state, retrospective) = (alert.severity, alert.state, alert.retrospective);
        self.told.push(Told { change, known_at: self.arrival, severity, state, retrospective, because });
    }

    fn refused(&mut self, record: &Record, outcome: Outcome, reason: Reason) {
        let is_it = |report: &&mut Report| {
            (report.event_time, report.recv_time, report.used) == (record.event_time, record.recv_time, true)
        };
        if let Some(report) = self.reports.iter_mut().rev().find(is_it) {
            (report.used, report.outcome, report.reason) = (false, outcome.as_str(), reason.as_str());
        }
    }
}

impl Asking {
    fn of(rules: &RuleSet, rule_id: &str) -> Result<Option<Self>, EngineError> {
        let Some(number) = rules.index_of(rule_id) else { return Ok(None) };
        let rule = rules.rules()[number].clone();
        let turn = rules.order().iter().position(|place| *place as usize == number).unwrap_or_default() as u32;
        // What counts alerts asks no rows.
        let asks_none = rule.tally.as_ref().is_some_and(|tally| tally.over.is_some());
        let when = if asks_none { Parts::default() } else { Parts::of(&rule.when)? };
        let clear = rule.clear.as_ref().map(|clear| Parts::of(clear)).transpose()?;
        Ok(Some(Self { number, turn, when, clear, columns: rule.columns.clone(), rule }))
    }
}

fn heading(rules: &RuleSet, rule: &Rule) -> Heading {
    let file = rules.files().iter().find(|(name, _)| *name == rule.file);
    Heading {
        id: rule.id.clone(),
        version: rule.version.clone(),
        set: rules.digest().into(),
        file: rule.file.clone(),
        line: rule.line,
        text: file.map(|(_, text)| entry(text, rule.line)).unwrap_or_default(),
        when: rule.when.clone(),
        clear: rule.clear.clone(),
        timing: rule.timing,
        title: rule.title("en").into(),
    }
}

/// The entry of a list that begins at a line: all that is indented further than its dash.
fn entry(text: &str, line: u32) -> String {
    let mut lines = text.lines().skip(line.saturating_sub(1) as usize);
    let Some(first) = lines.next() else { return String::new() };
    let indent = |line: &str| line.len() - line.trim_start().len();
    let depth = indent(first);
    let mut all = vec![first];
    // Of an entry that is no item of a list, such as the sheet of risks, all that stands beside its first line.
    let least = if first.trim_start().starts_with('-') { depth + 1 } else { depth.max(1) };
    all.extend(lines.take_while(|line| line.trim().is_empty() || indent(line) >= least));
    let told: Vec<&str> = all.iter().map(|line| line.get(depth..).unwrap_or_default()).collect();
    told.join("\n").trim_end().to_owned()
}

fn clauses(parts: &Parts, row: &Facts) -> Vec<Clause> {
    let verdicts = parts.verdicts(row).unwrap_or_default();
    let value = |column: &Column| (column.name().to_owned(), row.value(*column).to_json());
    parts
        .iter()
        .zip(verdicts)
        .map(|(part, verdict)| Clause {
            text: part.text.clone(),
            verdict: word(verdict),
            values: part.columns.iter().map(value).collect(),
        })
        .collect()
}

fn standing(rule: &Rule, key: &[Option<Text>], phase: &Phase, row: &Facts) -> Standing {
    let own = rule.key.iter().filter(|column| column.name() != "vehicle_id").zip(key);
    let timing = &rule.timing;
    let mut standing = Standing {
        key: own.map(|(column, value)| (column.name().to_owned(), json!(value.as_deref()))).collect(),
        state: "idle",
        since: None,
        held_ms: None,
        samples: None,
        interrupted: false,
    };
    let hold = |standing: &mut Standing, state, hold: &Hold, asked: i64, samples: u32| {
        (standing.state, standing.since) = (state, Some(hold.started_at));
        standing.held_ms = Some([hold.held_ms, asked]);
        standing.samples = Some([hold.samples, samples]);
        standing.interrupted = hold.interrupted;
    };
    match phase {
        Phase::Open { clearing: Some(clearing), .. } => hold(&mut standing, "clearing", clearing, timing.clear_ms, 1),
        Phase::Open { fired_at, .. } => (standing.state, standing.since) = ("open", Some(*fired_at)),
        Phase::Closed { hold: Some(begun), .. } => {
            hold(&mut standing, "holding", begun, timing.hold_ms, timing.min_samples);
        }
        Phase::Closed { hits, .. } if *hits > 0 => {
            standing.state = "counting";
            let asked = timing.count.map_or(1, |window| window.at_least);
            standing.samples = Some([u32::try_from(*hits).unwrap_or(u32::MAX), asked]);
        }
        Phase::Closed { cools_until: Some(until), .. } if Some(*until) > row.event_time => standing.state = "cooling",
        Phase::Closed { .. } => {}
    }
    standing
}

fn changed(rule: &Rule, transition: &Transition) -> String {
    let alert = transition.alert();
    let whose = if alert.rule_id == rule.id { String::new() } else { format!(" the alert of {}", alert.rule_id) };
    match transition {
        Transition::Opened(_) => format!("fires as {}", alert.severity),
        Transition::Raised(_) if !whose.is_empty() => format!("joins{whose}, {}", alert.severity),
        Transition::Raised(_) => format!("raised to {}", alert.severity),
        Transition::Cleared(_) => format!("clears{whose}"),
        Transition::Revised(_) => format!("revises{whose}"),
        Transition::Withdrawn(_) => format!("withdraws{whose}"),
    }
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::True => "true",
        Verdict::False => "false",
        Verdict::Unknown => "unknown",
    }
}

/// The versions of all that the alert names, and the permits of its vehicle.
fn registered(
    book: &Book,
    alert: &Alert,
    at_firing: Option<&Step>,
    batch: i64,
) -> Result<Vec<Registered>, EngineError> {
    let fact = |name: &str| alert.facts.get(name).or_else(|| at_firing?.facts.get(name)).cloned().unwrap_or_default();
    let mut all: Vec<Registered> = Vec::new();
    let mut add = |entity: Entity, row: HeldRow| {
        let held = row.valid.contains(alert.fired_at);
        let is_known =
            all.iter().any(|one| (one.entity, &one.id, one.batch) == (entity.name(), &row.key, row.opened_in));
        if all.len() < limits::EVIDENCE_VERSIONS && !is_known {
            all.push(Registered {
                entity: entity.name(),
                id: row.key,
                cells: row.cells,
                valid_from: row.valid.from,
                valid_to: row.valid.to,
                held,
                batch: row.opened_in,
                geometry_digest: row.geometry_digest,
            });
        }
        held
    };
    let text = |value: &Option<Text>| value.as_deref().unwrap_or_default().to_owned();
    let mut ids: Vec<(Entity, String)> = vec![
        (Entity::Vehicles, alert.vehicle_id.to_string()),
        (Entity::Companies, alert.company_id.to_string()),
        (Entity::Drivers, text(&alert.driver_id)),
        (Entity::Manifests, text(&alert.manifest_id)),
        (Entity::Places, text(&alert.place_id)),
        (Entity::Roads, text(&alert.road_id)),
        (Entity::Districts, text(&alert.district_id)),
        (Entity::Routes, fact("route_id").as_str().unwrap_or_default().to_owned()),
    ];
    let zones = fact("zone_ids");
    ids.extend(zones.as_array().into_iter().flatten().filter_map(|id| Some((Entity::Zones, id.as_str()?.to_owned()))));
    // All permits of the vehicle: what was missing is told by those that did not hold.
    for row in book.rows_about(Entity::Permits, "vehicle_id", &alert.vehicle_id, batch)? {
        let routes = row.cells.get("route_ids").cloned().unwrap_or_default();
        if add(Entity::Permits, row) {
            ids.extend(routes.split_whitespace().map(|id| (Entity::Routes, id.to_owned())));
        }
    }
    for (entity, id) in ids.iter().filter(|(_, id)| !id.is_empty()) {
        let column = entity.key();
        for row in book.rows_about(*entity, column, id, batch)? {
            if row.valid.contains(alert.fired_at) {
                add(*entity, row);
            }
        }
    }
    let subjects = [&*alert.vehicle_id, &*alert.company_id, alert.driver_id.as_deref().unwrap_or_default()];
    for (entity, column) in [(Entity::Blacklist, "subject_id"), (Entity::Outages, "vehicle_id")] {
        for subject in subjects.iter().filter(|subject| !subject.is_empty()) {
            for row in book.rows_about(entity, column, subject, batch)? {
                if row.valid.contains(alert.fired_at) {
                    add(entity, row);
                }
            }
        }
    }
    Ok(all)
}

/// Pictures and clips that reports and sightings point to.
fn media(reports: &[Report]) -> Vec<Json> {
    let mut all = Vec::new();
    for report in reports {
        let of = |content: &Json, kind: &str| {
            let media = content.get("media").filter(|media| !media.is_null())?;
            Some(json!({"event_time": report.event_time, "kind": content[kind], "media": media}))
        };
        all.extend(of(&report.content, "kind"));
        let events = report.content.get("events").and_then(Json::as_array);
        all.extend(events.into_iter().flatten().filter_map(|event| of(event, "kind")));
    }
    all
}

/// Where the vehicle was: a line of the fixes used, in order of event time, and a point for each fix.
fn track(reports: &[Report]) -> Json {
    let mut fixes: Vec<(&Report, [f64; 2])> = reports
        .iter()
        .filter_map(|report| {
            let number = |name: &str| report.content.get(name).and_then(Json::as_f64);
            Some((report, [number("lon")?, number("lat")?]))
        })
        .filter(|(_, position)| *position != [0.0, 0.0])
        .collect();
    fixes.sort_by_key(|(report, _)| report.event_time);
    let is_line = |report: &Report| report.position_used && report.kind == "report";
    let line: Vec<[f64; 2]> = fixes.iter().filter(|(report, _)| is_line(report)).map(|(_, at)| *at).collect();
    let mut features: Vec<Json> = Vec::new();
    if line.len() > 1 {
        features.push(json!({"type": "Feature", "properties": {"kind": "track"},
            "geometry": {"type": "LineString", "coordinates": line}}));
    }
    features.extend(fixes.iter().map(|(report, at)| {
        json!({"type": "Feature", "geometry": {"type": "Point", "coordinates": at}, "properties": {
            "kind": report.kind, "event_time": report.event_time, "recv_time": report.recv_time,
            "used": report.position_used, "outcome": report.outcome, "reason": report.reason,
            "speed_kmh": report.content.get("speed_kmh"), "heading_deg": report.content.get("heading_deg")}})
    }));
    json!({"type": "FeatureCollection", "features": features})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_all_that_is_indented_further_than_its_dash() {
        let text = "rules:\n  - id: a\n    when: moving\n\n    for: 3s\n  - id: b\n    when: loaded\nmute: []\n";
        assert_eq!(entry(text, 2), "- id: a\n  when: moving\n\n  for: 3s");
        assert_eq!(entry(text, 6), "- id: b\n  when: loaded");
        assert_eq!(entry("rules: [{ id: a, when: moving }]", 1), "rules: [{ id: a, when: moving }]");
        assert_eq!(entry(text, 99), "");
    }
}
