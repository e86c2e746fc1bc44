//! Rows of a histogram, each with a bar as long as its count.

use super::text::width;
use super::theme::Glyphs;
use crate::output::grouped;

/// What stands before each bar, and the bars: `columns` wide together, and a blank between them.
/// `rows`: what each is about, and how many there are.
pub fn bars(rows: &[(String, u64)], columns: usize, glyphs: Glyphs) -> Vec<(String, String)> {
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let labels = rows.iter().map(|(label, _)| width(label)).max();
    let label_width = labels.unwrap_or(0);
    let count_width = width(&grouped(most));
    let room = columns.saturating_sub(label_width + count_width + 2);
    let line = |(label, count): &(String, u64)| {
        let indent = " ".repeat(label_width - width(label));
        let head = format!("{indent}{label} {:>count_width$}", grouped(*count));
        (head, bar(*count, most, room, glyphs))
    };
    rows.iter().map(line).collect()
}

/// Only nothing has no bar, and only the most has one of the whole width.
fn bar(count: u64, most: u64, columns: usize, glyphs: Glyphs) -> String {
    let parts = glyphs.parts();
    if count == 0 {
        return String::new();
    }
    let whole = u128::from(most.max(1));
    let length = columns as u128 * parts.len() as u128 * u128::from(count) / whole;
    let length = (length as usize).max(1).min(columns * parts.len());
    let (full, rest) = (length / parts.len(), length % parts.len());
    let mut text = parts[parts.len() - 1].repeat(full);
    if let Some(part) = rest.checked_sub(1).and_then(|part| parts.get(part)) {
        text.push_str(part);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(counts: &[u64]) -> Vec<(String, u64)> {
        let label = |at: usize| "x".repeat(at + 1);
        let counts = counts.iter().enumerate();
        counts.map(|(at, count)| (label(at), *count)).collect()
    }

    #[test]
    fn the_longest_bar_fills_the_line() {
        let lines = bars(&rows(&[0, 1, 2000, 4000]), 20, Glyphs::Ascii);
        let lines: Vec<String> = lines
            .iter()
            .map(|(head, bar)| format!("{head} {bar}"))
            .collect();
        assert_eq!(
            lines,
            [
                "   x     0 ",
                "  xx     1 *",
                " xxx 2,000 ****",
                "xxxx 4,000 *********"
            ]
        );
        let lines = bars(&rows(&[1, 16]), 11, Glyphs::Unicode);
        assert_eq!(lines[0], (" x  1".to_owned(), "▎".to_owned()));
        assert_eq!(lines[1].1, "█████");
    }

    #[test]
    fn there_need_not_be_room() {
        assert_eq!(bars(&[], 10, Glyphs::Unicode), []);
        for columns in 0..8 {
            let lines = bars(&rows(&[u64::MAX, 1]), columns, Glyphs::Unicode);
            assert!(lines.iter().all(|(_, bar)| bar.is_empty()));
        }
    }
}
