//! Conditions that never hold, whatever a row says: a rule with one sleeps for ever, and nobody notices.
//!
//! A condition is taken apart into the ways in which it may hold; each way asks something of columns. Where every way asks
//! for what cannot be, the condition never holds. Only what is certain is said: whatever is not understood here may hold.

use datafusion::{
    common::ScalarValue,
    logical_expr::{Between, BinaryExpr, Expr, Like, Operator, expr::InList},
};

use super::{closed, functions};
use crate::model::{Column, Kind, RowKind};

/// The least and the greatest value of columns that are bounded by what they mean.
const BOUNDED: &[(&str, f64, f64)] = &[
    ("local_hour", 0.0, 23.0),
    ("local_minute_of_day", 0.0, 1_439.0),
    ("local_weekday", 1.0, 7.0),
    ("heading_deg", 0.0, 360.0),
    ("lat", -90.0, 90.0),
    ("lon", -180.0, 180.0),
    ("settled_lat", -90.0, 90.0),
    ("settled_lon", -180.0, 180.0),
    ("road_confidence", 0.0, 1.0),
];

/// More ways than this are not looked at one by one.
const WAYS: usize = 64;

/// Beyond this a float skips whole numbers.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A part that never holds.
pub(super) struct Objection<'a> {
    /// Where to point.
    pub at: &'a Expr,
    pub message: String,
    pub hint: String,
}

/// The parts that never hold, among those that would have to.
pub(super) fn objections(expr: &Expr) -> Vec<Objection<'_>> {
    let mut found = Vec::new();
    look(expr, &mut found);
    found
}

fn look<'a>(expr: &'a Expr, found: &mut Vec<Objection<'a>>) {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            look(left, found);
            look(right, found);
        }
        Expr::BinaryExpr(BinaryExpr { op: Operator::And, .. }) => {
            let mut parts = Vec::new();
            each_part(expr, &mut parts);
            let before = found.len();
            parts.iter().for_each(|part| look(part, found));
            // What one part says wrongly by itself is told by itself.
            if found.len() == before {
                let mut ways = vec![Way::default()];
                parts.iter().for_each(|part| narrow(&mut ways, ways_of(part, true)));
                found.extend(objection(&ways, None));
            }
        }
        Expr::IsTrue(inner) => look(inner, found),
        // A rule that is off by its condition says so plainly.
        Expr::Literal(..) => {}
        other => found.extend(objection(&ways_of(other, true), Some(other))),
    }
}

/// Why none of these ways can be; `alone` is the whole condition, where it is a single one.
fn objection<'a>(ways: &[Way<'a>], alone: Option<&'a Expr>) -> Option<Objection<'a>> {
    let mut wrong = ways.iter().map(|way| way.objection(alone));
    let first = wrong.next()??;
    wrong.all(|one| one.is_some()).then_some(first)
}

fn each_part<'a>(expr: &'a Expr, parts: &mut Vec<&'a Expr>) {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            each_part(left, parts);
            each_part(right, parts);
        }
        other => parts.push(other),
    }
}

/// What one way of holding asks for at once.
#[derive(Clone, Default)]
struct Way<'a> {
    asked: Vec<(&'a Expr, Demand<'a>)>,
    /// Two expressions, and how the first may stand to the second.
    pairs: Vec<(&'a Expr, &'a Expr, Order)>,
}

/// Which of less, equal and greater are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Order {
    less: bool,
    equal: bool,
    greater: bool,
}

/// What is asked of one expression. The default asks nothing.
#[derive(Clone, Default)]
struct Demand<'a> {
    is_value: bool,
    is_null: bool,
    is_true: bool,
    is_false: bool,
    low: Option<(f64, bool)>,
    high: Option<(f64, bool)>,
    /// It must be one of these.
    one_of: Option<Vec<&'a str>>,
    none_of: Vec<&'a str>,
}

/// A value that an expression is held against.
#[derive(Clone, Copy)]
enum Literal<'a> {
    Number(f64),
    Word(&'a str),
    Flag(bool),
}

