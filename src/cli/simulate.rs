//! `muckwatch simulate`: a fleet that drives, misbehaves on purpose, and says what it did.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};

use super::{fleet::Fleet, front::Front, ledger::JOURNAL, now, score, serve};
use crate::{
    config::{Config, Overrides},
    ingest::{Decoder, Format},
    journal::Journal,
    model::{Datum, Time, counted},
    registry::Registry,
    simulate::{CITY_TRUCKS, City, Message, Noise, Settings, Simulation, write_line},
};

#[derive(clap::Args)]
pub struct SimulateArgs {
    /// Write the city's registry (vehicles, permits, roads …) for this fleet into a folder
    #[arg(long, value_name = "DIR")]
    write_city: Option<PathBuf>,
    /// Write the reports to a file of JSON lines, as fast as it goes
    #[arg(long, value_name = "FILE", conflicts_with = "mqtt")]
    output: Option<PathBuf>,
    /// Publish the reports to a broker, in real time; units hear their dispatches there and answer
    #[arg(long, value_name = "HOST:PORT")]
    mqtt: Option<String>,
    /// Write the reports straight into the history of a data folder, as they would have been admitted, to back-test over
    #[arg(long, value_name = "DIR", conflicts_with_all = ["mqtt", "output"])]
    history: Option<PathBuf>,
    /// Judge the fleet by a folder of rules and print what was found of what it did, and what was invented
    #[arg(long, value_name = "RULES", conflicts_with_all = ["mqtt", "output", "history", "truth"])]
    score: Option<PathBuf>,
    /// With --score: run so many seeds, from --seed on
    #[arg(long, value_name = "N", default_value_t = 1, requires = "score")]
    seeds: u64,
    /// What every topic begins with
    #[arg(long, default_value = PREFIX)]
    prefix: String,
    /// Write what the trucks truly did: one violation a line
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// How many trucks drive; the first sixty are those of fixtures/demo-city
    #[arg(long, value_name = "N", default_value_t = CITY_TRUCKS)]
    trucks: usize,
    /// For how long, by their clock, such as 90s, 30m or 2h
    #[arg(long, default_value = "1h", value_parser = duration)]
    duration: Duration,
    /// Between two reports of a truck; several, such as 1s,10s,30s, with --score
    #[arg(long, default_value = "1s", value_parser = duration, value_delimiter = ',')]
    interval: Vec<Duration>,
    /// When it begins [default: now over MQTT; 2026-03-01T22:00:00+08:00 in a file]
    #[arg(long, value_name = "TIME")]
    start: Option<Time>,
    /// The same seed, start and settings give the same bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Nobody breaks a rule
    #[arg(long)]
    lawful: bool,
    /// Noise to leave out: gps, drift, gaps, duplicates, weak, clocks, damage, gates, or all
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    without: Vec<String>,
    /// Some reports are held back and come late, in batches
    #[arg(long)]
    late: bool,
    /// One truck in three has a dashcam that tells where it is, too; with --score always
    #[arg(long)]
    cameras: bool,
    /// Offences of each truck and hour, besides those of the beginning
    #[arg(long, default_value_t = 0.5)]
    offences_per_hour: f64,
}

/// `500ms`, `30s`, `10m`, `2h`, `1d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; expected a number and ms, s, m, h or d");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit_ms = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(wrong)
}

/// What every topic begins with, unless told otherwise.
const PREFIX: &str = "mw/v1";

/// Midnight is two hours off: the hours in which muck is hauled.
const START: Time = Time::from_millis(1_772_373_600_000);

