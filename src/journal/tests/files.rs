//! What lies on a real disk: names, partitions, order, retention, and what other tools see.

use std::fs;

use datafusion::{arrow::ipc::reader::StreamReader, parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder};
use tempfile::TempDir;

use super::{
    samples::{START_MS, mixed_range},
    *,
};
use crate::model::{Body, DeadLetter, Text, Time};

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = walk(dir).iter().map(|p| p.strip_prefix(dir).unwrap().display().to_string()).collect();
    names.sort();
    names
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .flat_map(|p| if p.is_dir() { walk(&p) } else { vec![p] })
        .collect()
}

fn read_dir(dir: &Path, from: u64) -> Vec<Record> {
    Journal::read(dir, from).unwrap().map(|item| item.unwrap().1).collect()
}

#[test]
fn an_open_segment_is_an_arrow_stream_to_any_reader() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), JournalSettings::default()).unwrap();
    journal.append(&mixed_range(0..10)).unwrap();
    journal.append(&mixed_range(10..11)).unwrap();
    let file = fs::File::open(dir.path().join("segment-00000000000000000000.arrow")).unwrap();
    let batches: Vec<_> = StreamReader::try_new(file, None).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).collect::<Vec<_>>(), [10, 1]);
    assert_eq!(*batches[0].schema(), *schema());
}

#[test]
fn sealed_rows_lie_by_day_of_event_and_are_sorted_by_source_and_time() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), JournalSettings::default()).unwrap();
    let mut records: Vec<Record> = (0..20).map(report).collect();
    let day = 86_400_000;
    records[3].event_time = Time::from_millis(START_MS - 1);
    records[7].event_time = Time::from_millis(START_MS - 7 * day);
    records[8].event_time = Time::from_millis(START_MS - 7 * day - 1);
    records[9].event_time = Time::from_millis(0);
    journal.append(&records).unwrap();
    journal.close().unwrap();
    let segment = "segment-00000000000000000000.parquet";
    let expected = [
        format!("history/day=2026-02-22/{segment}"),
        format!("history/day=2026-02-28/{segment}"),
        format!("history/day=2026-03-01/{segment}"),
        format!("history/day=older/{segment}"),
        "inventory.jsonl".to_owned(),
        "segment-00000000000000000020.arrow".to_owned(),
    ];
    assert_eq!(names(dir.path()), expected);
    let file = fs::File::open(dir.path().join(&expected[2])).unwrap();
    let batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let rows: Vec<(u64, Record)> = batches.flat_map(|batch| rows::from_batch(&batch.unwrap()).unwrap()).collect();
    let order: Vec<_> = rows
        .iter()
        .map(|(_, record)| match &record.body {
            Body::Device(report) => (report.device_id.clone(), record.event_time),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(order.is_sorted() && order.len() == 16, "{order:?}");
    assert_eq!(read_dir(dir.path(), 0), records);
}

#[test]
fn many_small_appends_become_one_file_a_day() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), JournalSettings::default()).unwrap();
    let records: Vec<Record> = (0..30).map(report).collect();
    (0..400).for_each(|_| _ = journal.append(&records).unwrap());
    journal.close().unwrap();
    let sealed: Vec<String> = names(dir.path()).into_iter().filter(|name| name.ends_with(".parquet")).collect();
    assert_eq!(sealed, ["history/day=2026-03-01/segment-00000000000000000000.parquet"]);
}

#[test]
fn segments_are_sealed_in_the_background_and_read_whole_meanwhile() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), settings()).unwrap();
    for i in 0..60 {
        journal.append(&mixed_range(i..i + 1)).unwrap();
        if i % 10 == 0 {
            assert_eq!(read_dir(dir.path(), 0), mixed_range(0..i + 1));
        }
    }
    journal.close().unwrap();
    assert_eq!(read_dir(dir.path(), 0), mixed_range(0..60));
    let open = names(dir.path()).iter().filter(|name| name.ends_with(".arrow")).count();
    assert_eq!(open, 1);
}

#[test]
fn one_process_at_a_time_on_a_real_disk() {
    let dir = TempDir::new().unwrap();
    let first = Journal::open(dir.path(), settings()).unwrap();
    assert!(matches!(Journal::open(dir.path(), settings()).map(|_| ()), Err(JournalError::InUse { .. })));
    drop(first);
    assert!(Journal::open(dir.path(), settings()).is_ok());
}

#[test]
fn a_seal_of_several_days_counts_only_when_it_is_complete() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), JournalSettings::default()).unwrap();
    let mut records = mixed_range(0..20);
    records[4].event_time = Time::from_millis(START_MS - 1);
    journal.append(&records).unwrap();
    let arrow = dir.path().join("segment-00000000000000000000.arrow");
    let bytes = fs::read(&arrow).unwrap();
    journal.close().unwrap();
    // As if the crash had come just before the Arrow file went, and one day's file had not been reached.
    fs::write(&arrow, bytes).unwrap();
    fs::remove_file(dir.path().join("history/day=2026-02-28/segment-00000000000000000000.parquet")).unwrap();
    assert_eq!(read_dir(dir.path(), 0), records);
    let (journal, recovered) = Journal::open(dir.path(), JournalSettings::default()).unwrap();
    assert_eq!((recovered.next_position, recovered.lost.len()), (20, 0));
    journal.close().unwrap();
    assert_eq!(read_dir(dir.path(), 0), records);
    assert_eq!(names(dir.path()).iter().filter(|name| name.ends_with(".parquet")).count(), 2);
}

