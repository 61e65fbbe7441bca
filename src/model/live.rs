//! Whether reports come as they are made, and so how wrong their sender's clock is.
//!
//! Live is what comes one after the other at about the interval at which it was measured: a backlog comes in a burst, and one that is
//! sent slowly gets nearer to now with each report. A clock that is behind by hours on live reports is wrong, as one ahead is; what
//! comes late is not.

use serde::{Deserialize, Serialize};

use super::Time;

/// Live intervals in a row after which a clock that is behind is known to be wrong.
const LIVE_INTERVALS: u8 = 2;
/// Of the interval of measurement, the arrival of live reports strays at most so many parts of a hundred.
const JITTER_PERCENT: i64 = 25;
/// All together they stray no more than this, milliseconds, and two parts of a hundred of the time that they took.
const DRIFT_MS: i64 = 3_000;
/// After a longer silence nobody knows what is live, milliseconds.
const MAX_INTERVAL_MS: i64 = 3_600_000;
/// A clock that is less behind is not told from reports that were on their way for a while, milliseconds (half an hour).
const LEAST_BEHIND_MS: i64 = 1_800_000;
/// Once known, a clock's error is the same within this, milliseconds.
const SAME_MS: i64 = 60_000;
/// No tracker was made that measured before: 2015-01-01 UTC, in milliseconds since 1970. Earlier times are of a clock that was never
/// set, counts GPS weeks from anew (1,024 weeks are 19.6 years) or lost its battery.
const IMPOSSIBLE_BEFORE_MS: i64 = 1_420_070_400_000;

/// What a sender's last reports say of its clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LiveClock {
    measured: Time,
    arrived: Time,
    /// By how much the first of the live ones was behind arrival, milliseconds, and when it arrived.
    first_ms: i64,
    began: Time,
    /// Live intervals in a row.
    live: u8,
    /// By how much it is known to be behind, milliseconds; 0 is not.
    behind_ms: i64,
}

impl LiveClock {
    /// After another report, measured and arrived then.
    pub fn next(self, measured: Time, arrived: Time) -> Self {
        let (between_ms, came_ms) = (measured.ms_since(self.measured), arrived.ms_since(self.arrived));
        let lag_ms = arrived.ms_since(measured);
        let drift_ms = DRIFT_MS + arrived.ms_since(self.began) / 50;
        let is_live = (1..=MAX_INTERVAL_MS).contains(&between_ms)
            && (came_ms - between_ms).abs() * 100 <= between_ms * JITTER_PERCENT
            && (lag_ms - self.first_ms).abs() <= drift_ms;
        let live = if is_live { self.live.saturating_add(1) } else { 0 };
        let (first_ms, began) = if is_live { (self.first_ms, self.began) } else { (lag_ms, arrived) };
        let is_known = self.behind_ms != 0 && (lag_ms - self.behind_ms).abs() <= SAME_MS;
        let behind_ms = if lag_ms >= LEAST_BEHIND_MS && (is_known || live >= LIVE_INTERVALS) { lag_ms } else { 0 };
        // A report that was kept back, among live ones, is no sign that the clock is right again.
        let behind_ms = if behind_ms == 0 && lag_ms >= LEAST_BEHIND_MS { self.behind_ms } else { behind_ms };
        Self { measured, arrived, first_ms, began, live, behind_ms }
    }

    /// Whether a report, measured and arrived then, which is its last, was made just before it came by a clock that is hours behind.
    pub fn is_behind(&self, measured: Time, arrived: Time) -> bool {
        self.behind_ms != 0 && (arrived.ms_since(measured) - self.behind_ms).abs() <= SAME_MS
    }
}

/// Whether a time is none that anything was measured at: its clock is broken.
pub fn is_impossible(measured: Time) -> bool {
    measured.as_millis() < IMPOSSIBLE_BEFORE_MS
}

