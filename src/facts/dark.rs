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
    #[serde(with = "exact::option")]
    usual_gap_s: Option<f64>,
}

/// Weight of the newest gap in the running mean.
const NEWEST: f64 = 0.125;
/// A gap longer than so many usual ones is none of the usual.
const UNUSUAL: f64 = 3.0;

impl Dark {
    /// Fills `usual_gap_s`, `gap_odometer_m`, `no_fix_s` and `no_fix_odometer_m`; `gap_s` is there already. An odometer that ran backwards says nothing.
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
        self.odometer_m = report.odometer_m.or(self.odometer_m);
        if has_fix {
            self.since = Some(at);
            self.odometer_at_fix_m = self.odometer_m;
            (row.no_fix_s, row.no_fix_odometer_m) = (Some(0.0), report.odometer_m.map(|_| 0.0));
        } else {
            let since = *self.since.get_or_insert(at);
            self.odometer_at_fix_m = self.odometer_at_fix_m.or(report.odometer_m);
            row.no_fix_s = Some(at.s_since(since));
            row.no_fix_odometer_m = run(self.odometer_at_fix_m);
        }
    }
}
