//! The registry: vehicles, permits, places, routes and all else that is registered, each row with the interval in
//! which it holds.
//!
//! [`Registry`] is an immutable snapshot in memory with every version of every row; lookups say as of which instant.
//! It is read from a folder of files ([`Registry::read_dir`]), from texts ([`Registry::parse`]), or from the
//! [`Book`], the SQLite file that keeps the versions over many imports.
//!
//! Invariants:
//! - All or nothing: a folder with one wrong cell changes nothing, and every wrong cell of it is reported at once,
//!   with file, line, column, what was found and what was expected.
//! - Geometry is WGS-84 inside; a geometry file that does not say its datum is refused.
//! - The past is never rewritten: an import closes what went at its own instant and opens what came from then on.
//! - Limits (`model/limits.rs`): file size, rows and positions are bounded; what exceeds them is a problem like any
//!   other. At most `PROBLEMS` problems are listed, the rest are counted.

mod book;
mod check;
mod entity;
mod export;
mod geometry;
mod layer;
mod problem;
mod read;
mod row;
mod schema;
mod snapshot;
mod source;
#[cfg(test)]
mod tests;

pub use book::{Book, Counts, Difference, HeldRow, ImportSummary, Rejudge, RowVersion, Taking};
pub use entity::{
    BlacklistEntry, Company, District, Driver, Manifest, Outage, Permit, PermitStatus, Place, PlaceKind, PlaceStatus,
    Road, Route, SensorSet, Subject, Unit, Vehicle, VehicleStatus, Versioned, Zone, ZoneKind, class_limit_kmh,
};
pub use export::template;
pub use layer::{Areas, Lines};
pub use problem::{Problem, RegistryError};
pub use schema::Entity;
pub use snapshot::Registry;
pub use source::Encoding;
