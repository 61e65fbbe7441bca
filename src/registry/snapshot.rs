//! The registry in memory: every version of every row, looked up as of an instant.

use std::sync::{Arc, OnceLock};

use rustc_hash::FxHashMap;

use super::{
    entity::{
        BlacklistEntry, Company, District, Driver, Manifest, Outage, Permit, PermitStatus, Place, Road, Route, Subject,
        Unit, Vehicle, Versioned, Zone,
    },
    layer::{Areas, Lines, numbers_by},
};
use crate::{
    model::{Named, NamedZone, Names, Text, Time, Validity, plate},
    spatial::{Network, Piece},
};

/// An immutable snapshot. The default is empty.
#[derive(Debug, Default)]
pub struct Registry {
    vehicles: Versions<Vehicle>,
    by_device: FxHashMap<Text, Vec<u32>>,
    by_plate: FxHashMap<Text, Vec<u32>>,
    /// By plate without its province.
    by_short_plate: FxHashMap<Text, Vec<u32>>,
    permits: Grouped<Permit>,
    manifests: Grouped<Manifest>,
    blacklist: [Held; 3],
    outages: Held,
    /// When any permit names a place as source or sink, by the place's id; apart from each other and in order.
    approvals: Held,
    companies: Versions<Company>,
    drivers: Versions<Driver>,
    units: Versions<Unit>,
    routes: Versions<Route>,
    places: Areas<Place>,
    zones: Areas<Zone>,
    districts: Areas<District>,
    roads: Lines<Road>,
    roads_by_id: FxHashMap<Text, Vec<u32>>,
    /// By company: when vehicles came and went, each sorted.
    fleets: FxHashMap<Text, (Vec<Time>, Vec<Time>)>,
    /// Made when it is first asked for: not every rule set reads roads.
    network: OnceLock<Network>,
    /// When any area, road, route, company or driver on the blacklist begins or ends to hold; sorted.
    common_changes: Vec<Time>,
    /// The same for one vehicle, by its id and by those of its devices.
    own_changes: FxHashMap<Text, Vec<Time>>,
    /// As of which batch of the book it is; 0 when it is not from a book.
    pub(super) batch: i64,
}

/// Intervals by id.
type Held = FxHashMap<Text, Vec<Validity>>;

/// Rows as read, not yet indexed.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub vehicles: Vec<Vehicle>,
    pub companies: Vec<Company>,
    pub drivers: Vec<Driver>,
    pub permits: Vec<Permit>,
    pub manifests: Vec<Manifest>,
    pub blacklist: Vec<BlacklistEntry>,
    pub outages: Vec<Outage>,
    pub units: Vec<Unit>,
    pub routes: Vec<Route>,
    pub places: Areas<Place>,
    pub zones: Areas<Zone>,
    pub districts: Areas<District>,
    pub roads: Lines<Road>,
}

impl Registry {
    pub(super) fn new(rows: Rows) -> Self {
        let (common_changes, own_changes) = (common_changes(&rows), own_changes(&rows));
        let mut blacklist: [Held; 3] = Default::default();
        for entry in &rows.blacklist {
            blacklist[entry.subject as usize].entry(entry.subject_id.clone()).or_default().push(entry.valid);
        }
        let mut outages = Held::default();
        for outage in &rows.outages {
            outages.entry(outage.vehicle_id.clone()).or_default().push(outage.valid);
        }
        let approvals = approvals(&rows.permits);
        Self {
            fleets: fleets(&rows.vehicles),
            by_device: numbers_by_device(&rows.vehicles),
            by_plate: numbers_by_plate(&rows.vehicles, |plate| Some(plate)),
            by_short_plate: numbers_by_plate(&rows.vehicles, plate::without_province),
            vehicles: Versions::new(rows.vehicles),
            permits: Grouped::new(rows.permits, |permit| &permit.vehicle_id),
            manifests: Grouped::new(rows.manifests, |manifest| &manifest.vehicle_id),
            approvals,
            blacklist,
            outages,
            companies: Versions::new(rows.companies),
            drivers: Versions::new(rows.drivers),
            units: Versions::new(rows.units),
            routes: Versions::new(rows.routes),
            places: rows.places,
            zones: rows.zones,
            districts: rows.districts,
            roads_by_id: numbers_by(rows.roads.all(), |road| &road.road_id),
            roads: rows.roads,
            network: OnceLock::new(),
            common_changes,
            own_changes,
            batch: 0,
        }
    }

