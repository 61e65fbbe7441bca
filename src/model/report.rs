//! What devices and sensors say, in the canonical form that every dialect is decoded to.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::Time;

/// The reference frame of coordinates. Inside, all geometry is [`Datum::Wgs84`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Datum {
    #[default]
    Wgs84,
    Gcj02,
    Bd09,
}

/// A closed set of words with one spelling, the same in JSON, in the journal and in facts.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// All of them, in order of definition.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

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
pub(crate) use words;

words! {
    /// Quality of the GNSS fix.
    Fix { None = "none", TwoD = "2d", ThreeD = "3d" }
}
words! {
    /// Main power of the terminal.
    Power { Ok = "ok", Low = "low", Lost = "lost" }
}
words! {
    /// The GNSS antenna.
    Antenna { Ok = "ok", Open = "open", Short = "short", Fault = "fault" }
}
words! {
    /// What the load sensor says. `fault` and `unknown` are unknown to every rule.
    Load { Empty = "empty", Half = "half", Full = "full", Loaded = "loaded", Fault = "fault", Unknown = "unknown" }
}
words! {
    /// What the cover sensor says.
    Cover { Closed = "closed", Open = "open", Moving = "moving", Fault = "fault", Unknown = "unknown" }
}
words! {
    /// What the body hoist's sensor says.
    Lift { Flat = "flat", Lifting = "lifting", Full = "full", Fault = "fault", Unknown = "unknown" }
}
words! {
    /// Whether an event begins or ends.
    EventPhase { Start = "start", End = "end" }
}
words! {
    /// Alarms that have a name of ours, in reports of every dialect. Others are kept as they came. The first 32 are the alarm bits of
    /// JT/T 808, in their order.
    Alarm {
        Sos = "sos",
        Overspeed = "overspeed",
        Fatigue = "fatigue",
        Danger = "danger",
        GnssFault = "gnss_fault",
        AntennaOpen = "antenna_open",
        AntennaShort = "antenna_short",
        PowerLow = "power_low",
        PowerLost = "power_lost",
        DisplayFault = "display_fault",
        TtsFault = "tts_fault",
        CameraFault = "camera_fault",
        CardFault = "card_fault",
        OverspeedWarning = "overspeed_warning",
        FatigueWarning = "fatigue_warning",
        DrivingViolation = "driving_violation",
        TyrePressure = "tyre_pressure",
        RightTurnBlindSpot = "right_turn_blind_spot",
        DailyDriving = "daily_driving",
        OvertimeStop = "overtime_stop",
        Area = "area",
        Route = "route",
        SegmentTime = "segment_time",
        RouteDeviation = "route_deviation",
        VssFault = "vss_fault",
        FuelFault = "fuel_fault",
        Theft = "theft",
        IllegalIgnition = "illegal_ignition",
        IllegalMovement = "illegal_movement",
        Collision = "collision",
        Rollover = "rollover",
        IllegalDoor = "illegal_door",
        VideoLost = "video_lost",
        StorageFault = "storage_fault",
        Jamming = "jamming",
    }
}
words! {
    /// Kinds of events that have a name of ours. Others are kept as they came.
    EventKind {
        Fatigue = "fatigue",
        Phone = "phone",
        Smoking = "smoking",
        Distracted = "distracted",
        DriverAbsent = "driver_absent",
        DriverChange = "driver_change",
        SeatBelt = "seat_belt",
        LensCovered = "lens_covered",
        ForwardCollision = "forward_collision",
        LaneDeparture = "lane_departure",
        Headway = "headway",
        Pedestrian = "pedestrian",
        BlindSpotRight = "blind_spot_right",
        BlindSpotLeft = "blind_spot_left",
        HarshBrake = "harsh_brake",
        HarshTurn = "harsh_turn",
        HarshAcceleration = "harsh_acceleration",
        Spill = "spill",
    }
}
words! {
    /// What kind of roadside or site sensor saw something.
    SightingKind { Anpr = "anpr", Weigh = "weigh", Wash = "wash", Spill = "spill", Video = "video" }
}

/// One reading of a GPS tracker or dashcam. Only `device_time` must be there;
/// a report without a position still proves that the device lives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceReport {
    pub device_id: Arc<str>,
    /// When the device measured it.
    pub device_time: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
    /// Degrees, WGS-84 once admitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lat: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lon: Option<f64>,
    /// The frame in which `lat` and `lon` came; `None` is the source's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datum: Option<Datum>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy_m: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hdop: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sats: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed_kmh: Option<f64>,
    /// 0–360, north 0, clockwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heading_deg: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alt_m: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub odometer_m: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed_recorder_kmh: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignition: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power: Option<Power>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub antenna: Option<Antenna>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gross_kg: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cover: Option<Cover>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lift: Option<Lift>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_id: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<Arc<str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    /// The device says that this is buffered data.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hist: bool,
    /// Vendor values and fields we do not know, untouched.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub ext: Map<String, Json>,
}

impl DeviceReport {
    /// Whether somebody pressed a button or a device noticed something: that is true whatever its position and clock say.
    pub fn bears_alarm(&self) -> bool {
        !self.alarms.is_empty() || !self.events.is_empty()
    }
}

/// Latitude and longitude in degrees, where they may be a position: on the globe, and not (0, 0), which means no fix.
pub fn place(lat: Option<f64>, lon: Option<f64>) -> Option<(f64, f64)> {
    let (lat, lon) = lat.zip(lon)?;
    (lat.abs() <= 90.0 && lon.abs() <= 180.0 && (lat, lon) != (0.0, 0.0)).then_some((lat, lon))
}

/// Something a dashcam noticed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// An [`EventKind`], or another word, which is kept.
    pub kind: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<EventPhase>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_kmh: Option<f64>,
    /// Where the picture or clip lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<Json>,
}

impl Event {
    /// One of which no more is known than that it happened.
    pub fn of(kind: &str) -> Self {
        Self { kind: kind.into(), level: None, phase: None, speed_kmh: None, media: None }
    }
}

/// What a roadside or site sensor saw of a truck.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    #[serde(default = "empty")]
    pub sensor_id: Arc<str>,
    pub device_time: Time,
    /// What saw it; `None`: it says a word that nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<SightingKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plate: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plate_confidence: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place_id: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lat: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lon: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datum: Option<Datum>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cover: Option<Cover>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dirty: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub washed: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gross_kg: Option<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloned: Option<bool>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub ext: Map<String, Json>,
}

fn empty() -> Arc<str> {
    Arc::from("")
}
