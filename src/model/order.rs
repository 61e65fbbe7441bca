//! Dispatch orders: who is asked to go where, in which state, and why.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{AlertId, Answer, Departments, Finding, Severity, Time, UnitKind, UnitStatus, content_id, report::words};

/// The id of the order that an alert becomes.
pub fn dispatch_id(alert_id: &str) -> Arc<str> {
    content_id(&[b"dispatch", alert_id.as_bytes()])
}

words! {
    /// Where a dispatch order stands.
    OrderState {
        /// Nobody can be asked at present; tried again as units report.
        Waiting = "waiting",
        /// A unit was asked and has not answered.
        Offered = "offered",
        /// A unit is on its way.
        Accepted = "accepted",
        /// A unit is there.
        OnScene = "on_scene",
        /// Left to the department.
        Escalated = "escalated",
        /// Closed with a verdict.
        Resolved = "resolved",
        /// For the list only: nobody is sent.
        Listed = "listed",
        /// Closed because late data withdrew its alert.
        Withdrawn = "withdrawn",
    }
}
words! {
    /// What became of an offer to one unit.
    OfferState {
        Pending = "pending",
        Accepted = "accepted",
        OnScene = "on_scene",
        Declined = "declined",
        /// Silent past the deadline.
        Expired = "expired",
        /// Still unanswered when the order was closed.
        Withdrawn = "withdrawn",
        /// The unit held the order when it was closed.
        Done = "done",
    }
}
words! {
    /// Why an offer was made.
    Purpose {
        /// The order's first unit.
        First = "first",
        /// One more, as a unit on the order asked.
        Reinforce = "reinforce",
        /// One of the right kind, since the alert became graver while another kind held the order.
        Raised = "raised",
    }
}
words! {
    /// Why a unit was not chosen.
    PassedOver {
        /// Its last position is too old, or in the future of all clocks.
        Stale = "stale",
        Busy = "busy",
        Off = "off",
        OtherDepartment = "other_department",
        /// Grid staff where a squad is wanted, or the reverse.
        OtherKind = "other_kind",
        /// Works in another district, where only the district is known.
        OtherDistrict = "other_district",
        /// Was asked for this order and said no.
        Declined = "declined",
        /// Was asked for this order and kept silent.
        Silent = "silent",
        /// Holds an order, or an offer it has not answered.
        Holding = "holding",
        /// In no registry.
        Unregistered = "unregistered",
    }
}
words! {
    /// What a unit's reply came to.
    ReplyOutcome {
        Taken = "taken",
        /// Said before; nothing changed.
        Repeated = "repeated",
        UnknownDispatch = "unknown_dispatch",
        /// The order was never offered to this unit.
        NotOffered = "not_offered",
        /// After the deadline, or after the order had moved on.
        Late = "late",
        /// The order is closed.
        Closed = "closed",
        /// `resolved` needs a verdict.
        VerdictMissing = "verdict_missing",
        /// No more reinforcement for this order.
        TooMany = "too_many",
    }
}

impl ReplyOutcome {
    /// For who replied, in English and in Chinese: why the reply changed nothing.
    pub fn in_words(self) -> (&'static str, &'static str) {
        match self {
            Self::Taken => ("taken", "已受理"),
            Self::Repeated => ("this was said before; nothing changed", "已回复过，无变化"),
            Self::UnknownDispatch => ("there is no such dispatch_id", "没有该派单编号"),
            Self::NotOffered => ("this order was never offered to this unit", "该派单从未派给本单位"),
            Self::Late => ("too late: the order has gone on to others", "已超时：派单已转给他人"),
            Self::Closed => ("the order is closed", "该派单已结束"),
            Self::VerdictMissing => (
                "resolved needs a verdict: confirmed, false_alarm or not_found",
                "办结须填写结论：confirmed、false_alarm 或 not_found",
            ),
            Self::TooMany => ("no more reinforcement for this order", "该派单不能再请求增援"),
        }
    }
}

/// One unit that was looked at for an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Considered {
    pub unit_id: Arc<str>,
    /// Great-circle distance to the alert, when both positions are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance_m: Option<f64>,
    /// `None`: this one was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_over: Option<PassedOver>,
}

/// The search for a unit that an order is in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Search {
    pub purpose: Purpose,
    /// How many units are still to be found.
    pub wanted: u32,
    /// How many were asked in this search.
    pub asked: u32,
    /// When the department is told instead.
    pub until: Time,
}

/// A dispatch order. Its JSON form is the API's; absent values are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Derived from the alert's id alone.
    pub dispatch_id: Arc<str>,
    pub alert_id: AlertId,
    pub state: OrderState,
    pub severity: Severity,
    pub departments: Departments,
    /// Whom it is for; `None` for the list only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<UnitKind>,
    pub rule_id: Arc<str>,
    pub vehicle_id: Arc<str>,
    pub plate: Arc<str>,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lat: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lon: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub district_id: Option<Arc<str>>,
    pub created_at: Time,
    pub updated_at: Time,
    /// Grows with every change.
    pub revision: u64,
    /// Offers made so far.
    pub attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Search>,
    /// The unit that was chosen last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_id: Option<Arc<str>>,
    /// When the offer that is out is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// The last choice in words.
    pub reason: String,
    /// The last choice in data: nearest first, bounded.
    pub considered: Vec<Considered>,
    /// Replies that asked for reinforcement and were heeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reinforced_by: Vec<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Finding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Time>,
    /// When its alert ended: from then on nobody new is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert_ended_at: Option<Time>,
}

/// One offer of an order to one unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// Derived from the order's id and the attempt.
    pub offer_id: Arc<str>,
    pub dispatch_id: Arc<str>,
    /// 1 for the order's first.
    pub attempt: u32,
    pub unit_id: Arc<str>,
    pub purpose: Purpose,
    pub state: OfferState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance_m: Option<f64>,
    pub sent_at: Time,
    pub deadline: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Time>,
    /// What the unit said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A unit as last heard of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitState {
    pub unit_id: Arc<str>,
    /// Its report's own time, never later than its arrival.
    pub at: Time,
    /// Degrees, WGS-84.
    pub lat: f64,
    pub lon: f64,
    pub status: UnitStatus,
}

/// A unit's reply, and what it came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replied {
    /// Derived from the reply's content: the same reply twice is one.
    pub reply_id: Arc<str>,
    pub dispatch_id: Arc<str>,
    pub unit_id: Arc<str>,
    pub answer: Answer,
    pub device_time: Time,
    pub received_at: Time,
    pub outcome: ReplyOutcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Finding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
