//! Tables whose rows others hold: alerts, orders, trips, what is registered.

use std::{borrow::Cow, fmt, future, pin::Pin, sync::Arc};

use datafusion::{
    arrow::{array::RecordBatch, datatypes::SchemaRef},
    catalog::{Session, TableProvider},
    datasource::TableType,
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::Expr,
    physical_plan::{
        ExecutionPlan,
        stream::RecordBatchStreamAdapter,
        streaming::{PartitionStream, StreamingTableExec},
    },
};
use futures::stream;
use serde::Serialize;

use super::sheet::Sheet;
use crate::{
    engine::Trip,
    model::{Alert, Order, Validity},
};

/// What kept rows from being had, in the words of whoever holds them.
pub type Problem = Box<dyn std::error::Error + Send + Sync>;

/// The rows of a table, some at a time.
pub type Parts<T> = Box<dyn Iterator<Item = Result<Vec<T>, Problem>> + Send>;

/// A version of a registered row: text by the entity's columns, and when it holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Version {
    pub cells: Vec<Option<String>>,
    /// GeoJSON in WGS-84.
    pub geometry: Option<String>,
    pub valid: Validity,
}

/// Alerts as a table. `parts` is asked once for each time that a query reads it.
pub fn alerts_table(parts: impl Fn() -> Parts<Alert> + Send + Sync + 'static) -> Arc<dyn TableProvider> {
    supplied(alerts(), parts)
}

/// Dispatch orders as a table; `parts` as with [`alerts_table`].
pub fn dispatches_table(parts: impl Fn() -> Parts<Order> + Send + Sync + 'static) -> Arc<dyn TableProvider> {
    supplied(dispatches(), parts)
}

/// Trips as a table; `parts` as with [`alerts_table`].
pub fn trips_table(parts: impl Fn() -> Parts<Trip> + Send + Sync + 'static) -> Arc<dyn TableProvider> {
    supplied(trips(), parts)
}

/// Versions of registered rows as a table with these columns, then `geometry` if they have one, `valid_from` and `valid_to`;
/// `parts` as with [`alerts_table`]. A column whose name ends in a unit is a number, one that ends in `_at` a time.
pub fn versions_table<'a>(
    columns: impl IntoIterator<Item = &'a str>,
    has_geometry: bool,
    parts: impl Fn() -> Parts<Version> + Send + Sync + 'static,
) -> Arc<dyn TableProvider> {
    let mut sheet = columns.into_iter().enumerate().fold(Sheet::new(), |sheet, (index, name)| cell(sheet, name, index));
    if has_geometry {
        sheet = sheet.text("geometry", |row| row.geometry.as_deref().map(Cow::from));
    }
    supplied(sheet.time("valid_from", |row| row.valid.from).time("valid_to", |row| row.valid.to), parts)
}

/// How a name of the registry ends whose cells are numbers.
const UNITS: [&str; 4] = ["_kg", "_m", "_s", "_kmh"];

fn cell(sheet: Sheet<Version>, name: &str, index: usize) -> Sheet<Version> {
    if UNITS.iter().any(|unit| name.ends_with(unit)) {
        sheet.float(name, move |row| row.cell(index)?.parse().ok())
    } else if name.ends_with("_at") {
        sheet.time(name, move |row| row.cell(index)?.parse().ok())
    } else {
        sheet.text(name, move |row| row.cell(index).map(Cow::from))
    }
}

impl Version {
    fn cell(&self, index: usize) -> Option<&str> {
        self.cells.get(index)?.as_deref()
    }
}

/// A text, if anything is said.
fn said(text: &str) -> Option<Cow<'_, str>> {
    Some(text).filter(|text| !text.is_empty()).map(Cow::from)
}

fn alerts() -> Sheet<Alert> {
    Sheet::<Alert>::new()
        .text("alert_id", |a| Some((&*a.alert_id.0).into()))
        .text("rule_id", |a| Some((&*a.rule_id).into()))
        .text("rule_version", |a| Some((&*a.rule_version).into()))
        .text("vehicle_id", |a| Some((&*a.vehicle_id).into()))
        .text("plate", |a| Some((&*a.plate).into()))
        .text("company_id", |a| Some((&*a.company_id).into()))
        .text("driver_id", |a| a.driver_id.as_deref().map(Cow::from))
        .text("permit_id", |a| a.permit_id.as_deref().map(Cow::from))
        .text("manifest_id", |a| a.manifest_id.as_deref().map(Cow::from))
        .text("trip_id", |a| a.trip_id.as_deref().map(Cow::from))
        .text("severity", |a| Some(a.severity.as_str().into()))
        .words("departments", |a| &a.departments)
        .text("message", |a| Some((&*a.message).into()))
        .text("message_zh", |a| said(&a.messages.zh))
        .text("message_en", |a| said(&a.messages.en))
        .text("rule_name_zh", |a| said(&a.rule_name.zh))
        .text("rule_name_en", |a| said(&a.rule_name.en))
        .text("rule_code", |a| a.rule_code.as_deref().map(Cow::from))
        .time("started_at", |a| Some(a.started_at))
        .time("fired_at", |a| Some(a.fired_at))
        .time("cleared_at", |a| a.cleared_at)
        .text("cleared_because", |a| a.cleared_because.as_deref().map(Cow::from))
        .text("state", |a| Some(a.state.as_str().into()))
        .flag("retrospective", |a| Some(a.retrospective))
        .text("withdrawn_because", |a| a.withdrawn_because.as_deref().map(Cow::from))
        .flag("shadow", |a| Some(a.shadow))
        .float("lat", |a| a.lat)
        .float("lon", |a| a.lon)
        .text("district_id", |a| a.district_id.as_deref().map(Cow::from))
        .text("place_id", |a| a.place_id.as_deref().map(Cow::from))
        .text("road_id", |a| a.road_id.as_deref().map(Cow::from))
        .text("facts", |a| json(&a.facts))
        .text("joined", |a| if a.joined.is_empty() { None } else { json(&a.joined) })
}

