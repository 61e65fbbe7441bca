//! What a rule may read and call, in words: one fact, all facts, and the page of both.

use std::fmt::Write;

use super::{RuleErrors, RuleSet, chinese, closed, errors::nearest, functions};
use crate::model::{Column, Kind};

/// Endings of names and what they are measured in.
const UNITS: &[(&str, &str)] = &[
    ("_kmh", "kilometres an hour"),
    ("_mps2", "metres a second, a second"),
    ("_deg", "degrees"),
    ("_kg", "kilograms"),
    ("_s", "seconds"),
    ("_m", "metres"),
    ("_hour", "hours"),
    ("_minute_of_day", "minutes"),
    ("lat", "degrees"),
    ("lon", "degrees"),
];

/// Which facts are NULL, and when.
const UNKNOWN: &[(&[&str], &str)] = &[
    (&["cell_id"], "nobody knows where it is; on rows made by the clock"),
    (&["source_gate", "recent_alerts"], "it neither comes into a source nor leaves one at this report"),
    (
        &["zone_id", "zone_kind", "zone_name", "zone_dwell_s"],
        "the rule has no `zone_id` in its key, it is in no zone, or nobody knows where it is; on rows made by the clock",
    ),
    (&["company_name"], "its company is not registered, or has no name"),
    (&["last_place_id"], "it was in no place yet, or left none"),
    (
        &[
            "nearest_source_m",
            "nearest_sink_m",
            "nearest_backfill_m",
            "nearest_transfer_m",
            "nearest_depot_m",
            "nearest_workshop_m",
        ],
        "none is within 20 km, or nobody knows where it is; on rows made by the clock",
    ),
    (
        &["zones_crossed", "crossed_forbidden"],
        "the last fix is too far away to say, 2,000 m or `facts.max_gap_s`, or nobody knows where it is; on rows made by the clock",
    ),
    (&["driver_id"], "neither a device nor an open manifest names a driver"),
    (&["lat", "lon"], "the report has no position, or none to be trusted"),
    (&["speed_kmh"], "the device reports none and the last two fixes imply none; on rows made by the clock"),
    (&["heading_deg", "accuracy_m", "odometer_m"], "the device does not report it; on rows made by the clock"),
    (
        &["gap_s", "gap_m", "implied_speed_kmh"],
        "there is no fix before this one, or none now; on rows made by the clock",
    ),
    (&["usual_gap_s"], "there was no gap before this one; on rows made by the clock"),
    (
        &["gap_odometer_m", "no_fix_odometer_m"],
        "the device does not report its odometer, or it ran backwards; on rows made by the clock",
    ),
    (&["speed_recorder_kmh"], "the device does not report it; on rows made by the clock"),
    (
        &["manifest_driver_id", "manifest_planned_s", "manifest_planned_m"],
        "there is no open manifest, or it does not say it",
    ),
    (&["driver_mismatch"], "nobody reported himself, or no open manifest names a driver"),
    (&["trip_gross_change_kg"], "there is no trip, or no mass is known of its beginning or now"),
    (
        &[
            "sighting_kind",
            "sighting_place_id",
            "sighting_direction",
            "sighting_sensor_id",
            "sighting_cover",
            "sighting_dirty",
            "sighting_washed",
            "sighting_gross_kg",
            "sighting_cloned",
        ],
        "the row is no sighting, or its sensor does not say it",
    ),
    (&["sighting_place_registered"], "the row is no sighting at a place, or no place at all is registered"),
    (&["sighting_wash_s"], "the row is no sighting at a place, or no wash bay there ever saw it washed"),
    (&["sighting_distance_m"], "the row is no sighting, or its own last fix is over a minute away"),
    (
        &["sighting_implied_kmh"],
        "the row is no sighting, nobody knows where it was, or its last fix or sighting is within two kilometres",
    ),
    (&["acceleration_mps2"], "one of the two reports has no speed; on rows made by the clock"),
    (
        &["clock_skew_s"],
        "the report is back-fill, or it and the one before arrived at other intervals than they were measured at; on rows made by the clock",
    ),
    (&["clock_fault"], "its clock is right within two minutes, or `clock_skew_s` is unknown"),
    (
        &["turn_deg", "turn_s", "turn_min_speed_kmh", "turn_acceleration_mps2"],
        "fixes come more than three seconds apart, one of the last two has no speed or course, or turns on less than ten metres, which no truck does; on rows made by the clock",
    ),
    (&["moving"], "it cannot be told yet; on rows made by the clock"),
    (&["ignition"], "the device does not report it"),
    (&["ignition_on_s"], "ignition is off or unknown, or was on when it was first heard of; on rows made by the clock"),
    (&["power"], "the device does not report it; on rows made by the clock it is as last told"),
    (&["event_level"], "no event of the report has a level; on rows made by the clock"),
    (&["antenna", "gross_kg"], "the device does not report it; on rows made by the clock"),
    (&["load", "loaded"], "its sensor is missing, faulty or silent"),
    (&["cover", "lift"], "its sensor is missing, faulty or silent; on rows made by the clock"),
    (&["cover_still_trips"], "its cover was never told; on rows made by the clock"),
    (&["max_gross_kg"], "the registry does not say it"),
    (&["place_id", "place_kind"], "it is in no place"),
    (&["place_status"], "it is in no place, or nobody knows where it is; on rows made by the clock"),
    (
        &["place_approved"],
        "it is in neither a source nor a sink, no permit at all is registered, or nobody knows where it is; on rows made by the clock",
    ),
    (&["sink_permitted"], "it is in no sink, or nobody knows where it is; on rows made by the clock"),
    (
        &[
            "in_source",
            "in_sink",
            "in_approved_place",
            "in_forbidden",
            "in_restricted",
            "in_control",
            "in_water",
            "in_eco",
            "zone_ids",
            "zone_tags",
        ],
        "nobody knows where it is; on rows made by the clock",
    ),
    (
        &["outside_operating_area"],
        "no operating area is registered, or nobody knows where it is; on rows made by the clock",
    ),
    (&["district_id"], "it is in no district"),
    (
        &["road_id", "road_name", "road_class", "road_distance_m", "road_confidence", "road_ambiguous"],
        "no road is near; on rows made by the clock",
    ),
    (&["speed_limit_kmh"], "neither zone nor road gives a limit; on rows made by the clock"),
    (
        &["settled_time"],
        "on the first report, after a gap of more than `facts.max_gap_s`, and on rows made by the clock or by sightings",
    ),
    (&["settled_lat", "settled_lon"], "nobody knew where it was, or `settled_time` is NULL"),
    (&["settled_road_id", "settled_road_name"], "no road was near, or `settled_time` is NULL"),
    (&["settled_speed_limit_kmh"], "neither zone nor road gave a limit, or `settled_time` is NULL"),
    (&["settled_speed_kmh"], "`speed_kmh` was, this fix contradicts it, or `settled_time` is NULL"),
    (&["permit_id"], "there is no permit"),
    (&["in_permit_window"], "there is no valid permit"),
    (
        &["route_id", "route_deviation_m", "off_route", "off_route_s"],
        "no valid permit names a route, or nobody knows where it is; on rows made by the clock",
    ),
    (&["manifest_id", "manifest_open_s"], "no manifest is open"),
    (&["trip_id", "trip_source_id", "trip_s", "trip_distance_m", "trip_washed", "trip_stops"], "no trip is under way"),
    (&["trip_aside_s", "trip_returning"], "no trip is under way; on rows made by the clock"),
    (&["silent_s"], "the row is a report"),
    (
        &[
            "stopped_s",
            "cover_fault",
            "lift_fault",
            "load_fault",
            "load_drop",
            "load_disagreed_trips",
            "alarms",
            "events",
        ],
        "the row is made by the clock",
    ),
];

