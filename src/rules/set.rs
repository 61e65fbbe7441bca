//! A set of rules: loaded as a whole or not at all.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};

use super::{
    Rule, RuleErrors, Verdicts,
    check::{self, Checked, relations::set_shadows_apart, risk::Sheet},
    compile,
    errors::nearest,
    evaluate::Program,
    file::{self, Source},
    risk::RiskSheet,
};
use crate::model::{Column, ColumnSet, Facts, Text};

/// What every alert carries, whatever its rule reads.
const ALWAYS: &[&str] = &[
    "vehicle_id",
    "plate",
    "company_id",
    "driver_id",
    "event_time",
    "lat",
    "lon",
    "place_id",
    "district_id",
    "road_id",
    "permit_id",
    "manifest_id",
    "trip_id",
    "row_kind",
];

/// The rules of a folder, checked and compiled. Immutable; cheap to clone and to share between threads.
#[derive(Clone, Debug)]
pub struct RuleSet(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rules: Vec<Rule>,
    columns: ColumnSet,
    asks_timer: bool,
    asks_sighting: bool,
    tallies: bool,
    /// Rules in the order in which they are judged: what inhibits comes before what it inhibits.
    order: Vec<u32>,
    digest: String,
    program: Program,
    risk: Option<Arc<RiskSheet>>,
    files: Vec<(Text, Text)>,
}

impl RuleSet {
    /// Loads `*.yaml` and `*.yml` of a folder and of folders in it, without the tests (`*_test.yaml`).
    ///
    /// # Errors
    /// When the folder or a file can't be read or there is no such file, or with every problem in every file.
    pub fn load(dir: &Path) -> Result<Self, RuleErrors> {
        Self::load_enabling(dir, &[])
    }

    /// Loads the rules of a folder and those that another adds to them. A rule of both is an error.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with(dir: &Path, added: &Path) -> Result<Self, RuleErrors> {
        let sources = [sources(dir)?, sources(added)?].concat();
        Self::from_sources(sources, |rule| rule.enabled)
    }

    /// The same with some rules on that are off; ids that no rule has change nothing.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_enabling(dir: &Path, ids: &[String]) -> Result<Self, RuleErrors> {
        let ids = ids.to_vec();
        let enable = move |rule: &Rule| rule.enabled || ids.iter().any(|id| **id == *rule.id);
        Self::from_sources(sources(dir)?, enable)
    }

    /// The files that [`Self::load`] would read.
    ///
    /// # Errors
    /// When the folder, or one in it, can't be read.
    pub fn paths(dir: &Path) -> Result<Vec<PathBuf>, RuleErrors> {
        file::paths(dir, |name| !file::is_test(name))
    }

    /// Loads from texts, each with the name that errors call it by.
    ///
    /// # Errors
    /// Every problem in every text.
    pub fn parse(files: &[(&str, &str)]) -> Result<Self, RuleErrors> {
        Self::from_sources(files.iter().map(|(name, text)| Source::new(name, text)).collect(), |rule| rule.enabled)
    }

    /// Loads what was in force once, by texts that were kept: [`Self::files`].
    ///
    /// # Errors
    /// Every problem that was one then.
    pub fn parse_kept(files: &[(&str, &str)]) -> Result<Self, RuleErrors> {
        let sources = files.iter().map(|(name, text)| Source::new(name, text)).collect();
        Self::build(sources, |rule| rule.enabled, true)
    }

    /// The same rules with only these enabled, of those that are.
    ///
    /// # Errors
    /// As [`Self::parse`]: none that it was not loaded with.
    pub fn only(&self, ids: BTreeSet<Text>) -> Result<Self, RuleErrors> {
        let sources = self.0.files.iter().map(|(name, text)| Source::new(name, text)).collect();
        let enabled: BTreeSet<Text> =
            self.enabled().map(|rule| rule.id.clone()).filter(|id| ids.contains(id)).collect();
        Self::build(sources, move |rule| enabled.contains(&rule.id), true)
    }

    fn from_sources(
        sources: Vec<Source>,
        is_enabled: impl Fn(&Rule) -> bool + Send + 'static,
    ) -> Result<Self, RuleErrors> {
        Self::build(sources, is_enabled, false)
    }

    fn build(
        sources: Vec<Source>,
        is_enabled: impl Fn(&Rule) -> bool + Send + 'static,
        is_kept: bool,
    ) -> Result<Self, RuleErrors> {
        compile::with_deep_stack(move || {
            let Checked { mut rules, terms, risk } = check::check(&sources, is_kept)?;
            rules.iter_mut().for_each(|rule| rule.enabled = is_enabled(rule));
            set_shadows_apart(&mut rules);
            let risk = risk.map(|sheet| link(sheet, &mut rules)).transpose()?.flatten();
            let enabled = rules.iter().zip(&terms).filter(|(rule, _)| rule.enabled);
            let judged = enabled.fold(ColumnSet::default(), |set, (_, terms)| set.union(terms.when.columns));
            let program = Program::new(&rules, terms)?;
            let files = sources.into_iter().map(|source| (source.name, source.text.into())).collect();
            Ok(Self(Arc::new(Inner { files, ..Inner::new(rules, judged, program, risk) })))
        })
    }

    /// Every rule by id, the disabled ones too.
    pub fn rules(&self) -> &[Rule] {
        &self.0.rules
    }

    /// Those that are evaluated.
    pub fn enabled(&self) -> impl Iterator<Item = &Rule> {
        self.0.rules.iter().filter(|rule| rule.enabled)
    }

    /// The index of a rule.
    pub fn index_of(&self, rule_id: &str) -> Option<usize> {
        self.0.rules.binary_search_by(|rule| (*rule.id).cmp(rule_id)).ok()
    }

    /// The rule whose id is nearest to a word, when one is near enough to be what was meant.
    pub fn nearest(&self, word: &str) -> Option<&str> {
        nearest(word, self.0.rules.iter().map(|rule| &*rule.id))
    }

    /// Every column that an enabled rule reads, is keyed by or shows, and what an alert always carries.
    pub fn columns(&self) -> ColumnSet {
        self.0.columns
    }

    /// Whether any enabled rule judges rows made by the clock; otherwise such rows need not be made.
    pub fn asks_timer(&self) -> bool {
        self.0.asks_timer
    }

    /// Whether any enabled rule judges sightings.
    pub fn asks_sighting(&self) -> bool {
        self.0.asks_sighting
    }

    /// How risky a truck is before it departs, when an enabled sheet says so.
    pub fn risk(&self) -> Option<&Arc<RiskSheet>> {
        self.0.risk.as_ref()
    }

    /// Whether any enabled rule counts over vehicles or alerts.
    pub fn has_tallies(&self) -> bool {
        self.0.tallies
    }

    /// Indices of the enabled rules in the order in which they are judged: what inhibits comes before what it inhibits.
    pub fn order(&self) -> &[u32] {
        &self.0.order
    }

    /// Digest of all rules as loaded: 16 hexadecimal digits of SHA-256.
    pub fn digest(&self) -> &str {
        &self.0.digest
    }

    /// The files that it was loaded from, each with the name that errors call it by: [`Self::parse`] makes the same set of them.
    pub fn files(&self) -> &[(Text, Text)] {
        &self.0.files
    }

    /// Judges rows by every enabled rule.
    ///
    /// # Errors
    /// Only when rows don't fit the compiled columns, which is a defect here; arithmetic that fails on a row makes
    /// that answer unknown instead.
    pub fn evaluate(&self, rows: &[Facts]) -> Result<Verdicts, RuleErrors> {
        self.0.program.evaluate(rows)
    }
}

