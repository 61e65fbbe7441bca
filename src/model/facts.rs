//! The facts: one row per report, the columns that a rule may use.
//!
//! The table below is the only place where a column is defined: the row's field, its type in SQL, whether it may be
//! NULL and what it means. Every field is stored as an option; `None` is SQL NULL, the unknown of the rules.

use std::sync::Arc;

use serde_json::Value as Json;

use super::Time;

/// Shared text.
pub type Text = Arc<str>;

/// The SQL type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Float,
    Int,
    Flag,
    Time,
    TextList,
}

/// One value of a row, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Null,
    Text(&'a str),
    Float(f64),
    Int(i64),
    Flag(bool),
    Time(Time),
    TextList(&'a [Text]),
}

impl Value<'_> {
    /// As JSON; floats that are whole stay floats.
    pub fn to_json(self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Text(text) => text.into(),
            Self::Float(number) => number.into(),
            Self::Int(number) => number.into(),
            Self::Flag(flag) => flag.into(),
            Self::Time(time) => time.to_string().into(),
            Self::TextList(list) => list.iter().map(|text| &**text).collect(),
        }
    }
}

/// What is known of a column.
pub struct ColumnSpec {
    pub name: &'static str,
    pub kind: Kind,
    /// Whether it may be NULL.
    pub nullable: bool,
    pub doc: &'static str,
    get: for<'a> fn(&'a Facts) -> Value<'a>,
}

/// A column, by its place in [`Column::all`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Column(u8);

impl Column {
    /// Every column, in the order of the table.
    pub fn all() -> impl ExactSizeIterator<Item = Column> {
        (0..COLUMNS.len()).map(|index| Column(index as u8))
    }

    /// By name.
    pub fn named(name: &str) -> Option<Column> {
        COLUMNS.iter().position(|spec| spec.name == name).map(|index| Column(index as u8))
    }

    pub fn spec(self) -> &'static ColumnSpec {
        &COLUMNS[usize::from(self.0)]
    }

    pub fn name(self) -> &'static str {
        self.spec().name
    }
}

/// A set of columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ColumnSet([u128; 2]);

impl ColumnSet {
    /// Every column.
    pub fn all() -> Self {
        Column::all().collect()
    }

    pub fn insert(&mut self, column: Column) {
        self.0[usize::from(column.0 / 128)] |= 1 << (column.0 % 128);
    }

    pub fn contains(self, column: Column) -> bool {
        self.0[usize::from(column.0 / 128)] & (1 << (column.0 % 128)) != 0
    }

    /// Whether any of these names is in the set. Unknown names are not.
    pub fn contains_any(self, names: &[&str]) -> bool {
        names.iter().any(|name| Column::named(name).is_some_and(|column| self.contains(column)))
    }

    pub fn union(self, other: Self) -> Self {
        Self([self.0[0] | other.0[0], self.0[1] | other.0[1]])
    }

    /// In the order of the table.
    pub fn iter(self) -> impl Iterator<Item = Column> {
        Column::all().filter(move |column| self.contains(*column))
    }
}

impl FromIterator<Column> for ColumnSet {
    fn from_iter<I: IntoIterator<Item = Column>>(columns: I) -> Self {
        let mut set = Self::default();
        columns.into_iter().for_each(|column| set.insert(column));
        set
    }
}

/// What a row was made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKind {
    Report,
    Timer,
    Sighting,
}

/// What is registered of a truck: the facts of every kind of row.
const REGISTERED: &[&str] = &[
    "vehicle_id",
    "plate",
    "company_id",
    "company_name",
    "driver_id",
    "manifest_driver_id",
    "vehicle_status",
    "event_time",
    "local_hour",
    "local_minute_of_day",
    "local_weekday",
    "lat",
    "lon",
    "max_gross_kg",
    "district_id",
    "permit_id",
    "permit_status",
    "in_permit_window",
    "manifest_id",
    "manifest_open_s",
    "manifest_planned_s",
    "manifest_planned_m",
    "blacklisted",
    "outage_filed",
    "row_kind",
];

