//! What happened, told to metrics, to the stream and to whoever listens in this process.

use std::{
    collections::BTreeMap,
    collections::BTreeSet,
    sync::{Arc, mpsc::SyncSender},
    time::Duration,
};

use super::{clerk::Tell, intake::Watch};
use crate::{
    cli::{front::Note, now},
    command::News,
    engine::{Judged, LastPosition},
    ingest::Publisher,
    metrics::Metrics,
    model::{Alert, AlertState, Body, Ledger, Reason, Record, limits},
    server::{Devices, LastPositions, LastRisks, Position, Stream},
    store::{Change, Reader},
};

/// Somebody in this process who wants the news: the demo. News that find no room are dropped.
pub type Listener = SyncSender<News>;

/// Told of what goes through the intake.
pub struct Passing {
    pub metrics: Arc<Metrics>,
    pub positions: Arc<LastPositions>,
    pub risks: Arc<LastRisks>,
    pub stream: Stream,
    pub devices: Arc<Devices>,
    /// Tells senders what is wrong with what they send.
    pub publisher: Publisher,
    pub prefix: String,
    /// Topics that nobody reads and that have been named in the log.
    pub unread: BTreeSet<String>,
}

impl Watch for Passing {
    fn heard(&mut self, records: &[Record], notes: Vec<Note>) {
        for Note { index, sender, odd } in notes {
            let Some(record) = records.get(index) else { continue };
            for problem in self.devices.hear(record, sender.as_ref(), &odd) {
                match serde_json::to_vec(&problem) {
                    Ok(payload) => {
                        self.publisher.say(&format!("{}/{}/problem", self.prefix, problem.sender.topic()), payload);
                    }
                    Err(error) => tracing::error!(%error, "a problem could not be written"),
                }
            }
        }
    }

    fn unread(&mut self, topic: String) {
        self.metrics.unread_messages.inc();
        if self.unread.len() < limits::UNREAD_TOPICS && !self.unread.contains(&topic) {
            tracing::warn!(
                %topic,
                "messages come here that nobody reads, and are not kept; expected {0}/device/+/report, {0}/sensor/+/sighting, {0}/unit/+/report or {0}/unit/+/reply",
                self.prefix
            );
            self.unread.insert(topic);
        }
    }

    fn journalled(&mut self, records: &[Record], took: Duration) {
        self.metrics.journal_sync_seconds.observe(took.as_secs_f64());
        let is_dead =
            |record: &&Record| matches!(record.body, Body::DeadLetter(_)) && record.reason != Reason::NoReport;
        let letters = records.iter().filter(is_dead).count();
        self.metrics.dead_letters.inc_by(letters as u64);
    }

    fn judged(&mut self, judged: &Judged) {
        self.metrics.vehicles.set(i64::try_from(judged.vehicles).unwrap_or(i64::MAX));
        self.metrics.rule_faults.inc_by(judged.seen.faults);
        for (shard, pace) in judged.paces.iter().enumerate() {
            self.metrics.set_shard_lag(shard, pace.waited.as_secs_f64());
            self.metrics.evaluation_seconds.observe(pace.worked.as_secs_f64());
        }
        let at = now();
        for seen in &judged.seen.positions {
            let position = Position::from(seen.clone());
            if self.positions.see(position.clone(), at) {
                self.stream.position(&position);
            }
        }
        judged.seen.risks.iter().for_each(|assessed| self.risks.see(assessed));
    }

    fn odd(&mut self, fields: BTreeMap<&'static str, u64>) {
        self.metrics.odd_fields(fields);
    }

    fn positions(&self) -> Vec<LastPosition> {
        self.positions.all()
    }

    fn resumed(&mut self, positions: Vec<LastPosition>) {
        let at = now();
        positions.into_iter().for_each(|seen| _ = self.positions.see(Position::from(seen), at));
    }

    fn waiting(&mut self, bytes: u64) {
        self.metrics.backlog_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    fn stuck(&mut self, problem: Option<&str>) {
        self.metrics.journal_disk_full.set(i64::from(problem.is_some()));
    }
}

/// Told of what was committed.
pub struct Committed {
    pub metrics: Arc<Metrics>,
    pub stream: Stream,
    pub reader: Reader,
    pub listener: Option<Listener>,
}

impl Tell for Committed {
    fn news(&mut self, news: &[News]) {
        for one in news {
            match one {
                News::Alert(alert, change) => {
                    self.metrics.count_alert(alert, word(alert, *change));
                    if *change == Change::New {
                        let delay_ms = now().ms_since(alert.fired_at).max(0);
                        self.metrics.alert_delay_seconds.observe(delay_ms as f64 / 1000.0);
                    }
                    self.stream.alert(alert);
                }
                News::Order(order) => self.stream.dispatch(order),
                News::Reply(reply) => self.metrics.count_reply(reply.outcome),
                News::Offer(_) | News::Unit(_) => {}
            }
        }
        if let Some(listener) = &self.listener {
            // Answers first: what follows from them is read after them. Whoever listens may be slow; the engine never waits.
            let (answers, rest): (Vec<_>, Vec<_>) = news.iter().partition(|one| matches!(one, News::Reply(_)));
            answers.into_iter().chain(rest).for_each(|one| _ = listener.try_send(one.clone()));
        }
        if news.iter().any(|one| matches!(one, News::Order(_))) {
            match self.reader.order_counts() {
                Ok(counts) => self.metrics.set_orders(&counts),
                Err(error) => tracing::warn!(%error, "orders could not be counted"),
            }
        }
    }

    fn committed(&mut self, ledger: &Ledger) {
        self.metrics.set_ledger(ledger);
        show_outbox(&self.metrics, &self.reader);
    }

    fn stuck(&mut self, is_stuck: bool) {
        self.metrics.store_stuck.set(i64::from(is_stuck));
    }
}

/// How much waits to be sent, and how long its oldest has.
pub fn show_outbox(metrics: &Metrics, reader: &Reader) {
    let Ok(size) = reader.outbox() else { return };
    metrics.outbox_pending.set(i64::try_from(size.waiting).unwrap_or(i64::MAX));
    let age_ms = size.oldest.map_or(0, |oldest| now().ms_since(oldest).max(0));
    metrics.outbox_oldest_seconds.set(age_ms as f64 / 1000.0);
}

/// What happened to an alert, for the metrics.
fn word(alert: &Alert, change: Change) -> &'static str {
    match (change, alert.state) {
        (Change::New, _) => "opened",
        (_, AlertState::Open) => "raised",
        (_, state) => state.as_str(),
    }
}
