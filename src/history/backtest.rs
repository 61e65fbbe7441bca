//! Back-tests: two sets of rules over the same records, and what is different then.
//!
//! [`run`] judges the records by both sets, in order of arrival, by the very engine that runs live; [`Comparison::of`] is pure: it pairs
//! the alerts of both sides and counts what was gained, lost and changed.
//!
//! What is one alert on both sides: the same id (rule, key and start); else the same rule and key at overlapping times; else
//! alerts of one incident of a vehicle, whichever of its rules fired first. Of several that overlap, those that overlap longest.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rustc_hash::FxHashMap;
use serde::{Serialize, ser::SerializeStruct as _};

use crate::{
    engine::{Engine, EngineError, Judged, REPLAY_AHEAD, REPLAY_BATCH, Reference},
    model::{Alert, AlertId, Body, Departments, Ledger, LocalText, Record, Text, Time, Transition, UnitKind, Zone},
    rules::{Rule, RuleSet},
};

#[cfg(test)]
mod tests;

/// Which rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Those in force.
    Before,
    /// The new ones.
    After,
}

/// An order by which somebody would be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub at: Time,
    pub departments: Departments,
    pub kind: Option<UnitKind>,
}

/// What one set of rules found.
#[derive(Debug, Default)]
pub struct Found {
    /// As they finally stood, in order of their ids.
    pub alerts: BTreeMap<AlertId, Alert>,
    /// In order of time.
    pub orders: Vec<Sent>,
}

/// What both found, and in what.
#[derive(Debug, Default)]
pub struct Ran {
    pub before: Found,
    pub after: Found,
    pub ledger: Ledger,
    /// How many vehicles reported.
    pub vehicles: usize,
    /// When the first record arrived, and the last.
    pub span: Option<(Time, Time)>,
}

/// The rules that must be judged to know what becomes of those that differ: these, what inhibits them or is inhibited by them, what
/// shares an incident with them, and what counts their alerts, with all that it counts. `None` when that is all: one of them asks how
/// many alerts a vehicle had, of whatever rule.
pub fn tied(sets: [&RuleSet; 2], differing: BTreeSet<Text>) -> Option<BTreeSet<Text>> {
    let rules = || sets.into_iter().flat_map(RuleSet::enabled);
    let (mut ids, mut before) = (differing, 0);
    while ids.len() > before {
        before = ids.len();
        let incidents: BTreeSet<&Text> = rules()
            .filter(|rule| ids.contains(&rule.id))
            .filter_map(|rule| rule.incident.as_ref().map(|incident| &incident.name))
            .collect();
        let counted = |rule: &Rule| rule.tally.as_ref().and_then(|tally| tally.over.clone()).unwrap_or_default();
        let is_tied = |rule: &&Rule| {
            ids.contains(&rule.id)
                || rule.inhibited_by.iter().any(|id| ids.contains(id))
                || counted(rule).keys().any(|id| ids.contains(id))
                || rule.incident.as_ref().is_some_and(|incident| incidents.contains(&incident.name))
        };
        let named = |rule: &Rule| counted(rule).into_keys().chain(rule.inhibited_by.clone()).chain([rule.id.clone()]);
        let more: Vec<Text> = rules().filter(is_tied).flat_map(named).collect();
        ids.extend(more);
    }
    let is_all = rules().any(|rule| ids.contains(&rule.id) && rule.asks_recent());
    (!is_all).then_some(ids)
}

