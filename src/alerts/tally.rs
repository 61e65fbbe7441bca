//! Counting over vehicles and over alerts, in order of event time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::{
    RuleTerms,
    book::{draft, key_value},
    window::{By, Counting, Entry, What, Window},
};
use crate::model::{
    Alert, AlertId, AlertState, Facts, LocalText, Severity, Tally, Text, Time, Transition, Zone, dispatch_id, limits,
};

/// Something that is counted.
#[derive(Clone, Copy, Debug)]
pub struct Hit<'a> {
    /// The row at which the rule is true, or one made of the alert that is counted.
    pub row: &'a Facts,
    pub severity: Option<Severity>,
    pub points: u32,
    /// How many vehicles are registered for its company; asked for a share.
    pub fleet: Option<i64>,
    /// The alert that is counted.
    pub alert: Option<&'a AlertId>,
    /// Only late data showed it.
    pub is_late: bool,
}

/// How far time is.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The arrival clock.
    pub arrival: Time,
    /// The event time of the newest report of any vehicle.
    pub newest: Time,
    /// Nothing may come any more that is older: event time.
    pub settled: Time,
}

/// Every tally under way, of all rules and keys.
///
/// Hits may come in any order: what a rule counts for one key is always what it would have counted had they come in order of event
/// time. What is so late that it cannot come any more is folded into one state; what came after that is kept, to be folded again
/// when something comes between. Rules about silence count in order of arrival, as silence is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tallies {
    counts: BTreeMap<Place, Count>,
    /// Counts with something that came out of order, to be counted again.
    stale: BTreeSet<Place>,
    /// About how many hits are kept to be counted again.
    logged: usize,
    /// Open alerts of vehicles that a tally speaks for.
    withheld: BTreeMap<AlertId, Withheld>,
}

/// A rule, and the values of its key.
type Place = (Text, Vec<Option<Text>>);

/// One rule and key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Count {
    /// Digest of the rule that counted: what another counted stays as it is.
    version: Text,
    /// All that can no longer change.
    settled: Window,
    /// What came after that, in order.
    log: VecDeque<Entry>,
    /// Both together.
    now: Window,
    passed_at: Option<Time>,
    /// What was told of alerts that the log opened, or that were open before it.
    told: BTreeMap<AlertId, Alert>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Withheld {
    alert: Alert,
    by: Vec<Text>,
}

