//! Reports as text and as JSON. Pure.

mod diff_json;
mod diff_text;
mod json;
mod text;

pub use diff_json::diff_json;
pub use diff_text::diff_text;
pub use json::json;
pub use text::{TextStyle, text};

#[cfg(test)]
mod tests;
