//! How a truck offends when it is told to: too fast, off the way, at the roadside, with an open cover, in the dark.

use std::sync::Arc;

use super::{
    city::Detour,
    drive::{BRAKE_MPS2, LOADED_MPS2, TOP_MPS},
    offence::Offence,
    path::Vertex,
    truck::{Rush, Stage, Truck},
};
use crate::model::{Cover, Lift, Load};

/// Tipping at the roadside, milliseconds.
const TIPPING_MS: i64 = 78_000;
impl Truck {
    /// Whether it could be told to do something wrong.
    pub fn is_free(&self) -> bool {
        self.offence.is_none() && self.is_under_way() && self.waiting.is_none()
    }

    /// Tells it to drive too fast from now on; `false` when the road ahead is too short.
    pub fn begin_rush(&mut self, severe: bool, now_ms: i64, interval_s: f64) -> bool {
        if !self.is_free() || self.limit_mps() < 29.0 / 3.6 {
            return false;
        }
        let share = match severe {
            false => 1.15,
            true if self.limit_mps() < 45.0 / 3.6 && self.chance.happens(0.25) => 1.6,
            // On a motorway the gravest reach 125 to 145 km/h where 80 is allowed.
            true if self.limit_mps() > 75.0 / 3.6 && self.chance.happens(0.3) => self.chance.between(1.57, 1.8),
            true => self.chance.between(1.3, 1.36),
        };
        let goal_mps = self.limit_mps() * share;
        let patience = if severe { Offence::OverspeedSevere.patience() } else { Offence::Overspeed.patience() };
        let need_s = patience.certain_s(interval_s) + 8.0;
        let gather_m = (goal_mps * goal_mps - self.speed_mps * self.speed_mps).max(0.0) / (2.0 * LOADED_MPS2);
        let brake_m = goal_mps * goal_mps / (2.0 * BRAKE_MPS2);
        let runway_m = self.runway_m(goal_mps);
        if goal_mps > TOP_MPS || runway_m < gather_m + need_s * goal_mps + brake_m {
            return false;
        }
        let gather_s = (goal_mps - self.speed_mps).max(0.0) / LOADED_MPS2;
        let lasts_s = gather_s + need_s + self.chance.between(0.0, 40.0);
        let until_ms = now_ms + (lasts_s * 1000.0) as i64;
        self.rush = Some(Rush { share, until_ms, until_m: self.s + runway_m - brake_m });
        self.offence = Some(if severe { Offence::OverspeedSevere } else { Offence::Overspeed });
        true
    }

    /// How far the road goes on with the same limit, no faster road beside it and no bend to slow down for, metres.
    fn runway_m(&self, goal_mps: f64) -> f64 {
        let limit_mps = self.limit_mps();
        if self.path.vertices[self.stretch].under_faster {
            return 0.0;
        }
        let ends =
            |vertex: &&Vertex| vertex.turn_mps < goal_mps || vertex.limit_mps != limit_mps || vertex.under_faster;
        let end = self.path.vertices.iter().skip(self.stretch + 1).find(ends);
        end.map_or(0.0, |vertex| vertex.s - self.s)
    }

    /// Tells it to take a detour ahead of it.
    pub fn begin_detour(&mut self, detour: &Detour, offence: Offence) -> bool {
        if !self.may_swerve() || self.s > detour.leave_m - 150.0 {
            return false;
        }
        self.path = Arc::clone(&detour.path);
        self.stretch = self.path.stretch(self.s, 0);
        self.offence = Some(offence);
        true
    }

    fn may_swerve(&self) -> bool {
        self.is_free() && self.stage == Stage::Hauling && self.is_loaded()
    }

    /// The sink that it hauls to.
    pub fn bound_for(&self) -> Option<usize> {
        self.may_swerve().then_some(self.to)
    }

    /// Tells it to stop at the roadside ahead, to tip there or to stand.
    pub fn begin_stop(&mut self, offence: Offence) -> bool {
        let from_m = self.s + self.speed_mps * self.speed_mps / (2.0 * BRAKE_MPS2) + 30.0;
        let spot = (0..120).map(|step| from_m + f64::from(step) * 25.0).find(|s| self.is_lonely(*s));
        match spot.filter(|_| self.may_swerve()) {
            Some(stop_m) => {
                (self.stop, self.offence) = (Some((stop_m, offence)), Some(offence));
                true
            }
            None => false,
        }
    }

    /// Whether nothing is near: no place, no junction, no end of the way.
    fn is_lonely(&self, s: f64) -> bool {
        let near = |at: f64| (at - s).abs() < 60.0;
        let at = self.path.stretch(s, self.stretch);
        let quiet = |at: usize| self.path.vertices.get(at).is_some_and(|vertex| !vertex.near_place);
        s > 900.0
            && s < self.path.length_m() - 1_200.0
            && quiet(at)
            && quiet(at + 1)
            && !self.path.nodes.iter().any(|(_, vertex)| near(self.path.vertices[*vertex].s))
    }

    /// Tells it to drive on with an open cover.
    pub fn begin_open(&mut self) -> bool {
        let fits = self.may_swerve() && (800.0..self.path.length_m() - 3_500.0).contains(&self.s);
        if fits {
            (self.leaves_open, self.cover, self.offence) = (true, Cover::Open, Some(Offence::CoverOpenLoaded));
        }
        fits
    }

    /// Tells it to go dark.
    pub fn begin_dark(&mut self, now_ms: i64) -> bool {
        if !self.is_free() || !self.ignition {
            return false;
        }
        self.dark_until_ms = now_ms + self.chance.span_ms(500.0, 900.0);
        self.offence = Some(Offence::TerminalOffline);
        true
    }

    pub(super) fn pull_over(&mut self, offence: Offence, now_ms: i64, interval_s: f64) {
        let tips = offence == Offence::LiftOutsideSite;
        let lasts_ms = if tips {
            // Slower where reports are rare, so that there is something to be seen.
            (TIPPING_MS as f64 * (interval_s / 12.0).max(1.0)) as i64
        } else {
            self.chance.span_ms(1_020.0, 1_260.0) + (interval_s * 3_000.0) as i64
        };
        (self.stop, self.speed_mps) = (None, 0.0);
        self.stage = Stage::Roadside { from_ms: now_ms, until_ms: now_ms + lasts_ms, tips };
    }

    /// Puts it at the roadside of its way at once.
    pub fn pull_over_now(&mut self, offence: Offence, now_ms: i64, interval_s: f64) -> bool {
        let begun = self.begin_stop(offence);
        if let Some((stop_m, _)) = self.stop.filter(|_| begun) {
            self.jump_to(stop_m);
            self.pull_over(offence, now_ms, interval_s);
            self.still_since_ms = now_ms;
        }
        begun
    }

    pub(super) fn stand_by(&mut self, from_ms: i64, until_ms: i64, tips: bool, now_ms: i64) {
        if tips {
            let since_s = (now_ms - from_ms) * TIPPING_MS / 1_000 / (until_ms - from_ms).max(1);
            (self.lift, self.cover) = match since_s {
                ..3 => (Lift::Flat, Cover::Moving),
                3..15 => (Lift::Lifting, Cover::Open),
                15..45 => (Lift::Full, Cover::Open),
                45..60 => (Lift::Lifting, Cover::Open),
                60..70 => (Lift::Flat, Cover::Moving),
                _ => (Lift::Flat, Cover::Closed),
            };
            if since_s >= 32 {
                self.load = Load::Empty;
            }
        }
        if now_ms >= until_ms {
            (self.stage, self.offence) = (Stage::Hauling, None);
        }
    }
}
