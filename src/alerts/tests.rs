//! Cases in a tiny notation. A trace is `second:verdict` words, such as `0:T 10:U 20:F`; after a slash comes what the
//! clearing predicate says when it is not simply the negation (`10:F/F`), after a verdict `!` a graver severity (`10:T!`
//! major, `10:T!!` critical; plain is minor). Steps are written `open@fired(started)`, `raise@at=severity`, `clear@at`.

use std::sync::Arc;

use proptest::prelude::*;

mod many;

use super::*;
use crate::model::{
    Column, CountWindow, Departments, Facts, Incident, Severity, Tally, Text, Time, Timing, Transition, Verdict, limits,
};

fn s(seconds: i64) -> Time {
    Time::from_millis(seconds * 1000)
}

fn seconds(at: Time) -> i64 {
    at.as_millis() / 1000
}

#[derive(Clone, Copy, Debug)]
struct Point {
    at: Time,
    judgement: Judgement,
}

fn verdict(word: &str) -> Verdict {
    match word {
        "T" => Verdict::True,
        "F" => Verdict::False,
        "U" => Verdict::Unknown,
        other => panic!("no verdict: {other}"),
    }
}

fn trace(words: &str) -> Vec<Point> {
    words.split_whitespace().map(point).collect()
}

fn point(word: &str) -> Point {
    let (at, said) = word.split_once(':').expect(word);
    let (when, clear) = said.split_once('/').map_or((said, None), |(when, clear)| (when, Some(clear)));
    let severity = [Severity::Minor, Severity::Major, Severity::Critical][when.matches('!').count()];
    let when = verdict(when.trim_end_matches('!'));
    let clear = clear.map_or(!when, verdict);
    Point { at: s(at.parse().expect(word)), judgement: Judgement { when, clear, severity: Some(severity) } }
}

fn run(timing: &Timing, points: &[Point]) -> Vec<(usize, Step)> {
    let mut machine = Machine::default();
    let mut steps = Vec::new();
    for (index, Point { at, judgement: Judgement { when, clear, severity } }) in points.iter().enumerate() {
        let step = machine.advance(timing, *at, *when, *clear, severity.expect("given"), false);
        steps.extend(step.map(|step| (index, step)));
    }
    steps
}

fn written(timing: &Timing, words: &str) -> String {
    let points = trace(words);
    let steps = run(timing, &points).into_iter().map(|(index, step)| match step {
        Step::Opened { started_at, fired_at } => format!("open@{}({})", seconds(fired_at), seconds(started_at)),
        Step::Raised(severity) => format!("raise@{}={severity}", seconds(points[index].at)),
        Step::Cleared { cleared_at } => format!("clear@{}", seconds(cleared_at)),
    });
    steps.collect::<Vec<_>>().join(" ")
}

/// `for`, `samples`, `gap`, `clear`, `cool` in seconds; `count` as `3/60`.
fn timing(words: &str) -> Timing {
    words.split_whitespace().fold(Timing::default(), |timing, word| {
        let (name, value) = word.split_once('=').expect(word);
        let number = || value.parse::<i64>().expect(word);
        if name == "once" {
            let at_once = Severity::parse(value);
            return Timing { count: timing.count.map(|window| CountWindow { at_once, ..window }), ..timing };
        }
        match name {
            "for" => Timing { hold_ms: number() * 1000, ..timing },
            "samples" => Timing { min_samples: number() as u32, ..timing },
            "gap" => Timing { max_gap_ms: number() * 1000, ..timing },
            "clear" => Timing { clear_ms: number() * 1000, ..timing },
            "cool" => Timing { cooldown_ms: number() * 1000, ..timing },
            "count" => {
                let (at_least, within) = value.split_once('/').expect(word);
                let window = CountWindow {
                    at_least: at_least.parse().expect(word),
                    within_ms: within.parse::<i64>().expect(word) * 1000,
                    at_once: None,
                };
                Timing { count: Some(window), ..timing }
            }
            other => panic!("no timing: {other}"),
        }
    })
}

fn check(cases: &[(&str, &str, &str)]) {
    for (rule, words, expected) in cases {
        assert_eq!(written(&timing(rule), words), *expected, "rule {rule:?} over {words:?}");
    }
}

/// A truck that is scrapped never clears its alert, and the list of open ones only grows: one for which nothing came for a day that
/// could clear it, or keep it open, is over. The unknown is nothing.
#[test]
fn an_alert_that_nothing_can_clear_any_more_ends() {
    const DAY: i64 = 86_400;
    for (words, lapses_at) in [
        ("0:T", DAY),
        ("0:T 500:U", DAY),
        ("0:T 500:T", DAY + 500),
        ("0:T 500:F/F 700:U", DAY + 500),
        ("0:T 500:F", i64::MAX),
    ] {
        let timing = Timing { clear_ms: 0, ..Timing::default() };
        let mut machine = Machine::default();
        for Point { at, judgement: Judgement { when, clear, severity } } in trace(words) {
            machine.advance(&timing, at, when, clear, severity.expect("given"), false);
        }
        if lapses_at == i64::MAX {
            assert!(!machine.is_open() && !machine.lapses_by(s(10 * DAY)), "{words}");
            continue;
        }
        assert!(!machine.lapses_by(s(lapses_at)) && machine.lapse(s(lapses_at)).is_none(), "{words}");
        assert!(machine.lapses_by(s(lapses_at + 1)), "{words}");
        assert_eq!(machine.lapse(s(5 * DAY)), Some(s(lapses_at)), "{words}: it ended then, whenever that is seen");
        assert!(!machine.is_open() && machine.lapse(s(9 * DAY)).is_none(), "{words}");
    }
}

