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
    /// Ends when the other side has the message (for MQTT at QoS 1: when it was acknowledged).
    type Receipt: Future<Output = Result<(), SendError>> + Send;

    /// Sends one message after all that were sent before it.
    ///
    /// # Errors
    /// Whether to try again, or never.
    fn send(&self, topic: &str, payload: &[u8]) -> impl Future<Output = Result<Self::Receipt, SendError>> + Send;
}

impl<S: Sink> Sink for std::sync::Arc<S> {
    type Receipt = S::Receipt;

    fn send(&self, topic: &str, payload: &[u8]) -> impl Future<Output = Result<Self::Receipt, SendError>> + Send {
        (**self).send(topic, payload)
    }
}
