//! Which topics an alert's change goes to.

use std::sync::Arc;

use crate::model::{Alert, Message};

/// The alert as it stands, once for each of its departments: `{prefix}/alert/{department}`, payload the contract's alert.
///
/// # Errors
/// When the alert cannot be written as JSON: a fault of ours.
pub fn alert_messages(prefix: &str, alert: &Alert) -> Result<Vec<Message>, serde_json::Error> {
    let payload: Arc<[u8]> = serde_json::to_vec(alert)?.into();
    let message = |department: &Arc<str>| Message::new(format!("{prefix}/alert/{department}"), Arc::clone(&payload));
    Ok(alert.departments.iter().map(message).collect())
}
