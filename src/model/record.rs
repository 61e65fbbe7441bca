//! What the journal keeps of every message, and the ledger that counts it exactly once.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{DeviceReport, Sighting, Text, Time, UnitReply, UnitReport, report::words};

words! {
    /// What became of a report: each is counted as exactly one of these.
    Outcome { Evaluated = "evaluated", Duplicate = "duplicate", Filtered = "filtered", Late = "late", Rejected = "rejected" }
}
words! {
    /// Why.
    Reason {
        /// Nothing to say of it.
        Ok = "ok",
        /// No position, or (0,0), or a fix of `none`: it proves that the device lives, no more.
        NoPosition = "no_position",
        /// Too few satellites or too high a HDOP: liveness only, never geometry.
        WeakFix = "weak_fix",
        /// Coordinates out of range: liveness only.
        PositionOutOfRange = "position_out_of_range",
        /// Device clock ahead of arrival, hours behind on live reports, or broken: arrival time is used.
        ClockSkew = "clock_skew",
        /// The same report again.
        Duplicate = "duplicate",
        /// A speed no such truck has.
        ImplausibleSpeed = "implausible_speed",
        /// A jump between fixes that no truck makes.
        ImplausibleJump = "implausible_jump",
        /// Older than the device's last report: judged where it belongs in time.
        OutOfOrder = "out_of_order",
        /// Older than what is judged at all.
        TooOld = "too_old",
        /// The broker had kept it for whoever subscribes: it may be of any age, and is not judged.
        Retained = "retained",
        /// Not readable as what its topic says.
        Undecodable = "undecodable",
        /// Larger than we read.
        TooLarge = "too_large",
        /// Another dialect's message that is no report: a heartbeat, a login.
        NoReport = "no_report",
        /// A topic that nothing here reads.
        UnknownTopic = "unknown_topic",
        /// More unregistered devices than we keep count of.
        TooManyDevices = "too_many_devices",
        /// More plates in no registry than we keep count of, in all or of one sensor within an hour.
        TooManyPlates = "too_many_plates",
    }
}

/// A message that could not be read as a report, whole: a dead letter, or (`no_report`) one that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Of one that is no report, such as a heartbeat: the device that lives.
    pub device_id: Option<Arc<str>>,
    pub topic: Arc<str>,
    pub payload: Vec<u8>,
    /// What was wrong with it, for a person.
    pub problem: String,
}

/// What a record holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Device(DeviceReport),
    Sighting(Sighting),
    Unit(UnitReport),
    Reply(UnitReply),
    DeadLetter(DeadLetter),
    /// The arrival clock stood at `recv_time`: silence is judged. Counts in no ledger.
    Tick,
    /// We began to listen at `recv_time`: what was silent before that was our own doing. Counts in no ledger.
    Start,
    /// What this vehicle (none: what each) sent since `event_time` is to be judged again, by what was registered when this came. Counts in
    /// no ledger.
    JudgeAgain(Option<Text>),
}

/// One entry of the journal: a message as admitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// When it arrived.
    pub recv_time: Time,
    /// The time it is judged at: `device_time`, or `recv_time` when the device's clock is ahead.
    pub event_time: Time,
    pub outcome: Outcome,
    pub reason: Reason,
    /// Whether its position may be used for geometry.
    pub use_position: bool,
    pub body: Body,
}

impl Record {
    /// A record of the clock itself.
    pub fn clock(body: Body, at: Time) -> Self {
        Self {
            recv_time: at,
            event_time: at,
            outcome: Outcome::Evaluated,
            reason: Reason::Ok,
            use_position: false,
            body,
        }
    }

    /// What came at `at` and was measured then, judged.
    #[cfg(test)]
    pub fn judged(body: Body, at: Time) -> Self {
        Self::clock(body, at)
    }

    /// A wish, given at `at`, that what was sent since a time is judged again.
    pub fn judge_again(vehicle_id: Option<Text>, since: Time, at: Time) -> Self {
        Self { event_time: since, ..Self::clock(Body::JudgeAgain(vehicle_id), at) }
    }

    /// Whether the ledger counts it: all that was received, not what we put in ourselves.
    pub fn is_counted(&self) -> bool {
        !matches!(self.body, Body::Tick | Body::Start | Body::JudgeAgain(_))
    }
}

/// Every report received, counted once more by what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    received: u64,
    counts: BTreeMap<Outcome, BTreeMap<Reason, u64>>,
}

impl Ledger {
    /// Counts a record as received and as its outcome. What is not counted (see [`Record::is_counted`]) changes nothing.
    pub fn count(&mut self, record: &Record) {
        self.count_as(record, record.outcome, record.reason);
    }

    /// The same, for a record of which more is known than admission could tell.
    pub fn count_as(&mut self, record: &Record, outcome: Outcome, reason: Reason) {
        if record.is_counted() {
            self.received += 1;
            *self.counts.entry(outcome).or_default().entry(reason).or_default() += 1;
        }
    }

    /// One report that was counted as judged out of order came to this outcome in the end.
    pub fn amend(&mut self, outcome: Outcome, reason: Reason) {
        if (outcome, reason) == (Outcome::Evaluated, Reason::OutOfOrder) {
            return;
        }
        let counted = self.counts.get_mut(&Outcome::Evaluated).and_then(|reasons| reasons.get_mut(&Reason::OutOfOrder));
        if let Some(counted) = counted.filter(|counted| **counted > 0) {
            *counted -= 1;
            *self.counts.entry(outcome).or_default().entry(reason).or_default() += 1;
        }
    }

    /// Adds another ledger's counts to this one.
    pub fn merge(&mut self, other: &Ledger) {
        self.received += other.received;
        for (outcome, reasons) in &other.counts {
            let mine = self.counts.entry(*outcome).or_default();
            reasons.iter().for_each(|(reason, n)| *mine.entry(*reason).or_default() += n);
        }
    }

    /// How many reports came.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// How many came to this outcome, for any reason.
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.counts.get(&outcome).map_or(0, |reasons| reasons.values().sum())
    }

    /// Every `(outcome, reason, count)`, sorted.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.counts
            .iter()
            .flat_map(|(outcome, reasons)| reasons.iter().map(|(reason, n)| (outcome.as_str(), reason.as_str(), *n)))
    }

    /// Whether what came equals the sum of what became of it.
    pub fn is_balanced(&self) -> bool {
        self.received == self.rows().map(|(_, _, n)| n).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_counts_reports_but_not_the_clock() {
        let mut ledger = Ledger::default();
        let mut record = Record::clock(Body::Tick, Time::from_millis(0));
        ledger.count(&record);
        record.body = Body::Device(DeviceReport::default());
        ledger.count(&record);
        record.outcome = Outcome::Filtered;
        record.reason = Reason::ImplausibleJump;
        ledger.count(&record);
        assert_eq!(ledger.received(), 2);
        assert!(ledger.is_balanced());
        let rows: Vec<_> = ledger.rows().collect();
        assert_eq!(rows, [("evaluated", "ok", 1), ("filtered", "implausible_jump", 1)]);
    }
}
