//! Publishing to a broker, on a connection of its own: a client that both receives and publishes can freeze under load.
//!
//! A message is answered when the broker has acknowledged it. When the connection is lost, all that were not acknowledged are
//! sent again in order over the next one, so the broker may see a message twice and never not at all.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rumqttc::{ConnectionError, Event, EventLoop, Packet, Publish, QoS, Request, StateError, valid_topic};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    IngestError,
    connect::{Address, Backoff, Credentials, TlsSettings, options},
};
use crate::model::limits;

/// How long one write may take before the connection counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// A message and who waits for its acknowledgement.
struct Outgoing {
    publish: Publish,
    /// `None`: it is sent once (QoS 0), and that is all.
    done: Option<oneshot::Sender<()>>,
}

/// Publishes with QoS 1. Cheap to clone; the connection ends when the last clone is gone.
#[derive(Clone)]
pub struct Publisher {
    queue: mpsc::Sender<Outgoing>,
    is_connected: Arc<AtomicBool>,
}

impl Publisher {
    /// Starts the connection on the current tokio runtime and returns at once; it comes up, and comes back, by itself.
    ///
    /// # Errors
    /// Settings that can't be used; a broker that can't be reached is none.
    pub fn start(
        client_id: &str,
        address: &Address,
        credentials: Option<&Credentials>,
        tls: Option<&TlsSettings>,
    ) -> Result<Self, IngestError> {
        let mut options = options(client_id, address, credentials, tls)?;
        options.set_clean_session(true).set_inflight(limits::PUBLISH_IN_FLIGHT);
        let (queue, waiting) = mpsc::channel(limits::PUBLISH_QUEUE);
        let is_connected = Arc::new(AtomicBool::new(false));
        let connection = Connection {
            broker: address.to_string(),
            client_id: client_id.to_owned(),
            events: EventLoop::new(options, 1),
            in_flight: VecDeque::new(),
            is_connected: Arc::clone(&is_connected),
            backoff: Backoff::default(),
        };
        tokio::spawn(connection.run(waiting));
        Ok(Self { queue, is_connected })
    }

    /// Whether the connection stands now.
    pub fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    /// Resolves when the broker has the message. Waits as long as the broker is away; a caller who gives up may find the
    /// message sent all the same.
    ///
    /// # Errors
    /// A topic or payload that no broker takes; a runtime that ends.
    pub async fn publish(&self, topic: &str, payload: &[u8]) -> Result<(), IngestError> {
        self.hand_over(topic, payload).await?.settled().await
    }

    /// Hands a message over to be sent after all that were handed over before; waits while too many are on their way.
    ///
    /// # Errors
    /// A topic or payload that no broker takes; a runtime that ends.
    pub async fn hand_over(&self, topic: &str, payload: &[u8]) -> Result<Receipt, IngestError> {
        let refused = |problem: String| IngestError::Refused { topic: topic.to_owned(), problem };
        if topic.is_empty() || topic.len() > usize::from(u16::MAX) || topic.contains('\0') || !valid_topic(topic) {
            return Err(refused("found a topic that can't be published on, expected one without wildcards".to_owned()));
        }
        if payload.len() > limits::PAYLOAD_BYTES {
            return Err(refused(format!("found {} bytes, expected at most {}", payload.len(), limits::PAYLOAD_BYTES)));
        }
        let (done, acknowledged) = oneshot::channel();
        let publish = Publish::new(topic, QoS::AtLeastOnce, payload);
        self.queue.send(Outgoing { publish, done: Some(done) }).await.map_err(|_| IngestError::Closed)?;
        Ok(Receipt(acknowledged))
    }
}

impl Publisher {
    /// Says something that need not be heard: sent once (QoS 0), dropped when the broker is away or much waits. Never waits.
    pub fn say(&self, topic: &str, payload: Vec<u8>) {
        if self.is_connected() && topic.len() <= usize::from(u16::MAX) && !topic.contains('\0') && valid_topic(topic) {
            let publish = Publish::new(topic, QoS::AtMostOnce, payload);
            // Full: it was not that important.
            _ = self.queue.try_send(Outgoing { publish, done: None });
        }
    }
}

/// For a message on its way.
pub struct Receipt(oneshot::Receiver<()>);

impl Receipt {
    /// Resolves when the broker has the message.
    ///
    /// # Errors
    /// A runtime that ends.
    pub async fn settled(self) -> Result<(), IngestError> {
        self.0.await.map_err(|_| IngestError::Closed)
    }
}

struct Connection {
    broker: String,
    client_id: String,
    events: EventLoop,
    /// Sent over this connection or waiting to be sent again, oldest first, with the packet id it went under.
    in_flight: VecDeque<(u16, Outgoing)>,
    is_connected: Arc<AtomicBool>,
    backoff: Backoff,
}

impl Connection {
    async fn run(mut self, mut queue: mpsc::Receiver<Outgoing>) {
        loop {
            tokio::select! {
                biased;
                event = self.events.poll() => self.take(event).await,
                next = queue.recv(), if self.has_room() => match next {
                    Some(outgoing) => self.send_with_others(outgoing, &mut queue).await,
                    None => return self.finish().await,
                },
            }
        }
    }

