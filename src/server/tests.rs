//! Through real HTTP: a server on a port of its own, and a client that speaks just enough HTTP/1.1.

use std::{net::SocketAddr, sync::Mutex};

use serde_json::{Map, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

use super::*;
use crate::{
    model::{
        Alert, AlertId, AlertState, Considered, Departments, Joined, Offer, OfferState, Order, OrderState, PassedOver,
        Purpose, Replied, ReplyOutcome, Search, Severity, UnitKind, UnitState, UnitStatus,
    },
    registry::{Book, Problem as RowProblem},
    store::Store,
};

/// A server with something to show.
struct Served {
    address: SocketAddr,
    admin: SocketAddr,
    store: Arc<Store>,
    stream: Stream,
    positions: Arc<LastPositions>,
    metrics: Arc<Metrics>,
    ready: watch::Sender<bool>,
    rules: watch::Sender<Arc<RulesShown>>,
    registry: watch::Sender<Arc<Registry>>,
    end: Option<oneshot::Sender<()>>,
    served: JoinHandle<std::io::Result<()>>,
    _data: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn kind(&self) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix("content-type: "));
        line.unwrap_or_default()
    }
}

/// 2026-03-02T01:00:00 in Shanghai.
fn now() -> Time {
    "2026-03-01T17:00:00Z".parse().unwrap()
}

const VEHICLES: &str =
    "vehicle_id,plate,plate_color,device_id,company_id,status,max_gross_kg,tare_kg,sensors,valid_from,valid_to
V1,粤B12345,yellow,D1,C1,active,31000,15000,cover lift,,
V2,粤B54321,yellow,D2,C1,banned,,,,,
V3,粤B00003,yellow,D3,C1,active,,,,,2026-01-01T00:00:00Z
";
const PERMITS: &str = "permit_id,vehicle_id,source_id,sink_ids,route_ids,windows,status,valid_from,valid_to
P1,V1,S1,K1,,22:00-06:00,valid,2026-01-01T00:00:00Z,
P2,V1,S1,K1,,,revoked,2026-01-01T00:00:00Z,
P3,V2,S1,K1,,,valid,2026-01-01T00:00:00Z,2026-02-01T00:00:00Z
P4,V2,S1,K1,,,valid,2027-01-01T00:00:00Z,
";
const PLACES: &str = r#"{"type":"FeatureCollection","datum":"wgs84","features":[
{"type":"Feature","properties":{"place_id":"S1","name":"Site","kind":"source"},"geometry":{"type":"Polygon","coordinates":[[[114.0,22.5],[114.01,22.5],[114.01,22.51],[114.0,22.5]]]}},
{"type":"Feature","properties":{"place_id":"K1","name":"Sink","kind":"sink"},"geometry":{"type":"Polygon","coordinates":[[[114.1,22.5],[114.11,22.5],[114.11,22.51],[114.1,22.5]]]}}]}"#;

fn registry() -> Registry {
    Registry::parse(&[
        ("vehicles.csv", VEHICLES),
        ("companies.csv", "company_id,name\nC1,Spoil & Sons\n"),
        ("permits.csv", PERMITS),
        ("manifests.csv", "manifest_id,vehicle_id,permit_id,opened_at,closed_at,driver_id,planned_distance_m,planned_duration_s\nM1,V1,P1,2026-03-01T16:00:00Z,,,,\n"),
        ("blacklist.csv", "subject,subject_id,reason\nvehicle,V2,dumping\n"),
        ("units.csv", "unit_id,name,department,kind,district_id\nU1,Squad one,traffic_police,squad,\n"),
        ("places.geojson", PLACES),
    ])
    .unwrap_or_else(|error| panic!("{error}"))
}

impl Served {
    async fn start() -> Self {
        Self::start_with(Stream::default()).await
    }

    async fn start_with(stream: Stream) -> Self {
        Self::start_behind(DoorSettings::default(), stream).await
    }