    /// The number of the book's batch after which it was so; 0 when it is not from a book.
    pub fn batch(&self) -> i64 {
        self.batch
    }

    /// The vehicle that carried the device at `at`.
    pub fn vehicle_by_device(&self, device_id: &str, at: Time) -> Option<&Vehicle> {
        self.vehicles.holding(self.by_device.get(&*plate::device_id(device_id))?, at)
    }

    /// The vehicle with that plate at `at`, however the plate is written; without its province where only one vehicle can be meant.
    pub fn vehicle_by_plate(&self, plate: &str, at: Time) -> Option<&Vehicle> {
        let plate = plate::plate(plate);
        let whole = self.by_plate.get(&*plate).and_then(|numbers| self.vehicles.holding(numbers, at));
        whole.or_else(|| {
            let short = plate::without_province(&plate).filter(|short| *short == plate)?;
            let numbers = self.by_short_plate.get(short)?.iter();
            let mut meant = numbers.map(|number| &self.vehicles.rows[*number as usize]);
            let mut meant = meant.by_ref().filter(|vehicle| vehicle.valid.contains(at));
            let first = meant.next()?;
            meant.all(|other| other.vehicle_id == first.vehicle_id).then_some(first)
        })
    }

    /// The plates at `at` that differ from a written one in two characters at most, the nearest first, as they are registered; at
    /// most three. Looks at every plate once.
    pub fn nearest_plates(&self, written: &str, at: Time) -> Vec<&Text> {
        const MOST: usize = 2;
        let wanted = plate::plate(written);
        let near = self.by_plate.iter().filter_map(|(plate, numbers)| {
            let edits = plate::edits(&wanted, plate, MOST)?;
            Some((edits, &self.vehicles.holding(numbers, at)?.plate))
        });
        let mut near: Vec<(usize, &Text)> = near.collect();
        near.sort();
        near.into_iter().take(3).map(|(_, plate)| plate).collect()
    }

    pub fn vehicle(&self, vehicle_id: &str, at: Time) -> Option<&Vehicle> {
        self.vehicles.at(vehicle_id, at)
    }

    /// Since when a vehicle is registered without a break, as of `at`; `None` when it is not, or for ever.
    pub fn registered_since(&self, vehicle_id: &str, at: Time) -> Option<Time> {
        let mut from = self.vehicle(vehicle_id, at)?.valid.from?;
        let numbers = self.vehicles.by_key.get(vehicle_id)?;
        let before = |from: Time| {
            let mut rows = numbers.iter().map(|number| self.vehicles.rows[*number as usize].valid);
            rows.find(|valid| valid.to == Some(from) && valid.from.is_none_or(|earlier| earlier < from))
        };
        while let Some(earlier) = before(from) {
            from = earlier.from?;
        }
        Some(from)
    }

    /// Whether any vehicle of this id ever was.
    pub fn vehicle_was_registered(&self, vehicle_id: &str) -> bool {
        self.vehicles.by_key.contains_key(vehicle_id)
    }

    /// Every version of every vehicle.
    pub fn vehicles(&self) -> impl Iterator<Item = &Vehicle> {
        self.vehicles.rows.iter()
    }

    /// How many vehicles are registered for a company at `at`; `None` when none ever was.
    pub fn fleet(&self, company_id: &str, at: Time) -> Option<i64> {
        let (came, gone) = self.fleets.get(company_id)?;
        let until = |times: &[Time]| times.partition_point(|time| *time <= at) as i64;
        Some(until(came) - until(gone))
    }

    /// Whether any vehicle ever carried it.
    pub fn device_is_registered(&self, device_id: &str) -> bool {
        self.by_device.contains_key(device_id)
    }

