//! The fold: which family is asked when.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    Settings,
    around::Around,
    body::{self, Body},
    clock::Clock,
    crossing,
    dark::Dark,
    devices::{self, Devices},
    driving::Driving,
    gap::{self, Gap, LastFix},
    identity::{Held, tell_local},
    motion::{Motion, Sight},
    permit,
    place::{self, Stay},
    road::{OnRoad, Passage, Roads},
    route::{Course, OffRoute},
    sensors::Sensors,
    settled::{self, Limits, Unsettled},
    sighting::Seen,
    trip::{Leg, Trips},
    turn::{self, Turn},
    zone,
};
use crate::{
    model::{
        ColumnSet, DeviceReport, EventPhase, Facts, Sighting, Text, Time, limits::EVENTS_PER_REPORT, place as place_of,
        plate,
    },
    registry::Registry,
    spatial::Point,
};

/// What a vehicle's next row is made from.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A report, in order of event time.
    Report {
        report: &'a DeviceReport,
        event_time: Time,
        /// When it arrived.
        recv_time: Time,
        /// Whether its position is good enough for geometry.
        use_position: bool,
    },
    /// A sighting of the vehicle by its plate.
    Sighting {
        sighting: &'a Sighting,
        event_time: Time,
        /// How long after its sensor's own time it arrived, or before, seconds: its clock may be wrong by as much.
        lag_s: f64,
    },
    /// The clock: nothing has come for `silent_s` seconds; `None` where nobody could have spoken.
    Timer { vehicle_id: &'a Text, at: Time, silent_s: Option<f64> },
}

/// What a report means beside those of the vehicle's other devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DevicePart {
    /// Of the device that is followed.
    Followed,
    /// Of another, with something of its own to say: a row that can say true and nothing else.
    Aside,
    /// Of another that only says what the followed one says, too, or what is remembered until that one reports.
    Silent,
}

/// What is remembered of one vehicle. Serialised, it goes on exactly where it was.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VehicleState {
    device_id: Option<Text>,
    devices: Option<Box<Devices>>,
    last_fix: Option<LastFix>,
    clock: Clock,
    dark: Dark,
    turn: Option<Box<Turn>>,
    motion: Motion,
    driving: Driving,
    body: Body,
    stay: Option<Stay>,
    last_place_id: Option<Text>,
    zones: Vec<zone::Since>,
    district_id: Option<Text>,
    on_road: OnRoad,
    unsettled: Option<Box<Unsettled>>,
    off_route: OffRoute,
    trips: Trips,
    sensors: Sensors,
    seen: Seen,
    #[serde(skip)]
    held: Option<Box<Held>>,
    #[serde(skip)]
    around: Around,
}

impl VehicleState {
    /// Up to when reports are settled: just before the one that waits for the next.
    pub fn settled_until(&self) -> Option<Time> {
        self.unsettled.as_ref().map(|report| report.at.plus_ms(-1))
    }

    /// What is remembered, without what is only kept at hand to be quick.
    pub fn remembered(&self) -> Self {
        Self { held: None, around: Around::default(), ..self.clone() }
    }
}

/// Which families are computed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    pub local: bool,
    pub place: bool,
    pub zone: bool,
    pub cell: bool,
    pub district: bool,
    pub road: bool,
    pub settled: bool,
    pub permit: bool,
    pub route: bool,
    pub trip: bool,
    pub clock: bool,
    pub turn: bool,
    pub aside: bool,
    pub sensors: bool,
    pub standing: bool,
    pub company: bool,
    pub nearest: bool,
    pub tags: bool,
    pub each_zone: bool,
    pub crossing: bool,
}

