//! HTTP: what is known, for people and programs.
//!
//! ```text
//! /api/v1   alerts · alerts/{id} · stream · vehicles/{plate or id} · devices/{id} · dead-letters · units · dispatch · dispatch/{id} · rules · ledger · registry/{entity}
//! /         metrics · healthz · readyz · openapi.json
//! ```
//!
//! What always holds:
//!
//! - The server only shows. It is given narrow handles ([`ServerState`]) and knows no engine; the one thing that changes
//!   anything is the registry's own door, which checks as an import does.
//! - Every error, of whatever layer, is an RFC 9457 problem document; a bad parameter is named, all of them at once.
//! - Nothing here waits for the writer of the store, and nothing of the engine waits for a reader here: a slow subscriber of
//!   the stream misses events and is told how many.
//! - [`run`] gets its socket and its end from the caller. At the end streams are closed, requests under way get
//!   [`DRAIN`] to finish.
//!
//! At its limits (`model/limits.rs`): connections beyond `HTTP_CONNECTIONS` wait, bodies beyond `HTTP_BODY_BYTES` are
//! refused with 413, subscribers beyond `STREAM_SUBSCRIBERS` with 503. There is no authentication yet: the default
//! address is reachable from this machine alone.

mod alerts;
mod describe;
mod devices;
mod dispatch;
mod listen;
mod position;
mod problem;
mod query;
mod registry;
mod risk;
mod shape;
mod status;
mod stream;
#[cfg(test)]
mod tests;
mod vehicles;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::Value as Json;
use tokio::sync::{Semaphore, watch};

pub use devices::{DeviceProblem, Devices};
pub use position::{LastPositions, Position};
pub use problem::Problem;
pub use risk::LastRisks;
pub use status::{RuleSummary, RulesShown};
pub use stream::Stream;

use crate::{
    engine::{EngineError, Evidence},
    metrics::Metrics,
    model::{Text, Time, UnitReply, Zone, limits},
    registry::{Entity, ImportSummary, Registry, RegistryError, Taking},
    store::Reader,
};

/// How long requests under way may take to finish when the server is told to end.
pub const DRAIN: Duration = Duration::from_secs(5);

/// Takes rows of one entity into the registry; blocks on disk.
pub type Registrar = dyn Fn(Entity, &[Json], Taking) -> Result<ImportSummary, RegistryError> + Send + Sync;

/// Gives the evidence of an alert, when there is such a one; blocks on disk, and takes its time.
pub type Explainer = dyn Fn(&str) -> Result<Option<Evidence>, EngineError> + Send + Sync;

/// Has what a vehicle, or all, sent since a time judged again by what is registered now; whether that was understood.
pub type JudgeAgain = dyn Fn(Option<Text>, Time) -> bool + Send + Sync;

/// Takes a reply as if it had come from a unit; whether that was understood.
pub type ReplyTaker = dyn Fn(UnitReply) -> bool + Send + Sync;

/// All that the server sees. Cheap to clone.
#[derive(Clone)]
pub struct ServerState {
    pub store: Reader,
    pub registry: watch::Receiver<Arc<Registry>>,
    pub rules: watch::Receiver<Arc<RulesShown>>,
    pub positions: Arc<LastPositions>,
    pub devices: Arc<Devices>,
    pub risks: Arc<LastRisks>,
    pub metrics: Arc<Metrics>,
    /// Whether reports are taken and judged.
    pub ready: watch::Receiver<bool>,
    /// Why reports are not taken at this moment; `None` when they are.
    pub hindrance: Arc<dyn Fn() -> Option<String> + Send + Sync>,
    pub stream: Stream,
    /// Where permit windows are read.
    pub zone: Zone,
    pub register: Arc<Registrar>,
    pub explain: Arc<Explainer>,
    pub judge_again: Arc<JudgeAgain>,
    pub reply: Arc<ReplyTaker>,
    pub now: Arc<dyn Fn() -> Time + Send + Sync>,
}

/// The state, and whether the server is about to end.
#[derive(Clone)]
struct App {
    state: ServerState,
    closing: watch::Receiver<bool>,
    /// Alerts that may be explained at once.
    explaining: Arc<Semaphore>,
}

/// Serves until `shutdown` is over and what was under way has finished or [`DRAIN`] has passed.
///
/// # Errors
/// When the listener fails for good.
pub async fn run(
    listener: tokio::net::TcpListener,
    state: ServerState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (close, closing) = watch::channel(false);
    let explaining = Arc::new(Semaphore::new(limits::EXPLAINING));
    let app = router(App { state, closing: closing.clone(), explaining });
    let ending = async move {
        shutdown.await;
        close.send_replace(true);
    };
    let serving = axum::serve(listen::Bounded::new(listener, limits::HTTP_CONNECTIONS), app);
    tokio::select! {
        ended = async { serving.with_graceful_shutdown(ending).await } => ended,
        () = drained(closing) => Ok(()),
    }
}

async fn drained(mut closing: watch::Receiver<bool>) {
    if closing.wait_for(|is_closing| *is_closing).await.is_err() {
        // Gone without a word: the server has ended by itself.
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(DRAIN).await;
}

fn router(app: App) -> Router {
    let api = Router::new()
        .route("/alerts", get(alerts::list))
        .route("/alerts/{id}", get(alerts::one))
        .route("/alerts/{id}/evidence", get(alerts::evidence))
        .route("/stream", get(stream::subscribe))
        .route("/vehicles/{id}", get(vehicles::one))
        .route("/devices/{id}", get(devices::one))
        .route("/dead-letters", get(devices::dead_letters))
        .route("/units", get(dispatch::units))
        .route("/dispatch", get(dispatch::list))
        .route("/dispatch/{id}", get(dispatch::one))
        .route("/dispatch/{id}/resolve", post(dispatch::resolve))
        .route("/rules", get(status::rules))
        .route("/ledger", get(status::ledger))
        .route("/registry/{entity}", post(registry::upsert))
        .route("/judge-again", post(registry::judge_again));
    Router::new()
        .nest("/api/v1", api)
        .route("/metrics", get(status::metrics))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/openapi.json", get(describe::openapi))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(limits::HTTP_BODY_BYTES))
        .layer(axum::middleware::from_fn(never_too_large))
        .layer(axum::middleware::map_response(never_stored))
        .with_state(app)
}

/// Refuses a body by its announced length; one that announces none is refused while it is read.
async fn never_too_large(request: Request, next: Next) -> Response {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes: usize| bytes > limits::HTTP_BODY_BYTES) {
        let detail = format!("the body is larger than {} bytes", limits::HTTP_BODY_BYTES);
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).into_response();
    }
    next.run(request).await
}

/// What is shown is of this moment.
async fn never_stored(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
