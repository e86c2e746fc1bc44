//! One function: its percentiles, its histogram, and its heat map.

use memtools::output::grouped;
use memtools::tui::bars::bars;
use memtools::tui::heat::Grid;
use memtools::tui::text::{Cut, fit, width};
use memtools::tui::theme::{Theme, Tone};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};

use super::STEP;
use super::record::Record;
use super::split;
use super::times::{Times, bounds_ns, short_name};
use crate::model::heat::Heat;
use crate::model::{Figures, Function, SplitBy, Unit};

/// Which pictures have the room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pictures {
    #[default]
    Both,
    Histogram,
    HeatMap,
    /// What calls are told apart by.
    Split,
}

impl Pictures {
    /// The next.
    pub fn next(self, has_split: bool) -> Self {
        match self {
            Self::Both => Self::Histogram,
            Self::Histogram => Self::HeatMap,
            Self::HeatMap if has_split => Self::Split,
            Self::HeatMap | Self::Split => Self::Both,
        }
    }
}

/// What is shown, and how.
pub struct Page<'a> {
    pub function: &'a Function,
    /// The function's number.
    pub at: usize,
    pub record: &'a Record,
    pub is_last_interval: bool,
    pub times: Times,
    /// Rows are powers of two of it.
    pub row_unit: Unit,
    pub split: Option<SplitBy>,
    pub pictures: Pictures,
    pub theme: &'a Theme,
}

/// Two pictures in less room would show nothing.
const LEAST_BOTH: u16 = 7;
/// The head of a picture and the least of its lines.
const LEAST_PICTURE: u16 = 3;

