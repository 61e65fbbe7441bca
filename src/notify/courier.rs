//! Lease, send, strike out.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use tokio::sync::Notify;

use super::{NotifyError, Outbox, SendError, Sink};
use crate::model::{Leased, Settled, Time, limits};

/// How patient delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a message may be out before it counts as not sent. Longer than any sink takes to answer for a full lease.
    pub lease_ms: i64,
    /// How long a sink may take over one message.
    pub answer_ms: u64,
    /// Wait after the first failure; doubled with each further one.
    pub retry_first_ms: i64,
    /// Longest wait between two attempts.
    pub retry_most_ms: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { lease_ms: 600_000, answer_ms: 15_000, retry_first_ms: 1_000, retry_most_ms: 60_000 }
    }
}

impl Settings {
    /// How long to wait after the failure of a message that had failed `attempts` times before.
    pub(super) fn retry_ms(&self, attempts: u32) -> i64 {
        let doubled = self.retry_first_ms.saturating_mul(1 << attempts.min(32));
        doubled.clamp(1, self.retry_most_ms.max(1))
    }
}

/// What was delivered since the start, for metrics.
#[derive(Debug, Default)]
pub struct Delivered {
    pub sent: AtomicU64,
    pub failed: AtomicU64,
    pub refused: AtomicU64,
}

/// What one turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    pub taken: usize,
    pub sent: usize,
    /// To be tried again, with those behind them on their topics.
    pub held: usize,
    pub refused: usize,
}

/// Carries messages from an outbox to a sink, turn by turn.
pub struct Courier<O, S> {
    outbox: Arc<O>,
    sink: S,
    settings: Settings,
    /// How the last turn's messages ended; written down with the next exchange.
    settled: Vec<Settled>,
    delivered: Arc<Delivered>,
}

impl<O: Outbox, S: Sink> Courier<O, S> {
    pub fn new(outbox: Arc<O>, sink: S, settings: Settings) -> Self {
        Self { outbox, sink, settings, settled: Vec::new(), delivered: Arc::default() }
    }

    /// Counters that live on beside the courier.
    pub fn delivered(&self) -> Arc<Delivered> {
        Arc::clone(&self.delivered)
    }

    /// Takes what is due, sends it, and remembers how it ended: the next turn writes that down. A turn that took nothing has
    /// left nothing to be written down. What a turn that failed was to write down is sent again when its lease is over.
    ///
    /// # Errors
    /// When the outbox fails.
    pub async fn turn(&mut self, now: Time) -> Result<Turn, NotifyError> {
        let leased = self.exchange(now).await?;
        let taken = leased.len();
        let mut topics: BTreeMap<Arc<str>, Vec<Leased>> = BTreeMap::new();
        for one in leased {
            topics.entry(Arc::clone(&one.message.topic)).or_default().push(one);
        }
        let this = &*self;
        let sent = join_all(topics.into_values().map(|messages| this.send_topic(messages, now))).await;
        self.settled = sent.into_iter().flatten().collect();
        Ok(self.count(taken))
    }

    /// In order, one behind the other on the way, until one is to be tried again: those behind it wait with it, and are sent again
    /// when they were on their way already.
    async fn send_topic(&self, messages: Vec<Leased>, now: Time) -> Vec<Settled> {
        let (mut settled, mut under_way) = (Vec::with_capacity(messages.len()), Vec::with_capacity(messages.len()));
        let mut blocked = false;
        for leased in messages {
            if blocked {
                settled.push(Settled::Released { seq: leased.seq });
                continue;
            }
            match self.patiently(self.sink.send(&leased.message.topic, &leased.message.payload)).await {
                Ok(receipt) => under_way.push((leased, receipt)),
                Err(error) => {
                    blocked = matches!(error, SendError::TryAgain(_));
                    settled.push(self.failed(&leased, error, now));
                }
            }
        }
        blocked = false;
        for (leased, receipt) in under_way {
            if blocked {
                settled.push(Settled::Released { seq: leased.seq });
                continue;
            }
            match self.patiently(receipt).await {
                Ok(()) => settled.push(Settled::Sent { seq: leased.seq }),
                Err(error) => {
                    blocked = matches!(error, SendError::TryAgain(_));
                    settled.push(self.failed(&leased, error, now));
                }
            }
        }
        settled
    }