/// Which settings shape which facts: keys of the configuration file.
const SHAPED_BY: &[(&[&str], &[&str])] = &[
    (&["local_hour", "local_minute_of_day", "local_weekday"], &["time_zone"]),
    (&["in_forbidden", "in_restricted", "in_control", "zone_ids", "zone_tags", "in_permit_window"], &["time_zone"]),
    (
        &["moving", "stopped_s"],
        &["facts.stop_speed_kmh", "facts.leave_speed_kmh", "facts.stop_radius_m", "facts.stop_s", "facts.drift_m"],
    ),
    (
        &["speed_kmh", "implied_speed_kmh", "acceleration_mps2", "settled_time", "settled_speed_kmh"],
        &["facts.max_gap_s"],
    ),
    (
        &[
            "road_id",
            "road_name",
            "road_class",
            "road_distance_m",
            "road_confidence",
            "road_ambiguous",
            "speed_limit_kmh",
            "settled_road_id",
            "settled_road_name",
            "settled_speed_limit_kmh",
        ],
        &[
            "facts.road_radius_m",
            "facts.road_sigma_m",
            "facts.road_course_deg",
            "facts.road_detour_m",
            "facts.road_detour_mps",
            "facts.road_break",
            "facts.road_turn_m",
        ],
    ),
    (
        &["off_route", "off_route_s"],
        &[
            "facts.route_buffer_m",
            "facts.route_clear_share",
            "facts.route_off_fixes",
            "facts.route_window",
            "facts.route_course_deg",
            "facts.route_end_grace_m",
            "facts.max_accuracy_m",
        ],
    ),
    (&["zones_crossed", "crossed_forbidden"], &["time_zone", "facts.max_gap_s", "facts.max_accuracy_m"]),
    (&["trip_aside_s"], &["facts.road_radius_m"]),
    (&["off_route_s"], &["facts.max_gap_s"]),
    (&["driving_s"], &["facts.rest_s", "facts.max_gap_s"]),
    (&["driving_day_s"], &["facts.max_gap_s"]),
    (&["silent_s"], &["silence.tick_s"]),
];

