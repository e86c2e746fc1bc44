//! A ledger as text and as JSON. Pure.

mod json;
mod text;

pub use json::json;
pub use text::{Shown, place_line, rate_text, summary, table};

#[cfg(test)]
mod tests;
