//! The alert book.

use std::borrow::Cow;

use rusqlite::{Connection, OptionalExtension, ToSql, params};

use super::{
    Page, StoreError, Tx,
    commit::ms,
    page::{Cursor, cut},
};
use crate::model::{Alert, AlertState, Severity, Time, limits};

/// What writing an alert changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was not in the book.
    New,
    /// It became graver, or finished.
    Changed,
    /// The book knew at least as much: nothing is to be told again.
    Known,
}

impl Change {
    /// Whether somebody must be told.
    pub fn is_news(self) -> bool {
        self != Self::Known
    }
}

/// Which alerts; each part that is given narrows the choice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertFilter {
    /// `fired_at` not before this.
    pub since: Option<Time>,
    /// `fired_at` before this.
    pub until: Option<Time>,
    pub state: Option<AlertState>,
    pub rule: Option<String>,
    pub severity: Option<Severity>,
    /// Vehicle ids or plates, each as it stands in alerts: one of them. Empty: whatever vehicle.
    pub vehicles: Vec<String>,
    pub department: Option<String>,
    /// Whether it is of a shadow rule.
    pub shadow: Option<bool>,
}

impl Tx<'_> {
    /// Writes an alert as it stands now. It never goes backwards: what fewer rules have joined, else what is less finished, else
    /// what is less grave than what the book holds changes nothing; but what was withdrawn may come again.
    ///
    /// # Errors
    /// When the database fails.
    pub fn put_alert(&self, alert: &Alert) -> Result<Change, StoreError> {
        let rank = (alert.joined.len() as i64, state_rank(alert.state), alert.severity as i64);
        match self.held(alert)? {
            None => self.insert_alert(alert).map(|()| Change::New),
            Some((_, state, severity)) if state == state_rank(AlertState::Withdrawn) && rank.1 < state => {
                self.update_alert(alert, severity).map(|()| Change::Changed)
            }
            Some(held) if rank <= held => Ok(Change::Known),
            Some((_, _, severity)) => self.update_alert(alert, severity).map(|()| Change::Changed),
        }
    }

    /// Writes an alert as late data shows it, whatever the book holds.
    ///
    /// # Errors
    /// When the database fails.
    pub fn put_alert_again(&self, alert: &Alert) -> Result<Change, StoreError> {
        match one(&self.inner, &alert.alert_id.0)? {
            None => self.insert_alert(alert).map(|()| Change::New),
            Some(held) if held == *alert => Ok(Change::Known),
            Some(_) => self.update_alert(alert, alert.severity as i64).map(|()| Change::Changed),
        }
    }

    /// How many rules have joined it, how finished and how grave it is.
    fn held(&self, alert: &Alert) -> Result<Option<(i64, i64, i64)>, StoreError> {
        let sql =
            "SELECT coalesce(json_array_length(json, '$.joined'), 0), state, severity FROM alerts WHERE alert_id = ?1";
        let mut statement = self.inner.prepare_cached(sql)?;
        Ok(statement.query_row([&*alert.alert_id.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?)
    }

    fn insert_alert(&self, alert: &Alert) -> Result<(), StoreError> {
        let sql = "INSERT INTO alerts (alert_id, fired_at, started_at, rule_id, vehicle_id, plate, severity, state, departments, json, shadow)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        self.inner.prepare_cached(sql)?.execute(params![
            &*alert.alert_id.0,
            ms(alert.fired_at),
            ms(alert.started_at),
            &*alert.rule_id,
            &*alert.vehicle_id,
            &*alert.plate,
            alert.severity as i64,
            state_rank(alert.state),
            spaced(&alert.departments),
            serde_json::to_string(alert)?,
            alert.shadow,
        ])?;
        Ok(())
    }

    fn update_alert(&self, alert: &Alert, held_severity: i64) -> Result<(), StoreError> {
        let severity = (alert.severity as i64).max(held_severity);
        let json = if severity == alert.severity as i64 {
            serde_json::to_string(alert)?
        } else {
            serde_json::to_string(&Alert { severity: severity_of(severity), ..alert.clone() })?
        };
        // Late data may have moved it in time: what is looked up by goes with it.
        let sql = "UPDATE alerts SET severity = ?2, state = ?3, departments = ?4, json = ?5, fired_at = ?6, plate = ?7
                   WHERE alert_id = ?1";
        let (id, state, departments) = (&*alert.alert_id.0, state_rank(alert.state), spaced(&alert.departments));
        let values = params![id, severity, state, departments, json, ms(alert.fired_at), &*alert.plate];
        self.inner.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }
}

