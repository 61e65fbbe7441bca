//! Reports as bytes. Written by hand: a fleet of thousands at a report a second each is mostly this.

use super::noise::Reading;
use crate::model::{Cover, Lift, Load, Time};

/// What a device report says.
pub(super) struct DeviceReport<'a> {
    pub device_id: &'a str,
    pub driver_id: &'a str,
    pub device_time: Time,
    pub seq: u64,
    pub reading: Reading,
    /// `None` of a dashcam.
    pub odometer_m: Option<f64>,
    pub ignition: Option<bool>,
    /// `None` without sensors.
    pub body: Option<(Load, Cover, Lift)>,
    pub hist: bool,
    /// A field that comes damaged, and what stands in it.
    pub damage: Option<Damage>,
}

/// Fields, and what stands in them instead of their values.
pub(super) type Damage = (&'static [&'static str], &'static str);

/// What terminals send where they have no value, and what is left of one on the way.
pub(super) const DAMAGES: &[Damage] = &[
    (&["lat", "lon"], "0"),
    (&["accuracy_m"], "-1"),
    (&["hdop"], "\"NaN\""),
    (&["sats"], "255"),
    (&["speed_kmh"], "-1"),
    (&["speed_kmh"], "65535"),
    (&["speed_kmh"], "999"),
    (&["speed_kmh"], "\"n/a\""),
    (&["heading_deg"], "-1"),
    (&["heading_deg"], "511"),
    (&["heading_deg"], "65535"),
    (&["odometer_m"], "4294967295"),
    (&["odometer_m"], "-1"),
    (&["odometer_m"], "0"),
    (&["ignition"], "255"),
    (&["load"], "255"),
    (&["cover"], "\"ERROR\""),
    (&["lift"], "null"),
    (&["driver_id"], "[]"),
];

impl DeviceReport<'_> {
    /// As one JSON object.
    pub fn to_json(&self) -> Vec<u8> {
        let mut object = Object { out: Vec::with_capacity(400), damage: self.damage.as_ref() };
        let reading = &self.reading;
        object.text("device_id", self.device_id);
        object.member("device_time", |out| {
            out.push(b'"');
            push_time(out, self.device_time);
            out.push(b'"');
        });
        object.member("seq", |out| push_whole(out, self.seq));
        object.number("lat", reading.spot.lat(), 6);
        object.number("lon", reading.spot.lon(), 6);
        object.text("fix", "3d");
        object.number("accuracy_m", reading.accuracy_m, 1);
        object.number("hdop", reading.hdop, 1);
        object.member("sats", |out| push_whole(out, u64::from(reading.sats)));
        object.number("speed_kmh", reading.speed_kmh, 1);
        object.number("heading_deg", reading.heading_deg, 1);
        if let Some(odometer_m) = self.odometer_m {
            object.number("odometer_m", odometer_m, 0);
        }
        if let Some(ignition) = self.ignition {
            object.flag("ignition", ignition);
        }
        if let Some((load, cover, lift)) = self.body {
            object.text("load", load.as_str());
            object.text("cover", cover.as_str());
            object.text("lift", lift.as_str());
        }
        object.text("driver_id", self.driver_id);
        if self.hist {
            object.flag("hist", true);
        }
        object.out.push(b'}');
        object.out
    }
}

/// An object being written.
struct Object<'a> {
    out: Vec<u8>,
    damage: Option<&'a Damage>,
}

impl Object<'_> {
    fn member(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let out = &mut self.out;
        out.extend_from_slice(if out.is_empty() { b"{\"" } else { b",\"" });
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        match self.damage {
            Some((fields, raw)) if fields.contains(&name) => out.extend_from_slice(raw.as_bytes()),
            _ => write(out),
        }
    }

    /// Text without characters that JSON escapes.
    fn text(&mut self, name: &str, text: &str) {
        self.member(name, |out| {
            out.push(b'"');
            out.extend_from_slice(text.as_bytes());
            out.push(b'"');
        });
    }

    fn number(&mut self, name: &str, value: f64, decimals: u32) {
        self.member(name, |out| number(out, value, decimals));
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.member(name, |out| out.extend_from_slice(if value { b"true" } else { b"false" }));
    }
}

fn push_whole(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// A number with so many decimals, rounded.
fn number(out: &mut Vec<u8>, value: f64, decimals: u32) {
    if value < 0.0 {
        out.push(b'-');
    }
    let unit = 10u64.pow(decimals);
    let scaled = (value.abs() * unit as f64).round() as u64;
    push_whole(out, scaled / unit);
    if decimals > 0 {
        out.push(b'.');
        padded(out, scaled % unit, decimals);
    }
}

fn padded(out: &mut Vec<u8>, value: u64, digits: u32) {
    for place in (0..digits).rev() {
        out.push(b'0' + (value / 10u64.pow(place) % 10) as u8);
    }
}

/// RFC 3339 in UTC with milliseconds, as [`Time`] displays it, but faster.
pub(super) fn push_time(out: &mut Vec<u8>, time: Time) {
    let ms = time.as_millis();
    let (day, in_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000) as u64);
    let (year, month, date) = civil(day);
    padded(out, year, 4);
    for (before, value) in [(b'-', month), (b'-', date), (b'T', in_day / 3_600_000)] {
        out.push(before);
        padded(out, value, 2);
    }
    for value in [in_day / 60_000 % 60, in_day / 1_000 % 60] {
        out.push(b':');
        padded(out, value, 2);
    }
    out.push(b'.');
    padded(out, in_day % 1_000, 3);
    out.push(b'Z');
}

/// Year, month and day of a day since 1970-01-01, by the Gregorian calendar: 400 years have 146,097 days, and years that
/// begin in March have their leap day last.
fn civil(day: i64) -> (u64, u64, u64) {
    let shifted = day + 719_468;
    let (era, in_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let date = in_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    ((year + era * 400 + i64::from(month <= 2)).max(0) as u64, month as u64, date as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_it_is_displayed() {
        for ms in [0, 951_782_400_000, 951_868_799_999, 1_709_164_800_001, 1_795_401_296_123, 4_102_444_800_000] {
            let mut out = Vec::new();
            push_time(&mut out, Time::from_millis(ms));
            assert_eq!(String::from_utf8(out).unwrap(), Time::from_millis(ms).to_string());
        }
    }

    #[test]
    fn numbers_are_rounded_and_padded() {
        for (value, decimals, expected) in
            [(22.600_000_4, 6, "22.600000"), (-0.05, 2, "-0.05"), (9.96, 1, "10.0"), (3.5, 0, "4"), (0.0, 1, "0.0")]
        {
            let mut out = Vec::new();
            number(&mut out, value, decimals);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
