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
