//! One vehicle: its machines in flight and its open alerts.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::machine::{Machine, Phase, Step};
use crate::model::{
    Alert, AlertId, AlertState, Column, Departments, Facts, Incident, Joined, LocalText, Severity, Tally, Text, Time,
    Timing, Transition, UNREGISTERED, Value, Verdict, limits,
};

/// What of a rule an alert needs.
#[derive(Clone, Copy, Debug)]
pub struct RuleTerms<'a> {
    pub id: &'a Text,
    /// Digest of the rule as loaded.
    pub version: &'a Text,
    pub name: &'a LocalText,
    pub code: Option<&'a Text>,
    pub timing: &'a Timing,
    /// What one alert is about; contains `vehicle_id`, unless the rule has a tally.
    pub key: &'a [Column],
    pub departments: &'a Departments,
    /// The rule's own columns: an alert carries their values.
    pub columns: &'a [Column],
    /// When no case of the rule's severity holds.
    pub severity_default: Severity,
    /// Whether rows made by the clock are judged.
    pub asks_timer: bool,
    /// Whether it judges sightings.
    pub asks_sighting: bool,
    /// Whether it reads settled facts: it is judged as of the report before.
    pub asks_settled: bool,
    /// Whether the rule has a clearing predicate of its own; otherwise it clears by `not (when)`.
    pub has_clear: bool,
    /// The incident that it may share with other rules.
    pub incident: Option<&'a Incident>,
    /// Rules whose open alerts keep it from opening one.
    pub inhibited_by: &'a [Text],
    /// How it counts over vehicles or alerts; such a rule is for [`super::Tallies`].
    pub tally: Option<&'a Tally>,
    /// Whether its alerts are kept without anybody being told.
    pub shadow: bool,
}

/// What a rule says of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub when: Verdict,
    pub clear: Verdict,
    /// The first case that holds; `None` is the rule's default.
    pub severity: Option<Severity>,
}

/// The machines of one vehicle that are in flight, in order of their beginning. A quiet vehicle owns no memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VehicleAlerts {
    tracks: Vec<Track>,
}

/// One rule and key in flight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Track {
    rule_id: Text,
    key: Key,
    machine: Machine,
    /// The alert that it opened, as it was last told: while it is open, and while others may still join its incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alert: Option<Box<Alert>>,
    /// The incident of its rule, and how long after the end others may join it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    incident: Option<Incident>,
    /// Its machine is open within the alert of another rule.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    joined: bool,
    /// Its rule, or its vehicle, is no more: why its alert ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<Text>,
    /// Nothing can come of it any more.
    #[serde(skip)]
    is_over: bool,
}

/// Why an alert ended that nothing cleared ([`Alert::cleared_because`]).
const MAX_OPEN: &str = "max_open";
const RULE_REMOVED: &str = "rule_removed";
const DEREGISTERED: &str = "deregistered";
const FORGOTTEN: &str = "forgotten";

/// The values of a rule's key but for the vehicle, which all tracks share: empty, and without memory, for most rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Key(Box<[Option<Text>]>);

impl VehicleAlerts {
    /// Whether nothing is in flight: a row at which no rule is true then changes nothing and need not be judged.
    pub fn is_quiet(&self) -> bool {
        self.tracks.is_empty()
    }

    /// Whether a machine of a rule is in flight: else a row at which the rule is not true changes nothing of it.
    pub fn follow(&self, rule_id: &str) -> bool {
        self.tracks.iter().any(|track| *track.rule_id == *rule_id)
    }

    /// How many machines are in flight.
    pub fn in_flight(&self) -> usize {
        self.tracks.len()
    }

    /// The open alerts, as they were last told.
    pub fn open(&self) -> impl Iterator<Item = &Alert> {
        self.tracks.iter().filter_map(|track| track.alert.as_deref()).filter(|alert| alert.state == AlertState::Open)
    }

    /// The alerts that may still change, as they were last told.
    pub fn standing(&self) -> impl Iterator<Item = &Alert> {
        self.tracks.iter().filter_map(|track| track.alert.as_deref())
    }

