//! Rows as given to typed rows, and the ways into a [`Registry`].

use std::path::Path;

use super::{
    check,
    entity::{
        BlacklistEntry, Company, District, Driver, Manifest, Outage, Permit, PermitStatus, Place, PlaceKind,
        PlaceStatus, Road, Route, Subject, Unit, Vehicle, VehicleStatus, Zone, ZoneKind,
    },
    geometry::Shape,
    layer::{Areas, Lines},
    problem::{Problem, Problems, RegistryError, nearest},
    row::{Cells, RawRow},
    schema::Entity,
    snapshot::{Registry, Rows},
    source::{self, Encoding, Tables},
};
use crate::{
    model::{Time, UnitKind, Zone as TimeZone, plate},
    spatial::{Area, LocalFrame, Point, Polyline},
};

impl Registry {
    /// Reads a folder of files as the contract lists them, plain or gzipped (`.gz`); what is missing has no rows. Times that bear no
    /// zone are of `zone`.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] with every problem of the folder; [`RegistryError::Read`] when a file cannot be read.
    pub fn read_dir(dir: &Path, zone: &TimeZone) -> Result<Self, RegistryError> {
        let (tables, problems) = tables_in(dir, Encoding::default(), zone)?;
        Self::of_tables(&tables, problems)
    }

    /// Reads texts by their files' names, such as `("vehicles.csv", "vehicle_id,...")`. Times that bear no zone are China's.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] with every problem, an unknown name included.
    pub fn parse(files: &[(&str, &str)]) -> Result<Self, RegistryError> {
        let (mut tables, mut problems) = (Tables::new(), Problems::default());
        for (name, text) in files {
            match Entity::ALL.iter().copied().find(|entity| entity.file() == *name) {
                Some(entity) => {
                    tables.insert(entity, source::parse(entity, text.as_bytes(), &TimeZone::china(), &mut problems));
                }
                None => problems.push(unknown_file(name)),
            }
        }
        Self::of_tables(&tables, problems)
    }

    /// From rows as read, checked for everything else first, so that all problems come at once.
    fn of_tables(tables: &Tables, mut problems: Problems) -> Result<Self, RegistryError> {
        let typed = validate(tables, &mut problems);
        problems.refuse()?;
        Ok(Self::new(typed.indexed()))
    }

    /// From rows that the book kept, which [`validate`] passed when they came.
    pub(super) fn of_checked(tables: &Tables) -> Result<Self, RegistryError> {
        let mut problems = Problems::default();
        let typed = typed(tables, &mut problems);
        problems.refuse()?;
        Ok(Self::new(typed.indexed()))
    }
}

fn unknown_file(name: &str) -> Problem {
    Problem {
        file: name.to_owned(),
        found: "an unknown file".into(),
        expected: "a file of the registry".into(),
        nearest: nearest(name, Entity::ALL.iter().map(|entity| entity.file())),
        ..Problem::default()
    }
}

/// The rows of a folder, checked, and what may be wrong with them.
pub(super) fn tables_of_dir(
    dir: &Path,
    encoding: Encoding,
    zone: &TimeZone,
) -> Result<(Tables, Vec<Problem>), RegistryError> {
    let (tables, mut problems) = tables_in(dir, encoding, zone)?;
    validate(&tables, &mut problems);
    check::warn(&tables, &mut problems);
    problems.refuse().map(|warnings| (tables, warnings))
}

/// What may be wrong with rows in themselves, beside what was found when they were read.
pub(super) fn warnings(tables: &Tables, mut read: Problems) -> Result<Vec<Problem>, RegistryError> {
    typed(tables, &mut read);
    read.refuse()
}

/// The rows of a folder, and what is wrong with its files.
fn tables_in(dir: &Path, encoding: Encoding, zone: &TimeZone) -> Result<(Tables, Problems), RegistryError> {
    let mut problems = Problems::default();
    let files = source::read_dir(dir, &mut problems)?;
    let parsed = files.iter().map(|(entity, bytes)| {
        let decoded = encoding.decode(bytes);
        (*entity, source::parse(*entity, decoded.as_deref().unwrap_or(bytes), zone, &mut problems))
    });
    let tables = parsed.collect();
    Ok((tables, problems))
}

