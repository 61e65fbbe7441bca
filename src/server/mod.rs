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
//! At its limits (`model/limits.rs`): beyond `HTTP_CONNECTIONS`, or `HTTP_CONNECTIONS_PER_ADDRESS` of one address, connections
//! that have asked nothing are closed; bodies beyond `HTTP_BODY_BYTES` are refused with 413, subscribers beyond
//! `STREAM_SUBSCRIBERS` with 503. Who takes too long over a head or a body is closed, or refused with 408.
//!
//! There are no users yet. A listener that others than this machine reach asks for a token ([`DoorSettings`]); `Host` must name us.
//! Metrics and health may have a listener of their own, which what happens at the other one does not reach.

mod alerts;
mod connections;
mod describe;
mod devices;
mod dispatch;
mod door;
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
    extract::DefaultBodyLimit,
    http::{HeaderValue, header},
    response::Response,
    routing::{get, post},
};
use serde_json::Value as Json;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

use door::changing;

pub use devices::{DeviceProblem, Devices};
pub use door::Settings as DoorSettings;
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
    /// What is wrong although reports are taken.
    pub concerns: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
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

/// Where it listens, and who is let in.
pub struct Doors {
    pub api: TcpListener,
    /// Of metrics and health alone.
    pub admin: Option<TcpListener>,
    pub settings: DoorSettings,
}

/// Serves until `shutdown` is over and what was under way has finished or [`DRAIN`] has passed.
///
/// # Errors
/// When a listener fails for good.
pub async fn run(
    doors: Doors,
    state: ServerState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let Doors { api, admin, settings } = doors;
    let (close, closing) = watch::channel(false);
    let explaining = Arc::new(Semaphore::new(limits::EXPLAINING));
    let app = App { state, closing: closing.clone(), explaining };
    let head_within = settings.head_within;
    // What is asked there changes nothing and names nobody.
    let open = Arc::new(DoorSettings { token: None, ..settings.clone() });
    let process = guarded(process(), open).with_state(app.clone());
    let api_app = guarded(router(), Arc::new(settings)).with_state(app);
    let admin = async {
        match admin {
            Some(admin) => connections::serve(admin, process, head_within, closing.clone()).await,
            None => Ok(()),
        }
    };
    let serving = async {
        let api = connections::serve(api, api_app, head_within, closing.clone());
        tokio::try_join!(api, admin).map(drop)
    };
    tokio::spawn(async move {
        shutdown.await;
        close.send_replace(true);
    });
    let drained = drained(closing.clone());
    tokio::select! {
        ended = serving => ended,
        () = drained => Ok(()),
    }
}

async fn drained(mut closing: watch::Receiver<bool>) {
    if closing.wait_for(|is_closing| *is_closing).await.is_err() {
        // Gone without a word: the server has ended by itself.
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(DRAIN).await;
}

/// Metrics and health.
fn process() -> Router<App> {
    Router::new()
        .route("/metrics", get(status::metrics))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
}

fn router() -> Router<App> {
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
        .route("/dispatch/{id}/resolve", changing(post(dispatch::resolve)))
        .route("/rules", get(status::rules))
        .route("/ledger", get(status::ledger))
        .route("/registry/{entity}", changing(post(registry::upsert)))
        .route("/judge-again", changing(post(registry::judge_again)));
    Router::new().nest("/api/v1", api).route("/openapi.json", get(describe::openapi)).merge(process())
}

fn guarded(router: Router<App>, settings: Arc<DoorSettings>) -> Router<App> {
    router
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(limits::HTTP_BODY_BYTES))
        .layer(axum::middleware::from_fn_with_state(settings, door::guard))
        .layer(axum::middleware::map_response(never_stored))
}

/// What is shown is of this moment.
async fn never_stored(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
