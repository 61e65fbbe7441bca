//! The whole line, started and ended.

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::Ordering,
        mpsc::{Sender, SyncSender, channel, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::{
    broker::{Login, MqttSink, first_line},
    clerk::{Clerk, Memory, Work},
    intake::{Asked, Intake, Order, Saving},
    reload::{Reloads, fingerprint},
    scrub::Scrub,
    telling::{Committed, Listener, Passing, show_outbox},
};
use crate::{
    cli::{explain, front::Front, keep_to_owner, ledger, now, registry::BOOK, verify},
    command::roster,
    config::Config,
    engine::{Archive, Chronicle, Draft, Engine, History, LateSettings, Older, Reference, Snapshots},
    ingest::{EmbeddedBroker, SourceStats},
    journal::{Backlog, Journal, JournalError},
    metrics::{Metrics, raise_to},
    model::{counted, limits},
    notify::{Courier, Delivered},
    registry::{Book, Taking},
    rules::RuleSet,
    server::{self, Devices, DoorSettings, Doors, LastPositions, LastRisks, ServerState, Stream},
    store::{Reader, Store},
};

/// Batches judged and not yet committed. Full: the intake waits, and acknowledgement with it.
const UNCOMMITTED: usize = 64;

/// How often it is looked whether the broker has been reached.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Until history that could not be read is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// How often counts that others keep are copied into the metrics.
const COPY_EVERY: Duration = Duration::from_secs(1);

/// Digits of an alert's id.
const ALERT_ID: usize = 32;

/// A signal that it is time to end.
pub type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A running engine.
pub struct Service {
    pub http: SocketAddr,
    pub broker: String,
    pub rules: usize,
    pub vehicles: usize,
    orders: mpsc::Sender<Order>,
    /// Ends, with the reason, when a thread that the line depends on has ended.
    ended: mpsc::Receiver<anyhow::Result<()>>,
    threads: Vec<JoinHandle<()>>,
    /// Dropped, it ends the scrub.
    close_scrub: SyncSender<()>,
    close_http: oneshot::Sender<()>,
    http_task: tokio::task::JoinHandle<std::io::Result<()>>,
    close_courier: oneshot::Sender<()>,
    courier: tokio::task::JoinHandle<Result<(), crate::notify::NotifyError>>,
    /// Tasks that may end at any moment: looking at rules, copying counts.
    errands: [tokio::task::JoinHandle<()>; 2],
    ready: watch::Sender<bool>,
    /// What each subscription counts, and of how many connections it consists.
    sources: Vec<Arc<SourceStats>>,
    connections: u64,
}

/// Runs a future on a runtime of the process's own.
///
/// # Errors
/// The future's, or when no runtime can be made.
pub fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("failed to start tokio")?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Resolves on SIGTERM or SIGINT.
///
/// # Errors
/// When signals cannot be listened to.
pub fn stop_signal() -> anyhow::Result<Stop> {
    use tokio::signal::unix::{SignalKind, signal};
    // Taken from the beginning on: untaken, it would end the process. Who loads again listens for himself.
    _ = signal(SignalKind::hangup())?;
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(Box::pin(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }))
}

