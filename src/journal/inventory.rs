//! The inventory: which sealed files there are, with their SHA-256, so that what was changed or went is known.
//!
//! ```text
//! journal/inventory.jsonl          one line for each seal, merge and removal
//! {"number":7,"before":"9f…","what":"sealed","first":41230,"end":52311,"last_recv_ms":1772323200000,"received":11080,"files":[{"path":"day=2026-03-01/segment-….parquet","bytes":81234,"sha256":"ab…"}]}
//! ```
//!
//! `before` is the SHA-256 of the line before: a chain from seal to seal, in which no line can be changed or left out. A line is
//! synced before what it says counts: of a seal before the Arrow file goes, of a merge before its mark goes, of a removal
//! before the files go. So a file that counts is listed, and one that is listed and neither there nor replaced is missing. (Files of
//! earlier versions are listed by and by.)
//!
//! Each process begins a new file, with a line that names the last of the old one, and lists in it what is kept. So it
//! is no longer than what there is, and never written on by another process.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    JournalError,
    disk::{Disk, DiskFile},
    layout::{Catalogue, SealedFile},
    sealed::About,
};
use crate::model::{FileDigest, Time};

/// What a line says happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// A process began this file.
    Begun,
    Sealed,
    /// Of several segments, or of what was merged before.
    Merged,
    /// By retention.
    Removed,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    number: u64,
    before: String,
    what: What,
    first: u64,
    end: u64,
    last_recv_ms: i64,
    /// How many of its records came from outside. Of `begun`: of all that was ever removed.
    #[serde(default)]
    received: Option<u64>,
    files: Vec<FileDigest>,
}

/// The files of a segment, as listed.
#[derive(Clone, Debug)]
struct Kept {
    about: About,
    files: Vec<FileDigest>,
    /// Retention was about to remove them.
    is_removed: bool,
}

/// What the inventory says there is.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// By first position.
    sealed: BTreeMap<u64, Kept>,
    merged: BTreeMap<u64, Kept>,
    /// The number of the last line, and its SHA-256.
    number: u64,
    head: String,
    /// How many records that came from outside were removed by retention, as far as was counted.
    removed: u64,
    /// What breaks the chain, and on which line: what follows it is not believed.
    pub problem: Option<String>,
}

/// In the journal's folder.
pub const INVENTORY: &str = "inventory.jsonl";

/// Of bytes, in hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join(INVENTORY)
}