impl Needs {
    /// What a column needs to be computed, with what that needs in turn.
    fn new(columns: ColumnSet) -> Self {
        let any = |names: &[&str]| columns.contains_any(names);
        let permit = any(&["permit_id", "permit_status", "in_permit_window"]);
        let aside = any(&["trip_aside_s", "trip_returning"]);
        let sensors = any(&["cover_still_trips", "load_disagreed_trips"]);
        let standing = any(&["place_status", "place_approved"]);
        let trip = any(&["trip_id", "trip_source_id", "trip_s", "trip_distance_m", "trip_ended"])
            || any(&["trip_gross_change_kg", "source_gate", "recent_alerts"])
            || any(&["trip_washed", "trip_stops"])
            || permit
            || aside
            || sensors;
        let settled =
            any(&["settled_time", "settled_lat", "settled_lon", "settled_speed_kmh", "settled_speed_limit_kmh"])
                || any(&["settled_road_id", "settled_road_name"]);
        let limit = settled || any(&["speed_limit_kmh"]);
        let tags = any(&["zone_tags"]);
        let each_zone = any(&["zone_id", "zone_kind", "zone_name", "zone_dwell_s"]);
        let nearest = any(&["nearest_source_m", "nearest_sink_m", "nearest_backfill_m"])
            || any(&["nearest_transfer_m", "nearest_depot_m", "nearest_workshop_m"]);
        let zone = limit
            || tags
            || each_zone
            || any(&["in_forbidden", "in_restricted", "in_control", "in_water", "in_eco"])
            || any(&["outside_operating_area", "zone_ids"]);
        let place = any(&["place_id", "place_kind", "place_dwell_s", "in_source", "in_sink", "in_approved_place"])
            || any(&["last_place_id"]);
        Self {
            local: zone || permit || any(&["local_hour", "local_minute_of_day", "local_weekday"]),
            place: trip || place || standing || any(&["sink_permitted"]),
            zone,
            cell: any(&["cell_id"]),
            district: any(&["district_id"]),
            road: limit
                || aside
                || any(&["road_id", "road_name", "road_class", "road_distance_m", "road_confidence", "road_ambiguous"]),
            settled,
            permit,
            route: aside || any(&["route_id", "route_deviation_m", "off_route", "off_route_s"]),
            trip,
            clock: any(&["clock_skew_s", "clock_fault"]),
            turn: any(&["turn_deg", "turn_s", "turn_min_speed_kmh", "turn_acceleration_mps2"]),
            aside,
            sensors,
            standing,
            company: any(&["company_name"]),
            nearest,
            tags,
            each_zone,
            crossing: any(&["zones_crossed", "crossed_forbidden"]),
        }
    }
}

/// The fold over one registry, computing the facts that are asked for.
#[derive(Clone, Debug)]
pub struct Fold {
    registry: Arc<Registry>,
    needs: Needs,
    settings: Settings,
    /// The list of nothing, shared.
    none: Arc<[Text]>,
}

/// A report and what was found out about it so far.
struct Moment<'a> {
    report: &'a DeviceReport,
    at: Time,
    recv_time: Time,
    /// Whether a receiver gave a position at all.
    has_fix: bool,
    /// Another device of the truck tells where it is.
    is_aside: bool,
    /// Where it is good enough to follow the truck by.
    fix: Option<Point>,
    gap: Option<Gap>,
    /// Where the truck is judged to be: the centre of its stand, else the fix.
    spot: Option<Spot>,
}

/// Where the truck is judged to be, and how wrong that may be.
#[derive(Clone, Copy, Debug)]
struct Spot {
    point: Point,
    /// Metres; 0 where it is near enough for every place.
    error_m: f64,
}

/// What a spot can say.
#[derive(Clone, Copy, Debug)]
struct Sure {
    of_places: bool,
    of_zones: bool,
}

impl Fold {
    /// Over `registry`, filling at least the columns of `needed`. What a column that is newly needed remembers begins
    /// afresh at the next report.
    pub fn new(registry: Arc<Registry>, needed: ColumnSet, settings: Settings) -> Self {
        let needs = Needs::new(needed);
        if needs.road {
            // Now rather than at the first report.
            registry.network();
        }
        Self { registry, needs, settings, none: Arc::from([]) }
    }

    /// The vehicle that carried the device at `at`; the device's own id when it is in no registry.
    pub fn vehicle_id(&self, device_id: &str, at: Time) -> Text {
        let vehicle = self.registry.vehicle_by_device(device_id, at);
        vehicle.map_or_else(|| device_id.into(), |vehicle| vehicle.vehicle_id.clone())
    }

