//! Which of the zones that a truck is in a rule is about: a message names those, and no others.

use datafusion::{
    common::{
        ScalarValue,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    logical_expr::{BinaryExpr, Expr, Operator, expr::ScalarFunction},
};

use crate::model::{Facts, Names, Text};

/// The columns that a zone's kind makes true.
const KINDS: &[(&str, &str)] = &[
    ("in_forbidden", "forbidden"),
    ("crossed_forbidden", "forbidden"),
    ("in_restricted", "restricted"),
    ("in_control", "control"),
    ("in_water", "water"),
    ("in_eco", "eco"),
];
const OPERATING_AREA: &str = "operating_area";

/// The zones that help to make a predicate true: by their kind, a tag or their id. Nothing: it asks for no zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ZonesMeant {
    kinds: Vec<&'static str>,
    tags: Vec<Text>,
    ids: Vec<Text>,
}

impl ZonesMeant {
    pub fn of(predicate: &Expr) -> Self {
        let mut meant = Self::default();
        meant.read(predicate, true);
        meant
    }

    /// Of a row's zones those that are meant. Where none is asked for, all but the areas where trucks may work; these, too, where
    /// there is nothing else. A rule that is judged for each zone means that zone alone.
    pub fn among<'r>(&self, zone_ids: &'r [Text], row: &'r Facts, names: &dyn Names) -> Vec<&'r Text> {
        if let Some(zone_id) = &row.zone_id {
            return zone_ids.iter().filter(|id| *id == zone_id).collect();
        }
        let at = row.event_time.unwrap_or_default();
        let chosen = |is_meant: &dyn Fn(&Text) -> bool| zone_ids.iter().filter(|id| is_meant(id)).collect::<Vec<_>>();
        if *self != Self::default() {
            return chosen(&|id| {
                let zone = names.zone(id, at);
                self.ids.contains(id)
                    || zone.is_some_and(|zone| {
                        self.kinds.contains(&zone.kind) || zone.tags.iter().any(|tag| self.tags.contains(tag))
                    })
            });
        }
        let others = chosen(&|id| names.zone(id, at).is_none_or(|zone| zone.kind != OPERATING_AREA));
        if others.is_empty() { zone_ids.iter().collect() } else { others }
    }

    /// Notes what an expression asks for so that it is true, or false.
    fn read(&mut self, expr: &Expr, wanted: bool) {
        match expr {
            Expr::Column(column) => self.flag(column.name(), wanted),
            Expr::Not(inner) | Expr::IsFalse(inner) | Expr::IsNotTrue(inner) => self.read(inner, !wanted),
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let wanted = match (&**left, &**right) {
                    (Expr::Literal(ScalarValue::Boolean(Some(flag)), _), _)
                    | (_, Expr::Literal(ScalarValue::Boolean(Some(flag)), _)) => match op {
                        Operator::Eq | Operator::IsNotDistinctFrom => wanted == *flag,
                        Operator::NotEq | Operator::IsDistinctFrom => wanted != *flag,
                        _ => wanted,
                    },
                    _ => wanted,
                };
                self.read(left, wanted);
                self.read(right, wanted);
            }
            Expr::Case(case) if case.expr.is_none() => {
                for (when, then) in &case.when_then_expr {
                    let is_false = matches!(&**then, Expr::Literal(ScalarValue::Boolean(Some(false)), _));
                    self.read(when, wanted != is_false);
                    self.read(then, wanted);
                }
                case.else_expr.iter().for_each(|other| self.read(other, wanted));
            }
            Expr::ScalarFunction(call) if wanted && self.listed(call) => {}
            other => {
                let walked = other.apply_children(|child| {
                    self.read(child, wanted);
                    Ok(TreeNodeRecursion::Continue)
                });
                debug_assert!(walked.is_ok(), "the walk itself does not fail");
            }
        }
    }

    fn flag(&mut self, name: &str, wanted: bool) {
        let kind = KINDS.iter().find(|(column, _)| *column == name).map(|(_, kind)| *kind).filter(|_| wanted);
        let area = (name == "outside_operating_area" && !wanted).then_some(OPERATING_AREA);
        self.kinds.extend(kind.or(area));
    }

    /// Whether a call such as `array_has(zone_tags, 'school')` looks something up in a list of zones; notes what.
    fn listed(&mut self, call: &ScalarFunction) -> bool {
        let column = call.args.iter().find_map(|argument| match argument {
            Expr::Column(column) => Some(column.name()),
            _ => None,
        });
        let words = match column {
            Some("zone_ids" | "zones_crossed") => &mut self.ids,
            Some("zone_tags") => &mut self.tags,
            _ => return false,
        };
        for argument in &call.args {
            let walked = argument.apply(|part| {
                if let Expr::Literal(value, _) = part {
                    words.extend(value.try_as_str().flatten().map(Text::from));
                }
                Ok(TreeNodeRecursion::Continue)
            });
            debug_assert!(walked.is_ok(), "the walk itself does not fail");
        }
        true
    }
}
