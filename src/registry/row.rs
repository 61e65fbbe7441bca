//! A row as given: text in every column, whatever file it came from, and the typed reading of it.

use super::{
    entity::SensorSet,
    geometry::Shape,
    problem::{Origin, Problem, Problems, nearest, quoted},
    schema::{Entity, Need},
};
use crate::model::{Schedule, Text, Time, Validity, Zone, plate};

/// Most devices of one vehicle.
const DEVICES: usize = 8;

/// Longest value of an id, in bytes.
const ID_BYTES: usize = crate::model::limits::REGISTRY_ID_BYTES;

/// One row: trimmed text by the entity's columns, empty where there is none.
#[derive(Clone, Debug)]
pub(super) struct RawRow {
    pub origin: Origin,
    pub cells: Box<[Box<str>]>,
    pub valid: Validity,
    pub shape: Option<Shape>,
}

impl RawRow {
    /// The text in a column; empty when there is none.
    pub fn cell(&self, entity: Entity, column: &str) -> &str {
        entity.column(column).and_then(|index| self.cells.get(index)).map_or("", |cell| cell)
    }

    /// The text in the first column.
    pub fn key(&self) -> &str {
        self.cells.first().map_or("", |cell| cell)
    }
}

/// Puts named values into the order of the columns; what is wrong with names or validity goes to `problems`.
pub(super) struct RowBuilder<'a> {
    entity: Entity,
    origin: Origin,
    cells: Vec<Box<str>>,
    valid: Validity,
    zone: &'a Zone,
    problems: &'a mut Problems,
}

impl<'a> RowBuilder<'a> {
    pub fn new(entity: Entity, origin: Origin, zone: &'a Zone, problems: &'a mut Problems) -> Self {
        Self {
            entity,
            origin,
            cells: vec![Box::default(); entity.columns().len()],
            valid: Validity::default(),
            zone,
            problems,
        }
    }

    /// Sets a column; an unknown one is a problem.
    pub fn set(&mut self, column: &str, value: &str) {
        let value = value.trim();
        match column {
            "valid_from" => self.valid.from = self.bound(column, value),
            "valid_to" => self.valid.to = self.bound(column, value),
            _ => match self.entity.column(column) {
                // What bears no zone is kept as the instant that it is here.
                Some(index) if matches!(column, "opened_at" | "closed_at") => {
                    let local = self.zone.read(value).map(|span| end_of(column, span).to_string());
                    self.cells[index] = local.as_deref().unwrap_or(value).into();
                }
                Some(index) => self.cells[index] = value.into(),
                None => self.problems.push(unknown_column(self.entity, &self.origin, column)),
            },
        }
    }

    fn bound(&mut self, column: &str, value: &str) -> Option<Time> {
        if value.is_empty() {
            return None;
        }
        if let Some(span) = self.zone.read(value) {
            return Some(end_of(column, span));
        }
        let time = parse_time(value);
        time.map_err(|expected| self.problems.push(self.origin.problem(Some(column), quoted(value), expected))).ok()
    }

    pub fn finish(self, shape: Option<Shape>) -> RawRow {
        if let (Some(from), Some(to)) = (self.valid.from, self.valid.to)
            && to <= from
        {
            let expected = format!("a time after valid_from ({from})");
            self.problems.push(self.origin.problem(Some("valid_to"), to.to_string(), expected));
        }
        RawRow { origin: self.origin, cells: self.cells.into(), valid: self.valid, shape }
    }
}

/// The problem with a column that the entity does not have.
pub(super) fn unknown_column(entity: Entity, origin: &Origin, column: &str) -> Problem {
    let names: Vec<&str> = entity.column_names().collect();
    let expected = format!("one of the columns {}", names.join(", "));
    let mut problem = origin.problem(None, format!("the unknown column {}", quoted(column)), expected);
    problem.nearest = nearest(column, names);
    problem
}

/// Of a day the instant that a column means: what ends on a day holds through it, as people mean it.
fn end_of(column: &str, (first, next): (Time, Time)) -> Time {
    if matches!(column, "valid_to" | "closed_at") { next } else { first }
}

const TIME: &str = "RFC 3339 such as 2026-03-01T22:05:09+08:00, a local date or time such as 2026-03-01 22:05, or integer milliseconds since 1970 UTC";

/// Earlier integers are no milliseconds but dates in another notation: 1990-01-01, in milliseconds since 1970.
const FIRST_MS: i64 = 631_152_000_000;

