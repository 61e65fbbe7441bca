//! From a predicate's text to an expression over facts: parsed, resolved, type-checked, simplified.
//!
//! Stricter than SQL where SQL would guess: text is never compared to a number, `= null` is refused, and only functions
//! that give the same answer for the same row are known.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    thread,
};

use datafusion::{
    arrow::{
        array::{ArrayRef, RecordBatch, new_null_array},
        datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    },
    common::{
        DFSchema, DataFusionError, ScalarValue, SchemaError,
        config::ConfigNonZeroUsize,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    execution::{SessionStateBuilder, session_state::SessionState},
    functions::core::expr_fn::nullif,
    logical_expr::{
        BinaryExpr, Expr, ExprSchemable, Operator, ScalarUDF, Volatility, col, expr::ScalarFunction, lit,
        simplify::SimplifyContext, utils::split_conjunction_owned, when,
    },
    optimizer::simplify_expressions::ExprSimplifier,
    physical_expr::PhysicalExpr,
    prelude::SessionConfig,
    sql::sqlparser::{
        dialect::GenericDialect,
        keywords::Keyword,
        tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Whitespace},
    },
};

use super::{
    RuleErrors, closed,
    errors::nearest,
    functions::{NORMAL, NORMAL_PLATE},
    never,
    zones::ZonesMeant,
};
use crate::model::{Column, ColumnSet, Kind, limits, plate};

/// A predicate that compiled: parts that must all hold, in order.
#[derive(Clone, Debug)]
pub(super) struct Predicate {
    conjuncts: Vec<Expr>,
    /// The columns that it names.
    pub columns: ColumnSet,
    /// The zones that it is about.
    pub zones: ZonesMeant,
}

/// What is wrong with a predicate, at which byte of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PredicateProblem {
    pub offset: usize,
    pub message: String,
    pub hint: Option<String>,
}

/// Compiles predicates over the schema of all facts.
pub(super) struct Compiler {
    state: SessionState,
    schema: DFSchema,
    /// One row of which nothing is known: what fails even on it will always fail.
    nothing_known: RecordBatch,
    /// Whether predicates that were in force once are compiled again: what only an author can mend is no error then.
    is_kept: bool,
}

/// Distinct parts of predicates, each to be evaluated once for all that share it.
#[derive(Default)]
pub(super) struct Slots {
    exprs: Vec<Expr>,
    index: HashMap<Expr, usize>,
}

/// The zone of `event_time`: an offset, so that no database of zones is needed.
pub(super) const UTC: &str = "+00:00";

/// How far the parser may call itself; brackets are held to less by [`limits::PREDICATE_DEPTH`].
const PARSER_DEPTH: usize = 100;

/// Planning calls itself once for each link of a chain such as `a and b and …`, with large frames.
const STACK_BYTES: usize = 256 << 20;

/// Runs `work` where a predicate of the longest kind can be planned without running out of stack.
pub(super) fn with_deep_stack<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RuleErrors> + Send + 'static,
) -> Result<T, RuleErrors> {
    let failed = |what: &str| RuleErrors::Evaluate(what.to_owned());
    let builder = thread::Builder::new().name("rules".into()).stack_size(STACK_BYTES);
    let thread = builder.spawn(work).map_err(|error| failed(&format!("no thread to compile on: {error}")))?;
    thread.join().unwrap_or_else(|_| Err(failed("the compiler of predicates broke down")))
}

impl Compiler {
    pub fn new() -> Result<Self, RuleErrors> {
        let failed = |error: DataFusionError| RuleErrors::Evaluate(error.strip_backtrace());
        let mut config = SessionConfig::new();
        let parser = &mut config.options_mut().sql_parser;
        parser.collect_spans = true;
        parser.recursion_limit = ConfigNonZeroUsize::try_new(PARSER_DEPTH).map_err(failed)?;
        let state = SessionStateBuilder::new().with_config(config).with_default_features().build();
        let arrow_schema = schema(Column::all());
        let nulls: Vec<ArrayRef> = arrow_schema.fields().iter().map(|f| new_null_array(f.data_type(), 1)).collect();
        let nothing_known = RecordBatch::try_new(Arc::clone(&arrow_schema), nulls).map_err(|e| failed(e.into()))?;
        let schema = DFSchema::try_from(arrow_schema).map_err(failed)?;
        Ok(Self { state, schema, nothing_known, is_kept: false })
    }

    /// For what was in force once, by what counted as an error then.
    pub fn of_kept(self) -> Self {
        Self { is_kept: true, ..self }
    }

