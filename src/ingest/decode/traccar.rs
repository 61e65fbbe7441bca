//! What a Traccar server forwards of each position: `{"position": {…, "attributes": {…}}, "device": {…}}`.
//!
//! Speeds are in knots. `fixTime` is when the position was measured; a message without a new fix repeats the last one and is
//! `outdated`, and then `deviceTime` is its time. `attributes.obdSpeed` stays in `ext`: whether it is km/h or knots
//! depends on the server's version. So does `axleWeight`, which is not what the whole truck weighs.

use std::sync::Arc;

use serde_json::Value as Json;

use super::{
    Content, Context, Foreign, Report,
    fields::{Fields, agreed, time_problem},
};
use crate::model::{Alarm, Antenna, DeviceReport, Event, EventKind, Fix, Power, Time};

/// Kilometres per hour of one knot, exactly.
const KNOT_KMH: f64 = 1.852;

pub(super) fn read(context: Context, bytes: &[u8]) -> Foreign {
    let mut message = Fields::parse(bytes)?;
    if let Some(event) = message.map.get("event").filter(|event| !event.is_null()) {
        let kind = event.get("type").and_then(Json::as_str).unwrap_or("unknown");
        // What the server notices (a device is offline, a fence is crossed) is no sign of life.
        return Ok(Content::Other(format!("found an event of the server ({kind}), which is no position"), None));
    }
    let mut device = message.object("device");
    let device_id = agreed("device.uniqueId", device.take("uniqueId"), context.id)?;
    let position = message.object("position");
    let mut read = position_of(context, position).map_err(|problem| format!("position.{problem}"))?;
    read.report.device_id = device_id;
    let device = device.rest();
    if !device.is_empty() {
        read.report.ext.insert("device".to_owned(), device.into());
    }
    Ok(read.into())
}

fn position_of(context: Context, mut position: Fields) -> Result<Report, String> {
    let mut attributes = position.object("attributes");
    let alarms: Option<String> = attributes.take("alarm");
    let alarms = Alarms::of(&alarms.unwrap_or_default());
    let is_outdated = position.take("outdated").unwrap_or(false);
    let (fix_time, device_time): (Option<Time>, Option<Time>) = (position.take("fixTime"), position.take("deviceTime"));
    let device_time = if is_outdated { device_time.or(fix_time) } else { fix_time.or(device_time) };
    let has_fix = position.take("valid") != Some(false) && !is_outdated;
    let device_time = match (device_time, position.map.get("fixTime")) {
        (Some(time), _) => time,
        (None, _) if alarms.is_any() => Time::default(),
        (None, Some(found)) => return Err(time_problem("fixTime", found)),
        (None, None) => return Err("fixTime: found nothing, expected a time".to_owned()),
    };
    let report = DeviceReport {
        device_time,
        lat: position.take("latitude"),
        lon: position.take("longitude"),
        datum: context.foreign_datum(),
        fix: (!has_fix).then_some(Fix::None),
        // 0 is what the server writes when the device said nothing.
        accuracy_m: position.take("accuracy").filter(|accuracy| *accuracy != 0.0),
        hdop: attributes.take("hdop"),
        sats: attributes.take("sat"),
        speed_kmh: position.take::<f64>("speed").map(|knots| knots * KNOT_KMH),
        heading_deg: position.take("course"),
        alt_m: position.take("altitude"),
        odometer_m: attributes.take("odometer"),
        ignition: attributes.take("ignition"),
        power: alarms.power,
        antenna: alarms.antenna,
        driver_id: attributes.take("driverUniqueId"),
        alarms: alarms.names,
        events: alarms.events,
        hist: attributes.take("archive").unwrap_or(false),
        ..DeviceReport::default()
    };
    let mut odd = std::mem::take(&mut position.odd);
    odd.append(&mut attributes.odd);
    let mut ext = position.rest();
    let attributes = attributes.rest();
    if !attributes.is_empty() {
        ext.insert("attributes".to_owned(), attributes.into());
    }
    Ok(Report { report: DeviceReport { ext, ..report }, odd })
}

/// What the server's word for alarms says.
#[derive(Default)]
struct Alarms {
    names: Vec<Arc<str>>,
    events: Vec<Event>,
    power: Option<Power>,
    antenna: Option<Antenna>,
}

impl Alarms {
    /// From names separated by commas.
    fn of(text: &str) -> Self {
        let mut alarms = Self::default();
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).for_each(|name| alarms.add(name));
        alarms
    }

    fn is_any(&self) -> bool {
        !self.names.is_empty() || !self.events.is_empty()
    }

    fn add(&mut self, name: &str) {
        let event = match name {
            "hardBraking" => Some(EventKind::HarshBrake),
            "hardCornering" => Some(EventKind::HarshTurn),
            "hardAcceleration" => Some(EventKind::HarshAcceleration),
            _ => None,
        };
        if let Some(kind) = event {
            return self.events.push(Event::of(kind.as_str()));
        }
        match name {
            "powerCut" | "powerOff" => self.power = Some(Power::Lost),
            "powerRestored" | "powerOn" => self.power = Some(Power::Ok),
            "lowPower" => self.power = Some(Power::Low),
            "gpsAntennaCut" => self.antenna = Some(Antenna::Open),
            _ => {}
        }
        self.names.push(canonical(name).into());
    }
}

/// Our name for an alarm; where we have none of our own, the server's in our spelling.
fn canonical(name: &str) -> String {
    let ours = match name {
        "powerCut" | "powerOff" => Alarm::PowerLost,
        "lowPower" => Alarm::PowerLow,
        "gpsAntennaCut" => Alarm::AntennaOpen,
        "accident" => Alarm::Collision,
        "fatigueDriving" => Alarm::Fatigue,
        other => {
            let spell =
                |c: char| if c.is_ascii_uppercase() { format!("_{}", c.to_ascii_lowercase()) } else { c.into() };
            return other.chars().map(spell).collect();
        }
    };
    ours.as_str().to_owned()
}