fn dispatches() -> Sheet<Order> {
    Sheet::<Order>::new()
        .text("dispatch_id", |o| Some((&*o.dispatch_id).into()))
        .text("alert_id", |o| Some((&*o.alert_id.0).into()))
        .text("state", |o| Some(o.state.as_str().into()))
        .text("severity", |o| Some(o.severity.as_str().into()))
        .words("departments", |o| &o.departments)
        .text("kind", |o| o.kind.map(|kind| kind.as_str().into()))
        .text("rule_id", |o| Some((&*o.rule_id).into()))
        .text("vehicle_id", |o| Some((&*o.vehicle_id).into()))
        .text("plate", |o| Some((&*o.plate).into()))
        .text("message", |o| Some((&*o.message).into()))
        .float("lat", |o| o.lat)
        .float("lon", |o| o.lon)
        .text("district_id", |o| o.district_id.as_deref().map(Cow::from))
        .time("created_at", |o| Some(o.created_at))
        .time("updated_at", |o| Some(o.updated_at))
        .time("closed_at", |o| o.closed_at)
        .int("revision", |o| i64::try_from(o.revision).ok())
        .int("attempts", |o| Some(o.attempts.into()))
        .text("unit_id", |o| o.unit_id.as_deref().map(Cow::from))
        .time("deadline", |o| o.deadline)
        .text("reason", |o| Some((&*o.reason).into()))
        .text("considered", |o| json(&o.considered))
        .text("verdict", |o| o.verdict.map(|verdict| verdict.as_str().into()))
        .text("note", |o| o.note.as_deref().map(Cow::from))
}

fn trips() -> Sheet<Trip> {
    Sheet::<Trip>::new()
        .text("trip_id", |t| Some((&*t.trip_id).into()))
        .text("vehicle_id", |t| Some((&*t.vehicle_id).into()))
        .text("plate", |t| t.plate.as_deref().map(Cow::from))
        .text("source_id", |t| Some((&*t.source_id).into()))
        .text("sink_id", |t| t.sink_id.as_deref().map(Cow::from))
        .time("started_at", |t| Some(t.started_at))
        .time("ended_at", |t| t.ended_at)
        .float("distance_m", |t| Some(t.distance_m))
        .float("duration_s", |t| Some(t.duration_s))
        .text("permit_id", |t| t.permit_id.as_deref().map(Cow::from))
        .text("manifest_id", |t| t.manifest_id.as_deref().map(Cow::from))
}

fn json(value: &impl Serialize) -> Option<Cow<'static, str>> {
    serde_json::to_string(value).ok().map(Cow::from)
}

fn supplied<T: 'static>(
    sheet: Sheet<T>,
    parts: impl Fn() -> Parts<T> + Send + Sync + 'static,
) -> Arc<dyn TableProvider> {
    let sheet = Arc::new(sheet);
    let schema = sheet.schema();
    let filled = Arc::clone(&schema);
    let batches = move || {
        let (sheet, schema) = (Arc::clone(&sheet), Arc::clone(&filled));
        let batch = move |part: Result<Vec<T>, Problem>| {
            let rows = part.map_err(DataFusionError::External)?;
            Ok(sheet.batch(&schema, &rows)?)
        };
        Box::new(parts().map(batch)) as Batches
    };
    Arc::new(Supplied { schema: Arc::clone(&schema), rows: Arc::new(Rows { schema, batches: Box::new(batches) }) })
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

#[derive(Debug)]
struct Supplied {
    schema: SchemaRef,
    rows: Arc<Rows>,
}

/// What is read anew by each query.
struct Rows {
    schema: SchemaRef,
    batches: Box<dyn Fn() -> Batches + Send + Sync>,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rows")
    }
}

impl TableProvider for Supplied {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    // Written as `async_trait` expands it: nothing here waits.
    fn scan<'life0, 'life1, 'life2, 'life3, 'async_trait>(
        &'life0 self,
        _: &'life1 dyn Session,
        projection: Option<&'life2 Vec<usize>>,
        _: &'life3 [Expr],
        limit: Option<usize>,
    ) -> Pin<Box<dyn Future<Output = Result<Arc<dyn ExecutionPlan>>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        'life3: 'async_trait,
        Self: 'async_trait,
    {
        let partition = Arc::clone(&self.rows) as Arc<dyn PartitionStream>;
        let plan = StreamingTableExec::try_new(self.schema(), vec![partition], projection, [], false, limit);
        Box::pin(future::ready(plan.map(|plan| Arc::new(plan) as Arc<dyn ExecutionPlan>)))
    }
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches = stream::iter((self.batches)());
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}
