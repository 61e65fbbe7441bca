//! Which topic carries what, by dialect.

use super::Format;

/// What a topic carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Device,
    Sighting,
    Unit,
    Reply,
}

impl Kind {
    /// The field that holds the sender's id.
    pub const fn id(self) -> &'static str {
        match self {
            Kind::Device => "device_id",
            Kind::Sighting => "sensor_id",
            Kind::Unit | Kind::Reply => "unit_id",
        }
    }
}

/// A level that is the sender's id, or a part of it: such levels stand side by side.
const ID: &str = "{}";
/// Any level.
const ANY: &str = "+";
/// Any number of levels.
const ALL: &str = "#";

/// What carries what, below the prefix.
type Patterns = &'static [(Kind, &'static [&'static str])];

fn patterns(format: Format) -> Patterns {
    match format {
        Format::Native => &[
            (Kind::Device, &["device", ID, "report"]),
            (Kind::Sighting, &["sensor", ID, "sighting"]),
            (Kind::Unit, &["unit", ID, "report"]),
            (Kind::Reply, &["unit", ID, "reply"]),
        ],
        Format::EmqxJt808 => &[(Kind::Device, &[ANY, ID, "up"])],
        Format::Owntracks => &[(Kind::Device, &[ID, ID])],
        Format::Traccar => &[(Kind::Device, &[ALL])],
        Format::Teltonika => &[(Kind::Device, &[ID, "data"])],
    }
}

/// What a topic carries, and the sender's id where the topic names it.
pub(super) type Route<'a> = (Kind, Option<&'a str>);

/// The topics of a dialect below one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topics {
    prefix: String,
    patterns: Patterns,
}

impl Topics {
    /// The prefix is taken as it is: `/mw/v1` and `mw/v1` are different topics (MQTT 3.1.1, 4.7.3).
    pub fn new(format: Format, prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), patterns: patterns(format) }
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What a topic carries and from whom; `None` when nothing here reads it.
    pub fn route<'a>(&self, topic: &'a str) -> Option<Route<'a>> {
        let below = match (self.prefix.as_str(), topic.strip_prefix(&self.prefix)?) {
            ("", below) | (_, below @ "") => below,
            (_, below) => below.strip_prefix('/')?,
        };
        self.patterns.iter().find_map(|(kind, pattern)| matched(pattern, below).map(|id| (*kind, id)))
    }

    /// Whom a topic names, whether anything is read there or not.
    pub fn sender<'a>(&self, topic: &'a str) -> Option<Route<'a>> {
        self.route(topic).or_else(|| {
            let mut levels = topic.strip_prefix(&self.prefix)?.strip_prefix('/')?.split('/');
            let kind = match levels.next()? {
                "device" => Kind::Device,
                "sensor" => Kind::Sighting,
                "unit" => Kind::Unit,
                _ => return None,
            };
            Some((kind, levels.next()))
        })
    }

    /// As [`Topics::route`], under whatever prefix: only the topic's last levels count.
    pub fn route_end<'a>(&self, topic: &'a str) -> Option<Route<'a>> {
        self.patterns.iter().find_map(|(kind, pattern)| {
            let begin = topic.rmatch_indices('/').nth(pattern.len() - 1).map_or(0, |(at, _)| at + 1);
            matched(pattern, &topic[begin..]).map(|id| (*kind, id))
        })
    }

    /// The subscription filters that cover every topic read.
    pub fn filters(&self) -> Vec<String> {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        let filter = |pattern: &[&str]| pattern.join("/").replace(ID, ANY);
        self.patterns.iter().map(|(_, pattern)| format!("{}{slash}{}", self.prefix, filter(pattern))).collect()
    }
}

/// Whether levels are those of a pattern, and if so the id among them.
fn matched<'a>(pattern: &[&str], levels: &'a str) -> Option<Option<&'a str>> {
    if pattern == [ALL] {
        return Some(None);
    }
    let (mut begin, mut id) = (0, None);
    let mut expected = pattern.iter();
    for level in levels.split('/') {
        let end = begin + level.len();
        match *expected.next()? {
            ID => id = Some((id.map_or(begin, |(first, _)| first), end)),
            ANY => {}
            word if word == level => {}
            _ => return None,
        }
        begin = end + 1;
    }
    if expected.next().is_some() { None } else { Some(id.and_then(|(first, end)| levels.get(first..end))) }
}
