//! What happens, as it happens: server-sent events.

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::StreamExt as _;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};

use super::{App, Position, problem::Problem, query::Params};
use crate::{
    metrics::Metrics,
    model::{Alert, Order, limits},
};

/// What kinds of events there are; `case` is reserved. `missed` is not asked for: it comes when it must.
const KINDS: &[&str] = &["alert", "case", "dispatch", "position"];

/// Where events go in; clones are the same stream. Nothing here ever waits.
#[derive(Clone)]
pub struct Stream {
    events: broadcast::Sender<Told>,
    places: Arc<Semaphore>,
}

#[derive(Clone)]
struct Told {
    kind: &'static str,
    json: Arc<str>,
}

impl Default for Stream {
    fn default() -> Self {
        Self::bounded(limits::STREAM_SUBSCRIBERS, limits::STREAM_BACKLOG)
    }
}

impl Stream {
    /// With room for so many subscribers, and so many events kept for a slow one.
    pub(super) fn bounded(subscribers: usize, backlog: usize) -> Self {
        Self { events: broadcast::Sender::new(backlog), places: Arc::new(Semaphore::new(subscribers)) }
    }

    /// An alert was opened, raised, cleared or withdrawn: how it stands now.
    pub fn alert(&self, alert: &Alert) {
        self.tell("alert", alert);
    }

    /// A dispatch order changed: how it stands now.
    pub fn dispatch(&self, order: &Order) {
        self.tell("dispatch", order);
    }

    /// A vehicle was seen. Ask [`super::LastPositions::see`] whether it should be told.
    pub fn position(&self, position: &Position) {
        self.tell("position", position);
    }

    fn tell(&self, kind: &'static str, what: &impl Serialize) {
        if self.events.receiver_count() == 0 {
            return;
        }
        match serde_json::to_string(what) {
            // Nobody listens any more: nothing is lost.
            Ok(json) => drop(self.events.send(Told { kind, json: json.into() })),
            Err(error) => tracing::error!(%error, kind, "an event could not be written"),
        }
    }
}

/// A subscriber's place, and its count in the metrics.
struct Place {
    metrics: Arc<Metrics>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn taken(metrics: Arc<Metrics>, permit: OwnedSemaphorePermit) -> Self {
        metrics.stream_subscribers.inc();
        Self { metrics, _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.stream_subscribers.dec();
    }
}

/// Events as they happen
///
/// Server-sent events: `alert` and `dispatch` (how it stands after a change), `position` (each vehicle at most every 5 s), and
/// `missed` (`{"missed": n}`) when this subscriber was too slow for `n` events; ask the lists for those.
#[utoipa::path(
    get, path = "/api/v1/stream", tag = "stream",
    params(("events" = Option<String>, Query, description = "Only these kinds, separated by commas: `alert`, `dispatch`, `position`, `case`")),
    responses(
        (status = 200, body = String, content_type = "text/event-stream"),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn subscribe(State(app): State<App>, mut params: Params) -> Result<Response, Problem> {
    let wanted = params.read("events", &format!("kinds separated by commas, of {}", KINDS.join(", ")), kinds);
    params.finish()?;
    let wanted = wanted.unwrap_or_else(|| KINDS.to_vec());
    let Stream { events, places } = app.state.stream;
    let full = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many subscribers of the stream; try again later");
    let place = Place::taken(Arc::clone(&app.state.metrics), places.try_acquire_owned().map_err(|_| full())?);
    let mut closing = app.closing;
    let closed = async move {
        // An error is an end, too.
        let _ = closing.wait_for(|is_closing| *is_closing).await;
    };
    let events = BroadcastStream::new(events.subscribe())
        .filter_map(move |told| std::future::ready(event(told, &wanted, &place.metrics)))
        .map(Ok::<_, std::convert::Infallible>)
        .take_until(closed);
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

fn kinds(text: &str) -> Option<Vec<&'static str>> {
    text.split(',').map(|word| KINDS.iter().copied().find(|kind| *kind == word.trim())).collect()
}

fn event(told: Result<Told, BroadcastStreamRecvError>, wanted: &[&str], metrics: &Metrics) -> Option<Event> {
    match told {
        Ok(told) => wanted.contains(&told.kind).then(|| Event::default().event(told.kind).data(&*told.json)),
        Err(BroadcastStreamRecvError::Lagged(missed)) => {
            metrics.stream_missed.inc_by(missed);
            Some(Event::default().event("missed").data(format!("{{\"missed\":{missed}}}")))
        }
    }
}