#[test]
fn without_a_hold_it_fires_at_once() {
    check(&[
        ("", "", ""),
        ("", "0:F 10:U 20:F", ""),
        ("", "5:T", "open@5(5)"),
        ("", "0:U 5:T", "open@5(5)"),
        ("", "5:T 6:T 7:T", "open@5(5)"),
        ("", "5:T 6:F", "open@5(5) clear@6"),
        ("", "5:T 6:F 7:T 8:F", "open@5(5) clear@6 open@7(7) clear@8"),
        ("", "5:T 6:U 7:U", "open@5(5)"),
    ]);
}

#[test]
fn a_hold_counts_event_time_between_reports_that_say_true() {
    check(&[
        ("for=30", "0:T", ""),
        ("for=30", "0:T 10:T 20:T 29:T", ""),
        ("for=30", "0:T 10:T 20:T 30:T", "open@30(0)"),
        ("for=30", "0:T 45:T", "open@45(0)"),
        ("for=30", "7:T 37:T", "open@37(7)"),
        // False ends it, whatever was counted.
        ("for=30", "0:T 20:T 25:F 30:T 40:T", ""),
        ("for=30", "0:T 20:T 25:F 30:T 60:T", "open@60(30)"),
        // The time up to a false does not count.
        ("for=30", "0:T 40:F", ""),
        ("for=30", "0:F 40:T", ""),
        // Two reports of one instant.
        ("for=30", "0:T 0:T 30:T 30:T", "open@30(0)"),
    ]);
}

#[test]
fn unknown_stops_the_clock_but_does_not_end_the_hold() {
    check(&[
        ("for=30", "0:T 10:T 20:U 30:T 40:F", ""),
        ("for=30", "0:T 10:T 20:U 30:T 50:T", "open@50(0)"),
        ("for=30", "0:T 10:U 20:T 30:T 40:T 50:T", "open@50(0)"),
        // However many unknowns: one span that does not count.
        ("for=30", "0:T 10:U 15:U 17:U 20:T 50:T", "open@50(0)"),
        ("for=30", "0:U 10:T 40:T", "open@40(10)"),
        // Never at an unknown itself.
        ("for=30", "0:T 29:T 35:U", ""),
        ("for=30", "0:T 29:T 35:U 36:T", ""),
        ("for=30", "0:T 29:T 35:U 36:T 37:T", "open@37(0)"),
        // Every second report unknown: no two trues follow one another, so nothing is ever counted.
        ("for=30", "0:T 10:U 20:T 30:U 40:T 50:U 60:T 70:U 80:T", ""),
        ("for=30", "0:T 10:U 20:F 30:T 50:T", ""),
    ]);
}

#[test]
fn a_silence_over_max_gap_begins_the_hold_anew() {
    check(&[
        ("for=30 gap=60", "0:T 60:T", "open@60(0)"),
        ("for=30 gap=60", "0:T 61:T", ""),
        ("for=30 gap=60", "0:T 61:T 91:T", "open@91(61)"),
        ("for=100 gap=60", "0:T 60:T 120:T", "open@120(0)"),
        // Unknowns between are no report that says true.
        ("for=30 gap=60", "0:T 20:U 40:U 61:T 80:T", ""),
        ("for=30 gap=60", "0:T 20:U 40:U 61:T 91:T", "open@91(61)"),
        // It breaks an alert on the way, not one that is open.
        ("for=30 gap=60", "0:T 30:T 5000:T 5001:F", "open@30(0) clear@5001"),
    ]);
}

#[test]
fn it_takes_as_many_samples_as_asked() {
    check(&[
        ("samples=3", "0:T 1:T", ""),
        ("samples=3", "0:T 1:T 2:T", "open@2(0)"),
        ("samples=3", "0:T 1:U 2:T 3:U 4:T", "open@4(0)"),
        ("samples=3", "0:T 1:T 2:F 3:T 4:T 5:T", "open@5(3)"),
        ("samples=3 gap=60", "0:T 1:T 100:T 101:T 102:T", "open@102(100)"),
        ("for=30 samples=3", "0:T 40:T 41:T", "open@41(0)"),
        ("for=30 samples=3", "0:T 1:T 2:T 3:T 30:T", "open@30(0)"),
    ]);
}

