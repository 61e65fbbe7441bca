//! What can be registered. Each is the contract's columns plus the interval in which the row holds.

use std::sync::Arc;

use crate::model::{Schedule, Text, Time, UnitKind, Validity};
use crate::spatial::Polyline;

/// A closed set of words with one spelling.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($variant),+ }

        impl $name {
            /// All of them, in order of definition.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The words, in the same order.
            pub const WORDS: &[&str] = &[$($word),+];

            /// The word for it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// From its word.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Whether a vehicle may work.
    VehicleStatus { Active = "active", Suspended = "suspended", Maintenance = "maintenance", Banned = "banned" }
}
words! {
    /// What an authority last said of a permit. Whether it is expired is a matter of its validity.
    PermitStatus { Valid = "valid", Suspended = "suspended", Revoked = "revoked" }
}
words! {
    /// Whom a blacklist's row is about.
    Subject { Vehicle = "vehicle", Company = "company", Driver = "driver" }
}
words! {
    /// What a place is for. Trucks may be in any of them.
    PlaceKind {
        Source = "source", Sink = "sink", Backfill = "backfill",
        Transfer = "transfer", Depot = "depot", Workshop = "workshop",
    }
}
words! {
    /// Whether a place takes trucks.
    PlaceStatus { Open = "open", Closed = "closed", Full = "full" }
}
words! {
    /// What a zone means.
    ZoneKind {
        Forbidden = "forbidden", Restricted = "restricted", Speed = "speed", Control = "control",
        Water = "water", Eco = "eco", OperatingArea = "operating_area",
    }
}

/// The sensors a vehicle carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SensorSet {
    pub cover: bool,
    pub lift: bool,
    pub load: bool,
    pub driver: bool,
    pub camera: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Vehicle {
    pub vehicle_id: Text,
    pub plate: Text,
    /// As written; empty when not given.
    pub plate_color: Text,
    /// What is fitted: a tracker, a dashcam. Positions are those of the first; of a later one while those before it tell none.
    pub device_ids: Arc<[Text]>,
    /// Empty when none is given.
    pub company_id: Text,
    pub status: VehicleStatus,
    /// Permitted gross mass, kg.
    pub max_gross_kg: Option<f64>,
    /// Mass empty, kg.
    pub tare_kg: Option<f64>,
    pub sensors: SensorSet,
    pub valid: Validity,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Company {
    pub company_id: Text,
    pub name: Text,
    pub valid: Validity,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Driver {
    pub driver_id: Text,
    pub name: Text,
    /// Empty when none is given.
    pub company_id: Text,
    /// As written: no list of words is fixed for drivers.
    pub status: Text,
    pub valid: Validity,
}

/// Leave to carry from one source to some sinks.
#[derive(Clone, Debug, PartialEq)]
pub struct Permit {
    pub permit_id: Text,
    pub vehicle_id: Text,
    pub source_id: Text,
    pub sink_ids: Vec<Text>,
    /// Empty: no route is prescribed.
    pub route_ids: Vec<Text>,
    /// In local time; empty: any time.
    pub windows: Schedule,
    pub status: PermitStatus,
    pub valid: Validity,
}

/// The electronic waybill of one load.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    pub manifest_id: Text,
    pub vehicle_id: Text,
    pub permit_id: Option<Text>,
    pub opened_at: Time,
    /// `None`: still open.
    pub closed_at: Option<Time>,
    pub driver_id: Option<Text>,
    pub planned_distance_m: Option<f64>,
    pub planned_duration_s: Option<f64>,
    pub valid: Validity,
}

impl Manifest {
    /// Whether it is open at `at`: opened, not yet closed, and the row holds.
    pub fn is_open(&self, at: Time) -> bool {
        self.opened_at <= at && self.closed_at.is_none_or(|closed| at < closed) && self.valid.contains(at)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct BlacklistEntry {
    pub subject: Subject,
    pub subject_id: Text,
    pub reason: Text,
    pub valid: Validity,
}

/// A filed outage: it excuses going dark.
#[derive(Clone, Debug, PartialEq)]
pub struct Outage {
    pub vehicle_id: Text,
    pub reason: Text,
    pub valid: Validity,
}

/// People who can be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    pub unit_id: Text,
    pub name: Text,
    /// The department it belongs to, such as `urban_mgmt`.
    pub department: Text,
    pub kind: UnitKind,
    /// `None`: not bound to a district.
    pub district_id: Option<Text>,
    pub valid: Validity,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub place_id: Text,
    pub name: Text,
    pub kind: PlaceKind,
    pub status: PlaceStatus,
    pub valid: Validity,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    pub zone_id: Text,
    pub name: Text,
    pub kind: ZoneKind,
    pub speed_limit_kmh: Option<f64>,
    /// In local time; empty: always.
    pub schedule: Schedule,
    /// Words of one's own, such as `school`, for rules to ask.
    pub tags: Arc<[Text]>,
    pub valid: Validity,
}

#[derive(Clone, Debug, PartialEq)]
pub struct District {
    pub district_id: Text,
    pub name: Text,
    pub valid: Validity,
}

/// A prescribed way.
#[derive(Clone, Debug)]
pub struct Route {
    pub route_id: Text,
    pub name: Text,
    /// How far from the line still counts as on it, metres; `None`: the evaluator's default.
    pub buffer_m: Option<f64>,
    pub line: Polyline,
    pub valid: Validity,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Road {
    pub road_id: Text,
    pub name: Option<Text>,
    /// As OSM `highway=*`.
    pub class: Text,
    /// Posted limit, km/h.
    pub speed_limit_kmh: Option<f64>,
    /// Whether it may be driven only in the order of its points.
    pub oneway: bool,
    pub valid: Validity,
}

impl Road {
    /// The limit that holds for a muck truck on it, km/h: the lower of the posted one and that of its class.
    pub fn limit_kmh(&self) -> f64 {
        let class = class_limit_kmh(&self.class);
        self.speed_limit_kmh.map_or(class, |posted| posted.min(class))
    }
}

/// The limit for muck trucks by class of road, km/h: 80 on motorways, 60 on urban expressways (OSM `trunk`), 40 on
/// every other road. Source: Shenzhen traffic police's notice for muck trucks (80 / 60 / 40 by road class, the lower
/// of this and the posted one), extended to mixers in 2020. A `_link` has its parent's limit.
pub fn class_limit_kmh(class: &str) -> f64 {
    match class.strip_suffix("_link").unwrap_or(class) {
        "motorway" => 80.0,
        "trunk" => 60.0,
        _ => 40.0,
    }
}

/// What every entity has: a key, and the interval in which the row holds.
pub trait Versioned {
    /// The first column, which names the thing.
    fn key(&self) -> &Text;
    fn valid(&self) -> Validity;
}

macro_rules! versioned {
    ($($name:ident by $key:ident),+ $(,)?) => {
        $(impl Versioned for $name {
            fn key(&self) -> &Text {
                &self.$key
            }

            fn valid(&self) -> Validity {
                self.valid
            }
        })+
    };
}

versioned! {
    Vehicle by vehicle_id, Company by company_id, Driver by driver_id, Permit by permit_id, Manifest by manifest_id,
    BlacklistEntry by subject_id, Outage by vehicle_id, Unit by unit_id, Place by place_id, Zone by zone_id,
    District by district_id, Route by route_id, Road by road_id,
}
