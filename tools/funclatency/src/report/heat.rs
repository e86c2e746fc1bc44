//! A heat map in text: powers of two upwards, time to the right.

use std::fmt::Write as _;

use memtools::tui::heat::shade;

use crate::model::Unit;
use crate::model::heat::Heat;

/// From none to the most calls.
const SHADES: &[u8] = b" .:-=+*#%@";

/// The map; `moment_ms`: how far apart its moments are.
pub fn heat_map(heat: &Heat, unit: Unit, moment_ms: u64) -> String {
    let Some((first, last)) = heat.rows() else {
        return "\nno heat map: no call has returned\n".to_owned();
    };
    let hottest = heat.hottest();
    let per_column = moment_ms * u64::from(heat.per_column());
    let mut out = format!("\nheat map: a column is {} s\n", per_column as f64 / 1e3);
    for row in (first..=last).rev() {
        let low = if row == 0 { 0 } else { 1_u64 << row };
        // Writing to a String cannot fail.
        let _ = write!(out, "{low:>12} -> {:<12} |", (2_u64 << row) - 1);
        for column in heat.columns() {
            let count = column.get(row).copied().unwrap_or(0);
            out.push(char::from(SHADES[shade(count, hottest, SHADES.len())]));
        }
        out.push_str("|\n");
    }
    let _ = writeln!(
        out,
        "{} by time, '{}' none, '{}' {hottest} calls",
        unit.name(),
        char::from(SHADES[0]),
        char::from(SHADES[SHADES.len() - 1])
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_calls_are_above() {
        let mut heat = Heat::new(10);
        heat.add(&[0, 5, 0, 0]);
        heat.add(&[0, 5, 0, 1]);
        let text = heat_map(&heat, Unit::Microseconds, 1000);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[2].ends_with("8 -> 15           | -|"), "{text}");
        assert!(lines[4].ends_with("2 -> 3            |@@|"), "{text}");
    }
}