    /// Which of the rules that inhibit another do so now.
    pub fn inhibitors(&self, inhibited_by: &[Text]) -> impl Iterator<Item = &Text> {
        let inhibits = |track: &&Track| track.machine.is_open() && inhibited_by.contains(&track.rule_id);
        self.tracks.iter().filter(inhibits).map(|track| &track.rule_id)
    }

    /// How one rule stands under each key, in order of their beginning: the values of the key but for the vehicle, and the phase.
    pub fn phases(&self, rule_id: &str, timing: &Timing) -> impl Iterator<Item = (&[Option<Text>], Phase)> {
        let of_rule = self.tracks.iter().filter(move |track| *track.rule_id == *rule_id);
        of_rule.map(|track| (&*track.key.0, track.machine.phase(timing)))
    }

    /// Keeps what belongs to rules that `is_ruled` knows, and of the rest what is open: it ends at the next row, or when the clock
    /// looks ([`VehicleAlerts::lapse`]).
    pub fn retain(&mut self, is_ruled: impl Fn(&str) -> bool) {
        self.tracks.retain(|track| is_ruled(&track.rule_id) || track.machine.is_open());
        for track in self.tracks.iter_mut().filter(|track| !is_ruled(&track.rule_id)) {
            track.end(RULE_REMOVED);
        }
        self.give_back();
    }

    /// Its vehicle, never registered, was not heard of for too long: what is open ends as in [`VehicleAlerts::deregister`].
    pub fn forget(&mut self) {
        self.end_open(FORGOTTEN);
    }

    /// Its vehicle is registered no more: what is open ends at the next row, or when the clock looks ([`VehicleAlerts::lapse`]).
    pub fn deregister(&mut self) {
        self.end_open(DEREGISTERED);
    }

    fn end_open(&mut self, because: &str) {
        self.tracks.iter_mut().filter(|track| track.machine.is_open()).for_each(|track| track.end(because));
    }

    /// Whether an alert is over by `at` though nothing cleared it.
    pub fn lapses_by(&self, at: Time) -> bool {
        self.tracks.iter().any(|track| track.machine.lapses_by(at))
    }

    /// Ends the alerts that are over by `at` though nothing cleared them: nothing came for too long that could (`max_open`), their rule
    /// is no more (`rule_removed`), or their vehicle (`deregistered`; `forgotten` when it never was registered). With each the rule that
    /// found it.
    ///
    /// `by` is the time of events before which nothing more can come, `now` that of the row that says so.
    pub fn lapse(&mut self, by: Time, now: Time) -> Vec<(Text, Transition)> {
        let mut ended = Vec::new();
        for index in 0..self.tracks.len() {
            let Some(lapsed_at) = self.tracks[index].machine.lapse(by) else { continue };
            let rule_id = self.tracks[index].rule_id.clone();
            // When a rule or a vehicle was taken away is no event: the alert ends with the row that says so.
            let (because, cleared_at) = match self.tracks[index].ended.take() {
                Some(because) => (because, now),
                None => (MAX_OPEN.into(), lapsed_at),
            };
            let is_over = *because != *MAX_OPEN;
            ended.extend(self.clear(index, cleared_at, Some(because)).map(|transition| (rule_id, transition)));
            self.tracks[index].is_over = is_over;
        }
        self.tracks.retain(|track| !track.is_over);
        self.give_back();
        ended
    }

    /// Takes what `rule` says of `row`; returns what it changed, first for this row's key, then for others. `message` is asked
    /// only when an alert opens.
    #[inline]
    pub fn judge<M: Into<LocalText>>(
        &mut self,
        rule: &RuleTerms<'_>,
        row: &Facts,
        judgement: Judgement,
        message: impl Fn() -> M,
    ) -> Vec<Transition> {
        if self.tracks.is_empty() && judgement.when != Verdict::True {
            return Vec::new();
        }
        self.judge_each(rule, row, &[(row, judgement)], judgement.elsewhere(rule.has_clear), |_| message())
    }