/// The ways in which an expression is true, or false. None of them: it never is.
fn ways_of(expr: &Expr, wanted: bool) -> Vec<Way<'_>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            if (*op == Operator::And) == wanted {
                let mut ways = ways_of(left, wanted);
                narrow(&mut ways, ways_of(right, wanted));
                ways
            } else {
                either(ways_of(left, wanted), ways_of(right, wanted))
            }
        }
        Expr::Not(inner) => ways_of(inner, !wanted),
        Expr::IsTrue(inner) if wanted => ways_of(inner, true),
        Expr::IsNotTrue(inner) if !wanted => ways_of(inner, true),
        Expr::IsTrue(inner) | Expr::IsNotTrue(inner) => either(ways_of(inner, false), null(inner)),
        Expr::IsFalse(inner) if wanted => ways_of(inner, false),
        Expr::IsNotFalse(inner) if !wanted => ways_of(inner, false),
        Expr::IsFalse(inner) | Expr::IsNotFalse(inner) => either(ways_of(inner, true), null(inner)),
        Expr::IsNull(inner) | Expr::IsUnknown(inner) => {
            if wanted {
                null(inner)
            } else {
                value(inner)
            }
        }
        Expr::IsNotNull(inner) | Expr::IsNotUnknown(inner) => {
            if wanted {
                value(inner)
            } else {
                null(inner)
            }
        }
        Expr::Between(Between { expr, negated, low, high }) if *negated != wanted => {
            let mut ways = compared(expr, Operator::GtEq, low);
            narrow(&mut ways, compared(expr, Operator::LtEq, high));
            ways
        }
        Expr::Between(Between { expr, low, high, .. }) => {
            either(compared(expr, Operator::Lt, low), compared(expr, Operator::Gt, high))
        }
        Expr::InList(list) => listed(list, list.negated != wanted),
        Expr::Like(like) => alike(like, like.negated != wanted),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let op = if wanted { Some(*op) } else { op.negate() };
            match op {
                Some(op) if Order::of(op).is_some() => compared(left, op, right),
                _ => vec![Way::default()],
            }
        }
        Expr::Literal(ScalarValue::Boolean(flag), _) if *flag == Some(wanted) => vec![Way::default()],
        Expr::Literal(ScalarValue::Boolean(_), _) => Vec::new(),
        other => {
            let mut way = Way::default();
            way.flag(other, wanted);
            if let (Expr::ScalarFunction(call), true) = (other, wanted)
                && call.name() == "array_has"
                && let Some(list) = call.args.first()
            {
                way.known(list);
            }
            vec![way]
        }
    }
}

fn either<'a>(mut left: Vec<Way<'a>>, right: Vec<Way<'a>>) -> Vec<Way<'a>> {
    left.extend(right);
    if left.len() > WAYS { vec![Way::default()] } else { left }
}

/// Holds ways to what another part asks for besides; a part with too many ways asks for nothing.
fn narrow<'a>(ways: &mut Vec<Way<'a>>, others: Vec<Way<'a>>) {
    match others.as_slice() {
        [other] => ways.iter_mut().for_each(|way| way.add(other)),
        others if ways.len() * others.len() > WAYS => {}
        others => {
            let both = |way: &Way<'a>, other| {
                let mut way = way.clone();
                way.add(other);
                way
            };
            *ways = ways.iter().flat_map(|way| others.iter().map(move |other| both(way, other))).collect();
        }
    }
}

fn null(expr: &Expr) -> Vec<Way<'_>> {
    let mut way = Way::default();
    if matches!(expr, Expr::Column(_)) {
        way.of(expr).is_null = true;
    }
    vec![way]
}

fn value(expr: &Expr) -> Vec<Way<'_>> {
    let mut way = Way::default();
    way.known(expr);
    vec![way]
}

fn compared<'a>(left: &'a Expr, op: Operator, right: &'a Expr) -> Vec<Way<'a>> {
    let mut way = Way::default();
    way.known(left);
    way.known(right);
    match (literal(left), literal(right)) {
        (None, Some(value)) => way.held(left, op, value),
        (Some(value), None) => op.swap().into_iter().for_each(|op| way.held(right, op, value)),
        (None, None) => {
            if let Some(order) = Order::of(op) {
                way.order(left, right, order);
            }
        }
        (Some(_), Some(_)) => {}
    }
    vec![way]
}

