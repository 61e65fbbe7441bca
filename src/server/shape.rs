//! What the model's own JSON looks like, for the description alone: the model itself knows nothing of OpenAPI. A test
//! holds each shape against what is really written.
#![allow(dead_code, reason = "only described, never made")]

use utoipa::ToSchema;

/// What broke a rule.
#[derive(ToSchema)]
pub(super) struct Alert {
    /// Derived from rule, key and start: the same input gives the same id.
    alert_id: String,
    rule_id: String,
    /// Digest of the rule as loaded.
    rule_version: String,
    vehicle_id: String,
    plate: String,
    company_id: String,
    #[schema(nullable = false)]
    driver_id: Option<String>,
    #[schema(nullable = false)]
    permit_id: Option<String>,
    #[schema(nullable = false)]
    manifest_id: Option<String>,
    #[schema(nullable = false)]
    trip_id: Option<String>,
    /// The highest reached: `notice`, `minor`, `major` or `critical`.
    severity: String,
    departments: Vec<String>,
    message: String,
    /// The message in each language, `zh` and `en`; absent in old ones.
    #[schema(value_type = Option<Object>, nullable = false)]
    messages: (),
    /// The rule's name in each language, `zh` and `en`; absent in old ones.
    #[schema(value_type = Option<Object>, nullable = false)]
    rule_name: (),
    /// The rule's label `code`.
    #[schema(nullable = false)]
    rule_code: Option<String>,
    /// Event time of the first report of the hold.
    #[schema(format = DateTime)]
    started_at: String,
    /// Event time at which the hold was complete.
    #[schema(format = DateTime)]
    fired_at: String,
    /// Event time, when cleared.
    #[schema(format = DateTime, nullable = false)]
    cleared_at: Option<String>,
    /// Why it ended, when nothing cleared it: `max_open`, `rule_removed`, `deregistered` or `forgotten`; else absent.
    #[schema(nullable = false)]
    cleared_because: Option<String>,
    /// `open`, `cleared` or `withdrawn`.
    state: String,
    /// True when only late data showed it.
    retrospective: bool,
    /// Why it was withdrawn, in the language of `message`; else absent.
    #[schema(nullable = false)]
    withdrawn_because: Option<String>,
    /// The same in each language; else absent.
    #[schema(value_type = Option<Object>, nullable = false)]
    withdrawn_reasons: (),
    /// True when it is of a shadow rule, of which nobody is told; else absent.
    #[schema(nullable = false)]
    shadow: Option<bool>,
    /// Degrees, WGS-84, at `fired_at`.
    #[schema(nullable = false)]
    lat: Option<f64>,
    #[schema(nullable = false)]
    lon: Option<f64>,
    #[schema(nullable = false)]
    district_id: Option<String>,
    #[schema(nullable = false)]
    place_id: Option<String>,
    #[schema(nullable = false)]
    road_id: Option<String>,
    /// The sensor by whose sighting it was found; absent where a device's reports showed it.
    sensor_id: Option<String>,
    /// Its vehicle was in no register; else absent.
    unregistered: Option<bool>,
    /// The rule's own columns with their values at `fired_at`.
    #[schema(value_type = Object)]
    facts: (),
    /// Other rules that found the same incident, in order of their firing; absent when there are none.
    #[schema(nullable = false)]
    joined: Option<Vec<Joined>>,
}

/// What another rule found of an alert's incident.
#[derive(ToSchema)]
pub(super) struct Joined {
    rule_id: String,
    rule_version: String,
    severity: String,
    message: String,
    #[schema(value_type = Option<Object>, nullable = false)]
    messages: (),
    #[schema(format = DateTime)]
    started_at: String,
    #[schema(format = DateTime)]
    fired_at: String,
    #[schema(value_type = Object)]
    facts: (),
}

/// A dispatch order.
#[derive(ToSchema)]
pub(super) struct Order {
    dispatch_id: String,
    alert_id: String,
    /// `waiting`, `offered`, `accepted`, `on_scene`, `escalated`, `resolved` or `listed`.
    state: String,
    severity: String,
    departments: Vec<String>,
    /// `squad` or `grid`; absent for the list only.
    #[schema(nullable = false)]
    kind: Option<String>,
    rule_id: String,
    vehicle_id: String,
    plate: String,
    message: String,
    #[schema(nullable = false)]
    lat: Option<f64>,
    #[schema(nullable = false)]
    lon: Option<f64>,
    #[schema(nullable = false)]
    district_id: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
    /// Grows with every change.
    revision: u64,
    /// Offers made so far.
    attempts: u32,
    #[schema(nullable = false)]
    search: Option<Search>,
    /// The unit chosen last.
    #[schema(nullable = false)]
    unit_id: Option<String>,
    /// When the offer that is out is given up.
    #[schema(format = DateTime, nullable = false)]
    deadline: Option<String>,
    /// The last choice in words.
    reason: String,
    /// The units looked at for it, nearest first.
    considered: Vec<Considered>,
    #[schema(nullable = false)]
    reinforced_by: Option<Vec<String>>,
    /// `confirmed`, `false_alarm` or `not_found`.
    #[schema(nullable = false)]
    verdict: Option<String>,
    #[schema(nullable = false)]
    note: Option<String>,
    #[schema(format = DateTime, nullable = false)]
    closed_at: Option<String>,
    /// When its alert ended: from then on nobody new is asked.
    #[schema(format = DateTime, nullable = false)]
    alert_ended_at: Option<String>,
}

/// The search for a unit that an order is in.
#[derive(ToSchema)]
pub(super) struct Search {
    /// `first`, `reinforce` or `raised`.
    purpose: String,
    wanted: u32,
    asked: u32,
    /// When the department is told instead.
    #[schema(format = DateTime)]
    until: String,
}

/// A unit that was looked at.
#[derive(ToSchema)]
pub(super) struct Considered {
    unit_id: String,
    #[schema(nullable = false)]
    distance_m: Option<f64>,
    /// Why it was not chosen; absent for the one that was.
    #[schema(nullable = false)]
    passed_over: Option<String>,
}

/// One offer of an order to one unit.
#[derive(ToSchema)]
pub(super) struct Offer {
    offer_id: String,
    dispatch_id: String,
    /// From 1.
    attempt: u32,
    unit_id: String,
    /// `first`, `reinforce` or `raised`.
    purpose: String,
    /// `pending`, `accepted`, `on_scene`, `declined`, `expired`, `withdrawn` or `done`.
    state: String,
    #[schema(nullable = false)]
    distance_m: Option<f64>,
    #[schema(format = DateTime)]
    sent_at: String,
    #[schema(format = DateTime)]
    deadline: String,
    #[schema(format = DateTime, nullable = false)]
    answered_at: Option<String>,
    #[schema(nullable = false)]
    reason: Option<String>,
}

/// A unit's reply, and what it came to.
#[derive(ToSchema)]
pub(super) struct Reply {
    reply_id: String,
    dispatch_id: String,
    unit_id: String,
    /// `accept`, `decline`, `arrived`, `reinforce` or `resolved`.
    answer: String,
    #[schema(format = DateTime)]
    device_time: String,
    #[schema(format = DateTime)]
    received_at: String,
    /// `taken`, or why not.
    outcome: String,
    #[schema(nullable = false)]
    reason: Option<String>,
    #[schema(nullable = false)]
    verdict: Option<String>,
    #[schema(nullable = false)]
    note: Option<String>,
}
