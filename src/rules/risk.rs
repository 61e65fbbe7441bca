//! Risk before departure: weighted predicates that give a score and its reasons.

use super::{Rule, RuleErrors, evaluate::Program};
use crate::model::{Facts, LocalText, Severity, Text, Verdict};

/// Why a truck is a risk, each reason with its weight. The score is the sum of the weights of what holds; what is unknown adds
/// nothing and is named.
#[derive(Debug)]
pub struct RiskSheet {
    /// The rule that its alerts are of.
    pub rule_id: Text,
    pub(super) weights: Vec<u32>,
    /// Each with its id, name and predicate, in the order of the file.
    pub(super) reasons: Vec<Rule>,
    /// From which score, the gravest first.
    pub(super) levels: Vec<(Severity, u32)>,
    pub(super) program: Program,
}

/// What a sheet says of one row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Risk {
    pub score: u32,
    /// The level that the score reaches.
    pub level: Option<Severity>,
    /// Places in [`RiskSheet::reasons`] of what holds, in their order.
    pub reasons: Vec<u16>,
    /// And of what nobody knows.
    pub unknown: Vec<u16>,
}

impl RiskSheet {
    /// Every reason with its weight.
    pub fn reasons(&self) -> impl ExactSizeIterator<Item = (&Rule, u32)> {
        self.reasons.iter().zip(self.weights.iter().copied())
    }

    /// What it says of rows.
    ///
    /// # Errors
    /// When rows don't fit the compiled columns, which is a defect here.
    pub fn assess(&self, rows: &[Facts]) -> Result<Vec<Risk>, RuleErrors> {
        let verdicts = self.program.evaluate(rows)?;
        Ok((0..rows.len()).map(|row| self.sum(|reason| verdicts.when(reason, row))).collect())
    }

    /// What it says of one row, for a person: the score and its reasons.
    pub(super) fn told(&self, row: &Facts) -> LocalText {
        let Some(risk) = self.assess(std::slice::from_ref(row)).ok().and_then(|risks| risks.into_iter().next()) else {
            return LocalText::default();
        };
        let weighed = |index: &u16| (&self.reasons[usize::from(*index)].titles, self.weights[usize::from(*index)]);
        let zh = risk.reasons.iter().map(weighed).map(|(title, weight)| format!("{}（{weight}）", title.zh));
        let en = risk.reasons.iter().map(weighed).map(|(title, weight)| format!("{} ({weight})", title.en));
        LocalText {
            zh: format!("出场前风险 {} 分：{}", risk.score, zh.collect::<Vec<_>>().join("、")),
            en: format!("risk {} before departure: {}", risk.score, en.collect::<Vec<_>>().join(", ")),
        }
    }

    fn sum(&self, verdict: impl Fn(usize) -> Verdict) -> Risk {
        let mut risk = Risk::default();
        for (index, weight) in self.weights.iter().enumerate() {
            match verdict(index) {
                Verdict::True => {
                    risk.score += weight;
                    risk.reasons.push(index as u16);
                }
                Verdict::Unknown => risk.unknown.push(index as u16),
                Verdict::False => {}
            }
        }
        risk.level = self.levels.iter().find(|(_, from)| risk.score >= *from).map(|(severity, _)| *severity);
        risk
    }
}
