//! Other dialects: what comes in, and what of the canonical report must come out.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

const FOREIGN: [Format; 4] = [Format::EmqxJt808, Format::Owntracks, Format::Traccar, Format::Teltonika];

fn decoder(format: Format) -> Decoder {
    Decoder::new(format, format.default_topic().trim_end_matches("/#"), Datum::Wgs84)
}

fn topic(format: Format) -> &'static str {
    match format {
        Format::Native => "mw/v1/device/d/report",
        Format::EmqxJt808 => "jt808/gateway-1/013900000001/up",
        Format::Owntracks => "owntracks/fleet/truck7",
        Format::Traccar => "positions",
        Format::Teltonika => "teltonika/352094081234567/data",
    }
}

fn decode(format: Format, payload: &Json) -> Vec<Decoded> {
    let mut out = Vec::new();
    decoder(format).decode(topic(format), payload.to_string().as_bytes(), &mut out);
    out
}

/// The only report of a message, as JSON.
fn report(format: Format, payload: &Json) -> Json {
    let mut out = decode(format, payload);
    assert_eq!(out.len(), 1, "{payload}");
    match out.remove(0).body {
        Body::Device(report) => serde_json::to_value(report).unwrap(),
        other => panic!("{payload}: {other:?}"),
    }
}

/// Holds the fields of a report against those expected; null: it must not have the field.
fn assert_has(report: &Json, expected: &Json, why: &str) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(report.get(name).unwrap_or(&Json::Null), value, "{why}: {name} of {report}");
    }
}

/// Why a message is no report.
fn refused(format: Format, payload: &Json) -> (Reason, String) {
    let mut out = decode(format, payload);
    assert_eq!(out.len(), 1, "{payload}");
    let Decoded { body: Body::DeadLetter(letter), reason, .. } = out.remove(0) else { panic!("readable: {payload}") };
    assert_eq!(letter.payload, payload.to_string().into_bytes(), "kept whole");
    (reason, letter.problem)
}

fn with(mut base: Json, path: &str, changes: &Json) -> Json {
    let target = base.pointer_mut(path).unwrap().as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Json::Null => drop(target.remove(name)),
            value => drop(target.insert(name.clone(), value.clone())),
        }
    }
    base
}

// ── JT/T 808 by way of EMQX ──

const MOVING: u32 = 0b11;

fn jt808() -> Json {
    json!({
        "header": {"msg_id": 512, "encrypt": 0, "len": 28, "phone": "013900000001", "msg_sn": 7},
        "body": {
            "alarm": 0, "status": MOVING, "latitude": 22_543_100, "longitude": 113_951_200, "altitude": 40, "speed": 123,
            "direction": 92, "time": "260301220509"
        }
    })
}

fn jt808_body(changes: &Json) -> Json {
    report(Format::EmqxJt808, &with(jt808(), "/body", changes))
}

fn jt808_2019(changes: &Json) -> Json {
    let message = with(jt808(), "/header", &json!({"proto_ver": 1, "phone": "00000000013900000001"}));
    report(Format::EmqxJt808, &with(message, "/body", changes))
}

#[test]
fn a_jt808_location_is_read_in_our_units() {
    let expected = json!({
        "device_id": "13900000001", "device_time": "2026-03-01T14:05:09.000Z", "seq": 7, "lat": 22.5431, "lon": 113.9512,
        "datum": null, "fix": null, "speed_kmh": 12.3, "heading_deg": 92.0, "alt_m": 40.0, "ignition": true, "power": "ok",
        "antenna": "ok", "load": "empty", "alarms": null, "events": null, "hist": null, "ext": {"alarm": 0, "status": 3}
    });
    assert_has(&report(Format::EmqxJt808, &jt808()), &expected, "speed 123 is 12.3 km/h");
}