impl Tallies {
    /// Whether nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.withheld.is_empty()
    }

    /// Counts something for the rule's key in this row; `message` is that of the alert which it may open. What comes out of order
    /// changes nothing before [`Tallies::recount`].
    pub fn hit<M: Into<LocalText>>(
        &mut self,
        rule: &RuleTerms<'_>,
        hit: Hit<'_>,
        zone: &Zone,
        message: impl FnOnce() -> M,
    ) -> Vec<Transition> {
        let Some((place, tally)) = place_of(rule, hit.row).zip(rule.tally) else { return Vec::new() };
        if !self.counts.contains_key(&place) && self.counts.len() >= limits::TALLIES {
            return Vec::new();
        }
        let at = hit.row.event_time.unwrap_or_default();
        let draft = draft(rule, hit.row, hit.severity.unwrap_or(rule.severity_default), message().into(), at, at);
        let entry = Entry {
            at,
            vehicle_id: hit.row.vehicle_id.clone(),
            alert_id: hit.alert.cloned(),
            is_sighting: hit.row.row_kind == Some("sighting"),
            what: What::Hit(Counting {
                points: hit.points,
                fleet: hit.fleet,
                is_late: hit.is_late,
                inhibited: rule.inhibited_by.iter().any(|id| self.speaks_for(id, hit.row.vehicle_id.as_deref())),
                draft: Box::new(about_many(rule, draft)),
            }),
        };
        self.enter(place, rule, tally, entry, zone)
    }

    /// Takes an entry in its place: at once when it is the last.
    fn enter(
        &mut self,
        place: Place,
        rule: &RuleTerms<'_>,
        tally: &Tally,
        mut entry: Entry,
        zone: &Zone,
    ) -> Vec<Transition> {
        let count = self.counts.entry(place.clone()).or_default();
        count.go_by(rule.version);
        let by = By { tally, cooldown_ms: rule.timing.cooldown_ms, key: &place.1, zone };
        if rule.asks_timer {
            entry.at = count.now.changed_at().map_or(entry.at, |last| entry.at.max(last));
            return count.now.step(&by, &entry).collect();
        }
        let mut told = Vec::new();
        if count.log.len() >= limits::TALLY_HITS || self.logged >= limits::TALLY_LOGGED {
            if self.stale.remove(&place) {
                told = count.recount(&by);
            }
            let until = count.log.get(count.log.len() / 2).map(|entry| entry.at);
            self.logged = self.logged.saturating_sub(until.map_or(0, |until| count.settle(&by, until)));
        }
        // What is older than all that may still come counts as of then.
        entry.at = count.settled.changed_at().map_or(entry.at, |last| entry.at.max(last));
        let found = count.log.binary_search_by(|one| one.order(&entry));
        let is_last = found == Err(count.log.len()) && count.now.is_before(entry.at);
        match found {
            Ok(index) if count.log[index] == entry => return told,
            Ok(index) => count.log[index] = entry,
            Err(index) => {
                self.logged += 1;
                count.log.insert(index, entry);
            }
        }
        if !is_last || self.stale.contains(&place) {
            self.stale.insert(place);
            return told;
        }
        if let Some(entry) = count.log.back() {
            let found: Vec<Transition> = count.now.step(&by, entry).collect();
            count.remember(&found);
            told.extend(found);
        }
        told
    }

    /// Counts a row no longer that late data showed never to have been.
    pub fn take_out(&mut self, rule: &RuleTerms<'_>, row: &Facts) {
        let Some(place) = place_of(rule, row) else { return };
        let Some(count) = self.counts.get_mut(&place) else { return };
        let (at, vehicle_id) = (row.event_time.unwrap_or_default(), row.vehicle_id.as_ref());
        let is_it = |entry: &Entry| {
            let is_sighting = row.row_kind == Some("sighting");
            (entry.at, entry.vehicle_id.as_ref(), entry.is_sighting) == (at, vehicle_id, is_sighting)
                && entry.alert_id.is_none()
        };
        if !count.take_out(is_it) {
            count.settled.take_out_row(vehicle_id, at);
            count.now.take_out_row(vehicle_id, at);
        }
        if !rule.asks_timer {
            self.stale.insert(place);
        }
    }

    /// Counts an alert no longer: late data showed that it never was, or was otherwise. `row` is made of the alert as it is now.
    pub fn take_out_alert(&mut self, rule: &RuleTerms<'_>, row: &Facts, alert_id: &AlertId) {
        let is_it = |entry: &Entry| entry.alert_id.as_ref() == Some(alert_id) && matches!(entry.what, What::Hit(_));
        let order = dispatch_id(&alert_id.0);
        let mut take_out = |place: &Place, count: &mut Count| {
            let is_logged = count.take_out(is_it);
            let is_settled = !is_logged && count.settled.counts_order(&order);
            if is_settled {
                count.settled.take_out_order(&order);
            }
            if is_logged || is_settled {
                self.stale.insert(place.clone());
            }
            is_logged || is_settled
        };
        let place = place_of(rule, row);
        if let Some((place, count)) = place.and_then(|place| self.counts.get_mut(&place).map(|count| (place, count)))
            && take_out(&place, count)
        {
            return;
        }
        // It may have been of another key.
        let of_rule = self.counts.range_mut((rule.id.clone(), Vec::new())..).take_while(|((id, _), _)| id == rule.id);
        for (place, count) in of_rule {
            if take_out(place, count) {
                return;
            }
        }
    }

    /// Counts no longer, from `at` on, the alert that became this order and was found false.
    pub fn take_back<'r>(
        &mut self,
        order: &str,
        at: Time,
        zone: &Zone,
        rule: impl Fn(&str) -> Option<RuleTerms<'r>>,
    ) -> Vec<Transition> {
        let counts = self.counts.iter().filter(|(_, count)| count.now.counts_order(order));
        let places: Vec<Place> = counts.map(|(place, _)| place.clone()).collect();
        let mut told = Vec::new();
        for place in places {
            let Some((rule, tally)) = rule(&place.0).and_then(|rule| Some((rule, rule.tally?))) else { continue };
            let what = What::FoundFalse(order.into());
            let entry = Entry { at, vehicle_id: None, alert_id: None, is_sighting: false, what };
            told.extend(self.enter(place, &rule, tally, entry, zone));
        }
        told
    }

    /// Counts again what came out of order: what is told otherwise than it was, of one rule and key after the other; `None` when
    /// nothing is left.
    pub fn recount<'r>(
        &mut self,
        zone: &Zone,
        rule: impl Fn(&str) -> Option<RuleTerms<'r>>,
    ) -> Option<Vec<Transition>> {
        let place = self.stale.pop_first()?;
        let Some((rule, tally)) = rule(&place.0).and_then(|rule| Some((rule, rule.tally?))) else {
            return Some(Vec::new());
        };
        let Some(count) = self.counts.get_mut(&place) else { return Some(Vec::new()) };
        Some(count.recount(&By { tally, cooldown_ms: rule.timing.cooldown_ms, key: &place.1, zone }))
    }

    /// Lets time pass: alerts whose window is no longer full clear, and what was withheld for them is told. Rules about silence go
    /// by the arrival clock, all others by that of what was reported.
    pub fn pass<'r>(
        &mut self,
        clock: Clock,
        zone: &Zone,
        rule: impl Fn(&str) -> Option<RuleTerms<'r>>,
    ) -> Vec<Transition> {
        let mut transitions = Vec::new();
        let (stale, mut logged) = (&self.stale, 0);
        self.counts.retain(|place, count| {
            let Some((rule, tally)) = rule(&place.0).and_then(|rule| Some((rule, rule.tally?))) else { return false };
            let by = By { tally, cooldown_ms: rule.timing.cooldown_ms, key: &place.1, zone };
            if rule.asks_timer {
                transitions.extend(count.now.pass(&by, clock.arrival));
                return !count.now.is_idle(by.cooldown_ms, clock.arrival);
            }
            count.passed_at = count.passed_at.max(Some(clock.newest));
            count.go_by(rule.version);
            let until = clock.settled;
            if !stale.contains(place) {
                let told: Vec<Transition> = count.now.pass(&by, clock.newest).into_iter().collect();
                count.remember(&told);
                transitions.extend(told);
                count.settle(&by, until);
            }
            logged += count.log.len();
            !count.log.is_empty() || !count.now.is_idle(by.cooldown_ms, clock.newest) || {
                count.settled.pass(&by, until);
                !count.settled.is_idle(by.cooldown_ms, until)
            }
        });
        self.logged = logged;
        let free: BTreeSet<AlertId> = self
            .withheld
            .iter()
            .filter(|(_, one)| !one.by.iter().any(|id| self.speaks_for(id, Some(&one.alert.vehicle_id))))
            .map(|(id, _)| id.clone())
            .collect();
        transitions
            .extend(free.iter().filter_map(|id| self.withheld.remove(id)).map(|one| Transition::Opened(one.alert)));
        transitions
    }

    /// What of a vehicle's transition is to be told: nothing while a tally that inhibits its rule speaks for the vehicle.
    pub fn admit(&mut self, rule: &RuleTerms<'_>, transition: Transition) -> Option<Transition> {
        let alert = transition.alert();
        if let Some(held) = self.withheld.get_mut(&alert.alert_id) {
            if alert.state == AlertState::Open {
                held.alert = transition.into_alert();
            } else {
                let id = alert.alert_id.clone();
                self.withheld.remove(&id);
            }
            return None;
        }
        let opens = matches!(transition, Transition::Opened(_));
        let spoken_for = opens
            && self.withheld.len() < limits::TALLY_WITHHELD
            && rule.inhibited_by.iter().any(|id| self.speaks_for(id, Some(&alert.vehicle_id)));
        if spoken_for {
            let by = rule.inhibited_by.to_vec();
            let alert = transition.into_alert();
            self.withheld.insert(alert.alert_id.clone(), Withheld { alert, by });
            return None;
        }
        Some(transition)
    }

    /// Whether an open alert of this rule counts the vehicle.
    fn speaks_for(&self, rule_id: &Text, vehicle_id: Option<&str>) -> bool {
        let Some(vehicle_id) = vehicle_id else { return false };
        let mut of_rule = self.counts.range((rule_id.clone(), Vec::new())..).take_while(|((id, _), _)| id == rule_id);
        of_rule.any(|(_, count)| count.now.alert().is_some() && count.now.counts(vehicle_id))
    }
}

