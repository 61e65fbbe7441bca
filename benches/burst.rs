//! A city comes back after an hour's outage: what trucks kept comes in batches while they go on reporting.
//!
//! `cargo bench --bench burst`. Needs Debian's mosquitto. 16,000 simulated trucks report every ten seconds for two minutes, are
//! silent for an hour, and come back: 5.8 million reports are published as fast as the broker takes them, in batches of
//! `BATCH` a truck, while live reports go on as they are measured. `TRUCKS`, `BATCH` and `LIVE_S` may be set in the environment, and
//! `PACE_S`: over so many seconds what was kept back is published evenly, as by radio.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use muckwatch::model::Time;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::Value as Json;

const BEFORE_MS: i64 = 120_000;
const OUTAGE_MS: i64 = 3_600_000;
/// Time to simulate, to sort and to start.
const READY_MS: i64 = 150_000;

/// What was published when: of each message its topic and payload, and when it is due, where it is.
#[derive(Default)]
struct Plan {
    before: Vec<(String, String)>,
    late: Vec<(String, String)>,
    live: Vec<(Time, String, String)>,
    reports: usize,
    late_reports: usize,
}

/// An alert that was pushed: how long after it fired, and whether only late data showed it.
struct Pushed {
    at: Time,
    delay_ms: i64,
    retrospective: bool,
}

fn main() {
    let number = |name: &str, default: i64| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: a number")))
    };
    let (trucks, batch, live_s) = (number("TRUCKS", 16_000), number("BATCH", 30), number("LIVE_S", 150));
    let pace = Duration::from_secs(number("PACE_S", 0).unsigned_abs());
    let folder = tempfile::tempdir().expect("a folder");
    let back = now().plus_ms(READY_MS);
    let plan = plan(folder.path(), trucks, batch as usize, back, live_s * 1_000);
    println!(
        "{trucks} trucks: {} reports before, {} late ones in {} messages, {} live ones",
        plan.before.len(),
        plan.late_reports,
        plan.late.len(),
        plan.live.len()
    );
    let broker = &Broker::start(folder.path());
    let mut served = Served::start(broker, folder.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
    let pushed: Arc<Mutex<Vec<Pushed>>> = Arc::default();
    let is_over = AtomicBool::new(false);
    let total = plan.reports as u64;
    // Before and late.
    let kept = total - plan.live.len() as u64;
    std::thread::scope(|scope| {
        scope.spawn(|| listen(broker, &pushed, &is_over));
        runtime.block_on(publish(broker, "before", plan.before, Duration::ZERO));
        served.wait_until(|received| received >= total - plan.late_reports as u64 - plan.live.len() as u64);
        println!("ready {:.0} s before they come back", back.ms_since(now()) as f64 / 1000.0);
        assert!(back > now(), "the machine was not ready in time: raise READY_MS or take fewer TRUCKS");
        std::thread::park_timeout(Duration::from_millis(back.ms_since(now()) as u64));
        let began = Instant::now();
        let (late, live) = (plan.late, plan.live);
        scope.spawn(move || live_reports(broker, live));
        scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
            runtime.block_on(publish(broker, "late", late, pace));
            println!("  {:>5.1} s: the broker has all that was kept back", began.elapsed().as_secs_f64());
        });
        let done = served.watch(began, kept, total);
        println!("all late reports judged after {:.1} s", done.as_secs_f64());
        report(&pushed.lock().expect("the alerts"), back, done);
        is_over.store(true, Relaxed);
    });
    println!("resident at the most: {} MiB", served.peak_mib());
    served.stop();
}

