//! What can be typed.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{
    config::{Config, ConfigError, FILE_VARIABLE, Overrides},
    ingest::Format,
};

/// Watches over muck trucks: telemetry over MQTT in, judged against YAML rules, alerts out, people sent.
///
/// New here? `muckwatch demo` shows all of it in one process, with trucks that break the rules on purpose.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Run the engine: connect to a broker, judge what comes, publish alerts, dispatch units, serve HTTP
    Serve(super::serve::ServeArgs),
    /// Judge reports from files: same rules, same alerts, same bytes every time; no broker, no server
    Replay(super::replay::ReplayArgs),
    /// Write the facts that the rules would see for each report of a file
    Facts(super::facts::FactsArgs),
    /// A city in one process: broker, engine, trucks that misbehave, units that answer, HTTP
    Demo(super::demo::DemoArgs),
    /// Make a fleet drive: to a file, or to a broker
    Simulate(super::simulate::SimulateArgs),
    /// Check the settings of `serve`, or show what holds and where each was set
    #[command(subcommand)]
    Config(super::config::ConfigCommand),
    /// Vehicles, permits, places, routes: bring them in
    #[command(subcommand)]
    Registry(super::registry::RegistryCommand),
    /// Check, test and describe rule files
    #[command(subcommand)]
    Rules(super::rules::RulesCommand),
    /// Every report received, counted once more by what became of it
    Ledger(super::ledger::LedgerArgs),
    /// Look whether every file of the data folder is as it was written, and whether they belong together
    ///
    /// Sealed history against its SHA-256, in the journal's inventory and in the store; what is still open, what waits, the
    /// databases and the snapshots against their checksums. It works beside a running `serve`, which does the same to
    /// sealed history once a day, slowly. Exit status: 1 when something is damaged or missing.
    Verify(super::verify::VerifyArgs),
    /// The way out of a damaged data folder: says what is lost, and puts aside what cannot be read, so that the rest goes on
    ///
    /// Nothing is deleted but damaged snapshots, which are made again: what is put aside is named `.damaged`. `serve` must not
    /// be running. It is for what `muckwatch verify` names and a start stops at or names again and again.
    Repair(super::repair::RepairArgs),
    /// Why there was an alert: the reports used and refused, each step of the hold, the rule, the permits; judged again
    ///
    /// History is judged again by the rules and the registry that were in force when each report came, and it is said
    /// whether that gives the same alert byte for byte. It works beside a running `serve`, and without one; with --input,
    /// over the files of a replay.
    ///
    /// muckwatch explain 3f2a91          (the beginning of an id is enough)
    /// muckwatch explain --all           (every alert, in one pass)
    /// muckwatch explain 3f2a91 --registry city --rules rules --input reports.jsonl --alerts alerts.jsonl
    ///
    /// Exit status: 1 when an alert is not reproduced; 2 when it could not be judged again at all.
    #[command(verbatim_doc_comment)]
    Explain(super::explain::ExplainArgs),
    /// Ask what was kept in SQL: telemetry, sightings, alerts, trips, the registry with its past
    ///
    /// It works beside a running `serve`, and without one; nothing can be changed. Tables: telemetry, sightings,
    /// unit_reports, unit_replies, dead_letters, journal; alerts, dispatches, trips; and every version of what was
    /// registered: vehicles, companies, drivers, permits, manifests, blacklist, outages, units, places, zones, routes,
    /// roads, districts. "show tables" and "describe alerts" say more; docs/history.md says what the columns mean.
    ///
    /// muckwatch sql "select rule_id, count(*) from alerts group by rule_id order by 2 desc"
    Sql(super::sql::SqlArgs),
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// What kept it from being done, for a person.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Serve(args) => super::serve::run(args),
            Self::Replay(args) => super::replay::run(&args),
            Self::Facts(args) => super::facts::run(&args),
            Self::Demo(args) => super::demo::run(args),
            Self::Simulate(args) => super::simulate::run(&args),
            Self::Config(command) => Ok(super::config::run(command)),
            Self::Registry(command) => super::registry::run(command),
            Self::Rules(command) => super::rules::run(&command),
            Self::Ledger(args) => super::ledger::run(&args),
            Self::Verify(args) => super::verify::run(&args),
            Self::Repair(args) => super::repair::run(&args),
            Self::Explain(args) => super::explain::run(&args),
            Self::Sql(args) => super::sql::run(args),
        }
    }
}

/// Where reports come from, and what they are judged by: shared by the commands that work on files.
#[derive(clap::Args)]
pub struct Sources {
    /// Folder of registry files (vehicles.csv, permits.csv, places.geojson …)
    #[arg(long, value_name = "DIR")]
    pub registry: PathBuf,
    /// Files of reports, one JSON object a line, in order of arrival; .gz and .zst too; `-` is standard input
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub input: Vec<PathBuf>,
    /// Dialect of the files: native, emqx-jt808, owntracks, traccar or teltonika; of the last four a line may be a message
    /// with its topic, as `mosquitto_sub -F %J` writes it
    #[arg(long, value_name = "DIALECT", default_value = "native")]
    pub format: Format,
    #[command(flatten)]
    pub settings: FileSettings,
}

/// The settings that hold for work on files. `MUCKWATCH_*` variables other than that of the configuration file are for `serve`.
#[derive(clap::Args, Clone)]
pub struct FileSettings {
    /// Configuration file: settings of facts, admission and time zone
    #[arg(long, value_name = "FILE", env = FILE_VARIABLE)]
    pub config: Option<PathBuf>,
    /// A setting, before what the file says, such as facts.road_sigma_m=8; once for each
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    pub set: Vec<(String, String)>,
    /// IANA time zone of schedules and local-time facts [default: Asia/Shanghai]
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,
}

impl FileSettings {
    /// # Errors
    /// When the file cannot be read, and with every problem found.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let Self { config, set, time_zone } = self;
        let overrides = Overrides { time_zone: time_zone.clone(), set: set.clone(), ..Overrides::default() };
        Config::load(config.as_deref(), [], &overrides).map(|loaded| loaded.config)
    }
}

/// `key=value`.
pub fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("expected KEY=VALUE, such as facts.road_sigma_m=8".to_owned()),
    }
}