    /// Takes what `rule` says of `row` under each of several keys, and what it says under all others.
    pub fn judge_each<M: Into<LocalText>>(
        &mut self,
        rule: &RuleTerms<'_>,
        row: &Facts,
        each: &[(&Facts, Judgement)],
        elsewhere: Judgement,
        message: impl Fn(&Facts) -> M,
    ) -> Vec<Transition> {
        if !row.is_asked(rule.asks_timer, rule.asks_sighting) {
            return Vec::new();
        }
        let Some(at) = row.judged_at(rule.asks_settled) else { return Vec::new() };
        let mut transitions = Vec::new();
        for (row, judgement) in each {
            let mine = self.tracks.iter().position(|track| track.rule_id == *rule.id && track.key.is_of(rule.key, row));
            let mine = match mine {
                None if judgement.when == Verdict::True => self.begin(rule, row),
                mine => mine,
            };
            if let Some(index) = mine {
                transitions.extend(self.step(index, rule, row, at, *judgement, || message(row).into()));
            }
        }
        for index in 0..self.tracks.len() {
            let track = &self.tracks[index];
            let is_told = || each.iter().any(|(row, _)| track.key.is_of(rule.key, row));
            if track.rule_id == *rule.id && !is_told() {
                transitions.extend(self.step(index, rule, row, at, elsewhere, LocalText::default));
            }
        }
        self.tracks.retain(|track| track.rule_id != *rule.id || !track.is_idle(rule.timing, at));
        self.give_back();
        transitions
    }

    /// Moves one machine and tells what that changed: of its own alert, or of the one that it joined.
    fn step(
        &mut self,
        index: usize,
        rule: &RuleTerms<'_>,
        row: &Facts,
        at: Time,
        judgement: Judgement,
        message: impl FnOnce() -> LocalText,
    ) -> Option<Transition> {
        let severity = judgement.severity.unwrap_or(rule.severity_default);
        let inhibited = judgement.when == Verdict::True && self.inhibitors(rule.inhibited_by).next().is_some();
        // The clock itself tells a rule about silence how it stands.
        let max_open_ms = if rule.asks_timer { i64::MAX } else { rule.timing.max_open_ms };
        let timing = Timing { max_open_ms, ..*rule.timing };
        let machine = &mut self.tracks[index].machine;
        match machine.advance(&timing, at, judgement.when, judgement.clear, severity, inhibited)? {
            Step::Opened { started_at, fired_at } => {
                if self.tracks[index].is_under_way() {
                    return None;
                }
                let opened = draft(rule, row, severity, message(), started_at, fired_at);
                if let Some(leader) = self.leader(index, rule, fired_at) {
                    self.tracks[index].joined = true;
                    let alert = self.tracks[leader].alert.as_mut()?;
                    return join(alert, opened).then(|| Transition::Raised(Alert::clone(alert)));
                }
                self.tracks[index].alert = Some(Box::new(opened.clone()));
                Some(Transition::Opened(opened))
            }
            Step::Raised(severity) => {
                let alert = self.told(index)?;
                alert.joined.iter_mut().filter(|one| one.rule_id == *rule.id).for_each(|one| one.severity = severity);
                let graver = severity > alert.severity;
                alert.severity = alert.severity.max(severity);
                graver.then(|| Transition::Raised(Alert::clone(alert)))
            }
            Step::Cleared { cleared_at } => self.clear(index, cleared_at, None),
        }
    }

    /// A machine is open no longer: so is its alert, unless others of its incident are.
    fn clear(&mut self, index: usize, cleared_at: Time, because: Option<Text>) -> Option<Transition> {
        let incident = self.tracks[index].incident.as_ref().map(|incident| incident.name.clone());
        let goes_on = incident.is_some()
            && self.tracks.iter().any(|track| track.is_of(incident.as_ref()) && track.machine.is_open());
        let alert = self.told(index)?;
        let last = alert.cleared_at.map_or(cleared_at, |before| before.max(cleared_at));
        let ended = (!goes_on).then(|| {
            alert.state = AlertState::Cleared;
            alert.cleared_at = Some(last);
            alert.cleared_because = because;
            Transition::Cleared(Alert::clone(alert))
        });
        self.tracks[index].joined = false;
        if incident.is_none() {
            self.tracks[index].alert = None;
        }
        ended
    }

