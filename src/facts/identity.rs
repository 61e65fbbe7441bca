//! Identity and all else that the registry says of a vehicle, kept until the registry says that something changes.

use std::sync::{Arc, Weak};

use super::permit;
use crate::{
    model::{Facts, LocalTime, Text, Time, UNREGISTERED},
    registry::{Manifest, Registry, Vehicle, ZoneKind},
};

/// What holds of the vehicle of some devices from one instant to another: a cache, rebuilt when it no longer holds.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// Which registry it was read from; kept weakly so that an old registry is let go.
    registry: Weak<Registry>,
    /// The vehicle's, in order; of an unregistered one its own.
    pub devices: Arc<[Text]>,
    from: Time,
    until: Option<Time>,
    pub vehicle_id: Text,
    plate: Text,
    company_id: Text,
    status: Text,
    max_gross_kg: Option<f64>,
    pub tare_kg: Option<f64>,
    blacklisted: bool,
    outage_filed: bool,
    /// The vehicle's manifests, and which of them is open.
    manifest: Option<(Arc<[Manifest]>, usize)>,
    pub permits: permit::InForce,
    pub has_operating_area: bool,
}

impl Held {
    /// Whether it still says what the registry says of this device at `at`.
    pub fn serves(&self, registry: &Arc<Registry>, device_id: &str, at: Time) -> bool {
        self.from <= at
            && self.until.is_none_or(|until| at < until)
            && std::ptr::eq(self.registry.as_ptr(), Arc::as_ptr(registry))
            && self.devices.iter().any(|one| **one == *device_id)
    }

    /// Looks everything up.
    pub fn look_up(registry: &Arc<Registry>, device_id: &Text, at: Time) -> Self {
        Self::of(registry, registry.vehicle_by_device(device_id, at), device_id, at)
    }

    /// Looks up all of a vehicle; of none, `device_id` is all that is known.
    pub fn of(registry: &Arc<Registry>, vehicle: Option<&Vehicle>, device_id: &Text, at: Time) -> Self {
        let vehicle_id = vehicle.map_or(device_id, |vehicle| &vehicle.vehicle_id).clone();
        let manifests = registry.manifests(&vehicle_id);
        let manifest = vehicle.and_then(|_| open_manifest(manifests, at));
        let named = manifest.and_then(|number| manifests[number].permit_id.as_deref());
        let permits = vehicle.map_or_else(|| Arc::from([]), |_| Arc::clone(registry.permits(&vehicle_id)));
        let company_id = vehicle.map_or_else(|| Text::from(""), |vehicle| vehicle.company_id.clone());
        let devices = vehicle.map(|vehicle| Arc::clone(&vehicle.device_ids)).filter(|ids| ids.contains(device_id));
        let devices = devices.unwrap_or_else(|| Arc::from([device_id.clone()]));
        let changes = devices.iter().chain([&vehicle_id]).filter_map(|id| registry.changes(id, at)).min();
        let areas = registry.zones().all().iter();
        let mut operating = areas.filter(|zone| zone.kind == ZoneKind::OperatingArea && zone.valid.contains(at));
        Self {
            registry: Arc::downgrade(registry),
            devices,
            from: at,
            until: changes,
            plate: vehicle.map_or(device_id, |vehicle| &vehicle.plate).clone(),
            status: Text::from(vehicle.map_or(UNREGISTERED, |vehicle| vehicle.status.as_str())),
            max_gross_kg: vehicle.and_then(|vehicle| vehicle.max_gross_kg),
            tare_kg: vehicle.and_then(|vehicle| vehicle.tare_kg),
            blacklisted: registry.blacklisted(&vehicle_id, &company_id, None, at),
            outage_filed: registry.outage_filed(&vehicle_id, at),
            manifest: manifest.map(|number| (Arc::clone(manifests), number)),
            permits: permit::InForce::new(permits, named, at),
            has_operating_area: operating.next().is_some(),
            company_id,
            vehicle_id,
        }
    }

    /// The open manifest.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref().map(|(all, number)| &all[*number])
    }

    /// Fills vehicle, driver, manifest, blacklist and outage as of `at`.
    pub fn tell(&self, row: &mut Facts, registry: &Registry, at: Time, driver_id: Option<&Text>) {
        row.vehicle_id = Some(self.vehicle_id.clone());
        row.plate = Some(self.plate.clone());
        row.company_id = Some(self.company_id.clone());
        row.vehicle_status = Some(self.status.clone());
        row.max_gross_kg = self.max_gross_kg;
        row.outage_filed = Some(self.outage_filed);
        row.event_time = Some(at);
        let manifest = self.manifest();
        row.driver_id = driver_id.or(manifest.and_then(|manifest| manifest.driver_id.as_ref())).cloned();
        if let Some(manifest) = manifest {
            row.manifest_id = Some(manifest.manifest_id.clone());
            row.manifest_open_s = Some(at.s_since(manifest.opened_at));
            (row.manifest_planned_s, row.manifest_planned_m) =
                (manifest.planned_duration_s, manifest.planned_distance_m);
            row.manifest_driver_id = manifest.driver_id.clone();
            row.driver_mismatch = driver_id.zip(manifest.driver_id.as_ref()).map(|(told, named)| told != named);
        }
        let driver = row.driver_id.as_deref();
        row.blacklisted = Some(
            self.blacklisted
                || driver.is_some() && registry.blacklisted(&self.vehicle_id, &self.company_id, driver, at),
        );
    }
}

/// The manifest that was opened last of those that are open.
fn open_manifest(manifests: &[Manifest], at: Time) -> Option<usize> {
    let open = manifests.iter().enumerate().filter(|(_, manifest)| manifest.is_open(at));
    open.max_by_key(|(number, manifest)| (manifest.opened_at, *number)).map(|(number, _)| number)
}

/// Fills the local clock.
pub(super) fn tell_local(row: &mut Facts, local: LocalTime) {
    row.local_hour = Some(i64::from(local.hour()));
    row.local_minute_of_day = Some(i64::from(local.minute_of_day));
    row.local_weekday = Some(i64::from(local.weekday));
}
