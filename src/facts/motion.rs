//! Motion: moving or standing, where it stands and since when.
//!
//! Standing is slower than 3 km/h within 50 m for 60 s. Parked receivers jump 20–100 m and report speeds while they
//! do, so a stand has a centre (the mean of its fixes), one fix elsewhere ends nothing, and leaving takes two fixes
//! in a row that get farther away: at speed beyond the radius, or beyond all drift.

use serde::{Deserialize, Serialize};

use super::{Settings, exact};
use crate::{
    model::{Facts, Time},
    spatial::{Point, distance_m},
};

/// Fixes after which a stand's centre is settled.
const SETTLED: u32 = 64;
/// Consecutive fixes out of reach that end a stand even when they do not get farther away.
const LONG_RUN: u8 = 4;
/// What counts as farther away, metres: the error of a good fix.
const STEP_M: f64 = 10.0;

/// Fixes around one spot.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Stand {
    since: Time,
    #[serde(with = "exact::point")]
    first: Point,
    #[serde(with = "exact::point")]
    centre: Point,
    fixes: u32,
}

impl Stand {
    fn new(at: Time, fix: Point) -> Self {
        Self { since: at, first: fix, centre: fix, fixes: 1 }
    }

    fn add(&mut self, fix: Point) {
        self.fixes = self.fixes.saturating_add(1);
        if self.fixes <= SETTLED {
            let share = 1.0 / f64::from(self.fixes);
            self.centre.lon += (fix.lon - self.centre.lon) * share;
            self.centre.lat += (fix.lat - self.centre.lat) * share;
        }
    }

    /// A radius around the centre, wider while few fixes say where the centre is (its error falls with their root).
    fn reach_m(&self, radius_m: f64) -> f64 {
        radius_m * (1.0 + 1.0 / f64::from(self.fixes.max(1)).sqrt())
    }

    fn holds(&self, fix: Point, radius_m: f64) -> bool {
        distance_m(self.centre, fix) <= self.reach_m(radius_m)
    }
}

/// Consecutive fixes that look like leaving.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Run {
    fixes: u8,
    since: Time,
    #[serde(with = "exact::point")]
    first: Point,
    /// The last of them is beyond all drift and fast: a jump, or the truck has long gone.
    is_astray: bool,
}

/// What is known of a vehicle's motion.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Motion {
    moving: Option<bool>,
    stand: Option<Stand>,
    /// Where it may stand now instead: one fix out of reach of the stand.
    elsewhere: Option<Stand>,
    leaving: Option<Run>,
    /// Where a standing truck is judged to be: the centre, followed in steps.
    spot: Option<Spot>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Spot(#[serde(with = "exact::point")] Point);

/// One fix as motion sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub at: Time,
    pub fix: Point,
    /// Reported; `None` when the device reports none.
    pub speed_kmh: Option<f64>,
    pub ignition: Option<bool>,
}

impl Sight {
    fn is_slow(&self, settings: &Settings) -> bool {
        self.speed_kmh.is_some_and(|kmh| kmh < settings.stop_speed_kmh)
    }

    fn is_fast(&self, settings: &Settings) -> bool {
        self.speed_kmh.is_some_and(|kmh| kmh >= settings.stop_speed_kmh)
    }

    /// Surely driving: no truck drives with its ignition off, whatever a drifting receiver says.
    fn is_brisk(&self, settings: &Settings) -> bool {
        self.speed_kmh.is_some_and(|kmh| kmh >= settings.leave_speed_kmh) && self.ignition != Some(false)
    }
}

impl Motion {
    /// Takes a fix.
    pub fn step(&mut self, sight: Sight, settings: &Settings) {
        if self.moving.is_none() && sight.speed_kmh.is_some() {
            self.moving = Some(!sight.is_slow(settings));
            self.stand = self.stand.or_else(|| sight.is_slow(settings).then(|| Stand::new(sight.at, sight.fix)));
        }
        match (self.moving, self.stand) {
            (Some(false), Some(stand)) => self.stay_or_leave(stand, sight, settings),
            _ => self.settle(sight, settings),
        }
        self.follow_centre();
    }

    /// A standing truck takes a fix.
    fn stay_or_leave(&mut self, mut stand: Stand, sight: Sight, settings: &Settings) {
        let away_m = distance_m(stand.centre, sight.fix);
        let brisk = sight.is_brisk(settings);
        let limit_m = if brisk { settings.stop_radius_m } else { stand.reach_m(settings.drift_m) };
        if !brisk && away_m <= limit_m {
            self.leaving = None;
            // The first fix of a stand at which it was told is in already.
            if sight.at > stand.since {
                stand.add(sight.fix);
            }
            self.stand = Some(stand);
            return;
        }
        let mut run = self.leaving.unwrap_or(Run { fixes: 0, since: sight.at, first: sight.fix, is_astray: false });
        run.fixes = run.fixes.saturating_add(1);
        run.is_astray = brisk && away_m > stand.reach_m(settings.drift_m);
        self.leaving = Some(run);
        if away_m > limit_m && run.fixes >= 2 && (run.gets_away(&stand, sight, settings) || run.fixes >= LONG_RUN) {
            let stand = (!sight.is_fast(settings)).then(|| Stand::new(sight.at, sight.fix));
            *self = Self { moving: Some(true), stand, ..Self::default() };
        }
    }

