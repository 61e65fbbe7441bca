//! The engine's state on disk: a start folds only what came after it, and what comes very late finds the state before it.
//!
//! ```text
//! data/snapshots/snapshot-<journal position>-<arrival, ms>.state
//!
//! mwS1 | version | part … | index | where the index lies
//! ```
//!
//! A part is MessagePack with names, in Zstandard: one for each station of the line, then the vehicles, some sixty to a part, so
//! that one of them is read without the others. The index names the parts with their checksums (CRC-32, IEEE); the last bytes
//! say where the index lies, with its own. State before the record at the position of the name; a snapshot is written only
//! after all before it is committed.
//!
//! A file is written aside, synced and renamed. What can't be read is passed over for the one before it, with a word; older
//! ones than late data can ask for go, and of those older than an hour one an hour stays.

use std::{
    collections::BTreeSet,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    journal::{Disk, FileSystem},
    model::{Text, Time},
};

/// Begins every snapshot.
const MAGIC: &[u8; 4] = b"mwS1";
/// Of the form and of what the parts mean. A snapshot of another version is not read: history is folded again instead.
const VERSION: u32 = 6;
const HEADER: usize = 8;
/// Offset, length and checksum of the index.
const TRAILER: usize = 16;
/// Quick; snapshots are mostly names and small numbers.
const ZSTD_LEVEL: i32 = 1;
/// Largest part as MessagePack: none of ours comes near.
const PART_BYTES: usize = 1 << 30;
/// Snapshots younger than this, by the clock of arrival, all stay.
const FINE_MS: i64 = 3_600_000;

/// Why a snapshot could not be written or read. Each reads well after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("{action} {path}: {cause}")]
    Io { action: &'static str, path: PathBuf, cause: io::Error },
    #[error("read {path}: it is damaged: {problem}")]
    Damaged { path: PathBuf, problem: String },
    #[error("read {path}: it is of version {found}, this muckwatch reads version {VERSION}")]
    Version { path: PathBuf, found: u32 },
    #[error("encode state: {0}")]
    Encode(rmp_serde::encode::Error),
    #[error("pack state: {0}")]
    Pack(io::Error),
}

crate::model::wraps!(SnapshotError { Encode(rmp_serde::encode::Error) });

/// State, encoded.
#[derive(Clone, Debug)]
pub struct Part(Vec<u8>);

impl Part {
    /// # Errors
    /// When the value has no form in MessagePack: a fault of ours.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, SnapshotError> {
        zstd::bulk::compress(&rmp_serde::to_vec_named(value)?, ZSTD_LEVEL).map(Self).map_err(SnapshotError::Pack)
    }

    fn value<T: DeserializeOwned>(&self) -> Result<T, String> {
        let plain = zstd::Decoder::new(&*self.0).map_err(|error| error.to_string())?;
        let plain = io::Read::take(plain, PART_BYTES as u64);
        rmp_serde::from_read(plain).map_err(|error| error.to_string())
    }
}

/// Vehicles in order of their ids, the first and the last of them, encoded.
pub type VehiclesPart = (Text, Text, Part);

/// What is written.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The journal position after the last record that it knows.
    pub position: u64,
    /// The latest arrival that it knows.
    pub at: Time,
    /// By name.
    pub parts: Vec<(&'static str, Part)>,
    pub vehicles: Vec<VehiclesPart>,
}

/// Where a part lies in its file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Place {
    offset: u64,
    bytes: usize,
    crc: u32,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Index {
    parts: Vec<(Text, Place)>,
    vehicles: Vec<(Text, Text, Place)>,
}

/// The name of a snapshot that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub position: u64,
    pub at: Time,
}

impl Name {
    fn file(self) -> String {
        format!("snapshot-{:020}-{:013}.state", self.position, self.at.as_millis())
    }

    fn parse(file: &str) -> Option<Self> {
        let (position, at) = file.strip_prefix("snapshot-")?.strip_suffix(".state")?.split_once('-')?;
        Some(Self { position: position.parse().ok()?, at: Time::from_millis(at.parse().ok()?) })
    }
}

/// The folder of snapshots.
#[derive(Clone)]
pub struct Snapshots {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl Snapshots {
    /// The folder; it is made when the first snapshot is written.
    pub fn of(dir: &Path) -> Self {
        Self::on(Arc::new(FileSystem), dir)
    }

    pub(crate) fn on(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        Self { disk, dir: dir.into() }
    }

    /// Those that are there, the oldest first.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn names(&self) -> Result<Vec<Name>, SnapshotError> {
        let entries = self.disk.list(&self.dir).map_err(io_error("list", &self.dir))?;
        let mut names: Vec<Name> = entries.iter().filter_map(|entry| Name::parse(&entry.name)).collect();
        names.sort();
        Ok(names)
    }