    /// Compiles one predicate.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn predicate(&self, text: &str) -> Result<Predicate, Vec<PredicateProblem>> {
        let words = Words::read(text).map_err(|problem| vec![problem])?;
        if let Some(problem) = words.foreign().filter(|_| !self.is_kept) {
            return Err(vec![problem]);
        }
        let expr = self.state.create_logical_expr(text, &self.schema).map_err(|error| {
            let told = words.explain(&error);
            told.into_iter().chain(self.objections_elsewhere(text)).collect::<Vec<_>>()
        })?;
        let problems = self.objections(&expr, &words);
        if !problems.is_empty() {
            return Err(problems);
        }
        let columns = expr.column_refs().iter().filter_map(|column| Column::named(&column.name)).collect();
        self.boolean(&expr).map_err(|problem| vec![problem])?;
        let expr = in_normal_form(expr).map_err(|error| words.explain(&error))?;
        let sleeping = if self.is_kept { Vec::new() } else { never::objections(&expr) };
        if !sleeping.is_empty() {
            let problem = |one: never::Objection<'_>| PredicateProblem {
                offset: words.offset_of(one.at),
                message: one.message,
                hint: Some(one.hint),
            };
            return Err(sleeping.into_iter().map(problem).collect());
        }
        let is_plain = self.is_kept || literal(&expr);
        let zones = ZonesMeant::of(&expr);
        let expr = self.simplified(expr).map_err(|error| words.explain(&error))?;
        if !is_plain && matches!(&expr, Expr::Literal(ScalarValue::Boolean(None | Some(false)), _)) {
            let hint = "it says the same of every row; compare columns with one another or with a value".to_owned();
            return Err(vec![PredicateProblem { hint: Some(hint), ..words.at_start("this is never true".to_owned()) }]);
        }
        self.attempt(&expr).map_err(|error| words.explain(&error))?;
        Ok(Predicate { conjuncts: self.conjuncts(expr), columns, zones })
    }

    /// An expression as it was read, and compiled though it may be refused; `None` where it makes no sense.
    #[cfg(test)]
    pub fn unchecked(&self, text: &str) -> Option<(Expr, Predicate)> {
        let read = self.state.create_logical_expr(text, &self.schema).ok()?;
        let words = Words::read(text).ok().filter(|words| self.objections(&read, words).is_empty());
        let columns = read.column_refs().iter().filter_map(|column| Column::named(&column.name)).collect();
        let read = in_normal_form(read).ok()?;
        let conjuncts = self.conjuncts(self.simplified(read.clone()).ok()?);
        let zones = ZonesMeant::of(&read);
        words.map(|_| (read, Predicate { conjuncts, columns, zones }))
    }

    /// Expressions over the schema of `columns` alone.
    pub fn physical(
        &self,
        slots: Slots,
        columns: ColumnSet,
    ) -> Result<(SchemaRef, Vec<Arc<dyn PhysicalExpr>>), RuleErrors> {
        let failed = |error: DataFusionError| RuleErrors::Evaluate(error.strip_backtrace());
        let projected = schema(columns.iter());
        let df_schema = DFSchema::try_from(Arc::clone(&projected)).map_err(failed)?;
        let plan = |expr| self.state.create_physical_expr(expr, &df_schema);
        let exprs = slots.exprs.into_iter().map(plan).collect::<Result<_, _>>().map_err(failed)?;
        Ok((projected, exprs))
    }

    /// The functions that a predicate may call: those that give the same answer for the same row, by name.
    pub fn functions(&self) -> Vec<Arc<ScalarUDF>> {
        let registered = self.state.scalar_functions().values();
        let steady = registered.filter(|function| function.signature().volatility == Volatility::Immutable);
        let by_name: BTreeMap<&str, &Arc<ScalarUDF>> = steady.map(|function| (function.name(), function)).collect();
        by_name.into_values().cloned().collect()
    }

    fn boolean(&self, expr: &Expr) -> Result<(), PredicateProblem> {
        let wrong = |what: &str| PredicateProblem {
            offset: 0,
            message: format!("the predicate is {what}, not true or false"),
            hint: Some("compare it, as in `speed_kmh > 60`".into()),
        };
        match expr.get_type(&self.schema) {
            Ok(DataType::Boolean) => Ok(()),
            Ok(other) => Err(wrong(Class::of(&other).phrase())),
            Err(error) => Err(PredicateProblem { offset: 0, message: said(&error), hint: None }),
        }
    }

    /// Coerced, float division made safe, constants folded.
    fn simplified(&self, expr: Expr) -> Result<Expr, DataFusionError> {
        let context = SimplifyContext::builder().with_schema(Arc::new(self.schema.clone())).build();
        let simplifier = ExprSimplifier::new(context);
        let expr = simplifier.coerce(expr, &self.schema)?;
        let expr = expr.transform_up(|expr| Ok(self.guarded_division(expr)))?.data;
        simplifier.simplify(expr)
    }

    /// A float divided by zero is infinite or no number in Arrow, and greater than anything: here it is unknown.
    fn guarded_division(&self, expr: Expr) -> Transformed<Expr> {
        let Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Divide | Operator::Modulo), right }) = expr else {
            return Transformed::no(expr);
        };
        let float = right.get_type(&self.schema).is_ok_and(|kind| kind == DataType::Float64);
        let right = if float { Box::new(nullif(*right, lit(0.0))) } else { right };
        Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right }))
    }

    /// Tries the expression on a row of which nothing is known.
    fn attempt(&self, expr: &Expr) -> Result<(), DataFusionError> {
        let physical = self.state.create_physical_expr(expr.clone(), &self.schema)?;
        physical.evaluate(&self.nothing_known).map(|_| ())
    }

    /// Parts that may be evaluated apart from each other. A part that can fail stays with those that guard it.
    fn conjuncts(&self, expr: Expr) -> Vec<Expr> {
        if self.cannot_fail(&expr) { split_conjunction_owned(expr) } else { vec![expr] }
    }

    fn cannot_fail(&self, expr: &Expr) -> bool {
        let safe = |expr: &Expr| match expr {
            Expr::BinaryExpr(binary) => {
                !matches!(binary.op, Operator::Divide | Operator::Modulo)
                    || binary.right.get_type(&self.schema).is_ok_and(|kind| kind == DataType::Float64)
            }
            Expr::Cast(cast) => {
                let from = cast.expr.get_type(&self.schema).map(|kind| Class::of(&kind));
                from.is_ok_and(|from| from == Class::Number) && *cast.field.data_type() == DataType::Float64
            }
            Expr::ScalarFunction(call) => {
                ["array_has", "array_has_any", "array_has_all", "lower", "upper", "coalesce", "nullif", "starts_with"]
                    .contains(&call.name())
                    || call.name() == NORMAL_PLATE
            }
            _ => true,
        };
        let exists = expr.exists(|part| Ok(!safe(part)));
        exists.is_ok_and(|unsafe_part| !unsafe_part)
    }

    /// What SQL would allow and we don't.
    fn objections(&self, expr: &Expr, words: &Words) -> Vec<PredicateProblem> {
        let mut problems = Vec::new();
        let walked = expr.apply(|part| {
            if let Some((message, hint)) = self.refused(part).or_else(|| self.mistyped(part)) {
                problems.push(PredicateProblem { offset: words.offset_of(part), message, hint: Some(hint) });
                return Ok(TreeNodeRecursion::Jump);
            }
            Ok(TreeNodeRecursion::Continue)
        });
        debug_assert!(walked.is_ok(), "the walk itself does not fail");
        problems
    }

    /// What we don't allow in those parts that can be read, where others cannot.
    fn objections_elsewhere(&self, text: &str) -> Vec<PredicateProblem> {
        let mut problems = Vec::new();
        let (parts, mut begin) = (conjuncts(text), 0);
        for part in parts.iter().filter(|_| parts.len() > 1) {
            begin += text[begin..].find(part).unwrap_or_default();
            let read = Words::read(part).ok().zip(self.state.create_logical_expr(part, &self.schema).ok());
            let found = read.map(|(words, expr)| self.objections(&expr, &words)).unwrap_or_default();
            problems.extend(found.into_iter().map(|one| PredicateProblem { offset: begin + one.offset, ..one }));
            begin += part.len();
        }
        problems
    }

    /// Forms that have no place in a predicate over one row.
    fn refused(&self, expr: &Expr) -> Option<(String, String)> {
        let (message, hint) = match expr {
            Expr::Alias(alias) if matches!(&*alias.expr, Expr::ScalarFunction(call) if unstable(call)) => {
                return self.refused(&alias.expr);
            }
            Expr::ScalarFunction(call) => return unsteady(call.name(), call.func.signature().volatility),
            Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::ScalarSubquery(_) => {
                (SUBQUERY.to_owned(), ONE_ROW)
            }
            Expr::AggregateFunction(call) => {
                (format!("`{}` is an aggregate: there is only one row", call.func.name()), COUNT)
            }
            Expr::WindowFunction(_) => ("window functions have no place here: there is only one row".into(), COUNT),
            Expr::Alias(alias) => (format!("a predicate has no name: `as {}`", alias.name), "leave out `as …`"),
            Expr::Column(_)
            | Expr::Literal(..)
            | Expr::BinaryExpr(_)
            | Expr::Like(_)
            | Expr::SimilarTo(_)
            | Expr::Not(_)
            | Expr::IsNotNull(_)
            | Expr::IsNull(_)
            | Expr::IsTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNotFalse(_)
            | Expr::IsNotUnknown(_)
            | Expr::Negative(_)
            | Expr::Between(_)
            | Expr::Case(_)
            | Expr::Cast(_)
            | Expr::TryCast(_)
            | Expr::InList(_) => return None,
            _ => ("this form has no place in a predicate".into(), ONE_ROW),
        };
        Some((message, hint.into()))
    }

    /// Values of different kinds set against each other.
    fn mistyped(&self, expr: &Expr) -> Option<(String, String)> {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => self.mistyped_pair(left, *op, right),
            Expr::InList(list) => list.list.iter().find_map(|item| self.unlike(&list.expr, item)),
            Expr::Between(between) => {
                self.unlike(&between.expr, &between.low).or_else(|| self.unlike(&between.expr, &between.high))
            }
            Expr::Like(like) => {
                self.expected(&like.expr, Class::Text).or_else(|| self.expected(&like.pattern, Class::Text))
            }
            Expr::Case(case) => {
                let of = case.expr.as_ref()?;
                case.when_then_expr.iter().find_map(|(when, _)| self.unlike(of, when))
            }
            Expr::Not(inner) => self.expected(inner, Class::Flag),
            Expr::Negative(inner) => self.expected(inner, Class::Number),
            Expr::ScalarFunction(call) if call.name() == "array_has" => {
                let [list, item] = call.args.as_slice() else { return None };
                self.expected(list, Class::List).or_else(|| self.expected(item, Class::Text))
            }
            _ => None,
        }
    }

    fn mistyped_pair(&self, left: &Expr, op: Operator, right: &Expr) -> Option<(String, String)> {
        match op {
            Operator::And | Operator::Or => {
                self.expected(left, Class::Flag).or_else(|| self.expected(right, Class::Flag))
            }
            Operator::Multiply | Operator::Divide | Operator::Modulo => {
                self.expected(left, Class::Number).or_else(|| self.expected(right, Class::Number))
            }
            Operator::Plus | Operator::Minus => {
                let apart = |expr| matches!(self.class(expr), Class::Text | Class::Flag | Class::List);
                let wrong = [left, right].into_iter().find(|side| apart(side))?;
                self.expected(wrong, Class::Number)
            }
            op if op.supports_propagation() || matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom) => {
                if null(left) || null(right) {
                    return (!matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom)).then(|| {
                        (
                            format!(
                                "a comparison with null is always unknown: `{} {op} {}`",
                                shown(left),
                                shown(right)
                            ),
                            IS_NULL.to_owned(),
                        )
                    });
                }
                self.unlike(left, right)
            }
            _ => None,
        }
    }

    fn class(&self, expr: &Expr) -> Class {
        expr.get_type(&self.schema).map_or(Class::Other, |kind| Class::of(&kind))
    }

    /// Two values that can't be compared.
    fn unlike(&self, left: &Expr, right: &Expr) -> Option<(String, String)> {
        let (l, r) = (self.class(left), self.class(right));
        let written_time = matches!((l, r), (Class::Time, Class::Text) | (Class::Text, Class::Time))
            && (literal(left) || literal(right));
        if let Some(objection) = misspelt(left, right).or_else(|| misspelt(right, left)) {
            return Some(objection);
        }
        let fits = l == r || written_time || [l, r].iter().any(|class| matches!(class, Class::Null | Class::Other));
        (!fits).then(|| {
            let message = format!(
                "`{}` is {}, `{}` is {}: they can't be compared",
                shown(left),
                l.phrase(),
                shown(right),
                r.phrase()
            );
            (message, "compare values of one kind".to_owned())
        })
    }

    fn expected(&self, expr: &Expr, class: Class) -> Option<(String, String)> {
        let found = self.class(expr);
        (found != class && !matches!(found, Class::Null | Class::Other)).then(|| {
            let message = format!("`{}` is {}, expected {}", shown(expr), found.phrase(), class.phrase());
            let hint = match (found, class) {
                (Class::List, _) => "ask a list with `array_has(events, 'fatigue')`",
                (_, Class::List) => "`alarms`, `events` and `zone_ids` are the lists",
                (_, Class::Flag) => "compare it, as in `speed_kmh > 60`",
                _ => "use values of one kind",
            };
            (message, hint.to_owned())
        })
    }
}

