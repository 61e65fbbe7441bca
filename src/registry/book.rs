//! The registry over time: an SQLite file that keeps every version of every row.
//!
//! One table of rows, one of batches. A row is its entity's cells as JSON, its shape as GeoJSON in WGS-84, the
//! validity that its file said, and the validity that holds. A batch (an import of a folder, or rows given to the
//! API) opens rows and closes rows, all in one transaction:
//!
//! - A row that the batch gives as the book has it stays untouched.
//! - What an import no longer gives ends to hold at the batch's instant, never earlier.
//! - What the first batch of all gives holds as it says: open-ended where it says nothing.
//! - What is new later holds from the batch's instant on, or from when it says, if nothing by that key was known before.
//!   A changed row never reaches back before the batch's instant: what was judged by the old one stays so.
//!
//! A correction is a batch whose changes hold as if it had come at an earlier instant. What was known of these rows since then
//! is void, and stays in the book: what was known before the correction can be told at any time.
//!
//! A clock that went back does not rewrite the past either: a batch's instant is never before the last one's.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, Transaction, params};
use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};

use super::{
    geometry,
    problem::{Origin, Problem, Problems, RegistryError},
    read,
    row::RawRow,
    schema::{Entity, ShapeKind},
    snapshot::Registry,
    source::{self, Encoding, Tables},
};
use crate::model::{Time, Validity, Zone, limits, plate};

/// The version of the book's tables.
const VERSION: i64 = 2;

/// How long one attempt waits for another program's lock.
const BUSY: Duration = Duration::from_secs(5);

const TABLES: &str = "
create table batch (
    id integer primary key,
    at_ms integer not null,
    kind text not null,
    digest text not null
) strict;
create table row (
    id integer primary key,
    entity text not null,
    key text not null,
    body text not null,
    shape text,
    said_from_ms integer,
    said_to_ms integer,
    from_ms integer,
    to_ms integer,
    opened_in integer not null references batch,
    closed_in integer references batch
) strict;
create index row_open on row (entity) where closed_in is null;
";

/// What the second version has more: the batch by which a row is void, and what a batch wants judged again.
const SECOND: &str = "
alter table row add column void_in integer references batch;
alter table batch add column judge_since_ms integer;
alter table batch add column judge_vehicles text;
";

/// How many rows of one entity a batch touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By a key that was not open before.
    pub added: usize,
    /// By a key that was open with something else: closed, and opened anew.
    pub changed: usize,
    /// No longer given.
    pub closed: usize,
    pub unchanged: usize,
}

/// The keys of the rows of one entity that a batch touched, in order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub added: BTreeSet<String>,
    pub changed: BTreeSet<String>,
    /// All of them: nothing closes without being named.
    pub closed: BTreeSet<String>,
}

/// What a batch did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportSummary {
    pub batch: i64,
    /// The instant that it counts from.
    pub at: Time,
    /// SHA-256 over the rows given, hexadecimal: the same rows give the same digest.
    pub digest: String,
    /// By entity's name; entities neither given nor known are left out.
    pub counts: BTreeMap<&'static str, Counts>,
    /// By entity's name, whose rows they are.
    pub differences: BTreeMap<&'static str, Difference>,
    /// Since when something else is known than before, where that lies before `at`.
    pub since: Option<Time>,
    /// The vehicles that this is about, at most [`limits::TOUCHED_VEHICLES`] of them; `None`: it may be about any.
    pub vehicles: Option<BTreeSet<String>>,
    /// What may be wrong with what was given, or was not read.
    pub warnings: Vec<Problem>,
}

/// How a batch is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taking {
    /// When it is given.
    pub now: Time,
    /// A correction: what it changes holds as if it had been given then.
    pub since: Option<Time>,
    /// What was judged by what was known before is to be judged again.
    pub judge_again: bool,
    /// Whether a folder may close more than a twentieth (and more than ten) of what is open of an entity, all of it, or what it has no
    /// file for.
    pub allow_closing: bool,
    /// Whether what came by the API stays though the folder does not name it.
    pub keep_upserts: bool,
    /// In what a folder's texts are written.
    pub encoding: Encoding,
    /// Nothing is changed; the summary says what would be.
    pub dry_run: bool,
}

