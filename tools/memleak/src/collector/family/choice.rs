//! Which processes are traced.

use std::fs;
use std::path::PathBuf;

use memtools::cgroup::{self, Mounts};
use memtools::cli::UserError;
use memtools::process;

/// By what processes are chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// These.
    pub pids: Vec<u32>,
    /// Those that match it, now or later.
    pub filter: Filter,
    /// The children of those that are traced, too.
    pub follows: bool,
}

/// What processes have in common: all that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Their name, or one of these, as the kernel has it (15 bytes of it).
    pub comms: Vec<String>,
    /// The cgroup that they, or those above them, are in.
    pub cgroup: Option<PathBuf>,
    /// The container that they are in: its ID or the beginning of it, or its name.
    pub container: Option<String>,
}

impl Filter {
    /// Whether nobody is chosen by it.
    pub fn is_empty(&self) -> bool {
        self.comms.is_empty() && self.cgroup.is_none() && self.container.is_none()
    }
}

impl Choice {
    /// For people; not yet cleaned.
    pub fn describe(&self) -> String {
        let Filter {
            comms,
            cgroup,
            container,
        } = &self.filter;
        let mut parts = Vec::new();
        if !comms.is_empty() {
            parts.push(format!("processes called {}", comms.join(" or ")));
        }
        parts.extend(
            cgroup
                .as_ref()
                .map(|path| format!("cgroup {}", path.display())),
        );
        parts.extend(container.as_ref().map(|id| format!("container {id}")));
        if !self.pids.is_empty() {
            let pids: Vec<String> = self.pids.iter().map(u32::to_string).collect();
            let noun = if pids.len() == 1 { "PID" } else { "PIDs" };
            parts.push(format!("{noun} {}", pids.join(", ")));
        }
        let whose = if self.follows { " and children" } else { "" };
        format!("{}{whose}", parts.join(", "))
    }
}

/// A filter, ready to be asked.
#[derive(Debug)]
pub struct Matcher {
    comms: Vec<String>,
    /// As the kernel names it.
    cgroup: Option<String>,
    /// The hierarchy that it was named in; `None`: any.
    is_memory_v1: Option<bool>,
    container: Option<String>,
}

impl Matcher {
    /// The error is one that a user can mend: a cgroup or container that is not there.
    pub fn new(filter: &Filter) -> Result<Self, UserError> {
        /// TASK_COMM_LEN less the terminator.
        const COMM_BYTES: usize = 15;
        let mounts = Mounts::find();
        // Without links and dots, if it is a path of the file system.
        let path = filter.cgroup.as_deref();
        let path = path.map(|path| path.canonicalize().unwrap_or_else(|_| path.to_owned()));
        let is_memory_v1 = path.as_deref().and_then(|path| mounts.is_memory_v1(path));
        let cgroup = path.map(|path| mounts.cgroup_of(&path));
        if let (Some(cgroup), Some(path)) = (&cgroup, &filter.cgroup)
            && !mounts.has(cgroup)
        {
            let text = if path.is_dir() {
                format!(
                    "{} is in another hierarchy than that of memory, or the unified one, in which cgroups \
                     are looked for",
                    path.display()
                )
            } else {
                format!("there is no cgroup {}", path.display())
            };
            return Err(UserError::usage(text));
        }
        let matcher = Self {
            comms: filter
                .comms
                .iter()
                .map(|comm| cut(comm, COMM_BYTES))
                .collect(),
            cgroup,
            is_memory_v1,
            container: filter.container.clone(),
        };
        if let Some(id) = &filter.container {
            check_container(id)?;
        }
        Ok(matcher)
    }

    /// Whether a process that lives is one of them.
    pub fn matches(&self, pid: u32) -> bool {
        if self.comms.is_empty() && self.cgroup.is_none() && self.container.is_none() {
            return false;
        }
        let is_called_so = || process::comm(pid).is_some_and(|comm| self.comms.contains(&comm));
        if !self.comms.is_empty() && !is_called_so() {
            return false;
        }
        if self.cgroup.is_none() && self.container.is_none() {
            return true;
        }
        // It is in one of each hierarchy, and may have been named by either.
        let own = cgroups_of(pid);
        let is_in = |wanted: &String| match self.is_memory_v1 {
            Some(is_v1) => {
                cgroup::of_process(pid, is_v1).is_some_and(|own| cgroup::is_within(&own, wanted))
            }
            None => own.iter().any(|own| cgroup::is_within(own, wanted)),
        };
        let has = |wanted: &String| {
            let mut names = own.iter().filter_map(|own| cgroup::container(own));
            names.any(|name| is_container(name, wanted))
        };
        self.cgroup.as_ref().is_none_or(is_in) && self.container.as_ref().is_none_or(has)
    }

