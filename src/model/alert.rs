//! Alerts: what broke a rule, when, and how grave it is.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};

use super::{Departments, Time};

/// How grave, from least to most: the order of the variants is the order of gravity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Notice,
    Minor,
    Major,
    Critical,
}

impl Severity {
    pub const ALL: &[Self] = &[Self::Notice, Self::Minor, Self::Major, Self::Critical];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Minor => "minor",
            Self::Major => "major",
            Self::Critical => "critical",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|severity| severity.as_str() == word)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Derived from rule, key and start: the same input gives the same id. 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AlertId(pub Arc<str>);

impl AlertId {
    /// The first 128 bits of SHA-256 over rule id, key values and start, each preceded by its length.
    pub fn derive(rule_id: &str, key: &[Option<&str>], started_at: Time) -> Self {
        let mut hash = Sha256::new();
        let mut part = |bytes: Option<&[u8]>| {
            hash.update(bytes.map_or(u64::MAX, |b| b.len() as u64).to_le_bytes());
            hash.update(bytes.unwrap_or_default());
        };
        part(Some(rule_id.as_bytes()));
        key.iter().for_each(|value| part(value.map(str::as_bytes)));
        part(Some(&started_at.as_millis().to_le_bytes()));
        let digest = hash.finalize();
        Self(digest[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
    }
}

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text in the languages that people read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalText {
    pub zh: String,
    pub en: String,
}

/// A language that people read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    Zh,
    #[default]
    En,
}

impl LocalText {
    pub fn is_empty(&self) -> bool {
        self.zh.is_empty() && self.en.is_empty()
    }

    pub fn get(&self, language: Language) -> &str {
        match language {
            Language::Zh => &self.zh,
            Language::En => &self.en,
        }
    }
}

impl From<String> for LocalText {
    /// The same text in every language.
    fn from(text: String) -> Self {
        Self { zh: text.clone(), en: text }
    }
}

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    Open,
    Cleared,
    /// Late data showed that it never was.
    Withdrawn,
}

impl AlertState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Cleared => "cleared",
            Self::Withdrawn => "withdrawn",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        [Self::Open, Self::Cleared, Self::Withdrawn].into_iter().find(|state| state.as_str() == word)
    }
}

/// What broke a rule. Its JSON form is the contract's; absent values are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    pub alert_id: AlertId,
    pub rule_id: Arc<str>,
    /// Digest of the rule as loaded.
    pub rule_version: Arc<str>,
    pub vehicle_id: Arc<str>,
    pub plate: Arc<str>,
    pub company_id: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver_id: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permit_id: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_id: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trip_id: Option<Arc<str>>,
    /// The highest reached.
    pub severity: Severity,
    pub departments: Departments,
    /// In the language of who runs this (the setting `language`); before an alert is told, in English.
    pub message: String,
    /// The message in each language; empty in alerts of before there were two.
    #[serde(default, skip_serializing_if = "LocalText::is_empty")]
    pub messages: LocalText,
    /// The rule's name, its id where it has none.
    #[serde(default, skip_serializing_if = "LocalText::is_empty")]
    pub rule_name: LocalText,
    /// The rule's label `code`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_code: Option<Arc<str>>,
    /// Event time of the first report of the hold.
    pub started_at: Time,
    /// Event time at which the hold was complete.
    pub fired_at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleared_at: Option<Time>,
    /// Why it ended, when nothing cleared it: `max_open` (for too long nothing came that could), `rule_removed`,
    /// `deregistered`, `forgotten` (of a vehicle in no register nothing came for as long as late data is taken).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleared_because: Option<Arc<str>>,
    pub state: AlertState,
    /// Only late data showed it.
    pub retrospective: bool,
    /// Why it was withdrawn, for a person, in the language of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn_because: Option<String>,
    /// The same in each language; empty in alerts of before there were two.
    #[serde(default, skip_serializing_if = "LocalText::is_empty")]
    pub withdrawn_reasons: LocalText,
    /// Of a rule on trial: kept, but nobody is told. It stays so when its rule comes into force while it is open.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lat: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lon: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub district_id: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place_id: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub road_id: Option<Arc<str>>,
    /// The sensor by whose sighting it was found; none where a device's reports showed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor_id: Option<Arc<str>>,
    /// Its vehicle was in no register.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unregistered: bool,
    /// The rule's own columns with their values at `fired_at`.
    pub facts: Map<String, Json>,
    /// Other rules that found the same incident, in order of their firing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joined: Vec<Joined>,
}

impl Alert {
    /// The same, told in a language, where it is known in both.
    #[must_use]
    pub fn said_in(mut self, language: Language) -> Self {
        let own = std::iter::once((&mut self.message, &self.messages));
        for (message, messages) in own.chain(self.joined.iter_mut().map(|one| (&mut one.message, &one.messages))) {
            if !messages.is_empty() {
                messages.get(language).clone_into(message);
            }
        }
        if !self.withdrawn_reasons.is_empty() {
            self.withdrawn_because = Some(self.withdrawn_reasons.get(language).to_owned());
        }
        self
    }

