//! `muckwatch verify`: whether every file of a data folder is as it was written, and whether they belong together.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;

use super::{
    ledger::{BACKLOG, JOURNAL, SNAPSHOTS, STORE},
    registry::BOOK,
};
use crate::{
    engine::{SnapshotError, Snapshots},
    journal::{Backlog, Catalogue, INVENTORY, history_dir, next_position, verify},
    model::{FileDigest, counted},
    registry::Book,
    store::{Reader, SealedFiles, Store},
};

#[derive(clap::Args)]
pub struct VerifyArgs {
    /// Where muckwatch keeps its data
    #[arg(long, value_name = "DIR", default_value = "data", env = "MUCKWATCH_DATA")]
    data: PathBuf,
}

/// Exit status 1 when something is damaged or missing.
///
/// # Errors
/// When the folder is none of muckwatch's, or cannot be read.
pub fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let data = &args.data;
    anyhow::ensure!(
        [STORE, JOURNAL, BOOK].iter().any(|name| data.join(name).exists()),
        "{} is no data folder of muckwatch: none of {STORE}, {JOURNAL}, {BOOK} is in it",
        data.display()
    );
    let mut problems = Vec::new();
    let mut tell = |part: &str, looked: anyhow::Result<(String, Vec<String>)>| {
        let (about, found) = looked.unwrap_or_else(|error| ("cannot be read".to_owned(), vec![format!("{error:#}")]));
        out!("{part:<10} {about}{}", if found.is_empty() { "" } else { ", damaged" });
        problems.extend(found);
    };
    tell("together", losses(data).map(|found| ("journal, store and registry know the same".to_owned(), found)));
    tell("journal", journal(data));
    tell("backlog", backlog(data));
    if data.join(STORE).exists() {
        tell("store", store(data).context(STORE));
    }
    if data.join(BOOK).exists() {
        tell("registry", registry(data).context(BOOK));
    }
    tell("snapshots", snapshots(data));
    let aside = put_aside(data);
    if !aside.is_empty() {
        let names: Vec<String> = aside.iter().map(|path| path.display().to_string()).collect();
        out!("{:<10} {}: take away what has been looked at", "put aside", names.join(", "));
    }
    problems.iter().for_each(|problem| out!("{problem}"));
    match problems.len() {
        0 => out!("all is as it was written"),
        count => {
            out!("{} found; muckwatch repair --dry-run says what can be done", counted(count, "problem"))
        }
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn journal(data: &Path) -> anyhow::Result<(String, Vec<String>)> {
    let found = verify(&data.join(JOURNAL))?;
    let mut about = format!("{} as sealed, {} bytes", counted(found.sealed, "sealed file"), found.bytes);
    if found.unlisted > 0 {
        about += &format!(" ({} not listed yet)", found.unlisted);
    }
    about += &format!("; {} being written; positions up to {}", counted(found.open, "segment"), found.next);
    Ok((about, found.problems))
}

fn backlog(data: &Path) -> anyhow::Result<(String, Vec<String>)> {
    let (messages, found) = Backlog::verify(&data.join(BACKLOG), &data.join(JOURNAL))?;
    Ok((format!("{} that wait", counted(messages, "message")), found))
}

fn store(data: &Path) -> anyhow::Result<(String, Vec<String>)> {
    let store = Reader::open(&data.join(STORE))?;
    let found = store.integrity()?.into_iter().map(|problem| format!("{STORE}: {problem}"));
    Ok((format!("committed up to position {}", store.position()?.unwrap_or(0)), found.collect()))
}

fn registry(data: &Path) -> anyhow::Result<(String, Vec<String>)> {
    let book = Book::open_to_read(&data.join(BOOK))?;
    let found = book.integrity()?.into_iter().map(|problem| format!("{BOOK}: {problem}"));
    Ok((format!("last batch {}", book.last_batch()?), found.collect()))
}

fn snapshots(data: &Path) -> anyhow::Result<(String, Vec<String>)> {
    let (count, damaged) = damaged_snapshots(data)?;
    let found = damaged.into_iter().map(|error| format!("failed to {error}; a start takes the one before it"));
    Ok((counted(count, "snapshot"), found.collect()))
}

/// How many snapshots there are, and what is wrong with some. Those of another version are passed over, as a start does.
///
/// # Errors
/// When the folder cannot be listed.
pub fn damaged_snapshots(data: &Path) -> anyhow::Result<(usize, Vec<SnapshotError>)> {
    let folder = Snapshots::of(&data.join(SNAPSHOTS));
    let names = folder.names()?;
    let problems = names.iter().filter_map(|name| folder.open(*name).and_then(|snapshot| snapshot.check()).err());
    Ok((names.len(), problems.filter(|error| !matches!(error, SnapshotError::Version { .. })).collect()))
}

/// Files that were damaged and are kept aside for a person to look at.
pub fn put_aside(data: &Path) -> Vec<PathBuf> {
    let days =
        std::fs::read_dir(history_dir(&data.join(JOURNAL))).into_iter().flatten().flatten().map(|day| day.path());
    let folders = [data.to_owned(), data.join(JOURNAL), data.join(BACKLOG)].into_iter().chain(days);
    let entries = folders.filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().contains(".damaged"));
    let mut paths: Vec<PathBuf> = named.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// What the parts of a data folder miss of one another, a line each.
///
/// # Errors
/// When one of them cannot be read.
pub fn losses(data: &Path) -> anyhow::Result<Vec<String>> {
    let path = data.join(STORE);
    let has_run = !Snapshots::of(&data.join(SNAPSHOTS)).names()?.is_empty();
    let lost = |why: String| {
        format!(
            "{}: {why}, though snapshots are there: alerts are judged again from what the journal has; what was dispatched and answered is lost",
            path.display()
        )
    };
    if !path.exists() {
        return Ok(has_run.then(|| lost("it is not there".to_owned())).into_iter().collect());
    }
    let (store, committed) = match Reader::open(&path).and_then(|store| Ok((store.position()?, store))) {
        Ok((None, _)) if has_run => return Ok(vec![lost("nothing is in it".to_owned())]),
        Ok((position, store)) => (store, position.unwrap_or(0)),
        Err(error) => return Ok(vec![lost(format!("failed to {error}"))]),
    };
    let journal = data.join(JOURNAL);
    let (held, catalogue) = (store.sealed()?, Catalogue::of(&journal)?);
    let mut found: Vec<String> = compare(&journal, &held, &catalogue).into_values().collect();
    let next = next_position(&journal)?;
    if committed > next {
        found.push(format!(
            "{}: it ends at position {next}, but {STORE} has committed up to {committed}",
            journal.display()
        ));
    }
    let judged_by = store.in_force()?.last().map_or(0, |last| last.registry);
    let book = data.join(BOOK);
    let held = if book.exists() { Book::open_to_read(&book)?.last_batch()? } else { 0 };
    if judged_by > held {
        found.push(format!(
            "{}: its last batch is {held}, but reports were judged by batch {judged_by}: what was registered since is lost",
            book.display()
        ));
    }
    Ok(found)
}

/// Where the journal's inventory and the store's copy of it contradict each other: path below `history/` (or the inventory's name), and
/// what is wrong. The copy must have been read first: a running process adds to the inventory before it copies.
pub fn compare(journal: &Path, held: &SealedFiles, catalogue: &Catalogue) -> BTreeMap<String, String> {
    let inventory = &catalogue.inventory;
    let listed: BTreeMap<&str, &str> = inventory.files().map(|file| (&*file.path, &*file.sha256)).collect();
    let there = there(journal, catalogue);
    let mut found = BTreeMap::new();
    let is_short = held.line.is_some_and(|line| inventory.number() < line);
    if let Some(line) = held.line.filter(|_| is_short) {
        let problem = format!(
            "{}: it ends at line {}, but the store knows line {line}: it was cut, replaced or lost",
            journal.join(INVENTORY).display(),
            inventory.number()
        );
        found.insert(INVENTORY.to_owned(), problem);
    }
    for file in &held.files {
        let path = history_dir(journal).join(&file.path);
        let problem = match listed.get(&*file.path) {
            Some(sha256) if **sha256 != *file.sha256 => {
                Some("its SHA-256 in the inventory is another than the store's: it was changed")
            }
            None if is_short && !there.contains(&file.path) => {
                Some("it is not there, and nothing says that it was removed")
            }
            _ => None,
        };
        found.extend(problem.map(|problem| (file.path.clone(), format!("{}: {problem}", path.display()))));
    }
    found
}

/// The sealed files that count, as the inventory names them.
fn there(journal: &Path, catalogue: &Catalogue) -> BTreeSet<String> {
    catalogue.sealed.iter().map(|file| file.listed_path(journal)).collect()
}

/// Copies the inventory into the store. Gives what [`compare`] finds, which stays there as it was.
///
/// # Errors
/// When either cannot be read, or the store not written.
pub fn copy(journal: &Path, store: &Store) -> anyhow::Result<BTreeMap<String, String>> {
    let (held, catalogue) = (store.reader().sealed()?, Catalogue::of(journal)?);
    let contradictions = compare(journal, &held, &catalogue);
    let inventory = &catalogue.inventory;
    let is_agreed = |file: &&FileDigest| !contradictions.contains_key(&file.path);
    let mut files: Vec<FileDigest> = inventory.files().filter(is_agreed).cloned().collect();
    // Of what the inventory has lost the store still knows what was sealed.
    let listed: BTreeSet<String> = files.iter().map(|file| file.path.clone()).collect();
    let there = there(journal, &catalogue);
    files.extend(held.files.into_iter().filter(|file| there.contains(&file.path) && !listed.contains(&file.path)));
    store.commit_beside(|tx| tx.put_sealed(inventory.number(), &files))?;
    Ok(contradictions)
}
