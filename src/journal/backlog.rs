//! Messages put aside as they came: durable, so that they can be acknowledged, and read later, in order of receipt.
//!
//! When a city comes back after an outage, what its trucks kept would make everything else wait for minutes. So large messages are
//! put aside while more comes than can be judged at once, and taken up in slices between those that are of now.
//!
//! ```text
//! backlog/aside-00000000000000000007.raw           messages in order, one frame each; read and removed oldest first
//!
//!  0              4        8             10             12              12 + topic     length
//!  ┌──────────────┬────────┬─────────────┬──────────────┬───────────────┬──────────────┐
//!  │ length (u32) │ CRC-32 │ inlet (u16) │ topic (u16)  │ topic         │ payload      │   all little endian
//!  └──────────────┴────────┴─────────────┴──────────────┴───────────────┴──────────────┘
//!                           ╰─ the checksum is over what follows it; the length is of the whole frame
//! ```
//!
//! A file goes when all of it has been read and kept in the journal. After a crash the rest of a file may be read twice, as a broker
//! sends twice what it was not told is kept: admission tells the repetition. A file is never written on by another process, nor
//! once it is being read.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    JournalError,
    disk::{Disk, DiskFile, FileSystem},
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
    /// Oldest first; the last may be the one being written.
    files: VecDeque<AsideFile>,
    writer: Option<Box<dyn DiskFile>>,
    next_number: u64,
    /// Of the oldest file, and how far it was read.
    reading: Option<(Vec<u8>, usize)>,
    /// Files that were read whole and may go once what was read is kept elsewhere.
    read: Vec<PathBuf>,
}

/// A file of the backlog.
struct AsideFile {
    path: PathBuf,
    bytes: u64,
}

/// Length, checksum, inlet and the topic's length.
const HEAD: usize = 12;
/// A file is closed when it is larger.
const FILE_BYTES: u64 = 16 << 20;

impl Backlog {
    /// Opens what is in `dir`; the caller holds the journal's lock.
    ///
    /// # Errors
    /// When the folder cannot be made or listed.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        Self::open_on(Arc::new(FileSystem), dir)
    }

    pub(super) fn open_on(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, JournalError> {
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
        Ok(Self { disk, dir: dir.into(), files, writer: None, next_number, reading: None, read: Vec::new() })
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// How much waits, bytes.
    pub fn bytes(&self) -> u64 {
        let read = self.reading.as_ref().map_or(0, |(_, at)| *at as u64);
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
        let mut frames = Vec::with_capacity(messages.iter().map(|one| HEAD + one.1.len() + one.2.len()).sum());
        for (inlet, topic, payload) in messages {
            frame(*inlet, topic, payload, &mut frames);
        }
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.begin()?,
        };
        let Some(file) = self.files.back_mut() else { return Ok(()) };
        let written = writer.append(&frames).map_err(|error| JournalError::io("write", &file.path, error));
        let synced = written.and_then(|()| writer.sync().map_err(|error| JournalError::io("sync", &file.path, error)));
        if let Err(error) = synced {
            // Written on no more: nothing after a failed write or sync could be trusted.
            if writer.cut(file.bytes).is_err() {
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

    fn begin(&mut self) -> Result<Box<dyn DiskFile>, JournalError> {
        let path = self.dir.join(format!("aside-{:020}.raw", self.next_number));
        let writer = self.disk.create(&path).map_err(|error| JournalError::io("create", &path, error))?;
        self.disk.sync_dir(&self.dir).map_err(|error| JournalError::io("sync", &self.dir, error))?;
        self.next_number += 1;
        self.files.push_back(AsideFile { path, bytes: 0 });
        Ok(writer)
    }

    /// The next messages, at most `bytes` of them but at least one; none when nothing waits. They count as waiting after a crash until
    /// [`Backlog::forget`].
    ///
    /// # Errors
    /// When a file cannot be read. One that is damaged is said, and read up to there.
    pub fn next(&mut self, bytes: usize) -> Result<Vec<Aside>, JournalError> {
        let (mut messages, mut sum) = (Vec::new(), 0);
        while let Some(file) = self.files.front() {
            if self.reading.is_none() {
                if self.files.len() == 1 {
                    self.writer = None;
                }
                match self.disk.read(&file.path) {
                    Ok(content) => self.reading = Some((content, 0)),
                    // What was read is not lost for what cannot be.
                    Err(_) if !messages.is_empty() => break,
                    Err(error) => return Err(JournalError::io("read", &file.path, error)),
                }
            }
            let Some((content, at)) = &mut self.reading else { break };
            let rest = &content[*at..];
            if let Some((message, length)) = unframe(rest) {
                sum += length;
                if sum > bytes && !messages.is_empty() {
                    return Ok(messages);
                }
                *at += length;
                messages.push(message);
                continue;
            }
            if !rest.is_empty() {
                let (path, lost) = (file.path.display(), rest.len());
                tracing::error!(%path, bytes = lost, at, "messages put aside cannot be read; the last of a crash was never acknowledged");
            }
            self.reading = None;
            self.read.extend(self.files.pop_front().map(|file| file.path));
        }
        Ok(messages)
    }

    /// What was read is kept elsewhere: files that were read whole go.
    pub fn forget(&mut self) {
        for path in self.read.drain(..) {
            if let Err(error) = self.disk.remove(&path) {
                tracing::warn!(path = %path.display(), %error, "a file that was read stays; it is read again after the next start");
            }
        }
    }
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("aside-")?.strip_suffix(".raw")?.parse().ok()
}

fn frame(inlet: u16, topic: &str, payload: &[u8], out: &mut Vec<u8>) {
    let begin = out.len();
    let topic = &topic.as_bytes()[..topic.len().min(usize::from(u16::MAX))];
    let length = HEAD + topic.len() + payload.len();
    out.extend((length as u32).to_le_bytes());
    out.extend([0; 4]);
    out.extend(inlet.to_le_bytes());
    out.extend((topic.len() as u16).to_le_bytes());
    out.extend(topic);
    out.extend(payload);
    let checksum = crc32fast::hash(&out[begin + 8..]);
    out[begin + 4..begin + 8].copy_from_slice(&checksum.to_le_bytes());
}

/// The first message of `bytes` and its length, when it is whole.
fn unframe(bytes: &[u8]) -> Option<(Aside, usize)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, _) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let body = bytes.get(8..length)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let (inlet, rest) = body.split_first_chunk::<2>()?;
    let (topic, rest) = rest.split_first_chunk::<2>()?;
    let (topic, payload) = rest.split_at_checked(usize::from(u16::from_le_bytes(*topic)))?;
    let topic = std::str::from_utf8(topic).ok()?.to_owned();
    Some((Aside { inlet: u16::from_le_bytes(*inlet), topic, payload: payload.to_vec() }, length))
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
        Backlog::open_on(Arc::new(sim.clone()), Path::new("/backlog")).expect("it opens")
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
        assert_eq!(taken(&mut backlog, 300), (1..6).collect::<Vec<_>>());
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

    #[test]
    fn of_a_damaged_file_all_before_the_damage_is_read() {
        let sim = Sim::default();
        let mut backlog = open(&sim);
        append(&mut backlog, 0..10).unwrap();
        let path = backlog.files[0].path.clone();
        drop(backlog);
        sim.edit(&path, |bytes| {
            let at = bytes.len() - 40;
            bytes[at] ^= 1;
        });
        let mut backlog = open(&sim);
        append(&mut backlog, 10..12).unwrap();
        assert_eq!(taken(&mut backlog, usize::MAX), [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11]);
    }
}
