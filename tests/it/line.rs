//! The line from a broker that is not ours to a person.

use std::time::Duration;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::{Value as Json, json};

use crate::{
    city::{City, START_MS},
    support::{
        Mosquitto, PATIENCE, Served, alerts, alerts_of_file, assert_same_alerts, free_port, get, program, wait_for,
    },
};

/// Publishes reports in order, many on their way at once, and returns when the broker has them all.
pub async fn publish(broker: &Mosquitto, reports: &[Json]) {
    let message = |report: &Json| {
        let topic = format!("mw/v1/device/{}/report", report["device_id"].as_str().unwrap());
        (topic, report.to_string().into_bytes())
    };
    publish_all(broker, reports.iter().map(message).collect()).await;
}

pub async fn publish_all(broker: &Mosquitto, messages: Vec<(String, Vec<u8>)>) {
    let mut options = MqttOptions::new("test-fleet", "127.0.0.1", broker.port);
    options.set_max_packet_size(8 << 20, 8 << 20);
    let (client, mut events) = AsyncClient::new(options, 100);
    let count = messages.len();
    let acknowledged = async {
        let mut left = count;
        while left > 0 {
            if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.unwrap() {
                left -= 1;
            }
        }
    };
    let sent = async {
        for (topic, payload) in messages {
            client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, async { tokio::join!(sent, acknowledged) }).await.expect("the broker takes all");
}

/// Does it to the end.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

/// The alerts of the same reports without broker and server.
pub fn replayed(city: &City, reports: &[Json]) -> std::collections::BTreeMap<String, Json> {
    let (input, output) = (city.file("reports.jsonl", reports), city.folder.path().join("alerts.jsonl"));
    let status = program()
        .arg("replay")
        .arg("--registry")
        .arg(city.registry())
        .arg("--rules")
        .arg(city.rules())
        .arg("--input")
        .arg(input)
        .arg("--alerts")
        .arg(&output)
        .status()
        .unwrap();
    assert!(status.success());
    alerts_of_file(&output)
}

#[test]
fn what_comes_over_a_broker_ends_as_a_replay_does() {
    let (city, broker) = (City::new(20), Mosquitto::start());
    let reports = city.reports(60, START_MS);
    let served = Served::start(&broker.address(), &city.folder.path().join("data"), &city.registry(), &city.rules());
    run(publish(&broker, &reports));
    wait_for("all reports to be committed", || (served.received() == reports.len() as u64).then_some(()));
    let expected = replayed(&city, &reports);
    assert!(expected.len() > 40, "only {} alerts", expected.len());
    assert_same_alerts(&alerts(&served), &expected);
    assert_eq!(served.stop(), Some(0));
}

/// Killed twice in the middle: what was not acknowledged comes again, what was judged is judged once.
#[test]
fn a_crash_loses_nothing_and_tells_nothing_twice() {
    let (city, broker) = (City::new(20), Mosquitto::start());
    let reports = city.reports(150, START_MS);
    let data = city.folder.path().join("data");
    let start = || Served::start(&broker.address(), &data, &city.registry(), &city.rules());
    let mut served = start();
    for part in reports.chunks(reports.len() / 3 + 1) {
        let seen = served.received();
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| run(publish(&broker, part)));
            wait_for("some of the part", || (served.received() > seen).then_some(()));
            served.kill();
            sending.join().unwrap();
        });
        served = start();
    }
    let evaluated = |served: &Served| {
        let ledger = served.json("/api/v1/ledger");
        let counts = ledger["outcomes"].as_array().unwrap().clone();
        counts.iter().find(|row| row["outcome"] == "evaluated").map_or(0, |row| row["count"].as_u64().unwrap())
    };
    wait_for("all reports to be committed", || (served.received() >= reports.len() as u64).then_some(()));
    wait_for("all reports to be judged", || (evaluated(&served) == reports.len() as u64).then_some(()));
    assert_same_alerts(&alerts(&served), &replayed(&city, &reports));
    assert_eq!(served.stop(), Some(0));
    let ledger = program().arg("ledger").arg("--data").arg(&data).output().unwrap();
    assert!(ledger.status.success(), "{}", String::from_utf8_lossy(&ledger.stdout));
}

