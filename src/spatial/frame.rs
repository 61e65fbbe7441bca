//! Points, and the metres around them.

use serde::{Deserialize, Serialize};

/// A position in WGS-84 degrees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub lon: f64,
    pub lat: f64,
}

impl Point {
    /// From degrees east and north.
    pub const fn new(lon: f64, lat: f64) -> Self {
        Self { lon, lat }
    }

    /// Whether both are finite and on the globe.
    pub fn is_on_globe(self) -> bool {
        self.lon.abs() <= 180.0 && self.lat.abs() <= 90.0
    }
}

/// Beyond this the plane no longer serves and the sphere takes over (the bound of 47 CFR 73.208).
const PLANE_M: f64 = 475_000.0;
/// Mean radius of the earth, metres (IUGG R1).
const EARTH_M: f64 = 6_371_008.8;

/// Equirectangular metres around an origin, x east and y north.
///
/// Metres per degree follow the WGS-84 ellipsoid by the series of 47 CFR 73.208 (c); within 5 km of the origin the
/// distance between two points is within 0.1 % of the geodesic.
#[derive(Clone, Copy, Debug)]
pub struct LocalFrame {
    origin: Point,
    /// Metres per degree of longitude.
    pub m_per_deg_lon: f64,
    /// Metres per degree of latitude.
    pub m_per_deg_lat: f64,
}

impl LocalFrame {
    /// Around `origin`, with the scale of its latitude.
    pub fn at(origin: Point) -> Self {
        let (m_per_deg_lon, m_per_deg_lat) = metres_per_degree(origin.lat);
        Self { origin, m_per_deg_lon, m_per_deg_lat }
    }

    /// Where `point` lies: metres east and north of the origin.
    pub fn to_m(&self, point: Point) -> (f64, f64) {
        self.offset_m(point.lon, point.lat)
    }

    /// [`Self::to_m`] of bare degrees.
    pub(super) fn offset_m(&self, lon: f64, lat: f64) -> (f64, f64) {
        ((lon - self.origin.lon) * self.m_per_deg_lon, (lat - self.origin.lat) * self.m_per_deg_lat)
    }

    /// The point `x_m` east and `y_m` north of the origin.
    pub fn to_point(&self, x_m: f64, y_m: f64) -> Point {
        Point::new(self.origin.lon + x_m / self.m_per_deg_lon, self.origin.lat + y_m / self.m_per_deg_lat)
    }

    /// Where the frame's zero is.
    pub fn origin(&self) -> Point {
        self.origin
    }

    /// The corners, in degrees, of the square that reaches `reach_m` from the origin.
    pub(super) fn square(&self, reach_m: f64) -> ([f64; 2], [f64; 2]) {
        let (dx, dy) = (reach_m / self.m_per_deg_lon.max(1.0), reach_m / self.m_per_deg_lat);
        ([self.origin.lon - dx, self.origin.lat - dy], [self.origin.lon + dx, self.origin.lat + dy])
    }
}

/// Metres per degree of longitude and of latitude, 47 CFR 73.208 (c) (2), with the multiple angles expanded so that
/// one cosine is enough.
fn metres_per_degree(lat: f64) -> (f64, f64) {
    let c = lat.to_radians().cos();
    let cos2 = 2.0 * c * c - 1.0;
    let (cos3, cos4) = (c * (2.0 * cos2 - 1.0), 2.0 * cos2 * cos2 - 1.0);
    let cos5 = 2.0 * cos4 * c - cos3;
    let lon = 111_415.13 * c - 94.55 * cos3 + 0.12 * cos5;
    let lat = 111_132.09 - 566.05 * cos2 + 1.20 * cos4;
    (lon.max(0.0), lat)
}

/// Metres between two points: within 0.1 % of the geodesic up to 475 km, within 0.6 % beyond (the sphere).
pub fn distance_m(a: Point, b: Point) -> f64 {
    let middle = Point::new(a.lon, (a.lat + b.lat) / 2.0);
    let frame = LocalFrame::at(middle);
    let (x, y) = ((b.lon - a.lon) * frame.m_per_deg_lon, (b.lat - a.lat) * frame.m_per_deg_lat);
    let plane = x.hypot(y);
    if plane < PLANE_M { plane } else { haversine_m(a, b) }
}

/// Great-circle metres on the mean sphere.
fn haversine_m(a: Point, b: Point) -> f64 {
    let (lat_a, lat_b) = (a.lat.to_radians(), b.lat.to_radians());
    let (half_lat, half_lon) = ((lat_b - lat_a) / 2.0, (b.lon - a.lon).to_radians() / 2.0);
    let h = half_lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * half_lon.sin().powi(2);
    2.0 * EARTH_M * h.sqrt().min(1.0).asin()
}

/// Course from `a` to `b`: degrees from north, clockwise, 0 (included) to 360; 0 when they are the same point.
pub fn heading_deg(a: Point, b: Point) -> f64 {
    let frame = LocalFrame::at(Point::new(a.lon, (a.lat + b.lat) / 2.0));
    bearing_deg((b.lon - a.lon) * frame.m_per_deg_lon, (b.lat - a.lat) * frame.m_per_deg_lat)
}

/// The bearing of a vector in metres.
pub(super) fn bearing_deg(x_m: f64, y_m: f64) -> f64 {
    let deg = x_m.atan2(y_m).to_degrees();
    if deg < 0.0 { (deg + 360.0) % 360.0 } else { deg }
}

/// The angle between two headings, 0 to 180 degrees.
pub fn heading_difference_deg(a: f64, b: f64) -> f64 {
    let turn = (a - b).rem_euclid(360.0);
    turn.min(360.0 - turn)
}
