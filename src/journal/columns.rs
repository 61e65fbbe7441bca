//! The table's columns: the one place that says what they are called, what they hold and whose they are.

use std::{
    ops::Range,
    sync::{Arc, LazyLock},
};

use datafusion::arrow::{
    array::{
        Array, ArrayRef, BinaryArray, BinaryBuilder, BooleanArray, Float64Array, Int64Array, ListArray, ListBuilder,
        RecordBatch, StringArray, StringBuilder, TimestampMillisecondArray, UInt64Array, new_null_array,
    },
    compute::filter_record_batch,
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    error::ArrowError,
};
use serde::Serialize;

use super::read::Devices;
use crate::model::{Body, Datum, DeadLetter, DeviceReport, Record, Sighting, Time, UnitReply, UnitReport};

/// Which bodies may fill a column: a set of bits. A batch without any of them gets the column as NULLs at once.
type Bodies = u8;
const DEVICE: Bodies = 1;
const SIGHTING: Bodies = 2;
const UNIT: Bodies = 4;
const REPLY: Bodies = 8;
const DEAD_LETTER: Bodies = 16;
const OURS: Bodies = 32;
const SENT: Bodies = DEVICE | SIGHTING | UNIT | REPLY;
const ALL: Bodies = SENT | DEAD_LETTER | OURS;

fn bodies(body: &Body) -> Bodies {
    match body {
        Body::Device(_) => DEVICE,
        Body::Sighting(_) => SIGHTING,
        Body::Unit(_) => UNIT,
        Body::Reply(_) => REPLY,
        Body::DeadLetter(_) => DEAD_LETTER,
        Body::Tick | Body::Start | Body::JudgeAgain(_) => OURS,
    }
}

/// The word for a device's report in the column `kind`.
const REPORT: &str = "device";

/// Of what we put in ourselves.
const OWN: [&str; 3] = ["tick", "start", "judge_again"];

/// The word for a body in the column `kind`.
fn kind(body: &Body) -> &'static str {
    match body {
        Body::Device(_) => REPORT,
        Body::Sighting(_) => "sighting",
        Body::Unit(_) => "unit",
        Body::Reply(_) => "reply",
        Body::DeadLetter(_) => "dead_letter",
        Body::Tick => OWN[0],
        Body::Start => OWN[1],
        Body::JudgeAgain(_) => OWN[2],
    }
}

/// What a column's cells are.
pub(super) trait Cells: Array + Sized + 'static {
    fn data_type() -> DataType;
}

macro_rules! cells {
    ($($array:ty => $data_type:expr;)+) => { $(impl Cells for $array { fn data_type() -> DataType { $data_type } })+ };
}
cells! {
    UInt64Array => DataType::UInt64;
    Int64Array => DataType::Int64;
    Float64Array => DataType::Float64;
    BooleanArray => DataType::Boolean;
    StringArray => DataType::Utf8;
    BinaryArray => DataType::Binary;
    TimestampMillisecondArray => DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()));
    ListArray => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
}

/// Records on their way into columns.
struct Rows<'a> {
    records: &'a [Record],
    first: u64,
}

macro_rules! columns {
    ($($name:ident: $array:ty, $nullable:literal, $bodies:expr, $write:expr;)+) => {
        /// The columns of one batch, to be read by row.
        pub(super) struct Columns<'a> { $(pub $name: &'a $array),+ }

        impl<'a> Columns<'a> {
            /// Of a batch that [`conform`]s.
            pub fn of(batch: &'a RecordBatch) -> Result<Self, String> {
                Ok(Self { $($name: column(batch, stringify!($name))?),+ })
            }
        }

        static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
            Arc::new(Schema::new(vec![
                $(Field::new(stringify!($name), <$array as Cells>::data_type(), $nullable)),+
            ]))
        });

        fn write(rows: &Rows<'_>, present: Bodies) -> Vec<ArrayRef> {
            vec![$(
                if present & ($bodies) == 0 {
                    new_null_array(&<$array as Cells>::data_type(), rows.records.len())
                } else {
                    let write: fn(&Rows<'_>) -> ArrayRef = $write;
                    write(rows)
                }
            ),+]
        }
    };
}