#[test]
fn hits_are_counted_in_a_sliding_window() {
    check(&[
        ("count=3/60", "0:T 10:T", ""),
        ("count=3/60", "0:T 10:T 20:T", "open@20(0)"),
        ("count=3/60", "0:T 10:T 60:T", "open@60(0)"),
        ("count=3/60", "0:T 10:T 61:T", ""),
        ("count=3/60", "0:T 10:T 61:T 70:T", "open@70(10)"),
        // Neither false nor unknown takes a hit away.
        ("count=3/60", "0:T 5:F 10:T 15:U 20:T", "open@20(0)"),
        // Two hits of one instant are two.
        ("count=3/60", "0:T 0:T 0:T", "open@0(0)"),
        // Hits are spent by the alert.
        ("count=3/60", "0:T 1:T 2:T 3:F 4:T 5:T", "open@2(0) clear@3"),
        ("count=3/60", "0:T 1:T 2:T 3:F 4:T 5:T 6:T", "open@2(0) clear@3 open@6(4)"),
        ("count=1/60", "0:F 1:T", "open@1(1)"),
        ("count=2/60 clear=20", "0:T 1:T 5:F 10:T 15:F 34:F 35:F", "open@1(0) clear@35"),
        // In cool-down hits go on being counted; it fires at the first hit after it.
        ("count=2/60 cool=30", "0:T 1:T 2:F 3:T 4:T 31:T 32:T", "open@1(0) clear@2 open@32(31)"),
        ("count=2/60 cool=30", "0:T 1:T 2:F 3:T 4:T 40:F 41:T", "open@1(0) clear@2 open@41(4)"),
        // `for`, samples and gap do not apply.
        ("count=2/600 gap=60", "0:T 500:T", "open@500(0)"),
    ]);
}

#[test]
fn a_grave_hit_fills_the_window_alone() {
    check(&[
        ("count=3/60 once=major", "0:T 10:T!", "open@10(0)"),
        ("count=3/60 once=major", "0:T!", "open@0(0)"),
        ("count=3/60 once=critical", "0:T!", ""),
        ("count=3/60 once=major", "0:T 10:T 20:T 30:T!", "open@20(0) raise@30=major"),
        ("count=3/60 once=major", "0:U! 10:F!", ""),
    ]);
}

#[test]
fn an_open_alert_clears_when_its_clearing_predicate_has_held() {
    check(&[
        ("clear=30", "0:T 10:F 30:F", "open@0(0)"),
        ("clear=30", "0:T 10:F 40:F", "open@0(0) clear@40"),
        ("clear=30", "0:T 10:F 20:F 30:F 40:F", "open@0(0) clear@40"),
        // True again: the clearing hold begins anew.
        ("clear=30", "0:T 10:F 30:T 40:F 60:F", "open@0(0)"),
        ("clear=30", "0:T 10:F 30:T 40:F 70:F", "open@0(0) clear@70"),
        // Unknown stops the clock.
        ("clear=30", "0:T 10:F 20:U 40:F 50:F", "open@0(0)"),
        ("clear=30", "0:T 10:F 20:U 40:F 70:F", "open@0(0) clear@70"),
        ("clear=30", "0:T 10:F 20:F 30:U 40:U 50:F 70:F", "open@0(0) clear@70"),
        ("clear=30", "0:T 10:U 90:U 500:U", "open@0(0)"),
        // A clearing predicate of its own.
        ("", "0:T 10:F/F 20:F/F", "open@0(0)"),
        ("", "0:T 10:F/F 20:F/T", "open@0(0) clear@20"),
        ("", "0:T 10:F/U 20:F/U", "open@0(0)"),
        ("", "0:T 10:U/T", "open@0(0) clear@10"),
        ("clear=30", "0:T 10:F/T 20:F/F 30:F/T 50:F/T", "open@0(0)"),
        ("clear=30", "0:T 10:F/T 20:F/F 30:F/T 60:F/T", "open@0(0) clear@60"),
        ("clear=30", "0:T 10:F/T 20:F/U 30:F/T 50:F/T", "open@0(0)"),
        // Both at once: what is still broken does not clear.
        ("", "0:T 10:T/T 20:T/T", "open@0(0)"),
        // A truck that reports seldom still clears.
        ("clear=30 gap=60", "0:T 1000:F 2000:F", "open@0(0) clear@2000"),
    ]);
}

#[test]
fn severity_only_rises_while_it_is_open() {
    check(&[
        ("", "0:T 10:T! 20:T!! 30:F", "open@0(0) raise@10=major raise@20=critical clear@30"),
        ("", "0:T! 10:T 20:T! 30:T!!", "open@0(0) raise@30=critical"),
        // Only reports at which the predicate is true say how grave it is.
        ("clear=60", "0:T 10:U! 20:F! 30:T", "open@0(0)"),
        // Severity begins again with the next alert.
        ("", "0:T!! 10:F 20:T 30:T!", "open@0(0) clear@10 open@20(20) raise@30=major"),
    ]);
    // That of the hold does not count, but that of the report which completes it.
    check(&[("for=10", "0:T!! 10:T 20:T!", "open@10(0) raise@20=major")]);
}

