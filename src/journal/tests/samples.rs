//! Records to keep: made by hand, and any at all.

use std::sync::Arc;

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value as Json, json};

use crate::model::{
    Answer, Antenna, Body, Cover, Datum, DeadLetter, DeviceReport, Event, EventPhase, Finding, Fix, Lift, Load,
    Outcome, Power, Reason, Record, Sighting, SightingKind, Time, UnitReply, UnitReport, UnitStatus,
};

/// 2026-03-01T00:00:00Z.
pub const START_MS: i64 = 1_772_323_200_000;

pub fn text(text: &str) -> Arc<str> {
    text.into()
}

/// A report of one of five trucks, every field its own; `i` is in `seq`, so that each is another.
pub fn report(i: i64) -> Record {
    let at = Time::from_millis(START_MS + i * 1_000);
    let body = Body::Device(DeviceReport {
        device_id: format!("D{}", i % 5).into(),
        device_time: at,
        seq: Some(i),
        lat: Some(22.5 + i as f64 * 1e-4),
        lon: Some(114.0),
        fix: Some(Fix::ThreeD),
        speed_kmh: Some(31.5),
        ignition: Some(true),
        cover: Some(Cover::Closed),
        alarms: vec![text("sos")],
        ..DeviceReport::default()
    });
    Record { recv_time: at, event_time: at, outcome: Outcome::Evaluated, reason: Reason::Ok, use_position: true, body }
}

/// The `i`th of a stream in which every kind of body comes.
pub fn mixed(i: i64) -> Record {
    let at = Time::from_millis(START_MS + i * 1_000);
    let mut record = report(i);
    match i % 7 {
        1 => {
            record.body = Body::DeadLetter(DeadLetter {
                device_id: None,
                topic: text("mw/v1/device/D1/report"),
                payload: vec![0xff, i as u8, 0],
                problem: "not JSON".into(),
            });
            record.outcome = Outcome::Rejected;
            record.reason = Reason::Undecodable;
        }
        2 => {
            let json = json!({"sensor_id": "S1", "device_time": at.as_millis(), "kind": "anpr", "plate": "粤B12345",
                              "media": ["http://a/1.jpg"], "ext": {"lane": 2}});
            record.body = Body::Sighting(serde_json::from_value(json).unwrap());
        }
        3 => record.body = Body::Tick,
        4 => {
            let json = json!({"unit_id": "U1", "device_time": at.as_millis(), "lat": 22.5, "lon": 114.0,
                              "status": "available"});
            record.body = Body::Unit(serde_json::from_value(json).unwrap());
        }
        5 => {
            let json = json!({"unit_id": "U1", "dispatch_id": "X", "device_time": at.as_millis(), "answer": "accept"});
            record.body = Body::Reply(serde_json::from_value(json).unwrap());
        }
        _ => {}
    }
    record
}

pub fn mixed_range(range: std::ops::Range<i64>) -> Vec<Record> {
    range.map(mixed).collect()
}

fn word<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    select(all)
}

fn shared() -> impl Strategy<Value = Arc<str>> {
    "[a-z0-9粤\"\\\\ ]{0,8}".prop_map(Arc::from)
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>().prop_filter("NaN equals nothing", |x| !x.is_nan()), Just(-0.0), Just(22.5)]
}

fn time() -> impl Strategy<Value = Time> {
    any::<i64>().prop_map(Time::from_millis)
}

/// Floats in JSON are left out but for those that any parser reads exactly.
fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        (-1000_i32..1000).prop_map(|n| Json::from(f64::from(n) / 4.0)),
        "[a-z\"\n粤]{0,5}".prop_map(Json::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![vec(inner.clone(), 0..3).prop_map(Json::from), object_of(inner).prop_map(Json::Object)]
    })
}

fn object_of(values: impl Strategy<Value = Json>) -> impl Strategy<Value = Map<String, Json>> {
    vec(("[a-z]{0,4}", values), 0..3).prop_map(|pairs| pairs.into_iter().collect())
}

fn event() -> impl Strategy<Value = Event> {
    let speed = option::of((0_u16..400).prop_map(|n| f64::from(n) / 2.0));
    let media = option::of(any_json().prop_filter("null is absent", |json| !json.is_null()));
    (shared(), option::of(any::<i64>()), option::of(word(EventPhase::ALL)), speed, media)
        .prop_map(|(kind, level, phase, speed_kmh, media)| Event { kind, level, phase, speed_kmh, media })
}

