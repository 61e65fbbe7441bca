use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::model::{Cover, DeviceReport, Load};

fn decoder() -> Decoder {
    Decoder::new(Format::Native, "mw/v1", Datum::Wgs84)
}

fn decode(topic: &str, payload: &[u8]) -> Vec<Decoded> {
    let mut out = Vec::new();
    decoder().decode(topic, payload, &mut out);
    out
}

fn device(fields: &str) -> DeviceReport {
    let payload = format!(r#"{{"device_time":1000,{fields}}}"#);
    match decode("mw/v1/device/d1/report", payload.as_bytes()).remove(0).body {
        Body::Device(report) => report,
        other => panic!("{fields}: {other:?}"),
    }
}

/// Decodes one message that can't be read and says why.
fn problem(topic: &str, payload: &[u8]) -> (Reason, String) {
    let mut out = decode(topic, payload);
    assert_eq!(out.len(), 1, "{out:?}");
    let Decoded { body: Body::DeadLetter(letter), reason, .. } = out.remove(0) else { panic!("readable") };
    assert_eq!(letter.payload, payload, "kept whole");
    (reason, letter.problem)
}

#[test]
fn a_full_report_is_read_as_serde_would() {
    let full = json!({
        "device_id": "d1", "device_time": "2026-03-01T22:05:09+08:00", "seq": 7, "lat": 22.5, "lon": 114, "datum": "gcj02",
        "fix": "3d", "accuracy_m": 3.5, "hdop": 0.9, "sats": 11, "speed_kmh": 41.5, "heading_deg": 270, "alt_m": -3,
        "odometer_m": 123456789, "speed_recorder_kmh": 41, "ignition": true, "power": "low", "antenna": "short",
        "load": "half", "gross_kg": 30500, "cover": "moving", "lift": "flat", "driver_id": "x", "alarms": ["sos", "other"],
        "events": [{"kind": "fatigue", "level": 2, "phase": "start", "speed_kmh": 40.5, "media": ["u"]}, {"kind": "phone"}],
        "hist": true, "ext": {"a": [1, {"b": null}]}
    });
    let expected: DeviceReport = serde_json::from_value(full.clone()).unwrap();
    let read = decode("mw/v1/device/d1/report", full.to_string().as_bytes());
    assert_eq!(read, [Decoded { body: Body::Device(expected), reason: Reason::Ok, recv_time: None }]);
}

#[test]
fn topics_are_routed() {
    let topics = Topics::new(Format::Native, "/city/mw/");
    for (topic, expected) in [
        ("city/mw/device/7/report", Some((Kind::Device, "7"))),
        ("city/mw/sensor/s/sighting", Some((Kind::Sighting, "s"))),
        ("city/mw/unit/u/report", Some((Kind::Unit, "u"))),
        ("city/mw/unit/u/reply", Some((Kind::Reply, "u"))),
        ("city/mw/device/7/reply", None),
        ("city/mw/device/7/report/x", None),
        ("city/mw/device/7", None),
        ("city/mwdevice/7/report", None),
        ("mw/v1/device/7/report", None),
        ("", None),
    ] {
        assert_eq!(topics.route(topic), expected.map(|(kind, id)| (kind, Some(id))), "{topic}");
    }
    assert_eq!(topics.filters()[0], "city/mw/device/+/report");
}

#[test]
fn what_is_wrong_is_told_by_field() {
    let topic = "mw/v1/device/d1/report";
    for (payload, part) in [
        (r#"{"device_time":1,"speed_kmh":"fast"}"#, r#"speed_kmh: found string "fast", expected a number"#),
        (r#"{"device_time":1,"lat":true}"#, "lat: found boolean `true`, expected a number"),
        (r#"{"device_time":1,"lat":[1]}"#, "lat: found sequence, expected a number"),
        (r#"{"device_time":1,"lat":NaN}"#, "lat: "),
        (r#"{"device_time":1,"lat":Infinity}"#, "lat: "),
        (r#"{"device_time":1,"lat":1e999}"#, "lat: number out of range"),
        (r#"{"device_time":1,"seq":1.5}"#, "seq: found floating point `1.5`, expected an integer"),
        (r#"{"device_time":1,"seq":18446744073709551615}"#, "seq: found"),
        (r#"{"device_time":1,"ignition":1}"#, "ignition: found integer `1`, expected true or false"),
        (r#"{"device_time":1,"cover":1}"#, "cover: found integer `1`, expected closed, open, moving"),
        (r#"{"device_time":1,"datum":"cgcs"}"#, r#"datum: found string "cgcs", expected wgs84"#),
        (r#"{"device_time":1,"alarms":"sos"}"#, "alarms: found string"),
        (r#"{"device_time":1,"alarms":[1]}"#, "alarms: found integer `1`, expected a string"),
        (r#"{"device_time":1,"events":[{"level":1}]}"#, "events: kind: found nothing"),
        (r#"{"device_time":1,"ext":[]}"#, "ext: "),
        (r#"{"device_time":"yesterday"}"#, r#"device_time: found string "yesterday", expected an RFC 3339"#),
        (r#"{"device_time":null}"#, "device_time: found nothing"),
        (r"{}", "device_time: found nothing"),
        (r#"{"device_time":1,"device_id":"d2"}"#, r#"device_id: found "d2", expected "d1" as in the topic"#),
        (r#"{"device_time":1} x"#, "trailing characters"),
        (r#"{"device_time":1"#, "EOF"),
        ("", "found nothing, expected a JSON object"),
        ("  ", "found nothing"),
        ("7", "found integer `7`, expected a JSON object"),
        ("null", "expected a JSON object"),
        ("[1", "the end of the array"),
        ("[] x", "after the array"),
    ] {
        let (reason, problem) = problem(topic, payload.as_bytes());
        assert!(problem.contains(part), "{payload}: {problem}");
        assert_eq!(reason, Reason::Undecodable);
    }
    assert!(problem(topic, b"{\"device_time\":1,\"driver_id\":\"\xff\"}").1.starts_with("driver_id: "));
    let deep = format!(r#"{{"device_time":1,"x":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
    assert!(problem(topic, deep.as_bytes()).1.contains("recursion"));
    assert_eq!(problem("mw/v1/nothing", b"{}").0, Reason::UnknownTopic);
    assert!(problem(&format!("mw/v1/device/{}/report", "x".repeat(65)), b"{}").1.contains("at most 64"));
    assert!(problem("mw/v1/device//report", b"{}").1.contains("empty"));
    assert_eq!(problem(topic, &vec![b' '; limits::PAYLOAD_BYTES + 1]).0, Reason::TooLarge);
    let many = format!("[{}0]", "0,".repeat(limits::REPORTS_PER_PAYLOAD));
    assert_eq!(problem(topic, many.as_bytes()).0, Reason::TooLarge);
}

#[test]
fn one_bad_element_spoils_no_other() {
    let payload = br#" [ {"device_time":1,"x":"]},[\""}, {"lat":NaN}, , {"device_time":2} , 5, {"device_id":"e"} ] "#;
    let read = decode("mw/v1/device/d1/report", payload);
    let kinds: Vec<Result<i64, &[u8]>> = read
        .iter()
        .map(|decoded| match &decoded.body {
            Body::Device(report) => Ok(report.device_time.as_millis()),
            Body::DeadLetter(letter) => Err(letter.payload.as_slice()),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected: [Result<i64, &[u8]>; 6] =
        [Ok(1), Err(br#"{"lat":NaN}"#), Err(b""), Ok(2), Err(b"5"), Err(br#"{"device_id":"e"}"#)];
    assert_eq!(kinds, expected);
    assert_eq!(decode("mw/v1/device/d1/report", b" [ ] "), []);
}

#[test]
fn unknown_fields_and_words_are_kept() {
    let report = device(r#""cover":"ajar","load":null,"power":"solar","x":[1],"ext":{"x":2,"y":3}"#);
    assert_eq!((report.cover, report.load, report.power), (Some(Cover::Unknown), None, None));
    assert_eq!(json!(report.ext), json!({"cover": "ajar", "power": "solar", "x": 2, "y": 3}));
    assert_eq!(device(r#""load":"empty","load":"full""#).load, Some(Load::Full));
    let report = device(r#""events":[{"kind":"phone","phase":"middle","z":1},null,{"kind":"spill"}]"#);
    assert_eq!(report.events.len(), 2);
    assert_eq!(json!(report.ext), json!({"events": [{"kind": "phone", "phase": "middle", "z": 1}]}));
    let many: Vec<String> = (0..limits::EVENTS_PER_REPORT + 1).map(|n| n.to_string()).collect();
    let report = device(&format!(r#""alarms":{}"#, json!(many)));
    assert_eq!(report.alarms.len(), limits::EVENTS_PER_REPORT);
    assert_eq!(json!(report.ext), json!({"alarms": ["64"]}));
}

#[test]
fn the_datum_is_the_reports_or_the_sources() {
    let mut out = Vec::new();
    let decoder = Decoder::new(Format::Native, "mw/v1", Datum::Gcj02);
    decoder.decode("mw/v1/device/d/report", br#"[{"device_time":1},{"device_time":1,"datum":"wgs84"}]"#, &mut out);
    let datums: Vec<_> =
        out.iter().map(|d| if let Body::Device(report) = &d.body { report.datum } else { None }).collect();
    assert_eq!(datums, [Some(Datum::Gcj02), Some(Datum::Wgs84)]);
    assert_eq!(device(r#""lat":1"#).datum, None);
}

#[test]
fn lines_say_what_they_are_and_when_they_came() {
    let line = |text: &str| {
        let mut out = Vec::new();
        decoder().decode_line(text.as_bytes(), "f.jsonl:3", &mut out);
        out.remove(0)
    };
    let report = line(r#"{"device_id":"d","device_time":1,"recv_time":5}"#);
    assert_eq!(report.recv_time, Some(Time::from_millis(5)));
    assert!(matches!(report.body, Body::Device(_)));
    let sighting = line(r#"{"type":"sighting","sensor_id":"s","device_time":1,"kind":"anpr","cover":"x","new":1}"#);
    let Body::Sighting(sighting) = sighting.body else { panic!("{sighting:?}") };
    assert_eq!(json!(sighting.ext), json!({"cover": "x", "new": 1}));
    let unit = line(r#"{"type":"unit","unit_id":"u","device_time":1,"lat":1,"lon":2,"status":"busy"}"#);
    assert!(matches!(unit.body, Body::Unit(_)));
    let reply = r#"{"type":"reply","unit_id":"u","dispatch_id":"o","device_time":1,"answer":"accept"}"#;
    assert!(matches!(line(reply).body, Body::Reply(_)));
    let Body::DeadLetter(letter) = line(r#"{"device_time":1}"#).body else { panic!("readable") };
    assert_eq!((&*letter.topic, letter.problem.as_str()), ("f.jsonl:3", "device_id: found nothing, expected a string"));
    let Body::Device(report) = line(r#"{"device_id":"d","device_time":1,"type":"A7"}"#).body else { panic!("unread") };
    assert_eq!(json!(report.ext), json!({"type": "A7"}));
}

proptest! {
    #[test]
    fn nothing_panics_and_nothing_is_lost(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        for topic in ["mw/v1/device/d/report", "mw/v1/sensor/s/sighting", "mw/v1/unit/u/report", "mw/v1/unit/u/reply"] {
            let lone = payload.trim_ascii_start().first() != Some(&b'[');
            prop_assert!(decode(topic, &payload).len() == 1 || !lone);
        }
        let mut out = Vec::new();
        decoder().decode_line(&payload, "f:1", &mut out);
    }

    #[test]
    fn cut_and_bent_reports_do_not_panic(cut in 0usize..150, at in 0usize..150, byte in any::<u8>()) {
        let mut payload =
            br#"[{"device_time":1,"lat":22.5,"events":[{"kind":"a"}],"ext":{"a":"\u00e9"},"cover":"open"},{"device_time":2}]"#.to_vec();
        let last = payload.len() - 1;
        payload[at.min(last)] = byte;
        payload.truncate(cut.max(1));
        decode("mw/v1/device/d/report", &payload);
    }
}