    /// The vehicle that a sighting is of, by its plate; the plate itself when it is in no registry. `None` without a plate
    /// that was read well enough.
    pub fn vehicle_seen(&self, sighting: &Sighting, at: Time) -> Option<Text> {
        let plate = plate::plate(sighting.plate.as_deref().filter(|written| !written.is_empty())?);
        if !plate::names_a_vehicle(&plate) {
            return None;
        }
        let is_sure = sighting.plate_confidence.is_none_or(|confidence| confidence >= self.settings.plate_confidence);
        let vehicle = self.registry.vehicle_by_plate(&plate, at);
        is_sure.then(|| vehicle.map_or_else(|| Text::from(&*plate), |vehicle| vehicle.vehicle_id.clone()))
    }

    /// Whether a vehicle has several devices.
    pub fn has_others(&self, vehicle_id: &str, at: Time) -> bool {
        self.registry.vehicle(vehicle_id, at).is_some_and(|vehicle| vehicle.device_ids.len() > 1)
    }

    /// What a report means beside the vehicle's other devices. Only of a vehicle with several the answer is ever another.
    pub fn part(&self, state: &mut VehicleState, report: &DeviceReport, use_position: bool, at: Time) -> DevicePart {
        self.hold(state, &report.device_id, at);
        let fitted = state.held.as_ref().map_or(&[][..], |held| &held.devices);
        let Some(devices) = state.devices.as_ref().filter(|_| fitted.len() > 1) else { return DevicePart::Followed };
        let has_position = use_position && place_of(report.lat, report.lon).is_some();
        if devices.follow(fitted, &report.device_id, has_position, at) {
            DevicePart::Followed
        } else if devices::says_more(report) {
            DevicePart::Aside
        } else {
            DevicePart::Silent
        }
    }

    /// Remembers what a report tells that makes no row.
    pub fn note(&self, state: &mut VehicleState, report: &DeviceReport, at: Time, recv_time: Time) {
        let devices = state.devices.get_or_insert_default();
        devices.complete(report, at);
        if self.needs.clock {
            devices.tell_clock(&mut Facts::default(), report, recv_time);
        }
    }

    /// The next row of a vehicle. Reports come in order of event time.
    pub fn step(&self, state: &mut VehicleState, input: Input<'_>) -> Facts {
        let mut row = Facts::default();
        self.fill(&mut row, state, input);
        row
    }

    /// The same into a row that is empty.
    pub fn fill(&self, row: &mut Facts, state: &mut VehicleState, input: Input<'_>) {
        match input {
            Input::Report { report, event_time, recv_time, use_position } => {
                let is_aside = self.part(state, report, use_position, event_time) != DevicePart::Followed;
                let has_several = state.held.as_ref().is_some_and(|held| held.devices.len() > 1);
                let devices = has_several.then(|| state.devices.get_or_insert_default());
                let whole = devices.map_or(Cow::Borrowed(report), |devices| devices.complete(report, event_time));
                let report = &*whole;
                let given = place_of(report.lat, report.lon).filter(|_| use_position && !is_aside);
                let given = given.map(|(lat, lon)| Point::new(lon, lat));
                // What may be farther off than a parked receiver jumps says nothing of how the truck moves.
                let fix = given.filter(|_| report.accuracy_m.is_none_or(|m| m <= self.settings.drift_m));
                // Between two receivers there is no way driven.
                let is_other = state.devices.as_ref().is_some_and(|devices| devices.is_new_guide(&report.device_id));
                let last = state.last_fix.filter(|_| !is_other);
                let gap = fix.and_then(|fix| last.map(|last| Gap::since(last, event_time, fix)));
                let (at, has_fix) = (event_time, given.is_some());
                self.fold_report(row, state, Moment { report, at, recv_time, has_fix, is_aside, fix, gap, spot: None });
            }
            Input::Sighting { sighting, event_time, lag_s } => {
                self.fold_sighting(row, state, sighting, event_time, lag_s);
            }
            Input::Timer { vehicle_id, at, silent_s } => self.fold_timer(row, state, vehicle_id, at, silent_s),
        }
        debug_assert!(row.row_kind == Some("report") || row.astray().is_empty(), "{:?}", row.astray());
    }

