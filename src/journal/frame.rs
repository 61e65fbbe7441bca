//! Frames: Arrow IPC messages that know whether they are whole. The form is drawn in the room's doc.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, LazyLock},
};

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

use super::{columns, mark::Mark};

/// Begins every Arrow IPC message.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Ends the metadata of every frame of ours, before number, mark and checksum.
const MAGIC: [u8; 4] = *b"mwJ2";
/// The same in what earlier versions wrote: only the checksum follows.
const OLD_MAGIC: [u8; 4] = *b"mwJ1";
/// Continuation and length.
const PREFIX: usize = 8;
/// Magic, number, mark and checksum.
const TRAILER: usize = 4 + 4 + Mark::BYTES + 4;
/// Magic and checksum.
const OLD_TRAILER: usize = 8;
/// Frames begin and end at multiples of this; so do the columns inside.
const ALIGN: usize = 8;

/// Writes frames. Keeps its buffers from one batch to the next.
pub(super) struct Encoder {
    options: IpcWriteOptions,
    context: IpcWriteContext,
    head: Vec<u8>,
}

/// What a frame says of itself: whose it is and which. The header of a segment is number 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub mark: Mark,
    pub number: u32,
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
    pub fn schema(&mut self, mark: Mark) -> Frame<'_> {
        let mut dictionaries = DictionaryTracker::new(false);
        let schema = columns::schema();
        let data = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
            &schema,
            &mut dictionaries,
            &self.options,
        );
        self.frame(data, Stamp { mark, number: 0 })
    }

    pub fn batch(&mut self, batch: &RecordBatch, stamp: Stamp) -> Result<Frame<'_>, ArrowError> {
        let mut dictionaries = DictionaryTracker::new(false);
        let (_, data) =
            IpcDataGenerator::default().encode(batch, &mut dictionaries, &self.options, &mut self.context)?;
        Ok(self.frame(data, stamp))
    }

    fn frame(&mut self, data: EncodedData, stamp: Stamp) -> Frame<'_> {
        let EncodedData { ipc_message, arrow_data: body } = data;
        let metadata = (ipc_message.len() + TRAILER).next_multiple_of(ALIGN);
        self.head.clear();
        self.head.extend_from_slice(&CONTINUATION);
        self.head.extend_from_slice(&(metadata as u32).to_le_bytes());
        self.head.extend_from_slice(&ipc_message);
        self.head.resize(PREFIX + metadata - TRAILER, 0);
        self.head.extend_from_slice(&MAGIC);
        self.head.extend_from_slice(&stamp.number.to_le_bytes());
        self.head.extend_from_slice(&stamp.mark.0);
        let crc = checksum(&self.head, &body);
        self.head.extend_from_slice(&crc.to_le_bytes());
        Frame { head: &self.head, body }
    }
}

/// CRC-32 (IEEE) of the head up to the checksum, and the body.
pub(super) fn checksum(head: &[u8], body: &[u8]) -> u32 {
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
    /// `None` in what earlier versions wrote.
    stamp: Option<Stamp>,
    /// Nothing broken lies between it and the frame before.
    follows: bool,
}

impl Place {
    fn mark(&self) -> Option<Mark> {
        self.stamp.map(|stamp| stamp.mark)
    }

