//! What operators see of a process that runs: whether it is ready and why not, its metrics, its log.

use std::{
    collections::BTreeSet,
    io::Write as _,
    net::TcpStream,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::json;

use crate::{
    city::City,
    line::{publish, publish_all, run},
    support::{Mosquitto, Served, get, program, root, wait_for},
};

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn start(city: &City, broker: &Mosquitto, data: &str, variables: &[(&str, &str)]) -> Served {
    let mut program = program();
    program.envs(variables.iter().copied());
    let data = city.folder.path().join(data);
    Served::start_with(program, &broker.address(), &data, &city.registry(), &city.rules())
}

fn unready(served: &Served, word: &str) {
    wait_for(word, || {
        let (status, body) = served.get("/readyz");
        (status == 503 && body.contains(word)).then_some(())
    });
}

fn ready(served: &Served) {
    wait_for("it to be ready", || (served.get("/readyz").0 == 200).then_some(()));
}

#[test]
fn readiness_follows_the_broker() {
    let (city, mut broker) = (City::new(1), Mosquitto::start());
    let served = start(&city, &broker, "data", &[]);
    ready(&served);
    broker.stop();
    unready(&served, "is away");
    broker.up();
    ready(&served);
    let log = served.log();
    assert!(log.contains(&broker.address()), "the broker is not named:\n{log}");
}

/// Two processes were started with one configuration: the broker closes each one's connection when the other comes.
#[test]
fn two_processes_with_one_client_id_are_told_apart() {
    let (city, broker) = (City::new(1), Mosquitto::start());
    let both = [start(&city, &broker, "a", &[]), start(&city, &broker, "b", &[])];
    for served in &both {
        unready(served, "client id muckwatch");
        wait_for("the log to say it", || {
            served.log().contains("another client seems to use the same client id").then_some(())
        });
    }
}

#[test]
fn a_prefix_with_a_leading_slash_is_another_topic() {
    let (city, broker) = (City::new(1), Mosquitto::start());
    let served = start(&city, &broker, "data", &[("MUCKWATCH_MQTT__PREFIX", "/mw/v1")]);
    let report = json!({ "device_time": now_ms(), "lat": 22.5, "lon": 113.9 }).to_string().into_bytes();
    let there = |prefix: &str| (format!("{prefix}/device/D0/report"), report.clone());
    run(publish_all(&broker, vec![there("mw/v1"), there("/mw/v1")]));
    wait_for("the one that is meant for it", || (served.received() == 1).then_some(()));
}

/// Who sends what cannot be read, or what is odd, hears so, once a minute and kind; and whoever asks is shown it.
#[test]
fn senders_hear_what_is_wrong() {
    let (city, broker) = (City::new(1), Mosquitto::start());
    let served = start(&city, &broker, "data", &[("MUCKWATCH_ADMISSION__MAX_AGE_S", "259200")]);
    let report = |more: serde_json::Value| {
        let mut report = json!({ "device_time": now_ms(), "lat": 22.5, "lon": 113.9 });
        report.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ("mw/v1/device/D0/report".to_owned(), report.to_string().into_bytes())
    };
    let said = |topic: &str, message: serde_json::Value| (format!("mw/v1/{topic}"), message.to_string().into_bytes());
    let problems = run(async {
        let mut options = rumqttc::MqttOptions::new("terminal", "127.0.0.1", broker.port);
        options.set_clean_session(true);
        let (client, mut events) = rumqttc::AsyncClient::new(options, 10);
        client.subscribe("mw/v1/+/+/problem", rumqttc::QoS::AtLeastOnce).await.unwrap();
        let mut heard: Vec<serde_json::Value> = Vec::new();
        let listening = async {
            while heard.len() < 5 {
                match events.poll().await.unwrap() {
                    rumqttc::Event::Incoming(rumqttc::Packet::SubAck(_)) => {
                        let day = 86_400_000;
                        let messages = vec![
                            ("mw/v1/device/D0/report".into(), b"{\"speed".to_vec()),
                            ("mw/v1/device/D0/report".into(), b"nonsense".to_vec()),
                            report(json!({ "heading_deg": 400 })),
                            report(json!({ "heading_deg": 720 })),
                            report(json!({ "device_time": now_ms() - 40 * day })),
                            said(
                                "sensor/gate/sighting",
                                json!({ "device_time": now_ms(), "kind": "radar", "plate": "粤B00000" }),
                            ),
                            said(
                                "unit/U1/reply",
                                json!({ "device_time": now_ms(), "dispatch_id": "x", "answer": "perhaps" }),
                            ),
                            ("mw/v1/device/D0/position".into(), b"{}".to_vec()),
                            ("mw/v1/vehicle/D0/report".into(), b"{}".to_vec()),
                        ];
                        publish_all(&broker, messages).await;
                    }
                    rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish)) => {
                        heard.push(serde_json::from_slice(&publish.payload).unwrap());
                    }
                    _ => {}
                }
            }
        };
        tokio::time::timeout(crate::support::PATIENCE, listening).await.expect("five problems");
        heard
    });
    let kinds: Vec<&str> = problems.iter().map(|problem| problem["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["undecodable", "odd_field", "too_old", "odd_field", "undecodable"], "{problems:?}");
    assert_eq!((&problems[3]["sensor_id"], &problems[3]["fields"]), (&json!("gate"), &json!(["kind"])));
    assert_eq!(problems[4]["unit_id"], "U1");
    assert!(problems[4]["problem"].as_str().unwrap().contains("expected accept, decline"), "{problems:?}");
    assert_eq!(problems[1]["fields"], json!(["heading_deg"]));
    let device = served.json("/api/v1/devices/D0");
    assert_eq!((&device["registered"], &device["vehicle_id"]), (&json!(true), &json!("V0")));
    assert_eq!(device["odd_fields"]["heading_deg"], 2);
    assert_eq!(device["last_problems"].as_array().unwrap().len(), 3);
    assert_eq!(device["last_report"]["reason"], "too_old");
    let offset = device["clock_offset_s"].as_f64().unwrap();
    assert!((offset + 40.0 * 86_400.0).abs() < 120.0, "{offset}");
    let counted: u64 = device["outcomes"].as_array().unwrap().iter().map(|row| row["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, 5);
    assert_eq!(served.get("/api/v1/devices/nobody").0, 404);
    // Two letters of it, a page each.
    assert_eq!(served.json("/api/v1/dead-letters")["total"], 3);
    let page = served.json("/api/v1/dead-letters?device=D0&limit=1");
    assert_eq!(page["dead_letters"][0]["payload"], "nonsense");
    let next = page["next_cursor"].as_str().unwrap();
    let page = served.json(&format!("/api/v1/dead-letters?device=D0&limit=1&cursor={next}"));
    assert_eq!((&page["dead_letters"][0]["device_id"], &page["next_cursor"]), (&json!("D0"), &json!(null)));
    assert_eq!(served.get("/api/v1/dead-letters?cursor=x").0, 400);
    for topic in ["mw/v1/device/+/position", "mw/v1/vehicle/+/report"] {
        wait_for("the log to name the topic", || served.log().contains(topic).then_some(()));
    }
}

/// A history that was made, or brought from elsewhere, is judged at the first start; nobody is sent for what was over before anybody
/// listened.
#[test]
fn a_history_that_a_data_folder_begins_with_sends_nobody() {
    let (city, broker) = (City::new(1), Mosquitto::start());
    let at = |name: &str| city.folder.path().join(name);
    let start = muckwatch::model::Time::from_millis(now_ms() - 30 * 60_000).to_string();
    let made = program()
        .args(["simulate", "--duration", "25m", "--interval", "10s", "--start", &start])
        .arg("--write-city")
        .arg(at("made"))
        .arg("--history")
        .arg(at("data"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(made.status.success(), "{said}");
    // With the ticks of the clock, one a minute at the most.
    let kept: u64 =
        said.split(" records kept").next().and_then(|text| text.rsplit(['\n', ' ']).next()?.parse().ok()).unwrap();
    let served = Served::start(&broker.address(), &at("data"), &at("made"), &root().join("rules"));
    let of = |state: &str| {
        served.json(&format!("/api/v1/dispatch?state={state}&limit=1000"))["orders"].as_array().unwrap().len()
    };
    wait_for("all of it", || (served.received() + 60 > kept).then_some(()));
    assert!(of("listed") > 5 && kept > 1_000, "{kept}");
    for state in ["waiting", "offered", "accepted", "on_scene", "escalated"] {
        let orders = served.json(&format!("/api/v1/dispatch?state={state}"));
        assert_eq!(of(state), 0, "{state}: {orders}");
    }
    assert_eq!(served.stop(), Some(0));
}

/// Of these another test shows that they move; here they would need a full disk, a flood, or minutes.
const SHOWN_ELSEWHERE: [&str; 7] = [
    "muckwatch_backlog_bytes",
    "muckwatch_damaged_files",
    "muckwatch_journal_disk_full",
    "muckwatch_mqtt_connections_contested",
    "muckwatch_mqtt_dropped_total",
    "muckwatch_store_stuck",
    "muckwatch_stream_missed_total",
];

/// The names of all metrics, and of those with a value that is not zero. A histogram goes by its count.
fn metrics(served: &Served) -> (BTreeSet<String>, BTreeSet<String>) {
    let (_, text) = served.get("/metrics");
    let names: BTreeSet<String> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_owned)).collect();
    let moved = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let name = series.split('{').next()?;
        let name =
            [name.strip_suffix("_count"), Some(name)].into_iter().flatten().find(|name| names.contains(*name))?;
        (value.parse::<f64>().ok()? != 0.0).then(|| name.to_owned())
    });
    let moved = moved.collect();
    (names, moved)
}

/// A dashboard of metrics that stay at zero for ever tells that all is well. Whoever adds a metric feeds it, or this fails.
#[test]
fn every_metric_moves() {
    let (city, mut broker) = (City::new(2), Mosquitto::start());
    let faulty = "rules: [{ id: faulty, when: cast(plate as int) > 3 }]";
    std::fs::write(city.rules().join("faulty.yaml"), faulty).unwrap();
    let fast = [
        ("MUCKWATCH_LATE__SNAPSHOT_S", "1"),
        ("MUCKWATCH_DISPATCH__ESCALATE_AFTER_S__MAJOR", "20"),
        ("MUCKWATCH_DISPATCH__ESCALATE_AFTER_S__CRITICAL", "20"),
    ];
    let served = start(&city, &broker, "data", &fast);
    let mut seen = BTreeSet::new();
    let mut until = |what: &str, wanted: &[&str]| {
        wait_for(what, || {
            let (_, moved) = metrics(&served);
            seen.extend(moved);
            wanted.iter().all(|name| seen.contains(&format!("muckwatch_{name}"))).then_some(())
        });
    };
    // Somebody watches; somebody sends what cannot be read; a truck speeds.
    let mut watcher = TcpStream::connect(&served.http).unwrap();
    watcher.write_all(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let row = json!([{ "company_id": "C2", "name": "Two" }]);
    served.post("/api/v1/registry/companies", &row);
    let odd = json!({ "device_time": now_ms() - 300_000, "lat": 22.5, "lon": 113.9, "heading_deg": -1 });
    let odd = odd.to_string().into_bytes();
    let unasked = json!({ "dispatch_id": "none", "answer": "accept", "device_time": now_ms() });
    run(publish_all(
        &broker,
        vec![
            ("mw/v1/device/D0/report".into(), b"{".to_vec()),
            ("mw/v1/device/D0/report".into(), odd),
            ("mw/v1/device/D0/reports".into(), b"{}".to_vec()),
            ("mw/v1/unit/X1/reply".into(), unasked.to_string().into_bytes()),
        ],
    ));
    run(publish(&broker, &city.reports(12, now_ms() - 120_000)));
    served.hang_up();
    until(
        "what comes of reports",
        &[
            "alert_changes_total",
            "dispatch_orders",
            "dead_letters_total",
            "outbox_delivered_total",
            "rule_faults_total",
            "odd_fields_total",
            "unread_messages_total",
            "replies_total",
        ],
    );
    // There is no unit to be asked: after some seconds the department is to be told, and the broker is away.
    broker.stop();
    until("the watcher, and what was loaded", &["stream_subscribers", "registry_reloads_total", "rule_reloads_total"]);
    until("a snapshot", &["snapshots_total"]);
    until("sealed history to be read through", &["scrub_age_seconds"]);
    until("a message that waits", &["outbox_pending", "outbox_oldest_seconds", "outbox_failures_total"]);
    broker.up();
    until("the broker to be there again", &["mqtt_reconnects_total"]);
    let (names, _) = metrics(&served);
    let silent: Vec<&String> =
        names.iter().filter(|name| !seen.contains(*name) && !SHOWN_ELSEWHERE.contains(&name.as_str())).collect();
    assert!(silent.is_empty(), "nobody feeds {silent:?}");
}

/// Nobody is on duty, so the order is left to the department. It closes it over HTTP, or one of its units over MQTT; whoever is wrong is
/// told the reason, and who was right may correct the verdict.
#[test]
fn a_department_closes_what_was_left_to_it() {
    let (city, broker) = (City::new(2), Mosquitto::start());
    let soon = [("MUCKWATCH_DISPATCH__ESCALATE_AFTER_S__MAJOR", "1")];
    let served = start(&city, &broker, "data", &soon);
    let began = now_ms() - 60_000;
    let report = |n: i64| {
        let (truck, round) = (n % 2, n / 2);
        json!({ "device_id": format!("D{truck}"), "device_time": began + round * 10_000, "speed_kmh": 75,
            "lat": 22.5 + truck as f64 * 0.01, "lon": 113.9 + round as f64 * 0.002 })
    };
    run(publish(&broker, &(0..12).map(report).collect::<Vec<_>>()));
    let escalated = wait_for("two orders that nobody takes", || {
        let list = served.json("/api/v1/dispatch?state=escalated");
        let ids = list["orders"].as_array()?.iter().map(|order| order["dispatch_id"].as_str().unwrap().to_owned());
        let ids: Vec<String> = ids.collect();
        (ids.len() == 2).then_some(ids)
    });
    let resolve = |department: &str, verdict: &str| {
        let body = json!({ "department": department, "verdict": verdict });
        served.post(&format!("/api/v1/dispatch/{}/resolve", escalated[0]), &body)
    };
    let status = |answer: &str| answer.split(' ').nth(1).unwrap().to_owned();
    let verdict = |id: &str| served.json(&format!("/api/v1/dispatch/{id}"))["order"]["verdict"].clone();
    assert_eq!(status(&resolve("housing", "confirmed")), "400");
    assert_eq!(status(&resolve("traffic_police", "perhaps")), "400");
    assert_eq!(status(&resolve("traffic_police", "confirmed")), "200");
    assert_eq!(verdict(&escalated[0]), "confirmed");
    assert_eq!(status(&resolve("traffic_police", "false_alarm")), "200", "it corrects itself");
    assert_eq!(verdict(&escalated[0]), "false_alarm");
    let heard = run(async {
        let mut options = rumqttc::MqttOptions::new("squad", "127.0.0.1", broker.port);
        options.set_clean_session(true);
        let (client, mut events) = rumqttc::AsyncClient::new(options, 10);
        client.subscribe("mw/v1/dispatch/+", rumqttc::QoS::AtLeastOnce).await.unwrap();
        let reply = |unit: &str, id: &str, verdict: &str| {
            let reply = json!({ "dispatch_id": id, "device_time": now_ms(), "answer": "resolved", "verdict": verdict });
            (format!("mw/v1/unit/{unit}/reply"), reply.to_string().into_bytes())
        };
        let listening = async {
            loop {
                match events.poll().await.unwrap() {
                    rumqttc::Event::Incoming(rumqttc::Packet::SubAck(_)) => {
                        let [first, second] = [&escalated[0], &escalated[1]];
                        let messages = vec![reply("U1", second, "not_found"), reply("U2", first, "confirmed")];
                        publish_all(&broker, messages).await;
                    }
                    rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish)) => {
                        let message: serde_json::Value = serde_json::from_slice(&publish.payload).unwrap();
                        if message.get("outcome").is_some() {
                            return (publish.topic, message);
                        }
                    }
                    _ => {}
                }
            }
        };
        tokio::time::timeout(crate::support::PATIENCE, listening).await.expect("an answer")
    });
    assert_eq!((heard.0.as_str(), &heard.1["dispatch_id"]), ("mw/v1/dispatch/U2", &json!(escalated[0])));
    assert!(heard.1["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{}", heard.1);
    wait_for("the unit of the department to close the other", || (verdict(&escalated[1]) == "not_found").then_some(()));
    assert_eq!(verdict(&escalated[0]), "false_alarm", "U2 changed nothing");
}

/// What was measured yesterday is in the book and on the list; nobody is woken for it.
#[test]
fn alerts_of_yesterday_send_nobody() {
    let (city, broker) = (City::new(2), Mosquitto::start());
    let served = start(&city, &broker, "data", &[]);
    let reports = city.reports(12, now_ms() - 86_400_000);
    run(publish(&broker, &reports));
    wait_for("all reports", || (served.received() == reports.len() as u64).then_some(()));
    let list = served.json("/api/v1/dispatch");
    let orders = list["orders"].as_array().unwrap();
    assert!(!orders.is_empty());
    assert!(orders.iter().all(|order| order["state"] == "listed"), "{list}");
}

/// What is kept names people and plates: nobody else on the machine reads it, whatever the umask of who starts it.
#[test]
fn what_is_kept_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let (city, broker) = (City::new(2), Mosquitto::start());
    let served = start(&city, &broker, "data", &[]);
    let reports = city.reports(12, now_ms());
    run(publish(&broker, &reports));
    wait_for("all reports", || (served.received() == reports.len() as u64).then_some(()));
    let (mut folders, mut seen) = (vec![city.folder.path().join("data")], 0);
    while let Some(folder) = folders.pop() {
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700, "{}", folder.display());
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            // Files of a moment may be gone again.
            let Ok(about) = entry.metadata() else { continue };
            seen += 1;
            match about.is_dir() {
                true => folders.push(entry.path()),
                false => assert_eq!(about.permissions().mode() & 0o777, 0o600, "{}", entry.path().display()),
            }
        }
    }
    assert!(seen > 3, "{seen}");
}

