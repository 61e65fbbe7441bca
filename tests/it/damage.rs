//! A data folder of which any file was damaged: that is named, or it does no harm.
//!
//! Of 213 damaged folders 47 started "ready" without a word: old history deleted or flipped, the registry gone ("0 vehicles
//! registered"), messages put aside deleted with a ledger that balanced.

use std::{
    fs,
    path::{Path, PathBuf},
};

use muckwatch::journal::Backlog;

use crate::{
    city::City,
    line::{publish, run},
    support::{Mosquitto, Served, program, wait_for},
};

fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

fn start(city: &City, broker: &Mosquitto, data: &Path) -> Served {
    let mut program = program();
    program.env("MUCKWATCH_LATE__SNAPSHOT_S", "1");
    Served::start_with(program, &broker.address(), data, &city.registry(), &city.rules())
}

/// A folder as a crash leaves it: sealed history of three runs, an open segment, messages put aside, databases, snapshots.
fn a_folder(city: &City, broker: &Mosquitto, data: &Path) {
    let mut received = 0;
    for round in 0..4 {
        let served = start(city, broker, data);
        let reports = city.reports(8, now_ms() - 600_000 + round * 120_000);
        run(publish(broker, &reports));
        received += reports.len() as u64;
        wait_for("what was sent", || (served.received() >= received).then_some(()));
        wait_for("a snapshot and the copy of the inventory", || {
            let has_snapshot = fs::read_dir(data.join("snapshots")).is_ok_and(|dir| dir.count() > 0);
            let is_scrubbed = served.get("/metrics").1.contains("muckwatch_scrub_age_seconds ");
            (has_snapshot && is_scrubbed && verify(data).0 == 0).then_some(())
        });
        match round {
            3 => served.kill(),
            _ => assert_eq!(served.stop(), Some(0)),
        }
    }
    let payload = br#"{"device_id":"D1","lat":22.5,"lon":113.9}"#;
    let mut backlog = Backlog::open(&data.join("backlog"), &data.join("journal")).unwrap();
    let messages = vec![(0, "mw/v1/device/D1/report", &payload[..]); 20];
    backlog.append(&messages).unwrap();
}

