//! Several rules with one vehicle, and one rule over many vehicles.

use std::collections::BTreeMap;

use super::*;
use crate::model::{Alert, AlertState, Period, Window, Zone};

/// Traces of several rules, one after the other at each report: words are `rule@second:verdict`.
fn told(rules: &[Ruled], words: &str) -> String {
    let mut alerts = VehicleAlerts::default();
    let mut all = Vec::new();
    for word in words.split_whitespace() {
        let (id, word) = word.split_once('@').expect(word);
        let rule = rules.iter().find(|rule| *rule.id == *id).expect(id);
        let Point { at, judgement } = point(word);
        for transition in rule.judge(&mut alerts, &row(at, "-"), judgement) {
            let alert = transition.alert();
            let joined: Vec<&str> = alert.joined.iter().map(|one| &*one.rule_id).collect();
            let joined = if joined.is_empty() { String::new() } else { format!("+{}", joined.join("+")) };
            let what = match transition {
                Transition::Opened(_) => "open",
                Transition::Raised(_) => "raise",
                Transition::Cleared(_) => "clear",
                Transition::Revised(_) => "revise",
                Transition::Withdrawn(_) => "withdraw",
            };
            let at = alert.cleared_at.map_or_else(String::new, |cleared| format!("@{}", seconds(cleared)));
            all.push(format!("{what}:{}{joined}{at}={}", alert.rule_id, alert.severity));
            assert_eq!(alert.state == AlertState::Cleared, alert.cleared_at.is_some(), "{words}");
        }
    }
    all.join(" ")
}

fn of_incident(id: &str, words: &str, within_s: i64) -> Ruled {
    let incident = Some(Incident { name: "tipping".into(), within_ms: within_s * 1000 });
    Ruled { incident, departments: Arc::from([Text::from(id)]), ..ruled(id, words, "vehicle_id") }
}

#[test]
fn rules_of_one_incident_share_one_alert_that_grows() {
    for (words, expected) in [
        // The second joins while the first is open; both must clear.
        ("a@0:T b@10:T a@20:F b@30:F", "open:a=minor raise:a+b=minor clear:a+b@30=minor"),
        ("a@0:T b@10:T b@20:F a@30:F", "open:a=minor raise:a+b=minor clear:a+b@30=minor"),
        // Whichever comes first.
        ("b@0:T a@10:T b@20:F a@30:F", "open:b=minor raise:b+a=minor clear:b+a@30=minor"),
        // The graver counts.
        ("a@0:T b@10:T!! b@20:F a@30:F", "open:a=minor raise:a+b=critical clear:a+b@30=critical"),
        ("a@0:T b@10:T b@15:T! b@20:F a@30:F", "open:a=minor raise:a+b=minor raise:a+b=major clear:a+b@30=major"),
        // Over, but only just: it opens again.
        ("a@0:T a@20:F b@80:T b@90:F", "open:a=minor clear:a@20=minor raise:a+b=minor clear:a+b@90=minor"),
        // Over for longer: another incident.
        ("a@0:T a@20:F b@81:T", "open:a=minor clear:a@20=minor open:b=minor"),
        // The same rule again is another alert, unless the incident goes on.
        ("a@0:T a@20:F a@30:T", "open:a=minor clear:a@20=minor open:a=minor"),
        ("a@0:T b@10:T a@20:F a@30:T b@40:F a@50:F", "open:a=minor raise:a+b=minor clear:a+b@50=minor"),
        ("a@0:T b@10:T b@20:F b@30:T b@40:F a@50:F", "open:a=minor raise:a+b=minor clear:a+b@50=minor"),
        // Three of them.
        (
            "a@0:T b@10:T c@20:T a@30:F b@30:F c@30:F",
            "open:a=minor raise:a+b=minor raise:a+b+c=minor clear:a+b+c@30=minor",
        ),
        // Unknown clears nothing.
        ("a@0:T b@10:T a@20:F b@30:U a@40:F", "open:a=minor raise:a+b=minor"),
    ] {
        let rules = ["a", "b", "c"].map(|id| of_incident(id, "", 60));
        assert_eq!(told(&rules, words), expected, "over {words:?}");
    }
}

