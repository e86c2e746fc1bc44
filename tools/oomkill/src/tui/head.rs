//! The lines above the table: how many kills there were, and where.

use jiff::Timestamp;
use memtools::output::{counted, grouped, wall_clock};
use memtools::tui::text::{Cut, fit, width};
use memtools::tui::theme::{Theme, Tone};
use ratatui::text::{Line, Span};

use super::kills::Selection;
use super::log::Log;
use super::recent::{HOUR, MINUTE};

/// How many kills there were, and how many of them lately. What does not fit is left out as a whole:
/// half of a number is another one.
pub fn kills(
    log: &Log,
    (started, now): (Timestamp, Timestamp),
    columns: usize,
    theme: &Theme,
) -> Line<'static> {
    let kills = log.kills();
    let mut line = Line::from(vec![
        Span::styled("oomkill ", theme.title()),
        Span::styled(counted(kills, "kill"), theme.tone(Tone::Strong)),
        Span::raw(format!(" since {}", wall_clock(started))),
    ]);
    if kills > 0 {
        let minute = grouped(log.kills_within(MINUTE, now));
        let hour = grouped(log.kills_within(HOUR, now));
        let lately = [
            format!(", {minute} in the last minute, {hour} in the last hour"),
            format!(", last min {minute}, hour {hour}"),
        ];
        let room = columns.saturating_sub(line.width());
        let fitting = lately.into_iter().find(|text| width(text) <= room);
        line.extend(fitting.map(Span::raw));
    }
    line
}

/// The cgroups with most kills.
pub fn cgroups(log: &Log, columns: usize, theme: &Theme) -> Line<'static> {
    const SHOWN: usize = 3;
    let top = log.top_cgroups(SHOWN);
    if top.is_empty() {
        return Line::default();
    }
    let mut text = if log.gone() == 0 {
        "most kills: ".to_owned()
    } else {
        "most kills of those kept: ".to_owned()
    };
    for (index, (path, kills)) in top.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        let start = format!("{separator}{} in ", grouped(*kills));
        // What a short path leaves is for those behind it.
        let share = columns.saturating_sub(width(&text)) / (top.len() - index);
        let room = share.saturating_sub(width(&start));
        text += &start;
        text += &fit(path, room, Cut::Start, theme.glyphs);
    }
    Line::raw(text)
}

/// What is not shown, or is no kill: as much as fits, the most important first.
pub fn notes(
    log: &Log,
    selection: &Selection,
    shown: usize,
    columns: usize,
    theme: &Theme,
) -> Line<'static> {
    let waiting = selection.paused_at.map_or(0, |first| log.count_from(first));
    let has_filter = !selection.filter.is_empty();
    let note = |is_due: bool, number, words: &str, tone| {
        is_due.then(|| (words.replace('#', &grouped(number)), tone))
    };
    let (gone, exits) = (log.gone(), log.exits());
    let notes = [
        note(waiting > 0, waiting, "# waiting: p goes on", Tone::Warn),
        note(has_filter, shown as u64, "# shown", Tone::Plain),
        note(gone > 0, gone, "the oldest # are not kept", Tone::Warn),
        note(exits > 0, exits, "# about to exit, not killed", Tone::Plain),
    ];
    let mut line = Line::default();
    for (text, tone) in notes.into_iter().flatten() {
        let separator = if line.spans.is_empty() { "" } else { ", " };
        if line.width() + width(separator) + width(&text) > columns {
            break;
        }
        line.push_span(separator);
        line.push_span(Span::styled(text, theme.tone(tone)));
    }
    line
}

#[cfg(test)]
mod tests {
    use memtools::tui::filter::Filter;
    use memtools::tui::theme::Glyphs;

    use super::*;
    use crate::model::Event;

    const THEME: Theme = Theme::new(false, Glyphs::Unicode);

    fn log() -> Log {
        let mut log = Log::default();
        let mut event = Event::default();
        for second in 1..=1200 {
            event.time = Timestamp::from_second(second).unwrap();
            event.victim.task.cgroup = format!("/slice-{}/a-long-name", second % 4);
            log.push(&event);
        }
        event.is_exiting = true;
        log.push(&event);
        log
    }

    #[test]
    fn no_number_is_cut() {
        let now = Timestamp::from_second(1200).unwrap();
        let (log, times) = (log(), (Timestamp::UNIX_EPOCH, now));
        let line = |columns| kills(&log, times, columns, &THEME).to_string();
        assert!(line(81).ends_with(", 60 in the last minute, 1,200 in the last hour"));
        assert!(line(80).ends_with(", last min 60, hour 1,200"));
        assert!(line(60).ends_with(", last min 60, hour 1,200"));
        assert!(line(40).starts_with("oomkill 1,200 kills since "));
        assert_eq!(line(40).len(), "oomkill 1,200 kills since 00:00:00".len());
    }

    #[test]
    fn cgroups_share_the_line() {
        let line = cgroups(&log(), 60, &THEME).to_string();
        assert_eq!(
            line,
            "most kills: 300 in …ong-name, 300 in …g-name, 300 in …g-name"
        );
        for columns in 0..100 {
            // The numbers alone take more than there is in a very narrow terminal.
            assert!(cgroups(&log(), columns, &THEME).width() <= columns.max(40));
        }
    }

    #[test]
    fn notes_go_one_by_one() {
        let selection = Selection {
            filter: Filter::new("x"),
            paused_at: Some(super::super::log::EntryId(2)),
        };
        let notes = |columns| notes(&log(), &selection, 7, columns, &THEME).to_string();
        let all = "1,199 waiting: p goes on, 7 shown, 1 about to exit, not killed";
        assert_eq!(notes(80), all);
        assert_eq!(notes(50), "1,199 waiting: p goes on, 7 shown");
        assert_eq!(notes(10), "");
    }
}
