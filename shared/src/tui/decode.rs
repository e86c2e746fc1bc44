//! What a terminal sends, as keys, mouse events and pasted text.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

use super::feed::Input;

const ESCAPE: u8 = 0x1b;
const PASTE_END: &[u8] = b"\x1b[201~";
/// More than any line editor here takes; the rest of a larger paste is dropped.
const PASTE_MAX: usize = 64 * 1024;
/// No sequence that means anything is longer.
const SEQUENCE_MAX: usize = 64;

/// Takes bytes in pieces of any size. Sequences that it does not know are dropped.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    bytes: Vec<u8>,
    /// Pasted so far; the end has not come yet.
    paste: Option<Vec<u8>>,
    inputs: Vec<Input>,
}

/// What the bytes in front are.
enum Step {
    /// So many bytes, and what they mean.
    Took(usize, Option<Input>),
    /// So many bytes that begin a paste.
    Paste(usize),
    /// The beginning of something.
    Incomplete,
}

impl Decoder {
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        while !self.bytes.is_empty() {
            if self.paste.is_some() {
                if !self.take_paste() {
                    return;
                }
                continue;
            }
            match step(&self.bytes) {
                Step::Took(count, input) => {
                    self.bytes.drain(..count);
                    self.inputs.extend(input);
                }
                Step::Paste(count) => {
                    self.bytes.drain(..count);
                    self.paste = Some(Vec::new());
                }
                Step::Incomplete if self.bytes.len() > SEQUENCE_MAX => self.bytes.clear(),
                Step::Incomplete => return,
            }
        }
    }

    /// Whether the next bytes may belong to those before.
    pub fn is_waiting(&self) -> bool {
        !self.bytes.is_empty() && self.paste.is_none()
    }

    /// Nothing more came: what looked like the beginning of a sequence was an Escape.
    pub fn finish(&mut self) {
        if self.bytes.first() == Some(&ESCAPE) {
            self.inputs.extend(match self.bytes[1..] {
                [] => Some(key(KeyCode::Esc)),
                [b @ (b'[' | b'O')] => Some(alt(KeyCode::Char(char::from(b)))),
                _ => None,
            });
        }
        self.bytes.clear();
    }

    pub fn take(&mut self) -> Vec<Input> {
        std::mem::take(&mut self.inputs)
    }

    /// Whether the paste is complete.
    fn take_paste(&mut self) -> bool {
        let Some(paste) = &mut self.paste else {
            return true;
        };
        let end = find(&self.bytes, PASTE_END);
        // The last bytes may be the beginning of the end.
        let count = end.unwrap_or(self.bytes.len().saturating_sub(PASTE_END.len() - 1));
        let room = PASTE_MAX.saturating_sub(paste.len());
        paste.extend(self.bytes.drain(..count).take(room));
        if end.is_none() {
            return false;
        }
        self.bytes.drain(..PASTE_END.len());
        let text = String::from_utf8_lossy(paste).into_owned();
        self.paste = None;
        self.inputs.push(Input::Paste(text));
        true
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

fn step(bytes: &[u8]) -> Step {
    match bytes {
        [ESCAPE] => Step::Incomplete,
        [ESCAPE, ESCAPE, ..] => Step::Took(1, Some(key(KeyCode::Esc))),
        [ESCAPE, b'[', rest @ ..] => after(2, csi(rest)),
        [ESCAPE, b'O', rest @ ..] => after(2, ss3(rest)),
        [ESCAPE, rest @ ..] => match character(rest) {
            Step::Took(count, Some(Input::Key(pressed))) => {
                let modifiers = pressed.modifiers | KeyModifiers::ALT;
                let input = Input::Key(KeyEvent::new(pressed.code, modifiers));
                Step::Took(1 + count, Some(input))
            }
            other => after(1, other),
        },
        _ => character(bytes),
    }
}

fn after(prefix: usize, step: Step) -> Step {
    match step {
        Step::Took(count, input) => Step::Took(prefix + count, input),
        Step::Paste(count) => Step::Paste(prefix + count),
        Step::Incomplete => Step::Incomplete,
    }
}

/// One character, or the control character of a key.
fn character(bytes: &[u8]) -> Step {
    let control = |letter: u8| {
        let code = KeyCode::Char(char::from(letter));
        Input::Key(KeyEvent::new(code, KeyModifiers::CONTROL))
    };
    let input = match bytes[0] {
        b'\r' | b'\n' => key(KeyCode::Enter),
        b'\t' => key(KeyCode::Tab),
        0x08 | 0x7f => key(KeyCode::Backspace),
        0 => control(b' '),
        byte @ 0x01..=0x1a => control(byte - 1 + b'a'),
        byte @ 0x1c..=0x1f => control(byte - 0x1c + b'4'),
        byte @ 0x20..=0x7e => key(KeyCode::Char(char::from(byte))),
        _ => return beyond_ascii(bytes),
    };
    Step::Took(1, Some(input))
}

fn beyond_ascii(bytes: &[u8]) -> Step {
    let length = match bytes[0] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Step::Took(1, None),
    };
    let present = &bytes[..length.min(bytes.len())];
    match std::str::from_utf8(present) {
        Ok(text) => Step::Took(length, text.chars().next().map(KeyCode::Char).map(key)),
        // Cut off, but right as far as it goes.
        Err(error) if error.error_len().is_none() => Step::Incomplete,
        Err(_) => Step::Took(1, None),
    }
}

