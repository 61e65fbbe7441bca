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

use super::{JournalError, columns, disk::Disk, inventory, layout::SealedFile, read::Devices};
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
    /// How many of its records came from outside; `None`: nobody counted.
    pub received: Option<u64>,
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

/// The bytes of a file, which must be those that were sealed.
pub(super) fn bytes(disk: &dyn Disk, file: &SealedFile) -> Result<Vec<u8>, JournalError> {
    let bytes = disk.read(&file.path).map_err(|error| JournalError::io("read", &file.path, error))?;
    if file.sha256.as_ref().is_none_or(|sealed| *sealed == inventory::sha256(&bytes)) {
        return Ok(bytes);
    }
    let problem = "it is not what was sealed: its SHA-256 is another than the inventory's".to_owned();
    Err(JournalError::Damaged { path: file.path.clone(), problem })
}

/// A file of which is not known yet what is wanted.
struct Opened<'a> {
    path: &'a Path,
    data: Bytes,
    metadata: ArrowReaderMetadata,
}

impl<'a> Opened<'a> {
    fn of(disk: &dyn Disk, file: &'a SealedFile) -> Result<Self, JournalError> {
        let path = &*file.path;
        let data = Bytes::from(bytes(disk, file)?);
        let metadata = ArrowReaderMetadata::load(&data, ArrowReaderOptions::new())
            .map_err(|error| JournalError::Damaged { path: path.into(), problem: error.to_string() })?;
        Ok(Self { path, data, metadata })
    }

    fn damaged(&self, problem: impl ToString) -> JournalError {
        JournalError::Damaged { path: self.path.into(), problem: problem.to_string() }
    }

    /// The batches of what is asked of it.
    fn batches(
        &self,
        ask: impl FnOnce(ParquetRecordBatchReaderBuilder<Bytes>) -> ParquetRecordBatchReaderBuilder<Bytes>,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, JournalError>>, JournalError> {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.data.clone(), self.metadata.clone());
        let reader = ask(builder.with_batch_size(ROW_GROUP_ROWS)).build().map_err(|error| self.damaged(error))?;
        Ok(reader.map(|batch| batch.map_err(|error| self.damaged(error))))
    }

    /// Whole rows, with the columns of this version: all, or those selected.
    fn rows(&self, selection: Option<RowSelection>) -> Result<Vec<RecordBatch>, JournalError> {
        let batches = self.batches(|builder| match selection {
            Some(selection) => builder.with_row_selection(selection),
            None => builder,
        })?;
        batches.map(|batch| columns::conform(&batch?).map_err(|problem| self.damaged(problem))).collect()
    }
}

/// All rows of a file, in the file's order, with the columns of this version.
pub(super) fn read(disk: &dyn Disk, file: &SealedFile) -> Result<Vec<RecordBatch>, JournalError> {
    Opened::of(disk, file)?.rows(None)
}

/// As [`read`], but of devices' reports only those of these; and the positions of the others. What no one wants is not unpacked:
/// rows lie by source.
pub(super) fn read_of(
    disk: &dyn Disk,
    file: &SealedFile,
    devices: &Devices,
) -> Result<(Vec<RecordBatch>, Vec<u64>), JournalError> {
    let file = Opened::of(disk, file)?;
    let whose = ProjectionMask::columns(file.metadata.parquet_schema(), columns::WHOSE);
    let (mut wanted, mut others) = (Vec::new(), Vec::new());
    for batch in file.batches(|builder| builder.with_projection(whose))? {
        let batch = batch?;
        let mine = columns::of_devices(&batch, devices).map_err(|problem| file.damaged(problem))?;
        let positions = columns::positions(&batch).map_err(|problem| file.damaged(problem))?.values().iter();
        others.extend(positions.zip(mine.values()).filter(|(_, is_mine)| !is_mine).map(|(position, _)| *position));
        wanted.push(mine);
    }
    Ok((file.rows(Some(RowSelection::from_filters(&wanted)))?, others))
}

/// What a file says of its segment.
pub(super) fn about(disk: &dyn Disk, file: &SealedFile) -> Result<About, JournalError> {
    let damaged = |problem: &str| JournalError::Damaged { path: file.path.clone(), problem: problem.to_owned() };
    let data = bytes(disk, file)?;
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
        (Some(end), Some(last_recv)) => Ok(About { end, last_recv, received: None }),
        _ => Err(damaged("it does not say where its segment ends: not one of ours")),
    }
}