/// Plates are compared in their normal form, however registry and rule write them.
fn in_normal_form(expr: Expr) -> Result<Expr, DataFusionError> {
    let is_plate = |expr: &Expr| matches!(expr, Expr::Column(column) if column.name == "plate");
    let normal = |expr: Expr| NORMAL.call(vec![expr]);
    let text = |expr: Expr, form: &dyn Fn(&str) -> String| match &expr {
        Expr::Literal(value, _) => match value.try_as_str().flatten() {
            Some(written) => lit(form(written)),
            None => expr,
        },
        _ => expr,
    };
    let plate_of = |written: &str| plate::plate(written).into_owned();
    // What stands for other characters in a pattern stays.
    let pattern_of = |written: &str| {
        let pieces = written.split_inclusive(['%', '_']).map(|piece| match piece.strip_suffix(['%', '_']) {
            Some(own) => format!("{}{}", plate::plate(own), &piece[own.len()..]),
            None => plate_of(piece),
        });
        pieces.collect::<String>()
    };
    let changed = expr.transform_up(|expr| {
        Ok(match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right })
                if is_plate(&left) && literal(&right) || literal(&left) && is_plate(&right) =>
            {
                let side = |side: Box<Expr>| if is_plate(&side) { normal(*side) } else { text(*side, &plate_of) };
                Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(Box::new(side(left)), op, Box::new(side(right)))))
            }
            Expr::InList(mut list) if is_plate(&list.expr) => {
                list.expr = Box::new(normal(*list.expr));
                list.list = list.list.into_iter().map(|item| text(item, &plate_of)).collect();
                Transformed::yes(Expr::InList(list))
            }
            Expr::Like(mut like) if is_plate(&like.expr) => {
                like.expr = Box::new(normal(*like.expr));
                like.pattern = Box::new(text(*like.pattern, &pattern_of));
                Transformed::yes(Expr::Like(like))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(changed.data)
}

