use proptest::prelude::*;

use super::*;
use crate::model::{DeadLetter, Ledger};

const NOW: i64 = 1_772_373_909_000;

fn at(s: i64) -> Time {
    Time::from_millis(NOW + s * 1000)
}

fn report(s: i64, lat: f64, lon: f64) -> DeviceReport {
    DeviceReport {
        device_id: "d".into(),
        device_time: at(s),
        lat: Some(lat),
        lon: Some(lon),
        ..DeviceReport::default()
    }
}

fn decoded(report: DeviceReport) -> Decoded {
    Decoded { body: Body::Device(report), reason: Reason::Ok, recv_time: None, odd: Vec::new(), retained: false }
}

/// Admits reports that arrive when they were measured.
fn reasons(reports: impl IntoIterator<Item = DeviceReport>) -> Vec<Reason> {
    let mut admission = Admission::default();
    let admit = |report: DeviceReport| {
        let time = report.device_time;
        admission.admit(decoded(report), time, |_: &str| true).reason
    };
    reports.into_iter().map(admit).collect()
}

#[test]
fn a_lone_report_is_judged_by_its_content() {
    use Outcome::Evaluated;
    let base = || report(0, 22.5, 114.0);
    let cases = [
        (base(), Evaluated, Reason::Ok, true),
        (DeviceReport { lat: None, ..base() }, Evaluated, Reason::NoPosition, false),
        (report(0, 0.0, 0.0), Evaluated, Reason::NoPosition, false),
        (report(0, 0.0, 114.0), Evaluated, Reason::Ok, true),
        (DeviceReport { fix: Some(Fix::None), ..base() }, Evaluated, Reason::NoPosition, false),
        (report(0, 90.1, 0.0), Evaluated, Reason::PositionOutOfRange, false),
        (report(0, 1.0, -180.1), Evaluated, Reason::PositionOutOfRange, false),
        (DeviceReport { sats: Some(3), ..base() }, Evaluated, Reason::WeakFix, false),
        (DeviceReport { sats: Some(4), ..base() }, Evaluated, Reason::Ok, true),
        (DeviceReport { hdop: Some(5.1), ..base() }, Evaluated, Reason::WeakFix, false),
        (DeviceReport { hdop: Some(5.0), ..base() }, Evaluated, Reason::Ok, true),
        (DeviceReport { speed_kmh: Some(201.0), ..base() }, Evaluated, Reason::Ok, true),
        (report(120, 22.5, 114.0), Evaluated, Reason::Ok, true),
        (report(121, 22.5, 114.0), Evaluated, Reason::ClockSkew, true),
        (report(-259_200, 22.5, 114.0), Evaluated, Reason::Ok, true),
        (report(-259_201, 22.5, 114.0), Outcome::Late, Reason::TooOld, false),
    ];
    for (index, (report, outcome, reason, use_position)) in cases.into_iter().enumerate() {
        let record = Admission::default().admit(decoded(report), at(0), |_: &str| true);
        assert_eq!(
            (record.outcome, record.reason, record.use_position),
            (outcome, reason, use_position),
            "case {index}"
        );
    }
}

#[test]
fn order_and_duplicates() {
    use Reason::{Duplicate, Ok, OutOfOrder, TooOld};
    let mut admission = Admission::default();
    let mut admit = |report: DeviceReport, arrival: i64| {
        let record = admission.admit(decoded(report), at(arrival), |_: &str| true);
        (record.reason, record.event_time)
    };
    let loud = DeviceReport { alarms: vec!["sos".into()], ..report(10, 22.5, 114.0) };
    assert_eq!(admit(report(10, 22.5, 114.0), 10), (Ok, at(10)));
    assert_eq!(admit(report(10, 22.5, 114.0), 11), (Duplicate, at(10)));
    assert_eq!(admit(DeviceReport { seq: Some(1), hist: true, ..report(10, 22.5, 114.0) }, 11).0, Duplicate);
    assert_eq!(admit(loud.clone(), 12).0, Ok, "equal time, other content");
    assert_eq!(admit(loud, 12).0, Duplicate);
    assert_eq!(admit(report(5, 22.5, 114.0), 13).0, OutOfOrder);
    assert_eq!(admit(report(5, 22.5, 114.0), 13).0, Duplicate);
    assert_eq!(admit(report(-260_000, 22.5, 114.0), 13).0, TooOld);
    assert_eq!(admit(report(1_000, 22.5, 114.0), 14), (Reason::ClockSkew, at(14)));
    assert_eq!(admit(report(1_000, 22.5, 114.0), 20).0, Duplicate, "also when arrival time is used");
    assert_eq!(admit(report(1_001, 22.5, 114.0), 20), (Reason::ClockSkew, at(20)));
    // Arrival went back a little: still judged in order of arrival, never before what was judged.
    assert_eq!(admit(report(1_002, 22.5, 114.0), 19), (Reason::ClockSkew, at(20)));
}

