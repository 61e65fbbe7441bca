//! The one commit: what was judged goes into SQLite in one transaction, and only then is it told.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{
    cli::now,
    command::{self, Desk, News, UnitInfo},
    engine::{Draft, Judged},
    model::{Body, Ledger, Time},
    rules::RuleSet,
    store::{InForce, Reader, Store, StoreError},
};

/// What there is to commit.
pub enum Work {
    /// A batch, the journal position after it, and the state after it where it is to be written.
    Judged { judged: Box<Judged>, end: u64, draft: Option<Box<Draft>> },
    /// The registry's units have changed.
    Roster(Vec<UnitInfo>),
    /// Other rules or another registry judge from a journal position on.
    InForce { from: InForce, rules: Arc<RuleSet> },
}

/// Commits what comes, many batches at once when they have piled up.
pub struct Clerk<T> {
    pub store: Arc<Store>,
    pub memory: Memory,
    /// Wakes whoever carries the outbox.
    pub outbox: Arc<Notify>,
    /// Writes state, once all before it is committed.
    pub snapshots: SyncSender<Draft>,
    /// Is told what a commit changed, after it.
    pub tell: T,
}

/// What is known between two commits: all of it is on disk too.
pub struct Memory {
    desk: Desk,
    ledger: Ledger,
    /// Of what it is read again.
    reader: Reader,
    settings: command::Settings,
    /// The registry's units, as they were last entered.
    roster: Vec<UnitInfo>,
    /// Nothing had ever been committed when this process began, at this time: what arrived before is a history that it was given.
    first_began: Option<Time>,
}

impl Memory {
    /// Reads what the disk knows. No deadline passes until the answers that waited at the broker will have been read.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(reader: Reader, settings: command::Settings, roster: Vec<UnitInfo>) -> Result<Self, StoreError> {
        let mut desk = Desk::open(settings.clone(), roster.clone(), &reader)?;
        desk.hold_deadlines_until(now().plus_ms(ANSWERS_FIRST_MS));
        let first_began = reader.position()?.is_none().then(now);
        Ok(Self { desk, ledger: reader.ledger()?, reader, settings, roster, first_began })
    }

    /// What became of all that is committed.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn read_again(&mut self) -> Result<(), StoreError> {
        let first_began = self.first_began;
        *self = Self::read(self.reader.clone(), self.settings.clone(), self.roster.clone())?;
        self.first_began = first_began;
        Ok(())
    }
}

/// Told after each commit.
pub trait Tell {
    fn news(&mut self, news: &[News]);
    fn committed(&mut self, ledger: &Ledger);
    /// Whether the store keeps commits from being made.
    fn stuck(&mut self, is_stuck: bool);
}

/// A quiet ledger is committed this often.
const QUIET: Duration = Duration::from_secs(1);
/// Batches that one commit takes at most.
const BATCHES: usize = 64;
/// So often a commit is tried that the disk or another program stands in the way of.
const AGAIN: Duration = Duration::from_secs(1);
/// After a start answers to dispatches that waited at the broker are read before any deadline passes.
const ANSWERS_FIRST_MS: i64 = 30_000;

impl<T: Tell> Clerk<T> {
    /// Until nobody sends any more. While the disk is full, or another program holds the database, nothing is committed, and what
    /// comes waits.
    ///
    /// # Errors
    /// When a commit failed: memory is ahead of the disk then, and the process must stop.
    pub fn run(mut self, work: &Receiver<Work>) -> Result<(), StoreError> {
        let mut held: Vec<Work> = Vec::new();
        let mut last_commit = Instant::now();
        loop {
            match work.recv_timeout(self.patience(&held, last_commit)) {
                Ok(one) => held.push(one),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.commit(&mut held, work),
            }
            while held.len() < BATCHES
                && let Ok(one) = work.try_recv()
            {
                held.push(one);
            }
            let overdue = last_commit.elapsed() >= QUIET && !held.is_empty();
            if overdue || held.len() >= BATCHES || held.iter().any(is_news) || self.is_due() {
                self.commit(&mut held, work)?;
                last_commit = Instant::now();
            }
        }
    }

