//! What docs/operate.md, docs/recipes.md and docs/contribute.md tell people to do, done as they say.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value as Json;

use crate::{
    city::{City, START_MS},
    line::{publish, run},
    support::{Mosquitto, Served, alerts, program, root, wait_for},
};

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every metric that the program registers, with its prefix.
fn metrics_of_the_code() -> BTreeSet<String> {
    let code = text("src/metrics.rs").split_whitespace().collect::<Vec<_>>().join(" ").replace("( r, ", "(r, ");
    let names = code.split("(r, \"").skip(1).filter_map(|rest| rest.split('"').next());
    let names: BTreeSet<String> = names.map(|name| format!("muckwatch_{name}")).collect();
    assert!(names.len() >= 30, "{names:?}");
    names
}

/// Every metric that a text names; of a histogram the name without `_bucket`.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts = text.match_indices("muckwatch_").map(|(at, _)| &text[at..]);
    let names = starts.map(|rest| rest.split(|c| !is_name(c)).next().unwrap_or_default());
    names.map(|name| name.strip_suffix("_bucket").unwrap_or(name).to_owned()).collect()
}

/// A dashboard or a rule about a metric that does not exist stays silent for ever.
#[test]
fn every_metric_is_described_and_every_one_named_exists() {
    let exist = metrics_of_the_code();
    let shown = ["config/prometheus-alerts.yml", "config/grafana-dashboard.json", "docs/operate.md"];
    for path in shown {
        let named = metrics_in(&text(path));
        assert!(named.len() > 10, "{path} names {named:?}");
        let unknown: Vec<_> = named.difference(&exist).collect();
        assert!(unknown.is_empty(), "{path} names {unknown:?}");
    }
    let page = text("docs/operate.md");
    let missing: Vec<_> = exist.iter().filter(|name| !page.contains(&format!("| `{name}` |"))).collect();
    assert!(missing.is_empty(), "docs/operate.md does not describe {missing:?}");
}

#[test]
fn the_alert_rules_and_the_dashboard_can_be_loaded() {
    let rules: Json = serde_saphyr::from_str(&text("config/prometheus-alerts.yml")).unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.iter().all(|rule| rule["expr"].is_string() && rule["annotations"]["summary"].is_string()));
    let dashboard: Json = serde_json::from_str(&text("config/grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<String> = panels.iter().map(|panel| panel["id"].to_string()).collect();
    assert_eq!((ids.len(), panels.len() > 10), (panels.len(), true));
    let promtool = Command::new("promtool")
        .args(["check", "rules", "config/prometheus-alerts.yml"])
        .current_dir(root())
        .stdout(Stdio::piped())
        .output();
    match promtool {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
        Err(error) => println!("promtool is not installed: expressions are not checked ({error})"),
    }
}

/// Each command of the unit file and each of its options exists.
#[test]
fn the_unit_file_starts_what_there_is() {
    let unit = text("config/muckwatch.service");
    let commands = unit.lines().filter_map(|line| line.split_once("=/usr/local/bin/muckwatch ")).map(|(_, rest)| rest);
    let commands: Vec<&str> = commands.collect();
    assert_eq!(commands.len(), 2, "{commands:?}");
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().take_while(|word| !word.starts_with("--")).collect();
        let help = program().args(&words).arg("--help").output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        assert!(help.contains(&format!("Usage: muckwatch {}", words.join(" "))), "{help}");
        for option in command.split_whitespace().filter(|word| word.starts_with("--")) {
            assert!(help.contains(&format!("{option} <")), "{command}: {option}:\n{help}");
        }
    }
}

/// What the log is said to tell is what the code says.
#[test]
fn the_log_lines_of_the_page_are_those_of_the_code() {
    let page = text("docs/operate.md");
    let section = page.split("### Log lines").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let lines: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(lines.len() >= 8, "{lines:?}");
    let mut code = String::new();
    code_of(&root().join("src"), &mut code);
    for line in lines {
        assert!(code.contains(line), "no code says {line:?}");
    }
}

