//! Reports come in: from MQTT or files, through decoding and admission, to records for the journal. Alerts go out to MQTT.
//!
//! ```text
//! Source ─▶ Incoming ─▶ Decoder ─▶ Decoded ─▶ Admission ─▶ model::Record ─▶ (journal) ─▶ Source::acknowledge
//! ```
//!
//! What holds here:
//!
//! - Decoding never panics and never loses: what can't be read becomes a dead letter with its bytes and the reason.
//! - [`Admission`] reads no clock. Its state changes only by applying records, so the journal rebuilds it exactly.
//! - Every [`Decoded`] becomes exactly one record, and every record is counted once by `model::Ledger`.
//! - One task owns each MQTT event loop and does nothing else. Nothing is acknowledged before it is told to be, and
//!   acknowledgements leave in order of receipt, whatever order they are told in.
//! - The client that receives never publishes: [`Publisher`] is a second one. Both live here because MQTT lives here;
//!   the rooms that send are handed a closure.
//!
//! At the limits (`model::limits`): too large a payload is a dead letter; too many unregistered devices are rejected; a full
//! hand-over channel makes QoS 1 wait with the broker and drops QoS 0, counted in [`SourceStats`].

mod admit;
mod broker;
mod connect;
mod decode;
#[cfg(test)]
mod mosquitto;
mod publish;
mod source;

pub use admit::{Admission, AdmissionSettings, Registered};
pub use broker::EmbeddedBroker;
pub use connect::{Address, Credentials, TlsSettings};
pub use decode::{CHINA_OFFSET_H, Decoded, Decoder, Format};
pub use publish::{Publisher, Receipt};
pub use source::{Ack, Incoming, Source, SourceSettings, SourceStats};

/// What goes wrong with brokers and topics.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error("use {what} {found:?}: expected {expected}")]
    Setting { what: &'static str, found: String, expected: &'static str },
    #[error("read {path}: {problem}")]
    File { path: String, problem: String },
    #[error("set up TLS: {0}")]
    Tls(String),
    #[error("publish on {topic:?}: {problem}")]
    Refused { topic: String, problem: String },
    #[error("publish: the publisher is closed")]
    Closed,
    #[error("start the embedded broker on {listen}: {problem}")]
    Broker { listen: std::net::SocketAddr, problem: String },
}
