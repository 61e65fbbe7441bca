//! How the process is, what it judges by, what it has counted.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App,
    problem::{Problem, blocking},
    query::Params,
};

/// The rules that judge, and what is wrong with the folder if it changed and could not be taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct RulesShown {
    pub rules: Vec<RuleSummary>,
    /// Why the folder's last change was not taken; the rules above are those from before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct RuleSummary {
    pub id: String,
    /// Digest of the rule as loaded.
    pub version: String,
    /// By language tag.
    pub name: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The predicate as written.
    pub when: String,
    /// `critical`, `major`, `minor` or `notice`: when no case holds.
    pub severity: String,
    pub departments: Vec<String>,
    pub enabled: bool,
    /// Judged and kept, but nobody is told.
    pub shadow: bool,
}

/// What became of every report received.
#[derive(Serialize, ToSchema)]
pub(super) struct LedgerShown {
    received: u64,
    /// Whether what came equals the sum of what became of it.
    balanced: bool,
    outcomes: Vec<OutcomeCount>,
}

/// Reports of one outcome and reason.
#[derive(Serialize, ToSchema)]
pub(super) struct OutcomeCount {
    pub outcome: String,
    pub reason: String,
    pub count: u64,
}

/// The rules that judge
#[utoipa::path(get, path = "/api/v1/rules", tag = "rules", responses((status = 200, body = RulesShown)))]
pub(super) async fn rules(State(app): State<App>, params: Params) -> Result<Response, Problem> {
    params.finish()?;
    let shown = Arc::clone(&app.state.rules.borrow());
    Ok(Json(&*shown).into_response())
}

/// Every report received, counted once more by what became of it
#[utoipa::path(get, path = "/api/v1/ledger", tag = "ledger", responses((status = 200, body = LedgerShown)))]
pub(super) async fn ledger(State(app): State<App>, params: Params) -> Result<Json<LedgerShown>, Problem> {
    params.finish()?;
    let store = app.state.store;
    let ledger = blocking(move || store.ledger()).await?;
    let count = |(outcome, reason, count): (&str, &str, u64)| OutcomeCount {
        outcome: outcome.to_owned(),
        reason: reason.to_owned(),
        count,
    };
    let outcomes = ledger.rows().map(count).collect();
    Ok(Json(LedgerShown { received: ledger.received(), balanced: ledger.is_balanced(), outcomes }))
}

/// Metrics in Prometheus' text format
#[utoipa::path(get, path = "/metrics", tag = "process", responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    let text = app.state.metrics.text().map_err(|error| Problem::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// Whether the process answers
#[utoipa::path(get, path = "/healthz", tag = "process", responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether reports are taken and judged at this moment; if not, why. `degraded` names what is wrong beside that
#[utoipa::path(
    get, path = "/readyz", tag = "process",
    responses(
        (status = 200, body = String, content_type = "text/plain"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn readyz(State(app): State<App>) -> Result<String, Problem> {
    if *app.closing.borrow() {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "ending"));
    }
    if !*app.state.ready.borrow() {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not yet ready: reports are not taken yet"));
    }
    if let Some(why) = (app.state.hindrance)() {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why));
    }
    let concerns = (app.state.concerns)();
    Ok(if concerns.is_empty() { "ready\n".to_owned() } else { format!("degraded: {}\n", concerns.join("; ")) })
}
