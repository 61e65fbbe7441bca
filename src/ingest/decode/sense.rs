//! What a value may be: one that nothing measures (a sentinel, a number outside its range) is unknown and stays in `ext` as it
//! came; the rest of the report counts.

use serde_json::{Map, Value as Json};

use super::Odd;
use crate::model::{DeviceReport, Fix, Sighting};

/// Metres that an odometer may show: 3 million km. 0xFFFFFFFF, "not available" in 32 bits, is over it in any unit.
const MOST_ODOMETER_M: f64 = 3e9;
/// Kilograms that a vehicle may weigh; road trains reach 200 t.
const MOST_GROSS_KG: f64 = 200_000.0;
/// Kilometres per hour that anything on wheels may drive. What is plausible for a truck is a setting
/// (`admission.max_speed_kmh`).
const MOST_SPEED_KMH: f64 = 400.0;
/// More satellites than are in the sky; 99 and 255 are "not available".
const MOST_SATS: i64 = 80;
/// What 16 bits say when they have no value.
const NONE_IN_16_BITS: f64 = 65_535.0;

/// Takes out what makes no sense and keeps it.
struct Sense<'a> {
    ext: &'a mut Map<String, Json>,
    odd: &'a mut Odd,
}

impl Sense<'_> {
    fn check<T: Copy + Into<Json>>(
        &mut self,
        name: &'static str,
        value: &mut Option<T>,
        is_sane: impl FnOnce(T) -> bool,
    ) {
        if let Some(found) = value.take_if(|value| !is_sane(*value)) {
            self.ext.insert(name.to_owned(), found.into());
            self.odd.push(name);
        }
    }
}

/// Of a device report of any dialect.
pub(super) fn device(report: &mut DeviceReport, odd: &mut Odd) {
    // Some write 0 for an accuracy that they don't know.
    report.accuracy_m = report.accuracy_m.filter(|accuracy_m| *accuracy_m != 0.0);
    let has_fix = matches!(report.fix, Some(Fix::TwoD | Fix::ThreeD)) && report.lat.is_some();
    let mut sense = Sense { ext: &mut report.ext, odd };
    let is_speed = |kmh: f64| (0.0..=MOST_SPEED_KMH).contains(&kmh);
    sense.check("speed_kmh", &mut report.speed_kmh, is_speed);
    sense.check("speed_recorder_kmh", &mut report.speed_recorder_kmh, is_speed);
    sense.check("heading_deg", &mut report.heading_deg, |deg| (0.0..=360.0).contains(&deg));
    sense.check("alt_m", &mut report.alt_m, |m| (-500.0..=9_000.0).contains(&m));
    sense.check("accuracy_m", &mut report.accuracy_m, |m| m > 0.0 && m != NONE_IN_16_BITS);
    sense.check("hdop", &mut report.hdop, |hdop| hdop > 0.0 && hdop < 100.0);
    sense.check("sats", &mut report.sats, |sats| (0..=MOST_SATS).contains(&sats) && !(sats == 0 && has_fix));
    sense.check("odometer_m", &mut report.odometer_m, |m| (0.0..=MOST_ODOMETER_M).contains(&m));
    sense.check("gross_kg", &mut report.gross_kg, is_weight);
    for event in &mut report.events {
        event.speed_kmh = event.speed_kmh.filter(|kmh| is_speed(*kmh));
    }
}

/// Of a sighting. A confidence of over 1 to 100 is percent.
pub(super) fn sighting(sighting: &mut Sighting, odd: &mut Odd) {
    sighting.plate_confidence =
        sighting.plate_confidence.map(|share| if share > 1.0 && share <= 100.0 { share / 100.0 } else { share });
    let mut sense = Sense { ext: &mut sighting.ext, odd };
    sense.check("plate_confidence", &mut sighting.plate_confidence, |share| (0.0..=1.0).contains(&share));
    sense.check("gross_kg", &mut sighting.gross_kg, is_weight);
}

fn is_weight(kg: f64) -> bool {
    (0.0..=MOST_GROSS_KG).contains(&kg) && kg != NONE_IN_16_BITS
}
