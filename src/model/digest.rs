//! What is known of a file that was sealed.

use serde::{Deserialize, Serialize};

/// A sealed file as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Below the journal's `history/`.
    pub path: String,
    pub bytes: u64,
    /// In hexadecimal digits.
    pub sha256: String,
}
