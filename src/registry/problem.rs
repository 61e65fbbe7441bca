//! What is wrong with what was to be registered.

use std::fmt;

use crate::model::{counted, limits};

/// Why registering failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The files say what they cannot say; every problem of them.
    #[error("take the registry: {}\n{}", counted(.0.len(), "problem"), Lines(.0))]
    Invalid(Vec<Problem>),
    /// Much that is registered would be registered no more.
    #[error("take the registry: {}; give what is missing, or --allow-closing when that is meant", .0.join("; "))]
    Closing(Vec<String>),
    #[error("read {path}: {cause}")]
    Read { path: String, cause: std::io::Error },
    #[error("write {path}: {cause}")]
    Write { path: String, cause: std::io::Error },
    /// Files of a registry are written only where none is.
    #[error("write a registry: {0} is there already; name a folder that is new or empty")]
    Occupied(String),
    #[error("use the registry's book: {0}")]
    Book(rusqlite::Error),
    #[error("use the registry's book: it has version {found}, this program knows up to {known}")]
    Newer { found: i64, known: i64 },
}

crate::model::wraps!(RegistryError { Book(rusqlite::Error) });

impl RegistryError {
    /// The problems with what was given; empty when the trouble is elsewhere.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid(problems) => problems,
            _ => &[],
        }
    }
}

/// What was found while reading.
#[derive(Debug, Default)]
pub(super) struct Problems {
    errors: Vec<Problem>,
    /// What may be meant, and may be wrong.
    warnings: Vec<Problem>,
}

impl Problems {
    pub fn push(&mut self, error: Problem) {
        self.errors.push(error);
    }

    pub fn warn(&mut self, warning: Problem) {
        self.warnings.push(warning);
    }

    pub fn errors(&self) -> &[Problem] {
        &self.errors
    }

    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    pub fn last_mut(&mut self) -> Option<&mut Problem> {
        self.errors.last_mut()
    }

    /// The warnings, in order of file and line, as many as the limit lets through.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] with what is wrong, in the same order.
    pub fn refuse(self) -> Result<Vec<Problem>, RegistryError> {
        if self.errors.is_empty() {
            Ok(bounded(self.warnings))
        } else {
            Err(RegistryError::Invalid(bounded(self.errors)))
        }
    }
}

impl Extend<Problem> for Problems {
    fn extend<T: IntoIterator<Item = Problem>>(&mut self, errors: T) {
        self.errors.extend(errors);
    }
}

fn bounded(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    let more = problems.len().saturating_sub(limits::REGISTRY_PROBLEMS);
    if more > 0 {
        problems.truncate(limits::REGISTRY_PROBLEMS);
        let (found, expected) = (counted(more, "more problem"), "none".to_owned());
        problems.push(Problem { file: "(all files)".into(), found, expected, ..Problem::default() });
    }
    problems
}

struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if index == 0 { "  " } else { "\n  " })?;
        }
        Ok(())
    }
}

/// One thing that is wrong: where, what was found, what was expected.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    pub file: String,
    /// From 1.
    pub line: Option<usize>,
    /// For GeoJSON: the feature's number, from 1, and its id if it has one.
    pub feature: Option<String>,
    /// Column or property.
    pub column: Option<String>,
    pub found: String,
    pub expected: String,
    /// The nearest known name, when a name is unknown.
    pub nearest: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        if let Some(feature) = &self.feature {
            write!(f, "feature {feature}: ")?;
        }
        if let Some(column) = &self.column {
            write!(f, "{column}: ")?;
        }
        write!(f, "found {}, expected {}", self.found, self.expected)?;
        match &self.nearest {
            Some(nearest) => write!(f, " (did you mean {nearest:?}?)"),
            None => Ok(()),
        }
    }
}

/// Where a row stands, for problems about it.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin {
    pub file: &'static str,
    pub line: Option<usize>,
    pub feature: Option<String>,
}

impl Origin {
    /// Of a whole file.
    pub fn file(file: &'static str) -> Self {
        Self { file, ..Self::default() }
    }

    pub fn problem(&self, column: Option<&str>, found: impl Into<String>, expected: impl Into<String>) -> Problem {
        Problem {
            file: self.file.to_owned(),
            line: self.line,
            feature: self.feature.clone(),
            column: column.map(str::to_owned),
            found: found.into(),
            expected: expected.into(),
            nearest: None,
        }
    }
}

/// Text as it is shown in a problem: quoted, and cut when long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Whether an unknown name is a known one with a slip of the hand: one letter, in long names two, or two that changed places.
pub(super) fn is_slip(word: &str, known: &str) -> bool {
    const LONG: usize = 8;
    let most = if word.chars().count() < LONG { 1 } else { 2 };
    let sorted = |name: &str| {
        let mut letters: Vec<char> = name.to_lowercase().chars().collect();
        letters.sort_unstable();
        letters
    };
    let edits = edits(word, known);
    edits <= most || (edits == 2 && sorted(word) == sorted(known))
}

/// The known name nearest to an unknown one, when it is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let letters = word.chars().count();
    let bound = if letters < 4 { 1 } else { (letters / 3).clamp(2, 4) };
    let ranked = known.into_iter().filter(|name| name.len().abs_diff(word.len()) <= bound * 4);
    let best = ranked.map(|name| (edits(word, name), name)).min()?;
    (best.0 <= bound).then(|| best.1.to_owned())
}

/// Levenshtein's distance, letter case aside.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