impl From<Time> for Taking {
    fn from(now: Time) -> Self {
        Self {
            now,
            since: None,
            judge_again: false,
            allow_closing: true,
            keep_upserts: false,
            encoding: Encoding::Utf8,
            dry_run: false,
        }
    }
}

/// So many rows of an entity may go with an import that says nothing of them, whatever their share ...
const FEW_CLOSED: usize = 10;
/// ... or one in so many.
const CLOSED_SHARE: usize = 20;

/// What a batch wants judged again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejudge {
    pub since: Time,
    /// `None`: all.
    pub vehicles: Option<BTreeSet<String>>,
}

/// A version of a row, as the book keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowVersion {
    /// Text by the entity's columns; `None` where there is none.
    pub cells: Vec<Option<String>>,
    /// GeoJSON in WGS-84, of entities with a shape.
    pub geometry: Option<String>,
    /// When it holds.
    pub valid: Validity,
}

impl RowVersion {
    fn of(entity: Entity, body: &str, geometry: Option<String>, valid: Validity) -> Self {
        let mut cells: Map<String, Json> = serde_json::from_str(body).unwrap_or_default();
        let mut cell = |name: &str| match cells.remove(name) {
            Some(Json::String(text)) => Some(text),
            _ => None,
        };
        let cells = entity.columns().iter().map(|column| cell(column.name)).collect();
        Self { cells, geometry, valid }
    }
}

/// A version of a row, as it was known after a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRow {
    /// What names it: the first column.
    pub key: String,
    /// Text by column; without those that are empty.
    pub cells: BTreeMap<&'static str, String>,
    pub valid: Validity,
    /// The batch that it came with.
    pub opened_in: i64,
    /// The first 16 hexadecimal digits of SHA-256 over its shape.
    pub geometry_digest: Option<String>,
}

/// The file that keeps the versions.
pub struct Book {
    db: Connection,
    /// Of times that bear none.
    zone: Zone,
}

/// A row as the book keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Content {
    body: String,
    shape: Option<String>,
    said: Validity,
}

/// A row of the book that the last batch about it left open.
struct Open {
    id: i64,
    key: String,
    content: Content,
    to: Option<Time>,
    from: Option<Time>,
    /// It came by the API.
    is_upsert: bool,
}

impl Book {
    /// Opens the file, making it when it is not there.
    ///
    /// # Errors
    /// SQLite's own, and [`RegistryError::Newer`] for a file of a later program.
    pub fn open(path: &Path) -> Result<Self, RegistryError> {
        Self::on(Connection::open(path)?)
    }

    /// Opens an existing file for reading, beside a process that may be writing it. What writes fails.
    ///
    /// # Errors
    /// As [`Self::open`]; a file that is not there is one of SQLite's own.
    pub fn open_to_read(path: &Path) -> Result<Self, RegistryError> {
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        db.busy_timeout(BUSY)?;
        match db.query_row("pragma user_version", [], |row| row.get(0))? {
            VERSION => Ok(Self { db, zone: Zone::china() }),
            // It is brought up to date first.
            1 => Self::open(path),
            found => Err(RegistryError::Newer { found, known: VERSION }),
        }
    }

    /// Every device that one of these vehicles ever had, as far as was ever known.
    ///
    /// # Errors
    /// When the book cannot be read.
    pub fn devices_of(&self, vehicle_ids: &BTreeSet<&str>) -> Result<BTreeSet<String>, RegistryError> {
        let mut statement = self.db.prepare(
            "select json_extract(body, '$.device_id') from row
             where entity = ?1 and key in (select value from json_each(?2)) and json_extract(body, '$.device_id') is not null",
        )?;
        let wanted = Json::from_iter(vehicle_ids.iter().copied()).to_string();
        let cells = statement.query_map(params![Entity::Vehicles.name(), wanted], |row| row.get(0))?;
        let cells: Vec<String> = cells.collect::<Result<_, _>>()?;
        Ok(cells.iter().flat_map(|cell| cell.split_whitespace()).map(|id| plate::device_id(id).into_owned()).collect())
    }

