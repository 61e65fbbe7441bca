use std::{collections::BTreeMap, path::Path};

use figment::{
    providers::{Format as _, Toml},
    value::{Dict, Value},
};
use serde_json::json;

use super::{check, load::shape, *};

/// The file that documents every key.
const DOCUMENTED: &str = include_str!("../../config/muckwatch.toml");

fn load(toml: &str, variables: &[(&str, &str)], overrides: &Overrides) -> Result<Loaded, ConfigError> {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("muckwatch.toml");
    std::fs::write(&file, toml).expect("written");
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(Some(&file), variables, overrides)
}

/// Every problem, with the folder taken out of the place.
fn problems(toml: &str, variables: &[(&str, &str)], overrides: &Overrides) -> Vec<String> {
    match load(toml, variables, overrides) {
        Ok(_) => Vec::new(),
        Err(ConfigError::Invalid(problems)) => problems
            .iter()
            .map(|problem| {
                let place = Path::new(&problem.place).file_name().unwrap_or_default().to_string_lossy().into_owned();
                Problem { place, ..problem.clone() }.to_string()
            })
            .collect(),
        Err(other) => vec![other.to_string()],
    }
}

fn json_of(config: &Config) -> serde_json::Value {
    serde_json::to_value(config).expect("plain values")
}

#[test]
fn the_documented_file_is_the_defaults_and_has_every_key() {
    let loaded = load(DOCUMENTED, &[], &Overrides::default()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(json_of(&loaded.config), json_of(&Config::default()));
    let documented: Dict = Toml::from_str(DOCUMENTED).expect("TOML");
    let mut missing: Vec<String> = check::keys(&shape());
    missing.retain(|key| super::load::find(&documented, key).is_none());
    // A list without entries has no default to write down: an entry is there as a comment, with each of its keys.
    assert_eq!(missing, ["mqtt.sources"]);
    for line in ["# [[mqtt.sources]]", "# topic =", "# format =", "# datum =", "# utc_offset_h ="] {
        assert!(DOCUMENTED.lines().any(|written| written.starts_with(line)), "{line}");
    }
}

#[test]
fn every_key_is_documented_by_a_comment_above_it() {
    let mut commented = false;
    for (number, line) in DOCUMENTED.lines().enumerate() {
        let is_key = !line.starts_with(['#', '[']) && line.contains('=');
        assert!(!is_key || commented, "line {}: {line}", number + 1);
        // Keys that follow one another may share a comment.
        commented = line.starts_with('#') || (commented && is_key);
    }
}

#[test]
fn later_places_go_before_earlier_ones() {
    let toml = "rules = \"file\"\n[http]\nlisten = \"10.0.0.1:1\"\ntoken_file = \"token\"\n[mqtt]\nurl = \"file:1\"\nprefix = \"city\"\n";
    let variables = [("MUCKWATCH_HTTP", "10.0.0.2:2"), ("MUCKWATCH_MQTT__URL", "variable:2"), ("PATH", "/bin")];
    let overrides = Overrides { mqtt: Some("option:3".into()), ..Overrides::default() };
    let Loaded { config, warnings, .. } = load(toml, &variables, &overrides).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.rules, Path::new("file"));
    assert_eq!(config.http_listen().to_string(), "10.0.0.2:2");
    assert_eq!(config.mqtt_address(), BrokerAddress { host: "option".into(), port: 3, tls: false });
    assert_eq!((config.mqtt.prefix.as_str(), &*config.dispatch().prefix), ("city", "city"));
    assert_eq!(config.data, Path::new("./data"), "not set anywhere");
    assert_eq!(warnings, [] as [String; 0]);
}