#[test]
fn a_joined_alert_tells_everyone_what_each_rule_found() {
    let rules = ["a", "b"].map(|id| of_incident(id, "", 60));
    let mut alerts = VehicleAlerts::default();
    let judgement = point("0:T").judgement;
    rules[0].judge(&mut alerts, &row(s(0), "-"), judgement);
    let told = rules[1].judge(&mut alerts, &Facts { speed_kmh: Some(5.0), ..row(s(10), "-") }, judgement);
    let [Transition::Raised(alert)] = told.as_slice() else { panic!("{told:?}") };
    let departments: Vec<&str> = alert.departments.iter().map(|code| &**code).collect();
    assert_eq!(departments, ["a", "b"]);
    let part = &alert.joined[0];
    assert_eq!((&*part.rule_id, part.fired_at, &part.facts["speed_kmh"]), ("b", s(10), &serde_json::json!(5.0)));
    assert_eq!((alert.fired_at, &alert.facts["speed_kmh"]), (s(0), &serde_json::json!(61.0)), "its own stay");
    let kept: Vec<&Alert> = alerts.open().collect();
    assert_eq!(kept, [alert]);
}

#[test]
fn an_incident_is_forgotten_when_nobody_can_join_it_any_more() {
    let rules = ["a", "b"].map(|id| of_incident(id, "", 60));
    let mut alerts = VehicleAlerts::default();
    for word in ["0:T", "10:F", "70:F", "71:F"] {
        let Point { at, judgement } = point(word);
        rules[0].judge(&mut alerts, &row(at, "-"), judgement);
        assert_eq!(alerts.is_quiet(), word == "71:F", "{word}");
    }
}

#[test]
fn an_open_alert_inhibits_another_rule_until_it_clears() {
    for (words, expected) in [
        ("zone@0:T off@0:T off@10:T", "open:zone=minor"),
        ("zone@0:T off@5:T zone@10:F off@10:T", "open:zone=minor clear:zone@10=minor open:off=minor"),
        ("off@0:T zone@5:T off@10:T off@15:F", "open:off=minor open:zone=minor clear:off@15=minor"),
        ("zone@0:U off@5:T", "open:off=minor"),
    ] {
        let rules = [
            ruled("zone", "", "vehicle_id"),
            Ruled { inhibited_by: vec!["zone".into()], ..ruled("off", "", "vehicle_id") },
        ];
        assert_eq!(told(&rules, words), expected, "over {words:?}");
    }
    // What was held while it was inhibited does not count.
    for (words, expected) in [
        ("off@0:T off@20:T zone@20:T off@40:T zone@50:F off@50:T off@55:T", "open:zone=minor clear:zone@50=minor"),
        (
            "off@0:T off@20:T zone@20:T off@40:T zone@50:F off@50:T off@60:T",
            "open:zone=minor clear:zone@50=minor open:off=minor",
        ),
        ("off@0:T off@20:T zone@20:T off@40:F zone@50:F off@50:T off@60:T", "open:zone=minor clear:zone@50=minor"),
    ] {
        let off = Ruled { inhibited_by: vec!["zone".into()], ..ruled("off", "for=30", "vehicle_id") };
        assert_eq!(told(&[ruled("zone", "", "vehicle_id"), off], words), expected, "over {words:?}");
    }
}

// --- Over many vehicles ---------------------------------------------------------------------------------------------

fn tallied(tally: Tally, key: &str, words: &str) -> Ruled {
    Ruled { tally: Some(tally), ..ruled("many", words, key) }
}

fn within(at_least: Option<u32>, vehicles: Option<u32>, within_s: i64) -> Tally {
    Tally { at_least, vehicles, share: None, window: Window::Sliding { within_ms: within_s * 1000 }, over: None }
}

/// Words are `vehicle@second` for a hit, `tick@second` for the clock alone.
fn counted(rule: &Ruled, fleet: Option<i64>, words: &str) -> String {
    let (mut tallies, zone) = (Tallies::default(), Zone::china());
    let mut all = Vec::new();
    for word in words.split_whitespace() {
        let (who, at) = word.split_once('@').expect(word);
        let at = s(at.parse().expect(word));
        if who == "tick" {
            all.extend(tallies.pass(at, &zone, |_| Some(rule.terms())));
            continue;
        }
        let row = Facts { vehicle_id: Some(who.into()), ..row(at, "-") };
        let hit = Hit { row: &row, severity: None, points: 1, fleet, alert: None };
        all.extend(tallies.hit(&rule.terms(), hit, &zone, || "told".to_owned()));
    }
    all.iter().map(said).collect::<Vec<_>>().join(" ")
}

