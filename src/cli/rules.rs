//! `muckwatch rules`: the rule author's tool.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, bail};
use clap::Subcommand;

use super::front::Front;
use crate::{
    config::Config,
    engine::{Reference, replay},
    model::{Alarm, Alert, Body, Column, DeadLetter, EventKind, Record, counted},
    registry::Registry,
    rules::{self, RegistrySource, RuleErrors, RuleSet, TestCase, TestFile},
};

#[derive(Subcommand)]
pub enum RulesCommand {
    /// Check every rule file of a folder: all errors at once, each with file, line, column and a hint
    Check {
        /// Folder of *.yaml, and of folders of them
        dir: PathBuf,
        /// Registry folder: warn of departments that none of its units works for
        #[arg(long, value_name = "DIR")]
        registry: Option<PathBuf>,
    },
    /// Run the tests that stand beside the rules (*_test.yaml): the alerts expected, and no others
    Test {
        /// Folder of rules and their tests
        dir: PathBuf,
        /// Write what came into the `expect` of every test that differs or has none; read the changes before you keep them
        #[arg(long)]
        complete: bool,
    },
    /// Show how one rule judges the reports of a file, a line where something changes: what it says and why, how long it has held,
    /// when it fires, clears and cools down
    Watch(super::watch::WatchArgs),
    /// Judge what came by new rules and by those in force, and tell the difference: alerts gained, lost and changed, and how many
    /// orders a day people would get
    Backtest(Box<super::backtest::BacktestArgs>),
    /// Print the JSON Schema of rule files, for completion and hover in editors
    Schema,
    /// Say what a fact is: type, unit, when it is NULL, its words, and which rules read it; without a name list all facts
    ExplainFact {
        /// The fact, such as speed_kmh; a part of its name, or a Chinese word such as 车速, finds all that are called so
        name: Option<String>,
        /// Folder of rules, to say which of them read it
        #[arg(long, value_name = "DIR", default_value = "rules")]
        rules: PathBuf,
    },
    /// Print the page of all facts and functions that a rule may use (docs/facts.md), in Markdown
    Reference,
}

