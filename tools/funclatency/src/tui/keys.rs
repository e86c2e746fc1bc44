//! The view's keys.

use memtools::tui::KeyCode;
use memtools::tui::keys::{Binding, COMMON, Key, KeyTable};

/// What the view does beside what all views do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Opens the selected function.
    Open,
    /// Returns to the table.
    Back,
    /// Shows the whole run, or the last interval.
    Interval,
    /// Shows times in the next unit.
    Unit,
    /// Shows the slowest calls.
    Slowest,
    /// Gives the room to another picture.
    Pictures,
}

#[rustfmt::skip] // A table is read by columns.
const OWN: &[Binding<Action>] = &[
    Binding { keys: &[Key::code(KeyCode::Enter)], name: "Enter", help: "a function: histogram, heat map", action: Action::Open },
    Binding { keys: &[Key::code(KeyCode::Backspace)], name: "Bksp Esc", help: "back to the table", action: Action::Back },
    Binding { keys: &[Key::char('i')], name: "i", help: "the last interval, or the whole run", action: Action::Interval },
    Binding { keys: &[Key::char('u')], name: "u", help: "times in ns, us, ms, or each in its own", action: Action::Unit },
    Binding { keys: &[Key::char('o')], name: "o", help: "the slowest calls (with --outliers)", action: Action::Slowest },
    Binding { keys: &[Key::code(KeyCode::Tab)], name: "Tab", help: "histogram, heat map, both, --split", action: Action::Pictures },
];

/// All keys of the view.
pub const KEYS: KeyTable<Action> = KeyTable {
    own: OWN,
    common: COMMON,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things() {
        assert_eq!(KEYS.doubled(), None);
    }
}
