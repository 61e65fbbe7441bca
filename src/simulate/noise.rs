//! What happens to the truth on its way: receivers err, jump and lose the sky, clocks are wrong, messages come twice or
//! late. Every kind can be switched off.

use super::{chance::Chance, plane::Spot};

/// Which noise there is, and how much. 0 switches a kind off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Usual error of a moving receiver, metres (a Gauss-Markov process over some 20 s). Parked receivers err by as much.
    pub gps_m: f64,
    /// Farthest jump of a parked receiver, metres; the nearest is a quarter of it.
    pub drift_m: f64,
    /// Mean time between two tunnels of a driving truck, seconds. In one, nothing is reported for 30–120 s.
    pub gap_every_s: f64,
    /// Share of reports that come twice.
    pub duplicates: f64,
    /// Share of fixes with too few satellites, and far off.
    pub weak_fixes: f64,
    /// Farthest error of a device's clock, seconds either way.
    pub clock_s: f64,
    /// How far ahead the clock of one device in sixty is, seconds.
    pub clock_ahead_s: f64,
    /// How far behind the clock of another one in sixty is, seconds; a third one counts its weeks from anew (1,024 weeks
    /// behind) where this is not 0.
    pub clock_behind_s: f64,
    /// Share of reports in which one field says that it has no value, or makes no sense.
    pub damaged: f64,
    /// Farthest error along each axis, metres, of a fix near the gate of a site, each on its own: walls and cranes.
    pub gate_m: f64,
    /// Mean time between two stretches for which a driving truck keeps its reports back, seconds; they then come at once,
    /// marked `hist`, after 60–240 s.
    pub late_every_s: f64,
}

impl Noise {
    /// None at all.
    pub const NONE: Self = Self {
        gps_m: 0.0,
        drift_m: 0.0,
        gap_every_s: 0.0,
        duplicates: 0.0,
        weak_fixes: 0.0,
        clock_s: 0.0,
        clock_ahead_s: 0.0,
        clock_behind_s: 0.0,
        damaged: 0.0,
        gate_m: 0.0,
        late_every_s: 0.0,
    };
}

impl Default for Noise {
    /// As the field has it, but for late delivery, which is off.
    fn default() -> Self {
        Self {
            gps_m: 5.0,
            drift_m: 80.0,
            gap_every_s: 1_500.0,
            duplicates: 0.004,
            weak_fixes: 0.002,
            clock_s: 3.0,
            clock_ahead_s: 3_600.0,
            clock_behind_s: 28_800.0,
            damaged: 0.004,
            gate_m: 12.0,
            late_every_s: 0.0,
        }
    }
}

/// How long an error is remembered, seconds.
const MEMORY_S: f64 = 20.0;
/// A receiver that has stood for so long begins to jump, seconds.
const PARKED_S: f64 = 90.0;
/// GPS counts weeks to 1,024 and begins anew; receivers that have not heard of it are so far behind.
const WEEKS_ANEW_MS: i64 = 1_024 * 7 * 86_400_000;
/// Mean time between two jumps, seconds.
const JUMP_EVERY_S: f64 = 240.0;

/// What a receiver gives instead of the truth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub spot: Spot,
    pub speed_kmh: f64,
    pub heading_deg: f64,
    pub accuracy_m: f64,
    pub hdop: f64,
    pub sats: u32,
}

/// A truck's receiver and modem.
#[derive(Clone, Debug)]
pub(super) struct Receiver {
    error: Spot,
    jump: Spot,
    jump_until_ms: i64,
    gap_until_ms: i64,
    pub late_until_ms: i64,
    /// How far its clock is ahead.
    pub clock_ms: i64,
    /// When it was last asked, and when it last read.
    asked_ms: i64,
    read_ms: i64,
}

/// What decides on the noise of a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub now_ms: i64,
    pub spot: Spot,
    pub speed_mps: f64,
    pub heading_deg: f64,
    pub still_s: f64,
    /// Whether it is near the gate of a site.
    pub at_gate: bool,
    /// Nothing gets lost while something is being planted.
    pub spared: bool,
}

impl Receiver {
    pub fn new(noise: &Noise, number: usize, now_ms: i64, chance: &mut Chance) -> Self {
        let offset_ms = (chance.between(-noise.clock_s, noise.clock_s) * 1000.0) as i64;
        let clock_ms = match number % 60 {
            59 if noise.clock_ahead_s > 0.0 => (noise.clock_ahead_s * 1000.0) as i64,
            49 if noise.clock_behind_s > 0.0 => -(noise.clock_behind_s * 1000.0) as i64,
            50 if noise.clock_behind_s > 0.0 => -WEEKS_ANEW_MS,
            _ => offset_ms,
        };
        let error = Spot::new(chance.normal(), chance.normal());
        let nothing = i64::MIN;
        Self {
            error,
            jump: Spot::default(),
            jump_until_ms: nothing,
            gap_until_ms: nothing,
            late_until_ms: nothing,
            clock_ms,
            asked_ms: now_ms,
            read_ms: now_ms,
        }
    }

