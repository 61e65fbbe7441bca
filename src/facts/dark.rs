//! Going dark in parts: reports without a usable position, and what the odometer says of the time nobody saw.

use serde::{Deserialize, Serialize};

use super::exact;
use crate::model::{DeviceReport, Facts, Time};

/// The odometer when it was last told, and when there was a position.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Dark {
    /// The last report with a usable position; before the first, the first report.
    since: Option<Time>,
    #[serde(with = "exact::option")]
    odometer_at_fix_m: Option<f64>,
    #[serde(with = "exact::option")]
    odometer_m: Option<f64>,
    odometer_told: Option<Time>,
    #[serde(with = "exact::option")]
    usual_gap_s: Option<f64>,
}

/// Weight of the newest gap in the running mean.
const NEWEST: f64 = 0.125;
/// A gap longer than so many usual ones is none of the usual.
const UNUSUAL: f64 = 3.0;

/// No truck drives faster, m/s (200 km/h).
const MOST_MPS: f64 = 200.0 / 3.6;
/// Odometers count in tenths of a kilometre, and are told late, metres.
const ODOMETER_STEP_M: f64 = 1_000.0;

/// Whether an odometer may have run so far in so many seconds.
pub(super) fn is_possible(run_m: f64, s: f64) -> bool {
    (0.0..=MOST_MPS * s.max(0.0) + ODOMETER_STEP_M).contains(&run_m)
}

impl Dark {
    /// Fills `usual_gap_s`, `gap_odometer_m`, `no_fix_s` and `no_fix_odometer_m`; `gap_s` is there already. An
    /// odometer's impossible step is a new origin: what it ran before still counts.
    pub fn step(&mut self, row: &mut Facts, report: &DeviceReport, has_fix: bool, at: Time) {
        let run = |from: Option<f64>| {
            let run_m = report.odometer_m? - from?;
            Some(run_m).filter(|metres| *metres >= 0.0)
        };
        row.usual_gap_s = self.usual_gap_s;
        if let Some(gap_s) = row.gap_s {
            let usual_s = self.usual_gap_s.unwrap_or(gap_s);
            self.usual_gap_s = Some(usual_s + (gap_s.min(UNUSUAL * usual_s.max(1.0)) - usual_s) * NEWEST);
        }
        row.gap_odometer_m = run(self.odometer_m);
        if let (Some(now_m), Some(before_m), Some(told)) = (report.odometer_m, self.odometer_m, self.odometer_told)
            && !is_possible(now_m - before_m, at.s_since(told))
        {
            row.gap_odometer_m = None;
            self.odometer_at_fix_m = self.odometer_at_fix_m.map(|at_fix_m| now_m - (before_m - at_fix_m));
        }
        self.odometer_told = report.odometer_m.map(|_| at).or(self.odometer_told);
        self.odometer_m = report.odometer_m.or(self.odometer_m);
        if has_fix {
            self.since = Some(at);
            self.odometer_at_fix_m = self.odometer_m;
            (row.no_fix_s, row.no_fix_odometer_m) = (Some(0.0), report.odometer_m.map(|_| 0.0));
        } else {
            let since = *self.since.get_or_insert(at);
            self.odometer_at_fix_m = self.odometer_at_fix_m.or(report.odometer_m);
            row.no_fix_s = Some(at.s_since(since));
            row.no_fix_odometer_m =
                report.odometer_m.zip(self.odometer_at_fix_m).map(|(now, from)| (now - from).max(0.0));
        }
    }
}
