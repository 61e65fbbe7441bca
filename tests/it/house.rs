//! The rules of the house that no compiler holds: which room may use which, and what the pure rooms may not do.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Which rooms each room may use. `*`: whatever it shows or drives.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("spatial", &["model"]),
    ("alerts", &["model"]),
    ("rules", &["model"]),
    ("registry", &["model", "spatial"]),
    ("facts", &["model", "spatial", "registry"]),
    ("ingest", &["model"]),
    ("journal", &["model"]),
    ("store", &["model"]),
    ("notify", &["model", "store"]),
    ("engine", &["model", "facts", "rules", "alerts", "registry", "journal", "store"]),
    ("command", &["model", "spatial", "registry", "store", "notify"]),
    ("history", &["model", "journal", "rules", "engine"]),
    ("metrics", &["model"]),
    ("config", &["*"]),
    ("server", &["*"]),
    ("simulate", &["*"]),
    ("cli", &["*"]),
];

const PURE: &[&str] = &["model", "spatial", "facts", "rules", "alerts"];

/// What a pure room may not do, and why.
const BANNED_IN_PURE: &[(&str, &str)] = &[
    ("SystemTime::now", "time comes in as a value"),
    ("Instant::now", "time comes in as a value"),
    ("Timestamp::now", "time comes in as a value"),
    ("async fn", "the pure rooms are not async"),
    ("Mutex", "the pure rooms hold no locks"),
    ("RwLock", "the pure rooms hold no locks"),
    ("rusqlite", "the pure rooms do no I/O"),
    ("tokio", "the pure rooms do no I/O"),
    ("rand::", "chance comes in as a value"),
];

/// What nothing outside tests may do.
const BANNED_EVERYWHERE: &[(&str, &str)] =
    &[("unbounded", "every channel has a limit"), ("thread::sleep", "wait for a condition, with a limit")];