    /// Every version of the vehicle's permits, by the start of their validity (open ones first).
    pub fn permits(&self, vehicle_id: &str) -> &Arc<[Permit]> {
        self.permits.of(vehicle_id)
    }

    /// Every version of the vehicle's manifests, by the start of their validity, then by id.
    pub fn manifests(&self, vehicle_id: &str) -> &Arc<[Manifest]> {
        self.manifests.of(vehicle_id)
    }

    /// Whether the vehicle, its company or the driver is on the blacklist.
    pub fn blacklisted(&self, vehicle_id: &str, company_id: &str, driver_id: Option<&str>, at: Time) -> bool {
        let holds = |subject: Subject, id: &str| is_held(&self.blacklist[subject as usize], id, at);
        holds(Subject::Vehicle, vehicle_id)
            || holds(Subject::Company, company_id)
            || driver_id.is_some_and(|driver| holds(Subject::Driver, driver))
    }

    /// Whether an outage is filed for the vehicle.
    pub fn outage_filed(&self, vehicle_id: &str, at: Time) -> bool {
        is_held(&self.outages, vehicle_id, at)
    }

    /// Whether any valid permit, of whatever vehicle, names the place as its source or as a sink; `None` when no permit is
    /// registered at all.
    pub fn place_approved(&self, place_id: &str, at: Time) -> Option<bool> {
        (!self.approvals.is_empty()).then(|| is_held(&self.approvals, place_id, at))
    }

    pub fn company(&self, company_id: &str, at: Time) -> Option<&Company> {
        self.companies.at(company_id, at)
    }

    pub fn driver(&self, driver_id: &str, at: Time) -> Option<&Driver> {
        self.drivers.at(driver_id, at)
    }

    pub fn unit(&self, unit_id: &str, at: Time) -> Option<&Unit> {
        self.units.at(unit_id, at)
    }

    /// The units that exist at `at`.
    pub fn units(&self, at: Time) -> impl Iterator<Item = &Unit> {
        self.units.rows.iter().filter(move |unit| unit.valid.contains(at))
    }

    pub fn route(&self, route_id: &str, at: Time) -> Option<&Route> {
        self.routes.at(route_id, at)
    }

    pub fn places(&self) -> &Areas<Place> {
        &self.places
    }

    pub fn zones(&self) -> &Areas<Zone> {
        &self.zones
    }

    pub fn districts(&self) -> &Areas<District> {
        &self.districts
    }

    pub fn roads(&self) -> &Lines<Road> {
        &self.roads
    }

    /// The roads as a network, one-way ones with their direction; its lines are places in [`Lines::all`]. The first call
    /// makes it: some 0.1 s for the roads of a city.
    pub fn network(&self) -> &Network {
        self.network.get_or_init(|| Network::new(self.roads.index(), |line| self.roads.get(line).oneway))
    }

    /// Whether the road that a piece of the network is of holds at `at`.
    pub fn is_open(&self, piece: Piece, at: Time) -> bool {
        self.roads.get(self.network().line(piece.segment)).valid.contains(at)
    }

    /// The place of a road in [`Lines::all`], as of `at`.
    pub fn road_number(&self, road_id: &str, at: Time) -> Option<usize> {
        let mut numbers = self.roads_by_id.get(road_id)?.iter().map(|number| *number as usize);
        numbers.find(|number| self.roads.get(*number).valid.contains(at))
    }

    /// The next instant after `after` at which anything registered about this vehicle (its own rows, permits,
    /// manifests, outages, blacklist), or any area, road, route, or company or driver on the blacklist, begins or
    /// ends to hold. `None`: what holds now holds for ever. An unregistered device's id is taken as well.
    pub fn changes(&self, vehicle_id: &str, after: Time) -> Option<Time> {
        let next = |times: &[Time]| times.get(times.partition_point(|time| *time <= after)).copied();
        let own = self.own_changes.get(vehicle_id).and_then(|times| next(times));
        match (own, next(&self.common_changes)) {
            (Some(own), Some(common)) => Some(own.min(common)),
            (own, common) => own.or(common),
        }
    }
}