    /// Writes a snapshot: aside, then under its name.
    ///
    /// # Errors
    /// What the disk says; then there is no such snapshot.
    pub fn write(&self, draft: &Draft) -> Result<Name, SnapshotError> {
        let name = Name { position: draft.position, at: draft.at };
        let path = self.dir.join(name.file());
        let aside = self.dir.join(name.file() + ".part");
        self.disk.create_dir(&self.dir).map_err(io_error("make", &self.dir))?;
        if let Some(above) = self.dir.parent() {
            self.disk.sync_dir(above).map_err(io_error("sync", above))?;
        }
        let written = self.write_aside(&aside, draft).and_then(|()| {
            self.disk.rename(&aside, &path).map_err(io_error("rename", &aside))?;
            self.disk.sync_dir(&self.dir).map_err(io_error("sync", &self.dir))
        });
        if written.is_err() {
            _ = self.disk.remove(&aside);
        }
        written.map(|()| name)
    }

    fn write_aside(&self, aside: &Path, draft: &Draft) -> Result<(), SnapshotError> {
        let write = |error| io_error("write", aside)(error);
        let mut file = self.disk.create(aside).map_err(write)?;
        let mut head = MAGIC.to_vec();
        head.extend(VERSION.to_le_bytes());
        file.append(&head).map_err(write)?;
        let mut offset = HEADER as u64;
        let mut put = |part: &Part| -> io::Result<Place> {
            file.append(&part.0)?;
            let place = Place { offset, bytes: part.0.len(), crc: crc32fast::hash(&part.0) };
            offset += part.0.len() as u64;
            Ok(place)
        };
        let mut index = Index::default();
        for (name, part) in &draft.parts {
            index.parts.push(((*name).into(), put(part).map_err(write)?));
        }
        for (first, last, part) in &draft.vehicles {
            index.vehicles.push((first.clone(), last.clone(), put(part).map_err(write)?));
        }
        let Place { offset, bytes, crc } = put(&Part::of(&index)?).map_err(write)?;
        let mut trailer = offset.to_le_bytes().to_vec();
        trailer.extend((bytes as u32).to_le_bytes());
        trailer.extend(crc.to_le_bytes());
        file.append(&trailer).map_err(write)?;
        file.sync().map_err(write)
    }

    /// Opens a snapshot: reads what lies where.
    ///
    /// # Errors
    /// When it is damaged, or of another version.
    pub fn open(&self, name: Name) -> Result<Snapshot, SnapshotError> {
        let path = self.dir.join(name.file());
        let damaged = |problem: &str| SnapshotError::Damaged { path: path.clone(), problem: problem.to_owned() };
        let entries = self.disk.list(&self.dir).map_err(io_error("list", &self.dir))?;
        let size = entries.iter().find(|entry| entry.name == name.file()).map_or(0, |entry| entry.bytes);
        if size < (HEADER + TRAILER) as u64 {
            return Err(damaged("it is too short"));
        }
        let read = |at: u64, bytes: usize| self.disk.read_at(&path, at, bytes).map_err(io_error("read", &path));
        let head = read(0, HEADER)?;
        if head[..4] != *MAGIC {
            return Err(damaged("it does not begin as a snapshot"));
        }
        let found = u32::from_le_bytes(fixed(&head[4..]));
        if found != VERSION {
            return Err(SnapshotError::Version { path, found });
        }
        let trailer = read(size - TRAILER as u64, TRAILER)?;
        let place = Place {
            offset: u64::from_le_bytes(fixed(&trailer[..8])),
            bytes: u32::from_le_bytes(fixed(&trailer[8..12])) as usize,
            crc: u32::from_le_bytes(fixed(&trailer[12..])),
        };
        if place.offset.checked_add((place.bytes + TRAILER) as u64) != Some(size) {
            return Err(damaged("its end is not that of a snapshot"));
        }
        let mut snapshot = Snapshot { name, disk: Arc::clone(&self.disk), path, index: Index::default() };
        snapshot.index = snapshot.read(&place)?;
        Ok(snapshot)
    }