/// RFC 3339 or integer milliseconds.
///
/// # Errors
/// What is expected instead, and what the number seems to be.
pub(super) fn parse_time(text: &str) -> Result<Time, String> {
    let Ok(number) = text.parse::<i64>() else { return text.parse().map_err(|_| expected_of(text)) };
    let time = Time::from_millis(number);
    if let Some(written) = run_together(text) {
        let notation = &"yyyymmddhhmmss"[..text.len()];
        return Err(format!("{TIME}; this looks like a date as {notation}: write {written}"));
    }
    let seems = match number {
        FIRST_MS.. if time.as_millis() == number => return Ok(time),
        FIRST_MS.. => return Err(TIME.to_owned()),
        // The first seconds of 1970 are what programs write for "ever since".
        0..20_000 => return Ok(time),
        20_000..=80_000 => {
            return Err(format!("{TIME}; this looks like Excel's serial day for {}", serial_day(number as f64)));
        }
        1_000_000_000.. => "seconds",
        _ => "no date",
    };
    Err(format!("{TIME}; as milliseconds it lies before 1990, so it is {seems}"))
}

/// What is expected in place of a text that is no time, with what it seems to be.
fn expected_of(text: &str) -> String {
    let numbers: Vec<&str> = text.split(['/', '-', '.', ' ']).take(3).collect();
    let is_year_last = matches!(numbers[..], [a, b, year] if a.len() <= 2 && b.len() <= 2 && matches!(year.len(), 2 | 4)
        && [a, b, year].iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())));
    match text.parse::<f64>() {
        Ok(day) if (20_000.0..80_000.0).contains(&day) => {
            format!("{TIME}; this looks like Excel's serial day for {}", serial_day(day))
        }
        _ if is_year_last => format!("{TIME}; write the year first, with four digits: 2026-03-01"),
        _ => TIME.to_owned(),
    }
}

/// A date of 8 digits, or one with a time of 12 or 14, as it is to be written.
fn run_together(digits: &str) -> Option<String> {
    if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let date = format!("{}-{}-{}", &digits[..4], &digits[4..6], &digits[6..8]);
    let clock: Vec<&str> = (8..digits.len()).step_by(2).map(|at| &digits[at..at + 2]).collect();
    let written = if clock.is_empty() { date } else { format!("{date} {}", clock.join(":")) };
    let is_of_our_time = ("1990".."2200").contains(&&digits[..4]);
    (is_of_our_time && Zone::china().read(&written).is_some()).then_some(written)
}

/// The date of a serial day of Excel, as it is to be written: days since 1899-12-30, by the local clock.
fn serial_day(number: f64) -> String {
    const UNIX_EPOCH: f64 = 25_569.0;
    let text = Time::from_millis(((number - UNIX_EPOCH) * 86_400_000.0).round() as i64).to_string();
    let clock = if number.fract() == 0.0 { String::new() } else { format!(" {}", &text[11..19]) };
    format!("{}{clock}: write {}{clock}", &text[..10], &text[..10])
}

/// Whether a table rounded a long number: `8.61234E+14`.
fn is_rounded(cell: &str) -> bool {
    let Some((mantissa, exponent)) = cell.split_once(['E', 'e']) else { return false };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_mantissa = mantissa.split_once('.').map_or(digits(mantissa), |(whole, part)| digits(whole) && digits(part));
    is_mantissa && exponent.strip_prefix('+').is_some_and(digits)
}

/// Reads the cells of one row as types. A wrong cell becomes a problem and reads as its type's default, so that the
/// next cell is read too; whoever reads drops the row when problems came.
pub(super) struct Cells<'a> {
    entity: Entity,
    row: &'a RawRow,
    problems: &'a mut Problems,
}

impl<'a> Cells<'a> {
    pub fn new(entity: Entity, row: &'a RawRow, problems: &'a mut Problems) -> Self {
        Self { entity, row, problems }
    }

    fn refuse(&mut self, column: &str, expected: impl Into<String>) {
        let found = quoted(self.row.cell(self.entity, column));
        self.problems.push(self.row.origin.problem(Some(column), found, expected));
    }

    /// Says that a cell may be wrong.
    pub fn warn(&mut self, column: &str, expected: impl Into<String>) {
        let found = quoted(self.row.cell(self.entity, column));
        self.problems.warn(self.row.origin.problem(Some(column), found, expected));
    }

