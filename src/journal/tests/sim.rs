//! A disk in memory that runs full, fails, and loses what was not synced.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use crate::journal::disk::{Disk, DiskFile, Entry};

#[derive(Clone, Default)]
pub struct Sim(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: Vec<Content>,
    now: Names,
    durable: Names,
    /// Bytes that still fit; `None`: any.
    room: Option<usize>,
    /// Operations until the power goes; `None`: never.
    power: Option<usize>,
    failing_syncs: usize,
    failing_cuts: usize,
    /// Syncs of directories until one fails; `None`: none does.
    failing_dir_sync: Option<usize>,
    locks: Arc<Mutex<BTreeSet<PathBuf>>>,
}

#[derive(Clone, Default)]
struct Names {
    files: BTreeMap<PathBuf, usize>,
    dirs: BTreeSet<PathBuf>,
}

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
}

/// What a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process dies, the machine lives: all that was written is there.
    Process,
    /// Power fails: only what was synced is there.
    Power,
    /// Power fails, and half of what was not synced got to disk; names too.
    Torn,
    /// Power fails; sizes got to disk, data did not.
    Zeros,
}

impl Crash {
    pub const ALL: [Self; 4] = [Self::Process, Self::Power, Self::Torn, Self::Zeros];

    fn bytes(self, content: &Content) -> Vec<u8> {
        let synced = content.durable.len();
        let mut bytes = content.durable.clone();
        let unsynced = content.now.get(synced..).unwrap_or_default();
        match self {
            Self::Process => bytes = content.now.clone(),
            Self::Power => {}
            Self::Torn => bytes.extend_from_slice(&unsynced[..unsynced.len() / 2]),
            Self::Zeros => bytes.resize(synced + unsynced.len(), 0),
        }
        bytes
    }
}

impl Sim {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn set_room(&self, bytes: Option<usize>) {
        self.state().room = bytes;
    }

    /// Everything fails after this many further operations.
    pub fn set_power(&self, operations: Option<usize>) {
        self.state().power = operations;
    }

    pub fn has_power(&self) -> bool {
        self.state().power != Some(0)
    }

    pub fn fail_syncs(&self, next: usize) {
        self.state().failing_syncs = next;
    }

    pub fn fail_cuts(&self, next: usize) {
        self.state().failing_cuts = next;
    }

    /// After so many syncs of directories one fails.
    pub fn fail_dir_sync(&self, after: Option<usize>) {
        self.state().failing_dir_sync = after;
    }

    /// Whether the sync that was to fail has failed.
    pub fn has_failed_dir_sync(&self) -> bool {
        self.state().failing_dir_sync.is_none()
    }

    /// The disk as it is found after a crash.
    pub fn crash(&self, crash: Crash) -> Self {
        let state = self.state();
        let names = if crash == Crash::Power { &state.durable } else { &state.now };
        let mut after = State::default();
        after.now.dirs.clone_from(&names.dirs);
        for (path, file) in &names.files {
            if path.ancestors().skip(1).all(|dir| dir == Path::new("/") || names.dirs.contains(dir)) {
                let bytes = crash.bytes(&state.files[*file]);
                after.now.files.insert(path.clone(), after.files.len());
                after.files.push(Content { now: bytes.clone(), durable: bytes });
            }
        }
        after.durable = after.now.clone();
        Self(Arc::new(Mutex::new(after)))
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().now.files.keys().cloned().collect()
    }

    pub fn bytes(&self, path: &Path) -> usize {
        let state = self.state();
        state.files[state.now.files[path]].now.len()
    }

    /// Changes a file behind everyone's back.
    pub fn edit(&self, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.now.files[path];
        edit(&mut state.files[file].now);
        state.files[file].durable = state.files[file].now.clone();
    }
}

