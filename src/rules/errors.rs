//! What is wrong with rule files, said so that it can be put right.

use std::{fmt, io, path::PathBuf};

use crate::model::counted;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as named to the loader.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// What was found and, where it helps, what was expected.
    pub message: String,
    /// The line itself.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message, text, .. } = self;
        write!(f, "{file}:{line}:{column}: {message}")?;
        if !text.trim().is_empty() {
            let gutter = line.to_string().len();
            let indent = text.chars().take(*column as usize - 1).map(|c| if c == '\t' { '\t' } else { ' ' });
            write!(f, "\n  {line} | {text}\n  {:gutter$} | {}^", "", indent.collect::<String>())?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Why rules could not be loaded or evaluated.
#[derive(Debug, thiserror::Error)]
pub enum RuleErrors {
    #[error("read {path}: {cause}", path = path.display())]
    Read { path: PathBuf, cause: io::Error },
    #[error("load the rules: {}", list(.0))]
    Invalid(Vec<Problem>),
    #[error("load the rules of {path}: {what}; to stop judging, set `enabled: false` on the rules", path = path.display())]
    Nothing { path: PathBuf, what: &'static str },
    #[error("evaluate the rules: {0}")]
    Evaluate(String),
}

impl RuleErrors {
    /// The problems in the files, in order of file, line and column; empty for other errors.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid(problems) => problems,
            Self::Read { .. } | Self::Nothing { .. } | Self::Evaluate(_) => &[],
        }
    }
}

fn list(problems: &[Problem]) -> String {
    let mut text = counted(problems.len(), "problem");
    for problem in problems {
        text.push_str("\n\n");
        text.push_str(&problem.to_string());
    }
    text
}

/// The candidate nearest to `word`, when it is near enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let allowed = (word.chars().count() / 3).clamp(1, 4);
    let measured = candidates.into_iter().map(|candidate| (distance(&word, candidate), candidate));
    let near = measured.filter(|(edits, candidate)| *edits <= allowed || extends(&word, candidate));
    near.min_by_key(|(edits, name)| (*edits, name.chars().next() != word.chars().next(), *name))
        .map(|(_, candidate)| candidate)
}

/// `speed` for `speed_kmh`: a name without its unit.
fn extends(word: &str, candidate: &str) -> bool {
    word.len() >= 3 && candidate.strip_prefix(word).is_some_and(|rest| rest.starts_with('_'))
}

/// Levenshtein's distance, with a swap of neighbours as one edit, over at most 64 characters.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(64).collect();
    let right: Vec<char> = right.chars().take(64).collect();
    let mut before = vec![0; right.len() + 1];
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, l) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, r) in right.iter().enumerate() {
            let mut least = (above[column] + usize::from(l != r)).min(above[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && left[row - 1] == *r && right[column - 1] == *l {
                least = least.min(before[column - 1] + 1);
            }
            current.push(least);
        }
        before = std::mem::replace(&mut above, current);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_or_none() {
        let names = ["speed_kmh", "speed_limit_kmh", "cover", "load"];
        for (word, expected) in [
            ("sped_kmh", Some("speed_kmh")),
            ("SPEED_KMH", Some("speed_kmh")),
            ("speed", Some("speed_kmh")),
            ("cvoer", Some("cover")),
            ("laod", Some("load")),
            ("banana", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, names), expected, "{word}");
        }
    }
}