/// Every problem of the rows in themselves and between each other; the rows that have none in themselves.
pub(super) fn validate<'a>(tables: &'a Tables, problems: &mut Problems) -> Typed<'a> {
    // A file of which nothing could be read would make everything that names its rows wrong as well.
    let broken: Vec<String> = problems.errors().iter().map(|problem| problem.file.clone()).collect();
    let typed = typed(tables, problems);
    let known = tables.iter().map(|(entity, rows)| (*entity, rows.as_slice()));
    let whole = known.filter(|(entity, rows)| !rows.is_empty() || !broken.iter().any(|file| file == entity.file()));
    check::check(&whole.collect(), problems);
    typed
}

/// Typed rows whose shapes are not indexed yet: checking needs no index, and to build one is most of the work.
pub(super) struct Typed<'a> {
    /// All that has no index.
    rows: Rows,
    places: Vec<Shaped<'a, Place>>,
    zones: Vec<Shaped<'a, Zone>>,
    districts: Vec<Shaped<'a, District>>,
    roads: Vec<Shaped<'a, Road>>,
}

/// A typed row and the row as given, which has its shape.
type Shaped<'a, T> = (T, &'a RawRow);

impl Typed<'_> {
    fn indexed(self) -> Rows {
        let roads = self.roads.into_iter().map(|(road, row)| (road, driven(line(row), row))).collect();
        Rows {
            places: areas(Entity::Places, self.places),
            zones: areas(Entity::Zones, self.zones),
            districts: areas(Entity::Districts, self.districts),
            roads: Lines::new(roads),
            ..self.rows
        }
    }
}

fn typed<'a>(tables: &'a Tables, problems: &mut Problems) -> Typed<'a> {
    let rows = Rows {
        vehicles: all(tables, Entity::Vehicles, problems, vehicle),
        companies: all(tables, Entity::Companies, problems, company),
        drivers: all(tables, Entity::Drivers, problems, driver),
        permits: all(tables, Entity::Permits, problems, permit),
        manifests: all(tables, Entity::Manifests, problems, manifest),
        blacklist: all(tables, Entity::Blacklist, problems, blacklist_entry),
        outages: all(tables, Entity::Outages, problems, outage),
        units: all(tables, Entity::Units, problems, unit),
        routes: all(tables, Entity::Routes, problems, route).into_iter().flatten().collect(),
        ..Rows::default()
    };
    Typed {
        rows,
        places: all(tables, Entity::Places, problems, |cells, row| (place(cells, row), row)),
        zones: all(tables, Entity::Zones, problems, |cells, row| (zone(cells, row), row)),
        districts: all(tables, Entity::Districts, problems, |cells, row| (district(cells, row), row)),
        roads: all(tables, Entity::Roads, problems, |cells, row| (road(cells, row), row)),
    }
}

/// Reads an entity's rows; those with problems are left out.
fn all<'a, T>(
    tables: &'a Tables,
    entity: Entity,
    problems: &mut Problems,
    mut read: impl FnMut(&mut Cells, &'a RawRow) -> T,
) -> Vec<T> {
    let rows = tables.get(&entity).map_or(&[][..], Vec::as_slice);
    let mut typed = Vec::with_capacity(rows.len());
    for row in rows {
        let before = problems.errors().len();
        let value = read(&mut Cells::new(entity, row, problems), row);
        if problems.errors().len() == before {
            typed.push(value);
        }
    }
    typed
}

fn areas<T: super::entity::Versioned>(entity: Entity, rows: Vec<Shaped<T>>) -> Areas<T> {
    Areas::new(rows.into_iter().filter_map(|(typed, row)| area(entity, row).map(|area| (typed, area))).collect())
}

fn area(entity: Entity, row: &RawRow) -> Option<Area> {
    match &row.shape {
        Some(Shape::Area(polygons)) => Area::new(polygons),
        Some(Shape::Centre(centre)) => Area::new(&[vec![circle(*centre, row.cell(entity, "radius_m").parse().ok()?)]]),
        _ => None,
    }
}

/// Corners of the polygon that stands for a circle.
const CORNERS: usize = 72;