const SUBQUERY: &str = "subqueries have no place here: a rule sees only its own row of facts";
const ONE_ROW: &str = "a predicate compares columns of one row, numbers and text, as in `speed_kmh > 60 and loaded`";
const COUNT: &str = "use `count: { at_least: 3, within: 10m }` or `for: 30s` for what happens over time";
const IS_NULL: &str = "write `is null` or `is not null`";

fn unstable(call: &ScalarFunction) -> bool {
    call.func.signature().volatility != Volatility::Immutable
}

/// An expression as one would write it.
fn shown(expr: &Expr) -> String {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => format!("'{text}'"),
        Expr::Literal(value, _) => value.to_string(),
        other => other.human_display().to_string(),
    }
}

fn null(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if *value == ScalarValue::Null)
}

/// A column of closed words, plain or in a `coalesce`, set against text that it never holds.
fn misspelt(column: &Expr, written: &Expr) -> Option<(String, String)> {
    let text = |expr: &Expr| match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
        _ => None,
    };
    let word = text(written)?;
    match column {
        Expr::Column(column) => closed::objection(&column.name, &word),
        Expr::ScalarFunction(call) if call.name() == "coalesce" => {
            let (first, others) = call.args.split_first()?;
            let Expr::Column(column) = first else { return None };
            let replaced = others.iter().all(|other| text(other).is_some_and(|other| other != word));
            replaced.then(|| closed::objection(&column.name, &word)).flatten()
        }
        Expr::ScalarFunction(call) if ["lower", "upper"].contains(&call.name()) => {
            let is_lower = call.name() == "lower";
            let possible = if is_lower { word.to_lowercase() } else { word.to_uppercase() };
            if possible != word {
                let message = format!("`{}(…)` is never '{word}'", call.name());
                return Some((message, format!("write '{possible}'")));
            }
            let Some(Expr::Column(column)) = call.args.first() else { return None };
            closed::objection(&column.name, &word.to_lowercase())
        }
        _ => None,
    }
}

