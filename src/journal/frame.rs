//! Frames: Arrow IPC messages that know whether they are whole. The form is drawn in the room's doc.

use std::{collections::HashMap, ops::Range, sync::Arc};

use datafusion::arrow::{
    array::RecordBatch,
    buffer::Buffer,
    datatypes::SchemaRef,
    error::ArrowError,
    ipc::{
        MessageHeader, MetadataVersion,
        convert::fb_to_schema,
        reader::read_record_batch,
        root_as_message,
        writer::{DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions},
    },
};

use super::columns;

/// Begins every Arrow IPC message.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Ends the metadata of every frame of ours, before the checksum.
const MAGIC: [u8; 4] = *b"mwJ1";
/// Continuation and length.
const PREFIX: usize = 8;
/// Magic and checksum.
const TRAILER: usize = 8;
/// Frames begin and end at multiples of this; so do the columns inside.
const ALIGN: usize = 8;

/// Writes frames. Keeps its buffers from one batch to the next.
pub(super) struct Encoder {
    options: IpcWriteOptions,
    context: IpcWriteContext,
    head: Vec<u8>,
}

/// An encoded frame in two pieces, to be written one after the other.
pub(super) struct Frame<'a> {
    pub head: &'a [u8],
    pub body: Vec<u8>,
}

impl Encoder {
    pub fn new() -> Result<Self, ArrowError> {
        let options = IpcWriteOptions::try_new(ALIGN, false, MetadataVersion::V5)?;
        Ok(Self { options, context: IpcWriteContext::default(), head: Vec::new() })
    }

    /// The first frame of a segment: its schema.
    pub fn schema(&mut self) -> Frame<'_> {
        let mut dictionaries = DictionaryTracker::new(false);
        let schema = columns::schema();
        let data = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
            &schema,
            &mut dictionaries,
            &self.options,
        );
        self.frame(data)
    }

    pub fn batch(&mut self, batch: &RecordBatch) -> Result<Frame<'_>, ArrowError> {
        let mut dictionaries = DictionaryTracker::new(false);
        let (_, data) =
            IpcDataGenerator::default().encode(batch, &mut dictionaries, &self.options, &mut self.context)?;
        Ok(self.frame(data))
    }

    fn frame(&mut self, data: EncodedData) -> Frame<'_> {
        let EncodedData { ipc_message, arrow_data: body } = data;
        let metadata = (ipc_message.len() + TRAILER).next_multiple_of(ALIGN);
        self.head.clear();
        self.head.extend_from_slice(&CONTINUATION);
        self.head.extend_from_slice(&(metadata as u32).to_le_bytes());
        self.head.extend_from_slice(&ipc_message);
        self.head.resize(PREFIX + metadata - TRAILER, 0);
        self.head.extend_from_slice(&MAGIC);
        let crc = checksum(&self.head, &body);
        self.head.extend_from_slice(&crc.to_le_bytes());
        Frame { head: &self.head, body }
    }
}

/// CRC-32 (IEEE) of the head up to the checksum, and the body.
fn checksum(head: &[u8], body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(head);
    crc.update(body);
    crc.finalize()
}

/// Where a whole frame lies.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    metadata: Range<usize>,
    body: Range<usize>,
}

/// What a segment's bytes hold.
pub(super) struct Scan {
    data: Buffer,
    schema: SchemaRef,
    places: Vec<Place>,
    /// Where the last whole frame ends. What comes after is a torn tail.
    pub end: usize,
    /// Bytes before `end` that are in no whole frame: they were synced once and are damaged.
    pub damaged: usize,
}

impl Scan {
    /// Finds every whole frame. After a broken one the search goes on at every multiple of [`ALIGN`]: a frame is only
    /// ever written after the one before it was synced, so what follows shows that the break is no torn tail.
    pub fn of(data: Vec<u8>) -> Self {
        let mut places = Vec::new();
        let (mut at, mut end, mut damaged) = (0, 0, 0);
        while at + PREFIX <= data.len() {
            match whole_frame(&data, at) {
                Some(place) => {
                    damaged += at - end;
                    at = place.body.end;
                    end = at;
                    places.push(place);
                }
                None => at += ALIGN,
            }
        }
        let header = places.first().and_then(|place| header_schema(&data[place.metadata.clone()]));
        if header.is_some() {
            places.remove(0);
        }
        // Without a header the batches are tried as this version writes them.
        let schema = header.unwrap_or_else(columns::schema);
        Self { data: Buffer::from_vec(data), schema, places, end, damaged }
    }

    /// Bytes after the last whole frame.
    pub fn torn(&self) -> usize {
        self.data.len() - self.end
    }

    /// The batches in order, with the columns of [`columns::schema`].
    pub fn batches(&self) -> impl Iterator<Item = Result<RecordBatch, String>> {
        self.places.iter().map(|place| self.batch(place).and_then(|batch| columns::conform(&batch)))
    }

    fn batch(&self, place: &Place) -> Result<RecordBatch, String> {
        let message = root_as_message(&self.data[place.metadata.clone()]).map_err(|error| error.to_string())?;
        let batch = message.header_as_record_batch().ok_or("a frame that is no record batch")?;
        let body = self.data.slice_with_length(place.body.start, place.body.len());
        read_record_batch(&body, batch, Arc::clone(&self.schema), &HashMap::new(), None, &message.version())
            .map_err(|error| error.to_string())
    }
}

/// The whole frame at `at`, if there is one.
fn whole_frame(data: &[u8], at: usize) -> Option<Place> {
    let prefix = data.get(at..at + PREFIX)?;
    if prefix[..4] != CONTINUATION {
        return None;
    }
    let length = u32::from_le_bytes(prefix[4..].try_into().ok()?) as usize;
    let start = at + PREFIX;
    let metadata = start..start.checked_add(length)?;
    let trailer = metadata.end.checked_sub(TRAILER).filter(|trailer| *trailer >= start)?;
    let marks = data.get(trailer..metadata.end)?;
    if marks[..4] != MAGIC {
        return None;
    }
    let message = root_as_message(&data[metadata.clone()]).ok()?;
    let length = usize::try_from(message.bodyLength()).ok()?;
    let body = metadata.end..metadata.end.checked_add(length)?;
    let crc = checksum(&data[at..trailer + 4], data.get(body.clone())?);
    (crc.to_le_bytes() == marks[4..]).then_some(Place { metadata, body })
}

fn header_schema(metadata: &[u8]) -> Option<SchemaRef> {
    let message = root_as_message(metadata).ok()?;
    if message.header_type() != MessageHeader::Schema {
        return None;
    }
    Some(Arc::new(fb_to_schema(message.header_as_schema()?)))
}
