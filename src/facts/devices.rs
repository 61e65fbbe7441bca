//! Vehicles with several devices: whose positions are followed, and what one tells that another does not.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::model::{Antenna, Cover, DeviceReport, Lift, Load, Power, Text, Time};

/// So long without a position, and a device's place is taken by the next one of its vehicle; so long, too, a reading of one device
/// stands in for what another does not tell: three reports of a slow tracker, seconds.
const GUIDED_S: f64 = 180.0;

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
