//! `muckwatch repair`: the way out of a damaged data folder. It says what is lost, and puts aside what cannot be read.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;

use super::{
    ledger::{JOURNAL, SNAPSHOTS, STORE},
    now,
    registry::BOOK,
    verify,
};
use crate::{
    engine::{SnapshotError, Snapshots},
    journal::{Catalogue, Repair},
    registry::Book,
    store::{Reader, Store},
};

#[derive(clap::Args)]
pub struct RepairArgs {
    /// Where muckwatch keeps its data
    #[arg(long, value_name = "DIR", default_value = "data", env = "MUCKWATCH_DATA")]
    data: PathBuf,
    /// Only say what would be done and lost; exit status 1 when there is something
    #[arg(long)]
    dry_run: bool,
}

/// # Errors
/// When the folder is none of muckwatch's, another process uses it, or the disk fails.
pub fn run(args: &RepairArgs) -> anyhow::Result<ExitCode> {
    let data = &args.data;
    let journal = data.join(JOURNAL);
    anyhow::ensure!(journal.exists(), "{} is no data folder of muckwatch: {JOURNAL} is missing", data.display());
    let has_run = !Snapshots::of(&data.join(SNAPSHOTS)).names()?.is_empty();
    let store = database(data, STORE, |path| {
        let store = Reader::open(path)?;
        let position = store.position()?;
        anyhow::ensure!(position.is_some() || !has_run, "nothing is in it");
        Ok((position.unwrap_or(0), store.integrity()?))
    });
    let store = match store {
        Ok(_) if !data.join(STORE).exists() && has_run => Err("it is not there".to_owned()),
        store => store,
    };
    let book = database(data, BOOK, |path| {
        let book = Book::open_to_read(path)?;
        Ok((0, book.integrity()?))
    });
    let judged_by = match &store {
        Ok(_) if data.join(STORE).exists() => {
            Reader::open(&data.join(STORE))?.in_force()?.last().map_or(0, |last| last.registry)
        }
        _ => 0,
    };
    let book = match book {
        Ok(_) if !data.join(BOOK).exists() && judged_by > 0 => Err("it is not there".to_owned()),
        book => book,
    };
    let committed = store.as_ref().map_or(0, |(committed, _)| *committed);
    let contradicted = match &store {
        Ok(_) if data.join(STORE).exists() => {
            let held = Reader::open(&data.join(STORE))?.sealed()?;
            verify::compare(&journal, &held, &Catalogue::of(&journal)?)
        }
        _ => BTreeMap::new(),
    };
    let others: Vec<String> = contradicted.keys().cloned().collect();
    // From here on nobody else writes.
    let plan = Repair::plan(&journal, committed, &others).context("failed to look at the journal")?;

    let mut losses = plan.losses.clone();
    let aside = |name: &str, why: &str, lost: &str| {
        format!("{}: {why}; what is there of it is put aside as .damaged; lost: {lost}", data.join(name).display())
    };
    if let Err(why) = &store {
        losses.push(aside(STORE, why, "orders, what was answered, and messages not yet delivered; alerts are judged again from what the journal has"));
    }
    if let Err(why) = &book {
        losses.push(aside(
            BOOK,
            why,
            "what was registered, with its past: import it again; what was judged by it is not judged again",
        ));
    }
    // Without the store that they are of, none is of use.
    let snapshots = if store.is_err() { snapshot_files(data)? } else { damaged_snapshots(data)? };
    let no_loss = snapshots
        .iter()
        .map(|path| format!("{}: it is removed; nothing is lost, the journal has it all", path.display()));
    losses.extend(no_loss);
    let is_copy_old = !contradicted.is_empty();
    if is_copy_old {
        losses.push(format!("{STORE}: its copy of the inventory is made anew"));
    }
    losses.iter().for_each(|loss| out!("{loss}"));
    if losses.is_empty() {
        out!("nothing is to be repaired");
        return Ok(ExitCode::SUCCESS);
    }
    if args.dry_run {
        out!("nothing was changed: without --dry-run it is done");
        return Ok(ExitCode::FAILURE);
    }
    plan.run().context("failed to repair the journal")?;
    let databases = [(STORE, store.is_err()), (BOOK, book.is_err())];
    databases.iter().filter(|(_, is_lost)| *is_lost).try_for_each(|(name, _)| put_aside(data, name))?;
    for path in &snapshots {
        fs::remove_file(path).with_context(|| format!("failed to remove {}", path.display()))?;
    }
    if store.is_ok() && data.join(STORE).exists() {
        let store = Store::open(&data.join(STORE))?;
        if book.is_err() {
            // What was judged by earlier batches must not be judged again by others of the same numbers.
            Book::open(&data.join(BOOK))?.begin_after(judged_by, now())?;
        }
        if is_copy_old {
            verify::copy(&journal, &store)?;
        }
    }
    out!("done; muckwatch verify looks through it again");
    Ok(ExitCode::SUCCESS)
}

/// What a database says of itself; or why it cannot be used.
fn database(
    data: &Path,
    name: &str,
    ask: impl FnOnce(&Path) -> anyhow::Result<(u64, Vec<String>)>,
) -> Result<(u64, Vec<String>), String> {
    let path = data.join(name);
    if !path.exists() {
        return Ok((0, Vec::new()));
    }
    match ask(&path) {
        Ok((position, problems)) if problems.is_empty() => Ok((position, problems)),
        Ok((_, problems)) => Err(problems.join("; ")),
        Err(error) => Err(format!("{error:#}")),
    }
}

/// A database and its log, as `.damaged`, beside what was put aside before.
fn put_aside(data: &Path, name: &str) -> anyhow::Result<()> {
    let is_taken = |end: &String| data.join(format!("{name}{end}")).exists();
    let ends = (1..).map(|nth| if nth == 1 { ".damaged".to_owned() } else { format!(".damaged-{nth}") });
    let end = ends.into_iter().find(|end| !is_taken(end)).unwrap_or_default();
    for log in ["", "-wal", "-shm"] {
        let (from, to) = (data.join(format!("{name}{log}")), data.join(format!("{name}{end}{log}")));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("failed to rename {}", from.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

fn snapshot_files(data: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let folder = data.join(SNAPSHOTS);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(&folder).with_context(|| format!("failed to list {}", folder.display()))?;
    Ok(entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?)
}

fn damaged_snapshots(data: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let path = |error| if let SnapshotError::Damaged { path, .. } = error { Some(path) } else { None };
    Ok(verify::damaged_snapshots(data)?.1.into_iter().filter_map(path).collect())
}
