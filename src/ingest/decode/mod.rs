//! From bytes of a dialect to canonical reports.

mod elements;
mod emqx_jt808;
mod fields;
mod native;
mod owntracks;
mod sense;
mod teltonika;
mod topics;
mod traccar;

#[cfg(test)]
mod dialect_tests;
#[cfg(test)]
mod tests;

use std::{str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use topics::{Kind, Topics};

use crate::model::{Body, Datum, DeadLetter, DeviceReport, Fix, Reason, Sender, Time, limits, words};

words! {
    /// The dialect of a subscription or of a file.
    #[derive(Default)]
    Format {
        /// The contract's own JSON.
        #[default]
        Native = "native",
        /// JT/T 808 as the EMQX gateway forwards it.
        EmqxJt808 = "emqx-jt808",
        /// The OwnTracks apps, and trackers that speak as they do.
        Owntracks = "owntracks",
        /// Positions that a Traccar server forwards.
        Traccar = "traccar",
        /// Teltonika's Codec JSON.
        Teltonika = "teltonika",
    }
}

impl Format {
    /// The topic, ending in `/#`, where its devices speak unless told otherwise; our own has none besides `mqtt.prefix`.
    pub const fn default_topic(self) -> &'static str {
        match self {
            Self::Native => "",
            Self::EmqxJt808 => "jt808/#",
            Self::Owntracks => "owntracks/#",
            Self::Traccar => "positions/#",
            Self::Teltonika => "teltonika/#",
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let known = || Self::ALL.iter().map(|format| format.as_str()).collect::<Vec<_>>().join(", ");
        Self::parse(word).ok_or_else(|| format!("{word:?} is none of {}", known()))
    }
}

/// One report as read, or what could not be read as one. Each becomes exactly one record.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub body: Body,
    /// `Ok`, or why the body is no report.
    pub reason: Reason,
    /// Arrival as a replayed file says it; never set for messages.
    pub recv_time: Option<Time>,
    /// Fields that made no sense and are unknown: by our name, or the dialect's where a value could not be read at all.
    pub odd: Odd,
    /// The broker had kept it for whoever subscribes: it may be of any age.
    pub retained: bool,
}

/// Names of fields that made no sense. Most reports have none.
pub type Odd = Vec<&'static str>;

/// Reads messages and lines of one dialect.
///
/// Positions stay as they came: when a report says no datum and the source's is not WGS-84, the report's `datum` is set
/// to the source's, so after decoding an absent datum always means WGS-84 and a present one says what to convert from.
#[derive(Clone, Debug)]
pub struct Decoder {
    format: Format,
    topics: Topics,
    datum: Datum,
    utc_offset_h: i8,
}

/// What one element is read as, and where it comes from.
#[derive(Clone, Copy)]
struct Context<'a> {
    kind: Kind,
    /// From the topic; `None` in files.
    id: Option<&'a Arc<str>>,
    datum: Datum,
    utc_offset_h: i8,
}

impl Context<'_> {
    /// The datum that a report bears which says none.
    fn foreign_datum(self) -> Option<Datum> {
        (self.datum != Datum::Wgs84).then_some(self.datum)
    }
}

/// What one element of our own JSON says.
struct Native {
    body: Body,
    /// In files.
    recv_time: Option<Time>,
    odd: Odd,
}

/// The reading of one element of our own JSON.
type Read = Result<Native, String>;

/// A report of another dialect.
struct Report {
    report: DeviceReport,
    odd: Odd,
}

/// What an element of another dialect holds.
enum Content {
    Report(Box<Report>),
    /// In the device's order; what cannot be read of it as it came, with what is wrong with it.
    Batch(Vec<Result<Report, (Vec<u8>, String)>>),
    /// Well said, but no report: what it is instead, and the device that thereby shows that it lives.
    Other(String, Option<Arc<str>>),
}

/// The reading of one element of another dialect, or what is wrong with it.
type Foreign = Result<Content, String>;

impl From<Report> for Content {
    fn from(report: Report) -> Self {
        Self::Report(Box::new(report))
    }
}

/// A message with its topic, as `mosquitto_sub -F %J` (or `%j`) writes it.
#[derive(Deserialize)]
struct Recorded<'a> {
    /// When it came.
    tst: Option<String>,
    topic: String,
    /// The JSON itself, or a string with it.
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// Hours by which the clock of a JT/T 808 terminal is ahead of UTC, by the standard.
pub const CHINA_OFFSET_H: i8 = 8;

impl Decoder {
    /// Of a dialect, on the topics below `prefix`.
    pub fn new(format: Format, prefix: &str, datum: Datum) -> Self {
        Self { format, topics: Topics::new(format, prefix), datum, utc_offset_h: CHINA_OFFSET_H }
    }

    /// For devices whose times bear no zone: by how many hours their clock is ahead of UTC.
    pub fn with_utc_offset(self, utc_offset_h: i8) -> Self {
        Self { utc_offset_h, ..self }
    }

    /// The subscription filters of the topics that it reads.
    pub fn filters(&self) -> Vec<String> {
        self.topics.filters()
    }