    async fn start_behind(settings: DoorSettings, stream: Stream) -> Self {
        let data = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&data.path().join("muckwatch.sqlite")).unwrap());
        let book = Mutex::new(Book::in_memory().unwrap());
        let (ready, ready_seen) = watch::channel(true);
        let (rules, rules_seen) = watch::channel(Arc::new(RulesShown::default()));
        let (registry, registry_seen) = watch::channel(Arc::new(registry()));
        let (positions, metrics) = (Arc::new(LastPositions::default()), Arc::new(Metrics::new()));
        let state = ServerState {
            store: store.reader(),
            registry: registry_seen,
            rules: rules_seen,
            positions: Arc::clone(&positions),
            risks: Arc::default(),
            metrics: Arc::clone(&metrics),
            ready: ready_seen,
            hindrance: Arc::new(|| None),
            concerns: Arc::new(Vec::new),
            devices: Arc::default(),
            reply: Arc::new(|_| true),
            stream: stream.clone(),
            zone: Zone::china(),
            register: Arc::new(move |entity, rows, taking| book.lock().unwrap().upsert(entity, rows, taking)),
            explain: Arc::new(|_| Ok(None)),
            judge_again: Arc::new(|_, _| true),
            now: Arc::new(now),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let aside = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = aside.local_addr().unwrap();
        let (end, ended) = oneshot::channel();
        let shutdown = async { drop(ended.await) };
        let served = tokio::spawn(run(Doors { api: listener, admin: Some(aside), settings }, state, shutdown));
        let end = Some(end);
        Self { address, admin, store, stream, positions, metrics, ready, rules, registry, end, served, _data: data }
    }

    async fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, "", "").await
    }

    async fn post(&self, path: &str, body: &Json) -> Reply {
        self.send("POST", path, "content-type: application/json\r\n", &body.to_string()).await
    }

    fn put_alerts(&self, alerts: &[Alert]) {
        let put = |tx: &crate::store::Tx<'_>| alerts.iter().try_for_each(|alert| tx.put_alert(alert).map(drop));
        self.store.commit(put).unwrap();
    }
}

fn departments() -> Departments {
    Arc::from([Arc::from("traffic_police")])
}

fn alert(number: i64, vehicle_id: &str, severity: Severity) -> Alert {
    let started_at = now().plus_ms(number * 60_000);
    Alert {
        alert_id: AlertId::derive("overspeed", &[Some(vehicle_id)], started_at),
        rule_id: "overspeed".into(),
        rule_version: "1".into(),
        vehicle_id: vehicle_id.into(),
        plate: "粤B12345".into(),
        company_id: "C1".into(),
        driver_id: None,
        permit_id: None,
        manifest_id: None,
        trip_id: None,
        severity,
        departments: departments(),
        message: "fast".into(),
        messages: crate::model::LocalText::default(),
        rule_name: crate::model::LocalText::default(),
        rule_code: None,
        started_at,
        fired_at: started_at,
        cleared_at: None,
        cleared_because: None,
        state: AlertState::Open,
        retrospective: false,
        withdrawn_because: None,
        withdrawn_reasons: crate::model::LocalText::default(),
        shadow: false,
        lat: None,
        lon: None,
        district_id: None,
        place_id: None,
        road_id: None,
        sensor_id: None,
        unregistered: false,
        facts: Map::new(),
        joined: Vec::new(),
    }
}

/// An alert with every field set.
fn whole_alert() -> Alert {
    let text = || Some(Arc::from("x"));
    Alert {
        messages: "x".to_owned().into(),
        rule_name: "x".to_owned().into(),
        rule_code: Some("X-01".into()),
        driver_id: text(),
        permit_id: text(),
        manifest_id: text(),
        trip_id: text(),
        cleared_at: Some(now()),
        cleared_because: text(),
        withdrawn_because: Some("x".into()),
        withdrawn_reasons: "x".to_owned().into(),
        state: AlertState::Withdrawn,
        shadow: true,
        lat: Some(22.5),
        lon: Some(114.0),
        district_id: text(),
        place_id: text(),
        road_id: text(),
        sensor_id: text(),
        unregistered: true,
        joined: vec![Joined {
            rule_id: "other".into(),
            rule_version: "1".into(),
            severity: Severity::Major,
            message: "x".into(),
            messages: "x".to_owned().into(),
            started_at: now(),
            fired_at: now(),
            facts: Map::new(),
        }],
        ..alert(0, "V1", Severity::Major)
    }
}

fn order(of: &Alert) -> Order {
    Order {
        dispatch_id: crate::model::content_id(&[of.alert_id.0.as_bytes()]),
        alert_id: of.alert_id.clone(),
        state: OrderState::Waiting,
        severity: of.severity,
        departments: departments(),
        kind: None,
        rule_id: of.rule_id.clone(),
        vehicle_id: of.vehicle_id.clone(),
        plate: of.plate.clone(),
        message: of.message.clone(),
        lat: None,
        lon: None,
        district_id: None,
        created_at: of.fired_at,
        updated_at: of.fired_at,
        revision: 1,
        attempts: 0,
        search: None,
        unit_id: None,
        deadline: None,
        reason: "nobody near".into(),
        considered: Vec::new(),
        reinforced_by: Vec::new(),
        verdict: None,
        note: None,
        closed_at: None,
        alert_ended_at: None,
    }
}

