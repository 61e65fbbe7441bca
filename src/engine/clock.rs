//! The arrival clock: when silence is looked at.

use crate::model::Time;

/// Says when the arrival clock has passed the next tick. The grid is fixed (multiples of the interval since 1970), so
/// that the same arrivals always give the same ticks.
#[derive(Clone, Debug)]
pub struct Ticker {
    interval_ms: i64,
    last: Option<Time>,
}

/// A jump of the arrival clock over more ticks than this (three days of minutes) makes no more than this many.
const TICKS_PER_JUMP: i64 = 4_320;

impl Ticker {
    /// Ticks every `interval_ms` (at least one millisecond) of the arrival clock.
    pub fn new(interval_ms: i64) -> Self {
        Self { interval_ms: interval_ms.max(1), last: None }
    }

    /// The latest arrival.
    pub fn last(&self) -> Option<Time> {
        self.last
    }

    /// The ticks between the last arrival and `now`, oldest first. The first arrival makes none; a clock that steps back makes none.
    pub fn advance(&mut self, now: Time) -> impl Iterator<Item = Time> + use<> {
        let interval_ms = self.interval_ms;
        let current = now.as_millis().div_euclid(interval_ms);
        let last = self.last.map_or(current, |last| last.as_millis().div_euclid(interval_ms));
        self.last = self.last.max(Some(now));
        let first = last.max(current - TICKS_PER_JUMP) + 1;
        (first..=current).map(move |tick| Time::from_millis(tick * interval_ms))
    }
}

/// Whether a vehicle that has been silent for `silent_ms` at this tick is looked at: at each tick of the first hour, then every
/// ten minutes. Silence is asked for in minutes and hours; looking more often finds nothing more.
pub fn is_looked_at(silent_ms: i64, interval_ms: i64) -> bool {
    const HOUR_MS: i64 = 3_600_000;
    const LATER_MS: i64 = 600_000;
    if silent_ms < interval_ms {
        return false;
    }
    silent_ms < HOUR_MS || silent_ms.div_euclid(LATER_MS) != (silent_ms - interval_ms).div_euclid(LATER_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_lie_on_a_fixed_grid_and_never_repeat() {
        let mut ticker = Ticker::new(60_000);
        let mut at = |ms: i64| ticker.advance(Time::from_millis(ms)).map(Time::as_millis).collect::<Vec<_>>();
        assert_eq!(at(30_000), [] as [i64; 0], "the first arrival");
        assert_eq!(at(59_999), [] as [i64; 0]);
        assert_eq!(at(60_000), [60_000]);
        assert_eq!(at(200_000), [120_000, 180_000]);
        assert_eq!(at(100_000), [] as [i64; 0], "a clock that steps back");
        assert_eq!(at(239_000), [] as [i64; 0]);
        assert_eq!(at(240_001), [240_000]);
    }

    #[test]
    fn a_jump_makes_a_bounded_number_of_ticks() {
        let mut ticker = Ticker::new(1);
        assert_eq!(ticker.advance(Time::from_millis(0)).count(), 0);
        assert_eq!(ticker.advance(Time::from_millis(1 << 40)).count() as i64, TICKS_PER_JUMP);
    }

    #[test]
    fn silence_is_looked_at_often_at_first() {
        let looked = |silent_min: i64| is_looked_at(silent_min * 60_000 + 5_000, 60_000);
        assert!(!is_looked_at(59_999, 60_000));
        let minutes: Vec<i64> = (1..90).filter(|minute| looked(*minute)).collect();
        assert_eq!(minutes, (1..60).chain([60, 70, 80]).collect::<Vec<_>>());
    }
}
