//! The contract's own JSON.
//!
//! Device reports are read in one pass straight into the report. The rest is rare and goes through a map.
//!
//! A field given twice counts as given last. `null` is the same as absent. A field that makes no sense, or a word outside a
//! closed set, is read as unknown, named as odd and kept in `ext` as it came: a verdict is about a field, not about the report.
//! Without a readable `datum` the position is unknown. Only where a message says nothing without it is a word that we don't know
//! an error: a reply's `answer` and `verdict`.
//!
//! A report without a readable time is refused, but for one that bears alarms or events: those count at arrival, which a
//! time of 0 (1970) says.

use std::{borrow::Cow, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess},
};
use serde_json::{Map, Value as Json};

use super::{
    Context, Kind, Native, Read,
    fields::{
        Fields, FromJson as _, Maybe, Scalar, Strict, Word, Words, agreed, is_nothing, spelling, time_problem, told,
    },
};
use crate::model::{
    Answer, Body, Cover, Datum, DeviceReport, Event, EventPhase, Lift, Load, Sighting, Time, UnitReply, UnitReport,
    limits,
};

/// Reads one element as what its context says it is.
pub(super) fn read(context: Context, bytes: &[u8]) -> Read {
    if bytes.trim_ascii().is_empty() {
        return Err("found nothing, expected a JSON object".to_owned());
    }
    match context.kind {
        Kind::Device => device(context, bytes),
        Kind::Sighting => with_arrival(context, bytes, |fields| sighting(context, fields).map(Body::Sighting)),
        Kind::Unit => with_arrival(context, bytes, |fields| unit(context, fields).map(Body::Unit)),
        Kind::Reply => with_arrival(context, bytes, |fields| reply(context, fields).map(Body::Reply)),
    }
}

/// What a line of a file is, by its `type`; a device report when it says none, or one we do not know.
pub(super) fn kind_of_line(bytes: &[u8]) -> Kind {
    #[derive(Deserialize)]
    struct Tag {
        #[serde(rename = "type")]
        kind: Option<Json>,
    }
    // Nearly every line is a device report without a type, and looking costs less than parsing.
    if !bytes.windows(6).any(|window| window == b"\"type\"") {
        return Kind::Device;
    }
    let tag: Option<Tag> = serde_json::from_slice(bytes).ok();
    match tag.and_then(|tag| tag.kind).as_ref().and_then(Json::as_str) {
        Some("sighting") => Kind::Sighting,
        Some("unit") => Kind::Unit,
        Some("reply") => Kind::Reply,
        _ => Kind::Device,
    }
}

fn with_arrival(context: Context, bytes: &[u8], read: impl FnOnce(&mut Fields) -> Result<Body, String>) -> Read {
    let mut fields = Fields::parse(bytes)?;
    let recv_time = match context.id {
        None => {
            fields.map.remove("type");
            fields.take("recv_time")
        }
        Some(_) => {
            fields.map.remove("recv_time");
            None
        }
    };
    Ok(Native { body: read(&mut fields)?, recv_time, odd: fields.odd })
}

fn sighting(context: Context, fields: &mut Fields) -> Result<Sighting, String> {
    let mut ext = fields.object("ext").map;
    let media = urls(fields);
    let mut sighting = Sighting {
        sensor_id: fields.id("sensor_id", context.id)?,
        device_time: fields.time("device_time")?,
        kind: word_or(fields, "kind", None),
        plate: fields.take("plate"),
        plate_confidence: fields.take("plate_confidence"),
        place_id: fields.take("place_id"),
        lat: fields.take("lat"),
        lon: fields.take("lon"),
        datum: effective(fields.take("datum"), context),
        direction: fields.take("direction"),
        cover: word_or(fields, "cover", Some(Cover::Unknown)),
        dirty: fields.take("dirty"),
        washed: fields.take("washed"),
        gross_kg: fields.take("gross_kg"),
        media,
        cloned: fields.take("cloned"),
        ext: Map::new(),
    };
    if fields.odd.contains(&"datum") {
        for (name, value) in [("lat", sighting.lat.take()), ("lon", sighting.lon.take())] {
            fields.map.extend(value.map(|degrees| (name.to_owned(), degrees.into())));
        }
    }
    keep(&mut ext, std::mem::take(&mut fields.map));
    sighting.ext = ext;
    Ok(sighting)
}