fn listed(list: &InList, is_in: bool) -> Vec<Way<'_>> {
    if !is_in {
        let mut way = Way::default();
        way.known(&list.expr);
        for item in &list.list {
            if let Some(value @ Literal::Word(_)) = literal(item) {
                way.held(&list.expr, Operator::NotEq, value);
            }
        }
        return vec![way];
    }
    let words: Option<Vec<&str>> = list.list.iter().map(word).collect();
    if let Some(words) = words.filter(|_| is_text(&list.expr)) {
        let mut way = Way::default();
        way.known(&list.expr);
        way.of(&list.expr).one_of = Some(words);
        return vec![way];
    }
    list.list.iter().fold(Vec::new(), |ways, item| either(ways, compared(&list.expr, Operator::Eq, item)))
}

/// `cover like 'op%'`: of a column's few words those that fit.
fn alike(like: &Like, fits: bool) -> Vec<Way<'_>> {
    let mut way = Way::default();
    way.known(&like.expr);
    if let (Some(words), Some(pattern), None) = (words_of(&like.expr), word(&like.pattern), like.escape_char) {
        let folded = |text: &str| if like.case_insensitive { text.to_lowercase() } else { text.to_owned() };
        let is_like = |word: &&&str| is_like(&folded(word), &folded(pattern)) == fits;
        if !pattern.contains('\\') {
            way.of(&like.expr).one_of = Some(words.iter().filter(is_like).copied().collect());
        }
    }
    vec![way]
}

fn is_like(text: &str, pattern: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('%') => {
            let rest = rest.as_str();
            is_like(text, rest) || text.char_indices().any(|(at, c)| is_like(&text[at + c.len_utf8()..], rest))
        }
        Some(wanted) => {
            let mut text = text.chars();
            text.next().is_some_and(|c| wanted == '_' || wanted == c) && is_like(text.as_str(), rest.as_str())
        }
    }
}

