//! Counting over vehicles and over alerts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    RuleTerms,
    book::{draft, key_value},
};
use crate::model::{
    Alert, AlertId, AlertState, Facts, Severity, Tally, Text, Time, Transition, Window, Zone, dispatch_id, limits,
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
    /// The alert that is counted, to be taken back should it be found false.
    pub alert: Option<&'a AlertId>,
}

/// Every tally under way, of all rules and keys. Hits come in order of arrival.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tallies {
    /// By rule and key.
    counts: BTreeMap<(Text, Vec<Option<Text>>), Count>,
    /// Open alerts of vehicles that a tally speaks for.
    withheld: BTreeMap<AlertId, Withheld>,
}

/// One rule and key.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Count {
    /// In order of time; only where points count.
    hits: VecDeque<Counted>,
    /// When each vehicle last counted.
    vehicles: BTreeMap<Text, Time>,
    /// How many vehicles there must be for the share.
    share_of: Option<i64>,
    /// The latest hit: what is older counts as of that one.
    last_at: Time,
    /// What had left the window by then is forgotten.
    passed_at: Time,
    alert: Option<Box<Alert>>,
    cleared_at: Option<Time>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Counted {
    at: Time,
    points: u32,
    vehicle_id: Option<Text>,
    /// The order that the alert became, by which people answer.
    dispatch_id: Option<Text>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Withheld {
    alert: Alert,
    by: Vec<Text>,
}

/// Before all that can be.
const NEVER: Time = Time::from_millis(i64::MIN);
/// Vehicles named in an alert about many. More: only counted.
const NAMED: usize = 20;

impl Tallies {
    /// Whether nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.withheld.is_empty()
    }

    /// Counts something for the rule's key in this row. `message` is asked only when an alert opens.
    pub fn hit(
        &mut self,
        rule: &RuleTerms<'_>,
        hit: Hit<'_>,
        zone: &Zone,
        message: impl FnOnce() -> String,
    ) -> Vec<Transition> {
        let Some(tally) = rule.tally else { return Vec::new() };
        let key: Vec<Option<Text>> =
            rule.key.iter().map(|column| key_value(hit.row.value(*column)).map(|text| Text::from(&*text))).collect();
        // Nobody's company has no fleet, and what lies nowhere lies not in one cell.
        if key.iter().any(|part| part.as_deref().is_none_or(str::is_empty)) {
            return Vec::new();
        }
        let inhibited = rule.inhibited_by.iter().any(|id| self.speaks_for(id, hit.row.vehicle_id.as_deref()));
        let at = (rule.id.clone(), key);
        if !self.counts.contains_key(&at) && self.counts.len() >= limits::TALLIES {
            return Vec::new();
        }
        let count = self.counts.entry(at).or_insert_with(Count::new);
        let mut transitions: Vec<Transition> =
            count.pass(tally, hit.row.event_time.unwrap_or_default(), zone).into_iter().collect();
        count.add(tally, &hit);
        transitions.extend(count.open(rule, tally, &hit, inhibited, message));
        transitions
    }

    /// Lets time pass: alerts whose window is no longer full clear, and what was withheld for them is told.
    pub fn pass<'r>(&mut self, at: Time, zone: &Zone, rule: impl Fn(&str) -> Option<RuleTerms<'r>>) -> Vec<Transition> {
        let mut transitions = Vec::new();
        self.counts.retain(|(rule_id, _), count| {
            let Some(rule) = rule(rule_id) else { return false };
            let Some(tally) = rule.tally else { return false };
            transitions.extend(count.pass(tally, at, zone));
            !count.is_idle(rule.timing.cooldown_ms, at)
        });
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

    /// Takes back what was counted of the alert that became this order, and was found false.
    pub fn take_back(&mut self, order: &str) {
        for count in self.counts.values_mut() {
            count.hits.retain(|hit| hit.dispatch_id.as_deref() != Some(order));
        }
    }

    /// Takes back a row that late data showed never to have been.
    pub fn take_out(&mut self, rule_id: &Text, vehicle_id: &Text, at: Time) {
        for (_, count) in self.counts.iter_mut().filter(|((id, _), _)| id == rule_id) {
            count.hits.retain(|hit| hit.at != at || hit.vehicle_id.as_ref() != Some(vehicle_id));
            if count.vehicles.get(vehicle_id) == Some(&at) {
                count.vehicles.remove(vehicle_id);
            }
        }
    }

    /// Whether an open alert of this rule counts the vehicle.
    fn speaks_for(&self, rule_id: &Text, vehicle_id: Option<&str>) -> bool {
        let Some(vehicle_id) = vehicle_id else { return false };
        let of_rule = self.counts.range((rule_id.clone(), Vec::new())..).take_while(|((id, _), _)| id == rule_id);
        of_rule.filter(|(_, count)| count.alert.is_some()).any(|(_, count)| count.vehicles.contains_key(vehicle_id))
    }
}

impl Count {
    fn new() -> Self {
        Self {
            hits: VecDeque::new(),
            vehicles: BTreeMap::new(),
            share_of: None,
            last_at: NEVER,
            passed_at: NEVER,
            alert: None,
            cleared_at: None,
        }
    }

    fn add(&mut self, tally: &Tally, hit: &Hit<'_>) {
        let at = hit.row.event_time.unwrap_or_default().max(self.last_at);
        self.last_at = at;
        self.share_of = hit.fleet.or(self.share_of);
        if tally.at_least.is_some() {
            if self.hits.len() >= limits::TALLY_HITS {
                self.hits.pop_front();
            }
            self.hits.push_back(Counted {
                at,
                points: hit.points,
                vehicle_id: hit.row.vehicle_id.clone(),
                dispatch_id: hit.alert.map(|id| dispatch_id(&id.0)),
            });
        }
        if let Some(vehicle_id) = &hit.row.vehicle_id
            && (self.vehicles.len() < limits::TALLY_HITS || self.vehicles.contains_key(vehicle_id))
        {
            self.vehicles.insert(vehicle_id.clone(), at);
        }
    }