/// Whoever opens HTTP to others must set a token, and is told what that is worth; without one nothing starts.
#[test]
fn a_door_that_is_open_to_others_asks_for_a_token() {
    let (city, broker) = (City::new(1), Mosquitto::start());
    let warning = "WHOEVER REACHES THIS ADDRESS AND HAS THE TOKEN";
    let token = city.folder.path().join("token");
    std::fs::write(&token, "one of sixteen or more characters\n").unwrap();
    for (listen, is_open) in [("0.0.0.0:0", true), ("127.0.0.1:0", false)] {
        let data = city.folder.path().join(listen.replace([':', '.'], "-"));
        let mut program = program();
        if is_open {
            program.env("MUCKWATCH_HTTP__TOKEN_FILE", &token);
        }
        let served = Served::start_at(program, listen, &broker.address(), &data, &city.registry(), &city.rules());
        wait_for("the log to begin", || served.log().contains("connected to the broker").then_some(()));
        assert_eq!(served.log().contains(warning), is_open, "{listen}:\n{}", served.log());
        let port = served.http.rsplit(':').next().unwrap().to_owned();
        let (status, _) = get(&format!("127.0.0.1:{port}"), "/api/v1/alerts");
        assert_eq!(status, if is_open { 401 } else { 200 }, "{listen}");
    }
    let refused =
        program().args(["serve", "--http", "0.0.0.0:0"]).arg("--data").arg(city.folder.path().join("none")).output();
    let refused = refused.unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("http.token_file"), "{refused:?}");
}
