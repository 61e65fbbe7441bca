//! What one tally counts for one key, folded in order of time: pure.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, VecDeque},
};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::model::{
    Alert, AlertId, AlertState, Tally, Text, Time, Transition, Window as Span, Zone, dispatch_id, limits,
};

/// What a tally goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct By<'a> {
    pub tally: &'a Tally,
    pub cooldown_ms: i64,
    /// The values of the rule's key.
    pub key: &'a [Option<Text>],
    pub zone: &'a Zone,
}

/// Something that changes what is counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub at: Time,
    pub vehicle_id: Option<Text>,
    /// The alert that is counted; none for a row.
    pub alert_id: Option<AlertId>,
    pub is_sighting: bool,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum What {
    Hit(Counting),
    /// People found that the alert that became this order was none: from now on it does not count.
    FoundFalse(Text),
}

/// What a hit adds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Counting {
    pub points: u32,
    /// How many vehicles are registered for its company.
    pub fleet: Option<i64>,
    /// Only late data showed it.
    pub is_late: bool,
    /// A rule that keeps this one from opening spoke for the vehicle.
    pub inhibited: bool,
    /// The alert that it would open.
    pub draft: Box<Alert>,
}

/// What fills the window at an instant, and the alert that came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Window {
    /// In order of time; only where points or alerts count.
    hits: VecDeque<Counted>,
    /// When each vehicle last counted.
    vehicles: BTreeMap<Text, Time>,
    /// None of them did so before; `None`: nobody has looked yet.
    #[serde(skip)]
    oldest: Option<Time>,
    /// How many vehicles there must be for the share.
    share_of: Option<i64>,
    /// When it last changed.
    changed_at: Option<Time>,
    /// What had left by then is forgotten.
    passed_at: Option<Time>,
    alert: Option<Box<Alert>>,
    cleared_at: Option<Time>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Counted {
    at: Time,
    points: u32,
    is_late: bool,
    vehicle_id: Option<Text>,
    /// The order that the alert became, by which people answer.
    dispatch_id: Option<Text>,
}

/// Vehicles named in an alert about many. More: only counted.
const NAMED: usize = 20;

impl Entry {
    /// In which order things of one key are counted; equal only for the same thing.
    pub fn order(&self, other: &Self) -> Ordering {
        let place = |entry: &Self| (entry.at, matches!(entry.what, What::FoundFalse(_)), entry.is_sighting);
        let about = |entry: &'_ Self| (entry.vehicle_id.clone(), entry.alert_id.clone());
        place(self).cmp(&place(other)).then_with(|| about(self).cmp(&about(other))).then_with(|| {
            match (&self.what, &other.what) {
                (What::FoundFalse(a), What::FoundFalse(b)) => a.cmp(b),
                _ => Ordering::Equal,
            }
        })
    }
}

impl Window {
    /// The alert that is open.
    pub fn alert(&self) -> Option<&Alert> {
        self.alert.as_deref()
    }

    /// When it last changed.
    pub fn changed_at(&self) -> Option<Time> {
        self.changed_at
    }

    /// Who was told of the open alert before it was found late need not hear that it was.
    pub fn keep_told(&mut self, told: &BTreeMap<AlertId, Alert>) {
        if let Some(alert) = &mut self.alert
            && let Some(before) = told.get(&alert.alert_id)
        {
            alert.retrospective = before.retrospective;
        }
    }

    /// Whether all that it knows of was before `at`: what it did, and what it forgot as time passed.
    pub fn is_before(&self, at: Time) -> bool {
        self.changed_at <= Some(at) && self.passed_at <= Some(at)
    }

    /// Whether it counts a vehicle at present.
    pub fn counts(&self, vehicle_id: &str) -> bool {
        self.vehicles.contains_key(vehicle_id)
    }

    /// Whether it counts the alert that became this order.
    pub fn counts_order(&self, order: &str) -> bool {
        self.hits.iter().any(|hit| hit.dispatch_id.as_deref() == Some(order))
    }

    /// Whether nothing would be lost by forgetting it as of `at`.
    pub fn is_idle(&self, cooldown_ms: i64, at: Time) -> bool {
        let cool = self.cleared_at.is_none_or(|cleared| at >= cleared.plus_ms(cooldown_ms));
        self.alert.is_none() && self.vehicles.is_empty() && self.hits.is_empty() && cool
    }

    /// Lets time pass to the entry, and takes it; what that changed of the alert, in order.
    pub fn step(&mut self, by: &By<'_>, entry: &Entry) -> impl Iterator<Item = Transition> + use<> {
        let passed = self.pass(by, entry.at);
        self.changed_at = self.changed_at.max(Some(entry.at));
        let opened = match &entry.what {
            What::Hit(counting) => {
                self.add(by.tally, entry, counting);
                self.open(by, entry.at, counting)
            }
            What::FoundFalse(order) => {
                self.take_out(|hit| hit.dispatch_id.as_deref() == Some(order));
                None
            }
        };
        let ended = self.end(by.tally, entry.at);
        [passed, opened, ended].into_iter().flatten()
    }