/// An order with every field set.
fn whole_order() -> Order {
    Order {
        kind: Some(UnitKind::Squad),
        lat: Some(22.5),
        lon: Some(114.0),
        district_id: Some("D".into()),
        search: Some(Search { purpose: Purpose::First, wanted: 1, asked: 1, until: now() }),
        unit_id: Some("U1".into()),
        deadline: Some(now()),
        considered: vec![Considered {
            unit_id: "U1".into(),
            distance_m: Some(1.0),
            passed_over: Some(PassedOver::Busy),
        }],
        reinforced_by: vec!["R".into()],
        verdict: Some(crate::model::Finding::Confirmed),
        note: Some("n".into()),
        closed_at: Some(now()),
        alert_ended_at: Some(now()),
        ..order(&alert(0, "V1", Severity::Major))
    }
}

fn ids(list: &Json) -> Vec<&str> {
    let alerts = list["alerts"].as_array().expect("a list");
    alerts.iter().map(|alert| alert["started_at"].as_str().expect("a time").get(11..16).expect("long")).collect()
}

#[tokio::test]
async fn alerts_are_listed_filtered_and_paged() {
    let served = Served::start().await;
    let mut alerts: Vec<Alert> = (0..5).map(|number| alert(number, "V1", Severity::Minor)).collect();
    alerts[3].severity = Severity::Critical;
    alerts[4].vehicle_id = "V9".into();
    alerts[4].plate = "other".into();
    served.put_alerts(&alerts);
    served.put_alerts(&[Alert { shadow: true, ..alert(5, "V1", Severity::Critical) }]);
    for (query, expected) in [
        ("?shadow=only", vec!["17:05"]),
        ("?shadow=too&limit=2", vec!["17:05", "17:04"]),
        ("?shadow=no&limit=1", vec!["17:04"]),
        ("", vec!["17:04", "17:03", "17:02", "17:01", "17:00"]),
        ("?severity=critical", vec!["17:03"]),
        ("?vehicle=V9", vec!["17:04"]),
        ("?vehicle=%E7%B2%A4B12345", vec!["17:03", "17:02", "17:01", "17:00"]),
        ("?vehicle=%E7%B2%A4b%C2%B712345", vec!["17:03", "17:02", "17:01", "17:00"]),
        ("?vehicle=b12345", vec!["17:03", "17:02", "17:01", "17:00"]),
        ("?vehicle=D1", vec!["17:03", "17:02", "17:01", "17:00"]),
        ("?vehicle=v9", vec![]),
        ("?since=2026-03-01T17:03:00Z", vec!["17:04", "17:03"]),
        ("?since=2026-03-02T01:03:00+08:00", vec!["17:04", "17:03"]),
        ("?until=1772384460000", vec!["17:00"]),
        ("?state=cleared", vec![]),
        ("?state=open&department=traffic_police&rule=overspeed&limit=2", vec!["17:04", "17:03"]),
        ("?department=water", vec![]),
    ] {
        let reply = served.get(&format!("/api/v1/alerts{query}")).await;
        assert_eq!((reply.status, reply.kind()), (200, "application/json"), "{query}: {reply:?}");
        assert_eq!(ids(&reply.json()), expected, "{query}");
    }
    let mut seen = Vec::new();
    let mut path = "/api/v1/alerts?limit=2".to_owned();
    for _ in 0..3 {
        let page = served.get(&path).await.json();
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        path = format!("/api/v1/alerts?limit=2&cursor={}", page["next_cursor"].as_str().unwrap_or("end"));
    }
    assert_eq!(seen, ["17:04", "17:03", "17:02", "17:01", "17:00"]);
    assert!(path.ends_with("cursor=end"), "{path}");
    let one = served.get(&format!("/api/v1/alerts/{}", alerts[2].alert_id)).await;
    assert_eq!(one.json(), serde_json::to_value(&alerts[2]).unwrap());
}

