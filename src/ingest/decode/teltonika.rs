//! Teltonika's Codec JSON: `{"state": {"reported": {"ts": …, "latlng": "22.5431,113.9512", "sp": …, "239": 1, …}}}`.
//!
//! Times are milliseconds since 1970, speeds km/h; numbers as names are AVL ids. `"0.000000,0.000000"` means no fix. The device's
//! IMEI is in the topic; a recorded line may bear it as `imei`.

use std::sync::Arc;

use serde_json::Value as Json;

use super::{Content, Context, Foreign, Report, fields::Fields};
use crate::model::{Alarm, DeviceReport, Event, EventKind, Fix, Power};

/// Below this a truck's battery, of 12 V or 24 V, is not connected; millivolts.
const BATTERY_MV: f64 = 6_000.0;

pub(super) fn read(context: Context, bytes: &[u8]) -> Foreign {
    let mut message = Fields::parse(bytes)?;
    if message.map.contains_key("RSP") {
        return Ok(Content::Other(
            "found the answer to a command, which is no position".to_owned(),
            context.id.cloned(),
        ));
    }
    let device_id = match context.id {
        Some(id) => Arc::clone(id),
        None => message.id("imei", None)?,
    };
    let reported = message.object("state").object("reported");
    let report = reported_by(context, device_id, reported);
    report.map(Content::from).map_err(|problem| format!("state.reported.{problem}"))
}

fn reported_by(context: Context, device_id: Arc<str>, mut reported: Fields) -> Result<Report, String> {
    let latlng: Option<String> = reported.take("latlng");
    let position = latlng.as_deref().and_then(position);
    if let (Some(latlng), None) = (&latlng, position) {
        reported.keep("latlng", latlng.as_str().into());
    }
    let has_fix = position.is_some_and(|position| position != (0.0, 0.0));
    let power = power(&mut reported);
    let mut alarms: Vec<Arc<str>> = Vec::new();
    alarms.extend(power.filter(|power| *power == Power::Lost).map(|_| Alarm::PowerLost.as_str().into()));
    for (avl_id, alarm) in [("249", Alarm::Jamming), ("247", Alarm::Collision)] {
        let is_on = reported.take::<i64>(avl_id).is_some_and(|value| value != 0);
        alarms.extend(is_on.then(|| alarm.as_str().into()));
    }
    let report = DeviceReport {
        device_id,
        device_time: reported.time("ts")?,
        lat: position.map(|(lat, _)| lat),
        lon: position.map(|(_, lon)| lon),
        datum: context.foreign_datum(),
        fix: (!has_fix).then_some(Fix::None),
        hdop: reported.take::<f64>("182").map(|tenths| tenths / 10.0),
        sats: reported.take("sat"),
        speed_kmh: reported.take("sp"),
        heading_deg: reported.take("ang"),
        alt_m: reported.take("alt"),
        odometer_m: reported.take("16"),
        ignition: reported.take::<i64>("239").map(|ignition| ignition != 0),
        power,
        alarms,
        events: harsh(&mut reported).into_iter().collect(),
        ..DeviceReport::default()
    };
    let odd = std::mem::take(&mut reported.odd);
    Ok(Report { report: DeviceReport { ext: reported.rest(), ..report }, odd })
}

/// Latitude and longitude out of `latlng`, such as `22.5431,113.9512`.
fn position(text: &str) -> Option<(f64, f64)> {
    let (lat, lon) = text.split_once(',')?;
    let position: (f64, f64) = (lat.trim().parse().ok()?, lon.trim().parse().ok()?);
    (position.0.is_finite() && position.1.is_finite()).then_some(position)
}

/// From AVL 252 (unplugged) and 66 (external millivolts).
fn power(reported: &mut Fields) -> Option<Power> {
    let is_unplugged = reported.take::<i64>("252").map(|unplugged| unplugged != 0);
    let has_battery = reported.map.get("66").and_then(Json::as_f64).map(|mv| mv >= BATTERY_MV);
    match (is_unplugged, has_battery) {
        (Some(true), _) | (_, Some(false)) => Some(Power::Lost),
        (Some(false), _) | (_, Some(true)) => Some(Power::Ok),
        (None, None) => None,
    }
}

/// From AVL 253 (green driving): 1 harsh acceleration, 2 braking, 3 cornering.
fn harsh(reported: &mut Fields) -> Option<Event> {
    let kind = match reported.take::<i64>("253") {
        Some(2) => EventKind::HarshBrake,
        Some(3) => EventKind::HarshTurn,
        Some(1) => EventKind::HarshAcceleration,
        _ => return None,
    };
    Some(Event::of(kind.as_str()))
}
