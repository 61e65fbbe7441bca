//! One truck: how it drives, loads, hauls, tips, returns and rests, and how it offends when told to.

use std::sync::Arc;

use super::{
    chance::Chance,
    city::{City, Detour, Role, Vehicle},
    offence::Offence,
    path::Path,
    plane::Spot,
};
use crate::model::{Cover, Lift, Load};

/// How hard a truck brakes when it has room, and at most, m/s².
const BRAKE_MPS2: f64 = 1.1;
pub(super) const HARD_BRAKE_MPS2: f64 = 2.6;
/// How hard it brakes for lights that turn red, m/s²: with less room it drives on.
const LIGHTS_BRAKE_MPS2: f64 = 1.9;
/// How it gathers speed, loaded and empty, m/s².
pub(super) const LOADED_MPS2: f64 = 0.6;
pub(super) const EMPTY_MPS2: f64 = 1.0;
/// Room that a waiting truck takes, metres.
const LENGTH_M: f64 = 12.0;
/// Trucks that wait in a row; more stand beside the last.
const QUEUE: u16 = 8;
/// Tipping at the roadside, milliseconds.
const TIPPING_MS: i64 = 78_000;
/// No truck drives faster, whatever its driver wants, m/s.
const TOP_MPS: f64 = 110.0 / 3.6;

/// What a truck is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Loading {
        from_ms: i64,
        until_ms: i64,
    },
    Hauling,
    Tipping {
        from_ms: i64,
    },
    Returning,
    /// To the depot.
    Homing,
    Resting {
        until_ms: i64,
    },
    /// From the depot to the source.
    SettingOut,
    /// At the roadside, to tip there or to stand.
    Roadside {
        from_ms: i64,
        until_ms: i64,
        tips: bool,
    },
}

/// Faster than allowed, until the clock or the road ends it.
#[derive(Clone, Copy, Debug)]
struct Rush {
    share: f64,
    until_ms: i64,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    light: usize,
    along_row: bool,
    /// How many wait before it.
    rank: u16,
    /// The vertex at which the lights stand.
    vertex: usize,
}

/// What trucks share.
pub(super) struct Street<'a> {
    pub city: &'a City,
    /// Trucks that wait at each light, on the columns and on the rows.
    pub waiting: &'a mut [[u16; 2]],
    pub now_ms: i64,
    /// Between two reports of a truck.
    pub interval_s: f64,
}

#[derive(Clone, Debug)]
pub(super) struct Truck {
    pub chance: Chance,
    pub stage: Stage,
    path: Arc<Path>,
    stretch: usize,
    s: f64,
    pub speed_mps: f64,
    /// From where to where, as places.
    from: usize,
    to: usize,
    /// The driver's share of the limit.
    pace: f64,
    pub load: Load,
    pub cover: Cover,
    pub lift: Lift,
    pub ignition: bool,
    pub odometer_m: f64,
    pub still_since_ms: i64,
    waiting: Option<Waiting>,
    rush: Option<Rush>,
    /// Where it will stand at the roadside, and for what.
    stop: Option<(f64, Offence)>,
    leaves_open: bool,
    /// No report leaves the truck before then.
    pub dark_until_ms: i64,
    offence: Option<Offence>,
}

impl Truck {
    /// At rest at the end of a way.
    fn at_end_of(path: &Arc<Path>, ends: (usize, usize), chance: Chance) -> Self {
        let mut truck = Self {
            chance,
            stage: Stage::Resting { until_ms: i64::MAX },
            path: Arc::clone(path),
            stretch: path.vertices.len().saturating_sub(2),
            s: path.length_m(),
            speed_mps: 0.0,
            from: ends.0,
            to: ends.1,
            pace: 0.0,
            load: Load::Empty,
            cover: Cover::Closed,
            lift: Lift::Flat,
            ignition: false,
            odometer_m: 0.0,
            still_since_ms: i64::MIN,
            waiting: None,
            rush: None,
            stop: None,
            leaves_open: false,
            dark_until_ms: i64::MIN,
            offence: None,
        };
        truck.pace = truck.chance.between(0.82, 0.97);
        truck.odometer_m = truck.chance.between(20_000_000.0, 280_000_000.0).round();
        truck
    }

