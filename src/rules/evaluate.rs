//! Rows of facts in, verdicts out: one Arrow batch of only the columns that predicates read, every distinct part of
//! every predicate evaluated once.

use std::{fmt, sync::Arc};

use datafusion::arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, RecordBatch,
        RecordBatchOptions, StringBuilder, TimestampMillisecondBuilder,
    },
    buffer::{BooleanBuffer, NullBuffer},
    compute::and_kleene,
    datatypes::SchemaRef,
    error::ArrowError,
};
use datafusion::physical_expr::PhysicalExpr;

use super::{
    Rule, RuleErrors,
    check::Terms,
    compile::{Compiler, Predicate, Slots, UTC},
};
use crate::model::{Column, ColumnSet, Facts, Kind, Severity, Value, Verdict};

/// The compiled predicates of a set.
#[derive(Default)]
pub(super) struct Program {
    columns: Vec<Column>,
    schema: Option<SchemaRef>,
    slots: Vec<Arc<dyn PhysicalExpr>>,
    /// One a rule, `None` for the disabled ones.
    plans: Vec<Option<Plan>>,
}

/// How one rule is judged. Each predicate is a list of slots that must all hold.
struct Plan {
    when: Vec<usize>,
    clear: Option<Vec<usize>>,
    cases: Vec<(Severity, Vec<usize>)>,
    severity_default: Severity,
    asks_timer: bool,
    asks_sighting: bool,
    /// Judged for each zone apart.
    of_zones: bool,
}

/// The verdicts of a set of rules over a batch of rows.
#[derive(Debug)]
pub struct Verdicts {
    rows: usize,
    answers: Vec<Option<Answer>>,
    faults: u64,
    /// What the rules that are judged for each zone say of each.
    zones: Option<Box<ByZone>>,
}

/// Rows taken apart by zone: each is itself, then itself in each of its zones.
#[derive(Debug)]
struct ByZone {
    rows: Vec<Facts>,
    /// Where each row begins; one more than there are rows.
    starts: Vec<usize>,
    verdicts: Verdicts,
}

/// What a rule says of a truck in one zone.
#[derive(Clone, Copy, Debug)]
pub struct ZoneVerdict<'a> {
    /// The row as that zone's own.
    pub row: &'a Facts,
    pub when: Verdict,
    pub clear: Verdict,
    pub severity: Option<Severity>,
}

#[derive(Debug)]
struct Answer {
    when: BooleanArray,
    clear: Option<BooleanArray>,
    cases: Vec<(Severity, BooleanArray)>,
    severity_default: Severity,
}

impl Program {
    /// Links the rules' predicates, in the rules' order.
    pub fn new(rules: &[Rule], terms: Vec<Terms>) -> Result<Self, RuleErrors> {
        let (mut slots, mut columns) = (Slots::default(), ColumnSet::default());
        let mut plans = Vec::with_capacity(rules.len());
        for (rule, terms) in rules.iter().zip(&terms) {
            plans.push(rule.enabled.then(|| Plan::new(rule, terms, &mut slots, &mut columns)));
        }
        Self::link(slots, columns, plans)
    }

    /// Links predicates that belong to no rule; each is asked about every row.
    pub fn of(predicates: &[Predicate]) -> Result<Self, RuleErrors> {
        let mut slots = Slots::default();
        let plan = |predicate: &Predicate| {
            Some(Plan {
                when: slots.place(predicate),
                clear: None,
                cases: Vec::new(),
                severity_default: Severity::Minor,
                asks_timer: true,
                asks_sighting: true,
                of_zones: false,
            })
        };
        let plans = predicates.iter().map(plan).collect();
        let columns = predicates.iter().fold(ColumnSet::default(), |set, predicate| set.union(predicate.columns));
        Self::link(slots, columns, plans)
    }

    fn link(slots: Slots, columns: ColumnSet, plans: Vec<Option<Plan>>) -> Result<Self, RuleErrors> {
        let (schema, slots) = Compiler::new()?.physical(slots, columns)?;
        Ok(Self { columns: columns.iter().collect(), schema: Some(schema), slots, plans })
    }