#[test]
fn variables_are_read_as_the_kind_of_their_key() {
    let variables = [
        ("MUCKWATCH_MQTT__PASSWORD", "00123"),
        ("MUCKWATCH_MQTT__USERNAME", "true"),
        ("MUCKWATCH_MQTT__CONNECTIONS", "4"),
        ("MUCKWATCH_MQTT__GROUP", "shared"),
        ("MUCKWATCH_BROKER__ENABLED", "true"),
        ("MUCKWATCH_ADMISSION__MAX_HDOP", "7"),
        ("MUCKWATCH_DISPATCH__ANSWER_WITHIN_S__MINOR", "600"),
        ("MUCKWATCH_MQTT__SOURCES", "[{topic=\"owntracks/#\", datum=\"gcj02\"}]"),
        ("MUCKWATCH_CONFIG", "elsewhere.toml"),
        ("MUCKWATCH_DATA", "/var/lib/muckwatch"),
    ];
    let Loaded { config, warnings, .. } = load("", &variables, &Overrides::default()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((config.mqtt.password.as_str(), config.mqtt.username.as_str()), ("00123", "true"));
    assert_eq!((config.mqtt.connections, config.broker.enabled), (4, true));
    assert_eq!(config.admission().max_hdop, 7.0);
    assert_eq!(config.dispatch().answer_within_ms.minor, 600_000);
    assert_eq!(config.mqtt.sources[0].topic, "owntracks/#");
    assert_eq!(config.data, Path::new("/var/lib/muckwatch"));
    assert!(warnings.is_empty(), "{warnings:?}");
    assert!(!format!("{config:?}").contains("00123"), "the password must not be printed");
}

#[test]
fn variables_that_name_nothing_are_said_and_let_pass() {
    let variables = [("MUCKWATCH_HTPP__LISTEN", "x"), ("MUCKWATCH_PORT_8080_TCP_ADDR", "10.1.1.1")];
    let Loaded { warnings, .. } = load("", &variables, &Overrides::default()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        warnings,
        [
            "MUCKWATCH_HTPP__LISTEN names no setting and is ignored; the nearest is MUCKWATCH_HTTP__LISTEN",
            "MUCKWATCH_PORT_8080_TCP_ADDR names no setting and is ignored",
        ]
    );
}

#[test]
fn every_problem_is_said_with_its_place() {
    let none = Overrides::default();
    let cases: &[(&str, &[&str])] = &[
        (
            "rulez = \"x\"",
            &["muckwatch.toml:1: rulez: found an unknown key, expected a known key; the nearest is rules"],
        ),
        (
            "shards = \"one\"\n[http]\nlissten = \"x\"\n[mqtt]\nconnections = 1.5\n",
            &[
                "muckwatch.toml:3: http.lissten: found an unknown key, expected a known key; the nearest is listen",
                "muckwatch.toml:5: mqtt.connections: found 1.5, expected a whole number",
                "muckwatch.toml:1: shards: found \"one\", expected a whole number",
            ],
        ),
        (
            "[htpp]\nlisten = \"\"",
            &["muckwatch.toml:1: htpp: found an unknown key, expected a known key; the nearest is http"],
        ),
        ("http = 3", &["muckwatch.toml:1: http: found 3, expected a table"]),
        (
            "[[mqtt.sources]]\ntopic = \"a\"\n[[mqtt.sources]]\ntopik = \"b\"",
            &[
                "muckwatch.toml:4: mqtt.sources[1].topik: found an unknown key, expected a known key; the nearest is topic",
            ],
        ),
        (
            "[http]\nlisten = \"0.0.0.0:8080\"\nadmin_listen = \"9090\"\n",
            &[
                "muckwatch.toml:3: http.admin_listen: found \"9090\", expected an address and port such as 127.0.0.1:8080",
                "muckwatch.toml:2: http.listen: found \"0.0.0.0:8080\", expected an address of this machine alone such as 127.0.0.1:8080, or http.token_file: whoever reaches this one could read everything and change the registry",
            ],
        ),
        (
            "[http]\nlisten = \"8080\"\n[mqtt]\nurl = \"http://x\"\nconnections = 0",
            &[
                "muckwatch.toml:2: http.listen: found \"8080\", expected an address and port such as 127.0.0.1:8080",
                "muckwatch.toml:4: mqtt.url: found \"http://x\", expected mqtt://host:port, mqtts://host:port or host:port",
                "muckwatch.toml:5: mqtt.connections: found 0, expected 1 to ",
            ],
        ),
        (
            "[log]\nformat = \"xml\"",
            &["muckwatch.toml:2: log.format: found \"xml\", expected one of auto, human, json"],
        ),
        ("language = \"fr\"", &["muckwatch.toml:1: language: found \"fr\", expected one of zh, en"]),
        (
            "[log]\nlevel = \"verbose\"",
            &[
                "muckwatch.toml:2: log.level: found \"verbose\", expected one of off, error, warn, info, debug, trace, or a module",
            ],
        ),
        (
            "[mqtt]\nconnections = 2",
            &[
                "the defaults: mqtt.group: found nothing, expected a name: several connections need a shared subscription",
            ],
        ),
        (
            "[dispatch.answer_within_s]\ncritical = 0",
            &["muckwatch.toml:2: dispatch.answer_within_s.critical: found 0, expected 1 or more"],
        ),
        (
            "[mqtt]\nurl = \"mqtts://x\"\n[[mqtt.sources]]\ntopic = \"a/+/report\"",
            &[
                "the defaults: mqtt.ca_file: found nothing, expected the PEM file of the authorities to trust, since the url is mqtts://",
                "muckwatch.toml:4: mqtt.sources[0].topic: found \"a/+/report\", expected a prefix followed by /#, such as partner/mw/v1/#",
            ],
        ),
        (
            "[journal]\nsegment_bytes = 1",
            &["muckwatch.toml:2: journal.segment_bytes: found 1, expected 4096 to 1073741824"],
        ),
        (
            "[journal]\ncompact_bytes = 67108865",
            &["muckwatch.toml:2: journal.compact_bytes: found 67108865, expected 0 to 67108864"],
        ),
        (
            "[facts]\nzone = \"UTC\"",
            &[
                "muckwatch.toml:2: facts.zone: found an unknown key, expected one of drift_m, leave_speed_kmh, max_accuracy_m, ",
            ],
        ),
        (
            "[mqtt]\nconnections = -1",
            &[
                "muckwatch.toml:2: mqtt.connections: found signed int `-1`, expected a whole number, not negative and not too large",
            ],
        ),
    ];
    for (toml, expected) in cases {
        let found = problems(toml, &[], &none);
        assert_eq!(found.len(), expected.len(), "{toml}: {found:#?}");
        for (found, expected) in found.iter().zip(*expected) {
            assert!(found.starts_with(expected), "{toml}:\n found {found}\n not   {expected}");
        }
    }
    let broken = problems("[http\n", &[], &none);
    assert!(broken[0].contains("line 1"), "{broken:?}");
    let zone = Overrides { time_zone: Some("Asia/Atlantis".into()), ..none };
    let found = problems("", &[("MUCKWATCH_SHARDS", "many")], &zone);
    assert_eq!(found, ["MUCKWATCH_SHARDS: shards: found \"many\", expected a whole number"]);
    let found = problems("", &[], &zone);
    assert_eq!(found, ["--time-zone: time_zone: found \"Asia/Atlantis\", expected an IANA zone such as Asia/Shanghai"]);
}

#[test]
fn settings_of_a_test_are_keys_of_the_configuration() {
    let config = Config::of_json(&json!({ "time_zone": "UTC", "silence": { "tick_s": 10 } })).expect("known keys");
    assert_eq!(config.tick_ms(), 10_000);
    assert!(Config::of_json(&json!(null)).is_ok());
    for bad in [json!(3), json!({ "tick": 3 }), json!({ "silence": { "tick_s": "x" } }), json!({ "time_zone": "X" })] {
        assert!(Config::of_json(&bad).is_err(), "{bad}");
    }
    assert!(Config::for_files("Europe/Athens").is_ok() && Config::for_files("Athens").is_err());
}

#[test]
fn a_setting_is_tried_without_a_file() {
    let set = |pairs: &[(&str, &str)]| Overrides {
        time_zone: Some("Europe/Athens".into()),
        set: pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..Overrides::default()
    };
    let file = "[facts]\nroad_sigma_m = 7\nroad_radius_m = 60";
    let loaded = load(file, &[], &set(&[("facts.road_sigma_m", "8"), ("mqtt.client_id", "1"), ("time_zone", "UTC")]));
    let config = loaded.expect("known keys").config;
    let facts = config.facts();
    assert_eq!((facts.road_sigma_m, facts.road_radius_m, config.mqtt.client_id.as_str()), (8.0, 60.0, "1"));
    assert_eq!(config.time_zone, "UTC", "--set goes before --time-zone");
    for (key, value, expected) in [
        (
            "facts.road_sigma",
            "8",
            "--set: facts.road_sigma: found an unknown key, expected a known key; the nearest is road_sigma_m",
        ),
        ("facts.road_sigma_m", "wide", "--set: facts.road_sigma_m: found \"wide\", expected a number"),
        ("facts", "3", "--set: facts: found 3, expected a table"),
        (
            "shards",
            "-1",
            "--set: shards: found signed int `-1`, expected a whole number, not negative and not too large",
        ),
    ] {
        assert_eq!(problems("", &[], &set(&[(key, value)])), [expected], "{key}={value}");
    }
}

#[test]
fn a_brokers_address_is_read() {
    let read: BTreeMap<&str, Option<(&str, u16, bool)>> = BTreeMap::from([
        ("mqtt://broker:1884", Some(("broker", 1884, false))),
        ("mqtts://broker", Some(("broker", 8883, true))),
        ("broker", Some(("broker", 1883, false))),
        ("127.0.0.1:1883", Some(("127.0.0.1", 1883, false))),
        ("mqtt://[::1]:1885/", Some(("::1", 1885, false))),
        ("[::1]", Some(("::1", 1883, false))),
        ("", None),
        ("mqtt://", None),
        ("broker:", None),
        ("broker:0", None),
        ("broker:99999", None),
        ("ws://broker:80", None),
        ("mqtt://user@broker:1", None),
        ("[::1", None),
        ("::1", None),
    ]);
    for (text, expected) in read {
        let expected = expected.map(|(host, port, tls)| BrokerAddress { host: host.into(), port, tls });
        assert_eq!(text.parse().ok(), expected, "{text:?}");
    }
}

#[test]
fn the_shape_has_a_kind_for_every_key() {
    for key in check::keys(&shape()) {
        let shape = shape();
        let value = super::load::find(&shape, &key).unwrap_or_else(|| panic!("{key}"));
        assert!(!matches!(value, Value::Empty(..)), "{key} has no kind: give it a default");
    }
}

/// A filter takes any word for a module's name and is silent then: `--log verbose` hid everything.
#[test]
fn a_log_level_is_one_of_the_known_words() {
    let none = Overrides::default();
    for level in ["info", "WARN", "off", "info,muckwatch::ingest=debug", " debug , rumqttc=off"] {
        let found = load(&format!("[log]\nlevel = \"{level}\""), &[], &none);
        assert!(found.is_ok(), "{level}: {:?}", found.err());
    }
    for level in ["verbose", "", "inf", "warning", "5", "info,", "muckwatch", "muckwatch=loud", "=debug", "info;debug"]
    {
        let found = problems(&format!("[log]\nlevel = \"{level}\""), &[], &none);
        assert!(found.len() == 1 && found[0].contains("log.level: found"), "{level}: {found:?}");
    }
    let found = problems("[log]\nlevel = \"warning\"", &[], &none);
    assert!(found[0].ends_with("the nearest is warn"), "{found:?}");
}

/// `/mw/v1` and `mw/v1` are different topics; one with a slash at its end is refused, as are wildcards.
#[test]
fn a_prefix_is_taken_as_it_is_or_refused() {
    let none = Overrides::default();
    let load = |prefix: &str| load(&format!("[mqtt]\nprefix = \"{prefix}\""), &[], &none);
    for prefix in ["/mw/v1", "//mw", "mw//v1", "渣土"] {
        assert_eq!(load(prefix).expect("taken").config.dispatch().prefix.as_ref(), prefix);
    }
    for prefix in ["", "/", "mw/v1/", "mw/v1//", "/mw/", "mw/+", "mw/#", "$share/g/mw", "mw\\u0000"] {
        assert!(load(prefix).is_err(), "{prefix}");
    }
}

/// What holds, where it was set, and no password.
#[test]
fn what_holds_is_shown_with_its_origin() {
    let toml = "[mqtt]\nusername = \"mw\"\npassword = \"tops3cret\"\n[[mqtt.sources]]\nformat = \"traccar\"\n";
    let overrides = Overrides { http: Some("127.0.0.1:9".into()), ..Overrides::default() };
    let variables = [("MUCKWATCH_LOG", "debug")];
    let settings = load(toml, &variables, &overrides).unwrap().settings;
    let shown = |key: &str| {
        let setting = settings.iter().find(|setting| setting.key == key).unwrap_or_else(|| panic!("{key}"));
        format!("{} # {}", setting.value, setting.origin.rsplit('/').next().unwrap_or_default())
    };
    assert_eq!(shown("mqtt.username"), "\"mw\" # muckwatch.toml:2");
    assert_eq!(shown("mqtt.password"), "\"(hidden)\" # muckwatch.toml:3");
    assert_eq!(shown("log.level"), "\"debug\" # MUCKWATCH_LOG");
    assert_eq!(shown("http.listen"), "\"127.0.0.1:9\" # --http");
    assert_eq!(shown("silence.tick_s"), "60 # the defaults");
    assert!(shown("mqtt.sources").contains("traccar"), "{}", shown("mqtt.sources"));
    assert!(settings.iter().all(|setting| !setting.value.contains("tops3cret")), "{settings:?}");
    let keys: Vec<&str> = settings.iter().map(|setting| setting.key.as_str()).collect();
    assert_eq!(keys, check::keys(&shape()), "every key, once");
}