/// What a row of the clock says besides: how long nothing came, and what was last known.
const OF_TIMERS: &[&str] = &[
    "silent_s",
    "ignition",
    "power",
    "load",
    "loaded",
    "place_id",
    "place_kind",
    "place_dwell_s",
    "last_place_id",
    "trip_id",
    "trip_source_id",
    "trip_s",
    "trip_distance_m",
    "trip_washed",
    "trip_stops",
];

impl RowKind {
    pub const ALL: &[Self] = &[Self::Report, Self::Timer, Self::Sighting];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Timer => "timer",
            Self::Sighting => "sighting",
        }
    }

    /// Whether a row of this kind may know that fact; else it is always NULL there.
    pub fn may_have(self, column: Column) -> bool {
        let name = column.name();
        let is_seen = name.starts_with("sighting_");
        REGISTERED.contains(&name)
            || match self {
                Self::Report => !is_seen && name != "silent_s",
                Self::Timer => OF_TIMERS.contains(&name),
                Self::Sighting => is_seen,
            }
    }
}

/// What is known of a truck in one zone.
#[derive(Clone, Debug, PartialEq)]
pub struct InZone {
    pub zone_id: Text,
    pub kind: &'static str,
    pub name: Text,
    pub tags: Arc<[Text]>,
    /// Since it is in it while its schedule holds, seconds.
    pub dwell_s: f64,
}

