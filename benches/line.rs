//! The whole line over a real broker, as a ratio to a client that only receives and acknowledges, in the same run.
//!
//! `cargo bench --bench line`. Needs Debian's mosquitto. Both sides get the same messages, which wait for them at the broker in a
//! session of their own, QoS 1; so the sender costs neither of them anything.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS, SubscribeFilter};

const REPORTS: usize = 200_000;
const TRUCKS: usize = 2_000;
const ROUNDS: usize = 3;
const FILTERS: [&str; 4] =
    ["mw/v1/device/+/report", "mw/v1/sensor/+/sighting", "mw/v1/unit/+/report", "mw/v1/unit/+/reply"];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio");
    let folder = tempfile::tempdir().expect("a folder");
    registry(&folder.path().join("registry"));
    println!(
        "{REPORTS} reports of {TRUCKS} trucks wait at mosquitto, QoS 1; each line: a bare client, then `muckwatch serve`"
    );
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let broker = Broker::start(folder.path());
        runtime.block_on(async {
            wait_in_session(&broker, "bare").await;
            wait_in_session(&broker, "muckwatch").await;
            publish(&broker, round).await;
        });
        let bare_s = runtime.block_on(receive(&broker));
        let whole_s = serve(&broker, folder.path(), round);
        let per_s = |s: f64| REPORTS as f64 / s;
        println!(
            "  {:>9.0} reports/s   {:>9.0} reports/s   ratio {:.2}",
            per_s(bare_s),
            per_s(whole_s),
            bare_s / whole_s
        );
        ratios.push(bare_s / whole_s);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2}", ratios[ratios.len() / 2]);
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
        options.set_clean_session(false).set_keep_alive(Duration::from_secs(60)).set_inflight(1_000);
        options
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Leaves a session behind for which the broker keeps what comes.
async fn wait_in_session(broker: &Broker, client_id: &str) {
    let (client, mut events) = AsyncClient::new(broker.options(client_id), 10);
    let filters = FILTERS.map(|filter| SubscribeFilter::new(filter.to_owned(), QoS::AtLeastOnce));
    client.subscribe_many(filters).await.expect("a subscription");
    while !matches!(events.poll().await.expect("the broker"), Event::Incoming(Packet::SubAck(_))) {}
    client.disconnect().await.expect("a farewell");
    while events.poll().await.is_ok() {}
}

async fn publish(broker: &Broker, round: usize) {
    let (client, mut events) = AsyncClient::new(broker.options("fleet"), 1_000);
    let sending = tokio::spawn(async move {
        for n in 0..REPORTS {
            let (truck, step) = (n % TRUCKS, n / TRUCKS);
            let at_ms = 1_772_373_600_000_i64 + round as i64 * 86_400_000 + step as i64 * 10_000;
            let payload = format!(
                r#"{{"device_time":{at_ms},"lat":{:.6},"lon":{:.6},"speed_kmh":{},"heading_deg":90,"load":"full","cover":"closed","lift":"flat","sats":11}}"#,
                22.5 + truck as f64 * 1e-4,
                113.9 + step as f64 * 1e-3,
                30 + n % 20,
            );
            let topic = format!("mw/v1/device/D{truck}/report");
            client.publish(topic, QoS::AtLeastOnce, false, payload).await.expect("a place in the queue");
        }
    });
    let mut left = REPORTS;
    while left > 0 {
        if matches!(events.poll().await.expect("the broker"), Event::Incoming(Packet::PubAck(_))) {
            left -= 1;
        }
    }
    sending.await.expect("all sent");
}

/// Receives and acknowledges everything and does nothing else.
async fn receive(broker: &Broker) -> f64 {
    let (_client, mut events) = AsyncClient::new(broker.options("bare"), 1_000);
    let began = Instant::now();
    let mut left = REPORTS;
    while left > 0 {
        if matches!(events.poll().await.expect("the broker"), Event::Incoming(Packet::Publish(_))) {
            left -= 1;
        }
    }
    began.elapsed().as_secs_f64()
}

/// From ready to everything committed.
fn serve(broker: &Broker, folder: &Path, round: usize) -> f64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_muckwatch"))
        .args(["serve", "--http", "127.0.0.1:0", "--mqtt", &format!("127.0.0.1:{}", broker.port)])
        .arg("--data")
        .arg(folder.join(format!("data-{round}")))
        .arg("--registry")
        .arg(folder.join("registry"))
        .arg("--rules")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("rules"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("muckwatch");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("that it is ready");
    let began = Instant::now();
    let http = line.split("http://").nth(1).and_then(|rest| rest.split(',').next()).expect("its address").to_owned();
    while !get(&http, "/api/v1/ledger").contains(&format!("\"received\":{REPORTS},")) {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let s = began.elapsed().as_secs_f64();
    let metrics = get(&http, "/metrics");
    let value =
        |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    let (sum, count) = (value("muckwatch_journal_sync_seconds_sum"), value("muckwatch_journal_sync_seconds_count"));
    println!("  journal: {sum} s in {count} appends, of {s:.2} s");
    let _ = child.kill();
    let _ = child.wait();
    s
}

fn get(http: &str, path: &str) -> String {
    let mut text = String::new();
    if let Ok(mut stream) = TcpStream::connect(http) {
        let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
        let _ = stream.read_to_string(&mut text);
    }
    text
}

fn registry(folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    let mut vehicles = String::from("vehicle_id,plate,device_id,company_id,status\n");
    (0..TRUCKS).for_each(|n| _ = writeln!(vehicles, "V{n},B{n:05},D{n},C1,active"));
    std::fs::write(folder.join("vehicles.csv"), vehicles).expect("vehicles");
    std::fs::write(folder.join("companies.csv"), "company_id,name\nC1,One\n").expect("companies");
}
