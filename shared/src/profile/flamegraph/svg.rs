//! The picture as SVG.

use std::fmt::{self, Display, Formatter};

use jiff::Timestamp;

use super::color;
use super::layout::{Layout, Placed};
use super::xml::Escaped;
use crate::output::{counted, rfc3339};
use crate::profile::tree::{Label, Side, Tree};
use crate::profile::{ValueKind, names};

// In pixels of the picture as it is first seen.
const WIDTH: f64 = 1200.0;
const MARGIN: f64 = 10.0;
const ROW: f64 = 17.0;
const FRAME: f64 = 16.0;
/// Title, summary and the script's controls.
const ABOVE: f64 = 84.0;
const NOTE: f64 = 16.0;
/// A letter of the frames' font, about.
const LETTER: f64 = 7.25;
/// Longer names lose their middle, so that the file stays small.
const LONGEST_NAME: usize = 300;
const LONGEST_TITLE: usize = 140;

/// Everything that is drawn. `Display` is the file.
pub struct Picture<'p> {
    pub tree: &'p Tree,
    pub layout: Layout,
    pub kind: ValueKind,
    pub title: &'p str,
    /// When the (later) profile was taken.
    pub time: Timestamp,
    /// When the earlier one was, in a picture of a difference.
    pub before: Option<Timestamp>,
    /// How many calls are gone, and what they had.
    pub vanished: (u64, u128),
}

impl Display for Picture<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let notes = self.notes();
        let frames_end = ABOVE + (self.layout.depth + 1) as f64 * ROW;
        let height = frames_end + (notes.len() + 1) as f64 * NOTE + 12.0;
        self.open(f, height)?;
        for placed in &self.layout.placed {
            self.frame(f, *placed)?;
        }
        let mut y = frames_end + NOTE;
        writeln!(f, r#"<text class="details" x="{MARGIN}" y="{y}"/>"#)?;
        for note in &notes {
            y += NOTE;
            let note = Escaped(note);
            writeln!(
                f,
                r#"<text class="note" x="{MARGIN}" y="{y}">{note}</text>"#
            )?;
        }
        writeln!(
            f,
            "<script><![CDATA[\n{}]]></script>\n</svg>",
            include_str!("script.js")
        )
    }
}

