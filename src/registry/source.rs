//! Files to rows: tables with a header, GeoJSON collections, JSON rows of the API.

use std::{collections::BTreeMap, fs::File, io::Read as _, path::Path};

use serde::Deserialize;
use serde_json::{Map, Value as Json, value::RawValue};

use super::{
    geometry,
    problem::{Origin, Problem, Problems, RegistryError, is_slip, nearest, quoted},
    row::{RawRow, RowBuilder, unknown_column},
    schema::{Entity, Need, ShapeKind},
};
use crate::model::{Datum, Zone, limits};

/// Rows by entity.
pub(super) type Tables = BTreeMap<Entity, Vec<RawRow>>;

/// The known files of a folder, as bytes, gzip undone. An ending in `.csv` or `.geojson` (`.gz`) that is one slip
/// away from a known name is a problem; other files are none of ours.
pub(super) fn read_dir(dir: &Path, problems: &mut Problems) -> Result<Vec<(Entity, Vec<u8>)>, RegistryError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |cause| RegistryError::Read { path, cause }
    };
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed(dir))? {
        names.push(entry.map_err(failed(dir))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let mut files: Vec<(Entity, Vec<u8>)> = Vec::new();
    for name in names {
        let plain = name.strip_suffix(".gz").unwrap_or(&name);
        let Some(entity) = Entity::ALL.iter().copied().find(|entity| entity.file() == plain) else {
            problems.extend(slip(&name, plain));
            if let Some(workbook) = workbook(&name) {
                problems.warn(workbook);
            }
            continue;
        };
        if files.iter().any(|(other, _)| *other == entity) {
            problems.push(Origin::file(entity.file()).problem(None, "it both plain and as .gz", "one of them"));
            continue;
        }
        let path = dir.join(&name);
        match read_file(&path, plain != name).map_err(failed(&path))? {
            Some(bytes) => files.push((entity, bytes)),
            None => problems.push(too_large(entity)),
        }
    }
    if files.is_empty() && problems.errors().is_empty() {
        let known: Vec<&str> = Entity::ALL.iter().map(|entity| entity.file()).collect();
        let file = dir.display().to_string();
        let workbooks: Vec<&str> = problems.warnings().iter().map(|warning| warning.file.as_str()).collect();
        let beside = if workbooks.is_empty() {
            String::new()
        } else {
            format!(" ({} is not read: save each sheet as \"CSV UTF-8\")", workbooks.join(", "))
        };
        let (found, expected) = (format!("no file of a registry{beside}"), format!("any of {}", known.join(", ")));
        problems.push(Problem { file, found, expected, ..Problem::default() });
    }
    Ok(files)
}

fn too_large(entity: Entity) -> Problem {
    let expected = format!("at most {} bytes", limits::REGISTRY_FILE_BYTES);
    Origin::file(entity.file()).problem(None, "a larger file", expected)
}

/// A file whose name looks like a known one misspelt.
fn slip(name: &str, plain: &str) -> Option<Problem> {
    let (stem, _) = plain.rsplit_once('.').filter(|(_, ending)| matches!(*ending, "csv" | "geojson" | "json"))?;
    let meant = nearest(stem, Entity::ALL.iter().map(|entity| entity.name()))?;
    let entity = Entity::named(&meant)?;
    let (found, expected) = ("an unknown file".to_owned(), "a file of the registry".to_owned());
    Some(Problem { file: name.into(), found, expected, nearest: Some(entity.file().into()), ..Problem::default() })
}

/// A table that is not read as it is.
fn workbook(name: &str) -> Option<Problem> {
    let (stem, ending) = name.rsplit_once('.')?;
    // While it is open, Excel keeps a file of its own beside it.
    let is_workbook =
        matches!(ending.to_ascii_lowercase().as_str(), "xlsx" | "xls" | "xlsm" | "et" | "ods" | "numbers");
    if !is_workbook || stem.starts_with("~$") {
        return None;
    }
    let meant = Entity::named(stem).filter(|entity| !entity.has_shape()).map_or("vehicles.csv", Entity::file);
    let (found, expected) =
        ("a workbook, which is not read".to_owned(), format!("each sheet saved as \"CSV UTF-8\", such as {meant}"));
    Some(Problem { file: name.into(), found, expected, ..Problem::default() })
}

/// The whole file, or `None` when it is larger than we read.
fn read_file(path: &Path, gzip: bool) -> std::io::Result<Option<Vec<u8>>> {
    let bound = limits::REGISTRY_FILE_BYTES as u64;
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    match gzip {
        true => flate2::read::MultiGzDecoder::new(file).take(bound + 1).read_to_end(&mut bytes)?,
        false => file.take(bound + 1).read_to_end(&mut bytes)?,
    };
    Ok((bytes.len() as u64 <= bound).then_some(bytes))
}

/// In what texts are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    #[default]
    Utf8,
    /// GB18030, of which GBK and GB2312 are parts, where a file is no UTF-8: maps come in UTF-8 beside tables that Excel wrote.
    Gbk,
}

