//! Dispatch orders, the offers made of them, the replies that came, and where the units are.

use rusqlite::{Connection, params};

use super::{
    Page, StoreError, Tx,
    alerts::{Where, rows, spaced},
    commit::ms,
    page::{Cursor, cut},
};
use crate::model::{Alert, Offer, Order, OrderState, Replied, Severity, Text, Time, UnitState, limits};

/// Which orders; each part that is given narrows the choice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OrderFilter {
    /// `created_at` not before this.
    pub since: Option<Time>,
    /// `created_at` before this.
    pub until: Option<Time>,
    pub state: Option<OrderState>,
    pub severity: Option<Severity>,
    pub department: Option<String>,
}

/// An order with all that was asked and answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatched {
    pub order: Order,
    /// By attempt.
    pub offers: Vec<Offer>,
    /// By arrival.
    pub replies: Vec<Replied>,
}

/// What the dispatch queue needs to go on after a restart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// Orders that are neither resolved nor listed; of the escalated the newest, up to
    /// [`limits::ORDERS_ESCALATED`]. By creation.
    pub orders: Vec<Order>,
    /// All offers of those orders, by order and attempt.
    pub offers: Vec<Offer>,
    pub units: Vec<UnitState>,
    /// The orders of the last hour before the newest; the oldest first.
    pub recent: Vec<Opening>,
}

/// When an order was opened, and by what.
#[derive(Clone, Debug, PartialEq)]
pub struct Opening {
    pub at: Time,
    pub rule_id: Text,
    /// Empty: about no single vehicle.
    pub vehicle_id: Text,
    pub sensor_id: Option<Text>,
    /// Whether the vehicle is in no register.
    pub is_unregistered: bool,
}

impl Opening {
    /// Of the order of this alert.
    pub fn of(alert: &Alert, at: Time) -> Self {
        Self {
            at,
            rule_id: alert.rule_id.clone(),
            vehicle_id: alert.vehicle_id.clone(),
            sensor_id: alert.sensor_id.clone(),
            is_unregistered: alert.unregistered,
        }
    }
}