fn unit(context: Context, fields: &mut Fields) -> Result<UnitReport, String> {
    let (lat, lon) = (fields.take("lat"), fields.take("lon"));
    let datum = effective(fields.take("datum"), context);
    let has_datum = !fields.odd.contains(&"datum");
    Ok(UnitReport {
        unit_id: fields.id("unit_id", context.id)?,
        device_time: fields.time("device_time")?,
        lat: lat.filter(|_| has_datum),
        lon: lon.filter(|_| has_datum),
        datum,
        status: word_or(fields, "status", None),
    })
}

fn reply(context: Context, fields: &mut Fields) -> Result<UnitReply, String> {
    Ok(UnitReply {
        unit_id: fields.id("unit_id", context.id)?,
        dispatch_id: fields.need("dispatch_id")?,
        device_time: fields.time("device_time")?,
        answer: fields.need("answer").map(|Strict(answer): Strict<Answer>| answer)?,
        reason: fields.take("reason"),
        verdict: match fields.map.get("verdict") {
            Some(verdict) if !is_nothing(verdict) => Some(fields.need("verdict").map(|Strict(verdict)| verdict)?),
            _ => None,
        },
        note: fields.take("note"),
        media: fields.map.remove("media").filter(|media| !media.is_null()),
    })
}

fn effective(given: Option<Strict<Datum>>, context: Context) -> Option<Datum> {
    given.map(|Strict(datum)| datum).or(context.foreign_datum())
}

/// The texts of `media`: one, or a list of them. Others stay.
fn urls(fields: &mut Fields) -> Vec<Arc<str>> {
    let items = match fields.map.remove("media") {
        None => Vec::new(),
        Some(Json::Array(items)) => items,
        Some(one) => vec![one],
    };
    let (urls, odd): (Vec<Json>, Vec<Json>) =
        items.into_iter().filter(|item| !is_nothing(item)).partition(Json::is_string);
    if !odd.is_empty() {
        fields.keep("media", Json::Array(odd));
    }
    urls.iter().filter_map(Json::as_str).map(Arc::from).collect()
}

/// Adds what we do not know to the given `ext`, which wins.
fn keep(ext: &mut Map<String, Json>, unknown: Map<String, Json>) {
    for (name, value) in unknown {
        ext.entry(name).or_insert(value);
    }
}

/// A word of a set, or `other` for one that it doesn't know, which stays.
fn word_or<T: Words>(fields: &mut Fields, name: &'static str, other: Option<T>) -> Option<T> {
    match fields.take(name) {
        Some(Word::Known(known)) => Some(known),
        Some(Word::Other(raw)) => {
            fields.keep(name, Json::String(raw));
            other
        }
        None if fields.map.contains_key(name) => other,
        None => None,
    }
}

fn device(context: Context, bytes: &[u8]) -> Read {
    let mut reading = Reading::new(context);
    let mut from = serde_json::Deserializer::from_slice(bytes);
    let read = (&mut reading).deserialize(&mut from);
    read.and_then(|()| from.end()).map_err(|error| match reading.field {
        "" => told(&error),
        field => format!("{field}: {}", told(&error)),
    })?;
    reading.finish()
}

/// A device report under way.
struct Reading<'a> {
    context: Context<'a>,
    report: DeviceReport,
    id: Option<Arc<str>>,
    time: Option<Time>,
    arrival: Option<Time>,
    /// Fields that we do not know or that make no sense, and what is over the limits.
    unknown: Map<String, Json>,
    /// The names of those that make no sense.
    odd: Vec<&'static str>,
    /// The field being read, for an error.
    field: &'static str,
}

/// Reads fields whose value goes straight into the report.
macro_rules! straight {
    ($reading:ident, $map:ident, $name:ident, { $($plain:ident)* }, { $($word:ident => $other:expr,)* }, $rest:expr) => {
        match &*$name {
            $(stringify!($plain) => $reading.report.$plain = $reading.value(stringify!($plain), $map)?,)*
            $(stringify!($word) => $reading.report.$word = $reading.word(stringify!($word), $map, $other)?,)*
            _ => $rest,
        }
    };
}

impl<'a> Reading<'a> {
    fn new(context: Context<'a>) -> Self {
        Self {
            context,
            report: DeviceReport::default(),
            id: None,
            time: None,
            arrival: None,
            unknown: Map::new(),
            odd: Vec::new(),
            field: "",
        }
    }

