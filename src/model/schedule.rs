//! Windows of the week: `22:00-06:00`, `Mon-Fri 07:00-09:00`.

use serde::{Deserialize, Serialize};

use super::LocalTime;

/// When something holds, in local time. An empty schedule holds always.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    windows: Vec<Window>,
}

/// From `start` (included) to `end` (not), on days that begin on one of `weekdays`; over midnight when `end <= start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Window {
    /// Bit 0 is Monday.
    weekdays: u8,
    start_min: u16,
    end_min: u16,
}

/// What is wrong with a schedule's text.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a schedule: {0:?} (expected windows such as 22:00-06:00 or Mon-Fri 07:00-09:00, separated by spaces)")]
pub struct ScheduleError(pub String);

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const EVERY_DAY: u8 = 0b111_1111;

impl Schedule {
    /// Whether the schedule holds on the wall clock `at`.
    pub fn contains(&self, at: LocalTime) -> bool {
        self.windows.is_empty() || self.windows.iter().any(|window| window.contains(at))
    }

    /// Whether it has no windows and so holds always.
    pub fn is_always(&self) -> bool {
        self.windows.is_empty()
    }
}

impl Window {
    fn contains(&self, at: LocalTime) -> bool {
        let minute = at.minute_of_day;
        let begins_on = |weekday: u8| self.weekdays & (1 << (weekday - 1)) != 0;
        if self.start_min < self.end_min {
            return begins_on(at.weekday) && (self.start_min..self.end_min).contains(&minute);
        }
        let yesterday = if at.weekday == 1 { 7 } else { at.weekday - 1 };
        (minute >= self.start_min && begins_on(at.weekday)) || (minute < self.end_min && begins_on(yesterday))
    }
}

impl std::str::FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let wrong = || ScheduleError(text.to_owned());
        let mut windows = Vec::new();
        let mut weekdays = None;
        for token in text.split_ascii_whitespace() {
            if token.starts_with(|c: char| c.is_ascii_digit()) {
                let (start, end) = token.split_once('-').ok_or_else(wrong)?;
                let (start_min, end_min) = (minute(start).ok_or_else(wrong)?, minute(end).ok_or_else(wrong)?);
                if start_min == 1440 {
                    return Err(wrong());
                }
                windows.push(Window { weekdays: weekdays.unwrap_or(EVERY_DAY), start_min, end_min });
            } else {
                weekdays =
                    Some(token.split(',').try_fold(0, |set, part| days(part).map(|d| set | d)).ok_or_else(wrong)?);
            }
        }
        if windows.is_empty() && weekdays.is_some() {
            return Err(wrong());
        }
        Ok(Self { windows })
    }
}

/// `07:30` as minutes; 24:00 is the day's end.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (minute < 60 && hour * 60 + minute <= 1440).then_some(hour * 60 + minute)
}

/// `Mon`, `Mon-Fri`, `Sat-Mon` as bits.
fn days(text: &str) -> Option<u8> {
    let index = |name: &str| DAYS.iter().position(|day| day.eq_ignore_ascii_case(name));
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (index(first)?, index(last)?),
        None => (index(text)?, index(text)?),
    };
    let span = (last + 7 - first) % 7;
    Some((0..=span).fold(0, |set, step| set | 1 << ((first + step) % 7)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(schedule: &str, weekday: u8, clock: &str) -> bool {
        let at = LocalTime { weekday, minute_of_day: minute(clock).unwrap(), day: 0 };
        schedule.parse::<Schedule>().unwrap().contains(at)
    }

    #[test]
    fn windows_hold_where_they_should() {
        for (schedule, weekday, clock, expected) in [
            ("", 3, "12:00", true),
            ("22:00-06:00", 1, "00:30", true),
            ("22:00-06:00", 1, "05:59", true),
            ("22:00-06:00", 1, "06:00", false),
            ("22:00-06:00", 1, "22:00", true),
            ("Mon-Fri 07:00-09:00", 5, "08:59", true),
            ("Mon-Fri 07:00-09:00", 6, "08:00", false),
            ("Fri 22:00-06:00", 6, "03:00", true),
            ("Fri 22:00-06:00", 5, "03:00", false),
            ("Sat-Mon 10:00-11:00", 7, "10:00", true),
            ("Sat-Mon 10:00-11:00", 2, "10:00", false),
            ("Mon,Wed 10:00-11:00", 3, "10:30", true),
            ("07:00-09:00 17:00-19:00", 4, "18:00", true),
            ("00:00-24:00", 4, "23:59", true),
        ] {
            assert_eq!(holds(schedule, weekday, clock), expected, "{schedule} on day {weekday} at {clock}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for bad in ["25:00-26:00", "22:00", "Mon", "Funday 10:00-11:00", "10:61-11:00", "a-b", "24:00-01:00"] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad}");
        }
    }
}
