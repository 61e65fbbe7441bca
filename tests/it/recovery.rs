//! A start goes on where the process before it ended, however that came about.

use std::{collections::BTreeMap, fs, path::Path};

use muckwatch::model::Time;
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};

use crate::{
    city::{City, START_MS},
    line::{publish, publish_all, replayed, run},
    support::{Mosquitto, Served, alerts, assert_same_alerts, program, wait_for},
};

/// A server that saves its state every second.
fn serve(city: &City, broker: &Mosquitto, data: &Path) -> Served {
    serve_with(city, broker, data, "1024")
}

/// The same with so much memory for the past.
fn serve_with(city: &City, broker: &Mosquitto, data: &Path, memory_mib: &str) -> Served {
    let mut program = program();
    program.env("MUCKWATCH_LATE__SNAPSHOT_S", "1").env("MUCKWATCH_LATE__MEMORY_MIB", memory_mib);
    Served::start_with(program, &broker.address(), data, &city.registry(), &city.rules())
}

/// Stops it: every alert that it told comes again from what it kept.
fn stopped_and_explained(served: Served, data: &Path) {
    let told = alerts(&served).len();
    assert_eq!(served.stop(), Some(0));
    let explained = program().args(["explain", "--all", "--data"]).arg(data).output().unwrap();
    let said = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(said.contains(&format!("{told} of {told} alerts reproduced byte for byte, 0 differ")), "{said}");
}

/// Before any report.
const START_OF_ALL: &str = "2020-01-01T00:00:00Z";

const REBUILT: &str = "state is rebuilt";

/// How many records were folded again at the start, and from which position on.
fn rebuilt(served: &Served) -> (u64, u64) {
    let log = wait_for("word of the state", || Some(served.log()).filter(|log| log.contains(REBUILT)));
    let number = |name: &str| {
        let line: Json = serde_json::from_str(log.lines().find(|line| line.contains(REBUILT)).unwrap()).unwrap();
        line["fields"][name].as_u64().unwrap()
    };
    (number("from"), number("folded"))
}

/// Young enough that what is late is judged.
fn hours_ago(hours: i64) -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_millis() as i64 - hours * 3_600_000
}

/// How many reports were judged.
fn evaluated(served: &Served) -> u64 {
    let ledger = served.json("/api/v1/ledger");
    let counts = ledger["outcomes"].as_array().unwrap();
    let evaluated = counts.iter().filter(|row| row["outcome"] == "evaluated");
    evaluated.map(|row| row["count"].as_u64().unwrap()).sum()
}

fn snapshots(data: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(data.join("snapshots")) else { return Vec::new() };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[test]
fn a_start_goes_on_from_the_last_snapshot_and_passes_over_what_is_damaged() {
    let (city, broker) = (City::new(20), Mosquitto::start());
    let reports = city.reports(150, START_MS);
    let data = city.folder.path().join("data");
    let (first, rest) = reports.split_at(reports.len() / 3);
    let (second, third) = rest.split_at(rest.len() / 2);

    let mut served = serve(&city, &broker, &data);
    run(publish(&broker, first));
    wait_for("the first part", || (served.received() == first.len() as u64).then_some(()));
    assert_eq!(served.stop(), Some(0));
    served = serve(&city, &broker, &data);
    let (from, folded) = rebuilt(&served);
    assert!(from > first.len() as u64 && folded == 0, "whoever ends in order leaves nothing to fold: {from}, {folded}");

    run(publish(&broker, second));
    let so_far = (first.len() + second.len()) as u64;
    wait_for("the second part", || (served.received() == so_far).then_some(()));
    wait_for("a snapshot", || (snapshots(&data).len() > 1).then_some(()));
    served.kill();
    // The newest is damaged: the one before it, and the journal since, give the same.
    let newest = snapshots(&data).pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, bytes).unwrap();
    served = serve(&city, &broker, &data);
    let (from, folded) = rebuilt(&served);
    assert!(from > 0 && folded > 0, "from {from}, {folded} folded");
    assert!(served.log().contains("it is damaged"), "{}", served.log());

    run(publish(&broker, third));
    wait_for("all reports", || (served.received() == reports.len() as u64).then_some(()));
    assert_same_alerts(&alerts(&served), &replayed(&city, &reports));
    let seen = |served: &Served| served.json("/api/v1/vehicles/V7")["last_position"].clone();
    let before = seen(&served);
    assert!(before["lat"].is_f64(), "{before}");
    assert_eq!(served.stop(), Some(0));
    assert_eq!(seen(&serve(&city, &broker, &data)), before, "where it was last seen is known, too");
}

