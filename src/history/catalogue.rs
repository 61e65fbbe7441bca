//! The names under which history is asked.

use std::{path::Path, sync::Arc};

use datafusion::{
    arrow::{array::RecordBatch, error::ArrowError},
    catalog::TableProvider,
    common::TableReference,
    error::DataFusionError,
    execution::{SendableRecordBatchStream, context::SQLOptions, runtime_env::RuntimeEnvBuilder},
    parquet::errors::ParquetError,
    prelude::{SessionConfig, SessionContext},
    sql::sqlparser::{
        dialect::GenericDialect,
        keywords::Keyword,
        tokenizer::{Token, Tokenizer},
    },
};
use futures::TryStreamExt as _;

use super::table::journal_table;
use crate::model::limits;

/// What a query failed at.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("answer the query: {0}")]
    Query(DataFusionError),
    #[error("answer the query: there is no table {name:?}; there are {tables}")]
    NoTable { name: String, tables: String },
    #[error("answer the query: it is {bytes} bytes long, expected at most {}", limits::QUERY_TEXT_BYTES)]
    TooLong { bytes: usize },
    #[error(
        "answer the query: it has {terms} operators, brackets and words such as AND, expected at most {}; put long lists into IN (…)",
        limits::QUERY_TERMS
    )]
    TooDeep { terms: usize },
    #[error("write the answer: {0}")]
    Io(std::io::Error),
    #[error("write the answer: {0}")]
    Arrow(ArrowError),
    #[error("write the answer as Parquet: {0}")]
    Parquet(ParquetError),
}

crate::model::wraps!(HistoryError { Query(DataFusionError), Io(std::io::Error), Arrow(ArrowError), Parquet(ParquetError) });

impl HistoryError {
    /// Whether a file went, by retention or by merging, while the query read: asked again, it is answered.
    pub fn is_outrun(&self) -> bool {
        // By the time it comes here, only its words are left of the cause.
        let words = self.to_string();
        words.contains("Object at location") && words.contains("not found")
    }
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
    let config = SessionConfig::new().with_information_schema(true).with_batch_size(limits::QUERY_BATCH_ROWS);
    let session = SessionContext::new_with_config_rt(config, runtime);
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

/// Puts another table into a session.
///
/// # Errors
/// When the session has a table of this name.
pub fn add(session: &SessionContext, name: &str, table: Arc<dyn TableProvider>) -> Result<(), HistoryError> {
    session.register_table(name, table)?;
    Ok(())
}

/// The answer to one query, as it comes. Only queries: nothing is created, changed or copied out.
///
/// # Errors
/// [`HistoryError::NoTable`] with the names of the tables there are; [`HistoryError::TooLong`] and [`HistoryError::TooDeep`]; else what
/// DataFusion says of the query.
pub async fn ask(session: &SessionContext, query: &str) -> Result<SendableRecordBatchStream, HistoryError> {
    bounded(query)?;
    let state = session.state();
    let statement = state.sql_to_statement(query, &state.config_options().sql_parser.dialect)?;
    let tables = state.resolve_table_references(&statement)?;
    let only_queries = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let plan = state.statement_to_plan(statement).await.map_err(|error| {
        let missing = tables.into_iter().find(|table| !session.table_exist(table.clone()).unwrap_or(false));
        let named = |table: TableReference| HistoryError::NoTable { name: table.to_string(), tables: names(session) };
        missing.map_or_else(|| error.into(), named)
    })?;
    only_queries.verify_plan(&plan)?;
    Ok(session.execute_logical_plan(plan).await?.execute_stream().await?)
}

/// Plans are walked level by level, and a level may be as little as one `or`: without a bound a long query ends the process.
fn bounded(query: &str) -> Result<(), HistoryError> {
    if query.len() > limits::QUERY_TEXT_BYTES {
        return Err(HistoryError::TooLong { bytes: query.len() });
    }
    // What is no SQL is said by the parser.
    let tokens = Tokenizer::new(&GenericDialect {}, query).tokenize().unwrap_or_default();
    let is_term = |token: &&Token| match token {
        Token::Word(word) => LEVELS.contains(&word.keyword),
        Token::Comma | Token::Period | Token::RParen | Token::RBracket | Token::RBrace | Token::SemiColon => false,
        Token::Number(..) | Token::SingleQuotedString(_) | Token::Whitespace(_) | Token::EOF => false,
        _ => true,
    };
    let terms = tokens.iter().filter(is_term).count();
    if terms > limits::QUERY_TERMS {
        return Err(HistoryError::TooDeep { terms });
    }
    Ok(())
}

/// Words that may add a level to a plan or an expression.
const LEVELS: [Keyword; 18] = [
    Keyword::AND,
    Keyword::OR,
    Keyword::NOT,
    Keyword::IS,
    Keyword::IN,
    Keyword::LIKE,
    Keyword::ILIKE,
    Keyword::BETWEEN,
    Keyword::CASE,
    Keyword::WHEN,
    Keyword::CAST,
    Keyword::SELECT,
    Keyword::JOIN,
    Keyword::UNION,
    Keyword::EXCEPT,
    Keyword::INTERSECT,
    Keyword::EXISTS,
    Keyword::OVER,
];

/// The names of all tables in a session, sorted, in one line.
fn names(session: &SessionContext) -> String {
    let schema = session.catalog("datafusion").and_then(|catalog| catalog.schema("public"));
    let mut names = schema.map(|schema| schema.table_names()).unwrap_or_default();
    names.sort_unstable();
    names.join(", ")
}

/// The answer to one query over the journal in `dir`, whole; as [`ask`].
///
/// # Errors
/// What DataFusion says of the query, or of a file it could not read.
pub async fn sql(dir: &Path, query: &str) -> Result<Vec<RecordBatch>, HistoryError> {
    Ok(ask(&session(dir).await?, query).await?.try_collect().await?)
}
