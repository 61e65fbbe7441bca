//! Who sends.

use serde::Serialize;

use super::{Body, Text};

/// Who sent a message, by its id. In JSON it is the field that names it: `device_id`, `sensor_id` or `unit_id`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Sender {
    #[serde(rename = "device_id")]
    Device(Text),
    #[serde(rename = "sensor_id")]
    Sensor(Text),
    #[serde(rename = "unit_id")]
    Unit(Text),
}

impl Sender {
    /// Whose a record is; nobody's when it could not be read.
    pub fn of(body: &Body) -> Option<Self> {
        Some(match body {
            Body::Device(report) => Self::Device(report.device_id.clone()),
            Body::Sighting(sighting) => Self::Sensor(sighting.sensor_id.clone()),
            Body::Unit(report) => Self::Unit(report.unit_id.clone()),
            Body::Reply(reply) => Self::Unit(reply.unit_id.clone()),
            Body::DeadLetter(_) | Body::Tick | Body::Start | Body::JudgeAgain(_) => return None,
        })
    }

    /// The levels of its topics that name it, below the prefix.
    pub fn topic(&self) -> String {
        match self {
            Self::Device(id) => format!("device/{id}"),
            Self::Sensor(id) => format!("sensor/{id}"),
            Self::Unit(id) => format!("unit/{id}"),
        }
    }

    pub fn device_id(&self) -> Option<&Text> {
        match self {
            Self::Device(id) => Some(id),
            Self::Sensor(_) | Self::Unit(_) => None,
        }
    }
}
