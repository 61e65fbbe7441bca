//! How risky vehicles were when last assessed.

use std::sync::{Mutex, PoisonError};

use rustc_hash::FxHashMap;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    engine::Assessed,
    model::{Text, Time, limits},
};

/// How risky a vehicle is: at a source's gate, and at least every ten minutes while it reports.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct RiskShown {
    /// The sum of the weights of `reasons`.
    pub score: u32,
    /// The severity that the score reaches; null below all.
    pub level: Option<&'static str>,
    /// Event time of the report by which it was assessed.
    #[schema(value_type = String, format = DateTime)]
    pub assessed_at: Time,
    pub reasons: Vec<ReasonShown>,
    /// Reasons of which nobody knows whether they hold.
    #[schema(value_type = Vec<String>)]
    pub unknown: Vec<Text>,
}

/// Why.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ReasonShown {
    #[schema(value_type = String)]
    pub id: Text,
    /// By language tag.
    #[schema(value_type = Object)]
    pub name: std::collections::BTreeMap<String, String>,
    pub weight: u32,
}

/// The last assessment of every vehicle. Beyond [`limits::POSITIONS`] vehicles new ones are not kept.
#[derive(Debug, Default)]
pub struct LastRisks {
    kept: Mutex<FxHashMap<Text, Assessed>>,
}

impl LastRisks {
    /// Keeps an assessment unless a newer one is known.
    pub fn see(&self, assessed: &Assessed) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = kept.len() < limits::POSITIONS;
        match kept.get_mut(&assessed.vehicle_id) {
            Some(known) if known.at <= assessed.at => known.clone_from(assessed),
            None if has_room => _ = kept.insert(assessed.vehicle_id.clone(), assessed.clone()),
            _ => {}
        }
    }

    /// How risky a vehicle was when last assessed.
    pub fn of(&self, vehicle_id: &str) -> Option<RiskShown> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(vehicle_id).map(shown)
    }
}

fn shown(assessed: &Assessed) -> RiskShown {
    let all: Vec<_> = assessed.sheet.reasons().collect();
    let reason = |index: &u16| {
        let (rule, weight) = all.get(usize::from(*index))?;
        let name = rule.name.languages().map(|(tag, name)| (tag.to_owned(), name.to_owned())).collect();
        Some(ReasonShown { id: rule.id.clone(), name, weight: *weight })
    };
    let id = |index: &u16| all.get(usize::from(*index)).map(|(rule, _)| rule.id.clone());
    RiskShown {
        score: assessed.risk.score,
        level: assessed.risk.level.map(|level| level.as_str()),
        assessed_at: assessed.at,
        reasons: assessed.risk.reasons.iter().filter_map(reason).collect(),
        unknown: assessed.risk.unknown.iter().filter_map(id).collect(),
    }
}
