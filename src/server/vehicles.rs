//! One vehicle: what is registered, what its permits say now, where it is, what it did.

use std::{cmp::Reverse, sync::Arc};

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App, Position,
    problem::{Problem, blocking},
    query::{Id, Params},
    risk::RiskShown,
    shape,
};
use crate::{
    model::{Alert, LocalTime, Text, Time, Validity, plate},
    registry::{Manifest, Permit, PermitStatus, Registry, Vehicle},
    store::AlertFilter,
};

/// Alerts shown with a vehicle.
const RECENT: usize = 20;

/// A vehicle, as of now.
#[derive(Serialize, ToSchema)]
pub(super) struct VehicleShown {
    #[schema(value_type = String)]
    vehicle_id: Text,
    #[schema(value_type = String)]
    plate: Text,
    /// Null when it stands in no registry.
    registration: Option<Registration>,
    permit: PermitVerdict,
    /// The vehicle or its company is on the blacklist.
    blacklisted: bool,
    /// An outage is filed for it, which excuses going dark.
    outage_filed: bool,
    /// The open manifest.
    #[schema(value_type = Option<String>)]
    manifest_id: Option<Text>,
    last_position: Option<Position>,
    /// How risky it is to let it depart; null before its first report, and without a sheet of risks among the rules.
    risk: Option<RiskShown>,
    /// Newest first.
    #[schema(value_type = Vec<shape::Alert>)]
    recent_alerts: Vec<Alert>,
}

/// What is registered about it: the row that holds now, or else the last that did.
#[derive(Serialize, ToSchema)]
pub(super) struct Registration {
    /// Whether the row holds now.
    current: bool,
    #[schema(value_type = String)]
    plate_color: Text,
    /// The first of `device_ids`; empty when no device is fitted.
    #[schema(value_type = String)]
    device_id: Text,
    /// What is fitted; positions are those of the first while it tells any.
    #[schema(value_type = Vec<String>)]
    device_ids: Vec<Text>,
    #[schema(value_type = String)]
    company_id: Text,
    #[schema(value_type = Option<String>)]
    company_name: Option<Text>,
    /// `active`, `suspended`, `maintenance` or `banned`.
    status: &'static str,
    max_gross_kg: Option<f64>,
    tare_kg: Option<f64>,
    /// Of `cover`, `lift`, `load`, `driver`, `camera`.
    sensors: Vec<&'static str>,
    #[serde(flatten)]
    valid: Valid,
}

/// From when until when a row holds; null is open-ended.
#[derive(Serialize, ToSchema)]
pub(super) struct Valid {
    #[schema(value_type = Option<String>, format = DateTime)]
    valid_from: Option<Time>,
    #[schema(value_type = Option<String>, format = DateTime)]
    valid_to: Option<Time>,
}

/// Whether it may haul now.
#[derive(Serialize, ToSchema)]
pub(super) struct PermitVerdict {
    /// That of the permit that says most: `valid`, `revoked`, `suspended`, `expired`, `not_yet`, or `none` when there is none.
    status: &'static str,
    /// Whether now is in a window of a valid permit; null without a valid one.
    in_window: Option<bool>,
    /// Each permit, those that count most first.
    permits: Vec<PermitShown>,
}

/// One permit, as of now.
#[derive(Serialize, ToSchema)]
pub(super) struct PermitShown {
    #[schema(value_type = String)]
    permit_id: Text,
    status: &'static str,
    /// Whether local time is in one of its windows.
    in_window: bool,
    #[schema(value_type = String)]
    source_id: Text,
    #[schema(value_type = Vec<String>)]
    sink_ids: Vec<Text>,
    #[schema(value_type = Vec<String>)]
    route_ids: Vec<Text>,
    #[serde(flatten)]
    valid: Valid,
}

/// A vehicle by its id, plate or device
#[utoipa::path(
    get, path = "/api/v1/vehicles/{id}", tag = "vehicles",
    params(("id" = String, Path, description = "Vehicle id, plate (however written; without province where one alone has it) or device id")),
    responses(
        (status = 200, body = VehicleShown),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn one(State(app): State<App>, Id(id): Id, params: Params) -> Result<Json<VehicleShown>, Problem> {
    params.finish()?;
    let registry = Arc::clone(&app.state.registry.borrow());
    let now = (app.state.now)();
    let vehicle = find(&registry, &id, now);
    let names = names(&registry, &id, now);
    let last_position = names.iter().find_map(|name| app.state.positions.of(name));
    let filter = AlertFilter { vehicles: names, shadow: Some(false), ..AlertFilter::default() };
    let store = app.state.store;
    let recent_alerts = blocking(move || store.alerts(&filter, RECENT, None)).await?.rows;
    let registered = vehicle.map(|vehicle| &vehicle.vehicle_id);
    let heard = last_position.as_ref().map(|position| &position.vehicle_id);
    let told = recent_alerts.first().map(|alert| &alert.vehicle_id);
    let vehicle_id: Text = registered.or(heard).or(told).cloned().unwrap_or_else(|| id.as_str().into());
    if vehicle.is_none() && last_position.is_none() && recent_alerts.is_empty() {
        return Err(not_found(&registry, &id, now));
    }
    let company_id = vehicle.map(|vehicle| vehicle.company_id.clone()).unwrap_or_default();
    let local = app.state.zone.local(now);
    Ok(Json(VehicleShown {
        plate: shown_plate(vehicle, last_position.as_ref(), &recent_alerts).unwrap_or_else(|| vehicle_id.clone()),
        registration: vehicle.map(|vehicle| registration(&registry, vehicle, now)),
        permit: verdict(registry.permits(&vehicle_id), now, local),
        blacklisted: registry.blacklisted(&vehicle_id, &company_id, None, now),
        outage_filed: registry.outage_filed(&vehicle_id, now),
        manifest_id: open_manifest(registry.manifests(&vehicle_id), now).map(|manifest| manifest.manifest_id.clone()),
        last_position,
        risk: app.state.risks.of(&vehicle_id),
        recent_alerts,
        vehicle_id,
    }))
}

/// By id, plate or device as of now, else the last version by that id or plate.
fn find<'a>(registry: &'a Registry, id: &str, now: Time) -> Option<&'a Vehicle> {
    let wanted = plate::plate(id);
    let is_it = |vehicle: &&Vehicle| *vehicle.vehicle_id == *id || plate::plate(&vehicle.plate) == wanted;
    let latest = |vehicle: &&Vehicle| (vehicle.valid.to.is_none(), vehicle.valid.to, vehicle.valid.from);
    registry
        .vehicle(id, now)
        .or_else(|| registry.vehicle_by_plate(id, now))
        .or_else(|| registry.vehicle_by_device(id, now))
        .or_else(|| registry.vehicles().filter(is_it).max_by_key(latest))
}