#[test]
fn a_data_folder_of_another_version_is_folded_again_from_the_journal() {
    let (city, broker) = (City::new(5), Mosquitto::start());
    let reports = city.reports(60, START_MS);
    let data = city.folder.path().join("data");
    let served = serve(&city, &broker, &data);
    run(publish(&broker, &reports));
    wait_for("all reports", || (served.received() == reports.len() as u64).then_some(()));
    assert_eq!(served.stop(), Some(0));
    let mut version = 0;
    for path in snapshots(&data) {
        let mut bytes = fs::read(&path).unwrap();
        version = bytes[4];
        bytes[4] += 1;
        fs::write(&path, bytes).unwrap();
    }
    let served = serve(&city, &broker, &data);
    let (from, folded) = rebuilt(&served);
    assert!(from == 0 && folded > reports.len() as u64, "from {from}, {folded} folded");
    let said = format!("of version {}, this muckwatch reads version {version}", version + 1);
    assert!(served.log().contains(&said), "{}", served.log());
    assert_same_alerts(&alerts(&served), &replayed(&city, &reports));
}

#[test]
fn a_broker_that_is_restarted_again_and_again_costs_nothing() {
    let (city, mut broker) = (City::new(20), Mosquitto::start());
    let reports = city.reports(150, START_MS);
    let served = serve(&city, &broker, &city.folder.path().join("data"));
    for part in reports.chunks(reports.len() / 4 + 1) {
        run(publish(&broker, part));
        broker.restart();
    }
    // What was not acknowledged comes again, and is a duplicate.
    wait_for("all reports", || (evaluated(&served) == reports.len() as u64).then_some(()));
    assert_same_alerts(&alerts(&served), &replayed(&city, &reports));
    assert_eq!(served.stop(), Some(0));
}

#[test]
fn what_came_before_a_change_of_the_rules_stays_judged_by_those_of_then() {
    let (city, broker) = (City::new(5), Mosquitto::start());
    let reports = city.reports(120, START_MS);
    let (first, second) = reports.split_at(reports.len() / 2);
    let data = city.folder.path().join("data");
    let served = serve(&city, &broker, &data);
    run(publish(&broker, first));
    wait_for("the first part", || (served.received() == first.len() as u64).then_some(()));
    let told: Vec<String> = alerts(&served).into_keys().collect();
    assert!(told.len() > 10, "only {} alerts", told.len());
    served.kill();
    let rules = city.rules().join("speed.yaml");
    let slower = fs::read_to_string(&rules).unwrap().replace("speed_kmh > 60", "speed_kmh > 300");
    fs::write(&rules, slower).unwrap();
    let served = serve(&city, &broker, &data);
    wait_for("word of the rules", || served.log().contains("the rules were changed").then_some(()));
    run(publish(&broker, second));
    wait_for("all reports", || (served.received() == reports.len() as u64).then_some(()));
    assert_eq!(alerts(&served).into_keys().collect::<Vec<_>>(), told, "none is lost, and nobody is that fast");
}