    /// Whether it may come after a frame of this number.
    fn comes_after(&self, last: Option<u32>) -> bool {
        match (self.stamp, last) {
            (Some(stamp), Some(last)) if self.follows => last.checked_add(1) == Some(stamp.number),
            (Some(stamp), Some(last)) => stamp.number > last,
            _ => true,
        }
    }
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
    /// Finds every whole frame. After a broken one the search goes on at every multiple of [`ALIGN`] for what bears the
    /// segment's mark and a later number: a frame is only ever written after the one before it was synced, so what follows
    /// shows that the break is no torn tail.
    pub fn of(data: Vec<u8>) -> Self {
        let Some(mark) = mark_of(&data) else { return Self::without_mark(data) };
        let mut places: Vec<Place> = Vec::new();
        let (mut at, mut end, mut damaged, mut last) = (0, 0, 0, None);
        while at + PREFIX <= data.len() {
            let place = whole_frame(&data, at).map(|place| Place { follows: at == end, ..place });
            match place.filter(|place| place.mark() == mark && place.comes_after(last)) {
                Some(place) => {
                    damaged += at - end;
                    at = place.body.end;
                    end = at;
                    last = place.stamp.map(|stamp| stamp.number);
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

    /// Neither header nor first frame is whole: nothing of it can be told from what was sent. A header is synced before
    /// anything follows it, so more than a header is damage.
    fn without_mark(data: Vec<u8>) -> Self {
        let damaged = if data.len() > *HEADER_BYTES { data.len() } else { 0 };
        Self { data: Buffer::from_vec(data), schema: columns::schema(), places: Vec::new(), end: damaged, damaged }
    }

    /// Bytes after the last whole frame.
    pub fn torn(&self) -> usize {
        self.data.len() - self.end
    }

    /// The batches in order, with the columns of [`columns::schema`], each with whether nothing broken lies before it.
    pub fn batches(&self) -> impl Iterator<Item = (bool, Result<RecordBatch, String>)> {
        let batch = |place| self.batch(place).and_then(|batch| columns::conform(&batch));
        self.places.iter().map(move |place| (place.follows, batch(place)))
    }

    fn batch(&self, place: &Place) -> Result<RecordBatch, String> {
        let message = root_as_message(&self.data[place.metadata.clone()]).map_err(|error| error.to_string())?;
        let batch = message.header_as_record_batch().ok_or("a frame that is no record batch")?;
        let body = self.data.slice_with_length(place.body.start, place.body.len());
        read_record_batch(&body, batch, Arc::clone(&self.schema), &HashMap::new(), None, &message.version())
            .map_err(|error| error.to_string())
    }
}

/// How long the header of a segment is.
static HEADER_BYTES: LazyLock<usize> =
    LazyLock::new(|| Encoder::new().map_or(0, |mut encoder| encoder.schema(Mark([0; Mark::BYTES])).head.len()));

/// The mark of a segment's frames (`Some(None)`: an earlier version wrote it, they bear none): by its header, else by the first
/// frame after that, whose place is known. Not by any that is found further on: that may be a sender's.
fn mark_of(data: &[u8]) -> Option<Option<Mark>> {
    let old_header = HEADER_BYTES.saturating_sub(TRAILER - OLD_TRAILER).next_multiple_of(ALIGN);
    let at = |at: usize, is_old: bool| whole_frame(data, at).filter(|place| place.stamp.is_none() == is_old);
    let place = whole_frame(data, 0).or_else(|| at(*HEADER_BYTES, false)).or_else(|| at(old_header, true));
    place.map(|place| place.mark())
}

/// The whole frame at `at`, if there is one; whose it is is not looked at.
fn whole_frame(data: &[u8], at: usize) -> Option<Place> {
    let prefix = data.get(at..at + PREFIX)?;
    if prefix[..4] != CONTINUATION {
        return None;
    }
    let length = u32::from_le_bytes(prefix[4..].try_into().ok()?) as usize;
    let start = at + PREFIX;
    let metadata = start..start.checked_add(length)?;
    let trailer = |bytes: usize, magic: [u8; 4]| {
        let begin = metadata.end.checked_sub(bytes).filter(|begin| *begin >= start)?;
        data.get(begin..metadata.end)?.strip_prefix(&magic)
    };
    let (stamp, crc) = match trailer(TRAILER, MAGIC) {
        Some(marks) => {
            let (number, rest) = marks.split_first_chunk::<4>()?;
            let (mark, crc) = rest.split_first_chunk()?;
            (Some(Stamp { mark: Mark(*mark), number: u32::from_le_bytes(*number) }), crc)
        }
        None => (None, trailer(OLD_TRAILER, OLD_MAGIC)?),
    };
    let message = root_as_message(&data[metadata.clone()]).ok()?;
    let length = usize::try_from(message.bodyLength()).ok()?;
    let body = metadata.end..metadata.end.checked_add(length)?;
    let found = checksum(&data[at..metadata.end - crc.len()], data.get(body.clone())?);
    (found.to_le_bytes() == crc).then_some(Place { metadata, body, stamp, follows: false })
}

fn header_schema(metadata: &[u8]) -> Option<SchemaRef> {
    let message = root_as_message(metadata).ok()?;
    if message.header_type() != MessageHeader::Schema {
        return None;
    }
    Some(Arc::new(fb_to_schema(message.header_as_schema()?)))
}