    /// A truck that is not known to stand takes a fix.
    fn settle(&mut self, sight: Sight, settings: &Settings) {
        let radius_m = if sight.is_slow(settings) { settings.drift_m } else { settings.stop_radius_m };
        match self.stand {
            _ if sight.is_brisk(settings) => (self.stand, self.elsewhere) = (None, None),
            None => self.stand = (!sight.is_fast(settings)).then(|| Stand::new(sight.at, sight.fix)),
            Some(mut stand) if stand.holds(sight.fix, radius_m) => {
                stand.add(sight.fix);
                (self.stand, self.elsewhere) = (Some(stand), None);
                self.recognise(stand, sight, settings);
            }
            Some(stand) => self.displace(stand, sight, radius_m, settings),
        }
    }

    /// A fix out of reach of the stand: one may be a jump, a second in a row means that the truck went there.
    fn displace(&mut self, stand: Stand, sight: Sight, radius_m: f64, settings: &Settings) {
        let fresh = (!sight.is_fast(settings)).then(|| Stand::new(sight.at, sight.fix));
        match self.elsewhere {
            None if stand.fixes > 1 => self.elsewhere = Some(Stand::new(sight.at, sight.fix)),
            Some(mut elsewhere) if elsewhere.holds(sight.fix, radius_m) => {
                elsewhere.add(sight.fix);
                (self.moving, self.stand, self.elsewhere) = (Some(true), Some(elsewhere), None);
                self.recognise(elsewhere, sight, settings);
            }
            _ => (self.moving, self.stand, self.elsewhere) = (Some(true), fresh, None),
        }
    }

    /// Tells a stand that has lasted long enough.
    fn recognise(&mut self, stand: Stand, sight: Sight, settings: &Settings) {
        let lasted_s = sight.at.s_since(stand.since);
        if lasted_s < settings.stop_s || lasted_s <= 0.0 {
            return;
        }
        let moved_m = distance_m(stand.first, sight.fix);
        let near = sight.is_slow(settings) && moved_m <= settings.stop_radius_m;
        if near || moved_m / lasted_s * 3.6 < settings.stop_speed_kmh {
            (self.moving, self.leaving) = (Some(false), None);
        }
    }

    /// The spot follows the centre only in steps, so that what lies around it is looked up once.
    fn follow_centre(&mut self) {
        let centre = self.stand.filter(|_| self.moving == Some(false)).map(|stand| stand.centre);
        self.spot = match (centre, self.spot) {
            (Some(centre), Some(Spot(spot))) if distance_m(centre, spot) <= STEP_M => Some(Spot(spot)),
            (Some(centre), _) => Some(Spot(centre)),
            (None, _) => None,
        };
    }

    /// Whether nobody can tell yet if the last fix was a jump of a parked receiver or the truck has gone: where it is and
    /// whether it moves are unknown for this moment.
    pub fn is_in_doubt(&self) -> bool {
        self.leaving.is_some_and(|run| run.is_astray)
    }

    /// How far a fix is from where it stands, metres; 0 within all drift. Beyond it the receiver jumped, or the truck stands
    /// elsewhere by now.
    pub fn astray_m(&self, fix: Point, settings: &Settings) -> f64 {
        // A fix that did not look like leaving was within reach when it came.
        let stand = self.leaving.and(self.stand).filter(|stand| !stand.holds(fix, settings.drift_m));
        stand.map_or(0.0, |stand| distance_m(stand.centre, fix))
    }

    /// Where it stands, while it does.
    pub fn spot(&self) -> Option<Point> {
        self.spot.map(|Spot(point)| point)
    }

    /// Fills `moving` and `stopped_s` after a fix.
    pub fn tell(&self, row: &mut Facts, at: Time) {
        if self.is_in_doubt() {
            return;
        }
        row.moving = self.moving;
        row.stopped_s = Some(match (self.moving, self.stand) {
            (Some(false), Some(stand)) => at.s_since(stand.since),
            _ => 0.0,
        });
    }

    /// Fills them for a report without a position: a stand goes on unless the speed says otherwise.
    pub fn tell_blind(&self, row: &mut Facts, at: Time, speed_kmh: Option<f64>, settings: &Settings) {
        if self.moving == Some(false) && speed_kmh.is_none_or(|kmh| kmh < settings.leave_speed_kmh) {
            return self.tell(row, at);
        }
        row.moving = speed_kmh.map(|kmh| kmh >= settings.stop_speed_kmh);
        row.stopped_s = Some(0.0);
    }
}

impl Run {
    /// Whether it drives: since the run began it got farther away, or is beyond all drift and elsewhere, as after a silence;
    /// either by at least half of what the reported speed makes.
    fn gets_away(&self, stand: &Stand, sight: Sight, settings: &Settings) -> bool {
        let driven_m = sight.speed_kmh.unwrap_or(0.0) / 3.6 * sight.at.s_since(self.since);
        let enough_m = STEP_M.max(driven_m / 2.0);
        let (first_m, away_m) = (distance_m(stand.centre, self.first), distance_m(stand.centre, sight.fix));
        let beyond_m = stand.reach_m(settings.drift_m);
        away_m - first_m >= enough_m
            || (self.is_astray && first_m > beyond_m && distance_m(self.first, sight.fix) >= enough_m)
    }
}
