//! What there is, and what of it works.

use jiff::Timestamp;
use memtools::attach::{
    self, Hook, ProbeCost, Seen, Way, check_btf, has_attach_cookie, has_bpf_allocator, has_type,
    lacks_permission, try_hook, try_way,
};
use memtools::process;

/// A way, and what came of trying it; the error is for people.
pub type Trial<Way, Outcome> = (Way, Result<Outcome, String>);

/// What a tool uses here, or why it cannot work.
#[derive(Debug)]
pub struct Tool {
    pub name: &'static str,
    pub by: Result<String, String>,
}

/// Everything that was found.
#[derive(Debug)]
pub struct Survey {
    pub time: Timestamp,
    pub kernel: String,
    pub cpus: usize,
    pub types: Result<(), String>,
    pub has_growing_maps: bool,
    pub has_attach_cookie: bool,
    pub uprobes: Vec<Trial<Way, ProbeCost>>,
    pub tracepoints: Vec<Trial<Hook, Seen>>,
    pub functions: Vec<Trial<Hook, Seen>>,
    pub tools: Vec<Tool>,
}

impl Survey {
    /// Tries everything.
    pub fn take() -> Self {
        let mut survey = Self {
            time: Timestamp::now(),
            kernel: process::kernel_release().unwrap_or_else(|| "of unknown release".to_owned()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            types: check_btf().map_err(|error| error.to_string()),
            has_growing_maps: has_bpf_allocator(),
            has_attach_cookie: !lacks_permission() && has_attach_cookie(),
            uprobes: Way::ALL.map(try_uprobe).into(),
            tracepoints: Hook::TRACEPOINTS.map(try_event).into(),
            functions: Hook::FUNCTIONS.map(try_event).into(),
            tools: Vec::new(),
        };
        survey.tools.push(Tool {
            name: "memleak",
            by: survey.memleak(),
        });
        survey.tools.push(Tool {
            name: "oomkill",
            by: survey.oomkill(),
        });
        survey.tools.push(Tool {
            name: "slabtop",
            by: survey.slabtop(),
        });
        survey.tools.push(Tool {
            name: "syscount",
            by: survey.syscount(),
        });
        survey.tools.push(Tool {
            name: "funclatency",
            by: survey.funclatency(),
        });
        survey
    }

    /// The best way of attaching to user space that works.
    pub fn best_uprobe(&self) -> Option<Way> {
        best(&self.uprobes, |_| true)
    }

    /// The best way to events of the kernel that works and loses nothing.
    pub fn best_tracepoint(&self) -> Option<Hook> {
        best(&self.tracepoints, |seen| seen.is_exact())
    }

    /// The same for functions of the kernel.
    pub fn best_function(&self) -> Option<Hook> {
        best(&self.functions, |seen| seen.is_exact())
    }

    fn memleak(&self) -> Result<String, String> {
        self.types.clone()?;
        let uprobes = self
            .best_uprobe()
            .ok_or_else(|| reasons("no way of attaching uprobes works", &self.uprobes))?;
        // Exec and the end of threads; these are rare enough that losing some does not matter.
        let (hook, tried) = &self.tracepoints[0];
        if let Err(why) = tried {
            return Err(format!("{hook}s do not work: {why}"));
        }
        Ok(format!("{uprobes} and {hook}s"))
    }
}

impl Survey {
    fn oomkill(&self) -> Result<String, String> {
        self.types.clone()?;
        let raw = Hook::RawTracepoint;
        // Kills are rare enough that losing some of very many events does not matter.
        let tried = self.tracepoints.iter().find(|(hook, _)| *hook == raw);
        if let Some((_, Err(why))) = tried {
            return Err(format!("{raw}s do not work: {why}"));
        }
        let function = [Hook::Fentry, Hook::Kprobe]
            .into_iter()
            .find(|hook| self.has_function(*hook));
        Ok(match function {
            Some(hook) => format!("{raw}s and {hook}"),
            None => format!("{raw}s and a search of the kernel stack"),
        })
    }
}

impl Survey {
    fn has_function(&self, hook: Hook) -> bool {
        let mut ways = self.functions.iter();
        ways.any(|(way, tried)| *way == hook && tried.is_ok())
    }

