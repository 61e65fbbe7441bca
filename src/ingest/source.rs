//! Receiving from a broker.
//!
//! Each connection has one task that owns its event loop: it reads, hands over, and writes acknowledgements, in bulk, past
//! rumqttc's request channel, so that neither can wait for the other. A message is acknowledged when it has been told so
//! *and* all received before it have been, so acknowledgements leave in order of receipt. One for a connection that was
//! lost meanwhile is dropped: the broker sends the message again, and admission tells the duplicate.
//!
//! When the channel is full: QoS 1 messages wait in the connection's task, as many as there are packet ids; QoS 0 messages
//! are dropped and counted, because nothing else would keep the connection alive.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rumqttc::{
    AsyncClient, ClientError, ConnectionError, Event, EventLoop, Packet, PubAck, Publish, QoS, SubscribeFilter,
    SubscribeReasonCode,
};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{
    IngestError,
    connect::{Address, Backoff, Credentials, TlsSettings, options},
};
use crate::model::{Time, limits};

/// How long one write may take before the connection counts as lost, and how long leaving may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a broker may take to close a connection that we have left.
const CLOSING: Duration = Duration::from_secs(1);
/// Requests of ours to the event loop: subscriptions and the farewell.
const REQUESTS: usize = 16;

/// Which broker, and what to read from it.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    pub address: Address,
    /// Fixed, because the broker keeps the session under it; with several connections `-0`, `-1` … follow.
    pub client_id: String,
    pub credentials: Option<Credentials>,
    pub tls: Option<TlsSettings>,
    /// Topic filters, without `$share`.
    pub filters: Vec<String>,
    /// Wider than `filters` and asked for in their place, unless the broker refuses it.
    pub wide: Option<String>,
    /// More than one share the filters as `$share/{group}/{filter}`.
    pub connections: u16,
    pub group: String,
}

/// What to acknowledge: small and freely copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    connection: u16,
    /// 0 for QoS 0: nothing to acknowledge.
    packet: u16,
    generation: u32,
}

/// A message as it arrived.
#[derive(Debug)]
pub struct Incoming {
    publish: Publish,
    pub recv_time: Time,
    pub ack: Ack,
}

impl Incoming {
    pub fn topic(&self) -> &str {
        &self.publish.topic
    }

    pub fn payload(&self) -> &[u8] {
        &self.publish.payload
    }

    /// Whether the broker had kept it for whoever subscribes (MQTT 3.1.1, 3.3.1.3).
    pub fn is_retained(&self) -> bool {
        self.publish.retain
    }
}

/// Counts since the start.
#[derive(Debug, Default)]
pub struct SourceStats {
    connected: AtomicU64,
    reconnects: AtomicU64,
    received: AtomicU64,
    dropped: AtomicU64,
    acknowledged: AtomicU64,
    contested: AtomicU64,
}

impl SourceStats {
    /// Connections whose subscriptions are in force now.
    pub fn connected(&self) -> u64 {
        self.connected.load(Ordering::Relaxed)
    }
    /// Connections that another client with the same id seems to take away again and again.
    pub fn contested(&self) -> u64 {
        self.contested.load(Ordering::Relaxed)
    }
    /// Connections lost after they stood.
    pub fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }
    /// Messages read from the broker, dropped ones too.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
    /// QoS 0 messages dropped because the channel was full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
    /// Acknowledgements written to the broker.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }
}

/// How far leaving has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Receiving,
    /// Nothing more is handed over; acknowledgements still go out.
    Draining,
    Leaving,
}

/// Acknowledgements told and not yet taken by the connection's task. At most one a packet id handed over.
#[derive(Default)]
struct Told {
    acks: Mutex<Vec<Ack>>,
    news: Notify,
}

impl Told {
    fn lock(&self) -> MutexGuard<'_, Vec<Ack>> {
        self.acks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connections to a broker.
pub struct Source {
    told: Vec<Arc<Told>>,
    phase: watch::Sender<Phase>,
    tasks: Vec<JoinHandle<()>>,
    stats: Arc<SourceStats>,
}

impl Source {
    /// Starts the connections on the current tokio runtime and returns at once; they come up, and come back, by themselves.
    /// The channel ends after [`Source::stop_receiving`].
    ///
    /// # Errors
    /// Settings that can't be used; a broker that can't be reached is none.
    pub fn start(settings: &SourceSettings) -> Result<(Self, mpsc::Receiver<Incoming>), IngestError> {
        let connections = settings.connections.max(1);
        let (sender, receiver) = mpsc::channel(limits::UNACKNOWLEDGED);
        let (phase, phases) = watch::channel(Phase::Receiving);
        let stats = Arc::new(SourceStats::default());
        let mut source = Self { told: Vec::new(), phase, tasks: Vec::new(), stats };
        let mut ready = Vec::new();
        for index in 0..connections {
            let told = Arc::new(Told::default());
            source.told.push(Arc::clone(&told));
            ready.push(Connection::new(settings, index, told, sender.clone(), Arc::clone(&source.stats))?);
        }
        source.tasks = ready.into_iter().map(|ready| tokio::spawn(ready.run(phases.clone()))).collect();
        Ok((source, receiver))
    }

