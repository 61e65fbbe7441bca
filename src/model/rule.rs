//! What a rule says of time, and what a predicate can answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Period, Severity, Text};

/// The answer of a predicate over one row. Unknown (SQL NULL) neither raises nor clears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    True,
    False,
    Unknown,
}

impl std::ops::Not for Verdict {
    type Output = Self;

    /// Three-valued: not unknown is unknown.
    fn not(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Unknown => Self::Unknown,
        }
    }
}

impl From<Option<bool>> for Verdict {
    fn from(answer: Option<bool>) -> Self {
        match answer {
            Some(true) => Self::True,
            Some(false) => Self::False,
            None => Self::Unknown,
        }
    }
}

/// So many hits in a sliding window of event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountWindow {
    pub at_least: u32,
    pub within_ms: i64,
    /// A hit as grave as this needs no others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_once: Option<Severity>,
}

/// How a rule's verdicts over time become an alert. All durations are event time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// How long the predicate must hold (`for`).
    pub hold_ms: i64,
    /// Over how many reports that say true.
    pub min_samples: u32,
    /// A longer silence between reports that say true breaks the hold.
    pub max_gap_ms: i64,
    /// Instead of a hold.
    pub count: Option<CountWindow>,
    /// How long the clearing predicate must hold (`clear.for`).
    pub clear_ms: i64,
    /// How long after an alert cleared none of this rule is raised for this key.
    pub cooldown_ms: i64,
    /// An open alert ends when for so long nothing came that could clear it or keep it open (`max_open`).
    pub max_open_ms: i64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            hold_ms: 0,
            min_samples: 1,
            max_gap_ms: 300_000,
            count: None,
            clear_ms: 0,
            cooldown_ms: 0,
            max_open_ms: 86_400_000,
        }
    }
}

/// What several rules say of one truck in a short while is one incident: the first to fire opens an alert, the others join it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Rules that write the same name share the incident.
    pub name: Text,
    /// How long after the alert cleared this rule still joins it, and opens none of its own.
    pub within_ms: i64,
}

/// How a rule counts over many vehicles, or over alerts: its alert is open while the window is full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Full with so many points (a row is one), or …
    pub at_least: Option<u32>,
    /// … with so many vehicles, …
    pub vehicles: Option<u32>,
    /// … of which there must also be this share of what is registered for the company.
    pub share: Option<f64>,
    pub window: Window,
    /// Counts alerts of these rules, each with its points, and not rows.
    pub over: Option<BTreeMap<Text, u32>>,
}

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// The last so many milliseconds.
    Sliding { within_ms: i64 },
    /// A period of the local calendar.
    Calendar(Period),
}

/// Codes of the departments that are told, such as `urban_mgmt`; any code may be configured.
pub type Departments = std::sync::Arc<[std::sync::Arc<str>]>;