    fn patience(&self, held: &[Work], last_commit: Instant) -> Duration {
        let quiet = if held.is_empty() { QUIET } else { QUIET.saturating_sub(last_commit.elapsed()) };
        let due = self.memory.desk.next_due().map(|due| due.ms_since(now()).max(0).unsigned_abs());
        due.map_or(quiet, |ms| quiet.min(Duration::from_millis(ms)))
    }

    fn is_due(&self) -> bool {
        self.memory.desk.next_due().is_some_and(|due| due <= now())
    }

    /// Commits what is held, and tells what that changed.
    fn commit(&mut self, held: &mut Vec<Work>, work: &Receiver<Work>) -> Result<(), StoreError> {
        let mut failed_at = None;
        let news = loop {
            match self.write(held) {
                Ok(news) => break news,
                Err(error) if error.will_pass() => {
                    if failed_at.is_none() {
                        tracing::error!(
                            "nothing is committed until this has passed, and nothing is lost: failed to {error}"
                        );
                    }
                    failed_at.get_or_insert_with(Instant::now);
                    self.tell.stuck(true);
                    self.wait(error, held, work)?;
                }
                Err(error) => return Err(error),
            }
        };
        if let Some(at) = failed_at {
            tracing::info!(after = ?at.elapsed(), "committed again");
            self.tell.stuck(false);
        }
        self.outbox.notify_one();
        self.tell.news(&news);
        self.tell.committed(&self.memory.ledger);
        for one in held.drain(..) {
            if let Work::Judged { draft: Some(draft), .. } = one
                && self.snapshots.try_send(*draft).is_err()
            {
                tracing::warn!("a snapshot is left out: the one before it is still being written");
            }
        }
        Ok(())
    }

    /// Waits after a commit that failed and may be tried again, and forgets what the disk does not know. Gives up when nobody sends
    /// any more.
    fn wait(&mut self, error: StoreError, held: &mut Vec<Work>, work: &Receiver<Work>) -> Result<(), StoreError> {
        loop {
            std::thread::park_timeout(AGAIN);
            while held.len() < 2 * BATCHES {
                match work.try_recv() {
                    Ok(one) => held.push(one),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Err(error),
                }
            }
            match self.memory.read_again().and_then(|()| self.store.resume()) {
                Err(error) if error.will_pass() => {}
                result => return result,
            }
        }
    }

    fn write(&mut self, held: &[Work]) -> Result<Vec<News>, StoreError> {
        let at = now();
        let Memory { desk, ledger, roster, first_began, .. } = &mut self.memory;
        self.store.commit(|tx| {
            let mut news = Vec::new();
            for one in held {
                match one {
                    Work::Judged { judged, end, .. } => {
                        // With no record comes only what waited for history.
                        if judged.batch.is_empty() || tx.advance_to(*end)? {
                            judged.count_into(ledger);
                            judged.seen.waiting.iter().try_for_each(|position| tx.wait(*position))?;
                            for (position, outcome, reason) in &judged.seen.amended {
                                if tx.waits_no_more(*position)? {
                                    ledger.amend(*outcome, *reason);
                                }
                            }
                            let came = judged.batch.first().map(|record| record.recv_time);
                            desk.read_history(came.zip(*first_began).is_some_and(|(came, began)| came < began));
                            news.extend(enter(desk, tx, judged, at)?);
                        }
                    }
                    Work::InForce { from, rules } => _ = tx.put_in_force(from, rules.files())?,
                    Work::Roster(units) => {
                        roster.clone_from(units);
                        news.extend(desk.enrol(tx, units.clone(), at)?);
                    }
                }
            }
            news.extend(desk.pass_time(tx, at)?);
            tx.put_ledger(ledger)?;
            Ok(news)
        })
    }
}

fn enter(desk: &mut Desk, tx: &crate::store::Tx<'_>, judged: &Judged, at: Time) -> Result<Vec<News>, StoreError> {
    let mut news = Vec::new();
    for record in judged.batch.iter() {
        news.extend(desk.record(tx, record)?);
    }
    news.extend(desk.alerts(tx, &judged.transitions, at)?);
    Ok(news)
}

/// Whether somebody waits for it.
fn is_news(work: &Work) -> bool {
    match work {
        Work::Roster(_) | Work::InForce { .. } => true,
        Work::Judged { judged, .. } => {
            !judged.transitions.is_empty()
                || judged.batch.iter().any(|record| matches!(record.body, Body::Unit(_) | Body::Reply(_)))
        }
    }
}