#[test]
fn the_newest_is_known_again_after_any_number_of_late_ones() {
    let mut admission = Admission::new(AdmissionSettings::default());
    let mut take = |s: i64| {
        let record = admission.admit(decoded(report(s, 22.5, 113.9)), at(1_000), |_: &str| true);
        (record.outcome, record.reason)
    };
    assert_eq!(take(900), (Outcome::Evaluated, Reason::Ok));
    for s in 0..4 * limits::FINGERPRINTS_PER_DEVICE as i64 {
        assert_eq!(take(s), (Outcome::Evaluated, Reason::OutOfOrder), "{s}");
    }
    assert_eq!(take(900), (Outcome::Duplicate, Reason::Duplicate));
}

#[test]
fn only_so_many_fingerprints_are_kept() {
    let keep = limits::FINGERPRINTS_PER_DEVICE as i64;
    let mut reports: Vec<_> = (0..=keep).map(|s| report(s, 22.5, 114.0)).collect();
    reports.extend([report(0, 22.5, 114.0), report(2, 22.5, 114.0)]);
    let found = reasons(reports);
    assert_eq!(found[found.len() - 2..], [Reason::OutOfOrder, Reason::Duplicate]);
}

#[test]
fn jumps() {
    use Reason::{ImplausibleJump as Jump, Ok};
    let here = |s| report(s, 22.5, 114.0);
    let far = |s| report(s, 22.6, 114.0);
    let away = |s| report(s, 23.5, 115.0);
    let drift = |s| report(s, 22.500_7, 114.0);
    let cases: &[(&str, Vec<DeviceReport>, Vec<Reason>)] = &[
        ("drift", vec![here(0), drift(1), here(2)], vec![Ok, Ok, Ok]),
        ("drivable", vec![here(0), far(300)], vec![Ok, Ok]),
        ("a spike", vec![here(0), far(10), here(20)], vec![Ok, Jump, Ok]),
        (
            "a wrong first fix",
            vec![away(0), here(10), here(20), here(30), here(40), here(50)],
            vec![Ok, Jump, Jump, Jump, Ok, Ok],
        ),
        (
            "fixes that do not agree",
            vec![here(0), far(10), away(20), far(30), away(40), far(50), here(60)],
            vec![Ok, Jump, Jump, Jump, Jump, Jump, Ok],
        ),
        (
            "doubt ends at a believed fix",
            vec![here(0), far(1), far(2), here(3), far(4), far(5)],
            vec![Ok, Jump, Jump, Ok, Jump, Jump],
        ),
        ("at one instant", vec![here(0), far(0)], vec![Ok, Jump]),
    ];
    for (name, reports, expected) in cases {
        assert_eq!(&reasons(reports.clone()), expected, "{name}");
    }
}

#[test]
fn unregistered_devices_are_bounded_and_make_room() {
    let mut admission = Admission::default();
    let mut admit = |id: String, s: i64| {
        let report = DeviceReport { device_id: id.into(), ..report(s, 22.5, 114.0) };
        admission.admit(decoded(report), at(s), |id: &str| id.starts_with('r')).reason
    };
    for n in 0..limits::UNREGISTERED_DEVICES {
        assert_eq!(admit(format!("u{n}"), 0), Reason::Ok);
    }
    assert_eq!(admit("one-more".into(), 1), Reason::TooManyDevices);
    assert_eq!(admit("r1".into(), 1), Reason::Ok, "registered ones always");
    assert_eq!(admit("u5".into(), 3600), Reason::Ok, "known ones too");
    let next_day = 24 * 3600 + 120;
    admit("r1".into(), next_day);
    assert_eq!(admit("one-more".into(), next_day), Reason::Ok);
    assert_eq!(admission.devices(), 3, "u5, r1 and the one more");
}

