//! What lies over a view's panes and takes its keys meanwhile: the help and other texts, and the
//! filter's prompt.

use ratatui::Frame;
use ratatui::layout::Rect;

use super::KeyEvent;
use super::keys::{Common, KeyTable, Pressed};
use super::popup::Popup;
use super::prompt::{Answer, Prompt};
use super::theme::Theme;

/// What a key comes to in a view with an overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Routed<A> {
    /// Nothing more: it means nothing, or what lies over the panes has taken it.
    Done,
    /// This is the filter now: it acts while it is typed.
    Filter(String),
    /// Something of the tool's own.
    Own(A),
    /// Something that all tools do.
    Common(Common),
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Taken {
    /// Nothing lies over the panes: the key is theirs.
    No,
    /// It was taken.
    Yes,
    /// It was taken, and this is the filter now: it acts while it is typed.
    Filter(String),
}

/// A text or the prompt, or neither.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    prompt: Option<Prompt>,
    popup: Option<Popup>,
}

impl Overlay {
    /// Shows the keys.
    pub fn help<A: Copy>(&mut self, tool: &str, keys: &KeyTable<A>, theme: &Theme) {
        self.popup = Some(Popup::help(tool, keys, theme));
    }

    /// Shows a text until it is put away.
    pub fn read(&mut self, popup: Popup) {
        self.popup = Some(popup);
    }

    /// Asks for a filter; `text` is the present one.
    pub fn ask_filter(&mut self, text: &str) {
        self.prompt = Some(Prompt::new("filter", text));
    }

    /// Whether something is there, so that clicks are not the panes'.
    pub fn is_open(&self) -> bool {
        self.prompt.is_some() || self.popup.is_some()
    }

    /// Says what a key comes to, by the view's table, where nothing lies over the panes.
    pub fn route<A: Copy>(&mut self, key: KeyEvent, keys: &KeyTable<A>) -> Routed<A> {
        let pressed = keys.find(key);
        match (self.on_key(key, pressed.and_then(Pressed::common)), pressed) {
            (Taken::Filter(text), _) => Routed::Filter(text),
            (Taken::No, Some(Pressed::Own(action))) => Routed::Own(action),
            (Taken::No, Some(Pressed::Common(common))) => Routed::Common(common),
            (Taken::Yes, _) | (Taken::No, None) => Routed::Done,
        }
    }

    /// Takes a key, which means `common` in the view's own table, if it means anything common.
    fn on_key(&mut self, key: KeyEvent, common: Option<Common>) -> Taken {
        if let Some(prompt) = &mut self.prompt {
            return match prompt.on_key(key) {
                Answer::Open => Taken::Filter(prompt.text()),
                Answer::Accepted(text) => {
                    self.prompt = None;
                    Taken::Filter(text)
                }
                Answer::Cancelled => {
                    self.prompt = None;
                    Taken::Filter(String::new())
                }
            };
        }
        let Some(popup) = &mut self.popup else {
            return Taken::No;
        };
        match common {
            Some(Common::Move(step)) => popup.step(step),
            // As in less, the key that quits takes only the help away.
            _ => self.popup = None,
        }
        Taken::Yes
    }

    /// Takes text that was pasted: into the prompt, or nowhere. Returns what the filter is then.
    pub fn on_paste(&mut self, text: &str) -> Option<String> {
        let prompt = self.prompt.as_mut()?;
        prompt.paste(text);
        Some(prompt.text())
    }

    /// Draws the help over the panes, and the prompt in the place of the status line; `false`: there
    /// is no prompt, the line is free.
    pub fn draw(&mut self, frame: &mut Frame<'_>, body: Rect, bottom: Rect, theme: &Theme) -> bool {
        if let Some(prompt) = &self.prompt {
            prompt.draw(frame, bottom, theme);
        }
        if let Some(popup) = &mut self.popup {
            popup.draw(frame, body, theme);
        }
        self.prompt.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::Move;
    use super::super::theme::Glyphs;
    use super::super::{KeyCode, KeyModifiers};
    use super::*;

    fn press(overlay: &mut Overlay, code: KeyCode, common: Option<Common>) -> Taken {
        overlay.on_key(KeyEvent::new(code, KeyModifiers::NONE), common)
    }

    #[test]
    fn a_filter_acts_while_it_is_typed() {
        let mut overlay = Overlay::default();
        assert_eq!(press(&mut overlay, KeyCode::Char('x'), None), Taken::No);
        overlay.ask_filter("a");
        let filter = |text: &str| Taken::Filter(text.to_owned());
        // A key that means something else is a letter here.
        let quit = Some(Common::Quit);
        assert_eq!(press(&mut overlay, KeyCode::Char('q'), quit), filter("aq"));
        assert_eq!(overlay.on_paste("bc\nd"), Some("aqbc".to_owned()));
        assert_eq!(press(&mut overlay, KeyCode::Enter, None), filter("aqbc"));
        assert!(!overlay.is_open() && overlay.on_paste("x").is_none());
        overlay.ask_filter("a");
        assert_eq!(press(&mut overlay, KeyCode::Esc, None), filter(""));
        assert!(!overlay.is_open());
    }

    #[test]
    fn the_help_scrolls_and_any_other_key_takes_it_away() {
        const KEYS: KeyTable<()> = KeyTable {
            own: &[],
            common: super::super::keys::COMMON,
        };
        let mut overlay = Overlay::default();
        let route = |code, overlay: &mut Overlay| {
            overlay.route(KeyEvent::new(code, KeyModifiers::NONE), &KEYS)
        };
        let quit = Routed::Common(Common::Quit);
        assert_eq!(route(KeyCode::Char('q'), &mut overlay), quit);
        assert_eq!(route(KeyCode::Char('!'), &mut overlay), Routed::Done);
        overlay.help("tool", &KEYS, &Theme::new(false, Glyphs::Ascii));
        assert_eq!(route(KeyCode::Down, &mut overlay), Routed::Done);
        let down = Some(Common::Move(Move::Down));
        assert_eq!(press(&mut overlay, KeyCode::Down, down), Taken::Yes);
        assert!(overlay.is_open());
        let quit = Some(Common::Quit);
        assert_eq!(press(&mut overlay, KeyCode::Char('q'), quit), Taken::Yes);
        assert!(!overlay.is_open());
    }
}