impl Tx<'_> {
    /// Writes an order unless a later revision of it is there. Its alert must be in the book. Says whether it changed anything.
    ///
    /// # Errors
    /// When the database fails.
    pub fn put_order(&self, order: &Order) -> Result<bool, StoreError> {
        let sql = "INSERT INTO orders (dispatch_id, alert_id, created_at, state, severity, departments, revision, json)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                   ON CONFLICT (dispatch_id) DO UPDATE SET state = excluded.state, severity = excluded.severity,
                       departments = excluded.departments, revision = excluded.revision, json = excluded.json
                   WHERE excluded.revision > orders.revision";
        let changed = self.inner.prepare_cached(sql)?.execute(params![
            &*order.dispatch_id,
            &*order.alert_id.0,
            ms(order.created_at),
            order.state.as_str(),
            order.severity as i64,
            spaced(&order.departments),
            order.revision as i64,
            serde_json::to_string(order)?,
        ])?;
        Ok(changed > 0)
    }

    /// Writes an offer. A pending one never replaces an answered one. Says whether the offer is new: only then is its message
    /// to be sent.
    ///
    /// # Errors
    /// When the database fails.
    pub fn put_offer(&self, offer: &Offer) -> Result<bool, StoreError> {
        let json = serde_json::to_string(offer)?;
        let state = offer.state.as_str();
        let insert = "INSERT OR IGNORE INTO offers (offer_id, dispatch_id, attempt, unit_id, state, json)
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let inserted = self.inner.prepare_cached(insert)?.execute(params![
            &*offer.offer_id,
            &*offer.dispatch_id,
            offer.attempt,
            &*offer.unit_id,
            state,
            json
        ])?;
        if inserted > 0 {
            return Ok(true);
        }
        let update = "UPDATE offers SET state = ?2, json = ?3 WHERE offer_id = ?1 AND ?2 <> 'pending'";
        self.inner.prepare_cached(update)?.execute(params![&*offer.offer_id, state, json])?;
        Ok(false)
    }

    /// Keeps a reply; the same one again changes nothing, nor one that came to nothing when its order has
    /// [`limits::REPLIES_PER_ORDER`] of them, or its unit [`limits::REPLIES_UNASKED`] to orders that there are not. Says whether it
    /// was kept.
    ///
    /// # Errors
    /// When the database fails.
    pub fn put_reply(&self, reply: &Replied) -> Result<bool, StoreError> {
        let sql = "INSERT OR IGNORE INTO replies (reply_id, dispatch_id, unit_id, received_at, outcome, json)
                   SELECT ?1, ?2, ?3, ?4, ?5, ?6
                   WHERE ?5 = 'taken' OR (SELECT count(*) FROM replies WHERE dispatch_id = ?2) < ?7
                       AND (?5 <> 'unknown_dispatch'
                           OR (SELECT count(*) FROM replies WHERE outcome = 'unknown_dispatch' AND unit_id = ?3) < ?8)";
        let added = self.inner.prepare_cached(sql)?.execute(params![
            &*reply.reply_id,
            &*reply.dispatch_id,
            &*reply.unit_id,
            ms(reply.received_at),
            reply.outcome.as_str(),
            serde_json::to_string(reply)?,
            limits::REPLIES_PER_ORDER as i64,
            limits::REPLIES_UNASKED as i64,
        ])?;
        Ok(added > 0)
    }

    /// An order with its offers and replies, as of this commit.
    ///
    /// # Errors
    /// When the database fails.
    pub fn dispatched(&self, dispatch_id: &str) -> Result<Option<Dispatched>, StoreError> {
        one(&self.inner, dispatch_id)
    }

    /// Writes where a unit is, unless something newer is known of it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn put_unit(&self, unit: &UnitState) -> Result<(), StoreError> {
        let sql = "INSERT INTO units (unit_id, at, json) VALUES (?1, ?2, ?3)
                   ON CONFLICT (unit_id) DO UPDATE SET at = excluded.at, json = excluded.json WHERE excluded.at > units.at";
        let json = serde_json::to_string(unit)?;
        self.inner.prepare_cached(sql)?.execute(params![&*unit.unit_id, ms(unit.at), json])?;
        Ok(())
    }
}

impl OrderFilter {
    fn conditions(&self, after: Option<&Cursor>) -> Where {
        let mut all = Where::default();
        if let Some(since) = self.since {
            all.add("created_at >= ?", vec![Box::new(ms(since))]);
        }
        if let Some(until) = self.until {
            all.add("created_at < ?", vec![Box::new(ms(until))]);
        }
        if let Some(state) = self.state {
            all.add("state = ?", vec![Box::new(state.as_str())]);
        }
        if let Some(severity) = self.severity {
            all.add("severity = ?", vec![Box::new(severity as i64)]);
        }
        if let Some(department) = &self.department {
            all.add("instr(departments, ?) > 0", vec![Box::new(format!(" {department} "))]);
        }
        if let Some(cursor) = after {
            all.add("(created_at, dispatch_id) < (?, ?)", vec![Box::new(cursor.at_ms), Box::new(cursor.id.clone())]);
        }
        all
    }
}

/// One page of orders, by falling `(created_at, dispatch_id)`.
pub(super) fn page(
    connection: &Connection,
    filter: &OrderFilter,
    limit: usize,
    cursor: Option<&str>,
) -> Result<Page<Order>, StoreError> {
    let limit = limit.clamp(1, limits::PAGE_ROWS);
    let after = cursor.map(Cursor::parse).transpose()?;
    let conditions = filter.conditions(after.as_ref());
    let order = "ORDER BY created_at DESC, dispatch_id DESC";
    let sql = format!("SELECT json FROM orders {} {order} LIMIT {}", conditions.sql(), limit + 1);
    let orders = rows(connection, &sql, rusqlite::params_from_iter(&conditions.values))?;
    Ok(cut(orders, limit, |order: &Order| Cursor { at_ms: ms(order.created_at), id: order.dispatch_id.to_string() }))
}