/// A truck of each dialect speeds; besides reports they send what is none, and what cannot be read.
#[test]
fn every_dialect_ends_in_the_same_alert() {
    let (city, broker) = (City::new(0), Mosquitto::start());
    let devices = ["13900000001", "fleet/truck7", "355001", "352094081234567"];
    let row = |(n, device): (usize, &&str)| format!("V{n},粤B{n:05},{device},C1,active\n");
    let vehicles: String = devices.iter().enumerate().map(row).collect();
    let header = "vehicle_id,plate,device_id,company_id,status\n";
    std::fs::write(city.registry().join("vehicles.csv"), format!("{header}{vehicles}")).unwrap();
    let mut engine = program();
    let formats = ["emqx-jt808", "owntracks", "traccar", "teltonika"].map(|name| format!("{{format=\"{name}\"}}"));
    engine.env("MUCKWATCH_MQTT__SOURCES", format!("[{}]", formats.join(",")));
    let data = city.folder.path().join("data");
    let served = Served::start_with(engine, &broker.address(), &data, &city.registry(), &city.rules());
    let mut messages: Vec<(String, Vec<u8>)> = Vec::new();
    let mut send = |topic: &str, payload: Json| messages.push((topic.to_owned(), payload.to_string().into_bytes()));
    for s in [0_i64, 10, 20] {
        // 21:05:09 UTC is after midnight in China, where the terminal's clock stands.
        let body = json!({"alarm": 0, "status": 3, "latitude": 22_543_100, "longitude": 113_951_200, "speed": 723,
            "time": format!("2603020505{s:02}")});
        send("jt808/c/013900000001/up", json!({"header": {"msg_id": 512, "phone": "013900000001"}, "body": body}));
        let tst = 1_772_399_100_i64 + s;
        send("owntracks/fleet/truck7", json!({"_type": "location", "lat": 22.5, "lon": 113.9, "vel": 72, "tst": tst}));
        let position =
            json!({"fixTime": tst * 1000, "latitude": 22.5, "longitude": 113.9, "speed": 39.0, "valid": true});
        send("positions", json!({"position": position, "device": {"uniqueId": "355001"}}));
        let reported = json!({"ts": tst * 1000, "latlng": "22.5,113.9", "sp": 72});
        send("teltonika/352094081234567/data", json!({"state": {"reported": reported}}));
    }
    send("jt808/c/013900000001/up", json!({"header": {"msg_id": 2, "phone": "013900000001"}, "body": {}}));
    send("owntracks/fleet/truck7", json!({"_type": "lwt", "tst": 1}));
    send("positions", json!({"position": {}}));
    run(publish_all(&broker, messages));
    wait_for("all messages to be committed", || (served.received() == 15).then_some(()));
    let alerts = alerts(&served);
    let mut found: Vec<(&str, &str)> = alerts
        .values()
        .map(|alert| (alert["vehicle_id"].as_str().unwrap(), alert["fired_at"].as_str().unwrap()))
        .collect();
    found.sort_unstable();
    assert_eq!(found, ["V0", "V1", "V2", "V3"].map(|vehicle| (vehicle, "2026-03-01T21:05:20.000Z")));
    let (_, metrics) = served.get("/metrics");
    for line in [
        "muckwatch_reports_total{outcome=\"evaluated\",reason=\"ok\"} 12",
        "muckwatch_reports_total{outcome=\"filtered\",reason=\"no_report\"} 2",
        "muckwatch_reports_total{outcome=\"rejected\",reason=\"undecodable\"} 1",
        "muckwatch_dead_letters_total 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in:\n{metrics}");
    }
    assert_eq!(served.stop(), Some(0));
}

