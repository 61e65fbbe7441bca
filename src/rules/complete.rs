//! Filling in what tests expect: the `expect` of a test whose outcome differs is written anew with what came, and not
//! another byte of the file is touched.

use super::{
    TestCase, TestFile,
    check::find,
    file::{Entry, Node, NodeValue, Position, Source},
    test::Expected,
};
use crate::model::{Alert, AlertState, Time};

/// A test file with its expectations filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    pub text: String,
    /// The tests that were changed, by name.
    pub changed: Vec<String>,
}

/// Why a file was left as it is.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotCompleted {
    #[error("fill in `{0}`: write its keys on lines of their own")]
    Form(String),
    #[error("fill in `{0}`: the file would no longer say the same")]
    Unsafe(String),
}

/// Longer lines are broken before the message, columns.
const WIDTH: usize = 120;

impl TestFile {
    /// `text`, which these tests were read from, with the `expect` of every test that differs written anew from the
    /// alerts that came, a list for each test. Nothing differs: nothing is changed.
    ///
    /// # Errors
    /// When a test is written in a form that cannot be edited, or the outcome would not pass.
    pub fn complete(&self, text: &str, came: &[Vec<Alert>]) -> Result<Completed, NotCompleted> {
        let name = self.path.to_string_lossy();
        let root = Source::new(&name, text).parse().map_err(|_| NotCompleted::Unsafe(name.to_string()))?;
        let nodes = cases(&root);
        let mut edits = Vec::new();
        for ((case, node), alerts) in self.cases.iter().zip(nodes).zip(came) {
            if !is_written(node) || !case.compare(alerts).is_empty() {
                edits.push((case, edit(text, case, node, alerts)?));
            }
        }
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        for (_, edit) in edits.iter().rev() {
            lines.splice(edit.first..edit.end, [edit.text.as_str()]);
        }
        let changed: Vec<String> = edits.iter().map(|(case, _)| case.name.clone()).collect();
        let completed = Completed { text: lines.concat(), changed };
        self.prove(&completed.text, came)?;
        Ok(completed)
    }

    /// That the text is these tests again, with expectations that hold.
    fn prove(&self, text: &str, came: &[Vec<Alert>]) -> Result<(), NotCompleted> {
        let name = self.path.to_string_lossy();
        let again = Self::parse(&name, text).map_err(|_| NotCompleted::Unsafe(name.to_string()))?;
        let same = |(before, after): (&TestCase, &TestCase)| {
            (&before.name, &before.registry, &before.settings, &before.reports)
                == (&after.name, &after.registry, &after.settings, &after.reports)
        };
        let holds = |(case, alerts): (&TestCase, &Vec<Alert>)| case.compare(alerts).is_empty();
        let proven = again.cases.len() == self.cases.len()
            && self.cases.iter().zip(&again.cases).all(same)
            && again.cases.iter().zip(came).all(holds);
        if proven { Ok(()) } else { Err(NotCompleted::Unsafe(name.to_string())) }
    }
}

/// Whole lines and what stands in their place.
struct Edit {
    first: usize,
    end: usize,
    text: String,
}

fn cases(root: &Node) -> &[Node] {
    let NodeValue::Map(fields) = &root.value else { return &[] };
    match find(fields, "tests").map(|node| &node.value) {
        Some(NodeValue::List(cases)) => cases,
        _ => &[],
    }
}

fn fields(case: &Node) -> &[Entry] {
    if let NodeValue::Map(fields) = &case.value { fields } else { &[] }
}

fn is_written(case: &Node) -> bool {
    find(fields(case), "expect").is_some_and(|node| node.value != NodeValue::Null)
}

/// The edit that gives a test what came.
fn edit(text: &str, case: &TestCase, node: &Node, alerts: &[Alert]) -> Result<Edit, NotCompleted> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let form = || NotCompleted::Form(case.name.clone());
    let fields = fields(node);
    let keys: Vec<Position> = fields.iter().map(|entry| entry.key_at).collect();
    if keys.iter().any(|at| !stands_first(&lines, *at)) {
        return Err(form());
    }
    let last = keys.last().ok_or_else(form)?;
    let written = fields.iter().find(|entry| entry.key == "expect").map(|entry| entry.key_at);
    let at = written.unwrap_or(*last);
    let indent = at.column as usize - 1;
    let end = end_of(&lines, at);
    let first = if written.is_some() { at.line as usize - 1 } else { end };
    let before = lines.get(first).filter(|_| written.is_some()).and_then(|line| line.get(..indent));
    let head = before.map_or_else(|| " ".repeat(indent), str::to_owned);
    let broken = lines.get(first.max(1) - 1).is_some_and(|line| line.ends_with('\n')) || first == 0;
    let text = format!("{}{head}{}", if broken { "" } else { "\n" }, expectations(case, alerts, indent));
    Ok(Edit { first, end, text })
}

