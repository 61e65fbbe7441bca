//! Columns that hold one of a few words: text that is none of them could never match, and is a slip.

use super::errors::nearest;

/// The columns and their words, as the facts fill them; `events` and `alarms` are open.
const CLOSED: &[(&str, &[&str])] = &[
    ("vehicle_status", &["active", "suspended", "maintenance", "banned", "unregistered"]),
    ("power", &["ok", "low", "lost"]),
    ("antenna", &["ok", "open", "short", "fault"]),
    ("clock_fault", &["time_zone", "week_rollover", "never_set", "wrong"]),
    ("load", &["empty", "half", "full", "loaded"]),
    ("cover", &["closed", "open", "moving"]),
    ("lift", &["flat", "lifting", "full"]),
    ("place_kind", &["source", "sink", "backfill", "transfer", "depot", "workshop"]),
    ("zone_kind", &["forbidden", "restricted", "speed", "control", "water", "eco", "operating_area"]),
    ("place_status", &["open", "closed", "full"]),
    ("permit_status", &["valid", "expired", "not_yet", "suspended", "revoked", "none"]),
    ("sighting_kind", &["anpr", "weigh", "wash", "spill", "video"]),
    ("sighting_cover", &["closed", "open", "moving", "fault", "unknown"]),
    ("source_gate", &["in", "out"]),
    ("row_kind", &["report", "timer", "sighting"]),
];

/// The words of `load` that mean `loaded`.
pub(super) const LOADED: &[&str] = &["half", "full", "loaded"];

/// The words that `column` may hold; `None` when it is open.
pub(super) fn words(column: &str) -> Option<&'static [&'static str]> {
    CLOSED.iter().find(|(name, _)| *name == column).map(|(_, words)| *words)
}

/// What is wrong with setting `column` against `word`, and what to do; `None` when it can match.
pub(super) fn objection(column: &str, word: &str) -> Option<(String, String)> {
    let (_, words) = CLOSED.iter().find(|(name, words)| *name == column && !words.contains(&word))?;
    let hint = match (column, word) {
        ("load" | "cover" | "lift", "fault") => format!("a faulty sensor is NULL: ask `{column}_fault`"),
        ("load" | "cover" | "lift", "unknown") => format!("unknown is NULL: ask `{column} is null`"),
        _ => nearest(word, words.iter().copied()).map_or_else(
            || format!("known are {}", words.join(", ")),
            |near| format!("did you mean `{near}`? Known are {}", words.join(", ")),
        ),
    };
    Some((format!("`{column}` is never '{word}'"), hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Column, Kind};

    #[test]
    fn the_words_are_those_of_the_table_of_facts() {
        for (name, words) in CLOSED {
            let spec = Column::named(name).unwrap_or_else(|| panic!("no column {name}")).spec();
            assert_eq!(spec.kind, Kind::Text, "{name}");
            let told: Vec<&str> = spec.doc.split('`').skip(1).step_by(2).collect();
            assert_eq!(told, *words, "{name}");
        }
    }

    #[test]
    fn the_nearest_word_is_proposed() {
        for (column, word, expected) in [
            ("cover", "open", None),
            ("plate", "opn", None),
            ("cover", "opn", Some("did you mean `open`?")),
            ("load", "fulll", Some("did you mean `full`?")),
            ("place_kind", "sourc", Some("did you mean `source`?")),
            ("row_kind", "xyz", Some("known are report, timer, sighting")),
            ("lift", "fault", Some("ask `lift_fault`")),
            ("cover", "unknown", Some("ask `cover is null`")),
        ] {
            let hint = objection(column, word).map(|(_, hint)| hint);
            assert_eq!(hint.is_some(), expected.is_some(), "{column} {word}");
            assert!(hint.unwrap_or_default().contains(expected.unwrap_or_default()), "{column} {word}");
        }
    }
}