#[test]
fn cool_down_runs_from_the_clearing() {
    check(&[
        ("cool=60", "0:T 10:F 20:T 69:T", "open@0(0) clear@10"),
        ("cool=60", "0:T 10:F 20:T 70:T", "open@0(0) clear@10 open@70(20)"),
        ("cool=60", "0:T 10:F 20:T 30:F 80:T", "open@0(0) clear@10 open@80(80)"),
        ("cool=60", "0:T 10:F 20:T 75:U 80:F 90:T", "open@0(0) clear@10 open@90(90)"),
        ("cool=60", "0:T 10:F 20:T 75:U 80:T", "open@0(0) clear@10 open@80(20)"),
        // The hold is complete within cool-down: it fires at the first report after it.
        ("for=10 cool=60", "0:T 10:T 20:F 30:T 50:T 79:T 85:T", "open@10(0) clear@20 open@85(30)"),
        ("for=10 cool=60", "0:T 10:T 20:F 75:T 85:T", "open@10(0) clear@20 open@85(75)"),
        // It runs from clearing, not from firing.
        ("cool=60", "0:T 100:T 200:F 210:T 260:T", "open@0(0) clear@200 open@260(210)"),
    ]);
}

#[test]
fn no_two_alerts_have_one_start_and_time_never_runs_backwards() {
    check(&[
        ("", "5:T 5:F 5:T 5:F", "open@5(5) clear@5"),
        ("", "5:T 6:F 6:T 7:T", "open@5(5) clear@6 open@7(7)"),
        // A timer row was stamped 20 by the arrival clock; the report after it says 15.
        ("samples=2", "20:T 15:T", "open@20(20)"),
        ("for=30", "20:T 15:T 50:T", "open@50(20)"),
        ("", "20:T 15:F", "open@20(20) clear@20"),
        ("clear=10", "20:T 15:F 29:F 30:F", "open@20(20) clear@30"),
        ("count=2/60", "20:T 15:T", "open@20(20)"),
    ]);
}

#[test]
fn a_machine_is_idle_when_forgetting_it_loses_nothing() {
    let idle = |rule: &str, words: &str, at: i64| {
        let timing = timing(rule);
        let mut machine = Machine::default();
        for Point { at, judgement } in trace(words) {
            machine.advance(&timing, at, judgement.when, judgement.clear, Severity::Minor, false);
        }
        machine.is_idle(&timing, s(at))
    };
    for (rule, words, at, expected) in [
        ("for=30", "", 0, true),
        ("for=30", "0:T", 0, false),
        ("for=30", "0:T 5:F", 5, true),
        ("", "0:T", 0, false),
        ("", "0:T 5:F", 5, false),
        ("", "0:T 5:F", 6, true),
        ("cool=60", "0:T 5:F", 64, false),
        ("cool=60", "0:T 5:F", 65, true),
        ("count=3/60", "0:T 60:F", 60, false),
        ("count=3/60", "0:T 61:F", 61, true),
    ] {
        assert_eq!(idle(rule, words, at), expected, "rule {rule:?} over {words:?} at {at}");
    }
}

// --- One vehicle: rules, keys, alerts -------------------------------------------------------------------------------

/// A rule and everything its terms borrow.
struct Ruled {
    id: Text,
    version: Text,
    timing: Timing,
    key: Vec<Column>,
    departments: Departments,
    columns: Vec<Column>,
    asks_timer: bool,
    has_clear: bool,
    incident: Option<Incident>,
    inhibited_by: Vec<Text>,
    tally: Option<Tally>,
}

fn columns(names: &str) -> Vec<Column> {
    names.split_whitespace().map(|name| Column::named(name).expect(name)).collect()
}

fn ruled(id: &str, words: &str, key: &str) -> Ruled {
    Ruled {
        id: id.into(),
        version: "v1".into(),
        timing: timing(words),
        key: columns(key),
        departments: Arc::from([Text::from("traffic_police")]),
        columns: columns("speed_kmh speed_limit_kmh"),
        asks_timer: false,
        has_clear: false,
        incident: None,
        inhibited_by: Vec::new(),
        tally: None,
    }
}

impl Ruled {
    fn terms(&self) -> RuleTerms<'_> {
        RuleTerms {
            name: const { &crate::model::LocalText { zh: String::new(), en: String::new() } },
            code: None,
            id: &self.id,
            version: &self.version,
            timing: &self.timing,
            key: &self.key,
            departments: &self.departments,
            columns: &self.columns,
            severity_default: Severity::Notice,
            asks_timer: self.asks_timer,
            asks_sighting: false,
            asks_settled: self.columns.iter().any(|column| column.name().starts_with("settled_")),
            has_clear: self.has_clear,
            incident: self.incident.as_ref(),
            inhibited_by: &self.inhibited_by,
            tally: self.tally.as_ref(),
            shadow: false,
        }
    }

    fn judge(&self, alerts: &mut VehicleAlerts, row: &Facts, judgement: Judgement) -> Vec<Transition> {
        alerts.judge(&self.terms(), row, judgement, || "told".to_owned())
    }
}

fn row(at: Time, place: &str) -> Facts {
    Facts {
        vehicle_id: Some("V1".into()),
        plate: Some("粤B12345".into()),
        company_id: Some("C1".into()),
        event_time: Some(at),
        speed_kmh: Some(61.0),
        lat: Some(22.5),
        lon: Some(114.0),
        place_id: (place != "-").then(|| place.into()),
        row_kind: Some("report"),
        ..Facts::default()
    }
}