impl Picture<'_> {
    fn open(&self, f: &mut Formatter<'_>, height: f64) -> fmt::Result {
        let title = names::one_line(self.title);
        let title = Escaped(&title);
        let shown = shortened(self.title, LONGEST_TITLE);
        let shown = Escaped(&shown);
        let summary = self.summary();
        let whole_width = WIDTH + 2.0 * MARGIN;
        writeln!(
            f,
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{whole_width}" height="{height}" viewBox="0 0 {whole_width} {height}" data-unit="{}" data-width="{WIDTH}" data-margin="{MARGIN}" data-row="{ROW}" data-letter="{LETTER}">"#,
            Escaped(self.kind.unit)
        )?;
        writeln!(f, "<title>{title}</title>")?;
        writeln!(
            f,
            "<style><![CDATA[\n{}]]></style>",
            include_str!("style.css")
        )?;
        // The colour stands here too, for programs that know no style sheets.
        writeln!(
            f,
            r##"<rect class="sheet" width="{whole_width}" height="{height}" fill="#fdfdfd"/>"##
        )?;
        writeln!(
            f,
            r#"<text class="title about" x="{MARGIN}" y="22">{shown}</text>"#
        )?;
        let summary = Escaped(&summary);
        writeln!(
            f,
            r#"<text class="about" x="{MARGIN}" y="40">{summary}</text>"#
        )
    }

    fn summary(&self) -> String {
        let root = &self.tree.nodes[0];
        let after = root.total(Side::After);
        let total = self.human(after);
        let (name, time) = (self.kind.name, rfc3339(self.time));
        let Some(before_time) = self.before else {
            return format!("{name}: {total}, {time}");
        };
        let was = root.total(Side::Before);
        format!(
            "{name}: {total} at {time}, {} since {}; red grew, blue shrank",
            self.change(was, after),
            rfc3339(before_time)
        )
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let layout = &self.layout;
        if layout.narrow > 0 {
            notes.push(format!(
                "not drawn: {} narrower than {:.2} pixels, with {} ({})",
                counted(layout.narrow, "frame"),
                layout.narrowest * WIDTH,
                self.human(layout.narrow_total),
                self.percent(layout.narrow_total)
            ));
        }
        let (calls, had) = self.vanished;
        if calls > 0 {
            notes.push(format!(
                "not drawn: {} of the earlier profile, now gone, with {}",
                counted(calls, "frame"),
                self.human(had)
            ));
        }
        if self.tree.negative > 0 {
            notes.push(format!(
                "not drawn: {} with a figure below zero",
                counted(self.tree.negative, "stack")
            ));
        }
        notes
    }

    fn frame(&self, f: &mut Formatter<'_>, placed: Placed) -> fmt::Result {
        let node = &self.tree.nodes[placed.node];
        let label = self.tree.label(placed.node);
        let (before, after) = (node.total(Side::Before), node.total(Side::After));
        let scale = WIDTH / self.tree.nodes[0].total(Side::After).max(1) as f64;
        // The root is seen even where there is nothing.
        let width = if placed.node == 0 {
            WIDTH
        } else {
            after as f64 * scale
        };
        let x = MARGIN + placed.offset as f64 * scale;
        let y = ABOVE + (self.layout.depth - node.depth) as f64 * ROW;
        let fill = match self.before {
            Some(_) => color::of_change(before, after),
            None => color::of_label(label),
        };
        let class = if label.inlined { "f i" } else { "f" };
        let name = shortened(&label.name, LONGEST_NAME);
        let place = place_of(label);
        let figures = self.figures(before, after);
        let offset = placed.offset;
        write!(
            f,
            r#"<g class="{class}" data-o="{offset}" data-v="{after}"><title>{}
{}{figures}</title><rect x="{x:.2}" y="{y}" width="{width:.2}" height="{FRAME}" fill="{fill}"/>"#,
            Escaped(&name),
            Escaped(&place)
        )?;
        let fitting = fit(&name, ((width - 6.0) / LETTER).max(0.0) as usize);
        if !fitting.is_empty() {
            let (x, y) = (x + 3.0, y + 12.0);
            write!(
                f,
                r#"<text x="{x:.2}" y="{y}">{}</text>"#,
                Escaped(&fitting)
            )?;
        }
        writeln!(f, "</g>")
    }

    fn figures(&self, before: u128, after: u128) -> String {
        let mut text = format!("{}, {}", self.human(after), self.percent(after));
        if self.before.is_some() {
            let change = self.change(before, after);
            text = format!("{text}, {change} from {}", self.human(before));
        }
        text
    }

    fn change(&self, before: u128, after: u128) -> String {
        let sign = if after < before { '-' } else { '+' };
        format!("{sign}{}", self.human(before.abs_diff(after)))
    }

    fn human(&self, value: u128) -> String {
        self.kind.human(u64::try_from(value).unwrap_or(u64::MAX))
    }

    fn percent(&self, value: u128) -> String {
        let total = self.tree.nodes[0].total(Side::After).max(1);
        format!("{:.2}%", 100.0 * value as f64 / total as f64)
    }
}

/// The second line of a frame's description, if it has one.
fn place_of(label: &Label) -> String {
    let inlined = if label.inlined { "inlined" } else { "" };
    match label.module.as_str() {
        "" if label.inlined => format!("{inlined}\n"),
        "" => String::new(),
        module if label.inlined => format!("{inlined}, in {module}\n"),
        module => format!("in {module}\n"),
    }
}

/// As much of a name as fits into so many letters; nothing where that says nothing.
fn fit(name: &str, letters: usize) -> String {
    if letters < 3 {
        return String::new();
    }
    let mut used = 0;
    for (i, (at, c)) in name.char_indices().enumerate() {
        // Most of what comes after the symbols is twice as wide.
        used += if c > '\u{2e7f}' { 2 } else { 1 };
        if used > letters {
            let kept = name.char_indices().nth(i.saturating_sub(1));
            let end = kept.map_or(at, |(end, _)| end);
            return format!("{}…", &name[..end]);
        }
    }
    name.to_owned()
}

/// A text on one line, without its middle where it is too long.
fn shortened(text: &str, longest: usize) -> String {
    let text = names::one_line(text);
    let length = text.chars().count();
    if length <= longest {
        return text;
    }
    let half = longest / 2;
    let start: String = text.chars().take(half).collect();
    let end: String = text.chars().skip(length - half).collect();
    format!("{start}…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_to_the_frame() {
        assert_eq!(fit("malloc", 6), "malloc");
        assert_eq!(fit("malloc", 5), "mall…");
        assert_eq!(fit("malloc", 2), "");
        assert_eq!(fit("日本語", 5), "日…");
        assert_eq!(fit("日本語", 6), "日本語");
    }

    #[test]
    fn long_texts_lose_their_middle() {
        assert_eq!(shortened("abcdefgh", 8), "abcdefgh");
        assert_eq!(shortened("abcdefghi", 4), "ab…hi");
    }
}