columns! {
    position: UInt64Array, false, ALL, |rows| {
        Arc::new(UInt64Array::from_iter_values(rows.first..rows.first + rows.records.len() as u64))
    };
    kind: StringArray, false, ALL, |rows| texts(rows, |r| Some(kind(&r.body)));
    source_id: StringArray, true, SENT | OURS, |rows| texts(rows, |r| source_id(&r.body));
    event_time: TimestampMillisecondArray, false, ALL, |rows| times(rows, |r| Some(r.event_time));
    recv_time: TimestampMillisecondArray, false, ALL, |rows| times(rows, |r| Some(r.recv_time));
    device_time: TimestampMillisecondArray, true, SENT, |rows| times(rows, |r| device_time(&r.body));
    outcome: StringArray, false, ALL, |rows| texts(rows, |r| Some(r.outcome.as_str()));
    reason: StringArray, false, ALL, |rows| texts(rows, |r| Some(r.reason.as_str()));
    use_position: BooleanArray, false, ALL, |rows| flags(rows, |r| Some(r.use_position));
    lat: Float64Array, true, SENT, |rows| floats(rows, |r| match &r.body {
        Body::Device(d) => d.lat,
        Body::Sighting(s) => s.lat,
        Body::Unit(u) => u.lat,
        _ => None,
    });
    lon: Float64Array, true, SENT, |rows| floats(rows, |r| match &r.body {
        Body::Device(d) => d.lon,
        Body::Sighting(s) => s.lon,
        Body::Unit(u) => u.lon,
        _ => None,
    });
    datum: StringArray, true, SENT, |rows| texts(rows, |r| match &r.body {
        Body::Device(d) => d.datum.map(datum_word),
        Body::Sighting(s) => s.datum.map(datum_word),
        Body::Unit(u) => u.datum.map(datum_word),
        _ => None,
    });
    seq: Int64Array, true, DEVICE, |rows| ints(rows, |r| device(r)?.seq);
    fix: StringArray, true, DEVICE, |rows| texts(rows, |r| Some(device(r)?.fix?.as_str()));
    accuracy_m: Float64Array, true, DEVICE, |rows| floats(rows, |r| device(r)?.accuracy_m);
    hdop: Float64Array, true, DEVICE, |rows| floats(rows, |r| device(r)?.hdop);
    sats: Int64Array, true, DEVICE, |rows| ints(rows, |r| device(r)?.sats);
    speed_kmh: Float64Array, true, DEVICE, |rows| floats(rows, |r| device(r)?.speed_kmh);
    heading_deg: Float64Array, true, DEVICE, |rows| floats(rows, |r| device(r)?.heading_deg);
    alt_m: Float64Array, true, DEVICE, |rows| floats(rows, |r| device(r)?.alt_m);
    odometer_m: Float64Array, true, DEVICE, |rows| floats(rows, |r| device(r)?.odometer_m);
    speed_recorder_kmh: Float64Array, true, DEVICE, |rows| floats(rows, |r| device(r)?.speed_recorder_kmh);
    ignition: BooleanArray, true, DEVICE, |rows| flags(rows, |r| device(r)?.ignition);
    power: StringArray, true, DEVICE, |rows| texts(rows, |r| Some(device(r)?.power?.as_str()));
    antenna: StringArray, true, DEVICE, |rows| texts(rows, |r| Some(device(r)?.antenna?.as_str()));
    load: StringArray, true, DEVICE, |rows| texts(rows, |r| Some(device(r)?.load?.as_str()));
    gross_kg: Float64Array, true, DEVICE | SIGHTING, |rows| floats(rows, |r| match &r.body {
        Body::Device(d) => d.gross_kg,
        Body::Sighting(s) => s.gross_kg,
        _ => None,
    });
    cover: StringArray, true, DEVICE | SIGHTING, |rows| texts(rows, |r| match &r.body {
        Body::Device(d) => Some(d.cover?.as_str()),
        Body::Sighting(s) => Some(s.cover?.as_str()),
        _ => None,
    });
    lift: StringArray, true, DEVICE, |rows| texts(rows, |r| Some(device(r)?.lift?.as_str()));
    driver_id: StringArray, true, DEVICE, |rows| texts(rows, |r| device(r)?.driver_id.as_deref());
    alarms: ListArray, true, DEVICE, alarms;
    events: StringArray, true, DEVICE, |rows| json(rows, |r| device(r).map(|d| &d.events).filter(|e| !e.is_empty()));
    hist: BooleanArray, true, DEVICE, |rows| flags(rows, |r| Some(device(r)?.hist));
    ext: StringArray, true, DEVICE | SIGHTING, |rows| json(rows, |r| match &r.body {
        Body::Device(d) => Some(&d.ext).filter(|ext| !ext.is_empty()),
        Body::Sighting(s) => Some(&s.ext).filter(|ext| !ext.is_empty()),
        _ => None,
    });
    sighting_kind: StringArray, true, SIGHTING, |rows| texts(rows, |r| Some(sighting(r)?.kind?.as_str()));
    plate: StringArray, true, SIGHTING, |rows| texts(rows, |r| sighting(r)?.plate.as_deref());
    plate_confidence: Float64Array, true, SIGHTING, |rows| floats(rows, |r| sighting(r)?.plate_confidence);
    place_id: StringArray, true, SIGHTING, |rows| texts(rows, |r| sighting(r)?.place_id.as_deref());
    direction: StringArray, true, SIGHTING, |rows| texts(rows, |r| sighting(r)?.direction.as_deref());
    dirty: BooleanArray, true, SIGHTING, |rows| flags(rows, |r| sighting(r)?.dirty);
    washed: BooleanArray, true, SIGHTING, |rows| flags(rows, |r| sighting(r)?.washed);
    cloned: BooleanArray, true, SIGHTING, |rows| flags(rows, |r| sighting(r)?.cloned);
    media: StringArray, true, SIGHTING | REPLY, |rows| json(rows, |r| match &r.body {
        Body::Sighting(s) if !s.media.is_empty() => Some(Media::Urls(&s.media)),
        Body::Reply(reply) => reply.media.as_ref().map(Media::Any),
        _ => None,
    });
    unit_status: StringArray, true, UNIT, |rows| texts(rows, |r| Some(unit(r)?.status?.as_str()));
    dispatch_id: StringArray, true, REPLY, |rows| texts(rows, |r| Some(&reply(r)?.dispatch_id));
    answer: StringArray, true, REPLY, |rows| texts(rows, |r| Some(reply(r)?.answer.as_str()));
    answer_reason: StringArray, true, REPLY, |rows| texts(rows, |r| reply(r)?.reason.as_deref());
    verdict: StringArray, true, REPLY, |rows| texts(rows, |r| Some(reply(r)?.verdict?.as_str()));
    note: StringArray, true, REPLY, |rows| texts(rows, |r| reply(r)?.note.as_deref());
    topic: StringArray, true, DEAD_LETTER, |rows| texts(rows, |r| Some(&dead_letter(r)?.topic));
    payload: BinaryArray, true, DEAD_LETTER, payloads;
    problem: StringArray, true, DEAD_LETTER, |rows| texts(rows, |r| Some(&dead_letter(r)?.problem));
}