fn said(transition: &Transition) -> String {
    let alert = transition.alert();
    let place = alert.place_id.as_deref().unwrap_or("-");
    match transition {
        Transition::Opened(alert) => format!("open:{place}@{}({})", seconds(alert.fired_at), seconds(alert.started_at)),
        Transition::Raised(alert) => format!("raise:{place}={}", alert.severity),
        Transition::Cleared(alert) => format!("clear:{place}@{}", alert.cleared_at.map_or(-1, seconds)),
        Transition::Revised(alert) => {
            format!("revise:{place}@{}({})", seconds(alert.fired_at), seconds(alert.started_at))
        }
        Transition::Withdrawn(alert) => format!("withdraw:{place}@{}", seconds(alert.fired_at)),
    }
}

/// A trace whose words are `place@second:verdict`.
fn walk(rule: &Ruled, alerts: &mut VehicleAlerts, words: &str) -> String {
    let mut all = Vec::new();
    for word in words.split_whitespace() {
        let (place, word) = word.split_once('@').expect(word);
        let Point { at, judgement } = point(word);
        all.extend(rule.judge(alerts, &row(at, place), judgement).iter().map(said));
    }
    all.join(" ")
}

#[test]
fn a_row_under_another_key_is_false_for_the_key_that_was_left() {
    for (words, trace, expected) in [
        ("", "A@0:T A@10:F", "open:A@0(0) clear:A@10"),
        ("", "A@0:T B@10:F", "open:A@0(0) clear:A@10"),
        ("", "A@0:T -@10:F", "open:A@0(0) clear:A@10"),
        ("", "A@0:T B@10:T", "open:A@0(0) open:B@10(10) clear:A@10"),
        ("", "A@0:T B@10:U A@20:T", "open:A@0(0)"),
        ("", "A@0:T B@10:U B@20:F", "open:A@0(0) clear:A@20"),
        ("for=30", "A@0:T A@20:T B@30:T", ""),
        ("for=30", "A@0:T A@20:T B@30:T A@40:T B@60:T", ""),
        ("for=30", "A@0:T A@20:T B@30:U A@40:T A@60:T", "open:A@60(0)"),
        // NULL is a key value of its own.
        ("for=30", "-@0:T -@30:T", "open:-@30(0)"),
        ("for=30", "-@0:T A@30:T -@40:T", ""),
        ("clear=30", "A@0:T B@10:T B@40:T", "open:A@0(0) open:B@10(10) clear:A@40"),
        ("count=2/60", "A@0:T B@10:T A@20:T", "open:A@20(0)"),
    ] {
        let rule = ruled("dwell", words, "vehicle_id place_id");
        let told = walk(&rule, &mut VehicleAlerts::default(), trace);
        assert_eq!(told, expected, "rule {words:?} over {trace:?}");
    }
}

/// In two places at once, each of which is judged: each has its own hold and its own alert, and what is told of none of them is
/// that they are left.
#[test]
fn a_row_under_several_keys_is_judged_under_each() {
    for (words, trace, expected) in [
        ("", "A@0:T A+B@10:T+T B@20:T -@30:F", "open:A@0(0) open:B@10(10) clear:A@20 clear:B@30"),
        ("for=30", "A@0:T A+B@20:T+T A+B@30:T+T B@50:T -@60:F", "open:A@30(0) open:B@50(20) clear:A@50 clear:B@60"),
        ("", "A+B@0:T+F A+B@10:F+T", "open:A@0(0) clear:A@10 open:B@10(10)"),
        ("", "A+B@0:T+T -@10:U B@20:T", "open:A@0(0) open:B@0(0) clear:A@20"),
        ("", "A+B@0:T+U A+B@10:U+T", "open:A@0(0) open:B@10(10)"),
    ] {
        let rule = ruled("zone", words, "vehicle_id place_id");
        let mut alerts = VehicleAlerts::default();
        let mut all = Vec::new();
        for word in trace.split_whitespace() {
            let (places, word) = word.split_once('@').unwrap();
            let (second, verdicts) = word.split_once(':').unwrap();
            let judged = |verdict: &str| point(&format!("{second}:{verdict}"));
            let rows: Vec<(Facts, Judgement)> = places
                .split('+')
                .zip(verdicts.split('+'))
                .map(|(place, verdict)| (row(judged(verdict).at, place), judged(verdict).judgement))
                .collect();
            let each: Vec<(&Facts, Judgement)> =
                rows.iter().filter(|_| places != "-").map(|(row, judgement)| (row, *judgement)).collect();
            let left = if verdicts == "U" { Verdict::Unknown } else { Verdict::False };
            let left = Judgement { when: left, clear: !left, severity: None };
            let told = alerts.judge_each(&rule.terms(), &rows[0].0, &each, left, |_| "told".to_owned());
            all.extend(told.iter().map(said));
        }
        assert_eq!(all.join(" "), expected, "rule {words:?} over {trace:?}");
    }
}

#[test]
fn a_key_that_was_left_is_cleared_by_the_rules_own_clearing_predicate() {
    for (trace, expected) in [
        ("A@0:T/F B@10:F/F", "open:A@0(0)"),
        ("A@0:T/F B@10:F/T", "open:A@0(0) clear:A@10"),
        ("A@0:T/F B@10:T/F", "open:A@0(0) open:B@10(10)"),
        ("A@0:T/F B@10:U/U B@20:U/T", "open:A@0(0) clear:A@20"),
    ] {
        let rule = Ruled { has_clear: true, ..ruled("dwell", "", "vehicle_id place_id") };
        assert_eq!(walk(&rule, &mut VehicleAlerts::default(), trace), expected, "over {trace:?}");
    }
}

