//! The simulation: everything in the city moves on by the clock that it is given, and what it says comes out in order of
//! arrival.

use std::{collections::BinaryHeap, sync::Arc};

use rustc_hash::FxHashMap;

use super::{
    Message, SimulateError, Truth,
    chance::Chance,
    city::{City, Detour, DetourKind, Role, Vehicle},
    noise::{Moment, Noise, Receiver},
    offence::Offence,
    report::{DAMAGES, DeviceReport},
    truck::{Street, Truck},
    units::Units,
    watch::{Done, Sight, Watch, truths},
};
use crate::model::{Time, Zone as TimeZone, limits};

/// How a simulation is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The same seed, start and settings give the same bytes.
    pub seed: u64,
    /// When it begins, by a clock without error.
    pub start: Time,
    /// Between two reports of a truck, milliseconds; 100 to 60,000.
    pub interval_ms: i64,
    pub noise: Noise,
    /// Whether trucks break rules. When not, those that cannot work without breaking one stay at the depot.
    pub offences: bool,
    /// New offences for each truck and hour, besides those of the beginning.
    pub offences_per_hour: f64,
    /// Whether the enforcement units take part.
    pub units: bool,
    /// Whether the dashcams that some trucks have tell where they are, too.
    pub cameras: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            start: Time::default(),
            interval_ms: 1_000,
            noise: Noise::default(),
            offences: true,
            offences_per_hour: 0.5,
            units: true,
            cameras: false,
        }
    }
}

/// A truck with all that belongs to it.
struct Driven {
    truck: Truck,
    receiver: Receiver,
    watch: Watch,
    done: Vec<Done>,
    topic: Arc<str>,
    noise: Chance,
    seq: u64,
    last_sent_ms: i64,
    /// As last reported.
    ignition: bool,
    odd_ms: i64,
    camera: Option<Camera>,
}

/// A dashcam with a receiver and a clock of its own.
struct Camera {
    topic: Arc<str>,
    receiver: Receiver,
    noise: Chance,
    odd_ms: i64,
    seq: u64,
}

/// A message on its way.
struct Waiting {
    seq: u64,
    message: Message,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.message.at, other.seq).cmp(&(self.message.at, self.seq))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

/// Offences of the beginning: how many seconds after it, and which.
const FIRST: &[(i64, Offence)] = &[
    (2, Offence::OverspeedSevere),
    (4, Offence::CoverOpenLoaded),
    (15, Offence::Overspeed),
    (40, Offence::TerminalOffline),
    (240, Offence::OverspeedSevere),
    (420, Offence::CoverOpenLoaded),
    (540, Offence::LiftOutsideSite),
    (600, Offence::RouteDeviation),
    (700, Offence::Overspeed),
    (800, Offence::ForbiddenZone),
    (900, Offence::RouteDeviationSevere),
    (1_000, Offence::TerminalOffline),
    (1_100, Offence::AbnormalStop),
];
/// How often each offence is chosen later on.
const USUAL: &[(Offence, f64)] = &[
    (Offence::Overspeed, 0.28),
    (Offence::OverspeedSevere, 0.14),
    (Offence::CoverOpenLoaded, 0.14),
    (Offence::RouteDeviation, 0.12),
    (Offence::RouteDeviationSevere, 0.07),
    (Offence::ForbiddenZone, 0.07),
    (Offence::AbnormalStop, 0.07),
    (Offence::LiftOutsideSite, 0.06),
    (Offence::TerminalOffline, 0.05),
];
/// Trucks that are asked at once whether they can do something wrong.
const ASKED: usize = 24;

/// Ways to a sink that are known to leave the route: from source and sinks of the permit, sink, and kind.
type Detours = FxHashMap<(usize, Vec<usize>, usize, DetourKind), Option<Detour>>;

/// A city in motion.
pub struct Simulation {
    city: Arc<City>,
    settings: Settings,
    step_ms: i64,
    /// Steps between two reports.
    every: i64,
    steps: i64,
    trucks: Vec<Driven>,
    waiting: Vec<[u16; 2]>,
    units: Option<Units>,
    planned: Vec<(i64, Offence)>,
    detours: Detours,
    chance: Chance,
    zone: TimeZone,
    on_their_way: BinaryHeap<Waiting>,
    sent: u64,
}