    /// Whether the truck is in a tunnel.
    pub fn is_cut_off(&mut self, noise: &Noise, moment: &Moment, chance: &mut Chance) -> bool {
        let dt_s = (moment.now_ms - self.asked_ms) as f64 / 1000.0;
        self.asked_ms = moment.now_ms;
        let may =
            noise.gap_every_s > 0.0 && !moment.spared && moment.speed_mps > 5.0 && moment.now_ms > self.gap_until_ms;
        if may && chance.comes(noise.gap_every_s, dt_s) {
            self.gap_until_ms = moment.now_ms + chance.span_ms(30.0, 120.0);
        }
        let may = noise.late_every_s > 0.0 && moment.speed_mps > 5.0 && moment.now_ms > self.late_until_ms;
        if may && chance.comes(noise.late_every_s, dt_s) {
            self.late_until_ms = moment.now_ms + chance.span_ms(60.0, 240.0);
        }
        // Who begins to offend in a tunnel has just left it.
        !moment.spared && moment.now_ms < self.gap_until_ms
    }

    /// What it reads.
    pub fn read(&mut self, noise: &Noise, moment: &Moment, chance: &mut Chance) -> Reading {
        let dt_s = (moment.now_ms - self.read_ms).max(0) as f64 / 1000.0;
        self.read_ms = moment.now_ms;
        if noise.gps_m == 0.0 && noise.drift_m == 0.0 && noise.weak_fixes == 0.0 && noise.gate_m == 0.0 {
            return Reading::exact(moment);
        }
        let kept = 1.0 / (1.0 + dt_s / MEMORY_S);
        let fresh = (1.0 - kept * kept).sqrt();
        self.error.x = self.error.x * kept + chance.normal() * fresh;
        self.error.y = self.error.y * kept + chance.normal() * fresh;
        self.drift(noise, moment, dt_s, chance);
        // Along each axis, so that both together make the usual error.
        let scale_m = noise.gps_m * 0.75;
        let mut away_m = Spot::new(self.error.x * scale_m + self.jump.x, self.error.y * scale_m + self.jump.y);
        if moment.at_gate && noise.gate_m > 0.0 {
            away_m.x += chance.between(-noise.gate_m, noise.gate_m);
            away_m.y += chance.between(-noise.gate_m, noise.gate_m);
        }
        let speed_kmh = if moment.speed_mps > 0.3 {
            (moment.speed_mps * 3.6 + chance.between(-0.4, 0.4)).max(0.0)
        } else if self.jump_until_ms > moment.now_ms {
            chance.between(0.0, 2.4)
        } else {
            0.0
        };
        let reading = Reading {
            spot: Spot::new(moment.spot.x + away_m.x, moment.spot.y + away_m.y),
            speed_kmh,
            heading_deg: (moment.heading_deg + chance.between(-2.0, 2.0)).rem_euclid(360.0),
            accuracy_m: noise.gps_m * chance.between(0.7, 1.8),
            hdop: chance.between(0.6, 1.5),
            sats: 9 + chance.below(10) as u32,
        };
        if noise.weak_fixes > 0.0 && !moment.spared && chance.happens(noise.weak_fixes) {
            return reading.weakened(chance);
        }
        reading
    }

    /// Parked receivers jump, and come back.
    fn drift(&mut self, noise: &Noise, moment: &Moment, dt_s: f64, chance: &mut Chance) {
        if self.jump_until_ms > i64::MIN && (moment.now_ms >= self.jump_until_ms || moment.still_s < 1.0) {
            (self.jump, self.jump_until_ms) = (Spot::default(), i64::MIN);
        }
        if noise.drift_m > 0.0
            && moment.still_s > PARKED_S
            && self.jump_until_ms == i64::MIN
            && chance.comes(JUMP_EVERY_S, dt_s)
        {
            let (away_m, angle) =
                (chance.between(0.25, 1.0) * noise.drift_m, chance.between(0.0, std::f64::consts::TAU));
            self.jump = Spot::new(angle.cos() * away_m, angle.sin() * away_m);
            self.jump_until_ms = moment.now_ms + chance.span_ms(2.0, 25.0);
        }
    }
}

impl Reading {
    fn exact(moment: &Moment) -> Self {
        Self {
            spot: moment.spot,
            speed_kmh: moment.speed_mps * 3.6,
            heading_deg: moment.heading_deg,
            accuracy_m: 2.0,
            hdop: 0.8,
            sats: 14,
        }
    }

    fn weakened(mut self, chance: &mut Chance) -> Self {
        self.spot = Spot::new(self.spot.x + chance.between(-400.0, 400.0), self.spot.y + chance.between(-400.0, 400.0));
        (self.accuracy_m, self.hdop, self.sats) = (chance.between(60.0, 200.0), chance.between(6.0, 15.0), 3);
        self
    }
}
