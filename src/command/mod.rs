//! Dispatch: every alert becomes an order, and every order finds somebody, or says why not.
//!
//! ```text
//!             ┌──────────── decline, silence past the deadline ───────────┐
//!             ▼                                                           │
//! alert ─▶ waiting ─▶ offered to the nearest unit ─▶ accepted ─▶ on_scene ─▶ resolved (verdict)
//!    │        └──────────────┴─▶ escalated to the department
//!    └─▶ listed (a notice, late data, or too old to send anybody)
//! ```
//!
//! Critical and major alerts go to squads, minor ones to grid staff, notices only to the list. A unit is asked when it belongs
//! to one of the alert's departments, is of the right kind, has reported a position lately, is available, holds no order and no
//! unanswered offer, and was not asked for this order before. Of those the nearest is asked first; where only the district of the
//! alert is known, one of that district; where nothing is known, the department decides at once. Every choice keeps its reason, in
//! words and as data ([`crate::model::Considered`]).
//!
//! What always holds:
//!
//! * The decisions are pure: [`Queue::apply`] takes what happened and the time, and gives back what changed. [`Desk`] writes that
//!   in the same transaction as the alerts it comes from, so that a crash neither loses an order nor sends it twice: ids derive
//!   from the alert's id and the attempt, and an offer is sent only when its row is new.
//! * No unit has two offers or orders at once.
//! * An order never loses a unit to the machine: when its alert ends nobody new is asked, and who was asked or goes is left to it; a
//!   graver one only adds. People decide.
//! * A reply that is late, unknown or said before changes nothing, is kept, and is answered ([`crate::model::ReplyOutcome`]).
//! * What was left to the department is closed by a reply `resolved` of any of its units, or over HTTP. Who gave a verdict may give
//!   another within an hour.
//!
//! Messages (JSON):
//!
//! | topic | when | fields |
//! |---|---|---|
//! | `{prefix}/dispatch/{unit_id}` | a unit is asked | `dispatch_id` `offer_id` `attempt` `purpose` `alert_id` `rule_id` `severity` `vehicle_id` `plate` `message` `lat?` `lon?` `district_id?` `distance_m?` `sent_at` `deadline` |
//! | `{prefix}/dispatch/{unit_id}` | a reply changed nothing | `dispatch_id` `reply_id` `answer` `outcome` `reason` `reason_zh` `answered_at` |
//! | `{prefix}/dispatch/department/{department}` | nobody could be sent | `dispatch_id` `alert_id` `rule_id` `severity` `vehicle_id` `plate` `message` `lat?` `lon?` `district_id?` `purpose` `escalated_at` `reason` `attempts` |
//!
//! At its limits (`model/limits.rs`): beyond `ORDERS_ACTIVE` orders at once the mildest that waits is left to the department for a
//! graver one, else the new one is; of the escalated the newest `ORDERS_ESCALATED` stay at hand, the others in the tables.

mod because;
mod choose;
mod desk;
mod forecast;
mod globe;
mod messages;
mod queue;
mod replies;
mod roster;
mod settings;
#[cfg(test)]
mod tests;

pub use desk::{Desk, News};
pub use forecast::Forecast;
pub use queue::{Effect, Event, Queue};
pub use replies::BY_DEPARTMENT;
pub use roster::{UnitInfo, roster};
pub use settings::{BySeverity, Settings};
