//! GCJ-02 and BD-09 to WGS-84.
//!
//! The forward models (WGS-84 to GCJ-02, GCJ-02 to BD-09) and the mask of where they apply are those of the crate
//! `coordtransform`, whose mask leaves out Hong Kong, Macau and Taiwan. Round Hong Kong the mask is ours: theirs gives
//! Shekou, the tip of Shenzhen, to Hong Kong. The models have no closed inverse; three
//! steps of a fixed-point iteration bring it under a millimetre (two give about a centimetre).

use coordtransform::{gcj02_to_bd09, is_in_gcj02_region, wgs84_to_gcj02_in_mainland};

use super::Point;
use crate::model::Datum;

const INVERSE_STEPS: usize = 3;

/// Hong Kong, drawn by hand along Deep Bay, the Shenzhen River and Mirs Bay, good to a few hundred metres; around it
/// (the box below) all else is the mainland or water.
const HONG_KONG: [(f64, f64); 27] = [
    (113.869, 22.429),
    (113.948, 22.472),
    (113.995, 22.51),
    (114.03, 22.504),
    (114.05, 22.5005),
    (114.06, 22.505),
    (114.075, 22.513),
    (114.085, 22.518),
    (114.113, 22.529),
    (114.13, 22.536),
    (114.146, 22.54),
    (114.155, 22.548),
    (114.165, 22.555),
    (114.182, 22.552),
    (114.222, 22.545),
    (114.228, 22.541),
    (114.248, 22.554),
    (114.3, 22.565),
    (114.435, 22.555),
    (114.46, 22.487),
    (114.478, 22.448),
    (114.503, 22.438),
    (114.503, 22.148),
    (113.83, 22.148),
    (113.826, 22.22),
    (113.848, 22.27),
    (113.869, 22.333),
];

/// Whether GCJ-02 differs from WGS-84 here.
fn is_shifted(p: Point) -> bool {
    let near_hong_kong = (113.80..114.52).contains(&p.lon) && (22.14..22.60).contains(&p.lat);
    if near_hong_kong { !is_in_hong_kong(p) } else { is_in_gcj02_region(p.lon, p.lat) }
}

/// By the even-odd rule.
fn is_in_hong_kong(p: Point) -> bool {
    let next = HONG_KONG.iter().cycle().skip(1);
    let crossed = |((ax, ay), (bx, by)): &(&(f64, f64), &(f64, f64))| {
        (*ay > p.lat) != (*by > p.lat) && p.lon < ax + (bx - ax) * (p.lat - ay) / (by - ay)
    };
    HONG_KONG.iter().zip(next).filter(crossed).count() % 2 == 1
}

/// A position of `datum` in WGS-84. Outside mainland China the frames are the same and the GCJ-02 offset is not
/// taken away; BD-09 is an offset on top of that and is taken away everywhere.
///
/// The mask is asked about the answer, not the question: a point in the mainland is converted right up to the
/// border, at the price that one within an offset (600 m) beyond it is taken for one of the mainland.
pub fn to_wgs84(datum: Datum, lon: f64, lat: f64) -> Point {
    match datum {
        Datum::Wgs84 => Point::new(lon, lat),
        Datum::Gcj02 => gcj02_to_wgs84(lon, lat),
        Datum::Bd09 => {
            let gcj02 = invert(gcj02_to_bd09, lon, lat);
            gcj02_to_wgs84(gcj02.lon, gcj02.lat)
        }
    }
}

/// A WGS-84 position in `datum`: for display on maps drawn in it.
pub fn from_wgs84(datum: Datum, point: Point) -> Point {
    let gcj02 = || match is_shifted(point) {
        true => wgs84_to_gcj02_in_mainland(point.lon, point.lat),
        false => (point.lon, point.lat),
    };
    let (lon, lat) = match datum {
        Datum::Wgs84 => (point.lon, point.lat),
        Datum::Gcj02 => gcj02(),
        Datum::Bd09 => {
            let (lon, lat) = gcj02();
            gcj02_to_bd09(lon, lat)
        }
    };
    Point::new(lon, lat)
}

fn gcj02_to_wgs84(lon: f64, lat: f64) -> Point {
    let candidate = invert(wgs84_to_gcj02_in_mainland, lon, lat);
    if is_shifted(candidate) { candidate } else { Point::new(lon, lat) }
}

/// The point that `forward` takes to `(lon, lat)`: both offsets are nearly constant over their own length, so
/// stepping by the residual converges.
fn invert(forward: fn(f64, f64) -> (f64, f64), lon: f64, lat: f64) -> Point {
    let mut guess = Point::new(lon, lat);
    for _ in 0..INVERSE_STEPS {
        let (x, y) = forward(guess.lon, guess.lat);
        guess = Point::new(guess.lon + lon - x, guess.lat + lat - y);
    }
    guess
}
