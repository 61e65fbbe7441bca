//! History: the journal as tables that can be asked in SQL.
//!
//! | table | rows | columns |
//! |---|---|---|
//! | `journal` | every record, also of the clock | all of [`crate::journal::schema`] |
//! | `telemetry` | device reports | `device_id` and what a device says |
//! | `sightings` | sightings | `sensor_id` and what a sensor says |
//! | `unit_reports`, `unit_replies` | from enforcement units | `unit_id` and what a unit says |
//! | `dead_letters` | what could not be read, whole | `topic`, `payload`, `problem` |
//!
//! What the journal does not hold is given by whoever has it, with [`add`]: [`alerts_table`], [`dispatches_table`],
//! [`trips_table`], [`versions_table`]. Their rows are fetched when a query reads them, some at a time.
//!
//! Sealed and open segments are one table; no row is in it twice, and each query sees the files as they are when it is
//! planned. A condition on `event_time` leaves out the days that can't hold it; one on a source, the row groups that can't.
//! Nothing can be written. A file that retention or merging removes while a query reads it fails that query, which can be
//! asked again.
//! A query may use [`crate::model::limits::QUERY_BYTES`] of memory; sorts and joins beyond that go to disk.

mod answer;
pub mod backtest;
mod catalogue;
mod sheet;
mod supplied;
mod table;
#[cfg(test)]
mod tests;

pub use answer::{Format, write};
pub use catalogue::{HistoryError, add, ask, register, session, sql};
pub use supplied::{Parts, Problem, Version, alerts_table, dispatches_table, trips_table, versions_table};
pub use table::journal_table;
