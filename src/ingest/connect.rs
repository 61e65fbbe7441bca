//! What both clients need to reach a broker: address, credentials, TLS, and how long to wait before trying again.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use rumqttc::{MqttOptions, TlsConfiguration, Transport};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::IngestError;
use crate::model::limits;

/// Seconds without traffic after which the broker is pinged.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A connection that has stood so long is steady. Longer than any wait: two clients that take a session from each other
/// never seem steady.
const STEADY: Duration = Duration::from_secs(60);
/// So many connections in a row that the broker took and soon closed are no accident.
const SHORT_LIVES: u32 = 3;

/// Where a broker listens: `host:port`, or `host` for port 1883.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for Address {
    type Err = IngestError;

    fn from_str(text: &str) -> Result<Self, IngestError> {
        let wrong = || IngestError::Setting { what: "broker address", found: text.to_owned(), expected: "host:port" };
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
            None => (text, 1883),
        };
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

/// User and password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// TLS by one's own authority; the system's roots are never asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsSettings {
    /// PEM file of the authority that the broker's certificate must come from.
    pub ca: PathBuf,
    /// PEM file of the client's certificate, if the broker asks for one; `key` goes with it.
    pub certificate: Option<PathBuf>,
    /// PEM file of the client's private key.
    pub key: Option<PathBuf>,
}

impl TlsSettings {
    /// With rustls and ring, named here and not installed for the whole process.
    fn transport(&self) -> Result<Transport, IngestError> {
        let tls = |error: rustls::Error| IngestError::Tls(error.to_string());
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca)? {
            roots.add(certificate).map_err(tls)?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(tls)?
            .with_root_certificates(roots);
        let config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unread(key, &error))?;
                builder.with_client_auth_cert(certificates(certificate)?, key).map_err(tls)?
            }
            (None, None) => builder.with_no_client_auth(),
            _ => return Err(IngestError::Tls("found one of certificate and key, expected both or none".to_owned())),
        };
        Ok(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(config))))
    }
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, IngestError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unread(path, &error))?;
    if certificates.is_empty() {
        return Err(IngestError::File { path: path.display().to_string(), problem: "holds no certificate".to_owned() });
    }
    Ok(certificates)
}

fn unread(path: &std::path::Path, error: &rustls::pki_types::pem::Error) -> IngestError {
    IngestError::File { path: path.display().to_string(), problem: error.to_string() }
}

/// A client's options, all but what tells receiving from publishing.
///
/// # Errors
/// TLS files that can't be used, a client id that the protocol does not allow.
pub(super) fn options(
    client_id: &str,
    address: &Address,
    credentials: Option<&Credentials>,
    tls: Option<&TlsSettings>,
) -> Result<MqttOptions, IngestError> {
    if client_id.is_empty() || client_id.starts_with(' ') {
        let expected = "text that does not begin with a space";
        return Err(IngestError::Setting { what: "client id", found: client_id.to_owned(), expected });
    }
    let mut options = MqttOptions::new(client_id, &address.host, address.port);
    options.set_keep_alive(KEEP_ALIVE);
    options.set_max_packet_size(limits::MQTT_PACKET_BYTES, limits::MQTT_PACKET_BYTES);
    if let Some(Credentials { user, password }) = credentials {
        options.set_credentials(user, password);
    }
    if let Some(tls) = tls {
        options.set_transport(tls.transport()?);
    }
    Ok(options)
}

/// How long to wait before the next attempt: twice as long each time, up to half a minute, less a random half. It starts
/// anew after a connection that was steady, not after each that stood for a moment.
#[derive(Default)]
pub(super) struct Backoff {
    failures: u32,
    stands_since: Option<Instant>,
    short_lives: u32,
}

impl Backoff {
    /// The broker has taken the connection.
    pub fn stands(&mut self) {
        self.stands_since = Some(Instant::now());
    }

    /// Connections in a row that the broker took and closed within a minute, when they are too many for an accident: another
    /// client uses the same id, and each takes the session from the other.
    pub fn contested(&self) -> Option<u32> {
        Some(self.short_lives).filter(|lives| *lives >= SHORT_LIVES)
    }

    /// When the connection that stands will be steady, if it lasts.
    pub fn steady_at(&self) -> Option<Instant> {
        self.stands_since.map(|since| since + STEADY)
    }

    /// The connection has stood long enough: nobody contests it.
    pub fn settle(&mut self) {
        (self.failures, self.short_lives) = (0, 0);
    }

    /// Whether exactly one attempt has failed since the last success.
    pub fn is_first(&self) -> bool {
        self.failures == 1
    }

    pub fn next(&mut self) -> Duration {
        match self.stands_since.take() {
            Some(since) if since.elapsed() >= STEADY => self.settle(),
            Some(_) => self.short_lives = self.short_lives.saturating_add(1),
            // The broker itself is away.
            None => self.short_lives = 0,
        }
        let longest = FIRST_WAIT.saturating_mul(1 << self.failures.min(16)).min(LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        longest.mul_f64(0.5 + 0.5 * jitter())
    }
}

/// A number in 0–1 that differs between processes and calls: enough to keep clients from coming back all at once.
fn jitter() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0_u8) as f64 / u64::MAX as f64
}