/// A truck is halfway to an alert when the folder of rules changes, first to something wrong, then to something new.
#[test]
fn rules_are_replaced_while_running_and_holds_go_on() {
    let (city, broker) = (City::new(2), Mosquitto::start());
    let served = Served::start(&broker.address(), &city.folder.path().join("data"), &city.registry(), &city.rules());
    let report = |truck: u32, s: i64, speed_kmh: i64| json!({"device_id": format!("D{truck}"), "device_time": START_MS + s * 1000, "speed_kmh": speed_kmh});
    let send = |reports: &[Json], sum: u64| {
        run(publish(&broker, reports));
        wait_for("the reports to be committed", || (served.received() == sum).then_some(()));
    };
    let rules = || served.json("/api/v1/rules");
    let added = city.rules().join("slow.yaml");
    send(&[report(0, 0, 65)], 1);

    std::fs::write(&added, "rules: [{ id: slow, when: sped_kmh < 10 }]").unwrap();
    let shown = wait_for("the problem to be shown", || Some(rules()).filter(|shown| shown["problem"].is_string()));
    let problem = shown["problem"].as_str().unwrap();
    assert!(problem.contains("slow.yaml:1:") && problem.contains("did you mean `speed_kmh`?"), "{problem}");
    assert_eq!(shown["rules"].as_array().unwrap().len(), 1, "the old ones judge: {shown}");
    wait_for("the log", || served.log().contains("the rules stay as they were").then_some(()));
    let (_, metrics) = served.get("/metrics");
    assert!(metrics.contains("muckwatch_rule_reloads_total{result=\"error\"} 1"), "{metrics}");

    std::fs::write(&added, "rules: [{ id: slow, when: speed_kmh < 10, departments: [company] }]").unwrap();
    let shown =
        wait_for("the new rule", || Some(rules()).filter(|shown| shown["rules"].as_array().unwrap().len() == 2));
    assert_eq!(shown["problem"], Json::Null);
    wait_for("the log", || (served.log().contains("rule added") && served.log().contains("slow")).then_some(()));

    send(&[report(0, 20, 65), report(1, 20, 5)], 3);
    let alerts = alerts(&served);
    let mut found: Vec<(&str, &str, &str)> = alerts
        .values()
        .map(|alert| ["rule_id", "vehicle_id", "started_at"].map(|field| alert[field].as_str().unwrap()).into())
        .collect();
    found.sort_unstable();
    let expected = [("fast", "V0", "2026-03-01T14:00:00.000Z"), ("slow", "V1", "2026-03-01T14:00:20.000Z")];
    assert_eq!(found, expected, "the hold that began before the change is complete after it");
    assert_eq!(served.stop(), Some(0));
}

#[test]
fn what_cannot_be_read_is_kept_counted_and_acknowledged() {
    let (city, broker) = (City::new(1), Mosquitto::start());
    let served = Served::start(&broker.address(), &city.folder.path().join("data"), &city.registry(), &city.rules());
    let now = json!({"device_time": START_MS, "speed_kmh": 10});
    let mut payloads: Vec<Vec<u8>> =
        ["", "{", "nonsense", "{\"device_time\":1e999}", "{\"device_time\":\"x\"}", "[1,2]", "\u{0}\u{1}"]
            .iter()
            .map(|text| text.as_bytes().to_vec())
            .collect();
    payloads.push(vec![0xff; 64]);
    payloads.push(vec![b' '; 2 << 20]);
    payloads.push(now.to_string().into_bytes());
    let messages = payloads.iter().map(|payload| ("mw/v1/device/D0/report".to_owned(), payload.clone())).collect();
    run(publish_all(&broker, messages));
    // `[1,2]` is two reports.
    let expected = payloads.len() as u64 + 1;
    wait_for("everything to be counted", || (served.received() == expected).then_some(()));
    let metrics = served.get("/metrics").1;
    assert!(metrics.contains("muckwatch_reports_total{outcome=\"evaluated\",reason=\"no_position\"} 1\n"), "{metrics}");
    assert!(metrics.contains("muckwatch_reports_total{outcome=\"rejected\",reason=\"too_large\"} 1\n"), "{metrics}");
    assert_eq!(served.stop(), Some(0));
}

