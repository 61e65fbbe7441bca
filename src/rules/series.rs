//! Many reports of a test in one line: from when, how often, how many, along which path, with which values.
//!
//! ```yaml
//! - series: { device_id: D1, from: "2026-03-01T14:00:00Z", every: 10s, count: 12,
//!             path: [[114.0, 22.5], [114.1, 22.5]], speed_kmh: 50, load: full }
//! ```
//!
//! The positions are spread evenly along the path, first and last included; a path of one point is a stand, none gives no
//! position. `arrives` is when all of it arrives, as of a device that was out of reach; `arrives_from` is when the first
//! arrives and each later one as it was measured, as of a device whose clock is wrong. Every other key is a value that
//! each report repeats. Series that follow each other are merged by time of arrival.

use serde_json::{Map, Value as Json, json};

use super::{
    check::{duration_ms, find},
    file::{Entry, Node, NodeValue},
    test::TestCheck,
};
use crate::model::{Time, limits};

/// What describes the series itself.
const TERMS: &[&str] = &["from", "every", "count", "path", "arrives", "arrives_from"];

/// The fields of a report that a series may repeat.
const VALUES: &[&str] = &[
    "device_id",
    "seq",
    "datum",
    "fix",
    "accuracy_m",
    "hdop",
    "sats",
    "speed_kmh",
    "heading_deg",
    "alt_m",
    "odometer_m",
    "speed_recorder_kmh",
    "ignition",
    "power",
    "antenna",
    "load",
    "gross_kg",
    "cover",
    "lift",
    "driver_id",
    "alarms",
    "events",
    "hist",
    "ext",
];

/// Longitude and latitude, degrees.
type Vertex = [f64; 2];

/// The series in an element of `reports`, when it is one.
pub(super) fn within(node: &Node) -> Option<&Node> {
    match &node.value {
        NodeValue::Map(entries) => find(entries, "series"),
        _ => None,
    }
}

/// The reports of a series, each with the time at which it arrives; nothing after a problem.
pub(super) fn expand(check: &mut TestCheck<'_>, node: &Node) -> Vec<(Time, Json)> {
    let keys = [TERMS, VALUES].concat();
    let Some(fields) = check.map(node, &keys, "a series") else { return Vec::new() };
    let missing = ["device_id", "from", "every", "count"].into_iter().filter(|name| find(fields, name).is_none());
    missing.for_each(|name| check.say(node.at, format!("`{name}` is missing"), None));
    let from = find(fields, "from").and_then(|node| check.time(node));
    let every_ms = find(fields, "every").and_then(|node| every_ms(check, node));
    let count = find(fields, "count").and_then(|node| count(check, node));
    let path = find(fields, "path").map_or(Some(Vec::new()), |node| path(check, node));
    let arrives = find(fields, "arrives").map(|node| check.time(node));
    let (Some(from), Some(every_ms), Some(count), Some(path)) = (from, every_ms, count, path) else {
        return Vec::new();
    };
    let arrives = arrives.flatten();
    let arrives_from = find(fields, "arrives_from").and_then(|node| check.time(node));
    let late_ms = arrives_from.map(|first| first.ms_since(from));
    let values = values(fields);
    let report = |index: i64| {
        let at = from.plus_ms(index.saturating_mul(every_ms));
        let mut report = values.clone();
        report.insert("device_time".into(), at.to_string().into());
        if let Some([lon, lat]) = position(&path, index as f64 / (count - 1).max(1) as f64) {
            report.insert("lon".into(), json!(lon));
            report.insert("lat".into(), json!(lat));
        }
        let arrives = arrives.or(late_ms.map(|ms| at.plus_ms(ms)));
        if let Some(arrives) = arrives {
            report.insert("recv_time".into(), arrives.to_string().into());
        }
        (arrives.unwrap_or(at), Json::Object(report))
    };
    (0..count).map(report).collect()
}

