//! The pages for clerks, device makers and squads, held against the code; and the pages that are there in two languages, against each
//! other.

use std::{collections::BTreeSet, fs, process::Command};

use muckwatch::{
    ingest::{Decoder, Format},
    model::{
        Alarm, Answer, Antenna, Body, Cover, Datum, EventKind, EventPhase, Finding, Fix, Lift, Load, Outcome, Power,
        Reason, SightingKind, Time, UnitStatus, Zone,
    },
    registry::{Entity, Registry},
};
use serde_json::{Map, Value as Json, json};

use crate::{
    line::{publish_all, run},
    support::{Mosquitto, Served, alerts, program, root, wait_for},
};

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A page as what both languages share: headings by their depth, code blocks, and rows of tables by their code and their number of cells.
fn skeleton(page: &str) -> Vec<String> {
    let mut shape = Vec::new();
    let mut is_code = false;
    for line in page.lines() {
        let is_fence = line.starts_with("```");
        if is_code || is_fence || line.starts_with("<!--") {
            shape.push(line.to_owned());
            is_code ^= is_fence;
        } else if let Some(depth) = line.find(|c| c != '#').filter(|depth| *depth > 0) {
            shape.push(format!("heading {depth}"));
        } else if line.starts_with('|') {
            let mut code: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
            code.sort_unstable();
            shape.push(format!("{} cells, {}", line.matches(" |").count(), code.join(" ")));
        }
    }
    shape
}

/// A command that was mended in one language only misleads who reads the other.
#[test]
fn pages_in_two_languages_are_in_step() {
    let chinese: Vec<String> = ["", "docs/"]
        .iter()
        .flat_map(|folder| {
            fs::read_dir(root().join(folder)).unwrap().map(move |entry| (folder, entry.unwrap().file_name()))
        })
        .map(|(folder, name)| format!("{folder}{}", name.to_string_lossy()))
        .filter(|path| path.ends_with(".zh-CN.md"))
        .collect();
    assert!(chinese.len() >= 4, "{chinese:?}");
    for path in chinese {
        let english = path.replace(".zh-CN.md", ".md");
        let (one, other) = (skeleton(&text(&english)), skeleton(&text(&path)));
        let differ = one.iter().zip(&other).find(|(one, other)| one != other);
        assert_eq!((differ, one.len()), (None, other.len()), "{english} and {path}");
        assert!(one.len() > 20, "{english}: {one:?}");
    }
}

/// The rows of the first table after a heading, cell by cell.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let section = page.split(&format!("\n{heading}")).nth(1).unwrap_or_else(|| panic!("no {heading}"));
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    rows.skip(2).map(cells).collect()
}

/// What a cell has in code.
fn code(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn names(rows: &[Vec<String>]) -> BTreeSet<String> {
    rows.iter().flat_map(|row| code(&row[0])).collect()
}

/// The public fields of a struct in a file.
fn fields(file: &str, name: &str) -> BTreeSet<String> {
    let code = text(file);
    let body = code.split(&format!("pub struct {name} {{")).nth(1).and_then(|rest| rest.split("\n}").next()).unwrap();
    body.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next()).map(str::to_owned).collect()
}

macro_rules! words {
    ($name:ident) => {
        $name::ALL.iter().map(|word| word.as_str().to_owned()).collect::<Vec<_>>()
    };
}

/// The words that a field of a closed set takes.
fn words_of(field: &str) -> Option<Vec<String>> {
    Some(match field {
        "datum" => ["wgs84", "gcj02", "bd09"].map(str::to_owned).into(),
        "fix" => words!(Fix),
        "power" => words!(Power),
        "antenna" => words!(Antenna),
        "load" => words!(Load),
        "cover" => words!(Cover),
        "lift" => words!(Lift),
        "kind" => words!(SightingKind),
        "status" => words!(UnitStatus),
        _ => return None,
    })
}

