//! The city as a registry folder.

use std::{fmt::Write as _, fs, path::Path as FilePath};

use super::{
    City, SimulateError,
    city::{Role, Vehicle},
    names,
    plane::Spot,
};

/// Since when everything is registered.
const SINCE: &str = "2025-01-01T00:00:00+08:00";
/// Orders for heavy pollution last some days.
const ORDER_ENDED: &str = "2025-01-06T00:00:00+08:00";
const LONG_AFTER: &str = "2045-01-01T00:00:00+08:00";

impl City {
    /// Writes the registry into a folder, which is made when it is not there.
    ///
    /// # Errors
    /// When the folder or a file cannot be written.
    pub fn write(&self, dir: &FilePath) -> Result<(), SimulateError> {
        let failed = |path: &FilePath| {
            let path = path.display().to_string();
            move |cause| SimulateError::Write { path, cause }
        };
        fs::create_dir_all(dir).map_err(failed(dir))?;
        for (name, text) in self.files() {
            let path = dir.join(name);
            fs::write(&path, text).map_err(failed(&path))?;
        }
        Ok(())
    }

    /// The files of the registry: name and content.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        vec![
            ("vehicles.csv", self.vehicles_csv()),
            ("companies.csv", companies_csv()),
            ("drivers.csv", self.drivers_csv()),
            ("permits.csv", self.permits_csv()),
            ("manifests.csv", self.manifests_csv()),
            ("blacklist.csv", self.blacklist_csv()),
            ("outages.csv", self.outages_csv()),
            ("units.csv", units_csv()),
            ("places.geojson", self.places_geojson()),
            ("zones.geojson", self.zones_geojson()),
            ("routes.geojson", self.routes_geojson()),
            ("roads.geojson", self.roads_geojson()),
            ("districts.geojson", districts_geojson()),
        ]
    }

    fn vehicles_csv(&self) -> String {
        let header = "vehicle_id,plate,plate_color,device_id,company_id,status,max_gross_kg,tare_kg,sensors,valid_from";
        table(header, self.vehicles.iter(), |text, vehicle| {
            let Vehicle { vehicle_id, plate, plate_color, device_id, camera_id, company, .. } = vehicle;
            let camera = camera_id.as_deref().map_or(String::new(), |id| format!(" {id}"));
            let status = match vehicle.role {
                Role::Maintenance => "maintenance",
                Role::Suspended => "suspended",
                _ => "active",
            };
            let (company, sensors) = (company_id(*company), vehicle.sensors());
            write!(
                text,
                "{vehicle_id},{plate},{plate_color},{device_id}{camera},{company},{status},31000,15500,{sensors},{SINCE}"
            )
        })
    }

    fn drivers_csv(&self) -> String {
        table("driver_id,name,company_id,status,valid_from", self.vehicles.iter(), |text, vehicle| {
            let Vehicle { driver_id, driver_name, company, .. } = vehicle;
            write!(text, "{driver_id},{driver_name},{},active,{SINCE}", company_id(*company))
        })
    }

    fn permits_csv(&self) -> String {
        let header = "permit_id,vehicle_id,source_id,sink_ids,route_ids,windows,status,valid_from,valid_to";
        let permitted = self.vehicles.iter().filter(|vehicle| vehicle.role != Role::NoPermit);
        table(header, permitted, |text, vehicle| {
            let source = &self.places[vehicle.source].place_id;
            let sinks: Vec<&str> = vehicle.sinks.iter().map(|sink| &*self.places[*sink].place_id).collect();
            let routes: Vec<&str> = self.routes_of(vehicle).map(|route| &*route.route_id).collect();
            let until = if vehicle.role == Role::ExpiredPermit { "2025-06-30T00:00:00+08:00" } else { LONG_AFTER };
            let (permit, windows) = (permit_id(vehicle), vehicle.role.windows());
            let (sinks, routes) = (sinks.join(" "), routes.join(" "));
            write!(text, "{permit},{},{source},{sinks},{routes},{windows},valid,{SINCE},{until}", vehicle.vehicle_id)
        })
    }

    fn manifests_csv(&self) -> String {
        let header =
            "manifest_id,vehicle_id,permit_id,opened_at,closed_at,driver_id,planned_distance_m,planned_duration_s";
        let working = self.vehicles.iter().filter(|v| !matches!(v.role, Role::Maintenance | Role::Suspended));
        table(header, working, |text, vehicle| {
            let permit = if vehicle.role == Role::NoPermit { String::new() } else { permit_id(vehicle) };
            let Vehicle { vehicle_id, driver_id, .. } = vehicle;
            let number = &vehicle_id[1..];
            // One manifest stands for all of its trips, so there is no plan of one.
            write!(text, "M{number},{vehicle_id},{permit},{SINCE},,{driver_id},,")
        })
    }

    fn blacklist_csv(&self) -> String {
        let barred = self.vehicles.iter().filter(|vehicle| vehicle.role == Role::Blacklisted);
        table("subject,subject_id,reason,valid_from", barred, |text, vehicle| {
            write!(text, "vehicle,{},dumped at night three times in a year,{SINCE}", vehicle.vehicle_id)
        })
    }

    fn outages_csv(&self) -> String {
        let filed = self.vehicles.iter().filter(|vehicle| vehicle.role == Role::Suspended);
        table("vehicle_id,reason,valid_from,valid_to", filed, |text, vehicle| {
            write!(text, "{},laid up for the season,{SINCE},{LONG_AFTER}", vehicle.vehicle_id)
        })
    }

    fn places_geojson(&self) -> String {
        let place = |place: &super::city::Place| {
            area(&[("place_id", &place.place_id), ("name", &place.name), ("kind", place.kind)], &[], &place.ring())
        };
        collection(self.places.iter().map(place))
    }

    fn zones_geojson(&self) -> String {
        let zone = |zone: &super::city::Zone| {
            let mut texts = vec![("zone_id", &*zone.zone_id), ("name", zone.name), ("kind", zone.kind)];
            if !zone.schedule.is_empty() {
                texts.push(("schedule", zone.schedule));
            }
            if zone.kind == "control" {
                texts.push(("valid_to", ORDER_ENDED));
            }
            let limit: Vec<_> = zone.speed_limit_kmh.map(|kmh| ("speed_limit_kmh", kmh)).into_iter().collect();
            area(&texts, &limit, &zone.area.ring())
        };
        collection(self.zones.iter().map(zone))
    }

    fn routes_geojson(&self) -> String {
        let route = |route: &super::city::Route| {
            let texts = [("route_id", &*route.route_id), ("name", &*route.name)];
            line(&texts, &[("buffer_m", route.buffer_m)], &route.path.spots())
        };
        collection(self.routes.iter().map(route))
    }

    fn roads_geojson(&self) -> String {
        let road = |road: &super::network::Road| {
            let texts = [("road_id", &*road.road_id), ("name", &*road.name), ("class", road.class)];
            line(&texts, &[("speed_limit_kmh", road.posted_kmh)], &self.network.line(road))
        };
        collection(self.network.roads.iter().map(road))
    }
}

