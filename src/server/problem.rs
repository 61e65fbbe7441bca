//! RFC 9457 problem documents: what every error looks like.

use axum::{
    Json,
    extract::rejection::JsonRejection,
    http::{HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{engine::EngineError, model::counted, registry::RegistryError, store::StoreError};

/// A problem document (RFC 9457, `application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The status in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong this time.
    pub detail: String,
    /// Every single thing that is wrong with what was sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fault {
    /// The query parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// The column of a row that was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Which row, from 1, or which thing by its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
    pub found: String,
    pub expected: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { kind: "about:blank", title, status: status.as_u16(), detail: detail.into(), errors: Vec::new() }
    }

    pub(super) fn not_found(what: &str, id: &str) -> Self {
        let shown: String = id.chars().take(80).collect();
        Self::new(StatusCode::NOT_FOUND, format!("there is no {what} {shown:?}"))
    }

    /// Bad query parameters.
    pub(super) fn parameters(errors: Vec<Fault>) -> Self {
        let names: Vec<&str> = errors.iter().filter_map(|fault| fault.parameter.as_deref()).collect();
        let detail = format!("cannot read the query: {}", names.join(", "));
        Self { errors, ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// A fault of ours: said in the log, not to the outside.
    pub(super) fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed; its log says why")
    }
}

impl Fault {
    pub(super) fn parameter(name: &str, found: &str, expected: impl Into<String>) -> Self {
        let found: String = found.chars().take(80).collect();
        let parameter = Some(name.chars().take(80).collect());
        Self { parameter, column: None, row: None, found: format!("{found:?}"), expected: expected.into() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        Self::internal(&error)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Cursor(found) => {
                Self::parameters(vec![Fault::parameter("cursor", &found, "the next_cursor of a page before")])
            }
            other => Self::internal(&other),
        }
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        let RegistryError::Invalid(problems) = &error else { return Self::internal(&error) };
        let fault = |problem: &crate::registry::Problem| {
            let line = problem.line.map(|line| line.to_string());
            let expected = match &problem.nearest {
                Some(near) => format!("{} (did you mean {near:?}?)", problem.expected),
                None => problem.expected.clone(),
            };
            Fault {
                parameter: None,
                column: problem.column.clone(),
                row: line.or_else(|| problem.feature.clone()),
                found: problem.found.clone(),
                expected,
            }
        };
        let detail = format!("the registry stays as it is: {}", counted(problems.len(), "problem"));
        let errors = problems.iter().map(fault).collect();
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }
}

/// Runs what blocks on disk where it may.
pub(super) async fn blocking<T: Send + 'static, E: Into<Problem> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Into::into),
        Err(panicked) => Err(Problem::internal(&panicked)),
    }
}

pub(super) async fn not_found(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {}; /openapi.json says what there is", uri.path()))
}

pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not for {}", uri.path()))
}
