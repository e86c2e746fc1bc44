//! The library that every tool of the suite stands on.
//!
//! In rooms, each with one reason to change: [`attach`] (what this kernel can do, found by trying,
//! and the probes), [`target`] (processes, ELF objects, mappings, probe placement), [`maps`] and
//! [`events`] (what comes out of the kernel), [`symbols`] (names for addresses), [`process`] (facts
//! from /proc), [`output`] (text and JSON) and [`cli`] (what all command lines share).

pub mod attach;
pub mod cli;
pub mod events;
pub mod maps;
pub mod output;
pub mod process;
pub mod symbols;
pub mod target;
