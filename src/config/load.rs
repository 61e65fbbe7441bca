//! From the places where settings stand to one [`Config`].

use std::path::{Path, PathBuf};

use figment::{
    Figment,
    providers::{Format as _, Serialized, Toml},
    value::{Dict, Value},
};
use serde_json::Value as Json;

use super::{
    Config, ConfigError, MqttSource, Problem,
    check::{self, nearest},
};

/// Names the configuration file when no option does; not a key.
pub const FILE_VARIABLE: &str = "MUCKWATCH_CONFIG";

const PREFIX: &str = "MUCKWATCH_";

/// What was typed on the command line; `None` is not typed.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub http: Option<String>,
    pub mqtt: Option<String>,
    pub data: Option<PathBuf>,
    pub registry: Option<PathBuf>,
    pub rules: Option<PathBuf>,
    pub time_zone: Option<String>,
    /// Of `--set`: key and value; it goes before the other options.
    pub set: Vec<(String, String)>,
}

/// The settings, and what is odd about where they came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// For a person; nothing was lost.
    pub warnings: Vec<String>,
    /// Every key in order, with what holds and where it was set.
    pub settings: Vec<Setting>,
}

/// One key as it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub key: String,
    /// As in the configuration file; of a secret only whether it is set.
    pub value: String,
    /// File and line, variable, option, or the defaults.
    pub origin: String,
}

/// What the value of a secret is shown as.
const HIDDEN: &str = "\"(hidden)\"";

/// Settings from one place.
pub(super) struct Layer {
    origin: Origin,
    pub dict: Dict,
}

enum Origin {
    File {
        path: PathBuf,
        text: String,
    },
    /// Names of the variables by key.
    Variables(Vec<(String, String)>),
    /// Names of the options by key.
    Options(Vec<(String, &'static str)>),
    Test,
}

impl Config {
    /// The settings from all places. `variables` are those of the environment, in any order; others than `MUCKWATCH_*` are ignored.
    ///
    /// # Errors
    /// When the file cannot be read, and with every problem found.
    pub fn load(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
        overrides: &Overrides,
    ) -> Result<Loaded, ConfigError> {
        let mut warnings = Vec::new();
        let mut layers = Vec::new();
        if let Some(path) = file {
            let text =
                std::fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?;
            layers.push(Layer::of_toml(path, text)?);
        }
        layers.push(Layer::of_variables(variables, &mut warnings));
        layers.push(Layer::of_overrides(overrides));
        let config = assemble(&layers)?;
        let settings = settings(&config, &layers);
        Ok(Loaded { config, warnings, settings })
    }

    /// The defaults, for work without settings, in a zone.
    ///
    /// # Errors
    /// When nobody knows the zone.
    pub fn for_files(time_zone: &str) -> Result<Self, ConfigError> {
        let overrides = Overrides { time_zone: Some(time_zone.to_owned()), ..Overrides::default() };
        Self::load(None, [], &overrides).map(|loaded| loaded.config)
    }

    /// The defaults with the keys of a JSON object over them; null changes nothing.
    ///
    /// # Errors
    /// With every problem found.
    pub fn of_json(settings: &Json) -> Result<Self, ConfigError> {
        let problem = |found: String| {
            let place = Origin::Test.place("");
            let expected = "an object of settings".to_owned();
            ConfigError::Invalid(vec![Problem { place, key: "settings".into(), found, expected }])
        };
        let dict = match Value::serialize(settings) {
            Ok(Value::Dict(_, dict)) => dict,
            Ok(Value::Empty(..)) => Dict::new(),
            _ => return Err(problem(settings.to_string())),
        };
        assemble(&[Layer { origin: Origin::Test, dict }])
    }
}

/// Merges the layers, checked one by one and then as a whole.
fn assemble(layers: &[Layer]) -> Result<Config, ConfigError> {
    let shape = shape();
    let mut problems = Vec::new();
    for layer in layers {
        check::shape(&layer.dict, &shape, &mut |key, found, expected| {
            problems.push(Problem { place: layer.origin.place(key), key: key.to_owned(), found, expected });
        });
    }
    refuse(problems)?;
    let defaults = Figment::from(Serialized::defaults(Config::default()));
    let figment = layers.iter().fold(defaults, |figment, layer| figment.merge(Serialized::globals(layer.dict.clone())));
    let mut config: Config = figment.extract().map_err(|errors| refused_by_type(errors, layers))?;
    let mut problems = Vec::new();
    let zone = check::values(&config, &mut |key, found, expected| {
        problems.push(Problem { place: place_of(layers, key), key: key.to_owned(), found, expected });
    });
    refuse(problems)?;
    zone.into_iter().for_each(|zone| config.set_zone(zone));
    Ok(config)
}

/// What holds, key by key.
fn settings(config: &Config, layers: &[Layer]) -> Vec<Setting> {
    let Ok(Value::Dict(_, values)) = Value::serialize(config) else { return Vec::new() };
    let setting = |key: String| {
        let value = find(&values, &key).map_or_else(String::new, |value| match value {
            Value::String(_, text) if is_secret(&key) && !text.is_empty() => HIDDEN.to_owned(),
            value => serde_json::to_string(value).unwrap_or_default(),
        });
        Setting { value, origin: place_of(layers, &key), key }
    };
    check::keys(&shape()).into_iter().map(setting).collect()
}

/// Whether nobody but the broker may read the value of a key.
fn is_secret(key: &str) -> bool {
    let name = key.rsplit('.').next().unwrap_or(key);
    ["password", "secret", "token"].iter().any(|word| name.contains(word)) && !name.ends_with("_file")
}

fn refuse(problems: Vec<Problem>) -> Result<(), ConfigError> {
    if problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(problems)) }
}