    /// A filter of all topics below the prefix, where whatever comes that nobody reads is a mistake: our own dialect's.
    pub fn wide_filter(&self) -> Option<String> {
        (self.format == Format::Native).then(|| format!("{}/#", self.topics.prefix()))
    }

    /// Whether messages of a topic are read.
    pub fn reads(&self, topic: &str) -> bool {
        self.topics.route(topic).is_some()
    }

    /// What a topic is called in the log that nobody reads: ids left out; `None` when it is one of those that we write, or the
    /// answers to those.
    pub fn unread(&self, topic: &str) -> Option<String> {
        let below = topic.strip_prefix(self.topics.prefix()).unwrap_or(topic).trim_start_matches('/');
        let levels: Vec<&str> = below.split('/').collect();
        match levels[..] {
            ["alert" | "dispatch" | "audit", ..] | ["device", _, "command" | "problem", ..] => None,
            [first, _, ref rest @ ..] if !rest.is_empty() => {
                Some(format!("{}/{first}/+/{}", self.topics.prefix(), rest.join("/")))
            }
            _ => Some(topic.to_owned()),
        }
    }

    /// Whom a topic names.
    pub fn sender(&self, topic: &str) -> Option<Sender> {
        let (kind, id) = self.topics.sender(topic)?;
        let id = Arc::from(id.filter(|id| fields::check_id(id).is_ok())?);
        Some(match kind {
            Kind::Device => Sender::Device(id),
            Kind::Sighting => Sender::Sensor(id),
            Kind::Unit | Kind::Reply => Sender::Unit(id),
        })
    }

    /// Appends what a message holds: one entry a report, none for an empty array.
    pub fn decode(&self, topic: &str, payload: &[u8], out: &mut Vec<Decoded>) {
        match self.topics.route(topic) {
            Some((kind, id)) => self.message(kind, id, topic, payload, out),
            None => {
                let problem =
                    format!("found a topic that nothing here reads, expected one below {}", self.topics.prefix());
                out.push(dead(topic, payload, Reason::UnknownTopic, problem));
            }
        }
    }

    fn message(&self, kind: Kind, id: Option<&str>, topic: &str, payload: &[u8], out: &mut Vec<Decoded>) {
        if let Some(Err(problem)) = id.map(fields::check_id) {
            let problem = format!("{} in the topic: {problem}", kind.id());
            return out.push(dead(topic, payload, Reason::Undecodable, problem));
        }
        let id = id.map(Arc::from);
        let context = self.context(kind, id.as_ref());
        each_element(topic, payload, out, |bytes, out| self.read(context, topic, bytes, out));
    }

    /// Appends what a line of a file holds. `origin` names file and line and is a dead letter's topic.
    ///
    /// A line of another dialect is a message, or a message with its topic as `mosquitto_sub -F %J` writes it.
    pub fn decode_line(&self, line: &[u8], origin: &str, out: &mut Vec<Decoded>) {
        each_element(origin, line, out, |bytes, out| match self.format {
            Format::Native => self.read(self.context(native::kind_of_line(bytes), None), origin, bytes, out),
            _ => match serde_json::from_slice(bytes) {
                Ok(recorded) => self.recorded(&recorded, origin, out),
                Err(_) => self.read(self.context(Kind::Device, None), origin, bytes, out),
            },
        });
    }

    fn recorded(&self, recorded: &Recorded, origin: &str, out: &mut Vec<Decoded>) {
        let text = recorded.payload.get();
        let quoted: Option<String> = serde_json::from_str(text).ok();
        let payload = quoted.as_deref().unwrap_or(text).as_bytes();
        let first = out.len();
        match self.topics.route_end(&recorded.topic) {
            Some((kind, id)) => self.message(kind, id, origin, payload, out),
            None => {
                let problem = format!("found the topic {:?}, which nothing here reads", recorded.topic);
                out.push(dead(origin, payload, Reason::UnknownTopic, problem));
            }
        }
        // Version 2.0 of mosquitto writes both a Z and the offset that holds.
        let tst = recorded.tst.as_ref().map(|text| text.replace("Z+", "+").replace("Z-", "-"));
        let recv_time = tst.and_then(|text| text.parse().ok());
        out[first..].iter_mut().for_each(|decoded| decoded.recv_time = recv_time);
    }

