//! A ledger as text and as JSON. Pure.

mod json;
mod text;

pub use json::{Target, json};
pub use text::{Shown, figures_words, list, table};

#[cfg(test)]
mod tests;
