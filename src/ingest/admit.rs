//! Which reports are judged, and which are only counted and kept.
//!
//! A verdict is read off the state without changing it; the state changes only by applying the record that results. So
//! [`Admission::restore`] over the journal gives exactly the state that live admission had.
//!
//! A sighting of a plate in no registry is rejected, `too_many_plates`, when there are already as many as we keep count of, or when its
//! sensor has told of as many new ones within the hour as no gate sees: a camera that invents plates harms nobody else.
//!
//! In order, for a device report:
//!
//! 1. A device in no registry, when there are already as many as we keep count of: rejected, `too_many_devices`.
//! 2. A clock too far ahead, an impossible date, or a clock hours behind on live reports ([`crate::model::LiveClock`]): judged at
//!    arrival (`clock_skew`), or at the device's last event time when that is later, so that such a device is judged in order of
//!    arrival. Its positions are used, but not to tell jumps.
//! 3. The same content again: `duplicate`. Only a report that is not newer than the device's last needs to be looked up.
//! 4. Older on arrival than what is judged at all: `late`, `too_old`; one that a broker had kept: `late`, `retained`.
//! 5. Older than the device's last event time: judged where it belongs (`out_of_order`). Equal event time with other content is
//!    judged.
//! 6. A jump between fixes that no truck makes: filtered; with alarms or events in it, judged, position unused: somebody pressed
//!    that button.
//! 7. Without a position, or with one that can't be used: judged, position unused.
//!
//! A speed that no truck reaches is unknown, and the rest of the report counts. What is a jump: [`crate::model::Jumps`].

use std::{
    borrow::Cow,
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::decode::Decoded;
use crate::model::{
    Body, DeviceReport, Fix, Fixed, JumpLimits, Jumps, LiveClock, Outcome, Reason, Record, Sighting, Time, UnitReply,
    is_impossible, limits, place, plate,
};

/// How often, by the arrival clock, unregistered devices that are silent make room.
const SWEEP_MS: i64 = 60_000;
/// Within this, by the arrival clock, a sensor's new plates are counted together.
const NEW_PLATES_MS: i64 = 3_600_000;

/// What is plausible, and how old or new a report may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdmissionSettings {
    /// No truck drives faster: a speed over it is unknown.
    pub max_speed_kmh: f64,
    /// Faster between two fixes: filtered.
    pub max_implied_speed_kmh: f64,
    /// Shorter jumps are drift, however quick.
    pub jump_floor_m: f64,
    /// A device clock further ahead of arrival is not believed.
    pub max_ahead_s: i64,
    /// Older than this on arrival: too old.
    pub max_age_s: i64,
    /// Fewer: position unused.
    pub min_sats: i64,
    /// Greater: position unused.
    pub max_hdop: f64,
    /// Unregistered devices silent for longer make room.
    pub forget_unregistered_s: i64,
}

impl Default for AdmissionSettings {
    fn default() -> Self {
        Self {
            max_speed_kmh: 200.0,
            max_implied_speed_kmh: 200.0,
            jump_floor_m: 200.0,
            max_ahead_s: 120,
            max_age_s: 72 * 3600,
            min_sats: 4,
            max_hdop: 5.0,
            forget_unregistered_s: 24 * 3600,
        }
    }
}

impl AdmissionSettings {
    /// How far a truck gets between two fixes.
    pub fn jumps(&self) -> JumpLimits {
        JumpLimits { max_implied_speed_kmh: self.max_implied_speed_kmh, jump_floor_m: self.jump_floor_m }
    }

    /// Takes out of a report what cannot be so; it stays in `ext`. A second time it changes nothing.
    pub fn sense(&self, decoded: &mut Decoded) {
        let Body::Device(report) = &mut decoded.body else { return };
        if let Some(speed_kmh) = report.speed_kmh.take_if(|kmh| !(0.0..=self.max_speed_kmh).contains(kmh)) {
            report.ext.insert("speed_kmh".to_owned(), speed_kmh.into());
            decoded.odd.push("speed_kmh");
        }
    }
}

/// Who is registered. A closure over device ids stands for a registry without plates.
pub trait Registered {
    fn has_device(&self, device_id: &str) -> bool;
    /// A plate in its normal form.
    fn has_plate(&self, plate: &str, at: Time) -> bool;
}

