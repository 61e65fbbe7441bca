//! JSON Schema of the rule files, for editors.

use serde_json::{Value as Json, json};

use crate::model::{Column, Period, Severity, limits};

/// The JSON Schema (2020-12) of a rule file. Columns and severities are listed from the code, so it cannot fall behind.
pub fn schema() -> Json {
    let severities: Vec<_> = Severity::ALL.iter().map(|severity| severity.as_str()).collect();
    let case: serde_json::Map<String, Json> =
        severities.iter().map(|word| ((*word).to_owned(), json!({ "$ref": "#/$defs/predicate" }))).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "muckwatch rules",
        "type": "object",
        "anyOf": [{ "required": ["rules"] }, { "required": ["mute"] }, { "required": ["risk"] }],
        "additionalProperties": false,
        "properties": {
            "rules": {
                "type": "array", "maxItems": limits::RULES, "items": { "$ref": "#/$defs/rule" },
                "description": "Each is judged for every report of every vehicle.",
            },
            "risk": { "$ref": "#/$defs/risk" },
            "mute": {
                "type": "array", "maxItems": limits::MUTES,
                "description": "Where one of these holds, no rule of the folder says true: it is unknown.",
                "items": {
                    "type": "object", "required": ["when"], "additionalProperties": false,
                    "properties": {
                        "reason": { "type": "string", "description": "For people." },
                        "when": { "$ref": "#/$defs/predicate" },
                    },
                },
            },
        },
        "$defs": {
            "rule": {
                "type": "object",
                "required": ["id"],
                "oneOf": [{ "required": ["when"] }, { "required": ["over", "count"] }],
                "additionalProperties": false,
                "not": { "required": ["for", "count"] },
                "properties": properties(),
            },
            "predicate": {
                "type": ["string", "boolean"],
                "maxLength": limits::PREDICATE_BYTES,
                "description": format!("An SQL predicate over one row of facts; NULL is unknown. Columns: {}.", columns()),
                "examples": [
                    "speed_kmh > speed_limit_kmh * 1.1",
                    "loaded and cover = 'open' and not in_approved_place",
                    "array_has(events, 'fatigue')",
                    "permit_status <> 'valid' and trip_s > 600",
                ],
            },
            "duration": {
                "type": ["string", "integer"],
                "pattern": "^(\\d+d)?(\\d+h)?(\\d+m)?(\\d+s)?(\\d+ms)?$",
                "maximum": 0,
                "minLength": 2,
                "examples": ["500ms", "30s", "10m", "2h", "1d"],
                "description": "Days, hours, minutes, seconds, milliseconds, from large to small, such as 1h30m. At most 366d.",
            },
            "severity_word": {
                "enum": severities, "description": "How grave. A squad is sent for critical and major, grid staff for minor, nobody for a notice.",
            },
            "severity_case": {
                "description": "This grave when the predicate holds.",
                "type": "object", "minProperties": 1, "maxProperties": 1,
                "additionalProperties": false, "properties": case,
            },
            "risk": risk(&severities),
            "rule_id": { "$ref": "#/$defs/rule/properties/id" },
            "column": {
                "description": "A fact by its name.",
                "oneOf": Column::all().map(|column| json!({ "const": column.name(), "description": column.spec().doc })).collect::<Vec<_>>(),
            },
        },
    })
}

