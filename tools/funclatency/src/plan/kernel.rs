//! Functions of the kernel.

use std::collections::{BTreeMap, HashSet};
use std::fs;

use anyhow::{Context, Result};
use libbpf_rs::Btf;
use memtools::attach::count_arguments;
use memtools::cli::UserError;
use memtools::nearest::nearest;
use memtools::output::clean;
use memtools::pattern::Pattern;

use super::{Place, Plan, Planned, check_count};
use crate::cli::Cli;
use crate::model::Function;

/// What is not in a module.
const KERNEL: &str = "vmlinux";

/// A function of the kernel.
struct Symbol<'a> {
    address: u64,
    name: &'a str,
    module: &'a str,
}

/// Adds the functions that a pattern stands for.
pub fn plan(plan: &mut Plan, cli: &Cli, text: &str) -> Result<()> {
    let pattern =
        Pattern::new(text, cli.regexp).map_err(|error| UserError::usage(error.to_string()))?;
    let symbols = fs::read("/proc/kallsyms").context("reading /proc/kallsyms")?;
    let symbols = String::from_utf8_lossy(&symbols);
    let is_exact = pattern.exact_name().is_some();
    let traceable = (!is_exact).then(traceable).flatten();
    let (mut seen, mut addresses) = (HashSet::new(), HashSet::new());
    let mut others = BTreeMap::new();
    let mut found = Vec::new();
    for symbol in functions(&symbols) {
        if !pattern.matches(symbol.name) {
            continue;
        }
        let is_new = seen.insert(symbol.name);
        if !is_new {
            *others.entry(symbol.name).or_insert(1) += 1;
        }
        // Two names can stand for one function; without a permission all addresses are 0.
        let is_it = is_new && (symbol.address == 0 || addresses.insert(symbol.address));
        let can_be = || {
            let names = traceable.as_ref();
            names.is_none_or(|names| names.contains(symbol.name))
        };
        if is_it && can_be() && !plan.has_kernel(symbol.name) {
            found.push(symbol);
        }
    }
    for (name, count) in others {
        plan.notes.push(format!(
            "{count} functions are called {name}, and one of them is traced"
        ));
    }
    check_count(cli, found.len())?;
    let names: HashSet<&str> = found.iter().map(|symbol| symbol.name).collect();
    let types = Btf::from_vmlinux();
    let arguments = types.map(|types| count_arguments(&types, |name| names.contains(name)));
    let arguments = arguments.unwrap_or_default();
    for symbol in found {
        let types_know = symbol.module == KERNEL;
        plan.functions.push(Planned {
            function: Function {
                name: symbol.name.to_owned(),
                shown: symbol.name.to_owned(),
                module: symbol.module.to_owned(),
                arguments: arguments.get(symbol.name).copied().filter(|_| types_know),
            },
            place: Place::Kernel {
                address: symbol.address,
            },
        });
    }
    if is_exact && seen.is_empty() {
        return Err(unknown(text, &symbols).into());
    }
    Ok(())
}

fn unknown(name: &str, symbols: &str) -> UserError {
    if symbols.is_empty() {
        return UserError::with_code("/proc/kallsyms shows no symbols: run as root", 1);
    }
    let names = functions(symbols).map(|symbol| symbol.name);
    let near = nearest(name, names, 3);
    let hint = match &near[..] {
        [] => String::new(),
        near => format!("; did you mean {}?", near.join(", ")),
    };
    UserError::usage(format!(
        "the kernel has no function {}, or it is inlined everywhere{hint} (one of a program is written \
         LIBRARY:FUNC, ./PROGRAM:FUNC or, with -p, :FUNC)",
        clean(name)
    ))
}

/// `ffffffff81000000 T name [module]`
fn functions(symbols: &str) -> impl Iterator<Item = Symbol<'_>> {
    symbols.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let address = u64::from_str_radix(fields.next()?, 16).ok()?;
        let kind = fields.next()?;
        let name = fields.next()?;
        let module = fields.next().unwrap_or(KERNEL);
        let module = module.trim_matches(['[', ']']);
        // Code of BPF programs and of trampolines is listed too.
        (matches!(kind, "t" | "T" | "w" | "W") && module != "bpf").then_some(Symbol {
            address,
            name,
            module,
        })
    })
}

/// Those that ftrace knows; `None`: it does not say.
fn traceable() -> Option<HashSet<String>> {
    let files = [
        "/sys/kernel/tracing/available_filter_functions",
        "/sys/kernel/debug/tracing/available_filter_functions",
    ];
    let text = files.iter().find_map(|path| fs::read(path).ok())?;
    let text = String::from_utf8_lossy(&text);
    let names = text.lines().filter_map(|line| line.split(' ').next());
    let names: HashSet<String> = names.map(str::to_owned).collect();
    (!names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_functions_are_functions() {
        let text = "ffffffff81000000 T startup_64\nffffffff82000000 D init_task\n\
            ffffffffc0000000 t nfs_read\t[nfs]\nffffffffc0001000 t bpf_prog_6deef7357e7b4530_x\t[bpf]\n";
        let found: Vec<_> = functions(text)
            .map(|symbol| (symbol.name, symbol.module))
            .collect();
        assert_eq!(found, [("startup_64", "vmlinux"), ("nfs_read", "nfs")]);
    }
}