impl<'a> Way<'a> {
    fn of(&mut self, expr: &'a Expr) -> &mut Demand<'a> {
        let place = self.asked.iter().position(|(known, _)| *known == expr).unwrap_or_else(|| {
            self.asked.push((expr, Demand::default()));
            self.asked.len() - 1
        });
        &mut self.asked[place].1
    }

    /// Asks that an expression be no NULL, nor any column of which that would make it one.
    fn known(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Column(_) => self.of(expr).is_value = true,
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo,
                right,
            }) => {
                self.known(left);
                self.known(right);
            }
            Expr::Negative(inner) => self.known(inner),
            Expr::Cast(cast) => self.known(&cast.expr),
            Expr::ScalarFunction(call) if ["lower", "upper", "abs", functions::NORMAL_PLATE].contains(&call.name()) => {
                call.args.iter().for_each(|arg| self.known(arg));
            }
            _ => {}
        }
    }

    fn flag(&mut self, expr: &'a Expr, wanted: bool) {
        let demand = self.of(expr);
        demand.is_value = true;
        *(if wanted { &mut demand.is_true } else { &mut demand.is_false }) = true;
    }

    fn held(&mut self, expr: &'a Expr, op: Operator, value: Literal<'a>) {
        match (op, value) {
            (Operator::Eq, Literal::Flag(flag)) => self.flag(expr, flag),
            (Operator::NotEq, Literal::Flag(flag)) => self.flag(expr, !flag),
            (Operator::Eq, Literal::Word(word)) if is_text(expr) => {
                let demand = self.of(expr);
                demand.one_of = Some(meet(demand.one_of.take(), &[word]));
            }
            (Operator::NotEq, Literal::Word(word)) if is_text(expr) => self.of(expr).none_of.push(word),
            (_, Literal::Number(number)) => {
                let demand = self.of(expr);
                if matches!(op, Operator::Eq | Operator::Gt | Operator::GtEq) {
                    demand.raise(number, op != Operator::Gt);
                }
                if matches!(op, Operator::Eq | Operator::Lt | Operator::LtEq) {
                    demand.lower(number, op != Operator::Lt);
                }
            }
            _ => {}
        }
    }

    fn order(&mut self, left: &'a Expr, right: &'a Expr, order: Order) {
        for (known_left, known_right, known) in &mut self.pairs {
            if (*known_left, *known_right) == (left, right) {
                *known = known.and(order);
                return;
            }
            if (*known_left, *known_right) == (right, left) {
                *known = known.and(order.swapped());
                return;
            }
        }
        let order = if left == right { order.and(Order { less: false, equal: true, greater: false }) } else { order };
        self.pairs.push((left, right, order));
    }

    fn add(&mut self, other: &Self) {
        for (expr, demand) in &other.asked {
            self.of(expr).add(demand);
        }
        for (left, right, order) in &other.pairs {
            self.order(left, right, *order);
        }
    }

    fn objection(&self, alone: Option<&'a Expr>) -> Option<Objection<'a>> {
        let own = self.asked.iter().find_map(|(expr, demand)| {
            let hint = demand.objection(expr)?;
            let shown = alone.map_or_else(
                || format!("what is asked of `{}` at once", expr.human_display()),
                |alone| format!("`{}`", alone.human_display()),
            );
            Some(Objection { at: expr, message: format!("{shown} is never true"), hint })
        });
        own.or_else(|| self.of_pairs()).or_else(|| self.of_load()).or_else(|| self.of_rows())
    }

    fn of_pairs(&self) -> Option<Objection<'a>> {
        let (left, right, _) = self.pairs.iter().find(|(.., order)| *order == Order::NONE)?;
        let shown = [left, right].map(|side| side.human_display().to_string());
        let message = if left == right {
            format!("`{}` stands never so to itself: this is never true", shown[0])
        } else {
            format!("what is asked of `{}` and `{}` at once is never true", shown[0], shown[1])
        };
        Some(Objection { at: left, message, hint: "did you mean `or`, or another column?".to_owned() })
    }

    /// `loaded` is told by `load`.
    fn of_load(&self) -> Option<Objection<'a>> {
        let of = |wanted: &str| self.asked.iter().find(|(expr, _)| column(expr) == Some(wanted));
        let ((at, loaded), (_, load)) = (of("loaded")?, of("load")?);
        let meant = match (loaded.is_true, loaded.is_false) {
            (true, _) => closed::LOADED,
            (_, true) => &["empty"],
            _ => return None,
        };
        let fits = |word: &&&str| {
            load.one_of.as_ref().is_none_or(|words| words.contains(word)) && !load.none_of.contains(word)
        };
        let hint = "`loaded` is: load half, full or loaded; leave out one of them";
        (load.is_null || meant.iter().find(fits).is_none()).then(|| Objection {
            at,
            message: "what is asked of `loaded` and `load` at once is never true".to_owned(),
            hint: hint.to_owned(),
        })
    }

    /// What stands in no kind of row together.
    fn of_rows(&self) -> Option<Objection<'a>> {
        let mut left: Vec<(RowKind, Option<&Expr>)> = RowKind::ALL.iter().map(|kind| (*kind, None)).collect();
        for (expr, demand) in &self.asked {
            let Some(name) = column(expr) else { continue };
            let fact = Column::named(name).filter(|_| demand.is_value);
            let may_be = |kind: RowKind| {
                let word = kind.as_str();
                let is_named = name != "row_kind"
                    || demand.one_of.as_ref().is_none_or(|words| words.contains(&word))
                        && !demand.none_of.contains(&word);
                is_named && fact.is_none_or(|fact| kind.may_have(fact))
            };
            for (_, why) in left.iter_mut().filter(|(kind, why)| why.is_none() && !may_be(*kind)) {
                *why = Some(expr);
            }
        }
        let mut why = left.iter().filter_map(|(kind, why)| Some((*kind, column((*why)?)?, (*why)?)));
        let (all, first) = (why.clone().count(), why.next()?);
        if all < RowKind::ALL.len() {
            return None;
        }
        let (_, other, at) = why.find(|(_, name, _)| *name != first.1)?;
        let message = format!("`{}` and `{other}` never stand in one row", first.1);
        let sightings = "what a sensor saw comes in a row of its own, with what is registered of the truck, its permit and manifest";
        let clock = "a row of the clock has only what is registered and what was last known";
        let hint = if [first.1, other].iter().any(|name| name.starts_with("sighting_") || *name == "row_kind") {
            format!("{sightings}: write two rules")
        } else {
            format!("{clock}: write two rules")
        };
        Some(Objection { at, message, hint })
    }
}