    fn fold_report(&self, row: &mut Facts, state: &mut VehicleState, mut moment: Moment<'_>) {
        let Moment { report, at, fix, .. } = moment;
        if state.device_id.as_deref() != Some(&*report.device_id) {
            state.device_id = Some(report.device_id.clone());
        }
        row.row_kind = Some("report");
        self.tell_report(row, &moment);
        // The odometer and the reception of a second device say nothing of the first one's.
        let is_aside = moment.is_aside;
        if self.needs.clock {
            match &mut state.devices {
                Some(devices) => devices.tell_clock(row, report, moment.recv_time),
                None => state.clock.step(row, report, moment.recv_time),
            }
        }
        if !is_aside {
            state.dark.step(row, report, moment.has_fix, at);
        }
        let tare_kg = state.held.as_ref().and_then(|held| held.tare_kg);
        // What changed is for the followed device's next report to show, where it is known where that was.
        let mut aside = state.body;
        let body = if is_aside { &mut aside } else { &mut state.body };
        body.step(row, report, tare_kg, at);
        if self.needs.turn && !is_aside {
            turn::follow(&mut state.turn, row, moment.gap.as_ref(), report, at);
        }
        moment.spot = self.follow_motion(row, state, &moment);
        let may_stand = row.moving == Some(false) || state.motion.is_in_doubt();
        gap::tell_speed(row, moment.gap.as_ref(), report, may_stand, &self.settings);
        if !is_aside {
            state.driving.step(row, at, &self.settings);
        }
        self.tell_registered(row, state, at, report.driver_id.as_ref());
        let limits = self.tell_surroundings(row, state, &moment);
        if self.needs.settled && !is_aside {
            settled::step(&mut state.unsettled, row, at, moment.gap.as_ref(), limits, &self.settings);
        }
        self.tell_journey(row, state, &moment);
        if let Some(devices) = state.devices.as_mut().filter(|_| moment.has_fix) {
            devices.guided_by(&report.device_id, at);
        }
        if let Some(point) = fix {
            let (speed_kmh, course) = (report.speed_kmh, turn::course(report));
            let is_rough = self.error_m(report) > 0.0;
            state.last_fix = Some(LastFix { at, point, speed_kmh, course, is_rough });
        }
    }

    /// Looks up what is registered, unless it is known and still holds.
    fn hold(&self, state: &mut VehicleState, device_id: &Text, at: Time) {
        if !state.held.as_ref().is_some_and(|held| held.serves(&self.registry, device_id, at)) {
            state.held = Some(Box::new(Held::look_up(&self.registry, device_id, at)));
            state.around.forget();
        }
    }

    /// What the report itself says.
    fn tell_report(&self, row: &mut Facts, moment: &Moment<'_>) {
        let report = moment.report;
        (row.lon, row.lat) = (moment.fix.map(|fix| fix.lon), moment.fix.map(|fix| fix.lat));
        row.heading_deg = report.heading_deg;
        row.accuracy_m = report.accuracy_m;
        row.odometer_m = report.odometer_m.filter(|_| !moment.is_aside);
        row.speed_recorder_kmh = report.speed_recorder_kmh;
        row.alarms = Some(if report.alarms.is_empty() {
            Arc::clone(&self.none)
        } else {
            report.alarms.iter().take(EVENTS_PER_REPORT).cloned().collect()
        });
        row.events = Some(if report.events.is_empty() {
            Arc::clone(&self.none)
        } else {
            let going_on = || report.events.iter().filter(|event| event.phase != Some(EventPhase::End));
            row.event_level = going_on().take(EVENTS_PER_REPORT).filter_map(|event| event.level).max();
            going_on().take(EVENTS_PER_REPORT).map(|event| event.kind.clone()).collect()
        });
        gap::tell(row, moment.gap.as_ref(), report);
    }

