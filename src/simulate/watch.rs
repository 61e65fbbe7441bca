//! The truth: what a truck really does, watched without noise, and what a perfect judge would make of it.
//!
//! This is no second evaluator: it sees the truck and not its reports, and knows three answers. What surely is an
//! offence becomes a planted truth; what may or may not be one (too short to be certain, or so soon after the last that
//! the rule is still cooling down) a truth that is not planted; the rest is nothing.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::offence::Offence;
use crate::model::Time;

/// One thing that a truck truly did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    pub vehicle_id: Arc<str>,
    pub rule_id: Arc<str>,
    /// When it began and ended, by a clock without error.
    pub started_at: Time,
    pub ended_at: Time,
    /// `true`: an alert must come. `false`: one may come, but need not.
    pub planted: bool,
    /// Rules whose alerts are no surprise on this vehicle at about this time.
    pub may_also: Vec<Arc<str>>,
}

/// What is to be seen of a truck at an instant.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sight {
    pub speed_mps: f64,
    pub limit_mps: f64,
    pub still_s: f64,
    pub silent_s: f64,
    pub loaded: bool,
    pub cover_open: bool,
    pub lifted: bool,
    /// As last reported.
    pub ignition: bool,
    /// Metres to the nearest permitted line; 0 without one, or near its ends.
    pub deviation_m: f64,
    pub in_forbidden: bool,
    pub in_place: bool,
    pub in_source: bool,
    /// In a source that no valid permit names.
    pub in_raw_source: bool,
    /// How far its device's clock is ahead, seconds.
    pub clock_s: f64,
    pub blacklisted: bool,
    pub permitted: bool,
    pub in_hours: bool,
    /// Whether it carries the sensors of the body.
    pub has_sensors: bool,
}

impl Sight {
    /// Whether it stands, as far as one can tell: a stop at the lights is none.
    fn moves(&self) -> bool {
        self.still_s < 55.0
    }

    /// The offences that it now shows, one bit each; `awake_s` is how long ago it last rested, `watched_s` how
    /// long it has been watched.
    fn offences(&self, awake_s: f64, watched_s: f64) -> u32 {
        let out = !self.in_place;
        let crawls = self.speed_mps < 5.0 / 3.6;
        let deviates = |m: f64| self.has_sensors && self.loaded && out && self.deviation_m > m;
        let mut shown = 0;
        let mut note = |offence: Offence, is: bool| shown |= u32::from(is) << offence as u32;
        note(Offence::Overspeed, self.speed_mps > self.limit_mps * 1.1);
        note(Offence::OverspeedSevere, self.speed_mps >= self.limit_mps * 1.2);
        note(Offence::RouteDeviation, deviates(104.0) && !self.in_forbidden);
        note(Offence::RouteDeviationSevere, deviates(505.0));
        note(Offence::ForbiddenZone, self.in_forbidden && self.still_s < 300.0);
        note(Offence::UnpermittedTransport, !self.permitted && self.loaded && !crawls);
        note(Offence::OutsidePermitHours, self.loaded && self.permitted && !self.in_hours && self.moves());
        note(Offence::AbnormalStop, self.has_sensors && self.loaded && out && self.still_s >= 900.0);
        note(Offence::LiftOutsideSite, self.has_sensors && self.lifted && crawls && out);
        note(Offence::CoverOpenLoaded, self.has_sensors && self.loaded && self.cover_open && !crawls && out);
        note(Offence::TerminalOffline, self.ignition && self.silent_s >= 300.0);
        note(Offence::OverspeedUnsealed, {
            self.has_sensors && self.loaded && self.cover_open && self.speed_mps > 20.5 / 3.6 && out
        });
        note(Offence::PermitNotValid, !self.permitted && !crawls);
        note(Offence::TrackGap, self.silent_s >= 85.0);
        note(Offence::ContinuousDriving, awake_s >= 13_800.0);
        note(Offence::DailyDriving, watched_s >= 28_000.0);
        note(Offence::EarlyLoading, self.in_raw_source);
        note(Offence::ClockSkew, self.clock_s.abs() > 120.0);
        note(Offence::Blacklisted, self.blacklisted && (self.in_source || self.loaded && self.moves()));
        shown
    }
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    offence: Offence,
    since: Time,
    last: Time,
}

impl Hold {
    fn lasted_s(&self) -> f64 {
        self.last.s_since(self.since)
    }
}

