//! The whole house: its rules, its commands, and the line from a broker to a person.

mod city;
mod commands;
mod fleet;
mod house;
mod line;
mod support;
