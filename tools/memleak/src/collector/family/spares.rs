//! Programs that are loaded before anybody needs them: that takes the verifier a tenth of a second, in which
//! a process that has just begun would not be seen.

use std::sync::mpsc::{Receiver, sync_channel};

use crate::collector::Kernel;

/// How many are ready: each takes 5 MiB.
const READY: usize = 8;

/// Loaded programs, made in a thread of their own.
pub struct Spares(Receiver<Kernel>);

impl Spares {
    /// Begins to load them.
    pub fn start(load: impl Fn() -> Option<Kernel> + Send + 'static) -> Self {
        let (sender, receiver) = sync_channel(READY - 1);
        let thread = std::thread::Builder::new().name("loader".to_owned());
        // Without it each process has its own loaded, which only takes longer.
        let _ = thread.spawn(move || {
            while let Some(kernel) = load() {
                if sender.send(kernel).is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }

    /// One of them, if there is any.
    pub fn take(&self) -> Option<Kernel> {
        self.0.try_recv().ok()
    }
}
