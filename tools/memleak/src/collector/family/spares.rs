//! Programs that are loaded before anybody needs them: that takes the verifier a tenth of a second, in which
//! a process that has just begun would not be seen. Those of processes that have ended serve others.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::collector::Kernel;

/// How many are ready at first.
const FIRST: usize = 8;
/// And at most, when there were too few.
const MOST: usize = 32;

/// Threads that load, where there are CPUs for them.
const MOST_LOADERS: usize = 4;

/// Loaded programs, made in threads of their own.
#[derive(Clone)]
pub struct Spares(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    ready: Vec<Kernel>,
    /// How many are to be ready.
    wanted: usize,
    most: usize,
    is_over: bool,
}

impl Spares {
    /// Begins to load them. They are to take no more than so many bytes, of which each takes some.
    pub fn start(
        bytes: u64,
        bytes_each: u64,
        load: impl Fn() -> Option<Kernel> + Clone + Send + 'static,
    ) -> Self {
        let most = (bytes / bytes_each.max(1)) as usize;
        let spares = Self(Arc::new(Shared {
            state: Mutex::new(State {
                ready: Vec::new(),
                wanted: FIRST,
                most: most.clamp(FIRST, MOST),
                is_over: false,
            }),
            changed: Condvar::new(),
        }));
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..(cpus / 2).clamp(1, MOST_LOADERS) {
            let (own, load) = (spares.clone(), load.clone());
            let thread = std::thread::Builder::new().name("loader".to_owned());
            // Without any each process has its own loaded, which only takes longer.
            let _ = thread.spawn(move || {
                while own.is_wanted() {
                    let Some(kernel) = load() else {
                        return;
                    };
                    own.give(kernel);
                }
            });
        }
        spares
    }

    /// One of them, if there is any. If there is none, more will be ready the next time.
    pub fn take(&self) -> Option<Kernel> {
        let mut state = self.state();
        let kernel = state.ready.pop();
        if kernel.is_none() {
            state.wanted = (2 * state.wanted).min(state.most);
        }
        self.0.changed.notify_all();
        kernel
    }

    /// One that serves nobody.
    pub fn give(&self, kernel: Kernel) {
        let mut state = self.state();
        if state.ready.len() < state.most && !state.is_over {
            state.ready.push(kernel);
        }
        drop(state);
        self.0.changed.notify_all();
    }

    /// Waits until all that are wanted are ready, but not for ever.
    pub fn await_ready(&self, most: Duration) {
        let has_too_few = |state: &mut State| state.ready.len() < state.wanted;
        let state = self.state();
        drop(self.0.changed.wait_timeout_while(state, most, has_too_few));
    }

    /// No more are needed.
    pub fn end(&self) {
        let mut state = self.state();
        state.is_over = true;
        let unused = std::mem::take(&mut state.ready);
        drop(state);
        self.0.changed.notify_all();
        drop(unused);
    }

    /// Waits until another one is to be loaded; false: no more are.
    fn is_wanted(&self) -> bool {
        let has_enough = |state: &mut State| !state.is_over && state.ready.len() >= state.wanted;
        let state = self.0.changed.wait_while(self.state(), has_enough);
        !state.unwrap_or_else(PoisonError::into_inner).is_over
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}
