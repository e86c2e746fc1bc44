//! Where a function returns that no return probe may stand on: its `ret`, and those of the functions
//! that it jumps to, which return in its stead.

use std::collections::HashSet;

use super::elf::{ElfError, ElfObject, Function};
use super::exits::{Exit, ExitKind, Part, exits};
use super::instruction::branch_targets;

/// More functions than this are no longer one.
const MOST_FUNCTIONS: usize = 32;

/// The virtual addresses of all instructions by which a call of the function returns. What returns
/// from a function that was jumped to is seen for all of its callers: the stack pointer tells.
///
/// # Errors
/// Why not all of them can be known, for people.
pub fn returns(elf: &ElfObject, function: &Function) -> Result<Vec<u64>, String> {
    let mut found = Vec::new();
    let mut seen = HashSet::from([function.address]);
    let mut waiting = vec![function.clone()];
    while let Some(function) = waiting.pop() {
        for exit in exits_of(elf, &function)? {
            if exit.kind == ExitKind::Return {
                found.push(exit.address);
                continue;
            }
            let to = exit
                .to
                .ok_or_else(|| format!("{} ends in a jump through a pointer", function.name))?;
            if !seen.insert(to) {
                continue;
            }
            if seen.len() > MOST_FUNCTIONS {
                return Err(format!(
                    "{} ends in too many other functions",
                    function.name
                ));
            }
            waiting.push(jumped_to(elf, &function, to)?);
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The function that a jump leads to, by a stub of the dynamic linker's or not.
fn jumped_to(elf: &ElfObject, from: &Function, to: u64) -> Result<Function, String> {
    let shown = |error: ElfError| error.to_string();
    if let Some(name) = elf.stub_target(to).map_err(shown)? {
        let mut found = elf.functions(&[&name]).map_err(shown)?;
        return found
            .pop()
            .ok_or_else(|| format!("{} ends in {name} of another object", from.name));
    }
    let found = elf.function_at(to).map_err(shown)?;
    found.ok_or_else(|| format!("{} ends in code without a beginning ({to:#x})", from.name))
}

/// Whether the code of a function itself, and not what it calls, goes to a function of one of these
/// names.
///
/// # Errors
/// What cannot be read, for people.
pub fn goes_to(elf: &ElfObject, function: &Function, names: &[&str]) -> Result<bool, String> {
    let shown = |error: ElfError| error.to_string();
    let wanted: HashSet<u64> = elf
        .functions(names)
        .map_err(shown)?
        .iter()
        .map(|wanted| wanted.address)
        .collect();
    for target in branch_targets(&function.code, function.address) {
        if wanted.contains(&target) {
            return Ok(true);
        }
        let stub = elf.stub_target(target).unwrap_or_default();
        if stub.is_some_and(|name| names.contains(&name.as_str())) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn exits_of(elf: &ElfObject, function: &Function) -> Result<Vec<Exit>, String> {
    let cold = elf
        .cold_parts(function)
        .map_err(|error| error.to_string())?;
    let own = std::iter::once(function).chain(&cold);
    let parts: Vec<Part<'_>> = own
        .map(|part| Part {
            code: &part.code,
            address: part.address,
        })
        .collect();
    let found = exits(&parts);
    if found.is_complete {
        return Ok(found.sites);
    }
    let why = found.why_not.unwrap_or_default();
    Err(format!(
        "not all ends of {} can be found: {why}",
        function.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::elf::fixture::{CODE, Image};

    fn found(code: &[u8], functions: &[(&str, u64, u64)]) -> Result<Vec<u64>, String> {
        let file = Image::with_functions(code, functions).file();
        let elf = ElfObject::open(file.path()).unwrap();
        let function = elf.functions(&["f"]).unwrap().remove(0);
        let found = returns(&elf, &function)?;
        Ok(found.into_iter().map(|address| address - CODE).collect())
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn jumps_are_followed_to_where_they_return() {
        // f: test rdi, rdi; je g; ret    g: jmp h    h: ret; nop; jmp f
        let code = [
            0x48, 0x85, 0xff, 0x74, 0x01, 0xc3, 0xeb, 0x00, 0xc3, 0x90, 0xeb, 0xf4,
        ];
        let functions = [("f", 0, 6), ("g", 6, 2), ("h", 8, 1)];
        assert_eq!(found(&code, &functions).unwrap(), [5, 8]);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn what_cannot_be_followed_is_said() {
        // jmp [rip]
        let error = found(&[0xff, 0x25, 0, 0, 0, 0], &[("f", 0, 6)]).unwrap_err();
        assert!(error.contains("through a pointer"), "{error}");
        // A jump to no function.
        let error = found(&[0xeb, 0x10], &[("f", 0, 2)]).unwrap_err();
        assert!(error.contains("without a beginning"), "{error}");
    }
}