    /// Judges rows by every rule.
    pub fn evaluate(&self, rows: &[Facts]) -> Result<Verdicts, RuleErrors> {
        let Some(schema) = &self.schema else {
            return Ok(Verdicts { rows: rows.len(), answers: Vec::new(), faults: 0, zones: None });
        };
        let mut verdicts = self.judge(schema, rows, false)?;
        if self.plans.iter().flatten().any(|plan| plan.of_zones) {
            let (apart, starts) = apart(rows);
            let zones = ByZone { verdicts: self.judge(schema, &apart, true)?, rows: apart, starts };
            for (rule, _) in
                self.plans.iter().enumerate().filter(|(_, plan)| plan.as_ref().is_some_and(|plan| plan.of_zones))
            {
                verdicts.answers[rule] = zones.together(rule, rows);
            }
            verdicts.faults += zones.verdicts.faults;
            verdicts.zones = Some(Box::new(zones));
        }
        Ok(verdicts)
    }

    /// Judges rows by the rules that are judged for each zone, or by the others.
    fn judge(&self, schema: &SchemaRef, rows: &[Facts], of_zones: bool) -> Result<Verdicts, RuleErrors> {
        let batch = batch(schema, &self.columns, rows).map_err(|error| RuleErrors::Evaluate(error.to_string()))?;
        let mut work = Work { program: self, batch, results: vec![None; self.slots.len()], faults: 0 };
        let only_reports = !rows.iter().any(|row| matches!(row.row_kind, Some("timer" | "sighting")));
        let mask = |plan: &Plan| if only_reports { None } else { asked(plan, rows) };
        let plans = self.plans.iter().map(|plan| plan.as_ref().filter(|plan| plan.of_zones == of_zones));
        let answers = plans.map(|plan| plan.map(|plan| work.answer(plan, mask(plan).as_ref()))).collect();
        Ok(Verdicts { rows: rows.len(), answers, faults: work.faults, zones: None })
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Program({} rules, {} expressions)", self.plans.len(), self.slots.len())
    }
}

impl Plan {
    fn new(rule: &Rule, terms: &Terms, slots: &mut Slots, columns: &mut ColumnSet) -> Self {
        let mut place = |predicate: &Predicate| {
            *columns = columns.union(predicate.columns);
            slots.place(predicate)
        };
        Self {
            when: place(&terms.when),
            clear: terms.clear.as_ref().map(&mut place),
            cases: terms.cases.iter().map(|(severity, predicate)| (*severity, place(predicate))).collect(),
            severity_default: rule.severity_default,
            asks_timer: rule.asks_timer,
            asks_sighting: rule.asks_sighting,
            of_zones: rule.is_of_zones(),
        }
    }
}

/// Each row, followed by itself in each of its zones.
fn apart(rows: &[Facts]) -> (Vec<Facts>, Vec<usize>) {
    let (mut apart, mut starts) = (Vec::new(), Vec::with_capacity(rows.len() + 1));
    for row in rows {
        starts.push(apart.len());
        apart.push(row.clone());
        apart.extend(row.zones.iter().flat_map(|zones| &**zones).map(|zone| row.in_zone(zone)));
    }
    starts.push(apart.len());
    (apart, starts)
}

impl ByZone {
    /// What a rule says of each row when its zones are taken together: true where it is of any zone. In no zone it is false, and
    /// unknown where nobody knows the zones.
    fn together(&self, rule: usize, rows: &[Facts]) -> Option<Answer> {
        let answer = self.verdicts.answer(rule)?;
        let when = rows.iter().zip(self.starts.windows(2)).map(|(row, place)| {
            let any = |wanted: Verdict| (place[0] + 1..place[1]).any(|zone| verdict(&answer.when, zone) == wanted);
            let is_known = row.zones.is_some() && !any(Verdict::Unknown);
            if any(Verdict::True) { Some(true) } else { is_known.then_some(false) }
        });
        Some(Answer { when: when.collect(), clear: None, cases: Vec::new(), severity_default: answer.severity_default })
    }
}

/// One evaluation under way: what each slot answered, once asked.
struct Work<'a> {
    program: &'a Program,
    batch: RecordBatch,
    results: Vec<Option<BooleanArray>>,
    faults: u64,
}

