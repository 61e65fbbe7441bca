//! Roads: the one it is on, by nearness, course and where it was before.

use serde::{Deserialize, Serialize};

use super::Settings;
use crate::{
    model::{Facts, Text, Time},
    registry::{Registry, Road},
    spatial::{Point, heading_difference_deg},
};

/// A road whose course differs more from the truck's is none it drives on, degrees.
const MAX_TURN_DEG: f64 = 60.0;
/// What a degree of difference in course costs, metres: 40 degrees weigh as much as 10 m.
const M_PER_DEG: f64 = 0.25;

/// The road it was on last.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct OnRoad {
    road_id: Option<Text>,
}

/// A spot and, when it moves, its course.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passage {
    pub spot: Point,
    /// Degrees from north, only while moving.
    pub course_deg: Option<f64>,
}

struct Match<'a> {
    road: &'a Road,
    distance_m: f64,
    cost_m: f64,
}

impl OnRoad {
    /// Fills `road_*`; gives the road's limit, km/h. No road within reach: `None` all.
    pub fn step(
        &mut self,
        row: &mut Facts,
        registry: &Registry,
        passage: Passage,
        at: Time,
        settings: &Settings,
    ) -> Option<f64> {
        let best = self.best(registry, passage, at, settings);
        self.road_id = best.as_ref().map(|found| found.road.road_id.clone());
        let found = best?;
        row.road_id = Some(found.road.road_id.clone());
        row.road_name = found.road.name.clone();
        row.road_class = Some(found.road.class.clone());
        row.road_distance_m = Some(found.distance_m);
        Some(found.road.limit_kmh())
    }

    /// The cheapest road within reach; ties go to the smaller id.
    fn best<'a>(&self, registry: &'a Registry, passage: Passage, at: Time, settings: &Settings) -> Option<Match<'a>> {
        let mut best: Option<Match<'a>> = None;
        registry.roads().near(passage.spot, settings.road_radius_m, at, |road, hit| {
            let Some(turn_deg) = turn_deg(road, hit.heading_deg, passage.course_deg) else { return };
            let stays = self.road_id.as_ref().is_some_and(|known| *known == road.road_id);
            let bonus_m = if stays { settings.road_stickiness_m } else { 0.0 };
            let cost_m = hit.distance_m + turn_deg * M_PER_DEG - bonus_m;
            let found = Match { road, distance_m: hit.distance_m, cost_m };
            if best.as_ref().is_none_or(|known| found.precedes(known)) {
                best = Some(found);
            }
        });
        best
    }
}

impl Match<'_> {
    fn precedes(&self, other: &Match<'_>) -> bool {
        let order = self.cost_m.total_cmp(&other.cost_m).then(self.distance_m.total_cmp(&other.distance_m));
        order.then_with(|| self.road.road_id.cmp(&other.road.road_id)).is_lt()
    }
}

/// The angle between course and road, either way along it unless it is one-way; `None` when it cannot be this road.
fn turn_deg(road: &Road, heading_deg: f64, course_deg: Option<f64>) -> Option<f64> {
    let Some(course_deg) = course_deg else { return Some(0.0) };
    let turn = heading_difference_deg(heading_deg, course_deg);
    let turn = if road.oneway { turn } else { turn.min(180.0 - turn) };
    (turn <= MAX_TURN_DEG).then_some(turn)
}
