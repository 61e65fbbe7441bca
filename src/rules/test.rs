//! Tests of rules (`*_test.yaml`): reports in, the alerts that must come, and no others.
//!
//! ```yaml
//! tests:
//!   - name: a truck that speeds
//!     registry:                      # files by name, or a folder beside the test; default: an empty registry
//!       vehicles.csv: |
//!         vehicle_id,plate,device_id
//!         V1,粤B00001,D1
//!     settings: { time_zone: Asia/Shanghai }   # as in the configuration; optional
//!     enable: [peak-hour-ban]        # rules that are off but tested here; optional
//!     reports:                       # in order of arrival
//!       - { device_id: D1, device_time: "2026-03-01T14:00:00Z", lat: 22.5, lon: 114.0, speed_kmh: 80 }
//!       - series: { device_id: D1, from: "2026-03-01T14:00:10Z", every: 10s, count: 12, speed_kmh: 80,
//!                   path: [[114.0, 22.5], [114.1, 22.5]] }    # twelve reports, spread evenly along the path
//!     expect:                        # only what is written is compared
//!       - { rule: overspeed, vehicle: V1, severity: major, facts: { speed_kmh: 80 } }
//!       - { rule: lift-outside-site, vehicle: V2, joined: [dump-load-drop] }       # rules of the same incident
//!       - { rule: mass-offline }                                                   # about no single truck
//! ```

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value as Json};

use super::{
    Problem, RuleErrors,
    check::find,
    errors::nearest,
    file::{self, Entry, Node, NodeValue, Position, Source},
    series,
};
use crate::model::{Alert, AlertState, Severity, Time, plate};

/// The tests of one file.
#[derive(Clone, Debug, PartialEq)]
pub struct TestFile {
    pub path: PathBuf,
    pub cases: Vec<TestCase>,
}

/// One test: what comes in, and what must come out.
#[derive(Clone, Debug, PartialEq)]
pub struct TestCase {
    pub name: String,
    pub file: String,
    /// The line at which it begins, from 1.
    pub line: u32,
    pub registry: RegistrySource,
    /// Settings in the form of the configuration file, untouched.
    pub settings: Json,
    /// Rules to judge by though they are off.
    pub enable: Vec<String>,
    /// Device reports, sightings and unit reports as replay reads them, in order of arrival.
    pub reports: Vec<Json>,
    pub expect: Vec<Expected>,
}

/// The reference data of a test.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RegistrySource {
    #[default]
    Empty,
    /// Contents by file name.
    Files(BTreeMap<String, String>),
    /// A folder, relative names taken from the test file's own.
    Folder(PathBuf),
}

/// An alert that must come. What is `None` is not compared; `cleared_at: Some(None)` says that it must still be open.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    pub rule: String,
    /// Vehicle id, or plate; empty for an alert about no single truck.
    pub vehicle: String,
    /// Rules that joined it: all of them, in order.
    pub joined: Vec<String>,
    pub severity: Option<Severity>,
    pub started_at: Option<Time>,
    pub fired_at: Option<Time>,
    pub cleared_at: Option<Option<Time>>,
    pub state: Option<AlertState>,
    pub retrospective: Option<bool>,
    pub message: Option<String>,
    /// Those of the alert's facts that matter.
    pub facts: Map<String, Json>,
}

/// How what came differs from what was expected.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    Missing(Box<Expected>),
    Surplus(Box<Alert>),
    /// It came, but otherwise: field, expected, found.
    Otherwise {
        rule: String,
        vehicle: String,
        fields: Vec<(String, String, String)>,
    },
}

/// What became of one test.
#[derive(Debug)]
pub struct TestOutcome<'a> {
    pub case: &'a TestCase,
    /// Empty when it passed.
    pub differences: Vec<Difference>,
}

impl TestFile {
    /// Reads the tests of a folder, in order of file name.
    ///
    /// # Errors
    /// When a file can't be read, or with every problem in every file.
    pub fn read_dir(dir: &Path) -> Result<Vec<Self>, RuleErrors> {
        let sources = file::read_dir(dir, file::is_test)?;
        let (mut files, mut problems) = (Vec::new(), Vec::new());
        for source in &sources {
            let mut check = TestCheck { source, incomplete: false, problems: Vec::new() };
            let cases = check.file();
            problems.append(&mut check.problems);
            files.push(Self { path: PathBuf::from(&*source.name), cases });
        }
        if problems.is_empty() { Ok(files) } else { Err(RuleErrors::Invalid(problems)) }
    }

