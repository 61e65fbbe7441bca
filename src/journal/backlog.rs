//! Messages put aside as they came: durable, so that they can be acknowledged, and read later, in order of receipt.
//!
//! When a city comes back after an outage, what its trucks kept would make everything else wait for minutes. So large messages are
//! put aside while more comes than can be judged at once, and taken up in slices between those that are of now.
//!
//! ```text
//! backlog/aside-00000000000000000007.raw           "mwB2", a mark, then messages in order, one frame each; read oldest first
//!
//!  0              4              8      24       28            30             32              32 + topic     length
//!  ┌──────────────┬──────────────┬──────┬────────┬─────────────┬──────────────┬───────────────┬──────────────┐
//!  │ length (u32) │ number (u32) │ mark │ CRC-32 │ inlet (u16) │ topic (u16)  │ topic         │ payload      │   all little endian
//!  └──────────────┴──────────────┴──────┴────────┴─────────────┴──────────────┴───────────────┴──────────────┘
//!   ╰─ of the whole frame                 ╰─ over all of the frame but itself
//! ```
//!
//! The mark is 16 random bytes, the same in all frames of a file; numbers begin at 0. So what comes after a broken frame is found,
//! and how many messages it was is known. (Files of earlier versions have neither; they are read up to what is broken.)
//!
//! While a file waits, `journal/aside-….waits` says so: one that has gone without being judged is missed at the next start.
//!
//! A file goes when all of it has been read and kept in the journal. After a crash the rest of a file may be read twice, as a broker
//! sends twice what it was not told is kept: admission tells the repetition. A file is never written on by another process, nor
//! once it is being read. One in which something cannot be read is kept as `.raw.damaged`.

use std::{
    collections::VecDeque,
    io, mem,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    JournalError,
    disk::{self, Disk, DiskFile, FileSystem},
    frame::checksum,
    mark::Mark,
};
use crate::model::limits;

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// Which subscription it came by.
    pub inlet: u16,
    pub topic: String,
    pub payload: Vec<u8>,
}

/// Messages that were put aside.
pub struct Backlog {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// The journal's: what waits is noted there.
    journal: PathBuf,
    /// Files that should wait and are not there.
    missing: Vec<PathBuf>,
    /// Oldest first; the last may be the one being written.
    files: VecDeque<AsideFile>,
    writer: Option<Writer>,
    next_number: u64,
    /// Of the oldest file.
    reading: Option<Reading>,
    /// Files that were read to the end and may go once what was read is kept elsewhere; whether they are damaged.
    read: Vec<(PathBuf, bool)>,
}

/// The file that is written.
struct Writer {
    file: Box<dyn DiskFile>,
    mark: Mark,
    /// Of the next message.
    number: u32,
}

/// A file that is read.
struct Reading {
    content: Vec<u8>,
    /// How far.
    at: usize,
    /// `None`: an earlier version wrote it.
    mark: Option<Mark>,
    /// Of the next message.
    number: u32,
    is_damaged: bool,
}

/// A file of the backlog.
struct AsideFile {
    path: PathBuf,
    bytes: u64,
}

/// Begins a file, before its mark.
const MAGIC: [u8; 4] = *b"mwB2";
/// Magic and mark.
const FILE_HEAD: usize = 4 + Mark::BYTES;
/// Length, number, mark, checksum, inlet and the topic's length.
const HEAD: usize = 4 + 4 + Mark::BYTES + 4 + 2 + 2;
/// A file is closed when it is larger.
const FILE_BYTES: u64 = 16 << 20;

impl Backlog {
    /// Opens what is in `dir`; the caller holds the lock of the journal in `journal`.
    ///
    /// # Errors
    /// When the folder cannot be made or listed.
    pub fn open(dir: &Path, journal: &Path) -> Result<Self, JournalError> {
        Self::open_on(Arc::new(FileSystem), dir, journal)
    }

