//! Programs that are loaded before anybody needs them: that takes the verifier its time, in which a process
//! that has just begun would not be seen. Those of processes that have ended serve others.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use memtools::attach::Way;

use crate::collector::Kernel;

/// How many are ready at first.
const FIRST: usize = 8;
/// And at most, when there were too few.
const MOST: usize = 32;
/// Threads that load, where there are CPUs for them.
const MOST_LOADERS: usize = 4;
/// So long a load that failed is not tried again.
const UNTIL_TRIED_AGAIN: Duration = Duration::from_secs(1);

/// Loaded programs, made in threads of their own.
#[derive(Clone)]
pub struct Spares(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// How their probes go in.
    way: Way,
    most: usize,
}

#[derive(Default)]
struct State {
    ready: Vec<Kernel>,
    /// How many are to be ready.
    wanted: usize,
    /// So many were once.
    had_enough: bool,
    has_failed: bool,
    is_over: bool,
}

/// Takes a process's probes out, in a thread of its own: it waits for the kernel, and others' events are not
/// to wait for it. Where there is room, the programs serve others.
pub fn let_go(
    kernel: impl FnOnce() -> Kernel + Send + 'static,
    spares: Option<Spares>,
) -> Option<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name("detacher".to_owned());
    let leave = move || {
        let kernel = kernel();
        match spares.filter(Spares::has_room) {
            // Whatever is left of the process goes first.
            Some(spares) => kernel.recycled().into_iter().for_each(|k| spares.give(k)),
            None => drop(kernel),
        }
    };
    thread.spawn(leave).ok()
}

impl Spares {
    /// Begins to load them. More than so many there is no room for, but for one.
    pub fn start(
        room: usize,
        way: Way,
        load: impl Fn() -> Option<Kernel> + Clone + Send + 'static,
    ) -> Self {
        let most = room.clamp(1, MOST);
        let spares = Self(Arc::new(Shared {
            state: Mutex::new(State {
                wanted: FIRST.min(most),
                ..State::default()
            }),
            changed: Condvar::new(),
            way,
            most,
        }));
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..(cpus / 2).clamp(1, MOST_LOADERS) {
            let (own, load) = (spares.clone(), load.clone());
            let thread = std::thread::Builder::new().name("loader".to_owned());
            // Without any each process has its own loaded, which only takes longer.
            let _ = thread.spawn(move || {
                while own.is_wanted() {
                    match load() {
                        Some(kernel) => own.give(kernel),
                        None => own.wait_after_failure(),
                    }
                }
            });
        }
        spares
    }

    /// One of them, if there is any whose probes go in so. If there are too few, there will be more.
    pub fn take(&self, way: Way) -> Option<Kernel> {
        if way != self.0.way {
            return None;
        }
        let mut state = self.state();
        let kernel = state.ready.pop();
        if kernel.is_none() && std::mem::take(&mut state.had_enough) {
            state.wanted = (2 * state.wanted).min(self.0.most);
        }
        self.0.changed.notify_all();
        kernel
    }

    /// One that serves nobody, but may have probes in. Those that are not out when memleak ends go with it.
    pub fn take_back(&self, kernel: Kernel) {
        let _ = let_go(|| kernel, Some(self.clone()));
    }

    /// Whether one that serves nobody would be kept.
    fn has_room(&self) -> bool {
        let state = self.state();
        state.ready.len() < self.0.most && !state.is_over
    }

    /// One that serves nobody.
    fn give(&self, kernel: Kernel) {
        if kernel.uprobes().way != self.0.way {
            return;
        }
        let mut state = self.state();
        if state.ready.len() < self.0.most && !state.is_over {
            state.ready.push(kernel);
            state.had_enough |= state.ready.len() >= state.wanted;
        }
        drop(state);
        self.0.changed.notify_all();
    }

    /// Waits until all that are wanted are ready, but not for ever.
    pub fn await_ready(&self, most: Duration) {
        let has_too_few = |state: &mut State| state.ready.len() < state.wanted && !state.has_failed;
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

    fn wait_after_failure(&self) {
        let mut state = self.state();
        state.has_failed = true;
        self.0.changed.notify_all();
        let is_going_on = |state: &mut State| !state.is_over;
        let waited = self
            .0
            .changed
            .wait_timeout_while(state, UNTIL_TRIED_AGAIN, is_going_on);
        drop(waited);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}