    /// Fills motion and gives the spot at which the rest is judged; `None` when nobody knows where it is.
    fn follow_motion(&self, row: &mut Facts, state: &mut VehicleState, moment: &Moment<'_>) -> Option<Spot> {
        let exact = |point| Spot { point, error_m: 0.0 };
        let Some(fix) = moment.fix else {
            let speed_kmh = moment.report.speed_kmh;
            state.motion.tell_blind(row, moment.at, speed_kmh, &self.settings);
            return state.motion.spot().filter(|_| row.moving == Some(false)).map(exact);
        };
        let (speed_kmh, ignition) = (moment.report.speed_kmh, moment.report.ignition);
        state.motion.step(Sight { at: moment.at, fix, speed_kmh, ignition }, &self.settings);
        state.motion.tell(row, moment.at);
        let stand =
            state.motion.spot().map(|point| Spot { point, error_m: state.motion.astray_m(fix, &self.settings) });
        let here = || stand.unwrap_or(Spot { point: fix, error_m: self.error_m(moment.report) });
        (!state.motion.is_in_doubt()).then(here)
    }

    /// How wrong a report's fix may be, metres; 0 where it is near enough for every place.
    fn error_m(&self, report: &DeviceReport) -> f64 {
        report.accuracy_m.filter(|metres| *metres > self.settings.max_accuracy_m).unwrap_or(0.0)
    }

    /// What is registered about the vehicle, and the local clock.
    fn tell_registered(&self, row: &mut Facts, state: &VehicleState, at: Time, driver_id: Option<&Text>) {
        if let Some(held) = &state.held {
            held.tell(row, &self.registry, at, driver_id);
            self.tell_company(row, at);
        }
        if self.needs.local {
            tell_local(row, self.settings.zone.local(at));
        }
    }

    fn tell_company(&self, row: &mut Facts, at: Time) {
        if self.needs.company {
            let company = row.company_id.as_deref().and_then(|company_id| self.registry.company(company_id, at));
            row.company_name = company.map(|company| company.name.clone()).filter(|name| !name.is_empty());
        }
    }

    /// Places, zones, district, road and limit.
    fn tell_surroundings(&self, row: &mut Facts, state: &mut VehicleState, moment: &Moment<'_>) -> Limits {
        let at = moment.at;
        let Some(spot) = moment.spot else {
            self.tell_kept(row, state, at);
            return Limits::default();
        };
        let registry = &*self.registry;
        state.around.look(registry, spot.point, at, self.needs);
        let is_sure = self.is_sure(registry, spot, at);
        if self.needs.place && is_sure.of_places {
            let before = state.stay.clone();
            place::follow(&mut state.stay, &mut state.around, registry, spot.point, at, &self.settings);
            if let Some(left) =
                before.filter(|before| state.stay.as_ref().is_none_or(|now| now.place_id != before.place_id))
            {
                state.last_place_id = Some(left.place_id);
            }
            self.tell_place(row, state, moment);
        } else if self.needs.place {
            place::tell(row, state.stay.as_ref(), state.last_place_id.as_ref(), at);
        }
        if self.needs.nearest && spot.error_m == 0.0 {
            place::tell_nearest(row, &state.around);
        }
        if self.needs.crossing {
            self.tell_crossing(row, state, moment);
        }
        if self.needs.cell && spot.error_m == 0.0 {
            row.cell_id = Some(place::cell_id(spot.point));
        }
        if self.needs.district {
            let district = state.around.district.map(|number| &registry.districts().get(number as usize).district_id);
            if state.district_id.as_ref() != district {
                state.district_id = district.cloned();
            }
            row.district_id = state.district_id.clone();
        }
        let zone_kmh = (self.needs.zone && is_sure.of_zones).then(|| self.tell_zones(row, state, at)).flatten();
        // A standing receiver wanders, so places are judged by the centre of its stand; a truck that leaves one is on the road
        // where its fix is.
        let on_road = moment.fix.unwrap_or(spot.point);
        let has_road = self.needs.road && self.error_m(moment.report) <= self.settings.road_radius_m;
        let roads = if has_road { self.tell_road(row, state, moment, on_road) } else { Roads::default() };
        row.speed_limit_kmh = settled::lower(zone_kmh, roads.here.as_ref().map(|road| road.limit_kmh));
        Limits { zone_kmh, roads }
    }

