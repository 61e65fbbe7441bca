//! The whole house: its rules, its commands, and the line from a broker to a person.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and its figures are for people"
)]

mod backtest;
mod city;
mod commands;
mod damage;
mod documents;
mod edges;
mod explain;
mod fleet;
mod house;
mod late;
mod line;
mod operate;
mod outage;
mod recovery;
mod run_book;
mod shadow;
mod sql;
mod support;
mod traps;