    /// Somewhere in its day's work.
    pub fn somewhere(city: &City, vehicle: &Vehicle, at_work: bool, mut chance: Chance, now_ms: i64) -> Option<Self> {
        let (depot, sink) = (city.depot(), *chance.pick(&vehicle.sinks)?);
        let mut truck = if vehicle.role == Role::Maintenance {
            Self::at_end_of(city.path(depot, city.workshop())?, (depot, city.workshop()), chance)
        } else {
            Self::at_end_of(city.path(sink, depot)?, (sink, depot), chance)
        };
        truck.still_since_ms = now_ms - 600_000;
        if !at_work || matches!(vehicle.role, Role::Maintenance | Role::Suspended) {
            return Some(truck);
        }
        truck.ignition = true;
        let lot = truck.chance.unit();
        if lot < 0.42 || !matches!(vehicle.role, Role::Worker | Role::Bare) {
            let path = Arc::clone(city.path(vehicle.source, sink)?);
            let s = truck.chance.between(0.08, 0.55) * path.length_m();
            truck.haul_from(path, s, (vehicle.source, sink));
        } else if lot < 0.55 {
            truck.take(city.path(sink, vehicle.source)?, (sink, vehicle.source));
            truck.jump_to(truck.path.length_m());
            let ago_ms = truck.chance.span_ms(0.0, 120.0);
            truck.begin_loading(now_ms - ago_ms);
        } else if lot < 0.66 {
            truck.haul_from(Arc::clone(city.path(vehicle.source, sink)?), 0.0, (vehicle.source, sink));
            truck.jump_to(truck.path.length_m());
            truck.begin_tipping(now_ms);
        } else if lot < 0.92 {
            truck.take(city.path(sink, vehicle.source)?, (sink, vehicle.source));
            truck.stage = Stage::Returning;
            let s = truck.chance.between(0.05, 0.85) * truck.path.length_m();
            truck.jump_to(s);
        } else {
            truck.ignition = false;
            truck.stage = Stage::Resting { until_ms: now_ms + truck.chance.span_ms(120.0, 1_200.0) };
        }
        Some(truck)
    }

    /// On the road, loaded and covered.
    pub fn haul_from(&mut self, path: Arc<Path>, s: f64, ends: (usize, usize)) {
        self.take(&path, ends);
        (self.stage, self.ignition) = (Stage::Hauling, true);
        (self.load, self.cover, self.lift) = (Load::Full, Cover::Closed, Lift::Flat);
        self.jump_to(s);
        self.speed_mps = if s > 0.0 { 5.0 } else { 0.0 };
    }

    /// Farther along the way that it is on.
    pub fn haul_from_here(&mut self, s: f64) {
        self.jump_to(s);
        self.speed_mps = 5.0;
    }

    fn take(&mut self, path: &Arc<Path>, ends: (usize, usize)) {
        (self.path, self.stretch, self.s) = (Arc::clone(path), 0, 0.0);
        (self.from, self.to) = ends;
    }

    fn jump_to(&mut self, s: f64) {
        self.s = s.clamp(0.0, self.path.length_m());
        self.stretch = self.path.stretch(self.s, 0);
    }

    pub fn spot(&self) -> Spot {
        self.path.spot(self.s, self.stretch)
    }

    pub fn heading_deg(&self) -> f64 {
        self.path.vertices[self.stretch].heading_deg
    }

    pub fn limit_mps(&self) -> f64 {
        self.path.vertices[self.stretch].limit_mps
    }

    pub fn is_loaded(&self) -> bool {
        matches!(self.load, Load::Half | Load::Full | Load::Loaded)
    }

    /// Metres to the nearest permitted line; 0 on the way back.
    pub fn deviation_m(&self) -> f64 {
        if self.stage == Stage::Hauling { self.path.deviation_m(self.s, self.stretch) } else { 0.0 }
    }

    /// The forbidden zone that it is in.
    pub fn zone(&self) -> Option<usize> {
        self.path.vertices[self.stretch].zone
    }