impl Count {
    /// What another version of the rule counted stays as it is.
    fn go_by(&mut self, version: &Text) {
        if self.version == *version {
            return;
        }
        self.version = version.clone();
        self.settled = self.now.clone();
        self.log.clear();
        self.told = self.now.alert().map(|alert| (alert.alert_id.clone(), alert.clone())).into_iter().collect();
    }

    fn remember(&mut self, told: &[Transition]) {
        self.told.extend(told.iter().map(|one| (one.alert().alert_id.clone(), one.alert().clone())));
    }

    /// Takes entries out of the log; whether there were any.
    fn take_out(&mut self, is_it: impl Fn(&Entry) -> bool) -> bool {
        let before = self.log.len();
        self.log.retain(|entry| !is_it(entry));
        self.log.len() < before
    }

    /// Folds what is older than `until` into what can no longer change; how much that was.
    fn settle(&mut self, by: &By<'_>, until: Time) -> usize {
        let count = self.log.partition_point(|entry| entry.at < until);
        for entry in self.log.drain(..count) {
            self.settled.step(by, &entry).for_each(drop);
        }
        if count > 0 {
            let open = self.settled.alert().map(|alert| alert.alert_id.clone());
            self.told.retain(|id, alert| Some(id) == open.as_ref() || alert.fired_at >= until);
        }
        count
    }

