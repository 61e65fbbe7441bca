//! Every key, with its default. Texts that are not set are empty.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::BrokerAddress;
use crate::{
    command,
    engine::LateSettings,
    facts,
    ingest::{AdmissionSettings, CHINA_OFFSET_H, Format},
    journal::JournalSettings,
    model::{Datum, Language, Zone, limits},
    notify,
};

/// All settings, checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// IANA zone of schedules and local-time facts.
    pub time_zone: String,
    /// In which alerts and orders are told.
    pub language: Language,
    /// Folder of everything that is kept.
    pub data: PathBuf,
    /// Folder of registry files to import at start; empty: what was imported before.
    pub registry: PathBuf,
    /// Folder of rule files.
    pub rules: PathBuf,
    /// Threads that judge; 0: one for each core.
    pub shards: usize,
    pub http: Http,
    pub mqtt: Mqtt,
    pub broker: Broker,
    pub journal: JournalSettings,
    admission: AdmissionSettings,
    late: LateSettings,
    facts: facts::Settings,
    pub silence: Silence,
    dispatch: Dispatch,
    notify: Notify,
    pub log: Log,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            time_zone: "Asia/Shanghai".into(),
            language: Language::default(),
            data: "./data".into(),
            registry: PathBuf::new(),
            rules: "./rules".into(),
            shards: 0,
            http: Http::default(),
            mqtt: Mqtt::default(),
            broker: Broker::default(),
            journal: JournalSettings::default(),
            admission: AdmissionSettings::default(),
            late: LateSettings::default(),
            facts: facts::Settings::default(),
            silence: Silence::default(),
            dispatch: Dispatch::default(),
            notify: Notify::default(),
            log: Log::default(),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address and port.
    pub listen: String,
    /// Address and port of metrics and health alone; empty: none of their own.
    pub admin_listen: String,
    /// Names under which it is reached, besides `localhost` and addresses.
    pub hosts: Vec<String>,
    /// A file whose first line every request must show as its bearer token.
    pub token_file: PathBuf,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            admin_listen: String::new(),
            hosts: Vec::new(),
            token_file: PathBuf::new(),
        }
    }
}

/// The broker that reports come from and alerts go to.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mqtt {
    /// `mqtt://host:port`, `mqtts://host:port` for TLS, or `host:port`.
    pub url: String,
    pub client_id: String,
    pub username: String,
    pub password: String,
    /// A file whose first line is the password.
    pub password_file: PathBuf,
    /// PEM: whom to trust, and who we are.
    pub ca_file: PathBuf,
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    /// What every topic begins with.
    pub prefix: String,
    pub connections: u32,
    /// Name of the shared subscription; needed for more than one connection.
    pub group: String,
    /// Datum of reports on the native topics that say none.
    pub datum: Datum,
    /// Further subscriptions.
    pub sources: Vec<MqttSource>,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            url: "mqtt://127.0.0.1:1883".into(),
            client_id: "muckwatch".into(),
            username: String::new(),
            password: String::new(),
            password_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            prefix: "mw/v1".into(),
            connections: 1,
            group: String::new(),
            datum: Datum::Wgs84,
            sources: Vec::new(),
        }
    }
}

impl std::fmt::Debug for Mqtt {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { url, client_id, username, prefix, connections, group, .. } = self;
        f.debug_struct("Mqtt")
            .field("url", url)
            .field("client_id", client_id)
            .field("username", username)
            .field("prefix", prefix)
            .field("connections", connections)
            .field("group", group)
            .finish_non_exhaustive()
    }
}

/// One more subscription.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MqttSource {
    /// What the topics there begin with, followed by `/#`; empty: the dialect's own.
    pub topic: String,
    /// The dialect spoken there.
    pub format: Format,
    /// Datum of reports that say none.
    pub datum: Datum,
    /// By how many hours the clock of its devices is ahead of UTC, where their times bear no zone (`emqx-jt808`).
    pub utc_offset_h: i8,
}

impl Default for MqttSource {
    fn default() -> Self {
        Self { topic: String::new(), format: Format::Native, datum: Datum::Wgs84, utc_offset_h: CHINA_OFFSET_H }
    }
}

impl MqttSource {
    /// What the topics there begin with, followed by `/#`.
    pub fn topic(&self) -> &str {
        if self.topic.is_empty() { self.format.default_topic() } else { &self.topic }
    }
}

/// The broker in our own process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Broker {
    pub enabled: bool,
    /// Address and port.
    pub listen: String,
}

impl Default for Broker {
    fn default() -> Self {
        Self { enabled: false, listen: "127.0.0.1:1883".into() }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Silence {
    /// Seconds between two looks at who has gone silent.
    pub tick_s: u32,
}

impl Default for Silence {
    fn default() -> Self {
        Self { tick_s: 60 }
    }
}

/// Whom to ask and how long to wait.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dispatch {
    /// A unit whose last position is older is passed over.
    pub stale_after_s: u32,
    /// How long a unit has to answer.
    pub answer_within_s: BySeverityS,
    /// How long a unit is looked for before the department is told.
    pub escalate_after_s: BySeverityS,
    /// Whether grid staff may be asked when no squad is to be had, and the reverse.
    pub other_kind_too: bool,
    /// An alert older than this when it becomes known is for the list only.
    pub dispatch_age_s: u32,
    /// An alert that only late data showed sends people while it is no older than this; 0: never.
    pub late_dispatch_age_s: u32,
    /// One that is older when late data shows it is evidence only: nobody is told.
    pub late_notice_age_s: u32,
    /// Orders about one vehicle within an hour; what comes beyond is for the list only, unless it is critical. 0: any number.
    pub orders_per_vehicle_hour: u32,
    /// Orders of one rule by what one sensor saw, or about all trucks in no register together, within an hour. 0: any number.
    pub orders_per_sender_hour: u32,
}

/// Seconds by severity.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BySeverityS {
    pub critical: u32,
    pub major: u32,
    pub minor: u32,
}

