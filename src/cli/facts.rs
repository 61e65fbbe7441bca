//! `muckwatch facts`: what the rules would see, for rule authors and for measuring.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, bail};
use rustc_hash::FxHashMap;
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use super::{args::Sources, front::Front, replay::Records};
use crate::{
    facts::{Fold, Input, VehicleState},
    model::{Body, Column, ColumnSet, DeviceReport, Facts, Outcome, Record, Text, Time},
    registry::Registry,
};

#[derive(clap::Args)]
pub struct FactsArgs {
    #[command(flatten)]
    sources: Sources,
    /// The facts to write, by name, separated by commas
    #[arg(long, value_name = "a,b,c", value_delimiter = ',', required = true)]
    columns: Vec<String>,
    /// Where they go, one JSON object a report
    #[arg(long, value_name = "OUT.jsonl")]
    output: PathBuf,
}

/// # Errors
/// When a column is unknown or a file cannot be read or written.
pub fn run(args: &FactsArgs) -> anyhow::Result<ExitCode> {
    let columns = columns(&args.columns)?;
    let config = args.sources.settings.load()?;
    let registry = Arc::new(Registry::read_dir(&args.sources.registry, &config.zone())?);
    let needed: ColumnSet = columns.iter().copied().collect();
    let fold = Fold::new(Arc::clone(&registry), needed, config.facts());
    let front = Front::new(registry, config.admission(), config.tick_ms()).with_format(args.sources.format);
    let place = || format!("failed to write {}", args.output.display());
    let mut out = BufWriter::new(File::create(&args.output).with_context(place)?);
    let mut vehicles: FxHashMap<Text, (VehicleState, Time)> = FxHashMap::default();
    for record in Records::of(&args.sources.input, front) {
        if let Some(row) = row(&fold, &mut vehicles, &record?, &columns) {
            serde_json::to_writer(&mut out, &row).with_context(place)?;
            out.write_all(b"\n").with_context(place)?;
        }
    }
    out.flush().with_context(place)?;
    Ok(ExitCode::SUCCESS)
}

fn columns(names: &[String]) -> anyhow::Result<Vec<Column>> {
    let known = || Column::all().map(Column::name).collect::<Vec<_>>().join(", ");
    let column = |name: &String| match Column::named(name.trim()) {
        Some(column) => Ok(column),
        None => bail!("no fact is called {name:?}; there are: {}", known()),
    };
    names.iter().map(column).collect()
}

/// One report's facts, in the order asked for. What was refused has none of them; a duplicate is not another report.
fn row(
    fold: &Fold,
    vehicles: &mut FxHashMap<Text, (VehicleState, Time)>,
    record: &Record,
    columns: &[Column],
) -> Option<Row> {
    let Body::Device(report) = &record.body else { return None };
    if record.outcome == Outcome::Duplicate {
        return None;
    }
    let facts = evaluated(fold, vehicles, record, report);
    let mut row =
        vec![("device_id", Json::from(&*report.device_id)), ("device_time", report.device_time.to_string().into())];
    row.extend(
        columns
            .iter()
            .map(|column| (column.name(), facts.as_ref().map_or(Json::Null, |facts| facts.value(*column).to_json()))),
    );
    Some(Row(row))
}

fn evaluated(
    fold: &Fold,
    vehicles: &mut FxHashMap<Text, (VehicleState, Time)>,
    record: &Record,
    report: &DeviceReport,
) -> Option<Facts> {
    if record.outcome != Outcome::Evaluated {
        return None;
    }
    let Record { event_time, recv_time, use_position, .. } = *record;
    let vehicle_id = fold.vehicle_id(&report.device_id, event_time);
    let (state, last) = vehicles.entry(vehicle_id).or_insert_with(|| (VehicleState::default(), event_time));
    if event_time < *last {
        return None;
    }
    *last = event_time;
    Some(fold.step(state, Input::Report { report, event_time, recv_time, use_position }))
}

/// Written as an object whose keys keep their order.
struct Row(Vec<(&'static str, Json)>);

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