#[tokio::test]
async fn every_error_is_a_problem_document() {
    let served = Served::start().await;
    for (method, path, status, said) in [
        ("GET", "/", 404, "nothing at /"),
        ("GET", "/api/v1/nothing", 404, "nothing at /api/v1/nothing"),
        ("GET", "/api/v1/alerts/unknown", 404, "no alert \\\"unknown\\\""),
        ("GET", "/api/v1/vehicles/unknown", 404, "no vehicle"),
        ("GET", "/api/v1/dispatch/unknown", 404, "no dispatch order"),
        ("DELETE", "/api/v1/alerts", 405, "DELETE is not for /api/v1/alerts"),
        ("POST", "/healthz", 405, "POST is not for /healthz"),
        ("GET", "/api/v1/registry/vehicles", 405, "GET is not for"),
        ("POST", "/api/v1/registry/nothing", 404, "vehicles"),
        ("POST", "/api/v1/registry/vehicles", 415, "Content-Type"),
        ("GET", "/api/v1/alerts?severity=grave", 400, "\"parameter\":\"severity\""),
        ("GET", "/api/v1/alerts?state=shut", 400, "one of open, cleared, withdrawn"),
        ("GET", "/api/v1/alerts?limit=0", 400, "1 to 1000"),
        ("GET", "/api/v1/alerts?shadow=maybe", 400, "one of no, only, too"),
        ("GET", "/api/v1/alerts?limit=many", 400, "\"parameter\":\"limit\""),
        ("GET", "/api/v1/alerts?since=yesterday", 400, "\"parameter\":\"since\""),
        ("GET", "/api/v1/alerts?cursor=nonsense", 400, "\"parameter\":\"cursor\""),
        ("GET", "/api/v1/alerts?rule=a&rule=b", 400, "the parameter once"),
        ("GET", "/api/v1/alerts?serverity=major", 400, "\"parameter\":\"serverity\""),
        ("GET", "/api/v1/alerts/%FF", 400, "UTF-8"),
        ("GET", "/api/v1/units?x=1", 400, "\"parameter\":\"x\""),
        ("GET", "/api/v1/dispatch?state=gone", 400, "waiting, offered"),
        ("GET", "/api/v1/stream?events=alerts", 400, "\"parameter\":\"events\""),
    ] {
        let kind = if status == 415 { "" } else { "content-type: application/json\r\n" };
        let reply = served.send(method, path, kind, "").await;
        assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
        assert_eq!(reply.kind(), "application/problem+json", "{method} {path}");
        assert!(reply.body.contains(said), "{method} {path}: {}", reply.body);
        let problem = reply.json();
        assert_eq!((&problem["type"], &problem["status"]), (&json!("about:blank"), &json!(status)), "{method} {path}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{method} {path}");
    }
    let many = served.get("/api/v1/alerts?severity=x&state=y&limit=z").await.json();
    assert_eq!(many["errors"].as_array().map(Vec::len), Some(3), "{many}");
    assert!(served.send("DELETE", "/api/v1/alerts", "", "").await.head.contains("allow: get,head"));
}

#[tokio::test]
async fn the_process_says_how_it_is() {
    let served = Served::start().await;
    assert_eq!((served.get("/healthz").await.status, served.get("/readyz").await.status), (200, 200));
    served.ready.send_replace(false);
    let unready = served.get("/readyz").await;
    assert_eq!((unready.status, unready.kind()), (503, "application/problem+json"));
    served.metrics.rules_loaded.set(12);
    let metrics = served.get("/metrics").await;
    assert!(
        metrics.kind().starts_with("text/plain; version=0.0.4") && metrics.body.contains("muckwatch_rules_loaded 12")
    );
    assert!(metrics.head.contains("cache-control: no-store"));
    let ledger = served.get("/api/v1/ledger").await.json();
    assert_eq!(ledger, json!({ "received": 0, "balanced": true, "outcomes": [] }));
}

#[tokio::test]
async fn rules_show_what_judges_and_what_could_not_be_taken() {
    let served = Served::start().await;
    let rule = RuleSummary { id: "overspeed".into(), when: "speed_kmh > 80".into(), ..RuleSummary::default() };
    served.rules.send_replace(Arc::new(RulesShown { rules: vec![rule], problem: Some("rules/a.yaml:3".into()) }));
    let shown = served.get("/api/v1/rules").await.json();
    assert_eq!((&shown["rules"][0]["id"], &shown["problem"]), (&json!("overspeed"), &json!("rules/a.yaml:3")));
}