impl Inventory {
    /// That of the journal in `dir` as it was written; an empty one when there is none. [`Catalogue::inventory`] has what counts.
    ///
    /// # Errors
    /// When it cannot be read at all. What is wrong in it is its `problem`.
    pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Result<Self, JournalError> {
        let path = path(dir);
        match disk.read(&path) {
            Ok(bytes) => Ok(Self::parse(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(JournalError::io("read", path, error)),
        }
    }

    fn parse(bytes: &[u8]) -> Self {
        let mut inventory = Self::default();
        // What follows the last line end was torn by a crash: what it was to say did not happen.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for (nth, text) in bytes[..whole].split_inclusive(|byte| *byte == b'\n').enumerate() {
            let text = text.strip_suffix(b"\n").unwrap_or(text);
            if let Err(problem) = inventory.take(nth == 0, text) {
                inventory.problem = Some(format!("line {}: {problem}", nth + 1));
                break;
            }
        }
        if whole == 0 && !bytes.is_empty() {
            inventory.problem = Some("line 1: it has no end".to_owned());
        }
        inventory
    }

    fn take(&mut self, is_first: bool, text: &[u8]) -> Result<(), String> {
        let line: Line = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if !is_first && (line.before != self.head || line.number != self.number + 1) {
            return Err("it does not follow the line before it: lines were changed or left out".to_owned());
        }
        (self.number, self.head) = (line.number, sha256(text));
        let Line { end, last_recv_ms, received, .. } = line;
        let about = About { end, last_recv: Time::from_millis(last_recv_ms), received };
        let kept = Kept { about, files: line.files, is_removed: false };
        match line.what {
            What::Begun => self.removed = received.unwrap_or(0),
            What::Sealed => _ = self.sealed.insert(line.first, kept),
            What::Merged => _ = self.merged.insert(line.first, kept),
            What::Removed => {
                let of_first = [self.sealed.get_mut(&line.first), self.merged.get_mut(&line.first)];
                let mut is_known = false;
                for kept in of_first.into_iter().flatten() {
                    is_known |= kept.is_removed;
                    kept.is_removed = true;
                }
                self.removed += if is_known { 0 } else { received.unwrap_or(0) };
            }
        }
        Ok(())
    }

    /// Leaves out what no longer counts: what was merged since, or removed, or is not sealed after all.
    pub(super) fn settle(&mut self, catalogue: &Catalogue) {
        let counted: HashSet<(u64, Option<u64>)> = catalogue.sealed.iter().map(|f| (f.first, f.merged_end)).collect();
        let is_counted = |first: u64, end: Option<u64>| counted.contains(&(first, end));
        let has_parts = |first: u64, end: u64| counted.iter().any(|(of, to)| to.is_none() && (first..end).contains(of));
        // A merge that did not come to its end counts as nothing.
        self.merged
            .retain(|first, kept| is_counted(*first, Some(kept.about.end)) || !has_parts(*first, kept.about.end));
        let merged = self.merged.iter().map(|(first, kept)| *first..kept.about.end);
        let merged = merged.chain(catalogue.sealed.iter().filter_map(|file| Some(file.first..file.merged_end?)));
        merged.for_each(|range| self.sealed.retain(|first, _| !range.contains(first)));
        self.sealed.retain(|first, _| catalogue.open.iter().all(|segment| segment.first != *first));
        self.sealed.retain(|first, kept| !kept.is_removed || is_counted(*first, None));
        self.merged.retain(|first, kept| !kept.is_removed || is_counted(*first, Some(kept.about.end)));
    }

    fn all(&self) -> impl Iterator<Item = (u64, What, &Kept)> {
        let sealed = self.sealed.iter().map(|(first, kept)| (*first, What::Sealed, kept));
        sealed.chain(self.merged.iter().map(|(first, kept)| (*first, What::Merged, kept)))
    }

    /// Without what retention was about to remove: a part of it may be gone already.
    fn kept(&self) -> impl Iterator<Item = (u64, &Kept)> {
        self.all().filter(|(_, _, kept)| !kept.is_removed).map(|(first, _, kept)| (first, kept))
    }

    /// Every listed file that counts.
    pub fn files(&self) -> impl Iterator<Item = &FileDigest> {
        self.kept().flat_map(|(_, kept)| &kept.files)
    }

    /// Leaves out these files: they are lost, or were removed on purpose. That there were such positions stays known.
    pub(super) fn forget(&mut self, paths: &[String]) {
        for kept in self.sealed.values_mut().chain(self.merged.values_mut()) {
            kept.files.retain(|file| !paths.contains(&file.path));
        }
    }

    /// Listed files that are not there, with the positions of their segments.
    pub(super) fn missing<'a>(&'a self, dir: &Path, sealed: &[SealedFile]) -> Vec<(Range<u64>, &'a FileDigest)> {
        let there: HashSet<String> = sealed.iter().map(|file| file.listed_path(dir)).collect();
        let files =
            self.kept().flat_map(|(first, kept)| kept.files.iter().map(move |file| (first..kept.about.end, file)));
        files.filter(|(_, file)| !there.contains(&file.path)).collect()
    }

    /// One after the last position that was ever sealed.
    pub(super) fn end(&self) -> u64 {
        self.all().map(|(_, _, kept)| kept.about.end).max().unwrap_or(0)
    }