fn company_id(number: usize) -> String {
    format!("C{:02}", number + 1)
}

fn permit_id(vehicle: &Vehicle) -> String {
    format!("SZ{}", &vehicle.vehicle_id[1..])
}

/// The id of a unit by its place in the list.
pub(super) fn unit_id(number: usize) -> String {
    format!("U{:02}", number + 1)
}

fn district_id(number: usize) -> String {
    format!("D{:02}", number + 1)
}

/// A header and one line a row.
fn table<'a, T: 'a>(
    header: &str,
    rows: impl Iterator<Item = T>,
    row: impl Fn(&mut String, T) -> std::fmt::Result,
) -> String {
    let mut text = format!("{header}\n");
    for value in rows {
        row(&mut text, value).expect("writing to a String cannot fail");
        text.push('\n');
    }
    text
}

fn companies_csv() -> String {
    table("company_id,name,valid_from", names::COMPANIES.iter().enumerate(), |text, (number, name)| {
        write!(text, "{},{name},{SINCE}", company_id(number))
    })
}

fn units_csv() -> String {
    let header = "unit_id,name,department,kind,district_id,valid_from";
    table(header, names::UNITS.iter().enumerate(), |text, (number, (name, department, kind, district))| {
        write!(text, "{},{name},{department},{kind},{},{SINCE}", unit_id(number), district_id(*district))
    })
}

/// The three districts part the city's rectangle among them; metres from its middle.
fn districts_geojson() -> String {
    const RINGS: [&[(f64, f64)]; 3] = [
        &[(-12_750.0, -1_500.0), (-500.0, -1_500.0), (-500.0, 11_050.0), (-12_750.0, 11_050.0)],
        &[(-12_750.0, -11_050.0), (3_000.0, -11_050.0), (3_000.0, -1_500.0), (-500.0, -1_500.0), (-12_750.0, -1_500.0)],
        &[
            (3_000.0, -11_050.0),
            (12_750.0, -11_050.0),
            (12_750.0, 11_050.0),
            (-500.0, 11_050.0),
            (-500.0, -1_500.0),
            (3_000.0, -1_500.0),
        ],
    ];
    let district = |(number, name): (usize, &&str)| {
        let ring: Vec<Spot> =
            RINGS[number].iter().chain(RINGS[number].first()).map(|(x, y)| Spot::new(*x, *y)).collect();
        area(&[("district_id", &district_id(number)), ("name", name)], &[], &ring)
    };
    collection(names::DISTRICTS.iter().enumerate().map(district))
}

/// A collection with a feature a line, so that changes can be read.
fn collection(features: impl Iterator<Item = String>) -> String {
    let features: Vec<String> = features.collect();
    format!("{{\"type\":\"FeatureCollection\",\"datum\":\"wgs84\",\"features\":[\n{}\n]}}\n", features.join(",\n"))
}

/// Properties that are text and those that are numbers, by name.
type Texts<'a> = [(&'a str, &'a str)];
type Numbers<'a> = [(&'a str, f64)];

fn area(texts: &Texts, numbers: &Numbers, ring: &[Spot]) -> String {
    feature(texts, numbers, "Polygon", &format!("[{}]", positions(ring)))
}

fn line(texts: &Texts, numbers: &Numbers, spots: &[Spot]) -> String {
    feature(texts, numbers, "LineString", &positions(spots))
}

/// Written by hand, for the order of a JSON map's members depends on how the library is built. No name here holds a
/// character that JSON escapes.
fn feature(texts: &Texts, numbers: &Numbers, kind: &str, coordinates: &str) -> String {
    let texts = texts.iter().chain(&[("valid_from", SINCE)]).map(|(name, text)| format!("\"{name}\":\"{text}\""));
    let members: Vec<String> = texts.chain(numbers.iter().map(|(name, n)| format!("\"{name}\":{n}"))).collect();
    let properties = members.join(",");
    format!(
        "{{\"type\":\"Feature\",\"properties\":{{{properties}}},\"geometry\":{{\"type\":\"{kind}\",\"coordinates\":{coordinates}}}}}"
    )
}

fn positions(spots: &[Spot]) -> String {
    let position = |spot: &Spot| format!("[{:.6},{:.6}]", spot.lon(), spot.lat());
    format!("[{}]", spots.iter().map(position).collect::<Vec<_>>().join(","))
}
