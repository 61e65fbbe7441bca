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
    journal::{Backlog, Catalogue, Inventory, next_position, verify},
    model::{FileDigest, counted},
    registry::Book,
    store::{Reader, Store},
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

/// Those of another version are passed over, as a start does.
fn snapshots(data: &Path) -> anyhow::Result<(String, Vec<String>)> {
    let (folder, mut found) = (Snapshots::of(&data.join(SNAPSHOTS)), Vec::new());
    let names = folder.names()?;
    for name in &names {
        match folder.open(*name).and_then(|snapshot| snapshot.check()) {
            Ok(()) | Err(SnapshotError::Version { .. }) => {}
            Err(error) => found.push(format!("failed to {error}; a start takes the one before it")),
        }
    }
    Ok((counted(names.len(), "snapshot"), found))
}

/// Files that were damaged and are kept aside for a person to look at.
pub fn put_aside(data: &Path) -> Vec<PathBuf> {
    let history = data.join(JOURNAL).join("history");
    let days = std::fs::read_dir(&history).into_iter().flatten().flatten().map(|day| day.path());
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
    let mut found: Vec<String> = compare(&data.join(JOURNAL), &store)?.into_values().collect();
    let next = next_position(&data.join(JOURNAL))?;
    if committed > next {
        found.push(format!(
            "{}: it ends at position {next}, but {STORE} has committed up to {committed}",
            data.join(JOURNAL).display()
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
/// what is wrong.
///
/// # Errors
/// When either cannot be read.
pub fn compare(journal: &Path, store: &Reader) -> anyhow::Result<BTreeMap<String, String>> {
    // The store first: a running process adds to the inventory before it copies.
    let held = store.sealed()?;
    let (inventory, catalogue) = (Inventory::of(journal)?, Catalogue::of(journal)?);
    let listed: BTreeMap<&str, &str> = inventory.files().map(|file| (&*file.path, &*file.sha256)).collect();
    let there: BTreeSet<String> = catalogue.sealed.iter().map(|file| file.listed_path(journal)).collect();
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
    for file in held.files {
        let path = journal.join("history").join(&file.path);
        let problem = match listed.get(&*file.path) {
            Some(sha256) if **sha256 != *file.sha256 => {
                Some("its SHA-256 in the inventory is another than the store's: it was changed")
            }
            None if is_short && !there.contains(&file.path) => {
                Some("it is not there, and nothing says that it was removed")
            }
            _ => None,
        };
        found.extend(problem.map(|problem| (file.path, format!("{}: {problem}", path.display()))));
    }
    Ok(found)
}

/// Copies the inventory into the store. Gives what [`compare`] finds, which stays there as it was.
///
/// # Errors
/// When either cannot be read, or the store not written.
pub fn copy(journal: &Path, store: &Store) -> anyhow::Result<BTreeMap<String, String>> {
    let contradictions = compare(journal, &store.reader())?;
    let held = store.reader().sealed()?.files;
    let (inventory, catalogue) = (Inventory::of(journal)?, Catalogue::of(journal)?);
    let is_agreed = |file: &&FileDigest| !contradictions.contains_key(&file.path);
    let mut files: Vec<FileDigest> = inventory.files().filter(is_agreed).cloned().collect();
    // Of what the inventory has lost the store still knows what was sealed.
    let listed: BTreeSet<String> = files.iter().map(|file| file.path.clone()).collect();
    let there: BTreeSet<String> = catalogue.sealed.iter().map(|file| file.listed_path(journal)).collect();
    files.extend(held.into_iter().filter(|file| there.contains(&file.path) && !listed.contains(&file.path)));
    store.commit_beside(|tx| tx.put_sealed(inventory.number(), &files))?;
    Ok(contradictions)
}

/// In the journal's folder.
pub const INVENTORY: &str = "inventory.jsonl";