#[test]
fn keys_that_are_no_text_and_keys_of_three_columns_work() {
    let rule = ruled("weekday", "", "local_weekday vehicle_id road_id");
    let mut alerts = VehicleAlerts::default();
    let on = |at, weekday, road: Option<&str>| Facts {
        local_weekday: Some(weekday),
        road_id: road.map(Into::into),
        ..row(s(at), "-")
    };
    let judgement = point("0:T").judgement;
    assert_eq!(rule.judge(&mut alerts, &on(0, 1, Some("R1")), judgement).len(), 1);
    assert_eq!(rule.judge(&mut alerts, &on(1, 1, Some("R1")), judgement).len(), 0, "the same key");
    assert_eq!(rule.judge(&mut alerts, &on(2, 2, Some("R1")), judgement).len(), 2, "another day: opens, clears");
    assert_eq!(rule.judge(&mut alerts, &on(3, 2, None), judgement).len(), 2, "no road: opens, clears");
}

#[test]
fn an_alert_is_drafted_from_the_row_that_completes_the_hold() {
    let rule = ruled("overspeed", "for=10", "vehicle_id");
    let mut alerts = VehicleAlerts::default();
    let judgement = Judgement { when: Verdict::True, clear: Verdict::False, severity: None };
    assert_eq!(rule.judge(&mut alerts, &row(s(0), "A"), judgement), []);
    let completing = Facts { speed_kmh: Some(72.5), driver_id: Some("D7".into()), ..row(s(10), "B") };
    let told = rule.judge(&mut alerts, &completing, judgement);
    let [Transition::Opened(alert)] = told.as_slice() else { panic!("{told:?}") };
    let json = serde_json::to_value(alert).unwrap();
    let expected = serde_json::json!({
        "alert_id": crate::model::AlertId::derive("overspeed", &[Some("V1")], s(0)),
        "rule_id": "overspeed", "rule_version": "v1", "vehicle_id": "V1", "plate": "粤B12345", "company_id": "C1",
        "driver_id": "D7", "severity": "notice", "departments": ["traffic_police"], "message": "told", "messages": {"zh": "told", "en": "told"},
        "started_at": "1970-01-01T00:00:00.000Z", "fired_at": "1970-01-01T00:00:10.000Z",
        "state": "open", "retrospective": false, "lat": 22.5, "lon": 114.0, "place_id": "B",
        "facts": { "speed_kmh": 72.5, "speed_limit_kmh": null },
    });
    assert_eq!(json, expected);
    assert_eq!(alerts.open().collect::<Vec<_>>(), [alert]);
}

#[test]
fn raises_and_clears_tell_the_whole_alert_as_it_was_drafted() {
    let rule = ruled("overspeed", "", "vehicle_id");
    let mut alerts = VehicleAlerts::default();
    let opened = rule.judge(&mut alerts, &row(s(0), "A"), point("0:T").judgement).remove(0).into_alert();
    let later = Facts { speed_kmh: Some(99.0), ..row(s(5), "B") };
    let raised = rule.judge(&mut alerts, &later, point("5:T!!").judgement).remove(0).into_alert();
    assert_eq!(raised, crate::model::Alert { severity: Severity::Critical, ..opened });
    let cleared = rule.judge(&mut alerts, &row(s(9), "C"), point("9:F").judgement).remove(0).into_alert();
    let state = crate::model::AlertState::Cleared;
    assert_eq!(cleared, crate::model::Alert { state, cleared_at: Some(s(9)), ..raised });
    assert_eq!(alerts.open().count(), 0);
}

#[test]
fn the_clocks_own_rows_are_no_report_to_rules_that_do_not_ask_for_them() {
    let timer = |at| Facts { row_kind: Some("timer"), ..row(s(at), "A") };
    let unknown = point("0:U").judgement;
    let mut rule = ruled("overspeed", "for=30", "vehicle_id");
    for (asks_timer, expected) in [(false, 1), (true, 0)] {
        rule.asks_timer = asks_timer;
        let mut alerts = VehicleAlerts::default();
        rule.judge(&mut alerts, &row(s(0), "A"), point("0:T").judgement);
        assert_eq!(rule.judge(&mut alerts, &timer(20), unknown), []);
        let told = rule.judge(&mut alerts, &row(s(30), "A"), point("30:T").judgement);
        assert_eq!(told.len(), expected, "asks_timer {asks_timer}");
    }
    rule.timing = Timing::default();
    let told = rule.judge(&mut VehicleAlerts::default(), &timer(0), point("0:T").judgement);
    assert_eq!(told.len(), 1, "a rule that asks fires on them");
}

#[test]
fn rules_do_not_disturb_one_another() {
    let (one, two) = (ruled("one", "for=30", "vehicle_id"), ruled("two", "", "vehicle_id"));
    let mut alerts = VehicleAlerts::default();
    assert_eq!(walk(&one, &mut alerts, "A@0:T"), "");
    assert_eq!(walk(&two, &mut alerts, "A@0:T A@10:F A@20:F"), "open:A@0(0) clear:A@10");
    assert_eq!(walk(&one, &mut alerts, "A@30:T"), "open:A@30(0)");
}

