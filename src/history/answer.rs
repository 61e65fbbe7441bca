//! Answers as people and programs read them.

use std::{io::Write, sync::Arc};

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, AsArray, RecordBatch, StringBuilder},
        compute::cast,
        csv,
        datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
        error::ArrowError,
        json,
        util::{
            display::{ArrayFormatter, FormatOptions},
            pretty::pretty_format_batches_with_options,
        },
    },
    execution::SendableRecordBatchStream,
    parquet::{
        arrow::ArrowWriter,
        basic::{Compression, ZstdLevel},
        file::properties::WriterProperties,
    },
};
use futures::StreamExt as _;

use super::HistoryError;
use crate::model::limits;

/// What an answer is written as. Times are RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people: columns in boxes, at most [`limits::QUERY_TABLE_ROWS`] rows and [`limits::QUERY_TABLE_BYTES`].
    #[default]
    Table,
    /// A header, then a line for each row; lists are words with spaces between.
    Csv,
    /// A JSON object for each row on a line of its own; NULL as `null`.
    Json,
    /// With the types that the answer has.
    Parquet,
}

const UTC: &str = "%Y-%m-%dT%H:%M:%S%.3fZ";
/// Of times that the query took the zone from.
const LOCAL: &str = "%Y-%m-%dT%H:%M:%S%.3f";

/// Writes an answer as it comes. Says how many rows were written, and whether there are more (only of [`Format::Table`]).
///
/// # Errors
/// What the query fails at on its way, and what cannot be written.
pub async fn write(
    mut answer: SendableRecordBatchStream,
    format: Format,
    to: &mut (dyn Write + Send),
) -> Result<(usize, bool), HistoryError> {
    let schema = answer.schema();
    let mut sink = Sink::new(format, &schema, to)?;
    while let Some(batch) = answer.next().await {
        if !sink.write(&batch?)? {
            break;
        }
    }
    sink.finish()
}

/// Where rows go, one batch after another.
struct Sink<'a> {
    pen: Pen<'a>,
    /// As written: readable by the format.
    schema: SchemaRef,
    rows: usize,
    /// Held in memory.
    bytes: usize,
    is_cut: bool,
}