/// Where the value that counts was set.
fn place_of(layers: &[Layer], key: &str) -> String {
    let plain = key.split('[').next().unwrap_or(key);
    let layer = layers.iter().rev().find(|layer| find(&layer.dict, plain).is_some());
    layer.map_or_else(|| "the defaults".to_owned(), |layer| layer.origin.place(key))
}

/// What serde still refuses once names and kinds are right: words and ranges.
fn refused_by_type(errors: figment::Error, layers: &[Layer]) -> ConfigError {
    let problem = |error: figment::Error| {
        let key = error.path.join(".");
        let (found, expected) = check::by_type(&error.kind);
        Problem { place: place_of(layers, &key), key, found, expected }
    };
    ConfigError::Invalid(errors.into_iter().map(problem).collect())
}

/// Every key with a value of its kind; lists with one entry.
pub(super) fn shape() -> Dict {
    let mut exemplar = Config::default();
    exemplar.mqtt.sources.push(MqttSource::default());
    match Value::serialize(exemplar) {
        Ok(Value::Dict(_, dict)) => dict,
        _ => unreachable!("a struct of plain values becomes a table"),
    }
}

/// The value of a dotted key.
pub(super) fn find<'a>(dict: &'a Dict, key: &str) -> Option<&'a Value> {
    let mut parts = key.split('.');
    let first = dict.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.as_dict()?.get(part))
}