/// The table's schema: times are milliseconds in UTC; `events`, `ext` and `media` are JSON text; `alarms` is a list.
pub fn schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

/// Records as one batch, the first of them at position `first`.
pub(super) fn to_batch(records: &[Record], first: u64) -> Result<RecordBatch, ArrowError> {
    let present = records.iter().fold(0, |set, record| set | bodies(&record.body));
    RecordBatch::try_new(schema(), write(&Rows { records, first }, present))
}

/// A batch of any version of the schema with the columns of this one: by name, NULL where it had none.
pub(super) fn conform(batch: &RecordBatch) -> Result<RecordBatch, String> {
    if batch.schema_ref().fields() == SCHEMA.fields() {
        return Ok(batch.clone());
    }
    let columns = SCHEMA.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) => Arc::clone(column),
        None => new_null_array(field.data_type(), batch.num_rows()),
    });
    RecordBatch::try_new(schema(), columns.collect()).map_err(|error| error.to_string())
}

fn column<'a, A: Cells>(batch: &'a RecordBatch, name: &str) -> Result<&'a A, String> {
    let column = batch.column_by_name(name).ok_or_else(|| format!("no column {name}"))?;
    column
        .as_any()
        .downcast_ref()
        .ok_or_else(|| format!("column {name} is {}, expected {}", column.data_type(), <A as Cells>::data_type()))
}

