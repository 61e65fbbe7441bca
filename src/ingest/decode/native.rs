//! The contract's own JSON.
//!
//! Device reports are read in one pass straight into the report. The rest is rare and goes through a map.
//!
//! A field given twice counts as given last. `null` is the same as absent. A word outside a closed set is read as unknown
//! and kept in `ext` under the field's name. Three sets have no unknown to fall back to, so there it is an error: `datum` (the
//! position would be silently wrong), a unit's `status` and `answer`, a reply's `verdict`.

use std::{borrow::Cow, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess},
};
use serde_json::{Map, Value as Json};

use super::{
    Context, Kind, Read,
    fields::{Fields, Maybe, Scalar, Strict, Word, Words, agreed, told},
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
    let arrival = match context.id {
        None => {
            fields.0.remove("type");
            fields.take("recv_time")?
        }
        Some(_) => {
            fields.0.remove("recv_time");
            None
        }
    };
    Ok((read(&mut fields)?, arrival))
}

fn sighting(context: Context, fields: &mut Fields) -> Result<Sighting, String> {
    let mut unknown = Map::new();
    let mut sighting = Sighting {
        sensor_id: fields.id("sensor_id", context.id)?,
        device_time: fields.need("device_time")?,
        kind: fields.need("kind").map(|Strict(kind)| kind)?,
        plate: fields.take("plate")?,
        plate_confidence: fields.take("plate_confidence")?,
        place_id: fields.take("place_id")?,
        lat: fields.take("lat")?,
        lon: fields.take("lon")?,
        datum: effective(fields.take("datum")?, context),
        direction: fields.take("direction")?,
        cover: word_or(fields.take("cover")?, Some(Cover::Unknown), "cover", &mut unknown),
        dirty: fields.take("dirty")?,
        washed: fields.take("washed")?,
        gross_kg: fields.take("gross_kg")?,
        media: urls(fields.0.remove("media"))?,
        cloned: fields.take("cloned")?,
        ext: fields.object("ext")?.0,
    };
    unknown.append(&mut fields.0);
    keep(&mut sighting.ext, unknown);
    Ok(sighting)
}

fn unit(context: Context, fields: &mut Fields) -> Result<UnitReport, String> {
    Ok(UnitReport {
        unit_id: fields.id("unit_id", context.id)?,
        device_time: fields.need("device_time")?,
        lat: fields.need("lat")?,
        lon: fields.need("lon")?,
        datum: effective(fields.take("datum")?, context),
        status: fields.need("status").map(|Strict(status)| status)?,
    })
}

fn reply(context: Context, fields: &mut Fields) -> Result<UnitReply, String> {
    Ok(UnitReply {
        unit_id: fields.id("unit_id", context.id)?,
        dispatch_id: fields.need("dispatch_id")?,
        device_time: fields.need("device_time")?,
        answer: fields.need("answer").map(|Strict(answer): Strict<Answer>| answer)?,
        reason: fields.take("reason")?,
        verdict: fields.take("verdict")?.map(|Strict(verdict)| verdict),
        note: fields.take("note")?,
        media: fields.0.remove("media").filter(|media| !media.is_null()),
    })
}

fn effective(given: Option<Strict<Datum>>, context: Context) -> Option<Datum> {
    given.map(|Strict(datum)| datum).or(context.foreign_datum())
}

fn urls(json: Option<Json>) -> Result<Vec<Arc<str>>, String> {
    let expected = |found: Json| format!("media: found {found}, expected an array of strings");
    match json {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::String(url)) => Ok(vec![url.into()]),
        Some(Json::Array(items)) => items
            .into_iter()
            .map(|item| match item {
                Json::String(url) => Ok(url.into()),
                other => Err(expected(other)),
            })
            .collect(),
        Some(other) => Err(expected(other)),
    }
}

/// Adds what we do not know to the given `ext`, which wins.
fn keep(ext: &mut Map<String, Json>, unknown: Map<String, Json>) {
    for (name, value) in unknown {
        ext.entry(name).or_insert(value);
    }
}

