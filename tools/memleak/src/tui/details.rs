//! The pane of details: all that is known of one stack.

use std::fmt::Write as _;

use memtools::output::{counted, grouped, human_bytes, human_bytes_signed, human_duration};
use memtools::stacks;
use memtools::tui::details;
use memtools::tui::text::{Cut, fit, width};
use memtools::tui::theme::{Theme, Tone};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::model::{Ledger, Row};
use crate::snapshot::SizeHistogram;

/// Draws the details of a row; returns how far they are scrolled then.
pub fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    theme: &Theme,
    (ledger, row): (&Ledger, &Row),
    scroll: usize,
) -> usize {
    let lines = lines(ledger, row, theme, usize::from(area.width));
    details::draw(frame, area, theme, lines, scroll)
}

fn lines(ledger: &Ledger, row: &Row, theme: &Theme, width: usize) -> Vec<Line<'static>> {
    let mut lines = vec![
        figures(ledger, row, theme),
        history(ledger, row),
        score(ledger, row, theme),
    ];
    lines.extend(sizes(&row.figures.sizes, theme, width));
    for (index, frame) in ledger.frames(row).enumerate() {
        lines.push(Line::raw(frame_line(index, frame, theme, width)));
    }
    if ledger.frames(row).len() == 0 {
        lines.push(Line::raw(
            "    [no stack: there was no room, or none to be read]",
        ));
    } else if ledger.is_incomplete(row) {
        lines.push(Line::styled(
            "    [outer frames missing]",
            theme.tone(Tone::Warn),
        ));
    }
    lines
}

/// `0 symbol+0xoffset [module] file:line`. In a narrow terminal the directories go first: a line's
/// number is what details are opened for.
fn frame_line(index: usize, frame: &stacks::Frame, theme: &Theme, columns: usize) -> String {
    let name = match (&frame.symbol, frame.offset) {
        (Some(symbol), Some(offset)) => format!("{symbol}+{offset:#x}"),
        (Some(symbol), None) => symbol.clone(),
        (None, _) => format!("{:#x}", frame.addr),
    };
    let inlined = if frame.inlined { " (inlined)" } else { "" };
    let call = format!("{index:>3} {name}{inlined} [{}]", frame.module);
    let Some(file) = &frame.file else {
        return fit(&call, columns, Cut::End, theme.glyphs);
    };
    let line = frame.line.map_or_else(String::new, |n| format!(":{n}"));
    let base = file.rsplit('/').next().unwrap_or(file);
    // A blank, the sign for what is missing, and a slash.
    let kept = (width(base) + width(&line) + 3).min(columns / 2);
    let call = fit(&call, columns - kept, Cut::End, theme.glyphs);
    let room = columns.saturating_sub(width(&call) + 1);
    let place = fit(&format!("{file}{line}"), room, Cut::Start, theme.glyphs);
    format!("{call} {place}")
}

fn figures(ledger: &Ledger, row: &Row, theme: &Theme) -> Line<'static> {
    let figures = &row.figures;
    let live = format!(
        "{} in {}",
        human_bytes(figures.live.bytes),
        counted(figures.live.count, "block")
    );
    let mut rest = format!(
        " live ({}), {} a second",
        row.class.name(),
        human_bytes_signed(ledger.growth_per_second(row) as i64)
    );
    if figures.young.count > 0 {
        let _ = write!(rest, ", and {} young", human_bytes(figures.young.bytes));
    }
    Line::from(vec![
        Span::styled(live, theme.tone(Tone::Strong)),
        Span::raw(rest),
    ])
}

fn history(ledger: &Ledger, row: &Row) -> Line<'static> {
    let figures = &row.figures;
    let mut text = format!(
        "{} allocated, {} freed",
        grouped(figures.allocs),
        grouped(figures.frees)
    );
    if let (Some(births), Some(moment)) = (figures.births, ledger.moment()) {
        let age = |born| human_duration(moment.elapsed.saturating_sub(born));
        let _ = write!(
            text,
            "; oldest {}, mean age {}, youngest {}",
            age(births.first),
            age(births.mean),
            age(births.last)
        );
    }
    Line::raw(text)
}

fn score(ledger: &Ledger, row: &Row, theme: &Theme) -> Line<'static> {
    let score = ledger.score(row);
    let percent = |part: f64| format!("{:.0} %", part * 100.0);
    let spread = score.spread.map_or_else(
        || "ages not counted".to_owned(),
        |spread| format!("births spread {}", percent(spread)),
    );
    Line::from(vec![
        Span::styled(
            format!("score {:.0}, {}", score.total, score.verdict),
            theme.tone(Tone::Strong),
        ),
        Span::raw(format!(
            ": growth {}, never freed {}, {spread}",
            percent(score.growth),
            percent(score.unfreed)
        )),
    ])
}

/// Sizes by powers of two, with bars.
fn sizes(sizes: &SizeHistogram, theme: &Theme, width: usize) -> Vec<Line<'static>> {
    const LABELS: usize = 36;
    let most = sizes.0.iter().map(|(_, count)| *count).max().unwrap_or(1);
    let room = width.saturating_sub(LABELS).min(40);
    let line = |(bucket, count): &(u8, u64)| {
        let low = if *bucket == 0 { 0 } else { 1_u64 << bucket };
        let high = (2_u64 << bucket).wrapping_sub(1);
        let length = (u128::from(*count) * room as u128).div_ceil(u128::from(most)) as usize;
        let label = format!(
            "{:>10} to {:<10} {:>9} ",
            human_bytes(low),
            human_bytes(high),
            grouped(*count)
        );
        Line::from(vec![
            Span::raw(label),
            Span::styled(theme.glyphs.levels()[7].repeat(length), theme.chart()),
        ])
    };
    sizes.0.iter().map(line).collect()
}