/// The positions of a batch that conforms.
pub(super) fn positions(batch: &RecordBatch) -> Result<&UInt64Array, String> {
    column(batch, "position")
}

/// The positions of a batch of a segment, which follow each other.
pub(super) fn run(batch: &RecordBatch) -> Result<Range<u64>, String> {
    let values = positions(batch)?.values();
    let first = *values.first().ok_or("an empty batch")?;
    let end = first.checked_add(values.len() as u64).ok_or("positions beyond all numbers")?;
    let is_run = values.iter().copied().eq(first..end);
    is_run.then_some(first..end).ok_or_else(|| format!("positions from {first} on do not follow each other"))
}

/// How many rows came from outside: those that the ledger counts.
pub(super) fn received(batches: &[RecordBatch]) -> Result<u64, String> {
    let mut count = 0;
    for batch in batches {
        let kinds: &StringArray = column(batch, "kind")?;
        count += kinds.iter().flatten().filter(|kind| !OWN.contains(kind)).count() as u64;
    }
    Ok(count)
}

/// The columns that [`of_devices`] reads, and the position.
pub(super) const WHOSE: [&str; 3] = ["position", "kind", "source_id"];

/// Which rows of a batch are reports of these devices, or came from no device.
pub(super) fn of_devices(batch: &RecordBatch, devices: &Devices) -> Result<BooleanArray, String> {
    let (kinds, sources): (&StringArray, &StringArray) = (column(batch, "kind")?, column(batch, "source_id")?);
    let is_other = |kind: Option<&str>| kind != Some(REPORT);
    let rows = kinds.iter().zip(sources);
    Ok(rows.map(|(kind, id)| Some(is_other(kind) || id.is_some_and(|id| devices.contains(id)))).collect())
}

/// The rows of a batch that conforms whose positions lie in a range.
pub(super) fn within(batch: &RecordBatch, range: Range<u64>) -> Result<RecordBatch, ArrowError> {
    let positions = positions(batch).map_err(ArrowError::SchemaError)?;
    let wanted: BooleanArray = positions.values().iter().map(|position| Some(range.contains(position))).collect();
    filter_record_batch(batch, &wanted)
}

fn device(record: &Record) -> Option<&DeviceReport> {
    if let Body::Device(report) = &record.body { Some(report) } else { None }
}

fn sighting(record: &Record) -> Option<&Sighting> {
    if let Body::Sighting(sighting) = &record.body { Some(sighting) } else { None }
}

fn unit(record: &Record) -> Option<&UnitReport> {
    if let Body::Unit(report) = &record.body { Some(report) } else { None }
}

fn reply(record: &Record) -> Option<&UnitReply> {
    if let Body::Reply(reply) = &record.body { Some(reply) } else { None }
}

fn dead_letter(record: &Record) -> Option<&DeadLetter> {
    if let Body::DeadLetter(letter) = &record.body { Some(letter) } else { None }
}