impl<F: Fn(&str) -> bool> Registered for F {
    fn has_device(&self, device_id: &str) -> bool {
        self(device_id)
    }

    fn has_plate(&self, _: &str, _: Time) -> bool {
        false
    }
}

/// Per device what is needed to tell duplicates, order and jumps.
///
/// At its limits: unregistered devices beyond [`limits::UNREGISTERED_DEVICES`], and plates beyond
/// [`limits::UNREGISTERED_PLATES`], are rejected until others have been silent for long enough; registered ones are bounded by the
/// registry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Admission {
    settings: AdmissionSettings,
    devices: FxHashMap<Arc<str>, Device>,
    unregistered: usize,
    swept_at: Time,
    replies: VecDeque<u64>,
    /// Plates in no registry, and when each last arrived.
    #[serde(default)]
    plates: FxHashMap<Arc<str>, Time>,
    /// By sensor: since when, and how many new ones of those.
    #[serde(default)]
    new_plates: FxHashMap<Arc<str>, (Time, usize)>,
}

/// One device. Its fingerprints are 48 bits each, oldest first from `oldest`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Device {
    /// Newest event time that was judged or filtered.
    newest: Option<Time>,
    seen_at: Time,
    unregistered: bool,
    #[serde(default)]
    clock: LiveClock,
    /// In order of arrival.
    jumps: Jumps,
    fingerprints: Vec<[u16; 3]>,
    oldest: u8,
    /// That of the newest, which what comes late does not drive out.
    newest_fingerprint: [u16; 3],
}

/// What becomes of a report.
struct Verdict {
    outcome: Outcome,
    reason: Reason,
    event_time: Time,
    use_position: bool,
}

