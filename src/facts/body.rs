//! The body: load, cover and hoist. Sensors are enums with a fault; fault and unknown are NULL and forget nothing.

use serde::{Deserialize, Serialize};

use crate::model::{Cover, DeviceReport, Facts, Lift, Load, Power, Time};

/// The last known readings.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Body {
    pub load: Option<Load>,
    pub ignition: Option<bool>,
    /// Main power as last told, by the reading or by the alarm `power_lost`.
    power: Option<Power>,
    /// When ignition was seen to go on; `None` while it is off, or was on from the first.
    ignition_on: Option<Time>,
}

fn is_loaded(load: Load) -> bool {
    matches!(load, Load::Half | Load::Full | Load::Loaded)
}

/// How much less than its tare a truck may seem to weigh, as a share: the error of an axle's scale.
const LEAST_OF_TARE: f64 = 0.9;

/// What it weighs; `None` when that is less than it weighs empty: tonnes for kilograms, or one axle for the whole.
pub(super) fn weight(gross_kg: Option<f64>, tare_kg: Option<f64>) -> Option<f64> {
    gross_kg.filter(|gross_kg| tare_kg.is_none_or(|tare_kg| *gross_kg >= tare_kg * LEAST_OF_TARE))
}

impl Body {
    /// Fills load, cover, lift, their faults, mass and ignition, as reported.
    pub fn step(&mut self, row: &mut Facts, report: &DeviceReport, tare_kg: Option<f64>, at: Time) {
        let load = report.load.filter(|load| !matches!(load, Load::Fault | Load::Unknown));
        self.tell_load(row, load);
        row.load_drop = Some(load == Some(Load::Empty) && self.load.is_some_and(is_loaded));
        row.load_gain = Some(load.is_some_and(is_loaded) && self.load == Some(Load::Empty));
        row.load_fault = Some(report.load == Some(Load::Fault));
        let cover = report.cover.filter(|cover| !matches!(cover, Cover::Fault | Cover::Unknown));
        row.cover = cover.map(Cover::as_str);
        row.cover_fault = Some(report.cover == Some(Cover::Fault));
        let lift = report.lift.filter(|lift| !matches!(lift, Lift::Fault | Lift::Unknown));
        row.lift = lift.map(Lift::as_str);
        row.lift_fault = Some(report.lift == Some(Lift::Fault));
        row.gross_kg = weight(report.gross_kg, tare_kg);
        row.ignition = report.ignition;
        row.power = report.power.map(|power| power.as_str());
        row.antenna = report.antenna.map(|antenna| antenna.as_str());
        let alarm = report.alarms.iter().any(|alarm| **alarm == *"power_lost").then_some(Power::Lost);
        self.power = alarm.or(report.power).or(self.power);
        self.load = load.or(self.load);
        match (self.ignition, report.ignition) {
            (Some(false), Some(true)) => self.ignition_on = Some(at),
            (_, Some(false)) => self.ignition_on = None,
            _ => {}
        }
        self.ignition = report.ignition.or(self.ignition);
        row.ignition_on_s = report.ignition.and(self.ignition_on).map(|since| at.s_since(since));
    }

    /// On a timer row: the last known load, ignition and power.
    pub fn tell_last(&self, row: &mut Facts) {
        self.tell_load(row, self.load);
        row.power = self.power.map(|power| power.as_str());
        row.ignition = self.ignition;
    }

    fn tell_load(&self, row: &mut Facts, load: Option<Load>) {
        row.load = load.map(Load::as_str);
        row.loaded = load.map(is_loaded);
    }
}