impl Page<'_> {
    /// Draws it, with the histogram scrolled; returns how far it is then.
    pub fn draw(&self, frame: &mut Frame<'_>, area: Rect, scroll: usize) -> usize {
        let columns = usize::from(area.width);
        let mut lines = vec![self.name(columns)];
        lines.extend(self.figures_lines(columns));
        let [head, rest] =
            Layout::vertical([Constraint::Length(lines.len() as u16), Constraint::Min(0)])
                .areas(area);
        frame.render_widget(Paragraph::new(lines), head);
        if let (Pictures::Split, Some(by)) = (self.pictures, self.split) {
            return self.parts_list(frame, rest, by, scroll);
        }
        let rows = self.rows();
        let (above, below) = self.split(rest, rows.len());
        let scroll = self.histogram(frame, above, &rows, scroll);
        self.heat_map(frame, below);
        scroll
    }

    fn figures(&self) -> Option<&Figures> {
        self.record.figures(self.is_last_interval).get(self.at)
    }

    fn name(&self, columns: usize) -> Line<'static> {
        let Function { shown, module, .. } = self.function;
        let scope = if self.is_last_interval {
            "the last interval"
        } else {
            "the whole run"
        };
        let scope = format!(", {scope}");
        let room = columns.saturating_sub(width(&scope));
        let name = fit(
            &format!("{shown} [{module}]"),
            room,
            Cut::End,
            self.theme.glyphs,
        );
        Line::from(vec![
            Span::styled(name, self.theme.tone(Tone::Strong)),
            Span::styled(scope, self.theme.tone(Tone::Dim)),
        ])
    }

    /// Figures under each other, so that they stay where they are when they change.
    fn figures_lines(&self, columns: usize) -> Vec<Line<'static>> {
        const GAP: usize = 2;
        let none = Figures::default();
        let parts = self.words(self.figures().unwrap_or(&none));
        let widest = parts
            .iter()
            .map(|(name, text, _)| name.len() + 1 + width(text))
            .max();
        let each = widest.unwrap_or(0);
        let per_line = ((columns + GAP) / (each + GAP)).max(1);
        let lines = parts.chunks(per_line).map(|parts| {
            let spans = parts.iter().flat_map(|(name, text, tone)| {
                let room = each + GAP - name.len() - 1 - width(text);
                [
                    Span::styled(format!("{name} "), self.theme.tone(Tone::Dim)),
                    Span::styled(text.clone(), self.theme.tone(*tone)),
                    Span::raw(" ".repeat(room)),
                ]
            });
            Line::from(spans.collect::<Vec<_>>())
        });
        lines.collect()
    }

    fn words(&self, figures: &Figures) -> Vec<(&'static str, String, Tone)> {
        let average = figures.average_ns();
        let time = |ns: Option<u64>| {
            let nothing = || self.theme.glyphs.no_figure().to_owned();
            ns.map_or_else(nothing, |ns| self.times.text(ns))
        };
        let mut parts = vec![
            ("count", grouped(figures.ended), Tone::Plain),
            ("avg", time(average), Tone::Plain),
            ("min", time(average.and(Some(figures.min_ns))), Tone::Plain),
        ];
        for (name, fraction) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
            parts.push((name, time(figures.quantile_ns(fraction)), Tone::Strong));
        }
        parts.push(("max", time(average.and(Some(figures.max_ns))), Tone::Plain));
        parts.push(("inside", grouped(self.record.inside(self.at)), Tone::Plain));
        for (name, count) in [
            ("unwound", figures.unwound),
            ("missed", figures.missed),
            ("unpaired", figures.unpaired),
        ] {
            let tone = if count > 0 { Tone::Warn } else { Tone::Plain };
            // That a call had begun before is seen at the start, and never again.
            if count > 0 || name != "unpaired" {
                parts.push((name, grouped(count), tone));
            }
        }
        parts
    }

    /// The rows from the first to the last that have calls.
    fn rows(&self) -> Vec<(String, u64)> {
        let rows = self.figures().map_or(&[][..], |figures| &figures.rows);
        let first = rows.iter().position(|count| *count > 0);
        let last = rows.iter().rposition(|count| *count > 0);
        let (Some(first), Some(last)) = (first, last) else {
            return Vec::new();
        };
        let bounds: Vec<(String, String)> = (first..=last).map(|row| self.bounds(row)).collect();
        let widest = bounds
            .iter()
            .map(|(_, high)| width(high))
            .max()
            .unwrap_or(0);
        let label = |(low, high): &(String, String)| format!("{low} - {high:>widest$}");
        let labels = bounds.iter().map(label);
        labels.zip(rows[first..=last].iter().copied()).collect()
    }

    /// From which time on a row is, and up to which.
    fn bounds(&self, row: usize) -> (String, String) {
        let (low, high) = bounds_ns(row, self.row_unit);
        match self.times {
            // As bcc has it: `4 - 7`.
            Times::In(unit) if unit == self.row_unit => {
                let high = high / unit.ns();
                (
                    (low / unit.ns()).to_string(),
                    high.saturating_sub(1).to_string(),
                )
            }
            times => (times.figure(low), times.figure(high)),
        }
    }

    /// The room of the histogram and of the heat map.
    fn split(&self, area: Rect, rows: usize) -> (Rect, Rect) {
        let nothing = Rect { height: 0, ..area };
        match self.pictures {
            Pictures::HeatMap => (nothing, area),
            Pictures::Both if area.height >= LEAST_BOTH => {
                // The histogram has what it needs, but leaves a third to the heat map.
                let most = area.height - (area.height / 3).max(LEAST_PICTURE);
                let wanted = u16::try_from(rows + 1)
                    .unwrap_or(u16::MAX)
                    .max(LEAST_PICTURE);
                let height = Constraint::Length(wanted.min(most));
                let [above, below] = Layout::vertical([height, Constraint::Min(0)]).areas(area);
                (above, below)
            }
            Pictures::Both | Pictures::Histogram | Pictures::Split => (area, nothing),
        }
    }

    fn histogram(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        rows: &[(String, u64)],
        scroll: usize,
    ) -> usize {
        let page = usize::from(area.height.saturating_sub(1));
        if page == 0 {
            return scroll;
        }
        let scroll = scroll.min(rows.len().saturating_sub(page));
        let what = format!("histogram, {}", self.unit_text());
        let title = title(&what, rows.len(), scroll, page);
        let columns = usize::from(area.width);
        // All of them, so that nothing changes its place or its scale when they scroll.
        let lines = bars(rows, columns, self.theme.glyphs);
        let lines = lines
            .into_iter()
            .skip(scroll)
            .take(page)
            .map(|(head, bar)| {
                Line::from(vec![
                    Span::raw(format!("{head} ")),
                    Span::styled(bar, self.theme.chart()),
                ])
            });
        let mut lines: Vec<Line<'_>> = lines.collect();
        if lines.is_empty() {
            lines.push(self.nothing());
        }
        self.picture(frame, area, &title, lines);
        scroll
    }

    fn parts_list(&self, frame: &mut Frame<'_>, area: Rect, by: SplitBy, scroll: usize) -> usize {
        let page = usize::from(area.height.saturating_sub(2));
        let rows = self.record.split(self.is_last_interval);
        let room = (self.times, usize::from(area.width));
        let (head, parts) = split::lines(by, rows, self.at, room, self.theme.glyphs);
        let scroll = scroll.min(parts.len().saturating_sub(page));
        let title = title("by most time", parts.len(), scroll, page);
        let mut lines = vec![Line::styled(head, self.theme.header())];
        lines.extend(parts.into_iter().skip(scroll).take(page).map(Line::raw));
        self.picture(frame, area, &title, lines);
        scroll
    }

    /// Of what the rows are powers of two, and in what their times are.
    fn unit_text(&self) -> String {
        let powers = format!("powers of 2 of {}", short_name(self.row_unit));
        match self.times {
            Times::In(unit) if unit == self.row_unit => powers,
            Times::In(unit) => format!("{powers}, in {}", short_name(unit)),
            Times::Fitting => powers,
        }
    }

    fn nothing(&self) -> Line<'static> {
        let text = if self.record.is_empty() {
            "  counting"
        } else if self.is_last_interval {
            "  no call has returned in the last interval"
        } else {
            "  no call has returned"
        };
        Line::styled(text, self.theme.tone(Tone::Dim))
    }

    fn heat_map(&self, frame: &mut Frame<'_>, area: Rect) {
        let page = usize::from(area.height.saturating_sub(1));
        let heat = self.record.heats.get(self.at);
        let rows = heat.and_then(Heat::rows);
        if page == 0 {
            return;
        }
        let (Some(heat), Some(rows)) = (heat, rows) else {
            return self.picture(frame, area, "heat map", vec![self.nothing()]);
        };
        let label = |row: usize| self.bounds(row).0;
        let widest = (rows.0..=rows.1)
            .map(|row| width(&label(row)))
            .max()
            .unwrap_or(0);
        let room = usize::from(area.width).saturating_sub(widest + 3);
        let grid = Grid::new(heat.columns(), rows, (room, page));
        let seconds = u64::from(heat.per_column()) * grid.columns_each as u64 * STEP.as_secs();
        let (most, _) = self.theme.shade(usize::MAX);
        let line = match grid.rows_each {
            1 => String::new(),
            powers => format!(", a line {powers} powers"),
        };
        let title = format!(
            "heat map, a column is {seconds} s{line}, {most} {} calls",
            grouped(grid.hottest())
        );
        let bar = self.theme.glyphs.border().vertical_left;
        let lines = grid.lines(self.theme).into_iter().map(|(row, signs)| {
            let text = format!("{:>widest$} {bar} ", label(row));
            let label = Span::styled(text, self.theme.tone(Tone::Dim));
            Line::from([vec![label], signs].concat())
        });
        self.picture(frame, area, &title, lines.collect());
    }

    fn picture(&self, frame: &mut Frame<'_>, area: Rect, title: &str, lines: Vec<Line<'_>>) {
        let columns = usize::from(area.width);
        let title = fit(&format!(" {title} "), columns, Cut::End, self.theme.glyphs);
        let block = Block::new()
            .borders(Borders::TOP)
            .border_set(self.theme.glyphs.border())
            .border_style(self.theme.tone(Tone::Dim))
            .title(Line::styled(title, self.theme.title()));
        frame.render_widget(Paragraph::new(lines).block(block), area);
    }
}

/// What it is, and which lines of it are seen if not all are.
fn title(what: &str, lines: usize, scroll: usize, page: usize) -> String {
    if lines <= page {
        return what.to_owned();
    }
    let last = (scroll + page).min(lines);
    format!("{what}: lines {}-{last} of {lines}, Up Down", scroll + 1)
}
