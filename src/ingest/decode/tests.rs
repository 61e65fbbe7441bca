use proptest::prelude::*;
use serde_json::{Value as Json, json};

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
    let kept = if payload.len() > limits::PAYLOAD_BYTES { &payload[..limits::LETTER_HEAD_BYTES] } else { payload };
    assert!(letter.payload == kept, "{} of {} bytes are kept", letter.payload.len(), payload.len());
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
    assert_eq!(
        read,
        [Decoded {
            body: Body::Device(expected),
            reason: Reason::Ok,
            recv_time: None,
            odd: Vec::new(),
            retained: false
        }]
    );
}

#[test]
fn topics_are_routed() {
    let topics = Topics::new(Format::Native, "city/mw");
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
        (r#"{"device_time":"yesterday"}"#, r#"device_time: found "yesterday", expected an RFC 3339"#),
        (
            r#"{"device_time":1772373600}"#,
            "device_time: found 1772373600, which are seconds since 1970; expected milliseconds (1772373600000)",
        ),
        (r#"{"device_time":"1772373600"}"#, "which are seconds"),
        (r#"{"device_time":[]}"#, "device_time: found nothing"),
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
    let large = vec![b' '; limits::PAYLOAD_BYTES + 1];
    let (reason, words) = problem(topic, &large);
    let sha256 = sha2::Sha256::digest(&large);
    assert!(
        reason == Reason::TooLarge && words.contains(&format!("of 1048577 bytes with SHA-256 {sha256:x}")),
        "{words}"
    );
    let many = format!("[{}0]", "0,".repeat(limits::REPORTS_PER_PAYLOAD));
    assert_eq!(problem(topic, many.as_bytes()).0, Reason::TooLarge);
}

/// A verdict is about a field, not about the report: one that says nothing, makes no sense or is of another type is unknown,
/// named, and kept as it came. What can be meant in one way only is read.
#[test]
fn a_field_is_read_or_unknown_and_the_rest_counts() {
    let nothing: &[&str] = &[];
    let cases: &[(&str, Json, &[&str])] = &[
        // Loose, but clear.
        (r#""speed_kmh":"41.5""#, json!({"speed_kmh": 41.5}), nothing),
        (r#""lat":" 22.5 ","lon":"114""#, json!({"lat": 22.5, "lon": 114.0}), nothing),
        (r#""sats":"9","seq":"12","heading_deg":"0""#, json!({"sats": 9, "seq": 12, "heading_deg": 0.0}), nothing),
        (r#""sats":9.0,"ignition":1"#, json!({"sats": 9, "ignition": true}), nothing),
        (r#""ignition":"ON","hist":"0""#, json!({"ignition": true}), nothing),
        (r#""ignition":0"#, json!({"ignition": false}), nothing),
        (
            r#""load":"FULL","cover":" Open ","lift":"FLAT","fix":"3D","power":"LOST""#,
            json!({"load": "full", "cover": "open", "lift": "flat", "fix": "3d", "power": "lost"}),
            nothing,
        ),
        (r#""driver_id":1234567"#, json!({"driver_id": "1234567"}), nothing),
        (r#""driver_id":[],"ext":[],"speed_kmh":"""#, json!({}), nothing),
        (r#""alarms":"SOS""#, json!({"alarms": ["sos"]}), nothing),
        (r#""alarms":{"sos":true,"fatigue":0}"#, json!({"alarms": ["sos"]}), nothing),
        (r#""alarms":["sos",null,""],"events":null"#, json!({"alarms": ["sos"]}), nothing),
        (
            r#""events":["fatigue",{"kind":"PHONE","level":"2"}]"#,
            json!({"events": [{"kind": "fatigue"}, {"kind": "phone", "level": 2}]}),
            nothing,
        ),
        (r#""events":{"kind":"fatigue"}"#, json!({"events": [{"kind": "fatigue"}]}), nothing),
        (r#""events":"fatigue""#, json!({"events": [{"kind": "fatigue"}]}), nothing),
        (r#""speed_kmh":+41,"heading_deg":.5"#, json!({"speed_kmh": 41.0, "heading_deg": 0.5}), nothing),
        (r#""ignition":True"#, json!({"ignition": true}), nothing),
        // No value.
        (r#""speed_kmh":-1"#, json!({"ext": {"speed_kmh": -1.0}}), &["speed_kmh"]),
        (
            r#""speed_kmh":65535,"heading_deg":511"#,
            json!({"ext": {"speed_kmh": 65535.0, "heading_deg": 511.0}}),
            &["speed_kmh", "heading_deg"],
        ),
        (r#""heading_deg":-1"#, json!({"ext": {"heading_deg": -1.0}}), &["heading_deg"]),
        (r#""odometer_m":4294967295"#, json!({"ext": {"odometer_m": 4_294_967_295.0}}), &["odometer_m"]),
        (r#""gross_kg":65535"#, json!({"ext": {"gross_kg": 65535.0}}), &["gross_kg"]),
        (r#""gross_kg":-5"#, json!({"ext": {"gross_kg": -5.0}}), &["gross_kg"]),
        (
            r#""accuracy_m":-1,"hdop":-1,"sats":255"#,
            json!({"ext": {"accuracy_m": -1.0, "hdop": -1.0, "sats": 255}}),
            &["accuracy_m", "hdop", "sats"],
        ),
        (
            r#""fix":"3d","lat":22.5,"lon":114,"sats":0"#,
            json!({"fix": "3d", "lat": 22.5, "lon": 114.0, "ext": {"sats": 0}}),
            &["sats"],
        ),
        (r#""sats":0"#, json!({"sats": 0}), nothing),
        (
            r#""speed_kmh":NaN,"heading_deg":Infinity"#,
            json!({"ext": {"speed_kmh": "NaN", "heading_deg": "Infinity"}}),
            &["speed_kmh", "heading_deg"],
        ),
        (
            r#""speed_kmh":0xFFFF,"lat":1e999"#,
            json!({"ext": {"speed_kmh": "0xFFFF", "lat": "1e999"}}),
            &["speed_kmh", "lat"],
        ),
        (r#""speed_kmh":"NaN""#, json!({"ext": {"speed_kmh": "NaN"}}), &["speed_kmh"]),
        // Of another type.
        (r#""speed_kmh":"fast""#, json!({"ext": {"speed_kmh": "fast"}}), &["speed_kmh"]),
        (r#""lat":true,"lon":[114]"#, json!({"ext": {"lat": true, "lon": [114]}}), &["lat", "lon"]),
        (r#""seq":1.5"#, json!({"ext": {"seq": 1.5}}), &["seq"]),
        (r#""ignition":255"#, json!({"ext": {"ignition": 255}}), &["ignition"]),
        (r#""cover":255"#, json!({"cover": "unknown", "ext": {"cover": 255}}), &["cover"]),
        (r#""load":"ajar""#, json!({"load": "unknown", "ext": {"load": "ajar"}}), &["load"]),
        (r#""driver_id":{"name":"x"}"#, json!({"ext": {"driver_id": {"name": "x"}}}), &["driver_id"]),
        (r#""driver_id":true"#, json!({"ext": {"driver_id": true}}), &["driver_id"]),
        (r#""alarms":[true,"sos"]"#, json!({"alarms": ["sos"], "ext": {"alarms": [true]}}), &["alarms"]),
        (
            r#""events":[{"level":1},{"kind":"phone","level":"high"}]"#,
            json!({"events": [{"kind": "phone"}], "ext": {"events": [{"level": "high", "kind": "phone"}, {"level": 1}]}}),
            &["events"],
        ),
        (r#""ext":7"#, json!({"ext": {"ext": 7}}), &["ext"]),
        // Nobody knows where that is.
        (
            r#""datum":"cgcs","lat":22.5,"lon":114"#,
            json!({"ext": {"datum": "cgcs", "lat": 22.5, "lon": 114.0}}),
            &["datum"],
        ),
        // Given twice: the last counts.
        (r#""speed_kmh":"fast","speed_kmh":40"#, json!({"speed_kmh": 40.0}), nothing),
    ];
    for (fields, expected, odd) in cases {
        let payload = format!(r#"{{"device_time":1,{fields}}}"#);
        let read = decode("mw/v1/device/d1/report", payload.as_bytes()).remove(0);
        let Body::Device(report) = &read.body else { panic!("{fields}: {read:?}") };
        let mut told = serde_json::to_value(report).unwrap();
        told.as_object_mut().unwrap().retain(|name, _| name != "device_id" && name != "device_time");
        let (mut told, mut expected) = (told, expected.clone());
        // Their order within `ext` says nothing.
        for json in [&mut told, &mut expected] {
            let mut ext = json["ext"].as_object().cloned().unwrap_or_default();
            if let Some(events) = ext.get_mut("events").and_then(Json::as_array_mut) {
                events.sort_by_key(Json::to_string);
            }
            json["ext"] = ext.into();
        }
        assert_eq!(told, expected, "{fields}");
        assert_eq!(read.odd, *odd, "{fields}");
    }
}

/// C ends its texts with NUL, Windows begins its files with a mark, Lua and JavaScript have no integers.
#[test]
fn what_is_around_a_message_and_how_its_time_is_written_does_not_matter() {
    for payload in [
        "\u{feff}{\"device_time\":1772373650000}",
        "{\"device_time\":1772373650000}\0\0",
        "{\"device_time\":1772373650000.0}\r\n",
        "{\"device_time\":\"1772373650000\"}",
        "{\"device_time\":\" 2026-03-01T14:00:50Z \"}",
    ] {
        let read = decode("mw/v1/device/d1/report", payload.as_bytes()).remove(0);
        let Body::Device(report) = read.body else { panic!("{payload:?}: {read:?}") };
        assert_eq!(report.device_time.as_millis(), 1_772_373_650_000, "{payload:?}");
    }
}

/// A button pressed is true whatever the clock says: without a time it counts at arrival, which a time of 1970 says.
#[test]
fn without_a_time_only_alarms_and_events_are_heard() {
    for (fields, heard) in [
        (r#""alarms":["sos"]"#, true),
        (r#""events":["collision"]"#, true),
        (r#""device_time":"soon","alarms":["sos"]"#, true),
        (r#""device_time":1772373600,"alarms":["sos"]"#, true),
        (r#""speed_kmh":3"#, false),
        (r#""device_time":"soon""#, false),
    ] {
        let read = decode("mw/v1/device/d1/report", format!("{{{fields}}}").as_bytes()).remove(0);
        let is_heard = matches!(&read.body, Body::Device(report) if report.device_time == Time::default());
        assert_eq!(is_heard, heard, "{fields}: {read:?}");
    }
}

/// Many cameras give percent; 41.7 is a bad reading and names nobody.
#[test]
fn a_confidence_is_a_share_or_percent() {
    for (said, expected) in [
        ("0.93", Some(0.93)),
        ("1", Some(1.0)),
        ("45", Some(0.45)),
        ("100", Some(1.0)),
        ("\"95\"", Some(0.95)),
        ("0", Some(0.0)),
        ("-1", None),
        ("255", None),
        ("\"high\"", None),
        ("null", None),
    ] {
        let payload =
            format!(r#"{{"device_time":1,"kind":"ANPR","plate":10086,"plate_confidence":{said},"media":"http://x"}}"#);
        let read = decode("mw/v1/sensor/s1/sighting", payload.as_bytes()).remove(0);
        let Body::Sighting(sighting) = &read.body else { panic!("{said}: {read:?}") };
        assert_eq!((sighting.plate_confidence, sighting.plate.as_deref()), (expected, Some("10086")), "{said}");
    }
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
