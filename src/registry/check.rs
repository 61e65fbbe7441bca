//! Between rows: what is named exists, and nothing is said twice of one instant.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use geo::{BoundingRect as _, Relate as _};
use rstar::{
    RTree, RTreeObject as _,
    primitives::{GeomWithData, Rectangle},
};

use super::{
    problem::{Problem, Problems, nearest, quoted},
    row::RawRow,
    schema::{Entity, REFERENCES, UNIQUE},
    source::Tables,
};
use crate::model::{Validity, plate};

/// Names looked through for the nearest one to an unknown name. More: no name is proposed.
const PROPOSED: usize = 20_000;
/// Unknown names of one column for which the nearest is looked up.
const PROPOSALS: usize = 50;

/// Rows by entity, borrowed.
pub(super) type Known<'a> = BTreeMap<Entity, &'a [RawRow]>;

/// Every problem between the rows of these tables.
pub(super) fn check(tables: &Known, problems: &mut Problems) {
    for (entity, column, target) in REFERENCES {
        if let (Some(rows), Some(targets)) = (tables.get(entity), tables.get(target)) {
            check_references(*entity, column, rows, *target, targets, problems);
        }
    }
    if let Some(rows) = tables.get(&Entity::Blacklist) {
        check_blacklist(rows, tables, problems);
    }
    for (entity, rows) in tables {
        if !entity.repeats()
            && let Some(key) = entity.columns().first()
        {
            check_unique(*entity, key.name, rows, problems);
        }
    }
    for (entity, column) in UNIQUE {
        check_unique(*entity, column, tables.get(entity).copied().unwrap_or_default(), problems);
    }
}

/// What between the rows of these tables may be meant, and may be wrong. Comparing shapes is work: it is for who is told of it.
pub(super) fn warn(tables: &Tables, problems: &mut Problems) {
    let Some(places) = tables.get(&Entity::Places) else { return };
    check_overlaps(places, problems);
    if let Some(permits) = tables.get(&Entity::Permits) {
        check_permits(permits, places, problems);
    }
}

/// Warns of places that cover one another while both hold: a truck in both is in either. What touches along a fence is no overlap.
fn check_overlaps(places: &[RawRow], problems: &mut Problems) {
    let areas: Vec<(usize, geo::MultiPolygon)> =
        places.iter().enumerate().filter_map(|(number, row)| Some((number, row.shape.as_ref()?.polygons()?))).collect();
    let boxed = |(at, (_, area)): (usize, &(usize, geo::MultiPolygon))| {
        let bounds = area.bounding_rect()?;
        Some(GeomWithData::new(
            Rectangle::from_corners([bounds.min().x, bounds.min().y], [bounds.max().x, bounds.max().y]),
            at,
        ))
    };
    let tree = RTree::bulk_load(areas.iter().enumerate().filter_map(boxed).collect());
    for (at, (number, area)) in areas.iter().enumerate() {
        let Some(reach) = boxed((at, &areas[at])) else { continue };
        let mut others: Vec<usize> = tree
            .locate_in_envelope_intersecting(reach.envelope())
            .map(|other| other.data)
            .filter(|other| *other < at)
            .collect();
        others.sort_unstable();
        for other in others {
            let (row, earlier) = (&places[*number], &places[areas[other].0]);
            let relation = area.relate(&areas[other].1);
            let covers =
                relation.is_overlaps() || relation.is_contains() || relation.is_within() || relation.is_equal_topo();
            if covers && overlap(row.valid, earlier.valid) {
                let found = format!("a place that overlaps {}", quoted(earlier.key()));
                problems.warn(row.origin.problem(Some("geometry"), found, "places apart from one another"));
            }
        }
    }
}

