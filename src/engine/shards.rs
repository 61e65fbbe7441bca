//! Vehicles spread by hash over judges on threads of their own.

use std::{
    collections::VecDeque,
    hash::{Hash, Hasher},
    sync::{
        Arc,
        mpsc::{Receiver, RecvError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustc_hash::FxHasher;

use super::{
    EngineError, Finding, Judge, Older, Reference, Seen,
    judge::{Owns, SavedVehicle},
    settle::Settler,
    snapshot::{Part, Snapshot, SnapshotError, VehiclesPart},
};
use crate::{
    facts::Fold,
    model::{Body, Ledger, Outcome, Reason, Record, Text, Time, Transition, limits},
};

/// Judges on threads. Batches go in by [`Engine::submit`] and come out of [`Engine::take`] whole and in the same order.
pub struct Engine {
    fold: Fold,
    shards: Vec<Shard>,
    settler: Settler,
    /// What each pending batch is judged against, the oldest first.
    pending: VecDeque<Reference>,
    reference: Reference,
}

struct Shard {
    /// Taken away to let the thread end.
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Result<Done, EngineError>>,
    thread: Option<JoinHandle<()>>,
}

enum Job {
    Batch { batch: Arc<Vec<Record>>, mine: Vec<(u32, Text)>, position: u64, is_told: bool, save: bool, since: Instant },
    Deepen(Box<Older>),
    Replace(Box<Reference>),
    Restore(Vec<SavedVehicle<'static>>, Option<Time>),
}

struct Done {
    batch: Arc<Vec<Record>>,
    findings: Vec<Finding>,
    seen: Seen,
    vehicles: usize,
    state: Option<Result<ShardState, SnapshotError>>,
    pace: Pace,
}

/// How quick a shard was with a batch.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From when the batch was handed over until the shard took it up.
    pub waited: Duration,
    pub worked: Duration,
}

/// What the engine knows after a batch, encoded.
#[derive(Debug, Default)]
pub struct Saved {
    pub vehicles: Vec<VehiclesPart>,
    /// By name.
    pub parts: Vec<(&'static str, Part)>,
}

/// The names of its parts in a snapshot.
const SETTLER: &str = "settler";
pub(super) const LISTENING_SINCE: &str = "listening_since";

/// What one shard knows.
struct ShardState {
    vehicles: Vec<VehiclesPart>,
    listening_since: Option<Time>,
}

/// A batch, judged.
#[derive(Debug, Default)]
pub struct Judged {
    pub batch: Arc<Vec<Record>>,
    /// In order of the records, then of rules, then of vehicles: the same for any number of shards.
    pub transitions: Vec<Transition>,
    /// Where vehicles were seen and how risky they are, in order of arrival within each shard.
    pub seen: Seen,
    /// How many vehicles the engine knows now.
    pub vehicles: usize,
    /// The state after it, where it was asked for.
    pub saved: Option<Result<Saved, SnapshotError>>,
    /// Of each shard.
    pub paces: Vec<Pace>,
}

impl Judged {
    /// Counts every record of the batch as what became of it.
    pub fn count_into(&self, ledger: &mut Ledger) {
        let (mut repeated, mut beyond) = (self.seen.repeated.iter().peekable(), self.seen.beyond.iter().peekable());
        for (index, record) in (0_u32..).zip(self.batch.iter()) {
            if repeated.next_if_eq(&&index).is_some() {
                ledger.count_as(record, Outcome::Duplicate, Reason::Duplicate);
            } else if beyond.next_if_eq(&&index).is_some() {
                ledger.count_as(record, Outcome::Late, Reason::TooOld);
            } else {
                ledger.count(record);
            }
        }
    }
}

impl Engine {
    /// Starts `shards` threads (at least one).
    pub fn start(reference: &Reference, shards: usize) -> Self {
        let shards = (0..shards.max(1))
            .map(|number| Shard::start(Owns::Shard(number, shards.max(1)), reference.clone()))
            .collect();
        let (settler, pending) = (Settler::default(), VecDeque::new());
        Self { fold: reference.fold(), shards, settler, pending, reference: reference.clone() }
    }

    /// Hands a batch over; waits while a shard's queue is full.
    ///
    /// # Errors
    /// When a shard has stopped.
    pub fn submit(&mut self, batch: Arc<Vec<Record>>) -> Result<(), EngineError> {
        self.hand_over(batch, 0, true, false)
    }

    /// As [`Engine::submit`], of the records at this journal position and after. With `save` the batch comes out with the state
    /// after it.
    ///
    /// # Errors
    /// As [`Engine::submit`].
    pub fn submit_at(&mut self, position: u64, batch: Arc<Vec<Record>>, save: bool) -> Result<(), EngineError> {
        self.hand_over(batch, position, true, save)
    }

    /// As [`Engine::submit`], of records that were judged before: what is found of them may have been told.
    ///
    /// # Errors
    /// As [`Engine::submit`].
    pub fn submit_again(&mut self, position: u64, batch: Arc<Vec<Record>>) -> Result<(), EngineError> {
        self.hand_over(batch, position, false, false)
    }

    /// Gives a vehicle the history that it asked for: what waited for it is judged with the next batch.
    ///
    /// # Errors
    /// When a shard has stopped.
    pub fn deepen(&self, older: Older) -> Result<(), EngineError> {
        let shard = shard_of(&older.vehicle_id, self.shards.len());
        self.shards[shard].send(Job::Deepen(Box::new(older)))
    }

    /// What is being judged against.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// Goes on from a snapshot; before anything is submitted.
    ///
    /// # Errors
    /// When the snapshot can't be read; the engine has taken up nothing then. Or when a shard has stopped.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<(), EngineError> {
        let listening_since = snapshot.part(LISTENING_SINCE)?.flatten();
        let settler = snapshot.part(SETTLER)?.unwrap_or_default();
        let mut parts: Vec<Vec<SavedVehicle<'static>>> = self.shards.iter().map(|_| Vec::new()).collect();
        for vehicles in snapshot.vehicles::<SavedVehicle<'static>>() {
            for vehicle in vehicles? {
                parts[shard_of(&vehicle.id, self.shards.len())].push(vehicle);
            }
        }
        self.settler = settler;
        let mut jobs = self.shards.iter().zip(parts);
        jobs.try_for_each(|(shard, part)| shard.send(Job::Restore(part, listening_since)))
    }

    fn hand_over(
        &mut self,
        batch: Arc<Vec<Record>>,
        position: u64,
        is_told: bool,
        save: bool,
    ) -> Result<(), EngineError> {
        let mut parts: Vec<Vec<(u32, Text)>> = vec![Vec::new(); self.shards.len()];
        for (index, record) in batch.iter().enumerate() {
            match subject(&self.fold, record) {
                Subject::Vehicle(vehicle_id) => {
                    let shard = shard_of(&vehicle_id, self.shards.len());
                    parts[shard].push((index as u32, vehicle_id));
                }
                Subject::All => parts.iter_mut().for_each(|part| part.push((index as u32, Text::from("")))),
                Subject::None => {}
            }
        }
        self.pending.push_back(self.reference.clone());
        let since = Instant::now();
        for (shard, mine) in self.shards.iter().zip(parts) {
            shard.send(Job::Batch { batch: Arc::clone(&batch), mine, position, is_told, save, since })?;
        }
        Ok(())
    }

    /// How many batches are submitted and not yet taken by [`Engine::take`].
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether another batch may be submitted without the risk of waiting for ever: results must be taken in between.
    pub fn has_room(&self) -> bool {
        self.pending.len() < limits::SHARD_QUEUE
    }

    /// The oldest batch submitted, judged; waits for it. `None` when nothing is pending.
    ///
    /// # Errors
    /// When a rule cannot be evaluated or a shard has stopped.
    pub fn take(&mut self) -> Result<Option<Judged>, EngineError> {
        let Some(reference) = self.pending.pop_front() else { return Ok(None) };
        let parts: Vec<Done> = self.shards.iter().map(Shard::receive).collect::<Result<_, _>>()?;
        Ok(Some(merge(parts, &reference, &mut self.settler)))
    }

    /// Judges all that is submitted from now on by other rules or another registry.
    ///
    /// # Errors
    /// When a shard has stopped.
    pub fn replace(&mut self, reference: &Reference) -> Result<(), EngineError> {
        self.fold = reference.fold();
        self.reference = reference.clone();
        self.shards.iter().try_for_each(|shard| shard.send(Job::Replace(Box::new(reference.clone()))))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for shard in &mut self.shards {
            shard.jobs = None;
        }
        for shard in &mut self.shards {
            // The thread waits for a place to put its results: take what is left.
            while shard.done.recv().is_ok() {}
            if let Some(thread) = shard.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

impl Shard {
    fn start(owns: Owns, reference: Reference) -> Self {
        let number = if let Owns::Shard(number, _) = owns { number } else { 0 };
        let (jobs, todo) = sync_channel(limits::SHARD_QUEUE);
        let (results, done) = sync_channel(limits::SHARD_QUEUE);
        let thread = std::thread::Builder::new()
            .name(format!("shard-{number}"))
            .spawn(move || work(Judge::new(reference).owning(owns), &todo, &results));
        Self { jobs: Some(jobs), done, thread: thread.ok() }
    }

    fn send(&self, job: Job) -> Result<(), EngineError> {
        let jobs = self.jobs.as_ref().ok_or(EngineError::ShardStopped)?;
        jobs.send(job).map_err(|_| EngineError::ShardStopped)
    }

    fn receive(&self) -> Result<Done, EngineError> {
        self.done.recv().map_err(|RecvError| EngineError::ShardStopped)?
    }
}

/// A shard's thread: until nobody sends or nobody listens any more.
fn work(mut judge: Judge, todo: &Receiver<Job>, results: &SyncSender<Result<Done, EngineError>>) {
    while let Ok(job) = todo.recv() {
        let began = Instant::now();
        let (batch, mine, save, waited) = match job {
            Job::Batch { batch, mut mine, position, is_told, save, since } => {
                judge.begin_at(position, is_told);
                judge.gather(&batch, &mut mine);
                (batch, mine, save, began - since)
            }
            Job::Deepen(older) => {
                if let Err(error) = judge.deepen(*older) {
                    _ = results.send(Err(error));
                    return;
                }
                continue;
            }
            Job::Replace(reference) => {
                judge.replace(*reference);
                continue;
            }
            Job::Restore(vehicles, listening_since) => {
                judge.restore(vehicles, listening_since);
                continue;
            }
        };
        let mut seen = Seen::default();
        let done = judge.judge(&batch, &mine, &mut seen).map(|findings| Done {
            batch,
            findings,
            seen,
            vehicles: judge.vehicles(),
            pace: Pace { waited, worked: began.elapsed() },
            state: save.then(|| state(&judge)),
        });
        let failed = done.is_err();
        if results.send(done).is_err() || failed {
            return;
        }
    }
}

/// The state of one shard.
fn state(judge: &Judge) -> Result<ShardState, SnapshotError> {
    Ok(ShardState { vehicles: judge.save()?, listening_since: judge.listening_since() })
}

/// The states of all shards, and what is counted over them.
fn saved(states: Vec<Result<ShardState, SnapshotError>>, settler: &Settler) -> Result<Saved, SnapshotError> {
    let (mut vehicles, mut listening_since) = (Vec::new(), None);
    for state in states {
        let state = state?;
        vehicles.extend(state.vehicles);
        listening_since = listening_since.max(state.listening_since);
    }
    let parts = vec![(SETTLER, Part::of(settler)?), (LISTENING_SINCE, Part::of(&listening_since)?)];
    Ok(Saved { vehicles, parts })
}

fn merge(parts: Vec<Done>, reference: &Reference, settler: &mut Settler) -> Judged {
    let batch = parts.first().map(|part| Arc::clone(&part.batch)).unwrap_or_default();
    let mut findings = Vec::new();
    let mut seen = Seen::default();
    let mut vehicles = 0;
    let (mut states, mut paces) = (Vec::new(), Vec::new());
    for part in parts {
        findings.extend(part.findings);
        seen.positions.extend(part.seen.positions);
        seen.risks.extend(part.seen.risks);
        seen.repeated.extend(part.seen.repeated);
        seen.beyond.extend(part.seen.beyond);
        seen.asks.extend(part.seen.asks);
        seen.waiting.extend(part.seen.waiting);
        seen.amended.extend(part.seen.amended);
        seen.faults += part.seen.faults;
        vehicles += part.vehicles;
        paces.push(part.pace);
        states.extend(part.state);
    }
    in_order(&mut findings);
    seen.repeated.sort_unstable();
    seen.beyond.sort_unstable();
    let transitions = settler.settle(reference, &batch, findings);
    let saved = (!states.is_empty()).then(|| saved(states, settler));
    Judged { batch, transitions, seen, vehicles, saved, paces }
}

/// As they are settled, for any number of shards.
pub(super) fn in_order(findings: &mut [Finding]) {
    // Stable: two findings of one rule and vehicle at one step stay in the order in which they were found.
    let place = |finding: &Finding| (finding.record, finding.step, finding.turn);
    findings.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.vehicle_id().cmp(b.vehicle_id())));
}

/// Whom a record is about.
pub(super) enum Subject {
    Vehicle(Text),
    /// A record of the clock.
    All,
    /// It is not judged.
    None,
}

pub(super) fn subject(fold: &Fold, record: &Record) -> Subject {
    match &record.body {
        Body::Tick | Body::Start | Body::JudgeAgain(None) => Subject::All,
        Body::JudgeAgain(Some(vehicle_id)) => Subject::Vehicle(vehicle_id.clone()),
        Body::Device(report) if record.outcome == Outcome::Evaluated || record.reason == Reason::ImplausibleJump => {
            Subject::Vehicle(fold.vehicle_id(&report.device_id, record.event_time))
        }
        _ if is_life_only(record) => {
            let device_id = match &record.body {
                Body::Device(report) => Some(&report.device_id),
                Body::DeadLetter(letter) => letter.device_id.as_ref(),
                _ => None,
            };
            device_id.map_or(Subject::None, |id| Subject::Vehicle(fold.vehicle_id(id, record.recv_time)))
        }
        Body::Sighting(sighting) if record.outcome == Outcome::Evaluated => {
            fold.vehicle_seen(sighting, record.event_time).map_or(Subject::None, Subject::Vehicle)
        }
        _ => Subject::None,
    }
}

/// Whether a record says no more than that a device lives: a heartbeat, a report that came twice or is not judged.
pub(super) fn is_life_only(record: &Record) -> bool {
    match &record.body {
        Body::Device(_) => {
            let is_judged = record.outcome == Outcome::Evaluated || record.reason == Reason::ImplausibleJump;
            !is_judged && record.outcome != Outcome::Rejected && record.reason != Reason::Retained
        }
        Body::DeadLetter(letter) => record.reason == Reason::NoReport && letter.device_id.is_some(),
        _ => false,
    }
}

/// The shard of a vehicle: the same for the same number of shards, in every process.
pub(super) fn shard_of(vehicle_id: &str, shards: usize) -> usize {
    let mut hasher = FxHasher::default();
    vehicle_id.hash(&mut hasher);
    (hasher.finish() >> 32) as usize % shards
}
