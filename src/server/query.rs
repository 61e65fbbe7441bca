//! Query parameters: taken by name, all faults at once.

use axum::{
    extract::{FromRequestParts, Path, Query},
    http::{StatusCode, request::Parts},
};

use super::problem::{Fault, Problem};
use crate::model::{Time, limits};

/// The one variable part of a path.
pub(super) struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = Path::from_request_parts(parts, state).await;
        let Path(id) = found.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
        Ok(Self(id))
    }
}

/// Rows of a page when nobody says.
const LIMIT: usize = 100;

/// What was given, until it is taken.
pub(super) struct Params {
    given: Vec<(String, String)>,
    asked: Vec<&'static str>,
    faults: Vec<Fault>,
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(given) = Query::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::new(StatusCode::BAD_REQUEST, rejection.body_text()))?;
        Ok(Self { given, asked: Vec::new(), faults: Vec::new() })
    }
}

impl Params {
    /// The text of a parameter, if it was given.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.asked.push(name);
        let place = self.given.iter().position(|(given, _)| given == name)?;
        Some(self.given.remove(place).1)
    }

    /// A parameter that `read` understands; `expected` says what it would.
    pub fn read<T>(&mut self, name: &'static str, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.text(name)?;
        let value = read(&text);
        if value.is_none() {
            self.faults.push(Fault::parameter(name, &text, expected));
        }
        value
    }

    pub fn time(&mut self, name: &'static str) -> Option<Time> {
        self.read(name, "an RFC 3339 time such as 2026-03-01T14:05:09Z, or milliseconds since 1970 UTC", |text| {
            // In a query an unescaped plus is a space.
            let text = text.replace(' ', "+");
            text.parse::<i64>().map(Time::from_millis).ok().or_else(|| text.parse().ok())
        })
    }

    pub fn limit(&mut self) -> usize {
        let most = limits::PAGE_ROWS;
        let limit = self.read("limit", &format!("1 to {most}"), |text| {
            text.parse().ok().filter(|limit| (1..=most).contains(limit))
        });
        limit.unwrap_or(LIMIT)
    }

    /// Refuses what is wrong, what nobody asked for, and what was given twice.
    pub fn finish(mut self) -> Result<(), Problem> {
        for (name, value) in &self.given {
            let expected = if self.asked.contains(&name.as_str()) {
                "the parameter once".to_owned()
            } else {
                format!("one of the parameters {}", self.asked.join(", "))
            };
            self.faults.push(Fault::parameter(name, value, expected));
        }
        if self.faults.is_empty() { Ok(()) } else { Err(Problem::parameters(self.faults)) }
    }
}

/// For messages: words separated by commas.
pub(super) fn words<T>(all: &[T], word: impl Fn(&T) -> &'static str) -> String {
    let words: Vec<&str> = all.iter().map(word).collect();
    format!("one of {}", words.join(", "))
}
