//! A process that restores the terminal when this one was killed by SIGKILL, or by the kernel for
//! want of memory, and so could not.

use std::io::{PipeWriter, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::LEAVE;
use super::tty::{Tty, text};

/// Blocks until the only writer of its input is gone. The last word then says whether there is
/// anything to restore. A shell may have set the terminal by itself by then: settings that are not
/// the view's stay.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM PIPE TSTP TTIN TTOU
exec 3<&1
while read -r word before raw; do
    is=$word was=$before view=$raw
done
[ "$is" = entered ] || exit 0
printf "$1"
[ "$(stty -g <&3)" = "$view" ] && stty "$was" <&3
"#;

/// The process, as long as it is needed.
#[derive(Debug)]
pub struct Watchdog {
    words: Option<PipeWriter>,
    child: Child,
}

impl Watchdog {
    /// Without sh there is none, and a SIGKILL leaves the terminal as any other program's would.
    pub fn start(tty: &Tty) -> Option<Self> {
        // Close-on-exec: no other process keeps it open.
        let (reader, words) = std::io::pipe().ok()?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT, "sh", &LEAVE.replace('\x1b', "\\033")])
            .stdin(reader)
            .stdout(tty.duplicate().ok()?)
            .stderr(Stdio::null())
            .current_dir("/");
        // SAFETY: setsid may be called between fork and exec.
        unsafe {
            command.pre_exec(|| {
                // A kill of the tool's process group, or a hangup, is not for the watchdog.
                libc::setsid();
                Ok(())
            });
        }
        Some(Self {
            child: command.spawn().ok()?,
            words: Some(words),
        })
    }

    /// The view has the terminal.
    pub fn entered(&mut self, before: &libc::termios, raw: &libc::termios) {
        self.say(&format!("entered {} {}\n", text(before), text(raw)));
    }

    /// The terminal is as it was.
    pub fn left(&mut self) {
        self.say("left\n");
    }

    fn say(&mut self, line: &str) {
        // One that was killed is not missed.
        if let Some(words) = &mut self.words {
            let _ = words.write_all(line.as_bytes());
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.words.take());
        let _ = self.child.wait();
    }
}