/// Exit status, and what was said.
fn verify(data: &Path) -> (i32, String) {
    let output = program().arg("verify").arg("--data").arg(data).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.flat_map(|p| if p.is_dir() { files(&p) } else { vec![p] }).collect();
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Damage {
    /// One bit, at so many hundredths of the file.
    Flip(usize),
    Cut,
    Zero,
    Delete,
}

impl Damage {
    fn to(self, path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        match self {
            Self::Delete => return fs::remove_file(path).unwrap(),
            Self::Flip(percent) => {
                let at = (bytes.len() - 1) * percent / 100;
                bytes[at] ^= 1 << (percent % 8);
            }
            Self::Cut => bytes.truncate(bytes.len() / 2),
            Self::Zero => bytes.fill(0),
        }
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn whatever_is_damaged_is_named_or_harmless() {
    let (city, broker, folder) = (City::new(4), Mosquitto::start(), tempfile::tempdir().unwrap());
    let whole = folder.path().join("data");
    a_folder(&city, &broker, &whole);
    let (status, said) = verify(&whole);
    assert_eq!((status, said.lines().last()), (0, Some("all is as it was written")), "{said}");
    let ledger = |data: &Path| {
        let output = program().arg("ledger").arg("--data").arg(data).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (status, said) = ledger(&whole);
    assert!(status == 0 && said.contains("128  received") && said.contains("128  in the journal"), "{said}");
    let oldest = files(&whole.join("journal/history")).remove(0);
    let bytes = fs::read(&oldest).unwrap();
    fs::remove_file(&oldest).unwrap();
    let (status, said) = ledger(&whole);
    let name = oldest.file_name().unwrap().to_str().unwrap();
    assert!(status == 1 && said.contains("NOT BALANCED") && said.contains(name), "{said}");
    fs::write(&oldest, bytes).unwrap();
    let damages =
        [0, 3, 31, 50, 77, 100].map(Damage::Flip).into_iter().chain([Damage::Cut, Damage::Zero, Damage::Delete]);
    let damages: Vec<Damage> = damages.collect();
    let (mut named, mut harmless) = (0, Vec::new());
    for file in files(&whole).iter().map(|file| file.strip_prefix(&whole).unwrap()) {
        if fs::metadata(whole.join(file)).unwrap().len() == 0 {
            continue;
        }
        for damage in &damages {
            let data = folder.path().join("damaged");
            copy(&whole, &data);
            damage.to(&data.join(file));
            let (status, said) = verify(&data);
            let word = file.file_name().unwrap().to_str().unwrap();
            let word = word.trim_end_matches("-wal").trim_end_matches("-shm");
            let name = file.to_str().unwrap();
            if status == 1 {
                // Of the newest segment only the store knows how far it went.
                let is_named = said.contains(word) || said.contains("/journal: it ends at position");
                assert!(is_named, "{damage:?} of {name}: {said}");
                named += 1;
            } else {
                assert_eq!(status, 0, "{damage:?} of {name}: {said}");
                harmless.push((name.to_owned(), *damage));
            }
            fs::remove_dir_all(&data).unwrap();
        }
    }
    // A snapshot that has gone is made again from the journal; SQLite throws away what of its log is not whole, and what it
    // had committed there is judged again; while the log has all, the database is not read. A flip within a database is
    // found where it breaks its order only. The mark at the head of a file of messages is in each of them, too.
    let is_allowed = |(name, damage): &(String, Damage)| match damage {
        Damage::Flip(0) if name.starts_with("backlog/") => true,
        Damage::Cut | Damage::Zero if name.ends_with(".sqlite") => whole.join(format!("{name}-wal")).exists(),
        Damage::Delete => name.starts_with("snapshots/") || name.ends_with("-wal") || name.ends_with("-shm"),
        Damage::Flip(_) => name.contains(".sqlite"),
        Damage::Cut | Damage::Zero => name.ends_with("-wal") || name.ends_with("-shm"),
    };
    let unnamed: Vec<_> = harmless.iter().filter(|one| !is_allowed(one)).collect();
    assert!(unnamed.is_empty() && named > 60, "{named} named, not named: {unnamed:#?}");
}

#[test]
fn a_start_on_a_damaged_folder_says_so_and_goes_on() {
    let (city, broker, folder) = (City::new(4), Mosquitto::start(), tempfile::tempdir().unwrap());
    let whole = folder.path().join("data");
    a_folder(&city, &broker, &whole);
    let sealed: Vec<PathBuf> = files(&whole.join("journal/history"));
    let below = |path: &PathBuf| path.strip_prefix(&whole).unwrap().to_owned();
    let (oldest, newest) = (below(&sealed[0]), below(&sealed[sealed.len() - 1]));
    for (file, damage) in [
        (oldest, Damage::Delete),
        (newest, Damage::Flip(50)),
        ("journal/inventory.jsonl".into(), Damage::Delete),
        ("registry.sqlite".into(), Damage::Delete),
        ("muckwatch.sqlite".into(), Damage::Delete),
        ("backlog/aside-00000000000000000000.raw".into(), Damage::Flip(40)),
        ("backlog/aside-00000000000000000000.raw".into(), Damage::Delete),
    ] {
        let data = folder.path().join("damaged");
        copy(&whole, &data);
        damage.to(&data.join(&file));
        // A database goes with its log.
        for end in ["-wal", "-shm"].iter().filter(|_| damage == Damage::Delete) {
            _ = fs::remove_file(data.join(format!("{}{end}", file.display())));
        }
        let served = start(&city, &broker, &data);
        let before = served.received();
        wait_for("word of it in the metrics and the log", || {
            let metrics = served.get("/metrics").1;
            let counted = metrics.lines().find_map(|line| line.strip_prefix("muckwatch_damaged_files "))?;
            let is_said = served.log().contains(file.file_name().unwrap().to_str().unwrap());
            (counted.parse::<u64>().unwrap() > 0 && is_said).then_some(())
        });
        run(publish(&broker, &city.reports(2, now_ms() - 20_000)));
        wait_for("reports to be judged all the same", || (served.received() >= before + 8).then_some(()));
        let (status, said) = served.get("/readyz");
        assert!(
            status == 200 && said.starts_with("degraded: ") && said.contains("of the data folder damaged or missing"),
            "{said}"
        );
        assert_eq!(served.stop(), Some(0), "{}: {damage:?}", file.display());
        fs::remove_dir_all(&data).unwrap();
    }
}

/// What a start stopped at had no way out: a damaged newest file, a cut open segment, a damaged database.
#[test]
fn repair_says_what_is_lost_and_then_all_is_well() {
    let (city, broker, folder) = (City::new(4), Mosquitto::start(), tempfile::tempdir().unwrap());
    let whole = folder.path().join("data");
    a_folder(&city, &broker, &whole);
    let repair = |data: &Path, more: &[&str]| {
        let output = program().arg("repair").arg("--data").arg(data).args(more).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap(), said)
    };
    assert_eq!(repair(&whole, &[]), (0, "nothing is to be repaired\n".to_owned()));
    let content = |data: &Path| -> Vec<(PathBuf, Vec<u8>)> {
        // Who reads a database touches what it shares with others.
        let kept = files(data).into_iter().filter(|file| !file.to_str().unwrap().ends_with("-shm"));
        kept.map(|file| (file.clone(), fs::read(file).unwrap())).collect()
    };
    let (mut repaired, mut started) = (0, 0);
    for file in files(&whole).iter().map(|file| file.strip_prefix(&whole).unwrap()) {
        let name = file.to_str().unwrap();
        // Of messages put aside a start takes what is good.
        if name.contains(".sqlite-") || name.starts_with("backlog/") || name.ends_with(".waits") {
            continue;
        }
        for damage in [Damage::Flip(50), Damage::Cut, Damage::Zero, Damage::Delete] {
            let data = folder.path().join("damaged");
            copy(&whole, &data);
            damage.to(&data.join(file));
            let is_database = name.ends_with(".sqlite") && damage != Damage::Flip(50);
            for end in ["-wal", "-shm"].iter().filter(|_| is_database) {
                _ = fs::remove_file(data.join(format!("{name}{end}")));
            }
            if verify(&data).0 == 1 {
                let before = content(&data);
                let (status, said) = repair(&data, &["--dry-run"]);
                assert!(status == 1 && said.contains("nothing was changed"), "{damage:?} of {name}: {said}");
                assert!(before == content(&data), "{damage:?} of {name}: something was changed");
                let (status, done) = repair(&data, &[]);
                assert!(status == 0 && done.ends_with("done; muckwatch verify looks through it again\n"), "{done}");
                assert_eq!(said.lines().next(), done.lines().next(), "what was said is what is done");
                let (status, said) = verify(&data);
                // Of an open segment a start keeps what is good.
                let is_open = name.ends_with(".arrow");
                assert!(status == 0 || is_open, "{damage:?} of {name}: {done}then: {said}");
                repaired += 1;
                if is_open || name.ends_with(".sqlite") && damage != Damage::Cut {
                    let served = start(&city, &broker, &data);
                    let before = served.received();
                    run(publish(&broker, &city.reports(2, now_ms() - 20_000)));
                    wait_for("reports to be judged", || (served.received() >= before + 8).then_some(()));
                    assert_eq!(served.stop(), Some(0), "{damage:?} of {name}");
                    assert_eq!(verify(&data).0, 0, "{damage:?} of {name}: {}", verify(&data).1);
                    started += 1;
                }
            }
            fs::remove_dir_all(&data).unwrap();
        }
    }
    assert!(repaired > 25 && started > 5, "{repaired} repaired, {started} started");
}
