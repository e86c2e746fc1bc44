//! Text and JSON.

mod heat;
mod json;
#[cfg(test)]
mod tests;
mod text;

pub use heat::heat_map;
pub use json::{About, json, slow_call as slow_call_json};
pub use text::{
    Shown, duration_text, number, report, slow_call as slow_call_line, slow_heads, slowest,
};
