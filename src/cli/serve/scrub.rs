//! Looking after what is kept: the inventory is copied into the store, and sealed files are read again, slowly, one after another.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant, SystemTime},
};

use crate::{
    cli::{ledger::JOURNAL, now, verify},
    journal::{Catalogue, INVENTORY, SealedFile},
    metrics::Metrics,
    model::{Time, limits},
    store::Store,
};

/// When the last full pass ended, in the store.
const PASSED: &str = "scrubbed_at_ms";
/// How often the inventory is copied, and the age of the last pass told.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often the folders are looked through for files that were put aside.
const COUNT_EVERY: Duration = Duration::from_secs(30);

/// Reads what was sealed again and again.
pub struct Scrub {
    data: PathBuf,
    journal: PathBuf,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    /// What is damaged or missing and was said, by name.
    damaged: BTreeSet<String>,
    /// How the inventory's file looked when the store got its copy.
    copied: Option<(u64, SystemTime)>,
    /// Files that were put aside, as of a while ago.
    aside: usize,
    counted_at: Option<Instant>,
    /// What is left of this pass; the next file last.
    pass: Vec<SealedFile>,
    is_passing: bool,
    passed: Option<Time>,
}

impl Scrub {
    /// `losses` were said already; they count.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn new(data: &Path, store: Arc<Store>, metrics: Arc<Metrics>, losses: Vec<String>) -> anyhow::Result<Self> {
        let passed = store.reader().fact(PASSED)?.and_then(|ms| ms.parse().ok()).map(Time::from_millis);
        let damaged = losses.into_iter().collect();
        let mut scrub = Self {
            data: data.into(),
            journal: data.join(JOURNAL),
            store,
            metrics,
            damaged,
            copied: None,
            aside: 0,
            counted_at: None,
            pass: Vec::new(),
            is_passing: false,
            passed,
        };
        scrub.count();
        Ok(scrub)
    }

    /// Until whoever holds the other end lets go.
    pub fn run(mut self, ended: &Receiver<()>) {
        loop {
            let read = self.step().unwrap_or_else(|error| {
                tracing::warn!("what is kept could not be looked at: {error:#}; this is tried again");
                None
            });
            let pause = read.map_or(LOOK_EVERY, |bytes| {
                LOOK_EVERY.min(Duration::from_secs_f64(bytes as f64 / limits::SCRUB_BYTES_PER_S as f64))
            });
            if ended.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// Looks at one file; how large it was, if there was one.
    fn step(&mut self) -> anyhow::Result<Option<u64>> {
        let at = now();
        if let Some(passed) = self.passed {
            self.metrics.scrub_age_seconds.set(at.ms_since(passed).max(0) as f64 / 1_000.0);
        }
        if let Some(file) = self.pass.pop() {
            self.look_at(&file);
            return Ok(Some(file.bytes));
        }
        if self.is_passing {
            self.is_passing = false;
            self.passed = Some(at);
            self.store.commit_beside(|tx| tx.put_fact(PASSED, &at.as_millis().to_string()))?;
        }
        self.copy()?;
        self.count();
        if self.passed.is_none_or(|passed| at.s_since(passed) >= limits::SCRUB_EVERY_S) {
            self.pass = Catalogue::of(&self.journal)?.sealed;
            self.pass.reverse();
            self.is_passing = true;
        }
        Ok(None)
    }

    fn look_at(&mut self, file: &SealedFile) {
        match file.check() {
            // Merged or retired meanwhile; one that is missing is found at a start.
            Err(error) if error.is_missing() => {}
            Err(error) => self.say(file.listed_path(&self.journal), &format!("failed to {error}")),
            Ok(()) => {}
        }
    }

    /// Copies the inventory into the store. What contradicts it there stays as it is, and is said.
    fn copy(&mut self) -> anyhow::Result<()> {
        let about = std::fs::metadata(self.journal.join(INVENTORY))?;
        let looks = (about.len(), about.modified()?);
        if self.copied == Some(looks) {
            return Ok(());
        }
        let contradictions = verify::copy(&self.journal, &self.store)?;
        self.copied = Some(looks);
        contradictions.into_iter().for_each(|(name, problem)| self.say(name, &problem));
        Ok(())
    }

    /// Says it once, and counts it.
    fn say(&mut self, name: String, problem: &str) {
        if self.damaged.insert(name) {
            tracing::error!("what was kept is damaged or missing: {problem}");
        }
        self.count();
    }

    /// What was put aside counts until a person takes it away.
    fn count(&mut self) {
        if self.counted_at.is_none_or(|at| at.elapsed() >= COUNT_EVERY) {
            self.aside = verify::put_aside(&self.data).len();
            self.counted_at = Some(Instant::now());
        }
        let count = self.damaged.len() + self.aside;
        self.metrics.damaged_files.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
