//! The mark of a file: 16 random bytes in each of its frames.
//!
//! After a broken frame the next one must be found among bytes that senders chose. Whoever sends cannot know the mark, so
//! nothing that is sent can pass for a frame. (Avro's object files know it as the sync marker.)

use std::io;

use rand::{TryRng, rngs::SysRng};

/// What all frames of a file bear, and nothing outside it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(pub [u8; Mark::BYTES]);

impl Mark {
    pub const BYTES: usize = 16;

    /// A new one.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; Self::BYTES];
        SysRng.try_fill_bytes(&mut bytes).map_err(io::Error::other)?;
        Ok(Self(bytes))
    }
}