impl Default for RuleSet {
    /// No rules.
    fn default() -> Self {
        Self(Arc::new(Inner::new(Vec::new(), ColumnSet::default(), Program::default(), None)))
    }
}

impl Inner {
    fn new(rules: Vec<Rule>, judged: ColumnSet, program: Program, risk: Option<Arc<RiskSheet>>) -> Self {
        let enabled = || rules.iter().filter(|rule| rule.enabled);
        let always = ALWAYS.iter().filter_map(|name| Column::named(name)).collect::<ColumnSet>();
        let columns = enabled().fold(always.union(judged), |set, rule| set.union(rule.needed()));
        let asks_timer = enabled().any(|rule| rule.asks_timer);
        let asks_sighting = enabled().any(|rule| rule.asks_sighting);
        let tallies = enabled().any(|rule| rule.tally.is_some());
        let order = order(&rules);
        let digest = digest(rules.iter().map(|rule| &*rule.version));
        Self { rules, columns, asks_timer, asks_sighting, tallies, order, digest, program, risk, files: Vec::new() }
    }
}

/// The rule files of a folder. One without any is a wrong path, or a copy that is not finished.
fn sources(dir: &Path) -> Result<Vec<Source>, RuleErrors> {
    let sources = file::read_dir(dir, |name| !file::is_test(name))?;
    if sources.is_empty() {
        return Err(RuleErrors::Nothing { path: dir.to_owned(), what: "there is no rule file (*.yaml) in it" });
    }
    Ok(sources)
}

/// Compiles a sheet and hands it to the rule that alerts by it; `None` when that one is disabled.
fn link(sheet: Sheet, rules: &mut [Rule]) -> Result<Option<Arc<RiskSheet>>, RuleErrors> {
    let Ok(rule) = rules.binary_search_by(|rule| rule.id.cmp(&sheet.rule_id)) else { return Ok(None) };
    let (reasons, terms): (Vec<Rule>, Vec<_>) = sheet.reasons.into_iter().unzip();
    let program = Program::new(&reasons, terms)?;
    let sheet =
        Arc::new(RiskSheet { rule_id: sheet.rule_id, weights: sheet.weights, reasons, levels: sheet.levels, program });
    rules[rule].risk = Some(Arc::clone(&sheet));
    Ok(rules[rule].enabled.then_some(sheet))
}

/// The enabled rules, each after those that inhibit it. There are no rings: they are refused when loaded.
fn order(rules: &[Rule]) -> Vec<u32> {
    fn visit(index: usize, rules: &[Rule], seen: &mut [bool], order: &mut Vec<u32>) {
        if std::mem::replace(&mut seen[index], true) {
            return;
        }
        for id in &rules[index].inhibited_by {
            if let Ok(before) = rules.binary_search_by(|rule| rule.id.cmp(id)) {
                visit(before, rules, seen, order);
            }
        }
        if rules[index].enabled {
            order.push(index as u32);
        }
    }
    let (mut seen, mut order) = (vec![false; rules.len()], Vec::with_capacity(rules.len()));
    (0..rules.len()).for_each(|index| visit(index, rules, &mut seen, &mut order));
    order
}

/// 16 hexadecimal digits of SHA-256 over the parts, each on a line.
pub(super) fn digest<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update(b"\n");
    }
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
