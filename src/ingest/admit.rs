//! Which reports are judged, and which are only counted and kept.
//!
//! A verdict is read off the state without changing it; the state changes only by applying the record that results. So
//! [`Admission::restore`] over the journal gives exactly the state that live admission had.
//!
//! In order, for a device report:
//!
//! 1. A device in no registry, when there are already as many as we keep count of: rejected, `too_many_devices`.
//! 2. A clock too far ahead: judged at arrival (`clock_skew`), or at the device's last event time when that is later, so
//!    that such a device is judged in order of arrival. Its positions are used, but not to tell jumps.
//! 3. The same content again: `duplicate`. Only a report that is not newer than the device's last needs to be looked up.
//! 4. Older than the device's last event time: `late`, `out_of_order`, or `too_old` when it is older on arrival than what is
//!    judged at all. Equal event time with other content is judged.
//! 5. A speed, or a jump between fixes, that no truck makes: filtered.
//! 6. Without a position, or with one that can't be used: judged, position unused.
//!
//! A first fix that was wrong must not condemn all that follow: after [`AGREEING_FIXES`] filtered fixes in a row that a
//! truck could have driven between, the next such fix is believed. Jumps within `jump_floor_m` are drift and pass.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::decode::Decoded;
use crate::model::{Body, DeviceReport, Fix, Outcome, Reason, Record, Time, UnitReply, limits};

/// Filtered fixes in a row that agree with each other, after which the next is believed.
const AGREEING_FIXES: u8 = 3;
/// How often, by the arrival clock, unregistered devices that are silent make room.
const SWEEP_MS: i64 = 60_000;
/// Mean radius of the earth (IUGG), in metres.
const EARTH_M: f64 = 6_371_008.8;

/// What is plausible, and how old or new a report may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdmissionSettings {
    /// Faster, or negative: filtered.
    pub max_speed_kmh: f64,
    /// Faster between two fixes: filtered.
    pub max_implied_speed_kmh: f64,
    /// Shorter jumps are drift, however quick.
    pub jump_floor_m: f64,
    /// A device clock further ahead of arrival is not believed.
    pub max_ahead_s: i64,
    /// Out of order and older than this on arrival: too old.
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
            max_speed_kmh: 120.0,
            max_implied_speed_kmh: 150.0,
            jump_floor_m: 200.0,
            max_ahead_s: 120,
            max_age_s: 72 * 3600,
            min_sats: 4,
            max_hdop: 5.0,
            forget_unregistered_s: 24 * 3600,
        }
    }
}

/// Per device what is needed to tell duplicates, order and jumps.
///
/// At its limits: unregistered devices beyond [`limits::UNREGISTERED_DEVICES`] are rejected until others have been silent for
/// long enough; registered ones are bounded by the registry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Admission {
    settings: AdmissionSettings,
    devices: FxHashMap<Arc<str>, Device>,
    unregistered: usize,
    swept_at: Time,
    replies: VecDeque<u64>,
}