fn report(pushed: &[Pushed], back: Time, done: Duration) {
    let delays = |from: i64, to: i64| {
        let is_in = |one: &&Pushed| (from..to).contains(&one.at.ms_since(back)) && !one.retrospective;
        let mut all: Vec<i64> = pushed.iter().filter(is_in).map(|one| one.delay_ms).collect();
        all.sort_unstable();
        all
    };
    let say = |name: &str, all: &[i64]| {
        let at = |share: f64| all.get(((all.len() as f64 - 1.0) * share) as usize).copied().unwrap_or_default();
        println!(
            "{name}: {} live alerts, p50 {} ms, p99 {} ms, at the most {} ms",
            all.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    };
    for from in (0..done.as_millis() as i64).step_by(5_000) {
        say(&format!("  from {:>3} s", from / 1_000), &delays(from, from + 5_000));
    }
    let end = done.as_millis() as i64;
    say("while late reports are judged", &delays(0, end));
    say("afterwards", &delays(end, i64::MAX));
    println!("{} alerts of late reports", pushed.iter().filter(|one| one.retrospective).count());
}

/// Simulates, and sorts by when it is published.
fn plan(folder: &Path, trucks: i64, batch: usize, back: Time, live_ms: i64) -> Plan {
    let reports = folder.join("reports.jsonl");
    let start = back.plus_ms(-BEFORE_MS - OUTAGE_MS);
    let status = Command::new(env!("CARGO_BIN_EXE_muckwatch"))
        .args(["simulate", "--interval", "10s", "--seed", "9", "--without", "all"])
        .args(["--trucks", &trucks.to_string(), "--start", &start.to_string()])
        .args(["--duration", &format!("{}s", (BEFORE_MS + OUTAGE_MS + live_ms) / 1_000)])
        .arg("--write-city")
        .arg(folder.join("registry"))
        .arg("--output")
        .arg(&reports)
        .stdout(Stdio::null())
        .status()
        .expect("muckwatch");
    assert!(status.success(), "the simulation failed");
    let mut plan = Plan::default();
    let mut kept: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    let mut last: HashMap<String, Time> = HashMap::new();
    for line in BufReader::new(std::fs::File::open(&reports).expect("the reports")).lines() {
        let line = line.expect("a line");
        let Some((device_id, at)) = field(&line, "device_id").zip(field(&line, "device_time")) else { continue };
        let at: Time = at.parse().expect("a time");
        if last.insert(device_id.to_owned(), at).is_some_and(|last| at <= last) {
            continue;
        }
        plan.reports += 1;
        let topic = format!("mw/v1/device/{device_id}/report");
        let payload = line.clone();
        match at.ms_since(start) {
            ..BEFORE_MS => plan.before.push((topic, payload)),
            ms if ms < BEFORE_MS + OUTAGE_MS => {
                plan.late_reports += 1;
                let batches = kept.entry(topic).or_default();
                match batches.last_mut() {
                    Some(last) if last.len() < batch => last.push(payload),
                    _ => batches.push(vec![payload]),
                }
            }
            _ => plan.live.push((at, topic, payload)),
        }
    }
    std::fs::remove_file(&reports).expect("its file");
    plan.live.sort_by_key(|(at, ..)| *at);
    // All trucks send their first batch, then all their second.
    let most = kept.values().map(Vec::len).max().unwrap_or_default();
    for number in 0..most {
        for (topic, batches) in &mut kept {
            if let Some(batch) = batches.get_mut(number).map(std::mem::take) {
                plan.late.push((topic.clone(), format!("[{}]", batch.join(","))));
            }
        }
    }
    plan
}

fn field<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    let mut key = String::new();
    write!(key, "\"{name}\":\"").ok()?;
    line.split_once(&key)?.1.split('"').next()
}

async fn publish(broker: &Broker, name: &str, messages: Vec<(String, String)>, over: Duration) {
    let (client, mut events) = AsyncClient::new(broker.options(name), 1_000);
    let mut left = messages.len();
    let (count, began) = (messages.len() as u32, tokio::time::Instant::now());
    let sending = async {
        for (number, (topic, payload)) in (0..).zip(messages) {
            if number % 16 == 0 && !over.is_zero() {
                tokio::time::sleep_until(began + over * number / count).await;
            }
            client.publish(topic, QoS::AtLeastOnce, false, payload).await.expect("a place in the queue");
        }
    };
    let receiving = async {
        while left > 0 {
            if matches!(events.poll().await.expect("the broker"), Event::Incoming(Packet::PubAck(_))) {
                left -= 1;
            }
        }
    };
    tokio::join!(sending, receiving);
}

/// Each report when it is measured.
fn live_reports(broker: &Broker, reports: Vec<(Time, String, String)>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
    runtime.block_on(async {
        let (client, mut events) = AsyncClient::new(broker.options("live"), 10_000);
        let mut left = reports.len();
        let sending = async {
            for (at, topic, payload) in reports {
                let wait_ms = at.ms_since(now());
                if wait_ms > 0 {
                    tokio::time::sleep(Duration::from_millis(wait_ms as u64)).await;
                }
                client.publish(topic, QoS::AtLeastOnce, false, payload).await.expect("a place in the queue");
            }
        };
        let receiving = async {
            while left > 0 {
                if matches!(events.poll().await.expect("the broker"), Event::Incoming(Packet::PubAck(_))) {
                    left -= 1;
                }
            }
        };
        tokio::join!(sending, receiving);
    });
}