impl Simulation {
    /// At its beginning: everyone is somewhere in the day's work, some already at what they should not do.
    ///
    /// # Errors
    /// When there are more trucks than can be simulated, or an interval is out of range.
    pub fn new(city: Arc<City>, settings: Settings) -> Result<Self, SimulateError> {
        if city.trucks() > limits::SIMULATED_TRUCKS {
            return Err(SimulateError::TooManyTrucks(city.trucks()));
        }
        if !(100..=60_000).contains(&settings.interval_ms) {
            return Err(SimulateError::Interval(settings.interval_ms));
        }
        let every = (settings.interval_ms + 999) / 1_000;
        let mut simulation = Self {
            step_ms: settings.interval_ms / every,
            every,
            steps: 0,
            trucks: Vec::with_capacity(city.trucks()),
            waiting: vec![[0; 2]; city.network.lights],
            units: settings.units.then(|| Units::new(&city, settings.seed, settings.start.as_millis())),
            planned: if settings.offences { FIRST.to_vec() } else { Vec::new() },
            detours: FxHashMap::default(),
            chance: Chance::new(settings.seed, u64::MAX),
            zone: TimeZone::china(),
            on_their_way: BinaryHeap::new(),
            sent: 0,
            city,
            settings,
        };
        simulation.man_trucks();
        if simulation.settings.offences {
            simulation.set_the_scene();
        }
        Ok(simulation)
    }

    fn man_trucks(&mut self) {
        let (city, start_ms) = (Arc::clone(&self.city), self.settings.start.as_millis());
        for (number, vehicle) in city.vehicles.iter().enumerate() {
            let at_work = self.settings.offences || matches!(vehicle.role, Role::Worker | Role::Bare);
            let chance = Chance::new(self.settings.seed, number as u64);
            let Some(truck) = Truck::somewhere(&city, vehicle, at_work, chance, start_ms) else { continue };
            let mut noise = Chance::new(self.settings.seed, (1 << 41) + number as u64);
            self.trucks.push(Driven {
                truck,
                receiver: Receiver::new(&self.settings.noise, number, start_ms, &mut noise),
                watch: Watch::new(self.settings.interval_ms as f64 / 1_000.0),
                done: Vec::new(),
                topic: format!("device/{}/report", vehicle.device_id).into(),
                odd_ms: noise.below(self.step_ms.max(1) as usize) as i64,
                camera: vehicle.camera_id.as_deref().filter(|_| self.settings.cameras).map(|id| {
                    let mut noise = Chance::new(self.settings.seed, (1 << 42) + number as u64);
                    Camera {
                        topic: format!("device/{id}/report").into(),
                        receiver: Receiver::new(&self.settings.noise, 0, start_ms, &mut noise),
                        odd_ms: noise.below(self.step_ms.max(1) as usize) as i64,
                        seq: 0,
                        noise,
                    }
                }),
                noise,
                seq: 0,
                last_sent_ms: start_ms,
                ignition: false,
            });
        }
    }

    /// A few workers are put where they are about to offend, so that there is something to see at once.
    fn set_the_scene(&mut self) {
        let start_ms = self.settings.start.as_millis();
        let mut next = 5;
        for offence in [
            Offence::LiftOutsideSite,
            Offence::AbnormalStop,
            Offence::RouteDeviation,
            Offence::RouteDeviationSevere,
            Offence::ForbiddenZone,
        ] {
            let city = Arc::clone(&self.city);
            let workers = next..city.vehicles.len().min(self.trucks.len());
            for number in workers.filter(|number| city.vehicles[*number].role == Role::Worker) {
                if number % 60 != 59 && self.stage(number, offence, start_ms) {
                    next = number + 1;
                    break;
                }
            }
        }
    }