fn datum() -> impl Strategy<Value = Option<Datum>> {
    option::of(select(vec![Datum::Wgs84, Datum::Gcj02, Datum::Bd09]))
}

prop_compose! {
    fn device()(
        (device_id, device_time, seq, lat, lon, datum, fix) in
            (shared(), time(), option::of(any::<i64>()), option::of(number()), option::of(number()), datum(), option::of(word(Fix::ALL))),
        (accuracy_m, hdop, sats, speed_kmh, heading_deg, alt_m) in
            (option::of(number()), option::of(number()), option::of(any::<i64>()), option::of(number()), option::of(number()), option::of(number())),
        (odometer_m, speed_recorder_kmh, ignition, power, antenna, load) in
            (option::of(number()), option::of(number()), option::of(any::<bool>()), option::of(word(Power::ALL)), option::of(word(Antenna::ALL)), option::of(word(Load::ALL))),
        (gross_kg, cover, lift, driver_id, alarms, events, hist, ext) in
            (option::of(number()), option::of(word(Cover::ALL)), option::of(word(Lift::ALL)), option::of(shared()),
             vec(shared(), 0..3), vec(event(), 0..3), any::<bool>(), object_of(any_json())),
    ) -> Body {
        Body::Device(DeviceReport {
            device_id, device_time, seq, lat, lon, datum, fix, accuracy_m, hdop, sats, speed_kmh, heading_deg, alt_m,
            odometer_m, speed_recorder_kmh, ignition, power, antenna, load, gross_kg, cover, lift, driver_id, alarms,
            events, hist, ext,
        })
    }
}

prop_compose! {
    fn sighting()(
        (sensor_id, device_time, kind, plate, plate_confidence, place_id, lat, lon, datum) in
            (shared(), time(), option::of(word(SightingKind::ALL)), option::of(shared()), option::of(number()), option::of(shared()),
             option::of(number()), option::of(number()), datum()),
        (direction, cover, dirty, washed, gross_kg, media, cloned, ext) in
            (option::of(shared()), option::of(word(Cover::ALL)), option::of(any::<bool>()), option::of(any::<bool>()), option::of(number()),
             vec(shared(), 0..3), option::of(any::<bool>()), object_of(any_json())),
    ) -> Body {
        Body::Sighting(Sighting {
            sensor_id, device_time, kind, plate, plate_confidence, place_id, lat, lon, datum, direction, cover, dirty,
            washed, gross_kg, media, cloned, ext,
        })
    }
}

fn body() -> impl Strategy<Value = Body> {
    let unit = (shared(), time(), number(), number(), datum(), word(UnitStatus::ALL)).prop_map(
        |(unit_id, device_time, lat, lon, datum, status)| {
            Body::Unit(UnitReport { unit_id, device_time, lat: Some(lat), lon: Some(lon), datum, status: Some(status) })
        },
    );
    let words = option::of("[a-z ]{0,6}");
    let reply =
        (shared(), shared(), time(), word(Answer::ALL), words, option::of(word(Finding::ALL)), option::of(any_json()))
            .prop_map(|(unit_id, dispatch_id, device_time, answer, reason, verdict, media)| {
                let note = reason.clone();
                Body::Reply(UnitReply { unit_id, dispatch_id, device_time, answer, reason, verdict, note, media })
            });
    let letter = (shared(), vec(any::<u8>(), 0..20), "[a-z]{0,6}").prop_map(|(topic, payload, problem)| {
        Body::DeadLetter(DeadLetter { device_id: None, topic, payload, problem })
    });
    prop_oneof![4 => device(), 2 => sighting(), 1 => unit, 1 => reply, 1 => letter, 1 => Just(Body::Tick), 1 => Just(Body::Start),
        1 => option::of(shared()).prop_map(Body::JudgeAgain)]
}

prop_compose! {
    /// Any record at all.
    pub fn record()(
        recv_time in time(), event_time in time(), outcome in word(Outcome::ALL), reason in word(Reason::ALL),
        use_position in any::<bool>(), body in body(),
    ) -> Record {
        Record { recv_time, event_time, outcome, reason, use_position, body }
    }
}
