//! JT/T 808 as the EMQX gateway forwards it: `{"header": {…}, "body": {…}}` with the numbers of the wire.
//!
//! Degrees are in millionths and without a sign, speeds in 0.1 km/h, mileage in 0.1 km, times `YYMMDDhhmmss` by the terminal's
//! own clock (GMT+8 by the standard). What an alarm bit means depends on the version: only 2019 devices have `proto_ver`.
//! A phone number is padded with zeros to 12 or 20 digits by version, so a device's id is the number without them.
//! The words `alarm` and `status` stay in `ext` as they came, and so do the additional items.
//!
//! Of a sensor that is not fitted the load bits say `00`, the same as of an empty body; nobody can tell them apart here.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value as Json};

use super::{
    Content, Context, Foreign, Report,
    fields::{Fields, FromJson as _, agreed, is_nothing},
};
use crate::model::{Alarm, Antenna, DeviceReport, Event, EventKind, EventPhase, Fix, Load, Power, Time};

/// 0x0200: where it is.
const LOCATION: i64 = 0x0200;
/// 0x0201: where it is, because it was asked.
const LOCATION_ANSWER: i64 = 0x0201;
/// 0x0500: where it is, after it was controlled.
const CONTROL_ANSWER: i64 = 0x0500;
/// 0x0704: several of them.
const BATCH: i64 = 0x0704;

pub(super) fn read(context: Context, bytes: &[u8]) -> Foreign {
    let mut message = Fields::parse(bytes)?;
    let mut header = message.object("header");
    let mut body = message.object("body");
    let terminal = Terminal::of(context, &mut header).map_err(|problem| format!("header.{problem}"))?;
    let one = |location: Fields| {
        let report = terminal.report(location, false);
        report.map(Content::from).map_err(|problem| format!("body.{problem}"))
    };
    match header.need("msg_id").map_err(|problem| format!("header.{problem}"))? {
        LOCATION => one(body),
        LOCATION_ANSWER => one(body.object("params")),
        CONTROL_ANSWER => one(body.object("location")),
        BATCH => terminal.batch(body).map_err(|problem| format!("body.{problem}")),
        other => {
            let what = format!("found message 0x{other:04x}, which is no location");
            Ok(Content::Other(what, Some(terminal.device_id)))
        }
    }
}

/// Who sends, and how it is read.
struct Terminal<'a> {
    context: Context<'a>,
    device_id: Arc<str>,
    seq: Option<i64>,
    is_2019: bool,
}

impl<'a> Terminal<'a> {
    fn of(context: Context<'a>, header: &mut Fields) -> Result<Self, String> {
        let own = header.take::<String>("phone").map(|phone| unpadded(&phone));
        let topic = context.id.map(|id| unpadded(id));
        Ok(Self {
            context,
            device_id: agreed("phone", own, topic.as_ref())?,
            seq: header.take("msg_sn"),
            is_2019: header.take::<i64>("proto_ver").is_some(),
        })
    }

    fn batch(&self, mut body: Fields) -> Foreign {
        let is_buffered = body.take::<i64>("type") == Some(1);
        let locations = match body.map.remove("location") {
            Some(Json::Array(locations)) => locations,
            other => return Err(format!("location: found {}, expected an array", other.unwrap_or_default())),
        };
        let read = |(index, location): (usize, Json)| {
            let bytes = location.to_string().into_bytes();
            let Json::Object(fields) = location else {
                return Err((bytes, format!("body.location[{index}]: found no object")));
            };
            self.report(Fields::of(fields), is_buffered)
                .map_err(|problem| (bytes, format!("body.location[{index}].{problem}")))
        };
        Ok(Content::Batch(locations.into_iter().enumerate().map(read).collect()))
    }

    fn report(&self, mut body: Fields, hist: bool) -> Result<Report, String> {
        let (alarm, status) = (Bits::take(&mut body, "alarm"), Bits::take(&mut body, "status"));
        let mut extra = body.object("extra");
        let position = position(&mut body, status);
        let tenths = |value: Option<f64>| value.map(|value| value / 10.0);
        let bits = (alarm.unwrap_or_default(), status.unwrap_or_default());
        let (alarms, events) = (self.alarms(bits.0, &extra), self.events(bits.0, bits.1, &extra));
        let said = body.map.remove("time").unwrap_or_default();
        let device_time = match String::of(&said).and_then(|text| self.time(&text)) {
            Some(time) => time,
            None if !alarms.is_empty() || !events.is_empty() => {
                body.keep("time", said);
                Time::default()
            }
            None if is_nothing(&said) => return Err("time: found nothing, expected a time as YYMMDDhhmmss".to_owned()),
            None => return Err(format!("time: found {said}, expected a time as YYMMDDhhmmss")),
        };
        let report = DeviceReport {
            device_id: Arc::clone(&self.device_id),
            device_time,
            seq: self.seq,
            lat: position.map(|(lat, _)| lat),
            lon: position.map(|(_, lon)| lon),
            datum: self.context.foreign_datum(),
            // A terminal without a fix repeats its last position.
            fix: status.is_none_or(|status| !status.has(1)).then_some(Fix::None),
            sats: extra.take("gnss_sat_num"),
            speed_kmh: tenths(body.take("speed")),
            heading_deg: body.take("direction"),
            alt_m: body.take("altitude"),
            odometer_m: extra.take::<f64>("mileage").map(|mileage| mileage * 100.0),
            speed_recorder_kmh: tenths(extra.take("speed")),
            ignition: status.map(|status| status.has(0)),
            power: alarm.map(power),
            antenna: alarm.map(antenna),
            load: status.and_then(load),
            alarms,
            events,
            hist,
            ..DeviceReport::default()
        };
        let mut odd = std::mem::take(&mut body.odd);
        odd.append(&mut extra.odd);
        Ok(Report { report: DeviceReport { ext: ext(alarm, status, body, extra), ..report }, odd })
    }

