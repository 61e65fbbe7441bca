//! Verdicts over time become alerts: one small machine per rule and key, pure and in event time.
//!
//! ```text
//!            when true                 held long enough, cool-down over
//!   (none) ───────────▶ holding ───────────────────────────────────────▶ open ──┐ graver: Raised
//!      ▲                   │ false                                       │  ▲ ───┘
//!      │                   ▼                                             │ cleared long enough: Cleared
//!      └──────────────── cooling ◀───────────────────────────────────────┘
//! ```
//!
//! What always holds:
//!
//! - **Unknown neither raises nor clears.** It stops the clock of a hold: the span from the last report that says true,
//!   over the unknown, to the next that says true is not counted, but the hold goes on. Any number of unknowns between
//!   two trues are one such span.
//! - A hold counts event time between reports that say true; `false` ends it; a span over `max_gap` between two of them
//!   (with unknowns between or not) begins it anew at the later one. `started_at` is the first report of the hold,
//!   `fired_at` the one at which it was complete. Whether the truck stands still does not matter.
//! - With `count`, a hit is a report that says true; false and unknown neither add nor take away. It fires at a hit that
//!   makes the window full, `started_at` being the earliest of the hits that fill it. The hits are spent by the alert. A hit as grave as `at_once` says makes it full alone.
//! - While an alert is open, the clearing predicate has a hold of its own, with the same way with unknowns; `max_gap` does
//!   not break it, or an alert of a truck that reports seldom would never end. A report at which `when` is true begins it
//!   anew, whatever `clear` says. Severity only rises.
//! - Cool-down runs from `cleared_at`. A hold may grow in it; one that is complete fires at the first report that says true
//!   after it. Reports at or before `cleared_at` belong to the cleared alert and begin nothing, so that no two alerts of
//!   a rule and key have one start, and with it one id.
//! - Time never runs backwards in a machine: a report older than the last that counted (a timer row is stamped by the arrival
//!   clock, a report by the device's) counts as of that one.
//! - Rows made by the clock are judged like others by rules that ask for them; to all other rules they are no report at all,
//!   not even an unknown one.
//!
//! Keys: a row has one value of a rule's key. For machines of the same rule under other values of the key (the place that the
//! truck has left) the row says `false` when its verdict is known, else unknown; its clearing verdict is the row's own, or
//! the negation of that when the rule has no `clear`. A NULL in a key is a value of its own, equal to itself.
//!
//! **One incident, one alert.** Rules that share an `incident` share an alert: the first to fire opens it, the others join it while
//! it is open and for a while after, which opens it again. It clears when the last of them has cleared. A rule is `inhibited_by`
//! others of its vehicle: while an alert of theirs is open, what it finds true counts as unknown and the clock of its hold stands.
//!
//! **Tallies** ([`Tallies`]) count over vehicles, or over alerts, and are the only thing here that knows more than one vehicle:
//! one alert for each value of the rule's key, open while the window is full. They count in order of event time, whatever the
//! order of arrival: what comes late is put in its place and what came after it is counted again. A rule of a vehicle that is inhibited by a tally is
//! silent for the vehicles that the tally counts: a thousand terminals that fall silent at once are one alert, and who is
//! still silent when that one has cleared is told then.
//!
//! **Every alert ends.** One for which nothing came for `max_open` (24 hours, unless its rule says otherwise) that could clear it or keep
//! it open is over then: its truck was scrapped, or its terminal is broken. Of a silent truck that is told when no late report can
//! come any more, so that it ends at the same time in whatever order reports arrive. `cleared_because` says so (`max_open`). One
//! of a vehicle that is registered no more ends, too (`deregistered`), and one of a vehicle that never was and is forgotten (`forgotten`).
//!
//! When rules are replaced, machines go on by rule id ([`VehicleAlerts::retain`]); those of rules that went are dropped, and their open
//! alerts end (`rule_removed`): nobody knows any more what would clear them.
//!
//! At the limit of [`MACHINES_PER_VEHICLE`](crate::model::limits::MACHINES_PER_VEHICLE) the oldest machine that only
//! cools goes, else the oldest that only holds; when all are open, nothing new begins until one clears.

mod book;
mod machine;
mod tally;
#[cfg(test)]
mod tests;
mod window;

pub use book::{Judgement, RuleTerms, VehicleAlerts};
pub use machine::{Hold, Machine, Phase, Step};
pub use tally::{Clock, Hit, Tallies};