#[tokio::test]
async fn a_vehicle_is_shown_by_id_and_by_plate() {
    let served = Served::start().await;
    served.put_alerts(&[alert(0, "V1", Severity::Minor), alert(1, "X7", Severity::Minor)]);
    let position = Position {
        vehicle_id: "V1".into(),
        plate: "粤B12345".into(),
        at: now(),
        lat: 22.5,
        lon: 114.0,
        speed_kmh: Some(40.0),
        heading_deg: None,
    };
    served.positions.see(position, now());
    let shown = served.get("/api/v1/vehicles/V1").await.json();
    // 粤B12345, 粤b·12345, 粤Ｂ 12345, without its province, and by its device, also with what shows nothing.
    for name in
        ["%E7%B2%A4B12345", "%E7%B2%A4b%C2%B712345", "%E7%B2%A4%EF%BC%A2%2012345", "b12345", "D1", "%E2%80%8BD1"]
    {
        assert_eq!(served.get(&format!("/api/v1/vehicles/{name}")).await.json(), shown, "{name}");
    }
    for (name, expected) in [
        ("%E7%B2%A4B12346", r#"there is no vehicle "粤B12346"; did you mean "粤B12345"?"#),
        ("%E7%B2%A4b%C2%B75432", r#"did you mean "粤B54321"?"#),
        ("d1", r#"there is no vehicle "d1""#),
        ("v1", r#"there is no vehicle "v1""#),
    ] {
        let reply = served.get(&format!("/api/v1/vehicles/{name}")).await;
        let detail = reply.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(reply.status == 404 && detail.contains(expected), "{name}: {detail}");
        assert!(expected.contains("mean") || !detail.contains("mean"), "{name}: {detail}");
    }
    let registration = &shown["registration"];
    assert_eq!((&registration["status"], &registration["current"]), (&json!("active"), &json!(true)));
    assert_eq!(
        (&registration["company_name"], &registration["sensors"]),
        (&json!("Spoil & Sons"), &json!(["cover", "lift"]))
    );
    assert_eq!((&shown["permit"]["status"], &shown["permit"]["in_window"]), (&json!("valid"), &json!(true)));
    assert_eq!(shown["permit"]["permits"][1]["status"], "revoked");
    assert_eq!((&shown["manifest_id"], &shown["blacklisted"]), (&json!("M1"), &json!(false)));
    assert_eq!(shown["last_position"]["speed_kmh"], 40.0);
    assert_eq!(shown["recent_alerts"].as_array().map(Vec::len), Some(1));

    let banned = served.get("/api/v1/vehicles/V2").await.json();
    assert_eq!((&banned["permit"]["status"], &banned["permit"]["in_window"]), (&json!("expired"), &json!(null)));
    assert_eq!(banned["permit"]["permits"][1]["status"], "not_yet");
    assert_eq!((&banned["blacklisted"], &banned["last_position"]), (&json!(true), &json!(null)));
    let former = served.get("/api/v1/vehicles/V3").await.json();
    assert_eq!((&former["registration"]["current"], &former["permit"]["status"]), (&json!(false), &json!("none")));
    let unregistered = served.get("/api/v1/vehicles/X7").await.json();
    assert_eq!((&unregistered["registration"], &unregistered["plate"]), (&json!(null), &json!("粤B12345")));
}

#[tokio::test]
async fn the_queue_and_the_units_are_shown() {
    let served = Served::start().await;
    let alerts = [alert(0, "V1", Severity::Major), alert(1, "V1", Severity::Minor)];
    let orders = [order(&alerts[0]), Order { state: OrderState::Listed, ..order(&alerts[1]) }];
    served.put_alerts(&alerts);
    served.store.commit(|tx| orders.iter().try_for_each(|order| tx.put_order(order).map(drop))).unwrap();
    let unit = |unit_id: &str| UnitState {
        unit_id: unit_id.into(),
        at: now(),
        lat: 22.0,
        lon: 114.0,
        status: UnitStatus::Available,
    };
    served.store.commit(|tx| ["U1", "U9"].iter().try_for_each(|id| tx.put_unit(&unit(id)).map(drop))).unwrap();

    let list = served.get("/api/v1/dispatch").await.json();
    assert_eq!(list["orders"].as_array().map(Vec::len), Some(2));
    assert_eq!((&list["counts"]["waiting"], &list["counts"]["listed"]), (&json!(1), &json!(1)));
    let waiting = served.get("/api/v1/dispatch?state=waiting&severity=major").await.json();
    assert_eq!(waiting["orders"][0]["reason"], "nobody near");
    let one = served.get(&format!("/api/v1/dispatch/{}", orders[0].dispatch_id)).await.json();
    assert_eq!((&one["order"]["state"], &one["offers"]), (&json!("waiting"), &json!([])));

    let units = served.get("/api/v1/units").await.json();
    let shown: Vec<(&Json, &Json, &Json)> = units["units"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|unit| (&unit["unit_id"], &unit["registered"], &unit["status"]))
        .collect();
    let available = json!("available");
    assert_eq!(shown, [(&json!("U1"), &json!(true), &available), (&json!("U9"), &json!(false), &available)]);
}

#[tokio::test]
async fn rows_are_registered_or_refused_whole() {
    let served = Served::start().await;
    let row = json!({ "company_id": "C7", "name": "Seven" });
    let taken = served.post("/api/v1/registry/companies", &row).await;
    assert_eq!((taken.status, &taken.json()["counts"]["companies"]["added"]), (200, &json!(1)), "{taken:?}");
    let again = served.post("/api/v1/registry/companies", &json!([row])).await.json();
    assert_eq!(again["counts"]["companies"]["unchanged"], 1);
    assert_eq!((&again["since"], &again["vehicles"]), (&Json::Null, &json!([])));
    let renamed = json!({ "company_id": "C7", "name": "Seventh" });
    let corrected =
        served.post("/api/v1/registry/companies?since=2026-02-01T00:00:00Z&judge_again=true", &renamed).await;
    let known: Time = corrected.json()["since"].as_str().unwrap().parse().unwrap();
    assert_eq!((known, &corrected.json()["vehicles"]), ("2026-02-01T00:00:00Z".parse().unwrap(), &Json::Null));
    for (query, status) in
        [("since=2999-01-01T00:00:00Z", 422), ("since=then", 400), ("judge_again=1", 400), ("sicne=0", 400)]
    {
        let refused = served.post(&format!("/api/v1/registry/companies?{query}"), &renamed).await;
        assert_eq!((refused.status, refused.kind()), (status, "application/problem+json"), "{query}: {refused:?}");
    }
    let unit = json!({ "unit_id": "U1", "name": "x", "department": "d", "kind": "army" });
    let unknown = json!({ "unit_id": "U2", "nam": "x" });
    for (rows, said) in [(json!([unit]), "\"column\":\"kind\""), (json!([unknown]), "did you mean \\\"name\\\"")] {
        let refused = served.post("/api/v1/registry/units", &rows).await;
        assert_eq!((refused.status, refused.kind()), (422, "application/problem+json"), "{refused:?}");
        assert!(refused.body.contains(said), "{refused:?}");
    }
    assert_eq!(served.post("/api/v1/registry/units", &json!(3)).await.status, 422);
    let broken = served.send("POST", "/api/v1/registry/units", "content-type: application/json\r\n", "{").await;
    assert_eq!((broken.status, broken.kind()), (400, "application/problem+json"));
    let row = RowProblem { line: Some(2), ..RowProblem::default() };
    assert_eq!(Problem::from(RegistryError::Invalid(vec![row])).errors[0].row.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let served = Served::start().await;
    // Only announced: the server need not read it to refuse it.
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let length = limits::HTTP_BODY_BYTES + 1;
    let head = format!(
        "POST /api/v1/registry/units HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = String::new();
    BufReader::new(&mut stream).read_line(&mut first).await.unwrap();
    assert!(first.contains("413"), "{first}");
}

/// A subscriber of the stream that reads line by line.
struct Subscriber(BufReader<TcpStream>);

impl Subscriber {
    async fn new(served: &Served, query: &str) -> Self {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let request = format!("GET /api/v1/stream{query} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut subscriber = Self(BufReader::new(stream));
        assert!(subscriber.line().await.unwrap().contains("200"));
        while !subscriber.line().await.unwrap().trim().is_empty() {}
        subscriber
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).await.unwrap();
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// The next event's kind and data; `None` at the end.
    async fn event(&mut self) -> Option<(String, Json)> {
        let mut kind = String::new();
        loop {
            let line = self.line().await?;
            if let Some(named) = line.strip_prefix("event: ") {
                kind = named.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((kind, serde_json::from_str(data).unwrap()));
            }
        }
    }
}

#[tokio::test]
async fn the_stream_tells_what_happens_and_ends_with_the_server() {
    let mut served = Served::start().await;
    let (mut all, mut positions) =
        (Subscriber::new(&served, "").await, Subscriber::new(&served, "?events=position").await);
    assert!(served.metrics.text().unwrap().contains("muckwatch_stream_subscribers 2"));
    let alert = alert(0, "V1", Severity::Minor);
    let position = Position {
        vehicle_id: "V1".into(),
        plate: "p".into(),
        at: now(),
        lat: 22.0,
        lon: 114.0,
        speed_kmh: None,
        heading_deg: None,
    };
    served.stream.alert(&alert);
    served.stream.dispatch(&order(&alert));
    served.stream.position(&position);
    let (kind, data) = all.event().await.unwrap();
    assert_eq!((kind.as_str(), data), ("alert", serde_json::to_value(&alert).unwrap()));
    assert_eq!(all.event().await.unwrap().0, "dispatch");
    assert_eq!(all.event().await.unwrap().0, "position");
    assert_eq!(positions.event().await.unwrap().1["vehicle_id"], "V1");

    served.end.take().unwrap().send(()).unwrap();
    assert_eq!(all.event().await, None);
    assert_eq!(positions.event().await, None);
    (&mut served.served).await.unwrap().unwrap();
    assert!(TcpStream::connect(served.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_slow_subscriber_is_told_how_many_events_it_missed_and_surplus_ones_are_refused() {
    let served = Served::start_with(Stream::bounded(1, 4)).await;
    let mut slow = Subscriber::new(&served, "?events=alert").await;
    // In one go, without letting the server's task read in between.
    (0..10).for_each(|number| served.stream.alert(&alert(number, "V1", Severity::Minor)));
    let (kind, data) = slow.event().await.unwrap();
    assert_eq!((kind.as_str(), data), ("missed", json!({ "missed": 6 })));
    assert_eq!(slow.event().await.unwrap().0, "alert");
    let refused = served.get("/api/v1/stream").await;
    assert_eq!((refused.status, refused.kind()), (503, "application/problem+json"));
    assert!(served.metrics.text().unwrap().contains("muckwatch_stream_missed_total 6"));
}

#[tokio::test]
async fn a_replaced_registry_is_shown_at_once() {
    let served = Served::start().await;
    assert_eq!(served.get("/api/v1/vehicles/V1").await.status, 200);
    served.registry.send_replace(Arc::new(Registry::default()));
    assert_eq!(served.get("/api/v1/vehicles/V1").await.status, 404);
}

/// Names in a schema's properties, and those of them that must be there.
fn described<'a>(description: &'a Json, name: &str) -> (Vec<&'a str>, Vec<&'a str>) {
    let schema = &description["components"]["schemas"][name];
    let mut all: Vec<&str> = schema["properties"].as_object().expect(name).keys().map(String::as_str).collect();
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut required: Vec<&str> = required.iter().filter_map(Json::as_str).collect();
    all.sort_unstable();
    required.sort_unstable();
    (all, required)
}

fn names(json: &Json) -> Vec<&str> {
    let mut names: Vec<&str> = json.as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn the_description_says_what_is_really_written() {
    let served = Served::start().await;
    let description = served.get("/openapi.json").await.json();
    assert!(description["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    for path in [
        "/api/v1/alerts",
        "/api/v1/alerts/{id}",
        "/api/v1/stream",
        "/api/v1/vehicles/{id}",
        "/api/v1/devices/{id}",
        "/api/v1/dead-letters",
        "/api/v1/units",
        "/api/v1/dispatch",
        "/api/v1/dispatch/{id}",
        "/api/v1/dispatch/{id}/resolve",
        "/api/v1/rules",
        "/api/v1/ledger",
        "/api/v1/registry/{entity}",
        "/metrics",
        "/healthz",
        "/readyz",
    ] {
        assert!(description["paths"][path].is_object(), "{path}");
    }
    let offer = Offer {
        offer_id: "O".into(),
        dispatch_id: "D".into(),
        attempt: 1,
        unit_id: "U".into(),
        purpose: Purpose::First,
        state: OfferState::Pending,
        distance_m: None,
        sent_at: now(),
        deadline: now(),
        answered_at: None,
        reason: None,
    };
    let whole_offer =
        Offer { distance_m: Some(1.0), answered_at: Some(now()), reason: Some("r".into()), ..offer.clone() };
    let reply = Replied {
        reply_id: "R".into(),
        dispatch_id: "D".into(),
        unit_id: "U".into(),
        answer: crate::model::Answer::Accept,
        device_time: now(),
        received_at: now(),
        outcome: ReplyOutcome::Taken,
        reason: None,
        verdict: None,
        note: None,
    };
    let finding = Some(crate::model::Finding::Confirmed);
    let whole_reply = Replied { reason: Some("r".into()), verdict: finding, note: Some("n".into()), ..reply.clone() };
    let (least_alert, least_order) = (alert(0, "V1", Severity::Minor), order(&alert(0, "V1", Severity::Minor)));
    let cases = [
        ("Alert", json!(whole_alert()), json!(least_alert)),
        ("Order", json!(whole_order()), json!(least_order)),
        ("Offer", json!(whole_offer), json!(offer)),
        ("Reply", json!(whole_reply), json!(reply)),
        (
            "Considered",
            json!(whole_order().considered[0]),
            json!(Considered { unit_id: "U".into(), distance_m: None, passed_over: None }),
        ),
    ];
    for (name, whole, least) in &cases {
        assert_eq!(described(&description, name), (names(whole), names(least)), "{name}");
    }
}

/// Heads that never end: half a thousand of one address and as many again. Who asks something is answered at once, and who does not is
/// closed in time.
#[tokio::test]
async fn requests_half_sent_keep_nobody_waiting() {
    let settings = DoorSettings { head_within: Duration::from_secs(1), ..DoorSettings::default() };
    let served = Served::start_behind(settings, Stream::default()).await;
    let mut slow = Vec::new();
    for number in 0..1_100 {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        // Those that are closed to make room may no longer be written to.
        _ = stream.write_all(b"GET /api/v1/alerts HTTP/1.1\r\nhost: local").await;
        slow.push(stream);
        if number % 100 == 99 {
            let asked = tokio::time::timeout(Duration::from_secs(5), served.get("/healthz")).await;
            assert_eq!(asked.expect("an answer").status, 200, "with {number}");
        }
    }
    for stream in &mut slow {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut rest)).await;
        _ = closed.expect("each is closed");
    }
}

/// A body that trickles in is waited for so long and no longer.
#[tokio::test]
async fn a_body_must_come_in_time() {
    let settings = DoorSettings { body_within: Duration::from_millis(300), ..DoorSettings::default() };
    let served = Served::start_behind(settings, Stream::default()).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let head = "POST /api/v1/registry/units HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n[";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = String::new();
    BufReader::new(&mut stream).read_line(&mut first).await.unwrap();
    assert!(first.contains("408"), "{first}");
}

/// A page of a stranger whose name points here reads nothing; addresses and our own names do.
#[tokio::test]
async fn who_does_not_name_us_is_refused() {
    let settings = DoorSettings { hosts: vec!["muck.city.example".into()], ..DoorSettings::default() };
    let served = Served::start_behind(settings, Stream::default()).await;
    for (host, status) in [
        ("localhost:8080", 200),
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("10.1.2.3", 200),
        ("Muck.City.Example", 200),
        ("evil.example", 421),
        ("localhost.evil.example:80", 421),
        ("127.0.0.1.evil.example", 421),
    ] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let request = format!("GET /api/v1/alerts HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{host}: {answer}");
    }
}

#[tokio::test]
async fn who_has_no_token_learns_only_whether_we_live() {
    let token = "a token of some length".to_owned();
    let settings = DoorSettings { token: Some(token.clone()), ..DoorSettings::default() };
    let served = Served::start_behind(settings, Stream::default()).await;
    for (path, shown, status) in [
        ("/healthz", "", 200),
        ("/readyz", "", 200),
        ("/metrics", "", 401),
        ("/api/v1/alerts", "", 401),
        ("/api/v1/alerts", "authorization: Bearer another\r\n", 401),
        ("/api/v1/alerts", "authorization: Basic a token of some length\r\n", 401),
        ("/api/v1/alerts", "authorization: Bearer a token of some length\r\n", 200),
    ] {
        let reply = served.send("GET", path, shown, "").await;
        assert_eq!(reply.status, status, "{path} {shown}: {reply:?}");
        assert_eq!(reply.head.contains("www-authenticate: bearer"), status == 401, "{reply:?}");
    }
}

/// A form of a stranger's page can send text, but no JSON.
#[tokio::test]
async fn what_changes_something_is_sent_as_json() {
    let served = Served::start().await;
    for (kind, status) in [
        ("", 415),
        ("content-type: text/plain\r\n", 415),
        ("content-type: application/problem+json\r\n", 415),
        ("content-type: application/jsonx\r\n", 415),
        ("content-type: application/json; charset=utf-8\r\n", 200),
    ] {
        let reply =
            served.send("POST", "/api/v1/registry/companies", kind, r#"[{"company_id":"C9","name":"x"}]"#).await;
        assert_eq!(reply.status, status, "{kind}: {reply:?}");
    }
    let description = served.get("/openapi.json").await.json();
    let paths = description["paths"].as_object().unwrap().iter();
    let changing: Vec<&String> = paths.filter(|(_, path)| path.get("post").is_some()).map(|(path, _)| path).collect();
    assert!(changing.len() >= 3, "{changing:?}");
    for path in changing {
        assert_eq!(served.send("POST", path, "content-type: text/plain\r\n", "{}").await.status, 415, "{path}");
    }
}

/// Beside the door for all there is one for metrics and health, which asks for no token and shows nothing else.
#[tokio::test]
async fn metrics_and_health_have_a_door_of_their_own() {
    let settings = DoorSettings { token: Some("a token of some length".into()), ..DoorSettings::default() };
    let mut served = Served::start_behind(settings, Stream::default()).await;
    served.address = served.admin;
    for (path, status) in [("/metrics", 200), ("/healthz", 200), ("/readyz", 200), ("/api/v1/alerts", 404)] {
        assert_eq!(served.get(path).await.status, status, "{path}");
    }
}
