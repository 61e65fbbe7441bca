//! Small segments become one: nothing is lost or doubled, whatever fails and whoever reads.

use std::collections::BTreeSet;

use datafusion::arrow::array::RecordBatch;
use tempfile::TempDir;

use super::{
    layout,
    samples::{START_MS, mixed_range},
    sim::Crash,
    *,
};
use crate::model::Time;

const DAY: i64 = 86_400;

fn merging(compact_bytes: u64) -> JournalSettings {
    JournalSettings { compact_bytes, ..settings() }
}

fn open_merging(disk: &Sim) -> Result<Journal, JournalError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Journal::open_on(disk, dir(), merging(1 << 20), false).map(|(journal, _)| journal)
}

/// Records of a day of arrival, some of them of the day before and one of long ago.
fn day(day: i64, from: i64, count: i64) -> Vec<Record> {
    let mut records = mixed_range(day * DAY + from..day * DAY + from + count);
    records[0].event_time = Time::from_millis(START_MS + (day - 1) * DAY * 1_000);
    records[1].event_time = Time::from_millis(0);
    records
}

/// Five restarts on one day, so five small segments, and one on the next, which says that the first day is over.
fn small_segments(disk: &Sim) -> Vec<Record> {
    let mut kept = Vec::new();
    for run in 0..6 {
        let (mut journal, _) = open(disk).unwrap();
        let records = day(run / 5, run * 20, 6);
        journal.append(&records).unwrap();
        journal.close().unwrap();
        kept.extend(records);
    }
    kept
}

fn parquet(disk: &Sim) -> Vec<String> {
    let names = disk.paths().into_iter().filter(|path| path.extension() == Some("parquet".as_ref()));
    names.map(|path| path.strip_prefix("/j/history").unwrap().display().to_string()).collect()
}

/// Every position that a query would see, each once.
fn counted(disk: &Sim) -> Vec<u64> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let catalogue = Catalogue::on(&disk, dir()).unwrap();
    let sealed = catalogue.sealed.iter().flat_map(|file| sealed::read(&*disk, file).unwrap());
    let open = catalogue.open.iter().flat_map(|segment| segment.batches().unwrap());
    let mut positions: Vec<u64> =
        sealed.chain(open).flat_map(|batch| columns::positions(&batch).unwrap().values().to_vec()).collect();
    positions.sort_unstable();
    positions
}

fn all(kept: &[Record]) -> Vec<u64> {
    (0..kept.len() as u64).collect()
}

#[test]
fn neighbours_of_one_day_become_one_segment_with_every_row_once() {
    let disk = Sim::default();
    let kept = small_segments(&disk);
    assert_eq!(parquet(&disk).len(), 18);
    let journal = open_merging(&disk).unwrap();
    journal.seal_now();
    assert_eq!(journal.progress().merged, 5);
    let merged = "segment-00000000000000000000-to-00000000000000000030.parquet";
    let last = "segment-00000000000000000030.parquet";
    let expected = [
        format!("day=2026-02-28/{merged}"),
        format!("day=2026-03-01/{merged}"),
        format!("day=2026-03-01/{last}"),
        format!("day=2026-03-02/{last}"),
        format!("day=older/{merged}"),
        format!("day=older/{last}"),
    ];
    assert_eq!(parquet(&disk), expected);
    assert!(disk.paths().iter().all(|path| path.extension() != Some("merging".as_ref())));
    assert_eq!((read_whole(&disk, 0), counted(&disk)), (kept.clone(), all(&kept)));
    for from in [1, 7, 29, 30, 33] {
        assert_eq!(read_whole(&disk, from), kept[from as usize..], "from {from}");
    }
    journal.close().unwrap();
    // Merged once is merged for good.
    let journal = open_merging(&disk).unwrap();
    journal.seal_now();
    assert_eq!((journal.progress().merged, parquet(&disk).len()), (0, 6));
    assert_eq!(journal.next_position(), 36);
}

