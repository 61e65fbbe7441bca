//! Logs: for people on a terminal, JSON otherwise; always on standard error.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Starts logging for the whole process.
///
/// # Errors
/// When the level is no level, or logging has been started before.
pub fn start(log: &Log) -> anyhow::Result<()> {
    // The embedded broker tells every connection that comes and goes, as an error even; if it ends, we say so.
    let filter = EnvFilter::try_new(format!("rumqttd=off,{}", log.level))
        .with_context(|| format!("log.level: found {:?}, expected a level such as info", log.level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let human = match log.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let started = if human { builder.with_target(false).try_init() } else { builder.json().try_init() };
    started.map_err(|error| anyhow::anyhow!("failed to start logging: {error}"))
}