impl Service {
    /// Starts everything. Whether the broker answers shows later: [`Service::subscribed`].
    ///
    /// # Errors
    /// When the data folder, the rules, the registry, an address or the broker's settings cannot be used.
    pub async fn start(config: Config, listener: Option<Listener>) -> anyhow::Result<Self> {
        keep_to_owner();
        std::fs::create_dir_all(&config.data).with_context(|| format!("failed to make {}", config.data.display()))?;
        warn_of_readers(&config.data)?;
        if config.broker.enabled {
            EmbeddedBroker::start(config.broker_listen())?;
        }
        let metrics = Arc::new(Metrics::new());
        let (ready, is_ready) = watch::channel(false);
        let http = tokio::net::TcpListener::bind(config.http_listen())
            .await
            .with_context(|| format!("failed to listen on http.listen {}", config.http_listen()))?;
        let address = http.local_addr()?;
        let doors = Doors { api: http, admin: admin_listener(&config).await?, settings: door_settings(&config)? };

        let mut losses = losses(&config)?;
        let book = Arc::new(Mutex::new(book(&config)?));
        let seen = fingerprint(&config.rules);
        let reference = reference(&config, &book)?;
        metrics.rules_loaded.set(reference.rules.rules().len() as i64);
        let store = Store::open(&config.data.join(ledger::STORE));
        let store =
            Arc::new(store.with_context(|| format!("failed to open {}; {}", ledger::STORE, way_out(&config.data)))?);
        let (orders, order_queue) = mpsc::channel(16);
        let reloads =
            Reloads::new(&config, seen, reference.clone(), Arc::clone(&book), orders.clone(), Arc::clone(&metrics));
        let (positions, risks) = (Arc::new(LastPositions::default()), Arc::new(LastRisks::default()));
        let stream = Stream::default();
        let login = Login::of(&config)?;
        let inlets = login.inlets(&config)?;
        let publisher = login.publisher(&format!("{}-publisher", config.mqtt.client_id))?;
        let devices = Arc::new(Devices::default());
        let stats: Vec<Arc<SourceStats>> = inlets.iter().map(|(inlet, _)| inlet.source.stats()).collect();
        let connections = config.mqtt.connections.max(1) as u64;
        let hindrance = Hindrance {
            broker: config.mqtt.url.clone(),
            client_id: config.mqtt.client_id.clone(),
            sources: stats.clone(),
            connections,
            metrics: Arc::clone(&metrics),
        };
        let state = ServerState {
            store: store.reader(),
            registry: reloads.registry(),
            rules: reloads.rules(),
            positions: Arc::clone(&positions),
            devices: Arc::clone(&devices),
            risks: Arc::clone(&risks),
            metrics: Arc::clone(&metrics),
            ready: is_ready,
            hindrance: Arc::new(move || hindrance.now()),
            concerns: {
                let metrics = Arc::clone(&metrics);
                Arc::new(move || concerns(&metrics))
            },
            stream: stream.clone(),
            zone: config.zone(),
            register: reloads.registrar(),
            judge_again: reloads.judge_again(),
            reply: reloads.replies(),
            explain: explainer(explain::archive(&config, store.reader())),
            now: Arc::new(now),
        };
        let (close_http, http_closed) = oneshot::channel::<()>();
        let http_task = tokio::spawn(server::run(doors, state, async { _ = http_closed.await }));

        let (ended, has_ended) = mpsc::channel(4);
        let outbox = Arc::new(Notify::new());
        let folder = Snapshots::of(&config.data.join(ledger::SNAPSHOTS));
        let (drafts, snapshots) = start_snapshots(folder.clone(), &config, &metrics)?;
        let (work, clerk) =
            start_clerk(&config, &reference, &store, &metrics, &stream, listener, &outbox, drafts, ended.clone())?;
        let passing = Passing {
            metrics: Arc::clone(&metrics),
            positions,
            risks,
            stream,
            devices,
            publisher: publisher.clone(),
            prefix: config.mqtt.prefix.clone(),
            unread: BTreeSet::new(),
        };
        let archive = Archive { late: reference.late, ..explain::archive(&config, store.reader()) };
        let (asks, histories) = start_history(History::of(folder.clone(), archive.clone()))?;
        let chronicle = archive.chronicle(Some(&reference))?;
        let rejudges = match chronicle.in_force.last() {
            Some(last) => book.lock().unwrap_or_else(PoisonError::into_inner).rejudges_after(last.registry)?,
            None => Vec::new(),
        };
        let (intake, lost) = intake(&config, &reference, &chronicle, &folder, work, passing, asks)?;
        losses.extend(lost);
        let (close_scrub, scrub_closed) = sync_channel(0);
        let scrub = Scrub::new(&config.data, Arc::clone(&store), Arc::clone(&metrics), losses)?;
        let scrub = std::thread::Builder::new().name("scrub".to_owned()).spawn(move || scrub.run(&scrub_closed))?;
        let handle = tokio::runtime::Handle::current();
        let taking = std::thread::Builder::new().name("intake".to_owned()).spawn(move || {
            let result = handle
                .block_on(intake.run(inlets, order_queue, histories, rejudges))
                .context("failed to go on taking reports");
            _ = ended.blocking_send(result);
        })?;

        let (close_courier, courier_closed) = oneshot::channel::<()>();
        let courier = Courier::new(Arc::clone(&store), MqttSink(publisher), config.notify());
        let gauges = gauges(Arc::clone(&metrics), stats.clone(), courier.delivered(), store.reader());
        let courier = tokio::spawn(crate::notify::run(courier, now, outbox, async { _ = courier_closed.await }));
        Ok(Self {
            http: address,
            broker: config.mqtt.url.clone(),
            rules: reference.rules.rules().iter().filter(|rule| rule.enabled).count(),
            vehicles: reference.registry.vehicles().count(),
            orders,
            ended: has_ended,
            threads: vec![taking, clerk, snapshots, scrub],
            close_scrub,
            close_http,
            http_task,
            close_courier,
            courier,
            errands: [tokio::spawn(reloads.watch()), tokio::spawn(gauges)],
            ready,
            sources: stats,
            connections,
        })
    }