#[test]
fn a_quiet_vehicle_owns_no_memory() {
    let rule = ruled("overspeed", "for=30", "vehicle_id");
    let mut alerts = VehicleAlerts::default();
    walk(&rule, &mut alerts, "A@0:F A@1:U A@2:T");
    assert!(!alerts.is_quiet());
    walk(&rule, &mut alerts, "A@3:F");
    assert!(alerts.is_quiet());
    assert_eq!(serde_json::to_string(&alerts).unwrap(), "[]");
    assert!(std::mem::size_of::<VehicleAlerts>() <= 24 && std::mem::size_of::<Machine>() <= 64);
}

#[test]
fn machines_go_with_their_rules_and_stay_with_them() {
    let (kept, gone) = (ruled("kept", "for=30", "vehicle_id"), ruled("gone", "", "vehicle_id"));
    let mut alerts = VehicleAlerts::default();
    walk(&kept, &mut alerts, "A@0:T");
    walk(&gone, &mut alerts, "A@0:T");
    alerts.retain(|id| id == "kept");
    // Nobody knows any more what would clear the alert of the rule that went: it ends, and says why.
    let ended = alerts.lapse(s(1), s(1));
    let [(rule_id, Transition::Cleared(alert))] = &ended[..] else { panic!("one ended: {ended:?}") };
    assert_eq!(
        (&**rule_id, alert.cleared_because.as_deref(), alert.cleared_at),
        ("gone", Some("rule_removed"), Some(s(1)))
    );
    assert_eq!((alerts.in_flight(), alerts.open().count()), (1, 0));
    // The same rule in a new version, with a shorter hold and a longer key.
    let changed = Ruled { version: "v2".into(), ..ruled("kept", "for=20", "vehicle_id") };
    assert_eq!(walk(&changed, &mut alerts, "A@20:T"), "open:A@20(0)");
    let rekeyed = ruled("kept", "", "vehicle_id place_id");
    assert_eq!(walk(&rekeyed, &mut alerts, "A@30:T"), "open:A@30(30) clear:A@30");
    // From `for` to `count` and back: what was on the way begins anew.
    let mut alerts = VehicleAlerts::default();
    walk(&kept, &mut alerts, "A@0:T");
    assert_eq!(walk(&ruled("kept", "count=2/60", "vehicle_id"), &mut alerts, "A@10:T"), "");
    assert_eq!(walk(&kept, &mut alerts, "A@20:T A@40:T"), "");
    assert_eq!(walk(&kept, &mut alerts, "A@50:T"), "open:A@50(20)");
    alerts.retain(|_| false);
    assert_eq!(alerts.lapse(s(60), s(60)).len(), 1);
    assert!(alerts.is_quiet());
}

#[test]
fn machines_are_bounded_and_what_only_cools_goes_first() {
    let holding = ruled("holding", "for=3600", "vehicle_id");
    let cooling = ruled("cooling", "cool=3600", "vehicle_id");
    let mut alerts = VehicleAlerts::default();
    walk(&holding, &mut alerts, "A@0:T");
    walk(&cooling, &mut alerts, "A@0:T A@1:F");
    let open: Vec<Ruled> =
        (0..limits::MACHINES_PER_VEHICLE).map(|n| ruled(&format!("open-{n}"), "", "vehicle_id")).collect();
    let opened = |alerts: &mut VehicleAlerts, n: usize| !walk(&open[n], alerts, "A@2:T").is_empty();
    for n in 0..limits::MACHINES_PER_VEHICLE - 2 {
        assert!(opened(&mut alerts, n));
    }
    let has = |alerts: &VehicleAlerts, id: &str| serde_json::to_string(alerts).unwrap().contains(&format!("\"{id}\""));
    assert!(has(&alerts, "cooling") && has(&alerts, "holding"));
    assert!(opened(&mut alerts, limits::MACHINES_PER_VEHICLE - 2));
    assert!(!has(&alerts, "cooling") && has(&alerts, "holding"));
    assert!(opened(&mut alerts, limits::MACHINES_PER_VEHICLE - 1));
    assert!(!has(&alerts, "holding"));
    assert_eq!(walk(&holding, &mut alerts, "A@3:T"), "", "all open: nothing new begins");
    assert_eq!(alerts.in_flight(), limits::MACHINES_PER_VEHICLE);
    assert_eq!(walk(&open[0], &mut alerts, "A@4:F A@5:F"), "clear:A@4");
    assert_eq!(alerts.in_flight(), limits::MACHINES_PER_VEHICLE - 1);
}

// --- Whatever comes -------------------------------------------------------------------------------------------------

fn any_verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![4 => Just(Verdict::True), 3 => Just(Verdict::False), 1 => Just(Verdict::Unknown)]
}

