//! The registry's door.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    App,
    problem::{Problem, blocking},
    query::{Id, Params},
};
use crate::{
    model::{Text, Time},
    registry::{Entity, ImportSummary, Taking},
};

/// What was taken into the registry.
#[derive(Serialize, ToSchema)]
pub(super) struct Registered {
    /// Number of the batch.
    batch: i64,
    /// From when it holds.
    #[schema(value_type = String, format = DateTime)]
    at: Time,
    /// SHA-256 over the rows given.
    digest: String,
    /// By entity.
    counts: BTreeMap<&'static str, RowCounts>,
    /// Since when something else is known than before, where that lies before `at`: what was judged since then may be otherwise now.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Time>,
    /// The vehicles that this is about; `null`: it may be about any.
    vehicles: Option<BTreeSet<String>>,
    /// What may be wrong with the rows, for a person.
    warnings: Vec<String>,
}

/// What became of rows.
#[derive(Serialize, ToSchema)]
pub(super) struct RowCounts {
    added: usize,
    changed: usize,
    closed: usize,
    unchanged: usize,
}

impl From<ImportSummary> for Registered {
    fn from(summary: ImportSummary) -> Self {
        let counts = |counts: crate::registry::Counts| {
            let crate::registry::Counts { added, changed, closed, unchanged } = counts;
            RowCounts { added, changed, closed, unchanged }
        };
        Self {
            batch: summary.batch,
            at: summary.at,
            digest: summary.digest,
            counts: summary.counts.into_iter().map(|(entity, of)| (entity, counts(of))).collect(),
            since: summary.since,
            vehicles: summary.vehicles,
            warnings: summary.warnings.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Takes rows of one entity into the registry, all or none
///
/// A row is an object of the entity's columns; for places, zones, routes, roads and districts with `geometry` (GeoJSON) and
/// `datum`. What was registered by the same key holds until now, the new row from now on; nothing of the past changes, but by a
/// correction (`since`), and then what was known before stays in the registry's book.
#[utoipa::path(
    post, path = "/api/v1/registry/{entity}", tag = "registry",
    params(
        ("since" = Option<String>, Query, description = "A correction: what these rows change holds since then (RFC 3339, or milliseconds since 1970 UTC), not from now on"),
        ("judge_again" = Option<bool>, Query, description = "Whether what was judged by what was known before is judged again, by the lane of late reports"),
        ("entity" = String, Path, description = "`vehicles`, `companies`, `drivers`, `permits`, `manifests`, `blacklist`, `outages`, `units`, `places`, `zones`, `routes`, `roads` or `districts`"),
    ),
    request_body(content = Object, description = "One row, or a list of rows"),
    responses(
        (status = 200, body = Registered),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn upsert(
    State(app): State<App>,
    Id(entity): Id,
    mut params: Params,
    body: Result<Json<Value>, JsonRejection>,
) -> Result<Json<Registered>, Problem> {
    let Some(entity) = Entity::named(&entity) else {
        let known: Vec<&str> = Entity::ALL.iter().map(|entity| entity.name()).collect();
        let mut problem = Problem::not_found("entity", &entity);
        problem.detail = format!("{}; there are {}", problem.detail, known.join(", "));
        return Err(problem);
    };
    let now = (app.state.now)();
    let since = params.time("since");
    let judge_again = params.read("judge_again", "true or false", |text| text.parse().ok()).unwrap_or(false);
    params.finish()?;
    if let Some(since) = since.filter(|since| *since > now) {
        let detail = format!("since: a correction holds from the past on, and {since} is to come");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    let Json(body) = body?;
    let rows = match body {
        Value::Array(rows) => rows,
        Value::Object(_) => vec![body],
        _ => return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "expected an object, or a list of objects")),
    };
    let register = Arc::clone(&app.state.register);
    let summary = blocking(move || register(entity, &rows, Taking { since, judge_again, ..Taking::from(now) })).await?;
    Ok(Json(summary.into()))
}

/// What is to be judged again.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Again {
    /// Event time (RFC 3339, or milliseconds since 1970 UTC): what was sent since.
    #[schema(value_type = String, format = DateTime)]
    since: Time,
    /// One vehicle, by id; all when not given.
    #[schema(value_type = Option<String>)]
    vehicle_id: Option<Text>,
}

/// Judges again what was sent since a time, by what is registered now
///
/// For what was registered with a start in the past: a permit that was filed too late, a truck that should have been on the blacklist;
/// a correction can ask for it itself (`judge_again` of `/api/v1/registry/{entity}`). By the
/// lane of late reports: what only this shows is a `retrospective` alert, what it disproves is withdrawn. It is done beside what comes.
#[utoipa::path(
    post, path = "/api/v1/judge-again", tag = "registry",
    request_body = Again,
    responses(
        (status = 202, description = "It is under way"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn judge_again(
    State(app): State<App>,
    body: Result<Json<Again>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    let Json(Again { since, vehicle_id }) = body?;
    if (app.state.judge_again)(vehicle_id, since) {
        return Ok(StatusCode::ACCEPTED);
    }
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too much is asked at once: ask again in a moment"))
}