    /// The same as one that never was, and why.
    #[must_use]
    pub fn withdrawn(self, reasons: LocalText) -> Self {
        Self {
            state: AlertState::Withdrawn,
            withdrawn_because: Some(reasons.en.clone()),
            withdrawn_reasons: reasons,
            ..self
        }
    }

    /// The language that it is told in.
    pub fn language(&self) -> Language {
        if self.message != self.messages.en && self.message == self.messages.zh { Language::Zh } else { Language::En }
    }
}

/// What another rule found of an alert's incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    pub rule_id: Arc<str>,
    /// Digest of that rule as loaded.
    pub rule_version: Arc<str>,
    /// The highest that rule reached.
    pub severity: Severity,
    pub message: String,
    #[serde(default, skip_serializing_if = "LocalText::is_empty")]
    pub messages: LocalText,
    pub started_at: Time,
    pub fired_at: Time,
    /// That rule's own columns with their values at its `fired_at`.
    pub facts: Map<String, Json>,
}

/// A change to an alert; `alert` is how it stands after it.
#[derive(Clone, Debug, PartialEq)]
pub enum Transition {
    Opened(Alert),
    /// It became graver, or another rule joined it; then it may be open again.
    Raised(Alert),
    Cleared(Alert),
    /// Late data changed what was told of it.
    Revised(Alert),
    /// Late data showed that it never was.
    Withdrawn(Alert),
}

impl Transition {
    /// The alert as it stands after the change.
    pub fn alert(&self) -> &Alert {
        match self {
            Self::Opened(alert)
            | Self::Raised(alert)
            | Self::Cleared(alert)
            | Self::Revised(alert)
            | Self::Withdrawn(alert) => alert,
        }
    }

    /// The same, to be changed.
    pub fn alert_mut(&mut self) -> &mut Alert {
        match self {
            Self::Opened(alert)
            | Self::Raised(alert)
            | Self::Cleared(alert)
            | Self::Revised(alert)
            | Self::Withdrawn(alert) => alert,
        }
    }

    /// The alert as it stands after the change, taken out.
    pub fn into_alert(self) -> Alert {
        match self {
            Self::Opened(alert)
            | Self::Raised(alert)
            | Self::Cleared(alert)
            | Self::Revised(alert)
            | Self::Withdrawn(alert) => alert,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_alert_is_told_in_one_language_with_what_joined_it() {
        let text = |zh: &str, en: &str| LocalText { zh: zh.into(), en: en.into() };
        let joined = json!({"rule_id": "r2", "rule_version": "1", "severity": "minor", "message": "fast", "messages": text("快", "fast"),
            "started_at": "2026-03-01T14:00:00.000Z", "fired_at": "2026-03-01T14:00:00.000Z", "facts": {}});
        let alert: Alert = serde_json::from_value(json!({"alert_id": "1", "rule_id": "r", "rule_version": "1", "vehicle_id": "V", "plate": "P",
            "company_id": "", "severity": "minor", "departments": [], "message": "severe", "messages": text("严重", "severe"),
            "started_at": "2026-03-01T14:00:00.000Z", "fired_at": "2026-03-01T14:00:00.000Z", "state": "open", "retrospective": false,
            "facts": {}, "joined": [joined]}))
        .unwrap();
        let said = |alert: &Alert| (alert.message.clone(), alert.joined[0].message.clone(), alert.language());
        let zh = alert.clone().said_in(Language::Zh);
        assert_eq!(said(&zh), ("严重".into(), "快".into(), Language::Zh));
        assert_eq!(zh.said_in(Language::En), alert, "and back again");
        let never_was = alert.clone().withdrawn(text("没有", "it was not"));
        assert_eq!(never_was.withdrawn_because.as_deref(), Some("it was not"));
        assert_eq!(never_was.said_in(Language::Zh).withdrawn_because.as_deref(), Some("没有"));
        // Of before there were two languages.
        let old = Alert { messages: LocalText::default(), ..alert };
        assert_eq!(old.clone().said_in(Language::Zh).message, old.message);
    }

    #[test]
    fn an_id_depends_on_rule_key_and_start_alone() {
        let at = Time::from_millis(5);
        let id = AlertId::derive("overspeed", &[Some("V1")], at);
        assert_eq!(id, AlertId::derive("overspeed", &[Some("V1")], at));
        assert_eq!(id.0.len(), 32);
        let others = [
            AlertId::derive("overspeed", &[Some("V2")], at),
            AlertId::derive("overspeedV", &[Some("1")], at),
            AlertId::derive("overspeed", &[Some("V1"), None], at),
            AlertId::derive("overspeed", &[Some("V1"), Some("")], at),
            AlertId::derive("overspeed", &[Some("V1")], at.plus_ms(1)),
        ];
        for (index, other) in others.iter().enumerate() {
            assert_ne!(id, *other, "case {index}");
        }
    }

    #[test]
    fn severities_order_by_gravity() {
        assert!(Severity::Critical > Severity::Major && Severity::Minor > Severity::Notice);
        assert_eq!(Severity::parse("major"), Some(Severity::Major));
        assert_eq!(Severity::parse("grave"), None);
    }
}