/// The sheet of risks before departure.
fn risk(severities: &[&str]) -> Json {
    let of_rule = |key: &str| json!({ "$ref": format!("#/$defs/rule/properties/{key}") });
    let score = json!({ "type": "integer", "minimum": 1, "description": "From this score on." });
    let levels: serde_json::Map<String, Json> =
        severities.iter().map(|word| ((*word).to_owned(), score.clone())).collect();
    json!({
        "type": "object", "required": ["id", "levels", "reasons"], "additionalProperties": false,
        "description": "What speaks against letting a truck depart. At a source's gate the weights of what holds are added up: an alert from the lowest level on. Shown for every truck at any time.",
        "properties": {
            "id": of_rule("id"), "name": of_rule("name"), "description": of_rule("description"),
            "departments": of_rule("departments"), "cooldown": of_rule("cooldown"), "labels": of_rule("labels"),
            "inhibited_by": of_rule("inhibited_by"), "enabled": of_rule("enabled"), "shadow": of_rule("shadow"),
            "levels": {
                "type": "object", "minProperties": 1, "additionalProperties": false, "properties": levels,
                "description": "From which score an alert is how grave.",
            },
            "reasons": {
                "type": "array", "minItems": 1, "maxItems": limits::RISK_REASONS,
                "description": "What is added up, each on its own.",
                "items": {
                    "type": "object", "required": ["id", "weight", "when"], "additionalProperties": false,
                    "properties": {
                        "id": of_rule("id"), "name": of_rule("name"), "when": { "$ref": "#/$defs/predicate" },
                        "weight": {
                            "type": "integer", "minimum": 1, "maximum": limits::RISK_WEIGHT,
                            "description": "What it adds to the score.",
                        },
                    },
                },
            },
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
        "description": { "type": "string", "description": "What the rule is for, and on what its thresholds rest." },
        "departments": {
            "type": "array", "items": text, "uniqueItems": true,
            "description": "Who is told, by code. Any code may be used; a unit of the registry has the one that it works for.",
            "examples": [["urban_mgmt"], ["traffic_police", "housing"]],
        },
        "message": {
            "description": "One text for all languages, or one for each. Columns in braces, `{speed_kmh:.0}` with that many digits; what is unknown is said in words. Default: plate and name.",
            "anyOf": [text, {
                "type": "object", "minProperties": 1, "additionalProperties": false,
                "properties": {
                    "zh": { "type": "string", "description": "In Chinese." },
                    "en": { "type": "string", "description": "In English." },
                },
            }],
        },
        "enabled": { "type": "boolean", "default": true, "description": "A rule that is not enabled is checked, but judges nothing." },
        "shadow": { "type": "boolean", "default": false, "description": "On trial: its alerts are kept, marked `shadow`, but nobody is told and nothing else is changed by them." },
        "labels": {
            "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] },
            "description": "For whoever reads the alerts; they mean nothing here.",
        },
    })
}

fn terms() -> Json {
    let described =
        |reference: &str, text: &str| json!({ "$ref": format!("#/$defs/{reference}"), "description": text });
    let number = json!({ "type": "integer", "minimum": 1, "maximum": limits::COUNT_HITS });
    let many =
        |text: &str| json!({ "type": "integer", "minimum": 1, "maximum": limits::TALLY_HITS, "description": text });
    let periods: Vec<&str> = Period::ALL.iter().map(|period| period.as_str()).collect();
    json!({
        "when": { "$ref": "#/$defs/predicate" },
        "for": described("duration", "Must hold this long in event time. Default 0s."),
        "min_samples": { "default": 1, "description": "And over this many reports.", "allOf": [number] },
        "max_gap": described("duration", "A longer silence breaks the hold. Default 5m."),
        "max_open": described("duration", "An open alert ends when for so long nothing came that could clear it. Default 24h."),
        "count": {
            "type": "object", "additionalProperties": false,
            "anyOf": [{ "required": ["at_least"] }, { "required": ["vehicles"] }],
            "oneOf": [{ "required": ["within"] }, { "required": ["per"] }],
            "description": "Instead of `for`: so many hits in a window. With a key without `vehicle_id`, or with `over`, hits of many vehicles: the alert is open while the window is full.",
            "properties": {
                "at_least": many("So many hits, or points."),
                "vehicles": many("Or so many vehicles. Only over many."),
                "share": {
                    "type": "number", "exclusiveMinimum": 0, "maximum": 1,
                    "description": "And this share of the vehicles registered for the company. Only with `key: [company_id]`.",
                },
                "within": described("duration", "How long the window is."),
                "at_once": described("severity_word", "A hit as grave as this needs no others. Not over many."),
                "per": { "enum": periods, "description": "A period of the local calendar instead of `within`. Only over many." },
            },
        },
        "over": {
            "description": "Counts alerts of these rules, and not rows; with points, or each as one. An alert found to be false counts no longer.",
            "anyOf": [
                { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/rule_id" } },
                { "type": "object", "minProperties": 1, "additionalProperties": { "type": "integer", "minimum": 1, "maximum": 1_000 } },
            ],
        },
        "incident": {
            "description": "Rules that write the same name share one alert: the first opens it, the others join it while it is open and for `within` (default 10m) after.",
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object", "required": ["name"], "additionalProperties": false,
                    "properties": {
                        "name": { "type": "string", "description": "The same in all rules of the incident." },
                        "within": described("duration", "How long after the alert cleared this rule still joins it. Default 10m."),
                    },
                },
            ],
        },
        "inhibited_by": {
            "type": "array", "items": { "$ref": "#/$defs/rule_id" },
            "description": "While an alert of one of these rules is open, this one opens none.",
        },
        "clear": {
            "type": "object", "additionalProperties": false,
            "description": "Default: not (when), at once.",
            "properties": {
                "when": { "$ref": "#/$defs/predicate" },
                "for": described("duration", "How long it must hold for the alert to clear. Default 0s."),
            },
        },
        "cooldown": described("duration", "No new alert this long after the last one cleared. Default 0s."),
        "key": {
            "type": "array", "items": { "$ref": "#/$defs/column" }, "uniqueItems": true,
            "description": "What one alert is about. Default [vehicle_id]. Only a rule that counts over many does without `vehicle_id`. With `zone_id` the rule is judged for each zone that the truck is in, apart.",
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
