//! How things look: one set of styles and signs for the whole suite.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::{bar, border};

/// What a text is about, as far as its looks go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// Beside the point.
    Dim,
    /// The point.
    Strong,
    /// As it should be.
    Good,
    /// To be looked at.
    Warn,
    /// Wrong, or lost.
    Bad,
}

/// Styles and signs. Only the terminal's own colours are used, and only in the foreground, so that
/// they suit dark and light backgrounds.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    has_colour: bool,
    /// What figures are drawn with.
    pub glyphs: Glyphs,
}

impl Theme {
    /// What the environment asks for: NO_COLOR, TERM and the locale.
    pub fn from_env() -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self::new(!no_color, Glyphs::from_env())
    }

    /// Without colour, bold, underlined and reversed text have to do.
    pub const fn new(has_colour: bool, glyphs: Glyphs) -> Self {
        Self { has_colour, glyphs }
    }

    /// The style of a text.
    pub fn tone(self, tone: Tone) -> Style {
        match tone {
            Tone::Dim if self.has_colour => Style::new().add_modifier(Modifier::DIM),
            Tone::Plain | Tone::Dim => Style::new(),
            Tone::Strong => Style::new().add_modifier(Modifier::BOLD),
            Tone::Good => self.coloured(Color::Green, Modifier::empty()),
            Tone::Warn => self.coloured(Color::Magenta, Modifier::BOLD),
            Tone::Bad if self.has_colour => self.coloured(Color::Red, Modifier::BOLD),
            Tone::Bad => Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED),
        }
    }

    /// A table's head.
    pub fn header(self) -> Style {
        self.coloured(Color::Cyan, Modifier::BOLD | Modifier::UNDERLINED)
    }

    /// The selected row.
    #[allow(clippy::unused_self)] // Other styles depend on the theme.
    pub fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// The name of a key.
    pub fn key(self) -> Style {
        self.coloured(Color::Cyan, Modifier::BOLD)
    }

    /// A title or a label.
    pub fn title(self) -> Style {
        self.coloured(Color::Cyan, Modifier::BOLD)
    }

    /// Columns and lines of figures.
    pub fn chart(self) -> Style {
        self.coloured(Color::Green, Modifier::empty())
    }

    /// How many shades there are, nothing among them.
    pub const fn shades(self) -> usize {
        match (self.has_colour, self.glyphs) {
            (true, Glyphs::Unicode) => BLOCKS.len(),
            _ => LETTERS.len(),
        }
    }

    /// A sign for how much there is, from 0 for nothing up to the last of [`shades`](Self::shades).
    /// Without colours the signs alone have to do, and there are more of them in ASCII.
    pub fn shade(self, level: usize) -> (&'static str, Style) {
        let level = level.min(self.shades() - 1);
        match (self.has_colour, self.glyphs) {
            (true, Glyphs::Unicode) => {
                let (sign, colour) = BLOCKS[level];
                (sign, Style::new().fg(colour))
            }
            (true, Glyphs::Ascii) => {
                // The densest sign has the last colour.
                let (_, colour) = BLOCKS[level * (BLOCKS.len() - 1) / (LETTERS.len() - 1)];
                (LETTERS[level], Style::new().fg(colour))
            }
            (false, _) => (LETTERS[level], Style::new()),
        }
    }

    fn coloured(self, colour: Color, modifiers: Modifier) -> Style {
        let style = Style::new().add_modifier(modifiers);
        if self.has_colour {
            style.fg(colour)
        } else {
            style
        }
    }
}

/// Which characters the terminal can be trusted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glyphs {
    /// All of Unicode.
    Unicode,
    /// Nothing but ASCII.
    Ascii,
}

const ASCII_BORDER: border::Set<'static> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

/// From nothing to the most. Sign and colour change in turn: who does not tell colours apart still
/// sees every second step.
const BLOCKS: [(&str, Color); 9] = [
    (" ", Color::Reset),
    ("░", Color::Blue),
    ("░", Color::Cyan),
    ("▒", Color::Cyan),
    ("▒", Color::Green),
    ("▓", Color::Green),
    ("▓", Color::Yellow),
    ("█", Color::Yellow),
    ("█", Color::Red),
];

const LETTERS: [&str; 10] = [" ", ".", ":", "-", "=", "+", "*", "#", "%", "@"];

impl Glyphs {
    /// Unicode where the locale's characters are UTF-8; the Linux console has no font for it.
    pub fn from_env() -> Self {
        let variable = |name| std::env::var(name).ok();
        Self::of(variable, std::env::var("TERM").ok().as_deref())
    }

