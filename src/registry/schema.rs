//! Which entities there are, in which files, with which columns: the contract's section 3 as a table.

/// An entity: what a file lists, and what the API takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entity {
    Vehicles,
    Companies,
    Drivers,
    Permits,
    Manifests,
    Blacklist,
    Outages,
    Units,
    Places,
    Zones,
    Routes,
    Roads,
    Districts,
}

/// What shape an entity's rows have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShapeKind {
    None,
    Area,
    Line,
}

/// How much a column is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Every row has a value in it.
    Value,
    /// A table has the column; its cells may be empty.
    Header,
    /// It may be missing altogether.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ColumnDef {
    pub name: &'static str,
    pub need: Need,
}

const fn must(name: &'static str) -> ColumnDef {
    ColumnDef { name, need: Need::Value }
}

const fn head(name: &'static str) -> ColumnDef {
    ColumnDef { name, need: Need::Header }
}

const fn may(name: &'static str) -> ColumnDef {
    ColumnDef { name, need: Need::Nothing }
}

impl Entity {
    /// All of them, in the contract's order.
    pub const ALL: &[Self] = &[
        Self::Vehicles,
        Self::Companies,
        Self::Drivers,
        Self::Permits,
        Self::Manifests,
        Self::Blacklist,
        Self::Outages,
        Self::Units,
        Self::Places,
        Self::Zones,
        Self::Routes,
        Self::Roads,
        Self::Districts,
    ];

    /// Its name: the file's without the ending, and the API's.
    pub const fn name(self) -> &'static str {
        match self.file().as_bytes() {
            [name @ .., b'.', b'c', b's', b'v'] | [name @ .., b'.', b'g', b'e', b'o', b'j', b's', b'o', b'n'] => {
                match std::str::from_utf8(name) {
                    Ok(name) => name,
                    Err(_) => self.file(),
                }
            }
            _ => self.file(),
        }
    }

    /// By [`Self::name`].
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|entity| entity.name() == name)
    }

    /// The file that lists it.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Vehicles => "vehicles.csv",
            Self::Companies => "companies.csv",
            Self::Drivers => "drivers.csv",
            Self::Permits => "permits.csv",
            Self::Manifests => "manifests.csv",
            Self::Blacklist => "blacklist.csv",
            Self::Outages => "outages.csv",
            Self::Units => "units.csv",
            Self::Places => "places.geojson",
            Self::Zones => "zones.geojson",
            Self::Routes => "routes.geojson",
            Self::Roads => "roads.geojson",
            Self::Districts => "districts.geojson",
        }
    }

    /// The column that names a row: the first.
    pub fn key(self) -> &'static str {
        self.columns().first().map_or("", |column| column.name)
    }

    /// Whether its rows have a shape.
    pub const fn has_shape(self) -> bool {
        !matches!(self.shape(), ShapeKind::None)
    }

    pub(super) const fn shape(self) -> ShapeKind {
        match self {
            Self::Places | Self::Zones | Self::Districts => ShapeKind::Area,
            Self::Routes | Self::Roads => ShapeKind::Line,
            _ => ShapeKind::None,
        }
    }

    /// Its columns without the two of validity, which every entity has.
    pub(super) const fn columns(self) -> &'static [ColumnDef] {
        match self {
            Self::Vehicles => {
                &const {
                    [
                        must("vehicle_id"),
                        must("plate"),
                        may("plate_color"),
                        head("device_id"),
                        may("company_id"),
                        must("status"),
                        may("max_gross_kg"),
                        may("tare_kg"),
                        may("sensors"),
                    ]
                }
            }
            Self::Companies => &const { [must("company_id"), may("name")] },
            Self::Drivers => &const { [must("driver_id"), may("name"), may("company_id"), may("status")] },
            Self::Permits => {
                &const {
                    [
                        must("permit_id"),
                        must("vehicle_id"),
                        head("source_id"),
                        head("sink_ids"),
                        may("route_ids"),
                        may("windows"),
                        must("status"),
                    ]
                }
            }
            Self::Manifests => {
                &const {
                    [
                        must("manifest_id"),
                        must("vehicle_id"),
                        may("permit_id"),
                        must("opened_at"),
                        may("closed_at"),
                        may("driver_id"),
                        may("planned_distance_m"),
                        may("planned_duration_s"),
                    ]
                }
            }
            Self::Blacklist => &const { [must("subject"), must("subject_id"), may("reason")] },
            Self::Outages => &const { [must("vehicle_id"), may("reason")] },
            Self::Units => {
                &const { [must("unit_id"), may("name"), must("department"), must("kind"), may("district_id")] }
            }
            Self::Places => &const { [must("place_id"), may("name"), must("kind"), may("status"), may("radius_m")] },
            Self::Zones => {
                &const {
                    [
                        must("zone_id"),
                        may("name"),
                        must("kind"),
                        may("speed_limit_kmh"),
                        may("schedule"),
                        may("tags"),
                        may("radius_m"),
                    ]
                }
            }
            Self::Routes => &const { [must("route_id"), may("name"), may("buffer_m")] },
            Self::Roads => {
                &const { [must("road_id"), may("name"), must("class"), may("speed_limit_kmh"), may("oneway")] }
            }
            Self::Districts => &const { [must("district_id"), may("name"), may("radius_m")] },
        }
    }

    /// The names of its columns without the two of validity, the key first.
    pub fn own_column_names(self) -> impl Iterator<Item = &'static str> {
        self.columns().iter().map(|column| column.name)
    }

    /// Where a column stands.
    pub(super) fn column(self, name: &str) -> Option<usize> {
        self.columns().iter().position(|column| column.name == name)
    }

    /// Whether its rows are told apart by more than the first column, so that a key may come again.
    pub(super) const fn repeats(self) -> bool {
        matches!(self, Self::Blacklist | Self::Outages)
    }

    /// The names of all its columns, those of validity included.
    pub fn column_names(self) -> impl Iterator<Item = &'static str> {
        self.own_column_names().chain(["valid_from", "valid_to"])
    }
}

/// Which columns name rows of another entity. A reference is looked up only when that entity is registered at all.
pub(super) const REFERENCES: &[(Entity, &str, Entity)] = &[
    (Entity::Vehicles, "company_id", Entity::Companies),
    (Entity::Drivers, "company_id", Entity::Companies),
    (Entity::Permits, "vehicle_id", Entity::Vehicles),
    (Entity::Permits, "source_id", Entity::Places),
    (Entity::Permits, "sink_ids", Entity::Places),
    (Entity::Permits, "route_ids", Entity::Routes),
    (Entity::Manifests, "vehicle_id", Entity::Vehicles),
    (Entity::Manifests, "permit_id", Entity::Permits),
    (Entity::Manifests, "driver_id", Entity::Drivers),
    (Entity::Outages, "vehicle_id", Entity::Vehicles),
    (Entity::Units, "district_id", Entity::Districts),
];

/// Columns in which one value belongs to one row at a time.
pub(super) const UNIQUE: &[(Entity, &str)] = &[(Entity::Vehicles, "device_id"), (Entity::Vehicles, "plate")];