/// The facts that a word finds: the one of that name, else those with it in their name, English or Chinese, else those with it in
/// what they mean. In the order of the table, never none.
///
/// # Errors
/// That there is none, with the nearest name.
pub fn facts_named(word: &str) -> Result<Vec<Column>, String> {
    let wanted = word.trim().to_lowercase().replace([' ', '-'], "_");
    if let Some(column) = Column::named(&wanted) {
        return Ok(vec![column]);
    }
    let found = |is_it: &dyn Fn(&Column) -> bool| Column::all().filter(is_it).collect::<Vec<_>>();
    let is_called = |column: &Column| column.name().contains(&wanted) || chinese::name(column.name()).contains(&wanted);
    let is_meant = |column: &Column| {
        let mut words = column.spec().doc.split(|c: char| !c.is_alphanumeric());
        words.any(|one| one.eq_ignore_ascii_case(&wanted))
    };
    let looks: [&dyn Fn(&Column) -> bool; 2] = [&is_called, &is_meant];
    let found = looks.iter().map(|look| found(*look)).find(|found| !found.is_empty() && !wanted.is_empty());
    found.ok_or_else(|| match nearest(&wanted, Column::all().map(Column::name)) {
        Some(near) => format!("no fact is called `{word}`; did you mean `{near}`?"),
        None => format!("no fact is called `{word}`; `muckwatch rules explain-fact` lists them all"),
    })
}

/// Each fact on a line: name, type, whether it may be NULL, Chinese name, meaning.
pub fn fact_list(facts: impl Iterator<Item = Column>) -> String {
    let lines = facts.map(|column| {
        let spec = column.spec();
        let null = if null_when(spec.name).is_some() { "or NULL" } else { "" };
        let chinese = chinese::name(spec.name);
        format!("{:<25} {:<14}{null:<9}{chinese} {}\n", spec.name, type_of(spec.kind), spec.doc)
    });
    lines.collect()
}

