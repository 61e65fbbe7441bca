//! People on the street: where a unit is, and what it answers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{Datum, Time, report::words};

words! {
    /// Whom a unit is: neighbourhood staff, or an enforcement squad.
    UnitKind { Grid = "grid", Squad = "squad" }
}
words! {
    /// Whether a unit can be sent.
    UnitStatus { Available = "available", Busy = "busy", Off = "off" }
}
words! {
    /// What a unit answers to a dispatch.
    Answer { Accept = "accept", Decline = "decline", Arrived = "arrived", Reinforce = "reinforce", Resolved = "resolved" }
}
words! {
    /// What a unit found on the spot (`verdict` in its reply).
    Finding { Confirmed = "confirmed", FalseAlarm = "false_alarm", NotFound = "not_found" }
}

/// Where a unit is and whether it can be sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitReport {
    #[serde(default = "empty")]
    pub unit_id: Arc<str>,
    pub device_time: Time,
    /// Degrees; without a usable position its status counts, and it is where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lat: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lon: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datum: Option<Datum>,
    /// `None`: it says none that anybody knows, and is as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<UnitStatus>,
}

/// A unit's answer to a dispatch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitReply {
    #[serde(default = "empty")]
    pub unit_id: Arc<str>,
    pub dispatch_id: Arc<str>,
    pub device_time: Time,
    pub answer: Answer,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Finding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<Json>,
}

fn empty() -> Arc<str> {
    Arc::from("")
}