    fn stage(&mut self, number: usize, offence: Offence, start_ms: i64) -> bool {
        let city = Arc::clone(&self.city);
        let vehicle = &city.vehicles[number];
        let sink = vehicle.sinks[0];
        let Some(path) = city.path(vehicle.source, sink) else { return false };
        let ends = (vehicle.source, sink);
        let Some(kind) = detour_kind(offence) else {
            let interval_s = self.interval_s();
            let truck = &mut self.trucks[number].truck;
            truck.haul_from(Arc::clone(path), path.length_m() * 0.4, ends);
            return truck.pull_over_now(offence, start_ms, interval_s);
        };
        let Some(detour) = self.detour(number, sink, kind) else { return false };
        let truck = &mut self.trucks[number].truck;
        truck.haul_from(Arc::clone(path), (detour.leave_m - 160.0).max(0.0), ends);
        let begun = truck.begin_detour(&detour, offence);
        truck.haul_from_here((detour.offend_m - 350.0).max(detour.leave_m - 160.0));
        begun
    }

    fn detour(&mut self, number: usize, sink: usize, kind: DetourKind) -> Option<Detour> {
        let vehicle = &self.city.vehicles[number];
        let key = (vehicle.source, vehicle.sinks.clone(), sink, kind);
        let city = &self.city;
        self.detours.entry(key).or_insert_with(|| city.detour(vehicle, sink, kind)).clone()
    }

    /// An offer that was sent to a unit (`dispatch/{unit_id}`). What is none is not heard.
    pub fn on_dispatch(&mut self, unit_id: &str, payload: &[u8], now: Time) {
        if let Some(units) = &mut self.units {
            units.hear(unit_id, payload, now);
        }
    }

    fn interval_s(&self) -> f64 {
        self.settings.interval_ms as f64 / 1_000.0
    }

    /// How far the clock has come.
    pub fn now(&self) -> Time {
        self.settings.start.plus_ms(self.steps * self.step_ms)
    }

    /// Moves the clock on; everything that has arrived by then goes to `say`, in order of arrival.
    pub fn advance(&mut self, to: Time, mut say: impl FnMut(Message)) {
        while self.now().plus_ms(self.step_ms) <= to {
            self.steps += 1;
            self.step();
            self.deliver(self.now(), &mut say);
        }
        self.deliver(to, &mut say);
    }

    fn deliver(&mut self, by: Time, say: &mut impl FnMut(Message)) {
        while self.on_their_way.peek().is_some_and(|next| next.message.at <= by) {
            if let Some(next) = self.on_their_way.pop() {
                say(next.message);
            }
        }
    }

    fn step(&mut self) {
        let (now, dt_s) = (self.now(), self.step_ms as f64 / 1_000.0);
        let now_ms = now.as_millis();
        if self.settings.offences {
            self.tempt(now_ms, dt_s);
        }
        let city = Arc::clone(&self.city);
        let minute = self.zone.local(now).minute_of_day;
        let interval_s = self.interval_s();
        for number in 0..self.trucks.len() {
            let vehicle = &city.vehicles[number];
            let mut street = Street { city: &city, waiting: &mut self.waiting, now_ms, interval_s };
            let driven = &mut self.trucks[number];
            driven.truck.step(&mut street, vehicle, dt_s);
            driven.watch_over(&city, vehicle, now, minute);
            if (self.steps + number as i64) % self.every == 0 {
                let message = driven.report(&city, vehicle, &self.settings.noise, now_ms);
                if let Some(message) = message {
                    let seen = driven.see(&city, vehicle, &self.settings.noise, now_ms);
                    self.send(message, number);
                    seen.into_iter().for_each(|message| self.push(message));
                }
            }
        }
        if let Some(units) = &mut self.units {
            let (sent, on_their_way) = (&mut self.sent, &mut self.on_their_way);
            units.step(&city.network, now_ms, dt_s, &mut |message| {
                *sent += 1;
                on_their_way.push(Waiting { seq: *sent, message });
            });
        }
    }

    /// Sends a report, sometimes twice.
    fn send(&mut self, message: Message, number: usize) {
        let twice = self.settings.noise.duplicates;
        if twice > 0.0 && self.trucks[number].noise.happens(twice) {
            let mut again = message.clone();
            again.at = again.at.plus_ms(40);
            self.push(again);
        }
        self.push(message);
    }

    fn push(&mut self, message: Message) {
        self.sent += 1;
        self.on_their_way.push(Waiting { seq: self.sent, message });
    }

    // --- Offences ----------------------------------------------------------------------------------------------------