impl Admission {
    pub fn new(settings: AdmissionSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// What it goes by.
    pub fn settings(&self) -> &AdmissionSettings {
        &self.settings
    }

    /// Goes on where another left off, by these settings.
    pub fn resume(state: Self, settings: AdmissionSettings) -> Self {
        Self { settings, ..state }
    }

    /// Makes the record of what was decoded. A replayed file's own arrival time goes before `recv_time`.
    pub fn admit(&mut self, mut decoded: Decoded, recv_time: Time, registered: impl Registered) -> Record {
        self.settings.sense(&mut decoded);
        let recv_time = decoded.recv_time.unwrap_or(recv_time);
        let mut verdict = self.judge(&decoded, recv_time, &registered);
        if decoded.retained && verdict.outcome == Outcome::Evaluated {
            verdict = Verdict { outcome: Outcome::Late, reason: Reason::Retained, use_position: false, ..verdict };
        }
        let Verdict { outcome, reason, event_time, use_position } = verdict;
        let record = Record { recv_time, event_time, outcome, reason, use_position, body: decoded.body };
        self.restore(&record, registered);
        record
    }

    /// Takes up a record of the journal, in order. With the same registry the state is that of live admission.
    pub fn restore(&mut self, record: &Record, registered: impl Registered) {
        if !record.is_counted() {
            return;
        }
        self.sweep(record.recv_time, &registered);
        match &record.body {
            Body::Device(report) => self.apply(report, record, registered),
            Body::Sighting(sighting) if record.outcome == Outcome::Evaluated => {
                self.apply_sighting(sighting, record.recv_time, &registered);
            }
            Body::Reply(reply) if record.outcome == Outcome::Evaluated => {
                if self.replies.len() == limits::REPLY_FINGERPRINTS {
                    self.replies.pop_front();
                }
                self.replies.push_back(reply_fingerprint(reply));
            }
            _ => {}
        }
    }

    /// How many devices it keeps count of.
    pub fn devices(&self) -> usize {
        self.devices.len()
    }

    fn judge(&self, decoded: &Decoded, recv_time: Time, registered: &impl Registered) -> Verdict {
        let other = |outcome, reason, event_time, use_position| Verdict { outcome, reason, event_time, use_position };
        match &decoded.body {
            Body::Device(report) => self.judge_report(report, recv_time, registered),
            Body::Sighting(sighting) => self.judge_sighting(sighting, recv_time, registered),
            Body::Unit(unit) => {
                let use_position = place(unit.lat, unit.lon).is_some();
                other(Outcome::Evaluated, Reason::Ok, unit.device_time, use_position)
            }
            Body::Reply(reply) if self.replies.contains(&reply_fingerprint(reply)) => {
                other(Outcome::Duplicate, Reason::Duplicate, reply.device_time, false)
            }
            Body::Reply(reply) => other(Outcome::Evaluated, Reason::Ok, reply.device_time, false),
            Body::DeadLetter(_) if decoded.reason == Reason::NoReport => {
                other(Outcome::Filtered, Reason::NoReport, recv_time, false)
            }
            Body::DeadLetter(_) | Body::Tick | Body::Start | Body::JudgeAgain(_) => {
                other(Outcome::Rejected, decoded.reason, recv_time, false)
            }
        }
    }

    fn judge_sighting(&self, sighting: &Sighting, recv_time: Time, registered: &impl Registered) -> Verdict {
        let use_position = place(sighting.lat, sighting.lon).is_some();
        let age_ms = recv_time.ms_since(sighting.device_time);
        let is_wrong = age_ms < -self.settings.max_ahead_s * 1000 || is_impossible(sighting.device_time);
        let (outcome, reason, event_time) = if is_wrong {
            (Outcome::Evaluated, Reason::ClockSkew, recv_time)
        } else if age_ms > self.settings.max_age_s * 1000 {
            (Outcome::Late, Reason::TooOld, sighting.device_time)
        } else if self.is_too_much(sighting, recv_time, registered) {
            (Outcome::Rejected, Reason::TooManyPlates, sighting.device_time)
        } else {
            (Outcome::Evaluated, Reason::Ok, sighting.device_time)
        };
        Verdict { outcome, reason, event_time, use_position }
    }

    /// Whether a sighting tells of yet another plate in no registry, and that is one too many.
    fn is_too_much(&self, sighting: &Sighting, recv_time: Time, registered: &impl Registered) -> bool {
        let Some(plate) = unregistered_plate(sighting, registered) else { return false };
        if self.plates.contains_key(&*plate) {
            return false;
        }
        let of_sensor = self.new_plates.get(&sighting.sensor_id);
        let is_full = of_sensor.is_some_and(|(since, count)| {
            *count >= limits::NEW_PLATES_PER_SENSOR && recv_time.ms_since(*since).abs() < NEW_PLATES_MS
        });
        is_full || self.plates.len() >= limits::UNREGISTERED_PLATES
    }

    fn apply_sighting(&mut self, sighting: &Sighting, recv_time: Time, registered: &impl Registered) {
        let Some(plate) = unregistered_plate(sighting, registered) else { return };
        if self.plates.insert((&*plate).into(), recv_time).is_none() {
            let of_sensor = self.new_plates.entry(Arc::clone(&sighting.sensor_id)).or_insert((recv_time, 0));
            if recv_time.ms_since(of_sensor.0).abs() >= NEW_PLATES_MS {
                *of_sensor = (recv_time, 0);
            }
            of_sensor.1 += 1;
        }
    }

    fn judge_report(&self, report: &DeviceReport, recv_time: Time, registered: &impl Registered) -> Verdict {
        let device = self.devices.get(&report.device_id);
        let clock = device.map(|device| device.clock).unwrap_or_default().next(report.device_time, recv_time);
        let skewed = report.device_time.ms_since(recv_time) > self.settings.max_ahead_s * 1000
            || is_impossible(report.device_time)
            || !report.hist && clock.is_behind(report.device_time, recv_time);
        let is_too_old = !skewed && recv_time.ms_since(report.device_time) > self.settings.max_age_s * 1000;
        let newest = device.and_then(|device| device.newest);
        let event_time =
            if skewed { newest.map_or(recv_time, |newest| newest.max(recv_time)) } else { report.device_time };
        let unused = |outcome, reason| Verdict { outcome, reason, event_time, use_position: false };
        let Some(device) = device else {
            if self.unregistered >= limits::UNREGISTERED_DEVICES && !registered.has_device(&report.device_id) {
                return unused(Outcome::Rejected, Reason::TooManyDevices);
            }
            if is_too_old {
                return unused(Outcome::Late, Reason::TooOld);
            }
            return self.judge_content(report, &Device::default(), event_time, skewed);
        };
        let is_newer = newest.is_none_or(|newest| report.device_time > newest);
        if (skewed || !is_newer) && device.knows(&fingerprint(report)) {
            return unused(Outcome::Duplicate, Reason::Duplicate);
        }
        if is_too_old {
            return unused(Outcome::Late, Reason::TooOld);
        }
        if newest.is_some_and(|newest| event_time < newest) {
            return self.judge_late(report, event_time);
        }
        self.judge_content(report, device, event_time, skewed)
    }

    /// Of a report that is older than the device's last: whether it was a jump only the fold can say, in order of event time.
    fn judge_late(&self, report: &DeviceReport, event_time: Time) -> Verdict {
        let verdict = |outcome, reason, use_position| Verdict { outcome, reason, event_time, use_position };
        match self.position(report) {
            Ok(_) => verdict(Outcome::Evaluated, Reason::OutOfOrder, true),
            Err(reason) => verdict(Outcome::Evaluated, reason, false),
        }
    }

    fn judge_content(&self, report: &DeviceReport, device: &Device, event_time: Time, skewed: bool) -> Verdict {
        let verdict = |outcome, reason, use_position| Verdict { outcome, reason, event_time, use_position };
        let position = self.position(report);
        match position {
            Ok((lat, lon))
                if !skewed && !device.jumps.believes(&Fixed { at: event_time, lat, lon }, self.settings.jumps()) =>
            {
                let outcome = if report.bears_alarm() { Outcome::Evaluated } else { Outcome::Filtered };
                verdict(outcome, Reason::ImplausibleJump, false)
            }
            _ if skewed => verdict(Outcome::Evaluated, Reason::ClockSkew, position.is_ok()),
            Ok(_) => verdict(Outcome::Evaluated, Reason::Ok, true),
            Err(reason) => verdict(Outcome::Evaluated, reason, false),
        }
    }

    /// The position, or why it can't be used.
    fn position(&self, report: &DeviceReport) -> Result<(f64, f64), Reason> {
        let given = report.lat.zip(report.lon).filter(|given| *given != (0.0, 0.0));
        given.filter(|_| report.fix != Some(Fix::None)).ok_or(Reason::NoPosition)?;
        let (lat, lon) = place(report.lat, report.lon).ok_or(Reason::PositionOutOfRange)?;
        if report.sats.is_some_and(|sats| sats < self.settings.min_sats)
            || report.hdop.is_some_and(|hdop| hdop > self.settings.max_hdop)
        {
            Err(Reason::WeakFix)
        } else {
            Ok((lat, lon))
        }
    }

    fn apply(&mut self, report: &DeviceReport, record: &Record, registered: impl Registered) {
        if record.outcome == Outcome::Rejected {
            return;
        }
        if !self.devices.contains_key(&report.device_id) {
            let unregistered = !registered.has_device(&report.device_id);
            self.unregistered += usize::from(unregistered);
            self.devices.insert(Arc::clone(&report.device_id), Device { unregistered, ..Device::default() });
        }
        if let Some(device) = self.devices.get_mut(&report.device_id) {
            device.apply(report, record, self.settings.jumps());
        }
    }

    /// Devices and plates that were registered meanwhile stop counting; those silent for long go.
    fn sweep(&mut self, recv_time: Time, registered: &impl Registered) {
        if self.unregistered == 0 && self.plates.is_empty() || recv_time.ms_since(self.swept_at) < SWEEP_MS {
            return;
        }
        self.swept_at = recv_time;
        let forget_ms = self.settings.forget_unregistered_s * 1000;
        self.devices.retain(|id, device| {
            device.unregistered = device.unregistered && !registered.has_device(id);
            !device.unregistered || recv_time.ms_since(device.seen_at) <= forget_ms
        });
        self.unregistered = self.devices.values().filter(|device| device.unregistered).count();
        self.plates.retain(|plate, seen_at| {
            recv_time.ms_since(*seen_at) <= forget_ms && !registered.has_plate(plate, recv_time)
        });
        self.new_plates.retain(|_, (since, _)| recv_time.ms_since(*since).abs() < NEW_PLATES_MS);
    }
}

impl Device {
    fn apply(&mut self, report: &DeviceReport, record: &Record, limits: JumpLimits) {
        self.seen_at = self.seen_at.max(record.recv_time);
        if record.outcome == Outcome::Duplicate {
            return;
        }
        if record.reason != Reason::Retained {
            self.clock = self.clock.next(report.device_time, record.recv_time);
        }
        let fingerprint = fingerprint(report);
        self.remember(fingerprint);
        if self.newest.is_some_and(|newest| record.event_time < newest) {
            // Come late: what was believed since is newer.
            return;
        }
        if matches!(record.outcome, Outcome::Evaluated | Outcome::Filtered) {
            (self.newest, self.newest_fingerprint) = (Some(record.event_time), fingerprint);
        }
        let Some(fixed) = fixed(report, record.event_time) else { return };
        if record.reason == Reason::ImplausibleJump {
            self.jumps.doubt(fixed, limits);
        } else if record.use_position && record.reason != Reason::ClockSkew {
            self.jumps.believe(fixed);
        }
    }