impl Work<'_> {
    fn answer(&mut self, plan: &Plan, mask: Option<&NullBuffer>) -> Answer {
        let when = masked(self.all(&plan.when), mask);
        let clear = plan.clear.as_ref().map(|parts| masked(self.all(parts), mask));
        let asked = when.true_count() > 0;
        let cases = if asked { plan.cases.as_slice() } else { &[] };
        let cases = cases.iter().map(|(severity, parts)| (*severity, self.all(parts))).collect();
        Answer { when, clear, cases, severity_default: plan.severity_default }
    }

    /// All of these, three-valued. Stops when every row is already false.
    fn all(&mut self, parts: &[usize]) -> BooleanArray {
        let mut all: Option<BooleanArray> = None;
        for part in parts {
            let next = self.slot(*part);
            let both = match &all {
                None => next,
                Some(before) => and_kleene(before, &next).unwrap_or_else(|_| unknown(self.batch.num_rows())),
            };
            let settled = both.null_count() == 0 && both.true_count() == 0;
            all = Some(both);
            if settled {
                break;
            }
        }
        all.unwrap_or_else(|| unknown(self.batch.num_rows()))
    }

    fn slot(&mut self, index: usize) -> BooleanArray {
        if let Some(known) = &self.results[index] {
            return known.clone();
        }
        let result = match ask(&*self.program.slots[index], &self.batch) {
            Some(answer) => answer,
            None => self.row_by_row(index),
        };
        self.results[index] = Some(result.clone());
        result
    }

    /// When a batch fails, the rows that don't still get their answer.
    fn row_by_row(&mut self, index: usize) -> BooleanArray {
        let expr = &*self.program.slots[index];
        let answers = (0..self.batch.num_rows()).map(|row| {
            let answer = ask(expr, &self.batch.slice(row, 1));
            self.faults += u64::from(answer.is_none());
            answer.and_then(|one| one.is_valid(0).then(|| one.value(0)))
        });
        answers.collect()
    }
}

/// What an expression answers, or `None` when it fails.
fn ask(expr: &dyn PhysicalExpr, batch: &RecordBatch) -> Option<BooleanArray> {
    let array = expr.evaluate(batch).and_then(|value| value.into_array(batch.num_rows())).ok()?;
    array.as_boolean_opt().cloned()
}

fn unknown(rows: usize) -> BooleanArray {
    BooleanArray::new(BooleanBuffer::new_unset(rows), Some(NullBuffer::new_null(rows)))
}

/// Unknown where the mask says so.
fn masked(answer: BooleanArray, mask: Option<&NullBuffer>) -> BooleanArray {
    let Some(mask) = mask else { return answer };
    let nulls = NullBuffer::union(answer.nulls(), Some(mask));
    BooleanArray::new(answer.values().clone(), nulls)
}

/// Which rows a rule is asked about; `None`: all. Those of the clock and of sightings only when it mentions them.
fn asked(plan: &Plan, rows: &[Facts]) -> Option<NullBuffer> {
    let is_strange = |row: &Facts| !row.is_asked(plan.asks_timer, plan.asks_sighting);
    rows.iter().any(is_strange).then(|| rows.iter().map(|row| !is_strange(row)).collect())
}

fn batch(schema: &SchemaRef, columns: &[Column], rows: &[Facts]) -> Result<RecordBatch, ArrowError> {
    let arrays = columns.iter().map(|column| array(*column, rows)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)
}

/// One column of the rows. A float that is no number or infinite is unknown.
fn array(column: Column, rows: &[Facts]) -> ArrayRef {
    let values = rows.iter().map(|row| row.value(column));
    match column.spec().kind {
        Kind::Float => {
            let mut builder = Float64Builder::with_capacity(rows.len());
            values.for_each(|value| {
                builder.append_option(match value {
                    Value::Float(number) if number.is_finite() => Some(number),
                    _ => None,
                });
            });
            Arc::new(builder.finish())
        }
        Kind::Flag => {
            let mut builder = BooleanBuilder::with_capacity(rows.len());
            values
                .for_each(|value| builder.append_option(if let Value::Flag(flag) = value { Some(flag) } else { None }));
            Arc::new(builder.finish())
        }
        Kind::Int => {
            let mut builder = Int64Builder::with_capacity(rows.len());
            values.for_each(|value| builder.append_option(if let Value::Int(int) = value { Some(int) } else { None }));
            Arc::new(builder.finish())
        }
        Kind::Time => {
            let mut builder = TimestampMillisecondBuilder::with_capacity(rows.len()).with_timezone(UTC);
            values.for_each(|value| {
                builder.append_option(if let Value::Time(time) = value { Some(time.as_millis()) } else { None });
            });
            Arc::new(builder.finish())
        }
        Kind::Text => {
            let mut builder = StringBuilder::with_capacity(rows.len(), rows.len() * 8);
            values
                .for_each(|value| builder.append_option(if let Value::Text(text) = value { Some(text) } else { None }));
            Arc::new(builder.finish())
        }
        Kind::TextList => lists(values, rows.len()),
    }
}