fn literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(..))
}

/// Functions that may answer differently for the same row.
fn unsteady(name: &str, volatility: Volatility) -> Option<(String, String)> {
    let hint = "use `event_time`, `local_hour`, `local_minute_of_day` or `local_weekday` for the time of the report";
    match volatility {
        Volatility::Immutable => None,
        Volatility::Stable => Some((
            format!("`{name}()` depends on when it is asked: the same report must always give the same answer"),
            hint.to_owned(),
        )),
        Volatility::Volatile => Some((
            format!("`{name}()` depends on chance: the same report must always give the same answer"),
            "use only functions of the row's own values".to_owned(),
        )),
    }
}

/// Kinds of values that are not to be mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Number,
    Text,
    Flag,
    Time,
    Interval,
    List,
    Null,
    Other,
}

impl Class {
    fn of(kind: &DataType) -> Self {
        match kind {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Flag,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Self::Time,
            DataType::Interval(_) | DataType::Duration(_) => Self::Interval,
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => Self::List,
            other if other.is_numeric() => Self::Number,
            _ => Self::Other,
        }
    }

    fn phrase(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Text => "text",
            Self::Flag => "true or false",
            Self::Time => "a time",
            Self::Interval => "a span of time",
            Self::List => "a list of text",
            Self::Null => "null",
            Self::Other => "something else",
        }
    }
}

impl Predicate {
    /// At a source's gate, whether the weights of what holds add up to `from`; elsewhere unknown. `None` without parts.
    pub fn weighed(parts: &[(&Self, u32)], from: u32) -> Option<Self> {
        let weight = |(part, weight): &(&Self, u32)| {
            let holds = part.conjuncts.iter().cloned().reduce(Expr::and)?;
            when(holds, lit(i64::from(*weight))).otherwise(lit(0_i64)).ok()
        };
        let score = parts.iter().map(weight).try_fold(lit(0_i64), |sum, part| Some(sum + part?))?;
        let at_gate = col("source_gate").is_not_null();
        let reaches = when(at_gate, score.gt_eq(lit(i64::from(from)))).end().ok()?;
        let gate: ColumnSet = Column::named("source_gate").into_iter().collect();
        let columns = parts.iter().fold(gate, |set, (part, _)| set.union(part.columns));
        Some(Self { conjuncts: vec![reaches], columns, zones: ZonesMeant::default() })
    }

    /// True becomes unknown wherever `mute` holds; false stays false.
    pub fn mute(&mut self, mute: &Self) {
        let Some(holds) = mute.conjuncts.iter().cloned().reduce(Expr::and) else { return };
        let unknown = lit(ScalarValue::Boolean(None));
        if let Ok(unless) = when(holds, unknown).otherwise(lit(true)) {
            self.conjuncts.push(unless);
            self.columns = self.columns.union(mute.columns);
        }
    }
}

impl Slots {
    /// The places of a predicate's parts; new parts are added.
    pub fn place(&mut self, predicate: &Predicate) -> Vec<usize> {
        predicate.conjuncts.iter().map(|part| self.place_one(part)).collect()
    }

    fn place_one(&mut self, part: &Expr) -> usize {
        if let Some(at) = self.index.get(part) {
            return *at;
        }
        self.index.insert(part.clone(), self.exprs.len());
        self.exprs.push(part.clone());
        self.exprs.len() - 1
    }
}

/// The Arrow schema of some columns. Everything may be NULL: unknown is a value.
pub(super) fn schema(columns: impl Iterator<Item = Column>) -> SchemaRef {
    let field = |column: Column| Field::new(column.name(), data_type(column.spec().kind), true);
    Arc::new(Schema::new(columns.map(field).collect::<Vec<_>>()))
}

fn data_type(kind: Kind) -> DataType {
    match kind {
        Kind::Text => DataType::Utf8,
        Kind::Float => DataType::Float64,
        Kind::Int => DataType::Int64,
        Kind::Flag => DataType::Boolean,
        Kind::Time => DataType::Timestamp(TimeUnit::Millisecond, Some(UTC.into())),
        Kind::TextList => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
    }
}

/// A predicate's words, to say where something stands in it.
struct Words<'a> {
    text: &'a str,
    tokens: Vec<TokenWithSpan>,
}