    /// A book that is gone when dropped.
    ///
    /// # Errors
    /// SQLite's own.
    pub fn in_memory() -> Result<Self, RegistryError> {
        Self::on(Connection::open_in_memory()?)
    }

    fn on(mut db: Connection) -> Result<Self, RegistryError> {
        db.busy_timeout(BUSY)?;
        db.pragma_update(None, "journal_mode", "wal")?;
        db.pragma_update(None, "foreign_keys", true)?;
        let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let found: i64 = tx.query_row("pragma user_version", [], |row| row.get(0))?;
        match found {
            0 => tx.execute_batch(&[TABLES, SECOND].concat())?,
            1 => tx.execute_batch(SECOND)?,
            VERSION => {}
            _ => return Err(RegistryError::Newer { found, known: VERSION }),
        }
        tx.pragma_update(None, "user_version", VERSION)?;
        tx.commit()?;
        Ok(Self { db, zone: Zone::china() })
    }

    /// Reads times that bear no zone in this one; otherwise they are China's.
    #[must_use]
    pub fn in_zone(self, zone: Zone) -> Self {
        Self { zone, ..self }
    }

    /// Takes a folder as the whole of what holds from now on (of a correction: from then on); all or nothing.
    ///
    /// # Errors
    /// Those of [`Registry::read_dir`], and SQLite's own; then nothing has changed.
    pub fn import(&mut self, dir: &Path, taking: impl Into<Taking>) -> Result<ImportSummary, RegistryError> {
        let taking = taking.into();
        let (tables, warnings) = read::tables_of_dir(dir, taking.encoding, &self.zone)?;
        self.batch("import", taking, warnings, |batch| {
            let mut is_partial = false;
            for entity in Entity::ALL {
                match tables.get(entity) {
                    Some(rows) => batch.take(*entity, rows, true)?,
                    None if taking.allow_closing => batch.take(*entity, &[], true)?,
                    // A file that is not there says nothing about its rows.
                    None => is_partial |= !open_rows(&batch.tx, *entity)?.is_empty(),
                }
            }
            let too_many: Vec<String> = batch.counts.keys().filter_map(|entity| batch.told_closed(entity)).collect();
            if !taking.allow_closing && !too_many.is_empty() {
                return Err(RegistryError::Closing(too_many));
            }
            if is_partial || taking.keep_upserts { batch.fits_together() } else { Ok(()) }
        })
    }

    /// Takes some rows of one entity, each an object of its columns (for entities with a shape, with `geometry` and
    /// `datum`); rows by other keys stay. The whole must fit together afterwards; all or nothing.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] with every problem, and SQLite's own; then nothing has changed.
    pub fn upsert(
        &mut self,
        entity: Entity,
        rows: &[Json],
        taking: impl Into<Taking>,
    ) -> Result<ImportSummary, RegistryError> {
        let mut problems = Problems::default();
        let given = Tables::from([(entity, source::parse_json(entity, rows, &self.zone, &mut problems))]);
        let warnings = read::warnings(&given, problems)?;
        self.batch("upsert", taking.into(), warnings, |batch| {
            batch.take(entity, &given[&entity], false)?;
            batch.fits_together()
        })
    }

    fn batch(
        &mut self,
        kind: &str,
        taking: Taking,
        warnings: Vec<Problem>,
        work: impl FnOnce(&mut Batch) -> Result<(), RegistryError>,
    ) -> Result<ImportSummary, RegistryError> {
        let tx = self.db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let last: Option<i64> = tx.query_row("select max(at_ms) from batch", [], |row| row.get(0))?;
        let at = last.map_or(taking.now, |last| taking.now.max(Time::from_millis(last)));
        tx.execute("insert into batch (at_ms, kind, digest) values (?1, ?2, '')", params![at.as_millis(), kind])?;
        let id = tx.last_insert_rowid();
        let mut batch = Batch {
            tx,
            id,
            at,
            effect: taking.since.map_or(at, |since| since.min(at)),
            is_first: last.is_none(),
            digest: Sha256::new(),
            counts: BTreeMap::new(),
            reach: at,
            vehicles: Some(BTreeSet::new()),
            keep_upserts: taking.keep_upserts,
            differences: BTreeMap::new(),
            open: BTreeMap::new(),
        };
        work(&mut batch)?;
        let Batch { tx, digest, counts, differences, reach, vehicles, .. } = batch;
        let vehicles = vehicles.filter(|vehicles| vehicles.len() <= limits::TOUCHED_VEHICLES);
        let since = Some(reach).filter(|reach| *reach < at);
        let digest: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        tx.execute("update batch set digest = ?1 where id = ?2", params![digest, id])?;
        if let Some(since) = since.filter(|_| taking.judge_again) {
            let vehicles = vehicles.as_ref().map(|vehicles| Json::from_iter(vehicles.iter().map(String::as_str)));
            tx.execute(
                "update batch set judge_since_ms = ?1, judge_vehicles = ?2 where id = ?3",
                params![since.as_millis(), vehicles.map(|vehicles| vehicles.to_string()), id],
            )?;
        }
        if !taking.dry_run {
            tx.commit()?;
        }
        Ok(ImportSummary { batch: id, at, digest, counts, differences, since, vehicles, warnings })
    }

