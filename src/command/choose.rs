//! Whom to ask, and why the others were not asked.

use super::{
    Queue, UnitInfo,
    because::{Because, Passed},
    queue::{Case, is_held},
};
use crate::model::{Considered, OfferState, Order, PassedOver, Text, Time, UnitKind, UnitState, UnitStatus, limits};

/// A choice and its reasons.
#[derive(Debug, Default)]
struct Choice {
    chosen: Option<(Text, Option<f64>)>,
    considered: Vec<Considered>,
    passed: Passed,
}

impl Queue {
    /// Asks the next unit for an order that is in search of one; when there is none, it waits, or is left to the department.
    pub(super) fn seek(&mut self, dispatch_id: &str, now: Time) {
        if self.stop_if_ended(dispatch_id, now) {
            return;
        }
        let Some(case) = self.cases.get(dispatch_id) else { return };
        let Some(search) = case.order.search.filter(|_| case.pending().is_none()) else { return };
        if search.asked >= limits::OFFERS_PER_ORDER {
            return self.escalate(dispatch_id, &Because::AskedInVain(search.asked), now);
        }
        let choice = self.choose(case, now);
        let hopeless = choice.chosen.is_none().then(|| self.why_hopeless(case, &choice)).flatten();
        let because = Because::of_choice(choice.chosen.as_ref(), &case.order, choice.passed);
        let words = because.in_words(self.settings.language);
        let Choice { chosen, considered, .. } = choice;
        if let Some(order) = self.change(dispatch_id, now) {
            order.reason = words;
            order.considered = considered;
        }
        match (chosen, hopeless) {
            (Some((unit_id, distance_m)), _) => self.make_offer(dispatch_id, &unit_id, distance_m, now),
            (None, Some(reason)) => self.escalate(dispatch_id, &reason, now),
            (None, None) if search.until <= now => self.escalate(dispatch_id, &Because::NobodyInTime, now),
            (None, None) => self.file(dispatch_id),
        }
    }

    /// Whether the unit could be asked for this order now.
    pub(super) fn may_ask(&self, case: &Case, unit_id: &str, now: Time) -> bool {
        let Some(unit) = self.globe.get(unit_id) else { return false };
        self.kinds(&case.order).any(|kind| self.passed_over(case, unit, kind, now).is_none())
    }

    /// The kinds of unit that may be asked, the preferred first.
    fn kinds(&self, order: &Order) -> impl Iterator<Item = UnitKind> + use<> {
        let other_too = self.settings.other_kind_too;
        let other = order.kind.map(|kind| if kind == UnitKind::Grid { UnitKind::Squad } else { UnitKind::Grid });
        order.kind.into_iter().chain(other.filter(|_| other_too))
    }

    fn choose(&self, case: &Case, now: Time) -> Choice {
        let mut choice = Choice::default();
        for kind in self.kinds(&case.order) {
            choice = match (case.order.lat, case.order.lon) {
                (Some(lat), Some(lon)) => {
                    let candidates = self.globe.nearest(lat, lon).map(|(id, distance_m)| (id, Some(distance_m)));
                    self.first_of(candidates, case, kind, now)
                }
                _ if case.order.district_id.is_some() => {
                    let mut units: Vec<&UnitState> =
                        self.roster.keys().filter_map(|unit_id| self.globe.get(unit_id)).collect();
                    units.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.unit_id.cmp(&b.unit_id)));
                    self.first_of(units.into_iter().map(|unit| (&unit.unit_id, None)), case, kind, now)
                }
                _ => return choice,
            };
            if choice.chosen.is_some() {
                break;
            }
        }
        choice
    }

    fn first_of<'a>(
        &self,
        candidates: impl Iterator<Item = (&'a Text, Option<f64>)>,
        case: &Case,
        kind: UnitKind,
        now: Time,
    ) -> Choice {
        let mut choice = Choice::default();
        for (unit_id, distance_m) in candidates {
            let Some(unit) = self.globe.get(unit_id) else { continue };
            let distance_m = distance_m.map(|metres| (metres * 10.0).round() / 10.0);
            let passed_over = self.passed_over(case, unit, kind, now);
            choice.note(Considered { unit_id: unit_id.clone(), distance_m, passed_over });
            if passed_over.is_none() {
                choice.chosen = Some((unit_id.clone(), distance_m));
                break;
            }
        }
        choice
    }

    /// Why this unit is not asked for this order now; `None`: it can be.
    fn passed_over(&self, case: &Case, unit: &UnitState, kind: UnitKind, now: Time) -> Option<PassedOver> {
        let Some(info) = self.roster.get(&unit.unit_id) else { return Some(PassedOver::Unregistered) };
        if let Some(reason) = unsuited(&case.order, info, kind).or_else(|| asked_before(case, &unit.unit_id)) {
            return Some(reason);
        }
        let age_ms = now.ms_since(unit.at);
        match unit.status {
            _ if self.holding.contains_key(&unit.unit_id) => Some(PassedOver::Holding),
            UnitStatus::Off => Some(PassedOver::Off),
            UnitStatus::Busy => Some(PassedOver::Busy),
            UnitStatus::Available if age_ms > self.settings.stale_after_ms => Some(PassedOver::Stale),
            UnitStatus::Available => None,
        }
    }

    /// Why waiting would help nothing.
    fn why_hopeless(&self, case: &Case, choice: &Choice) -> Option<Because> {
        let order = &case.order;
        if (order.lat.is_none() || order.lon.is_none()) && order.district_id.is_none() {
            return Some(Because::NoPlace);
        }
        let could_come = |info: &UnitInfo| {
            self.kinds(order).any(|kind| unsuited(order, info, kind).is_none())
                && asked_before(case, &info.unit_id).is_none()
        };
        if self.roster.values().any(could_come) {
            return None;
        }
        Some(Because::hopeless(case, choice.passed))
    }
}

/// Why a unit is not one for this order at all.
fn unsuited(order: &Order, info: &UnitInfo, kind: UnitKind) -> Option<PassedOver> {
    let by_district = order.lat.is_none() || order.lon.is_none();
    if !order.departments.contains(&info.department) {
        Some(PassedOver::OtherDepartment)
    } else if info.kind != kind {
        Some(PassedOver::OtherKind)
    } else if by_district && info.district_id != order.district_id {
        Some(PassedOver::OtherDistrict)
    } else {
        None
    }
}

/// What came of asking this unit for this order before.
fn asked_before(case: &Case, unit_id: &str) -> Option<PassedOver> {
    let offer = case.offers.iter().rev().find(|offer| &*offer.unit_id == unit_id)?;
    Some(match offer.state {
        state if is_held(state) => PassedOver::Holding,
        OfferState::Expired => PassedOver::Silent,
        _ => PassedOver::Declined,
    })
}

impl Choice {
    fn note(&mut self, considered: Considered) {
        if let Some(reason) = considered.passed_over {
            self.passed.0[reason as usize] += 1;
        }
        if self.considered.len() == limits::CONSIDERED_PER_CHOICE {
            if considered.passed_over.is_some() {
                return;
            }
            // The chosen one is always named.
            self.considered.pop();
        }
        self.considered.push(considered);
    }
}
