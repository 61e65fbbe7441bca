//! OwnTracks: the apps, and trackers that speak as they do (Queclink by way of qtripp).
//!
//! Times are whole seconds since 1970, speeds km/h. A device's id is `user/device`, as in the topic: device names alone are not
//! unique. The apps leave out `vel` and `cog` when they are 0 as well as when nobody measured them, so absent is unknown;
//! below 0 they are invalid.

use std::sync::Arc;

use super::{
    Content, Context, Foreign, Report,
    fields::{Fields, agreed},
};
use crate::model::{Alarm, DeviceReport, Fix, Power, Time};

/// What the apps send besides locations.
const OTHERS: [&str; 13] = [
    "beacon",
    "card",
    "cards",
    "cmd",
    "configuration",
    "dump",
    "lwt",
    "request",
    "status",
    "steps",
    "transition",
    "waypoint",
    "waypoints",
];

pub(super) fn read(context: Context, bytes: &[u8]) -> Foreign {
    let mut message = Fields::parse(bytes)?;
    match &*message.need::<String>("_type")? {
        "location" => location(context, message).map(Content::from),
        "encrypted" => Err("_type: found encrypted, expected a readable location".to_owned()),
        other if OTHERS.contains(&other) => {
            let device_id = context.id.cloned().or_else(|| own_id(&message));
            Ok(Content::Other(format!("found {other}, which is no location"), device_id))
        }
        other => Err(format!("_type: found {other:?}, expected location")),
    }
}

fn location(context: Context, mut message: Fields) -> Result<Report, String> {
    let device_id = agreed("topic", own_id(&message), context.id)?;
    let trigger = message.map.get("t").and_then(|trigger| trigger.as_str());
    // A Greenwich says so when it has lost its fix (`l`) or is about to be switched off (`L`).
    let fix = trigger.is_some_and(|trigger| matches!(trigger, "l" | "L")).then_some(Fix::None);
    // A Queclink says so when its external power goes (`e`) and comes (`E`).
    let power = match trigger {
        Some("e") => Some(Power::Lost),
        Some("E") => Some(Power::Ok),
        _ => None,
    };
    let mut measured = |name| message.take(name).filter(|value: &f64| *value >= 0.0);
    let (speed_kmh, heading_deg, accuracy_m) = (measured("vel"), measured("cog"), measured("acc"));
    let report = DeviceReport {
        device_id,
        device_time: seconds(message.need("tst")?)?,
        lat: message.take("lat"),
        lon: message.take("lon"),
        datum: context.foreign_datum(),
        fix,
        accuracy_m,
        speed_kmh,
        heading_deg,
        alt_m: message.take("alt"),
        odometer_m: message.take::<f64>("odometer").map(|km| km * 1000.0),
        ignition: message.take("ign"),
        power,
        alarms: power
            .filter(|power| *power == Power::Lost)
            .map(|_| Alarm::PowerLost.as_str().into())
            .into_iter()
            .collect(),
        ..DeviceReport::default()
    };
    let odd = std::mem::take(&mut message.odd);
    Ok(Report { report: DeviceReport { ext: message.rest(), ..report }, odd })
}

/// `user/device` of the topic that messages over HTTP bear, which is how they are recorded.
fn own_id(message: &Fields) -> Option<Arc<str>> {
    let topic = message.map.get("topic")?.as_str()?;
    let begin = topic.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
    Some(topic[begin..].into())
}

fn seconds(s: i64) -> Result<Time, String> {
    let time = Time::from_millis(s.saturating_mul(1000));
    let is_exact = time.as_millis() / 1000 == s;
    if is_exact { Ok(time) } else { Err(format!("tst: found {s}, expected seconds since 1970 UTC")) }
}
