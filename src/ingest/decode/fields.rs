//! Values of single fields: what is accepted, and how what is not is told.

use std::{fmt, marker::PhantomData, sync::Arc};

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value as Json};

use crate::model::{
    Answer, Antenna, Cover, Datum, EventPhase, Finding, Fix, Lift, Load, Power, SightingKind, Time, UnitStatus, limits,
};

/// Whether a text may name a device, sensor or unit.
///
/// # Errors
/// What was found and what was expected.
pub(super) fn check_id(id: &str) -> Result<(), String> {
    if id.is_empty() {
        Err("found an empty id, expected 1 to 64 bytes".to_owned())
    } else if id.len() > limits::ID_BYTES {
        Err(format!("found an id of {} bytes, expected at most {}", id.len(), limits::ID_BYTES))
    } else if id.chars().any(char::is_control) {
        Err(format!("found control characters in {id:?}, expected printable text"))
    } else {
        Ok(())
    }
}

/// A parser's error in our words: "found …, expected …".
pub(super) fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    for prefix in ["invalid type: ", "invalid value: "] {
        if let Some(rest) = text.strip_prefix(prefix) {
            return format!("found {rest}");
        }
    }
    text
}

/// A word of a closed set, or one that we do not know.
pub(super) enum Word<T> {
    Known(T),
    Other(String),
}

/// The closed sets.
pub(super) trait Words: Sized {
    const EXPECTED: &'static str;
    fn of(word: &str) -> Option<Self>;
}

macro_rules! closed_sets {
    ($($name:ident: $expected:literal),+ $(,)?) => { $(impl Words for $name {
        const EXPECTED: &'static str = $expected;
        fn of(word: &str) -> Option<Self> { $name::parse(word) }
    })+ };
}
closed_sets! {
    Fix: "none, 2d or 3d",
    Power: "ok, low or lost",
    Antenna: "ok, open, short or fault",
    Load: "empty, half, full, loaded, fault or unknown",
    Cover: "closed, open, moving, fault or unknown",
    Lift: "flat, lifting, full, fault or unknown",
    EventPhase: "start or end",
    SightingKind: "anpr, weigh, wash, spill or video",
    UnitStatus: "available, busy or off",
    Answer: "accept, decline, arrived, reinforce or resolved",
    Finding: "confirmed, false_alarm or not_found",
}
impl Words for Datum {
    const EXPECTED: &'static str = "wgs84, gcj02 or bd09";
    fn of(word: &str) -> Option<Self> {
        match word {
            "wgs84" => Some(Datum::Wgs84),
            "gcj02" => Some(Datum::Gcj02),
            "bd09" => Some(Datum::Bd09),
            _ => None,
        }
    }
}

/// A field's value; `None` for `null`, which is the same as absent.
pub(super) struct Maybe<T>(pub Option<T>);

/// What a field's value may be.
pub(super) trait Scalar: Sized {
    const EXPECTED: &'static str;
    fn number(_: f64) -> Option<Self> {
        None
    }
    fn integer(_: i64) -> Option<Self> {
        None
    }
    fn flag(_: bool) -> Option<Self> {
        None
    }
    fn text(_: &str) -> Option<Self> {
        None
    }
}

impl Scalar for f64 {
    const EXPECTED: &'static str = "a number";
    fn number(number: f64) -> Option<Self> {
        number.is_finite().then_some(number)
    }
    fn integer(number: i64) -> Option<Self> {
        Some(number as f64)
    }
}

/// Up to this, every integer is a number of its own in JSON's doubles.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl Scalar for i64 {
    const EXPECTED: &'static str = "an integer";
    fn number(number: f64) -> Option<Self> {
        (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
    }
    fn integer(number: i64) -> Option<Self> {
        Some(number)
    }
}

impl Scalar for bool {
    const EXPECTED: &'static str = "true or false";
    fn flag(flag: bool) -> Option<Self> {
        Some(flag)
    }
}

impl Scalar for Arc<str> {
    const EXPECTED: &'static str = "a string";
    fn text(text: &str) -> Option<Self> {
        Some(text.into())
    }
}

impl Scalar for String {
    const EXPECTED: &'static str = "a string";
    fn text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl<T: Words> Scalar for Word<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    fn text(text: &str) -> Option<Self> {
        Some(T::of(text).map_or_else(|| Word::Other(text.to_owned()), Word::Known))
    }
}

/// A word that must be one of the set.
pub(super) struct Strict<T>(pub T);

impl<T: Words> Scalar for Strict<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    fn text(text: &str) -> Option<Self> {
        T::of(text).map(Strict)
    }
}

