//! Reports as text and as JSON. Pure.

mod json;
mod text;

pub use json::json;
pub use text::{TextStyle, text};

#[cfg(test)]
mod tests;