impl<'a> Words<'a> {
    /// Reads the words and refuses what is too long, too deep or no predicate at all.
    fn read(text: &'a str) -> Result<Self, PredicateProblem> {
        let wrong = |offset, message: String, hint: &str| {
            Err(PredicateProblem { offset, message, hint: (!hint.is_empty()).then(|| hint.to_owned()) })
        };
        if text.trim().is_empty() {
            return wrong(0, "the predicate is empty".into(), "write an SQL predicate such as `speed_kmh > 60`");
        }
        if text.len() > limits::PREDICATE_BYTES {
            return wrong(0, format!("the predicate is longer than {} bytes", limits::PREDICATE_BYTES), SPLIT);
        }
        let tokens = match Tokenizer::new(&GenericDialect {}, text).tokenize_with_location() {
            Ok(tokens) => tokens,
            Err(error) => return wrong(offset(text, error.location), error.message, "text stands in single quotes"),
        };
        let words = Self { text, tokens };
        let (mut count, mut depth, mut cases) = (0, 0_usize, 0_usize);
        for token in &words.tokens {
            let at = offset(text, token.span.start);
            count += usize::from(!matches!(token.token, Token::Whitespace(_)));
            match &token.token {
                Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
                Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
                Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)) => {
                    return wrong(at, "a comment inside the predicate".into(), "comment with YAML's `#` above it");
                }
                Token::Word(word) if word.keyword == Keyword::CASE => cases += 1,
                Token::Word(word) if word.keyword == Keyword::END => cases = cases.saturating_sub(1),
                Token::Word(word) if word.keyword == Keyword::SELECT => return wrong(at, SUBQUERY.into(), ONE_ROW),
                _ => {}
            }
            if depth > limits::PREDICATE_DEPTH {
                return wrong(at, format!("brackets are nested deeper than {}", limits::PREDICATE_DEPTH), SPLIT);
            }
            // The parser tries a `case` in several ways, each of those inside it again.
            if cases > limits::PREDICATE_CASES {
                return wrong(at, format!("`case` is nested deeper than {}", limits::PREDICATE_CASES), SPLIT);
            }
            if count > limits::PREDICATE_TOKENS {
                return wrong(at, format!("the predicate has more than {} words", limits::PREDICATE_TOKENS), SPLIT);
            }
        }
        Ok(words)
    }

    /// What other languages have and SQL writes otherwise, and a number with its unit.
    fn foreign(&self) -> Option<PredicateProblem> {
        let mut column = None;
        for (index, pair) in self.tokens.windows(2).enumerate() {
            let [first, second] = pair else { continue };
            if let Token::Word(word) = &first.token {
                column = Column::named(&word.value.to_ascii_lowercase()).or(column);
            }
            let offset = offset(self.text, first.span.start);
            let wrong = |message: String, hint: String| Some(PredicateProblem { offset, message, hint: Some(hint) });
            let is_glued = first.span.end == second.span.start;
            match (&first.token, &second.token) {
                (Token::Overlap, _) => return wrong("`&&` is no SQL".into(), "write `and`".into()),
                (Token::ExclamationMark, _) => return wrong("`!` is no SQL".into(), "write `not`".into()),
                (Token::RArrow, _) => return wrong("`=>` compares nothing".into(), "write `>=`".into()),
                (Token::StringConcat, _) => {
                    let hint = "write `or`; what is to be joined as text is joined by `concat(…, …)`";
                    return wrong("`||` joins text in SQL".into(), hint.into());
                }
                _ if !is_glued => {}
                (Token::Eq, Token::Lt) => return wrong("`=<` compares nothing".into(), "write `<=`".into()),
                (Token::Gt, Token::Lt) => return wrong("`><` compares nothing".into(), "write `<>`".into()),
                (Token::Number(number, false), Token::Word(unit)) => {
                    let after = self.tokens[index + 2..].iter().find_map(|token| match &token.token {
                        Token::Word(word) => Column::named(&word.value.to_ascii_lowercase()),
                        _ => None,
                    });
                    let hint = plain_number(number, &unit.value, column.or(after));
                    return wrong(format!("`{number}{}` is no number", unit.value), hint);
                }
                _ => {}
            }
        }
        None
    }

    /// Why planning failed, with a place for each reason.
    fn explain(&self, error: &DataFusionError) -> Vec<PredicateProblem> {
        match root(error) {
            DataFusionError::SchemaError(error, _) => match &**error {
                SchemaError::FieldNotFound { field, .. } => self.unknown_columns(&field.name),
                other => vec![self.at_start(other.to_string())],
            },
            DataFusionError::SQL(error, _) => vec![self.syntax(&error.to_string())],
            other => vec![self.planning(&said(other))],
        }
    }

    /// Every name that is no column; `found` is the first that the planner met.
    fn unknown_columns(&self, found: &str) -> Vec<PredicateProblem> {
        let mut problems = Vec::new();
        for (index, token) in self.tokens.iter().enumerate() {
            let Token::Word(word) = &token.token else { continue };
            let called = matches!(self.tokens.get(index + 1).map(|next| &next.token), Some(Token::LParen));
            let name = if word.quote_style.is_some() { word.value.clone() } else { word.value.to_ascii_lowercase() };
            let candidate = word.keyword == Keyword::NoKeyword || name == found;
            if called || !candidate || Column::named(&name).is_some() {
                continue;
            }
            problems.push(PredicateProblem {
                offset: offset(self.text, token.span.start),
                message: format!("unknown column `{}`", word.value),
                hint: Some(match (word.quote_style, nearest(&name, Column::all().map(Column::name))) {
                    (Some(_), _) if word.value.parse::<f64>().is_ok() => {
                        format!("a number stands without quotes: {}", word.value)
                    }
                    (_, Some(near)) => format!("did you mean `{near}`?"),
                    (Some(_), None) => format!("text stands in single quotes: '{}'", word.value),
                    (None, None) => format!("is it text? then write '{}'", word.value),
                }),
            });
        }
        if problems.is_empty() { vec![self.at_start(format!("unknown column `{found}`"))] } else { problems }
    }

    /// `sql parser error: Expected: an expression, found: EOF at Line: 1, Column: 9`.
    fn syntax(&self, said: &str) -> PredicateProblem {
        let said = said.strip_prefix("sql parser error: ").unwrap_or(said);
        if said.contains("recursion limit") {
            return PredicateProblem {
                hint: Some(SPLIT.into()),
                ..self.at_start("the predicate is nested too deeply".into())
            };
        }
        let (message, place) = said.split_once(" at Line: ").unwrap_or((said, ""));
        let place = place.split_once(", Column: ").and_then(|(line, column)| {
            let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
            Some(Location::new(digits(line)?, digits(column)?))
        });
        let message = message
            .replace("Expected: ", "expected ")
            .replace(", found: EOF", ", found its end")
            .replace("found: ", "found ");
        let hint =
            self.tokens.iter().any(|token| token.token == Token::DoubleEq).then(|| "SQL compares with `=`".to_owned());
        let hint = hint.or_else(|| {
            let in_brackets =
                |pair: &[&Token]| matches!(pair, [Token::Word(word), Token::LBracket] if word.keyword == Keyword::IN);
            let tokens: Vec<&Token> = self
                .tokens
                .iter()
                .map(|token| &token.token)
                .filter(|token| !matches!(token, Token::Whitespace(_)))
                .collect();
            tokens.windows(2).any(in_brackets).then(|| "a list stands in round brackets: `in ('a', 'b')`".to_owned())
        });
        PredicateProblem { offset: place.map_or(self.text.trim_end().len(), |at| offset(self.text, at)), message, hint }
    }

    /// An unknown function, or arguments that don't fit.
    fn planning(&self, said: &str) -> PredicateProblem {
        let mut lines = said.lines();
        let first = lines.next().unwrap_or(said);
        let hint = lines
            .find(|line| line.starts_with("Did you mean"))
            .map(|line| line.replace('\'', "`").replacen('D', "d", 1));
        let quoted = first.split('\'').nth(1).unwrap_or_default();
        let function = first.strip_prefix("Invalid function").map(|_| format!("unknown function `{quoted}`"));
        let at = self.tokens.iter().find(|token| match &token.token {
            Token::Word(word) => word.value.eq_ignore_ascii_case(quoted),
            _ => false,
        });
        PredicateProblem {
            offset: at.map_or(0, |token| offset(self.text, token.span.start)),
            message: function.unwrap_or_else(|| first.to_owned()),
            hint,
        }
    }

    fn at_start(&self, message: String) -> PredicateProblem {
        PredicateProblem { offset: 0, message, hint: None }
    }

    /// Where the first column or function of an expression stands.
    fn offset_of(&self, expr: &Expr) -> usize {
        let mut found = None;
        let walked = expr.apply(|part| {
            found = match part {
                Expr::Column(column) => column.spans.first().map(|span| (span.start.line, span.start.column)),
                Expr::ScalarFunction(call) => self.position_of(call.name()),
                Expr::AggregateFunction(call) => self.position_of(call.func.name()),
                _ => None,
            };
            Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        });
        debug_assert!(walked.is_ok(), "the walk itself does not fail");
        found.map_or(0, |(line, column)| offset(self.text, Location::new(line, column)))
    }

    fn position_of(&self, name: &str) -> Option<(u64, u64)> {
        let is_it =
            |token: &&TokenWithSpan| matches!(&token.token, Token::Word(word) if word.value.eq_ignore_ascii_case(name));
        self.tokens.iter().find(is_it).map(|token| (token.span.start.line, token.span.start.column))
    }
}

