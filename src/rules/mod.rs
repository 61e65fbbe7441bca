//! The rules: YAML files in, verdicts over facts out.
//!
//! ```text
//! file.rs (as written) ─▶ check.rs (all errors at once) ─▶ compile.rs (SQL to expressions) ─▶ evaluate.rs (rows to verdicts)
//! ```
//!
//! A rule is an SQL predicate over one row of facts with terms of time, gravity and address. What always holds:
//!
//! - A [`RuleSet`] is immutable, complete and checked: a folder with one error gives no set at all, but every error in it,
//!   each with file, line, column and a hint.
//! - Three-valued: a predicate over what is unknown is unknown, and so is one whose arithmetic fails on a row.
//!   Such failures are counted ([`Verdicts::faults`]) and never stop the others.
//! - The answer for a row depends on that row alone, not on the batch it came in.
//! - Rules stand in the order of their ids, so neither the files' names nor their order matters.
//! - A rule that asks neither `silent_s` nor `row_kind` has no opinion on rows made by the clock.
//! - Only `compile.rs`, `evaluate.rs` and `functions.rs` know DataFusion.
//!
//! At the limits (`model::limits`): larger files, longer or deeper predicates and more rules are refused at load.

mod check;
mod chinese;
mod closed;
mod compile;
mod complete;
mod errors;
mod evaluate;
mod file;
mod functions;
mod message;
mod never;
mod parts;
mod reference;
mod risk;
mod rule;
mod schema;
mod series;
mod set;
mod test;

#[cfg(test)]
mod tests;
mod zones;

pub use compile::{bracketed, looked_up};
pub use complete::{Completed, NotCompleted};
pub use errors::{Problem, RuleErrors, nearest};
pub use evaluate::{Verdicts, ZoneVerdict};
pub use parts::{Part, Parts};
pub use reference::{explain, fact_list, facts_named, reference};
pub use risk::{Risk, RiskSheet};
pub use rule::{Name, Rule};
pub use schema::schema;
pub use set::RuleSet;
pub use test::{Difference, Expected, RegistrySource, TestCase, TestFile, TestOutcome};