    /// Folds the log again; what is told otherwise than it was.
    fn recount(&mut self, by: &By<'_>) -> Vec<Transition> {
        let mut now = self.settled.clone();
        let open = now.alert().cloned();
        let mut finals: BTreeMap<AlertId, Alert> = open.map(|open| (open.alert_id.clone(), open)).into_iter().collect();
        let mut learn = |transition: Transition| {
            let alert = transition.into_alert();
            finals.insert(alert.alert_id.clone(), alert);
        };
        for entry in &self.log {
            now.step(by, entry).for_each(&mut learn);
        }
        if let Some(at) = self.passed_at {
            now.pass(by, at).into_iter().for_each(&mut learn);
        }
        now.keep_told(&self.told);
        let mut told = Vec::new();
        for (id, alert) in &mut finals {
            match self.told.get(id) {
                None => told.push(Transition::Opened(alert.clone())),
                Some(before) => {
                    alert.retrospective = before.retrospective;
                    if alert != before {
                        told.push(Transition::Revised(alert.clone()));
                    }
                }
            }
        }
        told.extend(self.told.iter().filter(|(id, _)| !finals.contains_key(*id)).map(|(_, alert)| {
            Transition::Withdrawn(alert.clone().withdrawn(LocalText {
                zh: "迟到的数据改变了所计的次数，此事不成立".to_owned(),
                en: "late data changed what it counted, and shows that it was not so".to_owned(),
            }))
        }));
        told.sort_by_key(|transition| transition.alert().fired_at);
        (self.now, self.told) = (now, finals);
        told
    }
}

/// Where a row is counted. Nobody's company has no fleet, and what lies nowhere lies not in one cell.
fn place_of(rule: &RuleTerms<'_>, row: &Facts) -> Option<Place> {
    let text = |value: Option<_>| value.map(|text: std::borrow::Cow<'_, str>| Text::from(&*text));
    let key: Vec<Option<Text>> = rule.key.iter().map(|column| text(key_value(row.value(*column)))).collect();
    let is_known = key.iter().all(|part| part.as_deref().is_some_and(|part| !part.is_empty()));
    is_known.then(|| (rule.id.clone(), key))
}

/// An alert over many is about no single truck, unless it counts for each by itself.
fn about_many(rule: &RuleTerms<'_>, alert: Alert) -> Alert {
    let is_by = |name: &str| rule.key.iter().any(|column| column.name() == name);
    if is_by("vehicle_id") {
        return alert;
    }
    let none = || Text::from("");
    let company_id = if is_by("company_id") { alert.company_id.clone() } else { none() };
    Alert {
        vehicle_id: none(),
        plate: none(),
        company_id,
        driver_id: None,
        permit_id: None,
        manifest_id: None,
        trip_id: None,
        sensor_id: None,
        unregistered: false,
        ..alert
    }
}
