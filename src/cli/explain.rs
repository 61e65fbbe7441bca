//! `muckwatch explain`: why there was an alert, from history judged again.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, bail, ensure};

use super::{
    args::{FileSettings, Sources, setting},
    front::Front,
    input::Lines,
    ledger::{JOURNAL, STORE},
    now,
    registry::BOOK,
    replay::{Records, reference},
    simulate,
};
use crate::{
    config::{Config, FILE_VARIABLE, Overrides},
    engine::{
        Archive, Asked, BESIDE, Clause, Course, Difference, Evidence, FoundAgain, REPLAY_BATCH, Recall, Reference,
        Registered, Report, Standing, Step, Together, ToldAlert, evidence, find_all, is_missed, only_vehicle,
    },
    ingest::Format,
    model::{Alert, AlertId, AlertState, Record, Time, Zone, counted},
    registry::Book,
    store::{InForce, Reader},
};

#[derive(clap::Args)]
pub struct ExplainArgs {
    /// The alert: its id, or the beginning of it
    #[arg(value_name = "ALERT_ID", required_unless_present = "all", conflicts_with = "all")]
    alert: Option<String>,
    /// Judge all of history again, and say which alerts it does not give
    #[arg(long)]
    all: bool,
    /// Where muckwatch keeps its data [default: ./data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Configuration file: settings of facts, admission and time zone
    #[arg(long, value_name = "FILE", env = FILE_VARIABLE)]
    config: Option<PathBuf>,
    /// Everything as one JSON object, for programs
    #[arg(long)]
    json: bool,
    /// How much is shown before the alert began
    #[arg(long, value_name = "D", default_value = "5m", value_parser = ms)]
    before: i64,
    /// How much is shown after it fired, and after it cleared
    #[arg(long, value_name = "D", default_value = "5m", value_parser = ms)]
    after: i64,
    /// Of a replay: files of reports, as it was given them
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "registry")]
    input: Vec<PathBuf>,
    /// Of a replay: folder of registry files
    #[arg(long, value_name = "DIR", requires = "input")]
    registry: Option<PathBuf>,
    /// Of a replay: folder of rule files
    #[arg(long, value_name = "DIR", default_value = "rules", requires = "input")]
    rules: PathBuf,
    /// Of a replay: the alerts that it wrote, which must come again
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "input")]
    alerts: Vec<PathBuf>,
    /// Of a replay: dialect of the files
    #[arg(long, value_name = "DIALECT", default_value = "native", requires = "input")]
    format: Format,
    /// Of a replay: a setting as it was given, such as facts.road_sigma_m=8; once for each
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting, requires = "input")]
    set: Vec<(String, String)>,
    /// Of a replay: IANA time zone of schedules and local-time facts [default: Asia/Shanghai]
    #[arg(long, value_name = "ZONE", requires = "input")]
    time_zone: Option<String>,
}