impl Order {
    const NONE: Self = Self { less: false, equal: false, greater: false };

    fn of(op: Operator) -> Option<Self> {
        let (less, equal, greater) = match op {
            Operator::Eq => (false, true, false),
            Operator::NotEq => (true, false, true),
            Operator::Lt => (true, false, false),
            Operator::LtEq => (true, true, false),
            Operator::Gt => (false, false, true),
            Operator::GtEq => (false, true, true),
            _ => return None,
        };
        Some(Self { less, equal, greater })
    }

    fn and(self, other: Self) -> Self {
        Self { less: self.less && other.less, equal: self.equal && other.equal, greater: self.greater && other.greater }
    }

    fn swapped(self) -> Self {
        Self { less: self.greater, greater: self.less, ..self }
    }
}

impl<'a> Demand<'a> {
    fn raise(&mut self, number: f64, is_in: bool) {
        let is_more = self.low.is_none_or(|(low, low_in)| number > low || number == low && low_in && !is_in);
        self.low = if is_more { Some((number, is_in)) } else { self.low };
    }

    fn lower(&mut self, number: f64, is_in: bool) {
        let is_less = self.high.is_none_or(|(high, high_in)| number < high || number == high && high_in && !is_in);
        self.high = if is_less { Some((number, is_in)) } else { self.high };
    }

    fn add(&mut self, other: &Self) {
        self.is_value |= other.is_value;
        self.is_null |= other.is_null;
        self.is_true |= other.is_true;
        self.is_false |= other.is_false;
        other.low.into_iter().for_each(|(number, is_in)| self.raise(number, is_in));
        other.high.into_iter().for_each(|(number, is_in)| self.lower(number, is_in));
        if let Some(words) = &other.one_of {
            self.one_of = Some(meet(self.one_of.take(), words));
        }
        self.none_of.extend(&other.none_of);
    }

    /// What to do about it, when it is never so.
    fn objection(&self, expr: &Expr) -> Option<String> {
        if self.is_value && self.is_null {
            return Some("it is not NULL and known at once; did you mean `or`?".to_owned());
        }
        if self.is_true && self.is_false {
            return Some("it is not true and false at once; did you mean `or`?".to_owned());
        }
        self.of_words(expr).or_else(|| self.of_numbers(expr))
    }

    fn of_words(&self, expr: &Expr) -> Option<String> {
        let all = words_of(expr);
        let may_be = self.one_of.as_deref().or(all)?;
        let fits = |word: &&&str| !self.none_of.contains(word) && all.is_none_or(|all| all.contains(word));
        if may_be.iter().any(|word| fits(&word)) {
            return None;
        }
        Some(match all {
            Some(all) => format!("it is one of {}; did you mean `or`, or `in (…)`?", all.join(", ")),
            None => "it is no two words at once; did you mean `or`, or `in (…)`?".to_owned(),
        })
    }

    fn of_numbers(&self, expr: &Expr) -> Option<String> {
        let bounded = column(expr).and_then(|name| BOUNDED.iter().find(|(known, ..)| *known == name));
        let mut held = self.clone();
        if let Some((_, least, most)) = bounded {
            held.raise(*least, true);
            held.lower(*most, true);
        }
        let ((low, low_in), (high, high_in)) = held.low.zip(held.high)?;
        let is_whole = column(expr).and_then(Column::named).is_some_and(|column| column.spec().kind == Kind::Int);
        let is_empty = if is_whole {
            let low = if low_in { low.ceil() } else { low.floor() + 1.0 };
            let high = if high_in { high.floor() } else { high.ceil() - 1.0 };
            low > high
        } else {
            low > high || low == high && !(low_in && high_in)
        };
        is_empty.then(|| match (bounded, self.low.zip(self.high)) {
            (_, Some(((low, _), (high, _)))) if low > high && bounded.is_some() => {
                let name = column(expr).unwrap_or_default();
                format!("{low} is more than {high}; over midnight and the like write `({name} >= {low} or {name} <= {high})`")
            }
            (Some((name, least, most)), _) => format!("`{name}` is {least} to {most}"),
            (None, _) => "no number is that low and that high at once; did you mean `or`?".to_owned(),
        })
    }
}