    /// Of raw tracepoints and classic ones, those that lose nothing.
    fn exact_tracepoint(&self) -> Result<Hook, String> {
        let is_exact = |hook: Hook| {
            let mut ways = self.tracepoints.iter();
            ways.any(|(way, tried)| {
                *way == hook && tried.as_ref().is_ok_and(|seen| seen.is_exact())
            })
        };
        let raw = Hook::RawTracepoint;
        let hook = if !is_exact(raw) && is_exact(Hook::Tracepoint) {
            Hook::Tracepoint
        } else {
            raw
        };
        let tried = self.tracepoints.iter().find(|(way, _)| *way == hook);
        if let Some((_, Err(why))) = tried {
            return Err(format!("{hook}s do not work: {why}"));
        }
        Ok(hook)
    }

    fn funclatency(&self) -> Result<String, String> {
        self.types.clone()?;
        let uprobes = self
            .best_uprobe()
            .ok_or_else(|| reasons("no way of attaching uprobes works", &self.uprobes))?;
        Ok(match self.best_function() {
            Some(hook) => format!("{uprobes}, and {hook} for the kernel"),
            None => format!("{uprobes}; functions of the kernel cannot be traced"),
        })
    }

    fn syscount(&self) -> Result<String, String> {
        self.types.clone()?;
        Ok(format!("{}s", self.exact_tracepoint()?))
    }

    fn slabtop(&self) -> Result<String, String> {
        self.types.clone()?;
        let hook = self.exact_tracepoint()?;
        let sizes = if has_type("bpf_iter__kmem_cache") {
            "iter/kmem_cache"
        } else {
            "/proc/slabinfo"
        };
        Ok(if self.has_function(Hook::Fentry) {
            format!("{hook}s, {sizes} and fentry")
        } else {
            format!("{hook}s and {sizes}; bulk allocations and frees are not seen")
        })
    }
}

fn best<W: Copy, T>(trials: &[Trial<W, T>], is_good: impl Fn(&T) -> bool) -> Option<W> {
    let mut good = trials
        .iter()
        .filter(|(_, outcome)| outcome.as_ref().is_ok_and(&is_good));
    good.next().map(|(way, _)| *way)
}

fn reasons<W: std::fmt::Display, T>(what: &str, trials: &[Trial<W, T>]) -> String {
    let reasons: Vec<String> = trials
        .iter()
        .filter_map(|(way, outcome)| Some(format!("{way}: {}", outcome.as_ref().err()?)))
        .collect();
    format!("{what} ({})", reasons.join("; "))
}

fn try_uprobe(way: Way) -> Trial<Way, ProbeCost> {
    let outcome = match try_way(way) {
        Ok(Some(cost)) => Ok(cost),
        Ok(None) => Err("hits of a second thread are not seen".to_owned()),
        Err(error) => Err(match way {
            _ if lacks_permission() => reason(&error),
            Way::Session => "the kernel has no uprobe sessions (6.13)".to_owned(),
            Way::Multi => "the kernel has no uprobe_multi links (6.6)".to_owned(),
            Way::PerfEvent => reason(&error),
        }),
    };
    (way, outcome)
}

fn try_event(hook: Hook) -> Trial<Hook, Seen> {
    let outcome = try_hook(hook).map_err(|error| match what_it_means(hook, &error) {
        Some(meaning) if !lacks_permission() => meaning.to_owned(),
        _ => reason(&error),
    });
    (hook, outcome)
}

/// What a kernel means that answers in this way.
fn what_it_means(hook: Hook, error: &libbpf_rs::Error) -> Option<&'static str> {
    use libbpf_rs::ErrorKind::NotFound;
    let has_tracefs = [
        "/sys/kernel/tracing/events",
        "/sys/kernel/debug/tracing/events",
    ]
    .iter()
    .any(|path| std::path::Path::new(path).exists());
    match hook {
        Hook::Tracepoint if !has_tracefs => {
            Some("tracefs is not mounted (mount -t tracefs tracefs /sys/kernel/tracing)")
        }
        Hook::Kprobe if error.kind() == NotFound => {
            Some("the kernel has no kprobes (CONFIG_KPROBE_EVENTS)")
        }
        Hook::KprobeMulti => Some("the kernel has no kprobe_multi links (5.18, CONFIG_FPROBE)"),
        Hook::Fentry if error.kind() != libbpf_rs::ErrorKind::PermissionDenied => {
            Some("the kernel has no BPF trampolines for its functions, or no types of them")
        }
        _ => None,
    }
}

fn reason(error: &libbpf_rs::Error) -> String {
    if error.kind() == libbpf_rs::ErrorKind::PermissionDenied {
        return format!("not permitted ({})", attach::missing_permission());
    }
    format!("{error:#}")
}
