//! Which units there are.

use crate::{
    model::{Text, Time, UnitKind},
    registry::Registry,
};

/// What dispatch needs to know of a registered unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitInfo {
    pub unit_id: Text,
    pub name: Text,
    pub department: Text,
    pub kind: UnitKind,
    pub district_id: Option<Text>,
}

/// The units registered as of `at`.
pub fn roster(registry: &Registry, at: Time) -> Vec<UnitInfo> {
    let info = |unit: &crate::registry::Unit| UnitInfo {
        unit_id: unit.unit_id.clone(),
        name: unit.name.clone(),
        department: unit.department.clone(),
        kind: unit.kind,
        district_id: unit.district_id.clone(),
    };
    registry.units(at).map(info).collect()
}