enum Pen<'a> {
    Table(&'a mut (dyn Write + Send), Vec<RecordBatch>),
    Csv(Box<csv::Writer<&'a mut (dyn Write + Send)>>),
    Json(json::LineDelimitedWriter<&'a mut (dyn Write + Send)>),
    Parquet(Box<ArrowWriter<&'a mut (dyn Write + Send)>>),
}

impl<'a> Sink<'a> {
    fn new(format: Format, answer: &SchemaRef, to: &'a mut (dyn Write + Send)) -> Result<Self, HistoryError> {
        let fields: Vec<Field> = answer.fields().iter().map(|field| plain_field(field, format)).collect();
        let schema = Arc::new(Schema::new(fields));
        let pen = match format {
            Format::Table => Pen::Table(to, Vec::new()),
            Format::Csv => {
                let pen = csv::WriterBuilder::new().with_header(true);
                let pen = pen.with_timestamp_tz_format(UTC.into()).with_timestamp_format(LOCAL.into());
                Pen::Csv(Box::new(pen.build(to)))
            }
            Format::Json => {
                let pen = json::WriterBuilder::new().with_explicit_nulls(true);
                let pen = pen.with_timestamp_tz_format(UTC.into()).with_timestamp_format(LOCAL.into());
                Pen::Json(pen.build(to))
            }
            Format::Parquet => {
                let zstd = Compression::ZSTD(ZstdLevel::try_new(1)?);
                let properties = WriterProperties::builder().set_compression(zstd).build();
                Pen::Parquet(Box::new(ArrowWriter::try_new(to, Arc::clone(&schema), Some(properties))?))
            }
        };
        Ok(Self { pen, schema, rows: 0, bytes: 0, is_cut: false })
    }

    /// Takes a batch; false when it wants no more.
    fn write(&mut self, batch: &RecordBatch) -> Result<bool, HistoryError> {
        let mut batch = self.plain(batch)?;
        if batch.num_rows() == 0 {
            return Ok(true);
        }
        if let Pen::Table(_, kept) = &mut self.pen {
            let room = limits::QUERY_TABLE_ROWS - self.rows;
            self.bytes += batch.get_array_memory_size();
            self.is_cut = batch.num_rows() > room || self.bytes > limits::QUERY_TABLE_BYTES;
            batch = batch.slice(0, batch.num_rows().min(room));
            kept.push(batch.clone());
        }
        match &mut self.pen {
            Pen::Table(..) => {}
            Pen::Csv(pen) => pen.write(&batch)?,
            Pen::Json(pen) => pen.write(&batch)?,
            Pen::Parquet(pen) => pen.write(&batch)?,
        }
        self.rows += batch.num_rows();
        Ok(!self.is_cut)
    }

    /// The batch with columns that the format can write.
    fn plain(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let pairs = batch.columns().iter().zip(self.schema.fields());
        let columns = pairs.map(|(column, field)| match (column.data_type(), field.data_type()) {
            (found, wanted) if found == wanted => Ok(Arc::clone(column)),
            (DataType::Timestamp(..), wanted) => cast(column, wanted),
            _ => in_words(column),
        });
        RecordBatch::try_new(Arc::clone(&self.schema), columns.collect::<Result<_, _>>()?)
    }

    fn finish(self) -> Result<(usize, bool), HistoryError> {
        match self.pen {
            Pen::Table(to, batches) => {
                let options = options();
                let text = match batches.is_empty() {
                    true => pretty_format_batches_with_options(&[RecordBatch::new_empty(self.schema)], &options),
                    false => pretty_format_batches_with_options(&batches, &options),
                };
                writeln!(to, "{}", text?)?;
            }
            Pen::Csv(mut pen) => {
                if self.rows == 0 {
                    // The header is there even when no row is.
                    pen.write(&RecordBatch::new_empty(self.schema))?;
                }
                pen.into_inner().flush()?;
            }
            Pen::Json(mut pen) => {
                pen.finish()?;
                pen.into_inner().flush()?;
            }
            Pen::Parquet(pen) => pen.into_inner()?.flush()?,
        }
        Ok((self.rows, self.is_cut))
    }
}

fn options() -> FormatOptions<'static> {
    FormatOptions::new().with_timestamp_tz_format(Some(UTC)).with_timestamp_format(Some(LOCAL))
}

/// The column as the format writes it: Parquet takes everything; elsewhere times are in UTC; tables and CSV have lists as words.
fn plain_field(field: &Field, format: Format) -> Field {
    let plain = match field.data_type() {
        _ if format == Format::Parquet => return field.clone(),
        DataType::Timestamp(_, Some(_)) => DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into())),
        kind if kind.is_nested() && format != Format::Json => DataType::Utf8,
        kind => kind.clone(),
    };
    field.clone().with_data_type(plain).with_nullable(true)
}

/// Lists as words with spaces between, other nested values as they are shown.
fn in_words(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let options = options();
    let mut cells = StringBuilder::with_capacity(column.len(), column.len() * 8);
    let list = column.as_list_opt::<i32>();
    let shown = ArrayFormatter::try_new(column, &options)?;
    for row in 0..column.len() {
        match list {
            _ if column.is_null(row) => cells.append_null(),
            Some(list) => {
                let values = list.value(row);
                let shown = ArrayFormatter::try_new(&values, &options)?;
                let words: Vec<String> = (0..values.len()).map(|index| shown.value(index).to_string()).collect();
                cells.append_value(words.join(" "));
            }
            None => cells.append_value(shown.value(row).to_string()),
        }
    }
    Ok(Arc::new(cells.finish()))
}