impl Names for Registry {
    fn name(&self, what: Named, id: &str, at: Time) -> Option<&str> {
        let name = match what {
            Named::Company => &self.company(id, at)?.name,
            Named::Driver => &self.driver(id, at)?.name,
            Named::Place => &self.places.named(id, at)?.1.name,
            Named::Zone => &self.zones.named(id, at)?.1.name,
            Named::District => &self.districts.named(id, at)?.1.name,
            Named::Route => &self.route(id, at)?.name,
            Named::Road => self.roads.get(self.road_number(id, at)?).name.as_ref()?,
        };
        Some(&**name).filter(|name| !name.is_empty())
    }

    fn zone(&self, zone_id: &str, at: Time) -> Option<NamedZone<'_>> {
        let (_, zone) = self.zones.named(zone_id, at)?;
        Some(NamedZone { kind: zone.kind.as_str(), tags: &zone.tags })
    }
}

fn numbers_by_device(vehicles: &[Vehicle]) -> FxHashMap<Text, Vec<u32>> {
    let mut numbers: FxHashMap<Text, Vec<u32>> = FxHashMap::default();
    for (number, vehicle) in (0..).zip(vehicles) {
        vehicle.device_ids.iter().for_each(|device_id| numbers.entry(device_id.clone()).or_default().push(number));
    }
    numbers
}

/// Thousands of permits name a place; what counts is when there is any.
fn approvals(permits: &[Permit]) -> Held {
    let mut held = Held::default();
    for permit in permits.iter().filter(|permit| permit.status == PermitStatus::Valid) {
        for place_id in permit.sink_ids.iter().chain([&permit.source_id]).filter(|id| !id.is_empty()) {
            held.entry(place_id.clone()).or_default().push(permit.valid);
        }
    }
    held.values_mut().for_each(merge);
    held
}

/// Makes one of intervals that overlap or touch.
fn merge(intervals: &mut Vec<Validity>) {
    intervals.sort_by_key(|valid| valid.from);
    intervals.dedup_by(|next, kept| {
        let touches = kept.to.is_none_or(|to| next.from.is_none_or(|from| from <= to));
        if touches {
            kept.to = kept.to.zip(next.to).map(|(kept, next)| kept.max(next));
        }
        touches
    });
    intervals.shrink_to_fit();
}

fn is_held(held: &Held, id: &str, at: Time) -> bool {
    held.get(id).is_some_and(|intervals| intervals.iter().any(|valid| valid.contains(at)))
}

/// Of each plate in its normal form, or a part of it, the vehicles that bear it.
fn numbers_by_plate(vehicles: &[Vehicle], part: impl Fn(&str) -> Option<&str>) -> FxHashMap<Text, Vec<u32>> {
    let mut by_plate: FxHashMap<Text, Vec<u32>> = FxHashMap::default();
    for (number, vehicle) in (0u32..).zip(vehicles) {
        if let Some(part) = part(&plate::plate(&vehicle.plate)) {
            by_plate.entry(part.into()).or_default().push(number);
        }
    }
    by_plate
}

/// Every version of every row, by key.
#[derive(Debug)]
struct Versions<T> {
    rows: Vec<T>,
    by_key: FxHashMap<Text, Vec<u32>>,
}

impl<T> Default for Versions<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), by_key: FxHashMap::default() }
    }
}

impl<T: Versioned> Versions<T> {
    fn new(rows: Vec<T>) -> Self {
        Self { by_key: numbers_by(&rows, T::key), rows }
    }

    fn at(&self, key: &str, at: Time) -> Option<&T> {
        self.holding(self.by_key.get(key)?, at)
    }

    /// The one of these rows that holds at `at`.
    fn holding(&self, numbers: &[u32], at: Time) -> Option<&T> {
        numbers.iter().map(|number| &self.rows[*number as usize]).find(|row| row.valid().contains(at))
    }
}

/// Rows that belong to vehicles, each vehicle's side by side.
#[derive(Debug)]
struct Grouped<T> {
    by_owner: FxHashMap<Text, Arc<[T]>>,
    none: Arc<[T]>,
}