    /// Removes what no late data can ask for any more, what an interrupted write left, and of what is older than an hour all
    /// but one an hour. The newest two stay in any case.
    ///
    /// # Errors
    /// What the disk says.
    pub fn thin(&self, keep_ms: i64) -> Result<(), SnapshotError> {
        let names = self.names()?;
        let Some(newest) = names.last().copied() else { return Ok(()) };
        let mut kept: Vec<Name> = Vec::new();
        for name in names.iter().rev() {
            let age = newest.at.ms_since(name.at);
            let hour = |at: Time| at.as_millis().div_euclid(FINE_MS);
            let is_wanted = kept.len() < 2
                || age <= FINE_MS
                // The oldest that late data can ask for lies before all that it can be.
                || (kept.last().is_some_and(|next| newest.at.ms_since(next.at) <= keep_ms && hour(next.at) != hour(name.at)));
            if is_wanted {
                kept.push(*name);
            } else {
                self.remove(&name.file())?;
            }
        }
        let entries = self.disk.list(&self.dir).map_err(io_error("list", &self.dir))?;
        entries.iter().filter(|entry| entry.name.ends_with(".part")).try_for_each(|entry| self.remove(&entry.name))
    }

    fn remove(&self, file: &str) -> Result<(), SnapshotError> {
        let path = self.dir.join(file);
        self.disk.remove(&path).map_err(io_error("remove", &path))
    }
}

/// One snapshot.
pub struct Snapshot {
    pub name: Name,
    disk: Arc<dyn Disk>,
    path: PathBuf,
    index: Index,
}

impl Snapshot {
    /// The part of this name, if there is one.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn part<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, SnapshotError> {
        let place = self.index.parts.iter().find(|(part, _)| **part == *name).map(|(_, place)| place);
        place.map(|place| self.read(place)).transpose()
    }

    /// Every vehicle, a part at a time.
    ///
    /// # Errors
    /// When a part is damaged.
    pub fn vehicles<T: DeserializeOwned>(&self) -> impl Iterator<Item = Result<Vec<T>, SnapshotError>> {
        self.index.vehicles.iter().map(|(_, _, place)| self.read(place))
    }

    /// The vehicles among which these are, as far as the snapshot knows them.
    ///
    /// # Errors
    /// When a part is damaged.
    pub fn vehicles_near<T: DeserializeOwned>(&self, ids: &BTreeSet<&str>) -> Result<Vec<T>, SnapshotError> {
        let is_near = |first: &str, last: &str| ids.range(first..).next().is_some_and(|id| *id <= last);
        let near = self.index.vehicles.iter().filter(|(first, last, _)| is_near(first, last));
        let parts = near.map(|(_, _, place)| self.read::<Vec<T>>(place));
        Ok(parts.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// Whether all of it is as it was written.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(&self) -> Result<(), SnapshotError> {
        let vehicles = self.index.vehicles.iter().map(|(_, _, place)| place);
        let mut places = self.index.parts.iter().map(|(_, place)| place).chain(vehicles);
        places.try_for_each(|place| self.bytes(place).map(|_| ()))
    }

    fn read<T: DeserializeOwned>(&self, place: &Place) -> Result<T, SnapshotError> {
        let damaged = |problem: String| SnapshotError::Damaged { path: self.path.clone(), problem };
        self.bytes(place)?.value().map_err(damaged)
    }

    fn bytes(&self, place: &Place) -> Result<Part, SnapshotError> {
        let damaged = |problem: String| SnapshotError::Damaged { path: self.path.clone(), problem };
        let read = self.disk.read_at(&self.path, place.offset, place.bytes);
        let bytes = read.map_err(io_error("read", &self.path))?;
        if crc32fast::hash(&bytes) != place.crc {
            let Range { start, end } = place.offset..place.offset + place.bytes as u64;
            return Err(damaged(format!("bytes {start} to {end} are not what was written")));
        }
        Ok(Part(bytes))
    }
}

fn io_error<'p>(action: &'static str, path: &'p Path) -> impl Fn(io::Error) -> SnapshotError + 'p {
    move |cause| SnapshotError::Io { action, path: path.into(), cause }
}