    /// The cell, when it holds anything; an empty one is a problem where a value is needed.
    fn some(&mut self, column: &str) -> Option<&'a str> {
        let cell = self.row.cell(self.entity, column);
        if !cell.is_empty() {
            return Some(cell);
        }
        let need = self.entity.columns().iter().find(|known| known.name == column).map(|known| known.need);
        if need == Some(Need::Value) {
            self.problems.push(self.row.origin.problem(Some(column), "nothing", "a value"));
        }
        None
    }

    /// Free text, empty when there is none.
    pub fn text(&mut self, column: &str) -> Text {
        self.some(column).unwrap_or("").into()
    }

    pub fn maybe_text(&mut self, column: &str) -> Option<Text> {
        self.some(column).map(Text::from)
    }

    /// An id: text without blanks, of bounded length; empty when there is none.
    pub fn id(&mut self, column: &str) -> Text {
        self.maybe_id(column).unwrap_or_else(|| Text::from(""))
    }

    pub fn maybe_id(&mut self, column: &str) -> Option<Text> {
        let cell = self.some(column)?;
        self.check_id(column, cell, ID_BYTES);
        Some(cell.into())
    }

    fn check_id(&mut self, column: &str, id: &str, bytes: usize) {
        if id.len() > bytes || id.chars().any(|c| c.is_whitespace() || c.is_control()) {
            self.refuse(column, format!("an id of at most {bytes} bytes without blanks"));
        }
        if is_rounded(id) {
            self.refuse(column, "the whole id: a table rounded it (format the column as text and enter it again)");
        }
    }

    /// Ids of devices in normal form, separated by blanks.
    pub fn devices(&mut self, column: &str) -> Vec<Text> {
        let mut devices: Vec<Text> = Vec::new();
        for written in self.some(column).unwrap_or("").split_whitespace() {
            self.check_id(column, written, crate::model::limits::ID_BYTES);
            let device_id = Text::from(&*plate::device_id(written));
            if devices.contains(&device_id) {
                self.refuse(column, "each device once");
            }
            devices.push(device_id);
        }
        if devices.len() > DEVICES {
            self.refuse(column, format!("at most {DEVICES} devices, separated by blanks"));
        }
        devices
    }

    /// Ids separated by blanks.
    pub fn ids(&mut self, column: &str) -> Vec<Text> {
        self.some(column).unwrap_or("").split_whitespace().map(Text::from).collect()
    }

    /// One of a closed set of words.
    pub fn word<T: Copy>(&mut self, column: &str, words: &[&str], parse: fn(&str) -> Option<T>, default: T) -> T {
        let Some(cell) = self.some(column) else { return default };
        parse(cell).unwrap_or_else(|| {
            self.refuse(column, format!("one of {}", words.join(", ")));
            if let Some(problem) = self.problems.last_mut() {
                problem.nearest = nearest(cell, words.iter().copied());
            }
            default
        })
    }

    /// A number above 0 and at most `most`.
    pub fn positive(&mut self, column: &str, most: f64) -> Option<f64> {
        let number = self.some(column)?.parse::<f64>().ok().filter(|number| *number > 0.0 && *number <= most);
        if number.is_none() {
            self.refuse(column, format!("a number above 0, at most {most}"));
        }
        number
    }

    pub fn time(&mut self, column: &str) -> Option<Time> {
        parse_time(self.some(column)?).map_err(|expected| self.refuse(column, expected)).ok()
    }

    pub fn schedule(&mut self, column: &str) -> Schedule {
        let parsed = self.some(column).unwrap_or("").parse();
        parsed.unwrap_or_else(|_| {
            self.refuse(column, "windows such as 22:00-06:00 or Mon-Fri 07:00-09:00, separated by spaces");
            Schedule::default()
        })
    }

    /// `true` or `false`, also as OSM and tables write them: `-1` is one-way against the order of the points, what changes its direction by
    /// the hour (`reversible`, `alternating`) may be driven both ways; `false` when empty.
    pub fn flag(&mut self, column: &str) -> bool {
        match self.some(column).unwrap_or("false") {
            "true" | "yes" | "1" | "-1" | "TRUE" => true,
            "false" | "no" | "0" | "reversible" | "alternating" | "FALSE" => false,
            _ => {
                self.refuse(column, "true, false, -1 (one-way against the order of its points) or reversible");
                false
            }
        }
    }

    pub fn sensors(&mut self, column: &str) -> SensorSet {
        const WORDS: &[&str] = &["cover", "lift", "load", "driver", "camera"];
        let mut set = SensorSet::default();
        for word in self.some(column).unwrap_or("").split_whitespace() {
            match word {
                "cover" => set.cover = true,
                "lift" => set.lift = true,
                "load" => set.load = true,
                "driver" => set.driver = true,
                "camera" => set.camera = true,
                _ => {
                    let expected = format!("sensors of {}", WORDS.join(", "));
                    let mut problem = self.row.origin.problem(Some(column), quoted(word), expected);
                    problem.nearest = nearest(word, WORDS.iter().copied());
                    self.problems.push(problem);
                }
            }
        }
        set
    }

    /// A problem with a cell that another cell shows to be wrong.
    pub fn object(&mut self, column: &str, expected: impl Into<String>) {
        self.refuse(column, expected);
    }
}
