//! How well alerts tell the truth: what was done on purpose and found, and what nobody did.

use std::{collections::BTreeMap, ops::AddAssign, sync::Arc};

use super::Truth;
use crate::model::Alert;

/// How far an alert may lie from the truth, milliseconds: holds, lights, and reports lost in tunnels.
const SLACK_MS: i64 = 180_000;

/// Rules that add up what others found, at any time and of any truck: they are justified by what they add up.
const ADDING_UP: &[&str] = &[
    "pre-departure-risk",
    "repeat-overspeed-vehicle",
    "repeat-overspeed-company",
    "suspect-black-sink",
    "suspect-black-source",
];

/// What became of one rule, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Violations that must have led to an alert, and those that did.
    pub planted: u32,
    pub found: u32,
    /// Alerts, and those that no truth explains.
    pub alerts: u32,
    pub invented: u32,
}

impl Score {
    /// Share of the planted violations that were found, 0 to 1; 1 of none.
    pub fn recall(&self) -> f64 {
        if self.planted == 0 { 1.0 } else { f64::from(self.found) / f64::from(self.planted) }
    }
}

impl AddAssign for Score {
    fn add_assign(&mut self, other: Self) {
        self.planted += other.planted;
        self.found += other.found;
        self.alerts += other.alerts;
        self.invented += other.invented;
    }
}

/// Scores by rule, and each mistake.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    pub rules: BTreeMap<Arc<str>, Score>,
    pub missed: Vec<Truth>,
    pub invented: Vec<Alert>,
}

impl Verdict {
    /// All rules together.
    pub fn total(&self) -> Score {
        let mut total = Score::default();
        self.rules.values().for_each(|score| total += *score);
        total
    }

    /// Adds what was found in another run.
    pub fn add(&mut self, other: Self) {
        other.rules.into_iter().for_each(|(rule, score)| *self.rules.entry(rule).or_default() += score);
        self.missed.extend(other.missed);
        self.invented.extend(other.invented);
    }
}

/// Holds alerts against the truth.
pub fn score(truths: &[Truth], alerts: &[Alert]) -> Verdict {
    let mut verdict = Verdict::default();
    for truth in truths.iter().filter(|truth| truth.planted) {
        let found = alerts.iter().any(|alert| is_about(alert, truth));
        let score = verdict.rules.entry(Arc::clone(&truth.rule_id)).or_default();
        score.planted += 1;
        score.found += u32::from(found);
        if !found {
            verdict.missed.push(truth.clone());
        }
    }
    for alert in alerts {
        let justified = is_justified(alert, truths);
        let score = verdict.rules.entry(Arc::clone(&alert.rule_id)).or_default();
        score.alerts += 1;
        score.invented += u32::from(!justified);
        if !justified {
            verdict.invented.push(alert.clone());
        }
    }
    verdict
}

fn is_near(alert: &Alert, truth: &Truth) -> bool {
    let ends_after = alert.cleared_at.is_none_or(|at| at.plus_ms(SLACK_MS) >= truth.started_at);
    alert.vehicle_id == truth.vehicle_id && ends_after && alert.started_at <= truth.ended_at.plus_ms(SLACK_MS)
}

fn is_about(alert: &Alert, truth: &Truth) -> bool {
    let has_joined = alert.joined.iter().any(|one| one.rule_id == truth.rule_id);
    (alert.rule_id == truth.rule_id || has_joined) && is_near(alert, truth)
}

fn is_justified(alert: &Alert, truths: &[Truth]) -> bool {
    if ADDING_UP.contains(&&*alert.rule_id) {
        return truths.iter().any(|truth| alert.vehicle_id.is_empty() || alert.vehicle_id == truth.vehicle_id);
    }
    truths
        .iter()
        .any(|truth| is_about(alert, truth) || (is_near(alert, truth) && truth.may_also.contains(&alert.rule_id)))
}
