//! The schema, by numbered migrations.

use std::{path::Path, time::Duration};

use rusqlite::Connection;

use super::StoreError;

/// "mwk1": tells our files from others'.
const APPLICATION_ID: i64 = 0x6d77_6b31;

/// How long one attempt to write waits for another program's lock.
const BUSY: Duration = Duration::from_secs(5);

/// Migration `n` brings a file from `user_version` n to n + 1. Never change one that was released: add one.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

    CREATE TABLE alerts (
        alert_id TEXT PRIMARY KEY,
        fired_at INTEGER NOT NULL,
        started_at INTEGER NOT NULL,
        rule_id TEXT NOT NULL,
        vehicle_id TEXT NOT NULL,
        plate TEXT NOT NULL,
        severity INTEGER NOT NULL,
        state INTEGER NOT NULL,
        departments TEXT NOT NULL,
        json TEXT NOT NULL
    );
    CREATE INDEX alerts_by_time ON alerts (fired_at, alert_id);
    CREATE INDEX alerts_by_vehicle ON alerts (vehicle_id, fired_at, alert_id);
    CREATE INDEX alerts_by_plate ON alerts (plate, fired_at, alert_id);
    CREATE INDEX alerts_by_rule ON alerts (rule_id, fired_at, alert_id);
    CREATE INDEX alerts_unfinished ON alerts (fired_at, alert_id) WHERE state = 0;

    CREATE TABLE orders (
        dispatch_id TEXT PRIMARY KEY,
        alert_id TEXT NOT NULL UNIQUE REFERENCES alerts (alert_id),
        created_at INTEGER NOT NULL,
        state TEXT NOT NULL,
        severity INTEGER NOT NULL,
        departments TEXT NOT NULL,
        revision INTEGER NOT NULL,
        json TEXT NOT NULL
    );
    CREATE INDEX orders_by_time ON orders (created_at, dispatch_id);
    CREATE INDEX orders_by_state ON orders (state, created_at, dispatch_id);

    CREATE TABLE offers (
        offer_id TEXT PRIMARY KEY,
        dispatch_id TEXT NOT NULL REFERENCES orders (dispatch_id),
        attempt INTEGER NOT NULL,
        unit_id TEXT NOT NULL,
        state TEXT NOT NULL,
        json TEXT NOT NULL,
        UNIQUE (dispatch_id, attempt)
    );

    CREATE TABLE replies (
        reply_id TEXT PRIMARY KEY,
        dispatch_id TEXT NOT NULL,
        unit_id TEXT NOT NULL,
        received_at INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        json TEXT NOT NULL
    );
    CREATE INDEX replies_by_order ON replies (dispatch_id, received_at);

    CREATE TABLE units (unit_id TEXT PRIMARY KEY, at INTEGER NOT NULL, json TEXT NOT NULL);

    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        topic TEXT NOT NULL,
        payload BLOB NOT NULL,
        created_at INTEGER NOT NULL,
        leased_until INTEGER NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        last_error TEXT
    );
    CREATE INDEX outbox_by_topic ON outbox (topic, seq, leased_until);
    CREATE INDEX outbox_held ON outbox (leased_until) WHERE leased_until > 0;

    CREATE TABLE refused (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        topic TEXT NOT NULL,
        payload BLOB NOT NULL,
        created_at INTEGER NOT NULL,
        error TEXT NOT NULL
    );
",
    "
    ALTER TABLE alerts ADD COLUMN shadow INTEGER NOT NULL DEFAULT 0;
",
    "
    CREATE TABLE waiting (position INTEGER PRIMARY KEY);
",
    "
    CREATE TABLE rule_sets (digest TEXT PRIMARY KEY, files TEXT NOT NULL) WITHOUT ROWID;

    CREATE TABLE in_force (
        position INTEGER PRIMARY KEY,
        at_ms INTEGER NOT NULL,
        rules TEXT NOT NULL REFERENCES rule_sets (digest),
        registry INTEGER NOT NULL
    );
",
    "
    CREATE TABLE sealed_files (path TEXT PRIMARY KEY, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL) WITHOUT ROWID;
",
    "
    CREATE INDEX replies_unasked ON replies (unit_id) WHERE outcome = 'unknown_dispatch';
",
];

/// Opens or makes the file for writing, and brings its schema up to date.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    let found = recognise(&connection, path)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    // Growth of the log between checkpoints, in pages of 4 KiB, and what of it is kept afterwards.
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.pragma_update(None, "cache_size", -32_768)?;
    connection.set_prepared_statement_cache_capacity(64);
    migrate(&mut connection, found)?;
    Ok(connection)
}

/// Opens an existing file for reading.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
    use rusqlite::OpenFlags;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "query_only", "ON")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// The schema's version, when the file is ours or new; nothing is written before that is known.
fn recognise(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let not_a_database = |error: &rusqlite::Error| error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase);
    let foreign = || StoreError::Foreign { path: path.display().to_string() };
    let application = match number("application_id") {
        Err(error) if not_a_database(&error) => return Err(foreign()),
        other => other?,
    };
    let found = number("user_version")?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION_ID && (application != 0 || tables > 0) {
        return Err(foreign());
    }
    let known = MIGRATIONS.len() as i64;
    if !(0..=known).contains(&found) {
        return Err(StoreError::Newer { path: path.display().to_string(), found, known });
    }
    Ok(found)
}

/// Each migration is one transaction with its number: a crash between two leaves the file at a known version.
fn migrate(connection: &mut Connection, found: i64) -> Result<(), StoreError> {
    for (number, sql) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        let tx = connection.transaction()?;
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", number as i64 + 1)?;
        tx.commit()?;
    }
    Ok(())
}