/// What is read of a message on a topic: fields that are kept aside in `ext`, or why it is refused.
fn odd(topic: &str, message: &Json) -> Result<Map<String, Json>, String> {
    let decoder = Decoder::new(Format::Native, "mw/v1", Datum::Wgs84);
    let mut decoded = Vec::new();
    decoder.decode(topic, message.to_string().as_bytes(), &mut decoded);
    assert_eq!(decoded.len(), 1, "{topic} {message}");
    match decoded.remove(0).body {
        Body::Device(report) => Ok(report.ext),
        Body::Sighting(sighting) => Ok(sighting.ext),
        Body::Unit(_) | Body::Reply(_) => Ok(Map::new()),
        Body::DeadLetter(letter) => Err(letter.problem),
        other => Err(format!("{other:?}")),
    }
}

/// `km/h, 0 to 400`: the ends of a range.
fn range(cell: &str) -> Option<(f64, f64)> {
    let words: Vec<&str> = cell.split([' ', ',', ';']).collect();
    let to = words.iter().position(|word| *word == "to")?;
    Some((words[to - 1].parse().ok()?, words[to + 1].parse().ok()?))
}

/// Each field of a table is read as the table says: its words and no others, its range and nothing beyond.
fn check_fields(topic: &str, rows: &[Vec<String>], message: &Json) {
    let with = |field: &str, value: &Json| {
        let mut message = message.clone();
        message[field] = value.clone();
        odd(topic, &message)
    };
    for row in rows {
        let [field] = &code(&row[0])[..] else { panic!("{row:?}") };
        let (kind, values) = (row[1].as_str(), row[2].as_str());
        let keeps = |value: Json| with(field, &value).is_ok_and(|ext| !ext.contains_key(field));
        match kind {
            "word" => {
                assert_eq!(Some(code(values)), words_of(field), "{field}");
                assert!(code(values).iter().all(|word| keeps(word.as_str().into())), "{field}");
                assert!(!keeps("no-such-word".into()), "{field} takes any word");
            }
            "number" | "integer" if values.starts_with("degrees, -") => assert!(keeps(json!(22.5)), "{field}"),
            "number" | "integer" => {
                if let Some((least, most)) = range(values) {
                    let beyond = most * 1.01 + 1.0;
                    assert!(keeps(json!(most)) && !keeps(json!(least - 1.0)), "{field}: {values}");
                    assert!(values.contains("percent") || !keeps(json!(beyond.round())), "{field}: {beyond} is taken");
                }
                if values.contains("not 65535") {
                    assert!(!keeps(json!(65_535)), "{field}");
                }
                assert!(!keeps(json!({"a": 1})), "{field} takes an object");
            }
            "true or false" => assert!(keeps(json!(true)) && keeps(json!(0)) && !keeps(json!("maybe")), "{field}"),
            "text" | "time" | "object" | "list of words" | "list of objects" | "list of texts" => {}
            other => panic!("{field} is of a type that nothing here knows: {other}"),
        }
    }
}

#[test]
fn the_telemetry_page_says_what_is_read() {
    let page = text("docs/telemetry.md");
    let rows = table(&page, "## Fields");
    let mut known = fields("src/model/report.rs", "DeviceReport");
    known.insert("recv_time".into());
    assert_eq!(names(&rows), known);
    let message = json!({"device_time": "2026-03-01T22:05:09+08:00", "lat": 22.5, "lon": 113.9});
    check_fields("mw/v1/device/355001/report", &rows, &message);
    assert_eq!(names(&table(&page, "## Alarms")), words!(Alarm).into_iter().collect());
    assert_eq!(names(&table(&page, "## Events")), words!(EventKind).into_iter().collect());
    assert!(words!(EventPhase).iter().all(|phase| page.contains(&format!("`{phase}`"))));
    let reasons: Vec<String> = table(&page, "## What is refused").iter().flat_map(|row| code(&row[2])).collect();
    let known: BTreeSet<String> = words!(Reason).into_iter().chain(words!(Outcome)).collect();
    assert!(reasons.len() >= 5 && reasons.iter().all(|reason| known.contains(reason)), "{reasons:?}");
    for row in table(&page, "## Other dialects") {
        let format: Format =
            serde_json::from_value(code(&row[0])[0].as_str().into()).unwrap_or_else(|e| panic!("{row:?}: {e}"));
        let topic = code(&row[2])[0].split('/').next().unwrap().to_owned();
        assert!(format == Format::Native || format.default_topic().starts_with(&topic), "{row:?}");
    }
}

