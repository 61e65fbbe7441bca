//! Values of single fields: what is accepted, and how what is not is told.

use std::{borrow::Cow, fmt, marker::PhantomData, sync::Arc};

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value as Json};

use crate::model::{
    Answer, Antenna, Cover, Datum, EventPhase, Finding, Fix, Lift, Load, Power, SightingKind, Time, UnitStatus, limits,
    plate,
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

/// The closed sets. Case and blanks around a word don't count.
pub(super) trait Words: Sized {
    const EXPECTED: &'static str;
    fn of(word: &str) -> Option<Self>;
}

/// Of a word as sent, the spelling of our sets.
pub(super) fn spelling(word: &str) -> Cow<'_, str> {
    let word = word.trim();
    if word.bytes().any(|byte| byte.is_ascii_uppercase()) { word.to_ascii_lowercase().into() } else { word.into() }
}

macro_rules! closed_sets {
    ($($name:ident: $expected:literal),+ $(,)?) => { $(impl Words for $name {
        const EXPECTED: &'static str = $expected;
        fn of(word: &str) -> Option<Self> { $name::parse(&spelling(word)) }
    })+
    #[cfg(test)]
    #[test]
    fn what_is_expected_of_a_word_is_its_set() {
        $(assert_eq!($expected.replace(" or ", ", "), $name::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(", "));)+
    } };
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
        match &*spelling(word) {
            "wgs84" => Some(Datum::Wgs84),
            "gcj02" => Some(Datum::Gcj02),
            "bd09" => Some(Datum::Bd09),
            _ => None,
        }
    }
}

/// What a field holds.
pub(super) enum Maybe<T> {
    Known(T),
    /// `null`, an empty text or an empty list: the same as absent.
    Nothing,
    /// What makes no sense there, as it came.
    Odd(Json),
}

/// What a field's value may be. Senders are loose with types, so what can be meant in one way only is read: a number written
/// as text, a flag written as 0 or 1, a number that names something.
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
    fn text(text: &str) -> Option<Self> {
        text.trim().parse().ok().filter(|number: &f64| number.is_finite())
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
    fn text(text: &str) -> Option<Self> {
        let text = text.trim();
        text.parse().ok().or_else(|| Self::number(text.parse().ok()?))
    }
}

impl Scalar for bool {
    const EXPECTED: &'static str = "true or false";
    fn integer(number: i64) -> Option<Self> {
        matches!(number, 0 | 1).then_some(number == 1)
    }
    fn number(number: f64) -> Option<Self> {
        i64::number(number).and_then(Self::integer)
    }
    fn flag(flag: bool) -> Option<Self> {
        Some(flag)
    }
    fn text(text: &str) -> Option<Self> {
        match &*spelling(text) {
            "true" | "1" | "on" | "yes" => Some(true),
            "false" | "0" | "off" | "no" => Some(false),
            _ => None,
        }
    }
}

macro_rules! texts {
    ($($name:ty),+) => { $(impl Scalar for $name {
        const EXPECTED: &'static str = "a string";
        fn integer(number: i64) -> Option<Self> {
            Some(number.to_string().into())
        }
        fn number(number: f64) -> Option<Self> {
            i64::number(number).and_then(Self::integer)
        }
        fn text(text: &str) -> Option<Self> {
            Some(text.into())
        }
    })+ };
}
texts!(Arc<str>, String);

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
        (time.as_millis() == ms && !is_seconds(ms)).then_some(time)
    }
    fn number(number: f64) -> Option<Self> {
        i64::number(number).and_then(Self::integer)
    }
    fn text(text: &str) -> Option<Self> {
        let text = text.trim();
        text.parse().ok().or_else(|| Self::integer(i64::text(text)?))
    }
}

/// Whether a number is more likely seconds than milliseconds since 1970: the seconds of 2001 to 2286 are the milliseconds
/// of some weeks of 1970.
pub(super) fn is_seconds(number: i64) -> bool {
    (1_000_000_000..10_000_000_000).contains(&number)
}

/// Why a time could not be read.
pub(super) fn time_problem(name: &str, found: &Json) -> String {
    match i64::of(found) {
        Some(number) if is_seconds(number) => {
            format!(
                "{name}: found {found}, which are seconds since 1970; expected milliseconds ({number}000), or RFC 3339"
            )
        }
        _ => format!("{name}: found {found}, expected {}", Time::EXPECTED),
    }
}

/// Reading out of JSON that is there already.
pub(super) trait FromJson: Scalar {
    /// `None` when it makes no sense.
    fn of(json: &Json) -> Option<Self> {
        match json {
            Json::Bool(flag) => Self::flag(*flag),
            Json::String(text) => Self::text(text),
            Json::Number(number) => match number.as_i64() {
                Some(integer) => Self::integer(integer),
                None => number.as_f64().and_then(Self::number),
            },
            Json::Null | Json::Array(_) | Json::Object(_) => None,
        }
    }
}

impl<T: Scalar> FromJson for T {}

/// Whether JSON says no more than nothing: `null`, an empty text, list or object.
pub(super) fn is_nothing(json: &Json) -> bool {
    match json {
        Json::Null => true,
        Json::String(text) => text.trim().is_empty(),
        Json::Array(items) => items.is_empty(),
        Json::Object(map) => map.is_empty(),
        Json::Bool(_) | Json::Number(_) => false,
    }
}

impl<'de, T: Scalar> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Visit(PhantomData))
    }
}