impl Encoding {
    /// By its name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "utf-8" | "utf8" => Some(Self::Utf8),
            "gbk" | "gb2312" | "gb18030" => Some(Self::Gbk),
            _ => None,
        }
    }

    /// The text in UTF-8; `None` when nothing is to be done, or the bytes are not in this encoding.
    pub(super) fn decode(self, bytes: &[u8]) -> Option<Vec<u8>> {
        // Short words of GBK may happen to be UTF-8, but then of the scripts between Latin and Arabic, never Chinese.
        let is_utf8 =
            |text: &str| text.is_ascii() || text.starts_with('\u{feff}') || text.chars().any(|c| c > '\u{7ff}');
        if self == Self::Utf8 || std::str::from_utf8(bytes).is_ok_and(is_utf8) {
            return None;
        }
        let text = encoding_rs::GB18030.decode_without_bom_handling_and_without_replacement(bytes)?;
        Some(text.into_owned().into_bytes())
    }
}

/// The rows of one file; times that bear no zone are of `zone`.
pub(super) fn parse(entity: Entity, bytes: &[u8], zone: &Zone, problems: &mut Problems) -> Vec<RawRow> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => {
            let line = bytes[..e.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
            let origin = Origin { line: Some(line), ..Origin::file(entity.file()) };
            let found = format!("the byte {:#04x} that is no UTF-8", bytes[e.valid_up_to()]);
            let expected = match bytes {
                [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "UTF-8; it is UTF-16: save it as \"CSV UTF-8\"",
                _ if Encoding::Gbk.decode(bytes).is_some() => {
                    "UTF-8; it seems to be GBK, as Excel writes it: save it as \"CSV UTF-8\", or import with --encoding gbk"
                }
                _ => "UTF-8",
            };
            problems.push(origin.problem(None, found, expected));
            return Vec::new();
        }
    };
    let rows = match entity.shape() {
        ShapeKind::None => parse_csv(entity, text, zone, problems),
        _ => parse_geojson(entity, text, zone, problems),
    };
    if rows.len() > limits::REGISTRY_ROWS {
        let expected = format!("at most {}", limits::REGISTRY_ROWS);
        problems.push(Origin::file(entity.file()).problem(None, format!("{} rows", rows.len()), expected));
    }
    rows
}

