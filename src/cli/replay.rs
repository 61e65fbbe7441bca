//! `muckwatch replay`: judge files. No broker, no server, the same bytes every time.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;

use super::{args::Sources, front::Front, input::Lines, ledger::table};
use crate::{
    engine::{Reference, Replayed, replay},
    model::{Body, Outcome, Record, Time, counted},
    registry::Registry,
    rules::RuleSet,
};

#[derive(clap::Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    sources: Sources,
    /// Folder of rule files
    #[arg(long, value_name = "DIR")]
    rules: PathBuf,
    /// Where the final alerts go, one JSON object a line, sorted by start, rule and vehicle
    #[arg(long, value_name = "OUT.jsonl")]
    alerts: PathBuf,
    /// As fast as it goes, or N times as fast as the reports came in
    #[arg(long, value_name = "max|N", default_value = "max", value_parser = speed)]
    speed: Speed,
    /// Write the alerts of shadow rules too, each marked `"shadow": true`
    #[arg(long)]
    shadow: bool,
    /// Threads that judge; the alerts are the same with any number
    #[arg(long, value_name = "N", default_value_t = 1)]
    shards: usize,
}

#[derive(Clone, Copy)]
enum Speed {
    Max,
    Times(f64),
}

fn speed(text: &str) -> Result<Speed, String> {
    match (text, text.parse::<f64>()) {
        ("max", _) => Ok(Speed::Max),
        (_, Ok(times)) if times.is_finite() && times > 0.0 => Ok(Speed::Times(times)),
        _ => Err(format!("{text:?} is neither `max` nor a number over 0")),
    }
}

/// # Errors
/// When a file cannot be read or written, or the rules or the registry are wrong.
pub fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let reference = reference(&args.sources, &args.rules)?;
    let front = Front::of(&reference).with_format(args.sources.format);
    let mut records = Paced { speed: args.speed, first: None, records: Records::of(&args.sources.input, front) };
    let mut replayed = replay::<anyhow::Error>(&reference, args.shards, &mut records)?;
    let odd = records.records.front.take_odd();
    let language = args.sources.settings.load()?.language;
    replayed.alerts = replayed.alerts.into_iter().map(|alert| alert.said_in(language)).collect();
    let found = replayed.alerts.len();
    if !args.shadow {
        replayed.alerts.retain(|alert| !alert.shadow);
    }
    write_alerts(&args.alerts, &replayed)?;
    summarise(&replayed, started.elapsed());
    if !odd.is_empty() {
        let fields: Vec<String> = odd.iter().map(|(field, count)| format!("{field} ({count})")).collect();
        say!("these fields made no sense and count as unknown: {}", fields.join(", "));
    }
    if replayed.alerts.len() < found {
        say!("{} of shadow rules not written; --shadow writes them", counted(found - replayed.alerts.len(), "alert"));
    }
    Ok(ExitCode::SUCCESS)
}

/// What files are judged against.
///
/// # Errors
/// When the rules, the registry or the settings are wrong.
pub fn reference(sources: &Sources, rules: &Path) -> anyhow::Result<Reference> {
    let config = sources.settings.load()?;
    Ok(Reference {
        registry: Arc::new(Registry::read_dir(&sources.registry, &config.zone())?),
        rules: Arc::new(RuleSet::load(rules)?),
        facts: config.facts(),
        tick_ms: config.tick_ms(),
        late: config.late(),
    })
}

/// The records of files, with the ticks of the arrival clock among them.
pub struct Records {
    lines: Lines,
    front: Front,
    ready: std::vec::IntoIter<Record>,
    /// Lines that could not be read so far.
    unread: u32,
}

/// After so many warnings of lines that cannot be read the rest is only counted, in the ledger.
const WARNINGS: u32 = 20;

impl Records {
    /// Opens nothing yet.
    pub fn of(files: &[PathBuf], front: Front) -> Self {
        Self { lines: Lines::of(files), front, ready: Vec::new().into_iter(), unread: 0 }
    }

    /// As [`Records::of`], showing no progress.
    pub fn quietly(files: &[PathBuf], front: Front) -> Self {
        Self { lines: Lines::quietly(files), ..Self::of(&[], front) }
    }

    fn warn(&mut self, record: &Record) {
        let Body::DeadLetter(letter) = &record.body else { return };
        if record.outcome != Outcome::Rejected {
            return;
        }
        self.unread += 1;
        if self.unread <= WARNINGS {
            say!("{}: {}", letter.topic, letter.problem);
        }
    }
}

impl Iterator for Records {
    type Item = anyhow::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.ready.next() {
                return Some(Ok(record));
            }
            let line = match self.lines.next()? {
                Ok(line) => line,
                Err(error) => return Some(Err(error)),
            };
            let mut records = Vec::new();
            self.front.line(&line.bytes, &format!("{}:{}", line.path.display(), line.number), &mut records);
            records.iter().for_each(|record| self.warn(record));
            self.ready = records.into_iter();
        }
    }
}

/// Records held back to the pace at which they came.
struct Paced {
    speed: Speed,
    first: Option<(Time, Instant)>,
    records: Records,
}

impl Iterator for Paced {
    type Item = anyhow::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.records.next()?;
        if let (Speed::Times(times), Ok(record)) = (self.speed, &record) {
            let (first, began) = *self.first.get_or_insert((record.recv_time, Instant::now()));
            let due = Duration::try_from_secs_f64(record.recv_time.s_since(first) / times).unwrap_or_default();
            std::thread::park_timeout(due.saturating_sub(began.elapsed()));
        }
        Some(record)
    }
}

fn write_alerts(path: &Path, replayed: &Replayed) -> anyhow::Result<()> {
    let place = || format!("failed to write {}", path.display());
    let mut out = BufWriter::new(File::create(path).with_context(place)?);
    for alert in &replayed.alerts {
        serde_json::to_writer(&mut out, alert).with_context(place)?;
        out.write_all(b"\n").with_context(place)?;
    }
    out.flush().with_context(place)
}

fn summarise(replayed: &Replayed, took: Duration) {
    let per_s = replayed.ledger.received() as f64 / took.as_secs_f64().max(1e-9);
    say!(
        "{} of {} in {:.1} s ({per_s:.0}/s), {}",
        counted(replayed.ledger.received(), "report"),
        counted(replayed.vehicles, "vehicle"),
        took.as_secs_f64(),
        counted(replayed.alerts.len(), "alert")
    );
    if !replayed.withdrawn.is_empty() {
        say!("{} withdrawn: late reports showed that they never were", counted(replayed.withdrawn.len(), "alert"));
    }
    let mut rules = std::collections::BTreeMap::<&str, usize>::new();
    replayed.alerts.iter().for_each(|alert| *rules.entry(&alert.rule_id).or_default() += 1);
    rules.iter().for_each(|(rule, count)| say!("  {count:>8}  {rule}"));
    say!("{}", table(&replayed.ledger));
}
