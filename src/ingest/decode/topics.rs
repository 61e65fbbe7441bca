//! Which topic carries what.

/// What a topic carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Device,
    Sighting,
    Unit,
    Reply,
}

impl Kind {
    const ALL: [(Kind, &'static str, &'static str); 4] = [
        (Kind::Device, "device", "report"),
        (Kind::Sighting, "sensor", "sighting"),
        (Kind::Unit, "unit", "report"),
        (Kind::Reply, "unit", "reply"),
    ];

    /// The field that holds the sender's id.
    pub(super) const fn id(self) -> &'static str {
        match self {
            Kind::Device => "device_id",
            Kind::Sighting => "sensor_id",
            Kind::Unit | Kind::Reply => "unit_id",
        }
    }
}

/// The topics below one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    prefix: String,
}

impl Default for Topics {
    /// Below `mw/v1`.
    fn default() -> Self {
        Self::new("mw/v1")
    }
}

impl Topics {
    /// Slashes at the prefix's ends are dropped.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.trim_matches('/').to_owned() }
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What a topic carries and from whom; `None` when nothing here reads it.
    pub fn route<'a>(&self, topic: &'a str) -> Option<(Kind, &'a str)> {
        let below = match self.prefix.as_str() {
            "" => topic,
            prefix => topic.strip_prefix(prefix)?.strip_prefix('/')?,
        };
        let mut levels = below.split('/');
        let (sender, id, what) = (levels.next()?, levels.next()?, levels.next()?);
        if levels.next().is_some() {
            return None;
        }
        let found = Kind::ALL.iter().find(|(_, s, w)| *s == sender && *w == what);
        found.map(|(kind, _, _)| (*kind, id))
    }

    /// The subscription filters that cover every topic read.
    pub fn filters(&self) -> Vec<String> {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        Kind::ALL.iter().map(|(_, sender, what)| format!("{}{slash}{sender}/+/{what}", self.prefix)).collect()
    }
}