fn parse_csv(entity: Entity, text: &str, zone: &Zone, problems: &mut Problems) -> Vec<RawRow> {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(true).flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let head = Origin { line: Some(1), ..Origin::file(entity.file()) };
    let header: Vec<String> = match reader.headers() {
        Ok(header) => header.iter().map(str::to_owned).collect(),
        Err(e) => {
            problems.push(head.problem(None, e.to_string(), "a header"));
            return Vec::new();
        }
    };
    let before = problems.errors().len();
    check_header(entity, &head, &header, problems);
    if problems.errors().len() > before {
        return Vec::new();
    }
    let is_known: Vec<bool> = header.iter().map(|name| is_column(entity, name)).collect();
    let mut nameless = None;
    let (mut rows, mut lines) = (Vec::new(), LineCount::new(text));
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(e) => {
                problems.push(Origin::file(entity.file()).problem(None, e.to_string(), "a row"));
                break;
            }
        };
        // Tables leave rows of nothing behind what was deleted.
        if record.iter().all(str::is_empty) {
            continue;
        }
        let line = record.position().map(|position| lines.of_record(position.byte()));
        let origin = Origin { line, ..Origin::file(entity.file()) };
        // Tables write empty cells behind the last column.
        let is_longer = record.iter().skip(header.len()).any(|cell| !cell.is_empty());
        if record.len() < header.len() || is_longer {
            let (found, expected) = (format!("{} cells", record.len()), format!("{} as in the header", header.len()));
            problems.push(origin.problem(None, found, expected));
            continue;
        }
        let has_value = |(name, value): (&String, &str)| name.is_empty() && !value.is_empty();
        if nameless.is_none() && header.iter().zip(&record).any(has_value) {
            nameless = Some(origin.clone());
        }
        let mut row = RowBuilder::new(entity, origin, zone, problems);
        let columns = header.iter().zip(&record).zip(&is_known).filter(|(_, is_known)| **is_known);
        columns.for_each(|((column, value), _)| row.set(column, value));
        rows.push(row.finish(None));
    }
    if let Some(origin) = nameless {
        problems.warn(origin.problem(
            None,
            "a value in a column without a name, which is not read",
            "a name in the header",
        ));
    }
    rows
}

fn is_column(entity: Entity, name: &str) -> bool {
    entity.column_names().any(|known| known == name)
}

/// The column that an unknown name is a slip for, among those that are not given.
fn meant(entity: Entity, name: &str, is_given: impl Fn(&str) -> bool) -> Option<&'static str> {
    entity.column_names().find(|known| is_slip(name, known) && !is_given(known))
}

/// A name that is none of ours: what others keep for themselves.
fn foreign(entity: Entity, origin: &Origin, what: &str, name: &str) -> Problem {
    let expected = format!("one of the columns {}", entity.column_names().collect::<Vec<_>>().join(", "));
    let mut problem = origin.problem(None, format!("the {what} {}, which is not read", quoted(name)), expected);
    problem.nearest = nearest(name, entity.column_names());
    problem
}

fn check_header(entity: Entity, origin: &Origin, header: &[String], problems: &mut Problems) {
    for name in header.iter().filter(|name| !name.is_empty() && !is_column(entity, name)) {
        match meant(entity, name, |known| header.iter().any(|given| given == known)) {
            Some(_) => problems.push(unknown_column(entity, origin, name)),
            None => problems.warn(foreign(entity, origin, "column", name)),
        }
    }
    for (index, name) in header.iter().enumerate() {
        if !name.is_empty() && header[..index].contains(name) {
            problems.push(origin.problem(None, format!("the column {name} twice"), "it once"));
        }
    }
    let needed = entity.columns().iter().filter(|column| column.need != Need::Nothing);
    for column in needed.filter(|column| !header.iter().any(|name| name == column.name)) {
        problems.push(origin.problem(None, "a header without it", format!("the column {}", column.name)));
    }
}

#[derive(Deserialize)]
struct Collection<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    datum: Option<Json>,
    #[serde(borrow)]
    features: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Feature<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    properties: Option<Map<String, Json>>,
    #[serde(borrow)]
    geometry: Option<&'a RawValue>,
}

fn parse_geojson(entity: Entity, text: &str, zone: &Zone, problems: &mut Problems) -> Vec<RawRow> {
    let whole = Origin::file(entity.file());
    let collection: Collection = match serde_json::from_str(text) {
        Ok(collection) => collection,
        Err(e) => {
            let origin = Origin { line: Some(e.line().max(1)), ..whole };
            problems.push(origin.problem(None, e.to_string(), "a GeoJSON FeatureCollection"));
            return Vec::new();
        }
    };
    if collection.kind.as_deref() != Some("FeatureCollection") {
        let found = collection.kind.as_deref().map_or("nothing".to_owned(), quoted);
        problems.push(whole.problem(Some("type"), found, "\"FeatureCollection\""));
    }
    let datum = read_datum(collection.datum.as_ref(), &whole, problems);
    let (mut rows, mut extra) = (Vec::new(), Extra::new());
    let mut lines = LineCount::new(text);
    for (index, feature) in collection.features.unwrap_or_default().into_iter().enumerate() {
        let name = (index + 1).to_string();
        let origin = Origin { line: Some(lines.at(feature.get())), feature: Some(name), ..whole.clone() };
        rows.extend(parse_feature(entity, feature.get(), datum, origin, &mut extra, zone, problems));
    }
    for (name, (origin, count)) in extra {
        let mut warning = foreign(entity, &origin, "property", &name);
        if count > 1 {
            warning.found.push_str(&format!(" (in {count} features)"));
        }
        problems.warn(warning);
    }
    // Without a datum nobody knows where the shapes lie.
    if datum.is_some() { rows } else { Vec::new() }
}