/// Watches one truck.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    /// Between two reports.
    interval_s: f64,
    /// Since when, and when it last stood for well over twenty minutes.
    began: Option<Time>,
    rested: Option<Time>,
    holds: Vec<Hold>,
    /// When each offence that came to light, or may have, was last over.
    over: Vec<(Offence, Time)>,
}

/// An offence that is over, and whether it must have come to light.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub offence: Offence,
    pub since: Time,
    pub until: Time,
    pub certain: bool,
}

impl Watch {
    pub fn new(interval_s: f64) -> Self {
        Self { interval_s, began: None, rested: None, holds: Vec::new(), over: Vec::new() }
    }

    /// Looks at the truck; what is over goes to `done`.
    pub fn look(&mut self, now: Time, sight: &Sight, done: &mut Vec<Done>) {
        let began = *self.began.get_or_insert(now);
        if sight.still_s >= 1_500.0 {
            self.rested = Some(now);
        }
        let shown = sight.offences(now.s_since(self.rested.unwrap_or(began)), now.s_since(began));
        if shown == 0 && self.holds.is_empty() {
            return;
        }
        for offence in Offence::ALL.iter().copied().filter(|offence| shown & 1 << *offence as u32 != 0) {
            match self.holds.iter_mut().find(|hold| hold.offence == offence) {
                Some(hold) => hold.last = now,
                None => self.holds.push(Hold { offence, since: now, last: now }),
            }
        }
        let mut at = 0;
        while at < self.holds.len() {
            let hold = self.holds[at];
            let patience = hold.offence.patience();
            // What has not come to light yet is over at once.
            let pause_s = if hold.lasted_s() >= patience.hold_s { patience.pause_s } else { 0.0 };
            if hold.last < now && now.s_since(hold.last) > pause_s {
                self.holds.swap_remove(at);
                self.end(hold, done);
            } else {
                at += 1;
            }
        }
    }

    /// What goes on at the end of the simulation is over.
    pub fn finish(&mut self, done: &mut Vec<Done>) {
        for hold in std::mem::take(&mut self.holds) {
            self.end(hold, done);
        }
    }

    fn end(&mut self, hold: Hold, done: &mut Vec<Done>) {
        let (offence, patience, lasted_s) = (hold.offence, hold.offence.patience(), hold.lasted_s());
        if lasted_s < patience.hold_s * 0.6 {
            return;
        }
        let known = self.over.iter_mut().find(|(known, _)| *known == offence);
        let rested = known.as_ref().is_none_or(|(_, over)| hold.since.s_since(*over) > patience.rest_s);
        match known {
            Some((_, over)) => *over = hold.last,
            None => self.over.push((offence, hold.last)),
        }
        let certain = rested && lasted_s >= patience.certain_s(self.interval_s);
        done.push(Done { offence, since: hold.since, until: hold.last, certain });
    }
}

/// Rules of other truths of the same vehicle that lie nearer than this are no surprise, milliseconds.
const NEAR_MS: i64 = 180_000;

/// Makes truths of what each vehicle did, in order of start, vehicle and rule.
pub(super) fn truths<'a>(vehicles: impl Iterator<Item = (&'a str, &'a [Done])>) -> Vec<Truth> {
    let mut truths = Vec::new();
    for (vehicle_id, done) in vehicles {
        let vehicle_id: Arc<str> = vehicle_id.into();
        for one in done {
            let near = done
                .iter()
                .filter(|other| other.since.ms_since(one.until) < NEAR_MS && one.since.ms_since(other.until) < NEAR_MS);
            let mut may_also: Vec<Offence> =
                near.map(|other| other.offence).chain(one.offence.implies().iter().copied()).collect();
            may_also.retain(|other| *other != one.offence);
            may_also.sort_unstable();
            may_also.dedup();
            truths.push(Truth {
                vehicle_id: Arc::clone(&vehicle_id),
                rule_id: one.offence.rule_id().into(),
                started_at: one.since,
                ended_at: one.until,
                planted: one.certain,
                may_also: may_also.iter().map(|offence| offence.rule_id().into()).collect(),
            });
        }
    }
    truths.sort_by(|a, b| (a.started_at, &a.vehicle_id, &a.rule_id).cmp(&(b.started_at, &b.vehicle_id, &b.rule_id)));
    truths
}