fn any_timing() -> impl Strategy<Value = Timing> {
    let count = proptest::option::of((1_u32..5, 0_i64..120_000));
    (0_i64..60_000, 1_u32..4, 1_000_i64..60_000, count, 0_i64..60_000, 0_i64..120_000).prop_map(
        |(hold_ms, min_samples, max_gap_ms, count, clear_ms, cooldown_ms)| Timing {
            hold_ms,
            min_samples,
            max_gap_ms,
            count: count.map(|(at_least, within_ms)| CountWindow { at_least, within_ms, at_once: None }),
            clear_ms,
            cooldown_ms,
            ..Timing::default()
        },
    )
}

/// Reports up to 40 s apart; places from a few, so that keys come and go.
fn any_trace() -> impl Strategy<Value = Vec<(Point, u8)>> {
    let one = (0_i64..40_000, any_verdict(), proptest::option::weighted(0.2, any_verdict()), 0_usize..4, 0_u8..3);
    proptest::collection::vec(one, 0..80).prop_map(|reports| {
        let mut now = 0;
        let mut points = Vec::new();
        for (gap_ms, when, clear, severity, place) in reports {
            now += gap_ms;
            let judgement = Judgement { when, clear: clear.unwrap_or(!when), severity: Some(Severity::ALL[severity]) };
            points.push((Point { at: Time::from_millis(now), judgement }, place));
        }
        points
    })
}

fn points(trace: &[(Point, u8)]) -> Vec<Point> {
    trace.iter().map(|(point, _)| *point).collect()
}

const UNKNOWN: Judgement =
    Judgement { when: Verdict::Unknown, clear: Verdict::Unknown, severity: Some(Severity::Critical) };

proptest! {
    #[test]
    fn unknown_neither_raises_nor_clears(timing in any_timing(), trace in any_trace(), every in 1_usize..4) {
        let mut with_unknowns = Vec::new();
        for (index, point) in points(&trace).into_iter().enumerate() {
            with_unknowns.push(point);
            if index % every == 0 {
                with_unknowns.push(Point { at: point.at, judgement: UNKNOWN });
            }
        }
        for (index, step) in run(&timing, &with_unknowns) {
            let judgement = with_unknowns[index].judgement;
            let known = match step {
                Step::Cleared { .. } => judgement.clear == Verdict::True && judgement.when != Verdict::True,
                Step::Opened { .. } | Step::Raised(_) => judgement.when == Verdict::True,
            };
            prop_assert!(known, "{step:?} at {judgement:?}");
        }
    }

    #[test]
    fn more_unknowns_never_bring_the_first_alert_forward(timing in any_timing(), trace in any_trace(), place in 0_usize..80) {
        let plain = points(&trace);
        let mut more = plain.clone();
        let place = place.min(more.len());
        let at = if place == 0 { Time::from_millis(0) } else { more[place - 1].at };
        more.insert(place, Point { at, judgement: UNKNOWN });
        let first = |points: &[Point]| run(&timing, points).first().map(|(_, step)| *step);
        match (first(&plain), first(&more)) {
            (None, found) => prop_assert_eq!(found, None),
            (Some(Step::Opened { fired_at: before, .. }), Some(Step::Opened { fired_at: after, .. })) => {
                prop_assert!(after >= before);
            }
            (Some(Step::Opened { .. }), None) => {}
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn an_alert_never_fires_before_its_hold_or_in_cool_down(timing in any_timing(), trace in any_trace()) {
        let mut last_start = None;
        let mut cleared = None;
        let mut open = false;
        for (_, step) in run(&timing, &points(&trace)) {
            match step {
                Step::Opened { started_at, fired_at } => {
                    prop_assert!(!open);
                    if timing.count.is_none() {
                        prop_assert!(fired_at.ms_since(started_at) >= timing.hold_ms);
                    } else {
                        prop_assert!(fired_at.ms_since(started_at) <= timing.count.map_or(0, |count| count.within_ms));
                    }
                    prop_assert!(cleared.is_none_or(|at: Time| fired_at.ms_since(at) >= timing.cooldown_ms));
                    prop_assert!(last_start < Some(started_at), "one start, two alerts");
                    (last_start, open) = (Some(started_at), true);
                }
                Step::Raised(_) => prop_assert!(open),
                Step::Cleared { cleared_at } => {
                    prop_assert!(open);
                    (cleared, open) = (Some(cleared_at), false);
                }
            }
        }
    }

    #[test]
    fn a_vehicle_taken_up_from_its_snapshot_goes_on_the_same(
        timing in any_timing(), trace in any_trace(), cut in 0_usize..80, by_place: bool, has_clear: bool,
    ) {
        let key = if by_place { "vehicle_id place_id" } else { "vehicle_id" };
        let rule = Ruled { timing, has_clear, ..ruled("any", "", key) };
        let mut whole = VehicleAlerts::default();
        let mut cut_short = VehicleAlerts::default();
        for (index, (Point { at, judgement }, place)) in trace.iter().enumerate() {
            if index == cut {
                cut_short = serde_json::from_slice(&serde_json::to_vec(&cut_short).unwrap()).unwrap();
            }
            let facts = row(*at, ["A", "B", "-"][usize::from(*place)]);
            prop_assert_eq!(rule.judge(&mut whole, &facts, *judgement), rule.judge(&mut cut_short, &facts, *judgement));
            prop_assert!(whole.in_flight() <= 3);
        }
        prop_assert_eq!(whole, cut_short);
    }
}