/// Warns of permits whose earth comes from a sink, or goes to a source.
fn check_permits(permits: &[RawRow], places: &[RawRow], problems: &mut Problems) {
    let kinds: HashMap<&str, &str> = places.iter().map(|row| (row.key(), row.cell(Entity::Places, "kind"))).collect();
    for row in permits {
        for (column, wrong, right) in [("source_id", "sink", "source"), ("sink_ids", "source", "sink")] {
            for id in row.cell(Entity::Permits, column).split_whitespace() {
                if kinds.get(id) == Some(&wrong) {
                    let found = format!("{}, a {wrong}", quoted(id));
                    problems.warn(row.origin.problem(Some(column), found, format!("a {right}")));
                }
            }
        }
    }
}

fn check_references(
    entity: Entity,
    column: &str,
    rows: &[RawRow],
    target: Entity,
    targets: &[RawRow],
    problems: &mut Problems,
) {
    let known: HashMap<&str, ()> = targets.iter().map(|row| (row.key(), ())).collect();
    let mut proposals = 0;
    for row in rows {
        for id in row.cell(entity, column).split_whitespace().filter(|id| !known.contains_key(id)) {
            proposals += 1;
            problems.push(unknown(row, column, id, target, &known, proposals <= PROPOSALS));
        }
    }
}

fn unknown(row: &RawRow, column: &str, id: &str, target: Entity, known: &HashMap<&str, ()>, propose: bool) -> Problem {
    let mut problem = row.origin.problem(Some(column), quoted(id), format!("an id in {}", target.file()));
    if propose && known.len() <= PROPOSED {
        problem.nearest = nearest(id, known.keys().copied());
    }
    problem
}

fn check_blacklist(rows: &[RawRow], tables: &Known, problems: &mut Problems) {
    let subjects = [("vehicle", Entity::Vehicles), ("company", Entity::Companies), ("driver", Entity::Drivers)];
    for (subject, target) in subjects {
        let Some(targets) = tables.get(&target) else { continue };
        let known: HashMap<&str, ()> = targets.iter().map(|row| (row.key(), ())).collect();
        for row in rows.iter().filter(|row| row.key() == subject) {
            let id = row.cell(Entity::Blacklist, "subject_id");
            if !id.is_empty() && !known.contains_key(id) {
                problems.push(unknown(row, "subject_id", id, target, &known, true));
            }
        }
    }
}

/// Whether the two hold at any one instant.
fn overlap(a: Validity, b: Validity) -> bool {
    let before = |x: Validity, y: Validity| matches!((x.to, y.from), (Some(to), Some(from)) if to <= from);
    let never = |x: Validity| matches!((x.from, x.to), (Some(from), Some(to)) if to <= from);
    !before(a, b) && !before(b, a) && !never(a) && !never(b)
}

/// What a cell names, however it is written: of devices there may be several.
fn in_normal_form<'a>(column: &str, cell: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
    let (names, one): (_, fn(&str) -> Cow<str>) = match column {
        "device_id" => (cell.split_whitespace().collect(), plate::device_id),
        "plate" => (vec![cell], plate::plate),
        _ => (vec![cell], |id| id.into()),
    };
    let names: Vec<&str> = names;
    names.into_iter().map(one).filter(|name| !name.is_empty())
}

fn check_unique(entity: Entity, column: &str, rows: &[RawRow], problems: &mut Problems) {
    let mut earlier: HashMap<Cow<str>, Vec<&RawRow>> = HashMap::with_capacity(rows.len());
    for (row, value) in
        rows.iter().flat_map(|row| in_normal_form(column, row.cell(entity, column)).map(move |value| (row, value)))
    {
        let others = earlier.entry(value.clone()).or_default();
        // A row that names a device twice was told of before.
        if let Some(other) = others.iter().find(|other| !std::ptr::eq(**other, row) && overlap(other.valid, row.valid))
        {
            let place = match (&other.origin.line, &other.origin.feature) {
                (Some(line), _) => format!(" (line {line})"),
                (None, Some(feature)) => format!(" (row {feature})"),
                (None, None) => format!(" (row {})", other.key()),
            };
            let found = format!("{} a second time{place} while the first holds", quoted(&value));
            problems.push(row.origin.problem(Some(column), found, "one row for any instant"));
        }
        others.push(row);
    }
}