/// Late data of the time before a change of the rules is judged by those of then, whether memory reaches it or history must.
#[test]
fn what_comes_late_is_judged_by_the_rules_of_its_time() {
    for memory_mib in ["1024", "0"] {
        let (city, broker) = (City::new(5), Mosquitto::start());
        // What follows is more than is kept however small the memory.
        let reports = city.reports(300, hours_ago(2));
        let (first, second) = reports.split_at(reports.len() / 5);
        let is_late = |index: usize| index % 5 == 3 && (100..200).contains(&index);
        let expected = replayed(&city, first);
        let part = |late: bool| -> Vec<Json> {
            let mine = first.iter().enumerate().filter(|(index, _)| is_late(*index) == late);
            mine.map(|(_, report)| report.clone()).collect()
        };
        let in_time = replayed(&city, &part(false));
        assert!(in_time.len() < expected.len(), "what is late tells nothing");
        let data = city.folder.path().join("data");
        let served = serve_with(&city, &broker, &data, memory_mib);
        run(publish(&broker, &part(false)));
        wait_for("the first part", || (served.received() == part(false).len() as u64).then_some(()));
        let rules = city.rules().join("speed.yaml");
        let version = |served: &Served| served.json("/api/v1/rules")["rules"][0]["version"].clone();
        let old = version(&served);
        let slower = fs::read_to_string(&rules).unwrap().replace("speed_kmh > 60", "speed_kmh > 300");
        fs::write(&rules, slower).unwrap();
        wait_for("the other rules", || (version(&served) != old).then_some(()));
        // A leg of each truck at a time.
        let mut count = part(false).len();
        for leg in second.chunks(5 * 64) {
            run(publish(&broker, leg));
            count += leg.len();
            wait_for("what follows", || (served.received() == count as u64).then_some(()));
        }
        run(publish(&broker, &part(true)));
        wait_for("all reports", || (evaluated(&served) == reports.len() as u64).then_some(()));
        wait_for("all of its alerts", || comparable(alerts(&served)).keys().eq(expected.keys()).then_some(()));
        let fired = |alerts: &BTreeMap<String, Json>| -> Vec<String> {
            alerts.values().map(|alert| alert["fired_at"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(fired(&comparable(alerts(&served))), fired(&expected));
        stopped_and_explained(served, &data);
    }
}

/// A truck is put on the blacklist with effect from before: on request what it did since is judged again.
#[test]
fn what_is_registered_too_late_is_judged_again_on_request() {
    let (city, broker) = (City::new(5), Mosquitto::start());
    let start_ms = hours_ago(2);
    let reports = city.reports(120, start_ms);
    let rule = "rules:\n  - { id: listed, when: blacklisted and speed_kmh > 60, for: 20s }\n";
    fs::write(city.rules().join("listed.yaml"), rule).unwrap();
    let served = serve(&city, &broker, &city.folder.path().join("data"));
    run(publish(&broker, &reports));
    wait_for("all reports", || (evaluated(&served) == reports.len() as u64).then_some(()));
    let before = alerts(&served);
    assert!(before.values().all(|alert| alert["rule_id"] == "fast"), "nobody is on the blacklist");

    let entry = json!({ "subject": "vehicle", "subject_id": "V3", "reason": "unpaid", "valid_from": START_OF_ALL });
    let answer = served.post("/api/v1/registry/blacklist", &json!([entry]));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = served.post("/api/v1/judge-again", &json!({ "since": start_ms }));
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let header = "subject,subject_id,reason\n";
    fs::write(city.registry().join("blacklist.csv"), format!("{header}vehicle,V3,unpaid\n")).unwrap();
    let expected = comparable(replayed(&city, &reports));
    assert!(expected.len() > before.len() + 5, "{} and {} alerts", expected.len(), before.len());
    wait_for("what is told otherwise", || (comparable(alerts(&served)) == expected).then_some(()));
    let late: Vec<Json> = alerts(&served).into_values().filter(|alert| alert["retrospective"] == true).collect();
    assert!(late.len() > 5 && late.iter().all(|alert| alert["vehicle_id"] == "V3"), "{late:?}");
    assert_eq!(served.stop(), Some(0));
}

/// Of what is corrected: by rows given to the API, by a folder that another process imports while it runs and while it does not,
/// with a kill right after the answer. Each time what was judged is judged again, and all that was told comes again byte for byte.
#[test]
fn a_correction_is_judged_again_from_memory_and_from_history_and_after_a_kill() {
    for memory_mib in ["1024", "0"] {
        let (city, broker) = (City::new(5), Mosquitto::start());
        let start_ms = hours_ago(2);
        let reports = city.reports(120, start_ms);
        let since = Time::from_millis(start_ms + 300_000).to_string();
        let rule = "rules:\n  - { id: listed, when: blacklisted and speed_kmh > 60, for: 20s }\n";
        fs::write(city.rules().join("listed.yaml"), rule).unwrap();
        let data = city.folder.path().join("data");
        let start = || serve_with(&city, &broker, &data, memory_mib);
        let import = |more: &[&str]| {
            let output = program()
                .args(["registry", "import"])
                .args(more)
                .arg(city.registry())
                .arg("--data")
                .arg(&data)
                .output();
            let output = output.unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let blacklist = |ids: &[&str]| {
            let rows: String = ids.iter().map(|id| format!("vehicle,{id},unpaid,{since}\n")).collect();
            fs::write(city.registry().join("blacklist.csv"), format!("subject,subject_id,reason,valid_from\n{rows}"))
                .unwrap();
            comparable(replayed(&city, &reports))
        };
        let none = blacklist(&[]);
        import(&[]);
        let mut served = start();
        run(publish(&broker, &reports));
        wait_for("all reports", || (evaluated(&served) == reports.len() as u64).then_some(()));
        assert_eq!(comparable(alerts(&served)).len(), none.len());

        let entry = json!({ "subject": "vehicle", "subject_id": "V3", "reason": "unpaid", "valid_from": since });
        let path = format!("/api/v1/registry/blacklist?since={since}&judge_again=true");
        let answer = served.post(&path, &json!([entry]));
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"vehicles\":[\"V3\"]"), "{answer}");
        served.kill();
        let expected = blacklist(&["V3"]);
        served = start();
        assert!(expected.len() > none.len() + 5);
        let is = |served: &Served, expected: &BTreeMap<String, Json>| {
            wait_for("what is told otherwise", || {
                (comparable(alerts(served)).keys().eq(expected.keys())).then_some(())
            });
            assert_same_alerts(&comparable(alerts(served)), expected);
        };
        is(&served, &expected);

        // Another process, while this one runs: it was not V3, it was V4.
        let expected = blacklist(&["V4"]);
        let said = import(&["--since", &since, "--judge-again"]);
        assert!(said.contains("by V3, V4 is judged again"), "{said}");
        is(&served, &expected);
        let withdrawn: Vec<Json> =
            alerts(&served).into_values().filter(|alert| alert["state"] == "withdrawn").collect();
        let because = "what is registered by now shows that it was not so";
        assert!(
            withdrawn.len() > 5 && withdrawn.iter().all(|alert| alert["withdrawn_because"] == because),
            "{withdrawn:?}"
        );

        // While none runs: it was nobody.
        assert_eq!(served.stop(), Some(0));
        blacklist(&[]);
        import(&["--since", &since, "--judge-again"]);
        served = start();
        is(&served, &none);
        stopped_and_explained(served, &data);
    }
}

/// The alerts that hold, but for whether only late data showed them.
fn comparable(mut alerts: BTreeMap<String, Json>) -> BTreeMap<String, Json> {
    alerts.retain(|_, alert| alert["state"] != "withdrawn");
    alerts.values_mut().for_each(|alert| _ = alert.as_object_mut().unwrap().remove("retrospective"));
    alerts
}

/// As they arrive: half of them late, one in twenty twice.
fn half_late(in_order: &[Json], rng: &mut ChaCha8Rng) -> Vec<Json> {
    let mut arrivals: Vec<(usize, usize)> = Vec::new();
    for index in 0..in_order.len() {
        for _ in 0..if rng.random_bool(0.05) { 2 } else { 1 } {
            let delay = if rng.random_bool(0.5) { rng.random_range(0..in_order.len() / 2) } else { 0 };
            arrivals.push((index + delay, index));
        }
    }
    arrivals.shuffle(rng);
    arrivals.sort_by_key(|(at, _)| *at);
    arrivals.iter().map(|(_, index)| in_order[*index].clone()).collect()
}

/// Half of the stream comes late, some of it twice; the process is killed again and again while it comes.
fn killed_again_and_again(seed: u64, kills: usize, rounds: usize, memory_mib: &str) {
    let (city, broker) = (City::new(20), Mosquitto::start());
    // Of the last hours: what is older than three days is not judged.
    let in_order = city.reports(rounds, hours_ago(2));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let reports = half_late(&in_order, &mut rng);
    let data = city.folder.path().join("data");
    let start = || serve_with(&city, &broker, &data, memory_mib);
    let mut served = start();
    for part in reports.chunks(reports.len() / kills + 1) {
        let (seen, some) = (served.received(), rng.random_range(0..part.len() as u64 / 2));
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| run(publish(&broker, part)));
            wait_for("some of the part", || (served.received() > seen + some).then_some(()));
            served.kill();
            sending.join().unwrap();
        });
        served = start();
    }
    wait_for("all reports", || (served.received() >= reports.len() as u64).then_some(()));
    ends_as_in_order(&served, &city, &in_order);
    assert_eq!(served.stop(), Some(0));
}

