//! Messages not yet delivered: lease, send, delete.
//!
//! `leased_until` holds a row back: while it is being sent, and after a failure until it is to be tried again. A row also
//! waits while an earlier one of its topic is held back, so that a topic's messages go out in order.

use rusqlite::{Connection, params};

use super::{
    Store, StoreError, Tx,
    commit::{meta, ms},
};
use crate::model::{Leased, Message, Settled, Time, limits};

/// How full the outbox is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxSize {
    pub waiting: u64,
    /// Put aside because no broker will take them.
    pub refused: u64,
    /// Not queued because the outbox was full.
    pub dropped: u64,
    /// When the oldest one waiting was queued.
    pub oldest: Option<Time>,
}

impl Tx<'_> {
    /// Queues a message. `false`: the same message waits already, or the outbox is full (then it is counted as dropped).
    ///
    /// # Errors
    /// When the database fails.
    pub fn enqueue(&self, message: &Message, now: Time) -> Result<bool, StoreError> {
        if self.waiting.get() >= limits::OUTBOX_ROWS {
            let dropped = dropped(&self.inner)? + 1;
            self.put_meta("dropped", &dropped.to_string())?;
            return Ok(false);
        }
        let sql = "INSERT OR IGNORE INTO outbox (id, topic, payload, created_at) VALUES (?1, ?2, ?3, ?4)";
        let added = self.inner.prepare_cached(sql)?.execute(params![
            &*message.id,
            &*message.topic,
            &*message.payload,
            ms(now)
        ])?;
        self.waiting.set(self.waiting.get() + added as u64);
        Ok(added > 0)
    }

    fn settle(&self, settled: &Settled) -> Result<(), StoreError> {
        match settled {
            Settled::Sent { seq } => self.strike(*seq),
            Settled::Released { seq } => self.hold(*seq, Time::default(), 0, None),
            Settled::Later { seq, at, error } => self.hold(*seq, *at, 1, Some(error)),
            Settled::Refused { seq, error } => {
                let keep = "INSERT OR IGNORE INTO refused (seq, id, topic, payload, created_at, error)
                            SELECT seq, id, topic, payload, created_at, ?2 FROM outbox WHERE seq = ?1";
                self.inner.prepare_cached(keep)?.execute(params![seq, error])?;
                let thin = "DELETE FROM refused WHERE seq NOT IN (SELECT seq FROM refused ORDER BY seq DESC LIMIT ?1)";
                self.inner.prepare_cached(thin)?.execute([limits::OUTBOX_REFUSED as i64])?;
                self.strike(*seq)
            }
        }
    }

    fn strike(&self, seq: i64) -> Result<(), StoreError> {
        let struck = self.inner.prepare_cached("DELETE FROM outbox WHERE seq = ?1")?.execute([seq])?;
        self.waiting.set(self.waiting.get().saturating_sub(struck as u64));
        Ok(())
    }

    fn hold(&self, seq: i64, until: Time, failures: u32, error: Option<&str>) -> Result<(), StoreError> {
        let sql = "UPDATE outbox SET leased_until = ?2, attempts = attempts + ?3, last_error = coalesce(?4, last_error)
                   WHERE seq = ?1";
        self.inner.prepare_cached(sql)?.execute(params![seq, ms(until), failures, error])?;
        Ok(())
    }
}

impl Store {
    /// Writes down how messages taken before ended, then takes up to `most` others until `until`, each topic's in order.
    /// Not synced: after a crash of the machine they are sent again, the same bytes.
    ///
    /// # Errors
    /// When the database fails.
    pub fn exchange(
        &self,
        settled: &[Settled],
        now: Time,
        until: Time,
        most: usize,
    ) -> Result<Vec<Leased>, StoreError> {
        if settled.is_empty() && self.nothing_is_due(now)? {
            return Ok(Vec::new());
        }
        self.commit_unsynced(|tx| {
            settled.iter().try_for_each(|one| tx.settle(one))?;
            let leased = due(&tx.inner, now, most.min(limits::OUTBOX_LEASED))?;
            leased.iter().try_for_each(|one| tx.hold(one.seq, until, 0, None))?;
            Ok(leased)
        })
    }