/// All about one fact, and which of `rules` read it.
pub fn explain(column: Column, rules: Option<&RuleSet>) -> String {
    let spec = column.spec();
    let mut text = format!("{} {}\n  {}\n", spec.name, chinese::name(spec.name), spec.doc);
    let mut say = |what: &str, value: String| _ = writeln!(text, "  {what:<12}{value}");
    say("type", type_of(spec.kind).to_owned());
    if let Some(unit) = unit(spec.name, spec.kind) {
        say("unit", unit.to_owned());
    }
    say("NULL when", null_when(spec.name).unwrap_or("never").to_owned());
    if let Some(words) = closed::words(spec.name) {
        say("words", words.join(", "));
    }
    let settings = shaped_by(spec.name);
    if !settings.is_empty() {
        say("settings", settings.join(", "));
    }
    if let Some(rules) = rules {
        let readers = rules.rules().iter().filter(|rule| rule.needed().contains(column));
        let readers: Vec<&str> = readers.map(|rule| &*rule.id).collect();
        say("read by", if readers.is_empty() { "no rule".to_owned() } else { readers.join(", ") });
    }
    text
}

/// The page of all facts and functions, in Markdown.
///
/// # Errors
/// When the functions cannot be listed, which is a defect here.
pub fn reference() -> Result<String, RuleErrors> {
    let mut page = String::from(HEAD);
    for column in Column::all() {
        let spec = column.spec();
        let null = null_when(spec.name).unwrap_or("never");
        let unit = unit(spec.name, spec.kind).map(|unit| format!(", {unit}")).unwrap_or_default();
        let settings: Vec<String> = shaped_by(spec.name).iter().map(|key| format!("`{key}`")).collect();
        let kind = type_of(spec.kind);
        let (name, chinese) = (spec.name, chinese::name(spec.name));
        _ = writeln!(page, "| `{name}` | {chinese} | {kind}{unit} | {} | {null} | {} |", spec.doc, settings.join(", "));
    }
    page.push_str(FUNCTIONS);
    for function in functions::functions()? {
        let aliases: Vec<String> = function.aliases.iter().map(|name| format!("`{name}`")).collect();
        let also = if aliases.is_empty() { String::new() } else { format!(" Also {}.", aliases.join(", ")) };
        let example = function.example.map(|call| format!("`{}`", cell(&call))).unwrap_or_default();
        _ = writeln!(
            page,
            "| `{}` | `{}` | {}{also} | {example} |",
            function.name,
            cell(&function.form),
            cell(&function.doc)
        );
    }
    Ok(page)
}

const HEAD: &str = "# Facts and functions

Printed by `muckwatch rules reference`; a test keeps it true. `muckwatch rules explain-fact NAME` says the same of one
fact, and which of your rules read it; a part of a name or a Chinese word (`车速`) finds facts, too.

## Facts

A rule's `when` is an SQL predicate over these. NULL is *unknown*: a comparison with it neither fires nor clears a rule.

| fact | Chinese | type | meaning | NULL when | settings |
|---|---|---|---|---|---|
";

const FUNCTIONS: &str = "
## Operators and functions

`and`, `or`, `not`, `=`, `<>`, `<`, `<=`, `>`, `>=`, `+`, `-`, `*`, `/`, `%`, `in (…)`, `between … and …`, `like`,
`is null`, `is true`, `is false`, `is unknown` (and with `not`), `case when … then … else … end`, `cast(… as …)`.
Division by zero is unknown. Functions that depend on when they are asked, or on chance, are refused. Two to begin with:
`array_has(events, 'fatigue')` asks a list, `coalesce(load, 'empty') = 'empty'` says what unknown counts as.

| function | call | gives | example |
|---|---|---|---|
";

/// Fit for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Float => "number",
        Kind::Int => "whole number",
        Kind::Flag => "true/false",
        Kind::Time => "time (UTC)",
        Kind::TextList => "list of text",
    }
}

