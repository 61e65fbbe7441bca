//! muckwatch: a supervision core for muck trucks.
//!
//! Trackers, dashcams and roadside sensors send **reports**. Each report becomes a row of **facts** (where is this truck,
//! on which road, how far from its permitted route, loaded or not, for how long); each **rule** is a predicate over that
//! row; an **alert** is a predicate that held long enough. Alerts are **dispatched** to people.
//!
//! ```text
//!  MQTT / file ─▶ decode ─▶ admit ─▶ journal ─▶ [PUBACK, in order of receipt] ─▶ shard by vehicle
//!                                                                                    │
//!    notify ◀─ dispatch ◀─ commit (SQLite) ◀─ transitions ◀─ alerts ◀─ rules ◀─ facts
//! ```
//!
//! The rooms below are in reading order. What always holds:
//!
//! 1. Nothing in `model`, `spatial`, `facts`, `rules`, `alerts` reads a clock, does I/O, or is `async`; time comes in as a value.
//! 2. A rule never asks an index: the facts already hold the answer.
//! 3. Unknown neither raises nor clears.
//! 4. No PUBACK before the sync of the journal, or of what is put aside; no delete before a delivered send.
//! 5. A bad rule file or registry changes nothing: the old one stays, and it is said.
//! 6. Every report is in the ledger exactly once.
//! 7. Same inputs, same bytes out.
//! 8. Every channel, cache, map and file has a limit, in one place (`model/limits.rs`), with what happens at it.
//!
//! Reading rule files and registry folders from disk happens at the edge of `rules` and `registry`; judging never does.
//! `tests/it/house.rs` holds which room may use which.

pub mod model;
pub mod spatial;
pub mod registry;
pub mod facts;
pub mod rules;
pub mod alerts;
pub mod ingest;
pub mod journal;
pub mod store;
pub mod engine;
pub mod notify;
pub mod command;
pub mod history;
pub mod metrics;
pub mod config;
pub mod server;
pub mod simulate;
pub mod cli;
