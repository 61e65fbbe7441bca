//! The second stage: what was found of single vehicles, counted over many, in order of event time and on one thread.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Reference,
    judge::{Finding, Found, terms},
};
use crate::{
    alerts::{Clock, Hit, RuleTerms, Tallies},
    model::{self, Alert, Body, Facts, Outcome, Record, Text, Time, Transition, UnitReply},
    registry::Registry,
    rules::{Rule, RuleSet},
};

/// Makes of findings what is told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Settler {
    tallies: Tallies,
    /// Event time of the newest report of any vehicle.
    newest: Time,
    /// When the last record came, and the first of its batch.
    arrival: Time,
    begun: Time,
}

impl Settler {
    /// What is told of a batch, from all that was found in it, in order of record, turn and vehicle. At a batch of nothing time
    /// passes, no more.
    pub fn settle(&mut self, reference: &Reference, batch: &[Record], findings: Vec<Finding>) -> Vec<Transition> {
        let mut told = Vec::with_capacity(findings.len());
        if !reference.rules.has_tallies() {
            told.extend(findings.into_iter().filter_map(|finding| match finding.what {
                Found::Change(transition) => Some(*transition),
                Found::Hit { .. } | Found::Unhit(..) => None,
            }));
            return told;
        }
        // What came late in a batch is found at its end.
        self.begun = batch.first().map_or(self.arrival, |record| record.recv_time);
        let mut findings = findings.into_iter().peekable();
        for (index, record) in (0_u32..).zip(batch) {
            while let Some(finding) = findings.next_if(|finding| finding.record == index) {
                self.take(reference, finding, &mut told);
            }
            self.arrival = self.arrival.max(record.recv_time);
            match &record.body {
                Body::Tick => self.pass(reference, &mut told),
                Body::Reply(reply) => self.hear(reference, reply, record.recv_time, &mut told),
                Body::Device(_) | Body::Sighting(_) if record.outcome == Outcome::Evaluated => {
                    self.newest = self.newest.max(record.event_time);
                }
                _ => {}
            }
        }
        // What waited for history may come with no record.
        findings.for_each(|finding| self.take(reference, finding, &mut told));
        while let Some(changed) = self.tallies.recount(&reference.facts.zone, |id| known(&reference.rules, id)) {
            changed.into_iter().for_each(|transition| self.tell(reference, transition, &mut told));
        }
        if batch.is_empty() {
            self.pass(reference, &mut told);
        }
        told
    }

    fn take(&mut self, reference: &Reference, finding: Finding, told: &mut Vec<Transition>) {
        let rules = &reference.rules;
        let Some(rule) = rules.order().get(finding.turn as usize).map(|number| &rules.rules()[*number as usize]) else {
            // Late data changed what a rule told that is no more.
            if let Found::Change(transition) = finding.what {
                told.push(*transition);
            }
            return;
        };
        match finding.what {
            Found::Hit { row, severity, is_late } => {
                let fleet = fleet(&reference.registry, rule, &row);
                let hit = Hit { row: &row, severity, points: 1, fleet, alert: None, is_late };
                self.count(reference, rule, hit, told);
            }
            Found::Unhit(row) => self.tallies.take_out(&terms(rule), &row),
            Found::Change(transition) => self.admit(reference, rule, *transition, told),
        }
    }

    fn count(&mut self, reference: &Reference, rule: &Rule, hit: Hit<'_>, told: &mut Vec<Transition>) {
        let transitions =
            self.tallies.hit(&terms(rule), hit, &reference.facts.zone, || rule.messages(hit.row, &*reference.registry));
        transitions.into_iter().for_each(|transition| self.tell(reference, transition, told));
    }

    /// Tells of a vehicle's alert unless one about many speaks for it.
    fn admit(&mut self, reference: &Reference, rule: &Rule, transition: Transition, told: &mut Vec<Transition>) {
        if let Some(transition) = self.tallies.admit(&terms(rule), transition) {
            self.tell(reference, transition, told);
        }
    }

    /// Tells of an alert, and counts it as it stands by now, unless it is of a shadow rule; one that never was counts no longer.
    fn tell(&mut self, reference: &Reference, transition: Transition, told: &mut Vec<Transition>) {
        let (is_new, was_told) = match &transition {
            Transition::Opened(_) => (true, false),
            Transition::Revised(_) => (true, true),
            Transition::Withdrawn(_) => (false, true),
            Transition::Raised(_) | Transition::Cleared(_) => (false, false),
        };
        let alert = (is_new || was_told).then(|| transition.alert().clone());
        told.push(transition);
        let Some(alert) = alert.filter(|alert| !alert.shadow) else { return };
        let rules = &reference.rules;
        for number in rules.order() {
            let rule = &rules.rules()[*number as usize];
            let over = rule.tally.as_ref().and_then(|tally| tally.over.as_ref());
            let Some(points) = over.and_then(|over| over.get(&alert.rule_id)) else { continue };
            let row = row_of(&alert);
            if was_told {
                self.tallies.take_out_alert(&terms(rule), &row, &alert.alert_id);
            }
            if is_new {
                let id = Some(&alert.alert_id);
                let is_late = alert.retrospective;
                let hit = Hit { row: &row, severity: None, points: *points, fleet: None, alert: id, is_late };
                self.count(reference, rule, hit, told);
            }
        }
    }