#[test]
fn every_bit_and_item_of_jt808_has_its_place() {
    let cases = [
        ("no ACC", json!({"status": 0b10}), json!({"ignition": false, "fix": null})),
        (
            "no fix repeats the last position",
            json!({"status": 0b01}),
            json!({"fix": "none", "lat": 22.5431, "speed_kmh": null, "heading_deg": null,
            "ext": {"alarm": 0, "status": 1, "speed_kmh": 12.3, "heading_deg": 92.0}}),
        ),
        ("south", json!({"status": 0b111}), json!({"lat": -22.5431, "lon": 113.9512})),
        ("west", json!({"status": 0b1011}), json!({"lat": 22.5431, "lon": -113.9512})),
        (
            "encrypted",
            json!({"status": 0b10_0011}),
            json!({"lat": null, "lon": null, "fix": null, "speed_kmh": 12.3,
                "ext": {"alarm": 0, "status": 35, "latitude": 22_543_100, "longitude": 113_951_200}}),
        ),
        ("half", json!({"status": MOVING | 1 << 8}), json!({"load": "half"})),
        ("reserved", json!({"status": MOVING | 2 << 8}), json!({"load": null})),
        ("full", json!({"status": MOVING | 3 << 8}), json!({"load": "full"})),
        ("sos", json!({"alarm": 1}), json!({"alarms": ["sos"]})),
        ("low", json!({"alarm": 1 << 7}), json!({"power": "low", "alarms": ["power_low"]})),
        ("lost", json!({"alarm": 1 << 8}), json!({"power": "lost", "alarms": ["power_lost"]})),
        ("lost wins", json!({"alarm": 3 << 7}), json!({"power": "lost", "alarms": ["power_low", "power_lost"]})),
        ("module", json!({"alarm": 1 << 4}), json!({"antenna": "fault", "alarms": ["gnss_fault"]})),
        ("cut", json!({"alarm": 1 << 5}), json!({"antenna": "open", "alarms": ["antenna_open"]})),
        ("short", json!({"alarm": 1 << 6}), json!({"antenna": "short", "alarms": ["antenna_short"]})),
        (
            "in and out and off the route, which Traccar ignores",
            json!({"alarm": 7 << 21}),
            json!({"alarms": ["route", "segment_time", "route_deviation"]}),
        ),
        ("all", json!({"alarm": u32::MAX}), json!({"power": "lost", "antenna": "open"})),
        (
            "items",
            json!({"extra": {"mileage": 12379, "speed": 29, "gnss_sat_num": 11, "rssi": 30, "fuel_meter": 972}}),
            json!({"odometer_m": 1_237_900.0, "speed_recorder_kmh": 2.9, "sats": 11,
                "ext": {"alarm": 0, "status": 3, "extra": {"rssi": 30, "fuel_meter": 972}}}),
        ),
        (
            "what is missing is unknown",
            json!({"speed": null, "latitude": null}),
            json!({"speed_kmh": null, "lat": null}),
        ),
        ("a field that nobody knows", json!({"x": [1]}), json!({"ext": {"alarm": 0, "status": 3, "x": [1]}})),
        ("midnight in China", json!({"time": "260302003000"}), json!({"device_time": "2026-03-01T16:30:00.000Z"})),
    ];
    for (why, changes, expected) in cases {
        assert_has(&jt808_body(&changes), &expected, why);
    }
}

#[test]
fn bits_mean_what_the_version_says() {
    let bit_17 = json!({"alarm": 1 << 17});
    assert_has(&jt808_body(&bit_17), &json!({"alarms": null, "events": null}), "reserved in 2013");
    let expected = json!({"alarms": ["right_turn_blind_spot"], "events": [{"kind": "blind_spot_right"}]});
    assert_has(&jt808_2019(&bit_17), &expected, "2019");
    let bit_31 = json!({"alarm": 1_u32 << 31});
    assert_has(&jt808_body(&bit_31), &json!({"alarms": ["illegal_door"]}), "2013");
    assert_has(&jt808_2019(&bit_31), &json!({"alarms": null}), "reserved in 2019");
    let ahead = json!({"status": MOVING | 3 << 6});
    assert_has(&jt808_body(&ahead), &json!({"events": null}), "reserved in 2013");
    let expected = json!({"events": [{"kind": "forward_collision"}, {"kind": "lane_departure"}]});
    assert_has(&jt808_2019(&ahead), &expected, "2019");
    assert_eq!(jt808_2019(&json!({}))["device_id"], "13900000001", "padded to 20 digits or to 12, it is one device");
}

#[test]
fn active_safety_comes_in_base64() {
    // Alarm id, state, type, level, and at byte 12 the speed.
    let item = |bytes: usize, head: [u8; 3]| {
        let mut item = vec![0; bytes];
        item[4..7].copy_from_slice(&head);
        item[12] = 57;
        BASE64_STANDARD.encode(item)
    };
    let beside = BASE64_STANDARD.encode([0, 0, 0, 9, 1, 3, 21, 0, 0]);
    let start = |kind: &str| json!([{"kind": kind, "level": 2, "phase": "start", "speed_kmh": 57.0}]);
    let cases = [
        (json!({"100": item(47, [1, 1, 2])}), start("forward_collision")),
        (json!({"100": item(71, [1, 4, 2])}), start("pedestrian")),
        (json!({"101": item(47, [1, 1, 2])}), start("fatigue")),
        (json!({"101": item(47, [1, 13, 2])}), json!(null)),
        (json!({"101": item(71, [1, 13, 2])}), start("phone")),
        (json!({"101": item(71, [1, 10, 2])}), start("seat_belt")),
        (
            json!({"101": item(47, [2, 3, 1])}),
            json!([{"kind": "smoking", "level": 1, "phase": "end", "speed_kmh": 57.0}]),
        ),
        (json!({"103": beside}), json!([{"kind": "blind_spot_right", "phase": "start", "speed_kmh": 21.0}])),
        (json!({"22": BASE64_STANDARD.encode([0, 0, 0, 2])}), json!([{"kind": "lens_covered"}])),
        (json!({"22": BASE64_STANDARD.encode([0, 0, 0, 0])}), json!(null)),
        (json!({"101": "?", "100": 7, "103": ""}), json!(null)),
    ];
    for (extra, events) in cases {
        let report = jt808_body(&json!({ "extra": extra.clone() }));
        assert_has(&report, &json!({ "events": events }), &extra.to_string());
        assert_eq!(report["ext"]["extra"], extra, "untouched");
    }
}

