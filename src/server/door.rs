//! The door: which requests are let in, before anything is asked what they want.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::MethodRouter,
};
use sha2::{Digest, Sha256};

use super::{connections::Peer, problem::Problem};
use crate::model::limits;

/// Who is let in, and how long he may take.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names under which it is reached besides `localhost` and addresses, in lower case.
    pub hosts: Vec<String>,
    /// What every request must show (`Authorization: Bearer …`); `None`: nothing.
    pub token: Option<String>,
    /// How long the head of a request may take.
    pub head_within: Duration,
    /// How long its body may take.
    pub body_within: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            token: None,
            head_within: Duration::from_secs(10),
            body_within: Duration::from_secs(30),
        }
    }
}

/// Lets in who names us and shows the token; reads the body; writes down what was changed.
pub(super) async fn guard(State(settings): State<Arc<Settings>>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.to_string()).unwrap_or_default();
    let changes = !matches!(method, Method::GET | Method::HEAD | Method::OPTIONS);
    let response = match settings.let_in(request).await {
        Ok(request) => next.run(request).await,
        Err(refused) => refused,
    };
    if changes {
        tracing::info!(%method, path, peer, status = response.status().as_u16(), "a write over HTTP");
    }
    response
}

impl Settings {
    async fn let_in(&self, request: Request) -> Result<Request, Response> {
        let headers = request.headers();
        if !self.is_named(headers) {
            // A page of a stranger that lets its name point here reads nothing.
            let detail = "the request's Host is no name of this server: add it to http.hosts";
            return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail).into_response());
        }
        if !self.is_known(headers) && !matches!(request.uri().path(), "/healthz" | "/readyz") {
            let detail = "the token is missing or another: Authorization: Bearer, and what http.token_file holds";
            let mut refused = Problem::new(StatusCode::UNAUTHORIZED, detail).into_response();
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return Err(refused);
        }
        self.with_body(request).await
    }

    /// Whether `Host` is an address, `localhost` or one of our names. Programs that send none are no browsers.
    fn is_named(&self, headers: &HeaderMap) -> bool {
        let Some(host) = headers.get(header::HOST) else { return true };
        let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else { return false };
        let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        name == "localhost" || name.parse::<IpAddr>().is_ok() || self.hosts.contains(&name)
    }

    /// By digest: how long the comparison takes says nothing of the token.
    fn is_known(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        shown.is_some_and(|shown| Sha256::digest(shown.trim()) == Sha256::digest(token))
    }

    /// With its whole body, in time and no larger than it may be.
    async fn with_body(&self, request: Request) -> Result<Request, Response> {
        let (head, body) = request.into_parts();
        let announced = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let too_large = || {
            let detail = format!("the body is larger than {} bytes", limits::HTTP_BODY_BYTES);
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).into_response()
        };
        if announced.is_some_and(|bytes: usize| bytes > limits::HTTP_BODY_BYTES) {
            return Err(too_large());
        }
        match tokio::time::timeout(self.body_within, to_bytes(body, limits::HTTP_BODY_BYTES)).await {
            Ok(Ok(bytes)) => Ok(Request::from_parts(head, Body::from(bytes))),
            Ok(Err(error))
                if std::error::Error::source(&error)
                    .is_some_and(|why| why.is::<http_body_util::LengthLimitError>()) =>
            {
                Err(too_large())
            }
            Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "the body broke off").into_response()),
            Err(_) => {
                let detail = format!("the body did not come within {} s", self.body_within.as_secs());
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail).into_response())
            }
        }
    }
}

/// A route that changes something: it is sent JSON, which no form of a stranger's page can send.
pub(super) fn changing<S: Clone + Send + Sync + 'static>(route: MethodRouter<S>) -> MethodRouter<S> {
    route.route_layer(axum::middleware::from_fn(only_json))
}

async fn only_json(request: Request, next: Next) -> Response {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    if essence.as_deref() == Some("application/json") {
        return next.run(request).await;
    }
    let detail = "what changes something is sent as Content-Type: application/json";
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).into_response()
}