fn meet<'a>(known: Option<Vec<&'a str>>, words: &[&'a str]) -> Vec<&'a str> {
    match known {
        Some(known) => known.into_iter().filter(|word| words.contains(word)).collect(),
        None => words.to_vec(),
    }
}

fn column(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Column(column) => Some(&column.name),
        _ => None,
    }
}

/// Whether it is a column of text: what is written beside it is the value itself, and no time or number as text.
fn is_text(expr: &Expr) -> bool {
    if let Expr::ScalarFunction(call) = expr
        && call.name() == functions::NORMAL_PLATE
    {
        return true;
    }
    column(expr).and_then(Column::named).is_some_and(|column| column.spec().kind == Kind::Text)
}

fn words_of(expr: &Expr) -> Option<&'static [&'static str]> {
    column(expr).and_then(closed::words)
}

fn word(expr: &Expr) -> Option<&str> {
    match literal(expr) {
        Some(Literal::Word(word)) => Some(word),
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<Literal<'_>> {
    match expr {
        Expr::Literal(ScalarValue::Boolean(Some(flag)), _) => Some(Literal::Flag(*flag)),
        Expr::Literal(value, _) if value.try_as_str().flatten().is_some() => {
            value.try_as_str().flatten().map(Literal::Word)
        }
        _ => number(expr).filter(|number| number.abs() < EXACT).map(Literal::Number),
    }
}

fn number(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(number)), _) => Some(*number as f64),
        Expr::Literal(ScalarValue::UInt64(Some(number)), _) => Some(*number as f64),
        Expr::Literal(ScalarValue::Float64(Some(number)), _) => Some(*number),
        // To Arrow -0.0 is less than 0.0.
        Expr::Negative(inner) => number(inner).map(|number| -number).filter(|number| *number != 0.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::{
        prelude::*,
        test_runner::{Config, TestRunner},
    };

    use super::*;
    use crate::{
        model::{Facts, Verdict},
        rules::{
            RuleErrors,
            compile::{Compiler, with_deep_stack},
            evaluate::Program,
        },
    };

    /// Parts that meet one another in columns, values and kinds of rows.
    fn any_part() -> impl Strategy<Value = String> {
        let number = prop::sample::select(vec!["0", "5.5", "6", "7", "22", "23", "24", "60", "-1"]);
        let column = prop::sample::select(vec![
            "local_hour",
            "local_weekday",
            "speed_kmh",
            "speed_limit_kmh",
            "speed_kmh - speed_limit_kmh",
            "heading_deg",
            "silent_s",
            "sighting_implied_kmh",
            "coalesce(speed_kmh, 7)",
        ]);
        let op = prop::sample::select(vec!["=", "<>", "<", "<=", ">", ">="]);
        let word =
            prop::sample::select(vec!["open", "closed", "moving", "full", "empty", "half", "report", "anpr", "%"]);
        let text = prop::sample::select(vec!["cover", "load", "row_kind", "sighting_kind", "road_name", "plate"]);
        let flag = prop::sample::select(vec!["moving", "loaded", "array_has(events, 'a')", "local_hour > 6"]);
        let is =
            prop::sample::select(vec!["is true", "is not true", "is false", "is not false", "is null", "is not null"]);
        prop_oneof![
            4 => (column.clone(), op.clone(), number.clone()).prop_map(|(c, op, n)| format!("{c} {op} {n}")),
            1 => (number.clone(), op.clone(), column.clone()).prop_map(|(n, op, c)| format!("{n} {op} {c}")),
            2 => (column.clone(), op.clone(), column.clone()).prop_map(|(c, op, d)| format!("{c} {op} {d}")),
            1 => (column.clone(), number.clone(), number.clone()).prop_map(|(c, n, m)| format!("{c} between {n} and {m}")),
            1 => (column.clone(), number.clone(), number).prop_map(|(c, n, m)| format!("{c} not in ({n}, {m})")),
            3 => (text.clone(), op, word.clone()).prop_map(|(t, op, w)| format!("{t} {op} '{w}'")),
            1 => (text.clone(), word.clone(), word.clone()).prop_map(|(t, w, v)| format!("{t} in ('{w}', '{v}')")),
            1 => (text.clone(), word.clone()).prop_map(|(t, w)| format!("{t} like '{}%'", &w[..1])),
            1 => (text, is.clone()).prop_filter_map("no flag", |(t, is)| is.contains("null").then(|| format!("{t} {is}"))),
            2 => (flag.clone(), is).prop_map(|(f, is)| format!("({f}) {is}")),
            2 => flag.prop_map(str::to_owned),
        ]
    }

    fn any_condition() -> impl Strategy<Value = String> {
        any_part().prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                4 => prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" and "))),
                2 => prop::collection::vec(inner.clone(), 2..3).prop_map(|parts| format!("({})", parts.join(" or "))),
                1 => inner.prop_map(|part| format!("not ({part})")),
            ]
        })
    }

    /// Rows of every kind at and beside the edges of those parts, each as such a row may be.
    fn rows() -> Vec<Facts> {
        let numbers = [None, Some(0.0), Some(5.5), Some(6.0), Some(6.5), Some(7.0), Some(22.0), Some(60.0), Some(61.0)];
        let flags = [None, Some(true), Some(false)];
        // Steps that share no factor go through many mixtures.
        let row = |n: usize| {
            let number = |step: usize| numbers[n / step % numbers.len()];
            let load = [None, Some("empty"), Some("half"), Some("full")][n / 5 % 4];
            let events: &[Arc<str>] = if n.is_multiple_of(2) { &[] } else { &["a".into()] };
            let mut row = Facts {
                local_hour: Some([0, 5, 6, 7, 22, 23][n / 2 % 6]),
                local_weekday: Some(1 + n as i64 % 7),
                plate: Some(["open", "moving", "%"][n % 3].into()),
                ..Facts::default()
            };
            match n % 7 {
                0 => {
                    row.row_kind = Some("timer");
                    row.silent_s = number(1);
                    (row.load, row.loaded) = (load, load.map(|load| load != "empty"));
                }
                1 => {
                    row.row_kind = Some("sighting");
                    row.sighting_kind = [None, Some("anpr"), Some("wash")][n / 3 % 3];
                    row.sighting_implied_kmh = number(2);
                }
                _ => {
                    row.row_kind = Some("report");
                    (row.speed_kmh, row.speed_limit_kmh, row.heading_deg) = (number(1), number(11), number(4));
                    row.cover = [None, Some("open"), Some("closed"), Some("moving")][n / 3 % 4];
                    row.moving = flags[n / 7 % 3];
                    row.road_name = [None, Some("open"), Some("half"), Some("%")][n / 13 % 4].map(Into::into);
                    row.events = Some(events.into());
                    (row.load, row.loaded) = (load, load.map(|load| load != "empty"));
                }
            }
            row
        };
        (0..3_000).map(row).collect()
    }

    /// A rule that fires sometimes must never be refused: what is said never to hold holds for no row.
    #[test]
    fn what_is_said_never_to_hold_holds_for_no_row() {
        let count = with_deep_stack(|| {
            let (compiler, rows) = (Compiler::new()?, rows());
            assert!(rows.iter().all(|row| row.astray().is_empty()));
            let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
            let seed = proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha);
            let refused = std::cell::Cell::new(0);
            let mut runner = TestRunner::new_with_rng(config, seed);
            let result = runner.run(&any_condition(), |condition| {
                let Some((expr, predicate)) = compiler.unchecked(&condition) else { return Ok(()) };
                let ways = ways_of(&expr, true);
                if !ways.iter().all(|way| way.objection(None).is_some()) {
                    return Ok(());
                }
                refused.set(refused.get() + 1);
                let verdicts = Program::of(&[predicate]).and_then(|program| program.evaluate(&rows)).unwrap();
                let holds = (0..rows.len()).find(|row| verdicts.when(0, *row) == Verdict::True);
                prop_assert!(holds.is_none(), "{condition} holds for {:?}", holds.map(|row| &rows[row]));
                Ok(())
            });
            result.map_err(|error| RuleErrors::Evaluate(error.to_string()))?;
            Ok(refused.get())
        });
        let count = count.unwrap();
        assert!(count > 40, "only {count} of the conditions were refused: this tests nothing");
    }
}
