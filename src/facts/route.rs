//! Routes: how far from the nearest permitted line, whether that is off it, and for how long.
//!
//! Four gates keep `off_route` from flapping. Distance has hysteresis: beyond the buffer, back within 60 % of it. Several
//! fixes of the last few must lie beyond, so one outlier does nothing. A fix that is not accurate changes nothing. And
//! near is not on: a truck that left its route is back once it goes along the line, either way, or rests at it; a road
//! that crosses the route leads nobody back. A silence ends no deviation and is no part of it.
//!
//! Near the ends of its permits a truck is never off its route.

use serde::{Deserialize, Serialize};

use super::{Settings, exact, permit::InForce, place::is_end_of};
use crate::{
    model::{Facts, Time},
    registry::{Registry, Route},
    spatial::{Point, distance_m, heading_difference_deg},
};

/// Consecutive fixes within the clearing distance that end a deviation.
const CLEAR_FIXES: u8 = 2;
/// A way so long has a direction, metres: well beyond the errors of two good fixes.
const WAY_M: f64 = 30.0;

/// What is remembered of the last fixes. Of a truck on its route: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct OffRoute {
    off: bool,
    /// One bit a fix, the newest lowest: beyond the buffer.
    beyond: u8,
    /// Consecutive fixes within the clearing distance.
    within: u8,
    /// The first of those.
    came: Option<Spot>,
    /// When the first of the fixes beyond was taken, moved on by the length of each silence since.
    since: Option<Time>,
    /// The last fix that counted.
    last: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Spot(#[serde(with = "exact::point")] Point);

/// What routes are judged against.
pub(super) struct Course<'a> {
    pub registry: &'a Registry,
    pub in_force: &'a InForce,
    pub spot: Point,
    pub at: Time,
}

/// The routes as seen from the spot.
struct Nearest<'a> {
    route: &'a Route,
    distance_m: f64,
    /// The one with the least distance for its buffer, and that share.
    kept: &'a Route,
    share: f64,
}

impl OffRoute {
    /// Fills `route_id`, `route_deviation_m`, `off_route` and `off_route_s`; all `None` without a permitted route.
    pub fn step(&mut self, row: &mut Facts, course: &Course<'_>, settings: &Settings) {
        let Some(nearest) = course.nearest(settings) else {
            *self = Self::default();
            return;
        };
        row.route_id = Some(nearest.route.route_id.clone());
        row.route_deviation_m = Some(nearest.distance_m);
        if row.accuracy_m.is_none_or(|accuracy| accuracy <= settings.max_accuracy_m) {
            self.skip_silence(course.at, settings);
            if nearest.share <= settings.route_clear_share {
                self.come_near(row, course, nearest.kept, settings);
            } else if course.is_near_an_end(settings) {
                *self = Self::default();
            } else {
                self.keep_away(nearest.share > 1.0, course.at, settings);
            }
        }
        row.off_route = Some(self.off);
        let lasted = self.since.zip(self.last).filter(|_| self.off);
        row.off_route_s = Some(lasted.map_or(0.0, |(since, last)| last.s_since(since)));
    }

    /// Nobody knows where it was during a silence: it is no part of the deviation.
    fn skip_silence(&mut self, at: Time, settings: &Settings) {
        let last = self.last.replace(at).unwrap_or(at);
        if at.s_since(last) > settings.max_gap_s {
            self.since = self.since.map(|since| since.plus_ms(at.ms_since(last)));
        }
    }

    /// Takes a fix that is not within the clearing distance.
    fn keep_away(&mut self, is_beyond: bool, at: Time, settings: &Settings) {
        (self.within, self.came) = (0, None);
        if is_beyond {
            self.since.get_or_insert(at);
        }
        self.remember(is_beyond, settings);
    }

    fn remember(&mut self, is_beyond: bool, settings: &Settings) {
        let window = settings.route_window.clamp(1, 8);
        self.beyond = (self.beyond << 1 | u8::from(is_beyond)) & (u8::MAX >> (8 - window));
        self.off |= self.beyond.count_ones() >= settings.route_off_fixes.clamp(1, window);
        if !self.off && self.beyond == 0 {
            *self = Self::default();
        }
    }

    /// Takes one that is. A truck that was not off its route is on it unless it plainly crosses; one that was has to
    /// show that it is back.
    fn come_near(&mut self, row: &Facts, course: &Course<'_>, route: &Route, settings: &Settings) {
        if !self.off && self.beyond == 0 {
            *self = Self::default();
            return;
        }
        self.within = self.within.saturating_add(1);
        let came = self.came.get_or_insert(Spot(course.spot)).0;
        let along = course.is_along(row, came, route, settings);
        if along == Some(true) && self.within >= CLEAR_FIXES {
            *self = Self::default();
        } else if !self.off && along != Some(false) {
            self.remember(false, settings);
        }
    }
}

impl<'a> Course<'a> {
    fn nearest(&self, settings: &Settings) -> Option<Nearest<'a>> {
        let mut nearest: Option<Nearest<'a>> = None;
        for id in &self.in_force.routes {
            let Some(route) = self.registry.route(id, self.at) else { continue };
            let buffer_m = route.buffer_m.unwrap_or(settings.route_buffer_m).max(1.0);
            let Some(known) = &mut nearest else {
                let distance_m = route.line.distance_m(self.spot);
                nearest = Some(Nearest { route, distance_m, kept: route, share: distance_m / buffer_m });
                continue;
            };
            let limit_m = known.distance_m.max(known.share * buffer_m);
            let Some(distance_m) = route.line.nearer_than_m(limit_m, self.spot) else { continue };
            if distance_m < known.distance_m {
                (known.route, known.distance_m) = (route, distance_m);
            }
            if distance_m / buffer_m < known.share {
                (known.kept, known.share) = (route, distance_m / buffer_m);
            }
        }
        nearest
    }

    /// Whether it goes along the line or rests at it. The way since it came near says so once it is long enough, until
    /// then the course that the device reports; `None` while neither can.
    fn is_along(&self, row: &Facts, came: Point, route: &Route, settings: &Settings) -> Option<bool> {
        if row.moving == Some(false) {
            return Some(true);
        }
        let here = route.line.nearest(self.spot);
        let way_m = distance_m(came, self.spot);
        if way_m >= WAY_M {
            let progress_m = distance_m(route.line.nearest(came).point, here.point);
            return Some(progress_m >= way_m * settings.route_course_deg.to_radians().cos());
        }
        // Standing receivers report courses at random.
        let is_fast = row.speed_kmh.is_some_and(|kmh| kmh >= settings.stop_speed_kmh);
        let turn_deg = heading_difference_deg(row.heading_deg.filter(|_| is_fast)?, here.heading_deg);
        Some(turn_deg.min(180.0 - turn_deg) <= settings.route_course_deg)
    }

    /// Whether the source or a sink of its permits is near.
    fn is_near_an_end(&self, settings: &Settings) -> bool {
        let mut near = false;
        self.registry.places().within_m(self.spot, settings.route_end_grace_m, self.at, |_, place, _| {
            near |= self.in_force.carrying().any(|permit| is_end_of(permit, &place.place_id));
        });
        near
    }
}