    fn knows(&self, fingerprint: &[u16; 3]) -> bool {
        self.newest_fingerprint == *fingerprint || self.fingerprints.contains(fingerprint)
    }

    fn remember(&mut self, fingerprint: [u16; 3]) {
        if self.fingerprints.len() < limits::FINGERPRINTS_PER_DEVICE {
            // A device that sends little stays small: the list grows by a few at a time.
            if self.fingerprints.len() == self.fingerprints.capacity() {
                self.fingerprints.reserve_exact(8);
            }
            self.fingerprints.push(fingerprint);
        } else {
            self.fingerprints[usize::from(self.oldest)] = fingerprint;
            self.oldest = (self.oldest + 1) % limits::FINGERPRINTS_PER_DEVICE as u8;
        }
    }
}

/// The plate that a sighting tells of, in its normal form, when it names a vehicle and is in no registry.
fn unregistered_plate<'s>(sighting: &'s Sighting, registered: &impl Registered) -> Option<Cow<'s, str>> {
    let plate = plate::plate(sighting.plate.as_deref()?);
    (plate::names_a_vehicle(&plate) && !registered.has_plate(&plate, sighting.device_time)).then_some(plate)
}

/// Where the report says that it was taken.
fn fixed(report: &DeviceReport, at: Time) -> Option<Fixed> {
    report.lat.zip(report.lon).map(|(lat, lon)| Fixed { at, lat, lon })
}