    pub fn stats(&self) -> Arc<SourceStats> {
        Arc::clone(&self.stats)
    }

    /// Tells that these messages are safe. Never waits; each message once. Told in batches, it costs one lock a batch.
    pub fn acknowledge(&self, acks: impl IntoIterator<Item = Ack>) {
        let mut held: Option<(u16, MutexGuard<'_, Vec<Ack>>)> = None;
        for ack in acks.into_iter().filter(|ack| ack.packet != 0) {
            if held.as_ref().is_none_or(|(connection, _)| *connection != ack.connection) {
                self.release(held.take());
                held = self.told.get(usize::from(ack.connection)).map(|told| (ack.connection, told.lock()));
            }
            if let Some((_, acks)) = &mut held {
                acks.push(ack);
            }
        }
        self.release(held);
    }

    fn release(&self, held: Option<(u16, MutexGuard<'_, Vec<Ack>>)>) {
        if let Some((connection, guard)) = held {
            drop(guard);
            self.told[usize::from(connection)].news.notify_one();
        }
    }

    /// Hands nothing more over: the channel ends once it is empty. What the broker still sends stays unacknowledged and
    /// comes again in the next session.
    pub fn stop_receiving(&self) {
        self.phase.send_if_modified(|phase| {
            let is_new = *phase == Phase::Receiving;
            *phase = if is_new { Phase::Draining } else { *phase };
            is_new
        });
    }

    /// Writes the acknowledgements told so far and takes leave of the broker, which keeps the session. Gives up on a
    /// connection after some seconds.
    pub async fn disconnect(self) {
        self.phase.send_replace(Phase::Leaving);
        for mut task in self.tasks {
            if timeout(PATIENCE, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

/// How a packet id stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Free,
    HandedOver,
    /// To be acknowledged, once all before it are.
    Told,
}

/// One connection and its session.
struct Connection {
    index: u16,
    broker: String,
    client_id: String,
    client: AsyncClient,
    events: EventLoop,
    filters: Vec<SubscribeFilter>,
    wide: Option<SubscribeFilter>,
    told: Arc<Told>,
    /// Gone when nothing more is handed over.
    sender: Option<mpsc::Sender<Incoming>>,
    stats: Arc<SourceStats>,
    generation: u32,
    /// Packet ids handed over and not acknowledged, in order of receipt.
    unacknowledged: VecDeque<u16>,
    /// By packet id.
    packets: Vec<Standing>,
    /// QoS 1 messages for which the channel had no room.
    waiting: VecDeque<Incoming>,
    is_connected: bool,
    is_contested: bool,
    has_subscribed: bool,
    backoff: Backoff,
}

impl Connection {
    fn new(
        settings: &SourceSettings,
        index: u16,
        told: Arc<Told>,
        sender: mpsc::Sender<Incoming>,
        stats: Arc<SourceStats>,
    ) -> Result<Self, IngestError> {
        let is_shared = settings.connections > 1;
        let client_id = if is_shared { format!("{}-{index}", settings.client_id) } else { settings.client_id.clone() };
        let mut options = options(&client_id, &settings.address, settings.credentials.as_ref(), settings.tls.as_ref())?;
        options.set_clean_session(false).set_manual_acks(true);
        let (client, events) = AsyncClient::new(options, REQUESTS);
        let filter = |filter: &String| -> SubscribeFilter {
            let path = if is_shared { format!("$share/{}/{filter}", settings.group) } else { filter.clone() };
            SubscribeFilter::new(path, QoS::AtLeastOnce)
        };
        Ok(Self {
            index,
            broker: settings.address.to_string(),
            client_id,
            client,
            events,
            filters: settings.filters.iter().map(filter).collect(),
            wide: settings.wide.as_ref().map(filter),
            told,
            sender: Some(sender),
            stats,
            generation: 0,
            unacknowledged: VecDeque::new(),
            packets: vec![Standing::Free; usize::from(u16::MAX) + 1],
            waiting: VecDeque::new(),
            is_connected: false,
            is_contested: false,
            has_subscribed: false,
            backoff: Backoff::default(),
        })
    }

    async fn run(mut self, mut phases: watch::Receiver<Phase>) {
        let told = Arc::clone(&self.told);
        loop {
            let phase = *phases.borrow_and_update();
            if phase != Phase::Receiving {
                self.hand_over_nothing();
            }
            if phase == Phase::Leaving {
                return self.leave().await;
            }
            let room = self.sender.clone().filter(|_| !self.waiting.is_empty());
            let steady_at = self.backoff.steady_at().filter(|_| self.is_contested);
            tokio::select! {
                biased;
                changed = phases.changed() => if changed.is_err() { return self.leave().await },
                () = told.news.notified() => self.write_acks().await,
                () = has_room(room.as_ref()), if room.is_some() => self.hand_over_waiting(),
                () = reached(steady_at), if steady_at.is_some() => self.uncontested(),
                event = self.events.poll() => match event {
                    Ok(event) => self.take(event),
                    Err(error) => {
                        let wait = self.lost(&error);
                        tokio::select! { () = tokio::time::sleep(wait) => {}, _ = phases.changed() => phases.mark_changed() }
                    }
                },
            }
        }
    }

    /// Takes an event and all that were read with it.
    fn take(&mut self, first: Event) {
        let recv_time = now();
        let mut next = Some(first);
        while let Some(event) = next {
            match event {
                Event::Incoming(Packet::Publish(publish)) => self.hand_over(publish, recv_time),
                Event::Incoming(Packet::ConnAck(ack)) => self.stand(ack.session_present),
                Event::Incoming(Packet::SubAck(ack)) => {
                    self.subscribed(ack.return_codes.contains(&SubscribeReasonCode::Failure));
                }
                _ => {}
            }
            next = self.events.state.events.pop_front();
        }
    }

    /// A connection stands: what was received over the one before will come again.
    fn stand(&mut self, session_present: bool) {
        self.forget();
        self.backoff.stands();
        self.generation = self.generation.wrapping_add(1);
        if session_present && self.has_subscribed {
            return self.in_force();
        }
        // A subscription that did not get out over the connection before is asked for anew.
        self.events.pending.clear();
        if self.subscribe(session_present).is_err() {
            tracing::error!(broker = %self.broker, connection = self.index, "subscription is not queued; connecting again");
            self.events.clean();
        }
    }

    fn subscribe(&self, session_present: bool) -> Result<(), ClientError> {
        let Some(wide) = &self.wide else { return self.client.try_subscribe_many(self.filters.clone()) };
        if session_present {
            // It may hold those of an earlier version: what two filters match may come twice.
            self.filters.iter().try_for_each(|filter| self.client.try_unsubscribe(&filter.path))?;
        }
        self.client.try_subscribe_many([wide.clone()])
    }

    fn subscribed(&mut self, is_refused: bool) {
        if is_refused && let Some(wide) = self.wide.take() {
            tracing::info!(broker = %self.broker, filter = %wide.path, "the broker refused this filter; topics that nobody reads are not told");
            if self.subscribe(false).is_err() {
                self.events.clean();
            }
        } else if is_refused {
            tracing::error!(
                broker = %self.broker,
                connection = self.index,
                "the broker refused a subscription; nothing is received until it allows it"
            );
        } else {
            self.has_subscribed = true;
            self.in_force();
        }
    }

    fn in_force(&mut self) {
        if !self.is_connected {
            self.is_connected = true;
            self.stats.connected.fetch_add(1, Ordering::Relaxed);
            // Of one that comes and goes enough is said.
            if !self.is_contested {
                let (broker, client_id) = (&self.broker, &self.client_id);
                tracing::info!(%broker, connection = self.index, %client_id, "connected to the broker");
            }
        }
    }

    fn forget(&mut self) {
        self.unacknowledged.clear();
        self.waiting.clear();
        self.packets.fill(Standing::Free);
    }

    /// The connection is gone; how long to wait before the next.
    fn lost(&mut self, error: &ConnectionError) -> Duration {
        let wait = self.backoff.next();
        if self.is_connected {
            self.is_connected = false;
            self.stats.connected.fetch_sub(1, Ordering::Relaxed);
            self.stats.reconnects.fetch_add(1, Ordering::Relaxed);
            if self.backoff.contested().is_none() {
                tracing::warn!(broker = %self.broker, connection = self.index, %error, "lost the broker; trying again until it is back");
            }
        } else if self.backoff.is_first() {
            tracing::warn!(broker = %self.broker, connection = self.index, %error, "can't reach the broker; trying again until it is there");
        }
        match self.backoff.contested() {
            Some(times) => self.contested(times, wait),
            None => self.uncontested(),
        }
        self.forget();
        wait
    }

    /// Said at first, then each time that it has happened twice as often.
    fn contested(&mut self, times: u32, wait: Duration) {
        if !std::mem::replace(&mut self.is_contested, true) {
            self.stats.contested.fetch_add(1, Ordering::Relaxed);
        } else if !times.is_power_of_two() {
            return;
        }
        tracing::error!(
            broker = %self.broker,
            connection = self.index,
            client_id = %self.client_id,
            times,
            next_try_in = ?wait,
            "another client seems to use the same client id: the broker closes this connection soon after it is made; give each its own mqtt.client_id"
        );
    }

    fn uncontested(&mut self) {
        if std::mem::take(&mut self.is_contested) {
            self.stats.contested.fetch_sub(1, Ordering::Relaxed);
            if self.is_connected {
                self.backoff.settle();
                tracing::info!(broker = %self.broker, connection = self.index, client_id = %self.client_id, "no other client takes this connection any more");
            }
        }
    }

    fn hand_over(&mut self, publish: Publish, recv_time: Time) {
        self.stats.received.fetch_add(1, Ordering::Relaxed);
        let Some(sender) = &self.sender else { return };
        let packet = if publish.qos == QoS::AtMostOnce { 0 } else { publish.pkid };
        let ack = Ack { connection: self.index, packet, generation: self.generation };
        let incoming = Incoming { publish, recv_time, ack };
        if packet != 0 {
            self.unacknowledged.push_back(packet);
            self.packets[usize::from(packet)] = Standing::HandedOver;
        }
        let refused = if self.waiting.is_empty() { sender.try_send(incoming).err() } else { Some(full(incoming)) };
        match refused {
            None => {}
            Some(mpsc::error::TrySendError::Closed(_)) => self.hand_over_nothing(),
            Some(refused) if packet == 0 => {
                drop(refused);
                self.stats.dropped.fetch_add(1, Ordering::Relaxed);
            }
            Some(refused) => self.waiting.push_back(refused.into_inner()),
        }
    }

    fn hand_over_waiting(&mut self) {
        let Some(sender) = &self.sender else { return };
        while let Some(incoming) = self.waiting.pop_front() {
            match sender.try_send(incoming) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Closed(_)) => return self.hand_over_nothing(),
                Err(full) => return self.waiting.push_front(full.into_inner()),
            }
        }
    }

    /// Nobody takes messages any more; what comes stays with the broker.
    fn hand_over_nothing(&mut self) {
        self.sender = None;
        self.waiting.clear();
    }

    /// Writes what may be acknowledged by now, in order of receipt, with one flush.
    async fn write_acks(&mut self) {
        for ack in self.told.lock().drain(..) {
            let standing = &mut self.packets[usize::from(ack.packet)];
            if ack.generation == self.generation && *standing == Standing::HandedOver {
                *standing = Standing::Told;
            }
        }
        let Some(network) = &mut self.events.network else { return };
        let mut written = 0;
        let write = async {
            while let Some(packet) = self.unacknowledged.front().copied() {
                let standing = &mut self.packets[usize::from(packet)];
                if *standing != Standing::Told {
                    break;
                }
                *standing = Standing::Free;
                network.write(Packet::PubAck(PubAck::new(packet))).await?;
                self.unacknowledged.pop_front();
                written += 1;
            }
            network.flush().await
        };
        let outcome = timeout(PATIENCE, write).await;
        self.stats.acknowledged.fetch_add(written, Ordering::Relaxed);
        let error = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(error)) => ConnectionError::MqttState(error),
            Err(_) => ConnectionError::FlushTimeout,
        };
        self.events.clean();
        self.lost(&error);
    }

    /// The last acknowledgements, then the farewell. The session stays with the broker.
    async fn leave(mut self) {
        self.write_acks().await;
        if let Some(network) = &mut self.events.network {
            let farewell = async {
                network.write(Packet::Disconnect).await?;
                network.flush().await
            };
            if !matches!(timeout(PATIENCE, farewell).await, Ok(Ok(()))) {
                tracing::warn!(broker = %self.broker, connection = self.index, "left the broker without a farewell");
            }
            // A broker closes when it has read all that we wrote. Who came back before would find that it had not.
            let closed = async { while network.read().await.is_ok() {} };
            let _ = timeout(CLOSING, closed).await;
        }
        if self.is_connected {
            self.stats.connected.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn full(incoming: Incoming) -> mpsc::error::TrySendError<Incoming> {
    mpsc::error::TrySendError::Full(incoming)
}

async fn reached(at: Option<tokio::time::Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}

async fn has_room(sender: Option<&mpsc::Sender<Incoming>>) {
    if let Some(sender) = sender {
        // The place is given back at once and taken by `try_send`; if another connection is quicker, this waits again.
        drop(sender.reserve().await);
    }
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
