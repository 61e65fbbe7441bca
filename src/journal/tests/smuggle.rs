//! What senders put into payloads is never taken for a frame.
//!
//! After a torn frame the journal was searched at every 8 bytes, payloads included, and a CRC-32 is no secret: a payload that held
//! a frame made another truck's report count as evaluated; another, whose positions ended beyond all numbers, stopped every start.

use datafusion::arrow::ipc::root_as_message;

use super::{
    samples::mixed_range,
    sim::{Crash, Sim},
    *,
};
use crate::model::{Body, DeadLetter};

/// A frame of `records` from position `first` on.
fn forged(stamp: frame::Stamp, records: &[Record], first: u64) -> Vec<u8> {
    let batch = columns::to_batch(records, 0).unwrap();
    let positions = (0..records.len() as u64).map(|row| first.wrapping_add(row)).collect();
    let mut columns = batch.columns().to_vec();
    columns[batch.schema().index_of("position").unwrap()] =
        Arc::new(datafusion::arrow::array::UInt64Array::new(positions, None));
    let batch = datafusion::arrow::array::RecordBatch::try_new(batch.schema(), columns).unwrap();
    let mut encoder = frame::Encoder::new().unwrap();
    let frame = encoder.batch(&batch, stamp).unwrap();
    [frame.head, &frame.body].concat()
}

/// Frames as version 0 wrote them: without number and mark.
fn as_of_old(bytes: &[u8]) -> Vec<u8> {
    let (mut old, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        let (metadata, body) = (at + 8, at + 8 + length);
        let message = root_as_message(&bytes[metadata..body]).unwrap();
        let end = body + message.bodyLength() as usize;
        let message = &bytes[metadata..body - 28];
        let padded = (message.len() + 8).next_multiple_of(8);
        let begin = old.len();
        old.extend([0xff; 4]);
        old.extend((padded as u32).to_le_bytes());
        old.extend(message);
        old.resize(begin + 8 + padded - 8, 0);
        old.extend(*b"mwJ1");
        let mut crc = crc32fast::Hasher::new();
        crc.update(&old[begin..]);
        crc.update(&bytes[body..end]);
        old.extend(crc.finalize().to_le_bytes());
        old.extend(&bytes[body..end]);
        at = end;
    }
    old
}

fn letter(payload: Vec<u8>) -> Record {
    let letter = DeadLetter { device_id: None, topic: "t".into(), payload, problem: "unreadable".to_owned() };
    Record { body: Body::DeadLetter(letter), ..report(0) }
}

/// The mark that the frames of a segment bear.
fn mark_of(bytes: &[u8]) -> Mark {
    let length = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    Mark(bytes[8 + length - 20..8 + length - 4].try_into().unwrap())
}

#[test]
fn a_frame_in_a_payload_counts_as_nothing_whatever_is_torn() {
    let theirs = mixed_range(500..503);
    let guessed = |number| frame::Stamp { mark: Mark([7; Mark::BYTES]), number };
    let mut frames = vec![as_of_old(&forged(guessed(0), &theirs, 2))];
    for first in [1, 2, 3, 4, 1_000, u64::MAX - 1] {
        for number in [0, 1, 2, 3, u32::MAX] {
            frames.push(forged(guessed(number), &theirs, first));
        }
        frames.push(as_of_old(&forged(guessed(0), &theirs, first)));
    }
    let payload = frames.concat();
    for torn_from in [2, 100, 1_000] {
        for reach in [0, 1, 2] {
            let disk = Sim::default();
            let (mut journal, path) = open_large(&disk);
            journal.append(&mixed_range(0..2)).unwrap();
            let begin = disk.bytes(&path);
            journal.append(&[letter(payload.clone())]).unwrap();
            let end = disk.bytes(&path);
            drop(journal);
            // The head of the letter's frame is torn; or its header, or the first frame, too.
            disk.edit(&path, |bytes| {
                bytes[begin + torn_from..begin + torn_from + 30].fill(0);
                bytes[..if reach > 0 { 64 } else { 0 }].fill(0);
                bytes[begin - if reach > 1 { 64 } else { 0 }..begin].fill(0);
            });
            assert_eq!(disk.bytes(&path), end);
            let expected = if reach > 1 { Vec::new() } else { mixed_range(0..2) };
            assert_eq!(read_whole(&disk, 0), expected, "torn from {torn_from}, reach {reach}");
            let (mut journal, recovered) = open(&disk).unwrap();
            assert_eq!(recovered.next_position, expected.len() as u64);
            journal.append(&mixed_range(2..4)).unwrap();
            journal.close().unwrap();
            assert_eq!(read_whole(&disk, 0), [expected, mixed_range(2..4)].concat());
            let aside = disk.paths().iter().any(|path| path.to_str().unwrap().ends_with(".damaged"));
            assert_eq!(aside, reach > 0, "what nobody can tell from a torn tail is cut, what is damaged is kept");
        }
    }
}

