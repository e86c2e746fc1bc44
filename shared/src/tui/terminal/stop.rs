//! Stopping this process as Ctrl-Z does in a terminal that is not raw.

use std::ptr;

use crate::cli::is_ignored;
use crate::tui::feed::Stop;

/// Stops until somebody lets the process go on. Returns at once where the kernel does not stop it:
/// in a group without a shell that could let it go on.
pub fn stop(stop: Stop) {
    if is_ignored(libc::SIGTSTP) {
        return;
    }
    // SAFETY: the actions are valid, and the last one is the one that was found.
    unsafe {
        let mut before: libc::sigaction = std::mem::zeroed();
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_IGN;
        if libc::sigaction(libc::SIGTSTP, &raw const action, &raw mut before) != 0 {
            return;
        }
        if stop == Stop::Key {
            // Everybody else in the group: this process ignores it just now.
            libc::kill(0, libc::SIGTSTP);
        }
        action.sa_sigaction = libc::SIG_DFL;
        libc::sigaction(libc::SIGTSTP, &raw const action, ptr::null_mut());
        // To this thread alone: it does not return from here before the process goes on.
        libc::raise(libc::SIGTSTP);
        libc::sigaction(libc::SIGTSTP, &raw const before, ptr::null_mut());
    }
}