    /// Lets trucks begin what was planned, and now and then something new.
    fn tempt(&mut self, now_ms: i64, dt_s: f64) {
        let since_s = (now_ms - self.settings.start.as_millis()) / 1_000;
        let mut at = 0;
        while at < self.planned.len() && self.planned[at].0 <= since_s {
            if self.begin_somewhere(self.planned[at].1, now_ms) {
                self.planned.remove(at);
            } else {
                at += 1;
            }
        }
        let mut expected = self.settings.offences_per_hour * self.trucks.len() as f64 * dt_s / 3_600.0;
        while expected > 0.0 {
            if self.chance.happens(expected.min(1.0)) {
                let offence = self.usual();
                self.begin_somewhere(offence, now_ms);
            }
            expected -= 1.0;
        }
    }

    fn usual(&mut self) -> Offence {
        let mut lot = self.chance.unit();
        for (offence, share) in USUAL {
            lot -= share;
            if lot < 0.0 {
                return *offence;
            }
        }
        Offence::Overspeed
    }

    /// Asks some trucks; the first that can does it.
    fn begin_somewhere(&mut self, offence: Offence, now_ms: i64) -> bool {
        (0..ASKED.min(self.trucks.len())).any(|_| {
            let number = self.chance.below(self.trucks.len());
            self.city.vehicles[number].role == Role::Worker && number % 60 != 59 && self.begin(number, offence, now_ms)
        })
    }

    fn begin(&mut self, number: usize, offence: Offence, now_ms: i64) -> bool {
        if let Some(kind) = detour_kind(offence) {
            let Some(sink) = self.trucks[number].truck.bound_for() else { return false };
            let Some(detour) = self.detour(number, sink, kind) else { return false };
            return self.trucks[number].truck.begin_detour(&detour, offence);
        }
        let interval_s = self.interval_s();
        let truck = &mut self.trucks[number].truck;
        match offence {
            Offence::Overspeed => truck.begin_rush(false, now_ms, interval_s),
            Offence::OverspeedSevere => truck.begin_rush(true, now_ms, interval_s),
            Offence::CoverOpenLoaded => truck.begin_open(),
            Offence::TerminalOffline => truck.begin_dark(now_ms),
            Offence::AbnormalStop | Offence::LiftOutsideSite => truck.begin_stop(offence),
            _ => false,
        }
    }

    // --- The truth ---------------------------------------------------------------------------------------------------

    /// What every truck has truly done so far; what still goes on is taken to end now.
    pub fn truths(&self) -> Vec<Truth> {
        let finished: Vec<Vec<Done>> = self.trucks.iter().map(Driven::finished).collect();
        let vehicles = self.city.vehicles.iter().map(|vehicle| &*vehicle.vehicle_id);
        truths(vehicles.zip(finished.iter().map(Vec::as_slice)))
    }
}

fn detour_kind(offence: Offence) -> Option<DetourKind> {
    match offence {
        Offence::RouteDeviation => Some(DetourKind::Near),
        Offence::RouteDeviationSevere => Some(DetourKind::Far),
        Offence::ForbiddenZone => Some(DetourKind::Zone),
        _ => None,
    }
}

impl Driven {
    fn finished(&self) -> Vec<Done> {
        let mut done = self.done.clone();
        self.watch.clone().finish(&mut done);
        done
    }

    fn still_s(&self, now_ms: i64) -> f64 {
        (now_ms - self.truck.still_since_ms) as f64 / 1_000.0
    }