    fn of(variable: impl Fn(&'static str) -> Option<String>, term: Option<&str>) -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(|name| variable(name).filter(|value| !value.is_empty()))
            .unwrap_or_default()
            .to_ascii_lowercase();
        let is_utf8 = locale.contains("utf-8") || locale.contains("utf8");
        if is_utf8 && term != Some("linux") {
            Self::Unicode
        } else {
            Self::Ascii
        }
    }

    /// From the lowest to the highest.
    pub const fn levels(self) -> [&'static str; 8] {
        match self {
            Self::Unicode => ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
            Self::Ascii => ["_", ".", ":", "-", "=", "+", "*", "#"],
        }
    }

    /// The same for ratatui.
    pub(super) const fn bars(self) -> bar::Set<'static> {
        let levels = self.levels();
        bar::Set {
            full: levels[7],
            seven_eighths: levels[6],
            three_quarters: levels[5],
            five_eighths: levels[4],
            half: levels[3],
            three_eighths: levels[2],
            one_quarter: levels[1],
            one_eighth: levels[0],
            empty: " ",
        }
    }

    /// The parts of a character from the left; the last one is the whole of it.
    pub const fn parts(self) -> &'static [&'static str] {
        match self {
            Self::Unicode => &["▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"],
            Self::Ascii => &["*"],
        }
    }

    /// Stands where text was cut.
    pub const fn ellipsis(self) -> &'static str {
        match self {
            Self::Unicode => "…",
            Self::Ascii => "~",
        }
    }

    /// Stands before a figure that may be larger.
    pub const fn at_least(self) -> &'static str {
        match self {
            Self::Unicode => "≥",
            Self::Ascii => ">=",
        }
    }

    /// Stands where there is no figure.
    pub const fn no_figure(self) -> &'static str {
        match self {
            Self::Unicode => "–",
            Self::Ascii => "-",
        }
    }

    /// Stands beside a sorted column's title.
    pub const fn arrow(self, is_descending: bool) -> &'static str {
        match (self, is_descending) {
            (Self::Unicode, true) => "▼",
            (Self::Unicode, false) => "▲",
            (Self::Ascii, true) => "v",
            (Self::Ascii, false) => "^",
        }
    }

    /// What frames and rules are drawn with.
    pub const fn border(self) -> border::Set<'static> {
        match self {
            Self::Unicode => border::PLAIN,
            Self::Ascii => ASCII_BORDER,
        }
    }

    /// Stands between the parts of a line.
    pub(super) const fn separator(self) -> &'static str {
        match self {
            Self::Unicode => " · ",
            Self::Ascii => " | ",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colour_there_is_none() {
        let theme = Theme::new(false, Glyphs::Ascii);
        for tone in [Tone::Dim, Tone::Good, Tone::Warn, Tone::Bad] {
            assert_eq!(theme.tone(tone).fg, None);
        }
        for level in 0..20 {
            assert_eq!(theme.shade(level).1.fg, None);
        }
        for style in [theme.header(), theme.key(), theme.title(), theme.chart()] {
            assert_eq!(style.fg, None);
        }
        assert_ne!(theme.tone(Tone::Bad), theme.tone(Tone::Plain));
    }

    #[test]
    fn every_shade_has_its_look() {
        for (has_colour, glyphs) in [
            (true, Glyphs::Unicode),
            (true, Glyphs::Ascii),
            (false, Glyphs::Unicode),
            (false, Glyphs::Ascii),
        ] {
            let theme = Theme::new(has_colour, glyphs);
            let looks: Vec<_> = (0..theme.shades())
                .map(|level| theme.shade(level))
                .collect();
            assert_eq!(looks[0].0, " ");
            assert!(looks.windows(2).all(|pair| pair[0] != pair[1]));
            assert_eq!(theme.shade(99), *looks.last().unwrap());
        }
    }

    #[test]
    fn the_first_locale_variable_that_says_something_decides() {
        let of = |all: &str, lang: &str, term| {
            let variable = |name| match name {
                "LC_ALL" => Some(all.to_owned()),
                "LANG" => Some(lang.to_owned()),
                _ => None,
            };
            Glyphs::of(variable, Some(term))
        };
        assert_eq!(of("", "de_DE.UTF-8", "xterm"), Glyphs::Unicode);
        assert_eq!(of("C.utf8", "C", "xterm"), Glyphs::Unicode);
        assert_eq!(of("C", "de_DE.UTF-8", "xterm"), Glyphs::Ascii);
        assert_eq!(of("", "", "xterm"), Glyphs::Ascii);
        assert_eq!(of("", "de_DE.UTF-8", "linux"), Glyphs::Ascii);
    }
}