fn insert(dict: &mut Dict, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            dict.insert(key.to_owned(), value);
        }
        Some((table, rest)) => {
            let inner = dict.entry(table.to_owned()).or_insert_with(|| Dict::new().into());
            if let Value::Dict(_, inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

impl Layer {
    fn of_toml(path: &Path, text: String) -> Result<Self, ConfigError> {
        let dict = Toml::from_str(&text).map_err(|error: <Toml as figment::providers::Format>::Error| {
            ConfigError::Syntax { path: path.to_owned(), problem: error.to_string() }
        })?;
        Ok(Self { origin: Origin::File { path: path.to_owned(), text }, dict })
    }

    /// `MUCKWATCH_HTTP`, `MUCKWATCH_MQTT` and `MUCKWATCH_LOG` stand for what the options of that name set.
    fn of_variables(variables: impl IntoIterator<Item = (String, String)>, warnings: &mut Vec<String>) -> Self {
        let shape = shape();
        let mut dict = Dict::new();
        let mut names = Vec::new();
        let mut ours: Vec<(String, String)> =
            variables.into_iter().filter(|(name, _)| name.starts_with(PREFIX) && name != FILE_VARIABLE).collect();
        ours.sort();
        for (name, raw) in ours {
            let key = match name[PREFIX.len()..].to_lowercase().replace("__", ".").as_str() {
                "http" => "http.listen".to_owned(),
                "mqtt" => "mqtt.url".to_owned(),
                "log" => "log.level".to_owned(),
                key => key.to_owned(),
            };
            if matches!(find(&shape, &key), Some(Value::Dict(..)) | None) {
                warnings.push(unknown_variable(&name, &key, &shape));
                continue;
            }
            insert(&mut dict, &key, typed(&shape, &key, &raw));
            names.push((key, name));
        }
        Self { origin: Origin::Variables(names), dict }
    }

    fn of_overrides(overrides: &Overrides) -> Self {
        let Overrides { http, mqtt, data, registry, rules, time_zone, set } = overrides;
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
        let given = [
            ("http.listen", "--http", http.clone()),
            ("mqtt.url", "--mqtt", mqtt.clone()),
            ("data", "--data", path(data)),
            ("registry", "--registry", path(registry)),
            ("rules", "--rules", path(rules)),
            ("time_zone", "--time-zone", time_zone.clone()),
        ];
        let mut dict = Dict::new();
        let mut names = Vec::new();
        for (key, option, value) in given {
            if let Some(value) = value {
                insert(&mut dict, key, Value::from(value));
                names.push((key.to_owned(), option));
            }
        }
        let shape = shape();
        for (key, value) in set {
            insert(&mut dict, key, typed(&shape, key, value));
            names.push((key.clone(), "--set"));
        }
        Self { origin: Origin::Options(names), dict }
    }
}

/// A value that was typed: the text of a number, a flag or a list, unless the key holds a text.
fn typed(shape: &Dict, key: &str, raw: &str) -> Value {
    match find(shape, key) {
        Some(Value::String(..)) => Value::from(raw),
        _ => raw.parse().unwrap_or_else(|never| match never {}),
    }
}

fn unknown_variable(name: &str, key: &str, shape: &Dict) -> String {
    let keys = check::keys(shape);
    let hint = nearest(key, keys.iter().map(String::as_str))
        .map_or(String::new(), |near| format!("; the nearest is {PREFIX}{}", near.replace('.', "__").to_uppercase()));
    format!("{name} names no setting and is ignored{hint}")
}

impl Origin {
    /// Where a key stands, for a person.
    fn place(&self, key: &str) -> String {
        match self {
            Self::File { path, text } => match line_of(text, key) {
                Some(line) => format!("{}:{line}", path.display()),
                None => path.display().to_string(),
            },
            Self::Variables(names) => {
                let name = names.iter().find(|(named, _)| key.starts_with(named.as_str()));
                name.map_or_else(|| "the environment".to_owned(), |(_, name)| name.clone())
            }
            Self::Options(names) => names
                .iter()
                .rev()
                .find(|(named, _)| *named == key)
                .map_or("the command line", |(_, option)| option)
                .into(),
            Self::Test => "settings".to_owned(),
        }
    }
}

/// The line, from 1, at which a key is set: `table.key`, or `table[1].key` for the second entry of a list of tables.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let mut table = String::new();
    let mut entries: Vec<(String, usize)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix("[[").and_then(|rest| rest.split("]]").next()) {
            let seen = entries.iter().filter(|(list, _)| list == name.trim()).count();
            entries.push((name.trim().to_owned(), number));
            table = format!("{}[{seen}].", name.trim());
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            table = format!("{}.", name.trim());
        } else if let Some((name, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            let full = format!("{table}{}", name.trim().replace([' ', '"'], ""));
            let goes_on = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
            if key.strip_prefix(full.as_str()).is_some_and(goes_on) {
                return Some(number + 1);
            }
        }
        let header = table.trim_end_matches('.');
        if line.starts_with('[') && (key == header || header.starts_with(&format!("{key}."))) {
            return Some(number + 1);
        }
    }
    None
}
