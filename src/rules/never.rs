//! Conditions that never hold, whatever a row says: a rule with one sleeps for ever, and nobody notices.
//!
//! Only what is certain is said: bounds of one column in parts joined by `and`, and values that a column never has.

use std::collections::BTreeMap;

use datafusion::{
    common::ScalarValue,
    logical_expr::{Between, BinaryExpr, Expr, Operator},
};

/// The least and the greatest value of columns that are bounded by what they mean.
const BOUNDED: &[(&str, f64, f64)] = &[
    ("local_hour", 0.0, 23.0),
    ("local_minute_of_day", 0.0, 1_439.0),
    ("local_weekday", 1.0, 7.0),
    ("heading_deg", 0.0, 360.0),
];

/// Why an expression never holds, and what to do; `None` when it may.
pub(super) fn objection(expr: &Expr) -> Option<(String, String)> {
    match expr {
        Expr::Between(Between { expr: of, negated: false, low, high }) => {
            let (column, low, high) = (column(of)?, number(low)?, number(high)?);
            let shown = format!("`{column} between {low} and {high}`");
            if low > high {
                let hint = format!("over midnight and the like write `({column} >= {low} or {column} <= {high})`");
                return Some((format!("{shown} is never true: {low} is more than {high}"), hint));
            }
            Bounds { low: Some((low, true)), high: Some((high, true)), word: None }.objection(column, &shown)
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            // What one part says wrongly by itself is told by itself.
            if let Some(own) = objection(left).or_else(|| objection(right)) {
                return Some(own);
            }
            let mut all = BTreeMap::<&str, Bounds>::new();
            each_part(expr, &mut |column, op, value| {
                all.entry(column).or_default().add(op, value);
            });
            let shown = |column: &str| format!("what is asked of `{column}` at once");
            all.into_iter().find_map(|(column, bounds)| bounds.objection(column, &shown(column)))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (column, op, value) = comparison(left, *op, right)?;
            let mut bounds = Bounds::default();
            bounds.add(op, value);
            bounds.objection(column, &format!("`{}`", expr.human_display()))
        }
        _ => None,
    }
}

/// A value that a column is held against.
#[derive(Clone, Copy)]
enum Value<'a> {
    Number(f64),
    Word(&'a str),
}

/// What several parts ask of one column: bounds, and whether they themselves are allowed.
#[derive(Clone, Default)]
struct Bounds<'a> {
    low: Option<(f64, bool)>,
    high: Option<(f64, bool)>,
    /// A word that it must be, or `Err` when two are asked for.
    word: Option<Result<&'a str, (&'a str, &'a str)>>,
}

impl<'a> Bounds<'a> {
    fn add(&mut self, op: Operator, value: Value<'a>) {
        match (op, value) {
            (Operator::Eq, Value::Word(word)) => {
                self.word = Some(match self.word {
                    Some(Ok(known)) if known != word => Err((known, word)),
                    Some(known) => known,
                    None => Ok(word),
                });
            }
            (Operator::Eq, Value::Number(number)) => {
                self.raise(number, true);
                self.lower(number, true);
            }
            (Operator::Gt, Value::Number(number)) => self.raise(number, false),
            (Operator::GtEq, Value::Number(number)) => self.raise(number, true),
            (Operator::Lt, Value::Number(number)) => self.lower(number, false),
            (Operator::LtEq, Value::Number(number)) => self.lower(number, true),
            _ => {}
        }
    }

    fn raise(&mut self, number: f64, is_in: bool) {
        let is_more = self.low.is_none_or(|(low, low_in)| number > low || number == low && low_in && !is_in);
        self.low = if is_more { Some((number, is_in)) } else { self.low };
    }

    fn lower(&mut self, number: f64, is_in: bool) {
        let is_less = self.high.is_none_or(|(high, high_in)| number < high || number == high && high_in && !is_in);
        self.high = if is_less { Some((number, is_in)) } else { self.high };
    }

    fn objection(mut self, column: &str, shown: &str) -> Option<(String, String)> {
        if let Some(Err((one, other))) = self.word {
            let hint =
                format!("it is not '{one}' and '{other}' at once; did you mean `or`, or `in ('{one}', '{other}')`?");
            return Some((format!("{shown} is never true"), hint));
        }
        let bounded = BOUNDED.iter().find(|(name, ..)| *name == column);
        let hint = bounded.map_or(
            "no number is that low and that high at once; did you mean `or`?".to_owned(),
            |(_, least, most)| format!("`{column}` is {least} to {most}"),
        );
        if let Some((_, least, most)) = bounded {
            self.raise(*least, true);
            self.lower(*most, true);
        }
        let ((low, low_in), (high, high_in)) = self.low.zip(self.high)?;
        (low > high || low == high && !(low_in && high_in)).then(|| (format!("{shown} is never true"), hint))
    }
}

/// Calls `found` with each comparison of a column and a value among the parts joined by `and`.
fn each_part<'a>(expr: &'a Expr, found: &mut impl FnMut(&'a str, Operator, Value<'a>)) {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            each_part(left, found);
            each_part(right, found);
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            if let Some((column, op, value)) = comparison(left, *op, right) {
                found(column, op, value);
            }
        }
        Expr::Between(Between { expr, negated: false, low, high }) => {
            if let (Some(column), Some(low), Some(high)) = (column(expr), number(low), number(high)) {
                found(column, Operator::GtEq, Value::Number(low));
                found(column, Operator::LtEq, Value::Number(high));
            }
        }
        _ => {}
    }
}

/// A column, an operator and a value, whichever stands first.
fn comparison<'a>(left: &'a Expr, op: Operator, right: &'a Expr) -> Option<(&'a str, Operator, Value<'a>)> {
    match (column(left), column(right)) {
        (Some(column), None) => Some((column, op, value(right)?)),
        (None, Some(column)) => Some((column, op.swap()?, value(left)?)),
        _ => None,
    }
}

fn column(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Column(column) => Some(&column.name),
        _ => None,
    }
}

fn value(expr: &Expr) -> Option<Value<'_>> {
    match expr {
        Expr::Literal(value, _) => match value.try_as_str().flatten() {
            Some(word) => Some(Value::Word(word)),
            None => number(expr).map(Value::Number),
        },
        _ => number(expr).map(Value::Number),
    }
}

fn number(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(number)), _) => Some(*number as f64),
        Expr::Literal(ScalarValue::UInt64(Some(number)), _) => Some(*number as f64),
        Expr::Literal(ScalarValue::Float64(Some(number)), _) => Some(*number),
        Expr::Negative(inner) => number(inner).map(|number| -number),
        _ => None,
    }
}