/// Turns the table into the row type and the list of columns.
macro_rules! facts {
    (@type text) => { Option<Text> };
    (@type word) => { Option<&'static str> };
    (@type float) => { Option<f64> };
    (@type int) => { Option<i64> };
    (@type flag) => { Option<bool> };
    (@type time) => { Option<Time> };
    (@type list) => { Option<Arc<[Text]>> };
    (@kind text) => { Kind::Text };
    (@kind word) => { Kind::Text };
    (@kind float) => { Kind::Float };
    (@kind int) => { Kind::Int };
    (@kind flag) => { Kind::Flag };
    (@kind time) => { Kind::Time };
    (@kind list) => { Kind::TextList };
    (@value text $v:expr) => { $v.as_deref().map_or(Value::Null, Value::Text) };
    (@value word $v:expr) => { $v.map_or(Value::Null, Value::Text) };
    (@value float $v:expr) => { $v.map_or(Value::Null, Value::Float) };
    (@value int $v:expr) => { $v.map_or(Value::Null, Value::Int) };
    (@value flag $v:expr) => { $v.map_or(Value::Null, Value::Flag) };
    (@value time $v:expr) => { $v.map_or(Value::Null, Value::Time) };
    (@value list $v:expr) => { $v.as_deref().map_or(Value::Null, Value::TextList) };
    (@nullable) => { false };
    (@nullable maybe) => { true };
    ($($name:ident: $kind:ident $($maybe:ident)? = $doc:literal;)+) => {
        /// One row: what is known of a truck at one instant. `None` is unknown.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Facts {
            $(#[doc = $doc] pub $name: facts!(@type $kind),)+
            /// The zones of `zone_ids`, each for the rules that are judged for each; `None` where nobody knows, or asks.
            pub zones: Option<Arc<[InZone]>>,
        }

        const COLUMNS: &[ColumnSpec] = &[$(ColumnSpec {
            name: stringify!($name),
            kind: facts!(@kind $kind),
            nullable: facts!(@nullable $($maybe)?),
            doc: $doc,
            get: |row| facts!(@value $kind row.$name),
        }),+];
    };
}

/// `vehicle_status` of a vehicle that is in no register.
pub const UNREGISTERED: &str = "unregistered";

facts! {
    vehicle_id: text = "The vehicle, from the registry; the device's id when the device is in no registry.";
    plate: text = "Its number plate; the device's id when the device is in no registry.";
    company_id: text = "The company that runs it; empty when unregistered.";
    company_name: text maybe = "That company's name.";
    driver_id: text maybe = "Who drives, by card, face or fingerprint, else by the open manifest.";
    manifest_driver_id: text maybe = "The driver whom the open manifest names.";
    driver_mismatch: flag maybe = "Another driver reported himself than the open manifest names; NULL when either is not known.";
    vehicle_status: text = "`active`, `suspended`, `maintenance`, `banned`, or `unregistered`.";
    event_time: time = "When the device measured it (arrival time when its clock was ahead).";
    local_hour: int = "Hour of the local day, 0-23.";
    local_minute_of_day: int = "Minutes since local midnight, 0-1439.";
    local_weekday: int = "1 = Monday ... 7 = Sunday, local.";
    lat: float maybe = "Degrees north, WGS-84.";
    lon: float maybe = "Degrees east, WGS-84.";
    speed_kmh: float maybe = "Speed, km/h, as reported; implied by the last two fixes when the device reports none.";
    heading_deg: float maybe = "Course, degrees from north, clockwise.";
    accuracy_m: float maybe = "The device's own estimate of its error, metres.";
    odometer_m: float maybe = "Odometer, metres.";
    gap_s: float maybe = "Seconds since this vehicle's previous fix.";
    gap_m: float maybe = "Metres from this vehicle's previous fix.";
    implied_speed_kmh: float maybe = "gap_m over gap_s, km/h.";
    usual_gap_s: float maybe = "How long this vehicle's gaps usually are, seconds: a running mean of those before this one.";
    gap_odometer_m: float maybe = "Metres that the odometer ran since the last report that told it.";
    no_fix_s: float = "How long reports have come without a usable position, seconds; 0 with one.";
    no_fix_odometer_m: float maybe = "Metres that the odometer ran since the last usable position; 0 with one.";
    speed_recorder_kmh: float maybe = "Speed by the wheel or the recorder, km/h.";
    clock_fault: word maybe = "What is wrong with a clock that is more than two minutes off: `time_zone`, `week_rollover`, `never_set`, `wrong`.";
    clock_skew_s: float maybe = "How far the device's clock is ahead of arrival (behind: negative), seconds, when reports arrive as they are measured.";
    acceleration_mps2: float maybe = "Change of reported speed since the previous fix, m/s2.";
    turn_deg: float maybe = "How far the course has changed in the turn that it is in, degrees, to the right positive; 0 when it drives straight on.";
    turn_s: float maybe = "How long that turn has lasted, seconds.";
    turn_min_speed_kmh: float maybe = "The lowest speed in that turn, km/h; now, when it drives straight on.";
    turn_acceleration_mps2: float maybe = "Sideways acceleration, the mean of that turn: speed times change of course, m/s2.";
    moving: flag maybe = "Whether it moves: with hysteresis, and drift of a parked receiver is no movement.";
    stopped_s: float = "How long it has stood within the drift radius, seconds; 0 when moving.";
    driving_s: float = "Driving since the last rest of 20 minutes, seconds.";
    driving_day_s: float = "Driving in the running hour and the 23 before it, seconds.";
    ignition: flag maybe = "ACC.";
    ignition_on_s: float maybe = "How long ago ACC was seen to go on, seconds.";
    power: word maybe = "Main power: `ok`, `low`, `lost`.";
    antenna: word maybe = "`ok`, `open`, `short`, `fault`.";
    load: word maybe = "`empty`, `half`, `full`, `loaded`; NULL when the sensor is missing or faulty.";
    loaded: flag maybe = "Whether load is half, full or loaded.";
    gross_kg: float maybe = "Gross mass, kg.";
    max_gross_kg: float maybe = "Permitted gross mass, kg.";
    cover: word maybe = "`closed`, `open`, `moving`; NULL when the sensor is missing or faulty.";
    lift: word maybe = "Body hoist: `flat`, `lifting`, `full`; NULL when the sensor is missing or faulty.";
    cover_fault: flag = "The cover's sensor reports a fault.";
    lift_fault: flag = "The hoist's sensor reports a fault.";
    load_fault: flag = "The load's sensor reports a fault.";
    cover_still_trips: int maybe = "Trips that ended since the reading of its cover last changed.";
    load_disagreed_trips: int = "Trips in a row on which the load's sensor said empty on leaving the source, or loaded on coming to it.";
    load_drop: flag = "Went from loaded to empty at this report.";
    load_gain: flag = "Went from empty to loaded at this report.";
    alarms: list = "Alarms of the device, canonical names.";
    events: list = "Kinds of the dashcam's events that begin or go on at this report.";
    event_level: int maybe = "The highest level of those events, as the dashcam grades them (2 is graver than 1); NULL when none has one.";
    place_id: text maybe = "The place it is in.";
    place_kind: word maybe = "`source`, `sink`, `backfill`, `transfer`, `depot`, `workshop`.";
    place_dwell_s: float = "How long it has been in that place, seconds; 0 when in none.";
    place_status: word maybe = "`open`, `closed`, `full`: what its authority last said of that place.";
    place_approved: flag maybe = "Whether any permit in force, of whatever truck, names that place as its source or sink.";
    in_source: flag = "In a source site.";
    in_sink: flag = "In a sink.";
    in_approved_place: flag = "In any source, sink, backfill, transfer, depot or workshop.";
    sink_permitted: flag maybe = "Whether this sink is one of its valid permits' sinks; NULL when in none.";
    last_place_id: text maybe = "The place that it left last.";
    nearest_source_m: float maybe = "Metres to the nearest source; 0 in one, NULL without one within 20 km.";
    nearest_sink_m: float maybe = "Metres to the nearest sink; 0 in one, NULL without one within 20 km.";
    nearest_backfill_m: float maybe = "Metres to the nearest backfill site; 0 in one, NULL without one within 20 km.";
    nearest_transfer_m: float maybe = "Metres to the nearest transfer station; 0 in one, NULL without one within 20 km.";
    nearest_depot_m: float maybe = "Metres to the nearest depot; 0 in one, NULL without one within 20 km.";
    nearest_workshop_m: float maybe = "Metres to the nearest workshop; 0 in one, NULL without one within 20 km.";
    in_forbidden: flag = "In a forbidden zone while its schedule holds.";
    in_restricted: flag = "In a restricted zone while its schedule holds.";
    in_control: flag = "In a zone under a control order while its schedule holds.";
    in_water: flag = "In a water protection zone.";
    in_eco: flag = "In an ecological protection zone.";
    outside_operating_area: flag maybe = "Outside every operating area; NULL when none is registered.";
    zone_ids: list = "The zones it is in whose schedule holds.";
    zone_tags: list = "The tags of those zones, each once; where a rule is judged for each zone, of that zone.";
    zone_id: text maybe = "The zone that the rule is judged for: only in a rule with `zone_id` in its key, once for each of `zone_ids`.";
    zone_kind: word maybe = "That zone's kind: `forbidden`, `restricted`, `speed`, `control`, `water`, `eco`, `operating_area`.";
    zone_name: text maybe = "That zone's name.";
    zone_dwell_s: float maybe = "How long it has been in that zone while its schedule holds, seconds.";
    zones_crossed: list = "The zones that it drove right through since its last fix, with no fix in them, while their schedule holds: each way that it may have driven, along the roads or wherever, leads into them.";
    crossed_forbidden: flag = "One of those is a forbidden zone.";
    cell_id: text maybe = "The cell of 200 m by 200 m it is in: row and column of a fixed grid, such as `12532_43210`.";
    district_id: text maybe = "The district it is in.";
    road_id: text maybe = "The road it is on.";
    road_name: text maybe = "That road's name.";
    road_class: text maybe = "That road's class, as OSM `highway=*`.";
    road_distance_m: float maybe = "Metres to that road's line.";
    road_confidence: float maybe = "How sure that road is, 0 to 1: its share of the likelihood of all roads near.";
    road_ambiguous: flag maybe = "Another road, of another name or limit, explains the fixes about as well.";
    speed_limit_kmh: float maybe = "The lowest of zone, posted and class limit, km/h; of several roads that explain the fixes about as well the highest.";
    settled_time: time maybe = "When the report before this one was measured. A rule that reads a `settled_` fact is judged as of then, one report later.";
    settled_lat: float maybe = "Where it was then, degrees north.";
    settled_lon: float maybe = "Where it was then, degrees east.";
    settled_road_id: text maybe = "The road it was on then, as seen from here: which way it went on tells much about the road it came by.";
    settled_road_name: text maybe = "That road's name.";
    settled_speed_limit_kmh: float maybe = "The limit that held then, km/h, as `speed_limit_kmh` but by the road as seen from here.";
    settled_speed_kmh: float maybe = "Its speed then, km/h, as `speed_kmh`; unknown where this fix contradicts it.";
    permit_id: text maybe = "The permit that counts: a valid one if there is one.";
    permit_status: word = "`valid`, `expired`, `not_yet`, `suspended`, `revoked`, `none`.";
    in_permit_window: flag maybe = "Whether local time is in a window of a valid permit; NULL without a valid permit.";
    route_id: text maybe = "The nearest permitted route.";
    route_deviation_m: float maybe = "Metres to that route's line.";
    off_route: flag maybe = "Off every permitted route: with hysteresis, an accuracy gate and an end grace; who left is back when going along one or resting at it, not when crossing it.";
    off_route_s: float maybe = "How long it has been off, from the first fix beyond, without silences, seconds; 0 on its route.";
    manifest_id: text maybe = "The open manifest.";
    manifest_open_s: float maybe = "How long it has been open, seconds.";
    manifest_planned_s: float maybe = "How long the open manifest plans to take, seconds.";
    manifest_planned_m: float maybe = "How far it plans to go, metres.";
    trip_id: text maybe = "The trip under way: opened on leaving a source, closed in a sink.";
    trip_source_id: text maybe = "The source that trip left.";
    trip_s: float maybe = "How long the trip has lasted, seconds.";
    trip_distance_m: float maybe = "How far it has gone, metres.";
    trip_ended: flag = "This report ends the trip: it is in a sink or a backfill site.";
    trip_gross_change_kg: float maybe = "Gross mass now less the first that was told on this trip, kg.";
    trip_washed: flag maybe = "The wash bay of the trip's source saw it washed during that visit or since; false, too, where no bay reports.";
    trip_stops: int maybe = "Stands of three minutes or more on this trip so far.";
    trip_aside_s: float maybe = "The longest stand of this trip more than 50 m away from every road and permitted route and outside every place, seconds; 0 without one.";
    trip_returning: flag maybe = "It has come back from that stand: half the way to the trip's source at least, and 500 m.";
    source_gate: word maybe = "It has just come into a source (`in`) or just left one (`out`); NULL otherwise.";
    recent_alerts: int maybe = "Alerts of this vehicle, major or graver, that opened in the 30 days before; only told where source_gate is.";
    blacklisted: flag = "Vehicle, company or driver is on the blacklist.";
    outage_filed: flag = "An outage is filed for it, which excuses going dark.";
    sighting_kind: word maybe = "What saw it: `anpr`, `weigh`, `wash`, `spill`, `video`; only on rows of a sighting, as all that begins with sighting_.";
    sighting_place_id: text maybe = "The place at whose gate it was seen.";
    sighting_direction: text maybe = "Which way through the gate: `in` or `out`.";
    sighting_sensor_id: text maybe = "Which sensor saw it.";
    sighting_cover: word maybe = "The cover as seen: `closed`, `open`, `moving`, `fault`, `unknown`.";
    sighting_dirty: flag maybe = "Seen with mud on it.";
    sighting_washed: flag maybe = "Seen to be washed.";
    sighting_gross_kg: float maybe = "Gross mass on the weighbridge, kg.";
    sighting_cloned: flag maybe = "The camera itself takes the plate for a copy.";
    sighting_place_registered: flag maybe = "Whether that place is in the register.";
    sighting_wash_s: float maybe = "How long ago the wash bay of that place last saw it washed, seconds.";
    sighting_distance_m: float maybe = "Metres from where it was seen to its own fix of that minute.";
    sighting_implied_kmh: float maybe = "Speed it takes from its last fix or sighting to here, km/h, the greater; NULL within 2 km.";
    silent_s: float maybe = "Only on timer rows: how long nothing has come, seconds of arrival time.";
    row_kind: word = "`report`, `timer` for rows made by the clock, or `sighting`.";
}

impl Facts {
    /// As of when a rule judges the row: of the report before where it reads settled facts, `None` where there are none.
    pub fn judged_at(&self, asks_settled: bool) -> Option<Time> {
        if asks_settled { self.settled_time } else { Some(self.event_time.unwrap_or_default()) }
    }

    /// Whether a rule is asked about this row: about those of the clock and of sightings only one that mentions them.
    pub fn is_asked(&self, asks_timer: bool, asks_sighting: bool) -> bool {
        match self.row_kind {
            Some("timer") => asks_timer,
            Some("sighting") => asks_sighting,
            _ => true,
        }
    }

    /// The facts that the row knows though rows of its kind never do: none, or [`RowKind::may_have`] is wrong.
    pub fn astray(&self) -> Vec<&'static str> {
        let kind = RowKind::ALL.iter().find(|kind| self.row_kind == Some(kind.as_str()));
        let known = Column::all().filter(|column| self.value(*column) != Value::Null);
        known.filter(|column| kind.is_some_and(|kind| !kind.may_have(*column))).map(Column::name).collect()
    }

    /// The same row as one zone's own.
    pub fn in_zone(&self, zone: &InZone) -> Self {
        Self {
            zone_id: Some(zone.zone_id.clone()),
            zone_kind: Some(zone.kind),
            zone_name: Some(zone.name.clone()),
            zone_dwell_s: Some(zone.dwell_s),
            zone_tags: Some(Arc::clone(&zone.tags)),
            ..self.clone()
        }
    }

    /// A column's value in this row.
    pub fn value(&self, column: Column) -> Value<'_> {
        (column.spec().get)(self)
    }
}

const _: () = assert!(COLUMNS.len() <= 256, "ColumnSet holds 256 columns");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_and_read_by_column() {
        let row = Facts {
            speed_kmh: Some(61.5),
            cover: Some("open"),
            events: Some(Arc::from(["fatigue".into()])),
            ..Facts::default()
        };
        let read = |name: &str| row.value(Column::named(name).expect(name)).to_json();
        assert_eq!(read("speed_kmh"), 61.5);
        assert_eq!(read("cover"), "open");
        assert_eq!(read("events"), serde_json::json!(["fatigue"]));
        assert_eq!(read("heading_deg"), Json::Null);
        assert!(Column::named("speed").is_none());
    }

    #[test]
    fn names_are_unique_and_a_set_keeps_their_order() {
        let names: std::collections::BTreeSet<_> = Column::all().map(Column::name).collect();
        assert_eq!(names.len(), Column::all().len());
        let set: ColumnSet = ["load", "speed_kmh"].into_iter().filter_map(Column::named).collect();
        assert_eq!(set.iter().map(Column::name).collect::<Vec<_>>(), ["speed_kmh", "load"]);
        assert!(set.contains_any(&["nothing", "load"]) && !set.contains_any(&["lift"]));
    }
}