    /// Opens or raises the alert when the window is full.
    fn open(
        &mut self,
        rule: &RuleTerms<'_>,
        tally: &Tally,
        hit: &Hit<'_>,
        inhibited: bool,
        message: impl FnOnce() -> String,
    ) -> Option<Transition> {
        let severity = hit.severity.unwrap_or(rule.severity_default);
        if let Some(alert) = &mut self.alert {
            return (severity > alert.severity).then(|| {
                alert.severity = severity;
                Transition::Raised(Alert::clone(alert))
            });
        }
        let at = self.last_at;
        let cool = self.cleared_at.is_none_or(|cleared| at > cleared && at >= cleared.plus_ms(rule.timing.cooldown_ms));
        if inhibited || !cool || !self.is_full(tally) {
            return None;
        }
        let first_hit = self.hits.front().map(|hit| hit.at);
        let started_at = first_hit.or_else(|| self.vehicles.values().min().copied()).unwrap_or(at);
        let mut alert = draft(rule, hit.row, severity, message(), started_at, at);
        if !rule.key.iter().any(|column| column.name() == "vehicle_id") {
            // It is about no single truck.
            (alert.vehicle_id, alert.plate) = (Text::from(""), Text::from(""));
            (alert.driver_id, alert.permit_id, alert.manifest_id, alert.trip_id) = (None, None, None, None);
            if !rule.key.iter().any(|column| column.name() == "company_id") {
                alert.company_id = Text::from("");
            }
            let named: Vec<&str> = self.vehicles.keys().map(|id| &**id).take(NAMED).collect();
            alert.facts.insert("vehicle_ids".to_owned(), json!(named));
        }
        alert.facts.insert("vehicles".to_owned(), json!(self.vehicles.len()));
        if tally.at_least.is_some() {
            let points: u64 = self.hits.iter().map(|hit| u64::from(hit.points)).sum();
            alert.facts.insert("points".to_owned(), json!(points));
        }
        self.alert = Some(Box::new(alert.clone()));
        Some(Transition::Opened(alert))
    }

    /// Forgets what has left the window by `at`, and clears the alert when it is no longer full.
    fn pass(&mut self, tally: &Tally, at: Time, zone: &Zone) -> Option<Transition> {
        if at <= self.passed_at {
            return None;
        }
        self.passed_at = at;
        let is_out = |hit: Time| match tally.window {
            Window::Sliding { within_ms } => at.ms_since(hit) > within_ms,
            Window::Calendar(period) => zone.period(hit, period).1 <= at,
        };
        let until = self.alert.is_some().then(|| self.full_until(tally, zone).unwrap_or(at));
        while self.hits.front().is_some_and(|hit| is_out(hit.at)) {
            self.hits.pop_front();
        }
        if self.vehicles.values().min().is_some_and(|oldest| is_out(*oldest)) {
            self.vehicles.retain(|_, last| !is_out(*last));
        }
        if self.alert.is_none() || self.is_full(tally) {
            return None;
        }
        let mut alert = *self.alert.take()?;
        let cleared = until?.clamp(alert.fired_at, at.max(alert.fired_at));
        self.cleared_at = Some(cleared);
        (alert.state, alert.cleared_at) = (AlertState::Cleared, Some(cleared));
        Some(Transition::Cleared(alert))
    }

    /// Whether what is remembered fills the window.
    fn is_full(&self, tally: &Tally) -> bool {
        let mut sum = 0_u64;
        let by_points = tally.at_least.is_some_and(|wanted| {
            self.hits.iter().rev().any(|hit| {
                sum += u64::from(hit.points);
                sum >= u64::from(wanted)
            })
        });
        let by_vehicles = tally.vehicles.is_some_and(|wanted| self.vehicles.len() >= wanted as usize);
        let has_share = tally.share.is_none_or(|share| {
            self.share_of.is_some_and(|registered| self.vehicles.len() as f64 >= share * registered as f64)
        });
        (by_points || by_vehicles) && has_share
    }

    /// Until when the window stays full if nothing more comes; `None` when it is not full at all.
    fn full_until(&self, tally: &Tally, zone: &Zone) -> Option<Time> {
        let end = |hit: Time| match tally.window {
            Window::Sliding { within_ms } => hit.plus_ms(within_ms),
            Window::Calendar(period) => zone.period(hit, period).1,
        };
        let by_points = tally.at_least.and_then(|wanted| {
            let mut sum = 0_u64;
            let full = |hit: &&Counted| {
                sum += u64::from(hit.points);
                sum >= u64::from(wanted)
            };
            self.hits.iter().rev().find(full).map(|hit| end(hit.at))
        });
        let by_vehicles = |wanted: usize| {
            let mut last: Vec<Time> = self.vehicles.values().copied().collect();
            let nth = last.len().checked_sub(wanted.max(1))?;
            Some(end(*last.select_nth_unstable(nth).1))
        };
        let full = by_points.max(tally.vehicles.and_then(|wanted| by_vehicles(wanted as usize)))?;
        match tally.share {
            None => Some(full),
            Some(share) => {
                let wanted = (share * self.share_of? as f64).ceil();
                by_vehicles(wanted as usize).map(|until| until.min(full))
            }
        }
    }

    fn is_idle(&self, cooldown_ms: i64, at: Time) -> bool {
        let cool = self.cleared_at.is_none_or(|cleared| at >= cleared.plus_ms(cooldown_ms));
        self.alert.is_none() && self.vehicles.is_empty() && self.hits.is_empty() && cool
    }
}