fn values(fields: &[Entry]) -> Map<String, Json> {
    let repeated = fields.iter().filter(|entry| VALUES.contains(&entry.key.as_str()));
    repeated.map(|entry| (entry.key.clone(), entry.node.to_json())).collect()
}

fn every_ms(check: &mut TestCheck<'_>, node: &Node) -> Option<i64> {
    let text = check.text(node, "`every`")?;
    let ms = duration_ms(&text).filter(|ms| (1..=limits::RULE_DURATION_MS).contains(ms));
    if ms.is_none() {
        let message = format!("expected a duration for `every`, found `{text}`");
        check.say(node.at, message, Some("durations are such as 500ms, 30s, 10m, 2h".into()));
    }
    ms
}

fn count(check: &mut TestCheck<'_>, node: &Node) -> Option<i64> {
    match node.value {
        NodeValue::Int(count) if (1..=limits::TEST_SERIES).contains(&count) => Some(count),
        _ => {
            let found = node.to_json();
            let message =
                format!("expected a whole number from 1 to {} for `count`, found {found}", limits::TEST_SERIES);
            check.say(node.at, message, None);
            None
        }
    }
}

fn path(check: &mut TestCheck<'_>, node: &Node) -> Option<Vec<Vertex>> {
    let before = check.problems();
    let nodes = check.list(node, "`path`");
    let vertices: Vec<Vertex> = nodes.iter().filter_map(|node| vertex(check, node)).collect();
    (check.problems() == before).then_some(vertices)
}

fn vertex(check: &mut TestCheck<'_>, node: &Node) -> Option<Vertex> {
    let json = node.to_json();
    let numbers: Vec<f64> = json.as_array().into_iter().flatten().filter_map(Json::as_f64).collect();
    match numbers[..] {
        [lon, lat] if lon.abs() <= 180.0 && lat.abs() <= 90.0 => Some([lon, lat]),
        _ => {
            let hint = "write `[114.05, 22.5]`, in degrees".to_owned();
            check.say(node.at, format!("expected longitude and latitude, found {json}"), Some(hint));
            None
        }
    }
}

/// The point at `share` of the path's length.
fn position(path: &[Vertex], share: f64) -> Option<Vertex> {
    let first = *path.first()?;
    let lengths: Vec<f64> = path.windows(2).map(|ends| length(ends[0], ends[1])).collect();
    let mut left = share * lengths.iter().sum::<f64>();
    for (ends, length) in path.windows(2).zip(&lengths) {
        if left <= *length && *length > 0.0 {
            let along = left / length;
            return Some([0, 1].map(|axis| ends[0][axis] + (ends[1][axis] - ends[0][axis]) * along));
        }
        left -= length;
    }
    Some(path.last().copied().filter(|_| share > 0.0).unwrap_or(first))
}

/// In degrees of latitude: all that counts is how the parts compare.
fn length(from: Vertex, to: Vertex) -> f64 {
    let east = (to[0] - from[0]) * from[1].to_radians().cos();
    east.hypot(to[1] - from[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_spread_evenly_over_corners() {
        let corner = [[0.0, 0.0], [0.0, 1.0], [3.0, 1.0]];
        for (path, share, expected) in [
            (&corner[..], 0.0, Some([0.0, 0.0])),
            (&corner, 0.25, Some([0.0, 1.0])),
            (&corner, 0.5, Some([1.0, 1.0])),
            (&corner, 1.0, Some([3.0, 1.0])),
            (&corner[..1], 0.7, Some([0.0, 0.0])),
            (&[], 0.5, None),
        ] {
            let found = position(path, share);
            let near = |(a, b): (Vertex, Vertex)| (a[0] - b[0]).abs() < 1e-3 && (a[1] - b[1]).abs() < 1e-3;
            assert!(found.zip(expected).map_or(found == expected, near), "{share}: {found:?}, not {expected:?}");
        }
    }
}