/// What makes a report the same report again: all that it measured and says. Not its counter and not `hist`, which change when a
/// device sends it once more, and not what vendors add.
fn fingerprint(report: &DeviceReport) -> [u16; 3] {
    let mut hash = DefaultHasher::new();
    let numbers = [
        report.lat,
        report.lon,
        report.accuracy_m,
        report.hdop,
        report.speed_kmh,
        report.heading_deg,
        report.alt_m,
        report.odometer_m,
        report.speed_recorder_kmh,
        report.gross_kg,
    ];
    (report.device_time, numbers.map(|number| number.map(f64::to_bits)), report.fix, report.sats).hash(&mut hash);
    (report.ignition, report.power, report.antenna, report.load, report.cover, report.lift).hash(&mut hash);
    (&report.alarms, &report.driver_id).hash(&mut hash);
    report.events.iter().for_each(|event| {
        (&event.kind, event.phase, event.level, event.speed_kmh.map(f64::to_bits)).hash(&mut hash);
    });
    let bits = hash.finish();
    [bits as u16, (bits >> 16) as u16, (bits >> 32) as u16]
}

fn reply_fingerprint(reply: &UnitReply) -> u64 {
    let mut hash = DefaultHasher::new();
    (&reply.unit_id, &reply.dispatch_id, reply.device_time, reply.answer, reply.verdict).hash(&mut hash);
    (&reply.reason, &reply.note).hash(&mut hash);
    reply.media.as_ref().map(ToString::to_string).hash(&mut hash);
    hash.finish()
}

#[cfg(test)]
mod tests;
