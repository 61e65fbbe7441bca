//! Shapes as GeoJSON writes them (RFC 7946), checked and converted to WGS-84.

use std::fmt::{self, Write as _};

use geo::{
    Validation as _,
    line_intersection::{LineIntersection, line_intersection},
    validation::{InvalidMultiPolygon, InvalidPolygon, RingRole},
};
use rstar::{
    RTree, RTreeObject as _,
    primitives::{GeomWithData, Rectangle},
};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::schema::ShapeKind;
use crate::{
    model::{Datum, limits},
    spatial::{Point, to_wgs84},
};

/// A checked shape in WGS-84.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// Polygons of rings of points; rings are closed.
    Area(Vec<Vec<Vec<Point>>>),
    /// The middle of a circle, whose radius is a column.
    Centre(Point),
    /// Parts of points.
    Line(Vec<Vec<Point>>),
}

#[derive(Deserialize)]
struct Written<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    coordinates: Option<&'a RawValue>,
}

/// A position: longitude, latitude; what follows (height) is not read.
struct Position(Point);

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Position;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a position [longitude, latitude]")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Position, A::Error> {
                let short = |n| serde::de::Error::invalid_length(n, &self);
                let lon = seq.next_element()?.ok_or_else(|| short(0))?;
                let lat = seq.next_element()?.ok_or_else(|| short(1))?;
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Position(Point::new(lon, lat)))
            }
        }
        from.deserialize_seq(Visit)
    }
}

/// What is wrong with a shape: found and expected.
pub(super) type Wrong = (String, String);

fn wrong<T>(found: impl Into<String>, expected: impl Into<String>) -> Result<T, Wrong> {
    Err((found.into(), expected.into()))
}

/// Reads a GeoJSON geometry of the kind that an entity has; with what was found and mended on the way, where only one way of mending is
/// possible.
pub(super) fn read(text: &str, kind: ShapeKind, datum: Datum) -> Result<(Shape, Vec<Wrong>), Wrong> {
    let mut mended = Vec::new();
    let shape = shape(text, kind, datum, &mut mended)?;
    Ok((shape, mended))
}

fn shape(text: &str, kind: ShapeKind, datum: Datum, mended: &mut Vec<Wrong>) -> Result<Shape, Wrong> {
    let expected = match kind {
        ShapeKind::Area => "a Polygon, a MultiPolygon, or a Point with radius_m",
        _ => "a LineString or MultiLineString",
    };
    let written: Written = serde_json::from_str(text).or_else(|e| wrong(format!("no geometry ({e})"), expected))?;
    let coordinates = written.coordinates.map_or("null", RawValue::get);
    let shape = match (kind, written.kind.as_str()) {
        (ShapeKind::Area, "Polygon") => Shape::Area(vec![rings(parse(coordinates)?, datum, mended)?]),
        (ShapeKind::Area, "MultiPolygon") => {
            let polygons: Vec<Vec<Vec<Position>>> = parse(coordinates)?;
            let polygons = polygons.into_iter().map(|polygon| rings(polygon, datum, mended));
            Shape::Area(apart(polygons.collect::<Result<_, _>>()?, mended)?)
        }
        (ShapeKind::Area, "Point") => Shape::Centre(point(parse(coordinates)?, datum)?),
        (ShapeKind::Line, "LineString") => Shape::Line(vec![part(parse(coordinates)?, datum)?]),
        (ShapeKind::Line, "MultiLineString") => {
            let parts: Vec<Vec<Position>> = parse(coordinates)?;
            Shape::Line(parts.into_iter().map(|positions| part(positions, datum)).collect::<Result<_, _>>()?)
        }
        (_, other) => return wrong(format!("a {other}"), expected),
    };
    match &shape {
        Shape::Area(parts) if parts.is_empty() => wrong("no polygon", "at least one"),
        Shape::Line(parts) if parts.is_empty() => wrong("no line", "at least one"),
        _ => Ok(shape),
    }
}

fn parse<'a, T: Deserialize<'a>>(coordinates: &'a str) -> Result<T, Wrong> {
    serde_json::from_str(coordinates).or_else(|e| {
        let text = e.to_string();
        let reason = text.split(" at line ").next().unwrap_or_default();
        wrong(format!("coordinates that do not fit the type ({reason})"), "nested arrays of [longitude, latitude]")
    })
}

fn points(positions: Vec<Position>, datum: Datum) -> Result<Vec<Point>, Wrong> {
    if positions.len() > limits::REGISTRY_POSITIONS {
        return wrong(format!("{} positions", positions.len()), format!("at most {}", limits::REGISTRY_POSITIONS));
    }
    positions.into_iter().map(|position| point(position, datum)).collect()
}

fn point(Position(p): Position, datum: Datum) -> Result<Point, Wrong> {
    match p.is_on_globe() {
        true => Ok(to_wgs84(datum, p.lon, p.lat)),
        false => wrong(format!("[{}, {}]", p.lon, p.lat), "[longitude, latitude] within [-180, -90] and [180, 90]"),
    }
}

