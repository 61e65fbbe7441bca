//! The late lane: what came late in a batch, and what it changes of what was told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    Finding, Found,
    past::{Kept, Told},
};
use serde::{Deserialize, Serialize};

use crate::{
    alerts::VehicleAlerts,
    model::{Alert, AlertId, JumpLimits, LocalText, Text, Time, Transition, limits::RETOLD_ALERTS},
};

/// What the late lane goes by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LateSettings {
    /// Memory for what may still be judged again, MiB, of all vehicles together. Default 1,024: about two hours of 16,000 trucks
    /// that report every ten seconds.
    pub memory_mib: u64,
    /// Seconds between two snapshots of the engine's state. Default 300.
    pub snapshot_s: u64,
    /// What comes later than this is not judged, seconds: as in admission.
    #[serde(skip)]
    pub max_age_s: i64,
    /// What a truck cannot have driven: as in admission.
    #[serde(skip)]
    pub jumps: JumpLimits,
    /// What is older than all that memory keeps waits for the vehicle's history.
    #[serde(skip)]
    pub has_history: bool,
}

/// What waits for history is found so long after it came, at most.
const MARGIN_MS: i64 = 3_600_000;

impl Default for LateSettings {
    fn default() -> Self {
        Self {
            memory_mib: 1_024,
            snapshot_s: 300,
            max_age_s: 72 * 3_600,
            jumps: JumpLimits::default(),
            has_history: false,
        }
    }
}

impl LateSettings {
    /// Nothing of before this may still come at `now`, not even what waits for history for a while.
    pub fn too_old(&self, now: Time) -> Time {
        now.plus_ms(self.max_age_s.saturating_mul(-1_000).saturating_sub(MARGIN_MS))
    }

    /// Memory of each of so many shards, bytes.
    pub fn bytes(&self) -> usize {
        usize::try_from(self.memory_mib.saturating_mul(1 << 20)).unwrap_or(usize::MAX)
    }
}

/// What came late of one vehicle in one batch, and what came of it after that.
#[derive(Debug, Default)]
pub struct Lateness {
    /// Event time of its latest input when the first of these came.
    pub newest: Option<Time>,
    pub span: Span,
    /// With the records that they came by; from [`WAITED`] on: places in `waited`.
    pub inputs: Vec<(u32, Kept)>,
    /// Journal positions of what came before and waited for history.
    pub waited: Vec<u64>,
    /// What was sent since then is judged again, for a record.
    pub again: Option<(u32, Time)>,
    /// Event time of the latest input by now.
    latest: Option<Time>,
}

/// What came late: how much, from when to when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    count: u32,
    first: Option<Time>,
    last: Option<Time>,
}

/// Numbers from here on are of no record of the batch, but of what waited.
pub const WAITED: u32 = 1 << 31;

/// The journal position of what waited.
pub fn waited_at(waited: &[u64], record: u32) -> Option<u64> {
    waited.get(record.checked_sub(WAITED)? as usize).copied()
}

impl Lateness {
    /// What waited for history, of a vehicle whose latest input was at `newest`.
    pub fn waiting(newest: Time, waited: Vec<(u64, Kept)>) -> Self {
        let mut lateness = Self::since(Some(newest));
        for (number, (position, kept)) in (WAITED..).zip(waited) {
            lateness.waited.push(position);
            lateness.add(number, kept.at().unwrap_or(newest), kept);
        }
        lateness
    }

    /// Of a vehicle whose latest input was at `newest`.
    pub fn since(newest: Option<Time>) -> Self {
        Self { newest, latest: newest, ..Self::default() }
    }

    /// Has what was sent since a time judged again.
    pub fn judge_again(&mut self, record: u32, since: Time) {
        let (first, earliest) = self.again.unwrap_or((record, since));
        self.again = Some((first, earliest.min(since)));
    }

    /// Adds what came, late or not.
    pub fn add(&mut self, record: u32, at: Time, mut kept: Kept) {
        if Some(at) <= self.latest {
            kept.came_late();
        }
        if Some(at) <= self.newest {
            self.span.count += 1;
            self.span.first = Some(self.span.first.map_or(at, |first| first.min(at)));
            self.span.last = self.span.last.max(Some(at));
        }
        self.latest = self.latest.max(Some(at));
        self.inputs.push((record, kept));
    }
}

