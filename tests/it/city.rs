//! A very small city with trucks that speed: enough to follow reports through the whole line.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

pub const START_MS: i64 = 1_772_373_600_000;

/// A folder with a registry and a rule.
pub struct City {
    pub folder: tempfile::TempDir,
    pub trucks: usize,
}

impl City {
    pub fn new(trucks: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let city = Self { folder, trucks };
        let mut vehicles = "vehicle_id,plate,device_id,company_id,status\n".to_owned();
        (0..trucks).for_each(|n| vehicles += &format!("V{n},粤B{n:05},D{n},C1,active\n"));
        write(&city.registry().join("vehicles.csv"), &vehicles);
        write(&city.registry().join("companies.csv"), "company_id,name\nC1,One\n");
        let units =
            "unit_id,name,department,kind,district_id\nU1,One,traffic_police,squad,\nU2,Two,traffic_police,squad,\n";
        write(&city.registry().join("units.csv"), units);
        write(
            &city.rules().join("speed.yaml"),
            "rules:\n  - id: fast\n    name: { zh: 快, en: Fast }\n    when: speed_kmh > 60\n    for: 20s\n    min_samples: 2\n    clear: { when: speed_kmh <= 60, for: 20s }\n    severity:\n      - { critical: speed_kmh > 90 }\n      - major\n    departments: [traffic_police]\n    message: \"{plate} {speed_kmh:.0} km/h\"\n",
        );
        city
    }

    pub fn registry(&self) -> PathBuf {
        self.folder.path().join("registry")
    }

    pub fn rules(&self) -> PathBuf {
        self.folder.path().join("rules")
    }

    /// `rounds` reports of each truck, ten seconds apart, in order of arrival: each truck speeds for a while in each
    /// hundred seconds, some faster than others.
    pub fn reports(&self, rounds: usize, start_ms: i64) -> Vec<Json> {
        let report = |round: usize, truck: usize| {
            let phase = (round + truck * 3) % 10;
            let speed_kmh = if phase < 5 { 65.0 + (truck % 4) as f64 * 10.0 } else { 40.0 };
            json!({
                "device_id": format!("D{truck}"),
                "device_time": start_ms + round as i64 * 10_000 + truck as i64,
                "lat": 22.5 + truck as f64 * 0.01,
                "lon": 113.9 + round as f64 * 0.001,
                "speed_kmh": speed_kmh,
            })
        };
        (0..rounds).flat_map(|round| (0..self.trucks).map(move |truck| report(round, truck))).collect()
    }

    /// Writes reports as JSON lines.
    pub fn file(&self, name: &str, reports: &[Json]) -> PathBuf {
        let path = self.folder.path().join(name);
        let lines: String = reports.iter().map(|report| format!("{report}\n")).collect();
        write(&path, &lines);
        path
    }
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}