    /// Forgets what has left the window by `at`, and clears the alert when it is no longer full.
    pub fn pass(&mut self, by: &By<'_>, at: Time) -> Option<Transition> {
        if Some(at) <= self.passed_at {
            return None;
        }
        self.passed_at = Some(at);
        let is_out = |hit: Time| match by.tally.window {
            Span::Sliding { within_ms } => at.ms_since(hit) > within_ms,
            Span::Calendar(period) => by.zone.period(hit, period).1 <= at,
        };
        if self.oldest.is_none_or(is_out) {
            self.oldest = self.vehicles.values().min().copied();
        }
        let vehicles_go = self.oldest.is_some_and(is_out);
        if !vehicles_go && self.hits.front().is_none_or(|hit| !is_out(hit.at)) {
            return None;
        }
        let until = self.alert.is_some().then(|| self.full_until(by)).flatten();
        while self.hits.front().is_some_and(|hit| is_out(hit.at)) {
            self.hits.pop_front();
        }
        if vehicles_go {
            self.vehicles.retain(|_, last| !is_out(*last));
            self.oldest = None;
        }
        self.changed_at = self.changed_at.max(Some(at));
        self.end(by.tally, until.unwrap_or(at).min(at))
    }

    /// Takes out a row that was none.
    pub fn take_out_row(&mut self, vehicle_id: Option<&Text>, at: Time) {
        self.take_out(|hit| hit.dispatch_id.is_none() && hit.at == at && hit.vehicle_id.as_ref() == vehicle_id);
        if let Some(id) = vehicle_id.filter(|id| self.vehicles.get(*id) == Some(&at)) {
            self.vehicles.remove(id);
        }
    }

    /// Takes out the alert that became this order.
    pub fn take_out_order(&mut self, order: &str) {
        self.take_out(|hit| hit.dispatch_id.as_deref() == Some(order));
    }

    fn take_out(&mut self, is_it: impl Fn(&Counted) -> bool) {
        let before = self.hits.len();
        self.hits.retain(|hit| !is_it(hit));
        if self.hits.len() < before {
            let last = self.hits.iter().filter_map(|hit| Some((hit.vehicle_id.clone()?, hit.at)));
            self.vehicles = last.collect();
            self.oldest = None;
        }
    }

    fn add(&mut self, tally: &Tally, entry: &Entry, counting: &Counting) {
        self.share_of = counting.fleet.or(self.share_of);
        if tally.at_least.is_some() || tally.over.is_some() {
            if self.hits.len() >= limits::TALLY_HITS {
                self.hits.pop_front();
            }
            self.hits.push_back(Counted {
                at: entry.at,
                points: counting.points,
                is_late: counting.is_late,
                vehicle_id: entry.vehicle_id.clone(),
                dispatch_id: entry.alert_id.as_ref().map(|id| dispatch_id(&id.0)),
            });
        }
        if let Some(vehicle_id) = &entry.vehicle_id
            && (self.vehicles.len() < limits::TALLY_HITS || self.vehicles.contains_key(vehicle_id))
        {
            self.vehicles.insert(vehicle_id.clone(), entry.at);
            self.oldest = self.oldest.map(|oldest| oldest.min(entry.at));
        }
    }

    /// Opens or raises the alert when the window is full.
    fn open(&mut self, by: &By<'_>, at: Time, counting: &Counting) -> Option<Transition> {
        let Counting { draft, inhibited, is_late, .. } = counting;
        if let Some(alert) = &mut self.alert {
            return (draft.severity > alert.severity).then(|| {
                alert.severity = draft.severity;
                Transition::Raised(Alert::clone(alert))
            });
        }
        let cool = self.cleared_at.is_none_or(|cleared| at > cleared && at >= cleared.plus_ms(by.cooldown_ms));
        if *inhibited || !cool || !self.is_full(by.tally) {
            return None;
        }
        let first_hit = self.hits.front().map(|hit| hit.at);
        let started_at = first_hit.or_else(|| self.vehicles.values().min().copied()).unwrap_or(at);
        let key: Vec<Option<&str>> = by.key.iter().map(Option::as_deref).collect();
        let mut alert = Alert::clone(draft);
        alert.alert_id = AlertId::derive(&alert.rule_id, &key, started_at);
        (alert.started_at, alert.fired_at) = (started_at, at);
        alert.retrospective = *is_late || self.hits.iter().any(|hit| hit.is_late);
        if alert.vehicle_id.is_empty() {
            let named: Vec<&str> = self.vehicles.keys().map(|id| &**id).take(NAMED).collect();
            alert.facts.insert("vehicle_ids".to_owned(), json!(named));
        }
        alert.facts.insert("vehicles".to_owned(), json!(self.vehicles.len()));
        if by.tally.at_least.is_some() {
            let points: u64 = self.hits.iter().map(|hit| u64::from(hit.points)).sum();
            alert.facts.insert("points".to_owned(), json!(points));
        }
        self.alert = Some(Box::new(alert.clone()));
        Some(Transition::Opened(alert))
    }

    /// Clears the alert when the window is no longer full.
    fn end(&mut self, tally: &Tally, at: Time) -> Option<Transition> {
        if self.alert.is_none() || self.is_full(tally) {
            return None;
        }
        let mut alert = *self.alert.take()?;
        let cleared = at.max(alert.fired_at);
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
    fn full_until(&self, by: &By<'_>) -> Option<Time> {
        let tally = by.tally;
        let end = |hit: Time| match tally.window {
            Span::Sliding { within_ms } => hit.plus_ms(within_ms),
            Span::Calendar(period) => by.zone.period(hit, period).1,
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
}
