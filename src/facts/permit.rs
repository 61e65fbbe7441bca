//! Permits: which one counts, what it is worth, and whether this is one of its hours.

use std::sync::Arc;

use crate::{
    model::{Facts, LocalTime, Text, Time},
    registry::{Permit, PermitStatus},
};

/// The vehicle's permits as of an instant.
#[derive(Clone, Debug)]
pub(super) struct InForce {
    /// Every version; below, places in it.
    all: Arc<[Permit]>,
    valid: Box<[u32]>,
    /// Without a valid one: the one that says most, and what it says.
    other: Option<(u32, &'static str)>,
    /// Permits whose routes and ends count: the valid ones and the one that the open manifest names.
    carrying: Box<[u32]>,
    /// The routes of those, each once.
    pub routes: Box<[Text]>,
}

impl InForce {
    /// Of all versions of a vehicle's permits; `named` is the open manifest's.
    pub fn new(permits: Arc<[Permit]>, named: Option<&str>, at: Time) -> Self {
        let numbered = || (0u32..).zip(&*permits);
        let is_valid = |permit: &Permit| permit.status == PermitStatus::Valid && permit.valid.contains(at);
        let is_named = |permit: &Permit| Some(&*permit.permit_id) == named && permit.valid.contains(at);
        let carrying = numbered().filter(|(_, permit)| is_valid(permit) || is_named(permit));
        let mut routes: Vec<Text> = carrying.clone().flat_map(|(_, permit)| permit.route_ids.iter().cloned()).collect();
        routes.sort_unstable();
        routes.dedup();
        Self {
            valid: numbered().filter(|(_, permit)| is_valid(permit)).map(|(number, _)| number).collect(),
            other: numbered().map(|(number, permit)| (number, why_not(permit, at))).min_by_key(|(_, why)| rank(why)),
            carrying: carrying.map(|(number, _)| number).collect(),
            routes: routes.into(),
            all: Arc::clone(&permits),
        }
    }

    /// The valid ones.
    fn valid(&self) -> impl Iterator<Item = &Permit> + Clone {
        self.valid.iter().map(|number| &self.all[*number as usize])
    }

    /// Those whose routes and ends count.
    pub fn carrying(&self) -> impl Iterator<Item = &Permit> {
        self.carrying.iter().map(|number| &self.all[*number as usize])
    }

    /// Whether the sink belongs to a valid permit.
    pub fn allows_sink(&self, sink_id: &str) -> bool {
        self.valid().any(|permit| permit.sink_ids.iter().any(|sink| **sink == *sink_id))
    }

    /// Fills `permit_id`, `permit_status` and `in_permit_window`. Of several valid permits the one counts that the open manifest
    /// names, for its hours are those of this load; then the one whose window holds, then the one from the source of the load,
    /// then the first.
    pub fn tell(&self, row: &mut Facts, local: LocalTime, load: Load<'_>) {
        let worth = |permit: &Permit| {
            let from_source = load.source_id == Some(&*permit.source_id);
            (load.permit_id == Some(&*permit.permit_id), permit.windows.contains(local), from_source)
        };
        let better = |best: &'_ Permit, permit: &'_ Permit| worth(permit) > worth(best);
        let best = self.valid().reduce(|best, permit| if better(best, permit) { permit } else { best });
        if let Some(permit) = best {
            row.permit_id = Some(permit.permit_id.clone());
            row.permit_status = Some("valid");
            row.in_permit_window = Some(permit.windows.contains(local));
            return;
        }
        let other = self.other.map(|(number, why)| (&self.all[number as usize], why));
        row.permit_id = other.map(|(permit, _)| permit.permit_id.clone());
        row.permit_status = Some(other.map_or("none", |(_, why)| why));
    }
}

/// What is known of the load that a permit is wanted for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load<'a> {
    /// The source that the truck is in or has left on this trip.
    pub source_id: Option<&'a str>,
    /// The permit that the open manifest names.
    pub permit_id: Option<&'a str>,
}

/// Why a permit does not hold at `at`.
fn why_not(permit: &Permit, at: Time) -> &'static str {
    if permit.valid.to.is_some_and(|to| to <= at) {
        "expired"
    } else if permit.valid.contains(at) {
        permit.status.as_str()
    } else {
        "not_yet"
    }
}

/// Which reason says most: what an authority decided, then what ran out, then what is to come.
fn rank(why: &str) -> u8 {
    ["valid", "revoked", "suspended", "expired"].iter().position(|word| *word == why).unwrap_or(4) as u8
}
