//! `muckwatch registry`: bring in what reports are judged against.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Subcommand;

use super::{
    backtest::{Since, since},
    now,
};
use crate::registry::{Book, Counts, RegistryError, Taking};

/// The file in the data folder that keeps every version of every row.
pub const BOOK: &str = "registry.sqlite";

#[derive(Subcommand)]
pub enum RegistryCommand {
    /// Check a folder of registry files and take all of it, or nothing
    ///
    /// Every problem of the folder is reported at once, with file, line and column. What is no longer in a file is
    /// closed as of now, what is new is opened; of an entity whose file is missing nothing is closed. An import that would close
    /// all of an entity, or more than a twentieth (and more than ten) of it, stops and says whose, unless --allow-closing is given.
    /// The past is rewritten only by a correction (--since). A muckwatch that runs on the same data takes it up within seconds.
    Import {
        /// Folder with vehicles.csv, permits.csv, places.geojson …
        dir: PathBuf,
        /// Where muckwatch keeps its data
        #[arg(long, value_name = "DIR", default_value = "data", env = "MUCKWATCH_DATA")]
        data: PathBuf,
        /// A correction: what this folder changes holds since then (a time, or 7d, 3h, 20m ago), not from now on
        #[arg(long, value_name = "7d|TIME", value_parser = since)]
        since: Option<Since>,
        /// Have what was judged by what was known before judged again: alerts may come, change, or be withdrawn
        #[arg(long)]
        judge_again: bool,
        /// Close what is not in the folder, however much it is, and all of the entities whose file is missing
        #[arg(long)]
        allow_closing: bool,
        /// Change nothing; say what would be added, changed and closed
        #[arg(long)]
        dry_run: bool,
    },
}

/// # Errors
/// When the book of the registry cannot be used.
pub fn run(command: RegistryCommand) -> anyhow::Result<ExitCode> {
    let RegistryCommand::Import { dir, data, since, judge_again, allow_closing, dry_run } = command;
    std::fs::create_dir_all(&data).with_context(|| format!("failed to make {}", data.display()))?;
    let mut book = Book::open(&data.join(BOOK))?;
    let now = now();
    let since = since.map(|since| since.time(now));
    if let Some(since) = since.filter(|since| *since > now) {
        anyhow::bail!("--since {since} is to come: a correction holds from the past on");
    }
    let taking = Taking { since, judge_again, allow_closing, dry_run, ..Taking::from(now) };
    match book.import(&dir, taking) {
        Ok(summary) => {
            if dry_run {
                out!("nothing was changed; this would be:");
            }
            for (entity, counts) in &summary.counts {
                let Counts { added, changed, closed, unchanged } = counts;
                out!("{entity:>12}  {added} added, {changed} changed, {closed} closed, {unchanged} unchanged");
            }
            if let Some(since) = summary.since {
                let whose = match &summary.vehicles {
                    Some(ids) => ids.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
                    None => "all vehicles".to_owned(),
                };
                let what = if judge_again {
                    "is judged again"
                } else {
                    "stays as it was judged (--judge-again was not given)"
                };
                out!("something else is known since {since}: what was sent since then by {whose} {what}");
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error @ (RegistryError::Invalid(_) | RegistryError::Closing(_))) => {
            out!("failed to {error}\nnothing was changed");
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error).context("nothing was changed"),
    }
}
