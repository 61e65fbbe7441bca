//! Where messages go.

use std::future::Future;

/// Why a message did not go out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The same message may go through later: no connection, no answer, no room.
    #[error("{0}")]
    TryAgain(String),
    /// The same message will never go through: too large, not allowed.
    #[error("{0}")]
    Refused(String),
}

/// A way out, such as an MQTT connection.
pub trait Sink: Send + Sync {
    /// Sends one message, and ends when the other side has it (for MQTT at QoS 1: when it was acknowledged).
    ///
    /// # Errors
    /// Whether to try again, or never.
    fn send(&self, topic: &str, payload: &[u8]) -> impl Future<Output = Result<(), SendError>> + Send;
}

impl<S: Sink> Sink for std::sync::Arc<S> {
    fn send(&self, topic: &str, payload: &[u8]) -> impl Future<Output = Result<(), SendError>> + Send {
        (**self).send(topic, payload)
    }
}