#[test]
fn the_page_of_units_and_sightings_says_what_is_read() {
    let page = text("docs/units-and-sightings.md");
    let time = "2026-03-01T22:06:00+08:00";
    let sightings = table(&page, "## Sightings");
    assert_eq!(names(&sightings), fields("src/model/report.rs", "Sighting"));
    check_fields("mw/v1/sensor/gate-3/sighting", &sightings, &json!({"device_time": time, "kind": "anpr"}));
    let units = table(&page, "## Units");
    assert_eq!(names(&units), fields("src/model/dispatch.rs", "UnitReport"));
    let statuses = units.iter().find(|row| row[0] == "`status`").map(|row| code(&row[2]));
    assert_eq!(statuses, words_of("status"));
    assert_eq!(names(&table(&page, "## Replies")), words!(Answer).into_iter().collect());
    let verdicts =
        page.split("| `verdict`").nth(1).map(|rest| table(&format!("\n## v\n\n| `verdict`{rest}"), "## v")).unwrap();
    assert_eq!(names(&verdicts), words!(Finding).into_iter().collect());
}

/// Every message that a page publishes is read, and nothing of it is odd.
#[test]
fn what_the_pages_publish_is_read() {
    let mut count = 0;
    for page in ["README.md", "docs/telemetry.md", "docs/units-and-sightings.md"] {
        for rest in text(page).split("mosquitto_pub -q 1 -t ").skip(1) {
            let Some((topic, rest)) = rest.split_once(" -m '") else { continue };
            let message: Json =
                serde_json::from_str(rest.split('\'').next().unwrap()).unwrap_or_else(|e| panic!("{topic}: {e}"));
            assert_eq!(odd(topic, &message), Ok(Map::new()), "{page}: {topic}");
            count += 1;
        }
    }
    assert!(count >= 7, "{count}");
}

/// Each column of each file, and whether it may be left out, as an import sees it.
#[test]
fn the_registry_page_says_which_columns_there_are_and_which_are_needed() {
    let page = text("docs/registry.md");
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    assert!(program().args(["registry", "template"]).arg(&whole).output().unwrap().status.success());
    let zone = Zone::china();
    Registry::read_dir(&whole, &zone).unwrap();
    for entity in Entity::ALL {
        let rows = table(&page, &format!("### `{}`", entity.file()));
        let columns: Vec<String> = rows.iter().flat_map(|row| code(&row[0])).collect();
        assert_eq!(columns, entity.own_column_names().collect::<Vec<_>>(), "{}", entity.file());
        let file = whole.join(entity.file());
        let content = fs::read_to_string(&file).unwrap();
        for row in &rows {
            let column = &code(&row[0])[0];
            let without =
                if entity.has_shape() { without_property(&content, column) } else { without_column(&content, column) };
            fs::write(&file, without).unwrap();
            let problems = Registry::read_dir(&whole, &zone).err().map(|error| error.to_string()).unwrap_or_default();
            let is_missed = problems.lines().any(|line| line.contains(entity.file()) && line.contains(column.as_str()));
            // The radius is needed by circles alone, the limit by zones of the kind `speed`.
            let is_needed =
                !row[1].is_empty() || matches!(column.as_str(), "radius_m" | "speed_limit_kmh") && is_missed;
            assert_eq!(is_missed, is_needed, "{} {column}: {problems}", entity.file());
        }
        fs::write(&file, content).unwrap();
    }
}