    fn failed(&self, leased: &Leased, error: SendError, now: Time) -> Settled {
        let Leased { seq, message, attempts, .. } = leased;
        match error {
            SendError::Refused(error) => {
                tracing::error!(topic = %message.topic, id = %message.id, %error, "message refused, put aside");
                Settled::Refused { seq: *seq, error }
            }
            SendError::TryAgain(error) => {
                let wait_ms = self.settings.retry_ms(*attempts);
                tracing::warn!(topic = %message.topic, id = %message.id, %error, wait_ms, "message not sent, tried again");
                Settled::Later { seq: *seq, at: now.plus_ms(wait_ms), error }
            }
        }
    }

    async fn patiently<T>(&self, answer: impl Future<Output = Result<T, SendError>>) -> Result<T, SendError> {
        let patience = Duration::from_millis(self.settings.answer_ms);
        match tokio::time::timeout(patience, answer).await {
            Ok(result) => result,
            Err(_) => Err(SendError::TryAgain(format!("no answer within {} ms", self.settings.answer_ms))),
        }
    }

    async fn exchange(&mut self, now: Time) -> Result<Vec<Leased>, NotifyError> {
        let settled = std::mem::take(&mut self.settled);
        let until = now.plus_ms(self.settings.lease_ms);
        self.ask(move |outbox| outbox.exchange(&settled, now, until, limits::OUTBOX_LEASED)).await
    }

    /// Asks the outbox on a thread that may block.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&O) -> Result<T, O::Error> + Send + 'static,
    ) -> Result<T, NotifyError> {
        let outbox = Arc::clone(&self.outbox);
        let answer = tokio::task::spawn_blocking(move || question(&outbox)).await;
        answer.map_err(|_| NotifyError::Worker)?.map_err(|error| match O::will_pass(&error) {
            true => NotifyError::OutboxLater(Box::new(error)),
            false => NotifyError::Outbox(Box::new(error)),
        })
    }

    fn count(&self, taken: usize) -> Turn {
        let mut turn = Turn { taken, ..Turn::default() };
        for settled in &self.settled {
            match settled {
                Settled::Sent { .. } => turn.sent += 1,
                Settled::Refused { .. } => turn.refused += 1,
                Settled::Later { .. } | Settled::Released { .. } => turn.held += 1,
            }
        }
        let failed = self.settled.iter().filter(|settled| matches!(settled, Settled::Later { .. })).count();
        self.delivered.sent.fetch_add(turn.sent as u64, Ordering::Relaxed);
        self.delivered.refused.fetch_add(turn.refused as u64, Ordering::Relaxed);
        self.delivered.failed.fetch_add(failed as u64, Ordering::Relaxed);
        turn
    }
}

/// Looks into the outbox at least this often, even when nobody wakes us.
const IDLE: Duration = Duration::from_secs(5);

/// Delivers until `shutdown` ends, then once more what is due, and returns when the outbox holds nothing that can go out now.
/// Whoever queued messages calls `wake.notify_one()` after the commit.
///
/// # Errors
/// When the outbox fails: nothing is lost, the process starts again from disk.
pub async fn run<O: Outbox, S: Sink>(
    mut courier: Courier<O, S>,
    clock: impl Fn() -> Time + Send,
    wake: Arc<Notify>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), NotifyError> {
    tokio::pin!(shutdown);
    loop {
        let now = clock();
        let pause = match courier.turn(now).await {
            Ok(turn) if turn.taken > 0 => continue,
            Ok(_) => match courier.ask(move |outbox| outbox.next_due(now)).await {
                Ok(due) => due.map_or(IDLE, |due| Duration::from_millis(due.ms_since(now).max(1) as u64).min(IDLE)),
                Err(NotifyError::OutboxLater(_)) => IDLE,
                Err(error) => return Err(error),
            },
            Err(error @ NotifyError::OutboxLater(_)) => {
                tracing::error!("nothing is sent until this has passed, and nothing is lost: failed to {error}");
                IDLE
            }
            Err(error) => return Err(error),
        };
        tokio::select! {
            () = wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
            () = &mut shutdown => break,
        }
    }
    // What was held back stays so: the first turn that can take nothing is the last.
    while courier.turn(clock()).await?.taken > 0 {}
    Ok(())
}
