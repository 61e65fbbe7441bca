//! A simulated fleet on a real broker: trucks report in real time, units hear what they are asked and answer.

use std::time::Duration;

use anyhow::Context;
use tokio::{sync::mpsc, time::Instant};

use super::now;
use crate::{
    ingest::{Address, Incoming, Publisher, Source, SourceSettings},
    simulate::{Message, Simulation},
};

/// Where a fleet drives.
pub struct Fleet {
    pub broker: Address,
    pub prefix: String,
    /// `None`: until it is told to stop.
    pub duration: Option<Duration>,
}

/// A fleet that has come to rest.
pub struct Driven {
    /// For its truths.
    pub simulation: Simulation,
    /// Messages that the broker has acknowledged.
    pub published: u64,
}

/// How often the clock moves on.
const STEP: Duration = Duration::from_millis(100);
/// Messages that wait for the broker. Full: the fleet waits.
const WAITING: usize = 20_000;
/// Messages on their way at once.
const ON_THEIR_WAY: usize = 1_000;

impl Fleet {
    /// Drives until `stop` or the end of the duration.
    ///
    /// # Errors
    /// When the broker cannot be used.
    pub async fn run(self, mut simulation: Simulation, stop: impl Future<Output = ()>) -> anyhow::Result<Driven> {
        let publisher = Publisher::start(&format!("muckwatch-fleet-{}", std::process::id()), &self.broker, None, None)?;
        let (source, mut offers) = Source::start(&self.ears())?;
        let (queue, waiting) = mpsc::channel(WAITING);
        let sending = tokio::spawn(send(publisher, self.prefix.clone(), waiting));
        let offset_ms = now().ms_since(simulation.now());
        let end = self.duration.map(|duration| Instant::now() + duration);
        let mut ticks = tokio::time::interval(STEP);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                () = at(end) => break,
                Some(offer) = offers.recv() => {
                    hear(&mut simulation, &self.prefix, &offer, offset_ms);
                    source.acknowledge([offer.ack]);
                }
                _ = ticks.tick() => {
                    let mut said = Vec::new();
                    simulation.advance(now().plus_ms(-offset_ms), |message| said.push(message));
                    for message in said {
                        queue.send(message).await.context("failed to publish")?;
                    }
                }
            }
        }
        drop(queue);
        let published = sending.await.context("failed to publish")?;
        source.disconnect().await;
        Ok(Driven { simulation, published })
    }

    /// What units listen to.
    fn ears(&self) -> SourceSettings {
        SourceSettings {
            address: self.broker.clone(),
            client_id: format!("muckwatch-units-{}", std::process::id()),
            credentials: None,
            tls: None,
            wide: None,
            filters: vec![format!("{}/dispatch/+", self.prefix)],
            connections: 1,
            group: String::new(),
        }
    }
}

async fn at(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

fn hear(simulation: &mut Simulation, prefix: &str, offer: &Incoming, offset_ms: i64) {
    let topic = offer.topic().strip_prefix(prefix).and_then(|rest| rest.strip_prefix("/dispatch/"));
    if let Some(unit_id) = topic {
        simulation.on_dispatch(unit_id, offer.payload(), now().plus_ms(-offset_ms));
    }
}

/// Publishes in order, many messages on their way at once; how many the broker has.
async fn send(publisher: Publisher, prefix: String, mut waiting: mpsc::Receiver<Message>) -> u64 {
    let (mut batch, mut published) = (Vec::new(), 0);
    while waiting.recv_many(&mut batch, ON_THEIR_WAY).await > 0 {
        let mut receipts = Vec::with_capacity(batch.len());
        for message in batch.drain(..) {
            match publisher.hand_over(&format!("{prefix}/{}", message.topic), &message.payload).await {
                Ok(receipt) => receipts.push(receipt),
                Err(error) => tracing::warn!(%error, "a simulated message was not published"),
            }
        }
        for receipt in receipts {
            if receipt.settled().await.is_err() {
                return published;
            }
            published += 1;
        }
    }
    published
}
