//! Keys and what they do: one table, from which keys are looked up and the help is made.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// A key, with or without Ctrl or Alt. Shift is part of the character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    code: KeyCode,
    modifiers: KeyModifiers,
}

impl Key {
    /// A character, as it is typed: `Key::char('G')` is Shift and g.
    pub const fn char(character: char) -> Self {
        Self::code(KeyCode::Char(character))
    }

    /// A key without a character.
    pub const fn code(code: KeyCode) -> Self {
        Self {
            code,
            modifiers: KeyModifiers::NONE,
        }
    }

    /// Ctrl and a small letter.
    pub const fn ctrl(letter: char) -> Self {
        Self {
            code: KeyCode::Char(letter),
            modifiers: KeyModifiers::CONTROL,
        }
    }

    /// Whether this key was pressed.
    pub fn is(self, event: KeyEvent) -> bool {
        let wanted = KeyModifiers::CONTROL | KeyModifiers::ALT;
        self.code == event.code && self.modifiers == event.modifiers & wanted
    }
}

/// One line of a key table.
#[derive(Clone, Copy, Debug)]
pub struct Binding<A> {
    /// Any of these.
    pub keys: &'static [Key],
    /// The keys as the help shows them: `Up k`.
    pub name: &'static str,
    /// What happens, in a few words: `one row up`.
    pub help: &'static str,
    /// What happens.
    pub action: A,
}

/// A step in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// One page up.
    PageUp,
    /// One page down.
    PageDown,
    /// The first row.
    Home,
    /// The last row.
    End,
}

/// What every tool's view can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Common {
    /// Moves the selection.
    Move(Move),
    /// Sorts by the column to the left.
    SortPrevious,
    /// Sorts by the column to the right.
    SortNext,
    /// Turns the order round.
    Reverse,
    /// Asks for a filter.
    Filter,
    /// Takes away what lies on top: popup, filter.
    Clear,
    /// Stops showing new data, or begins again.
    Pause,
    /// Shows the keys.
    Help,
    /// Ends the view.
    Quit,
}

/// The keys of [`Common`], as top, htop and less have them.
#[rustfmt::skip] // A table is read by columns.
pub const COMMON: &[Binding<Common>] = &[
    Binding { keys: &[Key::code(KeyCode::Up), Key::char('k')], name: "Up k", help: "one row up", action: Common::Move(Move::Up) },
    Binding { keys: &[Key::code(KeyCode::Down), Key::char('j')], name: "Down j", help: "one row down", action: Common::Move(Move::Down) },
    Binding { keys: &[Key::code(KeyCode::PageUp), Key::ctrl('b')], name: "PgUp ^B", help: "one page up", action: Common::Move(Move::PageUp) },
    Binding { keys: &[Key::code(KeyCode::PageDown), Key::ctrl('f')], name: "PgDn ^F", help: "one page down", action: Common::Move(Move::PageDown) },
    Binding { keys: &[Key::code(KeyCode::Home), Key::char('g')], name: "Home g", help: "first row", action: Common::Move(Move::Home) },
    Binding { keys: &[Key::code(KeyCode::End), Key::char('G')], name: "End G", help: "last row", action: Common::Move(Move::End) },
    Binding { keys: &[Key::char('<')], name: "<", help: "sort by the column to the left", action: Common::SortPrevious },
    Binding { keys: &[Key::char('>')], name: ">", help: "sort by the column to the right", action: Common::SortNext },
    Binding { keys: &[Key::char('R')], name: "R", help: "reverse the order", action: Common::Reverse },
    Binding { keys: &[Key::char('/')], name: "/", help: "filter", action: Common::Filter },
    Binding { keys: &[Key::code(KeyCode::Esc)], name: "Esc", help: "close, or clear the filter", action: Common::Clear },
    Binding { keys: &[Key::char('p'), Key::char(' ')], name: "p Space", help: "pause, or go on", action: Common::Pause },
    Binding { keys: &[Key::char('?'), Key::char('h'), Key::code(KeyCode::F(1))], name: "? h F1", help: "this help", action: Common::Help },
    Binding { keys: &[Key::char('q'), Key::code(KeyCode::F(10))], name: "q F10 ^C", help: "quit", action: Common::Quit },
];

/// What a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressed<A> {
    /// Something of the tool's own.
    Own(A),
    /// Something that all tools do.
    Common(Common),
}

impl<A> Pressed<A> {
    /// What all tools do, if it is that.
    pub fn common(self) -> Option<Common> {
        match self {
            Self::Own(_) => None,
            Self::Common(common) => Some(common),
        }
    }
}

/// A tool's keys: its own before the common ones, of which it may leave some out.
#[derive(Clone, Copy, Debug)]
pub struct KeyTable<A: 'static> {
    /// The tool's.
    pub own: &'static [Binding<A>],
    /// [`COMMON`], or a part of it.
    pub common: &'static [Binding<Common>],
}

impl<A: Copy> KeyTable<A> {
    /// What a key means, if it means anything.
    pub fn find(&self, event: KeyEvent) -> Option<Pressed<A>> {
        find(self.own, event)
            .map(Pressed::Own)
            .or_else(|| find(self.common, event).map(Pressed::Common))
    }

    /// Name and help of each line, for the help.
    pub fn lines(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let own = self.own.iter().map(|binding| (binding.name, binding.help));
        let common = self.common.iter().map(|b| (b.name, b.help));
        own.chain(common)
            .chain([("^Z", "suspend; fg brings it back")])
    }

    /// A key that stands in the table twice: for a unit test of the tool's.
    pub fn doubled(&self) -> Option<Key> {
        let own = self.own.iter().flat_map(|binding| binding.keys);
        let common = self.common.iter().flat_map(|binding| binding.keys);
        let keys: Vec<Key> = own.chain(common).copied().collect();
        let is_doubled = |(index, key): &(usize, &Key)| keys[..*index].contains(key);
        let doubled = keys.iter().enumerate().find(is_doubled);
        doubled.map(|(_, key)| *key)
    }
}

fn find<A: Copy>(bindings: &[Binding<A>], event: KeyEvent) -> Option<A> {
    let is_bound = |binding: &&Binding<A>| binding.keys.iter().any(|key| key.is(event));
    bindings.iter().find(is_bound).map(|binding| binding.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: KeyTable<u8> = KeyTable {
        own: &[Binding {
            keys: &[Key::char('s'), Key::ctrl('s')],
            name: "s ^S",
            help: "save",
            action: 7,
        }],
        common: COMMON,
    };

    fn press(code: KeyCode, modifiers: KeyModifiers) -> Option<Pressed<u8>> {
        TABLE.find(KeyEvent::new(code, modifiers))
    }

    #[test]
    fn keys_are_found() {
        let save = Some(Pressed::Own(7));
        assert_eq!(press(KeyCode::Char('s'), KeyModifiers::NONE), save);
        assert_eq!(press(KeyCode::Char('s'), KeyModifiers::CONTROL), save);
        assert_eq!(press(KeyCode::Char('s'), KeyModifiers::ALT), None);
        let last = Some(Pressed::Common(Common::Move(Move::End)));
        assert_eq!(press(KeyCode::Char('G'), KeyModifiers::SHIFT), last);
        assert_eq!(press(KeyCode::F(9), KeyModifiers::NONE), None);
    }

    #[test]
    fn no_common_key_means_two_things() {
        const TWICE: KeyTable<u8> = KeyTable {
            own: &[TABLE.own[0], TABLE.own[0]],
            common: COMMON,
        };
        assert_eq!(TABLE.doubled(), None);
        assert_eq!(TWICE.doubled(), Some(Key::char('s')));
    }
}
