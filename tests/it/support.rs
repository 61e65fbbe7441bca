//! What the tests need of the outside: a broker that is not ours, the program itself, a little HTTP.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value as Json;

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The program under test.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muckwatch"));
    // Settings of whoever runs the tests must not reach it.
    std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("MUCKWATCH_")).for_each(|name| {
        command.env_remove(name);
    });
    command
}

/// Replays a file, which must end well; what was said of it. `more` are further arguments.
pub fn replay(more: &[&str], registry: &Path, rules: &Path, input: &Path, alerts: &Path) -> String {
    let mut command = program();
    command.arg("replay").args(more);
    for (name, path) in [("--registry", registry), ("--rules", rules), ("--input", input), ("--alerts", alerts)] {
        command.arg(name).arg(path);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// Waits until `condition` gives something.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Debian's mosquitto with its sessions on disk, so that it may be stopped and started again.
pub struct Mosquitto {
    pub port: u16,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Mosquitto {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut broker = Self { port: free_port(), folder, child: None };
        broker.up();
        broker
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn up(&mut self) {
        let config = self.folder.path().join("mosquitto.conf");
        let user = if is_root() { "user root\n" } else { "" };
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 0\npersistence true\npersistence_location {}/\nautosave_interval 1\n{user}",
            self.port,
            self.folder.path().display(),
        );
        std::fs::write(&config, text).unwrap();
        let started = ["mosquitto", "/usr/sbin/mosquitto"].iter().find_map(|program| {
            Command::new(program).arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
        });
        self.child = Some(started.expect("mosquitto is missing; on Debian: apt-get install mosquitto"));
        let address = self.address();
        wait_for("mosquitto to listen", || TcpStream::connect(&address).ok());
    }
}

impl Mosquitto {
    /// Ends it in order, which keeps its sessions, and starts it again on the same port.
    pub fn restart(&mut self) {
        self.stop();
        self.up();
    }

    /// Ends it in order.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
            wait_for("mosquitto to end", || child.try_wait().unwrap());
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0\n"))
}

/// `muckwatch serve`, running.
pub struct Served {
    pub http: String,
    log: std::sync::Arc<std::sync::Mutex<String>>,
    child: Child,
}

impl Served {
    /// Starts it on `data` and waits until it says that it is ready.
    pub fn start(broker: &str, data: &Path, registry: &Path, rules: &Path) -> Self {
        Self::start_with(program(), broker, data, registry, rules)
    }

    /// As [`Served::start`], with settings of its own in the environment.
    pub fn start_with(program: Command, broker: &str, data: &Path, registry: &Path, rules: &Path) -> Self {
        Self::start_at(program, "127.0.0.1:0", broker, data, registry, rules)
    }

    /// As [`Served::start_with`], listening where it is told.
    pub fn start_at(
        mut program: Command,
        listen: &str,
        broker: &str,
        data: &Path,
        registry: &Path,
        rules: &Path,
    ) -> Self {
        // The cities of the tests drive on days that are long past; how old a report may be is asked elsewhere.
        let oldest = "MUCKWATCH_ADMISSION__MAX_AGE_S";
        if !program.get_envs().any(|(name, _)| name.to_str() == Some(oldest)) {
            program.env(oldest, "315360000");
        }
        let mut child = program
            .args(["serve", "--http", listen, "--mqtt", broker])
            .arg("--data")
            .arg(data)
            .arg("--registry")
            .arg(registry)
            .arg("--rules")
            .arg(rules)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut log = child.stderr.take().unwrap();
        if line.is_empty() {
            let mut said = String::new();
            log.read_to_string(&mut said).unwrap();
            panic!("it ended before it was ready:\n{said}");
        }
        // Read on, or it would stand still once the pipe is full.
        let said = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let kept = std::sync::Arc::clone(&said);
        std::thread::spawn(move || {
            let lines = BufReader::new(log).lines().map_while(Result::ok);
            lines.for_each(|line| *kept.lock().unwrap() += &(line + "\n"));
        });
        let http = line.split("http://").nth(1).and_then(|rest| rest.split(',').next()).expect(&line).to_owned();
        Self { http, log: said, child }
    }

    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as an operator would; its exit status.
    pub fn stop(mut self) -> Option<i32> {
        let status = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
        wait_for("it to end", || self.child.try_wait().unwrap()).code()
    }

    /// Tells it to read again what it reads again.
    pub fn hang_up(&self) {
        assert!(Command::new("kill").arg("-HUP").arg(self.child.id().to_string()).status().unwrap().success());
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        get(&self.http, path)
    }

    /// A POST; the whole answer.
    pub fn post(&self, path: &str, body: &Json) -> String {
        let (body, mut stream) = (body.to_string(), TcpStream::connect(&self.http).unwrap());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub fn json(&self, path: &str) -> Json {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// How many reports the committed ledger has.
    pub fn received(&self) -> u64 {
        let ledger = self.json("/api/v1/ledger");
        assert_eq!(ledger["balanced"], true, "{ledger}");
        ledger["received"].as_u64().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A GET over HTTP/1.1: status and body.
pub fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body =
        if head.to_lowercase().contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_owned() };
    (status, body)
}

fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        text.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    text
}

/// Every alert that the API lists, page by page, by id.
pub fn alerts(served: &Served) -> std::collections::BTreeMap<String, Json> {
    let mut alerts = std::collections::BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let page = served.json(&format!("/api/v1/alerts?limit=500{cursor}"));
        for alert in page["alerts"].as_array().unwrap() {
            alerts.insert(alert["alert_id"].as_str().unwrap().to_owned(), alert.clone());
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return alerts,
        }
    }
}

/// The alerts of a file of JSON lines, by id.
pub fn alerts_of_file(file: &Path) -> std::collections::BTreeMap<String, Json> {
    let text = std::fs::read_to_string(file).unwrap();
    let alert = |line: &str| {
        let alert: Json = serde_json::from_str(line).unwrap();
        (alert["alert_id"].as_str().unwrap().to_owned(), alert)
    };
    text.lines().map(alert).collect()
}

/// Where the real data lies, if it is there; says so aloud if not.
pub fn real_data(what: &str) -> Option<PathBuf> {
    let base = std::env::var("MUCKWATCH_REAL_DATA").map_or_else(|_| root().join("../shared/data"), PathBuf::from);
    let path = base.join(what);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: the real data {} is not here (MUCKWATCH_REAL_DATA says where it is)", path.display());
    None
}

/// Fails with the alerts that only one side has or that differ, not with all of them.
pub fn assert_same_alerts(
    found: &std::collections::BTreeMap<String, Json>,
    expected: &std::collections::BTreeMap<String, Json>,
) {
    let ids: std::collections::BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let differing: Vec<String> = ids
        .into_iter()
        .filter(|id| found.get(*id) != expected.get(*id))
        .map(|id| {
            format!(
                "{id}\n   found    {:?}\n   expected {:?}",
                found.get(id).map(Json::to_string),
                expected.get(id).map(Json::to_string)
            )
        })
        .collect();
    let shown = differing.iter().take(3).cloned().collect::<Vec<_>>().join("\n");
    assert!(differing.is_empty(), "{} of {} alerts differ:\n{shown}", differing.len(), expected.len());
}
