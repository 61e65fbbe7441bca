//! What is wrong with settings, all of it.

use std::net::SocketAddr;

use figment::{
    error::Kind,
    value::{Dict, Num, Value},
};

use super::{BrokerAddress, Config};
use crate::model::{Zone, limits};

/// Told a key, what was found, what was expected.
type Tell<'a> = &'a mut dyn FnMut(&str, String, String);

/// Holds names and kinds against those of the defaults.
pub(super) fn shape(found: &Dict, known: &Dict, tell: Tell) {
    table(found, known, "", tell);
}

fn table(found: &Dict, known: &Dict, path: &str, tell: Tell) {
    for (name, value) in found {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match known.get(name) {
            Some(like) => kind(value, like, &key, tell),
            None => {
                let expected = match nearest(name, known.keys().map(String::as_str)) {
                    Some(near) => format!("a known key; the nearest is {near}"),
                    None => format!("one of {}", known.keys().cloned().collect::<Vec<_>>().join(", ")),
                };
                tell(&key, "an unknown key".into(), expected);
            }
        }
    }
}

fn kind(value: &Value, like: &Value, key: &str, tell: Tell) {
    match (value, like) {
        (Value::Dict(_, found), Value::Dict(_, known)) => table(found, known, key, tell),
        (Value::Array(_, entries), Value::Array(_, likes)) => {
            let Some(like) = likes.first() else { return };
            for (index, entry) in entries.iter().enumerate() {
                kind(entry, like, &format!("{key}[{index}]"), tell);
            }
        }
        (Value::Num(_, found), Value::Num(_, like)) if is_float(*like) || !is_float(*found) => {}
        (Value::String(..) | Value::Char(..), Value::String(..)) | (Value::Bool(..), Value::Bool(..)) => {}
        _ => tell(key, said(value), expected(like).into()),
    }
}

fn is_float(number: Num) -> bool {
    matches!(number, Num::F32(_) | Num::F64(_))
}

fn said(value: &Value) -> String {
    match value {
        Value::Dict(..) => "a table".into(),
        Value::Array(..) => "a list".into(),
        Value::String(_, text) => format!("{text:?}"),
        Value::Char(_, one) => format!("{one:?}"),
        Value::Bool(_, flag) => flag.to_string(),
        Value::Num(_, number) => {
            let whole = number.to_i128().or_else(|| number.to_u128_lossy().and_then(|large| large.try_into().ok()));
            whole.map_or_else(|| number.to_f64().unwrap_or_default().to_string(), |whole| whole.to_string())
        }
        Value::Empty(..) => "nothing".into(),
    }
}

fn expected(like: &Value) -> &'static str {
    match like {
        Value::String(..) | Value::Char(..) => "a text in quotes",
        Value::Bool(..) => "true or false",
        Value::Num(_, number) if is_float(*number) => "a number",
        Value::Num(..) => "a whole number",
        Value::Dict(..) => "a table",
        Value::Array(..) => "a list of tables",
        Value::Empty(..) => "nothing",
    }
}

/// What serde found and expected.
pub(super) fn by_type(kind: &Kind) -> (String, String) {
    match kind {
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
            let is_unsigned = matches!(expected.as_str(), "u8" | "u16" | "u32" | "u64" | "usize");
            let expected =
                if is_unsigned { "a whole number, not negative and not too large" } else { expected.as_str() };
            (found.to_string(), expected.to_owned())
        }
        Kind::UnknownVariant(found, known) => (format!("{found:?}"), format!("one of {}", known.join(", "))),
        other => (other.to_string(), "what the key's description says".into()),
    }
}

/// Every key that holds a value.
pub(super) fn keys(shape: &Dict) -> Vec<String> {
    let of = |(name, value): (&String, &Value)| match value {
        Value::Dict(_, inner) => keys(inner).iter().map(|key| format!("{name}.{key}")).collect(),
        _ => vec![name.clone()],
    };
    shape.iter().flat_map(of).collect()
}