/// Who sent it: device, sensor or unit; the vehicle that is to be judged again.
fn source_id(body: &Body) -> Option<&str> {
    match body {
        Body::Device(report) => Some(&report.device_id),
        Body::Sighting(sighting) => Some(&sighting.sensor_id),
        Body::Unit(report) => Some(&report.unit_id),
        Body::Reply(reply) => Some(&reply.unit_id),
        Body::JudgeAgain(vehicle_id) => vehicle_id.as_deref(),
        Body::DeadLetter(letter) => letter.device_id.as_deref(),
        Body::Tick | Body::Start => None,
    }
}

fn device_time(body: &Body) -> Option<Time> {
    match body {
        Body::Device(report) => Some(report.device_time),
        Body::Sighting(sighting) => Some(sighting.device_time),
        Body::Unit(report) => Some(report.device_time),
        Body::Reply(reply) => Some(reply.device_time),
        Body::DeadLetter(_) | Body::Tick | Body::Start | Body::JudgeAgain(_) => None,
    }
}

pub(super) const DATUMS: [(Datum, &str); 3] = [(Datum::Wgs84, "wgs84"), (Datum::Gcj02, "gcj02"), (Datum::Bd09, "bd09")];

fn datum_word(datum: Datum) -> &'static str {
    match datum {
        Datum::Wgs84 => DATUMS[0].1,
        Datum::Gcj02 => DATUMS[1].1,
        Datum::Bd09 => DATUMS[2].1,
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Media<'a> {
    Urls(&'a [Arc<str>]),
    Any(&'a serde_json::Value),
}

fn texts<'a>(rows: &Rows<'a>, cell: impl Fn(&'a Record) -> Option<&'a str>) -> ArrayRef {
    let mut texts = StringBuilder::with_capacity(rows.records.len(), rows.records.len() * 8);
    rows.records.iter().for_each(|record| texts.append_option(cell(record)));
    Arc::new(texts.finish())
}

fn floats<'a>(rows: &Rows<'a>, cell: impl Fn(&'a Record) -> Option<f64>) -> ArrayRef {
    Arc::new(rows.records.iter().map(cell).collect::<Float64Array>())
}

fn ints<'a>(rows: &Rows<'a>, cell: impl Fn(&'a Record) -> Option<i64>) -> ArrayRef {
    Arc::new(rows.records.iter().map(cell).collect::<Int64Array>())
}

fn flags<'a>(rows: &Rows<'a>, cell: impl Fn(&'a Record) -> Option<bool>) -> ArrayRef {
    Arc::new(rows.records.iter().map(cell).collect::<BooleanArray>())
}

fn times<'a>(rows: &Rows<'a>, cell: impl Fn(&'a Record) -> Option<Time>) -> ArrayRef {
    let millis = rows.records.iter().map(|record| cell(record).map(Time::as_millis));
    Arc::new(millis.collect::<TimestampMillisecondArray>().with_timezone("+00:00"))
}

/// As JSON text. What has no JSON form (none of ours) becomes NULL.
fn json<'a, T: Serialize>(rows: &Rows<'a>, cell: impl Fn(&'a Record) -> Option<T>) -> ArrayRef {
    let mut texts = StringBuilder::with_capacity(rows.records.len(), 0);
    for record in rows.records {
        texts.append_option(cell(record).and_then(|value| serde_json::to_string(&value).ok()));
    }
    Arc::new(texts.finish())
}

fn alarms(rows: &Rows<'_>) -> ArrayRef {
    let mut lists = ListBuilder::with_capacity(StringBuilder::new(), rows.records.len());
    for record in rows.records {
        let report = device(record);
        report.into_iter().flat_map(|report| &report.alarms).for_each(|alarm| lists.values().append_value(alarm));
        lists.append(report.is_some());
    }
    Arc::new(lists.finish())
}

fn payloads(rows: &Rows<'_>) -> ArrayRef {
    let bytes = rows.records.iter().filter_map(dead_letter).map(|letter| letter.payload.len()).sum();
    let mut payloads = BinaryBuilder::with_capacity(rows.records.len(), bytes);
    rows.records.iter().for_each(|record| payloads.append_option(dead_letter(record).map(|letter| &letter.payload)));
    Arc::new(payloads.finish())
}
