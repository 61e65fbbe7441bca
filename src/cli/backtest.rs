//! `muckwatch rules backtest`: what other rules would have done with what came.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs::File,
    io::BufWriter,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use anyhow::{Context, bail};
use serde_json::json;

use super::{front::Front, ledger::JOURNAL, now, registry::BOOK, replay::Records, rules::reported, serve, simulate};
use crate::{
    command::Forecast,
    config::{Config, FILE_VARIABLE, Overrides},
    engine::Reference,
    history::backtest::{Changed, Comparison, Counts, Load, Ran, Sent, Side, run as judge, tied},
    ingest::Format,
    journal::{Catalogue, Journal, JournalError},
    model::{Alert, Record, Text, Time, Transition, Zone, counted},
    registry::{Book, Registry},
    rules::RuleSet,
};

#[derive(clap::Args)]
pub struct BacktestArgs {
    /// Folder of the new rules
    #[arg(long, value_name = "DIR")]
    rules: PathBuf,
    /// The folder adds to the rules that it is compared with, instead of taking their place
    #[arg(long)]
    add: bool,
    /// Folder of the rules to compare them with [default: the configured folder, ./rules]
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// Folder of registry files [default: what was imported into the data folder]
    #[arg(long, value_name = "DIR")]
    registry: Option<PathBuf>,
    /// Over the history in the data folder: of the last 7d (any number and m, h or d), or since a time such as
    /// 2026-03-01T00:00:00+08:00
    #[arg(long, value_name = "7d|TIME", value_parser = since, required_unless_present = "input", conflicts_with = "input")]
    since: Option<Since>,
    /// Over files of reports instead, one JSON object a line, in order of arrival; .gz and .zst too; `-` is standard input
    #[arg(long, value_name = "FILE", num_args = 1..)]
    input: Vec<PathBuf>,
    /// Dialect of the files: native, emqx-jt808, owntracks, traccar or teltonika
    #[arg(long, value_name = "DIALECT", default_value = "native")]
    format: Format,
    /// Where muckwatch keeps its data [default: ./data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Configuration file: settings of facts, admission and dispatch
    #[arg(long, value_name = "FILE", env = FILE_VARIABLE)]
    config: Option<PathBuf>,
    /// IANA time zone of days, schedules and local-time facts [default: as configured, Asia/Shanghai]
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Threads that judge, for each of the two sets of rules; what is found is the same with any number
    #[arg(long, value_name = "N", default_value_t = 1)]
    shards: usize,
    /// Judge only the rules that differ, and those that their alerts depend on: about twice as quick
    #[arg(long)]
    only_changed: bool,
    /// Write the whole comparison, with every alert gained, lost and changed, as JSON
    #[arg(long, value_name = "OUT.json")]
    json: Option<PathBuf>,
    /// End with status 1 when anything is different
    #[arg(long)]
    fail_on_diff: bool,
}

/// How far back.
#[derive(Clone, Copy, Debug)]
pub(super) enum Since {
    Ago(i64),
    At(Time),
}

impl Since {
    pub(super) fn time(self, now: Time) -> Time {
        match self {
            Self::Ago(ms) => now.plus_ms(ms.saturating_neg()),
            Self::At(time) => time,
        }
    }
}

pub(super) fn since(text: &str) -> Result<Since, String> {
    if let Ok(ago) = simulate::duration(text) {
        return Ok(Since::Ago(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)));
    }
    text.parse().map(Since::At).map_err(|_| format!("{text:?} is neither a duration such as 7d nor a time"))
}

/// Lines of a table and alerts of a kind that are shown; the JSON has them all.
const SHOWN: usize = 10;