    /// Whether the spot is wherever the truck may truly be, as far as places and zones go: a fix that may be 100 m wrong says
    /// nothing about a gate 50 m away, and all about an operating area whose edge is a kilometre off.
    fn is_sure(&self, registry: &Registry, spot: Spot, at: Time) -> Sure {
        let mut sure = Sure { of_places: true, of_zones: true };
        if spot.error_m > 0.0 {
            let is_near = |distance_m: f64| distance_m.abs() < spot.error_m;
            registry.places().within_m(spot.point, spot.error_m, at, |_, _, m| sure.of_places &= !is_near(m));
            registry.zones().within_m(spot.point, spot.error_m, at, |_, _, m| sure.of_zones &= !is_near(m));
        }
        sure
    }

    fn tell_place(&self, row: &mut Facts, state: &VehicleState, moment: &Moment<'_>) {
        let Some(held) = &state.held else { return };
        let allows = |sink_id: &str| held.permits.allows_sink(sink_id);
        place::tell(row, state.stay.as_ref(), state.last_place_id.as_ref(), moment.at);
        place::tell_flags(row, &state.around, &self.registry, allows);
        if self.needs.standing {
            place::tell_standing(row, state.stay.as_ref(), &state.around, &self.registry, moment.at);
        }
        let way = moment.gap.as_ref().filter(|gap| gap.is_short(&self.settings) && state.motion.spot().is_none());
        if let (None, Some(gap), Some(fix)) = (&state.stay, way, moment.fix) {
            place::tell_crossed(row, gap, fix, &self.registry, moment.at, allows);
        }
    }

    /// A stand is no way.
    fn tell_crossing(&self, row: &mut Facts, state: &VehicleState, moment: &Moment<'_>) {
        let gap = moment.gap.as_ref().filter(|_| state.motion.spot().is_none());
        let way =
            gap.zip(moment.fix).map(|(gap, fix)| crossing::Way { gap, fix, at: moment.at, report: moment.report });
        crossing::tell(row, way, &self.registry, &self.settings, &self.none);
    }

    fn tell_zones(&self, row: &mut Facts, state: &mut VehicleState, at: Time) -> Option<f64> {
        let local = self.settings.zone.local(at);
        let has_operating_area = state.held.as_ref().is_some_and(|held| held.has_operating_area);
        if self.needs.each_zone {
            row.zones = Some(zone::follow(&mut state.zones, &state.around, &self.registry, local, at));
        }
        if self.needs.tags {
            row.zone_tags = Some(zone::tags(&state.around, &self.registry, local, &self.none));
        }
        zone::tell(row, &mut state.around, &self.registry, local, has_operating_area, &self.none)
    }

    fn tell_road(&self, row: &mut Facts, state: &mut VehicleState, moment: &Moment<'_>, spot: Point) -> Roads {
        // Standing receivers report courses at random.
        let is_fast = row.speed_kmh.is_some_and(|kmh| kmh >= self.settings.stop_speed_kmh);
        let is_moving = is_fast && row.moving != Some(false);
        let heading_deg = moment.report.heading_deg;
        let unsettled = state.unsettled.as_ref().map(|before| before.at);
        let passage = Passage { spot, at: moment.at, is_moving, heading_deg, settles: self.needs.settled, unsettled };
        state.on_road.step(row, &self.registry, passage, &self.settings)
    }

    /// Route, trip and permit.
    fn tell_journey(&self, row: &mut Facts, state: &mut VehicleState, moment: &Moment<'_>) {
        let at = moment.at;
        let VehicleState { held: Some(held), stay, trips, off_route, sensors, seen, .. } = state else { return };
        let spot = moment.spot.map(|spot| spot.point);
        if let (true, Some(spot)) = (self.needs.route, spot) {
            let (registry, in_force) = (&*self.registry, &held.permits);
            off_route.step(row, &Course { registry, in_force, spot, at }, &self.settings);
        }
        if self.needs.trip {
            let driven_m = moment.gap.as_ref().filter(|_| row.moving != Some(false)).map_or(0.0, |gap| gap.m);
            let leg = Leg {
                vehicle_id: &held.vehicle_id,
                at,
                odometer_m: row.odometer_m,
                driven_m,
                gross_kg: row.gross_kg,
                washed: seen.washed(),
            };
            trips.step(row, stay.as_ref(), leg);
        }
        if self.needs.aside {
            trips.look_aside(row, &self.registry, spot, at);
        }
        if self.needs.sensors && !moment.is_aside {
            sensors.step(row, moment.report.cover);
        }
        self.tell_permit(row, held, trips, at);
    }