    /// Returns when every connection has its subscription: from then on the broker keeps for us whatever is published.
    ///
    /// # Errors
    /// When something failed after which the process must start again from disk.
    pub async fn subscribed(&mut self) -> anyhow::Result<()> {
        let all = async {
            while self.sources.iter().any(|source| source.connected() < self.connections) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = all => {
                self.ready.send_replace(true);
                Ok(())
            }
            result = self.ended.recv() => Err(failure(result)),
        }
    }

    /// Runs until `stop`, then takes in no more, finishes what is here, and ends.
    ///
    /// # Errors
    /// When something failed after which the process must start again from disk.
    pub async fn run_until(mut self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        tokio::select! {
            () = stop => {}
            result = self.ended.recv() => return Err(failure(result)),
            result = &mut self.courier => return Err(anyhow!("failed to go on sending: {result:?}")),
        }
        tracing::info!("ending: no more is taken in, what is here is finished");
        self.ready.send_replace(false);
        self.errands.iter().for_each(tokio::task::JoinHandle::abort);
        _ = self.orders.send(Order::Stop).await;
        // The intake ends first; with it the last sender to the clerk goes, and the clerk commits what is left.
        for _ in 0..2 {
            match self.ended.recv().await {
                Some(Ok(())) => {}
                other => return Err(failure(other)),
            }
        }
        drop(self.close_scrub);
        self.threads.into_iter().for_each(|thread| _ = thread.join());
        _ = self.close_courier.send(());
        if let Ok(result) = tokio::time::timeout(Duration::from_secs(10), self.courier).await {
            result??;
        } else {
            tracing::warn!("the broker took not all that was to be sent: it goes out after the next start");
        }
        _ = self.close_http.send(());
        self.http_task.await??;
        Ok(())
    }
}

/// What keeps reports from being taken, as long as it does.
struct Hindrance {
    broker: String,
    client_id: String,
    sources: Vec<Arc<SourceStats>>,
    /// Of each source.
    connections: u64,
    metrics: Arc<Metrics>,
}

impl Hindrance {
    /// Why reports are not taken now, for a person; `None` when they are.
    fn now(&self) -> Option<String> {
        let Self { broker, client_id, sources, connections, metrics } = self;
        if sources.iter().any(|source| source.contested() > 0) {
            return Some(format!(
                "another client of {broker} seems to use the client id {client_id} too: each takes the session from the other; give each its own mqtt.client_id"
            ));
        }
        let away = sources.iter().map(|source| connections.saturating_sub(source.connected())).sum::<u64>();
        if away > 0 {
            let all = connections * sources.len() as u64;
            return Some(format!("the broker {broker} is away: {away} of {all} connections are down"));
        }
        if metrics.journal_disk_full.get() != 0 {
            return Some("the disk is full: nothing is acknowledged until there is room".to_owned());
        }
        let is_stuck = metrics.store_stuck.get() != 0;
        is_stuck.then(|| "the database cannot be written: what comes waits until it can".to_owned())
    }
}