/// What to write instead of a number with a unit, held against `column`.
fn plain_number(number: &str, unit: &str, column: Option<Column>) -> String {
    // Endings of columns, and what a unit is worth in each.
    const WORTH: &[(&str, &[(&str, f64)])] = &[
        ("_s", &[("ms", 0.001), ("s", 1.0), ("sec", 1.0), ("m", 60.0), ("min", 60.0), ("h", 3_600.0), ("d", 86_400.0)]),
        ("_m", &[("m", 1.0), ("km", 1_000.0)]),
        ("_kmh", &[("kmh", 1.0), ("km", 1.0), ("kph", 1.0), ("mps", 3.6)]),
        ("_kg", &[("kg", 1.0), ("t", 1_000.0)]),
        ("_deg", &[("deg", 1.0)]),
    ];
    let Some(column) = column else { return format!("a number stands without its unit: {number}") };
    let name = column.name();
    let measured = WORTH.iter().find(|(ending, _)| name.ends_with(ending));
    let worth = measured.and_then(|(_, units)| units.iter().find(|(known, _)| known.eq_ignore_ascii_case(unit)));
    let value = worth.and_then(|(_, worth)| Some(number.parse::<f64>().ok()? * worth));
    match (value, measured.and_then(|_| super::reference::unit(name, column.spec().kind))) {
        (Some(value), Some(measure)) => format!("`{name}` is in {measure}: write {value}"),
        (None, Some(measure)) => format!("`{name}` is in {measure}, and a number stands without its unit"),
        _ => format!("a number stands without its unit: {number}"),
    }
}

