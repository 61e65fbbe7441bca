use std::{collections::BTreeSet, io::Write as _, path::Path};

use serde_json::{Value as Json, json};

use super::*;
use crate::{
    model::{Time, Validity},
    spatial::Point,
};

const VEHICLES: &str = "vehicle_id,plate,plate_color,device_id,company_id,status,max_gross_kg,tare_kg,sensors\n\
                        V1,粤B12345,yellow,d1,C1,active,31000,13000,cover lift\nV2,粤B2,,d2,C1,banned,,,\n";
const COMPANIES: &str = "company_id,name\nC1,One\n";
const PERMITS: &str = "permit_id,vehicle_id,source_id,sink_ids,route_ids,windows,status,valid_from,valid_to\n\
                       P1,V1,S1,K1,,22:00-06:00,valid,2026-03-01T00:00:00+08:00,2026-04-01T00:00:00+08:00\n";

fn square(id: &str, kind: &str, lon: f64, lat: f64) -> String {
    let (east, north) = (lon + 0.01, lat + 0.01);
    format!(
        r#"{{"type":"Feature","properties":{{"place_id":"{id}","name":"{id}","kind":"{kind}"}},"geometry":{{"type":"Polygon",
"coordinates":[[[{lon},{lat}],[{east},{lat}],[{east},{north}],[{lon},{north}],[{lon},{lat}]]]}}}}"#
    )
}

fn collection(datum: &str, features: &[String]) -> String {
    format!("{{\"type\":\"FeatureCollection\",\"datum\":\"{datum}\",\"features\":[\n{}\n]}}", features.join(",\n"))
}

fn places() -> String {
    collection("wgs84", &[square("S1", "source", 114.0, 22.7), square("K1", "sink", 114.1, 22.7)])
}

fn t(text: &str) -> Time {
    text.parse().unwrap()
}

fn ms(ms: i64) -> Time {
    Time::from_millis(ms)
}

/// Every problem of these files, one a line.
fn problems(files: &[(&str, &str)]) -> String {
    match Registry::parse(files) {
        Ok(_) => String::new(),
        Err(e) => e.problems().iter().map(|problem| format!("{problem}\n")).collect(),
    }
}

fn good() -> Registry {
    let files = [("vehicles.csv", VEHICLES), ("companies.csv", COMPANIES), ("permits.csv", PERMITS)];
    Registry::parse(&[&files[..], &[("places.geojson", &places())]].concat()).unwrap()
}

#[test]
fn a_whole_registry_is_looked_up_as_of_an_instant() {
    let registry = good();
    let at = t("2026-03-05T00:00:00Z");
    let vehicle = registry.vehicle_by_device("d1", at).unwrap();
    assert_eq!((&*vehicle.vehicle_id, &*vehicle.plate, vehicle.max_gross_kg), ("V1", "粤B12345", Some(31000.0)));
    assert!(vehicle.sensors.cover && vehicle.sensors.lift && !vehicle.sensors.camera);
    assert_eq!(registry.vehicle("V2", at).unwrap().status, VehicleStatus::Banned);
    assert_eq!(&*registry.vehicle_by_plate("粤B2", at).unwrap().vehicle_id, "V2");
    assert!(registry.device_is_registered("d2") && !registry.device_is_registered("d3"));
    assert!(registry.vehicle_by_device("", at).is_none());
    let [permit] = &registry.permits("V1")[..] else { panic!("one permit") };
    assert_eq!((permit.status, permit.windows.is_always()), (PermitStatus::Valid, false));
    assert!(registry.permits("V2").is_empty() && registry.manifests("V1").is_empty());
    let mut found = Vec::new();
    registry.places().containing(Point::new(114.105, 22.705), at, |_, place| found.push(place.kind));
    assert_eq!(found, [PlaceKind::Sink]);
    let (start, end) = (t("2026-03-01T00:00:00+08:00"), t("2026-04-01T00:00:00+08:00"));
    assert_eq!(registry.changes("V1", ms(0)), Some(start));
    assert_eq!(registry.changes("V1", start), Some(end));
    assert_eq!(registry.changes("V1", end), None);
    assert_eq!(registry.changes("V2", ms(0)), None);
}

#[test]
fn the_empty_registry_knows_nothing() {
    let registry = Registry::default();
    assert!(registry.vehicle("V1", ms(0)).is_none() && registry.vehicles().next().is_none());
    assert!(!registry.blacklisted("V1", "C1", Some("D1"), ms(0)) && !registry.outage_filed("V1", ms(0)));
    assert!(registry.changes("V1", ms(0)).is_none() && registry.route("R", ms(0)).is_none());
}

/// Each file has one fault; the report names it as this.
#[test]
fn problems_say_where_what_and_what_was_expected() {
    const HEAD: &str = "vehicle_id,plate,device_id,status\n";
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "vehicles.csv",
            "vehicle_id,plate,device_id,statsu\n",
            &[
                r#"vehicles.csv:1: found the unknown column "statsu""#,
                r#"(did you mean "status"?)"#,
                "the column status",
            ],
        ),
        (
            "vehicles.csv",
            "V1,p,d,actve\n",
            &[
                r#"vehicles.csv:2: status: found "actve", expected one of active, suspended"#,
                r#"(did you mean "active"?)"#,
            ],
        ),
        ("vehicles.csv", "V1,p,d\n", &["vehicles.csv:2: found 3 cells, expected 4 as in the header"]),
        ("vehicles.csv", ",p,d,active\n", &["vehicles.csv:2: vehicle_id: found nothing, expected a value"]),
        (
            "vehicles.csv",
            "V1,p,d,active\nV2,q,d,active\n",
            &["vehicles.csv:3: device_id: found \"d\" a second time (line 2) while the first holds"],
        ),
        ("vehicles.csv", "V1,p,d,active\nV1,q,e,active\n", &["vehicles.csv:3: vehicle_id: found \"V1\" a second time"]),
        ("vehicles.csv", "V1,p,d d,active\n", &["device_id: found \"d d\", expected each device once"]),
        (
            "vehicles.csv",
            "V1,p,d1 d2,active\nV2,q,d3 ｄ2,active\n",
            &["vehicles.csv:3: device_id: found \"d2\" a second time (line 2) while the first holds"],
        ),
        (
            "vehicles.csv",
            "V1,粤B12345,d1,active\nV2,粤b·12345,d2,active\n",
            &["vehicles.csv:3: plate: found \"粤B12345\" a second time (line 2) while the first holds"],
        ),
        ("companies.csv", "company_id,company_id\nA,B\n", &["found the column company_id twice"]),
        (
            "companies.csv",
            "company_id,valid_from,valid_to\nA,yesterday,\n",
            &["companies.csv:2: valid_from: found \"yesterday\", expected RFC 3339"],
        ),
        ("companies.csv", "company_id,valid_from,valid_to\nA,2000,1000\n", &["valid_to: found 1970-01-01T00:00:01"]),
        (
            "permits.csv",
            "permit_id,vehicle_id,source_id,sink_ids,windows,status\nP,V,,,25:00-06:00,valid\n",
            &["windows: found \"25:00-06:00\", expected windows such as"],
        ),
        (
            "manifests.csv",
            "manifest_id,vehicle_id,opened_at,closed_at\nM,V,2000,1000\n",
            &["closed_at: found \"1000\", expected a time not before opened_at"],
        ),
        ("units.csv", "unit_id,department,kind\nU,police,sqad\n", &["(did you mean \"squad\"?)"]),
        ("vehicle.csv", "", &["vehicle.csv: found an unknown file", "(did you mean \"vehicles.csv\"?)"]),
    ];
    for (file, text, expected) in cases {
        let text =
            if *file == "vehicles.csv" && !text.contains("plate") { format!("{HEAD}{text}") } else { (*text).into() };
        let found = problems(&[(file, &text)]);
        for expected in *expected {
            assert!(found.contains(expected), "{text:?} gave\n{found}\nwithout {expected:?}");
        }
    }
}