/// # Errors
/// When nothing is asked for, or a file or broker cannot be used.
pub fn run(args: &SimulateArgs) -> anyhow::Result<ExitCode> {
    let is_idle = args.output.is_none() && args.history.is_none() && args.mqtt.is_none() && args.score.is_none();
    if args.write_city.is_none() && is_idle {
        bail!("nothing to do: give --write-city, --output, --history, --mqtt or --score");
    }
    let city = Arc::new(City::with_trucks(args.trucks));
    if let Some(dir) = &args.write_city {
        std::fs::create_dir_all(dir).with_context(|| format!("failed to make {}", dir.display()))?;
        city.write(dir)?;
    }
    if let Some(broker) = &args.mqtt {
        let simulation = Simulation::new(city, args.settings(args.start.unwrap_or_else(now))?)?;
        let fleet = Fleet { broker: broker.parse()?, prefix: args.prefix.clone(), duration: Some(args.duration) };
        let driven = serve::block_on(async { fleet.run(simulation, serve::stop_signal()?).await })?;
        say!("{} published", counted(driven.published, "message"));
        return args.write_truths(&driven.simulation).map(|()| ExitCode::SUCCESS);
    }
    if let Some(rules) = &args.score {
        let settings = args.settings(args.start.unwrap_or(START))?;
        score::run(rules, &city, &settings, args.seeds, &args.interval, args.duration)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.output.is_some() || args.history.is_some() {
        let mut simulation = Simulation::new(Arc::clone(&city), args.settings(args.start.unwrap_or(START))?)?;
        if let Some(file) = &args.output {
            write_file(file, &mut simulation, args.duration)?;
        } else if let Some(data) = &args.history {
            let kept = write_history(data, &city, &mut simulation, args.duration)?;
            say!("{} kept in {}", counted(kept, "record"), data.display());
        }
        args.write_truths(&simulation)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl SimulateArgs {
    fn settings(&self, start: Time) -> anyhow::Result<Settings> {
        let noise = self.noise()?;
        let interval_ms = match self.interval[..] {
            [interval] => i64::try_from(interval.as_millis()).unwrap_or(i64::MAX),
            _ if self.score.is_some() => Settings::default().interval_ms,
            _ => bail!("--interval: found {} of them, expected one without --score", self.interval.len()),
        };
        let (seed, offences, offences_per_hour) = (self.seed, !self.lawful, self.offences_per_hour);
        Ok(Settings {
            seed,
            start,
            interval_ms,
            noise,
            offences,
            offences_per_hour,
            units: true,
            cameras: self.cameras,
        })
    }

    fn noise(&self) -> anyhow::Result<Noise> {
        let mut noise = Noise::default();
        if self.late {
            noise.late_every_s = 900.0;
        }
        for kind in &self.without {
            match kind.as_str() {
                "all" => noise = Noise { late_every_s: noise.late_every_s, ..Noise::NONE },
                "gps" => noise.gps_m = 0.0,
                "drift" => noise.drift_m = 0.0,
                "gaps" => noise.gap_every_s = 0.0,
                "duplicates" => noise.duplicates = 0.0,
                "weak" => noise.weak_fixes = 0.0,
                "clocks" => (noise.clock_s, noise.clock_ahead_s, noise.clock_behind_s) = (0.0, 0.0, 0.0),
                "damage" => noise.damaged = 0.0,
                "gates" => noise.gate_m = 0.0,
                other => {
                    bail!(
                        "--without: found {other:?}, expected gps, drift, gaps, duplicates, weak, clocks, damage, gates or all"
                    )
                }
            }
        }
        Ok(noise)
    }

    fn write_truths(&self, simulation: &Simulation) -> anyhow::Result<()> {
        let Some(file) = &self.truth else { return Ok(()) };
        let place = || format!("failed to write {}", file.display());
        let mut out = BufWriter::new(File::create(file).with_context(place)?);
        for truth in simulation.truths() {
            serde_json::to_writer(&mut out, &truth).with_context(place)?;
            out.write_all(b"\n").with_context(place)?;
        }
        out.flush().with_context(place)
    }
}

fn write_file(file: &Path, simulation: &mut Simulation, duration: Duration) -> anyhow::Result<()> {
    let place = || format!("failed to write {}", file.display());
    let mut out = BufWriter::new(File::create(file).with_context(place)?);
    let end = simulation.now().plus_ms(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX));
    let mut result = Ok(());
    simulation.advance(end, |message: Message| {
        if result.is_ok() {
            result = write_line(&mut out, &message);
        }
    });
    result.with_context(place)?;
    out.flush().with_context(place)
}

/// Records that are kept with one sync.
const KEPT_TOGETHER: usize = 65_536;

/// Admits what the trucks send and keeps it, as `serve` does, with nothing judged. How many records there are then.
fn write_history(data: &Path, city: &City, simulation: &mut Simulation, duration: Duration) -> anyhow::Result<u64> {
    let config = Config::load(None, [], &Overrides::default())?.config;
    let files = city.files();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let mut front = Front::new(Arc::new(Registry::parse(&files)?), config.admission(), config.tick_ms());
    let dir = data.join(JOURNAL);
    super::keep_to_owner();
    std::fs::create_dir_all(data).with_context(|| format!("failed to make {}", data.display()))?;
    let (mut journal, recovered) = Journal::open(&dir, config.journal)?;
    if recovered.next_position > 0 {
        bail!("{} holds a history already: name a folder without one", data.display());
    }
    let decoder = Decoder::new(Format::Native, PREFIX, Datum::Wgs84);
    let end = simulation.now().plus_ms(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX));
    let (mut records, mut topic, mut result) = (Vec::new(), format!("{PREFIX}/"), Ok(()));
    simulation.advance(end, |message: Message| {
        if result.is_err() || message.topic.ends_with("/reply") {
            return;
        }
        topic.truncate(PREFIX.len() + 1);
        topic.push_str(&message.topic);
        front.message(&decoder, &topic, &message.payload, message.at, &mut records);
        if records.len() >= KEPT_TOGETHER {
            result = journal.append(&records).map(drop);
            records.clear();
        }
    });
    result.and_then(|()| journal.append(&records).map(drop))?;
    let kept = journal.next_position();
    journal.close()?;
    Ok(kept)
}
