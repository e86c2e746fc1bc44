//! The terminal's device: its settings, its size, its bytes.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use ratatui::layout::Size;

use crate::tui::TuiError;

/// The device, open for both ways.
#[derive(Debug)]
pub struct Tty {
    input: File,
    output: File,
}

impl Tty {
    /// The controlling terminal; where there is none, as under `su -c`, standard input and output.
    pub fn open() -> Result<Self, TuiError> {
        let device = File::options().read(true).write(true).open("/dev/tty");
        let files = device
            .and_then(|device| Ok((device.try_clone()?, device)))
            .or_else(|_| Ok((duplicate(&io::stdin())?, duplicate(&io::stdout())?)));
        let (input, output) = files.map_err(TuiError::NoTerminal)?;
        let tty = Self { input, output };
        tty.settings()
            .and_then(|_| tty.size())
            .map_err(TuiError::NoTerminal)?;
        Ok(tty)
    }

    /// A file for another process to write to.
    pub fn duplicate(&self) -> io::Result<File> {
        self.output.try_clone()
    }

    /// Where keys come from.
    pub fn input(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }

    /// Waits for bytes; none means that the terminal is gone.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.input).read(buffer)
    }

    pub fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.output).write_all(bytes)
    }

    /// In the background, where the settings are the shell's, this stops the process, as any use of
    /// the terminal does.
    pub fn wait_for_foreground(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open.
        match unsafe { libc::tcdrain(self.output.as_raw_fd()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Whether this process may use the terminal without being stopped for it.
    pub fn is_in_foreground(&self) -> bool {
        // SAFETY: both only ask, and the descriptor is open.
        let (terminal, own) =
            unsafe { (libc::tcgetpgrp(self.output.as_raw_fd()), libc::getpgrp()) };
        is_foreground(terminal, own)
    }

    pub fn settings(&self) -> io::Result<libc::termios> {
        // SAFETY: the descriptor is open, and the kernel only writes to our own variable.
        unsafe {
            let mut settings: libc::termios = std::mem::zeroed();
            match libc::tcgetattr(self.input.as_raw_fd(), &raw mut settings) {
                0 => Ok(settings),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }

    pub fn set(&self, settings: &libc::termios) -> io::Result<()> {
        // SAFETY: the descriptor is open and the settings are a terminal's.
        match unsafe { libc::tcsetattr(self.input.as_raw_fd(), libc::TCSANOW, settings) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub fn size(&self) -> io::Result<Size> {
        // SAFETY: the descriptor is open, and the kernel only writes to our own variable.
        unsafe {
            let mut size: libc::winsize = std::mem::zeroed();
            match libc::ioctl(self.output.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) {
                0 => Ok(Size::new(size.ws_col, size.ws_row)),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }
}

fn duplicate(file: &impl AsFd) -> io::Result<File> {
    Ok(File::from(file.as_fd().try_clone_to_owned()?))
}

/// Of process groups: the terminal's one in the foreground, and this process's. There is none (-1) in
/// a terminal that does not control this process, and which stops nobody.
fn is_foreground(terminal: libc::pid_t, own: libc::pid_t) -> bool {
    terminal == -1 || terminal == own
}

/// The same settings, with keys passed on one by one and unaltered.
pub fn raw(mut settings: libc::termios) -> libc::termios {
    // SAFETY: it alters a plain structure that is ours.
    unsafe { libc::cfmakeraw(&raw mut settings) };
    settings
}

/// Settings as `stty -g` prints them and stty reads them.
pub fn text(settings: &libc::termios) -> String {
    let mut text = format!(
        "{:x}:{:x}:{:x}:{:x}",
        settings.c_iflag, settings.c_oflag, settings.c_cflag, settings.c_lflag
    );
    for character in settings.c_cc {
        let _ = write!(text, ":{character:x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_group_makes_a_background() {
        assert!(is_foreground(7, 7));
        assert!(is_foreground(-1, 7));
        assert!(!is_foreground(8, 7));
    }

    #[test]
    fn settings_are_written_as_stty_writes_them() {
        // SAFETY: all zeroes are settings too.
        let mut settings: libc::termios = unsafe { std::mem::zeroed() };
        settings.c_iflag = 0x500;
        settings.c_lflag = 0x8a3b;
        settings.c_cc[0] = 3;
        let text = text(&settings);
        assert!(text.starts_with("500:0:0:8a3b:3:0:"), "{text}");
        assert_eq!(text.split(':').count(), 4 + settings.c_cc.len());
    }
}