/// The slice is as long as the array by its caller's making.
fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::sim::{Crash, Sim};

    fn draft(position: u64, at_ms: i64) -> Draft {
        let vehicles = (0..3).map(|part: u64| {
            let ids: Vec<String> = (0..4).map(|n| format!("V{part}{n}")).collect();
            let values: Vec<(&String, u64)> = ids.iter().map(|id| (id, position)).collect();
            (Text::from(&*ids[0]), Text::from(&*ids[3]), Part::of(&values).unwrap())
        });
        let parts = vec![("front", Part::of("what stands before").unwrap()), ("other", Part::of(&position).unwrap())];
        Draft { position, at: Time::from_millis(at_ms), parts, vehicles: vehicles.collect() }
    }

    type Whole = (Option<String>, Option<u64>, Vec<(String, u64)>);

    /// All that a snapshot holds.
    fn whole(snapshot: &Snapshot) -> Result<Whole, SnapshotError> {
        let vehicles = snapshot.vehicles::<(String, u64)>().collect::<Result<Vec<_>, _>>()?;
        Ok((snapshot.part("front")?, snapshot.part("other")?, vehicles.concat()))
    }

    #[test]
    fn what_was_written_is_read_whole_or_by_one_vehicle() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Snapshots::of(&temp.path().join("snapshots"));
        assert_eq!(folder.names().unwrap(), []);
        let name = folder.write(&draft(7, 70)).unwrap();
        assert_eq!(folder.names().unwrap(), [Name { position: 7, at: Time::from_millis(70) }]);
        let snapshot = folder.open(name).unwrap();
        let (front, other, vehicles) = whole(&snapshot).unwrap();
        assert_eq!((front.as_deref(), other, vehicles.len()), (Some("what stands before"), Some(7), 12));
        assert_eq!(snapshot.part::<u64>("unheard of").unwrap(), None);
        let near: Vec<(String, u64)> = snapshot.vehicles_near(&BTreeSet::from(["V11"])).unwrap();
        assert_eq!(near.iter().map(|(id, _)| &**id).collect::<Vec<_>>(), ["V10", "V11", "V12", "V13"]);
        assert_eq!(snapshot.vehicles_near::<(String, u64)>(&BTreeSet::from(["W"])).unwrap(), []);
    }

    #[test]
    fn any_byte_that_is_not_as_it_was_written_is_found() {
        let disk = Sim::default();
        let folder = Snapshots::on(Arc::new(disk.clone()), Path::new("/s"));
        let name = folder.write(&draft(7, 70)).unwrap();
        let path = Path::new("/s").join(name.file());
        let size = disk.bytes(&path);
        for place in 0..size {
            disk.edit(&path, |bytes| bytes[place] ^= 0x20);
            let read = folder.open(name).and_then(|snapshot| whole(&snapshot));
            let is_version = matches!(read, Err(SnapshotError::Version { .. }));
            assert!(read.is_err() && is_version == (4..8).contains(&place), "byte {place}: {read:?}");
            disk.edit(&path, |bytes| bytes[place] ^= 0x20);
        }
        assert!(folder.open(name).and_then(|snapshot| whole(&snapshot)).is_ok());
        for cut in 0..size {
            let image = disk.crash(Crash::Process);
            image.edit(&path, |bytes| bytes.truncate(cut));
            let folder = Snapshots::on(Arc::new(image), Path::new("/s"));
            assert!(folder.open(name).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn wherever_the_power_goes_what_has_a_name_is_whole() {
        let mut operations = 0;
        loop {
            let disk = Sim::default();
            let folder = Snapshots::on(Arc::new(disk.clone()), Path::new("/s"));
            let first = folder.write(&draft(1, 10)).unwrap();
            disk.set_power(Some(operations));
            let second = folder.write(&draft(2, 20)).and_then(|name| folder.thin(0).map(|()| name));
            for crash in Crash::ALL {
                let image = disk.crash(crash);
                let folder = Snapshots::on(Arc::new(image), Path::new("/s"));
                let names = folder.names().unwrap();
                assert!(names.contains(&first), "{operations} operations, {crash:?}");
                assert!(second.as_ref().is_err() || names.len() == 2, "{operations} operations, {crash:?}");
                for name in names {
                    let other = whole(&folder.open(name).unwrap()).unwrap().1;
                    assert_eq!(other, Some(name.position), "{operations} operations, {crash:?}");
                }
                folder.thin(0).unwrap();
                assert!(folder.write(&draft(3, 30)).is_ok(), "and the next one is written");
            }
            if second.is_ok() {
                break;
            }
            operations += 1;
        }
        assert!(operations > 8, "only {operations} operations");
    }

    #[test]
    fn the_last_hour_is_kept_whole_and_before_it_one_an_hour_as_far_as_late_data_reaches() {
        const MINUTE: i64 = 60_000;
        let disk = Sim::default();
        let folder = Snapshots::on(Arc::new(disk.clone()), Path::new("/s"));
        for n in 0..60 {
            folder.write(&draft(n, n as i64 * 10 * MINUTE)).unwrap();
        }
        folder.thin(5 * 60 * MINUTE).unwrap();
        let kept: Vec<u64> = folder.names().unwrap().iter().map(|name| name.position).collect();
        // The newest is of 9:50; five hours before it is 4:50.
        assert_eq!(kept, [23, 29, 35, 41, 47, 53, 54, 55, 56, 57, 58, 59]);
        folder.thin(0).unwrap();
        assert_eq!(folder.names().unwrap().len(), 7, "the last hour stays");
    }
}