#[test]
fn faults_of_video_are_alarms() {
    let bits = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
    for (extra, alarms) in [
        (json!({"21": bits(&[0, 0, 0, 4])}), json!(["video_lost"])),
        (json!({"21": bits(&[0, 0, 0, 0]), "23": bits(&[0, 1])}), json!(["storage_fault"])),
        (json!({"21": "?", "23": ""}), json!(null)),
    ] {
        let report = jt808_body(&json!({ "extra": extra.clone() }));
        assert_has(&report, &json!({ "alarms": alarms }), &extra.to_string());
    }
}

#[test]
fn a_batch_of_jt808_is_so_many_reports() {
    let location = |time: &str| with(jt808()["body"].clone(), "", &json!({ "time": time }));
    let batch = |kind: i64, locations: Json| {
        json!({"header": {"msg_id": 1796, "phone": "013900000001", "msg_sn": 9},
            "body": {"type": kind, "length": 3, "location": locations}})
    };
    let good = json!([location("260301235950"), {"status": "x"}, 5, location("260302000010")]);
    let read = decode(Format::EmqxJt808, &batch(1, good.clone()));
    let times: Vec<String> = read
        .iter()
        .map(|decoded| match &decoded.body {
            Body::Device(report) if report.hist && report.seq == Some(9) => report.device_time.to_string(),
            Body::DeadLetter(letter) => letter.problem.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        "2026-03-01T15:59:50.000Z",
        "body.location[1].time: found nothing, expected a time as YYMMDDhhmmss",
        "body.location[2]: found no object",
        "2026-03-01T16:00:10.000Z",
    ];
    assert_eq!(times, expected);
    let live = decode(Format::EmqxJt808, &batch(0, good));
    assert!(matches!(&live[0].body, Body::Device(report) if !report.hist));
    assert_eq!(decode(Format::EmqxJt808, &batch(1, json!([]))), []);
    let many = batch(1, Json::Array(vec![json!(0); limits::REPORTS_PER_PAYLOAD + 1]));
    assert_eq!(refused(Format::EmqxJt808, &many).0, Reason::TooLarge);
    for inside in [json!({"msg_id": 513}), json!({"msg_id": 1280})] {
        let name = if inside["msg_id"] == 513 { "params" } else { "location" };
        let mut asked = with(jt808(), "/header", &inside);
        asked["body"] = json!({"seq": 1, name: asked["body"]});
        assert_has(&report(Format::EmqxJt808, &asked), &json!({"lat": 22.5431}), name);
    }
}

#[test]
fn what_is_wrong_with_jt808_is_told() {
    let body = |changes: Json| with(jt808(), "/body", &changes);
    let header = |changes: Json| with(jt808(), "/header", &changes);
    for (payload, part) in [
        (body(json!({"time": "260230220509"})), "body.time: found \"260230220509\", expected a time as YYMMDDhhmmss"),
        (body(json!({"time": "000000000000"})), "body.time: found"),
        (body(json!({"time": "26030122050"})), "body.time: found"),
        (body(json!({"time": "26030122-5-9"})), "body.time: found"),
        (body(json!({"time": "二六零三"})), "body.time: found"),
        (body(json!({"time": [2026]})), "body.time: found [2026], expected a time as YYMMDDhhmmss"),
        (header(json!({"phone": "013900000002"})), "header.phone: found \"13900000002\", expected \"13900000001\""),
        (header(json!({"msg_id": null})), "header.msg_id: found nothing"),
        (json!({}), "header.msg_id: found nothing"),
        (json!({"header": 3}), "header.msg_id: found nothing"),
        (json!(7), "found integer `7`"),
    ] {
        let (reason, problem) = refused(Format::EmqxJt808, &payload);
        assert!(problem.contains(part), "{payload}: {problem}");
        assert_eq!(reason, Reason::Undecodable);
    }
    for msg_id in [0x0002, 0x0100, 0x0102, 0x0702, 0x0900] {
        let (reason, problem) = refused(Format::EmqxJt808, &with(jt808(), "/header", &json!({ "msg_id": msg_id })));
        assert_eq!(
            (reason, problem),
            (Reason::NoReport, format!("found message 0x{msg_id:04x}, which is no location"))
        );
    }
}

#[test]
fn a_terminals_clock_may_show_another_zone() {
    for (offset_h, expected) in [(0, "2026-03-01T22:05:09.000Z"), (-5, "2026-03-02T03:05:09.000Z")] {
        let mut out = Vec::new();
        let decoder = decoder(Format::EmqxJt808).with_utc_offset(offset_h);
        decoder.decode(topic(Format::EmqxJt808), jt808().to_string().as_bytes(), &mut out);
        assert!(matches!(&out[0].body, Body::Device(report) if report.device_time.to_string() == expected));
    }
}

// ── OwnTracks ──

fn owntracks(changes: &Json) -> Json {
    let base = json!({"_type": "location", "lat": 22.5431, "lon": 113.9512, "tst": 1_772_373_909, "acc": 12, "vel": 47,
        "cog": 92, "alt": 40, "batt": 80});
    with(base, "", changes)
}

#[test]
fn a_location_of_owntracks_is_read_in_our_units() {
    let cases = [
        (
            "in full",
            json!({}),
            json!({"device_id": "fleet/truck7", "device_time": "2026-03-01T14:05:09.000Z", "lat": 22.5431, "lon": 113.9512,
                "accuracy_m": 12.0, "speed_kmh": 47.0, "heading_deg": 92.0, "alt_m": 40.0, "fix": null, "hist": null,
                "ext": {"batt": 80}}),
        ),
        ("absent is unknown", json!({"vel": null, "cog": null}), json!({"speed_kmh": null, "heading_deg": null})),
        ("invalid", json!({"vel": -1, "cog": -1}), json!({"speed_kmh": null, "heading_deg": null})),
        ("standing", json!({"vel": 0}), json!({"speed_kmh": 0.0})),
        ("the fix was lost", json!({"t": "l"}), json!({"fix": "none"})),
        (
            "sent later than measured",
            json!({"created_at": 1_772_380_000}),
            json!({"device_time": "2026-03-01T14:05:09.000Z"}),
        ),
        ("a Queclink", json!({"odometer": 1234.5, "ign": true}), json!({"odometer_m": 1_234_500.0, "ignition": true})),
        ("its power goes", json!({"t": "e"}), json!({"power": "lost", "alarms": ["power_lost"]})),
        ("its power comes", json!({"t": "E"}), json!({"power": "ok", "alarms": null})),
        ("as over HTTP", json!({"topic": "owntracks/fleet/truck7"}), json!({"device_id": "fleet/truck7"})),
    ];
    for (why, changes, expected) in cases {
        assert_has(&report(Format::Owntracks, &owntracks(&changes)), &expected, why);
    }
}

#[test]
fn what_owntracks_says_besides_is_no_report() {
    for kind in ["lwt", "transition", "waypoint", "waypoints", "card", "cmd", "steps", "beacon", "status", "dump"] {
        let (reason, problem) = refused(Format::Owntracks, &json!({"_type": kind, "tst": 1}));
        assert_eq!((reason, problem), (Reason::NoReport, format!("found {kind}, which is no location")));
    }
    for (payload, part) in [
        (json!({"_type": "encrypted", "data": "x"}), "_type: found encrypted"),
        (json!({"_type": "Location"}), "_type: found \"Location\", expected location"),
        (json!({"tst": 1}), "_type: found nothing"),
        (owntracks(&json!({"tst": null})), "tst: found nothing"),
        (owntracks(&json!({"tst": 1_772_373_909_000_i64})), "tst: found 1772373909000, expected seconds"),
        (owntracks(&json!({"tst": "now"})), "tst: found \"now\", expected an integer"),
        (
            owntracks(&json!({"topic": "owntracks/other/truck"})),
            "topic: found \"other/truck\", expected \"fleet/truck7\"",
        ),
    ] {
        let (reason, problem) = refused(Format::Owntracks, &payload);
        assert!(problem.contains(part), "{payload}: {problem}");
        assert_eq!(reason, Reason::Undecodable);
    }
}

// ── Traccar ──

fn traccar() -> Json {
    json!({
        "position": {
            "id": 5, "deviceId": 3, "protocol": "jt808", "serverTime": "2026-03-01T14:05:11.000+00:00",
            "deviceTime": "2026-03-01T14:05:09.000+00:00", "fixTime": "2026-03-01T14:05:09.000+00:00", "outdated": false,
            "valid": true, "latitude": 22.5431, "longitude": 113.9512, "altitude": 40.0, "speed": 21.6, "course": 92.0,
            "address": null, "accuracy": 0.0, "attributes": {"ignition": true, "sat": 11, "hdop": 0.8, "odometer": 123_456.7}
        },
        "device": {"id": 3, "uniqueId": "355001", "name": "粤B12345"}
    })
}

#[test]
fn a_position_of_traccar_is_read_in_our_units() {
    let position = |changes: Json| with(traccar(), "/position", &changes);
    let attributes = |changes: Json| with(traccar(), "/position/attributes", &changes);
    let cases = [
        (
            "21.6 knots are 40 km/h",
            traccar(),
            json!({"device_id": "355001", "device_time": "2026-03-01T14:05:09.000Z", "lat": 22.5431, "lon": 113.9512,
                "alt_m": 40.0, "heading_deg": 92.0, "accuracy_m": null, "fix": null, "ignition": true, "sats": 11,
                "hdop": 0.8, "odometer_m": 123_456.7, "hist": null, "alarms": null, "power": null,
                "ext": {"id": 5, "deviceId": 3, "protocol": "jt808", "serverTime": "2026-03-01T14:05:11.000+00:00",
                    "device": {"id": 3, "name": "粤B12345"}}}),
        ),
        ("no fix", position(json!({"valid": false})), json!({"fix": "none", "lat": 22.5431, "speed_kmh": null})),
        (
            "a fix of before has the time of now",
            position(json!({"outdated": true, "deviceTime": "2026-03-01T15:00:00Z"})),
            json!({"fix": "none", "device_time": "2026-03-01T15:00:00.000Z"}),
        ),
        (
            "milliseconds, and no time of the fix",
            position(json!({"fixTime": null, "deviceTime": 1_772_373_909_000_i64})),
            json!({"device_time": "2026-03-01T14:05:09.000Z"}),
        ),
        (
            "an offset without a colon",
            position(json!({"fixTime": "2026-03-01T22:05:09.000+0800"})),
            json!({"device_time": "2026-03-01T14:05:09.000Z"}),
        ),
        ("back-fill", attributes(json!({"archive": true})), json!({"hist": true})),
        ("who drives", attributes(json!({"driverUniqueId": "D7"})), json!({"driver_id": "D7"})),
        ("power", attributes(json!({"alarm": "powerCut"})), json!({"power": "lost", "alarms": ["power_lost"]})),
        ("back", attributes(json!({"alarm": "powerRestored"})), json!({"power": "ok", "alarms": ["power_restored"]})),
        (
            "several",
            attributes(json!({"alarm": "sos, hardBraking,gpsAntennaCut,lowBattery"})),
            json!({"alarms": ["sos", "antenna_open", "low_battery"], "antenna": "open", "events": [{"kind": "harsh_brake"}]}),
        ),
        (
            "km/h or knots, by the server's version",
            attributes(json!({"obdSpeed": 40})),
            json!({"speed_recorder_kmh": null}),
        ),
        ("a number", with(traccar(), "/device", &json!({"uniqueId": 355_001})), json!({"device_id": "355001"})),
    ];
    for (why, payload, expected) in cases {
        let report = report(Format::Traccar, &payload);
        assert_has(&report, &expected, why);
        let speed_kmh = report["speed_kmh"].as_f64();
        assert!(speed_kmh.map_or(report["fix"] == "none", |speed| (speed - 40.0).abs() < 0.01), "{why}");
    }
}

#[test]
fn what_is_wrong_with_traccar_is_told() {
    let position = |changes: Json| with(traccar(), "/position", &changes);
    for (payload, part) in [
        (position(json!({"fixTime": null, "deviceTime": null})), "position.fixTime: found nothing"),
        (
            position(json!({"fixTime": "yesterday", "deviceTime": null})),
            "position.fixTime: found \"yesterday\", expected an RFC 3339",
        ),
        (with(traccar(), "/device", &json!({"uniqueId": null})), "device.uniqueId: found nothing"),
        (with(traccar(), "/device", &json!({"uniqueId": "x".repeat(65)})), "at most 64"),
        (json!({"device": {"uniqueId": "1"}}), "position.fixTime: found nothing"),
        (json!({"position": 1, "device": {"uniqueId": "1"}}), "position.fixTime: found nothing"),
    ] {
        let (reason, problem) = refused(Format::Traccar, &payload);
        assert!(problem.contains(part), "{payload}: {problem}");
        assert_eq!(reason, Reason::Undecodable);
    }
    let event = with(traccar(), "", &json!({"event": {"type": "geofenceEnter"}}));
    assert_eq!(refused(Format::Traccar, &event).0, Reason::NoReport);
}

// ── Teltonika ──

fn teltonika(changes: &Json) -> Json {
    let base = json!({"state": {"reported": {"ts": 1_772_373_909_000_i64, "pr": 1, "latlng": "22.543100,113.951200", "alt": 40,
        "ang": 92, "sat": 11, "sp": 47, "evt": 240, "239": 1, "240": 1, "16": 1_234_567, "182": 8, "66": 27_950, "21": 4}}});
    with(base, "/state/reported", changes)
}

#[test]
fn a_record_of_teltonika_is_read_in_our_units() {
    let cases = [
        (
            "in full",
            json!({}),
            json!({"device_id": "352094081234567", "device_time": "2026-03-01T14:05:09.000Z", "lat": 22.5431,
                "lon": 113.9512, "fix": null, "alt_m": 40.0, "heading_deg": 92.0, "sats": 11, "speed_kmh": 47.0,
                "ignition": true, "odometer_m": 1_234_567.0, "hdop": 0.8, "power": "ok", "alarms": null,
                "ext": {"pr": 1, "evt": 240, "240": 1, "21": 4, "66": 27_950}}),
        ),
        ("no fix", json!({"latlng": "0.000000,0.000000"}), json!({"fix": "none", "speed_kmh": null})),
        ("no position", json!({"latlng": null}), json!({"fix": "none", "lat": null})),
        ("spaces", json!({"latlng": " 22.5 , -113.5 "}), json!({"lat": 22.5, "lon": -113.5})),
        ("ignition off", json!({"239": 0}), json!({"ignition": false})),
        ("nothing known", json!({"239": null, "66": null}), json!({"ignition": null, "power": null})),
        ("no battery", json!({"66": 130}), json!({"power": "lost", "alarms": ["power_lost"]})),
        ("unplugged", json!({"252": 1, "66": null}), json!({"power": "lost", "alarms": ["power_lost"]})),
        ("plugged in", json!({"252": 0, "66": null}), json!({"power": "ok"})),
        ("jammed", json!({"249": 1}), json!({"alarms": ["jamming"]})),
        ("crashed", json!({"247": 2}), json!({"alarms": ["collision"]})),
        ("braked", json!({"253": 2}), json!({"events": [{"kind": "harsh_brake"}]})),
        ("turned", json!({"253": 3}), json!({"events": [{"kind": "harsh_turn"}]})),
        ("neither", json!({"253": 9}), json!({"events": null})),
    ];
    for (why, changes, expected) in cases {
        assert_has(&report(Format::Teltonika, &teltonika(&changes)), &expected, why);
    }
}

#[test]
fn what_is_wrong_with_teltonika_is_told() {
    for (payload, part) in [
        (teltonika(&json!({"ts": null})), "state.reported.ts: found nothing"),
        (json!({"state": {}}), "state.reported.ts: found nothing"),
        (json!({"state": 1}), "state.reported.ts: found nothing"),
    ] {
        let (reason, problem) = refused(Format::Teltonika, &payload);
        assert!(problem.contains(part), "{payload}: {problem}");
        assert_eq!(reason, Reason::Undecodable);
    }
    assert_eq!(refused(Format::Teltonika, &json!({"RSP": "ok"})).0, Reason::NoReport);
}

// ── All of them ──

/// A verdict is about a field: one attribute of another type, or a number that means "not available", must not cost a position,
/// a speed or an alarm. The field is unknown, named, and kept as it came.
#[test]
fn an_odd_field_costs_no_more_than_itself() {
    let jt = |changes: Json| with(jt808(), "/body", &changes);
    let pos = |changes: Json| with(traccar(), "/position", &changes);
    let attr = |changes: Json| with(traccar(), "/position/attributes", &changes);
    let nothing: &[&str] = &[];
    let cases: Vec<(Format, Json, Json, &[&str])> = vec![
        (Format::EmqxJt808, jt(json!({"speed": 65_535})), json!({"speed_kmh": null, "lat": 22.5431}), &["speed_kmh"]),
        (Format::EmqxJt808, jt(json!({"speed": "fast"})), json!({"speed_kmh": null, "lat": 22.5431}), &["speed"]),
        (Format::EmqxJt808, jt(json!({"speed": "123"})), json!({"speed_kmh": 12.3}), nothing),
        (Format::EmqxJt808, jt(json!({"direction": 65_535})), json!({"heading_deg": null}), &["heading_deg"]),
        (Format::EmqxJt808, jt(json!({"altitude": 65_535})), json!({"alt_m": null}), &["alt_m"]),
        (
            Format::EmqxJt808,
            jt(json!({"extra": {"mileage": 4_294_967_295_i64}})),
            json!({"odometer_m": null}),
            &["odometer_m"],
        ),
        (Format::EmqxJt808, jt(json!({"extra": []})), json!({"lat": 22.5431}), nothing),
        (Format::EmqxJt808, jt(json!({"extra": "none"})), json!({"lat": 22.5431}), &["extra"]),
        (
            Format::EmqxJt808,
            jt(json!({"alarm": 4_294_967_296_i64})),
            json!({"power": null, "lat": 22.5431}),
            &["alarm"],
        ),
        (
            Format::EmqxJt808,
            jt(json!({"status": -1})),
            json!({"lat": null, "ignition": null, "fix": "none"}),
            &["status"],
        ),
        (
            Format::EmqxJt808,
            jt(json!({"latitude": 22.5431, "longitude": 113.9512})),
            json!({"lat": null}),
            &["latitude", "longitude"],
        ),
        (
            Format::EmqxJt808,
            jt(json!({"latitude": 22, "longitude": 113})),
            json!({"lat": null}),
            &["latitude", "longitude"],
        ),
        (Format::EmqxJt808, jt(json!({"time": 260_301_220_509_i64})), json!({"lat": 22.5431}), nothing),
        (Format::Owntracks, owntracks(&json!({"lat": "north"})), json!({"lat": null, "speed_kmh": 47.0}), &["lat"]),
        (Format::Owntracks, owntracks(&json!({"vel": "47.5"})), json!({"speed_kmh": 47.5}), nothing),
        (Format::Owntracks, owntracks(&json!({"cog": 999})), json!({"heading_deg": null}), &["heading_deg"]),
        (Format::Traccar, attr(json!({"sat": 1.5})), json!({"sats": null, "lat": 22.5431}), &["sat"]),
        (Format::Traccar, attr(json!({"sat": "11"})), json!({"sats": 11}), nothing),
        (
            Format::Traccar,
            attr(json!({"odometer": "unknown"})),
            json!({"odometer_m": null, "lat": 22.5431}),
            &["odometer"],
        ),
        (Format::Traccar, attr(json!({"ignition": "true"})), json!({"ignition": true}), nothing),
        (Format::Traccar, attr(json!({"ignition": 1})), json!({"ignition": true}), nothing),
        (Format::Traccar, pos(json!({"speed": "fast"})), json!({"speed_kmh": null, "lat": 22.5431}), &["speed"]),
        (Format::Traccar, pos(json!({"course": -1})), json!({"heading_deg": null, "lat": 22.5431}), &["heading_deg"]),
        (Format::Traccar, pos(json!({"attributes": []})), json!({"lat": 22.5431}), nothing),
        (
            Format::Teltonika,
            teltonika(&json!({"latlng": "here"})),
            json!({"lat": null, "speed_kmh": null}),
            &["latlng"],
        ),
        (Format::Teltonika, teltonika(&json!({"latlng": "1,NaN"})), json!({"lat": null}), &["latlng"]),
        (Format::Teltonika, teltonika(&json!({"sp": true})), json!({"speed_kmh": null, "lat": 22.5431}), &["sp"]),
        (Format::Teltonika, teltonika(&json!({"239": "1"})), json!({"ignition": true}), nothing),
        (Format::Teltonika, teltonika(&json!({"sat": 255})), json!({"sats": null, "lat": 22.5431}), &["sats"]),
    ];
    for (format, payload, expected, odd) in cases {
        let read = decode(format, &payload).remove(0);
        assert_eq!(read.odd, odd, "{payload}");
        assert_has(&report(format, &payload), &expected, &payload.to_string());
    }
}

/// A button pressed is true whatever the clock says: without a time it counts at arrival, which a time of 1970 says.
#[test]
fn an_alarm_without_a_time_is_no_dead_letter() {
    for (format, payload) in [
        (Format::EmqxJt808, with(jt808(), "/body", &json!({"alarm": 1, "time": "000000000000"}))),
        (
            Format::Traccar,
            with(
                with(traccar(), "/position/attributes", &json!({"alarm": "sos"})),
                "/position",
                &json!({"fixTime": null, "deviceTime": null}),
            ),
        ),
    ] {
        assert_has(
            &report(format, &payload),
            &json!({"device_time": "1970-01-01T00:00:00.000Z", "alarms": ["sos"]}),
            format.as_str(),
        );
    }
}

fn sample(format: Format) -> Json {
    match format {
        Format::Native => json!({"device_time": 1}),
        Format::EmqxJt808 => jt808(),
        Format::Owntracks => owntracks(&json!({})),
        Format::Traccar => traccar(),
        Format::Teltonika => teltonika(&json!({})),
    }
}

#[test]
fn each_dialect_has_its_topics() {
    for (format, prefix, filter, topic, id) in [
        (Format::EmqxJt808, "jt808", "jt808/+/+/up", "jt808/client/0139/up", Some(Some("0139"))),
        (Format::EmqxJt808, "jt808", "jt808/+/+/up", "jt808/client/0139/dn", None),
        (Format::Owntracks, "a/b", "a/b/+/+", "a/b/jane/phone", Some(Some("jane/phone"))),
        (Format::Owntracks, "a/b", "a/b/+/+", "a/b/jane/phone/event", None),
        (Format::Owntracks, "a/b", "a/b/+/+", "a/b/jane", None),
        (Format::Traccar, "positions", "positions/#", "positions", Some(None)),
        (Format::Traccar, "positions", "positions/#", "positions/x/y", Some(None)),
        (Format::Traccar, "positions", "positions/#", "positionsx", None),
        (Format::Teltonika, "r/teltonika", "r/teltonika/+/data", "r/teltonika/35/data", Some(Some("35"))),
        (Format::Teltonika, "r/teltonika", "r/teltonika/+/data", "r/teltonika/35/commands", None),
        // With a slash before it, it is another topic.
        (Format::Teltonika, "/r", "/r/+/data", "/r/35/data", Some(Some("35"))),
        (Format::Teltonika, "/r", "/r/+/data", "r/35/data", None),
        (Format::Teltonika, "r//", "r///+/data", "r///35/data", Some(Some("35"))),
    ] {
        let topics = Topics::new(format, prefix);
        assert_eq!(topics.filters(), [filter]);
        assert_eq!(topics.route(topic), id.map(|id| (Kind::Device, id)), "{topic}");
    }
}

#[test]
fn arrays_hold_messages_and_the_datum_is_the_sources() {
    for format in FOREIGN {
        let two = json!([sample(format), sample(format), 5]);
        let mut out = Vec::new();
        let prefix = format.default_topic().trim_end_matches("/#");
        let decoder = Decoder::new(format, prefix, Datum::Gcj02);
        decoder.decode(topic(format), two.to_string().as_bytes(), &mut out);
        assert_eq!(out.len(), 3, "{format}");
        let gcj02 = |decoded: &Decoded| matches!(&decoded.body, Body::Device(r) if r.datum == Some(Datum::Gcj02));
        assert!(gcj02(&out[0]) && gcj02(&out[1]), "{format}");
        assert_eq!(out[2].reason, Reason::Undecodable);
        out.clear();
        decoder.decode("elsewhere/1", b"{}", &mut out);
        assert_eq!(out[0].reason, Reason::UnknownTopic);
    }
}

#[test]
fn lines_are_messages_or_messages_with_their_topic() {
    let line = |format: Format, text: &Json| {
        let mut out = Vec::new();
        decoder(format).decode_line(text.to_string().as_bytes(), "f.jsonl:3", &mut out);
        assert_eq!(out.len(), 1, "{text}");
        out.remove(0)
    };
    let id = |decoded: &Decoded| match &decoded.body {
        Body::Device(report) => report.device_id.to_string(),
        Body::DeadLetter(letter) => format!("{}: {}", letter.topic, letter.problem),
        other => panic!("{other:?}"),
    };
    for format in FOREIGN {
        let message = sample(format);
        let expected = id(&decode(format, &message)[0]);
        for payload in [message.clone(), Json::String(message.to_string())] {
            let topic = format!("some/where/{}", topic(format));
            let tst = if payload.is_object() { "2026-03-01T22:05:10.25+0800" } else { "2026-03-01T09:05:10.25Z-0500" };
            let recorded = json!({"tst": tst, "topic": topic, "qos": 1, "payload": payload});
            let read = line(format, &recorded);
            assert_eq!(id(&read), expected, "{format}");
            assert_eq!(read.recv_time.map(|time| time.to_string()).as_deref(), Some("2026-03-01T14:05:10.250Z"));
        }
    }
    assert_eq!(id(&line(Format::EmqxJt808, &jt808())), "13900000001");
    assert_eq!(id(&line(Format::Traccar, &traccar())), "355001");
    let http = owntracks(&json!({"topic": "owntracks/jane/phone"}));
    assert_eq!(id(&line(Format::Owntracks, &http)), "jane/phone");
    assert_eq!(
        id(&line(Format::Owntracks, &owntracks(&json!({})))),
        "f.jsonl:3: topic: found nothing, expected a string"
    );
    let imei = with(teltonika(&json!({})), "", &json!({"imei": "35"}));
    assert_eq!(id(&line(Format::Teltonika, &imei)), "35");
    let elsewhere = json!({"topic": "jt808/c/1/dn", "payload": {}});
    assert_eq!(line(Format::EmqxJt808, &elsewhere).reason, Reason::UnknownTopic);
}

proptest! {
    #[test]
    fn bent_messages_do_not_panic(
        format in proptest::sample::select(&FOREIGN[..]),
        cut in 0usize..700,
        at in 0usize..700,
        byte in any::<u8>(),
    ) {
        let mut payload = sample(format).to_string().into_bytes();
        let last = payload.len() - 1;
        payload[at.min(last)] = byte;
        payload.truncate(cut.max(1));
        let mut out = Vec::new();
        decoder(format).decode(topic(format), &payload, &mut out);
        decoder(format).decode_line(&payload, "f:1", &mut out);
        let mut values = Vec::new();
        for value in [json!(null), json!(-1), json!(1e300), json!("x"), json!([1]), json!({}), json!(true)] {
            spoilt(&sample(format), &value, &mut values);
        }
        let chosen = &values[(cut * 31 + at) % values.len()];
        prop_assert_eq!(decode(format, chosen).len(), 1);
    }
}

/// The message with one value after the other replaced.
fn spoilt(message: &Json, value: &Json, out: &mut Vec<Json>) {
    let Json::Object(fields) = message else { return };
    for (name, inner) in fields {
        let mut changed = message.clone();
        changed[name] = value.clone();
        out.push(changed);
        let mut deeper = Vec::new();
        spoilt(inner, value, &mut deeper);
        out.extend(deeper.into_iter().map(|inner| {
            let mut changed = message.clone();
            changed[name] = inner;
            changed
        }));
    }
}
