//! `muckwatch ledger`: what became of every report.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::{
    journal::{self, Counted, Journal, count},
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

/// Exit status 1 when it does not balance, or something is missing.
///
/// # Errors
/// When the data folder cannot be read.
pub fn run(args: &LedgerArgs) -> anyhow::Result<ExitCode> {
    let Balance { ledger, counted, began_at, mut gaps } = balance(&args.data)?;
    gaps.extend(difference(&ledger, counted, began_at));
    let is_balanced = ledger.is_balanced() && gaps.is_empty();
    if args.json {
        let rows: Vec<_> = ledger
            .rows()
            .map(|(outcome, reason, count)| serde_json::json!({"outcome": outcome, "reason": reason, "count": count}))
            .collect();
        out!(
            "{}",
            serde_json::json!({
                "received": ledger.received(), "balanced": is_balanced, "reports": rows,
                "journal": counted.kept, "removed": counted.removed, "gaps": gaps
            })
        );
    } else {
        out!("{}", rows(&ledger).trim_end());
        out!("{:>12}  in the journal", counted.kept);
        if counted.removed > 0 {
            out!("{:>12}  in history that is kept no longer", counted.removed);
        }
        if counted.uncounted > 0 {
            out!("{:>12}  segments of an earlier version, not counted yet: serve does, by and by", counted.uncounted);
        }
        out!("{}", verdict(is_balanced));
        gaps.iter().for_each(|gap| out!("{gap}"));
    }
    Ok(if is_balanced { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the store counted, and what the journal has.
struct Balance {
    /// What is committed, and what lies in the journal beyond it.
    ledger: Ledger,
    counted: Counted,
    /// The position from which on this store has judged.
    began_at: u64,
    /// What cannot be read or is not there.
    gaps: Vec<String>,
}

fn balance(data: &Path) -> anyhow::Result<Balance> {
    let (file, journal) = (data.join(STORE), data.join(JOURNAL));
    anyhow::ensure!(file.exists(), "{} is no data folder of muckwatch: {STORE} is missing", data.display());
    let store = Reader::open(&file)?;
    let began_at = store.in_force()?.first().map_or(0, |first| first.position);
    let mut attempts = 0;
    loop {
        let (mut ledger, committed) = store.ledger_at()?;
        let (mut end, mut gaps) = (committed, Vec::new());
        for entry in Journal::read(&journal, committed)? {
            match entry {
                Ok((position, record)) => {
                    ledger.count(&record);
                    end = position + 1;
                }
                Err(error) => gaps.push(format!("failed to {error}")),
            }
        }
        attempts += 1;
        // A running process may seal a segment in between.
        if let Some(counted) = count(&journal, end)? {
            gaps.extend(journal::gaps(&journal)?);
            return Ok(Balance { ledger, counted, began_at, gaps });
        }
        anyhow::ensure!(attempts < 10, "the journal changes faster than it can be counted: ask again");
    }
}

/// By how much the journal and the store differ, if they do.
fn difference(ledger: &Ledger, counted: Counted, began_at: u64) -> Option<String> {
    let Counted { kept, removed, uncounted } = counted;
    // What went before this store began to count is not in its ledger.
    let least = if began_at == 0 { kept + removed } else { kept };
    let received = ledger.received();
    if uncounted > 0 {
        return None;
    }
    let (lost, uncalled) = (received.saturating_sub(kept + removed), least.saturating_sub(received));
    let lost = (lost > 0).then(|| format!("{lost} reports that were counted are not in the journal any more"));
    lost.or_else(|| (uncalled > 0).then(|| format!("{uncalled} reports in the journal were never counted")))
}

/// The ledger as a table, and whether it balances.
pub fn table(ledger: &Ledger) -> String {
    rows(ledger) + verdict(ledger.is_balanced())
}

fn verdict(is_balanced: bool) -> &'static str {
    if is_balanced { "    balanced" } else { "    NOT BALANCED" }
}

fn rows(ledger: &Ledger) -> String {
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
    text
}
