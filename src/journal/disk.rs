//! All that the journal and the snapshots ask of a disk: real here, simulated in the tests.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    iter,
    path::{Path, PathBuf},
};

/// A place for files. Nothing is durable before the file's `sync`, no name before its directory's `sync_dir`.
pub trait Disk: Send + Sync {
    /// A new empty file; one of the same name goes first, so that the new one shares nothing with it.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// The whole file. Our files are bounded by the size of a segment.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// So many bytes of a file from `at` on.
    ///
    /// # Errors
    /// `UnexpectedEof` when it ends before.
    fn read_at(&self, path: &Path, at: u64, bytes: usize) -> io::Result<Vec<u8>>;
    /// Cuts a file to `bytes` and syncs it.
    fn cut(&self, path: &Path, bytes: u64) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// What a directory holds, in order of name; nothing when there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// With its parents; no error when it is there.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Removes a directory that is empty.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Holds a folder for this process until the guard goes: the folder itself, not a file in it that somebody may remove.
    ///
    /// # Errors
    /// `WouldBlock` when another holds it.
    fn lock(&self, dir: &Path) -> io::Result<Box<dyn Send>>;
}

/// A file that is being written, at its end only.
pub trait DiskFile: Send {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Takes back all after the first `bytes`; the next append goes there.
    fn cut(&mut self, bytes: u64) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub name: String,
    pub bytes: u64,
}

/// Puts a damaged file aside for a person to look at, as `NAME.damaged`, or `NAME.damaged-2` where that is taken. Says where
/// it is now.
pub(super) fn put_aside(disk: &dyn Disk, path: &Path) -> io::Result<PathBuf> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let taken = disk.list(dir)?;
    let is_free = |name: &String| taken.iter().all(|entry| entry.name != *name);
    let names = (2..).map(|nth| format!("{name}.damaged-{nth}"));
    let aside = iter::once(format!("{name}.damaged")).chain(names).find(is_free).unwrap_or_default();
    let aside = dir.join(aside);
    disk.rename(path, &aside)?;
    disk.sync_dir(dir)?;
    Ok(aside)
}

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileSystem;

impl Disk for FileSystem {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Append mode: after a cut the next write lands at the new end.
        Ok(Box::new(OpenOptions::new().append(true).create_new(true).open(path)?))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn read_at(&self, path: &Path, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        if file.metadata()?.len() < at.saturating_add(bytes as u64) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.seek(SeekFrom::Start(at))?;
        let mut read = vec![0; bytes];
        file.read_exact(&mut read)?;
        Ok(read)
    }

    fn cut(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(bytes)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let read = match fs::read_dir(dir) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut entries = Vec::new();
        for entry in read {
            let entry = entry?;
            // What goes between listing and looking, or has no Unicode name, is none of ours.
            if let (Ok(about), Ok(name)) = (entry.metadata(), entry.file_name().into_string()) {
                entries.push(Entry { name, bytes: about.len() });
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, dir: &Path) -> io::Result<Box<dyn Send>> {
        let dir = File::open(dir)?;
        match dir.try_lock() {
            Ok(()) => Ok(Box::new(dir)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl DiskFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