    async fn take(&mut self, event: Result<Event, ConnectionError>) {
        match event {
            Ok(Event::Incoming(Packet::ConnAck(_))) => self.stand().await,
            Ok(Event::Incoming(Packet::PubAck(ack))) => self.acknowledged(ack.pkid),
            Ok(_) => {}
            Err(error) => {
                let wait = self.lost(&error);
                tokio::time::sleep(wait).await;
            }
        }
    }

    fn acknowledged(&mut self, packet: u16) {
        // The oldest under this id: ids come round again.
        let found = self.in_flight.iter().position(|(id, _)| *id == packet);
        if let Some((_, outgoing)) = found.and_then(|at| self.in_flight.remove(at)) {
            // Who no longer waits does not mind.
            outgoing.done.into_iter().for_each(|done| _ = done.send(()));
        }
    }

    /// A connection stands: all that is unanswered goes out again, in order.
    async fn stand(&mut self) {
        self.backoff.stands();
        self.events.pending.clear();
        self.is_connected.store(true, Ordering::Relaxed);
        // Of one that comes and goes enough is said.
        if self.backoff.contested().is_none() {
            tracing::info!(broker = %self.broker, client_id = %self.client_id, "connected to the broker for publishing");
        }
        let mut again = std::mem::take(&mut self.in_flight);
        while let Some((_, outgoing)) = again.pop_front() {
            if outgoing.done.as_ref().is_none_or(oneshot::Sender::is_closed) {
                // Nobody waits for it any more: it was given up, or is handed over again.
                continue;
            }
            self.send(outgoing).await;
            if self.events.network.is_none() {
                self.in_flight.append(&mut again);
            }
        }
        self.flush().await;
    }

    /// Whether one more may be on its way.
    fn has_room(&self) -> bool {
        self.events.network.is_some()
            && self.events.state.collision.is_none()
            && self.in_flight.len() < usize::from(limits::PUBLISH_IN_FLIGHT)
    }

    /// What else waits goes out in the same flush.
    async fn send_with_others(&mut self, first: Outgoing, queue: &mut mpsc::Receiver<Outgoing>) {
        self.send(first).await;
        while self.has_room()
            && let Ok(next) = queue.try_recv()
        {
            self.send(next).await;
        }
        self.flush().await;
    }

    async fn flush(&mut self) {
        let Some(network) = &mut self.events.network else { return };
        let error = match timeout(PATIENCE, network.flush()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => ConnectionError::MqttState(error),
            Err(_) => ConnectionError::FlushTimeout,
        };
        self.events.clean();
        self.lost(&error);
    }

    async fn send(&mut self, outgoing: Outgoing) {
        let outcome = timeout(PATIENCE, self.write(outgoing.publish.clone())).await;
        let (packet, error) = match outcome {
            Ok(Ok(packet)) => (packet, None),
            Ok(Err(error)) => (0, Some(ConnectionError::MqttState(error))),
            Err(_) => (0, Some(ConnectionError::FlushTimeout)),
        };
        if outgoing.done.is_some() {
            self.in_flight.push_back((packet, outgoing));
        }
        if let Some(error) = error {
            self.events.clean();
            self.lost(&error);
        }
    }

    /// Writes it, or leaves it with rumqttc until its packet id is free. Returns the packet id.
    async fn write(&mut self, publish: Publish) -> Result<u16, StateError> {
        let events = &mut self.events;
        match events.state.handle_outgoing_packet(Request::Publish(publish))? {
            Some(packet) => {
                let id = if let Packet::Publish(publish) = &packet { publish.pkid } else { 0 };
                if let Some(network) = &mut events.network {
                    network.write(packet).await?;
                }
                Ok(id)
            }
            None => Ok(events.state.collision.as_ref().map_or(0, |publish| publish.pkid)),
        }
    }

    fn lost(&mut self, error: &ConnectionError) -> Duration {
        let wait = self.backoff.next();
        self.events.state.collision = None;
        let was_connected = self.is_connected.swap(false, Ordering::Relaxed);
        if let Some(times) = self.backoff.contested() {
            if was_connected && times.is_power_of_two() {
                tracing::error!(
                    broker = %self.broker,
                    client_id = %self.client_id,
                    times,
                    next_try_in = ?wait,
                    "another client seems to use the same client id for publishing: give each its own mqtt.client_id"
                );
            }
        } else if was_connected {
            tracing::warn!(broker = %self.broker, %error, "lost the broker for publishing; trying again until it is back");
        } else if self.backoff.is_first() {
            tracing::warn!(broker = %self.broker, %error, "can't reach the broker for publishing; trying again until it is there");
        }
        wait
    }

    /// Nobody can publish any more: waits a while for the last acknowledgements, then takes leave.
    async fn finish(mut self) {
        let rest = async {
            while !self.in_flight.is_empty() {
                let event = self.events.poll().await;
                self.take(event).await;
            }
            if let Some(network) = &mut self.events.network {
                network.write(Packet::Disconnect).await?;
                network.flush().await?;
            }
            Ok::<(), StateError>(())
        };
        if !matches!(timeout(PATIENCE, rest).await, Ok(Ok(()))) {
            tracing::warn!(broker = %self.broker, "left the broker for publishing without a farewell");
        }
    }
}
