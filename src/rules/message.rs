//! Message templates: `{plate} {speed_kmh:.0} km/h on {road_name}`.

use std::fmt::Write;

use super::errors::nearest;
use crate::model::{Column, ColumnSet, Facts, Kind, Value};

/// A message with holes for columns. What is unknown shows as `?`, lists are joined by commas, `{{` and `}}` are braces.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Column { column: Column, decimals: Option<u8> },
}

/// What is wrong with a template, at which byte of it.
#[derive(Debug, PartialEq)]
pub(super) struct TemplateProblem {
    pub offset: usize,
    pub message: String,
    pub hint: Option<String>,
}

/// Most digits after the point that a format may ask.
const MOST_DECIMALS: u8 = 9;

impl Template {
    /// What a rule without a message says: the plate and the rule's name.
    pub fn plate_and(name: &str) -> Self {
        let plate = Column::named("plate").map(|column| Part::Column { column, decimals: None });
        Self(plate.into_iter().chain([Part::Text(format!(" {name}"))]).collect())
    }

    /// Reads a template.
    ///
    /// # Errors
    /// Every hole that can't be filled.
    pub fn parse(text: &str) -> Result<Self, Vec<TemplateProblem>> {
        let (mut parts, mut problems) = (Vec::new(), Vec::new());
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let offset = text.len() - rest.len() + at;
            push_text(&mut parts, &rest[..at]);
            let brace = &rest[at..];
            rest = if brace.starts_with("{{") || brace.starts_with("}}") {
                push_text(&mut parts, &brace[..1]);
                &brace[2..]
            } else if let Some(end) = brace.find('}').filter(|end| *end > 0) {
                match hole(&brace[1..end], offset + 1) {
                    Ok(part) => parts.push(part),
                    Err(problem) => problems.push(problem),
                }
                &brace[end + 1..]
            } else {
                problems.push(lone_brace(brace, offset));
                &brace[1..]
            };
        }
        push_text(&mut parts, rest);
        if problems.is_empty() { Ok(Self(parts)) } else { Err(problems) }
    }

    /// The columns it shows.
    pub fn columns(&self) -> ColumnSet {
        self.0
            .iter()
            .filter_map(|part| match part {
                Part::Column { column, .. } => Some(*column),
                Part::Text(_) => None,
            })
            .collect()
    }

    /// The message for a row.
    pub fn fill(&self, row: &Facts) -> String {
        let mut message = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => message.push_str(text),
                Part::Column { column, decimals } => show(&mut message, *column, row.value(*column), *decimals),
            }
        }
        message
    }
}

fn lone_brace(brace: &str, offset: usize) -> TemplateProblem {
    let (message, hint) = if brace.starts_with('{') {
        ("`{` is not closed", "write `{column}`, or `{{` for a brace")
    } else {
        ("`}` closes nothing", "write `}}` for a brace")
    };
    TemplateProblem { offset, message: message.into(), hint: Some(hint.into()) }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        Some(Part::Text(last)) => last.push_str(text),
        _ if text.is_empty() => {}
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

/// `speed_kmh` or `speed_kmh:.0`.
fn hole(inside: &str, offset: usize) -> Result<Part, TemplateProblem> {
    let (name, format) = inside.split_once(':').map_or((inside, None), |(name, format)| (name, Some(format)));
    let Some(column) = Column::named(name.trim()) else {
        let hint = nearest(name.trim(), Column::all().map(Column::name)).map(|near| format!("did you mean `{near}`?"));
        return Err(TemplateProblem { offset, message: format!("unknown column `{name}` in the message"), hint });
    };
    let Some(format) = format else { return Ok(Part::Column { column, decimals: None }) };
    let format_offset = offset + name.len() + 1;
    let decimals = format.strip_prefix('.').and_then(|digits| digits.parse().ok()).filter(|n| *n <= MOST_DECIMALS);
    if decimals.is_none() {
        let message = format!("unknown format `{format}` in the message");
        let hint = format!("`.0` to `.{MOST_DECIMALS}` give that many digits after the point");
        return Err(TemplateProblem { offset: format_offset, message, hint: Some(hint) });
    }
    if !matches!(column.spec().kind, Kind::Float | Kind::Int) {
        let message = format!("`{name}` is no number and takes no format");
        return Err(TemplateProblem { offset: format_offset, message, hint: Some(format!("write `{{{name}}}`")) });
    }
    Ok(Part::Column { column, decimals })
}

/// What is said of a column of which nothing is known.
fn unknown(column: Column) -> &'static str {
    match column.name() {
        "road_name" | "settled_road_name" => "a road without a name",
        "permit_id" | "manifest_id" | "route_id" | "place_id" | "place_kind" => "none",
        _ => "unknown",
    }
}

fn show(message: &mut String, column: Column, value: Value<'_>, decimals: Option<u8>) {
    let written = match (value, decimals) {
        (Value::Null, _) => message.write_str(unknown(column)),
        (Value::Float(number), _) if !number.is_finite() => message.write_str(unknown(column)),
        (Value::Float(number), Some(decimals)) => write!(message, "{:.*}", usize::from(decimals), number + 0.0),
        (Value::Float(number), None) => write!(message, "{number}"),
        (Value::Int(number), Some(decimals)) => write!(message, "{:.*}", usize::from(decimals), number as f64),
        (Value::Int(number), None) => write!(message, "{number}"),
        (Value::Text(text), _) => message.write_str(text),
        (Value::Flag(flag), _) => write!(message, "{flag}"),
        (Value::Time(time), _) => write!(message, "{time}"),
        (Value::TextList(list), _) => message.write_str(&list.join(", ")),
    };
    debug_assert!(written.is_ok(), "writing to a string does not fail");
}
