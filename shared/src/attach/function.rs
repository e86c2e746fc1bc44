//! Attaching to functions of the kernel, by name.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;

use libbpf_rs::{AsRawLibbpf, Error, KprobeOpts, Link, ProgramMut, libbpf_sys};

use super::uprobe::Kind;

/// Attaches one program to many functions at once (5.18; sessions 6.12). Each has a cookie.
///
/// # Errors
/// What the kernel says; one function that cannot be traced is an error for all.
pub fn attach_functions(
    program: &ProgramMut<'_>,
    kind: Kind,
    functions: &[(&str, u64)],
) -> Result<Link, Error> {
    let names: Vec<CString> = functions
        .iter()
        .map(|(name, _)| CString::new(*name))
        .collect::<Result<_, _>>()
        .map_err(|_| Error::from(io::Error::from(io::ErrorKind::InvalidInput)))?;
    let mut symbols: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let cookies: Vec<u64> = functions.iter().map(|(_, cookie)| *cookie).collect();
    // libbpf-rs has no sessions of kprobes.
    let options = libbpf_sys::bpf_kprobe_multi_opts {
        sz: size_of::<libbpf_sys::bpf_kprobe_multi_opts>() as _,
        syms: symbols.as_mut_ptr(),
        cookies: cookies.as_ptr(),
        cnt: symbols.len() as _,
        retprobe: kind == Kind::Return,
        session: kind == Kind::Session,
        ..Default::default()
    };
    // SAFETY: the program is loaded, and all that the options point to outlives the call.
    let link = unsafe {
        libbpf_sys::bpf_program__attach_kprobe_multi_opts(
            program.as_libbpf_object().as_ptr(),
            std::ptr::null(),
            &raw const options,
        )
    };
    // SAFETY: a link of libbpf's that nobody else has.
    NonNull::new(link)
        .map(|link| unsafe { Link::from_ptr(link) })
        .ok_or_else(|| Error::from(io::Error::last_os_error()))
}

/// Attaches a program to one function; kernels before 5.15 have no cookies.
pub fn attach_function(
    program: &ProgramMut<'_>,
    kind: Kind,
    function: &str,
    cookie: Option<u64>,
) -> Result<Link, Error> {
    let is_return = kind == Kind::Return;
    match cookie {
        None => program.attach_kprobe(is_return, function),
        Some(cookie) => {
            let options = KprobeOpts {
                cookie,
                ..Default::default()
            };
            program.attach_kprobe_with_opts(is_return, function, options)
        }
    }
}

/// How often a link of [`attach_functions`] has not seen a call: there was no room to hold its return,
/// or the kernel was tracing already (6.7; before, nobody tells). Allocates nothing.
pub fn missed_calls(link: &Link) -> u64 {
    let mut info = libbpf_sys::bpf_link_info::default();
    let mut bytes = size_of_val(&info) as u32;
    let fd = link.as_fd().as_raw_fd();
    // SAFETY: the kernel writes no more than `bytes` bytes into our own variable.
    let outcome =
        unsafe { libbpf_sys::bpf_obj_get_info_by_fd(fd, (&raw mut info).cast(), &raw mut bytes) };
    if outcome != 0 || info.type_ != libbpf_sys::BPF_LINK_TYPE_KPROBE_MULTI {
        return 0;
    }
    // SAFETY: what the kernel says of a link of this type; zeros where it says less.
    unsafe { info.__bindgen_anon_1.kprobe_multi.missed }
}
