//! `muckwatch simulate --score`: the fleet drives, the rules judge it, and both are held against the truth.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use super::front::Front;
use crate::{
    config::Config,
    engine::{Reference, replay},
    ingest::{Decoder, Format},
    model::{Datum, counted},
    registry::Registry,
    rules::RuleSet,
    simulate::{City, Message, Score, Settings, Simulation, Verdict, score},
};

/// Mistakes of each kind that are shown.
const SHOWN: usize = 20;

/// One run of the fleet.
struct Run {
    /// Which of the intervals.
    interval: usize,
    settings: Settings,
}

/// Runs the fleet once for each interval and seed, judges it by the rules of a folder, and prints what was found.
///
/// # Errors
/// When the rules are wrong, or the fleet cannot be simulated.
pub fn run(
    rules: &Path,
    city: &Arc<City>,
    settings: &Settings,
    seeds: u64,
    intervals: &[Duration],
    duration: Duration,
) -> anyhow::Result<()> {
    let config = Config::for_files("Asia/Shanghai")?;
    let files = city.files();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let reference = Reference {
        registry: Arc::new(Registry::parse(&files)?),
        rules: Arc::new(RuleSet::load(rules)?),
        facts: config.facts(),
        tick_ms: config.tick_ms(),
        late: config.late(),
    };
    let run = |(interval, every): (usize, &Duration)| {
        let interval_ms = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
        let run = move |seed| Run {
            interval,
            settings: Settings { seed, interval_ms, units: false, cameras: true, ..settings.clone() },
        };
        (settings.seed..settings.seed.saturating_add(seeds)).map(run).collect::<Vec<_>>()
    };
    let runs: Vec<Run> = intervals.iter().enumerate().flat_map(run).collect();
    let verdicts = judge_all(&reference, city, &runs, duration)?;
    let hours = duration.as_secs_f64() / 3_600.0 * city.trucks() as f64 * seeds as f64;
    for (interval, verdict) in intervals.iter().zip(&verdicts) {
        print_rules(*interval, verdict);
    }
    out!(
        "{:<9} {:>11} {:>8} {:>6} {:>7} {:>7} {:>6} {:>23}",
        "interval",
        "truck-hours",
        "planted",
        "found",
        "recall",
        "alerts",
        "false",
        "false / 100 truck-hours"
    );
    for (interval, verdict) in intervals.iter().zip(&verdicts) {
        let total = verdict.total();
        let Score { planted, found, alerts, invented } = total;
        let (recall, false_rate) = (total.recall(), f64::from(invented) / hours * 100.0);
        out!(
            "{:<9} {hours:>11.0} {planted:>8} {found:>6} {recall:>7.4} {alerts:>7} {invented:>6} {false_rate:>23.2}",
            format!("{interval:?}")
        );
    }
    out!("{}, from {} on", counted(seeds, "seed"), settings.seed);
    Ok(())
}

/// Two runs at a time on two cores; the verdicts by interval.
fn judge_all(
    reference: &Reference,
    city: &Arc<City>,
    runs: &[Run],
    duration: Duration,
) -> anyhow::Result<Vec<Verdict>> {
    let intervals = runs.iter().map(|run| run.interval + 1).max().unwrap_or(0);
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        let work = || {
            while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let verdict = judge(reference, city, &run.settings, duration);
                done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((
                    run.interval,
                    run.settings.seed,
                    verdict,
                ));
            }
        };
        for _ in 1..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(interval, seed, _)| (*interval, *seed));
    let mut verdicts = vec![Verdict::default(); intervals];
    for (interval, _, verdict) in done {
        verdicts[interval].add(verdict?);
    }
    Ok(verdicts)
}

fn judge(reference: &Reference, city: &Arc<City>, settings: &Settings, duration: Duration) -> anyhow::Result<Verdict> {
    let mut simulation = Simulation::new(Arc::clone(city), settings.clone())?;
    let mut front = Front::of(reference);
    let decoder = Decoder::new(Format::Native, "", Datum::Wgs84);
    let end = simulation.now().plus_ms(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX));
    let mut records = Vec::new();
    simulation.advance(end, |message: Message| {
        front.message(&decoder, &message.topic, &message.payload, message.at, &mut records);
    });
    let mut replayed = replay::<anyhow::Error>(reference, 1, records.into_iter().map(Ok))?;
    replayed.alerts.retain(|alert| !alert.shadow);
    Ok(score(&simulation.truths(), &replayed.alerts))
}

fn print_rules(interval: Duration, verdict: &Verdict) {
    out!("every {interval:?}");
    out!("  {:<26} {:>8} {:>6} {:>7} {:>7} {:>6}", "rule", "planted", "found", "recall", "alerts", "false");
    for (rule, score) in &verdict.rules {
        let Score { planted, found, alerts, invented } = *score;
        out!("  {rule:<26} {planted:>8} {found:>6} {:>7.3} {alerts:>7} {invented:>6}", score.recall());
    }
    for truth in verdict.missed.iter().take(SHOWN) {
        out!("  missed: {} of {} from {} to {}", truth.rule_id, truth.vehicle_id, truth.started_at, truth.ended_at);
    }
    for alert in verdict.invented.iter().take(SHOWN) {
        out!("  false: {} of {} from {}: {}", alert.rule_id, alert.vehicle_id, alert.started_at, alert.message);
    }
}
