//! Several rules with one vehicle, and one rule over many vehicles.

use std::collections::BTreeMap;

use super::*;
use crate::model::{Alert, AlertId, AlertState, Period, Window, Zone};

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

fn hit(row: &Facts, fleet: Option<i64>) -> Hit<'_> {
    Hit { row, severity: None, points: 1, fleet, alert: None, is_late: false }
}

/// Both clocks at one time; what comes more than a thousand seconds late is not counted in its place.
fn clock(at: Time) -> Clock {
    Clock { arrival: at, newest: at, settled: at.plus_ms(-1_000_000) }
}

/// Words are `vehicle@second` for a hit, `-vehicle@second` for one that never was, `tick@second` for the clock alone.
fn counted(rule: &Ruled, fleet: Option<i64>, words: &str) -> String {
    let (mut tallies, zone) = (Tallies::default(), Zone::china());
    let mut all = Vec::new();
    for word in words.split_whitespace() {
        let (who, at) = word.split_once('@').expect(word);
        let at = s(at.parse().expect(word));
        if who == "tick" {
            all.extend(tallies.pass(clock(at), &zone, |_| Some(rule.terms())));
            continue;
        }
        let (is_none, who) = who.strip_prefix('-').map_or((false, who), |who| (true, who));
        let row = Facts { vehicle_id: Some(who.into()), ..row(at, "-") };
        if is_none {
            tallies.take_out(&rule.terms(), &row);
        } else {
            all.extend(tallies.hit(&rule.terms(), hit(&row, fleet), &zone, || "told".to_owned()));
        }
        while let Some(changed) = tallies.recount(&zone, |_| Some(rule.terms())) {
            all.extend(changed);
        }
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
        // Whatever the order of arrival.
        (within(None, Some(2), 60), "a@100 b@50", "open:-@100(50)"),
        (within(None, Some(3), 60), "a@0 c@20 tick@30 b@10", "open:-@20(0)"),
        (within(Some(2), None, 60), "a@0 a@100 tick@150 a@50", "open:-@50(0) open:-@100(50)"),
        (within(Some(2), None, 60), "a@0 a@200 tick@300 a@50", "open:-@50(0)"),
        // What comes between moves the start, and with it the id; or joins two alerts.
        (within(None, Some(2), 60), "a@10 b@20 c@0", "open:-@20(10) open:-@10(0) withdraw:-@20"),
        (
            within(Some(2), None, 60),
            "a@0 a@10 a@100 a@110 a@55",
            "open:-@10(0) clear:-@60 open:-@110(100) revise:-@10(0) open:-@100(55) withdraw:-@110",
        ),
        // What never was opens nothing; a repetition neither.
        (within(None, Some(2), 60), "a@0 b@10 -b@10", "open:-@10(0) withdraw:-@10"),
        (within(None, Some(2), 60), "a@0 b@10 c@20 -b@10", "open:-@10(0) revise:-@20(0)"),
        (within(Some(2), None, 60), "a@0 a@0 a@0", ""),
        (within(None, Some(2), 60), "a@0 b@100 tick@1101 b@50", ""),
        // Nor does the clock, far ahead of what comes, let anything stay that has left.
        (within(None, Some(2), 60), "a@0 tick@100 tick@400 b@200 c@330", ""),
        (within(None, Some(2), 60), "a@0 tick@100 tick@400 b@200 c@230", "open:-@230(200)"),
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
    let mut count = |company: &str, vehicle: &str| {
        let row = Facts { company_id: Some(company.into()), vehicle_id: Some(vehicle.into()), ..row(s(0), "-") };
        tallies.hit(&rule.terms(), hit(&row, None), &Zone::china(), || "told".to_owned())
    };
    assert_eq!((count("", "a"), count("", "b")), (vec![], vec![]));
    assert_eq!((count("C1", "a"), count("C2", "b")), (vec![], vec![]), "each company for itself");
    let told = count("C1", "c");
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
    let count = |tallies: &mut Tallies, vehicle: &str, at: i64| {
        let row = Facts { vehicle_id: Some(vehicle.into()), ..row(s(at), "-") };
        tallies.hit(&many.terms(), hit(&row, None), &zone, || "told".to_owned()).len()
    };
    assert!(tallies.admit(&one.terms(), opened("early", 0)).is_some(), "nobody speaks for it yet");
    let opens: usize = ["a", "b", "c", "d"].iter().map(|id| count(&mut tallies, id, 0)).sum();
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
    count(&mut tallies, "c", 50);
    let rules = BTreeMap::from([("many", &many), ("silent", &one)]);
    let told = tallies.pass(clock(s(61)), &zone, |id| rules.get(id).map(|rule| rule.terms()));
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
    assert!(tallies.pass(clock(s(2_000)), &zone, |id| rules.get(id).map(|rule| rule.terms())).is_empty());
    assert!(tallies.is_empty());
}

#[test]
fn an_alert_found_false_counts_no_longer() {
    let mut tally = within(Some(3), None, 600);
    tally.over = Some(BTreeMap::from([("overspeed".into(), 1)]));
    let rule = tallied(tally, "vehicle_id", "");
    // Alerts by number and second; `!` finds one false at a second.
    for (words, expected) in [
        ("0@0 1@1 2@2", "open:-@2(0)"),
        ("0@0 1@1 0!2 2@3 3@4", "open:-@4(1)"),
        ("0@0 1@1 2@2 1!50", "open:-@2(0) clear:-@50"),
        ("0@0 1@1 2@2 3@3 1!50", "open:-@2(0)"),
        // What was told while it counted stays told, however late the rest comes.
        ("0@0 2@2 0!50 1@1", "open:-@2(0)"),
        ("0@0 1@1 0!50 2@60", ""),
    ] {
        let (mut tallies, zone) = (Tallies::default(), Zone::china());
        let mut all = Vec::new();
        for word in words.split_whitespace() {
            if let Some((id, at)) = word.split_once('!') {
                let order = crate::model::dispatch_id(id);
                all.extend(tallies.take_back(&order, s(at.parse().unwrap()), &zone, |_| Some(rule.terms())));
            } else {
                let (id, at) = word.split_once('@').unwrap();
                let (id, row) = (AlertId(id.into()), row(s(at.parse().unwrap()), "-"));
                let hit = Hit { alert: Some(&id), ..hit(&row, None) };
                all.extend(tallies.hit(&rule.terms(), hit, &zone, || "told".to_owned()));
            }
            while let Some(changed) = tallies.recount(&zone, |_| Some(rule.terms())) {
                all.extend(changed);
            }
        }
        assert_eq!(all.iter().map(said).collect::<Vec<_>>().join(" "), expected, "{words}");
    }
}

/// A look of the clock so many seconds ahead.
type Look = Option<i64>;

/// Hits in order, and what of each comes in which order, with looks of the clock in between.
fn arbitrary_hits() -> impl Strategy<Value = (Vec<(usize, i64)>, Vec<usize>, Vec<Look>)> {
    (1_usize..40).prop_flat_map(|count| {
        let hits = prop::collection::vec((0_usize..5, 0_i64..400), count);
        let order = Just((0..count).collect::<Vec<_>>()).prop_shuffle();
        (hits, order, prop::collection::vec(prop::option::weighted(0.3, 0_i64..200), count))
    })
}

proptest! {
    #[test]
    fn a_tally_counts_the_same_in_any_order_of_arrival(
        (mut hits, order, ticks) in arbitrary_hits(),
        (points, vehicles, cool) in (prop::option::of(1_u32..5), prop::option::of(1_u32..4), 0..3),
        batch in 1_usize..10,
    ) {
        hits.sort_unstable();
        hits.dedup();
        let rule = tallied(within(points, vehicles, 60), "company_id", &format!("cool={}", cool * 40));
        // What is told in the end, and how many ids were ever told.
        let finals = |order: &[usize], batch: usize, is_hurried: bool| {
            let (mut tallies, zone) = (Tallies::default(), Zone::china());
            let mut finals: BTreeMap<AlertId, Alert> = BTreeMap::new();
            let mut learn = |transition: Transition| {
                let is_new = matches!(transition, Transition::Opened(_));
                let alert = transition.into_alert();
                let known = finals.get(&alert.alert_id).is_some_and(|known| known.state != AlertState::Withdrawn);
                assert_eq!(is_new, !known, "opened once, and before anything else: {alert:?}");
                finals.insert(alert.alert_id.clone(), alert);
            };
            let mut newest = i64::MIN;
            for (number, index) in order.iter().enumerate().filter(|(_, index)| **index < hits.len()) {
                let (vehicle, at) = hits[*index];
                newest = newest.max(at);
                let row = Facts { vehicle_id: Some(format!("V{vehicle}").into()), ..row(s(at), "-") };
                tallies.hit(&rule.terms(), hit(&row, None), &zone, || "told".to_owned()).into_iter().for_each(&mut learn);
                if number % batch == 0 {
                    while let Some(changed) = tallies.recount(&zone, |_| Some(rule.terms())) {
                        changed.into_iter().for_each(&mut learn);
                    }
                }
                if let Some(ahead) = ticks[number].filter(|_| is_hurried) {
                    // Others have reported already what is later.
                    newest += ahead;
                    let clock = Clock { settled: s(-1), ..clock(s(newest)) };
                    tallies.pass(clock, &zone, |_| Some(rule.terms())).into_iter().for_each(&mut learn);
                }
                // State between two batches can be saved.
                if number % 7 == 0 {
                    let saved = rmp_serde::to_vec_named(&tallies).unwrap();
                    tallies = rmp_serde::from_slice(&saved).unwrap();
                }
            }
            while let Some(changed) = tallies.recount(&zone, |_| Some(rule.terms())) {
                changed.into_iter().for_each(&mut learn);
            }
            tallies.pass(clock(s(10_000)), &zone, |_| Some(rule.terms())).into_iter().for_each(&mut learn);
            finals.retain(|_, alert| alert.state != AlertState::Withdrawn);
            finals
        };
        let in_order: Vec<usize> = {
            let mut order: Vec<usize> = (0..hits.len()).collect();
            order.sort_by_key(|index| hits[*index].1);
            order
        };
        prop_assert_eq!(finals(&in_order, 1, false), finals(&order, batch, true));
    }
}