    /// From `YYMMDDhhmmss` by the terminal's clock.
    fn time(&self, text: &str) -> Option<Time> {
        let digits: Vec<&str> = (0..6).filter_map(|pair| text.get(2 * pair..2 * pair + 2)).collect();
        let offset_h = self.context.utc_offset_h;
        let sign = if offset_h < 0 { '-' } else { '+' };
        let [year, month, day, hour, minute, second] = *digits else { return None };
        let rfc3339 = format!("20{year}-{month}-{day}T{hour}:{minute}:{second}{sign}{:02}:00", offset_h.unsigned_abs());
        rfc3339.parse().ok().filter(|_| text.len() == 12)
    }

    fn alarms(&self, alarm: Bits, extra: &Fields) -> Vec<Arc<str>> {
        // Table of alarm flags: 15 to 17 are reserved before 2019, 31 from then on.
        let is_known = |bit: usize| match bit {
            15..=17 => self.is_2019,
            31 => !self.is_2019,
            _ => true,
        };
        let bits = Alarm::ALL.iter().take(32).enumerate();
        let of_bits = bits.filter(|(bit, _)| alarm.has(*bit) && is_known(*bit)).map(|(_, alarm)| alarm);
        let of_video = VIDEO_FAULTS.iter().filter(|(item, _)| is_any_set(extra, item)).map(|(_, alarm)| alarm);
        of_bits.chain(of_video).map(|alarm| alarm.as_str().into()).collect()
    }

    fn events(&self, alarm: Bits, status: Bits, extra: &Fields) -> Vec<Event> {
        let bits = [
            (alarm.has(17), EventKind::BlindSpotRight),
            (status.has(6), EventKind::ForwardCollision),
            (status.has(7), EventKind::LaneDeparture),
        ];
        let of_bits = bits.into_iter().filter(|(is_set, _)| *is_set && self.is_2019);
        of_bits
            .map(|(_, kind)| Event::of(kind.as_str()))
            .chain(covered(extra))
            .chain(ACTIVE_SAFETY.iter().filter_map(|item| item.event(extra)))
            .collect()
    }
}

/// A phone number without the zeros in front of it.
fn unpadded(phone: &str) -> Arc<str> {
    phone.trim_start_matches('0').into()
}

/// Both in millionths of a degree and without a sign, which the status has. What has a fraction, or lies within a hundred
/// metres of (0, 0), is degrees by mistake and no position: a truck in Shenzhen would seem to be in the Gulf of Guinea.
fn position(body: &mut Fields, status: Option<Bits>) -> Option<(f64, f64)> {
    // Encrypted, they are none of our numbers.
    let status = status.filter(|status| !status.has(5))?;
    let (lat, lon): (Option<f64>, Option<f64>) = (body.take("latitude"), body.take("longitude"));
    let (lat, lon) = lat.zip(lon)?;
    let is_whole = lat.fract() == 0.0 && lon.fract() == 0.0;
    let is_near_zero = lat.abs() < 1_000.0 && lon.abs() < 1_000.0 && (lat, lon) != (0.0, 0.0);
    if !is_whole || is_near_zero {
        body.keep("latitude", lat.into());
        body.keep("longitude", lon.into());
        return None;
    }
    let signed = |millionths: f64, bit| if status.has(bit) { -millionths / 1e6 } else { millionths / 1e6 };
    Some((signed(lat, 2), signed(lon, 3)))
}

/// A double word of the wire.
#[derive(Clone, Copy, Default)]
struct Bits(u32);

impl Bits {
    fn take(body: &mut Fields, name: &'static str) -> Option<Self> {
        let number: i64 = body.take(name)?;
        let bits = u32::try_from(number).ok().map(Self);
        if bits.is_none() {
            body.keep(name, number.into());
        }
        bits
    }

    fn has(self, bit: usize) -> bool {
        self.0 >> bit & 1 == 1
    }
}