/// A function key's short form: what stands behind `ESC O`.
fn ss3(bytes: &[u8]) -> Step {
    match bytes.first() {
        None => Step::Incomplete,
        Some(&last) => Step::Took(1, letter_key(last).map(key)),
    }
}

/// A control sequence: what stands behind `ESC [`.
fn csi(bytes: &[u8]) -> Step {
    match bytes.first() {
        // The Linux console's function keys.
        Some(b'[') => {
            return match bytes.get(1) {
                None => Step::Incomplete,
                Some(&last @ b'A'..=b'E') => Step::Took(2, Some(key(KeyCode::F(last - b'A' + 1)))),
                Some(_) => Step::Took(2, None),
            };
        }
        // A mouse event in the old form, from a terminal without the new one.
        Some(b'M') => {
            return match bytes.get(1..4) {
                None => Step::Incomplete,
                Some(_) => Step::Took(4, None),
            };
        }
        _ => {}
    }
    // Parameters and intermediates, then one final byte; anything else ends a broken sequence.
    let Some(last) = bytes.iter().position(|byte| !(0x20..0x40).contains(byte)) else {
        return Step::Incomplete;
    };
    let parameters = &bytes[..last];
    match bytes[last] {
        b'~' if parameters == b"200" => Step::Paste(last + 1),
        byte @ 0x40..=0x7e => Step::Took(last + 1, sequence(parameters, byte)),
        _ => Step::Took(last, None),
    }
}

fn sequence(parameters: &[u8], last: u8) -> Option<Input> {
    let text = std::str::from_utf8(parameters).ok()?;
    if let Some(text) = text.strip_prefix('<') {
        return mouse(text, last);
    }
    let mut numbers = text.split(';').map(|number| number.parse::<u8>().ok());
    let first = numbers.next().flatten();
    let modifiers = modifiers(numbers.next().flatten().unwrap_or(1));
    let code = match last {
        b'~' => numbered_key(first?)?,
        _ => letter_key(last)?,
    };
    Some(Input::Key(KeyEvent::new(code, modifiers)))
}

fn letter_key(last: u8) -> Option<KeyCode> {
    Some(match last {
        b'A' => KeyCode::Up,
        b'B' => KeyCode::Down,
        b'C' => KeyCode::Right,
        b'D' => KeyCode::Left,
        b'F' => KeyCode::End,
        b'H' => KeyCode::Home,
        b'M' => KeyCode::Enter,
        b'P'..=b'S' => KeyCode::F(last - b'P' + 1),
        b'Z' => KeyCode::BackTab,
        _ => return None,
    })
}

fn numbered_key(number: u8) -> Option<KeyCode> {
    Some(match number {
        1 | 7 => KeyCode::Home,
        2 => KeyCode::Insert,
        3 => KeyCode::Delete,
        4 | 8 => KeyCode::End,
        5 => KeyCode::PageUp,
        6 => KeyCode::PageDown,
        11..=15 => KeyCode::F(number - 10),
        17..=21 => KeyCode::F(number - 11),
        23..=24 => KeyCode::F(number - 12),
        _ => return None,
    })
}

fn modifiers(parameter: u8) -> KeyModifiers {
    let bits = parameter.saturating_sub(1);
    let all = [
        (1, KeyModifiers::SHIFT),
        (2, KeyModifiers::ALT),
        (4, KeyModifiers::CONTROL),
    ];
    all.iter()
        .filter(|(bit, _)| bits & bit != 0)
        .fold(KeyModifiers::NONE, |sum, (_, modifier)| sum | *modifier)
}

/// `BUTTON;COLUMN;ROW`, counted from 1.
fn mouse(text: &str, last: u8) -> Option<Input> {
    let mut numbers = text.split(';').map(|number| number.parse::<u16>().ok());
    let mut next = || numbers.next().flatten();
    let (button, column, row) = (next()?, next()?, next()?);
    let pressed = match button & 3 {
        0 => MouseButton::Left,
        1 => MouseButton::Middle,
        _ => MouseButton::Right,
    };
    let kind = match (button & !0b1_1100, last) {
        (64, b'M') => MouseEventKind::ScrollUp,
        (65, b'M') => MouseEventKind::ScrollDown,
        (0..=2, b'M') => MouseEventKind::Down(pressed),
        (0..=2, b'm') => MouseEventKind::Up(pressed),
        _ => return None,
    };
    let held = [
        (4, KeyModifiers::SHIFT),
        (8, KeyModifiers::ALT),
        (16, KeyModifiers::CONTROL),
    ];
    Some(Input::Mouse(MouseEvent {
        kind,
        column: column.checked_sub(1)?,
        row: row.checked_sub(1)?,
        modifiers: held
            .iter()
            .filter(|(bit, _)| button & bit != 0)
            .fold(KeyModifiers::NONE, |sum, (_, modifier)| sum | *modifier),
    }))
}

fn key(code: KeyCode) -> Input {
    Input::Key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn alt(code: KeyCode) -> Input {
    Input::Key(KeyEvent::new(code, KeyModifiers::ALT))
}

#[cfg(test)]
mod tests;
