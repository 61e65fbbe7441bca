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
//! Sealed and open segments are one table; no row is in it twice, and each query sees the files as they are when it is
//! planned. A condition on `event_time` leaves out the days that can't hold it; one on a source, the row groups that can't.
//! Nothing can be written. A file that retention removes while a query reads it fails that query, which can be asked again.
//! A query may use [`crate::model::limits::QUERY_BYTES`] of memory; sorts and joins beyond that go to disk.

pub mod backtest;
mod catalogue;
mod table;
#[cfg(test)]
mod tests;

pub use catalogue::{HistoryError, register, session, sql};
pub use table::journal_table;