#[test]
fn rooms_use_only_what_the_table_allows() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut broken = Vec::new();
    for source in sources() {
        let room = source.room.as_str();
        if room == "lib" || room == "main" {
            continue;
        }
        let Some(may_use) = allowed.get(room) else {
            broken.push(format!("{}: the room {room} is not in the table", source.path.display()));
            continue;
        };
        for (line, used) in uses(&source.code) {
            let fine = used == room || may_use.contains(&"*") || may_use.contains(&used.as_str());
            if !fine {
                broken.push(format!("{}:{line}: {room} may not use {used}", source.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn pure_rooms_have_no_clock_no_locks_and_no_async() {
    let broken: Vec<String> = sources()
        .iter()
        .filter(|source| PURE.contains(&source.room.as_str()))
        .flat_map(|source| found(source, BANNED_IN_PURE))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn nothing_is_unbounded_or_slept_over() {
    let broken: Vec<String> = sources().iter().flat_map(|source| found(source, BANNED_EVERYWHERE)).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn no_test_is_left_out() {
    let mut files = Vec::new();
    [root().join("src"), root().join("tests")].iter().for_each(|folder| all_files(folder, &mut files));
    let attribute = concat!("#[", "ignore");
    let left_out: Vec<String> = files
        .iter()
        .filter(|path| fs::read_to_string(path).unwrap().contains(attribute))
        .map(|path| path.display().to_string())
        .collect();
    assert!(left_out.is_empty(), "{}", left_out.join("\n"));
}

#[test]
fn every_room_has_a_gate_that_says_what_it_is() {
    for (room, _) in MAY_USE {
        let folder = root().join("src").join(room).join("mod.rs");
        let file = root().join("src").join(format!("{room}.rs"));
        let gate = fs::read_to_string(&folder).or_else(|_| fs::read_to_string(&file)).unwrap_or_default();
        assert!(gate.starts_with("//! "), "the room {room} has no gate that begins with its doc");
    }
}

#[test]
fn the_crate_doc_names_every_room_and_every_invariant() {
    let doc = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for (room, _) in MAY_USE {
        assert!(doc.contains(&format!("mod {room};")), "lib.rs does not open the room {room}");
    }
    for number in 1..=8 {
        assert!(doc.contains(&format!("//! {number}. ")), "lib.rs does not print invariant {number}");
    }
}

struct Source {
    path: PathBuf,
    room: String,
    /// Without its tests and without comments.
    code: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut files = Vec::new();
    walk(&src, &mut files);
    assert!(files.len() > 20, "found only {} files", files.len());
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let relative = path.strip_prefix(&src).unwrap();
        let room = relative.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned();
        Source { room, code: without_tests_and_comments(&text), path }
    };
    files.into_iter().map(read).collect()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            walk(&path, files);
        } else if name.ends_with(".rs") && name != "tests.rs" && !name.ends_with("_tests.rs") {
            files.push(path);
        }
    }
}

fn all_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Everything before the test module, line by line, comments blanked so that line numbers stay.
fn without_tests_and_comments(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let in_tests = line.trim() == "#[cfg(test)]"
            && lines.peek().is_some_and(|next| next.contains("mod ") && next.ends_with('{'));
        if in_tests {
            break;
        }
        code.push_str(line.split("//").next().unwrap_or_default());
        code.push('\n');
    }
    code
}

/// Every `crate::room` in the code with its line, inside braces too.
fn uses(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("crate::") {
        let line = code[..start].matches('\n').count() + 1;
        let rest = &code[start + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            rooms_of_group(group).into_iter().for_each(|room| found.push((line, room)));
        } else {
            found.push((line, name(rest)));
        }
    }
    found.retain(|(_, room)| !room.is_empty() && room != "VERSION");
    found
}

/// The first names of `a::b, c::{d, e}, f}` up to its closing brace.
fn rooms_of_group(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut rooms = vec![name(group.trim_start())];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => rooms.push(name(group[at + 1..].trim_start())),
            _ => {}
        }
    }
    rooms
}

fn name(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn found(source: &Source, banned: &[(&str, &str)]) -> Vec<String> {
    let lines = source.code.lines().enumerate();
    lines
        .flat_map(|(index, line)| {
            let hits = banned.iter().filter(|(word, _)| line.contains(word));
            hits.map(move |(word, why)| format!("{}:{}: `{word}`: {why}", source.path.display(), index + 1))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// An error's words end with its cause's; a variant with a `source` besides would be printed with its cause twice, or three times.
#[test]
fn errors_say_their_cause_once() {
    let mut broken = Vec::new();
    for source in sources() {
        for (start, _) in source.code.match_indices("thiserror::Error") {
            let Some(end) = source.code[start..].find("\n}") else { continue };
            let mut words = "";
            for line in source.code[start..start + end].lines().map(str::trim) {
                words = if line.starts_with("#[error") { line } else { words };
                let has_source = ["#[from]", "#[source]", " source:"].iter().any(|mark| line.contains(mark));
                if has_source && words != "#[error(transparent)]" {
                    broken.push(format!("{}: {line}", source.path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "use model::wraps! and the name `cause`:\n{}", broken.join("\n"));
}

/// Every metric that is registered is fed from somewhere.
#[test]
fn every_metric_is_fed() {
    let sources = sources();
    let is_metrics = |source: &&Source| source.path.ends_with("metrics.rs");
    let metrics = &sources.iter().find(is_metrics).expect("there is one").code;
    let others: String =
        sources.iter().filter(|source| !is_metrics(source)).map(|source| source.code.as_str()).collect();
    let fields =
        metrics.split("pub struct Metrics {").nth(1).and_then(|rest| rest.split("\n}").next()).expect("its fields");
    let methods: Vec<&str> = metrics.split("pub fn ").skip(1).collect();
    let is_called = |method: &&&str| others.contains(&format!(".{}(", name(method)));
    for field in fields.lines().map(str::trim).filter(|line| line.contains(": ")) {
        let field = name(field.trim_start_matches("pub "));
        if ["registry", "ledger"].contains(&field.as_str()) {
            continue;
        }
        let use_of = |code: &str, owner: &str| {
            let word = format!("{owner}.{field}");
            code.match_indices(&word).any(|(at, _)| name(&code[at + word.len()..]).is_empty())
        };
        let is_fed = use_of(&others, "metrics")
            || methods.iter().filter(|body| use_of(body, "self")).any(|method| is_called(&method));
        assert!(is_fed, "nobody feeds {field}");
    }
}

#[test]
fn the_reader_of_uses_sees_groups_and_paths() {
    let rooms = |code: &str| uses(code).into_iter().map(|(_, room)| room).collect::<Vec<_>>();
    assert_eq!(rooms("use crate::{a::{b, c}, d,\n e::f};\nlet x = crate::g::h();"), ["a", "d", "e", "g"]);
    assert_eq!(rooms("use crate::model::Time;"), ["model"]);
}
