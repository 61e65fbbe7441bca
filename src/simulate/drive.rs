//! How a truck drives: limits, bends, lights, queues, and the end of the way.

use std::sync::Arc;

use super::{
    city::Role,
    network::Light,
    truck::{Queue, Street, Truck, Waiting},
};

/// How hard a truck brakes when it has room, and at most, m/s².
pub(super) const BRAKE_MPS2: f64 = 1.1;
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
/// No truck drives faster, whatever its driver wants, m/s.
pub(super) const TOP_MPS: f64 = 150.0 / 3.6;

impl Truck {
    pub(super) fn drive(&mut self, street: &mut Street<'_>, dt_s: f64, role: Role) {
        let now_ms = street.now_ms;
        if self.rush.is_some_and(|rush| now_ms >= rush.until_ms || self.s >= rush.until_m) {
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
        self.queue_up(street);
        if let Some((stop_m, offence)) = self.stop
            && self.s >= stop_m - 1.0
            && self.speed_mps < 0.5
        {
            self.pull_over(offence, now_ms, street.interval_s);
        }
    }

    /// Stands in the queue at a gate until those before it are in.
    fn queue_up(&mut self, street: &Street<'_>) {
        let stands = self.speed_mps < 0.5 && self.gate_m(street.city).is_some_and(|gate_m| self.s > gate_m - 1.0);
        self.queue = match self.queue {
            Queue::Ahead { wait_ms } if stands => Queue::Standing { until_ms: street.now_ms + wait_ms },
            Queue::Standing { until_ms } if street.now_ms >= until_ms => Queue::None,
            queue => queue,
        };
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
        if let Some(gate_m) = self.gate_m(street.city) {
            end_m = end_m.min(gate_m);
        }
        for (number, vertex) in path.vertices.iter().enumerate().skip(self.stretch + 1) {
            let ahead_m = vertex.s - self.s;
            if ahead_m > horizon_m {
                break;
            }
            let most_mps = vertex.turn_mps.min(self.cruise_mps(vertex.limit_mps));
            if most_mps > 0.0 {
                // Once there it may be that fast, however the step falls.
                allowed_mps = allowed_mps.min(braking_to(most_mps, ahead_m, speed, dt_s).max(most_mps));
            }
            if let Some((light, along_row)) = vertex.light
                && !green
                && let Some(line_m) = self.stop_line(street, number, light, along_row, vertex.s)
            {
                end_m = end_m.min(line_m);
                break;
            }
        }
        (allowed_mps.min(braking_to(0.0, end_m - self.s, speed, dt_s)), end_m)
    }

    /// Where it stops for lights; `None` when it need not, or no longer can.
    fn stop_line(
        &mut self,
        street: &mut Street<'_>,
        vertex: usize,
        light: Light,
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
}

/// The speed to have after the next step so that it can still brake to `to_mps` within a distance. During the step it
/// drives at the mean of both speeds: v² = to² + 2·b·(within − (now + v)/2·dt), solved for v.
fn braking_to(to_mps: f64, within_m: f64, now_mps: f64, dt_s: f64) -> f64 {
    let room_m = within_m - now_mps * dt_s / 2.0;
    let half_mps = BRAKE_MPS2 * dt_s / 2.0;
    let square = half_mps * half_mps + to_mps * to_mps + 2.0 * BRAKE_MPS2 * room_m;
    (square.max(0.0).sqrt() - half_mps).max(0.0)
}
