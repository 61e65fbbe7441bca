//! The commands: the only place that prints.
//!
//! Each command is a file with a `run` of its own. What feeds reports in from files and from brokers alike, decode and
//! admission, is [`front`].

/// Prints a line on standard output; a reader that has gone away is no error.
macro_rules! out {
    ($($arg:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout().lock(), $($arg)*);
    }};
}

/// Prints a line on standard error.
macro_rules! say {
    ($($arg:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr().lock(), $($arg)*);
    }};
}

mod args;
mod backtest;
mod config;
mod demo;
mod explain;
mod facts;
mod fleet;
mod front;
mod input;
mod ledger;
mod registry;
mod repair;
mod replay;
mod rules;
mod score;
mod serve;
mod simulate;
mod sql;
mod verify;
mod watch;

use std::{process::ExitCode, time::SystemTime};

use clap::Parser;

use crate::model::Time;

/// Runs the command line. Exit status: 0 done; 1 what was asked found problems; 2 it could not be done at all.
pub fn main() -> ExitCode {
    let args = args::Args::parse();
    match args.command.run() {
        Ok(status) => status,
        Err(error) => {
            say!("muckwatch: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// From here on only its owner reads what is made, files 0600 and folders 0700: what is kept names people and plates.
fn keep_to_owner() {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}

/// The clock on the wall, as an instant.
fn now() -> Time {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time::from_millis(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
}