/// What is wrong although reports are taken, a line each.
fn concerns(metrics: &Metrics) -> Vec<String> {
    let waited_s = metrics.outbox_oldest_seconds.get();
    let waits = (waited_s >= limits::DELIVERY_LATE_S).then(|| {
        let waiting = counted(usize::try_from(metrics.outbox_pending.get()).unwrap_or(0), "message");
        format!(
            "{waiting} to departments and units cannot be delivered, the oldest for {waited_s:.0} s: the log says why"
        )
    });
    let damaged = metrics.damaged_files.get();
    let damage = (damaged > 0).then(|| {
        let files = counted(usize::try_from(damaged).unwrap_or(0), "file");
        format!("{files} of the data folder damaged or missing: muckwatch verify names them")
    });
    waits.into_iter().chain(damage).collect()
}

/// Copies what the connections count into the metrics, for ever.
async fn gauges(metrics: Arc<Metrics>, sources: Vec<Arc<SourceStats>>, delivered: Arc<Delivered>, reader: Reader) {
    let sum = |count: fn(&SourceStats) -> u64| sources.iter().map(|source| count(source)).sum::<u64>();
    loop {
        metrics.mqtt_connections_up.set(i64::try_from(sum(SourceStats::connected)).unwrap_or(i64::MAX));
        metrics.mqtt_contested.set(i64::try_from(sum(SourceStats::contested)).unwrap_or(i64::MAX));
        raise_to(&metrics.mqtt_reconnects, sum(SourceStats::reconnects));
        raise_to(&metrics.mqtt_dropped, sum(SourceStats::dropped));
        raise_to(&metrics.outbox_delivered, delivered.sent.load(Ordering::Relaxed));
        raise_to(&metrics.outbox_failures, delivered.failed.load(Ordering::Relaxed));
        let (shown, reader) = (Arc::clone(&metrics), reader.clone());
        _ = tokio::task::spawn_blocking(move || show_outbox(&shown, &reader)).await;
        tokio::time::sleep(COPY_EVERY).await;
    }
}

fn failure(result: Option<anyhow::Result<()>>) -> anyhow::Error {
    match result {
        Some(Err(error)) => error,
        _ => anyhow!("a thread of the engine ended too early"),
    }
}

/// For a person who finds that a start stops.
fn way_out(data: &Path) -> String {
    format!("muckwatch repair --dry-run --data {} says what can be done", data.display())
}

/// What the parts of the data folder miss of one another, before anything of it is changed.
fn losses(config: &Config) -> anyhow::Result<Vec<String>> {
    let losses = verify::losses(&config.data)?;
    losses.iter().for_each(|loss| tracing::error!("what was kept is damaged or missing: {loss}"));
    Ok(losses)
}

/// The registry's book, with the configured folder taken in.
fn book(config: &Config) -> anyhow::Result<Book> {
    let book = Book::open(&config.data.join(BOOK));
    let book = book.with_context(|| format!("failed to open {BOOK}; {}", way_out(&config.data)))?;
    let mut book = book.in_zone(config.zone());
    if !config.registry.as_os_str().is_empty() {
        // A start closes nothing that came by the API, nor much by mistake.
        let taking = Taking { allow_closing: false, keep_upserts: true, ..Taking::from(now()) };
        let taken = book.import(&config.registry, taking)?;
        taken.warnings.iter().for_each(|warning| tracing::warn!("the registry may be wrong: {warning}"));
    }
    Ok(book)
}

fn reference(config: &Config, book: &Mutex<Book>) -> anyhow::Result<Reference> {
    let registry = Arc::new(book.lock().unwrap_or_else(PoisonError::into_inner).load()?);
    let rules = Arc::new(RuleSet::load(&config.rules)?);
    Ok(Reference {
        registry,
        rules,
        facts: config.facts(),
        tick_ms: config.tick_ms(),
        late: LateSettings { has_history: true, ..config.late() },
    })
}

/// Says that others can look into a folder that was there already.
fn warn_of_readers(data: &Path) -> anyhow::Result<()> {
    let mode =
        std::fs::metadata(data).with_context(|| format!("failed to look at {}", data.display()))?.permissions().mode();
    if mode & 0o077 != 0 {
        let mode = format!("{:o}", mode & 0o777);
        tracing::warn!(data = %data.display(), mode, "others on this machine can look into the data folder: chmod -R go= keeps it to its owner");
    }
    Ok(())
}

