//! Vehicles with several devices: whose positions are followed, and what one tells that another does not.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{
    clock::{Clock, is_wrong},
    exact,
};
use crate::model::{Antenna, Cover, DeviceReport, Facts, Lift, Load, Power, Text, Time, clock_fault};

/// So long without a position, and a device's place is taken by the next one of its vehicle; so long, too, a reading of one device
/// stands in for what another does not tell: three reports of a slow tracker, seconds.
const GUIDED_S: f64 = 180.0;

/// A device that says nothing for so long was taken off, or is another problem, seconds.
const FORGOTTEN_S: f64 = 86_400.0;

/// Of a vehicle with several devices, the one whose positions are followed, and the readings that others may lack.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Devices {
    guide: Option<(Text, Time)>,
    load: Told<Load>,
    cover: Told<Cover>,
    lift: Told<Lift>,
    gross_kg: Told<u64>,
    ignition: Told<bool>,
    driver_id: Told<Text>,
    clocks: Vec<DeviceClock>,
}

/// One device's clock, and by how much it was wrong when that was last known.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct DeviceClock {
    device_id: Text,
    clock: Clock,
    #[serde(with = "exact::option")]
    skew_s: Option<f64>,
    /// What it said then, and when that arrived.
    measured: Time,
    known: Time,
    /// When anything came of it.
    heard: Time,
}

/// What was told last, when and by whom.
type Told<T> = Option<(T, Time, Text)>;

/// Remembers what a report tells; else fills in what another device told lately.
fn share<T: Clone>(told: &mut Told<T>, own: &mut Option<T>, report: &DeviceReport, at: Time) {
    match own {
        Some(value) => *told = Some((value.clone(), at, report.device_id.clone())),
        None => {
            let is_fresh = |(_, when, by): &&(T, Time, Text)| *by != report.device_id && at.s_since(*when) <= GUIDED_S;
            *own = told.as_ref().filter(is_fresh).map(|(value, ..)| value.clone());
        }
    }
}

impl Devices {
    /// Whether a device's report is the one to follow. Receivers of one truck differ by some metres and by what their clocks differ,
    /// which would look as if the truck leapt to and fro: so one guides, the first of `fitted` that tells any position.
    pub fn follow(&self, fitted: &[Text], device_id: &Text, has_position: bool, at: Time) -> bool {
        let Some((guide, last)) = self.guide.as_ref().filter(|(guide, _)| guide != device_id) else { return true };
        let rank = |id: &Text| fitted.iter().position(|one| one == id).unwrap_or(usize::MAX);
        at.s_since(*last) > GUIDED_S || has_position && rank(device_id) < rank(guide)
    }

    /// The device that is followed told a position.
    pub fn guided_by(&mut self, device_id: &Text, at: Time) {
        self.guide = Some((device_id.clone(), at));
    }

    /// Whether the positions that were followed until now are another device's.
    pub fn is_new_guide(&self, device_id: &Text) -> bool {
        self.guide.as_ref().is_some_and(|(guide, _)| guide != device_id)
    }

    /// Takes a report's clock and fills `clock_skew_s` and `clock_fault` by that of the vehicle's devices which is wrong by most.
    pub fn tell_clock(&mut self, row: &mut Facts, report: &DeviceReport, recv_time: Time) {
        let place = self.clocks.iter().position(|one| one.device_id == report.device_id);
        let own = match place {
            Some(place) => &mut self.clocks[place],
            None => self.clocks.push_mut(DeviceClock {
                device_id: report.device_id.clone(),
                clock: Clock::default(),
                skew_s: None,
                measured: report.device_time,
                known: recv_time,
                heard: recv_time,
            }),
        };
        own.heard = recv_time;
        own.clock.step(row, report, recv_time);
        if row.clock_skew_s.is_some() {
            (own.skew_s, own.measured, own.known) = (row.clock_skew_s, report.device_time, recv_time);
        }
        self.clocks.retain(|one| recv_time.s_since(one.heard) <= FORGOTTEN_S);
        let is_fresh = |one: &&DeviceClock| recv_time.s_since(one.known) <= GUIDED_S;
        let skews = self.clocks.iter().filter(is_fresh).filter_map(|one| Some((one.skew_s?, one.measured)));
        if let Some((skew_s, measured)) = skews.max_by(|a, b| a.0.abs().total_cmp(&b.0.abs())) {
            row.clock_skew_s = Some(skew_s);
            row.clock_fault = is_wrong(skew_s).then(|| clock_fault(skew_s, measured));
        }
    }

    /// A report with what it lacks of the body and the driver from the vehicle's other devices.
    pub fn complete<'r>(&mut self, report: &'r DeviceReport, at: Time) -> Cow<'r, DeviceReport> {
        let mut whole = report.clone();
        share(&mut self.load, &mut whole.load, report, at);
        share(&mut self.cover, &mut whole.cover, report, at);
        share(&mut self.lift, &mut whole.lift, report, at);
        let mut gross = whole.gross_kg.map(f64::to_bits);
        share(&mut self.gross_kg, &mut gross, report, at);
        whole.gross_kg = gross.map(f64::from_bits);
        share(&mut self.ignition, &mut whole.ignition, report, at);
        share(&mut self.driver_id, &mut whole.driver_id, report, at);
        if whole == *report { Cow::Borrowed(report) } else { Cow::Owned(whole) }
    }
}

/// Whether a report beside the one that is followed says something of its own: an alarm, an event, or that it is tampered with.
pub(super) fn says_more(report: &DeviceReport) -> bool {
    let is_tampered = report.power.is_some_and(|power| power != Power::Ok)
        || report.antenna.is_some_and(|antenna| antenna != Antenna::Ok);
    report.bears_alarm() || is_tampered
}
