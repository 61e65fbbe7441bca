//! What waits to be told to the outside.

use std::sync::Arc;

use sha2::{Digest, Sha256};

/// The first 128 bits of SHA-256 over the parts, each preceded by its length, in 32 hexadecimal digits: how everything that
/// must come out the same when it is made twice gets its id.
pub fn content_id(parts: &[&[u8]]) -> Arc<str> {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// One message for one topic. The same topic and payload are the same message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub id: Arc<str>,
    pub topic: Arc<str>,
    pub payload: Arc<[u8]>,
}

impl Message {
    /// With the id that its content gives it.
    pub fn new(topic: impl Into<Arc<str>>, payload: impl Into<Arc<[u8]>>) -> Self {
        let (topic, payload) = (topic.into(), payload.into());
        Self { id: content_id(&[topic.as_bytes(), &payload]), topic, payload }
    }
}

/// A message taken out of the outbox for a while, to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// Its place in the outbox: messages of one topic are sent in this order.
    pub seq: i64,
    pub message: Message,
    /// How often sending it has failed before.
    pub attempts: u32,
    pub created_at: super::Time,
}

/// How the sending of a leased message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    Sent {
        seq: i64,
    },
    /// Failed, and to be tried again from `at`; until then nothing else of its topic goes out.
    Later {
        seq: i64,
        at: super::Time,
        error: String,
    },
    /// It will never be taken: put aside, and the topic goes on.
    Refused {
        seq: i64,
        error: String,
    },
    /// Not tried, because one before it on its topic failed.
    Released {
        seq: i64,
    },
}
