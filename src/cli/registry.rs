//! `muckwatch registry`: bring in what reports are judged against.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Subcommand;

use super::now;
use crate::registry::{Book, Counts, RegistryError};

/// The file in the data folder that keeps every version of every row.
pub const BOOK: &str = "registry.sqlite";

#[derive(Subcommand)]
pub enum RegistryCommand {
    /// Check a folder of registry files and take all of it, or nothing
    ///
    /// Every problem of the folder is reported at once, with file, line and column. What is no longer in the folder is
    /// closed as of now, what is new is opened; the past is never rewritten.
    Import {
        /// Folder with vehicles.csv, permits.csv, places.geojson …
        dir: PathBuf,
        /// Where muckwatch keeps its data
        #[arg(long, value_name = "DIR", default_value = "data", env = "MUCKWATCH_DATA")]
        data: PathBuf,
    },
}

/// # Errors
/// When the book of the registry cannot be used.
pub fn run(command: RegistryCommand) -> anyhow::Result<ExitCode> {
    let RegistryCommand::Import { dir, data } = command;
    std::fs::create_dir_all(&data).with_context(|| format!("failed to make {}", data.display()))?;
    let mut book = Book::open(&data.join(BOOK))?;
    match book.import(&dir, now()) {
        Ok(summary) => {
            for (entity, counts) in &summary.counts {
                let Counts { added, changed, closed, unchanged } = counts;
                out!("{entity:>12}  {added} added, {changed} changed, {closed} closed, {unchanged} unchanged");
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error @ RegistryError::Invalid(_)) => {
            out!("failed to {error}\nnothing was changed");
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error).context("nothing was changed"),
    }
}
