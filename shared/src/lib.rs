//! The library that every tool of the suite stands on.
//!
//! In rooms, each with one reason to change: [`attach`] (what this kernel can do, found by trying,
//! and the probes), [`target`] (processes, ELF objects, mappings, probe placement), [`maps`] and
//! [`events`] (what comes out of the kernel), [`symbols`] (names for addresses), [`stacks`] (stacks
//! with names), [`cgroup`] (control groups and containers), [`profile`] (figures by stack, and the
//! files made of them), [`series`] and [`score`] (figures over time, and how much they look like a
//! leak), [`histogram`] (how durations are distributed), [`process`] (facts from /proc),
//! [`selection`] (whose events count), [`pattern`] (which functions are meant) and [`nearest`] (which
//! were perhaps meant), [`output`] (text and JSON), [`tui`] (live views) and [`cli`]
//! (what all command lines share).

pub mod attach;
pub mod cgroup;
pub mod cli;
pub mod events;
pub mod histogram;
pub mod maps;
pub mod nearest;
pub mod output;
pub mod pattern;
pub mod process;
pub mod profile;
pub mod score;
pub mod selection;
pub mod series;
pub mod stacks;
pub mod symbols;
pub mod target;
pub mod tui;
