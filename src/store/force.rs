//! What was in force when: so that history can be judged again as it was.

use rusqlite::{Connection, OptionalExtension, params};

use super::{StoreError, Tx, commit::ms};
use crate::model::{Text, Time, limits};

/// From a journal position on, reports were judged by these rules and this registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    pub position: u64,
    /// When it came into force.
    pub at: Time,
    /// Digest of the set of rules.
    pub rules: Text,
    /// The last batch of the registry's book.
    pub registry: i64,
}

/// Name and text of each file of a set of rules.
pub type RuleFiles = Vec<(Text, Text)>;

impl Tx<'_> {
    /// Says what is in force from a position on, with the files of the rules. `false`: that was so already. What was said of
    /// later positions, or of the same one, holds no longer.
    ///
    /// # Errors
    /// When the database fails.
    pub fn put_in_force(&self, from: &InForce, files: &[(Text, Text)]) -> Result<bool, StoreError> {
        let InForce { position, at, rules, registry } = from;
        let position = i64::try_from(*position).unwrap_or(i64::MAX);
        self.inner.prepare_cached("DELETE FROM in_force WHERE position >= ?1")?.execute([position])?;
        let mut last =
            self.inner.prepare_cached("SELECT rules, registry FROM in_force ORDER BY position DESC LIMIT 1")?;
        let last: Option<(String, i64)> = last.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        if last.is_some_and(|(held, batch)| *held == **rules && batch == *registry) {
            return Ok(false);
        }
        self.inner
            .prepare_cached("INSERT OR IGNORE INTO rule_sets (digest, files) VALUES (?1, ?2)")?
            .execute(params![&**rules, serde_json::to_string(files)?])?;
        self.inner
            .prepare_cached("INSERT INTO in_force (position, at_ms, rules, registry) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![position, ms(*at), &**rules, registry])?;
        let oldest = "DELETE FROM in_force WHERE position NOT IN (SELECT position FROM in_force ORDER BY position DESC LIMIT ?1)";
        if self.inner.prepare_cached(oldest)?.execute([limits::IN_FORCE as i64])? > 0 {
            let unnamed = "DELETE FROM rule_sets WHERE digest NOT IN (SELECT rules FROM in_force)";
            self.inner.prepare_cached(unnamed)?.execute([])?;
        }
        Ok(true)
    }
}

/// All that is known, by position.
pub(super) fn all(connection: &Connection) -> Result<Vec<InForce>, StoreError> {
    let sql = "SELECT position, at_ms, rules, registry FROM in_force ORDER BY position";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| {
        Ok(InForce {
            position: row.get::<_, i64>(0)?.unsigned_abs(),
            at: Time::from_millis(row.get(1)?),
            rules: row.get::<_, String>(2)?.into(),
            registry: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The files of a set of rules by its digest.
pub(super) fn files(connection: &Connection, digest: &str) -> Result<Option<RuleFiles>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT files FROM rule_sets WHERE digest = ?1")?;
    let json: Option<String> = statement.query_row([digest], |row| row.get(0)).optional()?;
    Ok(json.map(|json| serde_json::from_str(&json)).transpose()?)
}
