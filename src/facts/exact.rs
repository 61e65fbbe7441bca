//! Floats kept to the last bit: a text format may round them, and a fold continued after a restart must not differ.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An `f64` written as its bits.
pub(super) fn serialize<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
    number.to_bits().serialize(to)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    u64::deserialize(from).map(f64::from_bits)
}

/// The same for one that may be missing.
pub(super) mod option {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(number: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
        number.map(f64::to_bits).serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(f64::from_bits))
    }
}

/// The same for a point, longitude first.
pub(super) mod point {
    use super::{Deserialize, Deserializer, Serialize, Serializer};
    use crate::spatial::Point;

    pub(in super::super) fn serialize<S: Serializer>(point: &Point, to: S) -> Result<S::Ok, S::Error> {
        (point.lon.to_bits(), point.lat.to_bits()).serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Point, D::Error> {
        let (lon, lat) = <(u64, u64)>::deserialize(from)?;
        Ok(Point::new(f64::from_bits(lon), f64::from_bits(lat)))
    }
}