    /// Each segment's first position, and what is said of it.
    pub(super) fn segments(&self) -> impl Iterator<Item = (u64, About)> {
        self.kept().map(|(first, kept)| (first, kept.about))
    }

    /// How many records that came from outside were removed by retention.
    pub(super) fn removed(&self) -> u64 {
        self.removed
    }

    /// The number of its last line.
    pub fn number(&self) -> u64 {
        self.number
    }

    fn segment(&self, first: u64, merged_end: Option<u64>) -> Option<&Kept> {
        match merged_end {
            Some(end) => self.merged.get(&first).filter(|kept| kept.about.end == end),
            None => self.sealed.get(&first),
        }
    }

    /// What is said of a file's segment.
    pub(super) fn about(&self, file: &SealedFile) -> Option<About> {
        self.segment(file.first, file.merged_end).map(|kept| kept.about)
    }

    /// The SHA-256 of a file.
    pub(super) fn digest(&self, dir: &Path, file: &SealedFile) -> Option<String> {
        let path = file.listed_path(dir);
        let kept = self.segment(file.first, file.merged_end)?;
        kept.files.iter().find(|listed| listed.path == path).map(|listed| listed.sha256.clone())
    }
}

/// The inventory, open for writing.
pub(super) struct Writer {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    number: u64,
    head: String,
}

impl Writer {
    /// Begins a new file with what is kept of the old one.
    pub fn begin(disk: &dyn Disk, dir: &Path, old: &Inventory) -> Result<Self, JournalError> {
        let (path, aside) = (path(dir), path(dir).with_extension("jsonl.tmp"));
        let (mut number, mut head, mut text) = (old.number, old.head.clone(), Vec::new());
        // What is there still although it was to be removed is counted with its own line again.
        let again = old.all().filter(|(_, _, kept)| kept.is_removed).filter_map(|(_, _, kept)| kept.about.received);
        let removed = old.removed.saturating_sub(again.sum());
        let begun = About { end: 0, last_recv: Time::default(), received: Some(removed) };
        let kept = old.all().flat_map(|(first, what, kept)| {
            let removed = kept.is_removed.then(|| (What::Removed, first, kept.about, Vec::new()));
            [Some((what, first, kept.about, kept.files.clone())), removed].into_iter().flatten()
        });
        for (what, first, about, files) in [(What::Begun, 0, begun, Vec::new())].into_iter().chain(kept) {
            number += 1;
            head = add_line(number, head, what, first, about, files, &mut text);
        }
        let write = || {
            let mut file = disk.create(&aside)?;
            file.append(&text)?;
            file.sync()?;
            disk.rename(&aside, &path)?;
            disk.sync_dir(dir)?;
            Ok(file)
        };
        let file = write().map_err(|error| JournalError::io("write", &path, error))?;
        Ok(Self { file, path, number, head })
    }

    /// Adds a line: durable when this returns. After an error the file is written on no more.
    pub fn append(&mut self, what: What, first: u64, about: About, files: Vec<FileDigest>) -> Result<(), JournalError> {
        let mut text = Vec::new();
        let head = add_line(self.number + 1, self.head.clone(), what, first, about, files, &mut text);
        let written = self.file.append(&text).and_then(|()| self.file.sync());
        written.map_err(|error| JournalError::io("write", &self.path, error))?;
        (self.number, self.head) = (self.number + 1, head);
        Ok(())
    }
}

/// Writes a line; gives its SHA-256.
fn add_line(
    number: u64,
    before: String,
    what: What,
    first: u64,
    about: About,
    files: Vec<FileDigest>,
    text: &mut Vec<u8>,
) -> String {
    let About { end, last_recv, received } = about;
    let line = Line { number, before, what, first, end, last_recv_ms: last_recv.as_millis(), received, files };
    let line = serde_json::to_vec(&line).unwrap_or_default();
    text.extend(&line);
    text.push(b'\n');
    sha256(&line)
}