/// A journal of `days` days, ten records each, sealed under these settings.
fn days(disk: &Sim, days: i64, settings: &JournalSettings) {
    let (mut journal, _) = Journal::open_on(Arc::new(disk.clone()), dir(), settings.clone(), false).unwrap();
    for day in 0..days {
        journal.append(&mixed_range(day * 86_400..day * 86_400 + 10)).unwrap();
    }
    journal.close().unwrap();
}

#[test]
fn old_history_goes_by_age_and_by_size_and_what_is_open_stays() {
    let all = JournalSettings::default();
    let disk = Sim::default();
    days(&disk, 6, &all);
    let bytes: Vec<usize> =
        disk.paths().iter().filter(|p| p.to_str().unwrap().contains("history")).map(|p| disk.bytes(p)).collect();
    let last_two = (bytes[4] + bytes[5]) as u64;
    for (settings, first) in [
        (all.clone(), 0),
        (JournalSettings { keep_days: 5, ..all.clone() }, 0),
        (JournalSettings { keep_days: 2, ..all.clone() }, 30),
        (JournalSettings { keep_days: 1, ..all.clone() }, 40),
        (JournalSettings { keep_bytes: last_two, ..all.clone() }, 40),
        (JournalSettings { keep_bytes: last_two - 1, ..all.clone() }, 50),
        (JournalSettings { keep_bytes: 0, ..all.clone() }, 50),
    ] {
        let disk = Sim::default();
        days(&disk, 6, &settings);
        let kept: Vec<u64> = read(&disk, 0).into_iter().map(|item| item.unwrap().0).collect();
        assert_eq!(kept, (first..60).collect::<Vec<_>>(), "{settings:?}");
        let (_journal, recovered) = open(&disk).unwrap();
        assert_eq!((recovered.next_position, recovered.lost.len()), (60, 0));
    }
}

#[test]
fn an_unreadable_parquet_file_is_said_and_the_rest_is_read() {
    let disk = Sim::default();
    days(&disk, 3, &JournalSettings::default());
    let second = disk.paths().into_iter().filter(|path| path.extension() == Some("parquet".as_ref())).nth(1).unwrap();
    disk.edit(&second, |bytes| bytes.truncate(40));
    let found = read(&disk, 0);
    let positions: Vec<u64> = found.iter().flatten().map(|(position, _)| *position).collect();
    assert_eq!(positions, (0..10).chain(20..30).collect::<Vec<_>>());
    let errors: Vec<_> = found.iter().filter_map(|item| item.as_ref().err()).collect();
    assert!(matches!(errors.as_slice(), [JournalError::Damaged { path, .. }] if *path == second), "{errors:?}");
}

#[test]
fn a_large_append_becomes_several_frames_and_one_range() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), JournalSettings::default()).unwrap();
    let payload = vec![7; 30 << 20];
    let letter = |i: i64| {
        let letter =
            DeadLetter { device_id: None, topic: "t".into(), payload: payload.clone(), problem: i.to_string() };
        Record { body: Body::DeadLetter(letter), ..report(i) }
    };
    let records: Vec<Record> = (0..5).map(letter).collect();
    assert_eq!(journal.append(&records).unwrap(), 0..5);
    let segment = Catalogue::of(dir.path()).unwrap().open.remove(0);
    let rows: Vec<usize> = segment.batches().unwrap().iter().map(|batch| batch.num_rows()).collect();
    assert_eq!(rows, [2, 2, 1]);
    assert!(read_dir(dir.path(), 0) == records);
}

/// Of some devices: what reading all and leaving the others out gives, words of what is lost included.
#[test]
fn what_some_devices_sent_is_read_without_what_others_did() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), settings()).unwrap();
    for i in 0..40 {
        let reports = (i..i + 7).map(report);
        journal.append(&mixed_range(i * 5..i * 5 + 5).into_iter().chain(reports).collect::<Vec<_>>()).unwrap();
    }
    drop(journal);
    let compared = |from: u64| {
        let all: Vec<_> = Journal::read(dir.path(), from).unwrap().collect();
        let ids: std::collections::BTreeSet<Text> = all.iter().flatten().filter_map(|(_, r)| device(r)).collect();
        assert!(ids.len() > 2, "{ids:?}");
        let mut lost = 0;
        for wanted in [0, 1, 2, ids.len()] {
            let devices: Devices = Arc::new(ids.iter().take(wanted).cloned().collect());
            let is_wanted = |record: &Record| device(record).is_none_or(|id| devices.contains(&id));
            let expected =
                all.iter().filter(|item| item.as_ref().is_ok_and(|(_, record)| is_wanted(record)) || item.is_err());
            let found: Vec<String> = Journal::read(dir.path(), from)
                .unwrap()
                .of_devices(Arc::clone(&devices))
                .map(|item| format!("{item:?}"))
                .collect();
            assert_eq!(found, expected.map(|item| format!("{item:?}")).collect::<Vec<_>>(), "{devices:?} from {from}");
            lost = all.iter().filter(|item| item.is_err()).count();
        }
        lost
    };
    assert_eq!((compared(0), compared(111)), (0, 0));
    let sealed: Vec<String> = names(dir.path()).into_iter().filter(|name| name.ends_with(".parquet")).collect();
    assert!(sealed.len() > 4, "{sealed:?}");
    fs::remove_file(dir.path().join(&sealed[sealed.len() / 2])).unwrap();
    fs::write(dir.path().join(&sealed[1]), "nothing").unwrap();
    assert!(compared(0) >= 2);
}

fn device(record: &Record) -> Option<Text> {
    let Body::Device(report) = &record.body else { return None };
    Some(report.device_id.clone())
}