#[test]
fn a_frame_counts_only_at_the_next_position() {
    for (first, number) in [(1, 2), (3, 2), (1_000, 2), (u64::MAX - 1, 2), (2, 1), (2, 3)] {
        let disk = Sim::default();
        let (mut journal, path) = open_large(&disk);
        journal.append(&mixed_range(0..2)).unwrap();
        drop(journal);
        disk.edit(&path, |bytes| {
            let stamp = frame::Stamp { mark: mark_of(bytes), number };
            bytes.extend(forged(stamp, &mixed_range(500..503), first));
        });
        let good = read(&disk, 0).into_iter().flatten().count();
        assert_eq!(good, 2, "{first} {number}");
        // Of a wrong number it is a torn tail; else nobody knows what positions there are: the start says so.
        match open(&disk).map(|(_, recovered)| recovered) {
            Ok(recovered) => assert!(number != 2 && recovered.torn_bytes > 0, "{first} {number}: {recovered:?}"),
            Err(error) => {
                assert!(number == 2 && error.to_string().contains("position"), "{first} {number}: {error}");
                // The way out: it is put aside, and nothing that was committed of it is given out again.
                let plan = Repair::plan_on(Arc::new(disk.clone()), dir(), 2, &[]).unwrap();
                assert!(plan.losses[0].contains("put aside as .damaged"), "{:?}", plan.losses);
                plan.run().unwrap();
                let (mut journal, recovered) = open(&disk).unwrap();
                assert_eq!((recovered.next_position, journal.append(&mixed_range(2..3)).unwrap()), (2, 2..3));
            }
        }
    }
}

/// One old segment that cannot be read kept all later ones from being sealed, and the start from being made.
#[test]
fn a_segment_that_cannot_be_read_keeps_nothing_else_from_going_on() {
    let disk = Sim::default();
    let (mut journal, path) = open_large(&disk);
    journal.append(&mixed_range(0..2)).unwrap();
    journal.append(&mixed_range(86_400..86_402)).unwrap();
    drop(journal);
    disk.edit(&path, |bytes| {
        let stamp = frame::Stamp { mark: mark_of(bytes), number: 2 };
        bytes.extend(forged(stamp, &mixed_range(500..503), 1));
    });
    for run in 0..3 {
        let merging = JournalSettings { compact_bytes: 1 << 20, ..settings() };
        let (mut journal, recovered) = Journal::open_on(Arc::new(disk.clone()), dir(), merging, false).unwrap();
        let next = 4 + run;
        assert_eq!((recovered.next_position, recovered.lost.len()), (next, 0), "{recovered:?}");
        assert_eq!(journal.append(&[letter(vec![1])]).unwrap(), next..next + 1);
        journal.seal_now();
        assert_eq!(journal.progress().failed, 1, "it is said each time");
        journal.close().unwrap();
    }
    let arrows = disk.paths().iter().filter(|path| path.extension() == Some("arrow".as_ref())).count();
    assert_eq!(arrows, 2, "the one that cannot be read, and the one being written");
    let good = read(&disk, 0).into_iter().flatten().count();
    assert_eq!(good, 7, "two before what cannot be read, and all after it");
}

#[test]
fn what_an_earlier_version_left_open_is_read_and_sealed() {
    for cut in [0, 5] {
        let disk = Sim::default();
        let (mut journal, path) = open_large(&disk);
        journal.append(&mixed_range(0..3)).unwrap();
        journal.append(&mixed_range(3..5)).unwrap();
        drop(journal);
        disk.edit(&path, |bytes| {
            *bytes = as_of_old(bytes);
            bytes.truncate(bytes.len() - cut);
        });
        let kept = mixed_range(0..if cut == 0 { 5 } else { 3 });
        assert_eq!(read_whole(&disk, 0), kept);
        for crash in Crash::ALL {
            let after = disk.crash(crash);
            let (mut journal, recovered) = open(&after).unwrap();
            assert_eq!((recovered.next_position, recovered.lost.len()), (kept.len() as u64, 0));
            journal.append(&mixed_range(7..8)).unwrap();
            journal.close().unwrap();
            assert_eq!(read_whole(&after, 0), [kept.clone(), mixed_range(7..8)].concat());
        }
    }
}
