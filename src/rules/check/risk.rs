//! `risk:` read from a file: reasons with weights, and the rule that alerts when they add up.

use super::{Draft, Entry, FileCheck, Found, Node, NodeValue, Position, Rule, Terms, Written, find};
use crate::{
    model::{Severity, Text, limits},
    rules::compile::Predicate,
};

const KEYS: &[&str] = &[
    "id",
    "name",
    "description",
    "levels",
    "reasons",
    "cooldown",
    "inhibited_by",
    "departments",
    "enabled",
    "shadow",
    "labels",
];
const REASON_KEYS: &[&str] = &["id", "name", "weight", "when"];

/// A sheet as read: good only when there were no problems.
pub(in crate::rules) struct Sheet {
    pub rule_id: Text,
    pub weights: Vec<u32>,
    pub reasons: Vec<(Rule, Terms)>,
    /// The gravest first.
    pub levels: Vec<(Severity, u32)>,
}

/// What a rule is given that is not written in its entries.
pub(super) struct Given {
    pub when: Written,
    pub severity: Severity,
    pub cases: Vec<(Severity, Written)>,
}

impl<'a> FileCheck<'a, '_> {
    /// `risk:` of a file, if it has one.
    pub(super) fn risk(&mut self, root: &Node, found: &mut Found<'a>) {
        let NodeValue::Map(entries) = &root.value else { return };
        let Some(node) = find(entries, "risk") else { return };
        let NodeValue::Map(entries) = &node.value else {
            let hint = "write `risk:` with `id`, `levels` and `reasons`";
            return self.say(node.at, format!("expected a sheet of risks, found {}", node.kind()), Some(hint.into()));
        };
        if found.risk.is_some() {
            self.say(node.at, "there is a sheet of risks already", Some("a folder has one".into()));
        }
        let before = self.problems.len();
        self.known_keys(entries, KEYS, &[("thresholds", "levels")], "`risk`");
        let (weights, reasons) = self.reasons(entries, node.at);
        let levels = self.levels(entries, node.at);
        let id = self.id(entries, node.at);
        let given = given(&weights, &reasons, &levels);
        let rule_id = id.as_ref().map(|(id, _)| id.clone()).unwrap_or_default();
        let ready = given.and_then(|given| self.build(entries, node.at, rule_id.clone(), Some(given)));
        let ready = ready.filter(|_| self.problems.len() == before);
        let named = super::relations::named(entries);
        found.drafts.push(Draft { source: self.source, id, named, is_shadow: self.is_shadow(entries), ready });
        found.risk = Some(Sheet { rule_id, weights, reasons, levels });
    }

    fn reasons(&mut self, entries: &[Entry], at: Position) -> (Vec<u32>, Vec<(Rule, Terms)>) {
        let (mut weights, mut reasons) = (Vec::new(), Vec::new());
        let Some(node) = find(entries, "reasons") else {
            let hint = "write `reasons:` with `- { id: no-permit, weight: 40, when: permit_status <> 'valid' }`";
            self.say(at, "`reasons` is missing", Some(hint.into()));
            return (weights, reasons);
        };
        for item in self.list(node, "`reasons`").unwrap_or_default() {
            let NodeValue::Map(fields) = &item.value else {
                self.say(item.at, format!("expected a reason, found {}", item.kind()), None);
                continue;
            };
            self.known_keys(fields, REASON_KEYS, &[("points", "weight")], "a reason");
            if find(fields, "weight").is_none() {
                self.say(item.at, "`weight` is missing", Some("write `weight: 40`".into()));
            }
            let weight = self.count(fields, "weight", 1, limits::RISK_WEIGHT);
            let id = self.id(fields, item.at).map(|(id, _)| id).unwrap_or_default();
            if reasons.iter().any(|(known, _): &(Rule, Terms)| known.id == id) {
                self.say(item.at, format!("the reason `{id}` is there twice"), None);
            }
            if let (Some(weight), Some(reason)) = (weight, self.build(fields, item.at, id, None)) {
                weights.push(weight);
                reasons.push(reason);
            }
        }
        if reasons.len() > limits::RISK_REASONS {
            self.say(node.at, format!("more than {} reasons", limits::RISK_REASONS), None);
        }
        (weights, reasons)
    }

    /// `levels: { minor: 40, major: 70 }`, the gravest first.
    fn levels(&mut self, entries: &[Entry], at: Position) -> Vec<(Severity, u32)> {
        let hint = || Some("write `levels: { minor: 40, major: 70 }`".to_owned());
        let Some(node) = find(entries, "levels") else {
            self.say(at, "`levels` is missing", hint());
            return Vec::new();
        };
        let NodeValue::Map(fields) = &node.value else {
            self.say(node.at, format!("expected severities with their scores, found {}", node.kind()), hint());
            return Vec::new();
        };
        let mut levels = Vec::new();
        for field in fields {
            let severity = self.parse_severity(&field.key, field.key_at);
            let from = self.count(fields, &field.key, 1, limits::RISK_WEIGHT * limits::RISK_REASONS as u32);
            levels.extend(severity.zip(from));
        }
        levels.sort_by_key(|(severity, _)| std::cmp::Reverse(*severity));
        if levels.windows(2).any(|pair| pair[0].1 <= pair[1].1) {
            self.say(node.at, "a graver level must begin at a higher score", None);
        }
        if levels.is_empty() {
            self.say(node.at, "no level", hint());
        }
        levels
    }
}

/// The predicates of the alert: at a source's gate, whether the score reaches each level; elsewhere unknown.
fn given(weights: &[u32], reasons: &[(Rule, Terms)], levels: &[(Severity, u32)]) -> Option<Given> {
    let (lowest, graver) = levels.split_last()?;
    let weighed: Vec<(&Predicate, u32)> =
        reasons.iter().zip(weights).map(|((_, terms), weight)| (&terms.when, *weight)).collect();
    let parts: Vec<String> = reasons
        .iter()
        .zip(weights)
        .map(|((reason, _), weight)| format!("case when {} then {weight} else 0 end", reason.when))
        .collect();
    let at_least = |from: u32| {
        let text = format!("case when source_gate is not null then {} >= {from} end", parts.join(" + "));
        Some(Written { text, predicate: Predicate::weighed(&weighed, from)? })
    };
    let cases = graver.iter().filter_map(|(severity, from)| Some((*severity, at_least(*from)?))).collect();
    Some(Given { when: at_least(lowest.1)?, severity: lowest.0, cases })
}
