//! The city's plane: metres east and north of its middle, flat. Over the 25 km of the city the error against the
//! globe is under 0.1 %.

/// The middle of the city, degrees WGS-84.
const ORIGIN_LON: f64 = 113.975;
const ORIGIN_LAT: f64 = 22.6;
/// Metres of a degree of latitude on a globe of 6,371,008.8 m (mean radius, IUGG).
const M_PER_LAT: f64 = 111_195.080_233_532_9;
/// The same of longitude at the origin: times cos 22.6°.
const M_PER_LON: f64 = M_PER_LAT * 0.923_210_217_112_980_9;

/// A spot on the plane, metres.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Spot {
    pub x: f64,
    pub y: f64,
}

impl Spot {
    pub const fn new(x: f64, y: f64) -> Self {
        Self { x, y }
    }

    /// From degrees.
    pub fn at(lon: f64, lat: f64) -> Self {
        Self::new((lon - ORIGIN_LON) * M_PER_LON, (lat - ORIGIN_LAT) * M_PER_LAT)
    }

    /// Degrees.
    pub fn lon(self) -> f64 {
        ORIGIN_LON + self.x / M_PER_LON
    }

    /// Degrees.
    pub fn lat(self) -> f64 {
        ORIGIN_LAT + self.y / M_PER_LAT
    }

    /// Where a file with six decimals of a degree has it.
    pub fn snapped(self) -> Self {
        let snap = |degrees: f64| (degrees * 1e6).round() / 1e6;
        Self::at(snap(self.lon()), snap(self.lat()))
    }

    pub fn distance_m(self, other: Self) -> f64 {
        ((self.x - other.x).powi(2) + (self.y - other.y).powi(2)).sqrt()
    }

    /// The spot a share `t` of the way to `other`.
    pub fn towards(self, other: Self, t: f64) -> Self {
        Self::new(self.x + (other.x - self.x) * t, self.y + (other.y - self.y) * t)
    }

    /// From north, clockwise, 0 to 360 degrees.
    pub fn heading_deg(self, to: Self) -> f64 {
        (to.x - self.x).atan2(to.y - self.y).to_degrees().rem_euclid(360.0)
    }

    /// Metres to the piece of line from `a` to `b`.
    pub fn distance_to_segment_m(self, a: Self, b: Self) -> f64 {
        let (dx, dy) = (b.x - a.x, b.y - a.y);
        let square = dx * dx + dy * dy;
        let t = if square > 0.0 { ((self.x - a.x) * dx + (self.y - a.y) * dy) / square } else { 0.0 };
        self.distance_m(a.towards(b, t.clamp(0.0, 1.0)))
    }

    /// Metres to a line of at least one spot.
    pub fn distance_to_line_m(self, line: &[Self]) -> f64 {
        let first = line.first().map_or(f64::INFINITY, |first| self.distance_m(*first));
        line.windows(2).map(|pair| self.distance_to_segment_m(pair[0], pair[1])).fold(first, f64::min)
    }
}

/// The angle between two headings, 0 to 180 degrees.
pub(super) fn turn_deg(a: f64, b: f64) -> f64 {
    let difference = (a - b).rem_euclid(360.0);
    difference.min(360.0 - difference)
}

/// A rectangle along the axes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rectangle {
    pub low: Spot,
    pub high: Spot,
}

impl Rectangle {
    pub fn around(middle: Spot, half_width_m: f64, half_height_m: f64) -> Self {
        Self {
            low: Spot::new(middle.x - half_width_m, middle.y - half_height_m).snapped(),
            high: Spot::new(middle.x + half_width_m, middle.y + half_height_m).snapped(),
        }
    }

    /// Whether a spot lies in it, or no farther than `margin_m` outside along either axis.
    pub fn holds(&self, spot: Spot, margin_m: f64) -> bool {
        (self.low.x - margin_m..=self.high.x + margin_m).contains(&spot.x)
            && (self.low.y - margin_m..=self.high.y + margin_m).contains(&spot.y)
    }

    /// Its corners, the first again at the end.
    pub fn ring(&self) -> Vec<Spot> {
        let (low, high) = (self.low, self.high);
        vec![low, Spot::new(high.x, low.y), high, Spot::new(low.x, high.y), low]
    }
}
