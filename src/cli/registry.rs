//! `muckwatch registry`: bring in what reports are judged against, list it, and write it out again.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Subcommand;
use serde_json::{Value as Json, json};
use unicode_width::UnicodeWidthStr as _;

use super::{
    backtest::{Since, since},
    now,
};
use crate::{
    model::{Zone, counted},
    registry::{
        Book, Counts, Difference, Encoding, Entity, ImportSummary, RegistryError, RowVersion, Taking, template,
    },
};

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
        /// In what files are written that are no UTF-8: gbk (with gb2312 and gb18030)
        #[arg(long, value_name = "NAME", default_value = "utf-8", value_parser = encoding)]
        encoding: Encoding,
        /// IANA zone of times that bear none, such as 2026/3/1 22:05
        #[arg(long, value_name = "ZONE", default_value = "Asia/Shanghai", env = "MUCKWATCH_TIME_ZONE")]
        time_zone: String,
        /// Say it as one JSON object, with every key of what is added, changed and closed
        #[arg(long)]
        json: bool,
    },
    /// List what is registered: how many rows of each entity, or the rows of one
    List {
        /// vehicles, companies, drivers, permits, manifests, blacklist, outages, units, places, zones, routes, roads or districts
        #[arg(value_parser = entity)]
        entity: Option<Entity>,
        /// Where muckwatch keeps its data
        #[arg(long, value_name = "DIR", default_value = "data", env = "MUCKWATCH_DATA")]
        data: PathBuf,
        /// One JSON object a row, as the API takes it
        #[arg(long)]
        json: bool,
    },
    /// Write what is registered into a folder, in the files that an import reads
    ///
    /// Importing that folder changes nothing. Shapes are in WGS-84, times in UTC, rows in order of their ids.
    Export {
        /// A folder without files of a registry; it is made when it is not there
        dir: PathBuf,
        /// Where muckwatch keeps its data
        #[arg(long, value_name = "DIR", default_value = "data", env = "MUCKWATCH_DATA")]
        data: PathBuf,
        /// Begin tables with the mark that Excel needs to read Chinese (a byte order mark)
        #[arg(long)]
        excel: bool,
    },
    /// Write an example folder with every file and every column, to be filled with rows of one's own
    Template {
        /// A folder without files of a registry; it is made when it is not there
        dir: PathBuf,
        /// Begin tables with the mark that Excel needs to read Chinese (a byte order mark)
        #[arg(long)]
        excel: bool,
    },
}

fn encoding(name: &str) -> Result<Encoding, String> {
    Encoding::named(name).ok_or_else(|| "expected utf-8 or gbk".to_owned())
}

fn entity(name: &str) -> Result<Entity, String> {
    let known = || Entity::ALL.iter().map(|entity| entity.name()).collect::<Vec<_>>().join(", ");
    Entity::named(name).ok_or_else(|| format!("expected one of {}", known()))
}

