//! What is wrong with the settings.

use std::{fmt, path::PathBuf};

/// Fits after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("read the configuration {path}: {cause}")]
    Read { path: PathBuf, cause: std::io::Error },
    /// Not TOML; the text says line and column.
    #[error("read the configuration {path}: {problem}")]
    Syntax { path: PathBuf, problem: String },
    #[error("use the configuration:{}", .0.iter().map(|problem| format!("\n  {problem}")).collect::<String>())]
    Invalid(Vec<Problem>),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// File and line, variable, or option.
    pub place: String,
    /// The key, such as `http.listen`.
    pub key: String,
    pub found: String,
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, key, found, expected } = self;
        write!(f, "{place}: {key}: found {found}, expected {expected}")
    }
}