/// The words that a predicate looks up in the lists `alarms` and `events`, with the list: `array_has(alarms, 'sos')`.
pub fn looked_up(text: &str) -> Vec<(String, String)> {
    let (mut found, mut list) = (Vec::new(), None);
    for token in Tokenizer::new(&GenericDialect {}, text).tokenize().unwrap_or_default() {
        match (token, &list) {
            (Token::Word(word), _) if matches!(&*word.value, "alarms" | "events") => list = Some(word.value),
            (Token::SingleQuotedString(word), Some(list)) => found.push((list.clone(), word)),
            (Token::RParen, _) => list = None,
            _ => {}
        }
    }
    found
}

/// Where `and` and `or` stand side by side without brackets: the same with the brackets that SQL puts there.
pub fn bracketed(text: &str) -> Option<String> {
    /// A pair of brackets, or the whole: where it begins, where each `or` stands, and whether each part between has an `and`.
    struct Level {
        begin: usize,
        ors: Vec<(usize, usize)>,
        has_and: Vec<bool>,
        ranges: usize,
    }
    let level = |begin| Level { begin, ors: Vec::new(), has_and: vec![false], ranges: 0 };
    let read = |level: &Level, end: usize| {
        if level.ors.is_empty() || !level.has_and.contains(&true) {
            return None;
        }
        let ends = level.ors.iter().map(|or| or.0).chain([end]);
        let begins = [level.begin].into_iter().chain(level.ors.iter().map(|or| or.1));
        let parts = begins.zip(ends).zip(&level.has_and).map(|((begin, end), has_and)| {
            let part = text.get(begin..end).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
            if *has_and { format!("({part})") } else { part }
        });
        Some(parts.collect::<Vec<_>>().join(" or "))
    };
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().ok()?;
    let mut levels = vec![level(0)];
    for token in &tokens {
        let (start, end) = (offset(text, token.span.start), offset(text, token.span.end));
        let keyword = match &token.token {
            Token::LParen => {
                levels.push(level(end));
                continue;
            }
            Token::RParen if levels.len() > 1 => {
                if let Some(found) = levels.pop().and_then(|closed| read(&closed, start)) {
                    return Some(found);
                }
                continue;
            }
            Token::Word(word) => word.keyword,
            _ => continue,
        };
        let is_inside = levels.len() > 1;
        let Some(open) = levels.last_mut() else { continue };
        match keyword {
            // What stands in a `case` is set apart by its words.
            Keyword::CASE => levels.push(level(end)),
            Keyword::WHEN | Keyword::THEN | Keyword::ELSE => *open = level(end),
            Keyword::END if is_inside => _ = levels.pop(),
            Keyword::BETWEEN => open.ranges += 1,
            Keyword::AND if open.ranges > 0 => open.ranges -= 1,
            Keyword::AND => open.has_and.iter_mut().last().into_iter().for_each(|has_and| *has_and = true),
            Keyword::OR => {
                open.ors.push((start, end));
                open.has_and.push(false);
            }
            _ => {}
        }
    }
    levels.pop().and_then(|whole| read(&whole, text.len()))
}

const SPLIT: &str = "split it into several rules";

/// The texts of a predicate between those `and`s that stand in no brackets and in no `case`; the whole where an `or` stands there.
pub(super) fn conjuncts(text: &str) -> Vec<&str> {
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().unwrap_or_default();
    let (mut parts, mut begin) = (Vec::new(), 0);
    let (mut depth, mut ranges) = (0_i32, 0);
    for token in &tokens {
        depth += match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => 1,
            Token::RParen | Token::RBracket | Token::RBrace => -1,
            Token::Word(word) if word.keyword == Keyword::CASE => 1,
            Token::Word(word) if word.keyword == Keyword::END => -1,
            _ => 0,
        };
        match &token.token {
            Token::Word(word) if depth == 0 && word.keyword == Keyword::OR => return vec![text],
            Token::Word(word) if depth == 0 && word.keyword == Keyword::BETWEEN => ranges += 1,
            Token::Word(word) if depth == 0 && word.keyword == Keyword::AND && ranges > 0 => ranges -= 1,
            Token::Word(word) if depth == 0 && word.keyword == Keyword::AND => {
                parts.push(&text[begin..offset(text, token.span.start)]);
                begin = offset(text, token.span.end);
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

/// A place by line and column as a byte offset.
fn offset(text: &str, at: Location) -> usize {
    let before: usize = text.split_inclusive('\n').take((at.line.max(1) - 1) as usize).map(str::len).sum();
    let line = &text[before.min(text.len())..];
    line.char_indices().nth((at.column.max(1) - 1) as usize).map_or(text.len(), |(index, _)| before + index)
}

fn root(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => root(inner),
        DataFusionError::Collection(errors) => errors.first().map_or(error, root),
        other => other,
    }
}

/// What an error says, without its kind and its trace.
fn said(error: &DataFusionError) -> String {
    let text = root(error).strip_backtrace();
    let kinds = [
        "Error during planning: ",
        "Arrow error: ",
        "Optimizer rule",
        "Execution error: ",
        "This feature is not implemented: ",
    ];
    kinds.iter().find_map(|kind| text.strip_prefix(kind)).unwrap_or(&text).to_owned()
}
