//! Out to those who are told: the outbox's messages, delivered at least once.
//!
//! ```text
//! commit ─▶ outbox ─▶ lease ─▶ send ─▶ strike out
//! ```
//!
//! What always holds:
//!
//! * Nothing is struck out before the sink has said that it was delivered. A crash in between sends the same bytes again.
//! * Messages of one topic go out in order, one after the other; topics do not wait for each other.
//! * A failure is one of two: *try again* holds its topic back, for longer each time ([`Settings`]); *refused* puts the message
//!   aside, is said at ERROR, and its topic goes on.
//!
//! The table behind it is the store's, seen as an [`Outbox`]; the way out is a [`Sink`]. One [`Courier`] at
//! a time works on an outbox. At its limits: no more than [`crate::model::limits::OUTBOX_LEASED`] messages are out at once;
//! the rest wait in the outbox.

mod courier;
mod outbox;
mod sink;
#[cfg(test)]
mod tests;
mod topics;

pub use courier::{Courier, Delivered, Settings, Turn, run};
pub use outbox::Outbox;
pub use sink::{SendError, Sink};
pub use topics::alert_messages;

/// Why delivery cannot go on. Fits after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The outbox cannot be read or written: the process must stop and start again from disk.
    #[error("work the outbox: {0}")]
    Outbox(Box<dyn std::error::Error + Send + Sync>),
    /// It cannot now, but may later.
    #[error("work the outbox for now: {0}")]
    OutboxLater(Box<dyn std::error::Error + Send + Sync>),
    /// The thread that worked the outbox died.
    #[error("work the outbox: its thread ended early")]
    Worker,
}