#[test]
fn what_is_large_of_another_day_or_not_over_stays_apart() {
    for (compact_bytes, merged) in [(0, 0), (1, 0), (1 << 20, 5)] {
        let disk = Sim::default();
        let kept = small_segments(&disk);
        let (journal, _) = Journal::open_on(Arc::new(disk.clone()), dir(), merging(compact_bytes), false).unwrap();
        journal.seal_now();
        assert_eq!((journal.progress().merged, journal.progress().failed), (merged, 0), "{compact_bytes}");
        assert_eq!((read_whole(&disk, 0), counted(&disk)), (kept.clone(), all(&kept)));
    }
    let disk = Sim::default();
    let mut kept = 0;
    // One day only: more may come.
    for run in 0..3 {
        let mut journal = open_merging(&disk).unwrap();
        kept = journal.append(&day(0, run * 20, 6)).unwrap().end;
        journal.close().unwrap();
    }
    let journal = open_merging(&disk).unwrap();
    journal.seal_now();
    assert_eq!((journal.progress().merged, counted(&disk).len() as u64), (0, kept));
}

#[test]
fn whatever_operation_of_a_merge_fails_each_row_is_there_once() {
    let (mut operations, mut merges) = (0, 0);
    let before = Sim::default();
    let kept = small_segments(&before);
    loop {
        let disk = before.crash(Crash::Process);
        disk.set_power(Some(operations));
        if let Ok(journal) = open_merging(&disk) {
            journal.seal_now();
            merges += usize::from(journal.progress().merged > 0);
        }
        let is_done = disk.has_power();
        for crash in [Crash::Power, [Crash::Process, Crash::Torn, Crash::Zeros][operations % 3]] {
            let image = disk.crash(crash);
            let context = format!("power lost at operation {operations}, {crash:?}");
            assert_eq!(counted(&image), all(&kept), "{context}");
            assert_eq!(read_whole(&image, 0), kept, "{context}");
            // A crash while clearing up, too.
            let again = operations % 25;
            let image = disk.crash(crash);
            image.set_power(Some(again));
            if let Ok(journal) = open_merging(&image) {
                journal.seal_now();
            }
            let image = image.crash(Crash::Power);
            assert_eq!(counted(&image), all(&kept), "{context}, then {again}");
            let mut journal = open_merging(&image).unwrap_or_else(|error| panic!("{context}: {error}"));
            journal.seal_now();
            let more = day(1, 500, 6);
            journal.append(&more).unwrap();
            journal.close().unwrap();
            let kept = [kept.as_slice(), &more].concat();
            assert_eq!((read_whole(&image, 0), counted(&image)), (kept.clone(), all(&kept)), "{context}, afterwards");
            assert_eq!(parquet(&image).len(), 9, "{context}: {:?}", parquet(&image));
        }
        if is_done {
            break;
        }
        operations += 1;
    }
    assert!(operations > 30 && merges > 0, "{operations} operations, {merges} merges");
}

/// A name that was not synced may come back, or be gone, when power fails later.
#[test]
fn whatever_sync_of_a_directory_fails_each_row_is_there_once_after_a_loss_of_power() {
    let mut syncs = 0;
    let before = Sim::default();
    let kept = small_segments(&before);
    loop {
        let disk = before.crash(Crash::Process);
        let journal = open_merging(&disk).unwrap();
        disk.fail_dir_sync(Some(syncs));
        journal.seal_now();
        if !disk.has_failed_dir_sync() {
            break;
        }
        assert_eq!(counted(&disk), all(&kept), "sync {syncs}");
        // What was removed of history may be gone from the disk before anything else is.
        ["day=2026-02-28", "day=2026-03-01", "day=older"]
            .iter()
            .for_each(|day| disk.sync_dir(&layout::history_dir(dir()).join(day)).unwrap());
        for crash in [Crash::Power, Crash::Torn] {
            let image = disk.crash(crash);
            assert_eq!(counted(&image), all(&kept), "sync {syncs}, {crash:?}");
            let journal = open_merging(&image).unwrap();
            journal.seal_now();
            assert_eq!((read_whole(&image, 0), counted(&image)), (kept.clone(), all(&kept)), "sync {syncs}, {crash:?}");
            assert_eq!(parquet(&image).len(), 6, "sync {syncs}, {crash:?}");
        }
        syncs += 1;
    }
    assert!(syncs > 5, "only {syncs} syncs");
}