/// The ring that stands for a circle: it covers as much.
fn circle(centre: Point, radius_m: f64) -> Vec<Point> {
    let step = std::f64::consts::TAU / CORNERS as f64;
    let corner_m = radius_m * (step / step.sin()).sqrt();
    let frame = LocalFrame::at(centre);
    let corner = |number: usize| {
        let (sin, cos) = (step * (number % CORNERS) as f64).sin_cos();
        frame.to_point(corner_m * cos, corner_m * sin)
    };
    (0..=CORNERS).map(corner).collect()
}

/// A point is the middle of a circle and needs its radius; nothing else has one.
fn check_radius(cells: &mut Cells, row: &RawRow) {
    let radius_m = cells.positive("radius_m", MAX_RADIUS_M);
    match &row.shape {
        Some(Shape::Centre(_)) if radius_m.is_none() => {
            cells.object("radius_m", "the radius in metres, the shape being a Point")
        }
        Some(Shape::Area(_)) if radius_m.is_some() => cells.object("radius_m", "nothing: only a Point has a radius"),
        _ => {}
    }
}

fn line(row: &RawRow) -> Vec<Vec<Point>> {
    match &row.shape {
        Some(Shape::Line(parts)) => parts.clone(),
        _ => Vec::new(),
    }
}

/// A road's line in the order in which it may be driven: a one-way road of `-1` is open against the order of its points.
fn driven(mut parts: Vec<Vec<Point>>, row: &RawRow) -> Vec<Vec<Point>> {
    if row.cell(Entity::Roads, "oneway") == "-1" {
        parts.reverse();
        parts.iter_mut().for_each(|part| part.reverse());
    }
    parts
}

/// Heaviest gross mass taken for true, kg.
const MAX_MASS_KG: f64 = 200_000.0;
/// Highest limit taken for true, km/h: open street maps hold some of 250.
const MAX_LIMIT_KMH: f64 = 400.0;
/// Widest corridor, metres.
const MAX_BUFFER_M: f64 = 10_000.0;
/// Widest circle, metres.
const MAX_RADIUS_M: f64 = 50_000.0;
/// Longest plan, metres and seconds.
const MAX_PLAN: f64 = 10_000_000.0;

fn vehicle(cells: &mut Cells, row: &RawRow) -> Vehicle {
    let (max_gross_kg, tare_kg) = (cells.positive("max_gross_kg", MAX_MASS_KG), cells.positive("tare_kg", MAX_MASS_KG));
    if let (Some(gross), Some(tare)) = (max_gross_kg, tare_kg)
        && tare >= gross
    {
        cells.warn("tare_kg", format!("less than max_gross_kg ({gross})"));
    }
    let plate = row.cell(Entity::Vehicles, "plate");
    if !plate.is_empty() && !plate::has_known_form(&plate::plate(plate)) {
        cells.warn("plate", "a plate such as 粤B12345 or 粤BD12345");
    }
    Vehicle {
        vehicle_id: cells.id("vehicle_id"),
        plate: cells.text("plate"),
        plate_color: cells.text("plate_color"),
        device_ids: cells.devices("device_id").into(),
        company_id: cells.id("company_id"),
        status: cells.word("status", VehicleStatus::WORDS, VehicleStatus::parse, VehicleStatus::Active),
        max_gross_kg,
        tare_kg,
        sensors: cells.sensors("sensors"),
        valid: row.valid,
    }
}

fn company(cells: &mut Cells, row: &RawRow) -> Company {
    Company { company_id: cells.id("company_id"), name: cells.text("name"), valid: row.valid }
}

fn driver(cells: &mut Cells, row: &RawRow) -> Driver {
    Driver {
        driver_id: cells.id("driver_id"),
        name: cells.text("name"),
        company_id: cells.id("company_id"),
        status: cells.text("status"),
        valid: row.valid,
    }
}

fn permit(cells: &mut Cells, row: &RawRow) -> Permit {
    Permit {
        permit_id: cells.id("permit_id"),
        vehicle_id: cells.id("vehicle_id"),
        source_id: cells.id("source_id"),
        sink_ids: cells.ids("sink_ids"),
        route_ids: cells.ids("route_ids"),
        windows: cells.schedule("windows"),
        status: cells.word("status", PermitStatus::WORDS, PermitStatus::parse, PermitStatus::Revoked),
        valid: row.valid,
    }
}