fn without_column(table: &str, column: &str) -> String {
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split(',').collect()).collect();
    let at = lines[0].iter().position(|name| *name == column).unwrap_or_else(|| panic!("{column} in {table}"));
    let cut = |line: &Vec<&str>| {
        let cells: Vec<&str> =
            line.iter().enumerate().filter(|(index, _)| *index != at).map(|(_, cell)| *cell).collect();
        cells.join(",") + "\n"
    };
    lines.iter().map(cut).collect()
}

fn without_property(map: &str, property: &str) -> String {
    let mut map: Json = serde_json::from_str(map).unwrap();
    for feature in map["features"].as_array_mut().unwrap() {
        feature["properties"].as_object_mut().unwrap().remove(property);
    }
    map.to_string()
}

/// The block of the README after a marker.
fn block(name: &str) -> String {
    let page = text("README.md");
    let rest = page.split(&format!("<!-- {name} -->\n```sh\n")).nth(1).unwrap_or_else(|| panic!("no block {name}"));
    rest.split("```").next().unwrap().to_owned()
}

/// The first ten minutes, as the README has them: a truck of one's own stands, lifts its body, and is told of. Only the clock and the
/// waiting are ours.
#[test]
fn the_first_ten_minutes_end_with_an_alert_of_ones_own_truck() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let start = block("own start");
    let mut lines = start.lines();
    let template = lines.next().unwrap().strip_prefix("muckwatch ").unwrap();
    assert!(program().args(template.split(' ')).current_dir(folder.path()).output().unwrap().status.success());
    let serve = lines.next().unwrap();
    assert_eq!(serve, "muckwatch serve --embedded-broker --registry city --rules rules --data mine");
    let broker = Mosquitto::start();
    let served = Served::start(&broker.address(), &at("mine"), &at("city"), &root().join("rules"));

    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let ours = format!(
        "clock={}; sleep() {{ clock=$((clock + $1)); }}; date() {{ command date -u -d \"@$clock\" \"$2\"; }}; curl() {{ :; }}
         mosquitto_pub() {{ echo \"$4\"; echo \"$6\"; }}\n",
        now_s - 18
    );
    let output = Command::new("bash").args(["-e", "-c", &(ours + &block("own reports"))]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let said: Vec<&str> = said.lines().collect();
    let messages: Vec<(String, Vec<u8>)> =
        said.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].as_bytes().to_vec())).collect();
    assert_eq!(messages.len(), 4, "{said:?}");
    run(publish_all(&broker, messages));
    wait_for("the alert", || {
        alerts(&served).values().any(|alert| alert["rule_id"] == "lift-outside-site").then_some(())
    });
    let found: Json = served.json("/api/v1/alerts?vehicle=V001");
    assert_eq!(found["alerts"][0]["plate"], "粤B12345");
    assert_eq!(served.json("/api/v1/vehicles/V001")["registration"]["current"], true);
    assert_eq!(served.json("/api/v1/devices/013800138001")["last_report"]["outcome"], "evaluated");
    assert_eq!(served.stop(), Some(0));
}

#[test]
fn the_city_of_the_readme_can_be_judged_on_any_day() {
    let folder = tempfile::tempdir().unwrap();
    for line in block("own file").lines() {
        let line = line.replace("fixtures/", &format!("{}/fixtures/", root().display()));
        let line = line.replace("--rules rules", &format!("--rules {}/rules", root().display()));
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        let output = program().args(&words).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let alerts = fs::read_to_string(folder.path().join("alerts.jsonl")).unwrap();
    let began: Vec<Time> = alerts
        .lines()
        .map(|line| serde_json::from_str::<Json>(line).unwrap()["started_at"].as_str().unwrap().parse().unwrap())
        .collect();
    let start: Time = "2026-11-27T22:00:00+08:00".parse().unwrap();
    assert!(began.len() > 5 && began.iter().filter(|at| **at >= start).count() > 5, "{began:?}");
}