/// # Errors
/// When files cannot be read.
pub fn run(command: &RulesCommand) -> anyhow::Result<ExitCode> {
    match command {
        RulesCommand::Check { dir, registry } => check(dir, registry.as_deref()),
        RulesCommand::Test { dir, complete: true } => complete(dir),
        RulesCommand::Test { dir, complete: false } => test(dir),
        RulesCommand::Watch(args) => super::watch::run(args),
        RulesCommand::Backtest(args) => super::backtest::run(args),
        RulesCommand::Schema => {
            out!("{:#}", rules::schema());
            Ok(ExitCode::SUCCESS)
        }
        RulesCommand::ExplainFact { name: None, .. } => {
            print(&rules::fact_list(Column::all()));
            Ok(ExitCode::SUCCESS)
        }
        RulesCommand::ExplainFact { name: Some(name), rules } => explain_fact(name, rules),
        RulesCommand::Reference => {
            print(&rules::reference()?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn print(text: &str) {
    out!("{}", text.trim_end());
}

/// Without a folder of rules the fact is explained all the same.
fn explain_fact(name: &str, folder: &Path) -> anyhow::Result<ExitCode> {
    let column = match rules::facts_named(name).map_err(anyhow::Error::msg)?.as_slice() {
        [column] => *column,
        many => {
            print(&rules::fact_list(many.iter().copied()));
            return Ok(ExitCode::SUCCESS);
        }
    };
    if !folder.is_dir() {
        print(&rules::explain(column, None));
        say!("{}: no such folder, so nobody knows which rules read it; name one with --rules", folder.display());
        return Ok(ExitCode::SUCCESS);
    }
    let Some(set) = reported(RuleSet::load(folder))? else { return Ok(ExitCode::FAILURE) };
    print(&rules::explain(column, Some(&set)));
    Ok(ExitCode::SUCCESS)
}

/// Departments as the rules of the pack name them, for where no registry says who there is.
const KNOWN_DEPARTMENTS: &[&str] =
    &["traffic_police", "urban_mgmt", "housing", "transport", "ecology", "water", COMPANY];

/// Whoever runs the truck: told without a unit of its own.
const COMPANY: &str = "company";

fn check(dir: &Path, registry: Option<&Path>) -> anyhow::Result<ExitCode> {
    let (rules, tests) = (RuleSet::load(dir), TestFile::read_dir(dir));
    let (Ok(rules), Ok(_)) = (&rules, &tests) else {
        report([rules.err(), tests.err()].into_iter().flatten())?;
        return Ok(ExitCode::FAILURE);
    };
    let registry = registry.map(|dir| Registry::read_dir(dir, &crate::model::Zone::china())).transpose()?;
    warnings(rules, registry.as_ref()).iter().for_each(|warning| out!("warning: {warning}"));
    let enabled = rules.enabled().count();
    let count = counted(rules.rules().len(), "rule");
    out!("{}: {count}, {enabled} enabled, no problems (digest {})", dir.display(), rules.digest());
    Ok(ExitCode::SUCCESS)
}

/// Makers have words of their own, so any is taken; one that is nearly one of ours may be a slip.
fn slip(list: &str, word: &str, place: &str) -> Option<String> {
    let known: Vec<&str> = match list {
        "alarms" => Alarm::ALL.iter().map(|alarm| alarm.as_str()).collect(),
        _ => EventKind::ALL.iter().map(|kind| kind.as_str()).collect(),
    };
    let near = (!known.contains(&word)).then(|| rules::nearest(word, known)).flatten()?;
    Some(format!("{place}: no device says `{word}` in `{list}` that we know of; did you mean `{near}`?"))
}

/// What may be meant otherwise than it is written.
fn warnings(rules: &RuleSet, registry: Option<&Registry>) -> Vec<String> {
    let (departments, mut warnings) = (departments(registry), Vec::new());
    for rule in rules.rules() {
        let place = format!("{}:{}: {}", rule.file, rule.line, rule.id);
        for department in rule.departments.iter().filter(|department| !departments.contains(&***department)) {
            let who = if registry.is_some() { "no unit of the registry works in" } else { "nobody may work in" };
            let near = rules::nearest(department, departments.iter().copied());
            let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
            let known = departments.iter().copied().collect::<Vec<_>>().join(", ");
            warnings.push(format!("{place}: {who} the department `{department}`; {near}known are {known}"));
        }
        for predicate in [Some(&rule.when), rule.clear.as_ref()].into_iter().flatten() {
            let hint = "put brackets around what belongs together";
            let read = rules::bracketed(predicate);
            warnings
                .extend(read.map(|read| format!("{place}: `and` beside `or` is read before it, as `{read}`; {hint}")));
            warnings.extend(rules::looked_up(predicate).iter().filter_map(|(list, word)| slip(list, word, &place)));
        }
    }
    warnings
}

/// Where somebody works: the departments of the registry's units; the usual ones without units.
fn departments(registry: Option<&Registry>) -> BTreeSet<&str> {
    let units = registry.into_iter().flat_map(|registry| registry.units(super::now()));
    let registered: BTreeSet<&str> = units.map(|unit| &*unit.department).collect();
    if registered.is_empty() {
        KNOWN_DEPARTMENTS.iter().copied().collect()
    } else {
        registered.into_iter().chain([COMPANY]).collect()
    }
}

fn test(dir: &Path) -> anyhow::Result<ExitCode> {
    let Some(rules) = reported(RuleSet::load(dir))? else { return Ok(ExitCode::FAILURE) };
    let Some(files) = reported(TestFile::read_dir(dir))? else { return Ok(ExitCode::FAILURE) };
    let (mut passed, mut failed) = (0, 0);
    for file in &files {
        for outcome in file.run(|case| alerts_of(dir, &rules, case))? {
            if outcome.differences.is_empty() {
                passed += 1;
                continue;
            }
            failed += 1;
            out!("{outcome}");
        }
    }
    out!("{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every file is judged before the first is written.
fn complete(dir: &Path) -> anyhow::Result<ExitCode> {
    let Some(rules) = reported(RuleSet::load(dir))? else { return Ok(ExitCode::FAILURE) };
    let Some(files) = reported(TestFile::read_dir_incomplete(dir))? else { return Ok(ExitCode::FAILURE) };
    let mut completed = Vec::new();
    for (file, text) in &files {
        let came = file.cases.iter().map(|case| alerts_of(dir, &rules, case)).collect::<anyhow::Result<Vec<_>>>()?;
        let place = || format!("{}: failed to complete the tests; nothing was written", file.path.display());
        completed.push((&file.path, file.complete(text, &came).with_context(place)?));
    }
    completed.retain(|(_, completed)| !completed.changed.is_empty());
    for (path, completed) in &completed {
        write_whole(path, &completed.text).with_context(|| format!("failed to write {}", path.display()))?;
        completed.changed.iter().for_each(|name| out!("{}: filled in: {name}", path.display()));
    }
    let changed: usize = completed.iter().map(|(_, completed)| completed.changed.len()).sum();
    out!("{} filled in, in {}", counted(changed, "test"), counted(completed.len(), "file"));
    Ok(ExitCode::SUCCESS)
}

/// Either the old text stands there or the new one.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.new"));
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path)
}

/// The value, or `None` after every problem has been said.
pub fn reported<T>(result: Result<T, RuleErrors>) -> anyhow::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(errors) => report([errors].into_iter()).map(|()| None),
    }
}

/// Says every problem.
fn report(all: impl Iterator<Item = RuleErrors>) -> anyhow::Result<()> {
    let mut said = 0;
    for errors in all {
        if errors.problems().is_empty() {
            return Err(errors.into());
        }
        errors.problems().iter().for_each(|problem| out!("{problem}\n"));
        said += errors.problems().len();
    }
    out!("{}", counted(said, "problem"));
    Ok(())
}

/// The final alerts of a test's reports, by the very engine that runs live. The rules are those of `dir`, loaded.
fn alerts_of(dir: &Path, rules: &RuleSet, case: &TestCase) -> anyhow::Result<Vec<Alert>> {
    let place = || format!("{}:{}: {}", case.file, case.line, case.name);
    if let Some(unknown) = case.enable.iter().find(|id| rules.index_of(id).is_none()) {
        bail!("{}: no rule is called `{unknown}`", place());
    }
    let rules = if case.enable.is_empty() { rules.clone() } else { RuleSet::load_enabling(dir, &case.enable)? };
    let config = Config::of_json(&case.settings).with_context(place)?;
    let registry = Arc::new(registry_of(case).with_context(place)?);
    let reference = Reference {
        registry: Arc::clone(&registry),
        rules: Arc::new(rules),
        facts: config.facts(),
        tick_ms: config.tick_ms(),
        late: config.late(),
    };
    let mut front = Front::new(registry, config.admission(), config.tick_ms());
    let mut records: Vec<Record> = Vec::new();
    for (index, report) in case.reports.iter().enumerate() {
        front.line(report.to_string().as_bytes(), &format!("report {}", index + 1), &mut records);
    }
    if let Some(letter) = records.iter().find_map(dead_letter) {
        bail!("{}: {}: {}", place(), letter.topic, letter.problem);
    }
    let replayed = replay::<anyhow::Error>(&reference, 1, records.into_iter().map(Ok))?;
    Ok(replayed.alerts)
}

fn dead_letter(record: &Record) -> Option<&DeadLetter> {
    match &record.body {
        Body::DeadLetter(letter) => Some(letter),
        _ => None,
    }
}

fn registry_of(case: &TestCase) -> anyhow::Result<Registry> {
    Ok(match &case.registry {
        RegistrySource::Empty => Registry::default(),
        RegistrySource::Files(files) => {
            let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
            Registry::parse(&files)?
        }
        RegistrySource::Folder(dir) => Registry::read_dir(dir, &crate::model::Zone::china())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slip in a department sends a grave alert to nobody; `and` beside `or` is read otherwise than it is meant.
    #[test]
    fn what_may_be_meant_otherwise_is_a_warning() {
        let rules = |rest: &str| RuleSet::parse(&[("a.yaml", &format!("rules: [{{ id: a, {rest} }}]"))]).unwrap();
        let units = "unit_id,department,kind\nU1,city_mgmt,squad\nU2,ecology,grid\n";
        let registered = Registry::parse(&[("units.csv", units)]).unwrap();
        let nobody = Registry::default();
        for (rest, registry, expected) in [
            ("when: moving, departments: [urban_mgmt, company]", None, ""),
            (
                "when: moving, departments: [urban_mgnt]",
                None,
                "a.yaml:1: a: nobody may work in the department `urban_mgnt`; did you mean `urban_mgmt`? known are",
            ),
            ("when: moving, departments: [urban_mgmt]", Some(&nobody), ""),
            ("when: moving, departments: [city_mgmt, ecology, company]", Some(&registered), ""),
            (
                "when: moving, departments: [urban_mgmt]",
                Some(&registered),
                "no unit of the registry works in the department `urban_mgmt`; known are city_mgmt, company, ecology",
            ),
            ("when: \"array_has(alarms, 'sos') and array_has(events, 'our_own_word')\"", None, ""),
            (
                "when: \"array_has(alarms, 'powerlost')\"",
                None,
                "no device says `powerlost` in `alarms` that we know of; did you mean `power_lost`?",
            ),
            ("when: \"array_has(events, 'fatige') and array_has(alarms, 'fatigue')\"", None, "`fatige` in `events`"),
            ("when: moving and loaded or in_sink", None, "as `(moving and loaded) or in_sink`; put brackets"),
            ("when: moving, clear: { when: loaded or not moving and in_sink }", None, "`loaded or (not moving and"),
        ] {
            let said = warnings(&rules(rest), registry).join("\n");
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{rest}: {said}");
        }
    }

    /// The example's units worked in a department that no rule of the pack tells: nobody would have been sent.
    #[test]
    fn the_units_of_the_example_folder_work_where_the_pack_tells() {
        let dir = tempfile::tempdir().unwrap();
        crate::registry::template(dir.path(), false).unwrap();
        let registry = Registry::read_dir(dir.path(), &crate::model::Zone::china()).unwrap();
        let departments: Vec<_> =
            registry.units("2026-03-01T00:00:00Z".parse().unwrap()).map(|unit| unit.department.clone()).collect();
        assert!(!departments.is_empty());
        for department in departments {
            assert!(KNOWN_DEPARTMENTS.contains(&&*department), "{department}");
        }
    }
}
