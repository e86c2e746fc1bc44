//! Builds the suite's BPF objects and their skeletons.
//!
//! A tool's `build.rs` calls [`build`] with the name of its object; the skeleton lands in
//! `OUT_DIR/NAME.skel.rs`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use libbpf_cargo::SkeletonBuilder;

/// Why an object could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Cargo sets these for every build script.
    #[error("{0} is not set: build() belongs into a build script")]
    NotInBuildScript(&'static str),
    /// No BPF register layout is known for the architecture.
    #[error("no BPF target for the architecture {0}")]
    UnknownArchitecture(String),
    /// The sources could not be listed.
    #[error("reading {path}")]
    Sources {
        /// What was being read.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// clang or the skeleton generator failed.
    #[error("building {name}.bpf.c: {message} (`cargo xtask setup` installs what is missing)")]
    Build {
        /// The object's name.
        name: String,
        /// What the tools said.
        message: String,
    },
}

/// The folder of the BPF sources.
pub fn source_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The objects there are: each `NAME.bpf.c`, by name.
pub fn object_names() -> Result<Vec<String>, BuildError> {
    let failed = |source| BuildError::Sources {
        path: source_dir(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(source_dir()).map_err(failed)? {
        let file = entry.map_err(failed)?.file_name();
        names.extend(
            file.to_str()
                .and_then(|file| file.strip_suffix(".bpf.c"))
                .map(str::to_owned),
        );
    }
    names.sort();
    Ok(names)
}

/// What clang calls a Rust architecture, as `-D__TARGET_ARCH_…`.
pub fn target_arch(rust_arch: &str) -> Result<&'static str, BuildError> {
    match rust_arch {
        "x86_64" => Ok("x86"),
        "aarch64" => Ok("arm64"),
        other => Err(BuildError::UnknownArchitecture(other.to_owned())),
    }
}

/// Names a kernel flavour (kernel.h) to be left out, for `cargo xtask mutate-flavours`.
const WITHOUT: &str = "MEMTOOLS_BPF_WITHOUT";

/// The compiler's arguments. `-mcpu=v3` is what 5.10 can load; newer compilers go further by
/// default.
pub fn clang_args(arch: &str) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec![
        "-I".into(),
        source_dir().into(),
        "-I".into(),
        source_dir().join("include").into(),
        format!("-D__TARGET_ARCH_{arch}").into(),
        "-mcpu=v3".into(),
        "-Wall".into(),
        "-Werror".into(),
    ];
    if let Some(flavour) = env::var_os(WITHOUT) {
        let mut define = OsString::from("-DWITHOUT_");
        define.push(flavour);
        args.push(define);
    }
    args
}

/// Compiles `NAME.bpf.c` into `OUT_DIR/NAME.bpf.o` and writes its skeleton to
/// `OUT_DIR/NAME.skel.rs`.
pub fn build(name: &str) -> Result<(), BuildError> {
    let out_dir = env::var_os("OUT_DIR").ok_or(BuildError::NotInBuildScript("OUT_DIR"))?;
    let rust_arch = env::var("CARGO_CFG_TARGET_ARCH")
        .map_err(|_| BuildError::NotInBuildScript("CARGO_CFG_TARGET_ARCH"))?;
    let arch = target_arch(&rust_arch)?;

    println!("cargo::rerun-if-env-changed={WITHOUT}");
    rerun_if_sources_change(&source_dir())?;
    rerun_if_sources_change(&source_dir().join("include"))?;
    let own = source_dir().join(name);
    if own.is_dir() {
        rerun_if_sources_change(&own)?;
    }
    SkeletonBuilder::new()
        .source(source_dir().join(format!("{name}.bpf.c")))
        .obj(Path::new(&out_dir).join(format!("{name}.bpf.o")))
        .clang_args(clang_args(arch))
        .reference_obj(true)
        .build_and_generate(Path::new(&out_dir).join(format!("{name}.skel.rs")))
        .map_err(|error| BuildError::Build {
            name: name.to_owned(),
            message: format!("{error:#}"),
        })
}

fn rerun_if_sources_change(dir: &Path) -> Result<(), BuildError> {
    let failed = |source| BuildError::Sources {
        path: dir.to_owned(),
        source,
    };
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|e| e == "c" || e == "h") {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    Ok(())
}