/// From a speeding truck to the nearest unit, its answer and its finding.
#[test]
fn an_alert_finds_the_nearest_unit_and_comes_back_with_what_it_found() {
    let (city, broker) = (City::new(1), Mosquitto::start());
    let served = Served::start(&broker.address(), &city.folder.path().join("data"), &city.registry(), &city.rules());
    let now_ms =
        i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    run(async {
        let mut options = MqttOptions::new("test-unit", "127.0.0.1", broker.port);
        options.set_keep_alive(Duration::from_secs(30));
        let (client, mut events) = AsyncClient::new(options, 100);
        client.subscribe("mw/v1/dispatch/+", QoS::AtLeastOnce).await.unwrap();
        client.subscribe("mw/v1/alert/traffic_police", QoS::AtLeastOnce).await.unwrap();
        let say = |topic: String, payload: Json| {
            let client = client.clone();
            async move { client.publish(topic, QoS::AtLeastOnce, false, payload.to_string()).await.unwrap() }
        };
        let (mut offer, mut alert) = (None, None);
        let listen = async {
            while offer.is_none() || alert.is_none() {
                match events.poll().await.unwrap() {
                    Event::Incoming(Packet::SubAck(_)) => {
                        for (unit, lat) in [("U1", 22.6), ("U2", 22.501)] {
                            let at = json!({"unit_id": unit, "device_time": now_ms, "lat": lat, "lon": 113.9, "status": "available"});
                            say(format!("mw/v1/unit/{unit}/report"), at).await;
                        }
                        for step in 0..4 {
                            let mut report =
                                json!({"device_time": now_ms - 60_000 + step * 10_000, "lat": 22.5, "lon": 113.9});
                            report["speed_kmh"] = json!(95);
                            say("mw/v1/device/D0/report".into(), report).await;
                        }
                    }
                    Event::Incoming(Packet::Publish(publish)) => {
                        let payload: Json = serde_json::from_slice(&publish.payload).unwrap();
                        match publish.topic.as_str() {
                            "mw/v1/alert/traffic_police" => alert = Some(payload),
                            "mw/v1/dispatch/U2" => offer = Some(payload),
                            other => panic!("{other} was asked: {payload}"),
                        }
                    }
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, listen).await.expect("an alert and an offer");
        let (offer, alert) = (offer.unwrap(), alert.unwrap());
        assert_eq!((&offer["alert_id"], &alert["severity"]), (&alert["alert_id"], &json!("critical")));
        let dispatch_id = offer["dispatch_id"].clone();
        for (answer, verdict) in [("accept", Json::Null), ("arrived", Json::Null), ("resolved", json!("confirmed"))] {
            let mut reply =
                json!({"unit_id": "U2", "dispatch_id": dispatch_id, "device_time": now_ms, "answer": answer});
            if !verdict.is_null() {
                reply["verdict"] = verdict;
            }
            say("mw/v1/unit/U2/reply".into(), reply).await;
        }
        let ended = tokio::task::spawn_blocking({
            let (http, id) = (served.http.clone(), dispatch_id.as_str().unwrap().to_owned());
            move || {
                wait_for("the order to be resolved", || {
                    let (status, body) = crate::support::get(&http, &format!("/api/v1/dispatch/{id}"));
                    let order: Json = serde_json::from_str(&body).unwrap();
                    (status == 200 && body.contains("\"resolved\"")).then_some(order)
                })
            }
        });
        let listening = async {
            loop {
                let _ = events.poll().await;
            }
        };
        let order = tokio::select! { order = ended => order.unwrap(), () = listening => unreachable!() };
        assert!(order.to_string().contains("confirmed"), "{order}");
    });
    assert_eq!(served.stop(), Some(0));
}

/// Where no broker answers it waits, says that it is not ready, and ends when told to.
#[test]
fn without_a_broker_it_is_not_ready() {
    let (city, http) = (City::new(1), format!("127.0.0.1:{}", free_port()));
    let mut child = program()
        .args(["serve", "--http", &http, "--mqtt", &format!("127.0.0.1:{}", free_port())])
        .args([std::path::Path::new("--data"), &city.folder.path().join("data")])
        .args([std::path::Path::new("--rules"), &city.rules()])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_for("it to listen", || std::net::TcpStream::connect(&http).ok());
    assert_eq!(get(&http, "/healthz").0, 200);
    assert_eq!(get(&http, "/readyz").0, 503);
    assert!(std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(wait_for("it to end", || child.try_wait().unwrap()).code(), Some(0));
}