pub(super) fn one(connection: &Connection, dispatch_id: &str) -> Result<Option<Dispatched>, StoreError> {
    let found: Vec<Order> = rows(connection, "SELECT json FROM orders WHERE dispatch_id = ?1", [dispatch_id])?;
    let Some(order) = found.into_iter().next() else { return Ok(None) };
    let offers = rows(connection, "SELECT json FROM offers WHERE dispatch_id = ?1 ORDER BY attempt", [dispatch_id])?;
    let sql = "SELECT json FROM replies WHERE dispatch_id = ?1 ORDER BY received_at, reply_id";
    let replies = rows(connection, sql, [dispatch_id])?;
    Ok(Some(Dispatched { order, offers, replies }))
}

pub(super) fn of_alert(connection: &Connection, alert_id: &str) -> Result<Option<Order>, StoreError> {
    Ok(rows(connection, "SELECT json FROM orders WHERE alert_id = ?1", [alert_id])?.into_iter().next())
}

pub(super) fn units(connection: &Connection) -> Result<Vec<UnitState>, StoreError> {
    rows(connection, "SELECT json FROM units ORDER BY unit_id", [])
}

pub(super) fn standing(connection: &Connection) -> Result<Standing, StoreError> {
    const AT_HAND: &str =
        "SELECT dispatch_id, created_at, json FROM orders WHERE state IN ('waiting', 'offered', 'accepted', 'on_scene')
        UNION ALL SELECT * FROM (SELECT dispatch_id, created_at, json FROM orders WHERE state = 'escalated'
            ORDER BY created_at DESC, dispatch_id DESC LIMIT ?1)";
    let limit = limits::ORDERS_ESCALATED as i64;
    let orders = rows(connection, &format!("SELECT json FROM ({AT_HAND}) ORDER BY created_at, dispatch_id"), [limit])?;
    let offers = format!(
        "SELECT offers.json FROM offers JOIN ({AT_HAND}) AS at_hand USING (dispatch_id) ORDER BY dispatch_id, attempt"
    );
    let (offers, units, recent) = (rows(connection, &offers, [limit])?, units(connection)?, recent(connection)?);
    Ok(Standing { orders, offers, units, recent })
}

/// The orders of the last hour before the newest; the oldest first.
fn recent(connection: &Connection) -> Result<Vec<Opening>, StoreError> {
    let sql = "SELECT orders.created_at, alerts.json FROM orders JOIN alerts USING (alert_id)
               WHERE created_at > (SELECT max(created_at) FROM orders) - 3600000 AND orders.state <> 'listed'
               ORDER BY created_at, dispatch_id";
    let mut statement = connection.prepare(sql)?;
    let mut found = statement.query([])?;
    let mut recent = Vec::new();
    while let Some(row) = found.next()? {
        let alert: Alert = serde_json::from_str(&row.get::<_, String>(1)?)?;
        recent.push(Opening::of(&alert, Time::from_millis(row.get(0)?)));
    }
    Ok(recent)
}

pub(super) fn counts(connection: &Connection) -> Result<Vec<(OrderState, u64)>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT state, count(*) FROM orders GROUP BY state")?;
    let mut found = statement.query([])?;
    let mut counts: Vec<(OrderState, u64)> = OrderState::ALL.iter().map(|state| (*state, 0)).collect();
    while let Some(row) = found.next()? {
        let (word, count): (String, i64) = (row.get(0)?, row.get(1)?);
        if let Some(entry) = counts.iter_mut().find(|(state, _)| state.as_str() == word) {
            entry.1 = count as u64;
        }
    }
    Ok(counts)
}