    fn one<'de, M: MapAccess<'de>>(&mut self, name: Cow<'de, str>, map: &mut M) -> Result<(), M::Error> {
        straight!(self, map, name,
            { lat lon speed_kmh heading_deg seq accuracy_m hdop sats alt_m odometer_m speed_recorder_kmh ignition gross_kg },
            {
                fix => None,
                power => None,
                antenna => None,
                load => Some(Load::Unknown),
                cover => Some(Cover::Unknown),
                lift => Some(Lift::Unknown),
            },
            return self.other(name, map)
        );
        Ok(())
    }

    fn value<'de, T: Scalar, M: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        map: &mut M,
    ) -> Result<Option<T>, M::Error> {
        self.field = name;
        match map.next_value()? {
            Maybe::Known(value) => {
                self.forget(name);
                Ok(Some(value))
            }
            Maybe::Nothing => Ok(None),
            Maybe::Odd(json) => {
                self.keep(name, json);
                Ok(None)
            }
        }
    }

    fn word<'de, T: Words, M: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        map: &mut M,
        other: Option<T>,
    ) -> Result<Option<T>, M::Error> {
        match self.value(name, map)? {
            Some(Word::Known(word)) => Ok(Some(word)),
            Some(Word::Other(raw)) => {
                self.keep(name, Json::String(raw));
                Ok(other)
            }
            None if self.odd.contains(&name) => Ok(other),
            None => Ok(None),
        }
    }

    /// Keeps what makes no sense.
    fn keep(&mut self, name: &'static str, json: Json) {
        self.forget(name);
        self.odd.push(name);
        self.unknown.insert(name.to_owned(), json);
    }

    /// What was given before counts no longer.
    fn forget(&mut self, name: &str) {
        if self.odd.contains(&name) {
            self.odd.retain(|odd| *odd != name);
            self.unknown.remove(name);
        }
    }

    fn other<'de, M: MapAccess<'de>>(&mut self, name: Cow<'de, str>, map: &mut M) -> Result<(), M::Error> {
        match &*name {
            "device_id" => self.id = self.value("device_id", map)?,
            "device_time" => self.time = self.value("device_time", map)?,
            "datum" => self.report.datum = self.value("datum", map)?.map(|Strict(datum)| datum),
            "driver_id" => self.report.driver_id = self.value("driver_id", map)?,
            "hist" => self.report.hist = self.value("hist", map)?.unwrap_or(false),
            "alarms" => {
                self.field = "alarms";
                let List { kept, over } = map.next_value()?;
                self.alarms(kept, over);
            }
            "events" => {
                self.field = "events";
                let List { kept, over } = map.next_value()?;
                self.events(kept, over);
            }
            "ext" => {
                self.field = "ext";
                match map.next_value()? {
                    Json::Object(ext) => self.report.ext = ext,
                    json if is_nothing(&json) => self.report.ext = Map::new(),
                    json => self.keep("ext", json),
                }
            }
            "recv_time" if self.context.id.is_some() => drop(map.next_value::<IgnoredAny>()?),
            "recv_time" => self.arrival = self.value("recv_time", map)?,
            _ => {
                let value = map.next_value()?;
                self.unknown.insert(name.into_owned(), value);
            }
        }
        Ok(())
    }

    /// What is over the limit, or makes no sense, stays in `ext`.
    fn over(&mut self, name: &'static str, over: Vec<Json>, is_odd: bool) {
        self.forget(name);
        if over.is_empty() {
            self.unknown.remove(name);
        } else {
            self.unknown.insert(name.to_owned(), Json::Array(over));
        }
        self.odd.extend(is_odd.then_some(name));
    }

    fn alarms(&mut self, kept: Vec<Json>, mut over: Vec<Json>) {
        let odd_before = over.len();
        self.report.alarms = Vec::with_capacity(kept.len());
        for json in kept {
            match json {
                Json::Object(flags) if flags.values().all(|flag| bool::of(flag).is_some()) => {
                    let raised = flags.iter().filter(|(_, flag)| bool::of(flag) == Some(true));
                    self.report.alarms.extend(raised.map(|(name, _)| Arc::from(&*spelling(name))));
                }
                json => match Arc::<str>::of(&json) {
                    Some(name) => self.report.alarms.push(spelling(&name).into()),
                    None => over.push(json),
                },
            }
        }
        self.over_alarms(over, odd_before);
    }

    fn over_alarms(&mut self, mut over: Vec<Json>, odd_before: usize) {
        let is_odd = over.len() > odd_before;
        if self.report.alarms.len() > limits::EVENTS_PER_REPORT {
            let rest = self.report.alarms.split_off(limits::EVENTS_PER_REPORT);
            over.extend(rest.iter().map(|name| Json::from(&**name)));
        }
        self.over("alarms", over, is_odd);
    }

    fn events(&mut self, kept: Vec<Json>, mut over: Vec<Json>) {
        self.report.events = Vec::with_capacity(kept.len());
        let mut is_odd = false;
        for json in kept {
            match happening(json) {
                Ok(happening) => {
                    is_odd |= happening.is_odd;
                    over.extend(happening.rest.map(Json::Object));
                    self.report.events.push(happening.event);
                }
                Err(json) => {
                    is_odd = true;
                    over.push(json);
                }
            }
        }
        self.over("events", over, is_odd);
    }

    fn finish(mut self) -> Read {
        self.report.device_id = agreed("device_id", self.id, self.context.id)?;
        let bears_alarm = !self.report.alarms.is_empty() || !self.report.events.is_empty();
        self.report.device_time = match (self.time, self.unknown.get("device_time")) {
            (Some(time), _) => time,
            // What was pressed or seen is true whatever the clock says: it is judged at arrival.
            (None, _) if bears_alarm => Time::default(),
            (None, Some(found)) => return Err(time_problem("device_time", found)),
            (None, None) => return Err(format!("device_time: found nothing, expected {}", Time::EXPECTED)),
        };
        if self.odd.contains(&"datum") {
            for (name, value) in [("lat", self.report.lat.take()), ("lon", self.report.lon.take())] {
                self.unknown.extend(value.map(|degrees| (name.to_owned(), degrees.into())));
            }
        }
        self.report.datum = effective(self.report.datum.map(Strict), self.context);
        if self.context.id.is_none() && is_kind_of_device(self.unknown.get("type")) {
            self.unknown.remove("type");
        }
        keep(&mut self.report.ext, self.unknown);
        Ok(Native { body: Body::Device(self.report), recv_time: self.arrival, odd: self.odd })
    }
}