async fn admin_listener(config: &Config) -> anyhow::Result<Option<tokio::net::TcpListener>> {
    let Some(address) = config.admin_listen() else { return Ok(None) };
    let listener = tokio::net::TcpListener::bind(address).await;
    listener.map(Some).with_context(|| format!("failed to listen on http.admin_listen {address}"))
}

fn door_settings(config: &Config) -> anyhow::Result<DoorSettings> {
    let hosts = config.http.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
    let token = first_line("http.token_file", &config.http.token_file)?;
    anyhow::ensure!(
        token.as_ref().is_none_or(|token| token.len() >= 16),
        "http.token_file: found a token of fewer than 16 characters"
    );
    Ok(DoorSettings { hosts, token, ..DoorSettings::default() })
}

/// Explains the alerts of this data folder.
fn explainer(archive: Archive) -> Arc<server::Explainer> {
    Arc::new(move |id| {
        // The whole of an id, not the beginning of many.
        if id.len() != ALERT_ID {
            return Ok(None);
        }
        let mut told = None;
        let until = archive.told(id, &mut |one| told = Some(one).filter(|one| *one.alert.alert_id.0 == *id))?;
        told.map(|alert| archive.explain(explain::asked(alert), until)).transpose()
    })
}

/// The thread of the one commit.
#[expect(clippy::too_many_arguments, reason = "called once: the wires of one station")]
fn start_clerk(
    config: &Config,
    reference: &Reference,
    store: &Arc<Store>,
    metrics: &Arc<Metrics>,
    stream: &Stream,
    listener: Option<Listener>,
    outbox: &Arc<Notify>,
    snapshots: SyncSender<Draft>,
    ended: mpsc::Sender<anyhow::Result<()>>,
) -> anyhow::Result<(SyncSender<Work>, JoinHandle<()>)> {
    let reader = store.reader();
    let memory = Memory::read(reader.clone(), config.dispatch(), roster(&reference.registry, now()))?;
    metrics.set_ledger(memory.ledger());
    let tell = Committed { metrics: Arc::clone(metrics), stream: stream.clone(), reader, listener };
    let clerk = Clerk { store: Arc::clone(store), memory, outbox: Arc::clone(outbox), snapshots, tell };
    let (work, queue) = sync_channel(UNCOMMITTED);
    let thread = std::thread::Builder::new().name("commit".to_owned()).spawn(move || {
        let result = clerk.run(&queue).context("failed to commit");
        // Whoever hands over finds nobody, and ends too.
        drop(queue);
        _ = ended.blocking_send(result);
    })?;
    Ok((work, thread))
}