    fn context<'a>(&self, kind: Kind, id: Option<&'a Arc<str>>) -> Context<'a> {
        Context { kind, id, datum: self.datum, utc_offset_h: self.utc_offset_h }
    }

    /// Appends what one element holds. What is no JSON is tried again with the words and numbers that JSON doesn't know as
    /// texts: some senders write `NaN`, `True` or `0xFFFF`.
    fn read(&self, context: Context, origin: &str, bytes: &[u8], out: &mut Vec<Decoded>) {
        let first = out.len();
        self.read_json(context, origin, bytes, out);
        let is_dead = |decoded: &Decoded| decoded.reason == Reason::Undecodable;
        if out.len() == first + 1
            && is_dead(&out[first])
            && let Some(mended) = elements::quoted(bytes)
        {
            let dead = out.pop();
            self.read_json(context, origin, &mended, out);
            if out[first..].iter().any(is_dead) {
                // It is kept as it came.
                out.truncate(first);
                out.extend(dead);
            }
        }
    }

    fn read_json(&self, context: Context, origin: &str, bytes: &[u8], out: &mut Vec<Decoded>) {
        let content = match self.format {
            Format::Native => {
                return out.push(match native::read(context, bytes) {
                    Ok(Native { body, recv_time, odd }) => readable(body, recv_time, odd),
                    Err(problem) => dead(origin, bytes, Reason::Undecodable, problem),
                });
            }
            Format::EmqxJt808 => emqx_jt808::read(context, bytes),
            Format::Owntracks => owntracks::read(context, bytes),
            Format::Traccar => traccar::read(context, bytes),
            Format::Teltonika => teltonika::read(context, bytes),
        };
        match content {
            Ok(Content::Report(report)) => out.push(foreign(*report)),
            Ok(Content::Batch(reports)) if reports.len() > limits::REPORTS_PER_PAYLOAD => {
                out.push(dead(origin, bytes, Reason::TooLarge, too_many(reports.len())));
            }
            Ok(Content::Batch(reports)) => out.extend(reports.into_iter().map(|report| match report {
                Ok(report) => foreign(report),
                Err((bytes, problem)) => dead(origin, &bytes, Reason::Undecodable, problem),
            })),
            Ok(Content::Other(what, device_id)) => {
                let mut other = dead(origin, bytes, Reason::NoReport, what);
                if let Body::DeadLetter(letter) = &mut other.body {
                    letter.device_id = device_id;
                }
                out.push(other);
            }
            Err(problem) => out.push(dead(origin, bytes, Reason::Undecodable, problem)),
        }
    }
}

fn foreign(Report { report, odd }: Report) -> Decoded {
    readable(Body::Device(measured(report)), None, odd)
}

fn readable(mut body: Body, recv_time: Option<Time>, mut odd: Odd) -> Decoded {
    match &mut body {
        Body::Device(report) => sense::device(report, &mut odd),
        Body::Sighting(sighting) => sense::sighting(sighting, &mut odd),
        _ => {}
    }
    Decoded { body, reason: Reason::Ok, recv_time, odd, retained: false }
}

/// Without what a receiver that has no fix says of speed and course: it is what it said last, or 0. That stays in `ext`.
fn measured(mut report: DeviceReport) -> DeviceReport {
    if report.fix == Some(Fix::None) {
        let stale = [("speed_kmh", report.speed_kmh.take()), ("heading_deg", report.heading_deg.take())];
        let stale = stale.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
        report.ext.extend(stale);
    }
    report
}

fn too_many(reports: usize) -> String {
    format!("found {reports} reports, expected at most {}", limits::REPORTS_PER_PAYLOAD)
}

/// Reads a lone object or every element of an array.
fn each_element(topic: &str, payload: &[u8], out: &mut Vec<Decoded>, mut read: impl FnMut(&[u8], &mut Vec<Decoded>)) {
    if payload.len() > limits::PAYLOAD_BYTES {
        let problem = format!("found {} bytes, expected at most {}", payload.len(), limits::PAYLOAD_BYTES);
        return out.push(dead(topic, payload, Reason::TooLarge, problem));
    }
    // Some begin with a byte order mark, or end as texts of C do.
    let payload = payload.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(payload);
    let end = payload.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let payload = &payload[..end];
    if payload.trim_ascii_start().first() != Some(&b'[') {
        return read(payload, out);
    }
    match elements::split(payload) {
        Ok(elements) if elements.len() > limits::REPORTS_PER_PAYLOAD => {
            out.push(dead(topic, payload, Reason::TooLarge, too_many(elements.len())));
        }
        Ok(elements) => elements.into_iter().for_each(|bytes| read(bytes, out)),
        Err(problem) => out.push(dead(topic, payload, Reason::Undecodable, problem)),
    }
}

/// Longest text about what is wrong, in bytes.
const PROBLEM_BYTES: usize = 300;

fn dead(topic: &str, payload: &[u8], reason: Reason, mut problem: String) -> Decoded {
    if problem.len() > PROBLEM_BYTES {
        problem.truncate(problem.floor_char_boundary(PROBLEM_BYTES));
        problem.push('…');
    }
    let mut kept = payload;
    if payload.len() > limits::PAYLOAD_BYTES {
        // Somebody's films must not push out everybody's history.
        kept = &payload[..limits::LETTER_HEAD_BYTES];
        let (bytes, sha256) = (payload.len(), Sha256::digest(payload));
        problem += &format!("; of {bytes} bytes with SHA-256 {sha256:x} the first {} are kept", kept.len());
    }
    let letter = DeadLetter { device_id: None, topic: topic.into(), payload: kept.to_vec(), problem };
    Decoded { body: Body::DeadLetter(letter), reason, recv_time: None, odd: Odd::new(), retained: false }
}