    fn watch_over(&mut self, city: &City, vehicle: &Vehicle, now: Time, minute: u16) {
        let (truck, now_ms) = (&self.truck, now.as_millis());
        let place = truck.place(city);
        let has_permit = |vehicle: &Vehicle| !matches!(vehicle.role, Role::NoPermit | Role::ExpiredPermit);
        let permitted = has_permit(vehicle);
        let in_source = place.is_some_and(|place| city.places[place].kind == "source");
        let approves = |other: &Vehicle| has_permit(other) && Some(other.source) == place;
        let by_day = (360..1_080).contains(&minute);
        let sight = Sight {
            speed_mps: truck.speed_mps,
            limit_mps: truck.limit_mps(),
            still_s: self.still_s(now_ms),
            silent_s: (now_ms - self.last_sent_ms) as f64 / 1_000.0,
            loaded: truck.is_loaded(),
            cover_open: truck.cover == crate::model::Cover::Open,
            lifted: truck.lift != crate::model::Lift::Flat,
            ignition: self.ignition,
            deviation_m: if permitted { truck.deviation_m() } else { 0.0 },
            in_forbidden: truck.zone().is_some_and(|zone| city.zones[zone].schedule.is_empty()),
            in_place: place.is_some(),
            in_source,
            in_raw_source: in_source && !permitted && !city.vehicles.iter().any(approves),
            clock_s: self.receiver.clock_ms as f64 / 1_000.0,
            blacklisted: vehicle.role == Role::Blacklisted,
            permitted,
            in_hours: match vehicle.role {
                Role::DayOnly => by_day,
                Role::NightOnly => !by_day,
                _ => true,
            },
            has_sensors: vehicle.role != Role::Bare,
        };
        self.watch.look(now, &sight, &mut self.done);
    }

    fn moment(&self, city: &City, vehicle: &Vehicle, now_ms: i64) -> Moment {
        let truck = &self.truck;
        Moment {
            now_ms,
            spot: truck.spot(),
            speed_mps: truck.speed_mps,
            heading_deg: truck.heading_deg(),
            still_s: self.still_s(now_ms),
            at_gate: truck.is_at_gate(city),
            spared: truck.offence().is_some() || !matches!(vehicle.role, Role::Worker | Role::Bare),
        }
    }

    /// What the dashcam sends beside a report.
    fn see(&mut self, city: &City, vehicle: &Vehicle, noise: &Noise, now_ms: i64) -> Option<Message> {
        let moment = self.moment(city, vehicle, now_ms);
        let (camera, device_id) = (self.camera.as_mut()?, vehicle.camera_id.as_deref()?);
        camera.seq += 1;
        let measured = Time::from_millis(now_ms + camera.odd_ms);
        let report = DeviceReport {
            device_id,
            driver_id: &vehicle.driver_id,
            device_time: measured.plus_ms(camera.receiver.clock_ms),
            seq: camera.seq,
            reading: camera.receiver.read(noise, &moment, &mut camera.noise),
            odometer_m: None,
            ignition: None,
            body: None,
            hist: false,
            damage: None,
        };
        let at = measured.plus_ms(40 + camera.noise.below(160) as i64);
        Some(Message { topic: Arc::clone(&camera.topic), payload: report.to_json(), at })
    }

    /// What the device sends, if anything gets out.
    fn report(&mut self, city: &City, vehicle: &Vehicle, noise: &Noise, now_ms: i64) -> Option<Message> {
        let moment = self.moment(city, vehicle, now_ms);
        let truck = &self.truck;
        let dark = now_ms < truck.dark_until_ms;
        if self.receiver.is_cut_off(noise, &moment, &mut self.noise) || dark {
            return None;
        }
        (self.last_sent_ms, self.ignition) = (now_ms, truck.ignition);
        self.seq += 1;
        let late = now_ms < self.receiver.late_until_ms;
        let measured = Time::from_millis(now_ms + self.odd_ms);
        let is_damaged = noise.damaged > 0.0 && self.noise.happens(noise.damaged);
        let damage = if is_damaged { self.noise.pick(DAMAGES).copied() } else { None };
        let body = (vehicle.role != Role::Bare).then_some((truck.load, truck.cover, truck.lift));
        let report = DeviceReport {
            device_id: &vehicle.device_id,
            driver_id: &vehicle.driver_id,
            device_time: measured.plus_ms(self.receiver.clock_ms),
            seq: self.seq,
            reading: self.receiver.read(noise, &moment, &mut self.noise),
            odometer_m: Some(truck.odometer_m),
            ignition: Some(truck.ignition),
            body,
            hist: late,
            damage,
        };
        let at = if late {
            // All at once, in order, when the network is back.
            Time::from_millis(self.receiver.late_until_ms + self.odd_ms).plus_ms((self.seq % 1_000) as i64)
        } else {
            measured.plus_ms(40 + self.noise.below(160) as i64)
        };
        Some(Message { topic: Arc::clone(&self.topic), payload: report.to_json(), at })
    }
}
