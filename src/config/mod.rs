//! The settings: what can be set, where it comes from, and what is wrong with it.
//!
//! Later goes before earlier: the defaults, the configuration file, `MUCKWATCH_*` variables (`MUCKWATCH_HTTP__LISTEN` is
//! `http.listen`; `__` goes one table down), options of the command line. `config/muckwatch.toml` holds every key with its default.
//!
//! What always holds: an unknown key is an error that names the nearest one; every problem is reported, not the first;
//! a problem names file and line, variable or option. Only a `MUCKWATCH_*` variable that names no key is let pass with
//! a warning ([`Loaded::warnings`]): orchestrators invent variables from service names.
//!
//! Rooms that have settings of their own define them; this room puts them together.

mod address;
mod check;
mod error;
mod load;
mod sections;
#[cfg(test)]
mod tests;

pub use address::BrokerAddress;
pub use error::{ConfigError, Problem};
pub use load::{FILE_VARIABLE, Loaded, Overrides, Setting};
pub use sections::{Broker, BySeverityS, Config, Dispatch, Http, Log, LogFormat, Mqtt, MqttSource, Notify, Silence};