    /// Reads the tests of a folder with their texts, as they are read to be completed.
    ///
    /// # Errors
    /// When a file can't be read, or with every problem in every file but expectations that lack.
    pub fn read_dir_incomplete(dir: &Path) -> Result<Vec<(Self, String)>, RuleErrors> {
        let (mut files, mut problems) = (Vec::new(), Vec::new());
        for source in file::read_dir(dir, file::is_test)? {
            match Self::parse_incomplete(&source.name, &source.text) {
                Ok(file) => files.push((file, source.text)),
                Err(RuleErrors::Invalid(found)) => problems.extend(found),
                Err(other) => return Err(other),
            }
        }
        if problems.is_empty() { Ok(files) } else { Err(RuleErrors::Invalid(problems)) }
    }

    /// Reads the tests in a text; `name` is the file that errors and relative folders go by.
    ///
    /// # Errors
    /// Every problem in it.
    pub fn parse(name: &str, text: &str) -> Result<Self, RuleErrors> {
        Self::parse_as(name, text, false)
    }

    /// The same of a text whose tests may still lack what they expect, for [`Self::complete`].
    ///
    /// # Errors
    /// Every other problem in it.
    pub fn parse_incomplete(name: &str, text: &str) -> Result<Self, RuleErrors> {
        Self::parse_as(name, text, true)
    }

    fn parse_as(name: &str, text: &str, incomplete: bool) -> Result<Self, RuleErrors> {
        let source = Source::new(name, text);
        let mut check = TestCheck { source: &source, incomplete, problems: Vec::new() };
        let cases = check.file();
        if check.problems.is_empty() {
            Ok(Self { path: PathBuf::from(name), cases })
        } else {
            Err(RuleErrors::Invalid(check.problems))
        }
    }

    /// Runs every test by `engine`, which gives the final alerts of a case.
    ///
    /// # Errors
    /// The engine's first.
    pub fn run<E>(&self, engine: impl Fn(&TestCase) -> Result<Vec<Alert>, E>) -> Result<Vec<TestOutcome<'_>>, E> {
        self.cases.iter().map(|case| Ok(TestOutcome { case, differences: case.compare(&engine(case)?) })).collect()
    }
}

impl TestCase {
    /// The differences between what was expected and what came.
    pub fn compare(&self, alerts: &[Alert]) -> Vec<Difference> {
        let (pairs, surplus) = self.pairs(alerts);
        let mut differences = Vec::new();
        for (expected, alert) in pairs {
            match alert.map(|alert| expected.mismatches(alert)) {
                None => differences.push(Difference::Missing(Box::new(expected.clone()))),
                Some(fields) if fields.is_empty() => {}
                Some(fields) => differences.push(Difference::Otherwise {
                    rule: expected.rule.clone(),
                    vehicle: expected.vehicle.clone(),
                    fields,
                }),
            }
        }
        differences.extend(surplus.into_iter().map(|alert| Difference::Surplus(Box::new(alert.clone()))));
        differences
    }

    /// Each expectation with the alert that is nearest to it, and the alerts that nothing expects.
    pub(super) fn pairs<'t>(&'t self, alerts: &'t [Alert]) -> (Vec<Pair<'t>>, Vec<&'t Alert>) {
        let mut left: Vec<&Alert> = alerts.iter().collect();
        let mut pairs: Vec<Pair<'t>> = self.expect.iter().map(|expected| (expected, None)).collect();
        // Exact matches first, so that one expectation does not take another's alert.
        for (expected, found) in &mut pairs {
            let exact = |alert: &&Alert| expected.is_about(alert) && expected.mismatches(alert).is_empty();
            *found = left.iter().position(exact).map(|index| left.remove(index));
        }
        for (expected, found) in pairs.iter_mut().filter(|(_, found)| found.is_none()) {
            let about = left.iter().enumerate().filter(|(_, alert)| expected.is_about(alert));
            let nearest = about.min_by_key(|(index, alert)| (expected.mismatches(alert).len(), *index));
            let index = nearest.map(|(index, _)| index);
            *found = index.map(|index| left.remove(index));
        }
        (pairs, left)
    }
}