/// What is wrong with a clock that is off by so many seconds (ahead: positive), where one can tell: `time_zone` (whole hours, up to 14),
/// `week_rollover` (1,024 GPS weeks behind), `never_set` (it counts from 1970, 1980 or 2000); else `wrong`.
pub fn clock_fault(skew_s: f64, measured: Time) -> &'static str {
    const WEEKS_S: f64 = 1_024.0 * 7.0 * 86_400.0;
    /// Within so many seconds it is that; over minutes a clock drifts, and reports take their time.
    const NEAR_S: f64 = 180.0;
    let hours = (skew_s / 3_600.0).round();
    if (1.0..=14.0).contains(&hours.abs()) && (skew_s - hours * 3_600.0).abs() <= NEAR_S {
        "time_zone"
    } else if [1.0, 2.0].iter().any(|times| (skew_s + times * WEEKS_S).abs() <= 86_400.0 + NEAR_S) {
        "week_rollover"
    } else if is_impossible(measured) {
        "never_set"
    } else {
        "wrong"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reports as seconds of measurement and of arrival; whether each is of a clock that is behind.
    fn behind(reports: &[(i64, i64)]) -> Vec<bool> {
        let mut clock = LiveClock::default();
        let at = |s: i64| Time::from_millis(1_772_000_000_000 + s * 1_000);
        let mut see = |&(measured, arrived): &(i64, i64)| {
            clock = clock.next(at(measured), at(arrived));
            clock.is_behind(at(measured), at(arrived))
        };
        reports.iter().map(&mut see).collect()
    }

    /// A clock of another time zone, or set days ago, on a truck that reports as it drives: what it says happens now. What a device
    /// kept and sends when the network is back happened when it says.
    #[test]
    fn a_clock_behind_on_live_reports_is_told_from_reports_that_come_late() {
        let live = |behind: i64, every: i64| (0..6).map(|n| (n * every - behind, n * every)).collect::<Vec<_>>();
        let known = [false, false, true, true, true, true];
        for hours in [1, 8, 72, 24 * 40] {
            assert_eq!(behind(&live(hours * 3_600, 10)), known, "{hours} h behind");
            assert_eq!(behind(&live(hours * 3_600, 1)), known, "{hours} h behind, every second");
        }
        assert_eq!(behind(&live(0, 10)), [false; 6]);
        assert_eq!(behind(&live(600, 10)), [false; 6], "on its way for ten minutes");
        let burst: Vec<_> = (0..6).map(|n| (n * 10 - 7_200, 0)).collect();
        assert_eq!(behind(&burst), [false; 6], "kept for two hours, sent at once");
        let slowly: Vec<_> = (0..6).map(|n| (n * 10 - 7_200, n * 5)).collect();
        assert_eq!(behind(&slowly), [false; 6], "sent slowly");
        let mixed: Vec<_> =
            (0..6).map(|n| if n % 2 == 0 { (n * 10, n * 10) } else { (n * 10 - 7_200, n * 10) }).collect();
        assert_eq!(behind(&mixed), [false; 6], "kept ones among live ones");
    }

    #[test]
    fn once_known_a_clock_is_wrong_after_a_silence_too_and_right_when_it_is_set() {
        let mut reports: Vec<_> = (0..4).map(|n| (n * 10 - 28_800, n * 10)).collect();
        reports.extend([(20_000 - 28_800, 20_000), (20_010, 20_010), (20_020, 20_020)]);
        assert_eq!(behind(&reports), [false, false, true, true, true, false, false]);
    }

    #[test]
    fn what_is_wrong_with_a_clock_is_named() {
        let at = |text: &str| text.parse::<Time>().unwrap();
        let now = at("2026-03-01T14:00:00Z");
        for (skew_s, measured, expected) in [
            (-28_800.0, now, "time_zone"),
            (28_750.0, now, "time_zone"),
            (-619_315_200.0, at("2006-07-16T14:00:00Z"), "week_rollover"),
            (-1_456_000_000.0, at("1980-01-06T00:00:10Z"), "never_set"),
            (-2_000.0, now, "wrong"),
            (-86_400.0 * 40.0, now, "wrong"),
        ] {
            assert_eq!(clock_fault(skew_s, measured), expected, "{skew_s}");
        }
        assert!(is_impossible(Time::default()) && is_impossible(at("2014-12-31T23:59:59Z")) && !is_impossible(now));
    }
}
