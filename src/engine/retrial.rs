//! History judged again, by what was in force when it was judged first.

use std::{
    collections::BTreeMap,
    iter::{self, Peekable},
    slice,
};

use super::{EngineError, Look, Reference, Watcher, watch::Watched};
use crate::model::{Alert, AlertId, AlertState, Record, Text, Time, Transition};
use crate::store::InForce;

/// Gives what stands behind something that was in force.
pub type Recall<'a> = dyn Fn(&InForce) -> Result<Reference, EngineError> + 'a;

/// What records were judged by, and how many together.
pub struct Course<'a> {
    /// By position; the first holds for what lies before it, too.
    pub in_force: &'a [InForce],
    /// What stands behind one of them.
    pub reference: &'a Recall<'a>,
    pub together: Together,
    /// Records from this position on are not looked at.
    pub until: Option<u64>,
}

/// The last of these changes that came into force up to a position; they are gone then.
pub fn changed_by<'c>(changes: &mut Peekable<slice::Iter<'c, InForce>>, position: u64) -> Option<&'c InForce> {
    iter::from_fn(|| changes.next_if(|change| change.position <= position)).last()
}

/// Which records are judged together: what comes late is put in its place after each such batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Together {
    /// So many.
    Count(usize),
    /// Those that arrived at the same instant: as near as history tells to how a running engine had them.
    Arrival,
}

/// Who listens, too.
pub(super) trait Listener: Watcher {
    /// What judges from now on.
    fn replaced(&mut self, _from: &InForce, _reference: &Reference) -> Result<(), EngineError> {
        Ok(())
    }
    /// A record is about to be judged, or is not.
    fn heard(&mut self, _position: u64, _record: &Record) {}
}

/// What there was to judge.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Heard {
    /// How many records of history were read: for one vehicle those of others are not.
    pub records: u64,
    /// The position of the first of them.
    pub begins_at_position: Option<u64>,
    /// When that record arrived.
    pub begins_at: Option<Time>,
}

/// Judges records, given with their positions and in order of arrival; only those of one vehicle when it is named.
pub(super) fn retry<E: From<EngineError>>(
    course: &Course<'_>,
    records: impl Iterator<Item = Result<(u64, Record), E>>,
    only: Option<Text>,
    listener: &mut impl Listener,
) -> Result<Heard, E> {
    let (Some(first), mut heard) = (course.in_force.first(), Heard::default()) else { return Ok(Heard::default()) };
    let mut changes = course.in_force[1..].iter().peekable();
    let reference = (course.reference)(first)?;
    listener.replaced(first, &reference)?;
    let mut watched = Watched::new(reference, only);
    let (mut together, mut arrival) = (0, None);
    for record in records {
        let (position, record) = record?;
        if course.until.is_some_and(|until| position >= until) {
            break;
        }
        let is_full = match course.together {
            Together::Count(count) => together >= count,
            Together::Arrival => arrival != Some(record.recv_time),
        };
        let change = changed_by(&mut changes, position);
        if is_full || change.is_some() {
            watched.judge(listener)?;
            together = 0;
        }
        if let Some(change) = change {
            let reference = (course.reference)(change)?;
            listener.replaced(change, &reference)?;
            watched.replace(reference);
        }
        (together, arrival) = (together + 1, Some(record.recv_time));
        heard.begins_at_position.get_or_insert(position);
        heard.begins_at.get_or_insert(record.recv_time);
        heard.records += 1;
        listener.heard(position, &record);
        watched.take(record);
    }
    watched.judge(listener)?;
    Ok(heard)
}

/// Every alert that history gives.
#[derive(Debug, Default)]
pub struct Found {
    /// As they finally stood, those that were withdrawn too.
    pub alerts: BTreeMap<AlertId, Alert>,
    pub heard: Heard,
}

impl Watcher for Found {
    fn row(&mut self, _look: &Look<'_>) {}

    fn told(&mut self, transition: &Transition) {
        let alert = transition.alert();
        self.alerts.insert(alert.alert_id.clone(), alert.clone());
    }
}

impl Listener for Found {}

/// Judges all of history again.
///
/// # Errors
/// The first error of `records` (as it came), of judging, or of what was in force.
pub fn find_all<E: From<EngineError>>(
    course: &Course<'_>,
    records: impl Iterator<Item = Result<(u64, Record), E>>,
) -> Result<Found, E> {
    let mut found = Found::default();
    found.heard = retry(course, records, None, &mut found)?;
    Ok(found)
}

/// In what an alert found again is not as it was told.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Difference {
    pub field: String,
    pub told: serde_json::Value,
    pub found: serde_json::Value,
}

/// An alert as it was told: read, and the bytes themselves, since reading may lose the last bit of a number.
#[derive(Clone, Debug)]
pub struct ToldAlert {
    pub alert: Alert,
    pub json: String,
}

impl ToldAlert {
    /// An alert that was found again, told in the same language.
    pub fn likewise(&self, found: &Alert) -> Alert {
        found.clone().said_in(self.alert.language())
    }

    /// Every field in which it differs from an alert that was found again, those of `facts` by their own names; none when the
    /// two are the same, byte for byte, told in the same language.
    pub fn differences(&self, found: &Alert) -> Vec<Difference> {
        let found = serde_json::to_string(&self.likewise(found)).unwrap_or_default();
        if found == self.json {
            return Vec::new();
        }
        // Both read alike.
        let [a, b] = [&self.json, &found].map(|json| serde_json::from_str(json).unwrap_or_default());
        let mut all = Vec::new();
        differ("", &a, &b, &mut all);
        if all.is_empty() {
            let (told, found) = (self.json.as_str().into(), found.into());
            all.push(Difference { field: "json".to_owned(), told, found });
        }
        all
    }
}

impl From<Alert> for ToldAlert {
    fn from(alert: Alert) -> Self {
        Self { json: serde_json::to_string(&alert).unwrap_or_default(), alert }
    }
}

impl TryFrom<String> for ToldAlert {
    type Error = serde_json::Error;

    fn try_from(json: String) -> Result<Self, Self::Error> {
        Ok(Self { alert: serde_json::from_str(&json)?, json })
    }
}

fn differ(path: &str, told: &serde_json::Value, found: &serde_json::Value, all: &mut Vec<Difference>) {
    use serde_json::Value::{Null, Object};
    match (told, found) {
        _ if told == found => {}
        (Object(a), Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                differ(&inner, a.get(name).unwrap_or(&Null), b.get(name).unwrap_or(&Null), all);
            }
        }
        _ => all.push(Difference { field: path.to_owned(), told: told.clone(), found: found.clone() }),
    }
}

/// Whether an alert that one side does not have is missed: what was withdrawn never was.
pub fn is_missed(alert: &Alert) -> bool {
    alert.state != AlertState::Withdrawn
}
