//! The alert book.

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App,
    problem::{Problem, blocking},
    query::{Id, Params, words},
    shape,
};
use std::sync::Arc;

use crate::{
    engine::Evidence,
    model::{Alert, AlertState, Severity},
    store::AlertFilter,
};

/// One page of alerts, newest first by `fired_at`.
#[derive(Serialize, ToSchema)]
pub(super) struct AlertList {
    #[schema(value_type = Vec<shape::Alert>)]
    alerts: Vec<Alert>,
    /// Asks for the next page (`cursor`); null on the last.
    next_cursor: Option<String>,
}

/// Alerts, newest first
#[utoipa::path(
    get, path = "/api/v1/alerts", tag = "alerts",
    params(
        ("since" = Option<String>, Query, description = "`fired_at` not before this (RFC 3339, or milliseconds since 1970 UTC)"),
        ("until" = Option<String>, Query, description = "`fired_at` before this"),
        ("state" = Option<String>, Query, description = "`open`, `cleared` or `withdrawn`"),
        ("rule" = Option<String>, Query, description = "Rule id"),
        ("severity" = Option<String>, Query, description = "`notice`, `minor`, `major` or `critical`"),
        ("vehicle" = Option<String>, Query, description = "Vehicle id, plate (however written) or device id"),
        ("department" = Option<String>, Query, description = "Department that is told"),
        ("shadow" = Option<String>, Query, description = "Alerts of shadow rules, of which nobody is told: `no` (when not given), `only`, or `too`"),
        ("limit" = Option<u32>, Query, description = "Rows of the page, 1 to 1000; 100 when not given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, body = AlertList),
        (status = 400, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(app): State<App>, mut params: Params) -> Result<Json<AlertList>, Problem> {
    let states = [AlertState::Open, AlertState::Cleared, AlertState::Withdrawn];
    let (registry, now) = (Arc::clone(&app.state.registry.borrow()), (app.state.now)());
    let filter = AlertFilter {
        since: params.time("since"),
        until: params.time("until"),
        state: params.read("state", &words(&states, |state| state.as_str()), AlertState::parse),
        rule: params.text("rule"),
        severity: params.read("severity", &words(Severity::ALL, |severity| severity.as_str()), Severity::parse),
        vehicles: params
            .text("vehicle")
            .map(|id| with_given(super::vehicles::names(&registry, &id, now), id))
            .unwrap_or_default(),
        department: params.text("department"),
        shadow: params.read("shadow", "one of no, only, too", shadow).unwrap_or(Some(false)),
    };
    let (limit, cursor) = (params.limit(), params.text("cursor"));
    params.finish()?;
    let store = app.state.store;
    let page = blocking(move || store.alerts(&filter, limit, cursor.as_deref())).await?;
    Ok(Json(AlertList { alerts: page.rows, next_cursor: page.next }))
}

/// A vehicle by all its names and by the one that was given: an alert keeps the plate that it came with.
fn with_given(mut names: Vec<String>, id: String) -> Vec<String> {
    if !names.contains(&id) {
        names.push(id);
    }
    names
}

/// Which alerts a word about shadow rules means.
fn shadow(word: &str) -> Option<Option<bool>> {
    match word {
        "no" => Some(Some(false)),
        "only" => Some(Some(true)),
        "too" => Some(None),
        _ => None,
    }
}

/// One alert
#[utoipa::path(
    get, path = "/api/v1/alerts/{id}", tag = "alerts",
    params(("id" = String, Path, description = "`alert_id`")),
    responses(
        (status = 200, body = shape::Alert),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn one(State(app): State<App>, Id(id): Id) -> Result<Json<Alert>, Problem> {
    let (store, wanted) = (app.state.store, id.clone());
    let alert = blocking(move || store.alert(&wanted)).await?;
    alert.map(Json).ok_or_else(|| Problem::not_found("alert", &id))
}

/// What decided an alert
///
/// The story of an alert, judged again from history: the reports used and those refused with the reason, each step of the hold
/// with the clauses and facts, the rule as written, what was registered, media, the track as GeoJSON; and whether history gives
/// the alert again byte for byte. It reads all of history, and takes as long.
#[utoipa::path(
    get, path = "/api/v1/alerts/{id}/evidence", tag = "alerts",
    params(("id" = String, Path, description = "`alert_id`")),
    responses(
        (status = 200, body = serde_json::Value),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "As many as may be are explained already", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn evidence(State(app): State<App>, Id(id): Id) -> Result<Json<Evidence>, Problem> {
    let Ok(permit) = app.explaining.try_acquire_owned() else {
        let detail = "as many alerts as may be are explained already: ask again in a while";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    };
    let (explain, wanted) = (app.state.explain, id.clone());
    let evidence = blocking(move || {
        // Given back when the work is done, not when nobody waits for it any more.
        let _permit = permit;
        explain(&wanted)
    })
    .await?;
    evidence.map(Json).ok_or_else(|| Problem::not_found("alert", &id))
}
