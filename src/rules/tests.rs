//! Whole folders: what is wrong is said well, what is right is judged right.

use std::sync::Arc;

use serde_json::Value as Json;

use super::*;
use crate::model::{
    Alert, AlertId, AlertState, Column, Facts, LocalText, Named, NamedZone, Names, Severity, Text, Time, Verdict,
    limits,
};

/// A rule with nothing but an id and what `rest` says.
fn rule(rest: &str) -> String {
    format!("rules:\n  - id: a-rule\n    {}\n", rest.replace('\n', "\n    "))
}

fn load(text: &str) -> RuleSet {
    RuleSet::parse(&[("a.yaml", text)]).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn refused(files: &[(&str, &str)]) -> String {
    let error = RuleSet::parse(files).expect_err("this must not load");
    error.problems().iter().map(|problem| format!("{problem}\n")).collect()
}

/// A problem's first line after the file name, and its hint.
fn brief(text: &str) -> Vec<String> {
    let error = match RuleSet::parse(&[("a.yaml", text)]) {
        Err(error) => error,
        Ok(_) => panic!("this must not load:\n{text}"),
    };
    let one = |p: &Problem| {
        let hint = p.hint.as_ref().map(|hint| format!(" | {hint}")).unwrap_or_default();
        format!("{}:{}: {}{hint}", p.line, p.column, p.message)
    };
    error.problems().iter().map(one).collect()
}

#[test]
fn an_error_shows_the_line_and_what_to_do() {
    let text = "rules:\n  - id: overspeed\n    when: sped_kmh > 60 and loded\n    severity: mayor\n";
    let expected = "\
speed.yaml:3:11: unknown column `sped_kmh`
  3 |     when: sped_kmh > 60 and loded
    |           ^
  hint: did you mean `speed_kmh`?
speed.yaml:3:29: unknown column `loded`
  3 |     when: sped_kmh > 60 and loded
    |                             ^
  hint: did you mean `loaded`?
speed.yaml:4:15: unknown severity `mayor`
  4 |     severity: mayor
    |               ^
  hint: did you mean `major`?
";
    assert_eq!(refused(&[("speed.yaml", text)]), expected);
}

#[test]
fn every_wrong_predicate_is_refused_with_a_reason() {
    let mut wrong = Vec::new();
    for (when, expected) in [
        ("lodaed and cover > 5", "3:11: unknown column `lodaed`"),
        ("lodaed and cover > 5 and speed_kmh > 'x'", "3:22: `cover` is text, `5` is a number"),
        ("lodaed and cover > 5 and\n  speed_kmh > 'x'", "4:7: `speed_kmh` is a number, `'x'` is text"),
        ("loaded and cover = 'opn'", "3:22: `cover` is never 'opn' | did you mean `open`?"),
        ("load in ('full', 'fulll')", "`load` is never 'fulll' | did you mean `full`?"),
        ("loaded or 'sourc' <> place_kind", "`place_kind` is never 'sourc' | did you mean `source`?"),
        ("coalesce(place_kind, '') = 'sikn'", "`place_kind` is never 'sikn' | did you mean `sink`?"),
        ("lift = 'fault'", "`lift` is never 'fault' | a faulty sensor is NULL: ask `lift_fault`"),
        (
            "speed_kmh > 'fast'",
            "3:11: `speed_kmh` is a number, `'fast'` is text: they can't be compared | compare values of one kind",
        ),
        ("cover > 5", "3:11: `cover` is text, `5` is a number: they can't be compared | compare values of one kind"),
        ("loaded and speed_kmh in (1, 'x')", "3:22: `speed_kmh` is a number, `'x'` is text"),
        ("speed_kmh between 'a' and 'b'", "3:11: `speed_kmh` is a number"),
        ("speed_kmh + plate > 3", "3:11: `plate` is text, expected a number"),
        ("speed_kmh and loaded", "3:11: `speed_kmh` is a number, expected true or false | compare it"),
        ("not cover", "requires a boolean expression"),
        ("speed_kmh", "3:11: the predicate is a number, not true or false | compare it, as in `speed_kmh > 60`"),
        ("cast(null as int)", "the predicate is a number"),
        ("cover = null", "always unknown: `cover = NULL` | write `is null` or `is not null`"),
        ("loaded and cover = \"open\"", "3:30: unknown column `open` | text stands in single quotes: 'open'"),
        ("speed_kmh > \"60\"", "3:23: unknown column `60` | a number stands without quotes: 60"),
        ("cover = opened", "3:19: unknown column `opened` | is it text? then write 'opened'"),
        ("speed > 60", "3:11: unknown column `speed` | did you mean `speed_kmh`?"),
        ("speed_kmh >", "3:22: expected an expression, found its end"),
        ("speed_kmh > 60 60", "3:26: expected end of expression"),
        ("loaded == true and (", "SQL compares with `=`"),
        ("loaded && moving", "3:18: `&&` is no SQL | write `and`"),
        ("loaded || moving", "`||` joins text in SQL | write `or`"),
        ("cover = 'open' || cover = 'moving'", "`||` joins text in SQL | write `or`"),
        ("loaded and !moving", "3:22: `!` is no SQL | write `not`"),
        ("speed_kmh => 60", "3:21: `=>` compares nothing | write `>=`"),
        ("speed_kmh =< 60", "3:21: `=<` compares nothing | write `<=`"),
        ("speed_kmh >< 60", "3:21: `><` compares nothing | write `<>`"),
        ("trip_s > 10m", "3:20: `10m` is no number | `trip_s` is in seconds: write 600"),
        ("loaded and trip_s > 1.5h", "`trip_s` is in seconds: write 5400"),
        ("10min < stopped_s", "3:11: `10min` is no number | `stopped_s` is in seconds: write 600"),
        ("gap_m > 2km", "`gap_m` is in metres: write 2000"),
        ("gross_kg > 31t", "`gross_kg` is in kilograms: write 31000"),
        ("speed_kmh > 60kmh", "`speed_kmh` is in kilometres an hour: write 60"),
        ("speed_kmh > 10x", "`speed_kmh` is in kilometres an hour, and a number stands without its unit"),
        ("cover in ['open']", "a list stands in round brackets: `in ('a', 'b')`"),
        ("abss(speed_kmh) > 3", "3:11: unknown function `abss` | did you mean `abs`?"),
        ("loaded and random() > 0.5", "3:22: `random()` depends on chance"),
        ("event_time < now()", "`now()` depends on when it is asked"),
        ("event_time < current_timestamp", "depends on when it is asked"),
        ("speed_kmh > (select 3)", "3:24: subqueries have no place here"),
        ("sum(speed_kmh) > 3", "3:11: `sum` is an aggregate"),
        ("row_number() over () > 3", "window"),
        ("speed_kmh > 3 as fast", "a predicate has no name"),
        ("array_has(events, 5)", "is a number, expected text"),
        ("events = 'fatigue'", "`events` is a list of text"),
        ("1 / 0 > local_hour", "ivide by zero"),
        ("speed_kmh > $1", "3:11: "),
        ("cover = 'open", "3:19: "),
        ("''", "the predicate is empty"),
        ("speed_kmh > 3 -- fast", "3:25: a comment inside the predicate"),
        ("[a, b]", "3:11: expected an SQL predicate, found a list"),
        ("event_time > 'yesterday'", "3:11: "),
    ] {
        let found = brief(&rule(&format!("when: {when}")));
        if !found.iter().any(|line| line.contains(expected)) {
            wrong.push(format!("{when}\n  expected {expected}\n  found    {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_wrong_field_is_refused_with_a_reason() {
    let mut wrong = Vec::new();
    for (rest, expected) in [
        ("wen: loaded", "3:5: unknown key `wen` in a rule | did you mean `when`?"),
        ("expr: loaded", "3:5: unknown key `expr` in a rule | did you mean `when`?"),
        ("for: 30s", "2:5: `when` is missing"),
        ("when: loaded\nfor: 30", "4:10: `for: 30` has no unit | write `30s` for seconds"),
        ("when: loaded\nfor: soon", "4:10: expected a duration for `for`, found `soon` | durations are such as"),
        ("when: loaded\nfor: 10 min", "expected a duration for `for`, found `10 min` | write `10m`"),
        ("when: loaded\nfor: 1.5h", "| write `90m`"),
        ("when: loaded\ncooldown: 90 seconds", "| write `90s`"),
        ("when: loaded\nmax_gap: 10分钟", "| write `10m`"),
        ("when: loaded\ncount: { at_least: 3, within: 1 week }", "| write `7d`"),
        ("when: loaded\nkey: { place_id: 1 }", "4:10: expected a list for `key`, found a mapping | write the names"),
        ("when: loaded\nkey: [device_id]", "unknown column `device_id` in the key | did you mean `vehicle_id`?"),
        (
            "when: loaded\nkey: [vehicle_id, speed_kmh]",
            "`speed_kmh` is another at each report, and no key | a key is made of ids and words",
        ),
        ("when: loaded\ncooldown: -5s", "expected a duration for `cooldown`, found `-5s`"),
        ("when: loaded\ncooldown: 400d", "`cooldown` is longer than 366d"),
        ("when: loaded\nmax_gap: 0s", "`max_gap` of nothing"),
        ("when: loaded\nmin_samples: 0", "4:18: expected a whole number from 1 to 1000 for `min_samples`, found 0"),
        ("when: loaded\nmin_samples: many", "found many"),
        ("when: loaded\nfor: 30s\ncount: { at_least: 3, within: 10m }", "`count` stands instead of `for`"),
        ("when: loaded\ncount: { at_least: 3 }", "`within` is missing"),
        ("when: loaded\ncount: { at_least: 3, within: 1h, at_once: grave }", "unknown severity `grave`"),
        ("when: loaded\ncount: { at_least: 5000, within: 1h }", "from 1 to 1000"),
        ("when: loaded\nclear: not loaded", "expected `when` and `for`, found text"),
        ("when: loaded\nclear: { when: lod = 'x', for: 5s }", "4:20: unknown column `lod` | did you mean"),
        ("when: loaded\nkey: [place_id]", "the key lacks `vehicle_id`"),
        (
            "when: zone_kind = 'forbidden'",
            "`zone_kind` is known only where a rule is judged for each zone | judge it for each zone with `key: [vehicle_id, zone_id]`",
        ),
        ("when: loaded\nmessage: 'in {zone_name}'", "`zone_name` is known only where a rule is judged for each zone"),
        ("when: loaded\nclear: { when: zone_dwell_s > 5 }", "`zone_dwell_s` is known only where"),
        ("when: loaded\nseverity: [{ major: zone_id = 'a' }, minor]", "`zone_id` is known only where"),
        (
            "when: zone_kind = 'forbiden'\nkey: [vehicle_id, zone_id]",
            "`zone_kind` is never 'forbiden' | did you mean `forbidden`?",
        ),
        (
            "when: loaded\nkey: [vehicle_id, plase_id]",
            "unknown column `plase_id` in the key | did you mean `place_id`?",
        ),
        ("when: loaded\nkey: vehicle_id", "expected a list for `key`, found text | write `[vehicle_id]`"),
        ("when: loaded\nseverity: grave", "unknown severity `grave` | severities are"),
        ("when: loaded\nseverity:\n  - { major: speed_kmh > 3 }", "the last severity must hold without a condition"),
        ("when: loaded\nseverity:\n  - major\n  - minor", "a severity without a condition must be the last"),
        ("when: loaded\nseverity:\n  - { major: sped_kmh > 3 }\n  - minor", "5:18: unknown column `sped_kmh`"),
        ("when: loaded\nmessage: '{plat} went'", "4:16: unknown column `plat` in the message | did you mean `plate`?"),
        ("when: loaded\nmessage: {plate}", "expected text for `message`, found a mapping | text that begins with `{`"),
        (
            "when: loaded\nmessage: { zh: '{plat}' }",
            "4:22: unknown column `plat` in the message | did you mean `plate`?",
        ),
        ("when: loaded\nmessage: { en: a, fr: b }", "`fr`"),
        ("when: loaded\nmessage: { en: [a] }", "expected text for `message`, found a list"),
        ("when: loaded\nmessage: '{plate:.0}'", "`plate` is no number and takes no format"),
        ("when: loaded\nmessage: 'a {speed_kmh:5d}'", "unknown format `5d`"),
        ("when: loaded\nmessage: 'open {'", "`{` is not closed"),
        ("when: loaded\nmessage: 'open }'", "`}` closes nothing"),
        ("when: loaded\nenabled: maybe", "expected true or false for `enabled`, found text"),
        ("when: loaded\ndepartments: [a/b]", "`a/b` is no department's code"),
        ("when: loaded\nlabels: [x]", "expected labels, found a list"),
        ("when: loaded\nwhen: moving", "not readable as YAML"),
        ("when: loaded\n  for: [", "not readable as YAML"),
        ("when: loaded\ninhibited_by: [a-rul]", "4:20: there is no rule `a-rul` | did you mean `a-rule`?"),
        ("when: loaded\ninhibited_by: [a-rule]", "`a-rule` and `a-rule` inhibit each other"),
        ("when: loaded\nincident: 5", "expected the incident's name, found a number"),
        ("when: loaded\nincident: { within: 5m }", "`name` is missing"),
        ("over: [b]\ncount: { at_least: 3, within: 1d }", "3:12: there is no rule `b`"),
        ("over: [a-rule]\ncount: { at_least: 3, within: 1d }", "`a-rule` counts itself"),
        ("over: []\ncount: { at_least: 3, within: 1d }", "no rule whose alerts are counted"),
        ("over: { b: 0 }\ncount: { at_least: 3, within: 1d }", "expected a whole number from 1 to 1000 for `b`"),
        ("over: [a-rule]\nwhen: loaded\ncount: { at_least: 3, within: 1d }", "`over` counts alerts"),
        ("over: [a-rule]", "`count` is missing"),
        ("over: [a-rule]\ncount: { at_least: 3 }", "`within` or `per` is missing"),
        ("over: [a-rule]\ncount: { within: 1d }", "`count` says not how many"),
        ("over: [a-rule]\ncount: { at_least: 3, per: week }", "unknown period `week` | periods are day, month"),
        ("over: [a-rule]\ncount: { at_least: 3, per: year, within: 1d }", "`per` stands instead of `within`"),
        ("over: [a-rule]\nfor: 5s\ncount: { at_least: 3, per: year }", "`for` has no meaning for a rule that counts"),
        ("over: [a-rule]\nkey: [speed_kmh]\ncount: { at_least: 3, per: year }", "an alert carries no `speed_kmh`"),
        ("over: [a-rule]\nmessage: '{load}'\ncount: { at_least: 3, per: year }", "an alert carries no `load`"),
        (
            "when: loaded\nkey: [company_id]\nclear: { when: moving }\ncount: { vehicles: 3, within: 1d }",
            "`clear` has no",
        ),
        ("when: loaded\nkey: [company_id]\nincident: x\ncount: { vehicles: 3, within: 1d }", "nobody's incident"),
        ("when: loaded\nkey: [district_id]\ncount: { vehicles: 3, share: 0.2, within: 1d }", "a share of what?"),
        ("when: loaded\nkey: [company_id]\ncount: { vehicles: 3, share: 20, within: 1d }", "a share between 0 and 1"),
        ("when: loaded\ncount: { vehicles: 3, within: 1d }", "unknown key `vehicles` in `count`"),
    ] {
        let found = brief(&rule(rest));
        if !found.iter().any(|line| line.contains(expected)) {
            wrong.push(format!("{rest}\n  expected {expected}\n  found    {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (text, expected) in [
        ("", "1:1: expected `rules:` with a list of rules, found nothing"),
        ("rulez: []", "unknown key `rulez` in the file | did you mean `rules`?"),
        ("rules: 5", "expected a list for `rules`"),
        ("rules: [5]", "expected a rule, found a number"),
        ("rules:\n  - id: Over_Speed\n    when: loaded", "2:9: the id `Over_Speed` is not in kebab-case"),
        ("rules:\n  - id: Over_Speed\n    when: loaded", "| write `over-speed`"),
        ("rules:\n  - id: a--b\n    when: loaded", "kebab-case"),
        ("rules:\n  - when: loaded", "`id` is missing"),
        ("rules:\n  - id: 5\n    when: loaded", "expected text for `id`, found a number"),
        ("mute: loaded", "expected a list for `mute`"),
        ("mute:\n  - loaded", "expected `reason` and `when`"),
        ("mute:\n  - reason: x", "2:5: `when` is missing"),
        ("mute:\n  - when: lodaed", "2:11: unknown column `lodaed`"),
        (
            "rules:\n  - id: a\n    when: loaded\n    inhibited_by: [b]\n  - id: b\n    when: loaded\n    inhibited_by: [a]",
            "4:20: `a` and `b` inhibit each other",
        ),
        (
            "rules:\n  - { id: a, when: loaded, shadow: true }\n  - { id: b, over: [a], count: { at_least: 3, per: day } }",
            "3:21: `a` is a shadow rule: its alerts are never counted | take off its `shadow`",
        ),
    ] {
        let found = brief(text);
        assert!(
            found.iter().any(|line| line.contains(expected)),
            "{text}\n  expected {expected}\n  found    {found:?}"
        );
    }
}

#[test]
fn where_the_folder_is_muted_true_becomes_unknown_and_false_stays() {
    let mute = "mute:\n  - { reason: in repair, when: vehicle_status = 'maintenance' }\n  - { when: outage_filed }\n";
    let set = RuleSet::parse(&[("a.yaml", &rule("when: speed_kmh > 60")), ("mute.yaml", mute)]).expect("it loads");
    let row = |status: &str, filed, kmh| Facts {
        vehicle_status: Some(status.into()),
        outage_filed: filed,
        speed_kmh: kmh,
        ..Facts::default()
    };
    for (row, expected) in [
        (row("active", Some(false), Some(80.0)), Verdict::True),
        (row("active", None, Some(80.0)), Verdict::True),
        (row("maintenance", Some(false), Some(80.0)), Verdict::Unknown),
        (row("active", Some(true), Some(80.0)), Verdict::Unknown),
        (row("maintenance", Some(true), Some(50.0)), Verdict::False),
        (row("maintenance", Some(true), None), Verdict::Unknown),
    ] {
        let verdicts = set.evaluate(std::slice::from_ref(&row)).expect("it is judged");
        assert_eq!(verdicts.when(0, 0), expected, "{row:?}");
    }
    let needed: Vec<&str> = set.columns().iter().map(Column::name).collect();
    assert!(needed.contains(&"outage_filed") && needed.contains(&"vehicle_status"), "{needed:?}");
    let own: Vec<&str> = set.rules()[0].columns.iter().map(|column| column.name()).collect();
    assert_eq!(own, ["plate", "speed_kmh"], "an alert shows what its rule reads");
    assert_ne!(set.rules()[0].version, load(&rule("when: speed_kmh > 60")).rules()[0].version);
}

/// A sheet with one reason more than what `rest` says.
fn sheet(rest: &str) -> String {
    let rest = rest.replace('\n', "\n  ");
    format!("risk:\n  id: risky\n  {rest}\n")
}

#[test]
fn a_sheet_of_risks_adds_up_what_holds_and_names_what_is_unknown() {
    let set = load(&sheet(
        "levels: { minor: 40, major: 70 }\nreasons:\n  - { id: heavy, weight: 30, when: loaded }\n  - { id: fast, name: too fast, weight: 40, when: speed_kmh > 60 }",
    ));
    let rule = &set.rules()[0];
    let row = |loaded, kmh, gate| Facts {
        loaded,
        speed_kmh: kmh,
        source_gate: gate,
        plate: Some("P1".into()),
        ..Facts::default()
    };
    for (row, score, verdict, severity, unknown) in [
        (row(Some(true), Some(80.0), Some("in")), 70, Verdict::True, Some(Severity::Major), 0),
        (row(Some(false), Some(80.0), Some("out")), 40, Verdict::True, Some(Severity::Minor), 0),
        (row(None, Some(80.0), Some("in")), 40, Verdict::True, Some(Severity::Minor), 1),
        (row(Some(true), None, Some("in")), 30, Verdict::False, None, 1),
        (row(Some(true), Some(80.0), None), 70, Verdict::Unknown, None, 0),
        (row(None, None, Some("in")), 0, Verdict::False, None, 2),
    ] {
        let verdicts = set.evaluate(std::slice::from_ref(&row)).expect("it is judged");
        assert_eq!((verdicts.when(0, 0), verdicts.severity(0, 0)), (verdict, severity), "{row:?}");
        let risk = set.risk().expect("a sheet").assess(&[row]).expect("it is assessed").remove(0);
        assert_eq!((risk.score, risk.unknown.len()), (score, unknown));
        assert_eq!(risk.level.is_some(), score >= 40);
    }
    let message = rule.messages(&row(Some(true), Some(80.0), Some("in")), &()).en;
    assert_eq!(message, "P1: risk 70 before departure: heavy (30), too fast (40)");
    let other = load(&sheet("levels: { minor: 40 }\nreasons: [{ id: heavy, weight: 31, when: loaded }]"));
    assert_ne!(other.rules()[0].version, rule.version);
}

#[test]
fn every_wrong_sheet_of_risks_is_refused_with_a_reason() {
    let reasons = "reasons: [{ id: heavy, weight: 30, when: loaded }]";
    for (rest, expected) in [
        ("levels: { minor: 40 }".to_owned(), "`reasons` is missing"),
        (reasons.to_owned(), "`levels` is missing"),
        (format!("levels: 40\n{reasons}"), "expected severities with their scores, found a number"),
        (format!("levels: {{ grave: 40 }}\n{reasons}"), "unknown severity `grave`"),
        (format!("levels: {{ minor: 40, major: 40 }}\n{reasons}"), "a graver level must begin at a higher score"),
        (format!("levels: {{ minor: 40 }}\n{reasons}\nwhen: loaded"), "unknown key `when` in `risk`"),
        ("levels: { minor: 40 }\nreasons: [{ id: a, when: loaded }]".to_owned(), "`weight` is missing"),
        ("levels: { minor: 40 }\nreasons: [{ id: a, weight: 0, when: loaded }]".to_owned(), "from 1 to 1000"),
        ("levels: { minor: 40 }\nreasons: [{ id: a, weight: 5, when: loded }]".to_owned(), "did you mean `loaded`?"),
        ("levels: { minor: 40 }\nreasons: [{ id: a, weight: 5 }]".to_owned(), "`when` is missing"),
    ] {
        let found = brief(&sheet(&rest));
        assert!(found.iter().any(|line| line.contains(expected)), "{rest}\n  expected {expected}\n  found {found:?}");
    }
    let both = refused(&[
        ("a.yaml", &sheet(&format!("levels: {{ minor: 4 }}\n{reasons}"))),
        ("b.yaml", &sheet(&format!("levels: {{ minor: 4 }}\n{reasons}"))),
    ]);
    assert!(both.contains("b.yaml:2:3: there is a sheet of risks already"), "{both}");
}

#[test]
fn what_inhibits_is_judged_first() {
    let text = "rules:\n  - { id: a, when: loaded, inhibited_by: [c] }\n  - { id: b, when: loaded }\n  - { id: c, when: loaded, inhibited_by: [b] }\n";
    assert_eq!(load(text).order(), [1, 2, 0]);
}

#[test]
fn an_id_is_unique_over_the_folder() {
    let text = rule("when: loaded");
    let said = refused(&[("a.yaml", &text), ("b.yaml", &text)]);
    assert!(said.starts_with("b.yaml:2:9: the id `a-rule` is taken"), "{said}");
    assert!(said.contains("hint: it is already at a.yaml:2"), "{said}");
}

#[test]
fn a_place_is_right_inside_folded_and_quoted_predicates() {
    for (written, expected) in [
        ("when: >\n  loaded and\n    sped_kmh > 3", "5:9: "),
        ("when: |-\n  loaded\n  and sped_kmh > 3", "5:11: "),
        ("when: \"loaded and sped_kmh > 3\"", "3:23: "),
        ("when: loaded and\n  sped_kmh > 3", "4:7: "),
        ("when:   (sped_kmh) > 3", "3:14: "),
        ("when: plate = '粤B 1' and sped_kmh > 3", "3:30: "),
    ] {
        let found = brief(&rule(written));
        assert!(found[0].starts_with(expected), "{written}: expected {expected}, found {found:?}");
    }
}

#[test]
fn what_is_huge_or_deep_is_refused_and_not_run_into() {
    let nested = |n: usize| format!("{}loaded{}", "(".repeat(n), ")".repeat(n));
    let nots = |n: usize| format!("{}loaded", "not ".repeat(n));
    let chain = |n: usize| vec!["speed_kmh > 3"; n].join(" and ");
    for (when, expected) in [
        (nested(limits::PREDICATE_DEPTH + 1), "brackets are nested deeper"),
        (nested(4_000), "brackets are nested deeper"),
        (nots(900), ""),
        (chain(400), "has more than 1000 words"),
        (format!("plate = '{}'", "x".repeat(9_000)), "longer than 8192 bytes"),
        (format!("{}speed_kmh > 3", "case when loaded then ".repeat(200)), "`case` is nested deeper"),
    ] {
        let found = brief(&rule(&format!("when: {when}")));
        assert!(found[0].contains(expected), "expected {expected}, found {found:?}");
    }
    for text in [
        format!("rules: {}", "[".repeat(100_000)),
        format!("rules: {}x", "- ".repeat(50_000)),
        format!("rules: {}", "{a: ".repeat(50_000)),
        format!("rules:\n{}", "#".repeat(limits::RULE_FILE_BYTES)),
    ] {
        assert!(RuleSet::parse(&[("a.yaml", &text)]).is_err());
    }
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    (1..9).for_each(|n| bomb += &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", ")));
    assert!(RuleSet::parse(&[("a.yaml", &bomb)]).is_err());
}

#[test]
fn the_longest_predicates_allowed_are_planned_and_evaluated() {
    let nested = format!("{}loaded{}", "(".repeat(limits::PREDICATE_DEPTH), ")".repeat(limits::PREDICATE_DEPTH));
    // One chain as deep as the words allow; the division keeps it in one piece.
    let sum = vec!["speed_kmh"; limits::PREDICATE_TOKENS / 2 - 2].join(" + ");
    for when in [nested, format!("{sum} > local_hour / 2")] {
        let set = load(&rule(&format!("when: {when}")));
        let row = Facts { speed_kmh: Some(50.0), local_hour: Some(7), loaded: Some(true), ..Facts::default() };
        assert_eq!(set.evaluate(&[row]).unwrap().when(0, 0), Verdict::True);
    }
}

fn list(words: &[&str]) -> Option<Arc<[Arc<str>]>> {
    Some(words.iter().map(|word| Arc::from(*word)).collect())
}

/// A loaded truck at 66 km/h on a 60 km/h road, its cover unknown.
fn truck() -> Facts {
    Facts {
        vehicle_id: Some("V1".into()),
        plate: Some("粤B00001".into()),
        event_time: Some("2026-03-01T14:00:00Z".parse().unwrap()),
        local_hour: Some(0),
        speed_kmh: Some(66.0),
        speed_limit_kmh: Some(60.0),
        settled_speed_kmh: Some(66.0),
        settled_speed_limit_kmh: Some(60.0),
        odometer_m: Some(0.0),
        loaded: Some(true),
        road_name: Some("滨海大道".into()),
        events: list(&["fatigue", "phone"]),
        alarms: list(&[]),
        row_kind: Some("report"),
        ..Facts::default()
    }
}

#[test]
fn predicates_answer_in_three_values() {
    use Verdict::{False, True, Unknown};
    for (when, expected) in [
        ("true", True),
        ("false", False),
        ("speed_kmh > 60", True),
        ("speed_kmh > speed_limit_kmh * 1.2", False),
        ("cover = 'open'", Unknown),
        ("cover = 'open' and loaded", Unknown),
        ("cover = 'open' and not loaded", False),
        ("cover = 'open' or loaded", True),
        ("not (cover = 'open')", Unknown),
        ("cover is null", True),
        ("cover is distinct from 'open'", True),
        ("array_has(events, 'fatigue')", True),
        ("array_has(events, 'smoking')", False),
        ("array_has(alarms, 'sos')", False),
        ("array_has(zone_ids, 'Z1')", Unknown),
        ("cardinality(events) = 2", True),
        ("plate like '粤%'", True),
        ("road_class in ('trunk', 'primary')", Unknown),
        ("local_hour between 22 and 23 or local_hour < 6", True),
        ("event_time > '2026-01-01T00:00:00Z'", True),
        ("date_part('hour', event_time) = 14", True),
        ("local_hour + 1 = 1", True),
        // Divided by zero: unknown, neither infinite nor an error.
        ("speed_kmh / odometer_m > 1", Unknown),
        ("speed_kmh % odometer_m >= 0", Unknown),
        ("10 / local_hour > 1", Unknown),
        ("local_hour <> 0 and 10 / local_hour > 1", False),
        ("cast(plate as int) > 1", Unknown),
        ("try_cast(plate as int) is null", True),
        ("case when cover = 'open' then true else loaded end", True),
        ("coalesce(cover, 'closed') = 'closed'", True),
        ("SPEED_KMH > 60 AND Loaded", True),
    ] {
        let set = load(&rule(&format!("when: {when}")));
        let verdicts = set.evaluate(&[truck()]).unwrap();
        assert_eq!((verdicts.when(0, 0), verdicts.clear(0, 0)), (expected, !expected), "{when}");
    }
}

#[test]
fn a_failing_row_spoils_neither_its_batch_nor_other_rules() {
    let set = load(
        "rules:\n  - { id: a, when: 10 / local_hour > 1 }\n  - { id: b, when: loaded }\n  - { id: c, when: cast(plate as int) > 3 }\n",
    );
    let mut rows = vec![truck(); 5];
    rows[2].local_hour = Some(4);
    rows[3].local_hour = Some(20);
    rows[4].plate = Some("17".into());
    let verdicts = set.evaluate(&rows).unwrap();
    let answers = |rule| (0..5).map(|row| verdicts.when(rule, row)).collect::<Vec<_>>();
    use Verdict::{False, True, Unknown};
    assert_eq!(answers(0), [Unknown, Unknown, True, False, Unknown]);
    assert_eq!(answers(1), [True; 5]);
    assert_eq!(answers(2), [Unknown, Unknown, Unknown, Unknown, True]);
    assert_eq!(verdicts.faults(), 3 + 4);
}

/// One row, in two zones, in none, and where nobody knows: a rule with `zone_id` in its key is judged for each zone.
#[test]
fn a_rule_with_a_zone_in_its_key_is_judged_for_each_zone() {
    let zone = |id: &str, dwell_s: f64| crate::model::InZone {
        zone_id: id.into(),
        kind: "forbidden",
        name: format!("zone {id}").into(),
        tags: Arc::from([id.into()]),
        dwell_s,
    };
    let in_zones = |zones: &[crate::model::InZone]| Facts { zones: Some(zones.into()), ..truck() };
    let rows = [in_zones(&[zone("a", 10.0), zone("b", 90.0)]), in_zones(&[zone("a", 20.0)]), in_zones(&[]), truck()];
    let key = "key: [vehicle_id, zone_id]\nmessage: '{zone_name} {zone_tags}'";
    use Verdict::{False, True, Unknown};
    for (when, each, elsewhere) in [
        (
            "zone_dwell_s > 60",
            vec![vec![("a", False), ("b", True)], vec![("a", False)], vec![], vec![]],
            [True, False, False, Unknown],
        ),
        // It asks nothing of zones: in none it says nothing all the same.
        (
            "loaded",
            vec![vec![("a", True), ("b", True)], vec![("a", True)], vec![], vec![]],
            [True, True, False, Unknown],
        ),
        (
            "array_has(zone_tags, zone_id) and cover = 'open'",
            vec![vec![("a", Unknown), ("b", Unknown)], vec![("a", Unknown)], vec![], vec![]],
            [Unknown, Unknown, False, Unknown],
        ),
    ] {
        let set = load(&format!("{}  - {{ id: b, when: loaded }}\n", rule(&format!("when: {when}\n{key}"))));
        let verdicts = set.evaluate(&rows).unwrap();
        for row in 0..rows.len() {
            let (zones, left, clear) = verdicts.of_zones(0, row).unwrap();
            let told: Vec<_> = zones.iter().map(|zone| (zone.row.zone_id.as_deref().unwrap(), zone.when)).collect();
            assert_eq!(told, each[row], "{when} {row}");
            assert_eq!(verdicts.when(0, row), elsewhere[row], "{when} {row}");
            assert_eq!((left, clear), if row == 3 { (Unknown, Unknown) } else { (False, True) });
            assert_eq!((verdicts.when(1, row), verdicts.of_zones(1, row).is_none()), (True, true));
        }
        assert_eq!(verdicts.raised(), [true; 4]);
        let message = set.rules()[0].messages(verdicts.seen(0, 0, &rows[0], Some("b")).0, &()).en;
        assert_eq!(message, "zone b b");
    }
}

#[test]
fn what_is_no_number_is_unknown() {
    let set = load(&rule("when: speed_kmh > 5"));
    let rows = [f64::NAN, f64::INFINITY, 6.0].map(|speed| Facts { speed_kmh: Some(speed), ..truck() });
    let verdicts = set.evaluate(&rows).unwrap();
    assert_eq!([0, 1, 2].map(|row| verdicts.when(0, row)), [Verdict::Unknown, Verdict::Unknown, Verdict::True]);
    assert_eq!(verdicts.raised(), [false, false, true]);
}

#[test]
fn only_rules_that_ask_for_it_judge_rows_of_the_clock() {
    let set = load(
        "rules:\n  - { id: a, when: loaded }\n  - { id: b, when: silent_s > 1800, clear: { when: row_kind = 'report' } }\n  - { id: c, when: loaded, clear: { when: row_kind = 'report' } }\n",
    );
    assert_eq!(set.rules().iter().map(|rule| rule.asks_timer).collect::<Vec<_>>(), [false, true, true]);
    assert!(set.asks_timer());
    let timer = Facts { row_kind: Some("timer"), silent_s: Some(2000.0), ..truck() };
    let verdicts = set.evaluate(&[truck(), timer]).unwrap();
    use Verdict::{False, True, Unknown};
    assert_eq!([0, 1, 2].map(|rule| verdicts.when(rule, 0)), [True, Unknown, True]);
    assert_eq!([0, 1, 2].map(|rule| verdicts.when(rule, 1)), [Unknown, True, True]);
    assert_eq!([0, 1, 2].map(|rule| verdicts.clear(rule, 0)), [False, True, True]);
    assert_eq!([0, 1, 2].map(|rule| verdicts.clear(rule, 1)), [Unknown, False, False]);
    assert_eq!(verdicts.raised(), [true, true]);
}

#[test]
fn the_first_severity_that_holds_counts() {
    let set = load(&rule(
        "when: speed_kmh > 60\nseverity:\n  - { critical: speed_kmh >= 120 }\n  - { major: cover = 'open' or speed_kmh >= 90 }\n  - notice",
    ));
    let rows = [130.0, 95.0, 66.0, 10.0].map(|speed| Facts { speed_kmh: Some(speed), ..truck() });
    let verdicts = set.evaluate(&rows).unwrap();
    let found = [0, 1, 2, 3].map(|row| verdicts.severity(0, row));
    assert_eq!(found, [Some(Severity::Critical), Some(Severity::Major), Some(Severity::Notice), None]);
}

#[test]
fn an_answer_does_not_depend_on_its_batch() {
    let set = load(
        "rules:\n  - { id: a, when: local_hour <> 0 and 10 / local_hour > 1 }\n  - { id: b, when: 10 / local_hour > 1 or loaded }\n  - { id: c, when: loaded and cover = 'open' and speed_kmh / odometer_m > 1 }\n",
    );
    let row = |n: i64| Facts {
        local_hour: (n % 7 != 6).then_some(n % 5),
        loaded: [None, Some(true), Some(false)][(n % 3) as usize],
        cover: [None, Some("open"), Some("closed"), Some("open")][(n % 4) as usize],
        odometer_m: [Some(0.0), Some(5.0)][(n % 2) as usize],
        ..truck()
    };
    let rows: Vec<_> = (0..420).map(row).collect();
    let together = set.evaluate(&rows).unwrap();
    for (index, row) in rows.iter().enumerate() {
        let alone = set.evaluate(std::slice::from_ref(row)).unwrap();
        for rule in 0..3 {
            assert_eq!(together.when(rule, index), alone.when(rule, 0), "rule {rule}, row {index}");
        }
    }
}

/// A message may be written once for all, or for each language; what is unknown is said in the language of the text.
#[test]
fn messages_are_in_both_languages() {
    for (written, zh, en) in [
        ("'{plate} at {cover}'", "粤B00001 at unknown", "粤B00001 at unknown"),
        ("'车 {cover}'", "车 未知", "车 未知"),
        (
            "{ zh: '{plate}：{settled_road_name}，{loaded}', en: '{plate}: {settled_road_name}' }",
            "粤B00001：无名道路，是",
            "粤B00001: a road without a name",
        ),
        (
            "{ zh: '{manifest_id} {events}', en: '{manifest_id} {events}' }",
            "无 疲劳驾驶、打电话",
            "none fatigue, phone",
        ),
        ("{ en: 'only {cover}' }", "only unknown", "only unknown"),
    ] {
        let set = load(&rule(&format!("when: loaded\nmessage: {written}")));
        assert_eq!(set.rules()[0].messages(&truck(), &()), LocalText { zh: zh.into(), en: en.into() }, "{written}");
    }
    let named = load(&rule("when: loaded\nname: { zh: 超速, en: Speeding }"));
    assert_eq!(named.rules()[0].messages(&truck(), &()).zh, "粤B00001 超速");
}

/// Five zones and one of everything else that has a name; what begins with `?` is not registered.
struct City;

impl Names for City {
    fn name(&self, what: Named, id: &str, _: Time) -> Option<&str> {
        Some(match (what, id) {
            _ if id.starts_with('?') => return None,
            (Named::Zone, "core") => "老城区",
            (Named::Zone, "river") => "沿江",
            (Named::Zone, _) => return None,
            (Named::Company, _) => "安达运输",
            (Named::Driver, _) => "王伟",
            (Named::Place, _) => "东湖工地",
            (Named::District, _) => "南山区",
            (Named::Route, _) => "三号线",
            (Named::Road, _) => "滨海大道",
        })
    }

    fn zone(&self, zone_id: &str, _: Time) -> Option<NamedZone<'_>> {
        let school = || -> &'static [Text] {
            static SCHOOL: std::sync::LazyLock<Vec<Text>> = std::sync::LazyLock::new(|| vec!["school".into()]);
            &SCHOOL
        };
        let (kind, tags) = match zone_id {
            "core" => ("forbidden", &[][..]),
            "river" => ("water", &[][..]),
            "peak" => ("restricted", school()),
            "area" => ("operating_area", &[][..]),
            _ => return None,
        };
        Some(NamedZone { kind, tags })
    }
}

/// The operating area, in which every truck is, was listed among the forbidden zones that a truck had entered.
#[test]
fn a_message_names_the_zones_that_the_rule_is_about() {
    for (when, zone_ids, expected) in [
        ("in_forbidden", "area core river peak", "老城区"),
        ("in_forbidden and not in_restricted", "area core peak", "老城区"),
        ("not (in_forbidden = false)", "area core peak", "老城区"),
        ("in_forbidden is not false", "area core peak", "老城区"),
        ("(in_water or in_eco) and coalesce(moving, true)", "area river core", "沿江"),
        ("in_water or in_forbidden", "area core peak river", "老城区, 沿江"),
        ("case when loaded then in_restricted else in_forbidden end", "area core peak", "老城区, peak"),
        ("array_has(zone_tags, 'school')", "area core peak", "peak"),
        ("array_has(zone_ids, 'core') and in_water is not true", "area core river", "老城区"),
        ("outside_operating_area = false and loaded", "area core", "area"),
        ("outside_operating_area", "core", "老城区"),
        ("loaded", "area core ?new", "老城区, ?new"),
        ("loaded", "area", "area"),
        ("loaded", "", "none"),
        ("in_forbidden is null", "area river", "none"),
    ] {
        let set = load(&rule(&format!("when: {when}\nmessage: {{ en: '{{zone_ids}}' }}")));
        let zone_ids: Vec<&str> = zone_ids.split_whitespace().collect();
        let row = Facts { zone_ids: list(&zone_ids), ..truck() };
        assert_eq!(set.rules()[0].messages(&row, &City).en, expected, "{when} in {zone_ids:?}");
    }
}

/// A dispatcher read `K7 at work in P-0093`: nobody knows places, drivers and companies by their ids.
#[test]
fn a_message_says_names_and_ids_where_there_are_none() {
    let row = Facts {
        company_id: Some("C1".into()),
        driver_id: Some("D7".into()),
        manifest_driver_id: Some("?D8".into()),
        place_id: Some("P1".into()),
        route_id: Some("R3".into()),
        district_id: Some("S1".into()),
        ..truck()
    };
    for (written, en) in [
        ("{company_id} {driver_id} {manifest_driver_id}", "安达运输 王伟 ?D8"),
        ("{place_id} {route_id} {district_id}", "东湖工地 三号线 南山区"),
        ("{vehicle_id} {permit_id}", "V1 none"),
        ("{last_place_id}", "unknown"),
    ] {
        let set = load(&rule(&format!("when: loaded\nmessage: {{ en: '{written}' }}")));
        assert_eq!(set.rules()[0].messages(&row, &City).en, en, "{written}");
    }
}

#[test]
fn messages_are_filled() {
    for (template, expected) in [
        ("{plate} {speed_kmh:.0} km/h on {road_name}", "粤B00001 66 km/h on 滨海大道"),
        ("{speed_kmh} {speed_limit_kmh:.2} {local_hour} {loaded}", "66 60.00 0 true"),
        ("{cover} {manifest_id} {silent_s:.1}", "unknown none unknown"),
        ("{events}, {alarms}.", "fatigue, phone, none."),
        ("{{plate}} {event_time}", "{plate} 2026-03-01T14:00:00.000Z"),
    ] {
        let set = load(&rule(&format!("when: loaded\nmessage: '{template}'")));
        assert_eq!(set.rules()[0].messages(&truck(), &()).en, expected, "{template}");
    }
    let named = load(&rule("when: loaded\nname: { zh: 超速, en: 'Too {fast}' }"));
    assert_eq!(named.rules()[0].messages(&truck(), &()).en, "粤B00001 Too {fast}");
    assert_eq!(load(&rule("when: loaded")).rules()[0].messages(&truck(), &()).en, "粤B00001 a-rule");
}

#[test]
fn a_rule_reads_its_columns_and_the_set_all_of_them() {
    let set = load(
        "rules:\n  - id: b\n    when: speed_kmh > 5\n    key: [vehicle_id, zone_ids]\n    severity: [{ major: loaded }, minor]\n    message: '{road_name}'\n    clear: { when: moving }\n  - id: a\n    enabled: false\n    when: silent_s > 5\n",
    );
    assert_eq!(set.rules().iter().map(|rule| &*rule.id).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((set.index_of("b"), set.index_of("c")), (Some(1), None));
    let own: Vec<_> = set.rules()[1].columns.iter().map(|column| column.name()).collect();
    assert_eq!(own, ["speed_kmh", "moving", "loaded", "road_name"]);
    for name in ["speed_kmh", "zone_ids", "road_name", "plate", "lat", "trip_id"] {
        assert!(set.columns().contains(Column::named(name).unwrap()), "{name}");
    }
    assert!(!set.columns().contains_any(&["silent_s", "cover"]) && !set.asks_timer());
    let verdicts = set.evaluate(&[Facts { silent_s: Some(9.0), ..truck() }]).unwrap();
    assert_eq!((verdicts.when(0, 0), verdicts.clear(0, 0)), (Verdict::Unknown, Verdict::Unknown));
    assert_eq!(verdicts.severity(1, 0), Some(Severity::Major));
}

#[test]
fn a_version_changes_with_the_content_alone() {
    let version = |text: &str| load(text).rules()[0].version.to_string();
    let plain = version("rules:\n  - id: a\n    when: speed_kmh > 5 and plate = 'a  b'\n    for: 60s\n");
    assert_eq!(plain.len(), 16);
    let same = "# a comment\nrules:\n  - for: 1m\n    min_samples: 1\n    id: 'a'\n    when: >\n      speed_kmh > 5\n      and   plate = 'a  b'\n";
    assert_eq!(plain, version(same));
    for other in [
        "rules:\n  - id: a\n    when: speed_kmh > 6 and plate = 'a  b'\n    for: 60s\n",
        "rules:\n  - id: a\n    when: speed_kmh > 5 and plate = 'a b'\n    for: 60s\n",
        "rules:\n  - id: a\n    when: speed_kmh > 5 and plate = 'a  b'\n    for: 61s\n",
        "rules:\n  - id: a\n    when: speed_kmh > 5 and plate = 'a  b'\n    for: 60s\n    message: '{plate}'\n",
        "rules:\n  - id: a\n    when: speed_kmh > 5 and plate = 'a  b'\n    for: 60s\n    shadow: true\n",
    ] {
        assert_ne!(plain, version(other), "{other}");
    }
    let (a, b) = (rule("when: loaded"), "rules: [{ id: z, when: moving }]");
    let one = RuleSet::parse(&[("a.yaml", &a), ("b.yaml", b)]).unwrap();
    let other = RuleSet::parse(&[("y.yaml", b), ("z.yaml", &a)]).unwrap();
    assert_eq!(one.digest(), other.digest());
    assert_ne!(one.digest(), RuleSet::default().digest());
}

#[test]
fn a_set_without_rules_judges_nothing_and_every_set_is_shared() {
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    let set = RuleSet::default();
    shared(&set);
    assert_eq!(set.evaluate(&[truck()]).unwrap().raised(), [false]);
    assert_eq!(load("rules: []").evaluate(&[truck(), truck()]).unwrap().rows(), 2);
    assert_eq!(load(&rule("when: true")).evaluate(&[]).unwrap().raised(), [false; 0]);
}

#[test]
fn a_folder_is_read_without_its_tests() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("b.yaml"), rule("when: loaded")).unwrap();
    std::fs::write(dir.path().join("a.yml"), "rules: [{ id: z, when: moving }]").unwrap();
    std::fs::write(dir.path().join("b_test.yaml"), "tests: []").unwrap();
    std::fs::write(dir.path().join("notes.txt"), "no rules").unwrap();
    assert_eq!(RuleSet::load(dir.path()).unwrap().rules().len(), 2);
    assert_eq!(TestFile::read_dir(dir.path()).unwrap().len(), 1);
    assert!(matches!(RuleSet::load(&dir.path().join("none")), Err(RuleErrors::Read { .. })));
    // Folders in it are read, too, each once, whatever links lead back to; hidden ones are not.
    for folder in ["deep/er", ".git"] {
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        std::fs::write(dir.path().join(folder).join("c.yaml"), "rules: [{ id: deep, when: moving }]").unwrap();
    }
    std::os::unix::fs::symlink(dir.path(), dir.path().join("deep/round")).unwrap();
    assert_eq!(RuleSet::load(dir.path()).unwrap().rules().len(), 3);
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let said = RuleSet::load(&empty).unwrap_err().to_string();
    assert!(said.contains("there is no rule file (*.yaml) in it"), "{said}");
    std::fs::write(dir.path().join("big.yaml"), "#".repeat(limits::RULE_FILE_BYTES + 1)).unwrap();
    assert!(RuleSet::load(dir.path()).unwrap_err().to_string().contains("larger than"));
}

/// Registry and rule may write a plate in other ways: it is one plate.
#[test]
fn plates_are_compared_in_their_normal_form() {
    for (when, holds) in [
        ("plate = '粤B12345'", true),
        ("plate = '粤b·12345'", true),
        ("'粤Ｂ 12345' = plate", true),
        ("plate in ('粤A1', '粤B-12345')", true),
        ("plate not in ('粤b12345')", false),
        ("plate <> '粤B 12345'", false),
        ("plate like '粤b·1%'", true),
        ("plate like '粤B_2345'", true),
        ("plate like '粤A%'", false),
        ("plate = '粤B12346'", false),
    ] {
        for registered in ["粤B12345", "粤B·12345", "粤ｂ１２３４５"] {
            let row = Facts { plate: Some(registered.into()), ..truck() };
            let verdicts = load(&rule(&format!("when: \"{when}\""))).evaluate(&[row]).unwrap();
            assert_eq!(verdicts.when(0, 0) == Verdict::True, holds, "{when} of {registered}");
        }
    }
    let twice = "plate = '粤b·11111' and plate = '粤B11111'";
    assert_eq!(load(&rule(&format!("when: \"{twice}\""))).rules().len(), 1, "one plate, written twice");
}

/// Rules that judged once are read again to judge late data, though they would be refused by now.
#[test]
fn rules_that_were_in_force_are_read_again_whatever_is_an_error_since() {
    for text in [
        "rules: [{ id: a, when: local_hour between 22 and 6 }]",
        "rules: [{ id: a, when: moving, key: [vehicle_id, speed_kmh] }]",
        "rules: [{ id: a, when: moving, shadow: true }, { id: b, over: [a], count: { at_least: 3, per: day } }]",
    ] {
        assert!(RuleSet::parse(&[("a.yaml", text)]).is_err(), "{text}");
        let set = RuleSet::parse_kept(&[("a.yaml", text)]).unwrap_or_else(|error| panic!("{error}"));
        assert!(set.only([set.rules()[0].id.clone()].into()).is_ok());
    }
}

#[test]
fn and_beside_or_is_shown_as_it_is_read() {
    for (when, expected) in [
        ("moving and loaded or in_sink", Some("(moving and loaded) or in_sink")),
        ("in_sink or moving\n  and loaded", Some("in_sink or (moving and loaded)")),
        ("moving and (loaded or in_sink and in_source)", Some("loaded or (in_sink and in_source)")),
        ("(moving and loaded) or in_sink", None),
        ("moving and loaded and not in_sink", None),
        ("speed_kmh between 3 and 5 or moving", None),
        ("speed_kmh between 3 and 5 and loaded or moving", Some("(speed_kmh between 3 and 5 and loaded) or moving")),
        ("case when moving and loaded then true else false end or in_sink", None),
        ("cover in ('open', 'moving') or array_has(events, 'a and b')", None),
    ] {
        assert_eq!(bracketed(when).as_deref(), expected, "{when}");
    }
}

#[test]
fn the_schema_knows_every_key_and_column() {
    let schema = schema();
    let properties = schema["$defs"]["rule"]["properties"].as_object().unwrap();
    let mut keys: Vec<_> = properties.keys().map(String::as_str).collect();
    let mut known = check::RULE_KEYS.to_vec();
    keys.sort_unstable();
    known.sort_unstable();
    assert_eq!(keys, known);
    assert_eq!(schema["$defs"]["column"]["oneOf"].as_array().unwrap().len(), Column::all().len());
}

/// What an editor shows when the mouse rests on a key, or offers to fill in.
#[test]
fn every_key_of_the_schema_is_described_and_every_reference_leads_somewhere() {
    fn walk(root: &Json, node: &Json, path: &str, found: &mut Vec<String>) {
        if let Some(reference) = node["$ref"].as_str() {
            let target = root.pointer(reference.trim_start_matches('#'));
            found.extend(target.is_none().then(|| format!("{path} refers to {reference}")));
        }
        for (name, property) in node["properties"].as_object().into_iter().flatten() {
            let reference = property["$ref"].as_str().unwrap_or("#/nowhere");
            let target = root.pointer(reference.trim_start_matches('#')).unwrap_or(&Json::Null);
            let is_described = property["description"].is_string() || target["description"].is_string();
            found.extend((!is_described).then(|| format!("{path}/{name} has no description")));
        }
        let children: Vec<(String, &Json)> = match node {
            Json::Object(fields) => fields.iter().map(|(name, child)| (name.clone(), child)).collect(),
            Json::Array(items) => items.iter().enumerate().map(|(index, child)| (index.to_string(), child)).collect(),
            _ => Vec::new(),
        };
        children.iter().for_each(|(name, child)| walk(root, child, &format!("{path}/{name}"), found));
    }
    let (schema, mut found) = (schema(), Vec::new());
    walk(&schema, &schema, "#", &mut found);
    assert!(found.is_empty(), "{}", found.join("\n"));
    let examples = schema["$defs"]["predicate"]["examples"].as_array().unwrap();
    examples.iter().for_each(|example| drop(load(&rule(&format!("when: {}", example.as_str().unwrap())))));
}

const TESTS: &str = r#"
tests:
  - name: one speeds
    registry:
      vehicles.csv: |
        vehicle_id,plate,device_id
    reports:
      - { device_id: D1, device_time: "2026-03-01T14:00:00Z", speed_kmh: 80 }
    expect:
      - { rule: overspeed, vehicle: V1, severity: major, cleared_at: null, facts: { speed_kmh: 80 } }
      - { rule: overspeed, vehicle: V2, state: open }
"#;

fn alert(rule: &str, vehicle: &str) -> Alert {
    let at: Time = "2026-03-01T14:00:00Z".parse().unwrap();
    Alert {
        alert_id: AlertId::derive(rule, &[Some(vehicle)], at),
        rule_id: rule.into(),
        rule_version: "0".into(),
        vehicle_id: vehicle.into(),
        plate: "粤B1".into(),
        company_id: "C".into(),
        driver_id: None,
        permit_id: None,
        manifest_id: None,
        trip_id: None,
        severity: Severity::Major,
        departments: Arc::from([]),
        message: "m".into(),
        messages: crate::model::LocalText::default(),
        rule_name: crate::model::LocalText::default(),
        rule_code: None,
        started_at: at,
        fired_at: at,
        cleared_at: None,
        cleared_because: None,
        state: AlertState::Open,
        retrospective: false,
        withdrawn_because: None,
        withdrawn_reasons: LocalText::default(),
        shadow: false,
        lat: None,
        lon: None,
        district_id: None,
        place_id: None,
        road_id: None,
        sensor_id: None,
        unregistered: false,
        facts: [("speed_kmh".to_owned(), serde_json::json!(80.0))].into_iter().collect(),
        joined: Vec::new(),
    }
}

#[test]
fn tests_are_compared_with_what_came() {
    let file = TestFile::parse("dir/speed_test.yaml", TESTS).unwrap();
    let case = &file.cases[0];
    assert_eq!((case.line, case.reports.len(), case.expect.len()), (3, 1, 2));
    assert!(matches!(&case.registry, RegistrySource::Files(files) if files.contains_key("vehicles.csv")));
    let both = [alert("overspeed", "V2"), alert("overspeed", "V1")];
    assert_eq!(case.compare(&both), []);
    let shown = |alerts: &[Alert]| {
        let outcome = file.run(|_| Ok::<_, String>(alerts.to_vec())).unwrap();
        outcome[0].to_string()
    };
    assert_eq!(shown(&both), "ok  one speeds (dir/speed_test.yaml:3)");
    let wrong = Alert { severity: Severity::Minor, facts: serde_json::Map::new(), ..alert("overspeed", "V1") };
    let said = shown(&[wrong, alert("lift", "V9")]);
    for line in [
        "FAILED  one speeds (dir/speed_test.yaml:3)",
        "  ~ overspeed of V1 came otherwise:",
        "      severity: expected major, found minor",
        "      facts.speed_kmh: expected 80, found not among the alert's facts",
        "  - expected, did not come: overspeed of V2",
        "  + came, not expected: lift of V9, major, started 2026-03-01T14:00:00.000Z",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    assert!(shown(&[]).contains("  - expected, did not come: overspeed of V1"));
}

fn series_problems(series: &str) -> String {
    let text = format!("tests: [{{ name: a, expect: [], reports: [{{ series: {{ {series} }} }}] }}]");
    let error = TestFile::parse("t.yaml", &text).expect_err(series);
    let one =
        |p: &Problem| format!("{}:{}: {} | {}\n", p.line, p.column, p.message, p.hint.as_deref().unwrap_or_default());
    error.problems().iter().map(one).collect()
}

#[test]
fn series_become_reports_in_order_of_arrival() {
    let text = r#"
tests:
  - name: three series and a report
    reports:
      - series: { device_id: A, from: "2026-03-01T14:00:00Z", every: 10s, count: 3, speed_kmh: 50,
                  path: [[114.0, 22.0], [114.2, 22.0]] }
      - series: { device_id: B, from: "2026-03-01T14:00:05Z", every: 1s, count: 2, load: full }
      - series: { device_id: C, from: "2026-03-01T13:00:00Z", every: 1s, count: 2, arrives: "2026-03-01T14:00:15Z" }
      - { device_id: D, device_time: "2026-03-01T12:00:00Z" }
      - series: { device_id: E, from: "2026-03-01T11:00:00Z", every: 1s, count: 1, path: [[114.0, 22.0]] }
    expect: []
"#;
    let file = TestFile::parse("t.yaml", text).unwrap_or_else(|error| panic!("{error}"));
    let reports = &file.cases[0].reports;
    let brief = |report: &serde_json::Value| {
        let time = report["device_time"].as_str().unwrap().get(11..19).unwrap().to_owned();
        format!("{} {time}", report["device_id"].as_str().unwrap())
    };
    let expected =
        "A 14:00:00, B 14:00:05, B 14:00:06, A 14:00:10, C 13:00:00, C 13:00:01, A 14:00:20, D 12:00:00, E 11:00:00";
    assert_eq!(reports.iter().map(brief).collect::<Vec<_>>().join(", "), expected);
    let middle = serde_json::json!({
        "device_id": "A", "device_time": "2026-03-01T14:00:10.000Z", "lon": 114.1, "lat": 22.0, "speed_kmh": 50,
    });
    assert_eq!(reports[3], middle);
    assert_eq!((&reports[1]["load"], reports[1].get("lat")), (&"full".into(), None));
    assert_eq!(reports[4]["recv_time"], "2026-03-01T14:00:15.000Z");
}

#[test]
fn wrong_tests_are_refused_with_a_reason() {
    for (from, to, expected) in [
        ("expect:", "expects:", "unknown key `expects` in a test"),
        ("rule: overspeed, vehicle: V1", "vehicle: V1", "`rule` is missing"),
        ("severity: major", "severity: grave", "unknown severity `grave`"),
        ("state: open", "state: gone", "unknown state `gone`"),
        ("facts: { speed_kmh: 80 }", "facts: { speed: 80 }", "unknown key `speed` in the facts"),
        ("\"2026-03-01T14:00:00Z\"", "yesterday", "not a time"),
        ("device_time:", "time:", "`device_time` is missing"),
        ("vehicles.csv:", "../vehicles.csv:", "is no file name"),
    ] {
        let error = TestFile::parse("t.yaml", &TESTS.replacen(from, to, 1)).expect_err(to).to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
    for (series, expected) in [
        ("sped_kmh: 5", "1:119: unknown key `sped_kmh` in a series | did you mean `speed_kmh`?"),
        ("lat: 22.5", "unknown key `lat` in a series"),
        ("path: [[114, 95]]", "1:126: expected longitude and latitude, found [114,95] | write `[114.05, 22.5]`"),
        ("path: 5", "expected a list for `path`, found a number"),
        ("arrives: soon", "not a time"),
    ] {
        let found =
            series_problems(&format!("device_id: D, from: \"2026-03-01T14:00:00Z\", every: 9s, count: 2, {series}"));
        assert!(found.contains(expected), "{series}: {found}");
    }
    for (series, expected) in [
        ("count: 2", "`device_id` is missing | "),
        ("every: 9", "expected text for `every`, found a number"),
        ("every: 0s", "expected a duration for `every`, found `0s` | durations are such as"),
        ("count: 0", "expected a whole number from 1 to 100000 for `count`, found 0"),
        ("count: 1000000", "for `count`, found 1000000"),
    ] {
        let found = series_problems(series);
        assert!(found.contains(expected), "{series}: {found}");
    }
    let folder = TestFile::parse("dir/t.yaml", "tests: [{ name: a, registry: reg, reports: [], expect: [] }]").unwrap();
    assert_eq!(folder.cases[0].registry, RegistrySource::Folder("dir/reg".into()));
}

/// The first pack, as delivered in `rules/`.
const PACK: &[(&str, &str)] = &[
    ("speed.yaml", include_str!("../../rules/speed.yaml")),
    ("route.yaml", include_str!("../../rules/route.yaml")),
    ("zones.yaml", include_str!("../../rules/zones.yaml")),
    ("permits.yaml", include_str!("../../rules/permits.yaml")),
    ("body.yaml", include_str!("../../rules/body.yaml")),
    ("sites.yaml", include_str!("../../rules/sites.yaml")),
    ("stops.yaml", include_str!("../../rules/stops.yaml")),
    ("devices.yaml", include_str!("../../rules/devices.yaml")),
    ("blacklist.yaml", include_str!("../../rules/blacklist.yaml")),
    ("fleets.yaml", include_str!("../../rules/fleets.yaml")),
    ("mute.yaml", include_str!("../../rules/mute.yaml")),
];

/// A lawful truck under way: everything known, nothing wrong.
fn lawful() -> Facts {
    Facts {
        speed_kmh: Some(50.0),
        moving: Some(true),
        stopped_s: Some(0.0),
        vehicle_status: Some("active".into()),
        company_id: Some("C1".into()),
        manifest_id: Some("M1".into()),
        trip_id: Some("T1".into()),
        cover: Some("closed"),
        lift: Some("flat"),
        ignition: Some(true),
        permit_status: Some("valid"),
        in_permit_window: Some(true),
        off_route: Some(false),
        route_deviation_m: Some(12.0),
        in_forbidden: Some(false),
        in_approved_place: Some(false),
        in_source: Some(false),
        blacklisted: Some(false),
        outage_filed: Some(false),
        zone_ids: list(&[]),
        ..truck()
    }
}

fn raised_by(set: &RuleSet, row: Facts) -> Vec<String> {
    let verdicts = set.evaluate(&[row]).unwrap();
    let holds = |index: &usize| verdicts.when(*index, 0) == Verdict::True;
    (0..set.rules().len()).filter(holds).map(|index| set.rules()[index].id.to_string()).collect()
}

#[test]
fn the_pack_raises_what_it_should_and_nothing_else() {
    let set = RuleSet::parse(PACK).unwrap_or_else(|error| panic!("{error}"));
    type Change = fn(&mut Facts);
    let cases: &[(Change, &[&str])] = &[
        (|_| {}, &[]),
        (|f| f.settled_speed_kmh = Some(70.0), &["overspeed"]),
        (|f| f.settled_speed_kmh = Some(95.0), &["overspeed", "overspeed-severe"]),
        (|f| (f.settled_speed_kmh, f.settled_speed_limit_kmh) = (Some(95.0), None), &[]),
        // Of this report only the next one accuses.
        (|f| f.speed_kmh = Some(95.0), &[]),
        (|f| (f.off_route, f.route_deviation_m) = (Some(true), Some(150.0)), &["route-deviation"]),
        (
            |f| (f.off_route, f.route_deviation_m) = (Some(true), Some(600.0)),
            &["route-deviation", "route-deviation-severe"],
        ),
        (|f| (f.off_route, f.route_deviation_m, f.loaded) = (Some(true), Some(600.0), None), &[]),
        (|f| f.in_forbidden = Some(true), &["forbidden-zone"]),
        (|f| f.crossed_forbidden = Some(true), &["forbidden-zone-crossed"]),
        (|f| f.permit_status = Some("expired"), &["unpermitted-transport"]),
        (|f| (f.permit_status, f.loaded) = (Some("none"), None), &["unpermitted-transport"]),
        (|f| (f.permit_status, f.loaded, f.trip_id) = (Some("none"), None, None), &[]),
        (|f| f.in_permit_window = Some(false), &["outside-permit-hours"]),
        (|f| f.in_permit_window = None, &[]),
        (|f| (f.moving, f.stopped_s, f.speed_kmh) = (Some(false), Some(901.0), Some(0.0)), &["abnormal-stop"]),
        (|f| (f.lift, f.speed_kmh) = (Some("lifting"), Some(0.0)), &["lift-outside-site"]),
        (|f| (f.lift, f.speed_kmh) = (None, Some(0.0)), &[]),
        (|f| (f.lift, f.speed_kmh, f.in_approved_place) = (Some("full"), Some(0.0), Some(true)), &[]),
        (|f| f.cover = Some("open"), &["cover-open-loaded", "overspeed-unsealed"]),
        (|f| (f.cover, f.vehicle_status) = (Some("open"), Some("maintenance".into())), &[]),
        (|f| f.blacklisted = Some(true), &["blacklisted"]),
        (|f| (f.row_kind, f.silent_s) = (Some("timer"), Some(301.0)), &["mass-offline", "terminal-offline"]),
        (|f| (f.row_kind, f.silent_s, f.outage_filed) = (Some("timer"), Some(90_000.0), Some(true)), &[]),
        (|f| (f.row_kind, f.silent_s, f.ignition) = (Some("timer"), Some(1_000.0), Some(false)), &[]),
    ];
    for (index, (change, expected)) in cases.iter().enumerate() {
        let mut row = lawful();
        change(&mut row);
        assert_eq!(raised_by(&set, row), *expected, "case {index}");
    }
    assert_eq!(raised_by(&set, Facts::default()), [""; 0], "nothing known raises nothing");
}

#[test]
fn every_rule_of_the_pack_says_who_and_what() {
    let set = RuleSet::parse(PACK).unwrap();
    for rule in set.rules() {
        assert!(rule.name.languages().count() == 2 && rule.description.is_some(), "{}", rule.id);
        let messages = rule.messages(&lawful(), &());
        let is_chinese =
            |text: &str| text.replace("粤B00001", "").chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
        assert!(is_chinese(&messages.zh) && messages.zh != messages.en, "{}: {messages:?}", rule.id);
        assert!(is_chinese(&rule.titles.zh) && !is_chinese(&rule.titles.en), "{}: {:?}", rule.id, rule.titles);
        let says_who = rule.tally.is_some() || messages.en.starts_with("粤B00001: ");
        assert!(!rule.departments.is_empty() && says_who, "{}", rule.id);
    }
    let silent = |silent_s, manifest: Option<&str>| Facts {
        row_kind: Some("timer"),
        silent_s: Some(silent_s),
        manifest_id: manifest.map(Arc::from),
        ..lawful()
    };
    let offline = set.index_of("terminal-offline").unwrap();
    let rows = [silent(400.0, Some("M")), silent(1_900.0, Some("M")), silent(1_900.0, None), silent(90_000.0, None)];
    let verdicts = set.evaluate(&rows).unwrap();
    let found = [0, 1, 2, 3].map(|row| verdicts.severity(offline, row).unwrap());
    assert_eq!(found, [Severity::Notice, Severity::Minor, Severity::Notice, Severity::Minor]);
}

/// What the tests of a rule must show of it: by the alerts that they expect, and by what their names say.
#[test]
fn every_rule_of_the_pack_is_tested_at_each_of_its_edges() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let set = RuleSet::load(&folder).unwrap_or_else(|error| panic!("{error}"));
    let files = TestFile::read_dir(&folder).unwrap_or_else(|error| panic!("{error}"));
    let cases: Vec<&TestCase> = files.iter().flat_map(|file| &file.cases).collect();
    let mut missing = Vec::new();
    for rule in set.rules() {
        let is_named = |name: &str| name.split([' ', ',', ';']).any(|word| *word == *rule.id);
        let named: Vec<&str> = cases.iter().map(|case| case.name.as_str()).filter(|name| is_named(name)).collect();
        let says = |words: &[&str]| named.iter().any(|name| words.iter().any(|word| name.contains(word)));
        // Whose facts are never NULL has no unknown.
        let knows_all = !rule.columns.iter().any(|column| column.spec().nullable);
        let joins = |alert: &Expected| alert.joined.iter().any(|joined| **joined == *rule.id);
        let is_of = |alert: &&Expected| *alert.rule == *rule.id || joins(alert);
        let alerts = || cases.iter().flat_map(|case| &case.expect).filter(is_of);
        let is_cleared = |alert: &Expected| {
            alert.cleared_at.is_some_and(|at| at.is_some()) || alert.state == Some(AlertState::Cleared)
        };
        for (shown, edge) in [
            (alerts().next().is_some(), "fires"),
            (says(&["does not fire"]), "does not fire just below"),
            (knows_all || says(&["unknown", "nobody knows", "holds through"]), "holds through the unknown"),
            (alerts().any(is_cleared), "clears"),
            (says(&["cools down"]) || rule.timing.cooldown_ms == 0, "cools down"),
        ] {
            if !shown {
                missing.push(format!("{}: {edge}", rule.id));
            }
        }
    }
    assert!(missing.is_empty(), "no test in rules/ shows that\n{}", missing.join("\n"));
}

/// What stands around the expectations stays; what came stands in them; a second time there is nothing to do.
#[test]
fn expectations_are_filled_in_and_nothing_else_is_touched() {
    let reports = "    reports: [{ device_id: D1, device_time: \"2026-03-01T14:00:00Z\" }]";
    let came = vec![alert("overspeed", "V1")];
    let filled = "- { rule: overspeed, vehicle: V1, severity: ";
    for (case, kept, changes) in [
        ("    expect: []\n  # the end\n", vec!["expect:\n      ", filled, "\n  # the end\n"], 1),
        ("    expect:\n  # the end\n", vec![filled, "\n  # the end\n"], 1),
        ("", vec!["expect:\n      ", filled], 1),
        ("    expect:\n    - { rule: overspeed, vehicle: V1 }\n", vec!["    - { rule: overspeed, vehicle: V1 }\n"], 0),
        (
            "    expect: # why\n    - { rule: overspeed, vehicle: V1, message: x }\n\n    # note\n    settings: {}\n",
            vec!["vehicle: V1, message: \"", "\n\n    # note\n    settings: {}\n"],
            1,
        ),
        ("    expect:\n      - rule: other\n        vehicle: V1\n", vec![filled], 1),
    ] {
        let text = format!("# head\ntests:\n  - name: \"a\"   # first\n{reports}\n{case}");
        let file = TestFile::parse_incomplete("a_test.yaml", &text).expect(case);
        let completed = file.complete(&text, std::slice::from_ref(&came)).expect(case);
        assert_eq!(completed.changed.len(), changes, "{case}");
        assert!(completed.text.starts_with("# head\ntests:\n  - name: \"a\"   # first\n"), "{}", completed.text);
        kept.iter().for_each(|part| assert!(completed.text.contains(part), "{part} is not in:\n{}", completed.text));
        let again = TestFile::parse("a_test.yaml", &completed.text).expect(case);
        assert_eq!(
            again.complete(&completed.text, std::slice::from_ref(&came)).expect(case).changed.len(),
            0,
            "{case}"
        );
        assert_eq!(changes == 0, text == completed.text, "{case}");
    }
}

#[test]
fn what_cannot_be_edited_is_refused_and_a_lacking_expectation_says_what_to_do() {
    let flow = "tests:\n  - { name: a, reports: [], expect: [] }\n";
    let file = TestFile::parse_incomplete("a_test.yaml", flow).unwrap();
    assert!(file.complete(flow, &[vec![alert("overspeed", "V1")]]).is_err());
    assert_eq!(file.complete(flow, &[vec![]]).unwrap().text, flow);
    let error = TestFile::parse("a_test.yaml", "tests:\n  - { name: a, reports: [] }\n").unwrap_err().to_string();
    assert!(error.contains("`expect` is missing") && error.contains("--complete"), "{error}");
}

#[test]
fn shadow_rules_inhibit_and_join_only_one_another() {
    let set = load(
        "rules:
  - { id: a, when: moving, incident: tipping, inhibited_by: [c, s], shadow: false }
  - { id: c, when: moving }
  - { id: s, when: moving, incident: tipping, inhibited_by: [c], shadow: true }
  - { id: t, when: moving, incident: tipping, inhibited_by: [c, s], shadow: true }
",
    );
    let of = |id: &str| &set.rules()[set.index_of(id).unwrap()];
    let inhibitors = |id: &str| of(id).inhibited_by.iter().map(|id| id.to_string()).collect::<Vec<_>>();
    assert_eq!([inhibitors("a"), inhibitors("s"), inhibitors("t")], [vec!["c"], vec!["c"], vec!["c", "s"]]);
    let incident = |id: &str| of(id).incident.as_ref().map(|incident| incident.name.to_string()).unwrap();
    assert_eq!(incident("s"), incident("t"));
    assert_ne!(incident("a"), incident("s"));
}

#[test]
fn a_set_is_made_again_from_its_files() {
    let set = RuleSet::parse(&[("b.yaml", "rules: [{ id: b, when: moving }]"), ("a.yaml", "rules: []")]).unwrap();
    let files: Vec<(&str, &str)> = set.files().iter().map(|(name, text)| (&**name, &**text)).collect();
    assert_eq!(files.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["b.yaml", "a.yaml"]);
    assert_eq!(RuleSet::parse(&files).unwrap().digest(), set.digest());
}

/// In SQL `between 22 and 6` never holds: a rule with it sleeps for ever. What can hold is never refused.
#[test]
fn conditions_that_never_hold_are_errors() {
    let mut wrong = Vec::new();
    for (when, part) in [
        ("local_hour between 22 and 6", "write `(local_hour >= 22 or local_hour <= 6)`"),
        ("local_weekday = 0", "`local_weekday` is 1 to 7"),
        ("local_weekday in (0, 8)", "`local_weekday` is 1 to 7"),
        ("local_hour >= 24", "`local_hour` is 0 to 23"),
        ("local_hour > 22 and local_hour < 23", "at once"),
        ("local_hour = 6.5", "is never true"),
        ("local_minute_of_day between 1320 and 360", "over midnight"),
        ("local_hour not between 0 and 23", "is never true"),
        ("0 = local_weekday", "is never true"),
        ("heading_deg > 360", "`heading_deg` is 0 to 360"),
        ("road_confidence > 80", "`road_confidence` is 0 to 1"),
        ("lat > 113 and lon < 23", "`lat` is -90 to 90"),
        ("speed_kmh > 60 and speed_kmh < 50", "is never true"),
        ("speed_kmh > 60 and loaded and speed_kmh <= 60", "is never true"),
        ("speed_kmh between 10 and 20 and speed_kmh > 30", "is never true"),
        ("speed_kmh > 60 and not speed_kmh > 50", "is never true"),
        ("speed_kmh in (10, 20) and speed_kmh > 30", "is never true"),
        ("(speed_kmh < 5 or speed_kmh > 100) and speed_kmh between 20 and 60", "is never true"),
        ("speed_kmh > speed_limit_kmh and speed_kmh < speed_limit_kmh", "is never true"),
        ("speed_kmh > speed_limit_kmh and speed_limit_kmh >= speed_kmh", "is never true"),
        ("speed_kmh > speed_kmh", "this is never true"),
        ("speed_kmh - speed_limit_kmh > 20 and speed_kmh - speed_limit_kmh < 10", "is never true"),
        ("speed_kmh is null and speed_kmh > 60", "NULL and known"),
        ("speed_kmh * 2 > 60 and speed_kmh is null", "NULL and known"),
        ("loaded and loaded is null", "NULL and known"),
        ("loaded and not loaded", "true and false at once"),
        ("loaded = true and loaded = false", "true and false at once"),
        ("loaded and loaded is not true", "is never true"),
        ("loaded and load = 'empty'", "`loaded` is: load half, full or loaded"),
        ("not loaded and load in ('half', 'full')", "`loaded` is: load half, full or loaded"),
        ("array_has(events, 'fatigue') and not array_has(events, 'fatigue')", "true and false at once"),
        ("loaded or (cover = 'open' and cover = 'closed')", "at once"),
        ("cover = 'open' and cover <> 'open'", "at once"),
        ("cover in ('open', 'moving') and cover = 'closed'", "at once"),
        ("cover not in ('open', 'closed', 'moving')", "it is one of closed, open, moving"),
        ("cover <> 'open' and cover <> 'closed' and cover <> 'moving'", "it is one of closed, open, moving"),
        ("cover like 'Op%'", "it is one of closed, open, moving"),
        ("place_kind = 'source' and place_kind = 'sink'", "at once"),
        ("plate = '粤B11111' and plate = '粤B22222'", "no two words at once"),
        ("plate in ('粤B11111', '粤B22222') and plate = '粤B33333'", "no two words at once"),
        ("lower(cover) = 'OPEN'", "write 'open'"),
        ("upper(cover) = 'OPN'", "did you mean `open`?"),
        ("case cover when 'opn' then true else false end", "`cover` is never 'opn'"),
        ("sighting_kind = 'anpr' and speed_kmh > 60", "`sighting_kind` and `speed_kmh` never stand in one row"),
        ("sighting_direction = 'out' and cover = 'open'", "write two rules"),
        ("sighting_kind = 'spill' and array_has(alarms, 'sos')", "never stand in one row"),
        ("row_kind = 'sighting' and moving", "never stand in one row"),
        ("row_kind = 'report' and silent_s > 300", "never stand in one row"),
        ("silent_s > 300 and speed_kmh > 0", "a row of the clock has only"),
        ("silent_s > 300 and sighting_dirty", "never stand in one row"),
        ("'a' = 'b'", "this is never true"),
        ("5 > 6", "this is never true"),
    ] {
        let said = RuleSet::parse(&[("r.yaml", &rule(&format!("when: \"{when}\"")))]).err();
        let said = said.map_or_else(|| "nothing".to_owned(), |error| error.to_string());
        if !said.contains(part) {
            wrong.push(format!("{when}: expected {part}, found {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for when in [
        "local_hour between 6 and 22",
        "local_hour not between 22 and 6",
        "local_hour >= 22 or local_hour <= 6",
        "speed_kmh > 60 and speed_kmh < 80",
        "speed_kmh >= 60 and speed_kmh <= 60",
        "cover = 'open' or cover = 'closed'",
        "cover = 'open' and load = 'full'",
        "local_weekday = 7 and local_hour = 0",
        "heading_deg > -1",
        "false",
        "not (local_hour = 6 and local_hour = 7)",
        "local_hour > 21 and local_hour < 23",
        "speed_kmh is null or speed_kmh > 60",
        "speed_kmh > speed_limit_kmh and speed_kmh >= speed_limit_kmh",
        "speed_kmh > speed_limit_kmh and speed_kmh < speed_recorder_kmh",
        "loaded is not true and load is null",
        "coalesce(load, 'empty') = 'empty' and not coalesce(loaded, false)",
        "array_has(alarms, 'anything') and array_has(events, 'new')",
        "array_has(events, 'a') and not array_has(events, 'b')",
        "cover not in ('open', 'closed')",
        "cover like 'op%'",
        "plate like '粤%' and plate <> '粤B11111'",
        "sighting_kind = 'anpr' and speed_kmh is null",
        "sighting_kind = 'anpr' and permit_status <> 'valid' and district_id = 'd1' and lat > 22",
        "sighting_gross_kg > 1.05 * coalesce(max_gross_kg, gross_kg, 31000)",
        "sighting_kind = 'anpr' or speed_kmh > 60",
        "silent_s > 300 and ignition and loaded and trip_s > 60 and place_kind = 'source'",
        "lower(plate) = '粤b11111'",
        "event_time = '2026-03-01T00:00:00Z' and event_time = '2026-03-01T08:00:00+08:00'",
    ] {
        if let Err(error) = RuleSet::parse(&[("r.yaml", &rule(&format!("when: \"{when}\"")))]) {
            panic!("{when}: {error}");
        }
    }
}