impl Lateness {
    /// Adds a look at silence.
    pub fn look(&mut self, record: u32, at: Time, silent_ms: Option<i64>) {
        self.inputs.push((record, Kept::timer(at, silent_ms, self.latest)));
    }
}

/// Alerts of one vehicle that only late data showed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Retold(VecDeque<AlertId>);

impl Retold {
    /// Says so in what is told of them.
    pub fn sign(&self, findings: &mut [Finding]) {
        if self.0.is_empty() {
            return;
        }
        for finding in findings {
            if let Found::Change(transition) = &mut finding.what {
                let alert = transition.alert_mut();
                alert.retrospective = self.0.contains(&alert.alert_id);
            }
        }
    }

    /// What must be told, with the rule of each, so that `after` holds for whoever was told `before`; `known` were open before both.
    pub fn differ(
        &mut self,
        known: &VehicleAlerts,
        before: &[Told],
        after: Vec<Told>,
        span: &Span,
    ) -> Vec<(Text, Found)> {
        let (old, new) = (finals(known, before), finals(known, &after));
        let mut told: Vec<(Text, Found)> = Vec::new();
        let ids: BTreeSet<&AlertId> = old.keys().chain(new.keys()).collect();
        for id in ids {
            let found = match (old.get(id), new.get(id)) {
                (None, Some(alert)) => {
                    if self.0.len() >= RETOLD_ALERTS {
                        self.0.pop_front();
                    }
                    self.0.push_back(id.clone());
                    Transition::Opened(Alert { retrospective: true, ..Alert::clone(alert) })
                }
                (Some(alert), None) => {
                    let retrospective = alert.retrospective || self.0.contains(id);
                    self.0.retain(|one| one != id);
                    let alert = Alert { retrospective, ..Alert::clone(alert) };
                    Transition::Withdrawn(alert.withdrawn(span.because()))
                }
                (Some(old), Some(new)) => {
                    let retrospective = old.retrospective || self.0.contains(id);
                    let new = Alert { retrospective, ..Alert::clone(new) };
                    if (Alert { retrospective: new.retrospective, ..Alert::clone(old) }) == new {
                        continue;
                    }
                    Transition::Revised(new)
                }
                (None, None) => continue,
            };
            told.push((found.alert().rule_id.clone(), Found::Change(Box::new(found))));
        }
        let is_in = |all: &[Told], one: &Told| all.contains(one);
        for one in before.iter().filter(|one| !is_in(&after, one)) {
            let Told::Hit(rule_id, row, _) = one else { continue };
            told.push((rule_id.clone(), Found::Unhit(row.clone())));
        }
        for one in after.into_iter().filter(|one| !is_in(before, one)) {
            if let Told::Hit(rule_id, row, severity) = one {
                told.push((rule_id, Found::Hit { row, severity, is_late: true }));
            }
        }
        told
    }
}

/// How each alert stands in the end.
fn finals<'a>(known: &'a VehicleAlerts, told: &'a [Told]) -> BTreeMap<AlertId, &'a Alert> {
    let told = told.iter().filter_map(|told| match told {
        Told::Alert(alert) => Some(&**alert),
        Told::Hit(..) => None,
    });
    known.standing().chain(told).map(|alert| (alert.alert_id.clone(), alert)).collect()
}

impl Span {
    fn because(&self) -> LocalText {
        let (first, last) = (self.first.unwrap_or_default(), self.last.unwrap_or_default());
        match self.count {
            0 => LocalText {
                zh: "按现在的登记信息，此事不成立".to_owned(),
                en: "what is registered by now shows that it was not so".to_owned(),
            },
            1 => LocalText {
                zh: format!("迟到的一条上报（{first}）表明此事不成立"),
                en: format!("a late report of {first} shows that it was not so"),
            },
            count => LocalText {
                zh: format!("迟到的 {count} 条上报（{first} 至 {last}）表明此事不成立"),
                en: format!("{count} late reports of {first} to {last} show that it was not so"),
            },
        }
    }
}
