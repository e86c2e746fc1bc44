//! The view's keys.

use memtools::tui::KeyCode;
use memtools::tui::keys::{Binding, COMMON, Key, KeyTable};

/// What the view does beside what all views do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Opens the selected row's details, or closes them.
    Open,
    /// Shows calls, processes, or errors.
    Turn,
    /// Scrolls the details.
    DetailsDown,
    /// Likewise.
    DetailsUp,
}

#[rustfmt::skip] // A table is read by columns.
const OWN: &[Binding<Action>] = &[
    Binding { keys: &[Key::code(KeyCode::Enter)], name: "Enter", help: "histogram of a row, and who makes it; close them", action: Action::Open },
    Binding { keys: &[Key::code(KeyCode::Tab)], name: "Tab", help: "calls, processes, errors", action: Action::Turn },
    Binding { keys: &[Key::char('J'), Key::char('}')], name: "J }", help: "details: one line down", action: Action::DetailsDown },
    Binding { keys: &[Key::char('K'), Key::char('{')], name: "K {", help: "details: one line up", action: Action::DetailsUp },
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
