//! From the brokers to the shards: admit, journal, acknowledge, hand over. One thread; order of receipt is kept.

use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    sync::{
        Arc,
        mpsc::{Sender, SyncSender},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::clerk::Work;
use crate::{
    cli::{
        front::{Front, FrontState, Note},
        now,
    },
    command::roster,
    engine::{
        Ask, Chronicle, Draft, Engine, EngineError, Judged, LastPosition, Name, Older, Part, Reference, Saved, Seen,
        SnapshotError, Snapshots, changed_by,
    },
    ingest::{Decoder, Incoming, Source},
    journal::{Backlog, Journal, JournalError},
    model::{Body, Record, Text, Time, UnitReply, limits},
    registry::Rejudge,
    store::InForce,
};

/// One subscription: where its messages come from and how they are read.
pub struct Inlet {
    pub source: Source,
    pub decoder: Decoder,
}

/// What happens in this thread besides messages.
pub enum Order {
    /// Judge by other rules or another registry from now on; and what was judged by others again, where that is wanted.
    Replace(Box<Reference>, Vec<Rejudge>),
    /// Judge again, by what is registered now, what was sent since a time: by one vehicle, or by all.
    JudgeAgain(Option<Text>, Time),
    /// A reply that came over HTTP.
    Reply(Box<UnitReply>),
    /// Receive no more, finish what is here, and end.
    Stop,
}

/// Is told what goes through.
pub trait Watch: Send {
    /// Appended to the journal, and how long that took.
    fn journalled(&mut self, records: &[Record], took: Duration);
    /// How often each field made no sense in what was appended.
    fn odd(&mut self, fields: BTreeMap<&'static str, u64>);
    /// Who sent those.
    fn heard(&mut self, records: &[Record], notes: Vec<Note>);
    /// A message came on a topic below our prefix that nobody reads; it is not kept.
    fn unread(&mut self, topic: String);
    /// Judged, before it is committed.
    fn judged(&mut self, judged: &Judged);
    /// Where vehicles were last seen, to be told again after a start.
    fn positions(&self) -> Vec<LastPosition>;
    /// Is told them after a start.
    fn resumed(&mut self, positions: Vec<LastPosition>);
    /// How much was put aside and waits, bytes.
    fn waiting(&mut self, bytes: u64);
    /// The disk has no room (`Some`: why), or has it again (`None`).
    fn stuck(&mut self, problem: Option<&str>);
}

/// Why taking in had to end.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    #[error("keep what came: {0}")]
    Journal(JournalError),
    #[error("judge what came: {0}")]
    Engine(EngineError),
    #[error("hand over what was judged: the commit has stopped")]
    Committing,
}

crate::model::wraps!(IntakeError { Journal(JournalError), Engine(EngineError) });

/// All that stands between a broker and the commit.
pub struct Intake<W> {
    pub journal: Journal,
    /// What came faster than it could be judged.
    pub backlog: Backlog,
    pub front: Front,
    pub engine: Engine,
    pub tick: Duration,
    pub work: SyncSender<Work>,
    pub watch: W,
    /// Of the batches that are with the engine, oldest first.
    pub ends: VecDeque<End>,
    pub saving: Saving,
    /// To whoever reads history.
    pub asks: Sender<Asked>,
}

/// Vehicles that ask for their history, each up to a journal position, and what they are judged against.
pub struct Asked {
    pub asks: Vec<(Ask, u64)>,
    pub reference: Reference,
}

/// What was known when a batch was handed over.
pub struct End {
    /// The journal's position after it.
    position: u64,
    /// What stands before the journal, when the state after the batch is to be saved.
    front: Option<Part>,
}

/// When state is saved.
pub struct Saving {
    every: Duration,
    last: Instant,
    /// The journal's position then.
    position: u64,
}

impl Saving {
    pub fn every(every: Duration) -> Self {
        Self { every, last: Instant::now(), position: 0 }
    }
}

/// The names of parts in a snapshot.
pub const FRONT: &str = "front";
pub const POSITIONS: &str = "positions";

/// How long a full disk is left alone before it is tried again.
const FULL: Duration = Duration::from_secs(1);

/// The receiving ends of all inlets.
struct Inbox {
    /// With the index of each one's inlet; those that have ended are gone. The first is looked at first, and then goes last.
    receivers: VecDeque<(usize, mpsc::Receiver<Incoming>)>,
}

impl<W: Watch> Intake<W> {
    /// Takes in until it is told to stop, then leaves the brokers and ends the engine's work. First what was registered while nobody
    /// ran, and wants that, is judged again.
    ///
    /// # Errors
    /// When something failed after which memory is not to be trusted: the process must start again from disk.
    pub async fn run(
        mut self,
        inlets: Vec<(Inlet, mpsc::Receiver<Incoming>)>,
        mut orders: mpsc::Receiver<Order>,
        mut histories: mpsc::Receiver<Vec<Older>>,
        rejudges: Vec<Rejudge>,
    ) -> Result<(), IntakeError> {
        let (inlets, receivers): (Vec<Inlet>, Vec<_>) = inlets.into_iter().unzip();
        let mut inbox = Inbox { receivers: receivers.into_iter().enumerate().collect() };
        let reference = self.engine.reference().clone();
        self.put_in_force(&reference, vec![Record::clock(Body::Start, now())], &rejudges).await?;
        let mut ticks = tokio::time::interval(self.tick.max(Duration::from_millis(1)));
        let mut saves = tokio::time::interval(self.saving.every.max(Duration::from_millis(1)));
        let (mut is_stopping, mut is_asides_turn, mut is_flooded) = (false, false, false);
        loop {
            if self.engine.pending() > 0 && (!self.engine.has_room() || !inbox.has_more() && self.backlog.is_empty()) {
                self.take_judged()?;
                continue;
            }
            // What was put aside and what comes take turns, so that neither waits for more than a slice of the other.
            is_asides_turn = !is_asides_turn && !is_stopping && !self.backlog.is_empty() && !is_flooded;
            if is_asides_turn {
                while self.engine.pending() >= limits::BACKLOG_SLICES {
                    self.take_judged()?;
                }
                self.take_aside(&inlets).await?;
                continue;
            }
            tokio::select! {
                biased;
                order = orders.recv(), if !is_stopping => match order {
                    Some(Order::Replace(reference, rejudges)) => self.replace(&reference, &rejudges).await?,
                    Some(Order::JudgeAgain(vehicle_id, since)) => {
                        self.keep(vec![Record::judge_again(vehicle_id, since, now())]).await?;
                    }
                    Some(Order::Reply(reply)) => self.keep(vec![Record::clock(Body::Reply(*reply), now())]).await?,
                    Some(Order::Stop) | None => {
                        is_stopping = true;
                        inlets.iter().for_each(|inlet| inlet.source.stop_receiving());
                    }
                },
                Some(found) = histories.recv() => self.deepen(found)?,
                chunk = inbox.next() => match chunk {
                    // While much comes at once the broker's queue is emptied first: what is of now stands at its end.
                    Some((inlet, chunk)) => is_flooded = self.take(inlet, &inlets[inlet], chunk).await?,
                    None => break,
                },
                _ = ticks.tick() => {
                    let mut records = Vec::new();
                    self.front.tick(now(), &mut records);
                    self.keep(records).await?;
                }
                _ = saves.tick() => {
                    // While much comes it is saved with what comes.
                    if self.journal.next_position() > self.saving.position {
                        self.hand_over(Vec::new(), true)?;
                    }
                }
                () = std::future::ready(()), if !is_stopping && !self.backlog.is_empty() => is_flooded = false,
            }
        }
        // The next start has nothing to fold again.
        self.hand_over(Vec::new(), true)?;
        while self.engine.pending() > 0 {
            self.take_judged()?;
        }
        futures::future::join_all(inlets.into_iter().map(|inlet| inlet.source.disconnect())).await;
        self.journal.close()?;
        Ok(())
    }

    /// Messages, in order of receipt: kept, then acknowledged, then handed to the engine. When they are more than can be judged at
    /// once the large ones are put aside, so that those of now need not wait for what a device kept. Whether they were that many.
    async fn take(&mut self, number: usize, inlet: &Inlet, chunk: Vec<Incoming>) -> Result<bool, IntakeError> {
        let mut records = Vec::with_capacity(chunk.len() + 1);
        let mut aside = Vec::new();
        let bytes: usize = chunk.iter().map(|incoming| incoming.payload().len()).sum();
        let is_behind = self.engine.pending() >= limits::BACKLOG_SLICES || !self.backlog.is_empty();
        let is_much = (bytes > limits::INTAKE_BYTES || is_behind) && self.backlog.has_room();
        for incoming in &chunk {
            if !inlet.decoder.reads(incoming.topic()) {
                inlet.decoder.unread(incoming.topic()).into_iter().for_each(|topic| self.watch.unread(topic));
                continue;
            }
            if incoming.is_retained() {
                let (topic, payload, at) = (incoming.topic(), incoming.payload(), incoming.recv_time);
                self.front.retained(&inlet.decoder, topic, payload, at, &mut records);
                continue;
            }
            if is_much && incoming.payload().len() >= limits::ASIDE_BYTES {
                aside.push((number as u16, incoming.topic(), incoming.payload()));
                continue;
            }
            self.front.message(&inlet.decoder, incoming.topic(), incoming.payload(), incoming.recv_time, &mut records);
        }
        self.put_aside(&aside).await?;
        self.watch.odd(self.front.take_odd());
        let records = self.append(records).await?;
        inlet.source.acknowledge(chunk.iter().map(|incoming| incoming.ack));
        if !records.is_empty() {
            self.submit(records)?;
        }
        Ok(bytes > limits::INTAKE_BYTES && !aside.is_empty())
    }

    /// A slice of what was put aside, as if it came now: so positions and arrival go the same way.
    async fn take_aside(&mut self, inlets: &[Inlet]) -> Result<(), IntakeError> {
        let messages = self.backlog.next(limits::BACKLOG_SLICE_BYTES)?;
        let (mut records, at) = (Vec::new(), now());
        for message in &messages {
            // Of an inlet that is configured no more: whatever another makes of it, it is kept.
            let inlet = inlets.get(usize::from(message.inlet)).or(inlets.first());
            if let Some(inlet) = inlet {
                self.front.message(&inlet.decoder, &message.topic, &message.payload, at, &mut records);
            }
        }
        self.watch.odd(self.front.take_odd());
        self.keep(records).await?;
        self.backlog.forget();
        self.watch.waiting(self.backlog.bytes());
        Ok(())
    }

    async fn put_aside(&mut self, messages: &[(u16, &str, &[u8])]) -> Result<(), IntakeError> {
        let mut was_full = false;
        while let Err(error) = self.backlog.append(messages) {
            self.wait_for_room(error, &mut was_full).await?;
        }
        self.has_room_again(was_full);
        self.watch.waiting(self.backlog.bytes());
        Ok(())
    }

    /// Records of our own making.
    async fn keep(&mut self, records: Vec<Record>) -> Result<(), IntakeError> {
        if records.is_empty() {
            return Ok(());
        }
        let records = self.append(records).await?;
        self.submit(records)
    }

    /// To disk; while the disk is full, again and again: nothing is acknowledged meanwhile, so the broker holds what comes.
    async fn append(&mut self, records: Vec<Record>) -> Result<Vec<Record>, IntakeError> {
        let (mut was_full, mut began) = (false, Instant::now());
        while let Err(error) = self.journal.append(&records) {
            self.wait_for_room(error, &mut was_full).await?;
            began = Instant::now();
        }
        if !records.is_empty() {
            self.watch.journalled(&records, began.elapsed());
            self.watch.heard(&records, self.front.take_notes());
        }
        self.has_room_again(was_full);
        Ok(records)
    }

    async fn wait_for_room(&mut self, error: JournalError, was_full: &mut bool) -> Result<(), IntakeError> {
        if !matches!(error, JournalError::Full { .. }) {
            return Err(error.into());
        }
        if !*was_full {
            tracing::error!(%error, "nothing is acknowledged until there is room: the broker holds what comes");
            self.watch.stuck(Some(&error.to_string()));
        }
        *was_full = true;
        tokio::time::sleep(FULL).await;
        Ok(())
    }

    fn has_room_again(&mut self, was_full: bool) {
        if was_full {
            tracing::warn!("the disk has room again: going on");
            self.watch.stuck(None);
        }
    }

    fn submit(&mut self, records: Vec<Record>) -> Result<(), IntakeError> {
        let is_due = self.saving.last.elapsed() >= self.saving.every;
        self.hand_over(records, is_due)
    }

    fn hand_over(&mut self, records: Vec<Record>, save: bool) -> Result<(), IntakeError> {
        if !self.engine.has_room() {
            self.take_judged()?;
        }
        let front = if save { self.front_part() } else { None };
        if front.is_some() {
            (self.saving.last, self.saving.position) = (Instant::now(), self.journal.next_position());
        }
        let first = self.journal.next_position() - records.len() as u64;
        self.engine.submit_at(first, Arc::new(records), front.is_some())?;
        self.ends.push_back(End { position: self.journal.next_position(), front });
        Ok(())
    }

    fn front_part(&self) -> Option<Part> {
        let part = Part::of(&self.front.state());
        part.inspect_err(|error| tracing::error!("no snapshot is made: failed to {error}")).ok()
    }

    /// The oldest batch that the engine has, on to the commit.
    fn take_judged(&mut self) -> Result<(), IntakeError> {
        let Some(mut judged) = self.engine.take()? else { return Ok(()) };
        self.watch.judged(&judged);
        let end = self.ends.pop_front();
        let position = end.as_ref().map_or_else(|| self.journal.next_position(), |end| end.position);
        self.ask(&mut judged, position);
        let draft = judged.saved.take().zip(end.and_then(|end| end.front)).and_then(|(saved, front)| {
            let drafted = saved.and_then(|saved| self.draft(position, saved, front));
            drafted.inspect_err(|error| tracing::error!("no snapshot is made: failed to {error}")).ok()
        });
        let work = Work::Judged { judged: Box::new(judged), end: position, draft: draft.map(Box::new) };
        self.work.send(work).map_err(|_| IntakeError::Committing)
    }

    /// Asks for the history of vehicles, up to a position.
    fn ask(&self, judged: &mut Judged, until: u64) {
        let asks: Vec<(Ask, u64)> = judged.seen.asks.drain(..).map(|ask| (ask, until)).collect();
        // Nobody there any more: the process is ending, and the next start asks again.
        if !asks.is_empty() {
            _ = self.asks.send(Asked { asks, reference: self.engine.reference().clone() });
        }
    }

    /// Takes up what history knows of vehicles that asked.
    fn deepen(&mut self, found: Vec<Older>) -> Result<(), IntakeError> {
        found.into_iter().try_for_each(|older| self.engine.deepen(older))?;
        self.hand_over(Vec::new(), false)
    }

    fn draft(&self, position: u64, saved: Saved, front: Part) -> Result<Draft, SnapshotError> {
        let Saved { vehicles, mut parts } = saved;
        parts.push((FRONT, front));
        parts.push((POSITIONS, Part::of(&self.watch.positions())?));
        Ok(Draft { position, at: now(), parts, vehicles })
    }

    async fn replace(&mut self, reference: &Reference, rejudges: &[Rejudge]) -> Result<(), IntakeError> {
        self.engine.replace(reference)?;
        self.front.replace_registry(Arc::clone(&reference.registry));
        self.put_in_force(reference, Vec::new(), rejudges).await?;
        // A start has nothing to fold that was judged by others.
        self.hand_over(Vec::new(), true)?;
        let units = roster(&reference.registry, now());
        self.work.send(Work::Roster(units)).map_err(|_| IntakeError::Committing)
    }

    /// Has it kept by what all that comes from now on is judged, first these records, then what is to be judged again by it. That
    /// is on disk before the rest: who finds what was in force before, finds what is to be judged again once more.
    async fn put_in_force(
        &mut self,
        reference: &Reference,
        mut records: Vec<Record>,
        rejudges: &[Rejudge],
    ) -> Result<(), IntakeError> {
        let (position, at) = (self.journal.next_position(), now());
        for Rejudge { since, vehicles } in rejudges {
            let again = |vehicle_id| Record::judge_again(vehicle_id, *since, at);
            match vehicles {
                None => records.push(again(None)),
                Some(ids) => records.extend(ids.iter().map(|id| again(Some(id.as_str().into())))),
            }
        }
        let records = self.append(records).await?;
        self.tell_in_force(reference, position)?;
        if records.is_empty() { Ok(()) } else { self.submit(records) }
    }

    fn tell_in_force(&self, reference: &Reference, position: u64) -> Result<(), IntakeError> {
        let from = InForce {
            position,
            at: now(),
            rules: reference.rules.digest().into(),
            registry: reference.registry.batch(),
        };
        let rules = Arc::clone(&reference.rules);
        self.work.send(Work::InForce { from, rules }).map_err(|_| IntakeError::Committing)
    }

    /// Goes on from the newest snapshot that can be read, of those that know nothing that is not committed. The position from
    /// which the journal is to be folded.
    ///
    /// # Errors
    /// When the folder cannot be listed, or the engine has stopped.
    pub fn resume(
        &mut self,
        snapshots: &Snapshots,
        committed: u64,
        chronicle: &Chronicle<'_>,
    ) -> Result<u64, IntakeError> {
        for name in snapshots.names().map_err(EngineError::from)?.into_iter().rev() {
            if name.position > committed {
                tracing::warn!(position = name.position, committed, "a snapshot is of another run: it is passed over");
                continue;
            }
            self.judge_as(chronicle, chronicle.at(name.position))?;
            match self.resume_at(snapshots, name) {
                Ok(()) => return Ok(name.position),
                Err(EngineError::Snapshot(error)) => {
                    tracing::error!("a snapshot is passed over for the one before it: failed to {error}");
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.judge_as(chronicle, chronicle.at(0))?;
        Ok(0)
    }

    /// Judges by what was in force then, as far as that can be read.
    fn judge_as(&mut self, chronicle: &Chronicle<'_>, then: Option<&InForce>) -> Result<(), IntakeError> {
        match then.map(|then| chronicle.reference(then)) {
            None => {}
            Some(Ok(reference)) => self.engine.replace(&reference)?,
            Some(Err(error)) => {
                tracing::warn!(
                    "what is folded again is judged by the rules and the registry of today: failed to {error}"
                );
            }
        }
        Ok(())
    }

    /// All that can fail is read before anything is taken up.
    fn resume_at(&mut self, snapshots: &Snapshots, name: Name) -> Result<(), EngineError> {
        let snapshot = snapshots.open(name)?;
        let front: Option<FrontState<'static>> = snapshot.part(FRONT)?;
        let positions: Vec<LastPosition> = snapshot.part(POSITIONS)?.unwrap_or_default();
        self.engine.restore(&snapshot)?;
        front.into_iter().for_each(|front| self.front.resume(front));
        self.watch.resumed(positions);
        Ok(())
    }

    /// Folds the journal again from a position on, by what was in force then: up to what was committed to rebuild state, from there on
    /// to be committed. What is damaged is said, and passed over.
    ///
    /// # Errors
    /// When the journal cannot be read at all, or a rule cannot be evaluated.
    pub fn recover(
        &mut self,
        dir: &std::path::Path,
        from: u64,
        committed: u64,
        chronicle: &Chronicle<'_>,
    ) -> Result<u64, IntakeError> {
        let mut batch = Vec::new();
        let mut changes = chronicle.after(from).iter().peekable();
        let mut folded = 0;
        let mut next = from;
        for entry in Journal::read(dir, from)? {
            let (position, record) = match entry {
                Ok(entry) => entry,
                Err(error @ (JournalError::Lost { .. } | JournalError::Damaged { .. })) => {
                    tracing::error!("history is damaged, and what is lost is not judged: failed to {error}");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let is_parted = position != next || (position >= committed && next <= committed);
            let change = changed_by(&mut changes, position);
            if batch.len() >= limits::JOURNAL_BATCH || is_parted || change.is_some() {
                self.refold(&mut batch, next, committed)?;
            }
            if change.is_some() {
                self.judge_as(chronicle, change)?;
            }
            self.front.restore(&record);
            batch.push(record);
            next = position + 1;
            folded += 1;
        }
        self.refold(&mut batch, next, committed)?;
        Ok(folded)
    }

    fn refold(&mut self, batch: &mut Vec<Record>, end: u64, committed: u64) -> Result<(), IntakeError> {
        if batch.is_empty() {
            return Ok(());
        }
        let first = end - batch.len() as u64;
        let batch = Arc::new(std::mem::take(batch));
        if end > committed {
            self.engine.submit_at(first, batch, false)?;
        } else {
            self.engine.submit_again(first, batch)?;
        }
        let Some(mut judged) = self.engine.take()? else { return Ok(()) };
        self.watch.judged(&judged);
        self.ask(&mut judged, end);
        if end <= committed {
            // It was told; what had waited may have come to its end.
            judged = Judged { seen: Seen { amended: judged.seen.amended, ..Seen::default() }, ..Judged::default() };
        }
        if end > committed || !judged.seen.amended.is_empty() {
            self.work
                .send(Work::Judged { judged: Box::new(judged), end, draft: None })
                .map_err(|_| IntakeError::Committing)?;
        }
        Ok(())
    }
}

impl Inbox {
    /// All that one inlet has ready, at most a journal batch; `None` when all have ended.
    async fn next(&mut self) -> Option<(usize, Vec<Incoming>)> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<(usize, Vec<Incoming>)>> {
        for _ in 0..self.receivers.len() {
            let Some((inlet, mut receiver)) = self.receivers.pop_front() else { break };
            let mut chunk = Vec::new();
            match receiver.poll_recv_many(cx, &mut chunk, limits::JOURNAL_BATCH) {
                Poll::Ready(0) => {}
                Poll::Ready(_) => {
                    self.receivers.push_back((inlet, receiver));
                    return Poll::Ready(Some((inlet, chunk)));
                }
                Poll::Pending => self.receivers.push_back((inlet, receiver)),
            }
        }
        if self.receivers.is_empty() { Poll::Ready(None) } else { Poll::Pending }
    }

    /// Whether messages can be had without waiting.
    fn has_more(&self) -> bool {
        self.receivers.iter().any(|(_, receiver)| !receiver.is_empty())
    }
}
