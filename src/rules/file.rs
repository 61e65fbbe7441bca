//! A rule file as written: a tree of YAML nodes, each knowing where it stands.

use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Location, Spanned};

use super::{Problem, RuleErrors};
use crate::model::limits;

/// One file: its name and its text.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub name: Arc<str>,
    pub text: String,
}

/// A place in a file: line and column from 1, the column in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub line: u32,
    pub column: u32,
}

/// A YAML node and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub at: Position,
    pub value: NodeValue,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum NodeValue {
    Null,
    Flag(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub key_at: Position,
    pub node: Node,
}

/// Whether a file holds tests and not rules.
pub(super) fn is_test(name: &str) -> bool {
    name.ends_with("_test.yaml") || name.ends_with("_test.yml")
}

/// Reads the YAML files of a folder, and of folders in it, whose names are `wanted`, in order of path.
pub(super) fn read_dir(dir: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<Source>, RuleErrors> {
    let read = |path: &PathBuf| read(path).map_err(|cause| RuleErrors::Read { path: path.clone(), cause });
    paths(dir, wanted)?.iter().map(read).collect()
}

/// Where those files are. What begins with a dot is left out, and a folder that links lead back to is read once.
pub(super) fn paths(dir: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, RuleErrors> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |cause| RuleErrors::Read { path, cause }
    };
    let (mut found, mut folders, mut seen) = (Vec::new(), vec![dir.to_owned()], BTreeSet::new());
    while let Some(folder) = folders.pop() {
        if !seen.insert(folder.canonicalize().map_err(failed(&folder))?) {
            continue;
        }
        if seen.len() > limits::RULE_FOLDERS {
            let cause = std::io::Error::other(format!("more than {} folders of rules", limits::RULE_FOLDERS));
            return Err(RuleErrors::Read { path: folder, cause });
        }
        for entry in fs::read_dir(&folder).map_err(failed(&folder))? {
            let path = entry.map_err(failed(&folder))?.path();
            let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match path.is_dir() {
                _ if name.starts_with('.') => {}
                true => folders.push(path),
                false if yaml && wanted(name) && path.is_file() => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> std::io::Result<Source> {
    use std::io::Read;
    // One byte more than allowed is enough to tell that a file is too large.
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(limits::RULE_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    let text = if bytes.len() > limits::RULE_FILE_BYTES {
        String::from_utf8_lossy(&bytes).into_owned()
    } else {
        String::from_utf8(bytes).map_err(|_| std::io::Error::other("not UTF-8"))?
    };
    Ok(Source { name: path.to_string_lossy().into(), text })
}

impl Source {
    pub fn new(name: &str, text: &str) -> Self {
        Self { name: name.into(), text: text.to_owned() }
    }

    /// The file as a tree.
    pub fn parse(&self) -> Result<Node, Problem> {
        if self.text.len() > limits::RULE_FILE_BYTES {
            let limit = limits::RULE_FILE_BYTES;
            let hint = "split it into several files by subject".to_owned();
            return Err(self.problem(Position::START, format!("file is larger than {limit} bytes"), Some(hint)));
        }
        serde_saphyr::from_str_with_options::<Spanned<NodeValue>>(&self.text, options())
            .map(node)
            .map_err(|error| self.yaml_problem(&error))
    }

    fn yaml_problem(&self, error: &serde_saphyr::Error) -> Problem {
        let at = error.location().map_or(Position::START, position);
        let said = error.without_snippet().render();
        let said = said.lines().next().unwrap_or("not YAML");
        let message =
            said.split_once(": ").filter(|(head, _)| head.starts_with("error")).map_or(said, |(_, rest)| rest);
        let message = message.split_once(" at line ").map_or(message, |(message, _)| message);
        let hint = "look at the indentation here and above; text with `: ` or ` #` in it, or with `{`, `[`, `*` or `&` first, stands in quotes";
        self.problem(at, format!("not readable as YAML: {message}"), Some(hint.into()))
    }

    /// A problem at a place of this file.
    pub fn problem(&self, at: Position, message: impl Into<String>, hint: Option<String>) -> Problem {
        let at = at.max(Position::START);
        let text = self.text.lines().nth(at.line as usize - 1).unwrap_or_default();
        let column = at.column.clamp(1, text.chars().count() as u32 + 1);
        let text = shortened(text.trim_end());
        Problem { file: self.name.to_string(), line: at.line, column, message: message.into(), text, hint }
    }

    /// Where the character at byte `offset` of a scalar's value stands in the file. Folding and indentation change
    /// only white space, so the place is found by counting words.
    pub fn inside(&self, scalar: &Node, offset: usize) -> Position {
        let NodeValue::Text(value) = &scalar.value else { return scalar.at };
        let before = value.get(..offset).unwrap_or(value);
        let words = before.split_whitespace().count();
        let within_word = !before.is_empty() && !before.ends_with(char::is_whitespace);
        let skipped = if within_word { words - 1 } else { words };
        let into = if within_word { before.chars().rev().take_while(|c| !c.is_whitespace()).count() } else { 0 };
        self.word(scalar.at, skipped).map_or(scalar.at, |at| Position { column: at.column + into as u32, ..at })
    }

    /// The `nth` word of the scalar that begins at `at`.
    fn word(&self, at: Position, nth: usize) -> Option<Position> {
        let mut left = nth;
        let mut lines = self.text.lines().enumerate().skip(at.line as usize - 1);
        let (index, line) = lines.next()?;
        let start = at.column as usize - 1;
        let block = matches!(line.chars().nth(start), Some('|' | '>'));
        if !block {
            let quoted = matches!(line.chars().nth(start), Some('"' | '\''));
            let found = word_of_line(line, start + usize::from(quoted), &mut left);
            if let Some(column) = found {
                return Some(Position { line: index as u32 + 1, column });
            }
        }
        for (index, line) in lines {
            if let Some(column) = word_of_line(line, 0, &mut left) {
                return Some(Position { line: index as u32 + 1, column });
            }
        }
        None
    }
}

/// The column of the word that stands after `left` others from character `start` on; counts `left` down by those passed.
fn word_of_line(line: &str, start: usize, left: &mut usize) -> Option<u32> {
    let mut in_word = false;
    for (index, c) in line.chars().enumerate().skip(start) {
        if !c.is_whitespace() && !in_word {
            if *left == 0 {
                return Some(index as u32 + 1);
            }
            *left -= 1;
        }
        in_word = !c.is_whitespace();
    }
    None
}

/// What is shown of a long line.
fn shortened(line: &str) -> String {
    const SHOWN: usize = 200;
    if line.chars().count() <= SHOWN { line.to_owned() } else { line.chars().take(SHOWN).chain(['…']).collect() }
}

/// How deep and large a tree may be: enough for any rule, too little to hurt.
fn options() -> serde_saphyr::Options {
    let mut options = serde_saphyr::Options::default();
    options.with_snippet = false;
    options.duplicate_keys = serde_saphyr::DuplicateKeyPolicy::Error;
    if let Some(budget) = &mut options.budget {
        budget.max_depth = limits::YAML_DEPTH;
        budget.flow_nesting_limit = limits::YAML_DEPTH;
        budget.max_nodes = limits::YAML_NODES;
    }
    options.alias_limits.max_total_replayed_events = limits::YAML_NODES;
    options
}

impl Position {
    pub const START: Self = Self { line: 1, column: 1 };
}

impl Node {
    /// What kind of value it is, for errors.
    pub fn kind(&self) -> &'static str {
        match self.value {
            NodeValue::Null => "nothing",
            NodeValue::Flag(_) => "true or false",
            NodeValue::Int(_) | NodeValue::Float(_) => "a number",
            NodeValue::Text(_) => "text",
            NodeValue::List(_) => "a list",
            NodeValue::Map(_) => "a mapping",
        }
    }

    /// As JSON; what is no finite number becomes null.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            NodeValue::Null => serde_json::Value::Null,
            NodeValue::Flag(flag) => (*flag).into(),
            NodeValue::Int(number) => (*number).into(),
            NodeValue::Float(number) => (*number).into(),
            NodeValue::Text(text) => text.as_str().into(),
            NodeValue::List(items) => items.iter().map(Self::to_json).collect(),
            NodeValue::Map(entries) => entries.iter().map(|e| (e.key.clone(), e.node.to_json())).collect(),
        }
    }
}

fn position(location: Location) -> Position {
    Position { line: location.line() as u32, column: location.column() as u32 }
}

fn node(spanned: Spanned<NodeValue>) -> Node {
    Node { at: position(spanned.referenced), value: spanned.value }
}

impl<'de> Deserialize<'de> for NodeValue {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Tree;
        impl<'de> Visitor<'de> for Tree {
            type Value = NodeValue;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a YAML value")
            }
            fn visit_unit<E>(self) -> Result<NodeValue, E> {
                Ok(NodeValue::Null)
            }
            fn visit_none<E>(self) -> Result<NodeValue, E> {
                Ok(NodeValue::Null)
            }
            fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<NodeValue, D::Error> {
                NodeValue::deserialize(from)
            }
            fn visit_bool<E>(self, flag: bool) -> Result<NodeValue, E> {
                Ok(NodeValue::Flag(flag))
            }
            fn visit_i64<E>(self, number: i64) -> Result<NodeValue, E> {
                Ok(NodeValue::Int(number))
            }
            fn visit_u64<E>(self, number: u64) -> Result<NodeValue, E> {
                Ok(i64::try_from(number).map_or(NodeValue::Float(number as f64), NodeValue::Int))
            }
            fn visit_f64<E>(self, number: f64) -> Result<NodeValue, E> {
                Ok(NodeValue::Float(number))
            }
            fn visit_str<E>(self, text: &str) -> Result<NodeValue, E> {
                Ok(NodeValue::Text(text.to_owned()))
            }
            fn visit_string<E>(self, text: String) -> Result<NodeValue, E> {
                Ok(NodeValue::Text(text))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<NodeValue, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = from.next_element::<Spanned<NodeValue>>()? {
                    items.push(node(item));
                }
                Ok(NodeValue::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<NodeValue, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = from.next_key::<Spanned<String>>()? {
                    let node = node(from.next_value()?);
                    entries.push(Entry { key: key.value, key_at: position(key.referenced), node });
                }
                Ok(NodeValue::Map(entries))
            }
        }
        from.deserialize_any(Tree)
    }
}