    /// The place that it is in.
    pub fn place(&self, city: &City) -> Option<usize> {
        let reach_m = 400.0;
        let end = if self.s < reach_m {
            self.from
        } else if self.path.length_m() - self.s < reach_m {
            self.to
        } else {
            return None;
        };
        city.places[end].holds(self.spot()).then_some(end)
    }

    /// Whether it drives, or would but for the traffic.
    pub fn is_under_way(&self) -> bool {
        matches!(self.stage, Stage::Hauling | Stage::Returning | Stage::Homing | Stage::SettingOut)
    }

    /// What it has been told to do wrong and still does.
    pub fn offence(&self) -> Option<Offence> {
        self.offence
    }

    /// One step of `dt_s` seconds, at whose end it is `street.now_ms`.
    pub fn step(&mut self, street: &mut Street<'_>, vehicle: &Vehicle, dt_s: f64) {
        let now_ms = street.now_ms;
        if self.offence == Some(Offence::TerminalOffline) && now_ms >= self.dark_until_ms {
            self.offence = None;
        }
        match self.stage {
            Stage::Loading { from_ms, until_ms } => self.load_up(street.city, vehicle, from_ms, until_ms, now_ms),
            Stage::Tipping { from_ms } => self.tip(street.city, vehicle, from_ms, now_ms),
            Stage::Resting { until_ms } => {
                if now_ms >= until_ms
                    && let Some(path) = street.city.path(street.city.depot(), vehicle.source)
                {
                    self.take(path, (street.city.depot(), vehicle.source));
                    (self.stage, self.ignition) = (Stage::SettingOut, true);
                }
            }
            Stage::Roadside { from_ms, until_ms, tips } => self.stand_by(from_ms, until_ms, tips, now_ms),
            Stage::Hauling | Stage::Returning | Stage::Homing | Stage::SettingOut => {
                self.drive(street, dt_s, vehicle.role);
                if self.s >= self.path.length_m() - 0.5 && self.speed_mps < 0.5 {
                    self.arrive(street.city, now_ms);
                }
            }
        }
        if self.speed_mps > 0.3 {
            self.still_since_ms = now_ms;
        }
    }

    // --- On the road -------------------------------------------------------------------------------------------------

    fn drive(&mut self, street: &mut Street<'_>, dt_s: f64, role: Role) {
        let now_ms = street.now_ms;
        if self.rush.is_some_and(|rush| now_ms >= rush.until_ms) {
            (self.rush, self.offence) = (None, None);
        }
        // Those whose offence must not be broken off by a stop happen to find the lights green.
        let green = self.rush.is_some()
            || self.leaves_open
            || matches!(role, Role::NoPermit | Role::ExpiredPermit | Role::DayOnly | Role::NightOnly);
        let (allowed_mps, end_m) = self.look_ahead(street, green, dt_s);
        let gain_mps2 = if self.is_loaded() { LOADED_MPS2 } else { EMPTY_MPS2 };
        let before_mps = self.speed_mps;
        let least_mps = (before_mps - HARD_BRAKE_MPS2 * dt_s).max(0.0);
        self.speed_mps = allowed_mps.clamp(least_mps, before_mps + gain_mps2 * dt_s);
        let mut moved_m = (before_mps + self.speed_mps) / 2.0 * dt_s;
        if self.s + moved_m >= end_m - 0.05 {
            moved_m = (end_m - self.s).max(0.0);
            self.speed_mps = self.speed_mps.min(moved_m / dt_s);
            if moved_m < 0.3 {
                self.speed_mps = 0.0;
            }
        }
        self.s += moved_m;
        self.odometer_m += moved_m;
        self.stretch = self.path.stretch(self.s, self.stretch);
        self.pass_lights(street);
        if let Some((stop_m, offence)) = self.stop
            && self.s >= stop_m - 1.0
            && self.speed_mps < 0.5
        {
            self.pull_over(offence, now_ms, street.interval_s);
        }
    }

    fn cruise_mps(&self, limit_mps: f64) -> f64 {
        (limit_mps * self.rush.map_or(self.pace, |rush| rush.share)).min(TOP_MPS)
    }