/// By what names the vehicle that somebody calls `id` may stand in alerts: its id; one that is not registered has its plate or its
/// device's id for one.
pub(super) fn names(registry: &Registry, id: &str, now: Time) -> Vec<String> {
    if let Some(vehicle) = find(registry, id, now) {
        return vec![vehicle.vehicle_id.to_string()];
    }
    let plate = plate::plate(id);
    let is_plate = plate::without_province(&plate).is_some();
    let mut names = vec![id.to_owned(), plate::device_id(id).into_owned()];
    names.extend(is_plate.then(|| plate.into_owned()));
    names.dedup();
    names
}

/// That there is no such vehicle, with the plates that may be meant.
fn not_found(registry: &Registry, id: &str, now: Time) -> Problem {
    let mut problem = Problem::not_found("vehicle", id);
    let near: Vec<String> = registry.nearest_plates(id, now).into_iter().map(|plate| format!("{plate:?}")).collect();
    if !near.is_empty() {
        problem.detail.push_str(&format!("; did you mean {}?", near.join(", ")));
    }
    problem
}

fn shown_plate(vehicle: Option<&Vehicle>, position: Option<&Position>, alerts: &[Alert]) -> Option<Text> {
    let registered = vehicle.map(|vehicle| &vehicle.plate);
    let seen = position.map(|position| &position.plate);
    registered.or(seen).or(alerts.first().map(|alert| &alert.plate)).cloned()
}

fn registration(registry: &Registry, vehicle: &Vehicle, now: Time) -> Registration {
    let carried = vehicle.sensors;
    let sensors = [
        ("cover", carried.cover),
        ("lift", carried.lift),
        ("load", carried.load),
        ("driver", carried.driver),
        ("camera", carried.camera),
    ];
    Registration {
        current: vehicle.valid.contains(now),
        plate_color: vehicle.plate_color.clone(),
        device_id: vehicle.device_ids.first().cloned().unwrap_or_else(|| Text::from("")),
        device_ids: vehicle.device_ids.to_vec(),
        company_id: vehicle.company_id.clone(),
        company_name: registry.company(&vehicle.company_id, now).map(|company| company.name.clone()),
        status: vehicle.status.as_str(),
        max_gross_kg: vehicle.max_gross_kg,
        tare_kg: vehicle.tare_kg,
        sensors: sensors.into_iter().filter(|(_, is_carried)| *is_carried).map(|(name, _)| name).collect(),
        valid: vehicle.valid.into(),
    }
}

impl From<Validity> for Valid {
    fn from(valid: Validity) -> Self {
        Self { valid_from: valid.from, valid_to: valid.to }
    }
}

fn verdict(permits: &[Permit], now: Time, local: LocalTime) -> PermitVerdict {
    let mut permits: Vec<PermitShown> = permits.iter().map(|permit| shown(permit, now, local)).collect();
    permits.sort_by_key(|permit| (rank(permit.status), Reverse(permit.in_window), Reverse(permit.valid.valid_from)));
    let first = permits.first();
    PermitVerdict {
        status: first.map_or("none", |permit| permit.status),
        in_window: first.filter(|permit| permit.status == "valid").map(|permit| permit.in_window),
        permits,
    }
}

fn shown(permit: &Permit, now: Time, local: LocalTime) -> PermitShown {
    PermitShown {
        permit_id: permit.permit_id.clone(),
        status: status(permit, now),
        in_window: permit.windows.contains(local),
        source_id: permit.source_id.clone(),
        sink_ids: permit.sink_ids.clone(),
        route_ids: permit.route_ids.clone(),
        valid: permit.valid.into(),
    }
}

/// The word that the fact `permit_status` would have for this permit alone.
fn status(permit: &Permit, now: Time) -> &'static str {
    let Validity { from, to } = permit.valid;
    match permit.status {
        _ if to.is_some_and(|to| to <= now) => "expired",
        _ if from.is_some_and(|from| from > now) => "not_yet",
        PermitStatus::Valid => "valid",
        PermitStatus::Suspended => "suspended",
        PermitStatus::Revoked => "revoked",
    }
}

/// Which status says most: that it holds, what an authority decided, what ran out, what is to come.
fn rank(status: &str) -> usize {
    ["valid", "revoked", "suspended", "expired"].iter().position(|word| *word == status).unwrap_or(4)
}

fn open_manifest(manifests: &[Manifest], now: Time) -> Option<&Manifest> {
    manifests.iter().filter(|manifest| manifest.is_open(now)).max_by_key(|manifest| manifest.opened_at)
}
