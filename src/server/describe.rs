//! The description: OpenAPI 3.1.

use axum::Json;
use utoipa::OpenApi;

use super::{alerts, devices, dispatch, position, registry, shape, status, stream, vehicles};

/// The API of muckwatch.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "muckwatch",
        description = "Supervision of muck trucks: alerts, dispatch, vehicles, rules. Times are RFC 3339 in UTC, positions WGS-84. Errors are problem documents (RFC 9457).",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        alerts::list,
        alerts::one,
        alerts::evidence,
        stream::subscribe,
        vehicles::one,
        devices::one,
        devices::dead_letters,
        dispatch::units,
        dispatch::list,
        dispatch::one,
        dispatch::resolve,
        status::rules,
        status::ledger,
        registry::upsert,
        registry::judge_again,
        status::metrics,
        status::healthz,
        status::readyz,
    ),
    components(schemas(shape::Alert, shape::Order, position::Position))
)]
pub(super) struct Description;

pub(super) async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    let mut description = Description::openapi();
    // The program's, whatever crate describes it.
    env!("CARGO_PKG_VERSION").clone_into(&mut description.info.version);
    Json(description)
}