    fn pass(&mut self, reference: &Reference, told: &mut Vec<Transition>) {
        if self.tallies.is_empty() {
            return;
        }
        let settled = reference.late.too_old(self.begun);
        let clock = Clock { arrival: self.arrival, newest: self.newest, settled };
        let transitions = self.tallies.pass(clock, &reference.facts.zone, |id| known(&reference.rules, id));
        transitions.into_iter().for_each(|transition| self.tell(reference, transition, told));
    }

    /// An alert that people found to be false counts no longer.
    fn hear(&mut self, reference: &Reference, reply: &UnitReply, at: Time, told: &mut Vec<Transition>) {
        if reply.verdict == Some(model::Finding::FalseAlarm) {
            let rule = |id: &str| known(&reference.rules, id);
            let transitions = self.tallies.take_back(&reply.dispatch_id, at, &reference.facts.zone, rule);
            transitions.into_iter().for_each(|transition| self.tell(reference, transition, told));
        }
    }
}

fn known<'r>(rules: &'r RuleSet, id: &str) -> Option<RuleTerms<'r>> {
    let rule = &rules.rules()[rules.index_of(id)?];
    rule.enabled.then(|| terms(rule))
}

/// How many vehicles the share is of.
fn fleet(registry: &Arc<Registry>, rule: &Rule, row: &Facts) -> Option<i64> {
    rule.tally.as_ref()?.share?;
    registry.fleet(row.company_id.as_deref()?, row.event_time?)
}

/// What an alert says, as a row.
fn row_of(alert: &Alert) -> Facts {
    let text = |text: &Text| Some(text.clone()).filter(|text| !text.is_empty());
    Facts {
        event_time: Some(alert.fired_at),
        vehicle_id: text(&alert.vehicle_id),
        plate: text(&alert.plate),
        company_id: text(&alert.company_id),
        driver_id: alert.driver_id.clone(),
        permit_id: alert.permit_id.clone(),
        manifest_id: alert.manifest_id.clone(),
        trip_id: alert.trip_id.clone(),
        lat: alert.lat,
        lon: alert.lon,
        district_id: alert.district_id.clone(),
        place_id: alert.place_id.clone(),
        road_id: alert.road_id.clone(),
        ..Facts::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::LateSettings,
        facts,
        model::{AlertId, AlertState, Departments, Severity},
    };

    fn alert(id: &str, second: i64) -> Alert {
        let at = Time::from_millis(second * 1_000);
        serde_json::from_value(serde_json::json!({
            "alert_id": AlertId(id.into()), "rule_id": "fast", "rule_version": "1", "vehicle_id": "V1", "plate": "P1",
            "company_id": "C1", "severity": Severity::Major, "departments": Departments::default(), "message": "",
            "started_at": at, "fired_at": at, "state": AlertState::Open, "retrospective": false, "facts": {},
        }))
        .unwrap()
    }

    #[test]
    fn an_alert_that_never_was_counts_no_longer() {
        let text = "rules:\n  - { id: fast, when: speed_kmh > 60 }\n  - { id: thrice, over: [fast], count: { at_least: 3, within: 1h } }\n";
        let rules = Arc::new(RuleSet::parse(&[("a.yaml", text)]).unwrap());
        let reference = Reference {
            registry: Arc::default(),
            rules,
            facts: facts::Settings::default(),
            tick_ms: 60_000,
            late: LateSettings::default(),
        };
        let told = |withdrawn: Option<&str>| {
            let mut settler = Settler::default();
            let mut changes: Vec<Transition> =
                [("a", 1), ("b", 2)].map(|(id, second)| Transition::Opened(alert(id, second))).into();
            changes.extend(withdrawn.map(|id| Transition::Withdrawn(alert(id, 1))));
            changes.push(Transition::Opened(alert("c", 3)));
            let finding = |change| Finding { record: 0, step: 0, turn: 0, what: Found::Change(Box::new(change)) };
            let told = settler.settle(&reference, &[], changes.into_iter().map(finding).collect());
            told.iter().filter(|transition| *transition.alert().rule_id == *"thrice").count()
        };
        assert_eq!((told(None), told(Some("a"))), (1, 0));
    }
}