impl<T> Default for Grouped<T> {
    fn default() -> Self {
        Self { by_owner: FxHashMap::default(), none: Arc::from([]) }
    }
}

impl<T: Versioned> Grouped<T> {
    fn new(rows: Vec<T>, owner: impl Fn(&T) -> &Text) -> Self {
        let mut groups: FxHashMap<Text, Vec<T>> = FxHashMap::default();
        for row in rows {
            groups.entry(owner(&row).clone()).or_default().push(row);
        }
        let sorted = |mut rows: Vec<T>| -> Arc<[T]> {
            rows.sort_by(|a, b| (a.valid().from, a.key()).cmp(&(b.valid().from, b.key())));
            rows.into()
        };
        Self { by_owner: groups.into_iter().map(|(owner, rows)| (owner, sorted(rows))).collect(), ..Self::default() }
    }

    fn of(&self, owner: &str) -> &Arc<[T]> {
        self.by_owner.get(owner).unwrap_or(&self.none)
    }
}

fn ends(valid: Validity) -> impl Iterator<Item = Time> {
    [valid.from, valid.to].into_iter().flatten()
}

fn ends_of<T: Versioned>(rows: &[T]) -> impl Iterator<Item = Time> {
    rows.iter().flat_map(|row| ends(row.valid()))
}

/// When the vehicles of each company came and went.
fn fleets(vehicles: &[Vehicle]) -> FxHashMap<Text, (Vec<Time>, Vec<Time>)> {
    let mut fleets: FxHashMap<Text, (Vec<Time>, Vec<Time>)> = FxHashMap::default();
    for vehicle in vehicles.iter().filter(|vehicle| !vehicle.company_id.is_empty()) {
        let (came, gone) = fleets.entry(vehicle.company_id.clone()).or_default();
        came.push(vehicle.valid.from.unwrap_or(Time::from_millis(i64::MIN)));
        gone.extend(vehicle.valid.to);
    }
    for (came, gone) in fleets.values_mut() {
        came.sort_unstable();
        gone.sort_unstable();
    }
    fleets
}

fn common_changes(rows: &Rows) -> Vec<Time> {
    let foreign = rows.blacklist.iter().filter(|entry| entry.subject != Subject::Vehicle);
    let mut times: Vec<Time> = ends_of(rows.places.all())
        .chain(ends_of(rows.zones.all()))
        .chain(ends_of(rows.districts.all()))
        .chain(ends_of(rows.roads.all()))
        .chain(ends_of(&rows.routes))
        .chain(foreign.flat_map(|entry| ends(entry.valid)))
        .collect();
    times.sort_unstable();
    times.dedup();
    times
}

fn own_changes(rows: &Rows) -> FxHashMap<Text, Vec<Time>> {
    let mut changes: FxHashMap<Text, Vec<Time>> = FxHashMap::default();
    let mut note = |id: &Text, times: &mut dyn Iterator<Item = Time>| {
        times.for_each(|time| changes.entry(id.clone()).or_default().push(time));
    };
    for vehicle in &rows.vehicles {
        note(&vehicle.vehicle_id, &mut ends(vehicle.valid));
        vehicle.device_ids.iter().for_each(|device_id| note(device_id, &mut ends(vehicle.valid)));
    }
    rows.permits.iter().for_each(|permit| note(&permit.vehicle_id, &mut ends(permit.valid)));
    rows.outages.iter().for_each(|outage| note(&outage.vehicle_id, &mut ends(outage.valid)));
    let banned = rows.blacklist.iter().filter(|entry| entry.subject == Subject::Vehicle);
    banned.for_each(|entry| note(&entry.subject_id, &mut ends(entry.valid)));
    for manifest in &rows.manifests {
        let open = [Some(manifest.opened_at), manifest.closed_at];
        note(&manifest.vehicle_id, &mut ends(manifest.valid).chain(open.into_iter().flatten()));
    }
    for times in changes.values_mut() {
        times.sort_unstable();
        times.dedup();
        times.shrink_to_fit();
    }
    changes
}