/// All reports count once, and the alerts are those of the same reports in order.
fn ends_as_in_order(served: &Served, city: &City, in_order: &[Json]) {
    let expected = comparable(replayed(city, in_order));
    // What waits for history is told a little later.
    let all = in_order.len() as u64;
    let is_done = || evaluated(served) == all && comparable(alerts(served)) == expected;
    for _ in 0..300 {
        if is_done() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_same_alerts(&comparable(alerts(served)), &expected);
    assert_eq!(evaluated(served), all, "{}", served.json("/api/v1/ledger"));
}

#[test]
fn killed_again_and_again_with_half_of_it_late_it_ends_as_if_nothing_had_been() {
    killed_again_and_again(4, 50, 600, "1024");
}

/// Without memory all that is late comes by way of history.
#[test]
fn without_memory_for_the_past_it_ends_the_same_by_way_of_history() {
    killed_again_and_again(5, 10, 600, "0");
}

/// What trucks kept waits at the broker in large messages; the process is killed while it puts them aside, and while it takes them up.
#[test]
fn what_was_put_aside_is_judged_once_however_often_the_process_is_killed() {
    let (city, broker) = (City::new(20), Mosquitto::start());
    let mut reports = city.reports(1_500, hours_ago(5));
    // Some say more than we ask.
    reports.iter_mut().for_each(|report| report["firmware"] = json!("0.9-".repeat(200)));
    let data = city.folder.path().join("data");
    let start = || {
        let mut program = program();
        program.env("MUCKWATCH_LATE__SNAPSHOT_S", "1");
        Served::start_with(program, &broker.address(), &data, &city.registry(), &city.rules())
    };
    // The broker keeps what comes from now on.
    assert_eq!(start().stop(), Some(0));
    let mut kept: BTreeMap<&str, Vec<&Json>> = BTreeMap::new();
    for report in &reports {
        kept.entry(report["device_id"].as_str().unwrap()).or_default().push(report);
    }
    let batches = kept.iter().flat_map(|(device_id, reports)| {
        let topic = format!("mw/v1/device/{device_id}/report");
        reports.chunks(50).map(move |batch| (topic.clone(), serde_json::to_vec(batch).unwrap()))
    });
    run(publish_all(&broker, batches.collect()));

    let mut found_aside = 0;
    for number in 1..=6 {
        let served = start();
        let wanted = reports.len() as u64 * number / 10;
        wait_for("some of them", || (served.received() > wanted).then_some(()));
        served.kill();
        found_aside += usize::from(fs::read_dir(data.join("backlog")).unwrap().next().is_some());
    }
    let served = start();
    assert!(found_aside > 0, "nothing was put aside: the test shows nothing");
    let all = reports.len() as u64;
    wait_for("all of them", || (evaluated(&served) == all).then_some(()));
    let (_, metrics) = served.get("/metrics");
    assert!(metrics.contains("muckwatch_backlog_bytes 0"), "{metrics}");
    assert!(fs::read_dir(data.join("backlog")).unwrap().next().is_none(), "what was judged is not kept twice");
    assert_same_alerts(&comparable(alerts(&served)), &comparable(replayed(&city, &reports)));
    assert_eq!(served.stop(), Some(0));
}

/// A backup, say, or somebody at the shell. `/readyz` said "ready" while nothing could be committed.
#[test]
fn while_another_program_holds_the_database_what_comes_waits() {
    let (city, broker) = (City::new(20), Mosquitto::start());
    let in_order = city.reports(300, hours_ago(2));
    let reports = half_late(&in_order, &mut ChaCha8Rng::seed_from_u64(6));
    let data = city.folder.path().join("data");
    let served = serve(&city, &broker, &data);
    let (first, rest) = reports.split_at(reports.len() / 3);
    run(publish(&broker, first));
    wait_for("the first reports", || (served.received() >= first.len() as u64).then_some(()));
    let other = rusqlite::Connection::open(data.join("muckwatch.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    run(publish(&broker, rest));
    wait_for("word of the lock", || served.log().contains("nothing is committed until").then_some(()));
    assert!(served.received() < reports.len() as u64, "counted, but not committed");
    let (status, said) = served.get("/readyz");
    assert!(status == 503 && said.contains("the database cannot be written"), "{said}");
    other.execute_batch("ROLLBACK").unwrap();
    wait_for("all reports", || (served.received() >= reports.len() as u64).then_some(()));
    wait_for("it to be ready again", || (served.get("/readyz") == (200, "ready\n".to_owned())).then_some(()));
    ends_as_in_order(&served, &city, &in_order);
    assert_eq!(served.stop(), Some(0));
}