fn rings(rings: Vec<Vec<Position>>, datum: Datum, mended: &mut Vec<Wrong>) -> Result<Vec<Vec<Point>>, Wrong> {
    if rings.is_empty() {
        return wrong("a polygon without rings", "an outer ring");
    }
    let rings: Vec<Vec<Point>> =
        rings.into_iter().map(|positions| ring(positions, datum, mended)).collect::<Result<_, _>>()?;
    if rings.len() > 1 {
        check_holes(&rings)?;
    }
    Ok(rings)
}

/// Holes lie within the outer ring and apart from one another: what two of them cover would not be a hole.
fn check_holes(rings: &[Vec<Point>]) -> Result<(), Wrong> {
    let at = |ring: usize| rings.get(ring).and_then(|ring| ring.first()).copied().unwrap_or(Point::new(0.0, 0.0));
    let said = |ring: usize| format!("hole {ring} at [{:.6}, {:.6}]", at(ring).lon, at(ring).lat);
    let number = |role: &RingRole| match role {
        RingRole::Exterior => 0,
        RingRole::Interior(index) => index + 1,
    };
    for error in polygon(rings).validation_errors() {
        match error {
            InvalidPolygon::InteriorRingNotContainedInExteriorRing(role) => {
                return wrong(
                    format!("{} that does not lie within the outer ring", said(number(&role))),
                    "holes within the outer ring",
                );
            }
            InvalidPolygon::IntersectingRingsOnAnArea(one, other)
            | InvalidPolygon::IntersectingRingsOnALine(one, other) => {
                let hole = number(&one).max(number(&other));
                return wrong(
                    format!("{} that overlaps another ring", said(hole)),
                    "holes apart from one another and from the outer ring",
                );
            }
            // What rings are in themselves was looked at before.
            _ => {}
        }
    }
    Ok(())
}

/// Polygons of one shape, each once; they may touch and not cover one another.
fn apart(polygons: Vec<Vec<Vec<Point>>>, mended: &mut Vec<Wrong>) -> Result<Vec<Vec<Vec<Point>>>, Wrong> {
    let mut once: Vec<Vec<Vec<Point>>> = Vec::with_capacity(polygons.len());
    for polygon in polygons {
        match once.contains(&polygon) {
            true => mended.push(("a polygon that is given twice".into(), "each once: it was taken once".into())),
            false => once.push(polygon),
        }
    }
    if once.len() > 1 {
        for error in multi_polygon(&once).validation_errors() {
            if let InvalidMultiPolygon::ElementsOverlaps(one, other) = error {
                let found = format!("polygons {} and {} that overlap", one.0 + 1, other.0 + 1);
                return wrong(found, "polygons apart from one another, or one around both");
            }
        }
    }
    Ok(once)
}

fn polygon(rings: &[Vec<Point>]) -> geo::Polygon {
    let line = |ring: &Vec<Point>| geo::LineString::from_iter(ring.iter().map(|p| geo::Coord { x: p.lon, y: p.lat }));
    let outer = rings.first().map_or_else(|| geo::LineString::new(Vec::new()), line);
    geo::Polygon::new(outer, rings.iter().skip(1).map(line).collect())
}

/// In degrees.
fn multi_polygon(polygons: &[Vec<Vec<Point>>]) -> geo::MultiPolygon {
    geo::MultiPolygon::new(polygons.iter().map(|rings| polygon(rings)).collect())
}

fn ring(positions: Vec<Position>, datum: Datum, mended: &mut Vec<Wrong>) -> Result<Vec<Point>, Wrong> {
    let mut points = points(positions, datum)?;
    if points.len() > 2 && points.first() != points.last() {
        mended.push((
            "a ring that is not closed".into(),
            "the last position to be the first again: it was closed".into(),
        ));
        points.extend(points.first().copied());
    }
    // Drawn twice around, the same way.
    let half = points.len() / 2;
    if points.len() >= 7 && points.len() % 2 == 1 && points[..=half] == points[half..] {
        mended.push(("a ring that is drawn twice around its area".into(), "once: it was taken once".into()));
        points.truncate(half + 1);
    }
    if points.len() < 4 {
        return wrong(format!("a ring of {} positions", points.len()), "at least 4, the last one the first again");
    }
    if points.windows(2).filter(|pair| pair[0] != pair[1]).count() < 3 {
        return wrong("a ring of fewer than 3 different positions", "at least 3");
    }
    if points.windows(2).any(|pair| (pair[0].lon - pair[1].lon).abs() > 180.0) {
        return wrong("a ring that crosses the antimeridian", "two rings, one on each side of it (RFC 7946, 3.1.9)");
    }
    if let Some(at) = crossing(&points) {
        return wrong(
            format!("a ring that crosses or covers itself near [{:.6}, {:.6}]", at.lon, at.lat),
            "a ring that is drawn once around its area: what it covers twice would count as a hole",
        );
    }
    Ok(points)
}