/// The known name that is most like `name`, if any is like it.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let reach = name.chars().count() / 3 + 1;
    known.map(|one| (distance(name, one), one)).filter(|(far, _)| *far <= reach).min().map(|(_, one)| one)
}

/// How many characters must be put in, taken out or changed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Holds values against each other and against the world; the zone, if it is known.
pub(super) fn values(config: &Config, tell: Tell) -> Option<Zone> {
    let admin = Some(&config.http.admin_listen).filter(|listen| !listen.is_empty());
    let listens = [("http.listen", &config.http.listen), ("broker.listen", &config.broker.listen)];
    for (key, listen) in listens.into_iter().chain(admin.map(|listen| ("http.admin_listen", listen))) {
        if listen.parse::<SocketAddr>().is_err() {
            tell(key, format!("{listen:?}"), "an address and port such as 127.0.0.1:8080".into());
        }
    }
    let is_open = config.http.listen.parse().is_ok_and(|listen: SocketAddr| !listen.ip().is_loopback());
    if is_open && config.http.token_file.as_os_str().is_empty() {
        let expected = "an address of this machine alone such as 127.0.0.1:8080, or http.token_file: whoever reaches this one \
                        could read everything and change the registry";
        tell("http.listen", format!("{:?}", config.http.listen), expected.into());
    }
    if let Some((found, expected)) = bad_level(&config.log.level) {
        tell("log.level", format!("{found:?}"), expected);
    }
    mqtt(config, tell);
    journal(config, tell);
    durations(config, tell);
    if config.shards > limits::SHARDS {
        tell("shards", config.shards.to_string(), format!("0 to {}", limits::SHARDS));
    }
    for (key, path) in [("data", &config.data), ("rules", &config.rules)] {
        if path.as_os_str().is_empty() {
            tell(key, "nothing".into(), "a folder".into());
        }
    }
    let zone = Zone::named(&config.time_zone);
    if zone.is_err() {
        tell("time_zone", format!("{:?}", config.time_zone), "an IANA zone such as Asia/Shanghai".into());
    }
    zone.ok()
}

/// The words of `log.level`.
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// The first part of a log level that is none, and what is expected. A filter takes any word for the name of a module, and is
/// silent then.
fn bad_level(level: &str) -> Option<(&str, String)> {
    let is_level = |word: &str| LEVELS.iter().any(|known| known.eq_ignore_ascii_case(word));
    let is_target = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_:-".contains(c));
    let bad = level.split(',').map(str::trim).find(|part| match part.split_once('=') {
        Some((target, word)) => !is_target(target.trim()) || !is_level(word.trim()),
        None => !is_level(part),
    })?;
    let word = bad.rsplit('=').next().unwrap_or(bad).trim().to_lowercase();
    let near = nearest(&word, LEVELS.iter().copied()).map_or(String::new(), |near| format!("; the nearest is {near}"));
    Some((
        bad,
        format!("one of {}, or a module and one of them such as info,muckwatch::ingest=debug{near}", LEVELS.join(", ")),
    ))
}