fn lists<'a>(values: impl Iterator<Item = Value<'a>>, rows: usize) -> ArrayRef {
    let mut builder = ListBuilder::with_capacity(StringBuilder::new(), rows);
    for value in values {
        let known = if let Value::TextList(list) = value {
            list.iter().for_each(|text| builder.values().append_value(text));
            true
        } else {
            false
        };
        builder.append(known);
    }
    Arc::new(builder.finish())
}

impl Verdicts {
    /// What the rule at `rule` says of the row at `row`; unknown for a disabled rule.
    pub fn when(&self, rule: usize, row: usize) -> Verdict {
        self.answer(rule).map_or(Verdict::Unknown, |answer| verdict(&answer.when, row))
    }

    /// What its clearing predicate says: `not (when)` unless the rule has one.
    pub fn clear(&self, rule: usize, row: usize) -> Verdict {
        match self.answer(rule) {
            None => Verdict::Unknown,
            Some(Answer { clear: Some(clear), .. }) => verdict(clear, row),
            Some(answer) => !verdict(&answer.when, row),
        }
    }

    /// How grave it is: the first case that holds, else the rule's default; `None` where `when` is not true.
    pub fn severity(&self, rule: usize, row: usize) -> Option<Severity> {
        let answer = self.answer(rule).filter(|answer| verdict(&answer.when, row) == Verdict::True)?;
        let case = answer.cases.iter().find(|(_, holds)| verdict(holds, row) == Verdict::True);
        Some(case.map_or(answer.severity_default, |(severity, _)| *severity))
    }

    /// What a rule that is judged for each zone says of the row in each of its zones, and whether what it says of zones that the
    /// truck is not in is that they are left: then that its clearing predicate holds there. `None`: the rule is not such a one.
    pub fn of_zones(&self, rule: usize, row: usize) -> Option<(Vec<ZoneVerdict<'_>>, Verdict, Verdict)> {
        let zones = self.zones.as_ref()?;
        let answer = zones.verdicts.answer(rule)?;
        let place = zones.starts[row];
        let each = (place + 1..zones.starts[row + 1]).map(|zone| ZoneVerdict {
            row: &zones.rows[zone],
            when: verdict(&answer.when, zone),
            clear: zones.verdicts.clear(rule, zone),
            severity: zones.verdicts.severity(rule, zone),
        });
        let elsewhere = if zones.rows[place].zones.is_some() { Verdict::False } else { Verdict::Unknown };
        let clear = if answer.clear.is_some() { zones.verdicts.clear(rule, place) } else { !elsewhere };
        Some((each.collect(), elsewhere, clear))
    }

    /// The row as a rule sees it: of one that is judged for each zone, in the zone named `zone_id`, else in the first of which it
    /// says true, else in the first.
    pub fn seen<'a>(
        &'a self,
        rule: usize,
        row: usize,
        facts: &'a Facts,
        zone_id: Option<&str>,
    ) -> (&'a Facts, Verdict) {
        let Some((zones, elsewhere, _)) = self.of_zones(rule, row) else { return (facts, self.when(rule, row)) };
        let seen = match zone_id {
            Some(_) => zones.iter().find(|zone| zone.row.zone_id.as_deref() == zone_id),
            None => zones.iter().find(|zone| zone.when == Verdict::True).or(zones.first()),
        };
        seen.map_or((facts, elsewhere), |zone| (zone.row, zone.when))
    }

    /// For each row whether any rule says true of it: the others need no look unless an alert is under way.
    pub fn raised(&self) -> Vec<bool> {
        let mut raised = vec![false; self.rows];
        for Answer { when, .. } in self.answers.iter().flatten() {
            if when.true_count() > 0 {
                let holds = when.nulls().map_or_else(|| when.values().clone(), |known| when.values() & known.inner());
                holds.set_indices().for_each(|row| raised[row] = true);
            }
        }
        raised
    }

    /// How many answers are unknown because arithmetic failed on the row.
    pub fn faults(&self) -> u64 {
        self.faults
    }

    /// How many rows were judged.
    pub fn rows(&self) -> usize {
        self.rows
    }

    fn answer(&self, rule: usize) -> Option<&Answer> {
        self.answers.get(rule).and_then(Option::as_ref)
    }
}

fn verdict(answers: &BooleanArray, row: usize) -> Verdict {
    if answers.is_null(row) { Verdict::Unknown } else { Verdict::from(Some(answers.value(row))) }
}
