//! A city and a fleet that drives in it, misbehaves on purpose, and says what it did: for the demo, for load, for tests.
//!
//! [`City`] is a made-up part of Shenzhen: roads, places, zones, routes and everyone registered; [`City::write`] writes it
//! as a registry folder (`fixtures/demo-city` is what it writes for sixty trucks). [`Simulation`] moves its trucks and
//! enforcement units by a clock that it is given, and hands out what they say as [`Message`]s in order of arrival;
//! [`write_line`] makes a line of a replay file of one. [`Simulation::truths`] tells what trucks truly did.
//!
//! Invariants:
//! - No clock and no I/O but writing a city: time comes in with [`Simulation::advance`].
//! - Everything random comes from one seed: the same city, settings and times give the same bytes.
//! - Trucks are bodies: they drive on roads, brake and gather speed within bounds, slow down for bends, stop at lights.
//! - Who is not told to offend does not, by a margin that the switched-on noise does not eat up.
//! - Trucks are many but bounded (`limits::SIMULATED_TRUCKS`); more are refused. Units owe a bounded number of answers;
//!   further offers are not heard.

mod chance;
mod city;
mod drive;
mod files;
mod misdeed;
mod names;
mod network;
mod noise;
mod offence;
mod path;
mod plane;
mod report;
mod score;
mod simulation;
#[cfg(test)]
mod tests;
mod truck;
mod units;
mod watch;

use std::{io, sync::Arc};

pub use city::{CITY_TRUCKS, City};
pub use noise::Noise;
pub use offence::Offence;
pub use score::{Score, Verdict, score};
pub use simulation::{Settings, Simulation};
pub use watch::Truth;

use crate::model::{Time, limits};

/// Something that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What follows the prefix: `device/{device_id}/report`, `unit/{unit_id}/report` or `unit/{unit_id}/reply`.
    pub topic: Arc<str>,
    /// A JSON object that names its device or unit.
    pub payload: Vec<u8>,
    /// When it arrives.
    pub at: Time,
}

/// Why a simulation cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    #[error("write {path}: {cause}")]
    Write { path: String, cause: io::Error },
    #[error("simulate {0} trucks (expected at most {max})", max = limits::SIMULATED_TRUCKS)]
    TooManyTrucks(usize),
    #[error("report every {0} ms (expected 100 to 60000)")]
    Interval(i64),
}

/// Writes a message as a line of a replay file, its arrival time in `recv_time`. Replies of units have no place in such a
/// file and are left out.
///
/// # Errors
/// When the line cannot be written.
pub fn write_line(out: &mut impl io::Write, message: &Message) -> io::Result<()> {
    let kind: &[u8] = match (message.topic.starts_with("unit/"), message.topic.ends_with("/reply")) {
        (_, true) => return Ok(()),
        (true, _) => b"\"type\":\"unit\",",
        (false, _) => b"",
    };
    let mut time = Vec::with_capacity(24);
    report::push_time(&mut time, message.at);
    out.write_all(b"{\"recv_time\":\"")?;
    out.write_all(&time)?;
    out.write_all(b"\",")?;
    out.write_all(kind)?;
    out.write_all(message.payload.get(1..).unwrap_or_default())?;
    out.write_all(b"\n")
}