/// 60,000 invented plates from one camera filled memory and the dispatch queue; a real critical alert found no place in it.
#[test]
fn plates_that_nobody_registered_are_bounded_and_make_room() {
    struct Known;
    impl Registered for Known {
        fn has_device(&self, _: &str) -> bool {
            false
        }

        fn has_plate(&self, plate: &str, _: Time) -> bool {
            plate.starts_with("粤B")
        }
    }
    let (mut admission, mut restored) = (Admission::default(), Admission::default());
    let mut see = |sensor: &str, plate: String, s: i64| {
        let sighting = serde_json::json!({ "sensor_id": sensor, "device_time": at(s), "plate": plate });
        let sighting: Sighting = serde_json::from_value(sighting).unwrap();
        let decoded = Decoded { body: Body::Sighting(sighting), ..decoded(report(s, 22.5, 114.0)) };
        let record = admission.admit(decoded, at(s), Known);
        restored.restore(&record, Known);
        assert_eq!(admission, restored);
        (record.outcome, record.reason)
    };
    let (fine, too_many) = ((Outcome::Evaluated, Reason::Ok), (Outcome::Rejected, Reason::TooManyPlates));
    let invented = |n: usize| format!("京A{n:05}");
    for n in 0..limits::NEW_PLATES_PER_SENSOR {
        assert_eq!(see("cam1", invented(n), 0), fine);
    }
    assert_eq!(see("cam1", invented(99_000), 1), too_many);
    assert_eq!(see("cam1", invented(7), 1), fine, "one that is known");
    assert_eq!(see("cam1", "粤b·12345".into(), 1), fine, "one that is registered, however it is written");
    assert_eq!(see("cam1", "无牌车".into(), 1), fine, "none at all");
    assert_eq!(see("cam2", invented(99_000), 1), fine, "another camera is not harmed");
    assert_eq!(see("cam1", invented(99_001), 3_601), fine, "an hour later");
    for n in limits::NEW_PLATES_PER_SENSOR + 2..limits::UNREGISTERED_PLATES {
        assert_eq!(see(&format!("c{}", n % 40), invented(n), 3_602), fine, "{n}");
    }
    assert_eq!(see("c-more", invented(99_002), 3_603), too_many, "no more in all");
    assert_eq!(see("c-more", "粤B99999".into(), 3_603), fine);
    let next_day = 3_602 + 24 * 3_600 + 61;
    assert_eq!(see("c-more", "粤B99999".into(), next_day), fine);
    assert_eq!(see("c-more", invented(99_002), next_day), fine, "those silent for a day made room");
}

#[test]
fn replies_once_dead_letters_always() {
    let mut admission = Admission::default();
    let reply = UnitReply {
        unit_id: "u".into(),
        dispatch_id: "o".into(),
        device_time: at(0),
        answer: crate::model::Answer::Accept,
        reason: None,
        verdict: None,
        note: None,
        media: None,
    };
    let reply =
        Decoded { body: Body::Reply(reply), reason: Reason::Ok, recv_time: None, odd: Vec::new(), retained: false };
    let mut admit = |decoded: &Decoded| admission.admit(decoded.clone(), at(1), |_: &str| true).outcome;
    assert_eq!([admit(&reply), admit(&reply)], [Outcome::Evaluated, Outcome::Duplicate]);
    let letter = DeadLetter { device_id: None, topic: "t".into(), payload: vec![1], problem: "p".into() };
    let dead = Decoded {
        body: Body::DeadLetter(letter),
        reason: Reason::Undecodable,
        recv_time: None,
        odd: Vec::new(),
        retained: false,
    };
    assert_eq!([admit(&dead), admit(&dead)], [Outcome::Rejected; 2]);
    let heartbeat = Decoded { reason: Reason::NoReport, ..dead };
    assert_eq!([admit(&heartbeat), admit(&heartbeat)], [Outcome::Filtered; 2]);
}

fn any_report() -> impl Strategy<Value = (DeviceReport, i64)> {
    let place = prop_oneof![
        Just((22.5, 114.0)),
        Just((22.5005, 114.0)),
        Just((23.5, 115.0)),
        Just((0.0, 0.0)),
        Just((95.0, 1.0))
    ];
    (0..3u8, -300..300i64, place, proptest::option::of(0.0..150.0f64), 0..8i64, 0..100i64).prop_map(
        |(id, s, (lat, lon), speed_kmh, sats, arrival)| {
            let base = report(s, lat, lon);
            (DeviceReport { device_id: format!("d{id}").into(), speed_kmh, sats: Some(sats), ..base }, arrival)
        },
    )
}

