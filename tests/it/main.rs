//! The whole house: its rules, its commands, and the line from a broker to a person.

mod city;
mod commands;
mod house;
mod line;
mod support;