fn ms(text: &str) -> Result<i64, String> {
    simulate::duration(text).map(|duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

/// What is shown around an alert when nobody says.
const AROUND_MS: i64 = 300_000;
/// Alerts that begin with what was asked for, or that differ, which are named.
const NAMED: usize = 20;

/// # Errors
/// When what is to be judged again cannot be read, or there is no such alert.
pub fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let failed = |error| anyhow::anyhow!("failed to {error}");
    if args.input.is_empty() {
        let overrides = Overrides { data: args.data.clone(), ..Overrides::default() };
        let config = Config::load(args.config.as_deref(), std::env::vars(), &overrides)?.config;
        let store = config.data.join(STORE);
        ensure!(store.exists(), "there is no {}: --data says where muckwatch keeps its data", store.display());
        let archive = archive(&config, Reader::open(&store)?);
        let mut told = Told::default();
        let until =
            archive.told(args.alert.as_deref().unwrap_or_default(), &mut |alert| told.add(alert)).map_err(failed)?;
        let Some(id) = &args.alert else {
            let (found, missing) = archive.find_all(until).map_err(failed)?;
            return Ok(all(args, &told, &found, &missing, began));
        };
        let evidence = archive.explain(args.asked(told.one(id)?, true), until).map_err(failed)?;
        return show(args, &evidence, &config.zone());
    }
    let files = Files::open(args)?;
    let mut told = Told::default();
    for path in &args.alerts {
        read_alerts(path, &mut told)?;
    }
    let Some(id) = &args.alert else {
        ensure!(!args.alerts.is_empty(), "--all needs --alerts: what the replay wrote");
        let found = find_all(&files.course(), files.records())?;
        return Ok(all(args, &told, &found, &[], began));
    };
    let is_told = !args.alerts.is_empty();
    if !is_told {
        find_all::<anyhow::Error>(&files.course(), files.records())?
            .alerts
            .into_values()
            .for_each(|alert| told.add(alert.into()));
    }
    told.alerts.retain(|key, _| key.0.starts_with(id.as_str()));
    // A folder has no versions: what it says is the first batch of a book.
    let mut book = Book::in_memory()?;
    book.import(args.registry.as_deref().unwrap_or(Path::new("")), now())?;
    let asked = args.asked(told.one(id)?, is_told);
    let only = only_vehicle(&files.course(), &asked.alert)?;
    let evidence = evidence(&files.course(), asked, only, Some(&book), files.records())?;
    show(args, &evidence, &args.settings().load()?.zone())
}

/// A data folder with the settings that hold.
pub fn archive(config: &Config, store: Reader) -> Archive {
    Archive {
        store,
        journal: config.data.join(JOURNAL),
        book: config.data.join(BOOK),
        rules: config.rules.clone(),
        facts: config.facts(),
        tick_ms: config.tick_ms(),
        late: config.late(),
    }
}

/// An alert that was told, with what is shown around it when nobody says.
pub fn asked(told: ToldAlert) -> Asked {
    Asked { alert: told.alert.clone(), told: Some(told), before_ms: AROUND_MS, after_ms: AROUND_MS }
}

impl ExplainArgs {
    /// Those of the replay.
    fn settings(&self) -> FileSettings {
        FileSettings { config: self.config.clone(), set: self.set.clone(), time_zone: self.time_zone.clone() }
    }

    fn asked(&self, told: ToldAlert, is_told: bool) -> Asked {
        let alert = told.alert.clone();
        Asked { alert, told: Some(told).filter(|_| is_told), before_ms: self.before, after_ms: self.after }
    }
}

/// The alerts that were told.
#[derive(Default)]
struct Told {
    alerts: BTreeMap<AlertId, ToldAlert>,
}

impl Told {
    fn add(&mut self, told: ToldAlert) {
        self.alerts.insert(told.alert.alert_id.clone(), told);
    }

    /// The only one; `asked` is what they all begin with.
    fn one(self, asked: &str) -> anyhow::Result<ToldAlert> {
        let count = self.alerts.len();
        let mut alerts = self.alerts.into_values();
        match (alerts.next(), count) {
            (Some(told), 1) => Ok(told),
            (Some(told), _) if *told.alert.alert_id.0 == *asked => Ok(told),
            (Some(first), _) => {
                let mut said = format!("{asked:?} is the beginning of {count} alerts:");
                for ToldAlert { alert, .. } in std::iter::once(first).chain(alerts).take(NAMED) {
                    _ = write!(said, "\n  {} {} {}", alert.alert_id, alert.fired_at, alert.rule_id);
                }
                bail!(said)
            }
            (None, _) => bail!("there is no alert {asked:?}"),
        }
    }
}

fn read_alerts(path: &Path, told: &mut Told) -> anyhow::Result<()> {
    for line in Lines::quietly(&[path.to_owned()]) {
        let line = line?;
        let (path, number) = (line.path.display().to_string(), line.number);
        let place = || format!("{path}:{number} is no alert");
        told.add(String::from_utf8(line.bytes)?.try_into().with_context(place)?);
    }
    Ok(())
}

/// What a replay was given.
struct Files<'a> {
    args: &'a ExplainArgs,
    reference: Reference,
    in_force: [InForce; 1],
    again: Box<Recall<'static>>,
}

