//! What the arguments of tracepoints are on this kernel.

use std::collections::HashMap;

use libbpf_rs::Btf;
use libbpf_rs::btf::types::{Func, FuncProto, Ptr, Struct, Typedef};
use libbpf_rs::btf::{BtfKind, BtfType, ReferencesType as _, TypeId};

/// Whether an argument of a tracepoint, counted from 0, is a pointer to a structure; `false` as well
/// if the kernel's types do not name the tracepoint.
pub fn takes_pointer_to(
    types: &Btf<'_>,
    tracepoint: &str,
    argument: usize,
    structure: &str,
) -> bool {
    let pointee = pointee(types, tracepoint, argument);
    let found = pointee.and_then(|pointee| Struct::try_from(pointee).ok());
    found.is_some_and(|found| found.name().is_some_and(|name| name == structure))
}

/// Whether a function of the kernel returns a bool; `false` as well if its types do not name it.
pub fn returns_bool(types: &Btf<'_>, function: &str) -> bool {
    returned(types, function).is_some_and(|name| name == "_Bool")
}

/// How many arguments functions of the kernel have, by name; those that its types do not name, or
/// that take whole structures, which can be of more than one word, are left out. All types are looked through once, whatever the number of names.
pub fn count_arguments(types: &Btf<'_>, is_wanted: impl Fn(&str) -> bool) -> HashMap<String, u32> {
    let mut found = HashMap::new();
    for id in 1..types.len() as u32 {
        let Some(function) = types.type_by_id::<Func<'_>>(id.into()) else {
            continue;
        };
        let name = function.name().unwrap_or_default().to_string_lossy();
        if !is_wanted(&name) {
            continue;
        }
        if let Ok(prototype) = FuncProto::try_from(function.referenced_type())
            && !prototype.iter().any(|param| is_structure(types, param.ty))
        {
            found.insert(name.into_owned(), prototype.len() as u32);
        }
    }
    found
}

fn is_structure(types: &Btf<'_>, id: TypeId) -> bool {
    let whole = types.type_by_id::<BtfType<'_>>(id);
    let whole = whole.map(|whole| whole.skip_mods_and_typedefs().kind());
    matches!(whole, Some(BtfKind::Struct | BtfKind::Union))
}

fn returned(types: &Btf<'_>, function: &str) -> Option<String> {
    let function = types.type_by_name::<Func<'_>>(function)?;
    let prototype = FuncProto::try_from(function.referenced_type()).ok()?;
    let returned = prototype.referenced_type().skip_mods_and_typedefs();
    Some(returned.name()?.to_string_lossy().into_owned())
}

/// How many arguments a tracepoint has; `None` if the kernel's types do not name it.
pub fn count_tracepoint_arguments(types: &Btf<'_>, tracepoint: &str) -> Option<usize> {
    Some(prototype(types, tracepoint)?.len().saturating_sub(1))
}

/// What an argument points to.
fn pointee<'b>(btf: &'b Btf<'_>, tracepoint: &str, argument: usize) -> Option<BtfType<'b>> {
    let function = prototype(btf, tracepoint)?;
    let argument = btf.type_by_id::<BtfType<'_>>(function.get(argument + 1)?.ty)?;
    let pointer = Ptr::try_from(argument.skip_mods_and_typedefs()).ok()?;
    Some(pointer.referenced_type().skip_mods_and_typedefs())
}

/// The kernel describes a tracepoint as `btf_trace_NAME`, a pointer to a function whose first argument
/// is not the tracepoint's.
fn prototype<'b>(btf: &'b Btf<'_>, tracepoint: &str) -> Option<FuncProto<'b>> {
    let function = btf.type_by_name::<Typedef<'_>>(&format!("btf_trace_{tracepoint}"))?;
    let function = Ptr::try_from(function.skip_mods_and_typedefs()).ok()?;
    FuncProto::try_from(function.referenced_type().skip_mods_and_typedefs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_found_behind_pointers() {
        // The same on every kernel: struct task_struct *, const char *.
        let types = Btf::from_vmlinux().unwrap();
        let takes = |name, at, structure| takes_pointer_to(&types, name, at, structure);
        assert!(takes("task_rename", 0, "task_struct"));
        assert!(!takes("task_rename", 0, "mm_struct"));
        assert!(!takes("task_rename", 1, "task_struct"));
        assert!(!takes("task_rename", 9, "task_struct"));
        assert!(!takes("no_such_event", 0, "task_struct"));
        assert_eq!(count_tracepoint_arguments(&types, "task_rename"), Some(2));
        assert_eq!(count_tracepoint_arguments(&types, "no_such_event"), None);
    }

    #[test]
    fn what_functions_return_is_known() {
        // The same on every kernel.
        let types = Btf::from_vmlinux().unwrap();
        assert!(returns_bool(&types, "capable"));
        assert!(!returns_bool(&types, "kmem_cache_free"));
        assert!(!returns_bool(&types, "no_such_function"));
        let names = ["vfs_read", "capable", "no_such_function"];
        let counts = count_arguments(&types, |name| names.contains(&name));
        assert_eq!(
            (counts["vfs_read"], counts["capable"], counts.len()),
            (4, 1, 2)
        );
    }
}