#[test]
fn an_alert_over_many_is_open_while_the_window_is_full() {
    for (tally, words, expected) in [
        (within(None, Some(3), 60), "a@0 b@10 c@20", "open:-@20(0)"),
        (within(None, Some(3), 60), "a@0 b@10 b@20 a@30", ""),
        (within(None, Some(3), 60), "a@0 b@10 c@61", ""),
        (within(None, Some(3), 60), "a@0 b@10 c@60 tick@60 tick@61", "open:-@60(0) clear:-@60"),
        (within(None, Some(3), 60), "a@0 b@10 c@20 a@50 tick@70 tick@71", "open:-@20(0) clear:-@70"),
        // A hit lets time pass too.
        (within(None, Some(2), 60), "a@0 b@10 c@200", "open:-@10(0) clear:-@60"),
        (within(Some(3), None, 60), "a@0 a@10 a@20 tick@81", "open:-@20(0) clear:-@60"),
        (within(Some(3), None, 60), "a@0 a@10 a@61", ""),
        // Either.
        (within(Some(5), Some(2), 60), "a@0 b@10", "open:-@10(0)"),
        (within(Some(2), Some(5), 60), "a@0 a@10", "open:-@10(0)"),
        // What comes late counts as of the last.
        (within(None, Some(2), 60), "a@100 b@50", "open:-@100(100)"),
    ] {
        let rule = tallied(tally.clone(), "company_id", "");
        assert_eq!(counted(&rule, None, words), expected, "{tally:?} over {words:?}");
    }
}

#[test]
fn a_share_is_one_of_the_companys_vehicles() {
    let tally = Tally { share: Some(0.2), ..within(None, Some(2), 60) };
    let rule = tallied(tally, "company_id", "");
    assert_eq!(counted(&rule, Some(10), "a@0 b@10"), "open:-@10(0)");
    assert_eq!(counted(&rule, Some(11), "a@0 b@10"), "", "two of eleven are less than a fifth");
    assert_eq!(counted(&rule, Some(11), "a@0 b@10 c@20"), "open:-@20(0)");
    assert_eq!(counted(&rule, None, "a@0 b@10"), "", "of an unknown number nothing is a share");
}

#[test]
fn a_calendar_window_ends_at_local_midnight() {
    let tally = Tally { window: Window::Calendar(Period::Day), ..within(Some(2), None, 0) };
    let rule = tallied(tally, "vehicle_id", "");
    // 1970-01-01 is over at 57,600 s, midnight at +08:00.
    assert_eq!(counted(&rule, None, "a@57000 a@57700"), "");
    assert_eq!(counted(&rule, None, "a@57000 a@57100 tick@57599 tick@57600"), "open:-@57100(57000) clear:-@57600");
    assert_eq!(counted(&rule, None, "a@57000 b@57100"), "", "each vehicle for itself");
}

#[test]
fn an_alert_over_many_cools_down_from_its_end() {
    let rule = tallied(within(None, Some(2), 60), "company_id", "cool=100");
    let words = "a@0 b@10 tick@100 a@110 b@120 tick@190 a@200 b@210";
    assert_eq!(counted(&rule, None, words), "open:-@10(0) clear:-@60 open:-@210(200)");
}

