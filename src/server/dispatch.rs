//! The dispatch queue and the people in it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    App,
    problem::{Fault, Problem, blocking},
    query::{Id, Params, words},
    shape,
};
use crate::{
    command::BY_DEPARTMENT,
    model::{
        Answer, Finding, Offer, Order, OrderState, Replied, ReplyOutcome, Severity, Text, Time, UnitReply, UnitState,
    },
    registry::Registry,
    store::OrderFilter,
};

/// One page of dispatch orders, newest first by `created_at`.
#[derive(Serialize, ToSchema)]
pub(super) struct OrderList {
    #[schema(value_type = Vec<shape::Order>)]
    orders: Vec<Order>,
    /// Asks for the next page (`cursor`); null on the last.
    next_cursor: Option<String>,
    /// How many orders there are in each state, whatever the filter.
    counts: BTreeMap<&'static str, u64>,
}

/// An order with all that was asked and answered.
#[derive(Serialize, ToSchema)]
pub(super) struct OrderHistory {
    #[schema(value_type = shape::Order)]
    order: Order,
    /// By attempt.
    #[schema(value_type = Vec<shape::Offer>)]
    offers: Vec<Offer>,
    /// By arrival.
    #[schema(value_type = Vec<shape::Reply>)]
    replies: Vec<Replied>,
}

/// Units by id.
#[derive(Serialize, ToSchema)]
pub(super) struct UnitList {
    units: Vec<UnitShown>,
}

/// A unit as registered and as last heard of.
#[derive(Serialize, ToSchema)]
pub(super) struct UnitShown {
    #[schema(value_type = String)]
    unit_id: Text,
    /// Whether it stands in the registry now; others are never sent.
    registered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    name: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    department: Option<Text>,
    /// `grid` or `squad`.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    district_id: Option<Text>,
    /// `available`, `busy` or `off`; absent when it never reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    /// When it reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lat: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lon: Option<f64>,
}