fn code_of(folder: &Path, code: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            code_of(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

/// The disk died after the backup: what the page says is done in a folder of the test, and all is there again.
#[test]
fn a_backup_as_the_page_says_it_brings_everything_back() {
    let page = text("docs/operate.md");
    let steps = |number: usize| {
        let block = page.split("```sh\n").nth(number).and_then(|rest| rest.split("```").next()).unwrap();
        let done = block.lines().filter(|line| !line.starts_with("systemctl ")).collect::<Vec<_>>();
        assert!(!done.is_empty() && block.contains("systemctl stop") && block.contains("systemctl start"), "{block}");
        done.join("\n")
    };
    let (city, broker) = (City::new(3), Mosquitto::start());
    let (home, backups) = (city.folder.path().join("home"), city.folder.path().join("backups"));
    fs::create_dir_all(&home).unwrap();
    fs::create_dir_all(&backups).unwrap();
    let shell = |steps: String| {
        let here = steps
            .replace("/var/lib/muckwatch", &home.display().to_string())
            .replace("/var/backups", &backups.display().to_string());
        assert!(Command::new("sh").args(["-e", "-c", &here]).status().unwrap().success(), "{here}");
    };
    let start = || Served::start(&broker.address(), &home.join("data"), &city.registry(), &city.rules());
    let served = start();
    let reports = city.reports(12, START_MS);
    run(publish(&broker, &reports));
    let count = reports.len() as u64;
    wait_for("all reports", || (served.received() == count).then_some(()));
    let before = alerts(&served);
    assert!(!before.is_empty());
    assert_eq!(served.stop(), Some(0));
    shell(steps(1));
    // After the backup more comes, which is lost with the disk.
    let served = start();
    run(publish(&broker, &city.reports(3, START_MS + 3_600_000)));
    wait_for("more reports", || (served.received() > count).then_some(()));
    assert_eq!(served.stop(), Some(0));
    shell(steps(2));
    let served = start();
    assert_eq!(served.received(), count);
    assert_eq!(alerts(&served), before);
    run(publish(&broker, &city.reports(3, START_MS + 3_600_000)));
    wait_for("it to go on", || (served.received() == count + 9).then_some(()));
}

/// The block of a page after a marker: `<!-- name -->` and a fenced block.
fn block(page: &str, name: &str) -> String {
    let rest = page.split(&format!("<!-- {name} -->\n```")).nth(1).unwrap_or_else(|| panic!("no block {name}"));
    let (_, rest) = rest.split_once('\n').unwrap();
    rest.split("```").next().unwrap().to_owned()
}

/// Each recipe's recorded messages, read by the command that the page gives, are the facts that the page shows.
#[test]
fn each_recipe_reads_what_its_gateway_publishes() {
    let page = text("docs/recipes.md");
    for format in ["emqx-jt808", "traccar"] {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("city")).unwrap();
        fs::write(at("city/vehicles.csv"), block(&page, &format!("{format} vehicles"))).unwrap();
        fs::write(at("recorded.jsonl"), block(&page, &format!("{format} recorded"))).unwrap();
        let command = block(&page, &format!("{format} command"));
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        let output = program().args(&words).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let json = |text: &str| -> Vec<Json> { text.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
        let facts = json(&fs::read_to_string(at("facts.jsonl")).unwrap());
        assert_eq!(facts, json(&block(&page, &format!("{format} facts"))), "{format}");
        let settings = block(&page, &format!("{format} settings"));
        fs::write(at("muckwatch.toml"), &settings).unwrap();
        let rules = root().join("rules");
        let mut check = program();
        check.args(["config", "check", "--config"]).arg(at("muckwatch.toml")).arg("--rules").arg(rules);
        let check = check.current_dir(folder.path()).output().unwrap();
        assert!(check.status.success(), "{settings}{}", String::from_utf8_lossy(&check.stderr));
    }
}

/// Every file that a page for contributors or operators names is there.
#[test]
fn every_path_of_the_pages_exists() {
    for page in ["docs/contribute.md", "docs/operate.md", "docs/recipes.md"] {
        let words: Vec<String> = text(page).split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let folders = ["src/", "tests/", "docs/", "rules/", "config/", "fuzz/", "tools/", "benches/"];
        let is_path = |word: &&String| folders.iter().any(|folder| word.starts_with(folder)) && !word.contains(' ');
        for path in words.iter().filter(is_path) {
            assert!(root().join(path).exists(), "{page} names {path}");
        }
    }
}
