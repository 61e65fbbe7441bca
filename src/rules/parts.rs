//! A predicate taken apart, for those who want to see why it holds or not.

use super::{
    RuleErrors,
    compile::{self, Compiler},
    evaluate::Program,
};
use crate::model::{Column, Facts, Verdict};

/// The parts of a predicate that must all hold, as written.
#[derive(Debug, Default)]
pub struct Parts {
    parts: Vec<Part>,
    program: Program,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// On one line.
    pub text: String,
    /// What it reads.
    pub columns: Vec<Column>,
}

impl Parts {
    /// Of a predicate that was checked before.
    ///
    /// # Errors
    /// When it cannot be compiled all the same.
    pub fn of(predicate: &str) -> Result<Self, RuleErrors> {
        let text = predicate.to_owned();
        compile::with_deep_stack(move || {
            let compiler = Compiler::new()?.of_kept();
            let failed = |part: &str| RuleErrors::Evaluate(format!("the part `{part}` does not stand for itself"));
            let (mut parts, mut predicates) = (Vec::new(), Vec::new());
            for part in compile::conjuncts(&text) {
                let predicate = compiler.predicate(part).map_err(|_| failed(part))?;
                let text = part.split_whitespace().collect::<Vec<_>>().join(" ");
                parts.push(Part { text, columns: predicate.columns.iter().collect() });
                predicates.push(predicate);
            }
            Ok(Self { parts, program: Program::of(&predicates)? })
        })
    }

    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter()
    }

    /// What each part says of a row, of whatever kind.
    ///
    /// # Errors
    /// As [`RuleSet::evaluate`](super::RuleSet::evaluate).
    pub fn verdicts(&self, row: &Facts) -> Result<Vec<Verdict>, RuleErrors> {
        let verdicts = self.program.evaluate(std::slice::from_ref(row))?;
        Ok((0..self.parts.len()).map(|part| verdicts.when(part, 0)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_predicate_falls_apart_where_its_parts_must_all_hold() {
        for (predicate, expected) in [
            ("speed_kmh > 60", &["speed_kmh > 60"][..]),
            ("moving and\n  loaded AND not in_sink", &["moving", "loaded", "not in_sink"]),
            ("moving and (loaded or in_sink and moving)", &["moving", "(loaded or in_sink and moving)"]),
            ("moving and loaded or in_sink", &["moving and loaded or in_sink"]),
            ("speed_kmh between 3 and 5 and moving", &["speed_kmh between 3 and 5", "moving"]),
            (
                "case when moving and loaded then true else false end and moving",
                &["case when moving and loaded then true else false end", "moving"],
            ),
            ("road_name = 'a and b' and moving", &["road_name = 'a and b'", "moving"]),
        ] {
            let parts = Parts::of(predicate).unwrap();
            assert_eq!(parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn each_part_says_what_it_says_of_a_row_of_any_kind() {
        let parts = Parts::of("speed_kmh > 60 and loaded and silent_s > 5").unwrap();
        let names: Vec<Vec<&str>> =
            parts.iter().map(|part| part.columns.iter().map(|column| column.name()).collect()).collect();
        assert_eq!(names, [["speed_kmh"], ["loaded"], ["silent_s"]]);
        let row = Facts { row_kind: Some("timer"), speed_kmh: Some(70.0), silent_s: Some(1.0), ..Facts::default() };
        assert_eq!(parts.verdicts(&row).unwrap(), [Verdict::True, Verdict::Unknown, Verdict::False]);
    }
}
