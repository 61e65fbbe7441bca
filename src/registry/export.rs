//! Rows to files: what is registered, in the files that an import reads.
//!
//! A file in this form is the same whatever folder the rows came from: every column of the entity, rows in order of their keys, times in
//! UTC, shapes in WGS-84. Importing it and exporting again gives the same bytes.

use std::path::Path;

use serde_json::{Number, Value as Json};

use super::{
    book::{Book, RowVersion},
    geometry::Shape,
    problem::RegistryError,
    schema::Entity,
};

/// Excel takes a file that begins with it for UTF-8.
const MARK: &str = "\u{feff}";

impl Book {
    /// Writes what is registered into a folder, one file for each entity that has rows; how many rows each file has. `excel`: tables begin
    /// with the mark that Excel needs to read Chinese.
    ///
    /// # Errors
    /// [`RegistryError::Occupied`] when the folder already has a file of a registry, SQLite's own, and those of writing.
    pub fn export(&self, dir: &Path, excel: bool) -> Result<Vec<(Entity, usize)>, RegistryError> {
        let mut written = Vec::new();
        let mut files = Vec::new();
        for entity in Entity::ALL {
            let rows = self.registered(*entity)?;
            if !rows.is_empty() {
                files.push((*entity, file(*entity, &rows)));
                written.push((*entity, rows.len()));
            }
        }
        write(dir, &files, excel)?;
        Ok(written)
    }
}

/// Writes an example folder with every file and every column.
///
/// # Errors
/// As [`Book::export`].
pub fn template(dir: &Path, excel: bool) -> Result<(), RegistryError> {
    let files: Vec<(Entity, String)> = Entity::ALL.iter().map(|entity| (*entity, example(*entity))).collect();
    write(dir, &files, excel)
}

fn write(dir: &Path, files: &[(Entity, String)], excel: bool) -> Result<(), RegistryError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |cause| RegistryError::Write { path, cause }
    };
    std::fs::create_dir_all(dir).map_err(failed(dir))?;
    // An older file that stayed beside the new ones would be imported with them.
    let names = Entity::ALL.iter().flat_map(|entity| [entity.file().to_owned(), format!("{}.gz", entity.file())]);
    if let Some(taken) = names.map(|name| dir.join(name)).find(|path| path.exists()) {
        return Err(RegistryError::Occupied(taken.display().to_string()));
    }
    for (entity, text) in files {
        let path = dir.join(entity.file());
        let mark = if excel && !entity.has_shape() { MARK } else { "" };
        std::fs::write(&path, [mark, text].concat()).map_err(failed(&path))?;
    }
    Ok(())
}

/// The file that lists these rows.
fn file(entity: Entity, rows: &[RowVersion]) -> String {
    if entity.has_shape() { geojson(entity, rows) } else { csv(entity, rows) }
}

impl RowVersion {
    /// The text in every column, those of validity last; empty where there is none.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        let own = self.cells.iter().map(|cell| cell.clone().unwrap_or_default());
        let ends = [self.valid.from, self.valid.to].map(|end| end.map_or(String::new(), |end| end.to_string()));
        own.chain(ends)
    }

    /// As an object of columns that the API takes, with geometry and datum where the entity has a shape; without columns that are empty.
    pub fn to_json(&self, entity: Entity) -> Json {
        let mut object = properties(entity, self);
        if let Some(shape) = self.shape(entity) {
            object.push(("datum", "wgs84".into()));
            object.push(("geometry", serde_json::from_str(&shape.to_written()).unwrap_or_default()));
        }
        Json::Object(object.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    fn shape(&self, entity: Entity) -> Option<Shape> {
        Shape::stored(self.geometry.as_deref()?, entity.shape())
    }
}

fn csv(entity: Entity, rows: &[RowVersion]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header: Vec<&str> = entity.column_names().collect();
    // Writing to memory cannot fail, and every record has as many cells as the header.
    _ = writer.write_record(header);
    rows.iter().for_each(|row| _ = writer.write_record(row.texts()));
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}

fn geojson(entity: Entity, rows: &[RowVersion]) -> String {
    let features = rows.iter().map(|row| {
        let properties = properties(entity, row);
        let members: Vec<String> = properties.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let geometry = row.shape(entity).map_or("null".to_owned(), |shape| shape.to_written());
        format!("{{\"type\":\"Feature\",\"properties\":{{{}}},\"geometry\":{geometry}}}", members.join(","))
    });
    let features: Vec<String> = features.collect();
    format!("{{\"type\":\"FeatureCollection\",\"datum\":\"wgs84\",\"features\":[\n{}\n]}}\n", features.join(",\n"))
}

fn properties(entity: Entity, row: &RowVersion) -> Vec<(&'static str, Json)> {
    let cells = entity.column_names().zip(row.texts()).filter(|(_, text)| !text.is_empty());
    cells.map(|(name, text)| (name, typed(name, text))).collect()
}

/// A cell as JSON has it: a number where the column's name bears a unit and the number is written as JSON writes it, so that it reads as
/// the same text again.
fn typed(column: &str, text: String) -> Json {
    let is_measure = ["_m", "_s", "_kg", "_kmh"].iter().any(|unit| column.ends_with(unit));
    let number = || serde_json::from_str::<Number>(&text).ok().filter(|number| number.to_string() == text);
    match text.as_str() {
        "true" | "false" if column == "oneway" => Json::Bool(text == "true"),
        _ => match is_measure.then(number).flatten() {
            Some(number) => Json::Number(number),
            None => Json::String(text),
        },
    }
}

/// A file of the example folder: a small city whose rows name each other, with every column filled somewhere.
fn example(entity: Entity) -> String {
    let text = match entity {
        Entity::Vehicles => include_str!("template/vehicles.csv"),
        Entity::Companies => include_str!("template/companies.csv"),
        Entity::Drivers => include_str!("template/drivers.csv"),
        Entity::Permits => include_str!("template/permits.csv"),
        Entity::Manifests => include_str!("template/manifests.csv"),
        Entity::Blacklist => include_str!("template/blacklist.csv"),
        Entity::Outages => include_str!("template/outages.csv"),
        Entity::Units => include_str!("template/units.csv"),
        Entity::Places => include_str!("template/places.geojson"),
        Entity::Zones => include_str!("template/zones.geojson"),
        Entity::Routes => include_str!("template/routes.geojson"),
        Entity::Roads => include_str!("template/roads.geojson"),
        Entity::Districts => include_str!("template/districts.geojson"),
    };
    text.to_owned()
}
