//! `muckwatch ledger`: what became of every report.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::{
    journal::Journal,
    model::{Ledger, Outcome},
    store::Reader,
};

/// The file in the data folder with alerts, orders, outbox and ledger.
pub const STORE: &str = "muckwatch.sqlite";
/// The folder in the data folder with the journal and, under it, history.
pub const JOURNAL: &str = "journal";
/// Messages that wait to be judged.
pub const BACKLOG: &str = "backlog";
/// The folder of snapshots in a data folder.
pub const SNAPSHOTS: &str = "snapshots";

#[derive(clap::Args)]
pub struct LedgerArgs {
    /// Where muckwatch keeps its data
    #[arg(long, value_name = "DIR", default_value = "data", env = "MUCKWATCH_DATA")]
    data: PathBuf,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

/// # Errors
/// When the data folder cannot be read.
pub fn run(args: &LedgerArgs) -> anyhow::Result<ExitCode> {
    let ledger = ledger_of(&args.data)?;
    if args.json {
        let rows: Vec<_> = ledger
            .rows()
            .map(|(outcome, reason, count)| serde_json::json!({"outcome": outcome, "reason": reason, "count": count}))
            .collect();
        out!(
            "{}",
            serde_json::json!({"received": ledger.received(), "balanced": ledger.is_balanced(), "reports": rows})
        );
    } else {
        out!("{}", table(&ledger));
    }
    Ok(if ledger.is_balanced() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is committed, and what lies in the journal beyond it.
///
/// # Errors
/// When either cannot be read.
pub fn ledger_of(data: &Path) -> anyhow::Result<Ledger> {
    let file = data.join(STORE);
    anyhow::ensure!(file.exists(), "{} is no data folder of muckwatch: {STORE} is missing", data.display());
    let store = Reader::open(&file)?;
    let (mut ledger, committed) = (store.ledger()?, store.position()?.unwrap_or(0));
    for entry in Journal::read(&data.join(JOURNAL), committed)? {
        let (_, record) = entry?;
        ledger.count(&record);
    }
    Ok(ledger)
}

/// The ledger as a table, and whether it balances.
pub fn table(ledger: &Ledger) -> String {
    let mut text = format!("{:>12}  received\n", ledger.received());
    for outcome in Outcome::ALL {
        text += &format!("{:>12}  {outcome}", ledger.outcome(*outcome));
        let reasons = ledger.rows().filter(|(of, reason, _)| *of == outcome.as_str() && *reason != "ok");
        let reasons: Vec<String> = reasons.map(|(_, reason, count)| format!("{reason} {count}")).collect();
        if !reasons.is_empty() {
            text += &format!("  ({})", reasons.join(", "));
        }
        text.push('\n');
    }
    text + if ledger.is_balanced() { "    balanced" } else { "    NOT BALANCED" }
}