/// # Errors
/// When a folder or file cannot be read, or there is nothing to judge.
pub fn run(args: &BacktestArgs) -> anyhow::Result<ExitCode> {
    let overrides = Overrides {
        data: args.data.clone(),
        rules: args.against.clone(),
        time_zone: args.time_zone.clone(),
        ..Overrides::default()
    };
    let config = Config::load(args.config.as_deref(), std::env::vars(), &overrides)?.config;
    let Some(old) = reported(RuleSet::load(&config.rules))? else { return Ok(ExitCode::FAILURE) };
    let new = if args.add { RuleSet::load_with(&config.rules, &args.rules) } else { RuleSet::load(&args.rules) };
    let Some(new) = reported(new)? else { return Ok(ExitCode::FAILURE) };
    let rules = RuleChanges::of(&old, &new);
    let narrowed = if args.only_changed { narrow(&old, &new, &rules)? } else { None };
    let (old, new) = narrowed.unwrap_or((old, new));
    let registry = Arc::new(registry(args, &config)?);
    let reference = |rules: &RuleSet| Reference {
        registry: Arc::clone(&registry),
        rules: Arc::new(rules.clone()),
        facts: config.facts(),
        tick_ms: config.tick_ms(),
        late: config.late(),
    };
    let (before, after) = (reference(&old), reference(&new));
    let mut forecasts = [Forecast::new(config.dispatch()), Forecast::new(config.dispatch())];
    let dispatch = |side: Side, transition: &Transition, at: Time| {
        let order = forecasts[usize::from(side == Side::After)].alert(transition, at)?;
        Some(Sent { at: order.created_at, departments: order.departments, kind: order.kind })
    };
    let began = Instant::now();
    let ran: Ran = if let Some(since) = args.since {
        let since = since.time(now());
        let ran = judge(&before, &after, args.shards, History::open(&config.data.join(JOURNAL), since)?, dispatch)?;
        let said = config.zone().clock(since);
        anyhow::ensure!(ran.span.is_some(), "{} holds no report since {said}", config.data.display());
        ran
    } else {
        let front = Front::new(registry, config.admission(), config.tick_ms()).with_format(args.format);
        let ran = judge(&before, &after, args.shards, Records::of(&args.input, front), dispatch)?;
        anyhow::ensure!(ran.span.is_some(), "the input holds no report");
        ran
    };
    let took_s = began.elapsed().as_secs_f64();
    let comparison = Comparison::of(&ran, &old, &new, &config.zone());
    if let Some(path) = &args.json {
        write_json(path, &ran, &rules, &comparison)?;
    }
    out!("{}", told(&ran, &rules, &comparison, &config.zone()).trim_end());
    let received = ran.ledger.received();
    say!(
        "{} judged by both in {took_s:.1} s ({:.0}/s)",
        counted(received, "report"),
        received as f64 / took_s.max(1e-9)
    );
    let differs = args.fail_on_diff && comparison.differs();
    Ok(if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The two sets with only what differs and what that depends on; `None` when that is all.
fn narrow(old: &RuleSet, new: &RuleSet, rules: &RuleChanges) -> anyhow::Result<Option<(RuleSet, RuleSet)>> {
    let differing: BTreeSet<Text> = rules.changes.values().flatten().cloned().collect();
    let Some(ids) = tied([old, new], differing) else {
        say!("all rules are judged: one that differs, or depends on one, asks how many alerts there were of all");
        return Ok(None);
    };
    let recent: BTreeSet<&str> = [old, new]
        .into_iter()
        .flat_map(RuleSet::enabled)
        .filter(|rule| rule.asks_recent())
        .map(|rule| &*rule.id)
        .collect();
    let narrowed = (old.only(ids.clone())?, new.only(ids)?);
    let judged: BTreeSet<&str> =
        [&narrowed.0, &narrowed.1].into_iter().flat_map(RuleSet::enabled).map(|rule| &*rule.id).collect();
    let named = if judged.is_empty() { "none".to_owned() } else { judged.into_iter().collect::<Vec<_>>().join(", ") };
    say!("judged, of both sets: {named}");
    if !recent.is_empty() {
        let recent = recent.into_iter().collect::<Vec<_>>().join(", ");
        say!("not judged though they may change, for they ask how many alerts there were of all: {recent}");
    }
    Ok(Some(narrowed))
}

/// The folder that was named, else what the data folder holds, else the folder that is configured.
fn registry(args: &BacktestArgs, config: &Config) -> anyhow::Result<Registry> {
    if let Some(dir) = &args.registry {
        return Ok(Registry::read_dir(dir, &config.zone())?);
    }
    let book = config.data.join(BOOK);
    if book.exists() {
        return Ok(Book::open(&book)?.load()?);
    }
    if config.registry.as_os_str().is_empty() {
        bail!("{} is missing: name a folder of registry files with --registry", book.display());
    }
    Ok(Registry::read_dir(&config.registry, &config.zone())?)
}

/// The records of the journal that arrived since a time.
struct History {
    records: crate::journal::Records,
    since: Time,
    progress: indicatif::ProgressBar,
}

impl History {
    fn open(journal: &Path, since: Time) -> anyhow::Result<Self> {
        if !journal.is_dir() {
            bail!("{} is no history of muckwatch: there is no such folder", journal.display());
        }
        let catalogue = Catalogue::of(journal)?;
        let records = Journal::read(journal, catalogue.first_since(since))?;
        let style = indicatif::ProgressStyle::with_template("{wide_bar} {percent:>3} %  {eta} left");
        let bar = indicatif::ProgressBar::new(now().ms_since(since).max(0).unsigned_abs());
        Ok(Self { records, since, progress: style.map_or(bar.clone(), |style| bar.with_style(style)) })
    }
}

impl Iterator for History {
    type Item = anyhow::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.records.next()? {
                Ok((_, record)) if record.recv_time < self.since => {}
                Ok((position, record)) => {
                    // A bar asks the clock at every step.
                    if position % 8_192 == 0 {
                        self.progress.set_position(record.recv_time.ms_since(self.since).max(0).unsigned_abs());
                    }
                    return Some(Ok(record));
                }
                // What is not there any more, neither side gets.
                Err(error @ (JournalError::Lost { .. } | JournalError::Damaged { .. })) => {
                    self.progress.suspend(|| say!("left out: failed to {error}"));
                }
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.progress.finish_and_clear();
    }
}

/// How the two sets of rules themselves differ.
struct RuleChanges {
    before: usize,
    after: usize,
    /// By what became of them.
    changes: BTreeMap<&'static str, Vec<Text>>,
}

impl RuleChanges {
    fn of(before: &RuleSet, after: &RuleSet) -> Self {
        let enabled = |set: &RuleSet| set.rules().iter().filter(|rule| rule.enabled).count();
        let mut changes: BTreeMap<&'static str, Vec<Text>> = BTreeMap::new();
        for (rule, change) in serve::rule_changes(before, after) {
            changes.entry(change).or_default().push(rule);
        }
        Self { before: enabled(before), after: enabled(after), changes }
    }

    fn in_words(&self) -> String {
        if self.changes.is_empty() {
            return "none differs".to_owned();
        }
        let words: Vec<String> =
            self.changes.iter().map(|(change, rules)| format!("{change}: {}", rules.join(", "))).collect();
        words.join("; ")
    }
}

fn write_json(path: &Path, ran: &Ran, rules: &RuleChanges, comparison: &Comparison) -> anyhow::Result<()> {
    let place = || format!("failed to write {}", path.display());
    let (from, to) = ran.span.unzip();
    let whole = json!({
        "reports": ran.ledger.received(),
        "vehicles_reporting": ran.vehicles,
        "from": from,
        "to": to,
        "rule_changes": rules.changes,
        "comparison": comparison,
    });
    let out = BufWriter::new(File::create(path).with_context(place)?);
    serde_json::to_writer_pretty(out, &whole).with_context(place)
}

/// All of it, for a person.
fn told(ran: &Ran, rules: &RuleChanges, comparison: &Comparison, zone: &Zone) -> String {
    let mut text = String::new();
    let span = ran.span.map_or(String::new(), |(from, to)| format!(", {} to {}", zone.clock(from), zone.clock(to)));
    line(
        &mut text,
        &format!("{} of {}{span}", counted(ran.ledger.received(), "report"), counted(ran.vehicles, "vehicle")),
    );
    line(&mut text, &format!("{} in force, {} new; {}", counted(rules.before, "rule"), rules.after, rules.in_words()));
    let Counts { before, after, gained, lost, changed } = comparison.all;
    let fields: Vec<String> = comparison.fields.iter().map(|(field, count)| format!("{field} {count}")).collect();
    let fields = if fields.is_empty() { String::new() } else { format!(" ({})", fields.join(", ")) };
    line(
        &mut text,
        &format!(
            "{} before, {after} after: {gained} gained, {lost} lost, {changed} changed{fields}\n",
            counted(before, "alert")
        ),
    );
    table(&mut text, "rule", &comparison.rules, SHOWN.max(30));
    table(&mut text, "day", &comparison.days, usize::MAX);
    table(&mut text, "department", &comparison.departments, usize::MAX);
    table(&mut text, "vehicle", &comparison.vehicles, SHOWN);
    load(&mut text, comparison);
    alerts(&mut text, "gained", &comparison.gained, zone);
    alerts(&mut text, "lost", &comparison.lost, zone);
    changes(&mut text, &comparison.changed, zone);
    text
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// The rows in which something differs, those that differ most first.
fn table<K: AsRef<str> + Ord>(text: &mut String, what: &str, rows: &BTreeMap<K, Counts>, most: usize) {
    let mut differing: Vec<(&str, &Counts)> =
        rows.iter().filter(|(_, counts)| counts.differ()).map(|(name, counts)| (name.as_ref(), counts)).collect();
    if differing.is_empty() {
        return;
    }
    let all = differing.len();
    if all > most {
        differing.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.gained + counts.lost + counts.changed));
        differing.truncate(most);
    }
    let width = differing.iter().map(|(name, _)| name.chars().count()).chain([what.len(), 7]).max().unwrap_or_default();
    line(
        text,
        &format!("{what:<width$} {:>8} {:>8} {:>8} {:>8} {:>8}", "before", "after", "gained", "lost", "changed"),
    );
    for (name, Counts { before, after, gained, lost, changed }) in differing {
        let name = if name.is_empty() { "(many)" } else { name };
        line(text, &format!("{name:<width$} {before:>8} {after:>8} {gained:>8} {lost:>8} {changed:>8}"));
    }
    if all > most {
        line(text, &format!("and {} more", all - most));
    }
    text.push('\n');
}

/// What people would have to do.
fn load(text: &mut String, comparison: &Comparison) {
    let days = comparison.orders.len() as f64;
    if comparison.orders.is_empty() {
        return line(text, "nobody would be sent, before or after\n");
    }
    let mut sums: BTreeMap<String, Load> = BTreeMap::new();
    let mut add = |name: String, load: &Load| {
        let sum = sums.entry(name).or_default();
        (sum.before, sum.after) = (sum.before + load.before, sum.after + load.after);
    };
    for day in comparison.orders.values() {
        add(" all".to_owned(), &day.all);
        day.kinds.iter().for_each(|(kind, load)| add(format!(" for a {kind}"), load));
        day.departments.iter().for_each(|(department, load)| add(department.to_string(), load));
    }
    line(text, &format!("orders over {}, by local day", counted(comparison.orders.len() as u64, "day")));
    let width = sums.keys().map(|name| name.chars().count()).max().unwrap_or_default().max(12);
    line(text, &format!("{:<width$} {:>8} {:>8} {:>8} {:>8}", "department", "before", "after", "a day", "a day"));
    for (name, Load { before, after }) in &sums {
        let name = name.trim_start();
        let (per_day_before, per_day_after) = (*before as f64 / days, *after as f64 / days);
        line(text, &format!("{name:<width$} {before:>8} {after:>8} {per_day_before:>8.1} {per_day_after:>8.1}"));
    }
    if comparison.orders.len() > 1 {
        for (day, load) in &comparison.orders {
            line(text, &format!("{day:<width$} {:>8} {:>8}", load.all.before, load.all.after));
        }
    }
    text.push('\n');
}

fn alerts(text: &mut String, what: &str, all: &[Alert], zone: &Zone) {
    if all.is_empty() {
        return;
    }
    heading(text, what, all.len());
    all.iter().take(SHOWN).for_each(|alert| line(text, &in_words(alert, zone)));
    text.push('\n');
}

fn changes(text: &mut String, all: &[Changed], zone: &Zone) {
    if all.is_empty() {
        return;
    }
    heading(text, "changed", all.len());
    for Changed { fields, before, after } in all.iter().take(SHOWN) {
        line(text, &in_words(before, zone));
        let mut differences = String::new();
        let (old, new) = (json!(before), json!(after));
        for field in fields.iter().filter(|field| **field != "joined") {
            let one = |alert: &serde_json::Value| match alert.get(*field) {
                None => "-".to_owned(),
                Some(value) if field.ends_with("_at") => {
                    let at = value.as_str().and_then(|text| text.parse().ok());
                    at.map_or_else(|| value.to_string(), |at| zone.clock(at))
                }
                Some(value) => value.to_string(),
            };
            // Writing to a String cannot fail.
            let _ = write!(differences, "    {field}: {} -> {}", one(&old), one(&new));
        }
        line(text, &differences);
    }
}

fn heading(text: &mut String, what: &str, all: usize) {
    let shown = if all > SHOWN { format!(", the first {SHOWN} of {all}") } else { String::new() };
    line(text, &format!("{what}{shown}"));
}

/// `2026-03-01 22:05:09 major overspeed: 粤B12345 74 km/h`.
fn in_words(alert: &Alert, zone: &Zone) -> String {
    let shadow = if alert.shadow { " (shadow)" } else { "" };
    format!("  {} {} {}{shadow}: {}", zone.clock(alert.fired_at), alert.severity, alert.rule_id, alert.message)
}