struct Visit<T>(PhantomData<T>);

impl<T> Visit<T> {
    fn or(found: Option<T>, json: impl FnOnce() -> Json) -> Maybe<T> {
        found.map_or_else(|| Maybe::Odd(json()), Maybe::Known)
    }

    fn composite(json: Json) -> Maybe<T> {
        if is_nothing(&json) { Maybe::Nothing } else { Maybe::Odd(json) }
    }
}

impl<'de, T: Scalar> de::Visitor<'de> for Visit<T> {
    type Value = Maybe<T>;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }
    fn visit_unit<E>(self) -> Result<Maybe<T>, E> {
        Ok(Maybe::Nothing)
    }
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Maybe<T>, E> {
        Ok(Self::or(T::number(number), || number.into()))
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Maybe<T>, E> {
        Ok(Self::or(T::integer(number), || number.into()))
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Maybe<T>, E> {
        let found = i64::try_from(number).map_or_else(|_| T::number(number as f64), T::integer);
        Ok(Self::or(found, || number.into()))
    }
    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Maybe<T>, E> {
        Ok(Self::or(T::flag(flag), || flag.into()))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Maybe<T>, E> {
        if text.trim().is_empty() {
            return Ok(Maybe::Nothing);
        }
        Ok(Self::or(T::text(text), || text.into()))
    }
    fn visit_seq<S: de::SeqAccess<'de>>(self, items: S) -> Result<Maybe<T>, S::Error> {
        Json::deserialize(de::value::SeqAccessDeserializer::new(items)).map(Self::composite)
    }
    fn visit_map<M: de::MapAccess<'de>>(self, map: M) -> Result<Maybe<T>, M::Error> {
        Json::deserialize(de::value::MapAccessDeserializer::new(map)).map(Self::composite)
    }
}

/// The fields of an object that is not worth a parser of its own, taken out one by one. A field that makes no sense stays, so
/// that it ends up in `ext` as it came, and is named in `odd`.
#[derive(Default)]
pub(super) struct Fields {
    pub map: Map<String, Json>,
    pub odd: Vec<&'static str>,
}

impl Fields {
    pub fn of(map: Map<String, Json>) -> Self {
        Self { map, odd: Vec::new() }
    }

    /// # Errors
    /// What was found instead of an object.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map(Self::of).map_err(|error| told(&error))
    }

    /// The value of a field; `None` when it is absent, says nothing or makes no sense.
    pub fn take<T: Scalar>(&mut self, name: &'static str) -> Option<T> {
        let json = self.map.remove(name)?;
        if is_nothing(&json) {
            return None;
        }
        let value = T::of(&json);
        if value.is_none() {
            self.keep(name, json);
        }
        value
    }

    /// Keeps what makes no sense.
    pub fn keep(&mut self, name: &'static str, json: Json) {
        self.map.insert(name.to_owned(), json);
        self.odd.push(name);
    }

    /// # Errors
    /// When a field is missing or makes no sense.
    pub fn need<T: Scalar>(&mut self, name: &'static str) -> Result<T, String> {
        let missing = || format!("{name}: found nothing, expected {}", T::EXPECTED);
        self.take(name).ok_or_else(|| match self.map.get(name) {
            Some(found) => format!("{name}: found {found}, expected {}", T::EXPECTED),
            None => missing(),
        })
    }

    /// A time that must be there.
    ///
    /// # Errors
    /// When it is missing, or none.
    pub fn time(&mut self, name: &'static str) -> Result<Time, String> {
        let found = self.map.get(name).cloned();
        self.need(name).map_err(|problem| found.map_or(problem, |found| time_problem(name, &found)))
    }

    /// The fields of an object in this one; none when it is absent, or something else.
    pub fn object(&mut self, name: &'static str) -> Self {
        match self.map.remove(name) {
            Some(Json::Object(map)) => Self::of(map),
            Some(other) if !is_nothing(&other) => {
                self.keep(name, other);
                Self::default()
            }
            _ => Self::default(),
        }
    }

    /// What nobody took and is not null.
    pub fn rest(self) -> Map<String, Json> {
        self.map.into_iter().filter(|(_, value)| !value.is_null()).collect()
    }

    /// The sender's id: from the object, from the topic, or from both when they agree.
    ///
    /// # Errors
    /// When there is none, or two, or it is none that we take.
    pub fn id(&mut self, name: &'static str, topic: Option<&Arc<str>>) -> Result<Arc<str>, String> {
        agreed(name, self.take(name), topic)
    }
}

/// One id out of the object's and the topic's.
///
/// # Errors
/// When there is none, or they differ, or it is none that we take.
pub(super) fn agreed(name: &str, own: Option<Arc<str>>, topic: Option<&Arc<str>>) -> Result<Arc<str>, String> {
    let normal = |id: Arc<str>| match plate::device_id(&id) {
        Cow::Borrowed(_) => id,
        Cow::Owned(normal) => normal.into(),
    };
    let (own, topic) = (own.map(normal), topic.cloned().map(normal));
    match (own, topic.as_ref()) {
        (Some(own), Some(topic)) if own != *topic => {
            Err(format!("{name}: found {own:?}, expected {topic:?} as in the topic"))
        }
        (_, Some(topic)) => Ok(Arc::clone(topic)),
        (Some(own), None) => check_id(&own).map(|()| own).map_err(|problem| format!("{name}: {problem}")),
        (None, None) => Err(format!("{name}: found nothing, expected a string")),
    }
}
