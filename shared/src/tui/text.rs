//! Text in a given number of columns.

use ratatui::buffer::CellWidth;
use ratatui::style::Style;
use ratatui::text::Span;

use super::theme::Glyphs;
use crate::output::clean;

/// Which part of a text goes when there is no room for all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cut {
    /// The end: of names.
    #[default]
    End,
    /// The beginning: of paths.
    Start,
}

/// The columns that a text takes on a terminal.
pub fn width(text: &str) -> usize {
    graphemes(text).map(|(_, width)| width).sum()
}

/// Text of another process, cleaned, and cut to at most `columns` columns; a sign stands where
/// something is missing.
pub fn fit(text: &str, columns: usize, cut: Cut, glyphs: Glyphs) -> String {
    let mut text = clean(text).replace('\t', " ");
    if glyphs == Glyphs::Ascii && !text.is_ascii() {
        text = text.replace(|c: char| !c.is_ascii(), "?");
    }
    // Every byte takes a column at most, save for wide characters, which take more bytes.
    if text.len() <= columns || width(&text) <= columns {
        return text;
    }
    let Some(room) = columns.checked_sub(1) else {
        return String::new();
    };
    let ellipsis = glyphs.ellipsis();
    match cut {
        Cut::End => head(&text, room) + ellipsis,
        Cut::Start => format!("{ellipsis}{}", tail(&text, room)),
    }
}

fn head(text: &str, columns: usize) -> String {
    let mut left = columns;
    graphemes(text)
        .take_while(|(_, width)| {
            let fits = *width <= left;
            left = left.saturating_sub(*width);
            fits
        })
        .map(|(grapheme, _)| grapheme)
        .collect()
}

fn tail(text: &str, columns: usize) -> String {
    let all: Vec<(String, usize)> = graphemes(text).collect();
    let mut left = columns;
    let count = all
        .iter()
        .rev()
        .take_while(|(_, width)| {
            let fits = *width <= left;
            left = left.saturating_sub(*width);
            fits
        })
        .count();
    let kept = all[all.len() - count..].iter();
    kept.map(|(grapheme, _)| grapheme.as_str()).collect()
}

/// What takes columns together, as ratatui draws it.
fn graphemes(text: &str) -> impl Iterator<Item = (String, usize)> {
    let span = Span::raw(text);
    let graphemes: Vec<_> = span
        .styled_graphemes(Style::new())
        .map(|g| (g.symbol.to_owned(), usize::from(g.symbol.cell_width())))
        .collect();
    graphemes.into_iter()
}

/// A duration in at most seven columns: `999 ns`, `12.3 us`, `4.56 s`.
pub fn short_ns(ns: u64) -> String {
    const UNITS: [(f64, &str); 3] = [(1e9, "s"), (1e6, "ms"), (1e3, "us")];
    if ns < 1000 {
        return format!("{ns} ns");
    }
    let ns = ns as f64;
    let unit = UNITS.iter().find(|(unit, _)| ns >= *unit * 0.9995);
    let (unit, name) = unit.unwrap_or(&UNITS[2]);
    match ns / unit {
        figure if figure < 9.995 => format!("{figure:.2} {name}"),
        figure if figure < 99.95 => format!("{figure:.1} {name}"),
        figure => format!("{figure:.0} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_cut_by_columns() {
        let fit = |text, columns, cut| fit(text, columns, cut, Glyphs::Unicode);
        assert_eq!(fit("malloc", 6, Cut::End), "malloc");
        assert_eq!(fit("malloc", 5, Cut::End), "mall…");
        assert_eq!(fit("/usr/lib/libc.so", 8, Cut::Start), "…libc.so");
        assert_eq!(fit("日本語", 5, Cut::End), "日本…");
        assert_eq!(fit("日本語", 4, Cut::End), "日…");
        assert_eq!(fit("日本語", 4, Cut::Start), "…語");
        assert_eq!(fit("x", 0, Cut::End), "");
        assert_eq!(fit("e\u{301}e\u{301}", 2, Cut::End), "e\u{301}e\u{301}");
    }

    #[test]
    fn text_is_cleaned() {
        let fit = |text, glyphs| fit(text, 20, Cut::End, glyphs);
        assert_eq!(fit("a\tb\x1b[2J", Glyphs::Unicode), "a b\\u{1b}[2J");
        assert_eq!(fit("größe", Glyphs::Ascii), "gr??e");
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(short_ns(0), "0 ns");
        assert_eq!(short_ns(1500), "1.50 us");
        assert_eq!(short_ns(999_900), "1.00 ms");
        assert_eq!(short_ns(12_345_678), "12.3 ms");
        assert_eq!(short_ns(86_400_000_000_000), "86400 s");
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_its_room(text in any::<String>(), columns in 0_usize..30) {
            for glyphs in [Glyphs::Unicode, Glyphs::Ascii] {
                for cut in [Cut::Start, Cut::End] {
                    prop_assert!(width(&fit(&text, columns, cut, glyphs)) <= columns);
                }
            }
        }
    }
}