    /// What the batches after this one want judged again, in order.
    ///
    /// # Errors
    /// SQLite's own.
    pub fn rejudges_after(&self, batch: i64) -> Result<Vec<Rejudge>, RegistryError> {
        let mut statement = self.db.prepare_cached(
            "select judge_since_ms, judge_vehicles from batch
             where id > ?1 and judge_since_ms is not null order by id",
        )?;
        let rows = statement.query_map([batch], |row| {
            let vehicles: Option<String> = row.get(1)?;
            let vehicles = vehicles.and_then(|json| serde_json::from_str(&json).ok());
            Ok(Rejudge { since: Time::from_millis(row.get(0)?), vehicles })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Every version of every row, as a snapshot.
    ///
    /// # Errors
    /// SQLite's own; [`RegistryError::Invalid`] when the file was altered by others.
    pub fn load(&self) -> Result<Registry, RegistryError> {
        self.load_up_to(None)
    }

    /// What [`Self::load`] gave when `batch` was the last one: rows that came later are not there, and those that went later
    /// hold for as long as was said then.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_as_of(&self, batch: i64) -> Result<Registry, RegistryError> {
        self.load_up_to(Some(batch))
    }

    fn load_up_to(&self, batch: Option<i64>) -> Result<Registry, RegistryError> {
        // One transaction, so that the rows are those of the batch that it says.
        let _one_moment = self.db.unchecked_transaction()?;
        let last = self.last_batch()?;
        let batch = batch.map_or(last, |batch| batch.min(last));
        let mut registry = Registry::of_checked(&load(&self.db, &known(batch), batch)?)?;
        registry.batch = batch;
        Ok(registry)
    }

    /// What is registered of an entity, as the files and the API said it, in order of keys.
    ///
    /// # Errors
    /// SQLite's own.
    pub fn registered(&self, entity: Entity) -> Result<Vec<RowVersion>, RegistryError> {
        let mut statement = self.db.prepare_cached(
            "select body, shape, said_from_ms, said_to_ms from row where entity = ?1 and closed_in is null
             order by key, said_from_ms, said_to_ms, body, shape",
        )?;
        let mut rows = statement.query([entity.name()])?;
        let mut open = Vec::new();
        while let Some(row) = rows.next()? {
            let valid = Validity { from: time(row.get(2)?), to: time(row.get(3)?) };
            open.push(RowVersion::of(entity, &row.get::<_, String>(0)?, row.get(1)?, valid));
        }
        Ok(open)
    }

    /// Every version of an entity's rows that is not void, at most `limit` of them, in the order in which they came; after the row with the
    /// number `after`, which is 0 at first. With them the number to go on after; `None` when there are no more.
    ///
    /// # Errors
    /// SQLite's own.
    pub fn versions(
        &self,
        entity: Entity,
        after: i64,
        limit: usize,
    ) -> Result<(Vec<RowVersion>, Option<i64>), RegistryError> {
        let mut statement = self.db.prepare_cached(
            "select id, body, shape, from_ms, to_ms from row
             where entity = ?1 and id > ?2 and void_in is null order by id limit ?3",
        )?;
        let limit_sql = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![entity.name(), after, limit_sql], |row| {
            let (id, body): (i64, String) = (row.get(0)?, row.get(1)?);
            let valid = Validity { from: time(row.get(3)?), to: time(row.get(4)?) };
            Ok((id, body, row.get(2)?, valid))
        })?;
        let (mut versions, mut last) = (Vec::new(), after);
        for row in rows {
            let (id, body, geometry, valid) = row?;
            versions.push(RowVersion::of(entity, &body, geometry, valid));
            last = id;
        }
        let more = (versions.len() == limit).then_some(last);
        Ok((versions, more))
    }

    /// The versions of an entity's rows that have `text` in a column, as they were known after `batch`, in the order in which
    /// they came; at most [`limits::EVIDENCE_VERSIONS`], the latest.
    ///
    /// # Errors
    /// SQLite's own.
    pub fn rows_about(
        &self,
        entity: Entity,
        column: &str,
        text: &str,
        batch: i64,
    ) -> Result<Vec<HeldRow>, RegistryError> {
        let mut statement = self.db.prepare_cached(
            "select body, shape, from_ms,
                    case when closed_in > ?2 then max(said_to_ms, coalesce(from_ms, said_to_ms)) else to_ms end, opened_in
             from row where entity = ?1 and opened_in <= ?2 and coalesce(void_in > ?2, true) and json_extract(body, '$.' || ?3) = ?4
             order by id desc limit ?5",
        )?;
        let limit = limits::EVIDENCE_VERSIONS as i64;
        let rows = statement.query_map(params![entity.name(), batch, column, text, limit], |row| {
            let (body, shape): (String, Option<String>) = (row.get(0)?, row.get(1)?);
            let valid = Validity { from: time(row.get(2)?), to: time(row.get(3)?) };
            Ok((body, shape, valid, row.get(4)?))
        })?;
        let mut held = Vec::new();
        for row in rows {
            let (body, shape, valid, opened_in) = row?;
            let given: Map<String, Json> = serde_json::from_str(&body).unwrap_or_default();
            let cell = |name: &'static str| Some((name, given.get(name)?.as_str()?.to_owned()));
            let cells: BTreeMap<_, _> = entity.columns().iter().filter_map(|column| cell(column.name)).collect();
            let key = entity.columns().first().and_then(|key| cells.get(key.name)).cloned().unwrap_or_default();
            let geometry_digest = shape
                .map(|shape| Sha256::digest(shape.as_bytes())[..8].iter().map(|byte| format!("{byte:02x}")).collect());
            held.push(HeldRow { key, cells, valid, opened_in, geometry_digest });
        }
        held.reverse();
        Ok(held)
    }

    /// Makes the next batch follow `batch`: the rows of batches up to it are not known here.
    ///
    /// # Errors
    /// SQLite's own.
    pub fn begin_after(&mut self, batch: i64, at: Time) -> Result<(), RegistryError> {
        if batch > self.last_batch()? {
            let sql = "insert into batch (id, at_ms, kind, digest) values (?1, ?2, 'repair', '')";
            self.db.execute(sql, params![batch, at.as_millis()])?;
        }
        Ok(())
    }

    /// What SQLite finds wrong with the file, a line each; nothing when all is well.
    ///
    /// # Errors
    /// When the database fails otherwise.
    pub fn integrity(&self) -> Result<Vec<String>, RegistryError> {
        let mut statement = self.db.prepare("pragma integrity_check")?;
        let rows = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        Ok(rows.into_iter().filter(|row| row != "ok").collect())
    }

    /// The number of the last batch; 0 before the first. It tells whether a snapshot is still the newest.
    ///
    /// # Errors
    /// SQLite's own.
    pub fn last_batch(&self) -> Result<i64, RegistryError> {
        Ok(self.db.query_row("select coalesce(max(id), 0) from batch", [], |row| row.get(0))?)
    }
}

/// The rows that were known after a batch.
fn known(batch: i64) -> String {
    format!("where opened_in <= {batch} and coalesce(void_in > {batch}, true)")
}

/// What is left of an interval from `at` on, for checking what holds from now on against itself.
fn narrowed(valid: Validity, at: Time) -> Validity {
    Validity { from: valid.from.map(|from| from.max(at)), to: valid.to.map(|to| to.max(at)) }
}

/// One batch under way.
struct Batch<'a> {
    tx: Transaction<'a>,
    id: i64,
    at: Time,
    /// From when its changes hold: `at`, or before that in a correction.
    effect: Time,
    /// Nothing was registered before, so there is no past to rewrite.
    is_first: bool,
    digest: Sha256,
    counts: BTreeMap<&'static str, Counts>,
    /// The earliest instant of which something else is known now.
    reach: Time,
    /// As [`ImportSummary::vehicles`].
    vehicles: Option<BTreeSet<String>>,
    keep_upserts: bool,
    /// By entity, the keys of what was touched.
    differences: BTreeMap<&'static str, Difference>,
    /// By entity, how many rows were open.
    open: BTreeMap<&'static str, usize>,
}

