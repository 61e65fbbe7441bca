//! `muckwatch serve`: the engine, live.
//!
//! ```text
//! intake.rs (its own thread)                       clerk.rs (its own thread)        tasks
//! sources ─▶ admit ─▶ journal ─▶ PUBACK ─▶ shards ─▶ one commit ─▶ outbox ─▶ courier ─▶ broker
//!                                                        └──────────▶ stream, metrics ─▶ HTTP
//! ```
//!
//! After a failed sync or commit the process stops and starts again from disk: memory never runs ahead of it.

mod broker;
mod clerk;
mod intake;
mod log;
mod reload;
mod scrub;
mod service;
mod telling;

use std::{path::PathBuf, process::ExitCode};

pub use reload::changes as rule_changes;
pub use service::{Service, block_on, stop_signal};

use crate::{
    config::{Config, ConfigError, FILE_VARIABLE, Loaded, Overrides},
    model::counted,
};

#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// Configuration file; config/muckwatch.toml in the sources has every key with its default
    #[arg(long, value_name = "FILE", env = FILE_VARIABLE)]
    config: Option<PathBuf>,
    /// Address of the HTTP API [default: 127.0.0.1:8080]
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// The MQTT broker [default: 127.0.0.1:1883]
    #[arg(long, value_name = "HOST:PORT")]
    mqtt: Option<String>,
    /// Folder of everything that is kept [default: ./data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder of registry files, imported at start [default: what was imported before]
    #[arg(long, value_name = "DIR")]
    registry: Option<PathBuf>,
    /// Folder of rule files, loaded again when they change [default: ./rules]
    #[arg(long, value_name = "DIR")]
    rules: Option<PathBuf>,
    /// Run a broker in this process too, at the address of --mqtt
    #[arg(long)]
    embedded_broker: bool,
}

impl ServeArgs {
    /// The settings from file, environment and these options.
    ///
    /// # Errors
    /// When the file cannot be read, and with every problem found.
    pub fn load(self) -> Result<Loaded, ConfigError> {
        let overrides = Overrides {
            http: self.http,
            mqtt: self.mqtt,
            data: self.data,
            registry: self.registry,
            rules: self.rules,
            ..Overrides::default()
        };
        Config::load(self.config.as_deref(), std::env::vars(), &overrides)
    }
}

/// # Errors
/// When it cannot start, or when something failed after which it must start again from disk.
pub fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let embedded_broker = args.embedded_broker;
    let loaded = args.load()?;
    let mut config = loaded.config;
    if embedded_broker {
        config.broker.enabled = true;
        config.broker.listen = broker::listen_address(&config);
    }
    log_start(&config)?;
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    warn_of_open_doors(&config);
    block_on(async {
        let mut stop = stop_signal()?;
        let mut service = tokio::select! {
            service = Service::start(config, None) => service?,
            () = &mut stop => return Ok(ExitCode::SUCCESS),
        };
        tokio::select! {
            subscribed = service.subscribed() => subscribed?,
            () = &mut stop => {
                service.run_until(async {}).await?;
                return Ok(ExitCode::SUCCESS);
            }
        }
        out!(
            "muckwatch is ready: http://{}, broker {}, {}, {} registered",
            service.http,
            service.broker,
            counted(service.rules, "rule"),
            counted(service.vehicles, "vehicle")
        );
        service.run_until(stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Says loudly what others than this machine can reach: there are no users and no passwords yet.
fn warn_of_open_doors(config: &Config) {
    if !config.http_listen().ip().is_loopback() {
        tracing::warn!(
            listen = %config.http_listen(),
            "WHOEVER REACHES THIS ADDRESS AND HAS THE TOKEN CAN READ EVERYTHING AND CHANGE THE REGISTRY, and over plain HTTP whoever listens on the way has the token: put a proxy with TLS in front"
        );
    }
    if config.broker.enabled && !config.broker_listen().ip().is_loopback() {
        tracing::warn!(
            listen = %config.broker_listen(),
            "ANYBODY WHO REACHES THIS ADDRESS CAN SEND REPORTS AND READ ALERTS: the embedded broker asks nobody who he is"
        );
    }
}

/// Starts logging as configured.
///
/// # Errors
/// When the level is no level.
pub fn log_start(config: &Config) -> anyhow::Result<()> {
    log::start(&config.log)
}