/// Judges records, given in order of arrival with their ticks among them, by two sets of rules. `dispatch` is told of each
/// change to an alert and of when it was known, and says which order it would make.
///
/// # Errors
/// The first error of `records` (as it came), or the engine's own.
pub fn run<E: From<EngineError>>(
    before: &Reference,
    after: &Reference,
    shards: usize,
    records: impl Iterator<Item = Result<Record, E>>,
    mut dispatch: impl FnMut(Side, &Transition, Time) -> Option<Sent>,
) -> Result<Ran, E> {
    let mut engines = [Engine::start(before, shards), Engine::start(after, shards)];
    let mut ran = Ran::default();
    let mut batch = Vec::with_capacity(REPLAY_BATCH);
    for record in records {
        let record = record?;
        if matches!(record.body, Body::JudgeAgain(_)) {
            // All is judged by what is registered now.
            continue;
        }
        batch.push(record);
        if batch.len() == REPLAY_BATCH {
            submit(
                &mut engines,
                std::mem::replace(&mut batch, Vec::with_capacity(REPLAY_BATCH)),
                &mut ran,
                &mut dispatch,
            )?;
        }
    }
    submit(&mut engines, batch, &mut ran, &mut dispatch)?;
    let [before, after] = &mut engines;
    while let Some(judged) = before.take()? {
        ran.take(Side::Before, judged, &mut dispatch);
    }
    while let Some(judged) = after.take()? {
        ran.take(Side::After, judged, &mut dispatch);
    }
    Ok(ran)
}

fn submit(
    engines: &mut [Engine; 2],
    batch: Vec<Record>,
    ran: &mut Ran,
    dispatch: &mut impl FnMut(Side, &Transition, Time) -> Option<Sent>,
) -> Result<(), EngineError> {
    let batch = Arc::new(batch);
    for (engine, side) in engines.iter_mut().zip([Side::Before, Side::After]) {
        if engine.pending() >= REPLAY_AHEAD
            && let Some(judged) = engine.take()?
        {
            ran.take(side, judged, dispatch);
        }
        engine.submit(Arc::clone(&batch))?;
    }
    Ok(())
}

impl Ran {
    fn take(&mut self, side: Side, judged: Judged, dispatch: &mut impl FnMut(Side, &Transition, Time) -> Option<Sent>) {
        let arrived = judged.batch.iter().map(|record| record.recv_time);
        let Some((first, last)) = arrived.clone().min().zip(arrived.max()) else { return };
        let found = match side {
            Side::Before => {
                judged.count_into(&mut self.ledger);
                self.vehicles = judged.vehicles;
                let begun = self.span.map_or(first, |(begun, _)| begun.min(first));
                self.span = Some((begun, self.span.map_or(last, |(_, ended)| ended.max(last))));
                &mut self.before
            }
            Side::After => &mut self.after,
        };
        let mut known = first;
        for transition in judged.transitions {
            // Between the first arrival and the last nobody noted when; it was not before it fired.
            known = known.max(transition.alert().fired_at.min(last));
            found.orders.extend(dispatch(side, &transition, known));
            let is_withdrawn = matches!(transition, Transition::Withdrawn(_));
            let alert = transition.into_alert();
            if is_withdrawn {
                found.alerts.remove(&alert.alert_id);
            } else {
                found.alerts.insert(alert.alert_id.clone(), alert);
            }
        }
    }
}

/// How many, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub before: u64,
    pub after: u64,
    pub gained: u64,
    pub lost: u64,
    pub changed: u64,
}

impl Counts {
    /// Whether anything is different.
    pub fn differ(&self) -> bool {
        self.gained + self.lost + self.changed > 0
    }

    fn add(&mut self, pair: &Pair<'_>) {
        match pair {
            Pair::Gained(_) => self.gained += 1,
            Pair::Lost(_) => self.lost += 1,
            Pair::Changed(..) => self.changed += 1,
            Pair::Same(_) => {}
        }
    }
}

/// An alert that both found, but not alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changed {
    /// Names of the alert's fields in which they differ.
    pub fields: Vec<&'static str>,
    pub before: Alert,
    pub after: Alert,
}

/// Orders before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Load {
    pub before: u64,
    pub after: u64,
}

/// Orders of a local day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DayLoad {
    pub all: Load,
    pub departments: BTreeMap<Text, Load>,
    pub kinds: BTreeMap<&'static str, Load>,
}

impl Serialize for DayLoad {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_struct("DayLoad", 4)?;
        map.serialize_field("before", &self.all.before)?;
        map.serialize_field("after", &self.all.after)?;
        map.serialize_field("departments", &self.departments)?;
        map.serialize_field("kinds", &self.kinds)?;
        map.end()
    }
}

