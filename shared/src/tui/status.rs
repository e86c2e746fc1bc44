//! The line that says what is watched, what was lost, and what the tool costs.

use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::Widget;

use super::own_cost::Cost;
use super::text::{Cut, fit, width};
use super::theme::{Theme, Tone};
use crate::output::{grouped, human_bytes, human_duration};

/// How long a notice is shown.
const NOTICE: Duration = Duration::from_secs(6);

/// A word that goes away by itself: `saved FILE`.
#[derive(Clone, Debug, Default)]
pub struct Notice(Option<(String, Tone, Instant)>);

impl Notice {
    /// Says something, in the place of what was said before.
    pub fn say(&mut self, text: impl Into<String>, tone: Tone) {
        self.0 = Some((text.into(), tone, Instant::now()));
    }

    /// When it goes away, for [`App::wake_at`](super::App::wake_at); nothing once it has.
    pub fn wake_at(&self) -> Option<Instant> {
        self.end_after(Instant::now())
    }

    fn end_after(&self, now: Instant) -> Option<Instant> {
        self.at(now)?;
        let (_, _, since) = self.0.as_ref()?;
        Some(*since + NOTICE)
    }

    /// What is to be shown at a moment.
    fn at(&self, now: Instant) -> Option<(&str, Tone)> {
        let (text, tone, since) = self.0.as_ref()?;
        (now.saturating_duration_since(*since) < NOTICE).then_some((text.as_str(), *tone))
    }
}

/// The status line's facts. What does not fit is left out, the last named first; losses never.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a> {
    /// Whom the tool watches. Not yet cleaned.
    pub target: &'a str,
    /// Whether new data is not shown.
    pub is_paused: bool,
    /// What makes figures wrong.
    pub lost: u64,
    /// Since when, ago.
    pub elapsed: Duration,
    /// How busy the probes are.
    pub events_per_s: Option<f64>,
    /// What the tool itself uses.
    pub cost: Cost,
    /// Takes the target's place for a while.
    pub notice: &'a Notice,
    /// Styles and signs.
    pub theme: &'a Theme,
}

impl Widget for Status<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let columns = usize::from(area.width);
        if area.is_empty() {
            return;
        }
        let (first, tone) = self
            .notice
            .at(Instant::now())
            .unwrap_or((self.target, Tone::Strong));
        let parts = self.parts();
        let separator = self.theme.glyphs.separator();
        // The first part gets a third, if it needs so much, and what the others leave.
        let wanted = width(&fit(first, columns / 3, Cut::End, self.theme.glyphs));
        let shown = shown(&parts, columns - wanted, width(separator));
        let others: usize = shown
            .iter()
            .map(|(text, _)| width(text) + width(separator))
            .sum();
        let first = fit(
            first,
            columns.saturating_sub(others),
            Cut::End,
            self.theme.glyphs,
        );
        let mut x = area.x;
        let mut put = |text: &str, tone| {
            let left = usize::from(area.right().saturating_sub(x));
            let style = self.theme.tone(tone);
            x = buffer.set_stringn(x, area.y, text, left, style).0;
        };
        put(&first, tone);
        for (text, tone) in shown {
            put(separator, Tone::Dim);
            put(text, *tone);
        }
    }
}

impl Status<'_> {
    /// What stands behind the target; the most important first.
    fn parts(&self) -> Vec<(String, Tone)> {
        let mut parts = Vec::new();
        if self.lost > 0 {
            parts.push((format!("LOST {}", grouped(self.lost)), Tone::Bad));
        }
        if self.is_paused {
            parts.push(("paused".to_owned(), Tone::Warn));
        }
        parts.push((human_duration(self.elapsed), Tone::Plain));
        if let Some(rate) = self.events_per_s {
            parts.push((format!("{} events/s", grouped(rate as u64)), Tone::Plain));
        }
        let percent = self.cost.cpu_percent.map(|p| format!(" {p:.1} % CPU"));
        let resident = self.cost.resident.map(|r| format!(" {}", human_bytes(r)));
        let cost = percent.unwrap_or_default() + &resident.unwrap_or_default();
        if !cost.is_empty() {
            parts.push((format!("self{cost}"), Tone::Dim));
        }
        parts
    }
}

fn shown(parts: &[(String, Tone)], columns: usize, separator: usize) -> &[(String, Tone)] {
    let mut left = columns;
    let count = parts
        .iter()
        .take_while(|(text, _)| {
            let needed = width(text) + separator;
            let fits = needed <= left;
            left = left.saturating_sub(needed);
            fits
        })
        .count();
    &parts[..count]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_names_its_end_until_it_is_over() {
        let since = Instant::now();
        let notice = Notice(Some(("saved".to_owned(), Tone::Good, since)));
        let end = since + NOTICE;
        let shortly_before = since + (NOTICE / 10 * 9);
        assert_eq!(notice.end_after(since), Some(end));
        assert!(notice.at(shortly_before).is_some());
        assert!(notice.at(end).is_none());
        assert_eq!(notice.end_after(end), None);
        assert_eq!(Notice::default().wake_at(), None);
    }
}