fn manifest(cells: &mut Cells, row: &RawRow) -> Manifest {
    let (opened_at, closed_at) = (cells.time("opened_at").unwrap_or_default(), cells.time("closed_at"));
    if closed_at.is_some_and(|closed| closed < opened_at) {
        cells.object("closed_at", format!("a time not before opened_at ({opened_at})"));
    }
    Manifest {
        manifest_id: cells.id("manifest_id"),
        vehicle_id: cells.id("vehicle_id"),
        permit_id: cells.maybe_id("permit_id"),
        opened_at,
        closed_at,
        driver_id: cells.maybe_id("driver_id"),
        planned_distance_m: cells.positive("planned_distance_m", MAX_PLAN),
        planned_duration_s: cells.positive("planned_duration_s", MAX_PLAN),
        valid: row.valid,
    }
}

fn blacklist_entry(cells: &mut Cells, row: &RawRow) -> BlacklistEntry {
    BlacklistEntry {
        subject: cells.word("subject", Subject::WORDS, Subject::parse, Subject::Vehicle),
        subject_id: cells.id("subject_id"),
        reason: cells.text("reason"),
        valid: row.valid,
    }
}

fn outage(cells: &mut Cells, row: &RawRow) -> Outage {
    Outage { vehicle_id: cells.id("vehicle_id"), reason: cells.text("reason"), valid: row.valid }
}

fn unit(cells: &mut Cells, row: &RawRow) -> Unit {
    Unit {
        unit_id: cells.id("unit_id"),
        name: cells.text("name"),
        department: cells.id("department"),
        kind: cells.word("kind", &["grid", "squad"], UnitKind::parse, UnitKind::Grid),
        district_id: cells.maybe_id("district_id"),
        valid: row.valid,
    }
}

fn place(cells: &mut Cells, row: &RawRow) -> Place {
    check_radius(cells, row);
    Place {
        place_id: cells.id("place_id"),
        name: cells.text("name"),
        kind: cells.word("kind", PlaceKind::WORDS, PlaceKind::parse, PlaceKind::Depot),
        status: cells.word("status", PlaceStatus::WORDS, PlaceStatus::parse, PlaceStatus::Open),
        valid: row.valid,
    }
}

fn zone(cells: &mut Cells, row: &RawRow) -> Zone {
    check_radius(cells, row);
    let kind = cells.word("kind", ZoneKind::WORDS, ZoneKind::parse, ZoneKind::Control);
    let speed_limit_kmh = cells.positive("speed_limit_kmh", MAX_LIMIT_KMH);
    if kind == ZoneKind::Speed && row.cell(Entity::Zones, "speed_limit_kmh").is_empty() {
        cells.object("speed_limit_kmh", "a limit, the zone's kind being speed");
    }
    Zone {
        zone_id: cells.id("zone_id"),
        name: cells.text("name"),
        kind,
        speed_limit_kmh,
        schedule: cells.schedule("schedule"),
        tags: cells.ids("tags").into(),
        valid: row.valid,
    }
}

fn district(cells: &mut Cells, row: &RawRow) -> District {
    check_radius(cells, row);
    District { district_id: cells.id("district_id"), name: cells.text("name"), valid: row.valid }
}

fn route(cells: &mut Cells, row: &RawRow) -> Option<Route> {
    let (route_id, name) = (cells.id("route_id"), cells.text("name"));
    let buffer_m = cells.positive("buffer_m", MAX_BUFFER_M);
    let line = Polyline::from_parts(&line(row))?;
    Some(Route { route_id, name, buffer_m, line, valid: row.valid })
}

fn road(cells: &mut Cells, row: &RawRow) -> Road {
    Road {
        road_id: cells.id("road_id"),
        name: cells.maybe_text("name"),
        class: cells.text("class"),
        speed_limit_kmh: cells.positive("speed_limit_kmh", MAX_LIMIT_KMH),
        oneway: cells.flag("oneway"),
        valid: row.valid,
    }
}

/// The instant at which a row that says none begins to hold.
pub(super) fn begins(row: &RawRow, now: Time) -> Time {
    row.valid.from.unwrap_or(now)
}