/// The dispatch queue, newest first, with the reason for each choice
#[utoipa::path(
    get, path = "/api/v1/dispatch", tag = "dispatch",
    params(
        ("since" = Option<String>, Query, description = "`created_at` not before this (RFC 3339, or milliseconds since 1970 UTC)"),
        ("until" = Option<String>, Query, description = "`created_at` before this"),
        ("state" = Option<String>, Query, description = "`waiting`, `offered`, `accepted`, `on_scene`, `escalated`, `resolved` or `listed`"),
        ("severity" = Option<String>, Query, description = "`notice`, `minor`, `major` or `critical`"),
        ("department" = Option<String>, Query, description = "Department responsible"),
        ("limit" = Option<u32>, Query, description = "Rows of the page, 1 to 1000; 100 when not given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, body = OrderList),
        (status = 400, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(app): State<App>, mut params: Params) -> Result<Json<OrderList>, Problem> {
    let filter = OrderFilter {
        since: params.time("since"),
        until: params.time("until"),
        state: params.read("state", &words(OrderState::ALL, |state| state.as_str()), OrderState::parse),
        severity: params.read("severity", &words(Severity::ALL, |severity| severity.as_str()), Severity::parse),
        department: params.text("department"),
    };
    let (limit, cursor) = (params.limit(), params.text("cursor"));
    params.finish()?;
    let store = app.state.store;
    let (page, counts) =
        blocking(move || Ok::<_, Problem>((store.orders(&filter, limit, cursor.as_deref())?, store.order_counts()?)))
            .await?;
    let counts = counts.into_iter().map(|(state, count)| (state.as_str(), count)).collect();
    Ok(Json(OrderList { orders: page.rows, next_cursor: page.next, counts }))
}

/// One order with all offers and replies
#[utoipa::path(
    get, path = "/api/v1/dispatch/{id}", tag = "dispatch",
    params(("id" = String, Path, description = "`dispatch_id`")),
    responses(
        (status = 200, body = OrderHistory),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn one(State(app): State<App>, Id(id): Id) -> Result<Json<OrderHistory>, Problem> {
    let (store, wanted) = (app.state.store, id.clone());
    let dispatched =
        blocking(move || store.order(&wanted)).await?.ok_or_else(|| Problem::not_found("dispatch order", &id))?;
    Ok(Json(OrderHistory { order: dispatched.order, offers: dispatched.offers, replies: dispatched.replies }))
}

/// A verdict given over HTTP.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Resolution {
    /// The department that gives it: one of the order's.
    department: String,
    /// `confirmed`, `false_alarm` or `not_found`.
    verdict: String,
    #[serde(default)]
    note: Option<String>,
}

/// How long it is waited until a verdict is committed, and how often it is looked.
const COMMITTED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Closes an order that was left to its department, or corrects within an hour what the department said
#[utoipa::path(
    post, path = "/api/v1/dispatch/{id}/resolve", tag = "dispatch",
    params(("id" = String, Path, description = "`dispatch_id`")),
    request_body = Resolution,
    responses(
        (status = 200, body = OrderHistory),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "The order is with a unit, or closed by somebody else, or for longer than an hour"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn resolve(
    State(app): State<App>,
    Id(id): Id,
    body: Result<Json<Resolution>, JsonRejection>,
) -> Result<Json<OrderHistory>, Problem> {
    let Json(Resolution { department, verdict: word, note }) = body?;
    let expected = words(Finding::ALL, |verdict| verdict.as_str());
    let Some(verdict) = Finding::parse(&word) else {
        return Err(Problem::parameters(vec![Fault::parameter("verdict", &word, expected)]));
    };
    let store = app.state.store.clone();
    let find = |id: String| {
        let store = store.clone();
        blocking(move || store.order(&id))
    };
    let before = find(id.clone()).await?.ok_or_else(|| Problem::not_found("dispatch order", &id))?;
    if !before.order.departments.iter().any(|one| **one == *department) {
        let departments = before.order.departments.join(", ");
        return Err(Problem::parameters(vec![Fault::parameter(
            "department",
            &department,
            format!("one of {departments}"),
        )]));
    }
    let unit_id: Text = format!("{BY_DEPARTMENT}{department}").into();
    let device_time = (app.state.now)();
    let reply = UnitReply {
        unit_id: unit_id.clone(),
        dispatch_id: id.as_str().into(),
        device_time,
        answer: Answer::Resolved,
        reason: None,
        verdict: Some(verdict),
        note,
        media: None,
    };
    let away =
        || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the verdict is not taken yet: ask for the order again");
    if !(app.state.reply)(reply) {
        return Err(away());
    }
    let began = Instant::now();
    while began.elapsed() < COMMITTED_WITHIN {
        if let Some(found) = find(id.clone()).await? {
            let mine = found.replies.iter().find(|one| one.unit_id == unit_id && one.device_time == device_time);
            match mine.map(|one| one.outcome) {
                None => {}
                Some(ReplyOutcome::Taken) => {
                    return Ok(Json(OrderHistory { order: found.order, offers: found.offers, replies: found.replies }));
                }
                Some(outcome) => {
                    let detail = format!("the order stays as it is ({}): {}", found.order.state, outcome.in_words().0);
                    return Err(Problem::new(StatusCode::CONFLICT, detail));
                }
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(away())
}

/// Units as registered and as last heard of
#[utoipa::path(get, path = "/api/v1/units", tag = "dispatch", responses((status = 200, body = UnitList)))]
pub(super) async fn units(State(app): State<App>, params: Params) -> Result<Json<UnitList>, Problem> {
    params.finish()?;
    let registry = Arc::clone(&app.state.registry.borrow());
    let now = (app.state.now)();
    let store = app.state.store;
    let heard = blocking(move || store.units()).await?;
    Ok(Json(UnitList { units: shown(&registry, &heard, now) }))
}

fn shown(registry: &Registry, heard: &[UnitState], now: Time) -> Vec<UnitShown> {
    let mut units: BTreeMap<Text, UnitShown> = BTreeMap::new();
    for unit in registry.units(now) {
        let entry = units.entry(unit.unit_id.clone()).or_insert_with(|| UnitShown::unheard(&unit.unit_id));
        entry.registered = true;
        entry.name = Some(unit.name.clone());
        entry.department = Some(unit.department.clone());
        entry.kind = Some(unit.kind.as_str());
        entry.district_id = unit.district_id.clone();
    }
    for state in heard {
        let entry = units.entry(state.unit_id.clone()).or_insert_with(|| UnitShown::unheard(&state.unit_id));
        entry.status = Some(state.status.as_str());
        (entry.at, entry.lat, entry.lon) = (Some(state.at), Some(state.lat), Some(state.lon));
    }
    units.into_values().collect()
}

impl UnitShown {
    fn unheard(unit_id: &Text) -> Self {
        Self {
            unit_id: unit_id.clone(),
            registered: false,
            name: None,
            department: None,
            kind: None,
            district_id: None,
            status: None,
            at: None,
            lat: None,
            lon: None,
        }
    }
}