/// One device. Its fingerprints are 48 bits each, oldest first from `oldest`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Device {
    /// Newest event time that was judged or filtered.
    newest: Option<Time>,
    seen_at: Time,
    unregistered: bool,
    /// The last fix believed.
    believed: Option<Place>,
    /// The last filtered fix, and how many in a row agree with it.
    doubted: Option<(Place, u8)>,
    fingerprints: Vec<[u16; 3]>,
    oldest: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Place {
    at: Time,
    lat: f64,
    lon: f64,
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

    /// Makes the record of what was decoded. A replayed file's own arrival time goes before `recv_time`.
    pub fn admit(&mut self, decoded: Decoded, recv_time: Time, registered: impl Fn(&str) -> bool) -> Record {
        let recv_time = decoded.recv_time.unwrap_or(recv_time);
        let verdict = self.judge(&decoded, recv_time, &registered);
        let Verdict { outcome, reason, event_time, use_position } = verdict;
        let record = Record { recv_time, event_time, outcome, reason, use_position, body: decoded.body };
        self.restore(&record, registered);
        record
    }

    /// Takes up a record of the journal, in order. With the same registry the state is that of live admission.
    pub fn restore(&mut self, record: &Record, registered: impl Fn(&str) -> bool) {
        if !record.is_counted() {
            return;
        }
        self.sweep(record.recv_time, &registered);
        match &record.body {
            Body::Device(report) => self.apply(report, record, registered),
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

    fn judge(&self, decoded: &Decoded, recv_time: Time, registered: impl Fn(&str) -> bool) -> Verdict {
        let other = |outcome, reason, event_time, use_position| Verdict { outcome, reason, event_time, use_position };
        match &decoded.body {
            Body::Device(report) => self.judge_report(report, recv_time, registered),
            Body::Sighting(sighting) => {
                let usable = sighting.lat.zip(sighting.lon).is_some_and(|(lat, lon)| is_place(lat, lon));
                other(Outcome::Evaluated, Reason::Ok, sighting.device_time, usable)
            }
            Body::Unit(unit) => other(Outcome::Evaluated, Reason::Ok, unit.device_time, is_place(unit.lat, unit.lon)),
            Body::Reply(reply) if self.replies.contains(&reply_fingerprint(reply)) => {
                other(Outcome::Duplicate, Reason::Duplicate, reply.device_time, false)
            }
            Body::Reply(reply) => other(Outcome::Evaluated, Reason::Ok, reply.device_time, false),
            Body::DeadLetter(_) if decoded.reason == Reason::NoReport => {
                other(Outcome::Filtered, Reason::NoReport, recv_time, false)
            }
            Body::DeadLetter(_) | Body::Tick | Body::Start => {
                other(Outcome::Rejected, decoded.reason, recv_time, false)
            }
        }
    }

    fn judge_report(&self, report: &DeviceReport, recv_time: Time, registered: impl Fn(&str) -> bool) -> Verdict {
        let device = self.devices.get(&report.device_id);
        let skewed = report.device_time.ms_since(recv_time) > self.settings.max_ahead_s * 1000;
        let newest = device.and_then(|device| device.newest);
        let event_time =
            if skewed { newest.map_or(recv_time, |newest| newest.max(recv_time)) } else { report.device_time };
        let unused = |outcome, reason| Verdict { outcome, reason, event_time, use_position: false };
        let Some(device) = device else {
            if self.unregistered >= limits::UNREGISTERED_DEVICES && !registered(&report.device_id) {
                return unused(Outcome::Rejected, Reason::TooManyDevices);
            }
            return self.judge_content(report, &Device::default(), event_time, skewed);
        };
        let is_newer = newest.is_none_or(|newest| report.device_time > newest);
        if (skewed || !is_newer) && device.fingerprints.contains(&fingerprint(report)) {
            return unused(Outcome::Duplicate, Reason::Duplicate);
        }
        if newest.is_some_and(|newest| event_time < newest) {
            let is_too_old = recv_time.ms_since(report.device_time) > self.settings.max_age_s * 1000;
            return unused(Outcome::Late, if is_too_old { Reason::TooOld } else { Reason::OutOfOrder });
        }
        self.judge_content(report, device, event_time, skewed)
    }

    fn judge_content(&self, report: &DeviceReport, device: &Device, event_time: Time, skewed: bool) -> Verdict {
        let verdict = |outcome, reason, use_position| Verdict { outcome, reason, event_time, use_position };
        if report.speed_kmh.is_some_and(|speed| !(0.0..=self.settings.max_speed_kmh).contains(&speed)) {
            return verdict(Outcome::Filtered, Reason::ImplausibleSpeed, false);
        }
        let position = self.position(report);
        match position {
            Ok((lat, lon)) if !skewed && !self.is_believable(device, Place { at: event_time, lat, lon }) => {
                verdict(Outcome::Filtered, Reason::ImplausibleJump, false)
            }
            _ if skewed => verdict(Outcome::Evaluated, Reason::ClockSkew, position.is_ok()),
            Ok(_) => verdict(Outcome::Evaluated, Reason::Ok, true),
            Err(reason) => verdict(Outcome::Evaluated, reason, false),
        }
    }

    /// The position, or why it can't be used.
    fn position(&self, report: &DeviceReport) -> Result<(f64, f64), Reason> {
        let (lat, lon) = report.lat.zip(report.lon).ok_or(Reason::NoPosition)?;
        if report.fix == Some(Fix::None) || (lat == 0.0 && lon == 0.0) {
            Err(Reason::NoPosition)
        } else if !is_place(lat, lon) {
            Err(Reason::PositionOutOfRange)
        } else if report.sats.is_some_and(|sats| sats < self.settings.min_sats)
            || report.hdop.is_some_and(|hdop| hdop > self.settings.max_hdop)
        {
            Err(Reason::WeakFix)
        } else {
            Ok((lat, lon))
        }
    }

    fn is_believable(&self, device: &Device, place: Place) -> bool {
        let Some(believed) = &device.believed else { return true };
        self.is_drivable(believed, &place)
            || device.doubted.is_some_and(|(doubted, n)| n >= AGREEING_FIXES && self.is_drivable(&doubted, &place))
    }

    /// Whether a truck, or drift, gets from one place to the other in that time.
    fn is_drivable(&self, from: &Place, to: &Place) -> bool {
        let distance_m = distance_m(from, to);
        let hours = to.at.s_since(from.at).abs() / 3600.0;
        distance_m <= self.settings.jump_floor_m || distance_m / 1000.0 <= self.settings.max_implied_speed_kmh * hours
    }

    fn apply(&mut self, report: &DeviceReport, record: &Record, registered: impl Fn(&str) -> bool) {
        if record.outcome == Outcome::Rejected {
            return;
        }
        let doubted = (record.reason == Reason::ImplausibleJump).then(|| self.doubt(report, record)).flatten();
        if !self.devices.contains_key(&report.device_id) {
            let unregistered = !registered(&report.device_id);
            self.unregistered += usize::from(unregistered);
            self.devices.insert(Arc::clone(&report.device_id), Device { unregistered, ..Device::default() });
        }
        if let Some(device) = self.devices.get_mut(&report.device_id) {
            device.apply(report, record, doubted);
        }
    }

    /// A filtered fix, and with it how many in a row agree.
    fn doubt(&self, report: &DeviceReport, record: &Record) -> Option<(Place, u8)> {
        let place = Place::of(report, record)?;
        let before = self.devices.get(&report.device_id).and_then(|device| device.doubted);
        let agreeing = before.filter(|(before, _)| self.is_drivable(before, &place)).map_or(0, |(_, n)| n);
        Some((place, agreeing.saturating_add(1)))
    }

    /// Devices that were registered meanwhile stop counting; those silent for long go.
    fn sweep(&mut self, recv_time: Time, registered: &impl Fn(&str) -> bool) {
        if self.unregistered == 0 || recv_time.ms_since(self.swept_at) < SWEEP_MS {
            return;
        }
        self.swept_at = recv_time;
        let forget_ms = self.settings.forget_unregistered_s * 1000;
        self.devices.retain(|id, device| {
            device.unregistered = device.unregistered && !registered(id);
            !device.unregistered || recv_time.ms_since(device.seen_at) <= forget_ms
        });
        self.unregistered = self.devices.values().filter(|device| device.unregistered).count();
    }
}

impl Device {
    fn apply(&mut self, report: &DeviceReport, record: &Record, doubted: Option<(Place, u8)>) {
        self.seen_at = self.seen_at.max(record.recv_time);
        if record.outcome == Outcome::Duplicate {
            return;
        }
        self.remember(fingerprint(report));
        if matches!(record.outcome, Outcome::Evaluated | Outcome::Filtered) {
            self.newest = self.newest.max(Some(record.event_time));
        }
        if doubted.is_some() {
            self.doubted = doubted;
        } else if record.use_position && record.reason != Reason::ClockSkew {
            self.believed = Place::of(report, record);
            self.doubted = None;
        }
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

impl Place {
    fn of(report: &DeviceReport, record: &Record) -> Option<Self> {
        report.lat.zip(report.lon).map(|(lat, lon)| Self { at: record.event_time, lat, lon })
    }
}

fn is_place(lat: f64, lon: f64) -> bool {
    lat.abs() <= 90.0 && lon.abs() <= 180.0 && (lat != 0.0 || lon != 0.0)
}

/// Great-circle distance by the haversine formula, which is exact on a sphere also for near points.
fn distance_m(from: &Place, to: &Place) -> f64 {
    let (lat_a, lat_b) = (from.lat.to_radians(), to.lat.to_radians());
    let half_lat = ((lat_b - lat_a) / 2.0).sin();
    let half_lon = ((to.lon - from.lon).to_radians() / 2.0).sin();
    let chord = half_lat * half_lat + lat_a.cos() * lat_b.cos() * half_lon * half_lon;
    2.0 * EARTH_M * chord.sqrt().min(1.0).asin()
}

/// What makes a report the same report again: its time, position, alarms, events, driver and body state. Not its counter and
/// not `hist`, which change when a device sends it once more.
fn fingerprint(report: &DeviceReport) -> [u16; 3] {
    let mut hash = DefaultHasher::new();
    (report.device_time, report.lat.map(f64::to_bits), report.lon.map(f64::to_bits)).hash(&mut hash);
    (report.ignition, report.power, report.antenna, report.load, report.cover, report.lift).hash(&mut hash);
    (&report.alarms, &report.driver_id).hash(&mut hash);
    report.events.iter().for_each(|event| (&event.kind, event.phase, event.level).hash(&mut hash));
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