/// Properties that are none of ours, with where they were seen first and in how many features.
type Extra = BTreeMap<String, (Origin, usize)>;

/// Names of foreign properties that are told of one file.
const EXTRA_TOLD: usize = 50;

/// Takes out the properties that are none of ours; a slip of the hand stays, to be refused.
fn without_extra(entity: Entity, properties: &mut Map<String, Json>, origin: &Origin, extra: &mut Extra) {
    let is_foreign = |name: &String| {
        !is_column(entity, name) && meant(entity, name, |known| properties.contains_key(known)).is_none()
    };
    let names: Vec<String> = properties.keys().filter(|name| is_foreign(name)).cloned().collect();
    for name in names {
        properties.remove(&name);
        if let Some((_, count)) = extra.get_mut(&name) {
            *count += 1;
        } else if extra.len() < EXTRA_TOLD {
            extra.insert(name, (origin.clone(), 1));
        }
    }
}

/// Counts lines up to slices of one text that come in order.
struct LineCount<'a> {
    text: &'a str,
    offset: usize,
    line: usize,
}

impl<'a> LineCount<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, offset: 0, line: 1 }
    }

    fn at(&mut self, slice: &str) -> usize {
        self.at_offset((slice.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize))
    }

    /// Of a row of a table that the reader found at `byte`: it may stand behind the end of the line before, and empty lines.
    fn of_record(&mut self, byte: u64) -> usize {
        let byte = usize::try_from(byte).unwrap_or(usize::MAX).min(self.text.len());
        let ends = self.text.as_bytes()[byte..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.at_offset(byte + ends)
    }

    fn at_offset(&mut self, offset: usize) -> usize {
        if let Some(between) = self.text.as_bytes().get(self.offset..offset) {
            self.line += between.iter().filter(|byte| **byte == b'\n').count();
            self.offset = offset;
        }
        self.line
    }
}

/// The words for datums. CGCS2000 agrees with WGS-84 to a few centimetres.
const DATUMS: &[&str] = &["wgs84", "gcj02", "bd09", "cgcs2000"];

fn read_datum(written: Option<&Json>, origin: &Origin, problems: &mut Problems) -> Option<Datum> {
    let word = written.and_then(Json::as_str);
    let datum = match word {
        Some("wgs84" | "cgcs2000") => Some(Datum::Wgs84),
        Some("gcj02") => Some(Datum::Gcj02),
        Some("bd09") => Some(Datum::Bd09),
        _ => None,
    };
    if datum.is_none() {
        let found = written.map_or("nothing".to_owned(), Json::to_string);
        let expected = "a top-level \"datum\" of wgs84, gcj02, bd09 or cgcs2000 (geometry without one is refused)";
        let mut problem = origin.problem(Some("datum"), found, expected);
        problem.nearest = word.and_then(|word| nearest(word, DATUMS.iter().copied()));
        problems.push(problem);
    }
    datum
}

fn parse_feature(
    entity: Entity,
    text: &str,
    datum: Option<Datum>,
    mut origin: Origin,
    extra: &mut Extra,
    zone: &Zone,
    problems: &mut Problems,
) -> Option<RawRow> {
    let feature: Feature = match serde_json::from_str(text) {
        Ok(feature) => feature,
        Err(e) => {
            problems.push(origin.problem(None, e.to_string(), "a GeoJSON Feature"));
            return None;
        }
    };
    let mut properties = feature.properties.unwrap_or_default();
    name_feature(entity, &properties, &mut origin);
    without_extra(entity, &mut properties, &origin, extra);
    if feature.kind.as_deref() != Some("Feature") {
        let found = feature.kind.as_deref().map_or("nothing".to_owned(), quoted);
        problems.push(origin.problem(Some("type"), found, "\"Feature\""));
    }
    let shape = read_shape(entity, feature.geometry, datum, &origin, problems);
    Some(build(entity, &properties, shape, origin, zone, problems))
}

