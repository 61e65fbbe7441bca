//! Judging with somebody looking on.

use super::{
    EngineError, Judge, Look, Reference, Seen,
    judge::Owns,
    settle::Settler,
    shards::{Subject, in_order, subject},
};
use crate::{
    facts::Fold,
    model::{Ledger, Outcome, Reason, Record, Text, Transition},
};

/// Who looks on.
pub trait Watcher {
    /// A row was judged.
    fn row(&mut self, look: &Look<'_>);
    /// An alert changed, and it is told.
    fn told(&mut self, transition: &Transition);
    /// A report turned out to be something else than admission could tell.
    fn refused(&mut self, _record: &Record, _outcome: Outcome, _reason: Reason) {}
}

/// Judges records, given in order of arrival with their ticks among them, on this thread, `together` at a time, and shows what
/// happens. By the same judge as ever: what is seen is what would happen.
///
/// # Errors
/// The first error of `records` (as it came), or of judging.
pub fn watch<E: From<EngineError>>(
    reference: &Reference,
    together: usize,
    records: impl Iterator<Item = Result<Record, E>>,
    watcher: &mut impl Watcher,
) -> Result<Ledger, E> {
    let mut watched = Watched::new(reference.clone(), None);
    let mut ledger = Ledger::default();
    for record in records {
        let record = record?;
        ledger.count(&record);
        watched.take(record);
        if watched.batch.len() >= together {
            watched.judge(watcher)?;
        }
    }
    watched.judge(watcher)?;
    Ok(ledger)
}

/// A judge and what is to be judged next.
pub(super) struct Watched {
    reference: Reference,
    fold: Fold,
    judge: Judge,
    settler: Settler,
    /// Only this vehicle is judged.
    only: Option<Text>,
    batch: Vec<Record>,
    mine: Vec<(u32, Text)>,
}

impl Watched {
    pub fn new(reference: Reference, only: Option<Text>) -> Self {
        Self {
            fold: reference.fold(),
            judge: Judge::new(reference.clone()).owning(only.clone().map_or(Owns::All, Owns::One)),
            settler: Settler::default(),
            reference,
            only,
            batch: Vec::new(),
            mine: Vec::new(),
        }
    }

    /// Judges by other rules or another registry from now on; what was taken must have been judged.
    pub fn replace(&mut self, reference: Reference) {
        self.fold = reference.fold();
        self.judge.replace(reference.clone());
        self.reference = reference;
    }

    /// Takes a record, to be judged with the next batch.
    pub fn take(&mut self, record: Record) {
        let index = self.batch.len() as u32;
        match subject(&self.fold, &record) {
            Subject::Vehicle(id) if self.only.as_ref().is_none_or(|only| *only == id) => self.mine.push((index, id)),
            Subject::All => self.mine.push((index, Text::from(""))),
            _ if self.only.is_some() => return,
            _ => {}
        }
        self.batch.push(record);
    }

    /// Judges what was taken.
    pub fn judge(&mut self, watcher: &mut impl Watcher) -> Result<(), EngineError> {
        let (batch, mine) = (std::mem::take(&mut self.batch), std::mem::take(&mut self.mine));
        let mut seen = Seen::default();
        let mut findings =
            self.judge.judge_watched(&batch, &mine, &mut seen, &mut |look: &Look<'_>| watcher.row(look))?;
        in_order(&mut findings);
        let told = self.settler.settle(&self.reference, &batch, findings);
        told.iter().for_each(|transition| watcher.told(transition));
        let mut refuse = |indices: &[u32], outcome, reason| {
            indices.iter().for_each(|index| watcher.refused(&batch[*index as usize], outcome, reason));
        };
        refuse(&seen.repeated, Outcome::Duplicate, Reason::Duplicate);
        refuse(&seen.beyond, Outcome::Late, Reason::TooOld);
        Ok(())
    }
}
