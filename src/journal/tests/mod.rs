mod compact;
mod crash;
mod files;
mod inventory;
mod samples;
pub mod sim;
mod smuggle;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use proptest::{collection::vec, prelude::*};
use samples::{mixed_range, record, report};
use sim::Sim;

use super::{columns, disk::Disk, frame, mark::Mark, rows, *};
use crate::model::Record;

const DIR: &str = "/j";

fn dir() -> &'static Path {
    Path::new(DIR)
}

fn settings() -> JournalSettings {
    JournalSettings { segment_bytes: 4 << 10, keep_days: u32::MAX, ..JournalSettings::default() }
}

fn open(disk: &Sim) -> Result<(Journal, Recovered), JournalError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Journal::open_on(disk, dir(), settings(), false)
}

/// A journal whose segments do not close by size, and the path of its first one.
fn open_large(disk: &Sim) -> (Journal, PathBuf) {
    let large = JournalSettings { segment_bytes: 1 << 20, ..settings() };
    let (journal, _) = Journal::open_on(Arc::new(disk.clone()), dir(), large, false).unwrap();
    let path = disk.paths().into_iter().find(|path| path.extension() == Some("arrow".as_ref())).unwrap();
    (journal, path)
}

fn read(disk: &Sim, from: u64) -> Vec<Result<(u64, Record), JournalError>> {
    Records::on(Arc::new(disk.clone()), dir(), from).unwrap().collect()
}

/// Everything, which must be readable and without a gap from `from` on.
fn read_whole(disk: &Sim, from: u64) -> Vec<Record> {
    let rows: Vec<(u64, Record)> = read(disk, from).into_iter().map(Result::unwrap).collect();
    let positions: Vec<u64> = rows.iter().map(|(position, _)| *position).collect();
    assert_eq!(positions, (from..from + rows.len() as u64).collect::<Vec<_>>());
    rows.into_iter().map(|(_, record)| record).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_come_back_as_they_were(records in vec(record(), 1..6), first in 0..u64::MAX / 2) {
        let batch = columns::to_batch(&records, first).unwrap();
        let mut encoder = frame::Encoder::new().unwrap();
        let mark = Mark::random().unwrap();
        let mut file = encoder.schema(mark).head.to_vec();
        let frame = encoder.batch(&batch, frame::Stamp { mark, number: 1 }).unwrap();
        file.extend_from_slice(frame.head);
        file.extend_from_slice(&frame.body);
        let scan = frame::Scan::of(file);
        let batches: Vec<_> = scan.batches().map(|(_, batch)| batch.unwrap()).collect();
        prop_assert_eq!(&batches, &[batch]);
        let (positions, read): (Vec<u64>, Vec<Record>) = rows::from_batch(&batches[0]).unwrap().into_iter().unzip();
        prop_assert_eq!(read, records.clone());
        prop_assert_eq!(positions, (first..first + records.len() as u64).collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_come_back_through_sealing(records in vec(record(), 1..20), per_append in 1_usize..6) {
        let disk = Sim::default();
        let (mut journal, _) = open(&disk).unwrap();
        for chunk in records.chunks(per_append) {
            journal.append(chunk).unwrap();
        }
        journal.close().unwrap();
        prop_assert_eq!(disk.paths().iter().filter(|path| path.extension() == Some("arrow".as_ref())).count(), 1);
        prop_assert_eq!(read_whole(&disk, 0), records);
    }
}

#[test]
fn positions_are_consecutive_and_reading_begins_anywhere() {
    let disk = Sim::default();
    let (mut journal, recovered) = open(&disk).unwrap();
    assert_eq!(recovered, Recovered::default());
    assert_eq!(journal.append(&[]).unwrap(), 0..0);
    assert_eq!(journal.append(&mixed_range(0..5)).unwrap(), 0..5);
    assert_eq!(journal.append(&mixed_range(5..6)).unwrap(), 5..6);
    for i in 6..20 {
        journal.append(&mixed_range(i..i + 1)).unwrap();
        if i == 12 {
            journal.seal_now();
        }
    }
    assert_eq!(journal.next_position(), 20);
    for from in 0..=20 {
        assert_eq!(read_whole(&disk, from), mixed_range(from as i64..20), "from {from}");
    }
    assert!(read(&disk, 21).is_empty() && read(&disk, u64::MAX).is_empty());
}

#[test]
fn positions_go_on_after_a_restart_even_when_all_is_sealed() {
    let disk = Sim::default();
    let mut next = 0;
    for _ in 0..3 {
        let (mut journal, recovered) = open(&disk).unwrap();
        assert_eq!((recovered.next_position, recovered.torn_bytes, recovered.lost.len()), (next, 0, 0));
        next = journal.append(&mixed_range(next as i64..next as i64 + 4)).unwrap().end;
        journal.close().unwrap();
    }
    // Someone removes the empty segment whose name says where we are: the newest sealed one says it too.
    let empty = disk.paths().into_iter().find(|path| path.extension() == Some("arrow".as_ref())).unwrap();
    disk.remove(&empty).unwrap();
    let (_journal, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.next_position, 12);
    assert_eq!(read_whole(&disk, 0), mixed_range(0..12));
}

#[test]
fn one_process_at_a_time() {
    let disk = Sim::default();
    let first = open(&disk).unwrap();
    assert!(matches!(open(&disk).map(|_| ()), Err(JournalError::InUse { .. })));
    drop(first);
    assert!(open(&disk).is_ok());
}

#[test]
fn settings_are_checked_and_typing_errors_refused() {
    for bad in [
        JournalSettings { segment_bytes: 10, ..settings() },
        JournalSettings { segment_bytes: 2 << 30, ..settings() },
        JournalSettings { keep_days: 0, ..settings() },
        JournalSettings { compact_bytes: 65 << 20, ..settings() },
    ] {
        let disk: Arc<dyn Disk> = Arc::new(Sim::default());
        let result = Journal::open_on(disk, dir(), bad.clone(), false).map(|_| ());
        assert!(matches!(result, Err(JournalError::Settings(_))), "{bad:?}");
    }
    assert_eq!(serde_json::from_str::<JournalSettings>("{}").unwrap(), JournalSettings::default());
    assert!(serde_json::from_str::<JournalSettings>(r#"{"keep_day": 3}"#).is_err());
}

#[test]
fn a_segment_closes_by_size_and_by_day_of_arrival() {
    let disk = Sim::default();
    let larger = JournalSettings { segment_bytes: 16 << 10, ..settings() };
    let (mut journal, _) = Journal::open_on(Arc::new(disk.clone()), dir(), larger, false).unwrap();
    let arrow = |disk: &Sim| disk.paths().iter().filter(|path| path.to_str().unwrap().ends_with("arrow")).count();
    journal.append(&[report(0)]).unwrap();
    assert_eq!(arrow(&disk), 1);
    journal.append(&[report(86_400)]).unwrap();
    assert_eq!(arrow(&disk), 2, "another day");
    let many: Vec<Record> = (86_401..86_500).map(report).collect();
    journal.append(&many).unwrap();
    assert_eq!(arrow(&disk), 2, "an append lies in one segment");
    journal.append(&[report(86_501)]).unwrap();
    assert_eq!(arrow(&disk), 3, "large enough");
    assert_eq!(read_whole(&disk, 0).len(), 102);
}
