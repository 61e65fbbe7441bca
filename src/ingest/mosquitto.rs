//! A real broker for tests: Mosquitto in a process of its own, on a free port, with its sessions on disk.

use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::Address;

/// How long a test waits for a condition before it fails.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

pub(super) struct Mosquitto {
    folder: tempfile::TempDir,
    port: u16,
    process: Option<Child>,
}

impl Mosquitto {
    pub fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "user root\nlistener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\n\
             max_inflight_messages 0\nmax_queued_messages 0\n",
            folder.path().display()
        );
        std::fs::write(folder.path().join("mosquitto.conf"), config).unwrap();
        let mut broker = Self { folder, port, process: None };
        broker.up();
        broker
    }

    pub fn up(&mut self) {
        let program = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/opt/homebrew/sbin/mosquitto"];
        let program = program.into_iter().find(|path| std::path::Path::new(path).exists()).unwrap_or("mosquitto");
        let process = Command::new(program)
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process =
            Some(process.expect("these tests need the program mosquitto: install it (Debian: apt install mosquitto)"));
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(start.elapsed() < LIMIT, "mosquitto does not listen");
            std::thread::yield_now();
        }
    }

    /// Ends it in good order, so that it saves its sessions.
    pub fn down(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = Command::new("kill").arg(process.id().to_string()).status();
            let start = Instant::now();
            while process.try_wait().unwrap().is_none() {
                if start.elapsed() > LIMIT {
                    let _ = process.kill();
                }
                std::thread::yield_now();
            }
        }
    }

    pub fn address(&self) -> Address {
        Address { host: "127.0.0.1".into(), port: self.port }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.down();
    }
}