/// Every alert whose id begins so, by id.
pub(super) fn beginning_with(
    connection: &Connection,
    prefix: &str,
    each: &mut dyn FnMut(Alert, String),
) -> Result<(), StoreError> {
    // What no id has lies behind all that begin so.
    let sql = "SELECT json FROM alerts WHERE alert_id >= ?1 AND alert_id < ?1 || '~' ORDER BY alert_id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([prefix])?;
    while let Some(row) = rows.next()? {
        let json: String = row.get(0)?;
        each(serde_json::from_str(&json)?, json);
    }
    Ok(())
}

/// How finished an alert is.
fn state_rank(state: AlertState) -> i64 {
    match state {
        AlertState::Open => 0,
        AlertState::Cleared => 1,
        AlertState::Withdrawn => 2,
    }
}

fn severity_of(rank: i64) -> Severity {
    Severity::ALL.iter().copied().find(|severity| *severity as i64 == rank).unwrap_or(Severity::Critical)
}

/// Words between spaces, with one at either end: ` a b `.
pub(super) fn spaced(words: &[std::sync::Arc<str>]) -> String {
    words.iter().fold(String::from(" "), |line, word| line + word + " ")
}

/// Conditions and what they compare with, in the order of their question marks.
#[derive(Default)]
pub(super) struct Where {
    conditions: Vec<Cow<'static, str>>,
    pub values: Vec<Box<dyn ToSql>>,
}

impl Where {
    pub fn add(&mut self, condition: impl Into<Cow<'static, str>>, values: Vec<Box<dyn ToSql>>) {
        self.conditions.push(condition.into());
        self.values.extend(values);
    }

    pub fn sql(&self) -> String {
        if self.conditions.is_empty() { String::new() } else { format!("WHERE {}", self.conditions.join(" AND ")) }
    }
}

impl AlertFilter {
    fn conditions(&self, after: Option<&Cursor>) -> Where {
        let mut all = Where::default();
        if let Some(since) = self.since {
            all.add("fired_at >= ?", vec![Box::new(ms(since))]);
        }
        if let Some(until) = self.until {
            all.add("fired_at < ?", vec![Box::new(ms(until))]);
        }
        // The literal lets the partial index of unfinished alerts serve the commonest question.
        match self.state {
            Some(AlertState::Open) => all.add("state = 0", vec![]),
            Some(state) => all.add("state = ?", vec![Box::new(state_rank(state))]),
            None => {}
        }
        if let Some(rule) = &self.rule {
            all.add("rule_id = ?", vec![Box::new(rule.clone())]);
        }
        if let Some(severity) = self.severity {
            all.add("severity = ?", vec![Box::new(severity as i64)]);
        }
        if !self.vehicles.is_empty() {
            let places = vec!["?"; self.vehicles.len()].join(", ");
            let sql = format!("(vehicle_id IN ({places}) OR plate IN ({places}))");
            let names = || self.vehicles.iter().map(|name| Box::new(name.clone()) as Box<dyn ToSql>);
            all.add(sql, names().chain(names()).collect());
        }
        if let Some(department) = &self.department {
            all.add("instr(departments, ?) > 0", vec![Box::new(format!(" {department} "))]);
        }
        if let Some(shadow) = self.shadow {
            all.add("shadow = ?", vec![Box::new(shadow)]);
        }
        if let Some(cursor) = after {
            all.add("(fired_at, alert_id) < (?, ?)", vec![Box::new(cursor.at_ms), Box::new(cursor.id.clone())]);
        }
        all
    }
}

/// One page of alerts, by falling `(fired_at, alert_id)`.
pub(super) fn page(
    connection: &Connection,
    filter: &AlertFilter,
    limit: usize,
    cursor: Option<&str>,
) -> Result<Page<Alert>, StoreError> {
    let limit = limit.clamp(1, limits::PAGE_ROWS);
    let after = cursor.map(Cursor::parse).transpose()?;
    let conditions = filter.conditions(after.as_ref());
    let sql = format!(
        "SELECT json FROM alerts {} ORDER BY fired_at DESC, alert_id DESC LIMIT {}",
        conditions.sql(),
        limit + 1
    );
    let alerts = rows(connection, &sql, rusqlite::params_from_iter(&conditions.values))?;
    Ok(cut(alerts, limit, |alert: &Alert| Cursor { at_ms: ms(alert.fired_at), id: alert.alert_id.to_string() }))
}

pub(super) fn one(connection: &Connection, alert_id: &str) -> Result<Option<Alert>, StoreError> {
    Ok(rows(connection, "SELECT json FROM alerts WHERE alert_id = ?1", [alert_id])?.into_iter().next())
}

/// Rows whose first column is the JSON of one thing.
pub(super) fn rows<T: serde::de::DeserializeOwned>(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = statement.query(values)?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        all.push(serde_json::from_str(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?);
    }
    Ok(all)
}
