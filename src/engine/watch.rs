//! Judging with somebody looking on.

use super::{
    EngineError, Judge, Look, Reference, Seen,
    settle::Settler,
    shards::{Subject, in_order, subject},
};
use crate::model::{Ledger, Record, Text, Transition};

/// Who looks on.
pub trait Watcher {
    /// A row was judged.
    fn row(&mut self, look: &Look<'_>);
    /// An alert changed, and it is told.
    fn told(&mut self, transition: &Transition);
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
    let fold = reference.fold();
    let mut watched = Watched { reference, judge: Judge::new(reference.clone()), settler: Settler::default(), watcher };
    let mut ledger = Ledger::default();
    let (mut batch, mut mine): (Vec<Record>, Vec<(u32, Text)>) = (Vec::new(), Vec::new());
    for record in records {
        let record = record?;
        ledger.count(&record);
        match subject(&fold, &record) {
            Subject::Vehicle(vehicle_id) => mine.push((batch.len() as u32, vehicle_id)),
            Subject::All => mine.push((batch.len() as u32, Text::from(""))),
            Subject::None => {}
        }
        batch.push(record);
        if batch.len() >= together {
            watched.judge(&batch, &mine)?;
            (batch, mine) = (Vec::new(), Vec::new());
        }
    }
    watched.judge(&batch, &mine)?;
    Ok(ledger)
}

struct Watched<'a, W> {
    reference: &'a Reference,
    judge: Judge,
    settler: Settler,
    watcher: &'a mut W,
}

impl<W: Watcher> Watched<'_, W> {
    fn judge(&mut self, batch: &[Record], mine: &[(u32, Text)]) -> Result<(), EngineError> {
        let mut look = |look: &Look<'_>| self.watcher.row(look);
        let mut findings = self.judge.judge_watched(batch, mine, &mut Seen::default(), &mut look)?;
        in_order(&mut findings);
        let told = self.settler.settle(self.reference, batch, findings);
        told.iter().for_each(|transition| self.watcher.told(transition));
        Ok(())
    }
}