fn power(alarm: Bits) -> Power {
    match (alarm.has(8), alarm.has(7)) {
        (true, _) => Power::Lost,
        (_, true) => Power::Low,
        _ => Power::Ok,
    }
}

fn antenna(alarm: Bits) -> Antenna {
    match (alarm.has(5), alarm.has(6), alarm.has(4)) {
        (true, ..) => Antenna::Open,
        (_, true, _) => Antenna::Short,
        (.., true) => Antenna::Fault,
        _ => Antenna::Ok,
    }
}

/// Status bits 8 and 9; `10` is reserved.
fn load(status: Bits) -> Option<Load> {
    match status.0 >> 8 & 0b11 {
        0b00 => Some(Load::Empty),
        0b01 => Some(Load::Half),
        0b11 => Some(Load::Full),
        _ => None,
    }
}

/// An item of active safety (T/JSATL 12-2017, 苏标, and the dialect of Guangdong, 粤标), which the gateway hands on in base64 under
/// the item's number.
struct ActiveSafety {
    item: &'static str,
    /// Where the level and the vehicle's speed stand, if they do.
    level_at: Option<usize>,
    speed_at: usize,
    kinds: &'static [(u8, EventKind)],
    /// What only the dialect of Guangdong knows.
    guangdong_kinds: &'static [(u8, EventKind)],
}

/// How long items 0x64 and 0x65 are in the dialect of Guangdong; the national ones have 47 bytes.
const GUANGDONG_BYTES: usize = 71;

const ACTIVE_SAFETY: [ActiveSafety; 3] = [
    // 0x64: what lies ahead.
    ActiveSafety {
        item: "100",
        level_at: Some(6),
        speed_at: 12,
        kinds: &[
            (1, EventKind::ForwardCollision),
            (2, EventKind::LaneDeparture),
            (3, EventKind::Headway),
            (4, EventKind::Pedestrian),
        ],
        guangdong_kinds: &[],
    },
    // 0x65: the driver.
    ActiveSafety {
        item: "101",
        level_at: Some(6),
        speed_at: 12,
        kinds: &[
            (1, EventKind::Fatigue),
            (2, EventKind::Phone),
            (3, EventKind::Smoking),
            (4, EventKind::Distracted),
            (5, EventKind::DriverAbsent),
            (17, EventKind::DriverChange),
        ],
        guangdong_kinds: &[(6, EventKind::LensCovered), (10, EventKind::SeatBelt), (13, EventKind::Phone)],
    },
    // 0x67: what is beside it.
    ActiveSafety {
        item: "103",
        level_at: None,
        speed_at: 6,
        kinds: &[(2, EventKind::BlindSpotLeft), (3, EventKind::BlindSpotRight)],
        guangdong_kinds: &[],
    },
];

impl ActiveSafety {
    /// The event of this item; `None` when the report has no such item, or one that we do not know.
    fn event(&self, extra: &Fields) -> Option<Event> {
        let item = binary(extra, self.item)?;
        let kind = *item.get(5)?;
        let own = if item.len() == GUANGDONG_BYTES { self.guangdong_kinds } else { &[] };
        let (_, kind) = self.kinds.iter().chain(own).find(|(number, _)| *number == kind)?;
        let phase = match item.get(4)? {
            1 => Some(EventPhase::Start),
            2 => Some(EventPhase::End),
            _ => None,
        };
        let level = self.level_at.and_then(|at| item.get(at)).map(|level| i64::from(*level));
        let speed_kmh = item.get(self.speed_at).map(|speed| f64::from(*speed));
        Some(Event { level, phase, speed_kmh, ..Event::of(kind.as_str()) })
    }
}

/// Items 0x15 and 0x17 of JT/T 1078: a bit for each camera without a picture, and for each faulty store.
const VIDEO_FAULTS: [(&str, Alarm); 2] = [("21", Alarm::VideoLost), ("23", Alarm::StorageFault)];

/// Item 0x16 of JT/T 1078: a bit for each camera whose lens is covered.
fn covered(extra: &Fields) -> Option<Event> {
    is_any_set(extra, "22").then(|| Event::of(EventKind::LensCovered.as_str()))
}

fn is_any_set(extra: &Fields, item: &str) -> bool {
    binary(extra, item).is_some_and(|bytes| bytes.iter().any(|bits| *bits != 0))
}

/// An item that the gateway does not know.
fn binary(extra: &Fields, item: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(extra.map.get(item)?.as_str()?).ok()
}

fn ext(alarm: Option<Bits>, status: Option<Bits>, body: Fields, extra: Fields) -> Map<String, Json> {
    let mut ext = body.rest();
    for (name, bits) in [("alarm", alarm), ("status", status)] {
        ext.extend(bits.map(|bits| (name.to_owned(), bits.0.into())));
    }
    let extra = extra.rest();
    if !extra.is_empty() {
        ext.insert("extra".to_owned(), extra.into());
    }
    ext
}
