//! Records from files through the same engine: no broker, no server, the same bytes every time.

use std::{collections::BTreeMap, sync::Arc};

use super::{Engine, EngineError, Judged, Reference};
use crate::model::{Alert, AlertId, Ledger, Record, Transition};

/// How a replay ended.
#[derive(Debug, Default)]
pub struct Replayed {
    /// Every alert as it finally stood, sorted by start, rule and vehicle.
    pub alerts: Vec<Alert>,
    /// Alerts that late data showed never to have been.
    pub withdrawn: Vec<Alert>,
    pub ledger: Ledger,
    /// How many vehicles reported.
    pub vehicles: usize,
}

/// Records that are judged together: some of each vehicle of a large fleet.
pub const BATCH: usize = 65_536;
/// Batches that are under way together: one is judged while the next is read.
pub const AHEAD: usize = 2;

/// Judges all records, given in order of arrival with their ticks among them.
///
/// # Errors
/// The first error of `records` (as it came), or the engine's own.
pub fn replay<E: From<EngineError>>(
    reference: &Reference,
    shards: usize,
    records: impl Iterator<Item = Result<Record, E>>,
) -> Result<Replayed, E> {
    let mut engine = Engine::start(reference, shards);
    let mut collected = Collected::default();
    let mut batch = Vec::with_capacity(BATCH);
    for record in records {
        batch.push(record?);
        if batch.len() == BATCH {
            if engine.pending() >= AHEAD {
                collected.add(engine.take()?);
            }
            engine.submit(Arc::new(std::mem::replace(&mut batch, Vec::with_capacity(BATCH))))?;
        }
    }
    if !batch.is_empty() {
        engine.submit(Arc::new(batch))?;
    }
    // Time passes to the last of them.
    engine.submit(Arc::default())?;
    while let Some(judged) = engine.take()? {
        collected.add(Some(judged));
    }
    Ok(collected.finish())
}

#[derive(Default)]
struct Collected {
    alerts: BTreeMap<AlertId, Alert>,
    withdrawn: BTreeMap<AlertId, Alert>,
    ledger: Ledger,
    vehicles: usize,
}

impl Collected {
    fn add(&mut self, judged: Option<Judged>) {
        let Some(judged) = judged else { return };
        judged.count_into(&mut self.ledger);
        self.vehicles = judged.vehicles;
        for transition in judged.transitions {
            let is_withdrawn = matches!(transition, Transition::Withdrawn(_));
            let alert = transition.into_alert();
            let id = alert.alert_id.clone();
            if is_withdrawn {
                self.withdrawn.insert(id.clone(), alert);
                self.alerts.remove(&id);
            } else {
                self.withdrawn.remove(&id);
                self.alerts.insert(id, alert);
            }
        }
    }

    fn finish(self) -> Replayed {
        let (mut alerts, withdrawn) =
            (self.alerts.into_values().collect::<Vec<_>>(), self.withdrawn.into_values().collect());
        alerts.sort_by(|a, b| {
            (a.started_at, &a.rule_id, &a.vehicle_id, &a.alert_id).cmp(&(
                b.started_at,
                &b.rule_id,
                &b.vehicle_id,
                &b.alert_id,
            ))
        });
        Replayed { alerts, withdrawn, ledger: self.ledger, vehicles: self.vehicles }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        facts::Settings,
        model::{Body, Time},
        registry::Registry,
        rules::RuleSet,
    };

    /// The tracker of a new truck that was never switched on was missed for ever: silence was counted from the first report.
    #[test]
    fn a_registered_truck_that_never_spoke_is_silent_since_then_or_since_we_listen() {
        let vehicles = "vehicle_id,plate,device_id,status,valid_from,valid_to\n\
            old,粤B10001,d1 cam1,active,,\n\
            new,粤B10002,d2,active,2026-03-01T12:00:00Z,\n\
            bare,粤B10003,,active,,\n\
            gone,粤B10004,d4,active,,2026-03-01T12:00:00Z\n\
            painted,粤B10005,d5,active,2026-03-01T06:00:00Z,2026-03-01T12:00:00Z\n\
            painted,粤B10006,d5,active,2026-03-01T12:00:00Z,\n";
        let rule =
            "rules:\n  - id: silent\n    when: silent_s >= 36000\n    severity: notice\n    departments: [company]\n";
        let reference = Reference {
            registry: Arc::new(Registry::parse(&[("vehicles.csv", vehicles)]).unwrap()),
            rules: Arc::new(RuleSet::parse(&[("a.yaml", rule)]).unwrap()),
            facts: Settings::default(),
            tick_ms: 60_000,
            late: crate::engine::LateSettings::default(),
        };
        let start: Time = "2026-03-01T00:00:00Z".parse().unwrap();
        let ticks = (1..=30 * 60).map(|minute| Record::clock(Body::Tick, start.plus_ms(minute * 60_000)));
        let fired = |shards: usize, began: Option<Time>| -> Vec<(String, String)> {
            let began = began.map(|at| Record::clock(Body::Start, at));
            let records = began.into_iter().chain(ticks.clone()).map(Ok::<_, EngineError>);
            let alerts = replay(&reference, shards, records).unwrap().alerts.into_iter();
            alerts.map(|alert| (alert.plate.to_string(), alert.fired_at.to_string()[11..16].to_owned())).collect()
        };
        let expected = [("粤B10004", "10:00"), ("粤B10001", "10:00"), ("粤B10006", "16:00"), ("粤B10002", "22:00")];
        let expected = expected.map(|(plate, at)| (plate.to_owned(), at.to_owned()));
        assert_eq!(fired(1, Some(start)), expected);
        assert_eq!(fired(3, Some(start)), expected, "each vehicle is of one shard");
        assert_eq!(fired(1, None), [], "what is in no file was not listened to");
    }
}