/// Whether nothing but white space and dashes stands before a key.
fn stands_first(lines: &[&str], at: Position) -> bool {
    let before = lines.get(at.line as usize - 1).and_then(|line| line.get(..at.column as usize - 1));
    before.is_some_and(|before| before.chars().all(|c| c == ' ' || c == '-'))
}

/// The index of the line after the last of the value whose key stands at `at`. Blank lines and comments after it are
/// not its own.
fn end_of(lines: &[&str], at: Position) -> usize {
    let indent = at.column as usize - 1;
    let mut end = at.line as usize;
    for (index, line) in lines.iter().enumerate().skip(end) {
        let inner = line.trim();
        if inner.is_empty() || inner.starts_with('#') {
            continue;
        }
        let depth = line.len() - line.trim_start_matches(' ').len();
        let item = depth == indent && (inner == "-" || inner.starts_with("- "));
        if depth <= indent && !item {
            break;
        }
        end = index + 1;
    }
    end
}

/// `expect:` with what came, its key not indented.
fn expectations(case: &TestCase, alerts: &[Alert], indent: usize) -> String {
    let (pairs, surplus) = case.pairs(alerts);
    let known = pairs.into_iter().filter_map(|(expected, alert)| Some(as_before(expected, alert?)));
    let items: Vec<String> = known.chain(surplus.into_iter().map(anew)).map(|keys| item(&keys, indent + 2)).collect();
    if items.is_empty() { "expect: []\n".to_owned() } else { format!("expect:\n{}", items.concat()) }
}

type Keys = Vec<(&'static str, String)>;

/// Which rule of which truck, and what joined it.
fn who(alert: &Alert, rule: &str, vehicle: &str) -> Keys {
    let mut keys = vec![("rule", word(rule))];
    if !vehicle.is_empty() {
        keys.push(("vehicle", word(vehicle)));
    }
    if !alert.joined.is_empty() {
        let joined: Vec<String> = alert.joined.iter().map(|one| word(&one.rule_id)).collect();
        keys.push(("joined", format!("[{}]", joined.join(", "))));
    }
    keys
}

/// The keys that were written before, with what came.
fn as_before(expected: &Expected, alert: &Alert) -> Keys {
    let mut keys = who(alert, &expected.rule, &expected.vehicle);
    let mut keep = |written: bool, key: &'static str, value: String| {
        if written {
            keys.push((key, value));
        }
    };
    keep(expected.severity.is_some(), "severity", alert.severity.to_string());
    keep(expected.state.is_some(), "state", alert.state.as_str().to_owned());
    keep(expected.started_at.is_some(), "started_at", time(alert.started_at));
    keep(expected.fired_at.is_some(), "fired_at", time(alert.fired_at));
    keep(expected.cleared_at.is_some(), "cleared_at", alert.cleared_at.map_or_else(|| "null".to_owned(), time));
    keep(expected.retrospective.is_some(), "retrospective", alert.retrospective.to_string());
    keep(expected.message.is_some(), "message", quoted(&alert.message));
    let facts = expected.facts.keys().filter_map(|name| Some(format!("{name}: {}", alert.facts.get(name)?)));
    let facts: Vec<String> = facts.collect();
    keep(!facts.is_empty(), "facts", format!("{{ {} }}", facts.join(", ")));
    keys
}

/// What is worth expecting of an alert that nothing expected.
fn anew(alert: &Alert) -> Keys {
    let mut keys = who(alert, &alert.rule_id, &alert.vehicle_id);
    keys.push(("severity", alert.severity.to_string()));
    keys.push(("started_at", time(alert.started_at)));
    keys.push(("fired_at", time(alert.fired_at)));
    keys.extend(alert.cleared_at.map(|at| ("cleared_at", time(at))));
    if alert.cleared_at.is_none() || alert.state == AlertState::Withdrawn {
        keys.push(("state", alert.state.as_str().to_owned()));
    }
    keys.push(("message", quoted(&alert.message)));
    keys
}

/// One element of the list; a long one goes on after a line break.
fn item(keys: &Keys, indent: usize) -> String {
    let pad = " ".repeat(indent);
    let mut text = format!("{pad}- {{ ");
    let mut width = text.chars().count();
    for (index, (key, value)) in keys.iter().enumerate() {
        let part = format!("{key}: {value}");
        let length = part.chars().count();
        if index > 0 && width + length + 4 > WIDTH {
            text.push_str(&format!(",\n{pad}    {part}"));
            width = indent + 4 + length;
        } else {
            let comma = if index > 0 { ", " } else { "" };
            text.push_str(&format!("{comma}{part}"));
            width += comma.len() + length;
        }
    }
    text + " }\n"
}

fn time(at: Time) -> String {
    quoted(&at.to_string().replace(".000Z", "Z"))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Without quotes where YAML reads it as text all the same.
fn word(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if plain { text.to_owned() } else { quoted(text) }
}