    /// The next instant after `now` at which a message that is held back becomes due; `None` when none is held back.
    ///
    /// # Errors
    /// When the database fails.
    pub fn next_due(&self, now: Time) -> Result<Option<Time>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT min(leased_until) FROM outbox WHERE leased_until > 0 AND leased_until > ?1";
            let due: Option<i64> = connection.prepare_cached(sql)?.query_row([ms(now)], |row| row.get(0))?;
            Ok(due.map(Time::from_millis))
        })
    }

    fn nothing_is_due(&self, now: Time) -> Result<bool, StoreError> {
        self.read(|connection| Ok(due(connection, now, 1)?.is_empty()))
    }
}

/// The next messages to send: from each topic whose first is not held back an equal share, oldest topic first.
fn due(connection: &Connection, now: Time, most: usize) -> Result<Vec<Leased>, StoreError> {
    let topics = ready_topics(connection, now)?;
    let share = most.div_ceil(topics.len().max(1));
    let mut leased = Vec::new();
    for topic in topics {
        let room = share.min(most - leased.len());
        if room == 0 {
            break;
        }
        take(connection, &topic, now, room, &mut leased)?;
    }
    Ok(leased)
}

/// Topics whose first message is not held back, that with the oldest first. Steps through the index from topic to topic, so
/// that a long queue behind a held message costs nothing.
fn ready_topics(connection: &Connection, now: Time) -> Result<Vec<String>, StoreError> {
    let sql = "WITH RECURSIVE topics (topic) AS (
                   SELECT min(topic) FROM outbox
                   UNION ALL
                   SELECT (SELECT min(topic) FROM outbox WHERE topic > topics.topic) FROM topics WHERE topics.topic IS NOT NULL)
               SELECT topic, seq, leased_until FROM topics JOIN outbox USING (topic)
               WHERE seq = (SELECT min(seq) FROM outbox AS head WHERE head.topic = topics.topic)";
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = statement.query([])?;
    let mut heads: Vec<(i64, String)> = Vec::new();
    while let Some(row) = found.next()? {
        if row.get::<_, i64>(2)? <= ms(now) {
            heads.push((row.get(1)?, row.get(0)?));
        }
    }
    heads.sort_unstable();
    Ok(heads.into_iter().map(|(_, topic)| topic).collect())
}

/// Up to `most` messages of one topic, from its first up to one that is held back.
fn take(
    connection: &Connection,
    topic: &str,
    now: Time,
    most: usize,
    leased: &mut Vec<Leased>,
) -> Result<(), StoreError> {
    let sql = "SELECT seq, id, topic, payload, attempts, created_at, leased_until FROM outbox WHERE topic = ?1 ORDER BY seq LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = statement.query(params![topic, most as i64])?;
    while let Some(row) = found.next()? {
        if row.get::<_, i64>(6)? > ms(now) {
            break;
        }
        let (id, topic, payload): (String, String, Vec<u8>) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let message = Message { id: id.into(), topic: topic.into(), payload: payload.into() };
        let created_at = Time::from_millis(row.get(5)?);
        leased.push(Leased { seq: row.get(0)?, message, attempts: row.get(4)?, created_at });
    }
    Ok(())
}

/// Makes all messages free to be taken: at the start, when nobody can be sending any.
pub(super) fn free_all(connection: &Connection) -> Result<(), StoreError> {
    connection.execute("UPDATE outbox SET leased_until = 0 WHERE leased_until <> 0", [])?;
    Ok(())
}

pub(super) fn count(connection: &Connection) -> Result<u64, StoreError> {
    Ok(connection.query_row("SELECT count(*) FROM outbox", [], |row| row.get::<_, i64>(0))? as u64)
}

fn dropped(connection: &Connection) -> Result<u64, StoreError> {
    Ok(meta(connection, "dropped")?.and_then(|text| text.parse().ok()).unwrap_or(0))
}

pub(super) fn size(connection: &Connection) -> Result<OutboxSize, StoreError> {
    let oldest: Option<i64> = connection
        .prepare_cached("SELECT (SELECT created_at FROM outbox ORDER BY seq LIMIT 1)")?
        .query_row([], |row| row.get(0))?;
    let refused: i64 = connection.prepare_cached("SELECT count(*) FROM refused")?.query_row([], |row| row.get(0))?;
    Ok(OutboxSize {
        waiting: count(connection)?,
        refused: refused as u64,
        dropped: dropped(connection)?,
        oldest: oldest.map(Time::from_millis),
    })
}