impl From<command::BySeverity> for BySeverityS {
    fn from(ms: command::BySeverity) -> Self {
        Self { critical: seconds(ms.critical), major: seconds(ms.major), minor: seconds(ms.minor) }
    }
}

impl From<BySeverityS> for command::BySeverity {
    fn from(s: BySeverityS) -> Self {
        Self { critical: millis(s.critical), major: millis(s.major), minor: millis(s.minor) }
    }
}

fn seconds(ms: i64) -> u32 {
    u32::try_from(ms / 1000).unwrap_or(u32::MAX)
}

fn millis(s: u32) -> i64 {
    i64::from(s) * 1000
}

impl Default for Dispatch {
    /// The defaults of the room that dispatches.
    fn default() -> Self {
        let settings = command::Settings::default();
        Self {
            stale_after_s: seconds(settings.stale_after_ms),
            answer_within_s: settings.answer_within_ms.into(),
            escalate_after_s: settings.escalate_after_ms.into(),
            other_kind_too: settings.other_kind_too,
            dispatch_age_s: seconds(settings.dispatch_age_ms),
            late_dispatch_age_s: seconds(settings.late_dispatch_age_ms),
            late_notice_age_s: seconds(settings.late_notice_age_ms),
            orders_per_vehicle_hour: settings.orders_per_vehicle_hour,
            orders_per_sender_hour: settings.orders_per_sender_hour,
        }
    }
}

/// How often to try again what could not be delivered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notify {
    /// Wait after the first failure; doubled with each further one.
    pub retry_first_s: u32,
    /// Longest wait between two attempts.
    pub retry_most_s: u32,
}

impl Default for Notify {
    /// The defaults of the room that notifies.
    fn default() -> Self {
        let settings = notify::Settings::default();
        Self { retry_first_s: seconds(settings.retry_first_ms), retry_most_s: seconds(settings.retry_most_ms) }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,muckwatch::ingest=debug`.
    pub level: String,
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Auto }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people on a terminal, JSON otherwise.
    Auto,
    Human,
    Json,
}

impl Config {
    /// The thresholds of the facts, in the configured zone.
    pub fn facts(&self) -> facts::Settings {
        self.facts.clone()
    }

    pub fn admission(&self) -> AdmissionSettings {
        self.admission.clone()
    }

    pub fn late(&self) -> LateSettings {
        LateSettings { max_age_s: self.admission.max_age_s, jumps: self.admission.jumps(), ..self.late }
    }

    /// Milliseconds between two looks at silence.
    pub fn tick_ms(&self) -> i64 {
        millis(self.silence.tick_s)
    }

    pub fn dispatch(&self) -> command::Settings {
        command::Settings {
            prefix: self.mqtt.prefix.as_str().into(),
            stale_after_ms: millis(self.dispatch.stale_after_s),
            language: self.language,
            answer_within_ms: self.dispatch.answer_within_s.into(),
            escalate_after_ms: self.dispatch.escalate_after_s.into(),
            other_kind_too: self.dispatch.other_kind_too,
            dispatch_age_ms: millis(self.dispatch.dispatch_age_s),
            late_dispatch_age_ms: millis(self.dispatch.late_dispatch_age_s),
            late_notice_age_ms: millis(self.dispatch.late_notice_age_s),
            orders_per_vehicle_hour: self.dispatch.orders_per_vehicle_hour,
            orders_per_sender_hour: self.dispatch.orders_per_sender_hour,
            most_active: limits::ORDERS_ACTIVE,
        }
    }

    pub fn notify(&self) -> notify::Settings {
        notify::Settings {
            retry_first_ms: millis(self.notify.retry_first_s),
            retry_most_ms: millis(self.notify.retry_most_s),
            ..notify::Settings::default()
        }
    }

    /// The zone of schedules and local-time facts.
    pub fn zone(&self) -> Zone {
        self.facts.zone.clone()
    }

    /// Takes the zone that `time_zone` names.
    pub(super) fn set_zone(&mut self, zone: Zone) {
        self.facts.zone = zone;
    }

    /// Where HTTP listens.
    pub fn http_listen(&self) -> SocketAddr {
        self.http.listen.parse().expect("checked when loaded")
    }

    /// Where metrics and health listen by themselves.
    pub fn admin_listen(&self) -> Option<SocketAddr> {
        let listen = &self.http.admin_listen;
        (!listen.is_empty()).then(|| listen.parse().expect("checked when loaded"))
    }

    /// Where the embedded broker listens.
    pub fn broker_listen(&self) -> SocketAddr {
        self.broker.listen.parse().expect("checked when loaded")
    }

    /// The broker's address.
    pub fn mqtt_address(&self) -> BrokerAddress {
        self.mqtt.url.parse().expect("checked when loaded")
    }

    /// How many threads judge.
    pub fn shard_count(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        if self.shards == 0 { cores() } else { self.shards }
    }
}