pub(super) fn unit(name: &str, kind: Kind) -> Option<&'static str> {
    let measured = matches!(kind, Kind::Float | Kind::Int);
    UNITS.iter().find(|(ending, _)| measured && name.ends_with(ending)).map(|(_, unit)| *unit)
}

fn null_when(name: &str) -> Option<&'static str> {
    UNKNOWN.iter().find(|(names, _)| names.contains(&name)).map(|(_, when)| *when)
}

fn shaped_by(name: &str) -> Vec<&'static str> {
    SHAPED_BY.iter().filter(|(names, _)| names.contains(&name)).flat_map(|(_, keys)| *keys).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_may_be_null_says_when_and_every_name_is_one_of_the_table() {
        for column in Column::all().filter(|column| column.spec().nullable) {
            assert!(null_when(column.name()).is_some(), "{}", column.name());
        }
        let names = UNKNOWN.iter().flat_map(|(names, _)| *names).chain(SHAPED_BY.iter().flat_map(|(names, _)| *names));
        for name in names {
            assert!(Column::named(name).is_some(), "{name}");
        }
    }

    #[test]
    fn numbers_have_units_and_texts_have_none() {
        for (name, expected) in [
            ("speed_kmh", Some("kilometres an hour")),
            ("trip_s", Some("seconds")),
            ("lat", Some("degrees")),
            ("local_weekday", None),
            ("plate", None),
        ] {
            assert_eq!(unit(name, Column::named(name).unwrap().spec().kind), expected, "{name}");
        }
    }

    #[test]
    fn a_fact_is_explained_with_its_words_its_settings_and_its_readers() {
        let rule = "rules:\n  - id: open-cover\n    when: cover = 'open' and moving\n    severity: minor\n    departments: [company]\n";
        let rules = RuleSet::parse(&[("a.yaml", rule)]).unwrap();
        for (name, expected) in [
            ("cover", &["closed, open, moving", "faulty", "read by     open-cover"][..]),
            ("moving", &["facts.stop_speed_kmh", "read by     open-cover"]),
            ("vehicle_id", &["NULL when   never", "open-cover"]),
            ("speed_kmh", &["kilometres an hour", "no rule"]),
        ] {
            let text = explain(Column::named(name).unwrap(), Some(&rules));
            expected.iter().for_each(|part| assert!(text.contains(part), "{part} is not in:\n{text}"));
        }
        assert_eq!(fact_list(Column::all()).lines().count(), Column::all().len());
    }

    #[test]
    fn facts_are_found_by_a_part_of_a_name_and_by_chinese_words() {
        let found = |word: &str| match facts_named(word) {
            Ok(facts) => facts.into_iter().map(Column::name).collect::<Vec<_>>().join(" "),
            Err(problem) => problem,
        };
        for (word, expected) in [
            ("speed_kmh", "speed_kmh"),
            ("Speed KMH", "speed_kmh"),
            ("manifest_p", "manifest_planned_s manifest_planned_m"),
            ("限速", "speed_limit_kmh settled_speed_limit_kmh"),
            ("消纳场", "in_sink sink_permitted nearest_sink_m"),
            ("黑名单", "blacklisted"),
            ("点火", "ignition ignition_on_s"),
            ("mud", "sighting_dirty"),
            ("sped_kmh", "no fact is called `sped_kmh`; did you mean `speed_kmh`?"),
            ("banana", "no fact is called `banana`; `muckwatch rules explain-fact` lists them all"),
            ("", "no fact is called ``; `muckwatch rules explain-fact` lists them all"),
        ] {
            assert_eq!(found(word), expected, "{word}");
        }
    }

    #[test]
    fn the_page_in_docs_is_the_one_that_the_code_prints() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/facts.md");
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(kept == reference().unwrap(), "refresh it: muckwatch rules reference > docs/facts.md");
    }
}
