//! Parquet files: written by the sealer, read back by position, asked what they hold.

use std::path::Path;

use datafusion::{
    arrow::array::RecordBatch,
    object_store::PutPayload,
    parquet::{
        arrow::{
            ArrowWriter, ProjectionMask,
            arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection},
        },
        basic::{Compression, Encoding, ZstdLevel},
        errors::ParquetError,
        file::{
            metadata::{KeyValue, ParquetMetaDataReader},
            properties::{EnabledStatistics, WriterProperties},
        },
        schema::types::ColumnPath,
    },
};

use super::{JournalError, columns, disk::Disk, read::Devices};
use crate::model::Time;

/// The `bytes::Bytes` that Parquet reads from, by the way on which DataFusion re-exports it.
type Bytes = <PutPayload as IntoIterator>::Item;

/// Rows of a row group: enough to compress well, few enough that one vehicle's day is found by statistics.
const ROW_GROUP_ROWS: usize = 65_536;
const END: &str = "muckwatch.end_position";
const LAST_RECV: &str = "muckwatch.last_recv_ms";

/// What is said of the whole segment in each of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct About {
    /// One after its last position.
    pub end: u64,
    /// When its last record arrived.
    pub last_recv: Time,
}

/// One table as the bytes of a Parquet file.
pub(super) fn encode(table: &RecordBatch, about: About) -> Result<Vec<u8>, JournalError> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, columns::schema(), Some(properties(about)?))?;
    writer.write(table)?;
    writer.close()?;
    Ok(bytes)
}

fn properties(about: About) -> Result<WriterProperties, ParquetError> {
    let said = vec![
        KeyValue::new(END.to_owned(), about.end.to_string()),
        KeyValue::new(LAST_RECV.to_owned(), about.last_recv.as_millis().to_string()),
    ];
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_key_value_metadata(Some(said));
    // Numbers that mostly grow: their differences are small, a dictionary of them is not.
    for name in ["position", "event_time", "recv_time", "device_time"] {
        let column = ColumnPath::from(name);
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
    }
    // Payloads are large and have no order worth knowing.
    let payload = ColumnPath::from("payload");
    properties = properties
        .set_column_dictionary_enabled(payload.clone(), false)
        .set_column_statistics_enabled(payload, EnabledStatistics::None);
    Ok(properties.build())
}

/// All rows of a file, in the file's order, with the columns of this version.
pub(super) fn read(disk: &dyn Disk, path: &Path) -> Result<Vec<RecordBatch>, JournalError> {
    let damaged = |problem: String| JournalError::Damaged { path: path.into(), problem };
    let data = disk.read(path).map_err(|error| JournalError::io("read", path, error))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(data))
        .and_then(|builder| builder.with_batch_size(ROW_GROUP_ROWS).build())
        .map_err(|error| damaged(error.to_string()))?;
    reader
        .map(|batch| {
            let batch = batch.map_err(|error| damaged(error.to_string()))?;
            columns::conform(&batch).map_err(damaged)
        })
        .collect()
}

/// As [`read`], but of devices' reports only those of these; and the positions of the others. What no one wants is not unpacked:
/// rows lie by source.
pub(super) fn read_of(
    disk: &dyn Disk,
    path: &Path,
    devices: &Devices,
) -> Result<(Vec<RecordBatch>, Vec<u64>), JournalError> {
    let damaged = |problem: String| JournalError::Damaged { path: path.into(), problem };
    let unreadable = |error: ParquetError| damaged(error.to_string());
    let data = Bytes::from(disk.read(path).map_err(|error| JournalError::io("read", path, error))?);
    let metadata = ArrowReaderMetadata::load(&data, ArrowReaderOptions::new()).map_err(unreadable)?;
    let builder = || {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(data.clone(), metadata.clone());
        builder.with_batch_size(ROW_GROUP_ROWS)
    };
    let whose = ProjectionMask::columns(metadata.parquet_schema(), columns::WHOSE);
    let (mut wanted, mut others) = (Vec::new(), Vec::new());
    for batch in builder().with_projection(whose).build().map_err(unreadable)? {
        let batch = batch.map_err(|error| damaged(error.to_string()))?;
        let mine = columns::of_devices(&batch, devices).map_err(damaged)?;
        let positions = columns::positions(&batch).map_err(damaged)?.values().iter();
        others.extend(positions.zip(mine.values()).filter(|(_, is_mine)| !is_mine).map(|(position, _)| *position));
        wanted.push(mine);
    }
    let reader = builder().with_row_selection(RowSelection::from_filters(&wanted)).build().map_err(unreadable)?;
    let batches: Result<Vec<RecordBatch>, JournalError> = reader
        .map(|batch| columns::conform(&batch.map_err(|error| damaged(error.to_string()))?).map_err(damaged))
        .collect();
    Ok((batches?, others))
}

/// What a file says of its segment.
pub(super) fn about(disk: &dyn Disk, path: &Path) -> Result<About, JournalError> {
    let damaged = |problem: &str| JournalError::Damaged { path: path.into(), problem: problem.to_owned() };
    let data = disk.read(path).map_err(|error| JournalError::io("read", path, error))?;
    let metadata = ParquetMetaDataReader::new()
        .parse_and_finish(&Bytes::from(data))
        .map_err(|error| damaged(&error.to_string()))?;
    let said = metadata.file_metadata().key_value_metadata();
    let value = |key: &str| {
        let pair = said?.iter().find(|pair| pair.key == key)?;
        pair.value.clone()
    };
    let number = |key: &str| value(key).and_then(|text| text.parse().ok());
    let end = value(END).and_then(|text| text.parse().ok());
    let last_recv = number(LAST_RECV).map(Time::from_millis);
    match (end, last_recv) {
        (Some(end), Some(last_recv)) => Ok(About { end, last_recv }),
        _ => Err(damaged("it does not say where its segment ends: not one of ours")),
    }
}