impl<'a> Files<'a> {
    fn open(args: &'a ExplainArgs) -> anyhow::Result<Self> {
        let sources = Sources {
            registry: args.registry.clone().unwrap_or_default(),
            input: args.input.clone(),
            format: args.format,
            settings: args.settings(),
        };
        let reference = reference(&sources, &args.rules)?;
        let rules = reference.rules.digest().into();
        // The batch of a book that is made of the folder.
        let in_force = [InForce { position: 0, at: Time::default(), rules, registry: 1 }];
        let again = reference.clone();
        Ok(Self { args, reference, in_force, again: Box::new(move |_| Ok(again.clone())) })
    }

    fn course(&self) -> Course<'_> {
        let together = Together::Count(REPLAY_BATCH);
        Course { in_force: &self.in_force, reference: &*self.again, together, until: None }
    }

    fn records(&self) -> impl Iterator<Item = anyhow::Result<(u64, Record)>> + use<> {
        let front = Front::of(&self.reference).with_format(self.args.format);
        let records = Records::quietly(&self.args.input, front);
        (0..).zip(records).map(|(position, record)| Ok((position, record?)))
    }
}

/// Compares all that was told with all that was found again.
fn all(args: &ExplainArgs, told: &Told, found: &FoundAgain, missing: &[String], began: Instant) -> ExitCode {
    let mut differing: Vec<(&Alert, Option<Vec<Difference>>)> = Vec::new();
    for one in told.alerts.values() {
        let alert = &one.alert;
        match found.alerts.get(&alert.alert_id) {
            Some(again) => {
                let differences = one.differences(again);
                if !differences.is_empty() {
                    differing.push((alert, Some(differences)));
                }
            }
            None => differing.push((alert, None)),
        }
    }
    let shows_shadow = args.input.is_empty() || told.alerts.values().any(|told| told.alert.shadow);
    let more: Vec<&Alert> = found
        .alerts
        .values()
        .filter(|alert| is_missed(alert) && (shows_shadow || !alert.shadow))
        .filter(|alert| !told.alerts.contains_key(&alert.alert_id))
        .collect();
    let same = told.alerts.len() - differing.len();
    if args.json {
        let differing: Vec<_> = differing
            .iter()
            .map(
                |(alert, fields)| serde_json::json!({"alert": alert, "differences": fields, "found": fields.is_some()}),
            )
            .collect();
        out!(
            "{}",
            serde_json::json!({"told": told.alerts.len(), "reproduced": same, "differing": differing,
                "not_told": more, "records": found.heard.records, "missing": missing})
        );
    } else {
        for (alert, fields) in &differing {
            out!("{} {} {} {}:", alert.alert_id, alert.fired_at, alert.rule_id, alert.plate);
            match fields {
                Some(fields) => fields.iter().for_each(|field| out!("  {}", difference(field))),
                None => out!("  is not found again"),
            }
        }
        more.iter().for_each(|alert| {
            out!("{} {} {} {}: found, but never told", alert.alert_id, alert.fired_at, alert.rule_id, alert.plate);
        });
        missing.iter().for_each(|what| out!("{what}"));
        out!(
            "{} of {} reproduced byte for byte, {} differ, {} more found; {} judged again in {:.1} s",
            same,
            counted(told.alerts.len(), "alert"),
            differing.len(),
            more.len(),
            counted(found.heard.records, "record"),
            began.elapsed().as_secs_f64()
        );
    }
    if differing.is_empty() && more.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn difference(difference: &Difference) -> String {
    let Difference { field, told, found } = difference;
    format!("{field}: told {told}, found {found}")
}

fn show(args: &ExplainArgs, evidence: &Evidence, zone: &Zone) -> anyhow::Result<ExitCode> {
    if args.json {
        out!("{}", serde_json::to_string(evidence)?);
    } else {
        out!("{}", Story { evidence, after_ms: args.after, zone }.tell().trim_end());
    }
    Ok(if evidence.reproduced == Some(false) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The evidence in words.
struct Story<'a> {
    evidence: &'a Evidence,
    after_ms: i64,
    zone: &'a Zone,
}

impl Story<'_> {
    fn tell(&self) -> String {
        let mut text = String::new();
        self.head(&mut text);
        self.verdict(&mut text);
        self.rule(&mut text);
        self.steps(&mut text);
        self.reports(&mut text);
        self.registered(&mut text);
        text
    }

    fn clock(&self, at: Time) -> String {
        self.zone.clock(at)
    }

    fn head(&self, text: &mut String) {
        let alert = &self.evidence.alert;
        let state = match alert.state {
            AlertState::Open => "open",
            AlertState::Cleared => "cleared",
            AlertState::Withdrawn => "withdrawn",
        };
        let late = if alert.retrospective { ", shown by late reports only" } else { "" };
        _ = writeln!(text, "{} {}, {state}{late}", alert.rule_id, alert.severity);
        _ = writeln!(text, "  {}", alert.message);
        let names = [
            ("vehicle", Some(&alert.vehicle_id)),
            ("company", Some(&alert.company_id)),
            ("driver", alert.driver_id.as_ref()),
            ("permit", alert.permit_id.as_ref()),
            ("manifest", alert.manifest_id.as_ref()),
            ("place", alert.place_id.as_ref()),
            ("road", alert.road_id.as_ref()),
        ];
        let named = names.into_iter().filter_map(|(what, id)| Some((what, id.filter(|id| !id.is_empty())?)));
        let named: Vec<String> = named.map(|(what, id)| format!("{what} {id}")).collect();
        _ = writeln!(text, "  {}; told to {}", named.join(", "), alert.departments.join(", "));
        _ = write!(text, "  began {}, fired {}", self.clock(alert.started_at), self.clock(alert.fired_at));
        match alert.cleared_at {
            Some(at) => _ = writeln!(text, ", cleared {}", self.clock(at)),
            None => text.push('\n'),
        }
        if let Some(because) = &alert.withdrawn_because {
            _ = writeln!(text, "  withdrawn: {because}");
        }
        for joined in &alert.joined {
            _ = writeln!(text, "  joined by {} at {}: {}", joined.rule_id, self.clock(joined.fired_at), joined.message);
        }
        _ = writeln!(text, "  id {}", alert.alert_id);
    }

    fn verdict(&self, text: &mut String) {
        let Evidence { reproduced, found, differences, failed_clauses, history, missing, told, .. } = self.evidence;
        let records = counted(history.records, "record");
        text.push('\n');
        match (reproduced, found) {
            (Some(true), _) => _ = writeln!(text, "REPRODUCED byte for byte from {records}"),
            (None, _) => _ = writeln!(text, "Found in {records}; nothing was told that it could be compared with"),
            (Some(false), Some(Some(_))) => {
                _ = writeln!(text, "NOT REPRODUCED from {records}: it differs in");
                differences.iter().for_each(|one| _ = writeln!(text, "  {}", difference(one)));
            }
            (Some(false), _) => _ = writeln!(text, "NOT REPRODUCED from {records}: it is not found again"),
        }
        for clause in failed_clauses {
            _ = writeln!(text, "  what fails: {}", told_clause(clause));
        }
        missing.iter().for_each(|what| _ = writeln!(text, "  {what}"));
        for change in told.iter().filter(|change| change.retrospective || change.because.is_some() || told.len() > 2) {
            let known = change.known_at.map_or_else(String::new, |at| format!("known {}: ", self.clock(at)));
            let late = if change.retrospective { ", from late reports" } else { "" };
            let because = change.because.as_ref().map_or_else(String::new, |because| format!(": {because}"));
            _ = writeln!(text, "  {known}{} as {}{late}{because}", change.change, change.severity);
        }
    }

    fn rule(&self, text: &mut String) {
        let Some(rule) = &self.evidence.rule else {
            text.push_str("\nThe rule is in no set of rules that was in force.\n");
            return;
        };
        _ = writeln!(
            text,
            "\nThe rule: {} ({}:{}, version {}, set {})",
            rule.title, rule.file, rule.line, rule.version, rule.set
        );
        rule.text.lines().for_each(|line| _ = writeln!(text, "  {line}"));
    }

    fn steps(&self, text: &mut String) {
        let steps = &self.evidence.steps;
        _ = writeln!(text, "\nStep by step: {} that the rule judged", counted(steps.len(), "row"));
        let mut shown: Option<&Step> = None;
        let mut alike = 0;
        let mut is_between = self.evidence.cut.between > 0;
        let fired_at = self.evidence.alert.fired_at.plus_ms(self.after_ms);
        for (index, step) in steps.iter().enumerate() {
            if is_between && step.event_time > fired_at {
                is_between = false;
                let between = counted(self.evidence.cut.between, "row");
                _ = writeln!(text, "            … it stays open over {between} that are not shown");
            }
            // What goes on as before is counted, but for the last of it.
            let is_same = shown.is_some_and(|last| last.is_like(step)) && step.happened.is_empty();
            if is_same && index + 1 < steps.len() {
                alike += 1;
                continue;
            }
            if alike > 0 {
                _ = writeln!(text, "            … {} more alike", alike);
            }
            (alike, shown) = (0, Some(step));
            self.step(text, step);
        }
        if self.evidence.cut.steps > 0 {
            _ = writeln!(text, "  {} more are not shown", counted(self.evidence.cut.steps, "row"));
        }
    }

    fn step(&self, text: &mut String, step: &Step) {
        let kind = if step.row_kind == "report" { String::new() } else { format!(" ({})", step.row_kind) };
        let late = step.recv_time.map(|at| at.ms_since(step.event_time)).filter(|ms| *ms >= 60_000);
        let late = late.map_or_else(String::new, |ms| format!(", arrived {} later", span(ms)));
        let whose =
            if self.evidence.alert.vehicle_id.is_empty() { format!(" {}", step.vehicle_id) } else { String::new() };
        let mut line = format!("  {}{whose}{kind}{late}: {}", self.clock(step.event_time), step.verdict);
        let stands: Vec<String> = step.stands.iter().map(|standing| self.standing(standing)).collect();
        let stands = Some(stands.join("; ")).filter(|stands| !stands.is_empty());
        for told in step.happened.iter().map(|what| what.to_uppercase()).chain(stands) {
            _ = write!(line, "; {told}");
        }
        _ = writeln!(text, "{line}");
        for clause in &step.clauses {
            _ = writeln!(text, "      {}", told_clause(clause));
        }
        for clause in &step.clear {
            _ = writeln!(text, "      to clear: {}", told_clause(clause));
        }
        let named = |name: &&str| step.clauses.iter().any(|clause| clause.values.contains_key(*name));
        let context = [
            "speed_kmh",
            "speed_limit_kmh",
            "road_name",
            "road_distance_m",
            "route_id",
            "route_deviation_m",
            "permit_id",
            "place_id",
        ];
        let more: Vec<String> = context
            .iter()
            .filter(|name| !named(name))
            .filter_map(|name| Some((name, step.facts.get(*name).filter(|value| !value.is_null())?)))
            .map(|(name, value)| format!("{name}={}", value_text(value)))
            .collect();
        if !more.is_empty() {
            _ = writeln!(text, "      known besides: {}", more.join(", "));
        }
    }

    fn standing(&self, standing: &Standing) -> String {
        let mut text: String =
            standing.key.iter().map(|(name, value)| format!("[{name}={}] ", value_text(value))).collect();
        text.push_str(standing.state);
        if let Some([held, asked]) = standing.held_ms.filter(|[_, asked]| *asked > 0) {
            _ = write!(text, " for {} of {}", span(held), span(asked));
        }
        if let Some([samples, asked]) = standing.samples.filter(|[_, asked]| *asked > 1) {
            let what = if standing.state == "counting" { "hits" } else { "reports" };
            _ = write!(text, ", {samples} of {asked} {what}");
        }
        if let Some(since) = standing.since.filter(|_| standing.state == "open") {
            _ = write!(text, " since {}", self.clock(since));
        }
        if standing.interrupted {
            text.push_str(", its clock stopped by unknown");
        }
        text
    }

    fn reports(&self, text: &mut String) {
        let reports = &self.evidence.reports;
        let (used, refused): (Vec<&Report>, Vec<&Report>) = reports.iter().partition(|report| report.used);
        if let (Some(first), Some(last)) = (reports.first(), reports.last()) {
            _ = writeln!(
                text,
                "\nReports: {} used, {} refused; positions {} to {}",
                used.len(),
                refused.len(),
                first.position,
                last.position
            );
        }
        for report in refused.iter().chain(used.iter().filter(|report| report.reason != "ok" || !report.position_used))
        {
            let what = match (report.used, report.position_used) {
                (false, _) if report.reason == BESIDE => "not needed".to_owned(),
                (false, _) => "refused".to_owned(),
                (true, false) => "used without its position".to_owned(),
                (true, true) => "used".to_owned(),
            };
            let arrived = self.clock(report.recv_time);
            let at = self.clock(report.event_time);
            _ = writeln!(
                text,
                "  {at} {} {what} ({}), arrived {arrived}",
                report.kind,
                report.reason.replace('_', " ")
            );
        }
        if self.evidence.cut.reports > 0 {
            _ = writeln!(text, "  {} more are not shown", counted(self.evidence.cut.reports, "report"));
        }
        for medium in &self.evidence.media {
            _ = writeln!(
                text,
                "  {} {}: {}",
                value_text(&medium["event_time"]),
                value_text(&medium["kind"]),
                medium["media"]
            );
        }
    }

    fn registered(&self, text: &mut String) {
        if self.evidence.registered.is_empty() {
            return;
        }
        text.push_str("\nWhat was registered when it fired\n");
        for one in &self.evidence.registered {
            let Registered { entity, id, cells, valid_from, valid_to, held, batch, geometry_digest } = one;
            let cells: Vec<String> =
                cells.iter().filter(|(_, value)| *value != id).map(|(name, value)| format!("{name} {value}")).collect();
            let from = valid_from.map_or_else(String::new, |at| format!(" from {}", self.clock(at)));
            let to = valid_to.map_or_else(String::new, |at| format!(" to {}", self.clock(at)));
            let open = if from.is_empty() && to.is_empty() { " always" } else { "" };
            let not = if *held { "" } else { ", so not then" };
            let shape = geometry_digest.as_ref().map_or_else(String::new, |digest| format!(", shape {digest}"));
            _ = writeln!(text, "  {entity} {id}: {}", cells.join(", "));
            _ = writeln!(text, "      valid{from}{to}{open}{not}; batch {batch}{shape}");
        }
    }
}

fn told_clause(clause: &Clause) -> String {
    let values: Vec<String> =
        clause.values.iter().map(|(name, value)| format!("{name}={}", value_text(value))).collect();
    format!("{:<7} {} ({})", clause.verdict, shortened(&clause.text), shortened(&values.join(", ")))
}

/// What a person still reads; the JSON has it whole.
fn shortened(text: &str) -> String {
    const CHARS: usize = 240;
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text.to_owned(),
    }
}

/// At most three digits after the point, text without quotes.
fn value_text(value: &serde_json::Value) -> String {
    match (value.as_str(), value.as_f64()) {
        (Some(text), _) => text.to_owned(),
        (_, Some(number)) => ((number * 1000.0).round() / 1000.0).to_string(),
        _ => value.to_string(),
    }
}

/// Milliseconds, for a person.
fn span(ms: i64) -> String {
    let s = ms / 1000;
    match (s / 3600, s % 3600 / 60, s % 60) {
        (0, 0, _) => format!("{} s", ms as f64 / 1000.0),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}
