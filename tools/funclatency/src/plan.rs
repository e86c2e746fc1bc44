//! Which functions are traced, and where their probes go: found before anything is attached.

mod exceptions;
mod kernel;
mod user;

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::Result;
pub use exceptions::Watch;
use memtools::attach::Uprobes;
use memtools::cli::UserError;
use memtools::output::{clean, counted};
use memtools::target::object::Object;
use memtools::target::placement::Placement;

use crate::cli::Cli;
use crate::collector::{COOKIE_KIND, EXIT_RETURN};
use crate::model::Function;

/// All functions, in the order of their numbers.
#[derive(Debug, Default)]
pub struct Plan {
    pub functions: Vec<Planned>,
    /// How functions of programs are probed.
    pub uprobes: Option<Uprobes>,
    /// What a user should know.
    pub notes: Vec<String>,
    /// Return probes are wanted whatever passes.
    is_forced: bool,
}

/// As soon as it is known how many functions there are.
fn check_count(cli: &Cli, count: usize) -> Result<(), UserError> {
    let most = cli.max_functions;
    if count <= most as usize {
        return Ok(());
    }
    Err(UserError::usage(format!(
        "{} match, more than --max-functions {most}",
        counted(count as u64, "function")
    )))
}

/// A function, and how it is traced.
#[derive(Debug)]
pub struct Planned {
    pub function: Function,
    pub place: Place,
}

/// Where it is.
#[derive(Debug)]
pub enum Place {
    /// In the kernel.
    Kernel { address: u64 },
    /// In a program or a library.
    User(UserPlace),
}

/// Where the probes of a function go.
#[derive(Clone, Debug)]
pub struct UserPlace {
    pub object: Arc<Object>,
    /// Of the entry probe, in the file.
    pub entry_offset: u64,
    pub placement: Placement,
    pub ending: Ending,
}

/// How a function's end is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By a return probe.
    ReturnProbe,
    /// By probes on the instructions that end it: places in the file.
    Instructions { sites: Vec<Site>, why: String },
}

/// An instruction that ends a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    pub file_offset: u64,
    /// What the kernel side is told of it: kind and condition, as in the cookie.
    pub cookie: u64,
}

impl Site {
    /// The function goes on in another one.
    fn is_jump(self) -> bool {
        self.cookie >> COOKIE_KIND & 0xf != EXIT_RETURN
    }
}

impl Plan {
    /// What the command line asks for.
    pub fn of(cli: &Cli) -> Result<Self> {
        let mut plan = Self {
            is_forced: cli.force_uretprobe,
            ..Self::default()
        };
        let mut sources = Vec::new();
        let mut setting = None;
        for pattern in &cli.patterns {
            let (functions, notes) = (plan.functions.len(), plan.notes.len());
            let Some((object, function)) = pattern.split_once(':') else {
                kernel::plan(&mut plan, cli, pattern)?;
                plan.note_if_none(pattern, functions, notes);
                sources.push("of the kernel");
                continue;
            };
            let setting = match &mut setting {
                Some(setting) => setting,
                none => none.insert(user::Setting::find(cli)?),
            };
            plan.uprobes = Some(setting.uprobes);
            user::plan(&mut plan, cli, object, function, setting)?;
            plan.note_if_none(pattern, functions, notes);
            sources.push("of programs");
        }
        if plan.functions.is_empty() {
            let what = clean(&cli.patterns.join("\", \""));
            let text = match plan.notes.first() {
                Some(note) => format!("no function can be traced: {note}"),
                None => format!("0 functions matched by \"{what}\""),
            };
            return Err(UserError::usage(text).into());
        }
        sources.dedup();
        if sources.len() > 1 {
            let text =
                "functions of the kernel and functions of programs cannot be traced in one run";
            return Err(UserError::usage(text).into());
        }
        check_count(cli, plan.functions.len())?;
        Ok(plan)
    }

    /// Says so where a pattern has added nothing to what there was.
    fn note_if_none(&mut self, pattern: &str, functions: usize, notes: usize) {
        if (self.functions.len(), self.notes.len()) == (functions, notes) {
            let pattern = clean(pattern);
            self.notes.push(format!(
                "{pattern} adds no function to those that are traced"
            ));
        }
    }

    /// Whether it has a function of the kernel already.
    fn has_kernel(&self, name: &str) -> bool {
        let mut functions = self.functions.iter();
        functions.any(|planned| {
            matches!(planned.place, Place::Kernel { .. }) && planned.function.name == name
        })
    }

    /// Whether it has a function at such a place already: two names can stand for one.
    fn has_place(&self, place: &UserPlace) -> bool {
        self.functions.iter().any(|planned| match &planned.place {
            Place::User(own) => {
                own.object.id() == place.object.id() && own.entry_offset == place.entry_offset
            }
            Place::Kernel { .. } => false,
        })
    }

    /// The functions whose ends are probed one by one.
    pub fn by_instructions(&self) -> Vec<&str> {
        let functions = self.functions.iter();
        let dear = functions.filter(|planned| match &planned.place {
            Place::User(place) => place.ending != Ending::ReturnProbe,
            Place::Kernel { .. } => false,
        });
        dear.map(|planned| planned.function.shown.as_str())
            .collect()
    }

    /// The functions that seem to end where they jump into another one.
    pub fn by_jumps(&self) -> Vec<&str> {
        let functions = self.functions.iter();
        let jumping = functions.filter(|planned| match &planned.place {
            Place::User(UserPlace {
                ending: Ending::Instructions { sites, .. },
                ..
            }) => sites.iter().any(|site| site.is_jump()),
            _ => false,
        });
        jumping
            .map(|planned| planned.function.shown.as_str())
            .collect()
    }

    /// What has to be watched in a process whose functions have return probes because nothing throws
    /// there.
    pub fn watch(&self, pid: u32) -> Option<Watch> {
        let functions = self.functions.iter();
        let mut held = functions.filter(|planned| match &planned.place {
            Place::User(place) => place.ending == Ending::ReturnProbe,
            Place::Kernel { .. } => false,
        });
        let is_wanted = !self.is_forced && held.next().is_some();
        is_wanted.then(|| Watch::new(pid))
    }

    /// For people: where probes go.
    pub fn explain(&self) -> String {
        let mut text = String::new();
        for planned in &self.functions {
            let Function { shown, module, .. } = &planned.function;
            let how = match &planned.place {
                Place::Kernel { .. } => match planned.function.arguments {
                    Some(n) => format!("of the kernel, {}", counted(n.into(), "argument")),
                    None => "of the kernel, arguments unknown".to_owned(),
                },
                Place::User(place) => place.explain(),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} [{}]: {how}", clean(shown), clean(module));
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        text
    }
}

impl UserPlace {
    fn explain(&self) -> String {
        let Placement {
            offset,
            cost,
            instruction,
        } = &self.placement;
        let entry = format!("entry at +{offset} ({instruction}, {cost})");
        match &self.ending {
            Ending::ReturnProbe => format!("{entry}, return probe"),
            Ending::Instructions { sites, why } => {
                let jumps = sites.iter().filter(|site| site.is_jump()).count();
                let tail = if jumps > 0 {
                    format!(", of which {jumps} on jumps into other functions, where its time ends")
                } else {
                    String::new()
                };
                format!(
                    "{entry}, {} on what ends it{tail} ({why})",
                    counted(sites.len() as u64, "probe")
                )
            }
        }
    }
}