#[test]
fn geometry_is_refused_as_it_should_be() {
    let cases: &[(&str, &str)] = &[
        (r#"[[0,0],[1,0],[1,1],[0,0]]"#, "coordinates that do not fit"),
        (r#"[[[0,0],[1,0],[0,0]]]"#, "a ring of 3 positions"),
        (r#"[[[0,0],[1,0],[1,91],[0,0]]]"#, "found [1, 91], expected [longitude, latitude] within"),
        (r#"[[[0,0],[1,0],[1,1e999],[0,0]]]"#, "found"),
        (r#"[[[0,0],[0,0],[0,0],[0,0]]]"#, "fewer than 3 different positions"),
        (r#"[]"#, "a polygon without rings"),
        (r#"null"#, "coordinates that do not fit"),
    ];
    for (coordinates, expected) in cases {
        let feature = format!(
            r#"{{"type":"Feature","properties":{{"place_id":7,"kind":"sink"}},"geometry":{{"type":"Polygon","coordinates":{coordinates}}}}}"#
        );
        let found = problems(&[("places.geojson", &collection("wgs84", &[feature]))]);
        assert!(found.starts_with("places.geojson:2: ") && found.contains(expected), "{coordinates}: {found}");
    }
    let line = r#"{"type":"Feature","properties":{"place_id":"A","kind":"sink"},"geometry":{"type":"LineString","coordinates":[[0,0],[1,1]]}}"#;
    let found = problems(&[("places.geojson", &collection("wgs84", &[line.into()]))]);
    assert!(
        found.contains(
            "feature 1 (A): geometry: found a LineString, expected a Polygon, a MultiPolygon, or a Point with radius_m"
        ),
        "{found}"
    );
}

/// What an import says of files that it takes.
fn warnings(files: &[(&str, &str)]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, text)| write(dir.path(), name, text));
    let taken = Book::in_memory().unwrap().import(dir.path(), ms(1_772_373_600_000));
    taken.unwrap_or_else(|error| panic!("{error}")).warnings.iter().map(ToString::to_string).collect()
}

fn place(properties: &str, geometry: &str) -> String {
    format!(r#"{{"type":"Feature","properties":{{{properties}}},"geometry":{geometry}}}"#)
}

fn polygon(rings: &str) -> String {
    place(r#""place_id":"A","kind":"sink""#, &format!(r#"{{"type":"Polygon","coordinates":{rings}}}"#))
}

fn multi(polygons: &str) -> String {
    place(r#""place_id":"A","kind":"sink""#, &format!(r#"{{"type":"MultiPolygon","coordinates":{polygons}}}"#))
}

const SQUARE: &str = "[[114,22],[114.01,22],[114.01,22.01],[114,22.01],[114,22]]";

/// A ring in which something is covered twice counts as a hole there: a truck that tips in the middle of a sink was accused.
#[test]
fn holes_and_parts_do_not_overlap() {
    let hole =
        |x: f64| format!("[[{x},22.002],[{},22.002],[{},22.004],[{x},22.004],[{x},22.002]]", x + 0.002, x + 0.002);
    let shifted = SQUARE.replace("22.01", "22.02").replace("[114,", "[114.005,").replace("[114.01,", "[114.02,");
    let beside = SQUARE.replace("[114,", "[114.03,").replace("[114.01,", "[114.04,");
    let touching = SQUARE.replace("[114.01,", "[114.02,").replace("[114,", "[114.01,");
    for (feature, expected) in [
        (polygon(&format!("[{SQUARE},{}]", hole(114.002))), ""),
        (polygon(&format!("[{SQUARE},{},{}]", hole(114.002), hole(114.006))), ""),
        (
            polygon(&format!("[{SQUARE},{}]", hole(114.05))),
            "hole 1 at [114.050000, 22.002000] that does not lie within the outer ring",
        ),
        (polygon(&format!("[{SQUARE},{}]", hole(114.009))), "hole 1 at [114.009000, 22.002000] that"),
        (
            polygon(&format!("[{SQUARE},{},{}]", hole(114.002), hole(114.003))),
            "hole 2 at [114.003000, 22.002000] that overlaps another ring",
        ),
        (polygon(&format!("[{SQUARE},{SQUARE}]")), "hole 1 at [114.000000, 22.000000] that"),
        (multi(&format!("[[{SQUARE}],[{beside}]]")), ""),
        (multi(&format!("[[{SQUARE}],[{touching}]]")), ""),
        (multi(&format!("[[{SQUARE}],[{shifted}]]")), "polygons 1 and 2 that overlap"),
    ] {
        let found = problems(&[("places.geojson", &collection("wgs84", std::slice::from_ref(&feature)))]);
        let is_right = if expected.is_empty() { found.is_empty() } else { found.contains(expected) };
        assert!(is_right, "{feature}\n{found}\nexpected {expected:?}");
    }
}

#[test]
fn what_can_be_mended_in_one_way_only_is_mended_and_said() {
    let twice = format!("{},{}", SQUARE.trim_end_matches(']').to_owned() + "]", &SQUARE[10..]);
    for (feature, expected) in [
        (
            polygon("[[[114,22],[114.01,22],[114.01,22.01],[114,22.01]]]"),
            "a ring that is not closed, expected the last position to be the first again: it was closed",
        ),
        (
            polygon(&format!("[{twice}]")),
            "a ring that is drawn twice around its area, expected once: it was taken once",
        ),
        (
            multi(&format!("[[{SQUARE}],[{SQUARE}]]")),
            "a polygon that is given twice, expected each once: it was taken once",
        ),
    ] {
        let mended = collection("wgs84", &[feature]);
        let said = warnings(&[("places.geojson", &mended)]);
        assert_eq!(said, [format!("places.geojson:2: feature 1 (A): geometry: found {expected}")]);
        let registry = Registry::parse(&[("places.geojson", &mended)]).unwrap();
        let area = registry.places().index().area(0);
        assert!(area.contains(Point::new(114.005, 22.005)) && !area.contains(Point::new(114.02, 22.005)), "{expected}");
    }
}

#[test]
fn circles_are_a_point_with_a_radius() {
    let circle = |radius: &str| {
        place(&format!(r#""place_id":"A","kind":"sink"{radius}"#), r#"{"type":"Point","coordinates":[114.05,22.5]}"#)
    };
    let text = collection("wgs84", &[circle(r#","radius_m":150"#)]);
    let registry = Registry::parse(&[("places.geojson", &text)]).unwrap();
    let area = registry.places().index().area(0);
    let frame = crate::spatial::LocalFrame::at(Point::new(114.05, 22.5));
    for (x_m, y_m, expected) in
        [(0.0, 0.0, -150.0), (0.0, 140.0, -10.0), (-100.0, -100.0, -8.6), (160.0, 0.0, 10.0), (0.0, -300.0, 150.0)]
    {
        let found = area.signed_distance_m(frame.to_point(x_m, y_m));
        assert!((found - expected).abs() < 0.5, "{x_m} {y_m}: {found}, expected {expected}");
    }
    for (feature, expected) in [
        (circle(""), "radius_m: found \"\", expected the radius in metres"),
        (circle(r#","radius_m":0"#), "radius_m: found \"0\", expected a number above 0"),
        (circle(r#","radius_m":"wide""#), "radius_m: found \"wide\", expected a number above 0"),
        (
            polygon(&format!("[{SQUARE}]")).replace(r#""kind""#, r#""radius_m":9,"kind""#),
            "radius_m: found \"9\", expected nothing",
        ),
    ] {
        let found = problems(&[("places.geojson", &collection("wgs84", &[feature]))]);
        assert!(found.contains(expected), "{found}");
    }
    // A circle stays one.
    let mut book = Book::in_memory().unwrap();
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "places.geojson", &text);
    book.import(dir.path(), ms(1_772_373_600_000)).unwrap();
    let out = tempfile::tempdir().unwrap();
    book.export(out.path(), false).unwrap();
    let exported = std::fs::read_to_string(out.path().join("places.geojson")).unwrap();
    assert!(
        exported.contains(r#""radius_m":150"#) && exported.contains(r#"{"type":"Point","coordinates":[114.05,22.5]}"#),
        "{exported}"
    );
    assert_eq!(book.import(out.path(), ms(1_772_373_700_000)).unwrap().counts["places"].unchanged, 1);
}

/// Clerks keep columns of their own, and maps properties: they are no reason to refuse a file, nor to pass over a slip of the hand.
#[test]
fn columns_and_properties_of_others_are_said_and_slips_refused() {
    let head = "vehicle_id,plate,device_id,status";
    for (text, expected) in [
        (
            format!("{head},备注,owner\nV1,粤B12345,d1,active,x,y\n"),
            vec![
                "vehicles.csv:1: found the column \"备注\", which is not read",
                "vehicles.csv:1: found the column \"owner\", which is not read",
            ],
        ),
        (format!("{head},,\nV1,粤B12345,d1,active,,\n"), vec![]),
        (format!("{head}\nV1,粤B12345,d1,active,,,\n"), vec![]),
        (
            format!("{head},\nV1,粤B12345,d1,active,kept\n"),
            vec!["vehicles.csv:2: found a value in a column without a name"],
        ),
    ] {
        let said = warnings(&[("vehicles.csv", &text)]);
        assert_eq!(said.len(), expected.len(), "{said:?}");
        assert!(expected.iter().all(|expected| said.iter().any(|one| one.starts_with(expected))), "{said:?}");
    }
    let slip = problems(&[("vehicles.csv", &format!("{head},tare_kgs\nV1,粤B12345,d1,active,9000\n"))]);
    assert!(slip.contains(r#"the unknown column "tare_kgs""#) && slip.contains(r#"did you mean "tare_kg""#), "{slip}");
    let more = problems(&[("vehicles.csv", &format!("{head}\nV1,粤B12345,d1,active,x\n"))]);
    assert!(more.contains("found 5 cells, expected 4"), "{more}");

    let feature = |id: &str, more: &str, lon: f64| {
        square(id, "sink", lon, 22.7).replace(r#""kind""#, &format!(r#"{more}"kind""#))
    };
    let osm = r#""osm_id":7,"tags":{"a":[1]},"fill":"#;
    let map = collection(
        "wgs84",
        &[feature("A", &format!("{osm}\"red\","), 114.0), feature("B", &format!("{osm}null,"), 114.1)],
    );
    let said = warnings(&[("places.geojson", &map)]);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(
        said[0].starts_with(
            "places.geojson:2: feature 1 (A): found the property \"fill\", which is not read (in 2 features)"
        ),
        "{said:?}"
    );
    let slip = problems(&[("places.geojson", &collection("wgs84", &[feature("A", r#""statuss":"open","#, 114.0)]))]);
    assert!(slip.contains(r#"the unknown column "statuss""#), "{slip}");
}

#[test]
fn a_workbook_beside_the_files_is_not_passed_over() {
    let vehicles = "vehicle_id,plate,device_id,status\nV1,粤B12345,d1,active\n";
    let said =
        warnings(&[("vehicles.csv", vehicles), ("permits.xlsx", "PK"), ("~$permits.xlsx", "x"), ("notes.txt", "x")]);
    assert_eq!(
        said,
        [
            "permits.xlsx: found a workbook, which is not read, expected each sheet saved as \"CSV UTF-8\", such as permits.csv"
        ]
    );
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "台账.xls", "x");
    let refused = Registry::read_dir(dir.path(), &crate::model::Zone::china()).unwrap_err().to_string();
    assert!(
        refused.contains("no file of a registry (台账.xls is not read: save each sheet as \"CSV UTF-8\")"),
        "{refused}"
    );
}

/// Excel writes `2026/3/1`; who writes that a permit holds to the 31st means that it holds on that day.
#[test]
fn local_dates_and_times_are_of_the_zone_that_is_set() {
    let text = "permit_id,vehicle_id,source_id,sink_ids,status,valid_from,valid_to\n\
        P1,V1,,,valid,2026/3/1,2026/3/31\nP2,V1,,,valid,2026-03-01 22:05,2026年3月2日 6:00\n";
    let manifests = "manifest_id,vehicle_id,opened_at,closed_at\nM1,V1,2026/3/1 20:00,2026/3/1\n";
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "permits.csv", text);
    write(dir.path(), "manifests.csv", manifests);
    for (zone, hours) in [("Asia/Shanghai", 8), ("Asia/Urumqi", 6), ("UTC", 0)] {
        let zone = crate::model::Zone::named(zone).unwrap();
        let utc = |text: &str| t(text).plus_ms(-hours * 3_600_000);
        let mut book = Book::in_memory().unwrap().in_zone(zone.clone());
        book.import(dir.path(), utc("2026-03-01T00:00:00Z")).unwrap();
        for registry in [Registry::read_dir(dir.path(), &zone).unwrap(), book.load().unwrap()] {
            let permits = registry.permits("V1");
            let valid = |id: &str| permits.iter().find(|permit| &*permit.permit_id == id).unwrap().valid;
            let span = |from: &str, to: &str| Validity { from: Some(utc(from)), to: Some(utc(to)) };
            assert_eq!(valid("P1"), span("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"));
            assert_eq!(valid("P2"), span("2026-03-01T22:05:00Z", "2026-03-02T06:00:00Z"));
            let [manifest] = &registry.manifests("V1")[..] else { panic!("one manifest") };
            assert_eq!(manifest.opened_at, utc("2026-03-01T20:00:00Z"));
            assert_eq!(manifest.closed_at, Some(utc("2026-03-02T00:00:00Z")));
        }
    }
}

#[test]
fn dates_that_may_mean_many_things_are_refused_by_name() {
    for (written, expected) in [
        ("20260301", "a date as yyyymmdd: write 2026-03-01"),
        ("20260301220509", "a date as yyyymmddhhmmss: write 2026-03-01 22:05:09"),
        ("46082", "Excel's serial day for 2026-03-01: write 2026-03-01"),
        ("46082.5", "Excel's serial day for 2026-03-01 12:00:00: write 2026-03-01 12:00:00"),
        ("3/1/2026", "write the year first"),
        ("01-03-26", "write the year first"),
        ("1772373600", "it is seconds"),
        ("soon", "a local date or time such as 2026-03-01 22:05"),
    ] {
        let found = problems(&[("companies.csv", &format!("company_id,valid_from\nC1,{written}\n"))]);
        assert!(found.starts_with("companies.csv:2: valid_from: found") && found.contains(expected), "{found}");
    }
}

#[test]
fn rows_that_may_be_wrong_are_taken_and_told() {
    let vehicles = "vehicle_id,plate,device_id,status,max_gross_kg,tare_kg\n\
        V1,粤B12345,d1,active,31000,12000\nV2,粤B1234,d2,active,31000,12000\nV3,粤b·12346,d3,active,12000,31000\n";
    let permits = "permit_id,vehicle_id,source_id,sink_ids,status\nP1,V1,S1,K1,valid\nP2,V1,K1,S1,valid\n";
    let later = square("S3", "source", 114.0, 22.7).replace(r#""kind""#, r#""valid_from":"2030-01-01","kind""#);
    let earlier = square("S4", "source", 114.0, 22.7).replace(r#""kind""#, r#""valid_to":"2020-01-01","kind""#);
    let places = collection(
        "wgs84",
        &[
            square("S1", "source", 114.2, 22.7),
            square("K1", "sink", 114.1, 22.7),
            square("K2", "sink", 114.105, 22.705),
            later,
            earlier,
        ],
    );
    let said = warnings(&[("vehicles.csv", vehicles), ("permits.csv", permits), ("places.geojson", &places)]);
    let expected = [
        "permits.csv:3: source_id: found \"K1\", a sink, expected a source",
        "permits.csv:3: sink_ids: found \"S1\", a source, expected a sink",
        "places.geojson:6: feature 3 (K2): geometry: found a place that overlaps \"K1\", expected places apart from one another",
        "vehicles.csv:3: plate: found \"粤B1234\", expected a plate such as 粤B12345 or 粤BD12345",
        "vehicles.csv:4: tare_kg: found \"31000\", expected less than max_gross_kg (12000)",
    ];
    assert_eq!(said, expected);
}

#[test]
fn geometry_without_a_datum_is_refused_by_name() {
    let undated = places().replace("\"datum\":\"wgs84\",", "");
    let found = problems(&[("places.geojson", &undated)]);
    assert!(found.starts_with("places.geojson: datum: found nothing, expected a top-level \"datum\""), "{found}");
    let odd = problems(&[("places.geojson", &collection("gcj-02", &[]))]);
    assert!(odd.contains("found \"gcj-02\"") && odd.contains("did you mean \"gcj02\""), "{odd}");
    assert_eq!(problems(&[("places.geojson", &collection("cgcs2000", &[]))]), "");
}

/// Drawn in GCJ-02, the place stands some 600 m from where its numbers say.
#[test]
fn gcj02_is_converted_at_load() {
    let drawn = collection("gcj02", &[square("S1", "source", 114.0, 22.7)]);
    let registry = Registry::parse(&[("places.geojson", &drawn)]).unwrap();
    let middle = Point::new(114.005, 22.705);
    let area = registry.places().index().area(0);
    let true_middle = crate::spatial::to_wgs84(crate::model::Datum::Gcj02, middle.lon, middle.lat);
    assert!((area.signed_distance_m(true_middle) - area.signed_distance_m(middle)).abs() > 100.0);
    assert!(area.signed_distance_m(true_middle) < -500.0);
}

#[test]
fn all_problems_of_all_files_come_at_once() {
    let found = problems(&[
        ("vehicles.csv", "vehicle_id,plate,device_id,status\nV1,p,d,actve\nV2,q,e,\n"),
        ("permits.csv", "permit_id,vehicle_id,source_id,sink_ids,status\nP1,V9,S9,K1 K9,valid\n"),
        ("places.geojson", &places().replace("\"kind\":\"sink\"", "\"kind\":\"sinc\"")),
        ("zones.geojson", "{"),
    ]);
    for expected in [
        "vehicles.csv:2: status",
        "vehicles.csv:3: status",
        "permits.csv:2: vehicle_id: found \"V9\", expected an id in vehicles.csv (did you mean \"V",
        "permits.csv:2: source_id: found \"S9\"",
        "permits.csv:2: sink_ids: found \"K9\"",
        "places.geojson:4: feature 2 (K1): kind: found \"sinc\"",
        "zones.geojson:1: found",
    ] {
        assert!(found.contains(expected), "{found}\nwithout {expected}");
    }
    assert_eq!(found.lines().count(), 7, "{found}");
}

#[test]
fn tables_may_have_a_mark_crlf_blanks_and_any_order() {
    let text = "\u{feff}name , company_id,valid_from\r\n One ,C1,\r\nTwo,C2,1000\r\n";
    let registry = Registry::parse(&[("companies.csv", text)]).unwrap();
    assert_eq!(&*registry.company("C1", ms(0)).unwrap().name, "One");
    assert!(registry.company("C2", ms(999)).is_none() && registry.company("C2", ms(1000)).is_some());
}

#[test]
fn other_encodings_are_refused_with_their_line() {
    let mut found = problem::Problems::default();
    let bytes = b"company_id,name\nC1,\xd4\xc1\n";
    assert!(source::parse(schema::Entity::Companies, bytes, &crate::model::Zone::china(), &mut found).is_empty());
    let told = found.errors()[0].to_string();
    assert!(told.starts_with("companies.csv:2: found the byte 0xd4 that is no UTF-8, expected UTF-8"), "{told}");
}

/// A truck has a tracker and a dashcam, each of which is the truck.
#[test]
fn a_vehicle_may_have_several_devices() {
    let text = "vehicle_id,plate,device_id,status\nA,p,d1 cam1,active\nB,q,d2,active\n";
    let registry = Registry::parse(&[("vehicles.csv", text)]).unwrap();
    for (device, expected) in [("d1", "A"), ("cam1", "A"), ("ｃａｍ1", "A"), ("d2", "B")] {
        assert_eq!(&*registry.vehicle_by_device(device, ms(0)).unwrap().vehicle_id, expected);
    }
    let devices: Vec<&str> = registry.vehicle("A", ms(0)).unwrap().device_ids.iter().map(|id| &**id).collect();
    assert_eq!(devices, ["d1", "cam1"]);
    let (dir, mut book) = (tempfile::tempdir().unwrap(), Book::in_memory().unwrap());
    write(dir.path(), "vehicles.csv", text);
    book.import(dir.path(), ms(1_000)).unwrap();
    assert_eq!(book.devices_of(&["A"].into()).unwrap(), ["cam1".to_owned(), "d1".to_owned()].into());
}

/// A device moves from one truck to the other at 1000.
#[test]
fn a_device_is_on_one_vehicle_at_a_time() {
    let text = "vehicle_id,plate,device_id,status,valid_from,valid_to\nA,p,d,active,,1000\nB,q,d,active,1000,\n";
    let registry = Registry::parse(&[("vehicles.csv", text)]).unwrap();
    for (at, expected) in [(0, "A"), (999, "A"), (1000, "B"), (5000, "B")] {
        assert_eq!(&*registry.vehicle_by_device("d", ms(at)).unwrap().vehicle_id, expected);
    }
    assert_eq!(registry.changes("d", ms(0)), Some(ms(1000)));
}

#[test]
fn blacklist_outages_and_manifests_hold_for_their_time() {
    let registry = Registry::parse(&[
        (
            "blacklist.csv",
            "subject,subject_id,reason,valid_from,valid_to\ncompany,C1,x,100,200\ndriver,D1,x,,\nvehicle,V1,x,300,\n",
        ),
        ("outages.csv", "vehicle_id,reason,valid_from,valid_to\nV1,repair,400,500\n"),
        ("manifests.csv", "manifest_id,vehicle_id,opened_at,closed_at\nM1,V1,600,700\n"),
    ])
    .unwrap();
    for (at, driver, expected) in
        [(50, None, false), (150, None, true), (250, None, false), (300, None, true), (50, Some("D1"), true)]
    {
        assert_eq!(registry.blacklisted("V1", "C1", driver, ms(at)), expected, "{at}");
    }
    assert_eq!([399, 400, 500].map(|at| registry.outage_filed("V1", ms(at))), [false, true, false]);
    assert_eq!([599, 600, 700].map(|at| registry.manifests("V1")[0].is_open(ms(at))), [false, true, false]);
    let (mut changes, mut at) = (Vec::new(), ms(0));
    while let Some(next) = registry.changes("V1", at) {
        changes.push(next.as_millis());
        at = next;
    }
    assert_eq!(changes, [100, 200, 300, 400, 500, 600, 700]);
}

/// Permits of many trucks name one place; what counts is whether any of them holds.
#[test]
fn a_place_is_approved_while_any_valid_permit_names_it() {
    let permit = |(n, (valid, status)): (usize, (&str, &str))| format!("P{n},V{n},S,K L,{status},{valid}\n");
    let rows =
        [("500,600", "valid"), ("100,200", "valid"), ("150,300", "valid"), ("300,400", "valid"), ("0,900", "revoked")];
    let permits: String = rows.into_iter().enumerate().map(permit).collect();
    let text = format!("permit_id,vehicle_id,source_id,sink_ids,status,valid_from,valid_to\n{permits}");
    let registry = Registry::parse(&[("permits.csv", &text)]).unwrap();
    for (at, expected) in [(99, false), (100, true), (250, true), (399, true), (400, false), (500, true), (600, false)]
    {
        assert_eq!(["S", "K", "L"].map(|id| registry.place_approved(id, ms(at))), [Some(expected); 3], "{at}");
    }
    assert_eq!(registry.place_approved("X", ms(100)), Some(false));
    assert_eq!(Registry::default().place_approved("X", ms(100)), None);
    let open = format!("{text}P9,V9,S,,valid,,\n");
    let registry = Registry::parse(&[("permits.csv", &open)]).unwrap();
    assert_eq!([-1, 450, 5_000].map(|at| registry.place_approved("S", ms(at))), [Some(true); 3]);
}

#[test]
fn a_place_has_a_status_and_is_open_when_nothing_is_said() {
    let places = |status: &str| places().replace(r#""kind":"sink""#, &format!(r#""kind":"sink","status":"{status}""#));
    let registry = Registry::parse(&[("places.geojson", &places("full"))]).unwrap();
    let status = |id: &str| registry.places().named(id, ms(0)).map(|(_, place)| place.status);
    assert_eq!((status("S1"), status("K1"), status("K2")), (Some(PlaceStatus::Open), Some(PlaceStatus::Full), None));
    let said = problems(&[("places.geojson", &places("ful"))]);
    assert!(said.contains(r#"found "ful", expected one of open, closed, full"#), "{said}");
}

#[test]
fn limits_are_the_lower_of_class_and_posted() {
    for (class, expected) in [
        ("motorway", 80.0),
        ("motorway_link", 80.0),
        ("trunk", 60.0),
        ("trunk_link", 60.0),
        ("primary", 40.0),
        ("residential", 40.0),
        ("anything", 40.0),
    ] {
        assert_eq!(class_limit_kmh(class), expected, "{class}");
    }
    let road = |class: &str, posted| Road {
        road_id: "R".into(),
        name: None,
        class: class.into(),
        speed_limit_kmh: posted,
        oneway: false,
        valid: Validity::default(),
    };
    assert_eq!(road("motorway", Some(100.0)).limit_kmh(), 80.0);
    assert_eq!(road("motorway", Some(60.0)).limit_kmh(), 60.0);
    assert_eq!(road("primary", None).limit_kmh(), 40.0);
}

fn write(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join(name), text).unwrap();
}

#[test]
fn a_folder_is_read_plain_and_gzipped() {
    let dir = tempfile::tempdir().unwrap();
    let empty = Registry::read_dir(dir.path(), &crate::model::Zone::china()).unwrap_err().to_string();
    assert!(empty.contains("found no file of a registry, expected any of vehicles.csv"), "{empty}");
    write(dir.path(), "companies.csv", COMPANIES);
    write(dir.path(), "readme.md", "none of ours");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let roads = r#"{"type":"FeatureCollection","datum":"wgs84","features":[{"type":"Feature",
        "properties":{"road_id":1,"class":"trunk","name":null,"oneway":true,"speed_limit_kmh":50},
        "geometry":{"type":"LineString","coordinates":[[104,30,7],[104.01,30]]}}]}"#;
    gz.write_all(roads.as_bytes()).unwrap();
    std::fs::write(dir.path().join("roads.geojson.gz"), gz.finish().unwrap()).unwrap();
    let registry = Registry::read_dir(dir.path(), &crate::model::Zone::china()).unwrap();
    let mut found = Vec::new();
    registry.roads().near(Point::new(104.005, 30.0001), 30.0, ms(0), |road, hit| {
        found.push((road.road_id.to_string(), road.name.clone(), road.oneway, road.limit_kmh(), hit.line));
    });
    assert_eq!(found, [("1".to_owned(), None, true, 50.0, 0)]);
    write(dir.path(), "vehicle.csv", "");
    let slip = Registry::read_dir(dir.path(), &crate::model::Zone::china()).unwrap_err().to_string();
    assert!(slip.contains("vehicle.csv: found an unknown file") && slip.contains("vehicles.csv"), "{slip}");
}

#[test]
fn a_missing_folder_is_named() {
    let e = Registry::read_dir(Path::new("no/such/folder"), &crate::model::Zone::china()).unwrap_err().to_string();
    assert!(e.contains("no/such/folder"), "{e}");
}

fn counts(summary: &ImportSummary, entity: &str) -> [usize; 4] {
    let counts = summary.counts.get(entity).copied().unwrap_or_default();
    [counts.added, counts.changed, counts.closed, counts.unchanged]
}

#[test]
fn an_import_closes_what_went_and_opens_what_came() {
    let (dir, mut book) = (tempfile::tempdir().unwrap(), Book::in_memory().unwrap());
    write(dir.path(), "companies.csv", "company_id,name\nA,one\nB,two\nC,three\n");
    write(dir.path(), "places.geojson", &places());
    let first = book.import(dir.path(), ms(1000)).unwrap();
    assert_eq!((counts(&first, "companies"), counts(&first, "places")), ([3, 0, 0, 0], [2, 0, 0, 0]));
    let again = book.import(dir.path(), ms(2000)).unwrap();
    assert_eq!((counts(&again, "companies"), counts(&again, "places")), ([0, 0, 0, 3], [0, 0, 0, 2]));
    assert_eq!(again.digest, first.digest);
    write(dir.path(), "companies.csv", "company_id,name\nA,one\nB,TWO\nD,four\n");
    let third = book.import(dir.path(), ms(3000)).unwrap();
    assert_eq!(counts(&third, "companies"), [1, 1, 1, 1]);
    assert_ne!(third.digest, first.digest);
    let registry = book.load().unwrap();
    let name = |id: &str, at| registry.company(id, ms(at)).map(|company| company.name.to_string());
    let cases = [
        // The first batch has no past to rewrite: where it says nothing it is open-ended.
        ("A", 999, Some("one")),
        ("A", 9000, Some("one")),
        ("B", 2999, Some("two")),
        ("B", 3000, Some("TWO")),
        ("C", 2999, Some("three")),
        ("C", 3000, None),
        ("D", 2999, None),
        ("D", 3000, Some("four")),
    ];
    for (id, at, expected) in cases {
        assert_eq!(name(id, at).as_deref(), expected, "{id} {at}");
    }
    assert_eq!(registry.places().all().len(), 2);
    assert_eq!(book.last_batch().unwrap(), 3);
}

/// A permit revoked with a start in the past: what was judged before the import stays valid.
#[test]
fn an_import_never_rewrites_the_past() {
    let (dir, mut book) = (tempfile::tempdir().unwrap(), Book::in_memory().unwrap());
    let permit = |status: &str| {
        format!("permit_id,vehicle_id,source_id,sink_ids,status,valid_from,valid_to\nP,V,,,{status},100,9000\n")
    };
    write(dir.path(), "permits.csv", &permit("valid"));
    book.import(dir.path(), ms(1000)).unwrap();
    write(dir.path(), "permits.csv", &permit("revoked"));
    book.import(dir.path(), ms(2000)).unwrap();
    let registry = book.load().unwrap();
    let status = |at: i64| {
        let holding: Vec<_> = registry.permits("V").iter().filter(|permit| permit.valid.contains(ms(at))).collect();
        holding.iter().map(|permit| permit.status.as_str()).collect::<Vec<_>>()
    };
    assert_eq!((status(99), status(500), status(1999)), (vec![], vec!["valid"], vec!["valid"]));
    assert_eq!((status(2000), status(8999), status(9000)), (vec!["revoked"], vec!["revoked"], vec![]));
    // A clock that went back.
    std::fs::remove_file(dir.path().join("permits.csv")).unwrap();
    write(dir.path(), "companies.csv", "company_id\nA\n");
    assert_eq!(book.import(dir.path(), ms(50)).unwrap().at, ms(2000));
}

fn taking(now: i64, since: i64) -> Taking {
    Taking { since: Some(ms(since)), judge_again: true, ..Taking::from(ms(now)) }
}

/// A row of the permit P, and the status that holds at each of these times; `-`: none does.
#[track_caller]
fn holds(book: &Book, expected: &[(i64, &str)]) {
    let registry = book.load().unwrap();
    for (at, expected) in expected {
        let holding = registry.permits("V").iter().filter(|permit| permit.valid.contains(ms(*at)));
        let found: Vec<&str> = holding.map(|permit| permit.status.as_str()).collect();
        let expected = if *expected == "-" { Vec::new() } else { vec![*expected] };
        assert_eq!(found, expected, "at {at}");
    }
}

#[test]
fn a_correction_holds_since_it_says_and_what_was_known_stays_known() {
    let mut book = Book::in_memory().unwrap();
    let permit = |status: &str, from: Option<&str>, to: Option<&str>| json!({"permit_id": "P", "vehicle_id": "V", "status": status, "valid_from": from, "valid_to": to});
    let at = |ms_1970: i64| Time::from_millis(ms_1970).to_string();
    let (from, to) = (at(1_000), at(90_000));
    let upsert = |book: &mut Book, row: Json, taking: Taking| book.upsert(Entity::Permits, &[row], taking).unwrap();
    upsert(&mut book, permit("valid", Some(&from), Some(&to)), ms(10_000).into());
    holds(&book, &[(999, "-"), (1_000, "valid"), (89_999, "valid"), (90_000, "-")]);
    upsert(&mut book, permit("revoked", Some(&from), Some(&to)), ms(20_000).into());
    let before = book.load().unwrap();
    holds(&book, &[(1_000, "valid"), (19_999, "valid"), (20_000, "revoked"), (90_000, "-")]);

    // It was revoked earlier than was thought: only that is no change of what it says, so it is said by a correction.
    let summary = upsert(&mut book, permit("suspended", Some(&from), Some(&to)), taking(30_000, 15_000));
    holds(
        &book,
        &[(1_000, "valid"), (14_999, "valid"), (15_000, "suspended"), (20_000, "suspended"), (89_999, "suspended")],
    );
    assert_eq!((summary.since, summary.at), (Some(ms(15_000)), ms(30_000)));
    assert_eq!(summary.vehicles, Some(BTreeSet::from(["V".to_owned()])));
    let known = book.load_as_of(2).unwrap();
    assert_eq!(format!("{:?}", known.permits("V")), format!("{:?}", before.permits("V")), "as it was known then");

    // It began later than was thought.
    upsert(&mut book, permit("valid", Some(&at(5_000)), None), taking(40_000, 0));
    holds(&book, &[(1_000, "-"), (4_999, "-"), (5_000, "valid"), (20_000, "valid"), (95_000, "valid")]);
    // Given once more it says nothing new; without a correction nothing is to be judged again.
    let again = upsert(&mut book, permit("valid", Some(&at(5_000)), None), taking(50_000, 0));
    assert_eq!((again.since, counts(&again, "permits")), (None, [0, 0, 0, 1]));
    upsert(&mut book, permit("revoked", None, None), ms(60_000).into());
    let wanted =
        |since, vehicle: &str| Rejudge { since: ms(since), vehicles: Some(BTreeSet::from([vehicle.to_owned()])) };
    assert_eq!(book.rejudges_after(0).unwrap(), [wanted(15_000, "V"), wanted(0, "V")]);
    assert_eq!(book.rejudges_after(3).unwrap(), [wanted(0, "V")]);
}

#[test]
fn a_corrected_folder_touches_what_it_changes_and_nothing_else() {
    let (dir, mut book) = (tempfile::tempdir().unwrap(), Book::in_memory().unwrap());
    write(dir.path(), "companies.csv", "company_id,name\nA,one\nB,two\nC,three\n");
    book.import(dir.path(), ms(1_000)).unwrap();
    write(dir.path(), "companies.csv", "company_id,name\nA,one\nB,two\nC,three\nD,four\n");
    book.import(dir.path(), ms(5_000)).unwrap();
    write(dir.path(), "companies.csv", "company_id,name\nA,ONE\nB,two\nD,four\n");
    let summary = book.import(dir.path(), taking(9_000, 3_000)).unwrap();
    assert_eq!((counts(&summary, "companies"), summary.since, summary.vehicles), ([0, 1, 1, 2], Some(ms(3_000)), None));
    let registry = book.load().unwrap();
    let name = |id: &str, at| registry.company(id, ms(at)).map(|company| company.name.to_string());
    let cases = [
        ("A", 2_999, Some("one")),
        ("A", 3_000, Some("ONE")),
        ("B", 3_000, Some("two")),
        ("C", 2_999, Some("three")),
        ("C", 3_000, None),
        ("D", 4_999, None),
        ("D", 5_000, Some("four")),
    ];
    for (id, at, expected) in cases {
        assert_eq!(name(id, at).as_deref(), expected, "{id} {at}");
    }
}

#[test]
fn a_book_of_the_first_version_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("book.sqlite");
    Book::open(&path).unwrap().upsert(Entity::Companies, &[json!({"company_id": "A"})], ms(1)).unwrap();
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch(
        "alter table row drop column void_in; alter table batch drop column judge_since_ms;
         alter table batch drop column judge_vehicles; pragma user_version = 1;",
    )
    .unwrap();
    drop(file);
    assert!(Book::open_to_read(&path).unwrap().load().unwrap().company("A", ms(1)).is_some());
    Book::open(&path)
        .unwrap()
        .upsert(Entity::Companies, &[json!({"company_id": "A", "name": "a"})], taking(9, 5))
        .unwrap();
    assert_eq!(&*Book::open_to_read(&path).unwrap().load().unwrap().company("A", ms(5)).unwrap().name, "a");
}

#[test]
fn what_the_book_knew_after_each_batch_can_be_loaded() {
    let (dir, mut book) = (tempfile::tempdir().unwrap(), Book::in_memory().unwrap());
    let permits = "permit_id,vehicle_id,source_id,sink_ids,status,valid_from,valid_to\n";
    let mut then = vec![format!("{:?}", book.load().unwrap())];
    for (at, rows) in [
        (1000, "P,V,,,valid,100,9000\nQ,V,,,valid,,\n"),
        (2000, "P,V,,,revoked,100,9000\nQ,V,,,valid,,5000\n"),
        (2500, "Q,V,,,valid,,5000\n"),
        (3000, "P,V,,,valid,100,200\n"),
    ] {
        write(dir.path(), "permits.csv", &format!("{permits}{rows}"));
        write(dir.path(), "places.geojson", &places());
        assert_eq!(book.import(dir.path(), ms(at)).unwrap().batch, then.len() as i64);
        then.push(format!("{:?}", book.load().unwrap()));
    }
    // Corrections, of what holds and of what ended.
    for (at, since, rows) in
        [(3_100, 1_500, "Q,V,,,valid,,5000\n"), (3_200, 150, "P,V,,,valid,100,7000\nQ,V,,,revoked,,\n")]
    {
        write(dir.path(), "permits.csv", &format!("{permits}{rows}"));
        assert_eq!(book.import(dir.path(), taking(at, since)).unwrap().batch, then.len() as i64);
        then.push(format!("{:?}", book.load().unwrap()));
    }
    book.upsert(Entity::Companies, &[json!({"company_id": "A"})], ms(4000)).unwrap();
    for (batch, expected) in then.iter().enumerate() {
        let known = book.load_as_of(batch as i64).unwrap();
        assert_eq!((known.batch(), &format!("{known:?}")), (batch as i64, expected));
    }
}

#[test]
fn a_bad_folder_changes_nothing() {
    let (dir, mut book) = (tempfile::tempdir().unwrap(), Book::in_memory().unwrap());
    write(dir.path(), "companies.csv", "company_id,name\nA,one\n");
    book.import(dir.path(), ms(1000)).unwrap();
    write(dir.path(), "companies.csv", "company_id,name\nA,ONE\n");
    write(dir.path(), "drivers.csv", "driver_id,company_id\nD,Z\n");
    assert!(
        book.import(dir.path(), ms(2000)).unwrap_err().to_string().contains("drivers.csv:2: company_id: found \"Z\"")
    );
    assert_eq!(&*book.load().unwrap().company("A", ms(3000)).unwrap().name, "one");
    assert_eq!(book.last_batch().unwrap(), 1);
}

#[test]
fn rows_of_the_api_are_taken_one_by_one() {
    let mut book = Book::in_memory().unwrap();
    let companies = [json!({"company_id": "A", "name": "one"}), json!({"company_id": 7, "name": "seven"})];
    let summary = book.upsert(Entity::Companies, &companies, ms(1000)).unwrap();
    assert_eq!(counts(&summary, "companies"), [2, 0, 0, 0]);
    let summary = book.upsert(Entity::Companies, &[json!({"company_id": "A", "name": "ONE"})], ms(2000)).unwrap();
    assert_eq!(counts(&summary, "companies"), [0, 1, 0, 0]);
    let place = json!({"place_id": "P", "kind": "sink", "datum": "wgs84",
        "geometry": {"type": "Polygon", "coordinates": [[[0,0],[1,0],[1,1],[0,0]]]}});
    book.upsert(Entity::Places, &[place], ms(2500)).unwrap();
    let registry = book.load().unwrap();
    assert_eq!(&*registry.company("A", ms(1999)).unwrap().name, "one");
    assert_eq!(&*registry.company("A", ms(2000)).unwrap().name, "ONE");
    assert_eq!(&*registry.company("7", ms(2000)).unwrap().name, "seven");
    assert_eq!(registry.places().all().len(), 1);
    let driver = [json!({"driver_id": "D", "company_id": "B"})];
    let wrong = book.upsert(Entity::Drivers, &driver, ms(3000)).unwrap_err().to_string();
    assert!(wrong.contains("company_id: found \"B\", expected an id in companies.csv"), "{wrong}");
    let wrong = book.upsert(Entity::Companies, &[json!({"nmae": "x"}), json!(3)], ms(3000)).unwrap_err().to_string();
    assert!(wrong.contains("did you mean \"name\"") && wrong.contains("an object of columns"), "{wrong}");
    let wrong = book.upsert(Entity::Places, &[json!({"place_id": "Q", "kind": "sink"})], ms(3000)).unwrap_err();
    assert_eq!(wrong.problems().len(), 2, "{wrong}");
    assert_eq!(book.last_batch().unwrap(), 3);
}

#[test]
fn a_book_is_there_after_it_was_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registry.sqlite");
    Book::open(&path).unwrap().upsert(Entity::Companies, &[json!({"company_id": "A"})], ms(1)).unwrap();
    assert!(Book::open(&path).unwrap().load().unwrap().company("A", ms(1)).is_some());
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Book::open(&path), Err(RegistryError::Newer { found: 99, .. })));
}

proptest::proptest! {
    /// Whatever the bytes, an answer: never a panic.
    #[test]
    fn nothing_panics(text in "\\PC*", cells in "[A-Za-z0-9,\" \n:.-]{0,200}") {
        for entity in Entity::ALL {
            let _ = Registry::parse(&[(entity.file(), text.as_str())]);
            let header: Vec<&str> = entity.column_names().collect();
            let _ = Registry::parse(&[(entity.file(), format!("{}\n{cells}", header.join(",")).as_str())]);
            let _ = Registry::parse(&[(entity.file(), collection("bd09", std::slice::from_ref(&cells)).as_str())]);
        }
    }
}

/// A folder with the one file that changed said of all others that nothing is registered any more; an export that failed left the header
/// alone. What is not there says nothing, and what would go as a whole is named.
#[test]
fn nothing_closes_without_being_meant() {
    let (dir, mut book) = (tempfile::tempdir().unwrap(), Book::in_memory().unwrap());
    let careful = |now: i64| Taking { allow_closing: false, ..Taking::from(ms(now)) };
    let many: String = (0..100).map(|n| format!("C{n},name {n}\n")).collect();
    write(dir.path(), "companies.csv", &format!("company_id,name\n{many}"));
    write(dir.path(), "places.geojson", &places());
    book.import(dir.path(), careful(1_000)).unwrap();
    std::fs::remove_file(dir.path().join("places.geojson")).unwrap();
    let partial = book.import(dir.path(), careful(2_000)).unwrap();
    assert_eq!((counts(&partial, "places"), counts(&partial, "companies")), ([0; 4], [0, 0, 0, 100]));
    let rows = |count: usize| -> String { (0..count).map(|n| format!("C{n},name {n}\n")).collect() };
    for (left, closes) in [(90, true), (89, false), (0, false)] {
        write(dir.path(), "companies.csv", &format!("company_id,name\n{}", rows(left)));
        let dry = Taking { dry_run: true, ..careful(3_000) };
        match book.import(dir.path(), dry) {
            Ok(summary) => assert!(closes && counts(&summary, "companies")[2] == 10, "{left}"),
            Err(error) => {
                assert!(!closes, "{left}: {error}");
                let told = error.to_string();
                assert!(
                    told.contains("companies") && told.contains("(C") && told.contains("--allow-closing"),
                    "{told}"
                );
            }
        }
    }
    assert_eq!(counts(&book.import(dir.path(), ms(4_000)).unwrap(), "companies")[2], 100, "meant");
}

/// What came by the API is in no folder: a start with a folder leaves it.
#[test]
fn a_start_closes_nothing_that_came_by_the_api() {
    let (dir, mut book) = (tempfile::tempdir().unwrap(), Book::in_memory().unwrap());
    write(dir.path(), "companies.csv", "company_id,name\nA,one\n");
    let start = |now: i64| Taking { allow_closing: false, keep_upserts: true, ..Taking::from(ms(now)) };
    book.import(dir.path(), start(1_000)).unwrap();
    let row = serde_json::json!({"company_id": "B", "name": "two"});
    book.upsert(Entity::Companies, &[row], ms(2_000)).unwrap();
    let again = book.import(dir.path(), start(3_000)).unwrap();
    assert_eq!(counts(&again, "companies"), [0, 0, 0, 1]);
    assert_eq!(counts(&book.import(dir.path(), ms(4_000)).unwrap(), "companies"), [0, 0, 1, 1], "an import does");
}

/// Dates in other notations were read as milliseconds of 1970, every permit had expired, and every truck was accused. Long numbers that a
/// table rounded name no device that ever sends.
#[test]
fn what_tables_do_to_dates_and_numbers_is_refused_by_name() {
    for (cell, part) in [
        ("20271231", "yyyymmdd"),
        ("46447", "serial day"),
        ("1772373600", "seconds"),
        ("500000", "no date"),
        ("soon", "RFC 3339"),
    ] {
        let text = format!("company_id,name,valid_from\nA,one,{cell}\n");
        let error = Registry::parse(&[("companies.csv", &text)]).unwrap_err().to_string();
        assert!(error.contains("companies.csv:2: valid_from") && error.contains(part), "{cell}: {error}");
    }
    for cell in ["1735689600000", "2026-03-01T00:00:00+08:00", "1980-01-01T00:00:00Z"] {
        Registry::parse(&[("companies.csv", &format!("company_id,name,valid_from\nA,one,{cell}\n"))]).unwrap();
    }
    let vehicles =
        |device: &str| format!("vehicle_id,plate,device_id,company_id,status\nT1,粤B10001,{device},,active\n");
    for device in ["8.61234E+14", "8.6E+14", "1e+15"] {
        let error = Registry::parse(&[("vehicles.csv", &vehicles(device))]).unwrap_err().to_string();
        assert!(error.contains("vehicles.csv:2: device_id") && error.contains(device), "{error}");
    }
    for device in ["861234050000028", "1E5", "E+1", "ABE+12"] {
        Registry::parse(&[("vehicles.csv", &vehicles(device))]).unwrap();
    }
}

#[test]
fn a_plate_is_found_however_it_is_written() {
    let text = "vehicle_id,plate,device_id,company_id,status\nT1,粤B·10001,D1,,active\n";
    let registry = Registry::parse(&[("vehicles.csv", text)]).unwrap();
    for written in ["粤B10001", "粤b10001", "粤B·10001", "粤Ｂ１０００１", "粤B 10001"] {
        let vehicle = registry.vehicle_by_plate(written, ms(0)).unwrap_or_else(|| panic!("{written}"));
        assert_eq!(&*vehicle.plate, "粤B·10001", "shown as it was given");
    }
}

/// A ring drawn twice round was taken without a word, and by the even-odd rule its middle was a hole: the forbidden zone did not exist where
/// it mattered.
#[test]
fn rings_that_meet_themselves_are_refused_with_the_place() {
    let zone = |ring: &str| {
        let properties = r#""type":"Feature","properties":{"zone_id":"Z1","name":"z","kind":"forbidden"}"#;
        format!(
            r#"{{"type":"FeatureCollection","datum":"wgs84","features":[{{{properties},"geometry":{{"type":"Polygon","coordinates":[{ring}]}}}}]}}"#
        )
    };
    let read = |ring: &str| Registry::parse(&[("zones.geojson", &zone(ring))]);
    for (ring, part) in [
        ("[[0,0],[1,1],[1,0],[0,1],[0,0]]", "near [0.500000, 0.500000]"),
        ("[[0,0],[1,0],[1,1],[0,1],[0,0],[0.5,0],[1,1],[0,1],[0,0]]", "crosses or covers itself"),
        ("[[0,0],[2,0],[2,2],[0.5,0.5],[0.5,1.5],[2,0.2],[0,2],[0,0]]", "crosses or covers itself"),
        ("[[0,0],[1,0],[2,0],[0,0]]", "crosses or covers itself"),
        ("[[0,0],[2,0],[1,0],[1,1],[0,0]]", "crosses or covers itself"),
        ("[[179,0],[-179,0],[-179,1],[179,1],[179,0]]", "antimeridian"),
    ] {
        let error = read(ring).expect_err(ring).to_string();
        assert!(error.contains("zones.geojson") && error.contains("Z1") && error.contains(part), "{ring}: {error}");
    }
    for ring in [
        "[[0,0],[1,0],[1,1],[0,1],[0,0]]",
        "[[0,0],[0,1],[1,1],[1,0],[0,0]]",
        "[[0,0],[1,0],[1,0],[1,1],[0,1],[0,0]]",
        "[[0,0],[0.5,0],[1,0],[1,1],[0,1],[0,0]]",
        "[[0,0],[3,0],[3,3],[2,3],[2,1],[1,1],[1,3],[0,3],[0,0]]",
        "[[0,0],[2,0],[2,2],[1,0],[0,2],[0,0]]",
    ] {
        read(ring).unwrap_or_else(|error| panic!("{ring}: {error}"));
    }
}

/// A camera, a clerk and a device each write a name in their own way. A plate without its province is a name only where one
/// vehicle can be meant.
#[test]
fn a_vehicle_is_found_however_its_plate_and_device_are_written() {
    let vehicles = "vehicle_id,plate,device_id,status,valid_from,valid_to\n\
                    V1,粤B·12345,ＧＤ１,active,,\nV2,粤B66666,GD2,active,,\nV3,湘B66666,GD3,active,,\nV4,粤b77777,GD4,active,,2026-01-01T00:00:00Z\nV5,湘B77777,GD5,active,,\n";
    let registry = Registry::parse(&[("vehicles.csv", vehicles)]).unwrap();
    let (at, before) = ("2026-06-01T00:00:00Z".parse().unwrap(), "2025-06-01T00:00:00Z".parse().unwrap());
    for (written, expected) in [
        ("粤B12345", Some("V1")),
        ("粤b·12345", Some("V1")),
        ("粤Ｂ 123-45", Some("V1")),
        ("B12345", Some("V1")),
        ("b·12345", Some("V1")),
        ("湘B12345", None),
        ("粤B66666", Some("V2")),
        ("B66666", None),
        ("粤B77777", None),
        ("B77777", Some("V5")),
        ("12345", None),
        ("", None),
    ] {
        let found = registry.vehicle_by_plate(written, at).map(|vehicle| &*vehicle.vehicle_id);
        assert_eq!(found, expected, "{written}");
    }
    assert!(registry.vehicle_by_plate("B77777", before).is_none(), "two had it then");
    for (written, expected) in
        [("GD1", Some("V1")), (" GD1\u{200b}", Some("V1")), ("ＧＤ２", Some("V2")), ("gd1", None), ("", None)]
    {
        let found = registry.vehicle_by_device(written, at).map(|vehicle| &*vehicle.vehicle_id);
        assert_eq!(found, expected, "{written:?}");
    }
    for (written, expected) in [
        ("粤b·12346", vec!["粤B·12345"]),
        ("粤B6666", vec!["粤B66666", "湘B66666"]),
        ("粤B77777", vec!["湘B77777"]),
        ("京A00000", vec![]),
    ] {
        let near: Vec<&str> = registry.nearest_plates(written, at).into_iter().map(|plate| &**plate).collect();
        assert_eq!(near, expected, "{written}");
    }
}

fn folder(files: &[(Entity, String)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    files.iter().for_each(|(entity, text)| write(dir.path(), entity.file(), text));
    dir
}

/// Every file of a folder.
fn files_in(dir: &Path) -> std::collections::BTreeMap<String, String> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            (entry.file_name().into_string().unwrap(), String::from_utf8(std::fs::read(entry.path()).unwrap()).unwrap())
        })
        .collect()
}

fn exported(book: &Book) -> (tempfile::TempDir, std::collections::BTreeMap<String, String>) {
    let dir = tempfile::tempdir().unwrap();
    book.export(dir.path(), false).unwrap();
    let files = files_in(dir.path());
    (dir, files)
}

/// Who begins has an example of every file with every column, which can be imported as it is.
#[test]
fn the_example_folder_has_every_column_and_comes_out_as_it_went_in() {
    let dir = tempfile::tempdir().unwrap();
    template(dir.path(), false).unwrap();
    let files = files_in(dir.path());
    assert_eq!(files.len(), Entity::ALL.len());
    for entity in Entity::ALL {
        for column in entity.column_names() {
            assert!(files[entity.file()].contains(column), "{}: {column}", entity.file());
        }
    }
    let mut book = Book::in_memory().unwrap();
    book.import(dir.path(), ms(1_000)).unwrap();
    for entity in Entity::ALL {
        let rows = book.registered(*entity).unwrap();
        for (number, column) in entity.column_names().enumerate() {
            let is_filled = rows.iter().any(|row| row.texts().nth(number).is_some_and(|text| !text.is_empty()));
            assert!(is_filled, "{}: {column} is empty in every row", entity.file());
        }
    }
    assert_eq!(exported(&book).1, files);
    let error = template(dir.path(), false).unwrap_err().to_string();
    assert!(error.contains("vehicles.csv") && error.contains("new or empty"), "{error}");
    let marked = tempfile::tempdir().unwrap();
    template(marked.path(), true).unwrap();
    assert!(std::fs::read(marked.path().join("vehicles.csv")).unwrap().starts_with(b"\xEF\xBB\xBF"));
    let again = book.import(marked.path(), ms(2_000)).unwrap();
    assert!(again.differences.values().all(|difference| *difference == Difference::default()), "{again:?}");
}

/// What closes is named, and what is exported can be given to the API as well.
#[test]
fn every_row_that_closes_is_named_and_every_row_can_be_given_again() {
    let mut book = Book::in_memory().unwrap();
    let names: Vec<String> = (0..40).map(|number| format!("C{number:02}")).collect();
    let table = |names: &[String]| {
        let rows: String = names.iter().map(|name| format!("{name},one\n")).collect();
        folder(&[(Entity::Companies, format!("company_id,name\n{rows}"))])
    };
    book.import(table(&names).path(), ms(1_000)).unwrap();
    let summary = book.import(table(&names[13..]).path(), ms(2_000)).unwrap();
    let closed: Vec<&str> = summary.differences["companies"].closed.iter().map(String::as_str).collect();
    assert_eq!(closed, &names[..13]);
    template(&folder(&[]).path().join("new"), false).unwrap();
    let example = tempfile::tempdir().unwrap();
    template(example.path(), false).unwrap();
    book.import(example.path(), ms(3_000)).unwrap();
    for entity in Entity::ALL {
        let rows: Vec<Json> = book.registered(*entity).unwrap().iter().map(|row| row.to_json(*entity)).collect();
        let summary = book.upsert(*entity, &rows, ms(4_000)).unwrap();
        assert_eq!(summary.counts[entity.name()].unchanged, rows.len(), "{}: {summary:?}", entity.name());
    }
}

mod round_trips {
    use proptest::prelude::*;

    use super::*;

    /// Text that a table has to quote, and plain text.
    const NAMES: &[&str] = &["", "一号", "a, b", "say \"so\"", "two\nlines", "two\r\nlines", "=1+1", "é; x", "0012"];
    const NUMBERS: &[&str] = &["", "40", "40.0", "40.50", "4e1", "0.1"];
    const TIMES: &[&str] =
        &["", "2026-03-01T00:00:00+08:00", "1772373909000", "2026-03-01T14:05:09Z", "1980-01-01T00:00:00.123Z"];

    /// A folder of companies, vehicles and zones by seeds, in any order of rows.
    fn seeded(seeds: &[(u8, u8, u8, u8)]) -> Vec<(Entity, String)> {
        let pick = |list: &[&'static str], seed: u8| list[usize::from(seed) % list.len()];
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let mut ids: Vec<u8> = seeds.iter().map(|seed| seed.0).collect();
        ids.sort_unstable();
        ids.dedup();
        let (mut companies, mut zones) = ("company_id,valid_from,name\n".to_owned(), Vec::new());
        let mut drivers = "driver_id,name,status,valid_to\n".to_owned();
        let first = |id: u8| seeds.iter().position(|seed| seed.0 == id).unwrap_or_default();
        for (number, (id, name, limit, time)) in
            seeds.iter().enumerate().filter(|(number, seed)| first(seed.0) == *number)
        {
            companies.push_str(&format!("C{id},{},{}\n", pick(TIMES, *time), quoted(pick(NAMES, *name))));
            drivers.push_str(&format!(
                "D{id},{},{}, {}\n",
                quoted(pick(NAMES, *time)),
                pick(NUMBERS, *name),
                pick(TIMES, *limit)
            ));
            let limit = pick(NUMBERS, *limit);
            let limit = if limit.is_empty() { "null".to_owned() } else { limit.to_owned() };
            let limit = if number % 2 == 0 { limit } else { format!("\"{}\"", limit.replace("null", "")) };
            let (west, south) = (110.0 + f64::from(*id) / 7.0, 22.0 + f64::from(*name) / 30.0);
            let (east, north) = (west + 0.01, south + 0.01);
            let ring = |by: f64| {
                let (west, south, east, north) = (west + by, south + by, east - by, north - by);
                format!("[[{west},{south}],[{east},{south}],[{east},{north}],[{west},{north}],[{west},{south}]]")
            };
            let polygon = format!("[{},{}]", ring(0.0), ring(0.002));
            let geometry = match number % 3 {
                0 => format!(r#"{{"type":"Polygon","coordinates":{polygon}}}"#),
                _ => format!(r#"{{"type":"MultiPolygon","coordinates":[{polygon}]}}"#),
            };
            zones.push(format!(
                r#"{{"type":"Feature","properties":{{"zone_id":"Z{id}","kind":"forbidden","name":{},"speed_limit_kmh":{limit}}},"geometry":{geometry}}}"#,
                Json::from(pick(NAMES, *name)),
            ));
        }
        let datum = ["wgs84", "gcj02", "bd09"][seeds.len() % 3];
        vec![(Entity::Companies, companies), (Entity::Drivers, drivers), (Entity::Zones, collection(datum, &zones))]
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 96,
            rng_seed: proptest::test_runner::RngSeed::Fixed(20260301),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// What is registered is exported, imported and exported again without a difference, after any two imports; and what an import
        /// closes are the rows that it names, no more and no less.
        #[test]
        fn an_import_followed_by_an_export_is_the_same_folder(
            one in proptest::collection::vec(any::<(u8, u8, u8, u8)>(), 1..30),
            two in proptest::collection::vec(any::<(u8, u8, u8, u8)>(), 1..30),
        ) {
            let mut book = Book::in_memory().unwrap();
            let keys = |book: &Book, entity: Entity| -> BTreeSet<String> {
                book.registered(entity).unwrap().iter().filter_map(|row| row.texts().next()).collect()
            };
            for (now, seeds) in [(1_000, one), (2_000, two)] {
                let before: Vec<_> = Entity::ALL.iter().map(|entity| keys(&book, *entity)).collect();
                let given = folder(&seeded(&seeds));
                let summary = book.import(given.path(), ms(now)).unwrap();
                for (entity, before) in Entity::ALL.iter().zip(before) {
                    let gone: BTreeSet<String> = before.difference(&keys(&book, *entity)).cloned().collect();
                    let named = summary.differences.get(entity.name()).map(|difference| difference.closed.clone());
                    prop_assert_eq!(gone, named.unwrap_or_default(), "{}", entity.name());
                }
                let (dir, files) = exported(&book);
                let again = book.import(dir.path(), ms(now + 500)).unwrap();
                prop_assert!(again.differences.values().all(|difference| *difference == Difference::default()), "{:?}", again);
                prop_assert_eq!(&exported(&book).1, &files, "the same book");
                let mut other = Book::in_memory().unwrap();
                other.import(dir.path(), ms(now)).unwrap();
                prop_assert_eq!(exported(&other).1, files, "a new book");
            }
        }
    }
}

/// Excel on a Chinese Windows writes GBK; the clerk was told of a byte, not of what to do.
#[test]
fn tables_in_gbk_are_named_or_taken() {
    let utf8 = "company_id,name\nC1,深圳渣土运输\n";
    let gbk = |text: &str| encoding_rs::GBK.encode(text).0.into_owned();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("companies.csv"), gbk(utf8)).unwrap();
    write(dir.path(), "drivers.csv", "driver_id,name\nD1,张三\n");
    let mut book = Book::in_memory().unwrap();
    let error = book.import(dir.path(), ms(1_000)).unwrap_err().to_string();
    assert!(error.contains("companies.csv:2") && error.contains("GBK") && error.contains("--encoding gbk"), "{error}");
    book.import(dir.path(), Taking { encoding: Encoding::Gbk, ..Taking::from(ms(1_000)) }).unwrap();
    let text = |entity: Entity, column: usize| book.registered(entity).unwrap()[0].texts().nth(column).unwrap();
    assert_eq!((&*text(Entity::Companies, 1), &*text(Entity::Drivers, 1)), ("深圳渣土运输", "张三"));
    for (name, expected) in
        [("gbk", Some(Encoding::Gbk)), ("GB2312", Some(Encoding::Gbk)), ("utf-8", Some(Encoding::Utf8)), ("big5", None)]
    {
        assert_eq!(Encoding::named(name), expected, "{name}");
    }
}

/// A clerk looks for the line that is named, and tables end rows in many ways.
#[test]
fn lines_are_counted_as_an_editor_counts_them() {
    let head = "company_id,name,valid_from";
    for (end, between, line) in [
        ("\n", "", 3),
        ("\r\n", "", 3),
        ("\r\n", "\r\n\r\n", 5),
        ("\n", "\n", 4),
        ("\r\n", ",,\r\n , ,\r\n", 5),
        ("\r\n", "B,\"two\r\nlines\",\r\n", 5),
        ("\n", "B,\"a\n\nb\",\n", 6),
    ] {
        let text = format!("{head}{end}A,one,{end}{between}C,x,soon{end},,{end}");
        let told = problems(&[("companies.csv", &text)]);
        assert!(told.starts_with(&format!("companies.csv:{line}: valid_from")), "{text:?}: {told}");
        let marked = format!("\u{feff}{text}");
        assert_eq!(problems(&[("companies.csv", &marked)]), told);
    }
    let told = problems(&[("companies.csv", &format!("{head}\nA,one,45352\n"))]);
    assert!(told.contains("serial day") && told.contains("2024-03-01"), "{told}");
}

#[test]
fn a_one_way_road_may_be_open_against_its_points() {
    let road = |oneway: &str| {
        let properties = format!(r#"{{"road_id":"R","class":"primary","oneway":{oneway}}}"#);
        let line = r#"{"type":"LineString","coordinates":[[114,22],[114.01,22],[114.01,22.01]]}"#;
        collection("wgs84", &[format!(r#"{{"type":"Feature","properties":{properties},"geometry":{line}}}"#)])
    };
    let near = |oneway: &str| {
        let registry = Registry::parse(&[("roads.geojson", &road(oneway))]).unwrap();
        let mut found = None;
        registry
            .roads()
            .near(Point::new(114.005, 22.0), 20.0, ms(0), |road, hit| found = Some((road.oneway, hit.heading_deg)));
        found.unwrap()
    };
    let (forwards, against) = (near("true"), near("-1"));
    assert!(forwards.0 && against.0 && near("\"yes\"") == forwards && near("\"-1\"") == against);
    assert!(((forwards.1 - against.1).abs() - 180.0).abs() < 1.0, "{forwards:?} {against:?}");
    for both in ["false", "\"reversible\"", "\"alternating\"", "0", "null"] {
        assert!(!near(both).0, "{both}");
    }
    assert!(problems(&[("roads.geojson", &road("\"maybe\""))]).contains("reversible"));
}
