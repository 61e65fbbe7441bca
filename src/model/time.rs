//! Instants, the local clock, and intervals of validity.

use std::fmt;

use jiff::{
    Span, Timestamp,
    civil::{Date, Time as Clock},
    tz::TimeZone,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An instant: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

/// Why a text or number is no instant.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "not a time: {0:?} (expected RFC 3339 such as 2026-03-01T22:05:09+08:00, or integer milliseconds since 1970 UTC)"
)]
pub struct TimeError(pub String);

impl Time {
    /// 0000-01-01 and 9999-12-31: what RFC 3339 can write.
    const MIN_MS: i64 = -62_167_219_200_000;
    const MAX_MS: i64 = 253_402_300_799_999;

    /// From milliseconds since 1970 UTC, held within the years that RFC 3339 can write.
    pub const fn from_millis(ms: i64) -> Self {
        if ms < Self::MIN_MS {
            Self(Self::MIN_MS)
        } else if ms > Self::MAX_MS {
            Self(Self::MAX_MS)
        } else {
            Self(ms)
        }
    }

    /// Milliseconds since 1970 UTC.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This instant `ms` milliseconds later (earlier, when negative).
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self::from_millis(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this instant; negative when it is in truth later.
    pub const fn ms_since(self, earlier: Time) -> i64 {
        self.0 - earlier.0
    }

    /// Seconds from `earlier` to this instant.
    pub fn s_since(self, earlier: Time) -> f64 {
        self.ms_since(earlier) as f64 / 1000.0
    }
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_millisecond(self.0) {
            Ok(t) => write!(f, "{t:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl std::str::FromStr for Time {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let parsed: Timestamp = text.parse().map_err(|_| TimeError(text.to_owned()))?;
        Ok(Self::from_millis(parsed.as_millisecond()))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { to.collect_str(self) } else { to.serialize_i64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if !from.is_human_readable() {
            return i64::deserialize(from).map(Time);
        }
        struct Visit;
        impl de::Visitor<'_> for Visit {
            type Value = Time;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an RFC 3339 time or integer milliseconds since 1970 UTC")
            }
            fn visit_i64<E: de::Error>(self, ms: i64) -> Result<Time, E> {
                if (Time::MIN_MS..=Time::MAX_MS).contains(&ms) {
                    Ok(Time(ms))
                } else {
                    Err(E::custom(TimeError(ms.to_string())))
                }
            }
            fn visit_u64<E: de::Error>(self, ms: u64) -> Result<Time, E> {
                self.visit_i64(i64::try_from(ms).map_err(|_| E::custom(TimeError(ms.to_string())))?)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_any(Visit)
    }
}

/// The zone in which schedules and local-time facts are read.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

/// What a clock on the wall shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// 1 = Monday … 7 = Sunday.
    pub weekday: u8,
    /// Minutes since local midnight, 0–1439.
    pub minute_of_day: u16,
    /// Days since 1970-01-01, by the local calendar.
    pub day: i32,
}

impl LocalTime {
    /// Hour of the day, 0–23.
    pub fn hour(self) -> u8 {
        (self.minute_of_day / 60) as u8
    }
}

impl Zone {
    /// By IANA name, such as `Asia/Shanghai`.
    ///
    /// # Errors
    /// The name, when the time-zone database does not know it.
    pub fn named(name: &str) -> Result<Self, TimeError> {
        TimeZone::get(name).map(Self).map_err(|_| TimeError(format!("unknown time zone {name}")))
    }

    /// UTC+8, the zone of mainland China.
    pub fn china() -> Self {
        Self(TimeZone::fixed(jiff::tz::offset(8)))
    }

    /// What a clock on the wall shows at an instant, as `2026-03-01 22:05:09`.
    pub fn clock(&self, at: Time) -> String {
        let instant = Timestamp::from_millisecond(at.0).unwrap_or_default();
        instant.to_zoned(self.0.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// The wall clock at an instant.
    pub fn local(&self, at: Time) -> LocalTime {
        let instant = Timestamp::from_millisecond(at.0).unwrap_or_default();
        let local_s = instant.as_second() + i64::from(self.0.to_offset(instant).seconds());
        let day = local_s.div_euclid(86_400);
        LocalTime {
            weekday: ((day + 3).rem_euclid(7) + 1) as u8,
            minute_of_day: (local_s.rem_euclid(86_400) / 60) as u16,
            day: day as i32,
        }
    }
}

impl Zone {
    /// A local date or time as people and tables write it, the year first: `2026/3/1`, `2026-03-01 22:05`, `2026年3月1日 22:05:09`. Of a date
    /// its first instant and that of the next day; of a time that instant, twice. `None`: it is neither.
    pub fn read(&self, written: &str) -> Option<(Time, Time)> {
        let plain = written.trim().replace(['年', '月', '/', '.'], "-").replace(['日', 'T'], " ");
        let (date, clock) = plain.split_once(' ').unwrap_or((&plain, ""));
        let date = numbers::<3>(date, '-').filter(|_| date.find('-') == Some(4))?;
        let date =
            Date::new(i16::try_from(date[0]).ok()?, i8::try_from(date[1]).ok()?, i8::try_from(date[2]).ok()?).ok()?;
        let instant = |at: jiff::civil::DateTime| {
            Some(Time::from_millis(at.to_zoned(self.0.clone()).ok()?.timestamp().as_millisecond()))
        };
        let clock = clock.trim();
        if clock.is_empty() {
            return Some((instant(date.into())?, instant(date.tomorrow().ok()?.into())?));
        }
        let [hour, minute, second] = match numbers::<3>(clock, ':') {
            Some(clock) => clock,
            None => numbers::<2>(clock, ':').map(|[hour, minute]| [hour, minute, 0])?,
        };
        let [hour, minute, second] = [hour, minute, second].map(|number| i8::try_from(number).ok());
        let at = instant(date.to_datetime(Clock::new(hour?, minute?, second?, 0).ok()?))?;
        Some((at, at))
    }

    /// The calendar period in which an instant lies: its first instant, and the first of the next.
    pub fn period(&self, at: Time, period: Period) -> (Time, Time) {
        let instant = Timestamp::from_millisecond(at.0).unwrap_or_default();
        let date = self.0.to_datetime(instant).date();
        let (first, span) = match period {
            Period::Day => (Some(date), Span::new().days(1)),
            Period::Month => (Some(date.first_of_month()), Span::new().months(1)),
            Period::HalfYear => {
                (Date::new(date.year(), if date.month() < 7 { 1 } else { 7 }, 1).ok(), Span::new().months(6))
            }
            Period::Year => (Some(date.first_of_year()), Span::new().years(1)),
        };
        let first = first.unwrap_or(date);
        let instant = |date: Date| {
            let zoned = date.to_zoned(self.0.clone());
            zoned.map_or(at, |zoned| Time::from_millis(zoned.timestamp().as_millisecond()))
        };
        (instant(first), first.checked_add(span).map_or(at, instant))
    }
}

/// So many numbers with a mark between them.
fn numbers<const N: usize>(text: &str, mark: char) -> Option<[u16; N]> {
    let is_number = |part: &&str| (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    let numbers: Option<Vec<u16>> =
        text.split(mark).map(|part| Some(part).filter(is_number).and_then(|part| part.parse().ok())).collect();
    numbers?.try_into().ok()
}

/// A period of the local calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    Day,
    Month,
    HalfYear,
    Year,
}

impl Period {
    pub const ALL: &[Self] = &[Self::Day, Self::Month, Self::HalfYear, Self::Year];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::HalfYear => "half_year",
            Self::Year => "year",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|period| period.as_str() == word)
    }
}

/// The half-open interval in which a row holds: `from` included, `to` not; `None` is open-ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Validity {
    pub from: Option<Time>,
    pub to: Option<Time>,
}

impl Validity {
    /// Whether the row holds at `at`.
    pub fn contains(&self, at: Time) -> bool {
        self.from.is_none_or(|from| from <= at) && self.to.is_none_or(|to| at < to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_from_both_forms_and_written_in_one() {
        let text: Time = serde_json::from_str("\"2026-03-01T22:05:09+08:00\"").unwrap();
        let number: Time = serde_json::from_str("1772373909000").unwrap();
        assert_eq!(text, number);
        assert_eq!(text.to_string(), "2026-03-01T14:05:09.000Z");
        for bad in ["\"yesterday\"", "1e300", "-99999999999999999", "null", "1.5"] {
            assert!(serde_json::from_str::<Time>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_local_clock_knows_midnight_and_weekday() {
        let half_past_midnight: Time = "2026-03-01T16:30:00Z".parse().unwrap();
        let zone = Zone::named("Asia/Shanghai").unwrap();
        let local = zone.local(half_past_midnight);
        assert_eq!((local.weekday, local.hour(), local.minute_of_day), (1, 0, 30));
        assert_eq!(zone.local(half_past_midnight), Zone::china().local(half_past_midnight));
        assert_eq!(zone.clock(half_past_midnight), "2026-03-02 00:30:00");
        assert!(Zone::named("Asia/Atlantis").is_err());
    }

    #[test]
    fn local_dates_and_times_are_read_as_tables_write_them() {
        let zone = Zone::named("Asia/Shanghai").unwrap();
        let read = |written: &str| zone.read(written).map(|(first, next)| (first.to_string(), next.to_string()));
        let day = Some(("2026-02-28T16:00:00.000Z".to_owned(), "2026-03-01T16:00:00.000Z".to_owned()));
        for written in ["2026/3/1", "2026-03-01", "2026.3.1", "2026年3月1日", " 2026/03/01 "] {
            assert_eq!(read(written), day, "{written}");
        }
        let at = "2026-03-01T14:05:09.000Z".to_owned();
        for written in ["2026/3/1 22:05:09", "2026-03-01T22:05:09", "2026年3月1日22:05:09", "2026-3-1  22:5:9"] {
            assert_eq!(read(written), Some((at.clone(), at.clone())), "{written}");
        }
        assert_eq!(read("2026/3/1 22:05").map(|(first, _)| first), Some("2026-03-01T14:05:00.000Z".to_owned()));
        for other in [
            "",
            "2026",
            "3/1/2026",
            "26/3/1",
            "2026/13/1",
            "2026/2/30",
            "2026/3/1 25:00",
            "2026-03-01T22:05:09Z",
            "20260301",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn calendar_periods_begin_at_local_midnight() {
        let zone = Zone::china();
        let at: Time = "2026-06-30T16:30:00Z".parse().unwrap();
        for (period, first, next) in [
            (Period::Day, "2026-06-30T16:00:00.000Z", "2026-07-01T16:00:00.000Z"),
            (Period::Month, "2026-06-30T16:00:00.000Z", "2026-07-31T16:00:00.000Z"),
            (Period::HalfYear, "2026-06-30T16:00:00.000Z", "2026-12-31T16:00:00.000Z"),
            (Period::Year, "2025-12-31T16:00:00.000Z", "2026-12-31T16:00:00.000Z"),
        ] {
            let (from, to) = zone.period(at, period);
            assert_eq!((from.to_string().as_str(), to.to_string().as_str()), (first, next), "{period:?}");
        }
    }

    #[test]
    fn validity_is_half_open() {
        let at = Time::from_millis;
        let validity = Validity { from: Some(at(10)), to: Some(at(20)) };
        let held: Vec<bool> = [9, 10, 19, 20].map(|ms| validity.contains(at(ms))).into();
        assert_eq!(held, [false, true, true, false]);
        assert!(Validity::default().contains(at(0)));
    }
}
