//! JSON Schema of the rule files, for editors.

use serde_json::{Value as Json, json};

use crate::model::{Column, Severity, limits};

/// The JSON Schema (2020-12) of a rule file. Columns and severities are listed from the code, so it cannot fall behind.
pub fn schema() -> Json {
    let severities: Vec<_> = Severity::ALL.iter().map(|severity| severity.as_str()).collect();
    let case: serde_json::Map<String, Json> =
        severities.iter().map(|word| ((*word).to_owned(), json!({ "$ref": "#/$defs/predicate" }))).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "muckwatch rules",
        "type": "object",
        "required": ["rules"],
        "additionalProperties": false,
        "properties": { "rules": { "type": "array", "maxItems": limits::RULES, "items": { "$ref": "#/$defs/rule" } } },
        "$defs": {
            "rule": {
                "type": "object",
                "required": ["id", "when"],
                "additionalProperties": false,
                "not": { "required": ["for", "count"] },
                "properties": properties(),
            },
            "predicate": {
                "type": ["string", "boolean"],
                "maxLength": limits::PREDICATE_BYTES,
                "description": format!("An SQL predicate over one row of facts; NULL is unknown. Columns: {}.", columns()),
            },
            "duration": {
                "type": ["string", "integer"],
                "pattern": "^(\\d+d)?(\\d+h)?(\\d+m)?(\\d+s)?(\\d+ms)?$",
                "maximum": 0,
                "minLength": 2,
                "examples": ["500ms", "30s", "10m", "2h", "1d"],
            },
            "severity_word": { "enum": severities },
            "severity_case": {
                "type": "object", "minProperties": 1, "maxProperties": 1,
                "additionalProperties": false, "properties": case,
            },
            "column": { "enum": Column::all().map(Column::name).collect::<Vec<_>>() },
        },
    })
}

fn columns() -> String {
    Column::all().map(Column::name).collect::<Vec<_>>().join(", ")
}

fn properties() -> Json {
    let mut all = wording();
    if let (Json::Object(all), Json::Object(terms)) = (&mut all, terms()) {
        all.extend(terms);
    }
    all
}

fn wording() -> Json {
    let text = json!({ "type": "string" });
    json!({
        "id": {
            "type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$", "maxLength": limits::ID_BYTES,
            "description": "Kebab-case, unique over the folder.",
        },
        "name": {
            "description": "The rule's name, or its names by language.",
            "anyOf": [text, { "type": "object", "additionalProperties": text }],
        },
        "description": text,
        "departments": { "type": "array", "items": text, "uniqueItems": true, "description": "Who is told." },
        "message": {
            "type": "string",
            "description": "Columns in braces, `{speed_kmh:.0}` with that many digits; unknown shows as `?`. Default: plate and name.",
        },
        "enabled": { "type": "boolean", "default": true },
        "shadow": { "type": "boolean", "default": false, "description": "Alerts are kept, but nobody is told." },
        "labels": { "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } },
    })
}

fn terms() -> Json {
    let described =
        |reference: &str, text: &str| json!({ "$ref": format!("#/$defs/{reference}"), "description": text });
    let number = json!({ "type": "integer", "minimum": 1, "maximum": limits::COUNT_HITS });
    json!({
        "when": { "$ref": "#/$defs/predicate" },
        "for": described("duration", "Must hold this long in event time. Default 0s."),
        "min_samples": { "$ref": "#/$defs/rule/properties/count/properties/at_least", "default": 1 },
        "max_gap": described("duration", "A longer silence breaks the hold. Default 5m."),
        "count": {
            "type": "object", "required": ["at_least", "within"], "additionalProperties": false,
            "description": "Instead of `for`: so many hits in a sliding window.",
            "properties": { "at_least": number, "within": { "$ref": "#/$defs/duration" } },
        },
        "clear": {
            "type": "object", "additionalProperties": false,
            "description": "Default: not (when), at once.",
            "properties": { "when": { "$ref": "#/$defs/predicate" }, "for": { "$ref": "#/$defs/duration" } },
        },
        "cooldown": described("duration", "No new alert this long after the last one cleared. Default 0s."),
        "key": {
            "type": "array", "items": { "$ref": "#/$defs/column" }, "contains": { "const": "vehicle_id" }, "uniqueItems": true,
            "description": "What one alert is about. Default [vehicle_id].",
        },
        "severity": {
            "description": "A word, or the first case that holds with a word last. Default minor.",
            "anyOf": [
                { "$ref": "#/$defs/severity_word" },
                { "type": "array", "minItems": 1, "maxItems": limits::SEVERITY_CASES,
                  "items": { "anyOf": [{ "$ref": "#/$defs/severity_word" }, { "$ref": "#/$defs/severity_case" }] } },
            ],
        },
    })
}