proptest! {
    #[test]
    fn the_journal_rebuilds_the_state_and_the_ledger_balances(reports in proptest::collection::vec(any_report(), 0..150)) {
        let (mut live, mut restored, mut ledger) = (Admission::default(), Admission::default(), Ledger::default());
        let registered = |id: &str| id == "d0";
        let n = reports.len() as u64;
        for (report, arrival) in reports {
            let record = live.admit(decoded(report), at(arrival), registered);
            restored.restore(&record, registered);
            ledger.count(&record);
            prop_assert_eq!(&live, &restored);
        }
        prop_assert_eq!(ledger.received(), n);
        prop_assert!(ledger.is_balanced());
        let kept: Admission = serde_json::from_str(&serde_json::to_string(&live).unwrap()).unwrap();
        prop_assert_eq!(kept, live);
    }
}

/// The gravest speeding is what matters most: 136 km/h where 80 is allowed was thrown away as a whole. What no truck reaches is
/// unknown, and the rest of the report counts.
#[test]
fn a_speed_that_no_truck_reaches_is_unknown_and_a_high_one_counts() {
    for (speed_kmh, expected) in [
        (0.0, Some(0.0)),
        (136.0, Some(136.0)),
        (200.0, Some(200.0)),
        (200.1, None),
        (6553.5, None),
        (-1.0, None),
        (f64::NAN, None),
    ] {
        let said = DeviceReport { speed_kmh: Some(speed_kmh), ..report(0, 22.5, 114.0) };
        let record = Admission::default().admit(decoded(said), at(0), |_: &str| true);
        let Body::Device(kept) = &record.body else { panic!("{record:?}") };
        assert_eq!((record.outcome, record.reason), (Outcome::Evaluated, Reason::Ok), "{speed_kmh}");
        assert_eq!((kept.speed_kmh, kept.ext.contains_key("speed_kmh")), (expected, expected.is_none()), "{speed_kmh}");
    }
}

/// A driver pressed the button while the receiver said that he was 37 km away. The filter is about the receiver: the alarm is
/// judged, only not there.
#[test]
fn an_alarm_in_a_jump_is_judged_without_its_position() {
    let alarm = |name: &str| vec![name.into()];
    let far = || report(10, 22.8, 114.0);
    for (said, outcome) in [
        (far(), Outcome::Filtered),
        (DeviceReport { alarms: alarm("sos"), ..far() }, Outcome::Evaluated),
        (DeviceReport { events: vec![crate::model::Event::of("collision")], ..far() }, Outcome::Evaluated),
    ] {
        let mut admission = Admission::default();
        admission.admit(decoded(report(0, 22.5, 114.0)), at(0), |_: &str| true);
        let record = admission.admit(decoded(said), at(10), |_: &str| true);
        assert_eq!((record.outcome, record.reason, record.use_position), (outcome, Reason::ImplausibleJump, false));
        let near = admission.admit(decoded(report(20, 22.5, 114.0)), at(20), |_: &str| true);
        assert_eq!(near.reason, Reason::Ok, "the jump is still doubted");
    }
}

/// A weigher writes a second message in the same second, with the axle load: it is no repetition.
#[test]
fn whatever_is_measured_anew_is_another_report() {
    let base = || DeviceReport { speed_kmh: Some(30.0), ..report(0, 22.5, 114.0) };
    let others = [
        DeviceReport { gross_kg: Some(49_000.0), ..base() },
        DeviceReport { speed_kmh: Some(31.0), ..base() },
        DeviceReport { heading_deg: Some(90.0), ..base() },
        DeviceReport { odometer_m: Some(5.0), ..base() },
        DeviceReport { speed_recorder_kmh: Some(5.0), ..base() },
        DeviceReport { accuracy_m: Some(5.0), ..base() },
        DeviceReport { sats: Some(9), ..base() },
    ];
    for other in others {
        let mut admission = Admission::default();
        let mut outcome = |report| admission.admit(decoded(report), at(0), |_: &str| true).outcome;
        let again = DeviceReport { seq: Some(8), hist: true, ..other.clone() };
        let seen = [outcome(base()), outcome(other), outcome(again), outcome(base())];
        assert_eq!(seen, [Outcome::Evaluated, Outcome::Evaluated, Outcome::Duplicate, Outcome::Duplicate]);
    }
}