    /// The track whose alert an opening of this rule joins: of another rule of its incident, open or only just over. An alert
    /// that is over is joined once by each rule; what comes after that is another incident.
    fn leader(&self, index: usize, rule: &RuleTerms<'_>, at: Time) -> Option<usize> {
        let incident = rule.incident?;
        self.tracks.iter().enumerate().position(|(other, track)| {
            let alert = track.alert.as_ref().filter(|_| other != index && track.is_of(Some(&incident.name)));
            alert.is_some_and(|alert| match alert.cleared_at {
                None => true,
                Some(cleared) => at <= cleared.plus_ms(incident.within_ms) && part(alert, rule.id).is_none(),
            })
        })
    }

    /// The alert that speaks for a track: its own, or the one that it joined.
    fn told(&mut self, index: usize) -> Option<&mut Alert> {
        let track = &self.tracks[index];
        let leader = if track.joined {
            let (rule_id, name) = (track.rule_id.clone(), track.incident.as_ref()?.name.clone());
            self.tracks.iter().position(|track| {
                let alert = track.alert.as_ref().filter(|_| track.is_of(Some(&name)));
                alert.is_some_and(|alert| part(alert, &rule_id).is_some())
            })?
        } else {
            index
        };
        self.tracks[leader].alert.as_deref_mut()
    }

    /// A new machine, where there is room; its place.
    fn begin(&mut self, rule: &RuleTerms<'_>, row: &Facts) -> Option<usize> {
        if self.tracks.len() >= limits::MACHINES_PER_VEHICLE {
            let cooling = self.tracks.iter().position(|track| !track.machine.is_open() && !track.machine.is_holding());
            let victim = cooling.or_else(|| self.tracks.iter().position(|track| !track.machine.is_open()))?;
            self.tracks.remove(victim);
        }
        if self.tracks.is_empty() {
            // A vehicle rarely has two; the default growth would take room for four.
            self.tracks.reserve_exact(1);
        }
        let key = Key::of(rule.key, row);
        self.tracks.push(Track {
            rule_id: rule.id.clone(),
            key,
            machine: Machine::default(),
            alert: None,
            incident: rule.incident.cloned(),
            joined: false,
            ended: None,
            is_over: false,
        });
        Some(self.tracks.len() - 1)
    }

    fn give_back(&mut self) {
        if self.tracks.is_empty() {
            self.tracks = Vec::new();
        }
    }
}

impl Judgement {
    /// What the same row says of the rule's other keys.
    fn elsewhere(self, has_clear: bool) -> Self {
        let when = if self.when == Verdict::Unknown { Verdict::Unknown } else { Verdict::False };
        Self { when, clear: if has_clear { self.clear } else { !when }, severity: None }
    }
}

impl Track {
    /// Ends its open alert at the next row.
    fn end(&mut self, because: &str) {
        self.ended = Some(because.into());
        self.machine.end(Time::from_millis(i64::MIN));
    }

    /// Whether its rule shares the incident of this name.
    fn is_of(&self, name: Option<&Text>) -> bool {
        name.is_some() && self.incident.as_ref().map(|incident| &incident.name) == name
    }

    /// Whether its alert is open still, held by the rules that joined it.
    fn is_under_way(&self) -> bool {
        self.alert.as_ref().is_some_and(|alert| alert.state == AlertState::Open)
    }

    /// Whether nothing would be lost by forgetting it as of `at`.
    fn is_idle(&self, timing: &Timing, at: Time) -> bool {
        let incident_over = match (&self.alert, &self.incident) {
            (Some(alert), Some(incident)) => {
                alert.cleared_at.is_some_and(|cleared| at > cleared.plus_ms(incident.within_ms))
            }
            (alert, _) => alert.is_none(),
        };
        incident_over && self.machine.is_idle(timing, at)
    }
}

/// What a rule added to an alert.
fn part<'a>(alert: &'a Alert, rule_id: &str) -> Option<&'a Joined> {
    alert.joined.iter().find(|one| *one.rule_id == *rule_id)
}