    /// All that match now.
    pub fn all(&self) -> Vec<u32> {
        all_pids()
            .into_iter()
            .filter(|pid| self.matches(*pid))
            .collect()
    }
}

/// A container whose processes have yet to come has no cgroup either: that is a mistyped ID.
fn check_container(id: &str) -> Result<(), UserError> {
    let mut found: Vec<String> = Vec::new();
    for pid in all_pids() {
        let cgroups = cgroups_of(pid);
        let names = cgroups.iter().filter_map(|own| cgroup::container(own));
        found.extend(
            names
                .filter(|name| is_container(name, id))
                .map(str::to_owned),
        );
    }
    found.sort();
    found.dedup();
    match &found[..] {
        [] => Err(UserError::usage(format!(
            "no process is in a container {id} (`docker ps`, `crictl ps` or `podman ps` lists \
             their IDs)"
        ))),
        [_] => Ok(()),
        several => Err(UserError::usage(format!(
            "{} containers begin with {id}: {}",
            several.len(),
            several.join(", ")
        ))),
    }
}

/// Of version 2, and of the memory controller.
fn cgroups_of(pid: u32) -> Vec<String> {
    let both = [false, true].map(|is_memory_v1| cgroup::of_process(pid, is_memory_v1));
    both.into_iter().flatten().collect()
}

/// An ID by its beginning, as container engines take it; a name is only itself.
fn is_container(name: &str, wanted: &str) -> bool {
    const ID_DIGITS: usize = 64;
    name == wanted || name.len() == ID_DIGITS && name.starts_with(wanted)
}

fn cut(text: &str, bytes: usize) -> String {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    text[..ends.take_while(|end| *end <= bytes).last().unwrap_or(0)].to_owned()
}

/// Every process there is.
pub fn all_pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_go_by_the_beginning_of_their_id() {
        let id = "0123456789abcdef".repeat(4);
        assert!(is_container(&id, "0123456789ab") && is_container(&id, &id));
        assert!(!is_container(&id, "123"));
        assert!(is_container("web", "web") && !is_container("web", "we"));
    }

    #[test]
    fn this_process_is_called_by_its_name_and_no_other() {
        let own = std::process::id();
        let comm = process::comm(own).unwrap();
        let matcher = |comm: &str| {
            let comms = vec![comm.to_owned()];
            Matcher::new(&Filter {
                comms,
                ..Filter::default()
            })
            .unwrap()
        };
        assert!(matcher(&comm).matches(own));
        assert!(matcher(&comm).all().contains(&own));
        assert!(matcher(&format!("{comm:x<20}")).matches(own) == (comm.len() >= 15));
        assert!(!matcher("none").matches(own));
        assert!(!Matcher::new(&Filter::default()).unwrap().matches(own));
    }

    #[test]
    fn a_choice_says_what_it_is() {
        let mut choice = Choice {
            pids: vec![7, 8],
            ..Choice::default()
        };
        assert_eq!(choice.describe(), "PIDs 7, 8");
        choice.pids.pop();
        choice.follows = true;
        assert_eq!(choice.describe(), "PID 7 and children");
        let filter = Filter {
            comms: vec!["nginx".to_owned()],
            cgroup: Some("/a".into()),
            container: None,
        };
        let choice = Choice {
            filter,
            ..Choice::default()
        };
        assert_eq!(choice.describe(), "processes called nginx, cgroup /a");
    }

    #[test]
    fn what_is_not_there_is_said() {
        let wrong = |filter: Filter| Matcher::new(&filter).unwrap_err().to_string();
        let container = Some("nosuchcontainer".to_owned());
        let text = wrong(Filter {
            container,
            ..Filter::default()
        });
        assert!(text.starts_with("no process is in a container"), "{text}");
        let cgroup = Some("/no/such/cgroup".into());
        let text = wrong(Filter {
            cgroup,
            ..Filter::default()
        });
        assert_eq!(text, "there is no cgroup /no/such/cgroup");
    }
}
