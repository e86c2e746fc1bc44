//! Compiles every BPF object for the architectures that are named, and keeps nothing: a check that
//! what this machine does not run can be built.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use libbpf_cargo::SkeletonBuilder;
use memtools_bpf::{clang_args, object_names, source_dir, target_arch};

fn main() -> ExitCode {
    let architectures: Vec<String> = env::args().skip(1).collect();
    if architectures.is_empty() {
        eprintln!("usage: compile-bpf ARCHITECTURE… (as in x86_64 aarch64)");
        return ExitCode::from(2);
    }
    let scratch = env::temp_dir().join(format!("compile-bpf-{}", std::process::id()));
    let result = compile_all(&architectures, &scratch);
    let _ = fs::remove_dir_all(&scratch);
    match result {
        Ok(count) => {
            println!("{count} objects for {}", architectures.join(" and "));
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn compile_all(architectures: &[String], scratch: &Path) -> Result<usize, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let names = object_names().map_err(|error| said(&error))?;
    fs::create_dir_all(scratch).map_err(|error| said(&error))?;
    for architecture in architectures {
        let arch = target_arch(architecture).map_err(|error| said(&error))?;
        for name in &names {
            compile(name, arch, &scratch.join(format!("{name}.{arch}.bpf.o")))?;
        }
    }
    Ok(names.len())
}

fn compile(name: &str, arch: &str, object: &PathBuf) -> Result<(), String> {
    SkeletonBuilder::new()
        .source(source_dir().join(format!("{name}.bpf.c")))
        .obj(object)
        .clang_args(clang_args(arch))
        .build()
        .map_err(|error| format!("{name}.bpf.c for {arch}: {error:#}"))
}