impl Batch<'_> {
    /// Whose rows are closed that are too many to be meant; `None` when few are.
    fn told_closed(&self, entity: &str) -> Option<String> {
        /// Keys that are named.
        const NAMED: usize = 10;
        let (open, counts) = (*self.open.get(entity)?, self.counts.get(entity)?);
        let is_many = counts.closed > FEW_CLOSED && counts.closed * CLOSED_SHARE > open;
        // Of a handful that goes as a whole the file is more likely broken than meant.
        let is_all = counts.closed == open && open > 1 && counts.added == 0;
        (is_many || is_all).then(|| {
            let keys = self.differences.get(entity).map(|difference| &difference.closed);
            let mut names: Vec<&str> = keys.into_iter().flatten().map(String::as_str).take(NAMED).collect();
            names.extend((counts.closed > NAMED).then_some("…"));
            format!(
                "{} of {open} {entity} are in the folder no more and would be closed ({})",
                counts.closed,
                names.join(", ")
            )
        })
    }

    /// Whether what is open now fits together.
    fn fits_together(&self) -> Result<(), RegistryError> {
        let (mut tables, mut problems) = (load(&self.tx, "where closed_in is null", self.id)?, Problems::default());
        for row in tables.values_mut().flatten() {
            row.valid = narrowed(row.valid, self.at);
        }
        read::validate(&tables, &mut problems);
        problems.refuse().map(drop)
    }

    /// Compares rows given with rows open; `whole` when they are all there is of the entity.
    fn take(&mut self, entity: Entity, rows: &[RawRow], whole: bool) -> Result<(), RegistryError> {
        let open = open_rows(&self.tx, entity)?;
        if rows.is_empty() && open.is_empty() {
            return Ok(());
        }
        let known = known_keys(&self.tx, entity)?;
        let given: Vec<(String, Content)> =
            rows.iter().map(|row| (key_of(entity, row), content_of(entity, row))).collect();
        let same: HashMap<(&str, &Content), i64> = open.iter().map(|o| ((&*o.key, &o.content), o.id)).collect();
        let (mut counts, mut fresh, mut kept) = (Counts::default(), Vec::new(), HashSet::new());
        let mut seen: HashSet<(&str, &Content)> = HashSet::with_capacity(given.len());
        for ((key, content), row) in given.iter().zip(rows) {
            self.digest.update(format!("{}\n{key}\n{content:?}\n", entity.name()));
            match same.get(&(key.as_str(), content)) {
                Some(found) => drop(kept.insert(*found)),
                None if seen.insert((key, content)) => fresh.push((key, content, row)),
                None => {}
            }
        }
        counts.unchanged = kept.len();
        let anew: HashSet<&str> = fresh.iter().map(|(key, ..)| key.as_str()).collect();
        let mut replaced: HashSet<&str> = HashSet::new();
        let mut difference = Difference::default();
        for gone in open.iter().filter(|row| !kept.contains(&row.id)) {
            if anew.contains(&*gone.key) {
                replaced.insert(&gone.key);
            } else if whole && !(self.keep_upserts && gone.is_upsert) {
                counts.closed += 1;
                difference.closed.insert(gone.key.trim_end().to_owned());
            } else {
                continue;
            }
            self.touch(entity, &gone.content);
            self.close(gone)?;
            self.void(entity, &gone.key, &kept)?;
        }
        for (key, content, row) in fresh {
            let is_change = replaced.contains(key.as_str());
            *(if is_change { &mut counts.changed } else { &mut counts.added }) += 1;
            let named = if is_change { &mut difference.changed } else { &mut difference.added };
            named.insert(key.trim_end().to_owned());
            self.touch(entity, content);
            if !is_change && known.contains(key) {
                self.void(entity, key, &kept)?;
            }
            let held = self.held(row, known.contains(key));
            if !self.is_first {
                self.reach = self.reach.min(held.from.unwrap_or(self.effect));
            }
            self.insert(entity, key, content, held)?;
        }
        self.open.insert(entity.name(), open.len());
        self.counts.insert(entity.name(), counts);
        self.differences.insert(entity.name(), difference);
        Ok(())
    }

    /// Remembers the vehicle that a row is about.
    fn touch(&mut self, entity: Entity, content: &Content) {
        let cells: Map<String, Json> = serde_json::from_str(&content.body).unwrap_or_default();
        let cell = |name: &str| cells.get(name).and_then(Json::as_str);
        let vehicle = match entity {
            Entity::Blacklist => cell("subject_id").filter(|_| cell("subject") == Some("vehicle")),
            _ => cell("vehicle_id"),
        };
        match (vehicle, &mut self.vehicles) {
            (Some(vehicle), Some(vehicles)) => _ = vehicles.insert(vehicle.to_owned()),
            _ => self.vehicles = None,
        }
    }

    /// The interval in which a new row holds.
    fn held(&self, row: &RawRow, is_known: bool) -> Validity {
        if self.is_first {
            return row.valid;
        }
        let said = read::begins(row, self.effect);
        let from = if is_known { said.max(self.effect) } else { said };
        Validity { from: Some(from), to: row.valid.to.map(|to| to.max(from)) }
    }

    fn close(&self, row: &Open) -> Result<(), RegistryError> {
        let end = row.from.map_or(self.at, |from| from.max(self.at));
        let end = row.to.map_or(end, |to| to.min(end));
        let mut statement = self.tx.prepare_cached("update row set to_ms = ?1, closed_in = ?2 where id = ?3")?;
        statement.execute(params![end.as_millis(), self.id, row.id])?;
        Ok(())
    }

    /// In a correction: all that was known by a key, but for what is kept, ends at the instant of effect; of what began before that a
    /// version is left that ends then.
    fn void(&mut self, entity: Entity, key: &str, kept: &HashSet<i64>) -> Result<(), RegistryError> {
        if self.effect == self.at {
            return Ok(());
        }
        self.reach = self.reach.min(self.effect);
        let effect = self.effect.as_millis();
        let mut later = self.tx.prepare_cached(
            "select id from row where entity = ?1 and key = ?2 and opened_in < ?3 and void_in is null
             and coalesce(to_ms > ?4, true) order by id",
        )?;
        let ids: Vec<i64> = later
            .query_map(params![entity.name(), key, self.id, effect], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut left = self.tx.prepare_cached(
            "insert into row (entity, key, body, shape, said_from_ms, said_to_ms, from_ms, to_ms, opened_in, closed_in)
             select entity, key, body, shape, said_from_ms, said_to_ms, from_ms, ?2, ?3, ?3 from row
             where id = ?1 and coalesce(from_ms < ?2, true)",
        )?;
        let mut void = self.tx.prepare_cached("update row set void_in = ?2 where id = ?1")?;
        for id in ids.iter().filter(|id| !kept.contains(*id)) {
            left.execute(params![id, effect, self.id])?;
            void.execute(params![id, self.id])?;
        }
        Ok(())
    }

    fn insert(&self, entity: Entity, key: &str, content: &Content, held: Validity) -> Result<(), RegistryError> {
        let ms = |time: Option<Time>| time.map(Time::as_millis);
        let mut statement = self.tx.prepare_cached(
            "insert into row (entity, key, body, shape, said_from_ms, said_to_ms, from_ms, to_ms, opened_in)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?;
        let Content { body, shape, said } = content;
        let (said_from, said_to, from, to) = (ms(said.from), ms(said.to), ms(held.from), ms(held.to));
        statement.execute(params![entity.name(), key, body, shape, said_from, said_to, from, to, self.id])?;
        Ok(())
    }
}

/// What a row is told apart by: the first column; for what repeats, with the start that it says, too.
fn key_of(entity: Entity, row: &RawRow) -> String {
    let start = || row.valid.from.map_or(String::new(), |from| from.to_string());
    match entity {
        Entity::Blacklist => format!("{} {} {}", row.key(), row.cell(entity, "subject_id"), start()),
        Entity::Outages => format!("{} {}", row.key(), start()),
        _ => row.key().to_owned(),
    }
}

fn content_of(entity: Entity, row: &RawRow) -> Content {
    let columns = entity.columns().iter().zip(&row.cells).filter(|(_, cell)| !cell.is_empty());
    let body: Map<String, Json> = columns.map(|(column, cell)| (column.name.to_owned(), (&**cell).into())).collect();
    let shape = row.shape.as_ref().map(geometry::Shape::to_geojson);
    Content { body: Json::Object(body).to_string(), shape, said: row.valid }
}

fn time(ms: Option<i64>) -> Option<Time> {
    ms.map(Time::from_millis)
}

fn open_rows(tx: &Transaction, entity: Entity) -> Result<Vec<Open>, RegistryError> {
    let mut statement = tx.prepare_cached(
        "select row.id, key, body, shape, said_from_ms, said_to_ms, from_ms, to_ms, batch.kind = 'upsert'
         from row join batch on batch.id = opened_in
         where entity = ?1 and closed_in is null order by row.id",
    )?;
    let rows = statement.query_map([entity.name()], |row| {
        let said = Validity { from: time(row.get(4)?), to: time(row.get(5)?) };
        let content = Content { body: row.get(2)?, shape: row.get(3)?, said };
        let (from, to) = (time(row.get(6)?), time(row.get(7)?));
        Ok(Open { id: row.get(0)?, key: row.get(1)?, content, from, to, is_upsert: row.get(8)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn known_keys(tx: &Transaction, entity: Entity) -> Result<HashSet<String>, RegistryError> {
    let mut statement = tx.prepare_cached("select distinct key from row where entity = ?1")?;
    let keys = statement.query_map([entity.name()], |row| row.get(0))?;
    Ok(keys.collect::<Result<_, _>>()?)
}

/// Rows of the book as if given, with the validity that held when `batch` was the last one.
fn load(db: &Connection, filter: &str, batch: i64) -> Result<Tables, RegistryError> {
    // What is still open ends as it said when it came, but not before it begins.
    let query = format!(
        "select entity, body, shape, from_ms,
                case when closed_in > {batch} then max(said_to_ms, coalesce(from_ms, said_to_ms)) else to_ms end
         from row {filter} order by id"
    );
    let (mut statement, mut tables, mut problems) = (db.prepare(&query)?, Tables::new(), Problems::default());
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (name, body): (String, String) = (row.get(0)?, row.get(1)?);
        let shape: Option<String> = row.get(2)?;
        let Some(entity) = Entity::named(&name) else { continue };
        let mut origin = Origin::file(entity.file());
        let cells: Map<String, Json> = serde_json::from_str(&body).unwrap_or_default();
        let cell = |name: &str| cells.get(name).and_then(Json::as_str).unwrap_or_default();
        origin.feature = entity.columns().first().map(|key| cell(key.name).to_owned());
        let shape = match (entity.shape(), shape) {
            (ShapeKind::None, _) => None,
            // What was taken once is not refused by later checks: nothing that is registered would load any more.
            (kind, text) => match geometry::Shape::stored(text.as_deref().unwrap_or("null"), kind) {
                Some(shape) => Some(shape),
                None => {
                    problems.push(origin.problem(Some("geometry"), "no shape", "one as it was written"));
                    continue;
                }
            },
        };
        let valid = Validity { from: time(row.get(3)?), to: time(row.get(4)?) };
        let cells = entity.columns().iter().map(|column| cell(column.name).into()).collect();
        tables.entry(entity).or_default().push(RawRow { origin, cells, valid, shape });
    }
    problems.refuse().map(|_| tables)
}
