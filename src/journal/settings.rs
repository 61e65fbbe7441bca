//! What can be set of the journal.

use serde::{Deserialize, Serialize};

use super::JournalError;
use crate::model::limits;

/// The journal's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JournalSettings {
    /// A segment that has reached this size is closed and sealed; 4 KiB to 1 GiB. Default 64 MiB.
    pub segment_bytes: u64,
    /// Sealed segments go this many days after their arrival, by the clock of the records. Default 183: fleets must keep
    /// monitoring data for six months (道路运输车辆动态监督管理办法).
    pub keep_days: u32,
    /// Sealed segments go, oldest first, when they are more than this together. Default 1 TiB.
    pub keep_bytes: u64,
    /// Sealed segments that arrived one after another on one day are merged while they are at most this together, up to
    /// 64 MiB; 0: they stay as they are. Default 0.
    pub compact_bytes: u64,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, keep_days: 183, keep_bytes: 1 << 40, compact_bytes: 0 }
    }
}

impl JournalSettings {
    pub(super) fn check(&self) -> Result<(), JournalError> {
        let sizes = limits::SEGMENT_BYTES;
        if !sizes.contains(&self.segment_bytes) {
            return Err(JournalError::Settings(format!(
                "segment_bytes is {}, expected {} to {}",
                self.segment_bytes,
                sizes.start(),
                sizes.end()
            )));
        }
        if self.compact_bytes > limits::COMPACT_BYTES {
            return Err(JournalError::Settings(format!(
                "compact_bytes is {}, expected 0 to {}",
                self.compact_bytes,
                limits::COMPACT_BYTES
            )));
        }
        if self.keep_days == 0 {
            return Err(JournalError::Settings("keep_days is 0, expected 1 or more".into()));
        }
        Ok(())
    }
}
