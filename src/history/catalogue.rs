//! The names under which history is asked.

use std::path::Path;

use datafusion::{
    arrow::array::RecordBatch,
    error::DataFusionError,
    execution::{context::SQLOptions, runtime_env::RuntimeEnvBuilder},
    prelude::{SessionConfig, SessionContext},
};

use super::table::journal_table;
use crate::model::limits;

/// What a query failed at.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("answer the query: {0}")]
    Query(#[from] DataFusionError),
}

/// What every record has, by way of its source.
const COMMON: &str = "event_time, recv_time, device_time, outcome, reason, use_position";
const PLACE: &str = "lat, lon, datum";

/// The views: name, what `source_id` is called in it, columns of its own, the kind of record it is of.
const VIEWS: [(&str, &str, &str, &str); 4] = [
    (
        "telemetry",
        "device_id",
        "seq, fix, accuracy_m, hdop, sats, speed_kmh, heading_deg, alt_m, odometer_m, speed_recorder_kmh, ignition, power, \
         antenna, load, gross_kg, cover, lift, driver_id, alarms, events, hist, ext",
        "device",
    ),
    (
        "sightings",
        "sensor_id",
        "sighting_kind, plate, plate_confidence, place_id, direction, cover, dirty, washed, gross_kg, cloned, media, ext",
        "sighting",
    ),
    ("unit_reports", "unit_id", "unit_status", "unit"),
    ("unit_replies", "unit_id", "dispatch_id, answer, answer_reason, verdict, note, media", "reply"),
];

/// A session with the tables of the journal in `dir`, and bounded memory.
///
/// # Errors
/// When the session can't be built.
pub async fn session(dir: &Path) -> Result<SessionContext, HistoryError> {
    let runtime = RuntimeEnvBuilder::new().with_memory_limit(limits::QUERY_BYTES, 1.0).build_arc()?;
    let session = SessionContext::new_with_config_rt(SessionConfig::new().with_information_schema(true), runtime);
    register(&session, dir).await?;
    Ok(session)
}

/// Puts the tables of the journal in `dir` into a session.
///
/// # Errors
/// When the session has tables of these names.
pub async fn register(session: &SessionContext, dir: &Path) -> Result<(), HistoryError> {
    session.register_table("journal", journal_table(dir))?;
    for (view, source, own, kind) in VIEWS {
        let query = format!(
            "select position, source_id as {source}, {COMMON}, {PLACE}, {own} from journal where kind = '{kind}'"
        );
        add_view(session, view, &query).await?;
    }
    let letters = "select position, recv_time, reason, topic, payload, problem from journal where kind = 'dead_letter'";
    add_view(session, "dead_letters", letters).await
}

async fn add_view(session: &SessionContext, name: &str, query: &str) -> Result<(), HistoryError> {
    let view = session.sql(query).await?.into_view();
    session.register_table(name, view)?;
    Ok(())
}

/// The answer to one query over the journal in `dir`. Only queries: nothing is created, changed or copied out.
///
/// # Errors
/// What DataFusion says of the query, or of a file it could not read.
pub async fn sql(dir: &Path, query: &str) -> Result<Vec<RecordBatch>, HistoryError> {
    let only_queries = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let answer = session(dir).await?.sql_with_options(query, only_queries).await?;
    Ok(answer.collect().await?)
}
