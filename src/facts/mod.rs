//! The facts: a pure fold from one vehicle's reports to rows that rules read.
//!
//! [`Fold::step`] takes the state of one vehicle and its next report (or the clock's tick) and gives one row of
//! [`crate::model::Facts`]. One file per family of facts: identity, devices, motion, gap, clock, turn, dark, driving, body, place,
//! zone, road, settled, permit, route, trip, sensors, sighting.
//!
//! Invariants:
//! - Pure: no clock, no I/O, no locks. The same state and input give the same row, also after the state went through
//!   serde: what is not serialised is only a cache of the registry.
//! - All that is registered is looked up as of the row's own time, so a permit revoked later leaves the past legal.
//! - Unknown stays unknown: a missing or faulty reading is `None`, and changes no memory.
//! - A standing truck is judged at the centre of its fixes, not at the noisy fix: drift enters and leaves nothing.
//! - A column that was not asked for may be `None`; one that was is the same as when all are computed.
//! - State is bounded: no history is kept, only what the next row needs.

mod around;
mod body;
mod clock;
mod crossing;
mod dark;
mod devices;
mod driving;
mod exact;
mod fold;
mod gap;
mod identity;
mod motion;
mod permit;
mod place;
mod road;
mod route;
mod sensors;
mod settings;
mod settled;
mod sighting;
mod trip;
mod turn;
mod zone;
#[cfg(test)]
mod tests;

pub use fold::{DevicePart, Fold, Input, VehicleState};
pub use settings::Settings;