#[test]
fn a_full_disk_leaves_the_segments_as_they_were_and_the_merge_is_made_later() {
    let disk = Sim::default();
    let kept = small_segments(&disk);
    let mut journal = open_merging(&disk).unwrap();
    disk.set_room(Some(2_000));
    journal.seal_now();
    assert_eq!((journal.progress().merged, journal.progress().failed), (0, 1));
    assert_eq!((read_whole(&disk, 0), counted(&disk)), (kept.clone(), all(&kept)));
    assert_eq!(parquet(&disk).len(), 18, "what was begun is taken away");
    disk.set_room(None);
    journal.append(&day(2, 0, 6)).unwrap();
    journal.append(&day(3, 0, 6)).unwrap();
    journal.seal_now();
    assert_eq!(journal.progress().merged, 5);
    assert_eq!(counted(&disk), (0..48).collect::<Vec<_>>());
}

#[test]
fn history_that_can_not_be_read_is_left_alone() {
    let first = || {
        let disk = Sim::default();
        small_segments(&disk);
        let path = disk.paths().into_iter().find(|path| path.to_str().unwrap().contains("day=older/")).unwrap();
        (disk, path)
    };
    // Its columns, or all of it: the others are merged beside it.
    let damages: [fn(&mut Vec<u8>); 2] = [|bytes| bytes[20..200].fill(0xff), |bytes| bytes.truncate(200)];
    for damage in damages {
        let (disk, broken) = first();
        disk.edit(&broken, damage);
        let bytes = disk.bytes(&broken);
        let journal = open_merging(&disk).unwrap();
        journal.seal_now();
        assert_eq!((journal.progress().merged, parquet(&disk).len(), disk.bytes(&broken)), (4, 9, bytes));
    }
}

/// Small segments are sealed and merged in the background while others read: each time every row, each once.
#[test]
fn readers_see_every_row_once_while_segments_are_merged() {
    let folder = TempDir::new().unwrap();
    let (mut journal, _) = Journal::open(folder.path(), merging(40_000)).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(disk::FileSystem);
    let mut merged = 0;
    for i in 0..150 {
        journal.append(&mixed_range(i * 10..i * 10 + 10)).unwrap();
        if i % 6 != 5 {
            continue;
        }
        let expected: BTreeSet<u64> = (0..(i as u64 + 1) * 10).collect();
        let read: Vec<u64> = Journal::read(folder.path(), 0).unwrap().map(|item| item.unwrap().0).collect();
        assert_eq!(read.len(), expected.len());
        assert_eq!(read.into_iter().collect::<BTreeSet<_>>(), expected);
        let catalogue = Catalogue::on(&disk, folder.path()).unwrap();
        let mut rows = 0;
        // What is listed may have been merged since; whoever lists anew finds all.
        for file in &catalogue.sealed {
            rows += sealed::read(&*disk, file).map_or(0, |batches| batches.iter().map(RecordBatch::num_rows).sum());
        }
        rows +=
            catalogue.open.iter().flat_map(|segment| segment.batches().unwrap()).map(|b| b.num_rows()).sum::<usize>();
        assert!(rows <= expected.len(), "{rows} rows of {}", expected.len());
        merged = journal.progress().merged;
    }
    assert!(merged > 0, "nothing was merged in the background");
    journal.close().unwrap();
    assert_eq!(Journal::read(folder.path(), 0).unwrap().filter(Result::is_ok).count(), 1_500);
}