/// # Errors
/// When the book of the registry cannot be used, or a file cannot be written.
pub fn run(command: RegistryCommand) -> anyhow::Result<ExitCode> {
    match command {
        RegistryCommand::Import {
            dir,
            data,
            since,
            judge_again,
            allow_closing,
            dry_run,
            encoding,
            time_zone,
            json,
        } => {
            let zone = Zone::named(&time_zone).context("failed to read --time-zone")?;
            super::keep_to_owner();
            std::fs::create_dir_all(&data).with_context(|| format!("failed to make {}", data.display()))?;
            let book = Book::open(&data.join(BOOK))?.in_zone(zone);
            let now = now();
            let since = since.map(|since| since.time(now));
            if let Some(since) = since.filter(|since| *since > now) {
                anyhow::bail!("--since {since} is to come: a correction holds from the past on");
            }
            import(
                book,
                &dir,
                Taking { since, judge_again, allow_closing, dry_run, encoding, ..Taking::from(now) },
                json,
            )
        }
        RegistryCommand::List { entity, data, json } => list(&registered(&data)?, entity, json),
        RegistryCommand::Export { dir, data, excel } => {
            let written = registered(&data)?.export(&dir, excel).map_err(failed)?;
            written.iter().for_each(|(entity, rows)| out!("{}: {}", entity.file(), counted(*rows, "row")));
            if written.is_empty() {
                out!("nothing is registered: no file was written");
            }
            Ok(ExitCode::SUCCESS)
        }
        RegistryCommand::Template { dir, excel } => {
            template(&dir, excel).map_err(failed)?;
            let dir = dir.display();
            out!("{dir}: an example of every file; check it with: muckwatch registry import {dir} --dry-run");
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn failed(error: RegistryError) -> anyhow::Error {
    anyhow::anyhow!("failed to {error}")
}

/// The book of a data folder that has one.
fn registered(data: &Path) -> anyhow::Result<Book> {
    let path = data.join(BOOK);
    if !path.exists() {
        anyhow::bail!(
            "{} is not there: nothing is registered in this data folder (--data names another)",
            path.display()
        );
    }
    Ok(Book::open_to_read(&path)?)
}

fn import(mut book: Book, dir: &Path, taking: Taking, json: bool) -> anyhow::Result<ExitCode> {
    match book.import(dir, taking) {
        Ok(summary) if json => {
            out!("{}", summary_json(&summary, taking.dry_run));
            Ok(ExitCode::SUCCESS)
        }
        Ok(summary) => {
            print_summary(&summary, taking);
            Ok(ExitCode::SUCCESS)
        }
        Err(error @ (RegistryError::Invalid(_) | RegistryError::Closing(_))) => {
            match json {
                true => out!("{}", refusal_json(&error)),
                false => out!("failed to {error}\nnothing was changed"),
            }
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error).context("nothing was changed"),
    }
}

fn print_summary(summary: &ImportSummary, taking: Taking) {
    if !summary.warnings.is_empty() {
        out!("{}:", counted(summary.warnings.len(), "warning"));
        summary.warnings.iter().take(SHOWN).for_each(|warning| out!("  {warning}"));
        let more = summary.warnings.len().saturating_sub(SHOWN);
        if more > 0 {
            out!("  and {more} more (--json names all)");
        }
    }
    if taking.dry_run {
        out!("nothing was changed; this would be:");
    }
    for (entity, counts) in &summary.counts {
        let Counts { added, changed, closed, unchanged } = counts;
        out!("{entity:>12}  {added} added, {changed} changed, {closed} closed, {unchanged} unchanged");
        let Some(Difference { added, changed, closed }) = summary.differences.get(entity) else { continue };
        if taking.dry_run {
            print_keys("added", added, SHOWN);
            print_keys("changed", changed, SHOWN);
        }
        // What closes is never passed over.
        print_keys("closed", closed, usize::MAX);
    }
    if let Some(since) = summary.since {
        let whose = match &summary.vehicles {
            Some(ids) => ids.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
            None => "all vehicles".to_owned(),
        };
        let what =
            if taking.judge_again { "is judged again" } else { "stays as it was judged (--judge-again was not given)" };
        out!("something else is known since {since}: what was sent since then by {whose} {what}");
    }
}

/// Warnings, and keys of what is added or changed, that are shown; --json shows all.
const SHOWN: usize = 20;

fn print_keys(what: &str, keys: &BTreeSet<String>, most: usize) {
    if keys.is_empty() {
        return;
    }
    let shown: Vec<&str> = keys.iter().map(String::as_str).take(most).collect();
    let more = keys.len() - shown.len();
    let more = if more > 0 { format!(" and {more} more (--json names all)") } else { String::new() };
    out!("{:>12}  {what}: {}{more}", "", shown.join(", "));
}

fn summary_json(summary: &ImportSummary, dry_run: bool) -> Json {
    let entities = summary.counts.iter().map(|(entity, counts)| {
        let Difference { added, changed, closed } = summary.differences.get(entity).cloned().unwrap_or_default();
        (
            (*entity).to_owned(),
            json!({ "added": added, "changed": changed, "closed": closed, "unchanged": counts.unchanged }),
        )
    });
    json!({
        "taken": !dry_run,
        "dry_run": dry_run,
        "batch": (!dry_run).then_some(summary.batch),
        "at": summary.at,
        "digest": summary.digest,
        "entities": entities.collect::<serde_json::Map<String, Json>>(),
        "since": summary.since,
        "vehicles": summary.vehicles,
        "warnings": summary.warnings,
    })
}

fn refusal_json(error: &RegistryError) -> Json {
    let closing = match error {
        RegistryError::Closing(closing) => closing.as_slice(),
        _ => &[],
    };
    json!({ "taken": false, "problems": error.problems(), "closing": closing })
}

fn list(book: &Book, entity: Option<Entity>, json: bool) -> anyhow::Result<ExitCode> {
    let Some(entity) = entity else {
        for entity in Entity::ALL {
            let rows = book.registered(*entity)?.len();
            match json {
                true => out!("{}", json!({ "entity": entity.name(), "rows": rows })),
                false => out!("{:>12}  {rows}", entity.name()),
            }
        }
        return Ok(ExitCode::SUCCESS);
    };
    let rows = book.registered(entity)?;
    match json {
        true => rows.iter().for_each(|row| out!("{}", row.to_json(entity))),
        false => print_table(entity, &rows),
    }
    Ok(ExitCode::SUCCESS)
}

fn print_table(entity: Entity, rows: &[RowVersion]) {
    let header: Vec<String> = entity.column_names().map(str::to_owned).collect();
    let lines: Vec<Vec<String>> = std::iter::once(header).chain(rows.iter().map(|row| row.texts().collect())).collect();
    let columns = lines.first().map_or(0, Vec::len);
    // Columns of a terminal: Chinese characters take two.
    let width = |column: usize| lines.iter().map(|line| line[column].width()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for line in &lines {
        let cells = line.iter().zip(&widths);
        let cells: Vec<String> =
            cells.map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.width()))).collect();
        out!("{}", cells.join("  ").trim_end());
    }
}