/// Lets an alert grow by what another rule found; whether that is worth telling.
fn join(alert: &mut Alert, found: Alert) -> bool {
    let graver = found.severity > alert.severity;
    alert.severity = alert.severity.max(found.severity);
    if let Some(known) = alert.joined.iter_mut().find(|one| one.rule_id == found.rule_id) {
        known.severity = known.severity.max(found.severity);
        return graver;
    }
    alert.state = AlertState::Open;
    (alert.cleared_at, alert.cleared_because) = (None, None);
    let new = found.departments.iter().filter(|code| !alert.departments.contains(code)).cloned().collect::<Vec<_>>();
    if !new.is_empty() {
        alert.departments = alert.departments.iter().cloned().chain(new).collect();
    }
    alert.joined.push(Joined {
        rule_id: found.rule_id,
        rule_version: found.rule_version,
        severity: found.severity,
        message: found.message,
        messages: found.messages,
        started_at: found.started_at,
        fired_at: found.fired_at,
        facts: found.facts,
    });
    true
}

/// The alert that `row` completes.
pub(super) fn draft(
    rule: &RuleTerms<'_>,
    row: &Facts,
    severity: Severity,
    messages: LocalText,
    started_at: Time,
    fired_at: Time,
) -> Alert {
    let values: Vec<Option<Cow<'_, str>>> = rule.key.iter().map(|column| key_value(row.value(*column))).collect();
    let key: Vec<Option<&str>> = values.iter().map(Option::as_deref).collect();
    let (lat, lon, road_id) = if rule.asks_settled {
        (row.settled_lat, row.settled_lon, &row.settled_road_id)
    } else {
        (row.lat, row.lon, &row.road_id)
    };
    Alert {
        alert_id: AlertId::derive(rule.id, &key, started_at),
        rule_id: rule.id.clone(),
        rule_version: rule.version.clone(),
        vehicle_id: row.vehicle_id.clone().unwrap_or_default(),
        plate: row.plate.clone().unwrap_or_default(),
        company_id: row.company_id.clone().unwrap_or_default(),
        driver_id: row.driver_id.clone(),
        permit_id: row.permit_id.clone(),
        manifest_id: row.manifest_id.clone(),
        trip_id: row.trip_id.clone(),
        severity,
        departments: rule.departments.clone(),
        message: messages.en.clone(),
        messages,
        rule_name: rule.name.clone(),
        rule_code: rule.code.cloned(),
        started_at,
        fired_at,
        cleared_at: None,
        cleared_because: None,
        state: AlertState::Open,
        retrospective: false,
        withdrawn_because: None,
        withdrawn_reasons: LocalText::default(),
        shadow: rule.shadow,
        lat,
        lon,
        district_id: row.district_id.clone(),
        place_id: row.place_id.clone(),
        road_id: road_id.clone(),
        sensor_id: row.sighting_sensor_id.clone(),
        unregistered: row.vehicle_status.as_deref() == Some(UNREGISTERED),
        facts: rule.columns.iter().map(|column| (column.name().to_owned(), row.value(*column).to_json())).collect(),
        joined: Vec::new(),
    }
}

impl Key {
    fn of(columns: &[Column], row: &Facts) -> Self {
        let own = own_columns(columns);
        Self(own.map(|column| key_value(row.value(column)).map(|text| Text::from(&*text))).collect())
    }

    /// Whether it is the key of this row.
    fn is_of(&self, columns: &[Column], row: &Facts) -> bool {
        let mut held = self.0.iter();
        let same = own_columns(columns)
            .all(|column| held.next().is_some_and(|value| value.as_deref() == key_value(row.value(column)).as_deref()));
        same && held.next().is_none()
    }
}

/// The key's columns but for the vehicle.
fn own_columns(columns: &[Column]) -> impl Iterator<Item = Column> + '_ {
    columns.iter().copied().filter(|column| column.name() != "vehicle_id")
}

/// A value as part of a key; `None` is NULL.
pub(super) fn key_value(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::Null => None,
        Value::Text(text) => Some(Cow::Borrowed(text)),
        other => Some(Cow::Owned(other.to_json().to_string())),
    }
}