impl State {
    fn spend(&mut self) -> io::Result<()> {
        match &mut self.power {
            Some(0) => Err(io::Error::other("no power")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        self.now.files.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for Sim {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.spend()?;
        let file = state.files.len();
        state.files.push(Content::default());
        state.now.files.insert(path.into(), file);
        Ok(Box::new(SimFile { disk: self.clone(), file }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state();
        Ok(state.files[state.file(path)?].now.clone())
    }

    fn read_at(&self, path: &Path, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let whole = self.read(path)?;
        let from = usize::try_from(at).unwrap();
        whole.get(from..from + bytes).map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn cut(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut state = self.state();
        state.spend()?;
        let file = state.file(path)?;
        state.files[file].now.truncate(bytes as usize);
        state.files[file].durable = state.files[file].now.clone();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.spend()?;
        let file = state.file(from)?;
        state.now.files.remove(from);
        state.now.files.insert(to.into(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.spend()?;
        let file = state.file(path)?;
        state.now.files.remove(path);
        let freed = state.files[file].now.len();
        state.room.iter_mut().for_each(|room| *room += freed);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let state = self.state();
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let within = |path: &&PathBuf| path.parent() == Some(dir);
        let dirs = state.now.dirs.iter().filter(within).map(|path| Entry { name: name(path), bytes: 0 });
        let files = state.now.files.iter().filter(|(path, _)| within(path));
        let files = files.map(|(path, file)| Entry { name: name(path), bytes: state.files[*file].now.len() as u64 });
        let mut entries: Vec<Entry> = dirs.chain(files).collect();
        entries.sort();
        Ok(entries)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.spend()?;
        state.now.dirs.extend(dir.ancestors().filter(|dir| *dir != Path::new("/")).map(Path::to_owned));
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        if !self.list(dir)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let mut state = self.state();
        state.spend()?;
        state.now.dirs.remove(dir);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.spend()?;
        match state.failing_dir_sync {
            Some(0) => {
                state.failing_dir_sync = None;
                return Err(io::Error::other("no sync of a directory"));
            }
            Some(left) => state.failing_dir_sync = Some(left - 1),
            None => {}
        }
        let State { now, durable, .. } = &mut *state;
        let within = |path: &Path| path.parent() == Some(dir);
        durable.files.retain(|path, _| !within(path));
        durable.dirs.retain(|path| !within(path));
        durable
            .files
            .extend(now.files.iter().filter(|(path, _)| within(path)).map(|(path, file)| (path.clone(), *file)));
        durable.dirs.extend(now.dirs.iter().filter(|path| within(path)).cloned());
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send>> {
        let locks = Arc::clone(&self.state().locks);
        if !locks.lock().unwrap().insert(path.into()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Unlock(locks, path.into())))
    }
}

struct Unlock(Arc<Mutex<BTreeSet<PathBuf>>>, PathBuf);

impl Drop for Unlock {
    fn drop(&mut self) {
        self.0.lock().unwrap().remove(&self.1);
    }
}

struct SimFile {
    disk: Sim,
    file: usize,
}

impl DiskFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let powered = state.spend();
        let fits = match (&powered, state.room) {
            (Err(_), _) => bytes.len() / 2,
            (Ok(()), Some(room)) => room.min(bytes.len()),
            (Ok(()), None) => bytes.len(),
        };
        state.room.iter_mut().for_each(|room| *room -= fits.min(*room));
        // Written before the power went, but only once.
        if powered.is_ok() || state.power == Some(0) {
            state.files[self.file].now.extend_from_slice(&bytes[..fits]);
        }
        powered?;
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.spend()?;
        if state.failing_cuts > 0 {
            state.failing_cuts -= 1;
            return Err(io::Error::other("no cut"));
        }
        let freed = state.files[self.file].now.len() - bytes as usize;
        state.files[self.file].now.truncate(bytes as usize);
        state.room.iter_mut().for_each(|room| *room += freed);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.spend()?;
        if state.failing_syncs > 0 {
            state.failing_syncs -= 1;
            return Err(io::Error::other("no sync"));
        }
        state.files[self.file].durable = state.files[self.file].now.clone();
        Ok(())
    }
}
