//! A line that asks for text: a filter, the name of a file.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Frame;
use ratatui::layout::Rect;

use super::text::{Cut, fit, width};
use super::theme::Theme;

/// What became of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet. The text may have changed.
    Open,
    /// Enter: this is the text.
    Accepted(String),
    /// Esc.
    Cancelled,
}

/// A line editor: the arrows, Home, End, Backspace, Delete, and Ctrl-A, E, K, U, W as in a shell.
#[derive(Clone, Debug)]
pub struct Prompt {
    label: String,
    text: Vec<char>,
    /// Before which character.
    cursor: usize,
}

impl Prompt {
    /// Asks for `label`; `text` is there to begin with.
    pub fn new(label: &str, text: &str) -> Self {
        let text: Vec<char> = text.chars().collect();
        Self {
            label: label.to_owned(),
            cursor: text.len(),
            text,
        }
    }

    /// What stands there now: for a filter that acts while it is typed.
    pub fn text(&self) -> String {
        self.text.iter().collect()
    }

    /// Edits the text, or ends the prompt.
    pub fn on_key(&mut self, key: KeyEvent) -> Answer {
        match key.code {
            KeyCode::Enter => return Answer::Accepted(self.text()),
            KeyCode::Esc => return Answer::Cancelled,
            KeyCode::Char(letter) if key.modifiers.contains(KeyModifiers::CONTROL) => {
                self.control(letter);
            }
            KeyCode::Char(character) if !key.modifiers.contains(KeyModifiers::ALT) => {
                self.insert(character);
            }
            KeyCode::Backspace => self.delete(self.cursor.saturating_sub(1), self.cursor),
            KeyCode::Delete => self.delete(self.cursor, self.cursor + 1),
            KeyCode::Left => self.cursor = self.cursor.saturating_sub(1),
            KeyCode::Right => self.cursor = (self.cursor + 1).min(self.text.len()),
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = self.text.len(),
            _ => {}
        }
        Answer::Open
    }

    /// Pasted text is inserted up to the end of its first line.
    pub fn paste(&mut self, text: &str) {
        let line = text.split(['\n', '\r']).next().unwrap_or_default();
        for character in line.chars() {
            self.insert(character);
        }
    }

    fn control(&mut self, letter: char) {
        match letter {
            'a' => self.cursor = 0,
            'e' => self.cursor = self.text.len(),
            'k' => self.text.truncate(self.cursor),
            'u' => self.delete(0, self.cursor),
            'w' => self.delete(self.word(), self.cursor),
            _ => {}
        }
    }

    /// Where the word before the cursor begins.
    fn word(&self) -> usize {
        let before = &self.text[..self.cursor];
        let end = before.iter().rposition(|c| !c.is_whitespace());
        let space = end.and_then(|end| before[..end].iter().rposition(|c| c.is_whitespace()));
        space.map_or(0, |space| space + 1)
    }

    fn insert(&mut self, character: char) {
        if !character.is_control() {
            self.text.insert(self.cursor, character);
            self.cursor += 1;
        }
    }

    fn delete(&mut self, from: usize, to: usize) {
        let to = to.min(self.text.len());
        self.text.drain(from.min(to)..to);
        self.cursor = from.min(self.text.len());
    }

    /// Draws it in one line; the part around the cursor where not all fits.
    pub fn draw(&self, frame: &mut Frame<'_>, area: Rect, theme: &Theme) {
        if area.is_empty() {
            return;
        }
        let buffer = frame.buffer_mut();
        let columns = usize::from(area.width);
        let label = fit(
            &format!("{}: ", self.label),
            columns,
            Cut::End,
            theme.glyphs,
        );
        let blank = " ".repeat(columns);
        buffer.set_stringn(
            area.x,
            area.y,
            blank,
            columns,
            theme.tone(super::theme::Tone::Plain),
        );
        buffer.set_stringn(area.x, area.y, &label, columns, theme.title());
        let begin = width(&label);
        // One column is the cursor's.
        let room = columns.saturating_sub(begin + 1);
        let before: String = self.text[..self.cursor].iter().collect();
        let before = fit(&before, room, Cut::Start, theme.glyphs);
        let at = begin + width(&before);
        let behind: String = self.text[self.cursor..].iter().collect();
        let behind = fit(&behind, columns.saturating_sub(at), Cut::End, theme.glyphs);
        let line = before + &behind;
        let x = area.x.saturating_add(begin as u16);
        buffer.set_stringn(
            x,
            area.y,
            line,
            columns - begin,
            ratatui::style::Style::new(),
        );
        let cursor = at.min(columns - 1) as u16;
        frame.set_cursor_position((area.x + cursor, area.y));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(prompt: &mut Prompt, code: KeyCode) -> Answer {
        prompt.on_key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn control(prompt: &mut Prompt, letter: char) -> String {
        let code = KeyCode::Char(letter);
        prompt.on_key(KeyEvent::new(code, KeyModifiers::CONTROL));
        prompt.text()
    }

    #[test]
    fn text_is_edited_by_characters() {
        let mut prompt = Prompt::new("filter", "größe");
        press(&mut prompt, KeyCode::Left);
        press(&mut prompt, KeyCode::Backspace);
        assert_eq!(prompt.text(), "gröe");
        press(&mut prompt, KeyCode::Char('日'));
        assert_eq!(prompt.text(), "grö日e");
        press(&mut prompt, KeyCode::Delete);
        assert_eq!(
            press(&mut prompt, KeyCode::Enter),
            Answer::Accepted("grö日".to_owned())
        );
        assert_eq!(press(&mut prompt, KeyCode::Esc), Answer::Cancelled);
    }

    #[test]
    fn words_and_lines_are_deleted() {
        let mut prompt = Prompt::new("file", "one two  ");
        assert_eq!(control(&mut prompt, 'w'), "one ");
        assert_eq!(control(&mut prompt, 'w'), "");
        assert_eq!(control(&mut prompt, 'w'), "");
        prompt.paste("a b\nrm");
        assert_eq!(prompt.text(), "a b");
        press(&mut prompt, KeyCode::Left);
        assert_eq!(control(&mut prompt, 'u'), "b");
        assert_eq!(control(&mut prompt, 'k'), "");
    }
}