fn name_feature(entity: Entity, properties: &Map<String, Json>, origin: &mut Origin) {
    let key = entity.columns().first().and_then(|column| properties.get(column.name)).and_then(cell_text);
    if let (Some(key), Some(feature)) = (key, &mut origin.feature) {
        feature.push_str(&format!(" ({key})"));
    }
}

fn read_shape(
    entity: Entity,
    geometry: Option<&RawValue>,
    datum: Option<Datum>,
    origin: &Origin,
    problems: &mut Problems,
) -> Option<geometry::Shape> {
    let text = geometry.map_or("null", RawValue::get);
    match geometry::read(text, entity.shape(), datum.unwrap_or_default()) {
        Ok((shape, repairs)) => {
            repairs.into_iter().for_each(|(found, done)| problems.warn(origin.problem(Some("geometry"), found, done)));
            Some(shape)
        }
        Err((found, expected)) => {
            problems.push(origin.problem(Some("geometry"), found, expected));
            None
        }
    }
}

fn build(
    entity: Entity,
    properties: &Map<String, Json>,
    shape: Option<geometry::Shape>,
    origin: Origin,
    zone: &Zone,
    problems: &mut Problems,
) -> RawRow {
    let mut texts = Vec::with_capacity(properties.len());
    for (column, value) in properties {
        match cell_text(value) {
            Some(text) => texts.push((column, text)),
            None => {
                let found = quoted(&value.to_string());
                problems.push(origin.problem(Some(column), found, "text, a number, true or false, or a list of texts"));
            }
        }
    }
    let mut row = RowBuilder::new(entity, origin, zone, problems);
    texts.iter().for_each(|(column, text)| row.set(column, text));
    row.finish(shape)
}

/// A property as the text that a table would have in its cell; `None` when it has none.
fn cell_text(value: &Json) -> Option<String> {
    match value {
        Json::Null => Some(String::new()),
        Json::Bool(flag) => Some(flag.to_string()),
        Json::Number(number) => Some(number.to_string()),
        Json::String(text) => Some(text.clone()),
        Json::Array(items) => {
            let words: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            words.map(|words| words.join(" "))
        }
        Json::Object(_) => None,
    }
}

/// The rows that the API was given: objects of columns, with `geometry` and `datum` for entities that have a shape
/// (a GeoJSON Feature with a `datum` is taken as well).
pub(super) fn parse_json(entity: Entity, rows: &[Json], zone: &Zone, problems: &mut Problems) -> Vec<RawRow> {
    let numbered = rows.iter().enumerate();
    numbered.filter_map(|(index, row)| parse_json_row(entity, index + 1, row, zone, problems)).collect()
}

fn parse_json_row(entity: Entity, number: usize, row: &Json, zone: &Zone, problems: &mut Problems) -> Option<RawRow> {
    let mut origin = Origin { feature: Some(number.to_string()), ..Origin::file(entity.name()) };
    let Some(object) = row.as_object() else {
        problems.push(origin.problem(None, quoted(&row.to_string()), "an object of columns"));
        return None;
    };
    let mut columns = match object.get("properties").and_then(Json::as_object) {
        Some(properties) if object.get("type").is_some_and(|kind| kind == "Feature") => properties.clone(),
        _ => object.clone(),
    };
    name_feature(entity, &columns, &mut origin);
    if entity.shape() == ShapeKind::None {
        return Some(build(entity, &columns, None, origin, zone, problems));
    }
    ["geometry", "datum"].iter().for_each(|name| drop(columns.remove(*name)));
    let datum = read_datum(object.get("datum"), &origin, problems);
    let geometry = object.get("geometry").and_then(|geometry| serde_json::value::to_raw_value(geometry).ok());
    let shape = read_shape(entity, geometry.as_deref(), datum, &origin, problems);
    Some(build(entity, &columns, shape, origin, zone, problems))
}