/// An expectation and the alert that it is about, if one came.
pub(super) type Pair<'t> = (&'t Expected, Option<&'t Alert>);

impl Expected {
    fn is_about(&self, alert: &Alert) -> bool {
        *alert.rule_id == *self.rule
            && (*alert.vehicle_id == *self.vehicle || plate::plate(&alert.plate) == plate::plate(&self.vehicle))
    }

    /// Every field that is otherwise: its name, expected, found.
    fn mismatches(&self, alert: &Alert) -> Vec<(String, String, String)> {
        let mut found = Vec::new();
        let mut compare = |field: &str, expected: Option<String>, actual: String| {
            if let Some(expected) = expected.filter(|expected| *expected != actual) {
                found.push((field.to_owned(), expected, actual));
            }
        };
        let time = |time: Option<Time>| time.map_or_else(|| "none".to_owned(), |time| time.to_string());
        compare("severity", self.severity.map(|s| s.to_string()), alert.severity.to_string());
        compare("started_at", self.started_at.map(|at| at.to_string()), alert.started_at.to_string());
        compare("fired_at", self.fired_at.map(|at| at.to_string()), alert.fired_at.to_string());
        compare("cleared_at", self.cleared_at.map(time), time(alert.cleared_at));
        compare("state", self.state.map(|s| s.as_str().to_owned()), alert.state.as_str().to_owned());
        compare("retrospective", self.retrospective.map(|r| r.to_string()), alert.retrospective.to_string());
        let message = self.message.clone().filter(|text| *text != alert.messages.zh);
        compare("message", message, alert.message.clone());
        let joined: Vec<&str> = alert.joined.iter().map(|one| &*one.rule_id).collect();
        compare("joined", Some(format!("[{}]", self.joined.join(", "))), format!("[{}]", joined.join(", ")));
        for (name, expected) in &self.facts {
            let actual = alert.facts.get(name);
            if !actual.is_some_and(|actual| same(expected, actual)) {
                let actual = actual.map_or_else(|| "not among the alert's facts".to_owned(), Json::to_string);
                found.push((format!("facts.{name}"), expected.to_string(), actual));
            }
        }
        found
    }
}

/// Numbers by value to a billionth, everything else exactly.
fn same(expected: &Json, actual: &Json) -> bool {
    match (expected.as_f64(), actual.as_f64()) {
        (Some(e), Some(a)) => (e - a).abs() <= 1e-9 * e.abs().max(1.0),
        _ => expected == actual,
    }
}

impl fmt::Display for TestOutcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TestCase { name, file, line, .. } = self.case;
        let verdict = if self.differences.is_empty() { "ok" } else { "FAILED" };
        write!(f, "{verdict}  {name} ({file}:{line})")?;
        self.differences.iter().try_for_each(|difference| write!(f, "\n{difference}"))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(expected) => {
                write!(f, "  - expected, did not come: {} of {}", expected.rule, expected.vehicle)?;
                expected.started_at.map_or(Ok(()), |at| write!(f, ", started {at}"))
            }
            Self::Surplus(alert) => write!(
                f,
                "  + came, not expected: {} of {}, {}, started {}, fired {}: {}",
                alert.rule_id, alert.vehicle_id, alert.severity, alert.started_at, alert.fired_at, alert.message
            ),
            Self::Otherwise { rule, vehicle, fields } => {
                write!(f, "  ~ {rule} of {vehicle} came otherwise:")?;
                fields.iter().try_for_each(|(field, expected, found)| {
                    write!(f, "\n      {field}: expected {expected}, found {found}")
                })
            }
        }
    }
}

/// The check of one test file.
pub(super) struct TestCheck<'a> {
    source: &'a Source,
    /// Whether a test may lack what it expects.
    incomplete: bool,
    problems: Vec<Problem>,
}