/// The thread that writes snapshots, until nobody hands it any. What fails is said: the journal has it all.
fn start_snapshots(
    folder: Snapshots,
    config: &Config,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<(SyncSender<Draft>, JoinHandle<()>)> {
    let (drafts, queue) = sync_channel::<Draft>(1);
    let (keep_ms, metrics) = (config.admission().max_age_s.saturating_mul(1_000), Arc::clone(metrics));
    let thread = std::thread::Builder::new().name("snapshots".to_owned()).spawn(move || {
        for draft in queue {
            let began = Instant::now();
            let written = folder.write(&draft).and_then(|name| folder.thin(keep_ms).map(|()| name));
            metrics.count_snapshot(written.is_ok());
            match written {
                Ok(name) => tracing::debug!(position = name.position, took = ?began.elapsed(), "snapshot written"),
                Err(error) => tracing::error!("failed to {error}; a start folds history from the snapshot before"),
            }
        }
    })?;
    Ok((drafts, thread))
}

/// The thread that finds the history of vehicles whose late data is older than memory. What can't be read is tried again; the
/// process may end meanwhile, and asks again after its next start.
fn start_history(history: History) -> anyhow::Result<(Sender<Asked>, mpsc::Receiver<Vec<Older>>)> {
    let (asks, queue) = channel::<Asked>();
    let (results, found) = mpsc::channel(1);
    std::thread::Builder::new().name("history".to_owned()).spawn(move || {
        while let Ok(Asked { mut asks, mut reference }) = queue.recv() {
            while asks.len() < limits::HISTORIES
                && let Ok(more) = queue.try_recv()
            {
                asks.extend(more.asks);
                reference = more.reference;
            }
            let until = asks.iter().map(|(_, until)| *until).max().unwrap_or(0);
            let (count, began) = (asks.len(), Instant::now());
            let found = loop {
                // All that was told of them by then must be in the book.
                let found = match history.committed() {
                    Ok(committed) if committed < until => None,
                    Ok(_) => Some(history.find(&reference, asks.clone())),
                    Err(error) => Some(Err(error)),
                };
                match found {
                    Some(Ok(found)) => break found,
                    Some(Err(error)) => {
                        tracing::error!("late data waits: failed to {error}; this is tried again");
                        std::thread::park_timeout(AGAIN);
                    }
                    None => std::thread::park_timeout(LOOK_EVERY),
                }
                if results.is_closed() {
                    return;
                }
            };
            tracing::debug!(vehicles = count, took = ?began.elapsed(), "history found");
            if results.blocking_send(found).is_err() {
                return;
            }
        }
    })?;
    Ok((asks, found))
}

/// The intake with its state rebuilt: from the newest snapshot that can be read, and the journal since.
fn intake(
    config: &Config,
    reference: &Reference,
    chronicle: &Chronicle<'_>,
    snapshots: &Snapshots,
    work: SyncSender<Work>,
    watch: Passing,
    asks: Sender<Asked>,
) -> anyhow::Result<(Intake<Passing>, Vec<String>)> {
    let folder: PathBuf = config.data.join(ledger::JOURNAL);
    let way_out = way_out(&config.data);
    let (journal, recovered) = match Journal::open(&folder, config.journal.clone()) {
        Err(error @ JournalError::Damaged { .. }) => return Err(anyhow::Error::from(error).context(way_out)),
        opened => opened?,
    };
    let committed = chronicle.archive.store.position()?.unwrap_or(0);
    anyhow::ensure!(
        committed <= recovered.next_position,
        "failed to use {}: the journal ends at position {}, but {} has committed up to {committed}: a part of the journal is lost, or they belong to different runs; {way_out}",
        config.data.display(),
        recovered.next_position,
        ledger::STORE,
    );
    let lost = recovered.lost.iter().map(|lost| format!("journal positions {}..{}", lost.start, lost.end));
    let losses = recovered.missing.iter().cloned().chain(lost);
    let backlog = Backlog::open(&config.data.join(ledger::BACKLOG), &folder)?;
    let gone = backlog.missing().iter().map(|path| {
        let problem =
            format!("{}: it is not there; messages that were acknowledged and not yet judged are lost", path.display());
        tracing::error!("what was kept is damaged or missing: {problem}");
        problem
    });
    let losses = gone.chain(losses).collect();
    if !backlog.is_empty() {
        tracing::info!(bytes = backlog.bytes(), "messages that were put aside are judged first");
    }
    let mut intake = Intake {
        journal,
        backlog,
        front: Front::new(Arc::clone(&reference.registry), config.admission(), config.tick_ms()).with_notes(),
        engine: Engine::start(reference, config.shard_count()),
        tick: Duration::from_millis(config.tick_ms().unsigned_abs()),
        work,
        watch,
        ends: VecDeque::new(),
        saving: Saving::every(Duration::from_secs(config.late().snapshot_s)),
        asks,
    };
    let began = Instant::now();
    let from = intake.resume(snapshots, committed, chronicle)?;
    let folded = intake.recover(&folder, from, committed, chronicle)?;
    if from > 0 || folded > 0 {
        let took = began.elapsed();
        tracing::info!(from, folded, committed, torn_bytes = recovered.torn_bytes, ?took, "state is rebuilt");
    }
    if chronicle.in_force.last().is_some_and(|last| *last.rules != *reference.rules.digest()) {
        tracing::info!("the rules were changed: what came before was judged by those in force then");
    }
    intake.engine.replace(reference)?;
    Ok((intake, losses))
}