fn word_or<T: Words>(
    word: Option<Word<T>>,
    other: Option<T>,
    name: &str,
    unknown: &mut Map<String, Json>,
) -> Option<T> {
    match word? {
        Word::Known(known) => Some(known),
        Word::Other(raw) => {
            unknown.insert(name.to_owned(), Json::String(raw));
            other
        }
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
    /// Fields and words that we do not know, and what is over the limits.
    unknown: Map<String, Json>,
    /// The field being read, for an error.
    field: &'static str,
}

/// Reads fields whose value goes straight into the report.
macro_rules! straight {
    ($reading:ident, $map:ident, $name:ident, { $($plain:ident)* }, { $($word:ident => $other:expr,)* }, $rest:expr) => {
        match &*$name {
            $(stringify!($plain) => {
                $reading.field = stringify!($plain);
                $reading.report.$plain = $map.next_value::<Maybe<_>>()?.0;
            })*
            $(stringify!($word) => {
                $reading.field = stringify!($word);
                let word = $map.next_value::<Maybe<Word<_>>>()?.0;
                $reading.report.$word = word_or(word, $other, stringify!($word), &mut $reading.unknown);
            })*
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
        Ok(map.next_value::<Maybe<T>>()?.0)
    }

    fn other<'de, M: MapAccess<'de>>(&mut self, name: Cow<'de, str>, map: &mut M) -> Result<(), M::Error> {
        match &*name {
            "device_id" => self.id = self.value("device_id", map)?,
            "device_time" => self.time = self.value("device_time", map)?,
            "datum" => self.report.datum = self.value("datum", map)?.map(|Strict(datum)| datum),
            "driver_id" => {
                self.report.driver_id = self.value("driver_id", map)?.filter(|id: &Arc<str>| !id.is_empty());
            }
            "hist" => self.report.hist = self.value("hist", map)?.unwrap_or(false),
            "alarms" => {
                self.field = "alarms";
                let List { kept, over } = map.next_value()?;
                self.report.alarms = kept.into_iter().map(|Alarm(name)| name).collect();
                self.over("alarms", over);
            }
            "events" => {
                self.field = "events";
                let List { kept, over } = map.next_value()?;
                self.events(kept, over);
            }
            "ext" => {
                self.field = "ext";
                self.report.ext = map.next_value::<Option<Map<String, Json>>>()?.unwrap_or_default();
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

    /// What is over the limit, or not known, stays in `ext`.
    fn over(&mut self, name: &str, over: Vec<Json>) {
        if over.is_empty() {
            self.unknown.remove(name);
        } else {
            self.unknown.insert(name.to_owned(), Json::Array(over));
        }
    }

    fn events(&mut self, kept: Vec<Happening>, mut over: Vec<Json>) {
        self.report.events = Vec::with_capacity(kept.len());
        for happening in kept {
            over.extend(happening.rest.map(Json::Object));
            self.report.events.push(happening.event);
        }
        self.over("events", over);
    }

    fn finish(mut self) -> Read {
        self.report.device_id = agreed("device_id", self.id, self.context.id)?;
        self.report.device_time =
            self.time.ok_or_else(|| format!("device_time: found nothing, expected {}", Time::EXPECTED))?;
        self.report.datum = effective(self.report.datum.map(Strict), self.context);
        if self.context.id.is_none() && is_kind_of_device(self.unknown.get("type")) {
            self.unknown.remove("type");
        }
        keep(&mut self.report.ext, self.unknown);
        Ok((Body::Device(self.report), self.arrival))
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

/// The first [`limits::EVENTS_PER_REPORT`] of an array, and the rest as it came. `null` elements are left out.
struct List<T> {
    kept: Vec<T>,
    over: Vec<Json>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visit<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visit<T> {
            type Value = List<T>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_unit<E>(self) -> Result<List<T>, E> {
                Ok(List { kept: Vec::new(), over: Vec::new() })
            }
            fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<List<T>, S::Error> {
                let mut list = List { kept: Vec::new(), over: Vec::new() };
                while list.kept.len() < limits::EVENTS_PER_REPORT {
                    match items.next_element::<Option<T>>()? {
                        Some(item) => list.kept.extend(item),
                        None => return Ok(list),
                    }
                }
                while let Some(item) = items.next_element()? {
                    list.over.push(item);
                }
                Ok(list)
            }
        }
        from.deserialize_any(Visit(std::marker::PhantomData))
    }
}

/// The name of an alarm.
struct Alarm(Arc<str>);

impl<'de> Deserialize<'de> for Alarm {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = Maybe::<Arc<str>>::deserialize(from)?.0;
        name.map(Alarm).ok_or_else(|| de::Error::invalid_type(de::Unexpected::Unit, &"a string"))
    }
}

/// An event, and what of it has no place in the model, under its kind.
struct Happening {
    event: Event,
    rest: Option<Map<String, Json>>,
}

impl<'de> Deserialize<'de> for Happening {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut fields = Fields(Map::deserialize(from)?);
        happening(&mut fields).map_err(de::Error::custom)
    }
}

fn happening(fields: &mut Fields) -> Result<Happening, String> {
    let mut rest = Map::new();
    let event = Event {
        kind: fields.need("kind")?,
        level: fields.take("level")?,
        phase: word_or::<EventPhase>(fields.take("phase")?, None, "phase", &mut rest),
        speed_kmh: fields.take("speed_kmh")?,
        media: fields.0.remove("media").filter(|media| !media.is_null()),
    };
    rest.append(&mut fields.0);
    let rest = (!rest.is_empty()).then(|| {
        rest.insert("kind".to_owned(), Json::from(&*event.kind));
        rest
    });
    Ok(Happening { event, rest })
}