/// Where a closed ring crosses itself, is drawn twice round, or runs back on itself.
fn crossing(points: &[Point]) -> Option<Point> {
    let coord = |p: &Point| geo::Coord { x: p.lon, y: p.lat };
    let segments: Vec<geo::Line> = points
        .windows(2)
        .filter(|pair| pair[0] != pair[1])
        .map(|pair| geo::Line::new(coord(&pair[0]), coord(&pair[1])))
        .collect();
    let boxed = |(number, line): (usize, &geo::Line)| {
        let (a, b) = (line.start, line.end);
        GeomWithData::new(Rectangle::from_corners([a.x.min(b.x), a.y.min(b.y)], [a.x.max(b.x), a.y.max(b.y)]), number)
    };
    let tree = RTree::bulk_load(segments.iter().enumerate().map(boxed).collect());
    let last = segments.len() - 1;
    segments.iter().enumerate().find_map(|(number, line)| {
        let reach = boxed((number, line)).geom().envelope();
        let others =
            tree.locate_in_envelope_intersecting(reach).map(|other| other.data).filter(|other| *other > number);
        let mut meets = others.filter_map(|other| {
            let is_next = other == number + 1 || (number == 0 && other == last);
            match line_intersection(*line, segments[other])? {
                // Neighbours meet in the point that they share, and a ring may touch itself in one: neither covers anything twice.
                LineIntersection::SinglePoint { is_proper, .. } if is_next || !is_proper => None,
                LineIntersection::SinglePoint { intersection, .. } => Some(intersection),
                LineIntersection::Collinear { intersection } => Some(intersection.start),
            }
        });
        meets.next().map(|at| Point::new(at.x, at.y))
    })
}

fn part(positions: Vec<Position>, datum: Datum) -> Result<Vec<Point>, Wrong> {
    let points = points(positions, datum)?;
    match points.len() {
        0 | 1 => wrong(format!("a line of {} positions", points.len()), "at least 2"),
        _ if points.iter().all(|point| *point == points[0]) => {
            wrong("a line without length", "at least 2 different positions")
        }
        _ => Ok(points),
    }
}

impl Shape {
    /// The polygons of an area, in degrees; `None` of a circle and of a line.
    pub fn polygons(&self) -> Option<geo::MultiPolygon> {
        match self {
            Self::Area(polygons) => Some(multi_polygon(polygons)),
            Self::Centre(_) | Self::Line(_) => None,
        }
    }

    /// A shape that [`Self::to_geojson`] wrote, which was checked when it came; `None` when it is none of the kind.
    pub fn stored(text: &str, kind: ShapeKind) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(tag = "type", content = "coordinates")]
        enum Stored {
            MultiPolygon(Vec<Vec<Vec<Position>>>),
            Point(Position),
            MultiLineString(Vec<Vec<Position>>),
        }
        let plain = |positions: Vec<Position>| positions.into_iter().map(|Position(point)| point).collect();
        match (kind, serde_json::from_str(text).ok()?) {
            (ShapeKind::Area, Stored::MultiPolygon(polygons)) => {
                let rings = |rings: Vec<Vec<Position>>| rings.into_iter().map(plain).collect();
                Some(Self::Area(polygons.into_iter().map(rings).collect()))
            }
            (ShapeKind::Area, Stored::Point(Position(centre))) => Some(Self::Centre(centre)),
            (ShapeKind::Line, Stored::MultiLineString(parts)) => {
                Some(Self::Line(parts.into_iter().map(plain).collect()))
            }
            _ => None,
        }
    }

    /// As people write it: a Polygon or a LineString when it is only one.
    pub fn to_written(&self) -> String {
        let mut text = String::new();
        match self {
            Self::Area(polygons) if polygons.len() == 1 => {
                text.push_str(r#"{"type":"Polygon","coordinates":"#);
                list(&mut text, &polygons[0], |text, ring| list(text, ring, position));
            }
            Self::Line(parts) if parts.len() == 1 => {
                text.push_str(r#"{"type":"LineString","coordinates":"#);
                list(&mut text, &parts[0], position);
            }
            _ => return self.to_geojson(),
        }
        text.push('}');
        text
    }

    /// As a GeoJSON geometry in WGS-84; reading it again gives the same shape to the bit.
    pub fn to_geojson(&self) -> String {
        let mut text = String::new();
        match self {
            Self::Area(polygons) => {
                text.push_str(r#"{"type":"MultiPolygon","coordinates":"#);
                list(&mut text, polygons, |text, rings| list(text, rings, |text, ring| list(text, ring, position)));
            }
            Self::Centre(centre) => {
                text.push_str(r#"{"type":"Point","coordinates":"#);
                position(&mut text, centre);
            }
            Self::Line(parts) => {
                text.push_str(r#"{"type":"MultiLineString","coordinates":"#);
                list(&mut text, parts, |text, part| list(text, part, position));
            }
        }
        text.push('}');
        text
    }
}

fn list<T>(text: &mut String, items: &[T], mut write: impl FnMut(&mut String, &T)) {
    text.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        write(text, item);
    }
    text.push(']');
}

fn position(text: &mut String, point: &Point) {
    write!(text, "[{},{}]", point.lon, point.lat).expect("writing to a String cannot fail");
}