fn mqtt(config: &Config, tell: Tell) {
    let mqtt = &config.mqtt;
    if let Err(expected) = mqtt.url.parse::<BrokerAddress>() {
        tell("mqtt.url", format!("{:?}", mqtt.url), expected.into());
    }
    if !(1..=limits::MQTT_CONNECTIONS).contains(&mqtt.connections) {
        tell("mqtt.connections", mqtt.connections.to_string(), format!("1 to {}", limits::MQTT_CONNECTIONS));
    }
    if mqtt.connections > 1 && mqtt.group.is_empty() {
        tell("mqtt.group", "nothing".into(), "a name: several connections need a shared subscription".into());
    }
    if mqtt.group.contains(['/', '+', '#']) {
        tell("mqtt.group", format!("{:?}", mqtt.group), "a name without / + #".into());
    }
    let is_odd = |c: char| matches!(c, '+' | '#' | '$') || c.is_control();
    if mqtt.prefix.is_empty() || mqtt.prefix.contains(is_odd) || mqtt.prefix.ends_with('/') {
        let expected = "the beginning of a topic without a slash at its end and without + # $, such as mw/v1";
        tell("mqtt.prefix", format!("{:?}", mqtt.prefix), expected.into());
    }
    if mqtt.client_id.is_empty() {
        tell("mqtt.client_id", "nothing".into(), "a name that no other client of the broker has".into());
    }
    if !mqtt.password.is_empty() && !mqtt.password_file.as_os_str().is_empty() {
        tell("mqtt.password_file", "a file".into(), "either password or password_file".into());
    }
    if mqtt.cert_file.as_os_str().is_empty() != mqtt.key_file.as_os_str().is_empty() {
        tell("mqtt.cert_file", "one of the two".into(), "cert_file and key_file together, or neither".into());
    }
    let is_tls = mqtt.url.parse().is_ok_and(|address: BrokerAddress| address.tls);
    if is_tls && mqtt.ca_file.as_os_str().is_empty() {
        tell(
            "mqtt.ca_file",
            "nothing".into(),
            "the PEM file of the authorities to trust, since the url is mqtts://".into(),
        );
    }
    for (index, source) in mqtt.sources.iter().enumerate() {
        let prefix = source.topic().strip_suffix("/#").unwrap_or_default();
        if prefix.is_empty() || prefix.contains(['+', '#', '$']) {
            let key = format!("mqtt.sources[{index}].topic");
            tell(&key, format!("{:?}", source.topic), "a prefix followed by /#, such as partner/mw/v1/#".into());
        }
        if !(-12..=14).contains(&source.utc_offset_h) {
            let key = format!("mqtt.sources[{index}].utc_offset_h");
            tell(&key, source.utc_offset_h.to_string(), "-12 to 14".into());
        }
    }
}

fn journal(config: &Config, tell: Tell) {
    let (bytes, sizes) = (config.journal.segment_bytes, limits::SEGMENT_BYTES);
    if !sizes.contains(&bytes) {
        tell("journal.segment_bytes", bytes.to_string(), format!("{} to {}", sizes.start(), sizes.end()));
    }
    let (bytes, most) = (config.journal.compact_bytes, limits::COMPACT_BYTES);
    if bytes > most {
        tell("journal.compact_bytes", bytes.to_string(), format!("0 to {most}"));
    }
    if config.journal.keep_days == 0 {
        tell("journal.keep_days", "0".into(), "1 or more".into());
    }
}

/// Nothing that waits may wait for no time.
fn durations(config: &Config, tell: Tell) {
    let (dispatch, notify) = (config.dispatch(), config.notify());
    let all = [
        ("silence.tick_s", config.tick_ms()),
        ("late.snapshot_s", i64::try_from(config.late().snapshot_s).unwrap_or(i64::MAX)),
        ("dispatch.stale_after_s", dispatch.stale_after_ms),
        ("dispatch.answer_within_s.critical", dispatch.answer_within_ms.critical),
        ("dispatch.answer_within_s.major", dispatch.answer_within_ms.major),
        ("dispatch.answer_within_s.minor", dispatch.answer_within_ms.minor),
        ("dispatch.escalate_after_s.critical", dispatch.escalate_after_ms.critical),
        ("dispatch.escalate_after_s.major", dispatch.escalate_after_ms.major),
        ("dispatch.escalate_after_s.minor", dispatch.escalate_after_ms.minor),
        ("dispatch.dispatch_age_s", dispatch.dispatch_age_ms),
        ("notify.retry_first_s", notify.retry_first_ms),
        ("notify.retry_most_s", notify.retry_most_ms),
    ];
    for (key, ms) in all {
        if ms <= 0 {
            tell(key, "0".into(), "1 or more".into());
        }
    }
}
