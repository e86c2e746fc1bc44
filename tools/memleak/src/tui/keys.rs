//! The view's keys.

use memtools::tui::KeyCode;
use memtools::tui::keys::{Binding, COMMON, Key, KeyTable};

/// What the view does beside what all views do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Opens the selected row's details or node, or closes it.
    Open,
    /// Opens the selected node.
    Unfold,
    /// Closes it.
    Fold,
    /// Another picture.
    Show(Pane),
    /// The next picture.
    NextPane,
    /// Scrolls the details.
    DetailsUp,
    /// Likewise.
    DetailsDown,
    /// Shows only what was allocated since, or everything again.
    BaseLine,
    /// Shows stacks that hold nothing, or what is no leak, too.
    ShowAll,
    /// Writes the files for other programs.
    Write,
    /// Another moment of a recording.
    Step(i64),
}

/// The pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pane {
    /// One line a stack.
    #[default]
    Stacks,
    /// The call tree from the outermost caller.
    Callers,
    /// The call tree from what allocated.
    Allocators,
    /// Live bytes over time.
    Timeline,
}

impl Pane {
    /// All of them, in the order of their keys.
    pub const ALL: [Self; 4] = [
        Self::Stacks,
        Self::Callers,
        Self::Allocators,
        Self::Timeline,
    ];

    /// What stands on its tab.
    pub fn title(self) -> &'static str {
        match self {
            Self::Stacks => "1 stacks",
            Self::Callers => "2 tree from main",
            Self::Allocators => "3 tree from malloc",
            Self::Timeline => "4 timeline",
        }
    }

    /// The one after it.
    pub fn next(self) -> Self {
        let at = Self::ALL.iter().position(|pane| *pane == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()]
    }
}

#[rustfmt::skip] // A table is read by columns.
const OWN: &[Binding<Action>] = &[
    Binding { keys: &[Key::code(KeyCode::Enter)], name: "Enter", help: "details of a stack; open or close a node", action: Action::Open },
    Binding { keys: &[Key::code(KeyCode::Right), Key::char('+')], name: "Right +", help: "open a node of a tree", action: Action::Unfold },
    Binding { keys: &[Key::code(KeyCode::Left), Key::char('-')], name: "Left -", help: "close it", action: Action::Fold },
    Binding { keys: &[Key::char('1')], name: "1", help: "stacks", action: Action::Show(Pane::Stacks) },
    Binding { keys: &[Key::char('2')], name: "2", help: "call tree, outermost caller first", action: Action::Show(Pane::Callers) },
    Binding { keys: &[Key::char('3')], name: "3", help: "call tree, allocating function first", action: Action::Show(Pane::Allocators) },
    Binding { keys: &[Key::char('4')], name: "4", help: "live bytes over time", action: Action::Show(Pane::Timeline) },
    Binding { keys: &[Key::code(KeyCode::Tab)], name: "Tab", help: "the next of these", action: Action::NextPane },
    Binding { keys: &[Key::char('J')], name: "J", help: "details: one line down", action: Action::DetailsDown },
    Binding { keys: &[Key::char('K')], name: "K", help: "details: one line up", action: Action::DetailsUp },
    Binding { keys: &[Key::char('r')], name: "r", help: "only what is allocated from now on, or all again", action: Action::BaseLine },
    Binding { keys: &[Key::char('a')], name: "a", help: "also what holds nothing, or is no leak", action: Action::ShowAll },
    Binding { keys: &[Key::char('w')], name: "w", help: "write the files of --folded, --flamegraph, --pprof", action: Action::Write },
    Binding { keys: &[Key::char('[')], name: "[", help: "a recording: one moment back", action: Action::Step(-1) },
    Binding { keys: &[Key::char(']')], name: "]", help: "one moment on", action: Action::Step(1) },
    Binding { keys: &[Key::char('{')], name: "{", help: "ten moments back", action: Action::Step(-10) },
    Binding { keys: &[Key::char('}')], name: "}", help: "ten moments on", action: Action::Step(10) },
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

    #[test]
    fn tab_goes_round() {
        let mut pane = Pane::Stacks;
        for _ in 0..4 {
            pane = pane.next();
        }
        assert_eq!(pane, Pane::Stacks);
    }
}