/// Hears alerts as a department does.
fn listen(broker: &Broker, pushed: &Mutex<Vec<Pushed>>, is_over: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
    runtime.block_on(async {
        let (client, mut events) = AsyncClient::new(broker.options("listener"), 100);
        client.subscribe("mw/v1/alert/#", QoS::AtMostOnce).await.expect("a subscription");
        let mut known = HashSet::new();
        while !is_over.load(Relaxed) {
            let Ok(event) = tokio::time::timeout(Duration::from_millis(200), events.poll()).await else { continue };
            let Event::Incoming(Packet::Publish(message)) = event.expect("the broker") else { continue };
            let alert: Json = serde_json::from_slice(&message.payload).expect("an alert");
            let fired_at: Time = alert["fired_at"].as_str().and_then(|at| at.parse().ok()).expect("when it fired");
            // When it was told first: late data may revise it later.
            if alert["state"] == "open" && known.insert(alert["alert_id"].to_string()) {
                let retrospective = alert["retrospective"] == true;
                let delay_ms = now().ms_since(fired_at);
                pushed.lock().expect("the alerts").push(Pushed { at: fired_at, delay_ms, retrospective });
            }
        }
    });
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    Time::from_millis(since.as_millis() as i64)
}

struct Broker {
    port: u16,
    child: Child,
}

impl Broker {
    fn start(folder: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let config = folder.join("mosquitto.conf");
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 0\n"
        );
        std::fs::write(&config, text).expect("a configuration");
        let start = |program: &&str| Command::new(program).arg("-c").arg(&config).stderr(Stdio::null()).spawn().ok();
        let child = ["mosquitto", "/usr/sbin/mosquitto"]
            .iter()
            .find_map(start)
            .expect("mosquitto is missing; on Debian: apt-get install mosquitto");
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Self { port, child }
    }

    fn options(&self, client_id: &str) -> MqttOptions {
        let mut options = MqttOptions::new(client_id, "127.0.0.1", self.port);
        options.set_keep_alive(Duration::from_secs(60)).set_inflight(100).set_max_packet_size(1 << 20, 1 << 20);
        options
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Served {
    http: String,
    child: Child,
}

impl Served {
    fn start(broker: &Broker, folder: &Path) -> Self {
        let log = std::fs::File::create(folder.join("log")).expect("a log");
        let mut child = Command::new(env!("CARGO_BIN_EXE_muckwatch"))
            .args(["serve", "--http", "127.0.0.1:0", "--mqtt", &format!("127.0.0.1:{}", broker.port)])
            .arg("--data")
            .arg(folder.join("data"))
            .arg("--registry")
            .arg(folder.join("registry"))
            .arg("--rules")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("rules"))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("muckwatch");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("that it is ready");
        let http = line.split("http://").nth(1).and_then(|rest| rest.split(',').next()).expect("its address");
        Self { http: http.to_owned(), child }
    }

    fn ledger(&self) -> Json {
        let text = get(&self.http, "/api/v1/ledger");
        text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok()).unwrap_or_default()
    }

    fn wait_until(&self, is_there: impl Fn(u64) -> bool) {
        while !is_there(self.ledger()["received"].as_u64().unwrap_or_default()) {
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }

    /// Until all is judged; says how it goes, and how long all that was late took.
    fn watch(&self, began: Instant, kept: u64, total: u64) -> Duration {
        let (mut done, mut said) = (None, Instant::now());
        loop {
            let ledger = self.ledger();
            let received = ledger["received"].as_u64().unwrap_or_default();
            let judged = |reason: &str| {
                let rows = ledger["outcomes"].as_array().into_iter().flatten();
                let of_reason = rows.filter(|row| row["reason"] == reason);
                of_reason.filter_map(|row| row["count"].as_u64()).sum::<u64>()
            };
            let metrics = get(&self.http, "/metrics");
            let metric = |name: &str| {
                metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
            };
            if done.is_none() && received >= kept && metric("muckwatch_backlog_bytes") == "0" {
                done = Some(began.elapsed());
            }
            if said.elapsed() > Duration::from_secs(5) {
                said = Instant::now();
                let (late, mib) = (judged("out_of_order"), self.status_kb("VmRSS:") / 1024);
                println!(
                    "  {:>5.1} s: {received} received, {late} late ones judged, {} bytes aside, {} messages to go out, {mib} MiB",
                    began.elapsed().as_secs_f64(),
                    metric("muckwatch_backlog_bytes"),
                    metric("muckwatch_outbox_pending"),
                );
            }
            if received >= total {
                println!("{ledger}");
                return done.unwrap_or_else(|| began.elapsed());
            }
            std::thread::park_timeout(Duration::from_millis(250));
        }
    }

    fn status_kb(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
    }

    fn peak_mib(&self) -> u64 {
        self.status_kb("VmHWM:") / 1024
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(http: &str, path: &str) -> String {
    let mut text = String::new();
    if let Ok(mut stream) = TcpStream::connect(http) {
        let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
        let _ = stream.read_to_string(&mut text);
    }
    text
}
