//! Routes: how far from the nearest permitted line, and whether that is off it.
//!
//! Three gates keep `off_route` from flapping: distance with hysteresis (beyond the buffer, back within 60 % of it),
//! several fixes of the last few, and accuracy. Near the ends of its permits a truck is never off its route.

use serde::{Deserialize, Serialize};

use super::{Settings, permit::InForce, place::is_end_of};
use crate::{
    model::{Facts, Text, Time},
    registry::Registry,
    spatial::Point,
};

/// Consecutive fixes within the clearing distance that end a deviation.
const CLEAR_FIXES: u8 = 2;

/// What is remembered of the last fixes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct OffRoute {
    off: bool,
    /// One bit a fix, the newest lowest: beyond the buffer.
    beyond: u8,
    /// Consecutive fixes within the clearing distance.
    within: u8,
}

/// What routes are judged against.
pub(super) struct Course<'a> {
    pub registry: &'a Registry,
    pub in_force: &'a InForce,
    pub spot: Point,
    pub accuracy_m: Option<f64>,
    pub at: Time,
}

struct Nearest<'a> {
    route_id: &'a Text,
    distance_m: f64,
    /// Distance over buffer, the least of all routes.
    share: f64,
}

impl OffRoute {
    /// Fills `route_id`, `route_deviation_m` and `off_route`; all `None` without a permitted route.
    pub fn step(&mut self, row: &mut Facts, course: &Course<'_>, settings: &Settings) {
        let Some(nearest) = course.nearest(settings) else {
            *self = Self::default();
            return;
        };
        row.route_id = Some(nearest.route_id.clone());
        row.route_deviation_m = Some(nearest.distance_m);
        if course.accuracy_m.is_none_or(|accuracy| accuracy <= settings.max_accuracy_m) {
            if nearest.share > settings.route_clear_share && course.is_near_an_end(settings) {
                *self = Self::default();
            } else {
                self.note(nearest.share, settings);
            }
        }
        row.off_route = Some(self.off);
    }

    fn note(&mut self, share: f64, settings: &Settings) {
        let window = settings.route_window.clamp(1, 8);
        let mask = u8::MAX >> (8 - window);
        self.beyond = (self.beyond << 1 | u8::from(share > 1.0)) & mask;
        self.within = if share <= settings.route_clear_share { self.within.saturating_add(1) } else { 0 };
        if self.within >= CLEAR_FIXES {
            self.off = false;
        } else if self.beyond.count_ones() >= settings.route_off_fixes.clamp(1, window) {
            self.off = true;
        }
    }
}

impl<'a> Course<'a> {
    fn nearest(&self, settings: &Settings) -> Option<Nearest<'a>> {
        let mut nearest: Option<Nearest<'a>> = None;
        for id in &self.in_force.routes {
            let Some(route) = self.registry.route(id, self.at) else { continue };
            let distance_m = route.line.distance_m(self.spot);
            let share = distance_m / route.buffer_m.unwrap_or(settings.route_buffer_m).max(1.0);
            let least = nearest.as_ref().map_or(share, |known| known.share.min(share));
            match &mut nearest {
                Some(known) if known.distance_m <= distance_m => known.share = least,
                _ => nearest = Some(Nearest { route_id: &route.route_id, distance_m, share: least }),
            }
        }
        nearest
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