/// What is different by the new rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    pub all: Counts,
    pub rules: BTreeMap<Text, Counts>,
    /// By local day of `fired_at`.
    pub days: BTreeMap<String, Counts>,
    /// By id; what is about no single vehicle under the empty id.
    pub vehicles: BTreeMap<Text, Counts>,
    /// An alert counts for each department that is told of it: those of shadow rules for none.
    pub departments: BTreeMap<Text, Counts>,
    /// How many of the changed differ in a field.
    pub fields: BTreeMap<&'static str, u64>,
    /// Orders, by local day.
    pub orders: BTreeMap<String, DayLoad>,
    /// In order of `fired_at`, rule and vehicle, as the others.
    pub gained: Vec<Alert>,
    pub lost: Vec<Alert>,
    pub changed: Vec<Changed>,
}

/// One alert on both sides.
enum Pair<'a> {
    Gained(&'a Alert),
    Lost(&'a Alert),
    Changed(&'a Alert, &'a Alert, Vec<&'static str>),
    Same(&'a Alert),
}

impl Comparison {
    /// What two sets of rules found of the same records; `zone` says where days begin.
    pub fn of(ran: &Ran, before: &RuleSet, after: &RuleSet, zone: &Zone) -> Self {
        let mut comparison = Self::default();
        for pair in pairs(&ran.before.alerts, &ran.after.alerts, &shared_keys(before, after)) {
            comparison.add(&pair, zone);
        }
        for (found, side) in [(&ran.before, Side::Before), (&ran.after, Side::After)] {
            found.orders.iter().for_each(|order| comparison.send(order, side, zone));
        }
        let order = |alert: &Alert| {
            (alert.fired_at, Arc::clone(&alert.rule_id), Arc::clone(&alert.vehicle_id), alert.alert_id.clone())
        };
        comparison.gained.sort_by_cached_key(order);
        comparison.lost.sort_by_cached_key(order);
        comparison.changed.sort_by_cached_key(|changed| order(&changed.before));
        comparison
    }

    /// Whether anything is different.
    pub fn differs(&self) -> bool {
        self.all.differ()
    }

    fn add(&mut self, pair: &Pair<'_>, zone: &Zone) {
        let (before, after) = match pair {
            Pair::Gained(alert) => (None, Some(*alert)),
            Pair::Lost(alert) => (Some(*alert), None),
            Pair::Changed(before, after, _) => (Some(*before), Some(*after)),
            Pair::Same(alert) => (Some(*alert), Some(*alert)),
        };
        let Some(one) = before.or(after) else { return };
        // What changed counts where it was; what it was before and after where that was.
        self.all.add(pair);
        self.rules.entry(Arc::clone(&one.rule_id)).or_default().add(pair);
        self.days.entry(day(zone, one.fired_at)).or_default().add(pair);
        self.vehicles.entry(Arc::clone(&one.vehicle_id)).or_default().add(pair);
        let told: BTreeSet<&Text> = [before, after].into_iter().flatten().flat_map(told).collect();
        told.into_iter().for_each(|code| self.departments.entry(Arc::clone(code)).or_default().add(pair));
        for (alert, side) in [(before, Side::Before), (after, Side::After)] {
            let Some(alert) = alert else { continue };
            let count = |counts: &mut Counts| match side {
                Side::Before => counts.before += 1,
                Side::After => counts.after += 1,
            };
            count(&mut self.all);
            count(self.rules.entry(Arc::clone(&alert.rule_id)).or_default());
            count(self.days.entry(day(zone, alert.fired_at)).or_default());
            count(self.vehicles.entry(Arc::clone(&alert.vehicle_id)).or_default());
            told_each(alert, |code| count(self.departments.entry(Arc::clone(code)).or_default()));
        }
        match pair {
            Pair::Gained(alert) => self.gained.push(Alert::clone(alert)),
            Pair::Lost(alert) => self.lost.push(Alert::clone(alert)),
            Pair::Changed(before, after, fields) => {
                fields.iter().for_each(|field| *self.fields.entry(field).or_default() += 1);
                let (before, after) = (Alert::clone(before), Alert::clone(after));
                self.changed.push(Changed { fields: fields.clone(), before, after });
            }
            Pair::Same(_) => {}
        }
    }

    fn send(&mut self, order: &Sent, side: Side, zone: &Zone) {
        let day = self.orders.entry(day(zone, order.at)).or_default();
        let count = |load: &mut Load| match side {
            Side::Before => load.before += 1,
            Side::After => load.after += 1,
        };
        count(&mut day.all);
        order.departments.iter().for_each(|code| count(day.departments.entry(Arc::clone(code)).or_default()));
        if let Some(kind) = order.kind {
            count(day.kinds.entry(kind.as_str()).or_default());
        }
    }
}

/// The departments that hear of an alert.
fn told(alert: &Alert) -> &[Text] {
    if alert.shadow { &[] } else { &alert.departments }
}

fn told_each(alert: &Alert, each: impl FnMut(&Text)) {
    told(alert).iter().for_each(each);
}

/// `2026-03-01`, by the local calendar.
fn day(zone: &Zone, at: Time) -> String {
    let mut clock = zone.clock(at);
    clock.truncate("2026-03-01".len());
    clock
}

/// The fields in which two alerts differ. What the versions of rules, and what they show at another moment, is no difference.
fn differences(before: &Alert, after: &Alert) -> Vec<&'static str> {
    // In whichever language it was told.
    let says = |alert: &Alert| {
        if alert.messages.is_empty() { LocalText::from(alert.message.clone()) } else { alert.messages.clone() }
    };
    let joined =
        |alert: &Alert| -> Vec<_> { alert.joined.iter().map(|one| (Arc::clone(&one.rule_id), one.severity)).collect() };
    let all = [
        ("rule_id", before.rule_id != after.rule_id),
        ("severity", before.severity != after.severity),
        ("started_at", before.started_at != after.started_at),
        ("fired_at", before.fired_at != after.fired_at),
        ("cleared_at", before.cleared_at != after.cleared_at),
        ("state", before.state != after.state),
        ("departments", before.departments != after.departments),
        ("message", says(before) != says(after)),
        ("retrospective", before.retrospective != after.retrospective),
        ("shadow", before.shadow != after.shadow),
        ("joined", joined(before) != joined(after)),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

/// The columns that a rule is keyed by on both sides, by rule.
fn shared_keys(before: &RuleSet, after: &RuleSet) -> BTreeMap<Text, Vec<&'static str>> {
    let shared = before.rules().iter().filter_map(|rule| {
        let other = &after.rules()[after.index_of(&rule.id)?];
        let columns = rule.key.iter().filter(|column| other.key.contains(column));
        Some((Arc::clone(&rule.id), columns.map(|column| column.name()).collect()))
    });
    shared.collect()
}

/// Each alert once, with its other self on the other side.
fn pairs<'a>(
    before: &'a BTreeMap<AlertId, Alert>,
    after: &'a BTreeMap<AlertId, Alert>,
    keys: &BTreeMap<Text, Vec<&'static str>>,
) -> Vec<Pair<'a>> {
    let mut pairs: Vec<(&Alert, &Alert)> = Vec::new();
    let mut lost: Vec<&Alert> = Vec::new();
    for (id, alert) in before {
        match after.get(id) {
            Some(other) => pairs.push((alert, other)),
            None => lost.push(alert),
        }
    }
    let mut gained: Vec<&Alert> =
        after.iter().filter(|(id, _)| !before.contains_key(*id)).map(|(_, alert)| alert).collect();
    let by_key = |alert: &Alert| {
        let columns = keys.get(&alert.rule_id)?;
        let values: Vec<Option<String>> = columns.iter().map(|column| value(alert, column)).collect();
        Some((Arc::clone(&alert.rule_id), values))
    };
    match_up(&mut lost, &mut gained, by_key, |_, _| true, &mut pairs);
    let by_vehicle = |alert: &Alert| Some(&alert.vehicle_id).filter(|id| !id.is_empty()).cloned();
    match_up(&mut lost, &mut gained, by_vehicle, is_one_incident, &mut pairs);
    let paired = pairs.into_iter().map(|(before, after)| match differences(before, after) {
        fields if fields.is_empty() => Pair::Same(before),
        fields => Pair::Changed(before, after, fields),
    });
    paired.chain(lost.into_iter().map(Pair::Lost)).chain(gained.into_iter().map(Pair::Gained)).collect()
}

/// What an alert says of a column of its key.
fn value(alert: &Alert, column: &str) -> Option<String> {
    let text = |text: &Option<Text>| text.as_ref().map(ToString::to_string);
    match column {
        "vehicle_id" => Some(alert.vehicle_id.to_string()),
        "plate" => Some(alert.plate.to_string()),
        "company_id" => Some(alert.company_id.to_string()),
        "driver_id" => text(&alert.driver_id),
        "permit_id" => text(&alert.permit_id),
        "manifest_id" => text(&alert.manifest_id),
        "trip_id" => text(&alert.trip_id),
        "district_id" => text(&alert.district_id),
        "place_id" => text(&alert.place_id),
        "road_id" => text(&alert.road_id),
        other => alert.facts.get(other).map(ToString::to_string),
    }
}

/// Whether one of the rules that found an alert found the other too, though another was first.
fn is_one_incident(before: &Alert, after: &Alert) -> bool {
    let finders = |alert: &Alert| -> BTreeSet<Text> {
        alert.joined.iter().map(|one| &one.rule_id).chain([&alert.rule_id]).cloned().collect()
    };
    let shares = !before.joined.is_empty() || !after.joined.is_empty();
    shares && before.shadow == after.shadow && !finders(before).is_disjoint(&finders(after))
}

/// Takes from both sides what is in one group and overlaps in time, the longest overlap first.
fn match_up<'a, G: std::hash::Hash + Eq>(
    lost: &mut Vec<&'a Alert>,
    gained: &mut Vec<&'a Alert>,
    group: impl Fn(&Alert) -> Option<G>,
    fits: impl Fn(&Alert, &Alert) -> bool,
    pairs: &mut Vec<(&'a Alert, &'a Alert)>,
) {
    let mut groups: FxHashMap<G, (Vec<&Alert>, Vec<&Alert>)> = FxHashMap::default();
    for alert in lost.iter() {
        group(alert).into_iter().for_each(|key| groups.entry(key).or_default().0.push(alert));
    }
    for alert in gained.iter() {
        // A group that nothing was lost of has no pairs.
        let Some(key) = group(alert) else { continue };
        groups.entry(key).and_modify(|(_, gained)| gained.push(alert));
    }
    let mut taken: BTreeSet<&AlertId> = BTreeSet::new();
    for (lost, mut gained) in groups.into_values() {
        gained.sort_by_key(|alert| alert.started_at);
        let mut overlaps: Vec<(i64, &Alert, &Alert)> = Vec::new();
        for before in lost {
            let possible = gained.iter().take_while(|after| after.started_at <= end(before));
            let found = possible.filter(|after| end(after) >= before.started_at && fits(before, after));
            overlaps.extend(found.map(|after| (overlap_ms(before, after), before, *after)));
        }
        overlaps.sort_by_key(|(ms, before, after)| {
            (-*ms, before.started_at, &before.alert_id, after.started_at, &after.alert_id)
        });
        for (_, before, after) in overlaps {
            if !taken.contains(&before.alert_id) && !taken.contains(&after.alert_id) {
                taken.extend([&before.alert_id, &after.alert_id]);
                pairs.push((before, after));
            }
        }
    }
    lost.retain(|alert| !taken.contains(&alert.alert_id));
    gained.retain(|alert| !taken.contains(&alert.alert_id));
}

/// When an alert ended; one that is open does not.
fn end(alert: &Alert) -> Time {
    alert.cleared_at.map_or(Time::from_millis(i64::MAX), |cleared| cleared.max(alert.fired_at))
}

/// For how long both were there.
fn overlap_ms(before: &Alert, after: &Alert) -> i64 {
    let (from, to) = (before.started_at.max(after.started_at), end(before).min(end(after)));
    to.as_millis().saturating_sub(from.as_millis())
}
