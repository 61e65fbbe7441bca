//! Zones: which hold here and now, and what they forbid.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::around::{Around, LISTED};
use crate::{
    model::{Facts, InZone, LocalTime, Text, Time},
    registry::{Registry, Zone, ZoneKind},
};

/// Fills `in_*`, `outside_operating_area` and `zone_ids`; gives the lowest speed limit of the zones that hold, km/h.
pub(super) fn tell(
    row: &mut Facts,
    around: &mut Around,
    registry: &Registry,
    local: LocalTime,
    has_operating_area: bool,
    none: &Arc<[Text]>,
) -> Option<f64> {
    let all = registry.zones().all();
    let (mut kinds, mut holding, mut limit_kmh) = (0u8, 0u64, None::<f64>);
    for (place, number) in around.zones.iter().enumerate() {
        let zone = &all[*number as usize];
        if zone.schedule.contains(local) {
            kinds |= 1 << zone.kind as u8;
            holding |= 1 << place.min(LISTED - 1);
            let lower = |limit: f64| limit_kmh.map_or(limit, |known| known.min(limit));
            limit_kmh = zone.speed_limit_kmh.map(lower).or(limit_kmh);
        }
    }
    let in_any = |kind: ZoneKind| kinds & (1 << kind as u8) != 0;
    row.in_forbidden = Some(in_any(ZoneKind::Forbidden));
    row.in_restricted = Some(in_any(ZoneKind::Restricted));
    row.in_control = Some(in_any(ZoneKind::Control));
    row.in_water = Some(in_any(ZoneKind::Water));
    row.in_eco = Some(in_any(ZoneKind::Eco));
    row.outside_operating_area = has_operating_area.then(|| !in_any(ZoneKind::OperatingArea));
    row.zone_ids = Some(list(around, registry, local, holding, none));
    limit_kmh
}

/// Since when it is in a zone while its schedule holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Since {
    zone_id: Text,
    at: Time,
}

/// Follows the truck into and out of zones, and tells each for itself.
pub(super) fn follow(
    since: &mut Vec<Since>,
    around: &Around,
    registry: &Registry,
    local: LocalTime,
    at: Time,
) -> Arc<[InZone]> {
    let zones = around.zones.iter().map(|number| &registry.zones().all()[*number as usize]);
    let here: Vec<&Zone> = zones.filter(|zone| zone.schedule.contains(local)).collect();
    since.retain(|known| here.iter().any(|zone| zone.zone_id == known.zone_id));
    let tell = |zone: &Zone| {
        let known = since.iter().find(|known| known.zone_id == zone.zone_id).map(|known| known.at);
        let from = known.unwrap_or_else(|| {
            since.push(Since { zone_id: zone.zone_id.clone(), at });
            at
        });
        InZone {
            zone_id: zone.zone_id.clone(),
            kind: zone.kind.as_str(),
            name: zone.name.clone(),
            tags: Arc::clone(&zone.tags),
            dwell_s: at.s_since(from),
        }
    };
    here.into_iter().map(tell).collect()
}

/// The tags of the zones that hold, each once and in order.
pub(super) fn tags(around: &Around, registry: &Registry, local: LocalTime, none: &Arc<[Text]>) -> Arc<[Text]> {
    let zones = around.zones.iter().map(|number| &registry.zones().all()[*number as usize]);
    let mut tags: Vec<&Text> =
        zones.filter(|zone| zone.schedule.contains(local)).flat_map(|zone| &*zone.tags).collect();
    if tags.is_empty() {
        return Arc::clone(none);
    }
    tags.sort_unstable();
    tags.dedup();
    tags.into_iter().cloned().collect()
}

/// The ids of the zones that hold; the last list again when it is the same.
fn list(around: &mut Around, registry: &Registry, local: LocalTime, holding: u64, none: &Arc<[Text]>) -> Arc<[Text]> {
    if holding == 0 {
        return Arc::clone(none);
    }
    if let Some((listed, ids)) = &around.listed
        && *listed == holding
        && around.zones.len() < LISTED
    {
        return Arc::clone(ids);
    }
    let zones = around.zones.iter().map(|number| &registry.zones().all()[*number as usize]);
    let holds = zones.filter(|zone| zone.schedule.contains(local));
    let ids: Arc<[Text]> = holds.map(|zone| zone.zone_id.clone()).collect();
    around.listed = Some((holding, Arc::clone(&ids)));
    ids
}