    /// How fast it may be, and where it must have stopped.
    fn look_ahead(&mut self, street: &mut Street<'_>, green: bool, dt_s: f64) -> (f64, f64) {
        let path = Arc::clone(&self.path);
        let speed = self.speed_mps;
        let horizon_m = speed * (speed / (2.0 * BRAKE_MPS2) + dt_s) + 25.0;
        let mut allowed_mps = self.cruise_mps(path.vertices[self.stretch].limit_mps);
        let mut end_m = path.length_m();
        if let Some((stop_m, _)) = self.stop {
            end_m = end_m.min(stop_m);
        }
        for (number, vertex) in path.vertices.iter().enumerate().skip(self.stretch + 1) {
            let ahead_m = vertex.s - self.s;
            if ahead_m > horizon_m {
                break;
            }
            let most_mps = vertex.turn_mps.min(self.cruise_mps(vertex.limit_mps));
            if most_mps > 0.0 {
                allowed_mps = allowed_mps.min(braking_to(most_mps, ahead_m));
            }
            if let Some((light, along_row)) = vertex.light
                && !green
                && let Some(line_m) = self.stop_line(street, number, light, along_row, vertex.s)
            {
                end_m = end_m.min(line_m);
                break;
            }
        }
        (allowed_mps.min(braking_to(0.0, end_m - self.s)), end_m)
    }

    /// Where it stops for lights; `None` when it need not, or no longer can.
    fn stop_line(
        &mut self,
        street: &mut Street<'_>,
        vertex: usize,
        light: super::network::Light,
        along_row: bool,
        at_m: f64,
    ) -> Option<f64> {
        if !light.is_red(along_row, street.now_ms) {
            return None;
        }
        if self.waiting.is_none_or(|waiting| waiting.vertex != vertex) {
            if at_m - 3.0 - self.s < self.speed_mps * self.speed_mps / (2.0 * LIGHTS_BRAKE_MPS2)
                || self.waiting.is_some()
            {
                return None;
            }
            let count = &mut street.waiting[light.number][usize::from(along_row)];
            let free_m = at_m - 3.0 - self.s - self.speed_mps * self.speed_mps / (2.0 * BRAKE_MPS2);
            // A truck takes the last rank that it can still reach comfortably.
            let rank = (*count).min(QUEUE).min((free_m.max(0.0) / LENGTH_M) as u16);
            *count = count.saturating_add(1);
            self.waiting = Some(Waiting { light: light.number, along_row, rank, vertex });
        }
        let rank = self.waiting.map_or(0, |waiting| waiting.rank);
        Some((at_m - 3.0 - f64::from(rank) * LENGTH_M).max(self.s))
    }

    /// Past the lights it waits no longer.
    fn pass_lights(&mut self, street: &mut Street<'_>) {
        if let Some(waiting) = self.waiting
            && self.s >= self.path.vertices[waiting.vertex].s
        {
            let count = &mut street.waiting[waiting.light][usize::from(waiting.along_row)];
            *count = count.saturating_sub(1);
            self.waiting = None;
        }
    }

    // --- At the ends -------------------------------------------------------------------------------------------------

    fn arrive(&mut self, city: &City, now_ms: i64) {
        self.speed_mps = 0.0;
        match self.stage {
            Stage::Hauling if self.load == Load::Empty => self.begin_tipping(now_ms - 80_000),
            Stage::Hauling => self.begin_tipping(now_ms),
            Stage::Homing => {
                self.ignition = false;
                self.stage = Stage::Resting { until_ms: now_ms + self.chance.span_ms(600.0, 1_800.0) };
            }
            _ if city.places[self.to].kind == "source" => self.begin_loading(now_ms),
            _ => {}
        }
    }

    fn begin_loading(&mut self, now_ms: i64) {
        let until_ms = now_ms + self.chance.span_ms(180.0, 420.0);
        self.stage = Stage::Loading { from_ms: now_ms, until_ms };
        self.cover = Cover::Open;
    }