impl TestCheck<'_> {
    fn file(&mut self) -> Vec<TestCase> {
        let root = match self.source.parse() {
            Ok(root) => root,
            Err(problem) => {
                self.problems.push(problem);
                return Vec::new();
            }
        };
        let fields = self.map(&root, &["tests"], "the file").unwrap_or_default();
        match find(fields, "tests") {
            Some(node) => self.list(node, "`tests`").iter().filter_map(|case| self.case(case)).collect(),
            None => {
                self.say(root.at, "`tests` is missing", None);
                Vec::new()
            }
        }
    }

    fn case(&mut self, node: &Node) -> Option<TestCase> {
        let fields = self.map(node, &["name", "registry", "settings", "enable", "reports", "expect"], "a test")?;
        let missing = ["name", "reports"].into_iter().filter(|name| find(fields, name).is_none());
        missing.for_each(|name| self.say(node.at, format!("`{name}` is missing"), None));
        let expect = find(fields, "expect").filter(|node| node.value != NodeValue::Null);
        if expect.is_none() && !self.incomplete {
            let hint =
                "`expect: []` says that nothing may come; `muckwatch rules test DIR --complete` fills in what came";
            self.say(node.at, "`expect` is missing", Some(hint.into()));
        }
        let reports = find(fields, "reports").map_or(&[][..], |node| self.list(node, "`reports`"));
        let expect = expect.map_or(&[][..], |node| self.list(node, "`expect`"));
        let enable = find(fields, "enable").map_or(&[][..], |node| self.list(node, "`enable`"));
        Some(TestCase {
            name: find(fields, "name").and_then(|node| self.text(node, "`name`")).unwrap_or_default(),
            file: self.source.name.to_string(),
            line: node.at.line,
            registry: find(fields, "registry").map(|node| self.registry(node)).unwrap_or_default(),
            settings: find(fields, "settings").map_or(Json::Null, Node::to_json),
            enable: enable.iter().filter_map(|node| self.text(node, "a rule's id")).collect(),
            reports: self.reports(reports),
            expect: expect.iter().filter_map(|expected| self.expected(expected)).collect(),
        })
    }

    fn registry(&mut self, node: &Node) -> RegistrySource {
        match &node.value {
            NodeValue::Text(folder) => {
                let beside = Path::new(&*self.source.name).parent().unwrap_or(Path::new(""));
                RegistrySource::Folder(beside.join(folder))
            }
            NodeValue::Map(files) => {
                let mut texts = BTreeMap::new();
                for file in files {
                    if file.key.contains(['/', '\\']) || file.key.starts_with('.') {
                        self.say(
                            file.key_at,
                            format!("`{}` is no file name", file.key),
                            Some("such as vehicles.csv".into()),
                        );
                    } else if let Some(text) = self.text(&file.node, "a file's content") {
                        texts.insert(file.key.clone(), text);
                    }
                }
                RegistrySource::Files(texts)
            }
            _ => {
                let hint = "give files by name with their text, or the name of a folder";
                self.say(node.at, format!("expected a registry, found {}", node.kind()), Some(hint.into()));
                RegistrySource::Empty
            }
        }
    }

    /// In order of arrival; series that follow each other are merged.
    fn reports(&mut self, nodes: &[Node]) -> Vec<Json> {
        let (mut reports, mut merged) = (Vec::new(), Vec::new());
        let settle = |merged: &mut Vec<(Time, Json)>, reports: &mut Vec<Json>| {
            merged.sort_by_key(|(arrives, _)| *arrives);
            reports.extend(merged.drain(..).map(|(_, report)| report));
        };
        for node in nodes {
            if let Some(described) = series::within(node) {
                self.map(node, &["series"], "an element with a series");
                merged.extend(series::expand(self, described));
            } else {
                settle(&mut merged, &mut reports);
                reports.extend(self.report(node));
            }
        }
        settle(&mut merged, &mut reports);
        reports
    }

    fn report(&mut self, node: &Node) -> Option<Json> {
        let NodeValue::Map(fields) = &node.value else {
            self.say(node.at, format!("expected a report, found {}", node.kind()), None);
            return None;
        };
        match find(fields, "device_time").map(|time| (time, serde_json::from_value::<Time>(time.to_json()))) {
            Some((_, Ok(_))) => Some(node.to_json()),
            Some((time, Err(error))) => {
                self.say(time.at, error.to_string(), None);
                None
            }
            None => {
                self.say(node.at, "`device_time` is missing", None);
                None
            }
        }
    }

    fn expected(&mut self, node: &Node) -> Option<Expected> {
        const KEYS: &[&str] = &[
            "rule",
            "vehicle",
            "joined",
            "severity",
            "started_at",
            "fired_at",
            "cleared_at",
            "state",
            "retrospective",
            "message",
            "facts",
        ];
        let fields = self.map(node, KEYS, "an expected alert")?;
        if find(fields, "rule").is_none() {
            self.say(node.at, "`rule` is missing", None);
        }
        let cleared = find(fields, "cleared_at");
        Some(Expected {
            rule: find(fields, "rule").and_then(|node| self.text(node, "`rule`"))?,
            vehicle: find(fields, "vehicle").map_or(Some(String::new()), |node| self.text(node, "`vehicle`"))?,
            joined: find(fields, "joined").map(|node| self.rules(node)).unwrap_or_default(),
            severity: self.word(fields, "severity", Severity::parse, "critical, major, minor, notice"),
            started_at: find(fields, "started_at").and_then(|node| self.time(node)),
            fired_at: find(fields, "fired_at").and_then(|node| self.time(node)),
            cleared_at: cleared.map(|node| if node.value == NodeValue::Null { None } else { self.time(node) }),
            state: self.word(fields, "state", AlertState::parse, "open, cleared, withdrawn"),
            retrospective: find(fields, "retrospective").and_then(|node| self.flag(node)),
            message: find(fields, "message").and_then(|node| self.text(node, "`message`")),
            facts: find(fields, "facts").map(|node| self.facts(node)).unwrap_or_default(),
        })
    }

    fn rules(&mut self, node: &Node) -> Vec<String> {
        let items = self.list(node, "`joined`").iter();
        items.filter_map(|item| self.text(item, "a rule's id")).collect()
    }

    fn facts(&mut self, node: &Node) -> Map<String, Json> {
        // Those of the rows, and what a tally adds.
        let columns = crate::model::Column::all().map(crate::model::Column::name);
        let names: Vec<_> = columns.chain(["points", "vehicles", "vehicle_ids"]).collect();
        let fields = self.map(node, &names, "the facts").unwrap_or_default();
        fields.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect()
    }

    fn word<T>(&mut self, fields: &[Entry], name: &str, parse: impl Fn(&str) -> Option<T>, known: &str) -> Option<T> {
        let node = find(fields, name)?;
        let word = self.text(node, &format!("`{name}`"))?;
        let parsed = parse(&word);
        if parsed.is_none() {
            self.say(node.at, format!("unknown {name} `{word}`"), Some(format!("known are {known}")));
        }
        parsed
    }

    pub(super) fn time(&mut self, node: &Node) -> Option<Time> {
        serde_json::from_value(node.to_json()).map_err(|error| self.say(node.at, error.to_string(), None)).ok()
    }

    fn flag(&mut self, node: &Node) -> Option<bool> {
        if let NodeValue::Flag(flag) = node.value {
            return Some(flag);
        }
        self.say(node.at, format!("expected true or false, found {}", node.kind()), None);
        None
    }

    pub(super) fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        if let NodeValue::Text(text) = &node.value {
            return Some(text.clone());
        }
        self.say(node.at, format!("expected text for {what}, found {}", node.kind()), Some("put it in quotes".into()));
        None
    }

    pub(super) fn list<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        if let NodeValue::List(items) = &node.value {
            return items;
        }
        self.say(node.at, format!("expected a list for {what}, found {}", node.kind()), None);
        &[]
    }

    pub(super) fn map<'n>(&mut self, node: &'n Node, known: &[&str], what: &str) -> Option<&'n [Entry]> {
        let NodeValue::Map(entries) = &node.value else {
            self.say(node.at, format!("expected {what} as a mapping, found {}", node.kind()), None);
            return None;
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let near = nearest(&entry.key, known.iter().copied());
            let hint = near
                .map_or_else(|| format!("known are {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
            self.say(entry.key_at, format!("unknown key `{}` in {what}", entry.key), Some(hint));
        }
        Some(entries)
    }

    /// How many there are so far.
    pub(super) fn problems(&self) -> usize {
        self.problems.len()
    }

    pub(super) fn say(&mut self, at: Position, message: impl Into<String>, hint: Option<String>) {
        self.problems.push(self.source.problem(at, message, hint));
    }
}
