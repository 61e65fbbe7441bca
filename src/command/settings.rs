//! How dispatch is tuned.

use crate::model::{Language, Severity, Text, UnitKind, limits};

/// One value for each severity of which somebody is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BySeverity {
    pub critical: i64,
    pub major: i64,
    pub minor: i64,
}

impl BySeverity {
    pub fn of(self, severity: Severity) -> i64 {
        match severity {
            Severity::Critical => self.critical,
            Severity::Major => self.major,
            Severity::Minor | Severity::Notice => self.minor,
        }
    }
}

/// All durations in milliseconds. The defaults are our own proposals; no standard sets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What every topic begins with.
    pub prefix: Text,
    /// In which alerts and orders are told.
    pub language: Language,
    /// A unit whose last report is older is passed over.
    pub stale_after_ms: i64,
    /// How long a unit has to answer.
    pub answer_within_ms: BySeverity,
    /// How long a unit is looked for before the department is told.
    pub escalate_after_ms: BySeverity,
    /// Whether grid staff may be asked when no squad is to be had, and the reverse.
    pub other_kind_too: bool,
    /// An alert that fired longer ago than this when it becomes known is for the list only.
    pub dispatch_age_ms: i64,
    /// An alert that only late data showed sends people while it fired no longer ago than this; later it is a notice. 0: never.
    pub late_dispatch_age_ms: i64,
    /// One that fired longer ago than this when late data shows it is evidence only: nobody is told.
    pub late_notice_age_ms: i64,
    /// Orders about one vehicle within an hour; what comes beyond is for the list only, unless it is critical. 0: any number.
    pub orders_per_vehicle_hour: u32,
    /// Orders of one rule by what one sensor saw, or about all trucks in no register together, within an hour; what comes beyond is for
    /// the list only, however grave. 0: any number.
    pub orders_per_sender_hour: u32,
    /// Orders that seek, wait for or hold a unit. More: the mildest that waits is left to its department for a graver one, else the
    /// new one is.
    pub most_active: usize,
}

impl Default for Settings {
    fn default() -> Self {
        const MINUTE: i64 = 60_000;
        Self {
            prefix: "mw/v1".into(),
            language: Language::default(),
            stale_after_ms: 10 * MINUTE,
            answer_within_ms: BySeverity { critical: MINUTE, major: 2 * MINUTE, minor: 5 * MINUTE },
            escalate_after_ms: BySeverity { critical: 5 * MINUTE, major: 10 * MINUTE, minor: 30 * MINUTE },
            other_kind_too: false,
            dispatch_age_ms: 60 * MINUTE,
            late_dispatch_age_ms: 2 * MINUTE,
            late_notice_age_ms: 72 * 60 * MINUTE,
            orders_per_vehicle_hour: 6,
            orders_per_sender_hour: 60,
            most_active: limits::ORDERS_ACTIVE,
        }
    }
}

/// Whom an alert of this severity is for; `None`: the list only.
pub(super) fn kind_for(severity: Severity) -> Option<UnitKind> {
    match severity {
        Severity::Critical | Severity::Major => Some(UnitKind::Squad),
        Severity::Minor => Some(UnitKind::Grid),
        Severity::Notice => None,
    }
}