    /// The load grows; the cover is closed at the end.
    fn load_up(&mut self, city: &City, vehicle: &Vehicle, from_ms: i64, until_ms: i64, now_ms: i64) {
        let share = (now_ms - from_ms) as f64 / (until_ms - from_ms) as f64;
        self.load = match share {
            share if share < 0.45 => Load::Empty,
            share if share < 0.8 => Load::Half,
            _ => Load::Full,
        };
        self.cover = match until_ms - now_ms {
            ..4_000 => Cover::Closed,
            4_000..15_000 => Cover::Moving,
            _ => Cover::Open,
        };
        if now_ms >= until_ms
            && let Some(sink) = self.chance.pick(&vehicle.sinks).copied()
            && let Some(path) = city.path(vehicle.source, sink)
        {
            self.take(path, (vehicle.source, sink));
            self.stage = Stage::Hauling;
        }
    }

    fn begin_tipping(&mut self, now_ms: i64) {
        self.stage = Stage::Tipping { from_ms: now_ms };
        self.leaves_open = false;
        if matches!(
            self.offence,
            Some(
                Offence::CoverOpenLoaded
                    | Offence::RouteDeviation
                    | Offence::RouteDeviationSevere
                    | Offence::ForbiddenZone
            )
        ) {
            self.offence = None;
        }
    }

    /// Cover open, body up, empty, body down, cover closed; then back for more, or home.
    fn tip(&mut self, city: &City, vehicle: &Vehicle, from_ms: i64, now_ms: i64) {
        let since_s = (now_ms - from_ms) / 1000;
        (self.lift, self.cover) = match since_s {
            ..8 => (Lift::Flat, Cover::Moving),
            8..22 => (Lift::Lifting, Cover::Open),
            22..55 => (Lift::Full, Cover::Open),
            55..70 => (Lift::Lifting, Cover::Open),
            70..80 => (Lift::Flat, Cover::Moving),
            _ => (Lift::Flat, Cover::Closed),
        };
        if since_s >= 38 {
            self.load = Load::Empty;
        }
        if since_s < 90 {
            return;
        }
        let home = self.chance.happens(0.1);
        let (to, stage) = if home { (city.depot(), Stage::Homing) } else { (vehicle.source, Stage::Returning) };
        if let Some(path) = city.path(self.to, to) {
            let from = self.to;
            self.take(path, (from, to));
            self.stage = stage;
        }
    }

    // --- Offences ----------------------------------------------------------------------------------------------------

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
            true => self.chance.between(1.3, 1.36),
        };
        let goal_mps = self.limit_mps() * share;
        let patience = if severe { Offence::OverspeedSevere.patience() } else { Offence::Overspeed.patience() };
        let need_s = patience.certain_s(interval_s) + 8.0;
        let gather_m = (goal_mps * goal_mps - self.speed_mps * self.speed_mps).max(0.0) / (2.0 * LOADED_MPS2);
        let brake_m = goal_mps * goal_mps / (2.0 * BRAKE_MPS2);
        if goal_mps > TOP_MPS || self.runway_m(goal_mps) < gather_m + need_s * goal_mps + brake_m {
            return false;
        }
        let gather_s = (goal_mps - self.speed_mps).max(0.0) / LOADED_MPS2;
        let lasts_s = gather_s + need_s + self.chance.between(0.0, 40.0);
        self.rush = Some(Rush { share, until_ms: now_ms + (lasts_s * 1000.0) as i64 });
        self.offence = Some(if severe { Offence::OverspeedSevere } else { Offence::Overspeed });
        true
    }

    /// How far the road goes on with the same limit and no bend to slow down for, metres.
    fn runway_m(&self, goal_mps: f64) -> f64 {
        let limit_mps = self.limit_mps();
        let ends = self.path.vertices.iter().skip(self.stretch + 1);
        let end = ends.into_iter().find(|vertex| vertex.turn_mps < goal_mps || vertex.limit_mps != limit_mps);
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

    fn pull_over(&mut self, offence: Offence, now_ms: i64, interval_s: f64) {
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

    fn stand_by(&mut self, from_ms: i64, until_ms: i64, tips: bool, now_ms: i64) {
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

/// The speed at which it can still brake to `to_mps` within a distance.
fn braking_to(to_mps: f64, within_m: f64) -> f64 {
    (to_mps * to_mps + 2.0 * BRAKE_MPS2 * within_m.max(0.0)).sqrt()
}
