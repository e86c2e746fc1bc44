//! What lets this process outlive a shortage: its memory stays, and it is nobody's victim.

use std::fs;

use memtools::cli::note;

const OWN_ADJ: &str = "/proc/self/oom_score_adj";

/// Makes this process the last to be killed. Returns what it was before, for children.
pub fn shield() -> Option<String> {
    let before = fs::read_to_string(OWN_ADJ).ok()?;
    // Without CAP_SYS_RESOURCE it stays what it is.
    fs::write(OWN_ADJ, "-1000").ok()?;
    // A unit with OOMScoreAdjust= has it so from the start, and does not mean its children.
    let before = before.trim();
    Some(if before == "-1000" { "0" } else { before }.to_owned())
}

/// Keeps in memory what is there now, and what comes as it comes; room that nobody has used is not
/// filled for it. Called when all that an event needs has been used once.
pub fn lock_memory() {
    let flags = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
    // SAFETY: the call only takes flags.
    let is_locked = unsafe { libc::mlockall(flags) == 0 };
    if !is_locked {
        note(
            "oomkill: note: its memory could not be locked (CAP_IPC_LOCK, or LimitMEMLOCK= in a \
             unit): it may take long to tell of a kill while memory is short",
        );
    }
}