    pub(super) fn open_on(disk: Arc<dyn Disk>, dir: &Path, journal: &Path) -> Result<Self, JournalError> {
        disk.create_dir(dir).map_err(|error| JournalError::io("create", dir, error))?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            disk.sync_dir(parent).map_err(|error| JournalError::io("sync", parent, error))?;
        }
        let entries = disk.list(dir).map_err(|error| JournalError::io("list", dir, error))?;
        let (mut files, mut next_number) = (VecDeque::new(), 0);
        for entry in entries {
            let Some(number) = number_of(&entry.name) else { continue };
            next_number = next_number.max(number + 1);
            files.push_back(AsideFile { path: dir.join(&entry.name), bytes: entry.bytes });
        }
        let mut missing = Vec::new();
        for number in noted(&*disk, journal)? {
            next_number = next_number.max(number + 1);
            let path = path_of(dir, number);
            if files.iter().all(|file| file.path != path) {
                missing.push(path);
                // Said once.
                let note = note_of(journal, number);
                disk.remove(&note).map_err(|error| JournalError::io("remove", note, error))?;
            }
        }
        Ok(Self {
            disk,
            dir: dir.into(),
            journal: journal.into(),
            missing,
            files,
            writer: None,
            next_number,
            reading: None,
            read: Vec::new(),
        })
    }

    /// Files that should wait and are not there: what was in them is lost.
    pub fn missing(&self) -> &[PathBuf] {
        &self.missing
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// How much waits, bytes.
    pub fn bytes(&self) -> u64 {
        let read = self.reading.as_ref().map_or(0, |reading| reading.at as u64);
        self.files.iter().map(|file| file.bytes).sum::<u64>().saturating_sub(read)
    }

    /// Whether there is room for more.
    pub fn has_room(&self) -> bool {
        self.bytes() < limits::BACKLOG_BYTES
    }

    /// Puts messages aside, in order: they are durable when this returns.
    ///
    /// # Errors
    /// [`JournalError::Full`] or [`JournalError::Io`]; nothing of them counts as kept then, and the same may be tried again. (After
    /// a crash some of them may be found kept all the same.)
    pub fn append(&mut self, messages: &[(u16, &str, &[u8])]) -> Result<(), JournalError> {
        if messages.is_empty() {
            return Ok(());
        }
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.begin()?,
        };
        let Some(file) = self.files.back_mut() else { return Ok(()) };
        let mut frames = Vec::with_capacity(messages.iter().map(|one| HEAD + one.1.len() + one.2.len()).sum());
        if file.bytes == 0 {
            frames.extend(MAGIC);
            frames.extend(writer.mark.0);
        }
        for (inlet, topic, payload) in messages {
            frame(writer.mark, writer.number, *inlet, topic, payload, &mut frames);
            writer.number += 1;
        }
        let written = writer.file.append(&frames).map_err(|error| JournalError::io("write", &file.path, error));
        let synced =
            written.and_then(|()| writer.file.sync().map_err(|error| JournalError::io("sync", &file.path, error)));
        if let Err(error) = synced {
            // Written on no more: nothing after a failed write or sync could be trusted.
            if writer.file.cut(file.bytes).is_err() {
                tracing::warn!(path = %file.path.display(), "what could not be kept could not be cut off either");
            }
            return Err(error);
        }
        file.bytes += frames.len() as u64;
        if file.bytes < FILE_BYTES {
            self.writer = Some(writer);
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<Writer, JournalError> {
        let path = path_of(&self.dir, self.next_number);
        let create = || Ok((Mark::random()?, self.disk.create(&path)?));
        let (mark, file) = create().map_err(|error| JournalError::io("create", &path, error))?;
        self.disk.sync_dir(&self.dir).map_err(|error| JournalError::io("sync", &self.dir, error))?;
        // Noted once it is there, and no longer before it goes.
        let note = note_of(&self.journal, self.next_number);
        let noted = self.disk.create(&note).and_then(|_| self.disk.sync_dir(&self.journal));
        noted.map_err(|error| JournalError::io("create", note, error))?;
        self.next_number += 1;
        self.files.push_back(AsideFile { path, bytes: 0 });
        Ok(Writer { file, mark, number: 0 })
    }

    /// The next messages, at most `bytes` of them but at least one; none when nothing waits. They count as waiting after a crash until
    /// [`Backlog::forget`].
    ///
    /// # Errors
    /// When a file cannot be read. What is damaged in one is said, and reading goes on after it.
    pub fn next(&mut self, bytes: usize) -> Result<Vec<Aside>, JournalError> {
        let (mut messages, mut sum) = (Vec::new(), 0);
        while let Some(file) = self.files.front() {
            if self.reading.is_none() {
                if self.files.len() == 1 {
                    self.writer = None;
                }
                match self.disk.read(&file.path) {
                    Ok(content) => self.reading = Some(Reading::of(content)),
                    // What was read is not lost for what cannot be.
                    Err(_) if !messages.is_empty() => break,
                    Err(error) => return Err(JournalError::io("read", &file.path, error)),
                }
            }
            let Some(reading) = &mut self.reading else { break };
            if let Some((message, length)) = reading.frame_at(reading.at) {
                sum += length;
                if sum > bytes && !messages.is_empty() {
                    return Ok(messages);
                }
                reading.at += length;
                reading.number += 1;
                messages.push(message);
                continue;
            }
            if reading.at < reading.content.len() {
                let problem = reading.pass_over(&file.path);
                tracing::error!("messages put aside are lost: {problem}; the file is kept as .damaged");
                continue;
            }
            let is_damaged = reading.is_damaged;
            self.reading = None;
            self.read.extend(self.files.pop_front().map(|file| (file.path, is_damaged)));
        }
        Ok(messages)
    }

    /// What was read is kept elsewhere: files that were read whole go, damaged ones are put aside.
    pub fn forget(&mut self) {
        for (path, is_damaged) in mem::take(&mut self.read) {
            let gone = self.forget_note(&path).and_then(|()| match is_damaged {
                true => disk::put_aside(&*self.disk, &path).map(|_| ()),
                false => self.disk.remove(&path),
            });
            if let Err(error) = gone {
                tracing::warn!(path = %path.display(), %error, "a file that was read stays; it is read again after the next start");
            }
        }
    }

    fn forget_note(&self, path: &Path) -> io::Result<()> {
        let number = path.file_name().and_then(|name| number_of(name.to_str()?));
        match number.map(|number| self.disk.remove(&note_of(&self.journal, number))) {
            Some(Ok(())) => self.disk.sync_dir(&self.journal),
            // An earlier version wrote it.
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Looks through what waits in `dir`: how many messages, and what is damaged, a line each. Nothing is changed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn verify(dir: &Path, journal: &Path) -> Result<(usize, Vec<String>), JournalError> {
        let (mut messages, mut problems) = (0, Vec::new());
        for number in noted(&FileSystem, journal)? {
            let (path, note) = (path_of(dir, number), note_of(journal, number));
            // A note goes before its file.
            if !path.exists() && note.exists() {
                problems.push(format!("{}: it is not there, and was not judged", path.display()));
            }
        }
        let names = FileSystem.list(dir).map_err(|error| JournalError::io("list", dir, error))?;
        for entry in names.iter().filter(|entry| number_of(&entry.name).is_some()) {
            let path = dir.join(&entry.name);
            let content = match FileSystem.read(&path) {
                // It was judged meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                content => content.map_err(|error| JournalError::io("read", &path, error))?,
            };
            let mut reading = Reading::of(content);
            while reading.at < reading.content.len() {
                match reading.frame_at(reading.at) {
                    Some((_, length)) => {
                        reading.at += length;
                        reading.number += 1;
                        messages += 1;
                    }
                    None => problems.push(reading.pass_over(&path)),
                }
            }
        }
        Ok((messages, problems))
    }
}

impl Reading {
    fn of(content: Vec<u8>) -> Self {
        let mut reading = Self { content, at: 0, mark: None, number: 0, is_damaged: false };
        if reading.frame_at(0).is_some() {
            return reading;
        }
        // The first frame tells the mark, too, should the head be damaged: its place is known.
        let of_frame = reading
            .mark_at(FILE_HEAD + 8)
            .filter(|mark| unframe(&reading.content[FILE_HEAD..], Some(*mark)).is_some_and(|(number, ..)| number == 0));
        let of_head = || reading.content.starts_with(&MAGIC).then(|| reading.mark_at(MAGIC.len())).flatten();
        if let Some(mark) = of_frame.or_else(of_head) {
            (reading.mark, reading.at) = (Some(mark), FILE_HEAD);
        }
        reading
    }

    fn mark_at(&self, at: usize) -> Option<Mark> {
        self.content.get(at..)?.first_chunk().copied().map(Mark)
    }

    /// The message at `at`, if it is whole and none before the next, and its length.
    fn frame_at(&self, at: usize) -> Option<(Aside, usize)> {
        let (number, message, length) = unframe(self.content.get(at..)?, self.mark)?;
        (self.mark.is_none() || number == self.number).then_some((message, length))
    }

    /// Goes on after what is broken, at the next message that bears the mark and a later number, else at the end; says what it was.
    fn pass_over(&mut self, path: &Path) -> String {
        let (begin, first) = (self.at, self.number);
        let later = |at: usize| {
            let (number, ..) = unframe(&self.content[at..], self.mark)?;
            (number > first).then_some((at, number))
        };
        let found = self.mark.and_then(|_| (begin + 1..self.content.len()).find_map(later));
        (self.at, self.number) = found.unwrap_or((self.content.len(), self.number));
        self.is_damaged = true;
        let (path, bytes) = (path.display(), self.at - begin);
        match found {
            Some((_, number)) => {
                format!("{path}: {} messages, {bytes} bytes from {begin} on, are damaged", number - first)
            }
            None => format!(
                "{path}: the last {bytes} bytes cannot be read: damaged, or cut off by a crash and never acknowledged"
            ),
        }
    }
}

fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("aside-{number:020}.raw"))
}

fn note_of(journal: &Path, number: u64) -> PathBuf {
    journal.join(format!("aside-{number:020}.waits"))
}

/// The numbers of the files that should wait.
fn noted(disk: &dyn Disk, journal: &Path) -> Result<Vec<u64>, JournalError> {
    let entries = disk.list(journal).map_err(|error| JournalError::io("list", journal, error))?;
    let number = |name: &str| name.strip_prefix("aside-")?.strip_suffix(".waits")?.parse().ok();
    Ok(entries.iter().filter_map(|entry| number(&entry.name)).collect())
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("aside-")?.strip_suffix(".raw")?.parse().ok()
}

fn frame(mark: Mark, number: u32, inlet: u16, topic: &str, payload: &[u8], out: &mut Vec<u8>) {
    let topic = &topic.as_bytes()[..topic.len().min(usize::from(u16::MAX))];
    let head = out.len();
    out.extend(((HEAD + topic.len() + payload.len()) as u32).to_le_bytes());
    out.extend(number.to_le_bytes());
    out.extend(mark.0);
    let body = out.len() + 4;
    out.extend([0; 4]);
    out.extend(inlet.to_le_bytes());
    out.extend((topic.len() as u16).to_le_bytes());
    out.extend(topic);
    out.extend(payload);
    let checksum = checksum(&out[head..body - 4], &out[body..]);
    out[body - 4..body].copy_from_slice(&checksum.to_le_bytes());
}

/// The first message of `bytes` with its number and its length, when it is whole and bears the mark.
fn unframe(bytes: &[u8], mark: Option<Mark>) -> Option<(u32, Aside, usize)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let (number, rest) = match mark {
        Some(mark) => {
            let (number, rest) = rest.split_first_chunk::<4>()?;
            (u32::from_le_bytes(*number), rest.strip_prefix(&mark.0)?)
        }
        None => (0, rest),
    };
    let (found, _) = rest.split_first_chunk::<4>()?;
    let head = bytes.len() - rest.len();
    let body = bytes.get(head + 4..length)?;
    // Of earlier versions the checksum is over what follows it.
    let covered = if mark.is_some() { &bytes[..head] } else { &[] };
    if checksum(covered, body).to_le_bytes() != *found {
        return None;
    }
    let (inlet, rest) = body.split_first_chunk::<2>()?;
    let (topic, rest) = rest.split_first_chunk::<2>()?;
    let (topic, payload) = rest.split_at_checked(usize::from(u16::from_le_bytes(*topic)))?;
    let topic = std::str::from_utf8(topic).ok()?.to_owned();
    Some((number, Aside { inlet: u16::from_le_bytes(*inlet), topic, payload: payload.to_vec() }, length))
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::sim::{Crash, Sim},
        *,
    };

    fn message(number: u32) -> (u16, String, Vec<u8>) {
        let payload = number.to_le_bytes().repeat(1 + number as usize % 700);
        ((number % 3) as u16, format!("mw/v1/device/D{number}/report"), payload)
    }

    fn append(backlog: &mut Backlog, numbers: std::ops::Range<u32>) -> Result<(), JournalError> {
        let messages: Vec<_> = numbers.map(message).collect();
        let messages: Vec<_> = messages.iter().map(|(inlet, topic, load)| (*inlet, &**topic, &**load)).collect();
        backlog.append(&messages)
    }

    fn taken(backlog: &mut Backlog, bytes: usize) -> Vec<u32> {
        let messages = backlog.next(bytes).expect("what waits");
        let number = |one: &Aside| {
            let number = u32::from_le_bytes(*one.payload.first_chunk().expect("a number"));
            assert_eq!((one.inlet, one.topic.clone(), one.payload.clone()), message(number));
            number
        };
        messages.iter().map(number).collect()
    }

    fn open(sim: &Sim) -> Backlog {
        sim.create_dir(Path::new("/journal")).expect("a folder");
        sim.sync_dir(Path::new("/")).expect("it is there");
        let backlog =
            Backlog::open_on(Arc::new(sim.clone()), Path::new("/backlog"), Path::new("/journal")).expect("it opens");
        assert!(backlog.missing().is_empty(), "{:?}", backlog.missing());
        backlog
    }

    #[test]
    fn what_is_put_aside_is_read_in_order_and_then_gone() {
        let sim = Sim::default();
        let mut backlog = open(&sim);
        assert!(backlog.is_empty() && taken(&mut backlog, 1_000).is_empty());
        append(&mut backlog, 0..10).unwrap();
        append(&mut backlog, 10..20).unwrap();
        let all = backlog.bytes();
        assert_eq!(taken(&mut backlog, 1), [0], "one at the least");
        assert!(backlog.bytes() < all && !backlog.is_empty());
        assert_eq!(taken(&mut backlog, 400), (1..6).collect::<Vec<_>>());
        // What comes while the oldest is read goes to another file.
        append(&mut backlog, 20..30).unwrap();
        backlog.forget();
        assert_eq!(open(&sim).files.len(), 2, "nothing is read whole");
        assert_eq!(taken(&mut backlog, 1 << 20), (6..30).collect::<Vec<_>>());
        assert!(backlog.is_empty() && backlog.bytes() == 0);
        assert_eq!(open(&sim).files.len(), 2, "kept until it is kept elsewhere");
        backlog.forget();
        assert!(open(&sim).is_empty());
    }

    #[test]
    fn after_power_loss_all_that_was_put_aside_is_there() {
        for crash in Crash::ALL {
            for operations in 0..60 {
                let sim = Sim::default();
                let mut backlog = open(&sim);
                let mut read = 0;
                sim.set_power(Some(operations));
                let (mut kept, mut forgotten) = (0, 0);
                for round in 0..6 {
                    if append(&mut backlog, kept..kept + 50).is_ok() {
                        kept += 50;
                    }
                    if round % 2 == 1
                        && let Ok(messages) = backlog.next(20_000)
                    {
                        read += messages.len() as u32;
                        backlog.forget();
                        forgotten = read;
                    }
                }
                let after = sim.crash(crash);
                let mut backlog = open(&after);
                let found = taken(&mut backlog, usize::MAX);
                // In order, without a gap, nothing missing that was acknowledged and not read.
                let first = found.first().copied().unwrap_or(kept);
                assert!(
                    first <= forgotten,
                    "{crash:?}, {operations} operations: {first} of {forgotten}, {:?}",
                    after.paths()
                );
                assert!(found.iter().copied().eq(first..first + found.len() as u32), "{found:?}");
                assert!(first + found.len() as u32 >= kept, "{operations} operations: {kept} kept, found {found:?}");
            }
        }
    }

    #[test]
    fn a_full_disk_keeps_nothing_of_what_failed_and_all_when_there_is_room_again() {
        let sim = Sim::default();
        let mut backlog = open(&sim);
        append(&mut backlog, 0..10).unwrap();
        sim.set_room(Some(100));
        assert!(matches!(append(&mut backlog, 10..20), Err(JournalError::Full { .. })));
        sim.set_room(None);
        append(&mut backlog, 10..20).unwrap();
        sim.fail_syncs(1);
        assert!(append(&mut backlog, 20..30).is_err());
        append(&mut backlog, 20..30).unwrap();
        assert_eq!(taken(&mut backlog, usize::MAX), (0..30).collect::<Vec<_>>());
    }

    /// One flip made 990 of 1,000 messages vanish that were acknowledged: what came after it was not looked for, and the file removed.
    #[test]
    fn of_a_damaged_file_all_but_what_is_damaged_is_read_and_the_file_is_kept() {
        let whole = {
            let sim = Sim::default();
            let mut backlog = open(&sim);
            append(&mut backlog, 0..40).unwrap();
            sim.bytes(&backlog.files[0].path)
        };
        for at in (0..whole).step_by(61) {
            let sim = Sim::default();
            let mut backlog = open(&sim);
            append(&mut backlog, 0..40).unwrap();
            let path = backlog.files[0].path.clone();
            drop(backlog);
            sim.edit(&path, |bytes| bytes[at] ^= 1 << (at % 8));
            let mut backlog = open(&sim);
            append(&mut backlog, 40..42).unwrap();
            let found = taken(&mut backlog, usize::MAX);
            let lost: Vec<u32> = (0..42).filter(|number| !found.contains(number)).collect();
            assert!(lost.len() <= 1 && found.is_sorted(), "byte {at}: {lost:?} lost");
            backlog.forget();
            let left = sim.paths();
            let aside = left.iter().filter(|path| path.to_str().unwrap().ends_with(".raw.damaged")).count();
            assert_eq!((aside, open(&sim).files.len()), (lost.len(), 0), "byte {at}: {left:?}");
        }
    }

    #[test]
    fn a_message_in_a_message_counts_as_nothing() {
        let sim = Sim::default();
        let mut backlog = open(&sim);
        let mut smuggled = Vec::new();
        for number in 0..4 {
            frame(Mark([3; Mark::BYTES]), number, 0, "mw/v1/device/D9/report", b"theirs", &mut smuggled);
            smuggled.extend(as_of_old(number, b"theirs"));
        }
        backlog.append(&[(0, "t", b"first"), (0, "t", &smuggled), (0, "t", b"last")]).unwrap();
        let path = backlog.files[0].path.clone();
        drop(backlog);
        for at in [60, 70, 90] {
            for head in [0, FILE_HEAD] {
                sim.edit(&path, |bytes| bytes[at] ^= 1);
                sim.edit(&path, |bytes| bytes[head] ^= 1);
                let found = open(&sim).next(usize::MAX).unwrap();
                let loads: Vec<&[u8]> = found.iter().map(|one| &*one.payload).collect();
                assert!(loads.iter().all(|load| [&b"first"[..], &smuggled, b"last"].contains(load)), "{loads:?}");
                sim.edit(&path, |bytes| bytes[at] ^= 1);
                sim.edit(&path, |bytes| bytes[head] ^= 1);
            }
        }
    }

    /// As the version before this one wrote a message.
    fn as_of_old(number: u32, payload: &[u8]) -> Vec<u8> {
        let body = [&(number as u16).to_le_bytes()[..], &1_u16.to_le_bytes(), b"t", payload].concat();
        let length = 8 + body.len() as u32;
        [&length.to_le_bytes()[..], &crc32fast::hash(&body).to_le_bytes(), &body].concat()
    }

    #[test]
    fn what_an_earlier_version_put_aside_is_read() {
        let sim = Sim::default();
        let path = Path::new("/backlog/aside-00000000000000000003.raw");
        drop(open(&sim));
        let mut file = sim.create(path).unwrap();
        (0..5).for_each(|number| file.append(&as_of_old(number, &[number as u8; 50])).unwrap());
        file.append(&as_of_old(5, &[5; 50])[..20]).unwrap();
        let mut backlog = open(&sim);
        let found: Vec<u16> = backlog.next(usize::MAX).unwrap().iter().map(|one| one.inlet).collect();
        assert_eq!(found, [0, 1, 2, 3, 4]);
        backlog.forget();
        assert_eq!(sim.paths(), [path.with_extension("raw.damaged")]);
    }
}
