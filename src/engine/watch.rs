//! Judging with somebody looking on.

use super::{
    EngineError, Judge, Look, Reference,
    shards::{Subject, subject},
};
use crate::model::{Ledger, Record, Text};

/// Judges records, given in order of arrival with their ticks among them, on this thread, `together` at a time, and shows
/// each row as judged to `look`. By the same judge as ever: what it sees is what happens.
///
/// # Errors
/// The first error of `records` (as it came), or of judging.
pub fn watch<E: From<EngineError>>(
    reference: &Reference,
    together: usize,
    records: impl Iterator<Item = Result<Record, E>>,
    look: impl FnMut(&Look<'_>) + Send + 'static,
) -> Result<Ledger, E> {
    let fold = reference.fold();
    let mut judge = Judge::new(reference.clone()).watched_by(look);
    let mut ledger = Ledger::default();
    let (mut batch, mut mine): (Vec<Record>, Vec<(u32, Text)>) = (Vec::new(), Vec::new());
    for record in records {
        let record = record?;
        ledger.count(&record);
        match subject(&fold, &record) {
            Subject::Vehicle(vehicle_id) => mine.push((batch.len() as u32, vehicle_id)),
            Subject::All => mine.push((batch.len() as u32, Text::from(""))),
            Subject::None => continue,
        }
        batch.push(record);
        if batch.len() >= together {
            judge.judge(&batch, &mine, &mut Vec::new())?;
            (batch, mine) = (Vec::new(), Vec::new());
        }
    }
    judge.judge(&batch, &mine, &mut Vec::new())?;
    Ok(ledger)
}