    fn tell_permit(&self, row: &mut Facts, held: &Held, trips: &Trips, at: Time) {
        if !self.needs.permit {
            return;
        }
        let named = held.manifest().and_then(|manifest| manifest.permit_id.as_deref());
        let load = permit::Load { source_id: trips.source_id(), permit_id: named };
        held.permits.tell(row, self.settings.zone.local(at), load);
    }

    /// Place and district as last known.
    fn tell_kept(&self, row: &mut Facts, state: &VehicleState, at: Time) {
        if self.needs.place {
            place::tell(row, state.stay.as_ref(), state.last_place_id.as_ref(), at);
        }
        row.district_id = state.district_id.clone();
    }

    /// A row made by a sensor beside the road: what it saw, and what is registered of the plate.
    fn fold_sighting(&self, row: &mut Facts, state: &mut VehicleState, sighting: &Sighting, at: Time, lag_s: f64) {
        row.row_kind = Some("sighting");
        let registry = &self.registry;
        let plate = Text::from(&*plate::plate(sighting.plate.as_deref().unwrap_or_default()));
        let vehicle = registry.vehicle_by_plate(&plate, at);
        let by_device = vehicle.and_then(|vehicle| vehicle.device_ids.first());
        // The device that it carries says the same of it; without one, what is registered is looked up each time.
        match by_device {
            Some(device_id) => {
                let device_id = device_id.clone();
                self.hold(state, &device_id, at);
                self.tell_registered(row, state, at, None);
            }
            None => {
                let held = Held::of(registry, vehicle, &plate, at);
                held.tell(row, registry, at, None);
                self.tell_company(row, at);
                if self.needs.local {
                    tell_local(row, self.settings.zone.local(at));
                }
            }
        }
        let gate = sighting.place_id.as_deref().map(|place_id| registry.places().named(place_id, at));
        row.sighting_place_registered = gate.map(|gate| gate.is_some()).filter(|_| !registry.places().is_empty());
        let gate = gate.flatten().map(|(number, _)| registry.places().index().area(number).middle());
        // A sensor that does not know where it is stands at its place.
        let point = place_of(sighting.lat, sighting.lon).map(|(lat, lon)| Point::new(lon, lat)).or(gate);
        state.seen.step(row, sighting, point, state.last_fix.as_ref(), (at, lag_s));
        row.sighting_gross_kg = body::weight(sighting.gross_kg, vehicle.and_then(|vehicle| vehicle.tare_kg));
        if let Some(held) = state.held.as_ref().filter(|_| by_device.is_some()) {
            self.tell_permit(row, held, &state.trips, at);
        }
        row.district_id = state.district_id.clone();
    }

    /// A row made by the clock: what is registered as of `at`, and what was last known. Momentary readings are NULL.
    fn fold_timer(
        &self,
        row: &mut Facts,
        state: &mut VehicleState,
        vehicle_id: &Text,
        at: Time,
        silent_s: Option<f64>,
    ) {
        row.row_kind = Some("timer");
        row.silent_s = silent_s;
        row.event_time = Some(at);
        // What is registered of a device that spoke last; of one that was taken off since, or never spoke, what is of the vehicle.
        let spoke = state.device_id.clone().filter(|device_id| self.vehicle_id(device_id, at) == *vehicle_id);
        let fitted = || self.registry.vehicle(vehicle_id, at).and_then(|vehicle| vehicle.device_ids.first()).cloned();
        if let Some(device_id) = spoke.or_else(fitted).or_else(|| state.device_id.clone()) {
            self.hold(state, &device_id, at);
        }
        self.tell_registered(row, state, at, None);
        state.body.tell_last(row);
        (row.lon, row.lat) = (state.last_fix.map(|fix| fix.point.lon), state.last_fix.map(|fix| fix.point.lat));
        self.tell_kept(row, state, at);
        if self.needs.trip {
            state.trips.tell(row, state.seen.washed(), at);
        }
        if let Some(held) = &state.held {
            self.tell_permit(row, held, &state.trips, at);
        }
    }
}