/// Whether a line's `type` says no more than that it is a device report.
fn is_kind_of_device(json: Option<&Json>) -> bool {
    json.is_some_and(|json| json.is_null() || matches!(json.as_str(), Some("device" | "report")))
}

impl<'de> DeserializeSeed<'de> for &mut Reading<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> de::Visitor<'de> for &mut Reading<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON object")
    }
    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(Name(name)) = map.next_key()? {
            self.one(name, &mut map)?;
            self.field = "";
        }
        Ok(())
    }
}

/// A field's name, borrowed unless it is escaped.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> de::Visitor<'de> for Visit {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a field's name")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        from.deserialize_str(Visit)
    }
}

/// The first [`limits::EVENTS_PER_REPORT`] of an array, and the rest; what is no array is an array of one. `null`, `false` and
/// empty texts are left out.
#[derive(Default)]
struct List {
    kept: Vec<Json>,
    over: Vec<Json>,
}

impl List {
    fn push(&mut self, json: Json) {
        if is_nothing(&json) || json == false {
            return;
        }
        let to = if self.kept.len() < limits::EVENTS_PER_REPORT { &mut self.kept } else { &mut self.over };
        to.push(json);
    }
}

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut list = Self::default();
        match Json::deserialize(from)? {
            Json::Array(items) => items.into_iter().for_each(|item| list.push(item)),
            one => list.push(one),
        }
        Ok(list)
    }
}

/// An event, and what of it has no place in the model, under its kind.
struct Happening {
    event: Event,
    rest: Option<Map<String, Json>>,
    /// Something of the rest makes no sense where it stands.
    is_odd: bool,
}

/// An event from an object, or from its kind alone; anything else comes back.
fn happening(json: Json) -> Result<Happening, Json> {
    let Json::Object(map) = json else {
        let kind = Arc::<str>::of(&json).ok_or(json)?;
        return Ok(Happening { event: Event::of(&spelling(&kind)), rest: None, is_odd: false });
    };
    let mut fields = Fields::of(map);
    let Some(kind) = fields.take::<Arc<str>>("kind") else { return Err(Json::Object(fields.map)) };
    let event = Event {
        level: fields.take("level"),
        phase: word_or::<EventPhase>(&mut fields, "phase", None),
        speed_kmh: fields.take("speed_kmh"),
        media: fields.map.remove("media").filter(|media| !media.is_null()),
        ..Event::of(&spelling(&kind))
    };
    let (mut rest, is_odd) = (fields.map, !fields.odd.is_empty());
    let rest = (!rest.is_empty()).then(|| {
        rest.insert("kind".to_owned(), Json::from(&*event.kind));
        rest
    });
    Ok(Happening { event, rest, is_odd })
}