#[test]
fn what_has_no_key_is_not_counted_and_an_alert_over_many_names_no_single_truck() {
    let rule = tallied(within(None, Some(2), 60), "company_id", "");
    let mut tallies = Tallies::default();
    let mut hit = |company: &str, vehicle: &str| {
        let row = Facts { company_id: Some(company.into()), vehicle_id: Some(vehicle.into()), ..row(s(0), "-") };
        let hit = Hit { row: &row, severity: None, points: 1, fleet: None, alert: None };
        tallies.hit(&rule.terms(), hit, &Zone::china(), || "told".to_owned())
    };
    assert_eq!((hit("", "a"), hit("", "b")), (vec![], vec![]));
    assert_eq!((hit("C1", "a"), hit("C2", "b")), (vec![], vec![]), "each company for itself");
    let told = hit("C1", "c");
    let [Transition::Opened(alert)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((&*alert.vehicle_id, &*alert.plate, &*alert.company_id), ("", "", "C1"));
    assert_eq!((&alert.facts["vehicles"], &alert.facts["vehicle_ids"]), (&2.into(), &serde_json::json!(["a", "c"])));
}

#[test]
fn a_tally_speaks_for_the_vehicles_that_it_counts() {
    let many = tallied(within(None, Some(3), 60), "company_id", "");
    let one = Ruled { inhibited_by: vec!["many".into()], ..ruled("silent", "", "vehicle_id") };
    let (mut tallies, zone) = (Tallies::default(), Zone::china());
    let opened = |vehicle: &str, at: i64| {
        let row = Facts { vehicle_id: Some(vehicle.into()), ..row(s(at), "-") };
        let mut told = one.judge(&mut VehicleAlerts::default(), &row, point("0:T").judgement);
        told.pop().expect("it opens")
    };
    let hit = |tallies: &mut Tallies, vehicle: &str, at: i64| {
        let row = Facts { vehicle_id: Some(vehicle.into()), ..row(s(at), "-") };
        let hit = Hit { row: &row, severity: None, points: 1, fleet: None, alert: None };
        tallies.hit(&many.terms(), hit, &zone, || "told".to_owned()).len()
    };
    assert!(tallies.admit(&one.terms(), opened("early", 0)).is_some(), "nobody speaks for it yet");
    let opens: usize = ["a", "b", "c", "d"].iter().map(|id| hit(&mut tallies, id, 0)).sum();
    assert_eq!(opens, 1);
    let alerts: Vec<Transition> = ["a", "b", "c"].map(|id| opened(id, 5)).into();
    for transition in alerts.clone() {
        assert_eq!(tallies.admit(&one.terms(), transition), None, "spoken for");
    }
    assert!(tallies.admit(&one.terms(), opened("other", 5)).is_some(), "the tally does not count it");
    // One comes back: its alert is over and was never told.
    let Transition::Opened(mut back) = alerts[0].clone() else { panic!() };
    (back.state, back.cleared_at) = (AlertState::Cleared, Some(s(20)));
    assert_eq!(tallies.admit(&one.terms(), Transition::Cleared(back)), None);
    // c alone is still silent when the outage is over.
    hit(&mut tallies, "c", 50);
    let rules = BTreeMap::from([("many", &many), ("silent", &one)]);
    let told = tallies.pass(s(61), &zone, |id| rules.get(id).map(|rule| rule.terms()));
    assert_eq!(told.iter().map(said).collect::<Vec<_>>(), ["clear:-@60", "open:-@5(5)", "open:-@5(5)"]);
    let free: Vec<&str> = told[1..].iter().map(|transition| &*transition.alert().vehicle_id).collect();
    assert_eq!(
        {
            let mut free = free;
            free.sort_unstable();
            free
        },
        ["b", "c"]
    );
    assert!(tallies.pass(s(200), &zone, |id| rules.get(id).map(|rule| rule.terms())).is_empty());
    assert!(tallies.is_empty());
}

#[test]
fn an_alert_found_false_counts_no_longer() {
    let mut tally = within(Some(3), None, 600);
    tally.over = Some(BTreeMap::from([("overspeed".into(), 1)]));
    let rule = tallied(tally, "vehicle_id", "");
    let (mut tallies, zone) = (Tallies::default(), Zone::china());
    let ids: Vec<crate::model::AlertId> = (0..4).map(|n| crate::model::AlertId(format!("a{n}").into())).collect();
    let mut opened = Vec::new();
    for (n, id) in ids.iter().enumerate() {
        let row = row(s(n as i64), "-");
        let hit = Hit { row: &row, severity: None, points: 1, fleet: None, alert: Some(id) };
        opened.push(tallies.hit(&rule.terms(), hit, &zone, || "told".to_owned()).len());
        if n == 1 {
            tallies.take_back(&crate::model::dispatch_id("a0"));
        }
    }
    assert_eq!(opened, [0, 0, 0, 1]);
}