impl Scalar for Time {
    const EXPECTED: &'static str = "an RFC 3339 time or integer milliseconds since 1970 UTC";
    fn integer(ms: i64) -> Option<Self> {
        let time = Time::from_millis(ms);
        (time.as_millis() == ms).then_some(time)
    }
    fn text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl<'de, T: Scalar> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Visit(PhantomData))
    }
}

struct Visit<T>(PhantomData<T>);

impl<T: Scalar> Visit<T> {
    fn or<E: de::Error>(found: Option<T>, unexpected: de::Unexpected) -> Result<Maybe<T>, E> {
        match found {
            Some(value) => Ok(Maybe(Some(value))),
            None => Err(E::invalid_value(unexpected, &T::EXPECTED)),
        }
    }
}

impl<'de, T: Scalar> de::Visitor<'de> for Visit<T> {
    type Value = Maybe<T>;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }
    fn visit_unit<E>(self) -> Result<Maybe<T>, E> {
        Ok(Maybe(None))
    }
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Maybe<T>, E> {
        Self::or(T::number(number), de::Unexpected::Float(number))
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Maybe<T>, E> {
        Self::or(T::integer(number), de::Unexpected::Signed(number))
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Maybe<T>, E> {
        let found = i64::try_from(number).map_or_else(|_| T::number(number as f64), T::integer);
        Self::or(found, de::Unexpected::Unsigned(number))
    }
    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Maybe<T>, E> {
        Self::or(T::flag(flag), de::Unexpected::Bool(flag))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Maybe<T>, E> {
        Self::or(T::text(text), de::Unexpected::Str(text))
    }
}

/// The fields of an object that is not worth a parser of its own, taken out one by one.
pub(super) struct Fields(pub Map<String, Json>);

impl Fields {
    /// # Errors
    /// What was found instead of an object.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map(Fields).map_err(|error| told(&error))
    }

    /// # Errors
    /// The field, what was found and what was expected.
    pub fn take<T: Scalar>(&mut self, name: &str) -> Result<Option<T>, String> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(json) => {
                let value: Result<Maybe<T>, _> = serde_json::from_value(json);
                value.map(|maybe| maybe.0).map_err(|error| format!("{name}: {}", told(&error)))
            }
        }
    }

    /// # Errors
    /// As [`Fields::take`], and when it is missing.
    pub fn need<T: Scalar>(&mut self, name: &str) -> Result<T, String> {
        self.take(name)?.ok_or_else(|| format!("{name}: found nothing, expected {}", T::EXPECTED))
    }

    /// The fields of an object in this one; none when it is absent.
    ///
    /// # Errors
    /// The field, and what was found instead of an object.
    pub fn object(&mut self, name: &str) -> Result<Self, String> {
        match self.0.remove(name) {
            None | Some(Json::Null) => Ok(Self(Map::new())),
            Some(Json::Object(map)) => Ok(Self(map)),
            Some(other) => Err(format!("{name}: found {other}, expected an object")),
        }
    }

    /// An identity written as a text or as a number; `None` when it is empty.
    ///
    /// # Errors
    /// The field and what was found.
    pub fn name(&mut self, name: &str) -> Result<Option<Arc<str>>, String> {
        match self.0.remove(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) => Ok((!text.is_empty()).then(|| text.into())),
            Some(Json::Number(number)) if number.is_u64() => Ok(Some(number.to_string().into())),
            Some(other) => Err(format!("{name}: found {other}, expected a text or a whole number")),
        }
    }

    /// What nobody took and is not null.
    pub fn rest(self) -> Map<String, Json> {
        self.0.into_iter().filter(|(_, value)| !value.is_null()).collect()
    }

    /// The sender's id: from the object, from the topic, or from both when they agree.
    ///
    /// # Errors
    /// When there is none, or two, or it is none that we take.
    pub fn id(&mut self, name: &str, topic: Option<&Arc<str>>) -> Result<Arc<str>, String> {
        agreed(name, self.take(name)?, topic)
    }
}

/// One id out of the object's and the topic's.
///
/// # Errors
/// When there is none, or they differ, or it is none that we take.
pub(super) fn agreed(name: &str, own: Option<Arc<str>>, topic: Option<&Arc<str>>) -> Result<Arc<str>, String> {
    match (own, topic) {
        (Some(own), Some(topic)) if own != *topic => {
            Err(format!("{name}: found {own:?}, expected {topic:?} as in the topic"))
        }
        (_, Some(topic)) => Ok(Arc::clone(topic)),
        (Some(own), None) => check_id(&own).map(|()| own).map_err(|problem| format!("{name}: {problem}")),
        (None, None) => Err(format!("{name}: found nothing, expected a string")),
    }
}
